"""Where functions stand that reach an existing database privately."""

from typing import Annotated

from pydantic import AfterValidator, ConfigDict, Field

from infra.settings.values import LIST, Form, Group, Text


def _identity(prefix: str) -> Form:
    return Form(rf"{prefix}-([0-9a-f]{{8}}|[0-9a-f]{{17}})", f"must be like {prefix}-0123456789abcdef0; got {{got}}")


def _some(prefix: str) -> AfterValidator:
    def check(given: tuple[str, ...]) -> tuple[str, ...]:
        if not given:
            raise ValueError(f"needs at least one, like {prefix}-0123456789abcdef0")
        return given

    return AfterValidator(check)


VpcId = Annotated[Text, _identity("vpc")]
SubnetIds = Annotated[tuple[Annotated[Text, _identity("subnet")], ...], LIST, _some("subnet")]
SecurityGroupIds = Annotated[tuple[Annotated[Text, _identity("sg")], ...], LIST, _some("sg")]


class Network(Group):
    """Subnets of one VPC, and the security groups of the functions in them."""

    # The lists are required like the VPC; left out they are empty, and the refusal shows what belongs there.
    model_config = ConfigDict(json_schema_extra={"required": ["vpc_id", "subnet_ids", "security_group_ids"]})

    vpc_id: VpcId = Field(description="the VPC, like `vpc-0123456789abcdef0`")
    subnet_ids: SubnetIds = Field(
        default=(),
        validate_default=True,
        json_schema_extra={"minItems": 1},
        description="its subnets in which functions stand, with a way to the database",
    )
    security_group_ids: SecurityGroupIds = Field(
        default=(),
        validate_default=True,
        json_schema_extra={"minItems": 1},
        description="the groups that functions belong to, and that the database lets in",
    )
    endpoints: bool = Field(
        default=False,
        description="`true` makes VPC endpoints for the AWS APIs that functions call, for a VPC without a NAT gateway. "
        "Of each zone only one subnet may be named then",
    )
    route_table_ids: Annotated[tuple[Annotated[Text, _identity("rtb")], ...], LIST] = Field(
        default=(),
        description="with `endpoints`, where a job needs files: the route tables of the subnets, for S3's endpoint",
    )

"""One Lambda function of Nightshift: its own role, its own log group, the layers, and access to the database."""

from collections.abc import Mapping, Sequence
from typing import Any

from aws_cdk import (
    Aws,
    Duration,
    RemovalPolicy,
    Stack,
    aws_iam as iam,
    aws_lambda as lambda_,
    aws_lambda_destinations as destinations,
    aws_logs as logs,
    aws_sqs as sqs,
)
from constructs import Construct

from infra.code import Code
from infra.database import DatabaseAccess
from infra.nag import acknowledge
from infra.settings import CONTEXT_KEY, LOG_RETENTION
from nightshift.declaration import function_name
from nightshift.environment import DATABASE_VARIABLE, DEFAULT_NAME, NAME_VARIABLE
from nightshift.errors import SettingError

LAMBDA_RETRIES = 2
"""After the first delivery. Lambda waits one minute before the first retry and two before the second."""

LAMBDA_EVENT_AGE = Duration.hours(2)
"""Three attempts of up to 15 minutes, three minutes of waiting, and an hour for throttling. What is older goes to the
dead-letter queue; the supervisor has found the occurrence long before."""


LARGEST_ENVIRONMENT = 4096
"""Bytes of names and values. Lambda refuses more, in the middle of a deployment."""

OF_A_REFERENCE = 128
"""Bytes that stand for a value which only the deployment knows: an ARN, or the address of a new cluster."""


class Function(Construct):
    """A function named `<deployment>-<name>`. It may write its own logs, connect to the database, and no more."""

    def __init__(
        self,
        scope: Construct,
        identity: str,
        *,
        deployment: str,
        name: str,
        handler: str,
        about: str,
        code: Code,
        database: DatabaseAccess | None,
        timeout: Duration,
        memory_mb: int,
        log_retention_days: int,
        environment: Mapping[str, str],
        dead_letters: sqs.IQueue | None = None,
    ) -> None:
        """`dead_letters` gets what failed for good; without it a failed event is tried once and dropped.

        database: None for a function that stands outside the network and has no database.
        """
        super().__init__(scope, identity)
        self.name = function_name(name, deployment)
        stack = Stack.of(self)
        log_group = logs.LogGroup(
            self,
            "Logs",
            log_group_name=f"/aws/lambda/{self.name}",
            retention=logs.RetentionDays[LOG_RETENTION[log_retention_days]],
            removal_policy=RemovalPolicy.DESTROY,
        )
        self.role = iam.Role(self, "Role", assumed_by=iam.ServicePrincipal("lambda.amazonaws.com"))
        log_group.grant_write(self.role)
        for grant in database.grants if database else ():
            self.role.add_to_principal_policy(grant)
        placement = database.placement if database else None
        if placement is not None:
            self._allow_network_interfaces()
        variables = dict(environment)
        if database is not None:
            variables = {DATABASE_VARIABLE: stack.to_json_string(dict(database.connection)), **variables}
        if deployment != DEFAULT_NAME:
            variables[NAME_VARIABLE] = deployment
        _refuse_too_large(self.name, stack, variables)
        self.function = lambda_.Function(
            self,
            "Function",
            function_name=self.name,
            description=about,
            runtime=code.runtime,
            architecture=code.architecture,
            code=code.functions,
            handler=handler,
            layers=code.layers,
            role=self.role,
            timeout=timeout,
            memory_size=memory_mb,
            log_group=log_group,
            logging_format=lambda_.LoggingFormat.JSON,
            environment=variables,
            vpc=placement.vpc if placement else None,
            vpc_subnets=placement.subnets if placement else None,
            security_groups=list(placement.security_groups) if placement else None,
            retry_attempts=LAMBDA_RETRIES if dead_letters else 0,
            max_event_age=LAMBDA_EVENT_AGE if dead_letters else Duration.minutes(1),
            on_failure=destinations.SqsDestination(dead_letters) if dead_letters else None,
        )
        acknowledge(
            self.function,
            "L1",
            "the runtime is the Python that synthesizes, because byte-code helps only its own version; "
            "the setting `python` chooses another",
        )

    def allow(
        self,
        actions: Sequence[str],
        resources: Sequence[str],
        *,
        equal: Mapping[str, str] | None = None,
        among: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        """Grant something beyond logs and database.

        equal: keys of the request that must have these values. among: keys of several values, which must all be among
        these, and of which there must be one.
        """
        statement = iam.PolicyStatement(actions=list(actions), resources=list(resources))
        if equal:
            statement.add_condition("StringEquals", dict(equal))
        for key, values in (among or {}).items():
            statement.add_condition("ForAllValues:StringEquals", {key: list(values)})
            statement.add_condition("Null", {key: "false"})
        self.role.add_to_principal_policy(statement)

    def deny(self, actions: Sequence[str], resources: Sequence[str]) -> None:
        """Refuse something, whatever else is granted."""
        statement = iam.PolicyStatement(effect=iam.Effect.DENY, actions=list(actions), resources=list(resources))
        self.role.add_to_principal_policy(statement)

    def _allow_network_interfaces(self) -> None:
        """What Lambda itself needs to stand in a VPC. The function's own code is denied it."""
        actions = [
            "ec2:AssignPrivateIpAddresses",
            "ec2:CreateNetworkInterface",
            "ec2:DeleteNetworkInterface",
            "ec2:DescribeNetworkInterfaces",
            "ec2:DescribeSubnets",
            "ec2:UnassignPrivateIpAddresses",
        ]
        own_arn = f"arn:{Aws.PARTITION}:lambda:{Aws.REGION}:{Aws.ACCOUNT_ID}:function:{self.name}"
        self.role.add_to_principal_policy(iam.PolicyStatement(actions=actions, resources=["*"]))
        self.role.add_to_principal_policy(
            iam.PolicyStatement(
                effect=iam.Effect.DENY,
                actions=actions,
                resources=["*"],
                conditions={"ArnEquals": {"lambda:SourceFunctionArn": own_arn}},
            )
        )
        acknowledge(
            self.role,
            "IAM5[Resource::*]",
            "Lambda checks these actions on all resources before it places a function in a VPC; the function's own "
            "code is denied them",
        )


def _refuse_too_large(name: str, stack: Stack, variables: Mapping[str, str]) -> None:
    """
    Raises:
        SettingError: the environment is larger than Lambda takes.
    """
    sizes = {variable: len(variable) + _size(stack.resolve(value)) for variable, value in variables.items()}
    if (total := sum(sizes.values())) > LARGEST_ENVIRONMENT:
        largest = max(sizes, key=sizes.__getitem__)
        raise SettingError(
            f"the environment of {name} has {total:,} bytes, and Lambda takes {LARGEST_ENVIRONMENT:,}: {largest} "
            f"alone has "
            f"{sizes[largest]:,}; write schedules and parameters that hold for good into the jobs' files, and keep "
            f"fewer "
            f"of them in {CONTEXT_KEY}.jobs"
        )


def _size(value: Any) -> int:
    """The bytes of a resolved value. What CloudFormation puts in has the size of a long ARN."""
    if isinstance(value, Mapping):
        ((kind, of),) = value.items()
        return sum(map(_size, of[1])) if kind == "Fn::Join" else OF_A_REFERENCE
    return len(str(value).encode())

"""Which database the jobs work on: an existing one, or a new one of the deployment's own."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Discriminator, Field, Tag, model_validator

from infra.settings.values import ByDefault, Form, Group, Text
from nightshift.database import DatabaseSettings
from nightshift.errors import SettingError


def _not_the_owner(user: str) -> str:
    if user == "postgres":
        raise ValueError("must not be postgres, which is the owner's: choose another")
    return user


SqlName = Annotated[
    Text, Form(r"[a-z][a-z0-9_]{0,62}", "must be lower-case letters, digits and underscores; got {got}")
]
SqlUser = Annotated[SqlName, AfterValidator(_not_the_owner)]
SecretArn = Annotated[Text, Form(r"arn:.+", "must be the whole ARN of the secret: arn:aws:secretsmanager:…; got {got}")]
ResourceId = Annotated[
    Text, Form(r"(cluster|db|prx)-[A-Za-z0-9]+", "must be like cluster-ABC123, db-ABC123 or prx-ABC123; got {got}")
]
RdsIdentifier = Annotated[
    Text,
    Form(
        r"[A-Za-z][A-Za-z0-9-]{0,62}",
        ": an identifier of RDS has letters, digits and hyphens and is no ARN; got {got}",
    ),
]


class NewDatabase(Group):
    """An Aurora PostgreSQL Serverless v2 cluster of the deployment's own, in a network of its own."""

    create: Literal["aurora-serverless-v2"] = Field(description="`aurora-serverless-v2` makes a new database")
    name: SqlName = Field(default="nightshift", description="of the database in the cluster")
    user: SqlUser = Field(default="nightshift", description="who functions connect as; the migration makes this user")
    min_capacity: float = Field(
        default=0.5,
        description="Aurora capacity units that are there at all times, at least 0.5",
        json_schema_extra={"minimum": 0.5, "maximum": 256},
    )
    max_capacity: float = Field(
        default=4,
        description="Aurora capacity units up to which it grows, at least 1 and at most 256",
        json_schema_extra={"minimum": 1, "maximum": 256},
    )

    @model_validator(mode="after")
    def _check_capacity(self) -> Self:
        if not 0.5 <= self.min_capacity <= self.max_capacity <= 256 or self.max_capacity < 1:
            raise SettingError(
                "Aurora capacity goes from min_capacity (at least 0.5) to max_capacity (at least 1, at most 256); "
                f"got {self.min_capacity:g} to {self.max_capacity:g}"
            )
        return self


class ExistingDatabase(Group):
    """A database that is there already."""

    url: Text | None = Field(
        default=None,
        description="`postgresql://user@host:5432/name`, without a password, for a server that asks for none. TLS is "
        "always asked but on a loopback address",
    )
    secret_arn: SecretArn | None = Field(
        default=None, description="the whole ARN of a secret in Secrets Manager, which holds user and password"
    )
    host: Text | None = Field(default=None, description="of the server or its proxy; needless where the secret has it")
    port: Annotated[int | None, ByDefault("5432, or the secret's")] = Field(default=None, description="of the server")
    name: Text | None = Field(default=None, description="of the database; needless where the secret has it")
    user: Text | None = Field(
        default=None, description="with IAM tokens: who functions connect as; this user needs `grant rds_iam`"
    )
    iam_region: Text | None = Field(default=None, description="with IAM tokens: the region of the database")
    resource_id: ResourceId | None = Field(
        default=None,
        description="with IAM tokens: that of the cluster (`cluster-…`), instance (`db-…`) or proxy (`prx-…`). "
        "Functions may connect to it as this user and to nothing else",
    )
    ca_file: Annotated[Text | None, ByDefault("the certificates of RDS")] = Field(
        default=None, description="a file with other certificates by which to know the server, as functions see it"
    )
    rds_cluster: RdsIdentifier | None = Field(
        default=None, description="the identifier of an Aurora cluster: the job `backup` also takes snapshots of it"
    )
    rds_instance: RdsIdentifier | None = Field(
        default=None, description="the same of an instance that belongs to no cluster"
    )

    @property
    def connection(self) -> Mapping[str, Any]:
        """What functions get, see `DatabaseSettings.from_mapping`."""
        return self.model_dump(exclude={"resource_id", "rds_cluster", "rds_instance"}, exclude_none=True)

    @property
    def connects_as(self) -> str | None:
        """The user in the database, if it is the settings that say so and not a secret."""
        return self._address().url.username

    def _address(self) -> DatabaseSettings:
        try:
            return DatabaseSettings.from_mapping(self.connection)
        except SettingError as error:
            raise SettingError(
                f'{error}; or {{"create": "aurora-serverless-v2"}} for a new one (docs/settings.md)'
            ) from None

    @model_validator(mode="after")
    def _check_access(self) -> Self:
        if self.rds_instance and self.rds_cluster:
            raise SettingError("of an Aurora cluster give rds_cluster alone, without rds_instance")
        url = self._address().url
        if url.password is not None:
            raise SettingError(
                "the url holds a password, which would stand in the template for all to read: "
                "put it into Secrets Manager and give secret_arn, or use IAM with host, name, user and iam_region"
            )
        if self.iam_region is not None and self.resource_id is None:
            raise ValueError(
                "needs resource_id (cluster-…, db-… or prx-…) beside iam_region: "
                "the functions may connect to that database and to no other"
            )
        if self.iam_region is None and self.resource_id is not None:
            raise SettingError("resource_id goes with iam_region: give that too, or remove it")
        if self.iam_region is not None and not url.username:
            raise ValueError("needs the user who connects with IAM tokens: give user")
        return self


def _form(given: Any) -> str:
    return "new" if isinstance(given, Mapping) and "create" in given else "existing"


Database = Annotated[
    Annotated[NewDatabase, Tag("new")] | Annotated[ExistingDatabase, Tag("existing")], Discriminator(_form)
]

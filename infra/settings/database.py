"""Which database the jobs work on: an existing one, or a new one of the deployment's own."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, Discriminator, Field, Tag, ValidationInfo, field_validator, model_validator

from infra.settings.values import LIST, ByDefault, Form, Group, Text
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
SecretArn = Annotated[
    Text,
    Form(
        r"arn:aws[a-z-]*:secretsmanager:[a-z0-9-]+:\d{12}:secret:.+-[A-Za-z0-9]{6}",
        "must be the whole ARN of the secret, with the six letters and digits at its end: "
        "arn:aws:secretsmanager:eu-west-1:111122223333:secret:name-AbCdEf; got {got}",
    ),
]
"""Without its end IAM's policy names another resource, and the function is refused."""

KmsKeyArn = Annotated[
    Text,
    Form(
        r"arn:aws[a-z-]*:kms:[a-z0-9-]+:\d{12}:key/[A-Za-z0-9-]+",
        "must be the ARN of a KMS key, and of no alias: "
        "arn:aws:kms:eu-west-1:111122223333:key/11111111-2222-3333-4444-555555555555; got {got}",
    ),
]
Snapshot = Annotated[
    Text,
    Form(
        r"arn:aws[a-z-]*:rds:[a-z0-9-]+:\d{12}:(cluster-)?snapshot:.+|(rds:)?[A-Za-z][A-Za-z0-9-]*",
        "must be the identifier or the ARN of a snapshot; got {got}",
    ),
]
ZoneName = Annotated[Text, Form(r"[a-z]{2}(-[a-z]+)+-\d[a-z]", "must hold zones like eu-west-1a; got {got}")]
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


def _two_or_more(zones: tuple[str, ...]) -> tuple[str, ...]:
    if zones and len(set(zones)) < 2:
        raise ValueError("needs two different zones or more: an Aurora cluster stands in at least two")
    return zones


class NewDatabase(Group):
    """An Aurora PostgreSQL Serverless v2 cluster of the deployment's own, in a network of its own."""

    create: Literal["aurora-serverless-v2"] = Field(description="`aurora-serverless-v2` makes a new database")
    name: SqlName = Field(default="nightshift", description="of the database in the cluster")
    user: SqlUser = Field(default="nightshift", description="who functions connect as; the migration makes this user")
    console_user: SqlUser = Field(
        default="nightshift_console",
        description="who the console connects as, to read Nightshift's ledger and no more; made by the migration too",
    )
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

    deletion_protection: bool = Field(
        default=False,
        description="`true` also keeps the cluster from being deleted by hand. Turn it on when the first deployment "
        "has gone through: AWS cannot clear a failed one away while it is on",
    )
    data_api: bool = Field(
        default=True,
        description="a way in for a person: RDS's Data API, for the query editor of the AWS console and "
        "`aws rds-data`. IAM says who may use it; the network stays closed",
    )
    availability_zones: Annotated[
        tuple[ZoneName, ...], LIST, AfterValidator(_two_or_more), ByDefault("two of the region's")
    ] = Field(
        default=(),
        description="the zones of the network, two or more, where the region's first ones lack Aurora or an endpoint: "
        "`eu-west-1a`. They stay as they are for the life of the cluster",
    )
    restore_from: Snapshot | None = Field(
        default=None,
        description="a snapshot that the cluster is made from, by identifier or ARN. It stays in the settings for the "
        "life of the cluster: changed or removed, AWS makes another cluster",
    )

    @field_validator("console_user")
    @classmethod
    def _another_one(cls, console: str, info: ValidationInfo) -> str:
        if console == info.data.get("user"):
            raise ValueError("must be another user than the functions', who may write")
        return console

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
    secret_kms_key_arn: KmsKeyArn | None = Field(
        default=None,
        description="the KMS key that the secret is encrypted under, where that is not `aws/secretsmanager`",
    )
    host: Text | None = Field(default=None, description="of the server or its proxy; needless where the secret has it")
    port: Annotated[int | None, ByDefault("5432, or the secret's")] = Field(default=None, description="of the server")
    name: Text | None = Field(default=None, description="of the database; needless where the secret has it")
    user: Text | None = Field(
        default=None,
        description="with IAM tokens: who functions connect as. This user needs `grant rds_iam`, straight or through a "
        "proxy with end-to-end IAM; a proxy that has the user's password in a secret needs a user without that grant",
    )
    iam_region: Text | None = Field(default=None, description="with IAM tokens: the region of the database")
    resource_id: ResourceId | None = Field(
        default=None,
        description="with IAM tokens: that of the cluster (`cluster-…`), instance (`db-…`) or proxy (`prx-…`). "
        "Functions may connect to it as this user and to nothing else",
    )
    ca_file: Annotated[Text | None, ByDefault("the certificates of RDS")] = Field(
        default=None,
        description="a file of this machine, from the project's folder on, with other certificates by which to know "
        "the server: those of an authority of your own, or of a region newer than this version. It goes into a layer",
    )
    console_user: SqlUser | None = Field(
        default=None,
        description="a user of its own for the console, who may read Nightshift's ledger and nothing else; "
        "docs/security.md has the SQL that makes one. Without one the console connects like all functions, in "
        "transactions that only read",
    )
    console_secret_arn: SecretArn | None = Field(
        default=None, description="with `secret_arn` and `console_user`: the secret that holds that user and password"
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
        return self.model_dump(exclude={"console_user", "console_secret_arn", *_OF_AWS}, exclude_none=True)

    @property
    def console_connection(self) -> Mapping[str, Any] | None:
        """The same for the console's own user; None where it has none."""
        if self.console_user is None:
            return None
        own: dict[str, Any] = {"user": self.console_user}
        if self.secret_arn is not None:
            own = {"secret_arn": self.console_secret_arn}
        elif self.url is not None:
            parts = urlsplit(self.url)
            place = parts.netloc.rpartition("@")[2]
            own = {"url": parts._replace(netloc=f"{self.console_user}@{place}").geturl()}
        return {**self.connection, **own}

    @model_validator(mode="after")
    def _check_console(self) -> Self:
        if self.console_secret_arn is not None and (self.secret_arn is None or self.console_user is None):
            raise SettingError("console_secret_arn goes with secret_arn and console_user: give those too, or remove it")
        if self.console_user is not None and self.secret_arn is not None and self.console_secret_arn is None:
            raise SettingError("console_user has a password of its own: give its secret as console_secret_arn")
        if self.console_user is not None and self.console_user == self.connects_as:
            raise SettingError("console_user must be another user than the functions', who may write")
        return self

    @property
    def is_of_rds(self) -> bool:
        """Whether RDS can be asked for snapshots of it."""
        return self.rds_cluster is not None or self.rds_instance is not None

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
        if self.secret_kms_key_arn is not None and self.secret_arn is None:
            raise SettingError("secret_kms_key_arn goes with secret_arn: give that too, or remove it")
        return self


_OF_AWS = ("resource_id", "rds_cluster", "rds_instance", "secret_kms_key_arn")
"""What says how RDS and IAM know the database, and not how to connect to it."""


def _form(given: Any) -> str:
    return "new" if isinstance(given, Mapping) and "create" in given else "existing"


Database = Annotated[
    Annotated[NewDatabase, Tag("new")] | Annotated[ExistingDatabase, Tag("existing")], Discriminator(_form)
]

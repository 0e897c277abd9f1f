"""The settings of one deployment as a whole."""

import sys
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, Self, cast, get_args

from pydantic import (
    AfterValidator,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationInfo,
    field_validator,
    model_validator,
)

from infra.settings.database import Database, KmsKeyArn, NewDatabase
from infra.settings.jobs import Jobs, JobSettings
from infra.settings.network import Network
from infra.settings.refusals import CONTEXT_KEY, nearest, refused
from infra.settings.strain import FreezeSettings, Strain
from infra.settings.values import LIST, ByDefault, Email, Form, Group, LogRetention, Text
from nightshift.declaration import Deployment, Registration, packs
from nightshift.declaration.names import DEPLOYMENT_NAME, LONGEST_DEPLOYMENT
from nightshift.environment import DEFAULT_NAME
from nightshift.errors import SettingError
from nightshift.outbox import MAILS_A_DAY

Architecture = Literal["arm64", "x86_64", "local"]
Tables = Literal["create", "existing"]
LambdaPython = Literal["3.11", "3.12", "3.13", "3.14"]
"""The versions of Python that Lambda offers and the code supports, the newest last. All wheels have the newest."""

TOPIC_ARN = r"arn:aws[a-z-]*:sns:[a-z0-9-]+:[0-9]{12}:[A-Za-z0-9_-]{1,256}"

FIRST_BY_ITSELF = "3.12"
"""The oldest that is chosen without being asked for: Lambda's 3.11 stands on Amazon Linux 2, whose glibc 2.26 is older
than what today's wheels are built for."""


def _in_order(given: tuple[str, ...]) -> tuple[str, ...]:
    if not given:
        raise ValueError("is empty, so there would be nothing to deploy: leave it out for all packs")
    known = packs()
    if unknown := [pack for pack in given if pack not in known]:
        raise refused(((), f"has no pack {pack!r}{nearest(pack, known)}") for pack in unknown)
    return tuple(pack for pack in known if pack in given)


def _python_by_default(settings: Mapping[str, Any]) -> LambdaPython:
    """The Python that synthesizes, from 3.12 on, as its byte-code is at hand; else the newest.

    The local AWS runs functions on this Python, whichever it is.
    """
    here = f"{sys.version_info.major}.{sys.version_info.minor}"
    versions: tuple[LambdaPython, ...] = get_args(LambdaPython)
    local = settings.get("architecture") == "local"
    possible = versions if local else versions[versions.index(FIRST_BY_ITSELF) :]
    return next((version for version in possible if version == here), versions[-1])


def _tables_by_database(settings: Mapping[str, Any]) -> Tables:
    return "create" if isinstance(settings["database"], NewDatabase) else "existing"


Target = Annotated[
    Text,
    Form(
        rf"(?!https?:|arn:)[^@\s]+@[^@\s]+\.[^@\s]+|https://[^\s/]+(/\S*)?|{TOPIC_ARN}",
        ": {got} is no e-mail address, https:// endpoint or ARN of a topic (arn:aws:sns:…, and not .fifo)",
    ),
]


class Alarms(Group):
    """Who is written to: at once, and when there is time."""

    critical: Annotated[tuple[Target, ...], LIST] = Field(
        default=(),
        description="who is told at once: e-mail addresses, each of which must confirm AWS's mail, and `https://` "
        "endpoints, like that of PagerDuty; or the ARN of a topic that is there already, alone, in the place of one of "
        "Nightshift's own",
    )
    ordinary: Annotated[tuple[Target, ...], LIST] = Field(default=(), description="the same for what can wait")

    @model_validator(mode="after")
    def _each_once(self) -> Self:
        for severity in ("critical", "ordinary"):
            given = [address.lower() for address in getattr(self, severity)]
            if doubled := sorted({address for address in given if given.count(address) > 1}):
                raise refused([((severity,), f"names {doubled[0]} twice: once is enough")])
            if given[1:] and (topic := next((each for each in given if each.startswith("arn:")), None)):
                words = "takes the place of Nightshift's own topic, so it stands alone: subscribe the others to it"
                raise refused([((severity,), f": {topic} {words}")])
        return self


class Settings(Group):
    """One deployment."""

    # Left out it is an empty one, and the refusal shows what belongs there.
    model_config = ConfigDict(json_schema_extra={"required": ["database"]})

    name: Annotated[
        Text,
        Form(
            DEPLOYMENT_NAME,
            f"must be 1 to {LONGEST_DEPLOYMENT} small letters and digits, the first a letter, without a hyphen; "
            "got {got}",
        ),
    ] = Field(
        default=DEFAULT_NAME,
        description="with which every name on AWS begins, that of a stack with a capital. Another name is another "
        "deployment: staging beside production in one account, each with a database of its own",
    )
    take_over_from: Annotated[
        Text | None,
        Form(
            r"[^/\s]+/[^/\s]+/[^/\s]+",
            "must be account, region and name of that deployment, as its refusal writes them; got {got}",
        ),
    ] = Field(
        default=None,
        description="the deployment whose database this one takes over, like `123456789012/eu-central-1/nightshift`. "
        "Without it the migration refuses a database that another deployment works on",
    )
    database: Database = Field(
        default=cast(Any, {}), validate_default=True, description="where the application's PostgreSQL is"
    )
    network: Annotated[Network | None, BeforeValidator(lambda given: None if given == {} else given)] = Field(
        default=None, description="where functions stand to reach an existing database"
    )
    application_tables: Annotated[Tables, ByDefault("`existing`; `create` with a new database")] = Field(
        default_factory=_tables_by_database,
        description="whether the migration also makes the example application's tables. With `existing` it touches "
        "nothing but the schema `nightshift`",
    )
    packs: Annotated[tuple[Text, ...], LIST, AfterValidator(_in_order), ByDefault("all")] = Field(
        default_factory=packs, description="the packs to deploy", json_schema_extra={"minItems": 1}
    )
    jobs: Annotated[Jobs, ByDefault("as declared")] = Field(
        default={}, description="what differs from the declarations, by job name"
    )
    rules: Literal["on", "off"] = Field(
        default="on",
        description="`off` disables every EventBridge rule, those of the supervisor and the dispatcher too: nothing "
        "runs unasked, and everything can be run by hand. The alarms on the silent supervisor and dispatcher then go "
        "off",
    )
    strain: Annotated[Strain, ByDefault("the defaults of each signal")] = Field(
        default=Strain(), description="how much strain on the database a run gives way to"
    )
    freezes: Annotated[tuple[FreezeSettings, ...], LIST] = Field(
        default=(), description="times in which jobs that destroy something neither begin nor go on"
    )
    alarms: Annotated[Alarms, ByDefault("nobody")] = Field(
        default=Alarms(), description="who is written to when something is wrong"
    )
    ping_url: (
        Annotated[
            Text, Form(r"https://\S+|http://(127\.0\.0\.1|localhost)[:/]\S*", "must begin with https://; got {got}")
        ]
        | None
    ) = Field(
        default=None,
        description="a monitor outside the account, in the manner of healthchecks.io: once a minute the address with "
        "`/start`, and then itself or with `/fail`. It notices when nothing comes any more",
    )
    sender: Email | None = Field(
        default=None,
        description="the address from which notices are sent; SES must have verified it or its domain. Without one "
        "mails wait in the outbox",
    )
    mails_a_day: Annotated[int, AfterValidator(MAILS_A_DAY.parse)] = Field(
        default=MAILS_A_DAY.parse(MAILS_A_DAY.default),
        description="how many ordinary mails one user may get within 24 hours; more are suppressed, those of duty are "
        "not counted",
        json_schema_extra={"minimum": MAILS_A_DAY.minimum},
    )
    preferences_url: (
        Annotated[Text, Form(r"https://[!-;=?-~]+", "must begin with https:// and hold no spaces; got {got}")] | None
    ) = Field(
        default=None,
        description="the application's page where people choose what they are sent: the link to unsubscribe in every "
        "mail that is not of duty",
    )
    files_bucket: (
        Annotated[
            Text,
            Form(
                r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]",
                ": a bucket's name has 3 to 63 small letters, digits, hyphens and dots; got {got}",
            ),
        ]
        | None
    ) = Field(
        default=None,
        description="the bucket in which the application keeps its own files, for jobs that delete some of them. "
        "Without "
        "it such jobs are refused, unless the application's tables are made here too: then it is Nightshift's own "
        "bucket",
    )
    files_prefix: (
        Annotated[
            Text,
            Form(
                r"(?!/)[!-)+-~]+/", "must end with a slash, begin with none and hold no spaces and asterisks; got {got}"
            ),
        ]
        | None
    ) = Field(default=None, description="with `files_bucket`: where in it those files are, like `production/`")
    kms_key_arn: KmsKeyArn | None = Field(
        default=None,
        description="the KMS key under which new data keys are encrypted. Give the key of an earlier deployment to "
        "open "
        "what that one has sealed. Without it a key is made, and kept",
    )
    retain: bool = Field(
        default=True,
        description="whether database, file store, key and the network around the database outlive an update or "
        "`make destroy`. A failed first try leaves nothing either way. `false` is for trials",
    )
    log_retention_days: LogRetention = Field(default=30, description="how long logs are kept")
    architecture: Architecture = Field(
        default="arm64",
        description="the processor of the functions; `local` is for the local AWS, whose functions run on this "
        "machine's Python",
    )
    python: Annotated[
        LambdaPython,
        ByDefault("the Python that synthesizes, from 3.12 on; else the newest that Lambda and all wheels have"),
    ] = Field(
        default_factory=_python_by_default,
        description="the Python of the functions. With another version than the one that synthesizes, that Python must "
        "be on the PATH for byte-code: without byte-code functions start about three times slower, and the synth says "
        "so. `3.11` takes only wheels for glibc 2.26",
    )
    deploy_with: Literal["bootstrap-roles", "cli-credentials"] = Field(
        default="bootstrap-roles",
        description="`cli-credentials` deploys without the roles of `cdk bootstrap`",
    )
    operations_url: Text = Field(
        default="docs/operations.md",
        description="where alarms send their reader; the address of that page in your own copy",
    )

    def job(self, name: str) -> JobSettings:
        """The settings of one job: those given, or the defaults."""
        return self.jobs.get(name, JobSettings())

    def deployment(self) -> Deployment:
        """What the platform's functions must know beyond the declarations."""
        changes: dict[str, dict[str, Any]] = {}
        for name, settings in self.jobs.items():
            change: dict[str, Any] = {} if settings.enabled else {"enabled": False}
            if settings.schedule is not None:
                change["schedule"] = settings.schedule
            if settings.timezone is not None:
                change["timezone"] = settings.timezone
            if settings.parameters:
                change["parameters"] = dict(settings.parameters)
            if change:
                changes[name] = change
        return Deployment(self.packs, changes, freezes=tuple(each.freeze for each in self.freezes))

    def deployed(self, registry: Mapping[str, Registration]) -> list[Registration]:
        """The jobs of the packs that this deployment has."""
        return [registration for registration in registry.values() if registration.pack in self.packs]

    @field_validator("freezes")
    @classmethod
    def _of_known_jobs(cls, freezes: tuple[FreezeSettings, ...], info: ValidationInfo) -> tuple[FreezeSettings, ...]:
        known: Mapping[str, Registration] = info.context or {}
        wrong = [
            ((number, "jobs"), f"has no job {name!r}{nearest(name, known)}")
            for number, freeze in enumerate(freezes)
            for name in freeze.jobs
            if name not in known
        ]
        if wrong:
            raise refused(wrong)
        return freezes

    @field_validator("network")
    @classmethod
    def _no_network_for_a_new_database(cls, network: Network | None, info: ValidationInfo) -> Network | None:
        if network is not None and isinstance(info.data.get("database"), NewDatabase):
            raise ValueError("goes with an existing database only: a new one brings its own; remove it")
        return network

    @field_validator("files_prefix")
    @classmethod
    def _of_a_bucket(cls, prefix: str | None, info: ValidationInfo) -> str | None:
        if prefix is not None and info.data.get("files_bucket") is None:
            raise ValueError("goes with files_bucket: give that too, or remove it")
        return prefix

    def check_files(self, jobs: Sequence[Registration]) -> None:
        """See that jobs which delete the application's files know where those are.

        Raises:
            SettingError: one line for each that does not.
        """
        if self.files_bucket is not None or self.application_tables == "create":
            return
        lost = [
            each.job.name for each in jobs if "application_files" in each.job.needs and self.job(each.job.name).enabled
        ]
        if lost:
            raise SettingError(
                "\n".join(
                    f"{CONTEXT_KEY}.files_bucket is missing: the job {name} deletes files of the application, which "
                    f"lie in "
                    "a bucket of its own; name that bucket, or disable the job "
                    f"({CONTEXT_KEY}.jobs.{name}.enabled: false)"
                    for name in lost
                )
            )

    @field_validator("python")
    @classmethod
    def _this_python_on_this_machine(cls, python: LambdaPython, info: ValidationInfo) -> LambdaPython:
        here = f"{sys.version_info.major}.{sys.version_info.minor}"
        if info.data.get("architecture") == "local" and python != here:
            raise ValueError(f"must be {here} (or left out): local functions run on this Python")
        return python

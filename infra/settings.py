"""The settings of one deployment, typed and checked before anything is synthesized. docs/settings.md lists them all."""

import datetime as dt
import difflib
import json
import re
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypeVar

from nightshift.database import DatabaseSettings
from nightshift.declaration import Deployment, Registration, Schedule, ScheduleError, packs as all_packs
from nightshift.errors import SettingError
from nightshift.outbox import MAILS_A_DAY

CONTEXT_KEY = "nightshift"
AURORA = "aurora-serverless-v2"
LAMBDA_PYTHONS = ("3.11", "3.12", "3.13", "3.14")
"""The versions of Python that Lambda offers and the code supports, the newest last."""

LOG_RETENTION = {
    1: "ONE_DAY",
    3: "THREE_DAYS",
    5: "FIVE_DAYS",
    7: "ONE_WEEK",
    14: "TWO_WEEKS",
    30: "ONE_MONTH",
    60: "TWO_MONTHS",
    90: "THREE_MONTHS",
    120: "FOUR_MONTHS",
    150: "FIVE_MONTHS",
    180: "SIX_MONTHS",
    365: "ONE_YEAR",
    400: "THIRTEEN_MONTHS",
    545: "EIGHTEEN_MONTHS",
    731: "TWO_YEARS",
    1827: "FIVE_YEARS",
    3653: "TEN_YEARS",
}
"""The days that CloudWatch Logs takes, and the CDK's names for them."""

Architecture = Literal["arm64", "x86_64", "local"]
Tables = Literal["create", "existing"]

Choice = TypeVar("Choice", bound=str)
Value = TypeVar("Value")

_EMAIL = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s]+")
_RDS_IDENTIFIER = re.compile(r"[A-Za-z][A-Za-z0-9-]{0,62}")
_RESOURCE_ID = re.compile(r"(cluster|db|prx)-[A-Za-z0-9]+")


@dataclass(frozen=True)
class JobSettings:
    """What a deployment changes about one job."""

    enabled: bool = True
    schedule: str | None = None
    parameters: Mapping[str, int] = field(default_factory=dict)
    log_retention_days: int | None = None


@dataclass(frozen=True)
class Alarms:
    """Who is written to: at once, and when there is time."""

    critical: tuple[str, ...] = ()
    ordinary: tuple[str, ...] = ()


@dataclass(frozen=True)
class NewDatabase:
    """An Aurora PostgreSQL Serverless v2 cluster of the deployment's own, in a network of its own."""

    name: str = "nightshift"
    user: str = "nightshift"
    min_capacity: float = 0.5
    max_capacity: float = 4


@dataclass(frozen=True)
class ExistingDatabase:
    """A database that is there already. `connection` is what functions get, see `DatabaseSettings.from_mapping`."""

    connection: Mapping[str, Any]
    user: str | None = None
    resource_id: str | None = None
    """Of the cluster, instance or proxy (`cluster-…`, `db-…`, `prx-…`), when functions prove who they are by IAM."""
    rds_instance: str | None = None
    rds_cluster: str | None = None
    """What RDS calls it, if snapshots are to be taken: the instance's identifier, or the Aurora cluster's."""


@dataclass(frozen=True)
class Network:
    """Where functions stand that reach an existing database privately."""

    vpc_id: str
    subnet_ids: tuple[str, ...]
    security_group_ids: tuple[str, ...]


@dataclass(frozen=True)
class Settings:
    """One deployment."""

    database: NewDatabase | ExistingDatabase
    packs: tuple[str, ...] = field(default_factory=all_packs)
    jobs: Mapping[str, JobSettings] = field(default_factory=dict)
    alarms: Alarms = Alarms()
    sender: str | None = None
    preferences_url: str | None = None
    mails_a_day: int = 10
    network: Network | None = None
    application_tables: Tables = "existing"
    deploy_with: Literal["bootstrap-roles", "cli-credentials"] = "bootstrap-roles"
    architecture: Architecture = "arm64"
    python: str = LAMBDA_PYTHONS[-1]
    log_retention_days: int = 30
    operations_url: str = "docs/operations.md"

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
            if settings.parameters:
                change["parameters"] = dict(settings.parameters)
            if change:
                changes[name] = change
        return Deployment(self.packs, changes)

    def deployed(self, registry: Mapping[str, Registration]) -> list[Registration]:
        """The jobs of the packs that this deployment has."""
        return [registration for registration in registry.values() if registration.pack in self.packs]


def read_settings(given: Any, registry: Mapping[str, Registration]) -> Settings:
    """The settings of the context key `nightshift`, as an object or, from `cdk -c`, as the JSON of one.

    Raises:
        SettingError: one line that names the setting, what is wrong with it, and the remedy.
    """
    if isinstance(given, str):
        try:
            given = json.loads(given)
        except json.JSONDecodeError as error:
            raise SettingError(f"the context key {CONTEXT_KEY} is not JSON: {error}") from None
    reader = _Reader({} if given is None else given, CONTEXT_KEY)
    settings = Settings(
        database=_database(reader),
        packs=_packs(reader),
        jobs=_jobs(reader.mapping("jobs"), registry),
        alarms=_alarms(reader.mapping("alarms")),
        sender=_sender(reader),
        preferences_url=_preferences_url(reader),
        mails_a_day=_mails_a_day(reader),
        network=_network(reader),
        deploy_with=reader.choice("deploy_with", ("bootstrap-roles", "cli-credentials")),
        architecture=reader.choice("architecture", ("arm64", "x86_64", "local")),
        log_retention_days=_log_retention(reader) or Settings.log_retention_days,
        operations_url=reader.text("operations_url") or Settings.operations_url,
    )
    new = isinstance(settings.database, NewDatabase)
    tables: tuple[Tables, ...] = ("create", "existing") if new else ("existing", "create")
    if new and settings.network is not None:
        raise SettingError(
            "nightshift.network goes with an existing database only: a new one brings its own; remove it"
        )
    application_tables = reader.choice("application_tables", tables)
    python = _python(reader, settings.architecture)
    reader.finish()
    return replace(settings, application_tables=application_tables, python=python)


def _packs(reader: "_Reader") -> tuple[str, ...]:
    packs = reader.texts("packs")
    for pack in packs:
        if pack not in all_packs():
            raise SettingError(f"nightshift.packs has no pack {pack!r}{_nearest(pack, all_packs())}")
    return tuple(pack for pack in all_packs() if pack in packs) if packs else all_packs()


def _jobs(reader: "_Reader", registry: Mapping[str, Registration]) -> dict[str, JobSettings]:
    jobs = {}
    for name in reader.names():
        if name not in registry:
            raise SettingError(f"nightshift.jobs has no job {name!r}{_nearest(name, registry)}")
        jobs[name] = _job(reader.mapping(name), registry[name])
    return jobs


def _job(reader: "_Reader", registration: Registration) -> JobSettings:
    schedule = reader.text("schedule")
    if schedule is not None:
        try:
            schedule = Schedule.parse(schedule, fires_after=dt.datetime.now(dt.UTC)).expression
        except ScheduleError as error:
            raise SettingError(f"{reader.path}.schedule: {error}") from None
    given = reader.mapping("parameters").whole()
    try:
        resolved = registration.job.resolve(given)
    except SettingError as error:
        raise SettingError(f"{reader.path}.parameters: {error}") from None
    settings = JobSettings(
        enabled=reader.truth("enabled", default=True),
        schedule=schedule,
        parameters={name: resolved[name] for name in given},
        log_retention_days=_log_retention(reader),
    )
    reader.finish()
    return settings


def _alarms(reader: "_Reader") -> Alarms:
    alarms = Alarms(critical=reader.texts("critical"), ordinary=reader.texts("ordinary"))
    for address in (*alarms.critical, *alarms.ordinary):
        _check_email(reader.path, address)
    reader.finish()
    return alarms


def _sender(reader: "_Reader") -> str | None:
    sender = reader.text("sender")
    if sender is not None:
        _check_email("nightshift.sender", sender)
    return sender


def _preferences_url(reader: "_Reader") -> str | None:
    url = reader.text("preferences_url")
    if url is not None and not re.fullmatch(r"https://[!-;=?-~]+", url):
        raise SettingError(f"nightshift.preferences_url must begin with https:// and hold no spaces; got {url!r}")
    return url


def _mails_a_day(reader: "_Reader") -> int:
    given = reader.optional("mails_a_day", int, "a number of mails")
    return Settings.mails_a_day if given is None else MAILS_A_DAY.parse(given)


def _network(reader: "_Reader") -> Network | None:
    given = reader.mapping("network")
    if not given.names():
        return None
    network = Network(
        vpc_id=given.required_text("vpc_id"),
        subnet_ids=given.texts("subnet_ids"),
        security_group_ids=given.texts("security_group_ids"),
    )
    for key, prefix, identities in (
        ("vpc_id", "vpc", (network.vpc_id,)),
        ("subnet_ids", "subnet", network.subnet_ids),
        ("security_group_ids", "sg", network.security_group_ids),
    ):
        if not identities:
            raise SettingError(f"{given.path}.{key} needs at least one, like {prefix}-0123456789abcdef0")
        for identity in identities:
            if not re.fullmatch(rf"{prefix}-([0-9a-f]{{8}}|[0-9a-f]{{17}})", identity):
                raise SettingError(f"{given.path}.{key} must be like {prefix}-0123456789abcdef0; got {identity!r}")
    given.finish()
    return network


def _database(reader: "_Reader") -> NewDatabase | ExistingDatabase:
    given = reader.mapping("database")
    if "create" in given.names():
        return _new_database(given)
    connection = given.whole()
    for key in connection:
        if key != "port":
            given.text(key)
    given.optional("port", int, "a number")
    resource_id = connection.pop("resource_id", None)
    instance, cluster = connection.pop("rds_instance", None), connection.pop("rds_cluster", None)
    if instance and cluster:
        raise SettingError("nightshift.database: of an Aurora cluster give rds_cluster alone, without rds_instance")
    if (known := instance or cluster) and not _RDS_IDENTIFIER.fullmatch(known):
        raise SettingError(
            f"nightshift.database: an identifier of RDS has letters, digits and hyphens and is no ARN; got {known!r}"
        )
    try:
        database = DatabaseSettings.from_mapping(connection)
    except SettingError as error:
        raise SettingError(
            f'nightshift.database: {error}; or {{"create": "{AURORA}"}} for a new one (docs/settings.md)'
        ) from None
    user = database.url.username
    if database.url.password is not None or "password" in database.url.query:
        raise SettingError(
            "nightshift.database: the url holds a password, which would stand in the template for all to read: "
            "put it into Secrets Manager and give secret_arn, or use IAM with host, name, user and iam_region"
        )
    if database.secret_arn is not None and not database.secret_arn.startswith("arn:"):
        raise SettingError(
            "nightshift.database.secret_arn must be the whole ARN of the secret: arn:aws:secretsmanager:…"
        )
    if database.iam_region is not None and not (resource_id and _RESOURCE_ID.fullmatch(resource_id)):
        raise SettingError(
            "nightshift.database needs resource_id (cluster-…, db-… or prx-…) beside iam_region: "
            "the functions may connect to that database and to no other"
        )
    if database.iam_region is None and resource_id is not None:
        raise SettingError("nightshift.database.resource_id goes with iam_region: give that too, or remove it")
    if database.iam_region is not None and not user:
        raise SettingError("nightshift.database needs the user who connects with IAM tokens: give user")
    return ExistingDatabase(connection, user, resource_id, instance, cluster)


def _new_database(reader: "_Reader") -> NewDatabase:
    reader.choice("create", (AURORA,))
    default = NewDatabase()
    database = NewDatabase(
        name=reader.text("name") or default.name,
        user=reader.text("user") or default.user,
        min_capacity=reader.number("min_capacity", default.min_capacity),
        max_capacity=reader.number("max_capacity", default.max_capacity),
    )
    for what, name in (("name", database.name), ("user", database.user)):
        if not re.fullmatch(r"[a-z][a-z0-9_]{0,62}", name):
            raise SettingError(f"{reader.path}.{what} must be lower-case letters, digits and underscores; got {name!r}")
    if database.user == "postgres":
        raise SettingError(f"{reader.path}.user must not be postgres, which is the owner's: choose another")
    if not 0.5 <= database.min_capacity <= database.max_capacity <= 256 or database.max_capacity < 1:
        raise SettingError(
            f"{reader.path}: Aurora capacity goes from min_capacity (at least 0.5) to max_capacity "
            f"(at least 1, at most 256); got {database.min_capacity:g} to {database.max_capacity:g}"
        )
    reader.finish()
    return database


def _python(reader: "_Reader", architecture: Architecture) -> str:
    """By default the Python that synthesizes, if Lambda has it: only its own version can make byte-code that helps."""
    here = f"{sys.version_info.major}.{sys.version_info.minor}"
    given = reader.text("python")
    if given is not None and given not in LAMBDA_PYTHONS:
        raise SettingError(f"nightshift.python must be one of {', '.join(LAMBDA_PYTHONS)}; got {given!r}")
    if architecture == "local" and given not in (None, here):
        raise SettingError(f"nightshift.python must be {here} (or left out): local functions run on this Python")
    return given or (here if here in LAMBDA_PYTHONS else LAMBDA_PYTHONS[-1])


def _log_retention(reader: "_Reader") -> int | None:
    given = reader.optional("log_retention_days", int, "a number of days")
    if given is not None and given not in LOG_RETENTION:
        days = ", ".join(str(number) for number in LOG_RETENTION)
        raise SettingError(f"{reader.path}.log_retention_days must be one that CloudWatch has ({days}); got {given}")
    return given


def _check_email(path: str, address: str) -> None:
    if not _EMAIL.fullmatch(address):
        raise SettingError(f"{path}: {address!r} is no e-mail address, like oncall@example.com")


def _nearest(name: str, known: Iterable[str]) -> str:
    known = list(known)
    close = difflib.get_close_matches(name, known, n=1)
    return f"; did you mean {close[0]!r}?" if close else f"; known are {', '.join(known)}"


class _Reader:
    """One JSON object of the settings. It remembers which keys were asked for, so that no other passes unnoticed."""

    def __init__(self, given: Any, path: str) -> None:
        if not isinstance(given, Mapping):
            raise SettingError(f"{path} must be a JSON object; got {json.dumps(given)}")
        self.path = path
        self._given = dict(given)
        self._known: list[str] = []

    def names(self) -> list[str]:
        return list(self._given)

    def whole(self) -> dict[str, Any]:
        """All keys, whose names somebody else checks."""
        self._known.extend(self._given)
        return dict(self._given)

    def mapping(self, key: str) -> "_Reader":
        self._known.append(key)
        given = self._given.get(key)
        return _Reader({} if given is None else given, f"{self.path}.{key}")

    def optional(self, key: str, kind: type[Value], what: str) -> Value | None:
        self._known.append(key)
        given = self._given.get(key)
        if given is not None and (not isinstance(given, kind) or (isinstance(given, bool) and kind is not bool)):
            raise SettingError(f"{self.path}.{key} must be {what}; got {json.dumps(given)}")
        return given

    def text(self, key: str) -> str | None:
        given = self.optional(key, str, "a text")
        if given is not None and not given.strip():
            raise SettingError(f"{self.path}.{key} is empty: give a text or leave it out")
        return given

    def required_text(self, key: str) -> str:
        given = self.text(key)
        if given is None:
            raise SettingError(f"{self.path}.{key} is missing")
        return given

    def texts(self, key: str) -> tuple[str, ...]:
        given = self.optional(key, list, "a list of texts") or []
        if not all(isinstance(text, str) and text.strip() for text in given):
            raise SettingError(f"{self.path}.{key} must be a list of texts; got {json.dumps(given)}")
        return tuple(given)

    def truth(self, key: str, *, default: bool) -> bool:
        given = self.optional(key, bool, "true or false")
        return default if given is None else given

    def number(self, key: str, default: float) -> float:
        self._known.append(key)
        given = self._given.get(key, default)
        if isinstance(given, bool) or not isinstance(given, int | float):
            raise SettingError(f"{self.path}.{key} must be a number; got {json.dumps(given)}")
        return given

    def choice(self, key: str, choices: tuple[Choice, ...]) -> Choice:
        """One of the choices; the first is the default."""
        given = self.text(key)
        if given is not None and given not in choices:
            raise SettingError(f"{self.path}.{key} must be {' or '.join(choices)}; got {given!r}")
        return choices[0] if given is None else choices[choices.index(given)]

    def finish(self) -> None:
        """Refuse keys that nobody asked for."""
        for key in self._given:
            if key not in self._known:
                raise SettingError(f"{self.path} has no setting {key!r}{_nearest(key, dict.fromkeys(self._known))}")

"""How much strain on the database a run gives way to, and when nothing is destroyed."""

from typing import Annotated, Any

from pydantic import AfterValidator, Field, model_validator

from infra.settings.refusals import refused
from infra.settings.values import LIST, Group, Text
from nightshift.declaration.limits import Limits
from nightshift.declaration.windows import Freeze
from nightshift.errors import SettingError

_DEFAULT = Limits()


def _at_least(given: float) -> float:
    if not 0 <= given < float("inf"):
        raise ValueError(f"must be 0, which turns it off, or more; got {given:g}")
    return given


def _share(given: float) -> float:
    if not 0 <= given <= 100:
        raise ValueError(f"must be a share in percent, from 0 to 100; got {given:g}")
    return given


def _work(given: float) -> float:
    if not 1 <= given <= 100:
        raise ValueError(f"must be a share in percent, from 1 to 100: a run has to come to its end; got {given:g}")
    return given


def _some_time(given: float) -> float:
    if not 1 <= given <= 900:
        raise ValueError(f"must be from 1 to 900 seconds, as long as a function runs; got {given:g}")
    return given


Limit = Annotated[float, AfterValidator(_at_least), Field(json_schema_extra={"minimum": 0})]
Number = Annotated[int, AfterValidator(_at_least), Field(json_schema_extra={"minimum": 0})]


class Strain(Group):
    """From which value of each signal on a run waits or works more slowly."""

    lock_waits: Number = Field(
        default=_DEFAULT.lock_waits,
        description="sessions that wait for a lock on a table of the step for more than 0.1 s, or hold one that its "
        "batch would wait for: from so many on the run is held. One is enough: somebody waits already",
    )
    replica_lag_seconds: Limit = Field(
        default=_DEFAULT.replica_lag_seconds,
        description="seconds that the slowest replica is behind: from half of it on the run is slowed, from all of it "
        "on held. Readers notice more than a few seconds",
    )
    replica_lag_megabytes: Limit = Field(
        default=_DEFAULT.replica_lag_megabytes,
        description="MB of log that the slowest replica has to replay: in the same way. A healthy one has a few; this "
        "is what a stopped one shows at once",
    )
    transaction_seconds: Limit = Field(
        default=_DEFAULT.transaction_seconds,
        description="seconds since the oldest transaction in this database began: from so many on the run is held, "
        "because VACUUM cannot remove what it deletes meanwhile. Longer than any request, shorter than most dumps",
    )
    horizon_transactions: Number = Field(
        default=_DEFAULT.horizon_transactions,
        description="how many transactions back a session, a slot or a prepared transaction keeps dead rows: from so "
        "many on the run is held. An hour of 3,000 writing transactions a second",
    )
    vacuums: Number = Field(
        default=_DEFAULT.vacuums,
        description="VACUUM (autovacuum too), ANALYZE or index builds at work on a table of the step: from so many on "
        "the run is slowed. It is not held: it may take hours, and makes room",
    )
    connections_percent: Annotated[
        float, AfterValidator(_share), Field(json_schema_extra={"minimum": 0, "maximum": 100})
    ] = Field(
        default=_DEFAULT.connections_percent,
        description="percent of `max_connections` in use, those kept for superusers left out: from so many on the run "
        "is held. The last tenth is for whoever looks into it",
    )
    dead_rows: Number = Field(
        default=_DEFAULT.dead_rows,
        description="dead rows of the tables of the step: from so many on the run is slowed, so that autovacuum keeps "
        "up. It is not held: autovacuum may be off. About what one round of autovacuum removes in minutes",
    )
    gate: Text | None = Field(
        default=None,
        description="SQL of one's own, a SELECT of one value that only reads and takes a second at most: `true` lets a "
        "run go on, `false` holds it, a text holds it and is told as the reason; a text that is null lets it go on. "
        "What fails is told as unknown and holds nobody up",
    )
    hold_seconds: Annotated[
        float, AfterValidator(_some_time), Field(json_schema_extra={"minimum": 1, "maximum": 900})
    ] = Field(
        default=_DEFAULT.hold_seconds,
        description="seconds that one attempt waits. Then the run is interrupted, and the supervisor tries it again "
        "within a minute: a function that waits is paid for",
    )
    work_percent: Annotated[float, AfterValidator(_work), Field(json_schema_extra={"minimum": 1, "maximum": 100})] = (
        Field(
            default=_DEFAULT.work_percent,
            description="percent of the time that batches take while other sessions are at work; the rest they have "
            "to themselves. So few transactions meet a batch that their p99 stays what it is. 100: never rest",
        )
    )

    @property
    def changes(self) -> dict[str, Any]:
        """What was set, for a function's environment."""
        return self.model_dump(exclude_unset=True, exclude_none=True)


class FreezeSettings(Group):
    """A time in which nothing is destroyed."""

    from_: Text = Field(alias="from", description="the start, included, like `2026-12-20T00:00:00Z`")
    to: Text = Field(description="the end, not included")
    reason: Text = Field(description="why; whoever finds a job that waits is told it")
    jobs: Annotated[tuple[Text, ...], LIST] = Field(
        default=(), description="only these jobs, by name; without `jobs` and `kinds` all that destroy something"
    )
    kinds: Annotated[tuple[Text, ...], LIST] = Field(
        default=(), description="all jobs of these kinds, such as `retention`"
    )

    @property
    def freeze(self) -> Freeze:
        return Freeze.read(self.model_dump(by_alias=True))

    @model_validator(mode="after")
    def _can_be_meant(self) -> "FreezeSettings":
        try:
            self.freeze  # noqa: B018 - it is read here to be refused here
        except SettingError as error:
            raise refused([((), f": {error}")]) from None
        return self

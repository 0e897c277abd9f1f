"""A step that looks after the system itself: the database, the outbox, the jobs, the file store, and what one adds.

A component that cannot be measured is `unknown`, which is neither healthy nor bad. Replication is left out where there
is no replica. Of components that are bad in two checks running somebody is told.
"""

import datetime as dt
import math
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any, ClassVar, Literal

from sqlalchemy import delete, select, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from nightshift.database import by_halves, describe
from nightshift.database.halving import DATA_ERRORS
from nightshift.declaration import (
    PERIODS_WITHOUT_SUCCESS,
    Deployment,
    Execution,
    Parameter,
    Run,
    StepDefaults,
    StepPlan,
    function_name,
)
from nightshift.errors import printable
from nightshift.outbox import page, tell_operators
from nightshift.steps.tables import HealthRecord
from nightshift.store import FileStore, FileStoreError

Status = Literal["healthy", "unknown", "degraded", "unhealthy"]
BAD: tuple[Status, ...] = ("degraded", "unhealthy")

OUTBOX_TITLE = "The outbox is {status}"
OUTBOX_TEXT = (
    "The oldest notice of Nightshift's outbox has waited for {minutes:.0f} minutes. Mails, alerts and reports wait "
    "with it, so this comes past it.\n\nFirst: check that the rule {dispatcher} is enabled and that Lambda is "
    "not throttled; then read the log group /aws/lambda/{dispatcher}."
)

SECONDS_EACH = 5
PROBE_KEY = "health/probe"

DATABASE, FILES, OUTBOX = "database", "files", "outbox"
NO_REPLICA = "no replica"
PING = text("select 1")
SLOWEST_PING_MS = 1000


@dataclass(frozen=True)
class Component:
    """What was found of a component. `value` has the unit that its key names."""

    status: Status
    value: float | None = None
    reason: str | None = None

    @classmethod
    def judged(cls, value: Any, over: float) -> "Component":
        """Degraded when the value is over a limit, without end as well, and unknown without a value or a number."""
        if value is None:
            return cls("unknown", None, "not measured")
        found = float(value)
        if math.isnan(found):
            return cls("unknown", None, "no number")
        shown = round(found, 3) if math.isfinite(found) else None  # JSON has no other numbers
        return cls("degraded", shown, f"more than {over:g}") if found > over else cls("healthy", shown)


Measure = tuple[str, float]

MEASURES: dict[str, Measure] = {
    # Of the connections that the server takes, the share in use.
    "connections": (
        "select count(*)::numeric / current_setting('max_connections')::int from pg_stat_activity",
        0.8,
    ),
    # The minutes that the oldest notice has waited beyond its time, of the channels that are sent or released from
    # here: all but push, which the application sends.
    OUTBOX: (
        "select greatest(max(extract(epoch from :now - greatest(scheduled_for, created_at)) / 60), 0)"
        " from nightshift.notifications"
        " where status = 'pending' and channel <> 'push' and scheduled_for <= :now",
        15,
    ),
}
"""By name: the SELECT of one value, at `:now`, and the limit over which the component is degraded."""

# The seconds by which the slowest replica is behind. To whoever may not see it, its state and lag are null.
REPLICATION = text(
    "select count(*), count(state), extract(epoch from coalesce(max(replay_lag), '0')) from pg_stat_replication"
    " where state is null or state in ('streaming', 'catchup')"
)
LONGEST_LAG = 5

LATEST_SUCCESSES = text(
    """
    select job.name, coalesce(latest.finished_at, job.registered_at) as since
    from nightshift.jobs job
    left join lateral (
        select finished_at from nightshift.job_runs run
        where run.job = job.name and run.outcome = 'succeeded' order by scheduled_for desc limit 1
    ) as latest on true
    where job.paused_at is null
    """
)


def in_database(
    session: Session, now: dt.datetime, own_job: str, more: Mapping[str, Measure]
) -> Iterator[tuple[str, Component]]:
    """The components that the database tells of, in the caller's transaction, each within five seconds."""
    session.execute(text("select set_config('statement_timeout', :limit, true)"), {"limit": f"{SECONDS_EACH}s"})
    yield DATABASE, _guarded(session, partial(ping, session), otherwise="unhealthy")
    for name, (measure, limit) in {**MEASURES, **more}.items():
        yield name, _guarded(session, partial(_measured, session, measure, {"now": now}, limit))
    yield "jobs", _guarded(session, partial(jobs, session, now, own_job))
    replicas = _guarded(session, partial(replication, session))
    if replicas.reason != NO_REPLICA:
        yield "replication", replicas


def ping(session: Session) -> Component:
    """The milliseconds of a question to the database. Whether it can be reached at all is known before."""
    started = time.perf_counter()
    session.execute(PING)
    return Component.judged((time.perf_counter() - started) * 1000, SLOWEST_PING_MS)


def jobs(session: Session, now: dt.datetime, own_job: str) -> Component:
    """How many jobs have not succeeded within two periods of their own schedules.

    One sign of life for all would hide a dead job behind the living ones. A job that has never succeeded has as long
    from the first time it was known; disabled and paused jobs do not count, and neither does the one that asks. A job
    whose settings make no sense is one of them.
    """
    since: dict[str, dt.datetime] = dict(session.execute(LATEST_SUCCESSES).all())
    understood, others = Deployment.from_environment().understood()
    overdue = sorted(others) + [
        name
        for name, deployed in understood.items()
        if deployed.enabled and name in since and name != own_job
        if now - since[name] > PERIODS_WITHOUT_SUCCESS * deployed.schedule.period(now)
    ]
    return Component("degraded", len(overdue), ", ".join(overdue)) if overdue else Component("healthy", 0)


def replication(session: Session) -> Component:
    replicas, seen, lag = session.execute(REPLICATION).one()
    if not replicas:
        return Component("healthy", None, NO_REPLICA)
    return Component.judged(lag if seen else None, LONGEST_LAG)


def file_store(files: FileStore) -> Component:
    """Whether the file store takes an object and gives it back, and in how many milliseconds."""
    content, started = uuid.uuid4().bytes, time.perf_counter()

    def put_and_get() -> bool:
        files.write(PROBE_KEY, content, content_type="application/octet-stream")
        return files.read(PROBE_KEY) == content

    pool = ThreadPoolExecutor(1)
    try:
        same = pool.submit(put_and_get).result(timeout=SECONDS_EACH)
    except FileStoreError as error:
        return Component("unhealthy", None, printable(str(error)))
    except TimeoutError:
        return Component("unhealthy", None, f"no answer within {SECONDS_EACH} seconds")
    finally:
        pool.shutdown(wait=False)
    took = round((time.perf_counter() - started) * 1000, 3)
    return Component("healthy", took) if same else Component("unhealthy", took, "gave back another object")


def _measured(session: Session, measure: str, values: dict[str, Any], limit: float) -> Component:
    return Component.judged(session.scalar(text(measure), values), limit)


def _guarded(session: Session, measure: Callable[[], Component], otherwise: Status = "unknown") -> Component:
    """What was measured, or `otherwise` when the database refused to tell, took too long, or told no number."""
    try:
        with session.begin_nested():
            return measure()
    except DBAPIError as error:
        return Component(otherwise, None, describe(error))
    except DATA_ERRORS as error:
        return Component(otherwise, None, f"no number ({type(error).__name__})")


Found = Mapping[str, Component]
Judge = Callable[[Session, Run, Found], None]
"""Tells whom it concerns what a check has found, in its transaction. The check itself is not stored yet."""


def tell_of_bad(session: Session, run: Run, found: Found) -> None:
    """Tell the operators of what is bad in two checks running, once; again when it has become worse.

    They are paged with a bad outbox past it. What is written into it tells nobody.
    """
    for name in became_bad(session, run, found):
        one = found[name]
        if name != OUTBOX:
            tell_operators(
                session,
                run,
                key=f"{run.job}|{name}|{run.now:%Y-%m-%dT%H:%M:%SZ}",
                title=f"{name} is {one.status}",
                body="Two health checks running have found it bad.",
                data={"component": name, **{key: value for key, value in asdict(one).items() if value is not None}},
            )


def became_bad(session: Session, run: Run, found: Found) -> list[str]:
    """What is bad in two checks running for the first time, or worse than before."""
    earlier = select(HealthRecord.components).where(HealthRecord.checked_at < run.now)
    latest = session.scalars(earlier.order_by(HealthRecord.checked_at.desc()).limit(2)).all()
    before, long_before = ([*latest, {}, {}])[:2]
    names = []
    for name, one in found.items():
        was, had_been = (_rank(status_in(check, name)) for check in (before, long_before))
        if min(_rank(one.status), was) > min(was, had_been):
            names.append(name)
    return names


def status_in(components: Any, name: str) -> Any:
    """What an earlier check has found of a component. None where it says nothing of it, or nothing that can be read."""
    one = components.get(name) if isinstance(components, dict) else None
    return one.get("status") if isinstance(one, dict) else None


def _rank(status: Any) -> int:
    """How bad it is; 0: not at all."""
    return BAD.index(status) + 1 if status in BAD else 0


def overall(found: Found) -> Status:
    return max((one.status for one in found.values() if one.status in BAD), key=BAD.index, default="healthy")


@dataclass(frozen=True, kw_only=True)
class HealthCheck(StepDefaults):
    """Measure every component, write down what was found, and tell of what is bad in two checks running.

    The job needs `files` and `deployment`. The whole is as bad as its worst component.

    measures: components of one's own, by name: a SELECT of one value, in which `:now` is the check's time, and the
        limit over which it is degraded.
    judge: who is told, and when; by default the operators, through the outbox. With the outbox itself the operators are
        paged past it, whatever this does, if the job needs `operators` as well.
    writes: the tables that `judge` writes.
    """

    name: str = "check"
    measures: Mapping[str, Measure] = field(default_factory=dict)
    judge: Judge = tell_of_bad
    writes: tuple[str, ...] = ("nightshift.notifications",)

    counters: ClassVar[tuple[str, ...]] = ("components", "degraded", "unhealthy", "unknown", "written")
    changes: ClassVar[tuple[str, ...]] = ("written",)
    parameters: ClassVar[tuple[Parameter, ...]] = ()
    destructive: ClassVar[bool] = False
    folders: ClassVar[tuple[str, ...]] = ("health/",)

    @property
    def tables(self) -> tuple[str, ...]:
        return (HealthRecord.__table__.fullname, *self.writes)  # type: ignore[attr-defined]

    def fingerprint(self, run: Run) -> str:
        return "one batch"

    def plan(self, session: Session, run: Run) -> list[StepPlan]:
        return [StepPlan(self.name, self.tables[0], "insert", 1)]

    def apply(self, execution: Execution) -> None:
        if execution.position is not None:
            return
        run, started = execution.run, time.perf_counter()
        stored = file_store(execution.resources.files)  # before the transaction, which need not wait for it
        with execution.batch() as batch:
            found = {**dict(in_database(batch.session, run.now, run.job, self.measures)), FILES: stored}
            if OUTBOX in became_bad(batch.session, run, found):
                minutes = found[OUTBOX].value or 0
                page(
                    OUTBOX_TITLE.format(status=found[OUTBOX].status),
                    OUTBOX_TEXT.format(minutes=minutes, dispatcher=function_name("dispatcher")),
                )
            by_halves(
                batch.session,
                [found],
                lambda each: self.judge(batch.session, run, each[0]),
                lambda _, error: batch.quarantine("the judgement of what was found", error),
            )
            batch.session.execute(delete(HealthRecord).where(HealthRecord.checked_at == run.now))
            batch.session.add(
                HealthRecord(
                    checked_at=run.now,
                    overall=overall(found),
                    components={name: asdict(one) for name, one in found.items()},
                    duration_ms=round((time.perf_counter() - started) * 1000),
                )
            )
            statuses = [one.status for one in found.values()]
            numbers = {status: statuses.count(status) for status in ("degraded", "unhealthy", "unknown")}
            batch.count(components=len(found), written=1, **numbers)
            batch.position = {"done": True}

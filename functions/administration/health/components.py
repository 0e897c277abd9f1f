"""The components that health-check looks at: how each is measured, and from where on it is bad.

A component that cannot be measured is `unknown`, which is neither healthy nor bad. Memory, processor and storage are
not to be had from PostgreSQL: they are known only where somebody writes `memory_percent`, `cpu_percent` and
`storage_percent` into the newest ten-minute figures. Replication is left out where there is no replica.
"""

import datetime as dt
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from nightshift.database import describe
from nightshift.declaration import Deployment
from nightshift.operations import PERIODS_WITHOUT_SUCCESS
from nightshift.store import FileStore, FileStoreError

Status = Literal["healthy", "unknown", "degraded", "unhealthy"]
BAD: tuple[Status, ...] = ("degraded", "unhealthy")

SECONDS_EACH = 5
PROBE_KEY = "health-check/probe"

DATABASE, FILES = "database", "files"
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
        """Degraded when the value is over a limit, and unknown without a value."""
        if value is None:
            return cls("unknown", None, "not measured")
        found = round(float(value), 3)
        return cls("degraded", found, f"more than {over:g}") if value > over else cls("healthy", found)


MEASURES: dict[str, tuple[str, float]] = {
    # Of the connections that the server takes, the share in use.
    "connections": (
        "select count(*)::numeric / current_setting('max_connections')::int from pg_stat_activity",
        0.8,
    ),
    # The minutes that the oldest notice has waited beyond its time, of the channels that are sent from here.
    "outbox": (
        "select coalesce(max(extract(epoch from :now - scheduled_for) / 60), 0) from nightshift.notifications"
        " where status = 'pending' and channel in ('email', 'ops') and scheduled_for <= :now",
        15,
    ),
    # The share of requests that failed within ten minutes.
    "error_rate": (
        "select sum(errors)::numeric / nullif(sum(n), 0) from request_stats"
        " where minute >= cast(:now as timestamptz) - interval '10 minutes' and minute < :now",
        0.05,
    ),
    **{
        name: (
            f"select (data ->> '{name}_percent')::numeric / 100 from nightshift.metric_rollups"  # noqa: S608 - constants
            " where scope = 'perf_10m' and period_end <= :now"
            " and period_end > cast(:now as timestamptz) - interval '30 minutes'"
            " order by period_start desc limit 1",
            limit,
        )
        for name, limit in {"memory": 0.9, "cpu": 0.8, "storage": 0.9}.items()
    },
}
"""By name: the SELECT of one value, and the limit over which the component is degraded."""

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


def in_database(session: Session, now: dt.datetime, own_job: str) -> Iterator[tuple[str, Component]]:
    """The components that the database tells of, in the caller's transaction, each within five seconds."""
    session.execute(text("select set_config('statement_timeout', :limit, true)"), {"limit": f"{SECONDS_EACH}s"})
    yield DATABASE, _guarded(session, partial(ping, session), otherwise="unhealthy")
    for name, (measure, limit) in MEASURES.items():
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
    from the first time it was known; disabled and paused jobs do not count, and neither does the one that asks.
    """
    since: dict[str, dt.datetime] = dict(session.execute(LATEST_SUCCESSES).all())
    overdue = [
        name
        for name, deployed in Deployment.from_environment().jobs().items()
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
        return Component("unhealthy", None, str(error))
    except TimeoutError:
        return Component("unhealthy", None, f"no answer within {SECONDS_EACH} seconds")
    finally:
        pool.shutdown(wait=False)
    took = round((time.perf_counter() - started) * 1000, 3)
    return Component("healthy", took) if same else Component("unhealthy", took, "gave back another object")


def _measured(session: Session, measure: str, values: dict[str, Any], limit: float) -> Component:
    return Component.judged(session.scalar(text(measure), values), limit)


def _guarded(session: Session, measure: Callable[[], Component], otherwise: Status = "unknown") -> Component:
    """What was measured, or `otherwise` when the database refused to tell or took too long."""
    try:
        with session.begin_nested():
            return measure()
    except DBAPIError as error:
        return Component(otherwise, None, describe(error))

"""Two accidents of the demonstration, and how the supervisor mends them: a killed job, and a lost event."""

import datetime as dt
import json
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import psutil
from botocore.exceptions import BotoCoreError, ClientError
from sqlalchemy import Engine, NullPool, Select, create_engine, func, select, update
from sqlalchemy.orm import Session

from local.machine import DATABASE, Machine
from nightshift.declaration import function_name, registry
from nightshift.ledger.occurrences import PATIENCE
from nightshift.ledger.tables import RegisteredJob, RunRecord

if TYPE_CHECKING:
    from mypy_boto3_lambda import LambdaClient

SECONDS = 60.0

Found = TypeVar("Found")


@dataclass(frozen=True)
class LongWork:
    """Work that can be killed in its middle: so many rows for a job to delete, slowly.

    rows: at least so many; the job may find some of its own.
    hurry: lets what is left of the work go fast.
    """

    job: str
    rows: int
    hurry: Callable[[], None]


def kill_in_the_middle(running: Machine, work: LongWork) -> str | None:
    """Run the job, kill its process in the middle, and have the supervisor finish the run. Returns what happened; None
    when it went otherwise.

    The dead attempt's lease is made to end at once: nobody wants to watch it for a minute and a half.
    """
    functions: LambdaClient = running.aws.client("lambda")
    name = function_name(work.job)

    def call() -> None:
        with suppress(BotoCoreError, ClientError):  # its process dies
            functions.invoke(FunctionName=name, Payload=json.dumps({"parameters": {"max_share": 100}}).encode())

    engine = create_engine(running.postgres.url(DATABASE), poolclass=NullPool)
    with engine.connect() as connection:
        since = connection.execute(select(func.clock_timestamp())).scalar_one()
    newest = select(RunRecord).where(RunRecord.job == work.job, RunRecord.created_at > since)

    def in_its_middle() -> RunRecord | None:
        run = _one(engine, newest)
        return run if run is not None and work.rows // 4 < run.counters.get("deleted", 0) else None

    with ThreadPoolExecutor(1) as threads:
        threads.submit(call)
        _eventually(in_its_middle)
        for worker in _workers(name):
            worker.kill()
    work.hurry()
    run = _one(engine, newest)
    if run is None or run.state != "running":
        return None
    deleted, counted = run.counters["deleted"], sum((run.candidates or {}).values())
    with engine.begin() as connection:
        own = update(RunRecord).where(RunRecord.id == run.id, RunRecord.epoch == run.epoch)
        connection.execute(own.values(lease_until=func.clock_timestamp()))
    functions.invoke(FunctionName=function_name("supervisor"), Payload=b"{}")
    ended = _eventually(lambda: _one(engine, newest.where(RunRecord.finished_at.is_not(None))))
    if ended is None or (ended.state, ended.counters["deleted"]) != ("succeeded", counted):
        return None
    return (
        f"{work.job} was killed in the middle, after {deleted:,} of {counted:,} rows. The supervisor took the run "
        f"over, and attempt {ended.attempts} deleted the other {counted - deleted:,}"
    )


def lose_an_event(running: Machine) -> str | None:
    """Let the last occurrence of a job look as if its event had never come, and have the supervisor look. Returns what
    happened, or that no job's last occurrence would do; None when it went otherwise.
    """
    functions: LambdaClient = running.aws.client("lambda")
    engine = create_engine(running.postgres.url(DATABASE), poolclass=NullPool)
    functions.invoke(FunctionName=function_name("supervisor"), Payload=b"{}")  # from now on it knows the schedules
    with Session(engine) as session, session.begin():
        found = _lost(session)
        if found is None:
            return "No event was lost: no job had an occurrence since yesterday that its policy would catch up"
        job, due = found
        before = due - dt.timedelta(seconds=1)
        session.execute(update(RegisteredJob).where(RegisteredJob.name == job).values(accounted_until=before))
    functions.invoke(FunctionName=function_name("supervisor"), Payload=b"{}")
    its = select(RunRecord).where(RunRecord.job == job, RunRecord.scheduled_for == due, RunRecord.mode == "apply")
    run = _eventually(lambda: _one(engine, its.where(RunRecord.finished_at.is_not(None))))
    if run is None or (run.trigger, run.state) != ("catch_up", "succeeded"):
        return None
    return (
        f"The event of {job} for {due:%a %d %b %H:%M} never came. The supervisor found the occurrence, and caught it "
        "up as the job's policy says"
    )


def _lost(session: Session) -> tuple[str, dt.datetime] | None:
    """The job with the most recent occurrence that has no run and, by the job's policy, is to be caught up."""
    now = session.execute(select(func.clock_timestamp())).scalar_one()
    found: list[tuple[dt.datetime, str]] = []
    known = select(RegisteredJob.name, RegisteredJob.schedule).where(RegisteredJob.paused_at.is_(None))
    for name, schedule in session.execute(known):
        job = registry()[name].job
        policy = job.effective_policy
        if schedule != str(job.timetable) or policy.missed != "latest" or policy.late_limit is not None:
            continue
        times = list(job.timetable.between(now - dt.timedelta(days=2), now + dt.timedelta(minutes=1)))
        taken = select(RunRecord.id).where(RunRecord.job == name, RunRecord.scheduled_for.in_(times[-1:]))
        if times and times[-1] < now - PATIENCE and session.scalar(taken) is None:
            found.append((times[-1], name))
    return (max(found)[1], max(found)[0]) if found else None


def _workers(function: str) -> list[psutil.Process]:
    """The processes that run a function now."""
    found = []
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
            if process.environ().get("AWS_LAMBDA_FUNCTION_NAME") == function:
                found.append(process)
    return found


def _one(engine: Engine, which: Select[RunRecord]) -> RunRecord | None:
    with Session(engine, expire_on_commit=False) as session:
        return session.scalars(which.order_by(RunRecord.created_at.desc()).limit(1)).first()


def _eventually(look: Callable[[], Found | None]) -> Found | None:
    """Look again and again until something is found, for a minute."""
    deadline = time.monotonic() + SECONDS
    while (found := look()) is None and time.monotonic() < deadline:
        time.sleep(0.02)
    return found

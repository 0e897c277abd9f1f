"""The demonstration: a data set, every deployed job run through Lambda, one failing on purpose, and what each did."""

import datetime as dt
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from itertools import chain
from typing import TYPE_CHECKING, Any, Protocol, cast

from rich.console import Console
from rich.table import Column, Table
from sqlalchemy import NullPool, create_engine, func, select, update

from local.accidents import LongWork
from local.aws import LocalAws, calls_at_once
from local.machine import DATABASE, Machine, deployed_jobs
from local.occasions import last_due
from local.terminal import tracked
from nightshift import Job
from nightshift.declaration import function_name, registry
from nightshift.outbox import Notification

if TYPE_CHECKING:
    from mypy_boto3_lambda import LambdaClient
    from mypy_boto3_sqs import SQSClient

FAILURE_SECONDS = 60.0


class Example(Protocol):
    """What an application can give to its demonstration, as functions of `local.example`."""

    def load(self, running: Machine, console: Console, *, now: dt.datetime, users: int) -> int:
        """Fill the database as of now. Returns the number of rows."""

    def last_due(self, job: Job, now: dt.datetime) -> dt.datetime | None:
        """The last time, not after `now`, at which the job had something to do; None: at any time, or as its step
        says."""

    def long_work(self, running: Machine) -> LongWork:
        """Add work that takes a job seconds."""


def what_it_gives() -> Example | None:
    """That of this application, if it has one."""
    return cast(Example, import_module("local.example")) if find_spec("local.example") else None


@dataclass(frozen=True)
class Invocation:
    """What one job answered: its result, or the error that Lambda reports. `due` is the past time it was run for."""

    job: str
    due: dt.datetime | None
    failed: bool
    answer: Mapping[str, Any]

    @property
    def outcome(self) -> str:
        return "error" if self.failed else str(self.answer["outcome"])

    @property
    def as_it_should(self) -> bool:
        """Whether the job did its work, or had none."""
        return self.outcome in ("succeeded", "skipped", "planned")


def load_data(running: Machine, console: Console, *, now: dt.datetime, users: int = 20_000) -> int | None:
    """Fill the database with the example's data as of now. Returns the number of rows; None without the example."""
    found = what_it_gives()
    return None if found is None else found.load(running, console, now=now, users=users)


def invoke_all(aws: LocalAws, console: Console, *, now: dt.datetime) -> list[Invocation]:
    """Invoke every deployed job once, as a person would from the console: with `{}`, or with the last time at which it
    was due when its work depends on the clock. As many at a time as processors: a first call unpacks the layers, which
    takes longer than most jobs. Those for a past time come one after another, as they would have: some heed each
    other's mails of the day.
    """
    functions: LambdaClient = aws.client("lambda")
    jobs = deployed_jobs(aws)
    due = {job: at for job in jobs if (at := run_for(registry()[job].job, now))}

    def invoke(job: str) -> Invocation:
        payload = {"scheduled_for": due[job].isoformat()} if job in due else {}
        answer = functions.invoke(FunctionName=function_name(job), Payload=json.dumps(payload).encode())
        return Invocation(job, due.get(job), "FunctionError" in answer, json.loads(answer["Payload"].read()))

    with calls_at_once() as pool:
        at_once = pool.map(invoke, [job for job in jobs if job not in due])
        in_turn = map(invoke, sorted(due, key=due.__getitem__))
        found = list(tracked(console, chain(at_once, in_turn), len(jobs), "Running every job"))
    return sorted(found, key=lambda each: jobs.index(each.job))


def run_for(job: Job, now: dt.datetime) -> dt.datetime | None:
    """The past time for which a job is run when its work depends on the clock; None for any other job."""
    found = what_it_gives()
    return (found.last_due(job, now) if found else None) or last_due(job, now)


def put_off_mails(running: Machine, *, kept: int = 20) -> None:
    """Put off all but so many mails of each kind until tomorrow. At the pace that SES sets, all would take a quarter of
    an hour, and the reports of the first of the month would come before the rest.
    """
    row = Notification
    place = func.row_number().over(partition_by=row.kind, order_by=(row.scheduled_for, row.id))
    placed = select(row.id, place.label("place")).where(row.channel == "email", row.status == "pending").subquery()
    later = update(row).where(row.id.in_(select(placed.c.id).where(placed.c.place > kept)), row.status == "pending")
    with create_engine(running.postgres.url(DATABASE), poolclass=NullPool).begin() as connection:
        connection.execute(later.values(scheduled_for=func.now() + dt.timedelta(days=1)))


def dispatch(aws: LocalAws) -> str | None:
    """Have the dispatcher send what the jobs have written into the outbox. Returns its error, if it fails.

    What it counts is only its own part: its rule starts another each minute, also while the jobs are at work.
    """
    functions: LambdaClient = aws.client("lambda")
    answer = functions.invoke(FunctionName=function_name("dispatcher"), Payload=b"{}")
    told = json.loads(answer["Payload"].read())
    return str(told["errorMessage"]) if "FunctionError" in answer else None


def mails_waiting(running: Machine) -> tuple[int, int]:
    """How many mails stand in the outbox: due ones, and those for later."""
    row, now = Notification, func.clock_timestamp()
    counted = select(func.count().filter(row.scheduled_for <= now), func.count().filter(row.scheduled_for > now))
    waiting = counted.where(row.channel == "email", row.status.in_(("pending", "sending")))
    with create_engine(running.postgres.url(DATABASE), poolclass=NullPool).connect() as connection:
        due, later = connection.execute(waiting).one()
    return due, later


def fail_on_purpose(running: Machine, job: str) -> str | None:
    """Invoke a job asynchronously with a payload that it refuses; return the error that its dead-letter queue holds.

    None when nothing arrived within a minute. The message is taken off the queue.
    """
    functions: LambdaClient = running.aws.client("lambda")
    queues: SQSClient = running.aws.client("sqs")
    name = function_name(job)
    queue = running.outputs["Nightshift-Platform"]["DeadLetterQueueUrl"]
    payload = {"parameters": {"no-such-parameter": 1}}
    functions.invoke(FunctionName=name, InvocationType="Event", Payload=json.dumps(payload).encode())
    deadline = time.monotonic() + FAILURE_SECONDS
    while time.monotonic() < deadline:
        for message in queues.receive_message(QueueUrl=queue, WaitTimeSeconds=1).get("Messages", []):
            queues.delete_message(QueueUrl=queue, ReceiptHandle=message["ReceiptHandle"])
            record = json.loads(message["Body"])
            if record.get("requestPayload") == payload:
                return str(record["responsePayload"]["errorMessage"])
    return None


def results_table(invocations: list[Invocation]) -> Table:
    """Job, outcome, the time it was run for, counters, duration and next run, a line each; times in UTC. Counters that
    are zero are left out.
    """
    table = Table(
        Column("Job", no_wrap=True),
        Column("Outcome", no_wrap=True),
        Column("Run for (UTC)", no_wrap=True),
        Column("What it did"),
        Column("Took", no_wrap=True, justify="right"),
        Column("Next run (UTC)", no_wrap=True),
        title="What each job did",
        title_justify="left",
        caption="A job that goes by people's clocks was run for the last time at which it was due in UTC.",
        caption_justify="left",
    )
    for invocation in invocations:
        next_run = registry()[invocation.job].job.timetable.next_after(dt.datetime.now(dt.UTC))
        duration = invocation.answer.get("duration_ms")
        table.add_row(
            invocation.job,
            f"[{'green' if invocation.as_it_should else 'red'}]{invocation.outcome}",
            f"{invocation.due:%a %d %b %H:%M}" if invocation.due else "now",
            str(invocation.answer.get("errorMessage", "")) or _done(invocation.answer.get("counters", {})),
            "" if duration is None else f"{duration:,} ms",
            "never" if next_run is None else f"{next_run:%a %d %b %H:%M}",
        )
    return table


def notes(invocations: list[Invocation]) -> list[str]:
    """What is to be read beside the counters: what runs have noted, and the errors of rows that were left as they
    were. What several jobs say is told once.
    """
    told: dict[str, list[str]] = {}
    for each in invocations:
        for note in each.answer.get("notes", ()):
            told.setdefault(note, []).append(each.job)
        if each.answer.get("errors"):
            told.setdefault(f"left as they were: {each.answer['errors'][0]}", []).append(each.job)
    return [f"{', '.join(jobs)}: {note}" for note, jobs in told.items()]


def _done(counters: Mapping[str, Any]) -> str:
    told = {name: value for name, value in counters.items() if isinstance(value, int) and value and name != "batches"}
    return ", ".join(f"{name.replace('_', ' ')} {value:,}" for name, value in told.items()) or "nothing to do"

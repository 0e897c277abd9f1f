"""The demonstration: a data set, every deployed job run through Lambda, one failing on purpose, and what each did."""

import datetime as dt
import json
import os
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Column, Table
from sqlalchemy import Engine, NullPool, create_engine, func, select, update
from sqlalchemy.orm import Session

from application.models import Upload, file_references
from application.sealed import Sealer
from local import dataset
from local.aws import LocalAws
from local.collect import UPLOADS
from local.dataset.tracking import Encrypt
from local.machine import DATABASE, Machine, deployed_jobs
from local.occasions import last_due
from nightshift.declaration import function_name, registry
from nightshift.outbox import Notification
from nightshift.store import DataKeys, KeyService

if TYPE_CHECKING:
    from mypy_boto3_kms import KMSClient
    from mypy_boto3_lambda import LambdaClient
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_sqs import SQSClient

FAILURE_SECONDS = 60.0


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


@dataclass(frozen=True)
class LocalKeyService(KeyService):
    """The key of the local AWS, whose address is in nobody's environment here."""

    aws: LocalAws

    @cached_property
    def _client(self) -> "KMSClient":
        client: KMSClient = self.aws.client("kms")
        return client


def load_data(running: Machine, console: Console, *, now: dt.datetime, users: int = 20_000) -> int:
    """Fill the database with users and what belongs to them as of now, amounts sealed, and the store with their files.

    Returns the number of rows.
    """
    engine = create_engine(running.postgres.url(DATABASE), poolclass=NullPool)
    with _progress(console) as progress:
        task = progress.add_task(f"Making {users:,} users and what belongs to them", total=len(dataset.TABLES))

        def filled(table: str, rows: int) -> None:
            progress.advance(task)

        rows = dataset.load(engine, now=now, users=users, encrypt=_seal(running, engine), progress=filled)
        _upload_orphans(running, engine, progress)
    return sum(rows.values())


def _seal(running: Machine, engine: Engine) -> Encrypt | None:
    """What seals amounts with the deployment's own data key; None when no deployed job needs one."""
    kms_key = running.outputs["Nightshift-Platform"].get("KmsKeyArn")
    if kms_key is None:
        return None
    with Session(engine) as session:
        return Sealer(DataKeys.stored(session, LocalKeyService(kms_key, running.aws))).seal


def _upload_orphans(running: Machine, engine: Engine, progress: Progress) -> None:
    """Store a file for every upload that nothing refers to: the old ones of them are for cleanup-orphaned-files."""
    store: S3Client = running.aws.client("s3")
    references = select(file_references.c.storage_key).where(file_references.c.storage_key == Upload.storage_key)
    orphans = select(Upload.storage_key).where(~references.exists())
    with engine.connect() as connection:
        names = connection.scalars(orphans).all()

    def put(name: str) -> None:
        store.put_object(Bucket=running.files_bucket, Key=f"{UPLOADS}{name}", Body=name.encode())

    with _workers() as pool:
        for _ in progress.track(pool.map(put, names), total=len(names), description="Storing their files"):
            pass


@contextmanager
def _workers() -> Iterator[ThreadPoolExecutor]:
    """As many as processors. After Ctrl-C nobody waits for their calls, which end when the local AWS is stopped."""
    pool = ThreadPoolExecutor(os.cpu_count())
    try:
        yield pool
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _progress(console: Console) -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    return Progress(*columns, console=console, transient=True)


def invoke_all(aws: LocalAws, console: Console, *, now: dt.datetime) -> list[Invocation]:
    """Invoke every deployed job once, as a person would from the console: with `{}`, or with the last time at which it
    was due when its work depends on the clock. As many at a time as processors: a first call unpacks the layers, which
    takes longer than most jobs. Those for a past time come one after another, as they would have: daily-check and
    inactive-users heed each other's mails of the day.
    """
    functions: LambdaClient = aws.client("lambda")
    jobs = deployed_jobs(aws)
    due = {job: at for job in jobs if (at := last_due(registry()[job].job, now))}

    def invoke(job: str) -> Invocation:
        payload = {"scheduled_for": due[job].isoformat()} if job in due else {}
        answer = functions.invoke(FunctionName=function_name(job), Payload=json.dumps(payload).encode())
        return Invocation(job, due.get(job), "FunctionError" in answer, json.loads(answer["Payload"].read()))

    with _progress(console) as progress, _workers() as pool:
        at_once = pool.map(invoke, [job for job in jobs if job not in due])
        in_turn = map(invoke, sorted(due, key=due.__getitem__))
        found = list(progress.track(chain(at_once, in_turn), total=len(jobs), description="Running every job"))
    return sorted(found, key=lambda each: jobs.index(each.job))


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


def _done(counters: Mapping[str, Any]) -> str:
    told = {name: value for name, value in counters.items() if isinstance(value, int) and value and name != "batches"}
    return ", ".join(f"{name.replace('_', ' ')} {value:,}" for name, value in told.items()) or "nothing to do"

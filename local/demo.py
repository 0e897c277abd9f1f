"""The demonstration: a data set, every deployed job run through Lambda, one failing on purpose, and what each did."""

import datetime as dt
import json
import os
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Column, Table
from sqlalchemy import NullPool, create_engine

from local import dataset
from local.aws import LocalAws
from local.machine import DATABASE, Machine
from nightshift.deployment import function_name
from nightshift.registry import registry

if TYPE_CHECKING:
    from mypy_boto3_lambda import LambdaClient
    from mypy_boto3_sqs import SQSClient

FAILURE_SECONDS = 60.0


@dataclass(frozen=True)
class Invocation:
    """What one job answered: its result, or the error that Lambda reports."""

    job: str
    failed: bool
    answer: Mapping[str, Any]

    @property
    def outcome(self) -> str:
        return "error" if self.failed else str(self.answer["outcome"])

    @property
    def as_it_should(self) -> bool:
        """Whether the job did its work, or had none."""
        return self.outcome in ("succeeded", "skipped", "planned")


def load_data(running: Machine, console: Console) -> int:
    """Fill the database with 20,000 users and what belongs to them. Returns the number of rows."""
    engine = create_engine(running.postgres.url(DATABASE), poolclass=NullPool)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("Making 20,000 users and what belongs to them", total=len(dataset.TABLES))

        def filled(table: str, rows: int) -> None:
            progress.advance(task)

        rows = dataset.load(engine, now=dt.datetime.now(dt.UTC), progress=filled)
    return sum(rows.values())


def invoke_all(aws: LocalAws, console: Console) -> list[Invocation]:
    """Invoke every deployed job once, as a person would from the console: with `{}`. As many at a time as processors:
    a first call unpacks the layers, which takes longer than most jobs.
    """
    functions: LambdaClient = aws.client("lambda")
    pages = functions.get_paginator("list_functions").paginate()
    deployed = {function["FunctionName"] for page in pages for function in page["Functions"]}
    jobs = [job for job in registry() if function_name(job) in deployed]

    def invoke(job: str) -> Invocation:
        answer = functions.invoke(FunctionName=function_name(job), Payload=b"{}")
        return Invocation(job, "FunctionError" in answer, json.loads(answer["Payload"].read()))

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as progress, ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(progress.track(pool.map(invoke, jobs), total=len(jobs), description="Running every job"))


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
    """Job, outcome, counters, duration and next run in UTC, a line each. Counters that are zero are left out."""
    table = Table(
        Column("Job", no_wrap=True),
        Column("Outcome", no_wrap=True),
        Column("What it did"),
        Column("Took", no_wrap=True, justify="right"),
        Column("Next run (UTC)", no_wrap=True),
        title="What each job did",
        title_justify="left",
    )
    for invocation in invocations:
        next_run = registry()[invocation.job].job.timetable.next_after(dt.datetime.now(dt.UTC))
        duration = invocation.answer.get("duration_ms")
        table.add_row(
            invocation.job,
            f"[{'green' if invocation.as_it_should else 'red'}]{invocation.outcome}",
            str(invocation.answer.get("errorMessage", "")) or _done(invocation.answer.get("counters", {})),
            "" if duration is None else f"{duration:,} ms",
            "never" if next_run is None else f"{next_run:%a %d %b %H:%M}",
        )
    return table


def _done(counters: Mapping[str, Any]) -> str:
    told = {name: value for name, value in counters.items() if isinstance(value, int) and value and name != "batches"}
    return ", ".join(f"{name.replace('_', ' ')} {value:,}" for name, value in told.items()) or "nothing to do"

"""Invokes a job as Lambda would: in this process to measure its time, in its own process to measure its memory."""

import json
import logging
import os
import time
from collections.abc import Mapping
from contextlib import redirect_stdout
from dataclasses import dataclass
from importlib import import_module
from io import StringIO
from typing import Any, Self

from sqlalchemy import Engine

from bench.paired import ROOT, python, seconds
from nightshift import Job, telemetry

_OWN_PROCESS = """
import json, os, resource
{prelude}
from bench.invocation import Context
from {module} import job
from nightshift.runtime import invoke
result = invoke(job, json.loads(os.environ["BENCH_EVENT"]), Context())
print(json.dumps({{"peak_kb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, **result}}))
"""


class Context:
    """Lambda's context object: a new request id each time, and 15 minutes of time."""

    def __init__(self) -> None:
        self.aws_request_id = f"bench-{os.getpid()}-{time.monotonic_ns()}"

    def get_remaining_time_in_millis(self) -> int:
        return 900_000


@dataclass(frozen=True)
class Invocation:
    """The time that a run took, and its result."""

    seconds: float
    counters: dict[str, int]
    batches_ms: tuple[int, ...]
    """The duration of each of its transactions with a batch."""


class _Batches(logging.Handler):
    """Reads the durations of batches from the job's log."""

    def __init__(self) -> None:
        super().__init__()
        self.milliseconds: list[int] = []

    def emit(self, record: logging.LogRecord) -> None:
        if record.getMessage() == "batch.committed":
            self.milliseconds.append(record.__dict__["milliseconds"])

    def __enter__(self) -> Self:
        logging.getLogger(telemetry.SERVICE).addHandler(self)
        return self

    def __exit__(self, *_: object) -> None:
        logging.getLogger(telemetry.SERVICE).removeHandler(self)


def as_setting(engine: Engine) -> str:
    """The database's address, in the form of the functions' environment variable."""
    return json.dumps({"url": engine.url.render_as_string(hide_password=False)})


def invoked(engine: Engine, job: Job | str, event: Mapping[str, Any]) -> Invocation:
    """The whole invocation in this process: connection, claim, candidates, batches, settlement.

    job: the job, or its module.
    """
    from nightshift.runtime import invoke

    job = import_module(job).job if isinstance(job, str) else job
    os.environ["NIGHTSHIFT_DATABASE"] = as_setting(engine)
    answers: list[dict[str, Any]] = []
    with redirect_stdout(StringIO()), _Batches() as batches:
        took = seconds(lambda: answers.append(invoke(job, event, Context())))
    return Invocation(took, answers[0]["counters"], tuple(batches.milliseconds))


def in_own_process(
    engine: Engine, module: str, event: Mapping[str, Any], *, prelude: str = ""
) -> tuple[float, dict[str, int]]:
    """The peak memory in MB of a process that does nothing but this invocation, and the run's counters."""
    path = os.pathsep.join(
        (str(ROOT), *(str(ROOT / f"layers/{name}/python") for name in ("nightshift", "application")))
    )
    code = _OWN_PROCESS.format(prelude=prelude, module=module)
    printed = python(code, path=path, NIGHTSHIFT_DATABASE=as_setting(engine), BENCH_EVENT=json.dumps(event))
    answer = json.loads(printed.splitlines()[-1])
    return answer["peak_kb"] / 1024, answer["counters"]

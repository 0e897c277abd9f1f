"""The wrapper's own cost: what a run that finds nothing to do spends on the ledger."""

import os
import statistics
import time
from contextlib import redirect_stdout
from io import StringIO
from typing import Any

from sqlalchemy import Engine, event, text

from bench.paired import database, line, seconds
from bench.retention import as_setting
from functions.identity.login_attempt_cleanup import job
from nightshift.runtime import invoke

RUNS = 30


class Context:
    """Lambda's context object, with all the time in the world."""

    def __init__(self) -> None:
        self.aws_request_id = f"bench-{time.monotonic_ns()}"

    def get_remaining_time_in_millis(self) -> int:
        return 900_000


def main() -> None:
    """Print the figures."""
    print("The wrapper's own cost (a run of an empty table, in a warm process)")
    statements: list[str] = []

    def count(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        statements.append(statement)

    with database() as engine, redirect_stdout(StringIO()):
        os.environ["NIGHTSHIFT_DATABASE"] = as_setting(engine)
        invoke(job, {}, Context())
        event.listen(Engine, "before_cursor_execute", count)
        invoke(job, {}, Context())
        event.remove(Engine, "before_cursor_execute", count)
        runs = statistics.median(seconds(lambda: invoke(job, {}, Context())) for _ in range(RUNS))
        bare = statistics.median(seconds(lambda: _connect_and_ask(engine)) for _ in range(RUNS))
    line("statements a run", len(statements))
    line("a run", f"{runs * 1000:.1f} ms")
    line("a run / connecting and one SELECT by the same driver", f"{runs / bare:.1f}")


def _connect_and_ask(engine: Engine) -> None:
    with engine.connect() as connection:
        connection.execute(text("select 1"))

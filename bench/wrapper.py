"""The wrapper's own cost: what a run that finds nothing to do spends on the ledger."""

import statistics
from typing import Any
from unittest.mock import patch

from pg8000.core import CoreConnection
from sqlalchemy import Engine, event, text

from bench import logins
from bench.invocation import invoked
from bench.paired import database, line, seconds

RUNS = 30
MODULE = logins.__name__


def main() -> None:
    """Print the figures."""
    print("The wrapper's own cost (a run of an empty table, in a warm process)")
    statements: list[str] = []
    answers: list[None] = []
    wait = CoreConnection.handle_messages

    def count(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        statements.append(statement)

    def count_answers(connection: Any, context: Any) -> None:
        answers.append(None)
        wait(connection, context)

    with database() as engine:
        logins.make(engine)
        invoked(engine, MODULE, {})  # the first run compiles its statements
        event.listen(Engine, "before_cursor_execute", count)
        with patch.object(CoreConnection, "handle_messages", count_answers):
            invoked(engine, MODULE, {})
        event.remove(Engine, "before_cursor_execute", count)
        runs = statistics.median(invoked(engine, MODULE, {}).seconds for _ in range(RUNS))
        bare = statistics.median(seconds(lambda: _connect_and_ask(engine)) for _ in range(RUNS))
    line("statements a run", len(statements))
    line("ways to the server and back a run", len(answers))
    line("a run", f"{runs * 1000:.1f} ms")
    line("a run / connecting and one SELECT by the same driver", f"{runs / bare:.1f}")


def _connect_and_ask(engine: Engine) -> None:
    with engine.connect() as connection:
        connection.execute(text("select 1"))

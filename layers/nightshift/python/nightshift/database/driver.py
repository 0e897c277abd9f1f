"""The driver reads a statement once for each text, and asks once for each statement.

pg8000 turns `%s` into `$1` letter by letter, in Python, each time that a statement is executed. That was a third of the
processor time of a short run. It also waits for three answers before it has that to a statement with values, and each
is a way to the server and back: half a millisecond between two zones of AWS.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from pg8000 import legacy
from pg8000.converters import make_params
from pg8000.core import SYNC, Context, _flush
from pg8000.dbapi import convert_paramstyle

TEXTS = 512
"""How many statements are remembered."""

UNNAMED = b"\0"
"""The name of the statement that is forgotten with the next one, in the messages to the server."""


class Connection(legacy.Connection):  # type: ignore[misc]
    """pg8000's connection, which sends all messages of a statement at once and then waits for one answer."""

    def execute_unnamed(
        self, statement: str, vals: Sequence[Any] = (), oids: Sequence[int] = (), stream: Any = None
    ) -> Context:
        """Carry out a statement with values. In the place of pg8000's own, which a COPY still takes.

        The protocol allows it: after an error the server passes over what comes before the next Sync.
        https://www.postgresql.org/docs/current/protocol-flow.html#PROTOCOL-FLOW-EXT-QUERY
        """
        if stream is not None:
            return super().execute_unnamed(statement, vals=vals, oids=oids, stream=stream)
        values = make_params(self.py_types, vals)  # before anything is sent: a value may be of no use
        answer = Context(statement)
        self.send_PARSE(UNNAMED, statement, oids)
        self.send_DESCRIBE_STATEMENT(UNNAMED)
        self.send_BIND(UNNAMED, values)
        self.send_EXECUTE()
        self._send_message(SYNC, b"")
        _flush(self._sock)
        self.handle_messages(answer)
        return answer


@lru_cache(maxsize=TEXTS)
def _numbered(text: str) -> str:
    numbered: str = convert_paramstyle("format", text, ())[0]
    return numbered


def _read(style: str, text: str, args: Any) -> tuple[str, Any]:
    # In the other styles what is bound depends on the text too.
    return (_numbered(text), args) if style == "format" else convert_paramstyle(style, text, args)


def read_statements_once() -> None:
    """From now on, in this process."""
    legacy.convert_paramstyle = _read

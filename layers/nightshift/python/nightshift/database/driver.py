"""The driver asks once for each statement, and takes every statement as it is written.

pg8000 waits for three answers before it has that to a statement with values, and for one more before the first of a
transaction. Each is a way to the server and back: half a millisecond between two zones of AWS. And it numbers the
values letter by letter, in Python, each time that a statement is executed: that was a third of the processor time of a
short run. It stumbles over percent signs: it takes them for values outside of quotes, and leaves them doubled within.
"""

import re
from collections.abc import Sequence
from functools import lru_cache
from itertools import count
from typing import Any

from pg8000 import legacy
from pg8000.converters import make_params
from pg8000.core import SYNC, Context, _flush
from pg8000.dbapi import convert_paramstyle
from sqlalchemy import Connection as SqlConnection, Engine, event
from sqlalchemy.dialects.postgresql.pg8000 import PGCompiler_pg8000
from sqlalchemy.exc import DBAPIError
from sqlalchemy.types import UserDefinedType

TEXTS = 512
"""How many statements are remembered."""

UNNAMED = b"\0"
"""The name of the statement that is forgotten with the next one, in the messages to the server."""

DOUBLED = "doubled"
"""The style of our statements: each value is `%s`, and every percent sign is doubled, wherever it stands."""

BEGIN = "begin transaction"
"""What pg8000 begins a transaction with, before the first statement."""

_PERCENT = re.compile("%[s%]")
_LENGTH = re.compile(r"(\b(?:CHAR|BIT)\b)?\(\d+(?:, ?\d+)?\)")
_UNBOUNDED = {"CHAR": "BPCHAR", "BIT": '"bit"'}
"""What is one letter, or one bit, long without a length."""


class Connection(legacy.Connection):  # type: ignore[misc]
    """pg8000's connection, which sends all messages of a statement at once and then waits for one answer."""

    def __init__(self, **keywords: Any) -> None:
        legacy.convert_paramstyle = _read  # which knows one style more
        self._begins = False
        super().__init__(**keywords)

    def cursor(self) -> legacy.Cursor:
        return legacy.Cursor(self, paramstyle=DOUBLED)

    def execute_simple(self, statement: str) -> Context:
        """Carry out statements without values. The beginning of a transaction waits for the first one, and goes along.

        A transaction that sets something first then has its settings with the answer to its beginning.
        """
        if statement == BEGIN:
            self._begins = True
            return Context(statement)
        if self._begins:
            self._begins, statement = False, f"{BEGIN}; {statement}"
        return super().execute_simple(statement)

    def begin_now(self) -> None:
        """Send a beginning that waits, before something that it cannot go along with."""
        if self._begins:
            self.execute_simple("")

    def execute_unnamed(
        self, statement: str, vals: Sequence[Any] = (), oids: Sequence[int] = (), stream: Any = None
    ) -> Context:
        """Carry out a statement with values. In the place of pg8000's own, which a COPY still takes.

        The protocol allows it: after an error the server passes over what comes before the next Sync.
        https://www.postgresql.org/docs/current/protocol-flow.html#PROTOCOL-FLOW-EXT-QUERY
        """
        self.begin_now()
        if stream is not None:
            return super().execute_unnamed(statement, vals=vals, oids=oids, stream=stream)
        values = make_params(self.py_types, vals)
        for part in (statement, *values):  # before anything is sent: half of it would be taken for the next statement's
            if part is not None:
                part.encode(self._client_encoding)
        answer = Context(statement)
        self.send_PARSE(UNNAMED, statement, oids)
        self.send_DESCRIBE_STATEMENT(UNNAMED)
        self.send_BIND(UNNAMED, values)
        self.send_EXECUTE()
        self._send_message(SYNC, b"")
        _flush(self._sock)
        self.handle_messages(answer)
        return answer


class Compiler(PGCompiler_pg8000):
    """SQLAlchemy's compiler, which sends each value as it is.

    It writes `$1::NUMERIC(10, 2)` and `$1::VARCHAR(3)[]` for a value beside such a column of a model, and PostgreSQL
    then rounds the value, or cuts it off, without a word: another row is meant, or half a text is written.
    """

    def render_bind_cast(self, type_: Any, dbapi_type: Any, sqltext: str) -> str:
        """With the type's name alone, unless it is somebody's own."""
        written = super().render_bind_cast(type_, dbapi_type, sqltext)  # type: ignore[no-untyped-call]
        if isinstance(dbapi_type, UserDefinedType):
            return str(written)
        value, _, name = written.rpartition("::")
        return f"{value}::{_LENGTH.sub(lambda found: _UNBOUNDED.get(found[1], found[1] or ''), name)}"


def drive(engine: Engine) -> None:
    """Let the engine's connections be such ones, and SQLAlchemy double the percent signs of what it writes, and send
    values whole."""
    engine.dialect.identifier_preparer._double_percents = True
    engine.dialect.statement_compiler = Compiler

    @event.listens_for(engine, "do_connect")
    def connect(_dialect: Any, _record: Any, _args: list[Any], keywords: dict[str, Any]) -> Connection:
        return Connection(**keywords)

    @event.listens_for(engine, "before_cursor_execute", retval=True)
    def single(
        _connection: Any, _cursor: Any, statement: str, values: Any, context: Any, many: bool
    ) -> tuple[str, Any]:
        # Without values the driver sends the text as it is. What SQLAlchemy did not write has no doubled ones.
        written = context is not None and context.compiled is not None
        return (_numbered(statement), values) if written and not values and not many else (statement, values)


def copy(connection: SqlConnection, statement: str, stream: Any) -> int:
    """COPY to a writable stream, or from an iterable of bytes; SQLAlchemy knows no streams. Returns how many rows.

    Raises:
        DBAPIError: as with any other statement.
    """
    cursor: Any = connection.connection.cursor()
    try:
        cursor.execute(statement, stream=stream)
    except legacy.Error as error:
        raise DBAPIError(statement, None, error, hide_parameters=True) from error
    return int(cursor.rowcount)


def _read(style: str, text: str, values: Any) -> tuple[str, Any]:
    if style != DOUBLED:
        return convert_paramstyle(style, text, values)  # type: ignore[no-any-return]
    return _numbered(text) if values else text, values  # a COPY has none


@lru_cache(maxsize=TEXTS)
def _numbered(text: str) -> str:
    """With `$1` for each `%s` in turn, and single percent signs."""
    numbers = count(1)
    return _PERCENT.sub(lambda found: f"${next(numbers)}" if found[0] == "%s" else "%", text)

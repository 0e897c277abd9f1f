"""The transaction is ours: it behaves the same whatever role, database and server are set to.

Every transaction begins with one simple query that sets everything that matters, for this transaction alone. Nothing is
set for the session: behind a pooler the next user of the connection would inherit it. Nothing is sent at connect time
but user, database and application_name: poolers refuse the rest.
"""

import math
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Literal

from sqlalchemy import Connection, Engine, event
from sqlalchemy.orm import Session, SessionTransaction

Isolation = Literal["read committed", "repeatable read"]

FIXED = {
    "client_encoding": "UTF8",
    "DateStyle": "ISO, YMD",
    "IntervalStyle": "postgres",
    "bytea_output": "hex",
    "extra_float_digits": "1",  # floats come back to the last bit: cursors hold them
    "TimeZone": "UTC",
    "search_path": "public",
    "row_security": "off",  # a policy that filters this role is an error, not a silent part of the rows
    "standard_conforming_strings": "on",
    "array_nulls": "on",
    "transform_null_equals": "off",
    "xmloption": "content",
    "xmlbinary": "base64",
}
"""What values look like, what conditions mean, which tables a bare name means, and no silent filtering."""

LOCK_TIMEOUT_SECONDS = 10
GRACE_SECONDS = 5
LONGEST_SECONDS = 15 * 60
"""What a statement may take where nobody has said less."""
TRANSACTION_TIMEOUT_SINCE = (17,)
"""The version of PostgreSQL from which on `transaction_timeout` exists."""

LEAST_SECONDS = 1.0
"""What every statement may take at least, even when the time is up: to settle what was begun takes moments."""

_ENDS_AT = "nightshift.ends_at"
_GRACE = "nightshift.grace"
_NEXT = "nightshift.next"
_LIMIT = "nightshift.limit"
"""What a statement of the transaction may take, in seconds."""
_ANSWER = "nightshift.answer"


def bound(connection: Connection, seconds: float, grace: float = GRACE_SECONDS) -> None:
    """Let every statement of this connection end within `seconds` from now.

    A transaction of several statements, and the wait for a server that does not answer, end `grace` seconds later.
    """
    connection.info[_ENDS_AT] = time.monotonic() + seconds
    connection.info[_GRACE] = grace


@contextmanager
def transaction(
    session: Session,
    *,
    isolation: Isolation = "read committed",
    read_only: bool = False,
    settings: Mapping[str, str] | None = None,
    also: str = "",
) -> Iterator[SessionTransaction]:
    """A transaction with more settings than every other has: `with transaction(session, read_only=True):`.

    The settings hold for this transaction alone.
    also: a SELECT of one value that comes along with them, without a message of its own: see `answer_of`.
    """
    wanted = (isolation, read_only, dict(settings or {}), also)
    bind = session.get_bind()
    if isinstance(bind, Connection):
        bind.info[_NEXT] = wanted
    with session.begin() as begun:
        connection = session.connection()  # begins here, so that what comes first can count on the settings
        if not isinstance(bind, Connection):  # a session that `session_for` did not make sets nothing by itself
            connection.info[_NEXT] = wanted
            _set(connection)
        yield begun


def answer_of(session: Session) -> str | None:
    """What the SELECT said that came `also` with the settings of the session's transaction. It says so once."""
    answer: str | None = session.connection().info.pop(_ANSWER, None)
    return answer


def _set(connection: Connection) -> None:
    asks = bool(connection.info.get(_NEXT, (..., ..., ..., ""))[3])
    answered = connection.exec_driver_sql(settings_query(connection))
    if asks:
        connection.info[_ANSWER] = answered.scalar()


def own_every_transaction(engine: Engine) -> None:
    """Have every transaction of the engine's connections begin with the settings."""

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        driver = connection.connection.dbapi_connection
        if not getattr(driver, "autocommit", False):
            _set(connection)

    @event.listens_for(engine, "before_cursor_execute")
    def wait_no_longer(connection: Connection, *_: Any) -> None:
        # The server bounds each statement from its own start, and the sum of them only since version 17.
        if _ENDS_AT not in connection.info:
            return
        if connection.info[_ENDS_AT] + connection.info[_GRACE] < time.monotonic():
            raise TimeoutError("the statements of this transaction took longer together than the time that was left")
        if (under := socket_of(connection)) is not None:
            # A server that is silent for longer than it may take for a statement has gone without a word.
            patience = min(_left(connection), connection.info.get(_LIMIT, math.inf))
            under.settimeout(patience + connection.info[_GRACE])


def socket_of(connection: Connection) -> socket.socket | None:
    """The open socket under a connection."""
    found: socket.socket | None = getattr(connection.connection.dbapi_connection, "_usock", None)
    return found


def _left(connection: Connection) -> float:
    """The seconds that a statement may take which begins now."""
    ends_at: float = connection.info.get(_ENDS_AT, time.monotonic() + LONGEST_SECONDS)
    return max(LEAST_SECONDS, ends_at - time.monotonic())


def settings_query(connection: Connection) -> str:
    """The first query of the connection's next transaction."""
    isolation, read_only, more, also = connection.info.pop(_NEXT, ("read committed", False, {}, ""))
    left = int(_left(connection) * 1000)
    beyond = left + int(connection.info.get(_GRACE, GRACE_SECONDS) * 1000)
    begun = [f"set transaction isolation level {isolation}, read {'only' if read_only else 'write'}"]
    limits = {
        "statement_timeout": str(left),
        "lock_timeout": str(int(min(left, LOCK_TIMEOUT_SECONDS * 1000))),
        "idle_in_transaction_session_timeout": str(beyond),
    }
    if (connection.dialect.server_version_info or ()) >= TRANSACTION_TIMEOUT_SINCE:
        # Another value does not begin the time anew that the transaction has by itself, but none and then one does.
        begun.append("set local transaction_timeout to 0")
        limits["transaction_timeout"] = str(beyond)
    every = {**FIXED, **limits, **more}
    connection.info[_LIMIT] = max(LEAST_SECONDS, int(every["statement_timeout"]) / 1000)
    return "; ".join(
        [*begun, *(f"set local {name} to {_literal(value)}" for name, value in every.items()), *filter(None, [also])]
    )


def _literal(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"

"""Connections to the application's PostgreSQL: verified TLS beyond this machine, no password in the environment, and a
limit on every wait.

Nothing connects at import. One attempt uses one connection and closes it at its end. There is no pool whose connections
could go stale while Lambda freezes the process.
"""

import json
import socket as socket_module
import ssl
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from functools import cache
from importlib.resources import as_file, files
from socket import AF_INET, AF_INET6, IPPROTO_TCP, SHUT_RDWR
from typing import Any, Literal

from sqlalchemy import Connection, Engine, NullPool, create_engine, event, text
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from nightshift.database.address import is_loopback
from nightshift.database.driver import drive
from nightshift.database.outage import NoCredentialsError
from nightshift.database.settings import DatabaseSettings
from nightshift.database.transaction import GRACE_SECONDS, bound, own_every_transaction, socket_of
from nightshift.database.values import read_values

LONGEST_CONNECT = 30.0
"""Seconds that a connection waits for each answer while it is made. Aurora needs half of that to wake up."""

KEEP_ALIVE = {"TCP_KEEPIDLE": 10, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 4, "TCP_USER_TIMEOUT": 30_000}
"""Options of the connection's socket: seconds, but the last, which is in milliseconds. macOS lacks some."""


def tls_context(ca_file: str | None = None) -> ssl.SSLContext:
    """A context that verifies the server's certificate and name. pg8000's default would fall back to plain text."""
    if ca_file:
        return ssl.create_default_context(cafile=ca_file)
    with as_file(files("nightshift.database") / "certificates" / "rds.pem") as bundle:
        return ssl.create_default_context(cafile=str(bundle))


def encryption(settings: DatabaseSettings, host: str | None) -> ssl.SSLContext | Literal[False]:
    """How a connection to this host is encrypted. False: not at all, because nothing leaves the machine.

    On a loopback address the url's `sslmode` decides. The far end of a tunnel has another name than the address that
    one connects to, so only `verify-full` holds its certificate against that.
    """
    # False and never None: with that pg8000 reads the machine's certificates, 20 ms for nothing, at each connection.
    if not settings.asks_tls(host):
        return False
    context = tls_context(settings.ca_file)
    if is_loopback(host) and settings.sslmode != "verify-full":
        context.check_hostname = False
    return context


@cache
def _engine(settings: DatabaseSettings) -> Engine:
    """One engine per process, for its compiled statements. It keeps no connection."""
    engine = create_engine(settings.url, poolclass=NullPool, hide_parameters=True)
    own_every_transaction(engine)

    @event.listens_for(engine, "connect")
    def connected(driver_connection: Any, _record: Any) -> None:
        read_values(driver_connection)
        _notice_death(driver_connection)

    @event.listens_for(engine, "do_connect")
    def prepare(_dialect: Any, _record: Any, _args: list[Any], keywords: dict[str, Any]) -> None:
        if settings.secret_arn or settings.iam_region:
            keywords.update(_given(settings))
        # A server that asks for one then refuses; without any, pg8000 would fail on an attribute of None.
        keywords.setdefault("password", "")
        keywords["ssl_context"] = encryption(settings, keywords.get("host"))
        bounds = _bounds.get()
        if not bounds:
            raise ConnectionResetError("the connection was lost, and a session does not connect again by itself")
        keywords.update(bounds)

    drive(engine)  # it connects, once this is prepared

    @event.listens_for(engine, "handle_error")
    def failed(context: ExceptionContext) -> None:
        # After a read that timed out, the answer may still come, and would be taken for that to the next statement.
        if isinstance(context.original_exception, OSError):
            context.is_disconnect = True

    return engine


_bounds: ContextVar[dict[str, Any]] = ContextVar("bounds", default={})  # noqa: B039 - never changed in place
"""What bounds the connections that are being made: pg8000's arguments for them."""


class NoCredentialsNowError(ConnectionError):
    """AWS is too busy to give the database's credentials, or could not be reached: it may give them in a moment."""


class SilentServerError(TimeoutError):
    """A server that takes a connection, or the packets for one, and says nothing."""

    def __init__(self, settings: DatabaseSettings, seconds: float) -> None:
        super().__init__(
            f"the database at {settings.place} gave no answer within {seconds:.0f} s: a security group, a route, a "
            "proxy or the server itself keeps silent"
        )


@contextmanager
def session_for(
    settings: DatabaseSettings,
    *,
    seconds: float,
    grace: float = GRACE_SECONDS,
    connect_seconds: float | None = None,
    application_name: str = "nightshift",
) -> Iterator[Session]:
    """A session on one connection of its own, whose every statement and every read ends within `seconds`.

    Every transaction begins with its own settings, see `nightshift.database.transaction`. The connection is closed at
    the end whatever happened, and its place at the server is free for the next one.

    grace: how much later than its statements a whole transaction ends, and the wait for a server that does not answer.
    connect_seconds: how long to wait for each answer while it connects; without it half of `seconds`, 30 at most, so
        that whoever calls can still say what was wrong.

    Raises:
        DBAPIError, OSError: the database cannot be reached or refuses.
        SilentServerError: it gives no answer at all.
    """
    limit = max(1, int(seconds)) + grace
    patience = min(limit, min(LONGEST_CONNECT, max(1.0, seconds) / 2) if connect_seconds is None else connect_seconds)
    bounds = _bounds.set({"application_name": application_name[:63], "timeout": patience})
    try:
        connection = _engine(settings).connect()
    except TimeoutError:
        raise SilentServerError(settings, patience) from None
    finally:
        _bounds.reset(bounds)
    socket = socket_of(connection)
    try:
        # Bound to the connection: on an engine without a pool the session would connect anew for every transaction.
        with connection, Session(connection, expire_on_commit=False) as session:
            bound(connection, seconds, grace)
            yield session
    finally:
        if socket is not None:
            # An exception that is on its way holds the driver's file object, and with it the socket, open.
            with suppress(OSError):
                socket.shutdown(SHUT_RDWR)


def still_answers(session: Session) -> bool:
    """Whether the session's connection is still there; whatever it was doing is rolled back.

    A session that has lost it would connect again by itself, without its bounds.
    """
    try:
        if _is_gone(session):
            return False
        session.rollback()
        if _is_gone(session):
            return False
        with session.begin():
            session.execute(text("select 1"))
    except (DBAPIError, OSError):
        return False
    return True


def _is_gone(session: Session) -> bool:
    bind = session.get_bind()
    return isinstance(bind, Connection) and (bind.closed or bind.invalidated)


def _notice_death(driver_connection: Any) -> None:
    """A server that vanished without a word is noticed in half a minute, not after the system's two hours."""
    socket = getattr(driver_connection, "_usock", None)
    if socket is None or socket.family not in (AF_INET, AF_INET6):
        return
    for option, value in KEEP_ALIVE.items():
        if hasattr(socket_module, option):
            socket.setsockopt(IPPROTO_TCP, getattr(socket_module, option), value)


def _given(settings: DatabaseSettings) -> dict[str, Any]:
    """The credentials, where AWS gives them; an error as of a connection that could not be made, where not."""
    from botocore.exceptions import ClientError, HTTPClientError  # as below

    try:
        return _credentials(settings)
    except ClientError as error:
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        code = error.response.get("Error", {}).get("Code", "")
        passes = status >= 500 or status == 429 or "Throttl" in code or "TooManyRequests" in code
        cause: Exception = error
    except HTTPClientError as error:
        passes, cause = True, error
    except (KeyError, TypeError, ValueError):  # whose text may quote the secret
        raise NoCredentialsError(f"the secret {settings.secret_arn} is no JSON with username and password") from None
    kind = NoCredentialsNowError if passes else NoCredentialsError
    raise kind(f"AWS gives no credentials of the database at {settings.place}: {cause}")


def _credentials(settings: DatabaseSettings) -> dict[str, Any]:
    """The credentials, fetched for every connection: an IAM token lives 15 minutes, and a secret may be rotated."""
    import boto3  # imported here: a function that connects by socket or URL needs no AWS SDK
    from botocore.config import Config

    # Without a route to the API, a call from a VPC would hang until the function's timeout.
    config = Config(connect_timeout=3, read_timeout=5, retries={"total_max_attempts": 3, "mode": "standard"})
    if settings.secret_arn:
        secret = boto3.client("secretsmanager", config=config).get_secret_value(SecretId=settings.secret_arn)
        values = json.loads(secret["SecretString"])
        found = {
            "user": values["username"],
            "password": values["password"],
            "host": settings.url.host or values.get("host"),
            "database": settings.url.database or values.get("dbname"),
            "port": int(values.get("port", settings.url.port or 5432)),
        }
        return {key: value for key, value in found.items() if value is not None}
    url = settings.url
    token = boto3.client("rds", region_name=settings.iam_region, config=config).generate_db_auth_token(
        DBHostname=str(url.host), Port=url.port or 5432, DBUsername=str(url.username)
    )
    return {"password": token}

"""Connections to the application's PostgreSQL: verified TLS, no password in the environment, every wait bounded.

Nothing connects at import. One attempt uses one connection and closes it at its end: there is no pool to go stale
while Lambda freezes the process.
"""

import json
import os
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cache
from importlib.resources import as_file, files
from typing import Any

from sqlalchemy import URL, Engine, NullPool, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError
from sqlalchemy.orm import Session

from nightshift.errors import SettingError

DATABASE_VARIABLE = "NIGHTSHIFT_DATABASE"
"""Environment variable that says where the database is: a JSON object, see `DatabaseSettings.from_mapping`."""

DRIVER = "postgresql+pg8000"  # `postgresql://` alone means another driver in SQLAlchemy 2.1
LOCK_TIMEOUT_SECONDS = 10
CONNECTION_GRACE_SECONDS = 5


@dataclass(frozen=True)
class DatabaseSettings:
    """Where the database is and how a function proves who it is there."""

    url: URL
    secret_arn: str | None = None
    iam_region: str | None = None
    ca_file: str | None = None

    @classmethod
    def from_mapping(cls, given: Mapping[str, Any]) -> "DatabaseSettings":
        """One of three forms:

        - `{"url": "postgresql://user@host/name"}`, without a password unless it comes from the operator's own shell;
        - `{"secret_arn": …}`, an RDS secret of AWS Secrets Manager, with `host`, `port` and `name` where it lacks them;
        - `{"host": …, "port": …, "name": …, "user": …, "iam_region": …}`, with an IAM token in place of a password.

        `ca_file` replaces the RDS certificate bundle.

        Raises:
            SettingError: a key is missing, unknown or malformed.
        """
        known = {"url", "secret_arn", "host", "port", "name", "user", "iam_region", "ca_file"}
        if unknown := sorted(set(given) - known):
            raise SettingError(f"unknown database setting {unknown[0]!r}; known are {', '.join(sorted(known))}")
        if "url" in given:
            try:
                url = make_url(given["url"]).set(drivername=DRIVER)
            except ArgumentError:
                raise SettingError("the database url must look like postgresql://user@host:5432/name") from None
        elif "secret_arn" in given or "iam_region" in given:
            required = () if "secret_arn" in given else ("host", "name", "user")
            if missing := [key for key in required if not given.get(key)]:
                raise SettingError(f"IAM authentication needs the database's {', '.join(missing)}")
            url = URL.create(
                DRIVER,
                username=given.get("user"),
                host=given.get("host"),
                port=int(given.get("port", 5432)),
                database=given.get("name"),
            )
        else:
            raise SettingError("no database address: give a url, a secret_arn, or host, name, user and iam_region")
        return cls(url, given.get("secret_arn"), given.get("iam_region"), given.get("ca_file"))

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> "DatabaseSettings":
        """The settings that the deployment gave this function.

        Raises:
            SettingError: the variable is missing or not one of the forms above.
        """
        text = environment.get(DATABASE_VARIABLE)
        if not text:
            raise SettingError(f"{DATABASE_VARIABLE} is not set: it says where the database is")
        try:
            given = json.loads(text)
        except json.JSONDecodeError as error:
            raise SettingError(f"{DATABASE_VARIABLE} must be a JSON object: {error}") from None
        return cls.from_mapping(given)

    @property
    def socket(self) -> str | None:
        """The path of a local server's unix socket, which needs no TLS."""
        socket = self.url.query.get("unix_sock")
        return socket if isinstance(socket, str) else None


def tls_context(ca_file: str | None = None) -> ssl.SSLContext:
    """A context that verifies the server's certificate and name. pg8000's own default falls back to plain text."""
    if ca_file:
        return ssl.create_default_context(cafile=ca_file)
    with as_file(files("nightshift") / "certificates" / "rds.pem") as bundle:
        return ssl.create_default_context(cafile=str(bundle))


@cache
def _engine(settings: DatabaseSettings) -> Engine:
    """One engine a process, for its compiled statements. It keeps no connection."""
    engine = create_engine(settings.url, poolclass=NullPool, hide_parameters=True)

    @event.listens_for(engine, "do_connect")
    def prepare(_dialect: Any, _record: Any, _args: list[Any], keywords: dict[str, Any]) -> None:
        # False for a socket: without it pg8000 reads the machine's certificates, 20 ms for nothing, at each connection.
        keywords["ssl_context"] = False if settings.socket else tls_context(settings.ca_file)
        if settings.secret_arn or settings.iam_region:
            keywords.update(_credentials(settings))
        keywords.update(_bounds.get())

    return engine


_bounds: ContextVar[dict[str, Any]] = ContextVar("bounds", default={})  # noqa: B039 - never changed in place
"""What bounds the connections that are being made: pg8000's arguments for them."""


@contextmanager
def session_for(
    settings: DatabaseSettings, *, seconds: float, application_name: str = "nightshift"
) -> Iterator[Session]:
    """A session on one connection of its own, whose every statement and every read ends within `seconds`.

    Times are UTC in it, whatever the server's own zone is. The connection is closed at the end whatever happened.

    Raises:
        DBAPIError, OSError: the database cannot be reached or refuses.
    """
    limit = max(1, int(seconds))
    startup = {
        "TimeZone": "UTC",
        "statement_timeout": f"{limit * 1000}",
        "lock_timeout": f"{int(min(limit, LOCK_TIMEOUT_SECONDS) * 1000)}",
        "idle_in_transaction_session_timeout": f"{(limit + CONNECTION_GRACE_SECONDS) * 1000}",
    }
    bounds = _bounds.set(
        {
            "application_name": application_name[:63],
            "timeout": limit + CONNECTION_GRACE_SECONDS,
            "startup_params": startup,
        }
    )
    try:
        connection = _engine(settings).connect()
    finally:
        _bounds.reset(bounds)
    # Bound to the connection: on an engine without a pool the session would connect anew for every transaction.
    with connection, Session(connection, expire_on_commit=False) as session:
        yield session


def _credentials(settings: DatabaseSettings) -> dict[str, Any]:
    """Fetched for every connection: an IAM token lives 15 minutes and a secret may have been rotated."""
    import boto3  # here, because a function that connects by socket or URL needs no AWS SDK
    from botocore.config import Config

    # Without a route to the API a call from a VPC would hang until the function's own timeout.
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

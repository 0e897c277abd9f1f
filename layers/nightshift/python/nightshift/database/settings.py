"""Where the database is, and how a function authenticates to it."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any

from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

from nightshift.environment import DATABASE_VARIABLE
from nightshift.errors import SettingError

DRIVER = "postgresql+pg8000"  # `postgresql://` alone means another driver in SQLAlchemy 2.1
FORM = "postgresql://user@host:5432/name"
WITHOUT_TLS = ("disable", "allow", "prefer")
SSL_MODES = (*WITHOUT_TLS, "require", "verify-ca", "verify-full")
OPTIONS = ("sslmode", "sslrootcert", "host", "port", "user", "password", "unix_sock")
"""What may follow the question mark of a url: as psql has it, and `unix_sock`, the whole path of a socket."""


def is_loopback(host: str | None) -> bool:
    """Whether nothing that is sent to this host leaves the machine. No host means this machine."""
    if host is None or host.lower() == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


@dataclass(frozen=True)
class DatabaseSettings:
    """Where the database is, and how a function authenticates to it."""

    url: URL
    secret_arn: str | None = None
    iam_region: str | None = None
    ca_file: str | None = None
    sslmode: str | None = None
    """As psql understands it, on a loopback address. Elsewhere TLS is always asked, and the server always verified."""

    @classmethod
    def from_mapping(cls, given: Mapping[str, Any]) -> "DatabaseSettings":
        """Read one of three forms:

        - `{"url": "postgresql://user@host/name"}`, without a password unless it comes from the operator's own shell;
          with `secret_arn` the user and password come from there;
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
            url, sslmode, certificates = _read_url(given["url"])
            if not given.get("secret_arn"):
                _refuse_incomplete(url)
            return cls(
                url, given.get("secret_arn"), given.get("iam_region"), given.get("ca_file", certificates), sslmode
            )
        if "secret_arn" in given or "iam_region" in given:
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

    def asks_tls(self, host: str | None) -> bool:
        """Whether a connection to this host is encrypted: always beyond this machine, on it as `sslmode` says."""
        return not (self.socket or (is_loopback(host) and self.sslmode in (None, *WITHOUT_TLS)))

    @property
    def socket(self) -> str | None:
        """The path of a local server's unix socket, which needs no TLS."""
        socket = self.url.query.get("unix_sock")
        return socket if isinstance(socket, str) else None


def _read_url(given: str) -> tuple[URL, str | None, str | None]:
    """The address that a url means, its `sslmode` and its `sslrootcert`.

    Raises:
        SettingError: it is none, or says something that would not be heeded.
    """
    try:
        url = make_url(given)
    except ValueError:
        raise SettingError(f"the database url must look like {FORM}: a port is a number") from None
    except ArgumentError:
        raise SettingError(f"the database url must look like {FORM}") from None
    if url.get_backend_name() not in ("postgresql", "postgres"):
        raise SettingError(f"the database url must look like {FORM}: {url.drivername}:// is not PostgreSQL")
    options = dict(url.query)
    for name, value in options.items():
        if name not in OPTIONS:
            raise SettingError(
                f"the database url has the option {name!r}, which would not be heeded: remove it; "
                f"known are {', '.join(OPTIONS)}"
            )
        if not isinstance(value, str):
            raise SettingError(f"the database url has the option {name!r} twice")
    read = {name: str(value) for name, value in options.items()}
    port = read.get("port")
    if port is not None and not port.isdecimal():
        raise SettingError(f"the database url has the port {port!r}, which is no number")
    host, number = read.get("host", url.host), int(port) if port else url.port
    socket = read.get("unix_sock")
    if host is not None and host.startswith("/"):
        socket = f"{host.rstrip('/')}/.s.PGSQL.{number or 5432}"
    if number is not None and not 0 < number < 2**16:
        raise SettingError(f"the database url has the port {number}: a port is a number from 1 to 65535")
    sslmode = read.get("sslmode")
    if sslmode is not None and sslmode not in SSL_MODES:
        raise SettingError(f"sslmode in the database url must be one of {', '.join(SSL_MODES)}; got {sslmode!r}")
    if sslmode in WITHOUT_TLS and not (socket or is_loopback(host)):
        raise SettingError(
            f"sslmode={sslmode} in the database url would send everything to {host} unencrypted: TLS is always asked "
            "beyond this machine, so leave sslmode out"
        )
    address = URL.create(
        DRIVER,
        username=read.get("user", url.username),
        password=read.get("password", url.password),
        host=None if socket else host,
        port=None if socket else number,
        database=url.database,
        query={"unix_sock": socket} if socket else {},
    )
    return address, sslmode, read.get("sslrootcert")


def _refuse_incomplete(url: URL) -> None:
    """
    Raises:
        SettingError: a part is missing that nothing else gives, as a secret would.
    """
    parts = {"user": url.username, "database": url.database}
    if missing := [name for name, part in parts.items() if not part]:
        raise SettingError(f"the database url must look like {FORM}: it names no {' and no '.join(missing)}")

"""The address of a database, as people write it: postgresql://USER:PASSWORD@HOST:5432/DATABASE.

Connections leave the machine only with verified TLS. On loopback none is asked unless sslmode says so.
"""

import re
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import unquote

from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

from nightshift.errors import SettingError

DRIVER = "postgresql+pg8000"  # `postgresql://` alone means another driver in SQLAlchemy 2.1
DEFAULT_PORT = 5432
FORM = "postgresql://user@host:5432/name"
"""In settings, which anybody may read."""
WITH_PASSWORD = "postgresql://USER:PASSWORD@HOST:5432/DATABASE"  # noqa: S105 - a form
"""In a shell of one's own."""
ENCODED = "write a password's @ : / ? # % as %40 %3A %2F %3F %23 %25"

WITHOUT_TLS = ("disable", "allow", "prefer")
SSL_MODES = (*WITHOUT_TLS, "require", "verify-ca", "verify-full")
OPTIONS = ("host", "password", "port", "sslmode", "sslrootcert", "unix_sock", "user")
"""What may follow the question mark: as psql has it, and `unix_sock`, the whole path of a socket."""

_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*", re.IGNORECASE)


@dataclass(frozen=True)
class Address:
    """What an address says. Its url has our driver and no option but `unix_sock`."""

    url: URL
    sslmode: str | None = None
    ca_file: str | None = None


def is_loopback(host: str | None) -> bool:
    """Whether nothing that is sent to this host leaves the machine. No host means this machine."""
    if host is None or host.lower() == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def read(text: str, form: str = FORM) -> Address:
    """What an address means. Its user, host and database may come from elsewhere: see `read_whole`.

    form: how it should be written, for whoever reads the error.

    Raises:
        SettingError: it is none, or says something that would not be heeded. The password is never repeated.
    """
    url = _parsed(text.strip(), form)
    said = _options(url)
    port = _port(said.get("port", url.port), form)
    host = said.get("host") or (unquote(url.host) if url.host else None)
    if host and "@" in host:
        raise SettingError(f"the database URL has more than one @: {ENCODED}")
    socket = said.get("unix_sock")
    if socket is None and host is not None and host.startswith("/"):
        socket = f"{host.rstrip('/')}/.s.PGSQL.{port or DEFAULT_PORT}"
    address = URL.create(
        DRIVER,
        username=said.get("user", url.username),
        password=said.get("password", url.password),
        host=None if socket else host,
        port=None if socket else port,
        database=url.database,
        query={"unix_sock": socket} if socket else {},
    )
    sslmode = said.get("sslmode")
    if sslmode is not None and sslmode not in SSL_MODES:
        raise SettingError(f"the database URL has sslmode={sslmode}: it is one of {', '.join(SSL_MODES)}")
    if sslmode in WITHOUT_TLS and not (socket or is_loopback(host)):
        raise SettingError(
            f"the database URL has sslmode={sslmode}, which would send everything to {host} unencrypted: over a "
            "network TLS is always used and the server verified, as with verify-full; leave sslmode out"
        )
    return Address(address, sslmode, said.get("sslrootcert"))


def read_whole(text: str) -> Address:
    """What an address means that somebody has typed: it has all that is needed to connect, and its files are there.

    Raises:
        SettingError: as `read`, and when something is missing.
    """
    found = read(text, WITH_PASSWORD)
    url = found.url
    refuse_incomplete(url, WITH_PASSWORD)
    if url.query:
        return Address(url, found.sslmode, certificates(found.ca_file))
    if not url.host:
        raise SettingError(
            f"the database URL names no host: write it like {WITH_PASSWORD}, or add ?host=/var/run/postgresql"
        )
    return Address(url.set(port=url.port or DEFAULT_PORT), found.sslmode, certificates(found.ca_file))


def refuse_incomplete(url: URL, form: str = FORM) -> None:
    """
    Raises:
        SettingError: a part is missing that nothing else gives, as a secret would.
    """
    parts = {"database": url.database, "user": url.username}
    if missing := [what for what, part in parts.items() if not part]:
        raise SettingError(f"the database URL names no {' and no '.join(missing)}: write it like {form}")


def _parsed(text: str, form: str) -> URL:
    scheme, colon, _ = text.partition("://")
    if not colon or not _SCHEME.fullmatch(scheme):
        raise SettingError(f"the database URL is no URL: write it like {form}")
    if scheme.lower().partition("+")[0] not in ("postgresql", "postgres"):
        raise SettingError(f"the database URL begins with {scheme}://, which is not PostgreSQL: write it like {form}")
    try:
        return make_url(text)
    except ArgumentError:
        raise SettingError(f"the database URL cannot be read: write it like {form}; {ENCODED}") from None
    except ValueError:
        raise SettingError(f"the database URL has a port that is no number: write it like {form}; {ENCODED}") from None


def _options(url: URL) -> Mapping[str, str]:
    said = {}
    for name, value in url.query.items():
        if name not in OPTIONS:
            raise SettingError(
                f"the database URL has the option {name!r}, which would not be heeded: remove it; "
                f"known are {', '.join(OPTIONS)}"
            )
        if not isinstance(value, str):
            raise SettingError(f"the database URL has the option {name!r} twice")
        said[name] = value
    return said


def _port(port: int | str | None, form: str) -> int | None:
    if port is None:
        return None
    if isinstance(port, str) and not port.isdecimal():
        raise SettingError(f"the database URL has the port {port!r}, which is no number: write it like {form}")
    number = int(port)
    if not 0 < number < 2**16:
        raise SettingError(f"the database URL has the port {number}: a port is a number from 1 to 65535")
    return number


def certificates(file: str | None) -> str | None:
    """The whole path of the file of the authorities that sign the server's certificate. None: those of RDS."""
    if file is None:
        return None
    path = str(Path(file).absolute())  # functions of the local AWS run in another folder
    try:
        ssl.create_default_context(cafile=path)
    except OSError as error:
        told = error.strerror if isinstance(error, FileNotFoundError) else "it holds no certificate in PEM"
        raise SettingError(f"the database URL names {path} as sslrootcert: {told}") from None
    return path

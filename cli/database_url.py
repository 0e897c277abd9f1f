"""The address of a database, as people write it: postgresql://USER:PASSWORD@HOST:5432/DATABASE.

Connections leave the machine only with verified TLS. On loopback none is asked unless sslmode says so.
"""

import re
import ssl
from typing import TYPE_CHECKING
from urllib.parse import unquote

from cli.refusals import RefusedError

if TYPE_CHECKING:
    from sqlalchemy import URL
    from sqlalchemy.exc import DBAPIError

    from nightshift.database import DatabaseSettings

FORM = "postgresql://USER:PASSWORD@HOST:5432/DATABASE"
ENCODED = "write a password's @ : / ? # % as %40 %3A %2F %3F %23 %25"
AUTHORITY = "?sslrootcert=FILE"
KNOWN = {"host", "port", "sslmode", "sslrootcert", "unix_sock"}
DEFAULT_PORT = 5432
SCHEME = re.compile(r"[a-z][a-z0-9+.-]*", re.IGNORECASE)


def settings_of(text: str) -> "DatabaseSettings":
    """The settings of an address. Refuses one that cannot be meant, and never repeats its password."""
    from nightshift.database import DatabaseSettings, is_loopback

    url = _parsed(text.strip())
    if unknown := sorted(set(url.query) - KNOWN):
        raise RefusedError(
            f"the database URL has an unknown part {unknown[0]!r}: it may have {', '.join(sorted(KNOWN))}"
        )
    parts = {name: value if isinstance(value, str) else value[-1] for name, value in url.query.items()}
    if not url.database:
        raise RefusedError(f"the database URL names no database: write it like {FORM}")
    if not url.username:
        raise RefusedError(f"the database URL names no user: write it like {FORM}")
    port = _port(url.port, parts.get("port"))
    socket = _socket(url.host, parts, port)
    host = None if socket else url.host
    if not host and not socket:
        raise RefusedError(f"the database URL names no host: write it like {FORM}, or add ?host=/var/run/postgresql")
    if host and "@" in host:
        raise RefusedError(f"the database URL has more than one @: {ENCODED}")
    ca_file = _ca_file(parts, socket is not None or is_loopback(host))
    address = url.set(
        drivername="postgresql+pg8000",
        port=port,
        query={"unix_sock": socket} if socket else {},
    )
    return DatabaseSettings(address._replace(host=host), ca_file=ca_file, sslmode=parts.get("sslmode"))


def place_of(settings: "DatabaseSettings") -> str:
    """Where a database is, without user and password."""
    url = settings.url
    host = f"[{url.host}]" if url.host and ":" in url.host else url.host or "localhost"
    return f"{url.database} at {settings.socket or f'{host}:{url.port or DEFAULT_PORT}'}"


def why(error: "DBAPIError | OSError") -> str:
    """Why a database cannot be used, in words."""
    from sqlalchemy.exc import DBAPIError

    from nightshift.database import describe
    from nightshift.database.words import connection_in_words

    if isinstance(error, DBAPIError):
        return describe(error)
    reason = connection_in_words(error) or "the connection failed"
    if isinstance(error, ssl.SSLCertVerificationError):
        reason += f"; if its authority is none of Amazon RDS, name the authority's file: {AUTHORITY}"
    return reason


def refuse_certificates(file: str) -> None:
    """Refuse a file of authorities that holds none."""
    try:
        ssl.create_default_context(cafile=file)
    except OSError as error:
        told = error.strerror if isinstance(error, FileNotFoundError) else "it holds no certificate in PEM"
        raise RefusedError(f"the database URL names {file} as sslrootcert: {told}") from None


def _parsed(text: str) -> "URL":
    from sqlalchemy import make_url
    from sqlalchemy.exc import ArgumentError

    scheme, colon, _ = text.partition("://")
    if not colon or not SCHEME.fullmatch(scheme):
        raise RefusedError(f"the database URL is no URL: write it like {FORM}")
    if scheme.lower().partition("+")[0] not in ("postgresql", "postgres"):
        raise RefusedError(f"the database URL begins with {scheme}://, which is not PostgreSQL: write it like {FORM}")
    try:
        return make_url(text)
    except ArgumentError:
        raise RefusedError(f"the database URL cannot be read: write it like {FORM}; {ENCODED}") from None
    except ValueError:
        raise RefusedError(f"the database URL has a port that is no number: write it like {FORM}; {ENCODED}") from None


def _port(port: int | None, beside: str | None) -> int:
    if port is None and beside is not None:
        if not beside.isdecimal():
            raise RefusedError(f"the database URL has a port that is no number: write it like {FORM}")
        port = int(beside)
    if port is not None and not 0 < port < 2**16:
        raise RefusedError(f"the database URL has the port {port}: a port is a number from 1 to 65535")
    return port or DEFAULT_PORT


def _socket(host: str | None, parts: dict[str, str], port: int) -> str | None:
    """The path of a unix socket, where the URL names one or the folder of one."""
    if "unix_sock" in parts:
        return parts["unix_sock"]
    folder = unquote(host) if host else parts.get("host")
    if folder is not None and folder.startswith("/"):
        return f"{folder.rstrip('/')}/.s.PGSQL.{port}"
    if "host" in parts:
        raise RefusedError("the database URL has ?host= without a path: it is the folder of a unix socket")
    return None


def _ca_file(parts: dict[str, str], here: bool) -> str | None:
    """The file of the authorities that sign the server's certificate. None: those of RDS."""
    from nightshift.database import SSL_MODES, WITHOUT_TLS

    mode, file = parts.get("sslmode"), parts.get("sslrootcert")
    if mode is not None and mode not in SSL_MODES:
        raise RefusedError(f"the database URL has sslmode={mode}: it is one of {', '.join(SSL_MODES)}")
    if mode in WITHOUT_TLS and not here:
        raise RefusedError(
            f"the database URL has sslmode={mode}: over a network TLS is always used and the server verified, as with "
            "verify-full; leave sslmode out"
        )
    if file is not None:
        refuse_certificates(file)
    return file

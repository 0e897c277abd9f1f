"""One's own database for the local AWS: its address, what stands there, and what its owner is asked beforehand."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from sqlalchemy import URL, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from nightshift.database import NIGHTSHIFT_SCHEMA, DatabaseSettings, migrations, session_for, sqlstate
from nightshift.database.address import SSL_MODES
from nightshift.database.quoting import quoted
from nightshift.declaration import other_branches, this_project
from nightshift.errors import SettingError

SECONDS = 10
"""How long the database has to answer."""

YES = "yes"


class OwnDatabaseError(Exception):
    """The database cannot be used. The message says why and what to do; it never holds the password."""


class RefusedByPersonError(Exception):
    """Nobody has said yes. Nothing was made."""


@dataclass(frozen=True)
class OwnDatabase:
    """A database that is there already. The password stays in this process, and in a secret of the local AWS."""

    settings: DatabaseSettings

    @classmethod
    def parse(cls, url: str) -> "OwnDatabase":
        """Raises `OwnDatabaseError`: it is not a whole address of a PostgreSQL database."""
        try:
            return cls(DatabaseSettings.from_address(url))
        except SettingError as error:
            raise OwnDatabaseError(str(error)) from None

    @property
    def user(self) -> str:
        return str(self.settings.url.username)

    @property
    def name(self) -> str:
        return str(self.settings.url.database)

    @property
    def password(self) -> str | None:
        return self.settings.url.password

    @property
    def place(self) -> str:
        """Host and port, or the socket."""
        return self.settings.place

    @property
    def url(self) -> str:
        """The address without the password, as psql and `DatabaseSettings` take it."""
        options = {"sslmode": self.settings.sslmode, "sslrootcert": self.settings.ca_file}
        url = self.settings.url
        # Made anew: URL.set(password=None) leaves the password as it is.
        public = URL.create(url.drivername, url.username, None, url.host, url.port, url.database, url.query)
        return for_psql(public, {key: value for key, value in options.items() if value})

    def look(self, *, tables: bool) -> "Found":
        """What stands there, and what a deployment would make. Reads only.

        tables: the settings also ask for the application's own tables.

        Raises:
            OwnDatabaseError: it cannot be reached, or the user may not do what is needed.
        """
        wanted = this_project().branches(tables=tables)
        unwanted = other_branches(tables=tables)
        try:
            with session_for(self.settings, seconds=SECONDS, application_name="nightshift/local") as session:
                pending = migrations.state(session.connection(), wanted, unwanted=unwanted).pending
                found = self._found(session, tuple(pending), tables)
        except migrations.EncodingError as error:
            raise OwnDatabaseError(str(error)) from None
        except (DBAPIError, OSError) as error:
            raise OwnDatabaseError(self._why(error)) from None
        if not found.schema and not found.may_create:
            raise OwnDatabaseError(
                f"{self.user} may not make the schema {NIGHTSHIFT_SCHEMA} in {self.name}: as its owner run "
                f"grant create on database {quoted(self.name)} to {quoted(self.user)}"
            )
        return found

    def _found(self, session: Session, pending: tuple[str, ...], tables: bool) -> "Found":
        row = session.execute(_FOUND, {"schema": NIGHTSHIFT_SCHEMA}).one()
        return Found(self, row.version, row.schema, row.may_create, pending, tables)

    def _why(self, error: DBAPIError | OSError) -> str:
        where = f"PostgreSQL on {self.place}"
        match sqlstate(error):
            case "28P01":
                given = "the password is wrong" if self.password else "it asks for a password: user:password@host"
                return f"{where} does not let {self.user} in: {given}"
            case "3D000":
                return f"{where} has no database {self.name}"
            case str():
                return f"{where} does not let {self.user} in: {_said(error)}"
            case None if "SSL" in str(error):
                return f"{where} was asked for TLS: {_said(error)} (sslmode is one of {', '.join(SSL_MODES)})"
            case None:
                return f"{where} does not answer: {_said(error)}"


@dataclass(frozen=True)
class Found:
    """What stands in the database."""

    database: OwnDatabase
    version: str
    schema: bool
    """Whether the schema `nightshift` is there already."""
    may_create: bool
    pending: tuple[str, ...]
    """The migrations that a deployment would apply."""
    tables: bool

    @property
    def said(self) -> str:
        """Which database it is and what will be made, in a few lines."""
        its = self.database
        lines = [f"The database    {its.name} on {its.place}, as the user {its.user} (PostgreSQL {self.version})"]
        if not self.pending:
            lines.append(f"Will be made    nothing: the schema {NIGHTSHIFT_SCHEMA} is there and up to date")
        else:
            make = "changes in the schema" if self.schema else "the schema"
            also = ", and the application's own tables" if self.tables else ", and nothing outside of it"
            lines.append(f"Will be made    {make} {NIGHTSHIFT_SCHEMA} ({', '.join(self.pending)}){also}")
        lines.append("Every rule is off: nothing runs until you run it. What you run works on this database.")
        return "\n".join(lines)


def consent(found: Found, *, yes: bool, ask: Callable[[str], str] | None) -> None:
    """Go on only when a person wants it. Without anything to make there is nothing to ask.

    ask: shows a question and returns what was typed; None where nobody can type.

    Raises:
        RefusedByPersonError: the answer is no, or nobody can give one.
    """
    if yes or not found.pending:
        return
    if ask is None:
        raise RefusedByPersonError(
            "nobody can be asked here, so nothing was made: give --yes (make local YES=1) to say yes beforehand"
        )
    if ask(f"Make it? Type {YES} to go on: ").strip().lower() != YES:
        raise RefusedByPersonError("nothing was made")


def for_psql(url: URL, options: dict[str, str] | None = None) -> str:
    """An address as psql takes it: the plain scheme, and a socket by its folder."""
    query: dict[str, Any] = dict(options or {})
    socket = url.query.get("unix_sock")
    if isinstance(socket, str):
        path = PurePosixPath(socket)
        query |= {"host": str(path.parent), "port": path.name.rpartition(".")[2]}
    return url.set(drivername="postgresql", query=query).render_as_string(hide_password=False)


def _said(error: DBAPIError | OSError) -> str:
    """The driver's or the server's own words, in one line. At this point they can quote no row."""
    cause: BaseException = error
    if isinstance(error, DBAPIError) and error.orig is not None:
        cause = error.orig.__cause__ or error.orig
    said = cause.args[0] if cause.args and isinstance(cause.args[0], dict) else None
    return " ".join(str(said["M"] if said else cause).split())


_FOUND = text(
    """
    select split_part(current_setting('server_version'), ' ', 1) as version,
           exists (select from pg_namespace where nspname = :schema) as schema,
           has_database_privilege(current_database(), 'create') as may_create
    """
)

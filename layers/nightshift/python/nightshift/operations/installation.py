"""What only the console can say of an installation: it alone stands where the functions stand, and has their database.

Each part is read apart. One that cannot be read is `{"unread": reason}`, and hides no other.
"""

import datetime as dt
import os
import socket
import ssl
from collections.abc import Callable

from sqlalchemy import func, select, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from nightshift.database import describe
from nightshift.database.address import is_loopback
from nightshift.database.transaction import socket_of
from nightshift.declaration import Deployment, other_branches, this_project
from nightshift.environment import TABLES_VARIABLE
from nightshift.errors import SettingError, printable
from nightshift.ledger import RegisteredJob
from nightshift.ledger.occurrences import never_begun
from nightshift.ledger.pauses import pause_of_all
from nightshift.operations.answers import Answer, iso_or_none, pause_of


def installation(
    session: Session, deployment: Deployment, now: dt.datetime, supervisor: Callable[[], Answer]
) -> Answer:
    """The connection, the migrations, the clocks, the supervisor, the pauses, and jobs that never began."""

    def apart(read: Callable[[], Answer]) -> Answer:
        try:
            with session.begin_nested():
                return read()
        except DBAPIError as cause:
            return {"unread": describe(cause)}

    return {
        "connection": apart(lambda: _connection(session)),
        "migrations": apart(lambda: _migrations(session)),
        "clocks": apart(lambda: _clocks(session)),
        "supervisor": apart(supervisor),
        "pauses": apart(lambda: _pauses(session, deployment, now)),
        "never_begun": apart(lambda: _never_begun(session, deployment)),
    }


def _connection(session: Session) -> Answer:
    """How the console is connected, as every function is.

    leaves: whether anything leaves the machine. protocol: of TLS, null without. expires: when the server's certificate
    does. server: whether the server's own end is encrypted, which behind a proxy is another connection.
    """
    under = socket_of(session.connection())
    secured = under if isinstance(under, ssl.SSLSocket) else None
    expires = (secured.getpeercert() or {}).get("notAfter") if secured else None
    version, server = session.execute(_ON_SERVER).one()
    return {
        "version": version,
        "leaves": _leaves(under),
        "protocol": secured.version() if secured else None,
        "expires": _instant(ssl.cert_time_to_seconds(str(expires))) if expires else None,
        "server": server,
    }


_ON_SERVER = text(
    "select current_setting('server_version'), (select s.ssl from pg_stat_ssl s where s.pid = pg_backend_pid())"
)


def _leaves(under: socket.socket | None) -> bool:
    if under is None or under.family not in (socket.AF_INET, socket.AF_INET6):
        return False
    return not is_loopback(under.getpeername()[0])


def _migrations(session: Session) -> Answer:
    """What the database lacks of the deployed code's migrations, and what it has of newer code.

    refused: why no deployment could migrate it.
    """
    from nightshift.database.migrations import state  # no other question needs it

    tables = os.environ.get(TABLES_VARIABLE) == "create"
    wanted, unwanted = this_project().branches(tables=tables), other_branches(tables=tables)
    try:
        found = state(session.connection(), wanted, unwanted=unwanted)
    except SettingError as refusal:
        return {"refused": printable(str(refusal))}
    return {"applied": len(found.current), "pending": found.pending, "ahead": found.ahead}


def _clocks(session: Session) -> Answer:
    """The database's clock between two looks at the function's own, to the millisecond."""
    before = dt.datetime.now(dt.UTC)
    database: dt.datetime = session.execute(select(func.clock_timestamp())).scalar_one()
    after = dt.datetime.now(dt.UTC)
    return {"before": _exactly(before), "database": _exactly(database), "after": _exactly(after)}


def _pauses(session: Session, deployment: Deployment, now: dt.datetime) -> Answer:
    """The pause of each job that has one, whether its own or that of all."""
    of_all = pause_of_all(session, now)
    registered = {each.name: each for each in session.scalars(select(RegisteredJob))}
    found = {name: pause_of(registered.get(name), of_all, now) for name in deployment.understood()[0]}
    return {"jobs": {name: pause for name, pause in found.items() if pause is not None}}


def _never_begun(session: Session, deployment: Deployment) -> Answer:
    return {
        "jobs": [
            {
                "job": each.job,
                "registered_at": iso_or_none(each.registered_at),
                "due": iso_or_none(each.due),
                "ended": each.ended,
            }
            for each in never_begun(session, deployment.understood()[0])
        ]
    }


def _instant(seconds: float) -> str:
    return _exactly(dt.datetime.fromtimestamp(seconds, dt.UTC))


def _exactly(instant: dt.datetime) -> str:
    return instant.astimezone(dt.UTC).isoformat(timespec="milliseconds")

"""Which errors of a connection pass with the outage that they come from."""

from nightshift.database.failures import READ_ONLY, sqlstate

AWAY = ("08", "53", "57P")
"""How the SQLSTATE of a server begins that cannot serve now: no connection, no room, shutting down or starting up."""

IN_THE_WAY = {"40001", "40P01", "55P03", "57014"}
"""A short transaction was in somebody's way: deadlock, lock, serialization, time-out."""


class NoCredentialsError(ConnectionError):
    """AWS refuses the database's credentials, or what it gives is none."""


def is_away(error: BaseException) -> bool:
    """Whether the same connection or short transaction may succeed once the database is back.

    In a failover the old writer may still answer for a moment, and refuse every change.
    """
    if isinstance(error, NoCredentialsError):
        return False
    code = sqlstate(error)
    return code is None or code.startswith(AWAY) or code == READ_ONLY or code in IN_THE_WAY

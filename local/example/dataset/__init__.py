"""The demonstration's data: some thousand users and what belongs to them, the same for the same seed and moment.

Every age is counted back from `now`, so that each job finds something to do when it runs at `now`, or within the next
quarter of an hour; a job whose work depends on the clock, at the last time at which it was due (local/occasions.py).

People, addresses and files are made up: mail goes to example.com, example.org and example.net only, and internet
addresses are from the ranges set aside for documentation and benchmarks.
"""

import datetime as dt
from collections.abc import Callable
from itertools import groupby
from operator import attrgetter

from sqlalchemy import Engine

from local.example.dataset import administration, audit, community, identity, operations, people, productivity, tracking
from local.example.dataset.fill import Fill, close_workshop, open_workshop, without_indexes
from local.example.dataset.tracking import Encrypt

FEWEST_USERS = 400
"""Below this some of the rare kinds would have no row."""

_LOOKUPS = (*people.PEOPLE, *tracking.LOOKUPS)
# Users come last but for what is counted from everything else: their karma follows from projects and votes.
_FILLS: tuple[Fill, ...] = (
    *community.FILLS,
    *identity.FILLS,
    *people.FILLS,
    *productivity.FILLS,
    *tracking.FILLS,
    *administration.FILLS,
    *audit.FILLS,
    *operations.FILLS,
)
TABLES = tuple(dict.fromkeys(fill.table for fill in _FILLS))
"""The tables that get rows, in the order in which progress is told."""


def load(
    engine: Engine,
    *,
    now: dt.datetime,
    users: int = 20_000,
    seed: int = 7,
    encrypt: Encrypt | None = None,
    progress: Callable[[str, int], None] | None = None,
) -> dict[str, int]:
    """Fill a migrated, empty database in one transaction and return the rows of each table.

    It takes a superuser, and a database that nobody else uses meanwhile.

    Args:
        engine: where to.
        now: the moment everything is relative to, with its time zone; between 2022 and 2035.
        users: how many; everything else grows in proportion.
        seed: another one gives other rows of the same kind.
        encrypt: makes the ciphertext of the amounts, see `tracking.Encrypt`. Without it every amount is a value that
            only its owner could read.
        progress: told each table when it is filled, with its rows.

    Raises:
        ValueError: `now` has no time zone or `users` is too small.
    """
    if now.tzinfo is None:
        raise ValueError("now needs a time zone")
    if users < FEWEST_USERS:
        raise ValueError(f"at least {FEWEST_USERS} users are needed")
    rows: dict[str, int] = {}
    # Without a function that encrypts, every amount is one that no server can read.
    given = {} if encrypt else {"client": 1.0}
    with engine.begin() as connection:
        living = round(users * (1 - people.GONE_SHARE))
        open_workshop(connection, now=now, users=users, living=living, seed=seed)
        for fill in _LOOKUPS:
            connection.execute(fill.statement)
        for table, fills in groupby(_FILLS, attrgetter("table")):
            indexes = without_indexes(connection, table)
            rows[table] = sum(connection.execute(fill.statement, given).rowcount for fill in fills)
            for index in indexes:
                connection.exec_driver_sql(index)
            if progress:
                progress(table, rows[table])
        if encrypt:
            tracking.seal(connection, encrypt)
        close_workshop(connection)
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql("analyze")
    return rows

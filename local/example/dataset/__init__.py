"""The demo's data: some thousand users and their rows. The same seed and moment give the same data.

Every age is counted back from `now`. So each job finds something to do if it runs at `now` or within the next 15
minutes; a job that depends on local time finds something at the last time at which it was due (`last_due`).

People, addresses and files are invented. Mail addresses are only in example.com, example.org and example.net, and
internet addresses are from the ranges for documentation and benchmarks.
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
"""With fewer users, some rare kinds would have no row."""

_LOOKUPS = (*people.PEOPLE, *tracking.LOOKUPS)
# Users come late: their karma follows from projects and votes. Only what is counted from all the rest comes after.
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
"""The tables that get rows, in the order in which progress is reported."""


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

    Needs a superuser, and a database that nobody else uses at the same time.

    Args:
        engine: the database.
        now: the moment to which all times are relative, with a time zone; between 2022 and 2035.
        users: how many users; everything else grows in proportion.
        seed: another seed gives other rows of the same kind.
        encrypt: encrypts the amounts, see `tracking.Encrypt`. Without it, every amount is a value that only its owner
            could read.
        progress: called with each table when it is filled, and the number of its rows.

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

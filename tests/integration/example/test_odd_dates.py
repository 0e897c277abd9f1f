"""Dates and other values that Python cannot hold, or that nobody expects, in every column that takes one: no job of the
example stops over them."""

from collections.abc import Iterator

import pytest
from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import DBAPIError

from nightshift.declaration import registry
from nightshift.errors import RunFailedError
from tests.conftest import NewDatabase
from tests.integration.conftest import Invoke
from tests.integration.example.packs import PACKS
from tests.integration.example.test_every_job import NOW, ROWS

DATES = ("infinity", "-infinity", "20260-02-28 12:00", "0044-03-15 12:00 BC")
LEDGER = [
    *(
        "runs",
        "jobs",
        "attempts",
        "quarantine",
        "candidates",
        "pauses",
        "deployments",
        "commands",
        "signs_of_life",
        "dials",
    ),
    *("dial_changes", "backfills", "data_keys", "pseudonym_keys"),
]
ODD: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("timestamp with time zone", "timestamp without time zone", "date"), DATES),
    "jsonb": (
        '{"anonymizeContributions": ' + "9" * 5_000 + "}",
        '{"a":' * 3_000 + "1" + "}" * 3_000,
        "[]",
        '"text"',
        "5",
        "null",
        '{"checks": null, "users": 1, "licences": "x", "items": [null]}',
    ),
    "numeric": ("NaN", "Infinity", "-Infinity"),
    "time without time zone": ("24:00",),
    "interval": ("infinity", "-178000000 years"),
    **dict.fromkeys(("integer", "bigint", "smallint"), ("-1", "0", "32767", "2147483647")),
    "text": ("", "\x01\u202e\U0001f4a9", "a\\u0000\\ud800%s:x", "x" * 3_000),
    "ARRAY": ("{}", "[5:6]={1,2}", "{NULL}", "{{1,2},{3,4}}"),
}

COLUMNS = text(
    """
    select format('%I.%I', c.table_schema, c.table_name),
        array_agg(c.column_name || '=' || c.data_type order by c.column_name)
    from information_schema.columns c
    where (c.table_schema = 'public' or c.table_schema = 'nightshift' and c.table_name <> all(:ledger))
        and c.data_type = any(:types) and c.is_generated = 'NEVER'
        and exists (select from pg_class where relname = c.table_name and relkind = 'r')
    group by 1 order by 1
    """
)


PLACES = """
    create temporary table places on commit drop as
    select ctid as place, row_number() over (partition by state order by ctid) as number
    from (select ctid, coalesce(to_jsonb(t) ->> 'status', to_jsonb(t) ->> 'role', to_jsonb(t) ->> 'kind') as state
        from {table} t) as t
"""


def make_odd(connection: Connection) -> int:
    """Give most rows of every table one odd value, each column every one of them, whatever state the rows are in.

    Returns how many rows have got one.
    """
    connection.execute(text("set local session_replication_role = replica"))
    done = 0
    for table, columns in connection.execute(COLUMNS, {"types": list(ODD), "ledger": LEDGER}).all():
        connection.execute(text(PLACES.format(table=table)))
        ways = [(name, odd) for name, _, its_type in (one.partition("=") for one in columns) for odd in ODD[its_type]]
        for number, (column, odd) in enumerate(ways):
            few = f"select place from places where number % {len(ways) + 1} = {number}"  # noqa: S608
            done += put(connection, table, column, odd, few) or put(connection, table, column, odd, f"{few} limit 1")
        connection.execute(text("drop table places"))
    return done


def put(connection: Connection, table: str, column: str, odd: str, places: str) -> int:
    """Returns how many rows took it. A unique key takes it once at most, and a column may not take it at all."""
    statement = f"update {table} set {column} = '{odd}' where ctid = any(array({places}))"  # noqa: S608 - a test's own
    try:
        with connection.begin_nested():
            return connection.exec_driver_sql(statement).rowcount
    except DBAPIError:
        return 0


@pytest.fixture
def database(new_database: NewDatabase, migrated: str) -> Iterator[Engine]:
    with new_database(template=migrated) as engine:
        with engine.begin() as connection:
            connection.exec_driver_sql(ROWS.read_text())
            assert make_odd(connection) > 1_000
        yield engine


@pytest.mark.usefixtures("files", "keys", "snapshots", "operators", "deployment")
def test_no_job_stops_over_a_date_that_python_cannot_hold(invoke_job: Invoke) -> None:
    stopped = {}
    for name, each in registry().items():
        if each.pack in PACKS:
            try:
                invoke_job(each.job, at=NOW)
            except RunFailedError as error:
                stopped[name] = str(error)

    assert stopped == {}

"""Fills a table: one statement makes all its rows, from random draws that are the same every time."""

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import BindParameter, Connection, Date, Double, Integer, Text, TextClause, bindparam, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.types import TypeEngine


@dataclass(frozen=True)
class Fill:
    """A statement that inserts rows into a table, which is named without its schema."""

    table: str
    statement: TextClause


def fill(table: str, statement: str, **values: int | float | Sequence[int | float | str | dt.date]) -> Fill:
    """How a table gets its rows. `values` are the statement's shares, limits and words."""
    return Fill(table, text(statement).bindparams(*(_typed(name, value) for name, value in values.items())))


# The driver sends no types to PostgreSQL, but most operators need them.
_TYPES: dict[type, type[TypeEngine[Any]]] = {int: Integer, float: Double, str: Text, dt.date: Date}


def _typed(name: str, value: Any) -> BindParameter[Any]:
    if isinstance(value, Sequence) and not isinstance(value, str):
        return bindparam(name, list(value), ARRAY(_TYPES[type(value[0])]))
    return bindparam(name, value, _TYPES[type(value)])


WORKSHOP = "dataset"
"""A schema that exists only inside the loading transaction: functions for draws, and lookup tables."""

# SQL functions that PostgreSQL inlines: a draw costs one hash of a number. Different topics give different draws; the
# same topic and number always give the same draw.
_FUNCTIONS = (
    "create function present() returns timestamptz immutable language sql as $$select timestamptz :now$$",
    "create function crowd() returns int immutable language sql as $$select :users$$",
    "create function living() returns int immutable language sql as $$select :living$$",
    "create function per_user(ratio float8) returns int immutable language sql as $$select ceil(ratio * :users)::int$$",
    """create function draw(topic text, i bigint) returns float8 immutable language sql as
    $$select (hashint8extended(i, hashtextextended(topic, :seed)) & 9007199254740991) / 9007199254740992::float8$$""",
    # Ascending, like ids that start with a time: adding at the end of an index is several times faster.
    """create function key(topic text, i bigint) returns uuid immutable language sql as
    $$select (lpad(to_hex(i), 8, '0') || right(md5(topic || ' :seed ' || i), 24))::uuid$$""",
    """create function digest(topic text, i bigint) returns bytea immutable language sql as
    $$select sha256(decode(md5(topic || ' :seed ' || i), 'hex'))$$""",
    """create function ago(days float8) returns timestamptz stable language sql as
    $$select present() - days * interval '1 day'$$""",
    """create function pick(options anyarray, share float8) returns anyelement immutable language sql as
    $$select options[1 + floor(share * cardinality(options))::int]$$""",
    # Anybody who has not gone, all alike; and the same with a few who do much and many who do little.
    """create function someone(topic text, i bigint) returns int immutable language sql as
    $$select 1 + floor(draw(topic, i) * living())::int$$""",
    """create function regular(topic text, i bigint) returns int immutable language sql as
    $$select 1 + (floor(power(draw(topic, i), 1.8) * living())::bigint * 7919 % living())::int$$""",
)


def open_workshop(connection: Connection, *, now: dt.datetime, users: int, living: int, seed: int) -> None:
    """Make the schema with the functions for draws, and put it and the schema nightshift on the search path.

    Until the transaction ends, foreign keys are not checked and the payments' trigger does not fire. The rows are
    consistent anyway, and the trigger would set the current time on every snapshot. This needs a superuser.
    """
    connection.exec_driver_sql(f"create schema {WORKSHOP}")
    connection.exec_driver_sql("set local session_replication_role = replica")
    connection.exec_driver_sql("set local timezone = 'UTC'")
    connection.exec_driver_sql("set local work_mem = '64MB'")
    connection.exec_driver_sql("set local jit = off")
    path = "select set_config('search_path', :own || ', ' || current_setting('search_path') || ', nightshift', true)"
    connection.execute(text(path), {"own": WORKSHOP})
    given = {"now": now.isoformat(), "users": users, "living": living, "seed": seed}
    for function in _FUNCTIONS:
        # A function's body takes no parameters from outside: they are written into it.
        used = {name: value for name, value in given.items() if f":{name}" in function}
        clause = text(function).bindparams(*(_typed(name, value) for name, value in used.items()))
        connection.exec_driver_sql(str(clause.compile(connection, compile_kwargs={"literal_binds": True})))


def close_workshop(connection: Connection) -> None:
    """Remove what only these statements needed."""
    connection.exec_driver_sql(f"drop schema {WORKSHOP} cascade")


def without_indexes(connection: Connection, table: str) -> list[str]:
    """Drop a table's indexes, except those of its constraints. Returns the statements that make them again.

    Building an index over all rows takes a fraction of the time of adding row by row.
    """
    found = connection.execute(_INDEXES, {"table": table}).all()
    for name, _ in found:
        connection.exec_driver_sql(f"drop index {name}")
    return [definition for _, definition in found]


_INDEXES = text("""
    select cast(indexrelid::regclass as text), pg_get_indexdef(indexrelid) from pg_index
    where indrelid = cast(:table as regclass) and indexrelid not in (select conindid from pg_constraint)
    order by 1
""")

"""The tables that retention is measured on, each filled so that a known share of it has expired, and their jobs."""

import datetime as dt
from dataclasses import dataclass

from bench import logins
from nightshift import Delete, Job, days

NOW = dt.datetime(2026, 3, 1, 2, tzinfo=dt.UTC)
CUTOFF = NOW - dt.timedelta(days=7)
"""Rows before this have expired."""


@dataclass(frozen=True)
class Shape:
    """What a measurement stands on.

    what: how the report names it.
    makes: SQL that makes and fills the tables, with `:cutoff`.
    by_hand: the one statement that everybody would write, with `:cutoff`.
    tables: what is read into memory before each measurement, with its indexes.
    expired: how many rows of the job's own table the statement deletes.
    """

    what: str
    makes: tuple[str, ...]
    job: Job
    by_hand: str
    tables: tuple[str, ...]
    expired: int


def _job(table: str) -> Job:
    return Job(
        name="keep-short",
        kind="retention",
        schedule="cron(0 2 * * ? *)",
        steps=(Delete(table, older_than=days(7), measured_by="created_at"),),
        audited=False,
    )


def half_of_a_million(rows: int = 1_000_000, *, in_order: bool, share: float = 0.5) -> Shape:
    """Logins with five indexes, in the order of their age on the heap or mixed."""
    age = "i" if in_order else f"mod(i * bigint '7368787', {rows})"
    old = int(rows * share)
    return Shape(
        f"{rows:,} rows, {share:.1%} expired, {'in order of age' if in_order else 'ages mixed'}",
        (
            *logins.WITHOUT_INDEXES,
            f"""
            insert into logins (email, success, ip, user_agent, attempted_at)
            select 'user' || i || '@example.com', false, '192.0.2.1', 'Mozilla/5.0',
                   cast(:cutoff as timestamptz) + ({age} - {old}) * interval '1 ms'
              from generate_series(0, {rows - 1}) i
            """,  # noqa: S608 - numbers of this module's own
            *logins.INDEXES,
        ),
        logins.job,
        "delete from logins where attempted_at < :cutoff",
        ("logins",),
        old,
    )


def few_of_many(rows: int, *, in_order: bool) -> Shape:
    """A long table with an index on its age. A row expires each millisecond."""
    age = "i" if in_order else f"mod(i * bigint '7368787', {rows})"
    return Shape(
        f"{rows:,} rows, 0.1 % expired, {'in order of age' if in_order else 'ages mixed'}",
        (
            "create table visits (id bigint generated always as identity, page text, created_at timestamptz not null)",
            f"""
            insert into visits (page, created_at)
            select '/articles/' || i, cast(:cutoff as timestamptz) + ({age} - {rows // 1000}) * interval '1 ms'
              from generate_series(0, {rows - 1}) i
            """,  # noqa: S608
            "alter table visits add primary key (id)",
            "create index on visits (created_at)",
        ),
        _job("visits"),
        "delete from visits where created_at < :cutoff",
        ("visits",),
        rows // 1000,
    )


def three_levels(parents: int = 10_000) -> Shape:
    """Customers, five orders of each, and four lines of each order. Half of the customers have expired."""
    every = 2 * parents
    return Shape(
        f"three cascade levels, {parents:,} + {parents * 5:,} + {parents * 20:,} rows go, half of each table",
        (
            "create table customers (id bigint primary key, name text, created_at timestamptz not null)",
            "create table orders (id bigint primary key, customer_id bigint not null, note text)",
            "create table order_lines (id bigint primary key, order_id bigint not null, article text)",
            f"""
            insert into customers
            select i, 'customer ' || i,
                   cast(:cutoff as timestamptz) + (mod(i * 7, {every}) - {parents}) * interval '1 ms'
              from generate_series(0, {every - 1}) i
            """,  # noqa: S608
            f"insert into orders select i, i / 5, 'order ' || i from generate_series(0, {every * 5 - 1}) i",  # noqa: S608
            f"insert into order_lines select i, i / 4, 'line ' || i from generate_series(0, {every * 20 - 1}) i",  # noqa: S608
            "create index on customers (created_at)",
            "create index on orders (customer_id)",
            "create index on order_lines (order_id)",
            "alter table orders add foreign key (customer_id) references customers on delete cascade",
            "alter table order_lines add foreign key (order_id) references orders on delete cascade",
        ),
        _job("customers"),
        "delete from customers where created_at < :cutoff",
        ("customers", "orders", "order_lines"),
        parents,
    )


def partitions(rows: int = 1_000_000, number: int = 24, *, by_age: bool) -> Shape:
    """A table in 24 partitions: by month, where one holds all that has expired, or by customer, where each has some."""
    old = rows // 50
    key = "created_at" if by_age else "customer"
    step = rows // number
    bounds = [
        f"from (cast('{CUTOFF + dt.timedelta(milliseconds=i * step - old)}' as timestamptz)) "
        f"to (cast('{CUTOFF + dt.timedelta(milliseconds=(i + 1) * step - old)}' as timestamptz))"
        if by_age
        else f"from ({i}) to ({i + 1})"
        for i in range(number)
    ]
    return Shape(
        f"{rows:,} rows in {number} partitions by {'age' if by_age else 'customer'}, 2 % expired",
        (
            f"create table events (id bigint, customer int not null, note text, created_at timestamptz not null) "
            f"partition by range ({key})",
            *(f"create table events_{i:02} partition of events for values {bound}" for i, bound in enumerate(bounds)),
            "create table events_rest partition of events default",
            f"""
            insert into events
            select i, mod(i, {number}), 'event ' || i,
                   cast(:cutoff as timestamptz) + (mod(i * bigint '7368787', {rows}) - {old}) * interval '1 ms'
              from generate_series(0, {rows - 1}) i
            """,  # noqa: S608
            f"alter table events add primary key (id, {key})",
            *(["create index on events (created_at)"] if not by_age else []),
        ),
        _job("events"),
        "delete from events where created_at < :cutoff",
        tuple(f"events_{i:02}" for i in range(number)),
        old,
    )


def no_index(rows: int = 1_000_000) -> Shape:
    """A table whose age has no index, as most are found."""
    old = rows // 25
    return Shape(
        f"{rows:,} rows, 4 % expired, ages mixed, no index on the age",
        (
            "create table notes (id bigint, body text, created_at timestamptz not null)",
            f"""
            insert into notes
            select i, repeat('note ' || i, 4),
                   cast(:cutoff as timestamptz) + (mod(i * bigint '7368787', {rows}) - {old}) * interval '1 ms'
              from generate_series(0, {rows - 1}) i
            """,  # noqa: S608
            "alter table notes add primary key (id)",
        ),
        _job("notes"),
        "delete from notes where created_at < :cutoff",
        ("notes",),
        old,
    )

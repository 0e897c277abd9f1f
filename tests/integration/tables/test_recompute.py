"""Recomputed figures on tables that are not ours: by any key, by name or by model, as one plain statement would."""

import time
from typing import Any

import pytest
from sqlalchemy import BigInteger, Engine, column, func, select, table, text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from nightshift import Job
from nightshift.errors import RunFailedError
from nightshift.steps import Recompute, recompute
from tests.integration.tables.conftest import Call

BIGINT = """
    create schema shop;
    create table shop.customers (id bigint primary key, name text, orders int not null default 0, closed boolean);
    create table shop.orders (id bigserial primary key, customer_id bigint not null references shop.customers);
    insert into shop.customers select i, 'n', i % 3, i % 10 = 0 from generate_series(1, 40) i;
    insert into shop.orders (customer_id) select 1 + i % 20 from generate_series(1, 55) i;
"""
COMPOSITE = """
    create type flavour as enum ('sweet', 'sour');
    create table stock ("Shelf" int, kind flavour, day date, items bigint, primary key ("Shelf", kind, day));
    create table moves (shelf int, kind flavour, day date, items int);
    insert into stock select i, 'sweet', date '2026-02-01' + j, 5 from generate_series(1, 3) i, generate_series(1, 4) j;
    insert into stock select i, 'sour', date '2026-02-02', null from generate_series(1, 3) i;
    insert into moves select 1 + i % 2, 'sweet', date '2026-02-02', 2 from generate_series(1, 10) i;
    insert into moves values (3, 'sour', '2026-02-02', 7), (3, 'sour', '2026-02-02', -1);
"""
TEXT = """
    create table accounts (address text primary key, balance numeric(10, 2) not null);
    create table bookings (address text, amount numeric);
    insert into accounts select 'a' || i || '@example.org', 1 from generate_series(1, 12) i;
    insert into bookings select 'a' || i || '@example.org', 1.005 from generate_series(1, 8) i;
"""


def job(step: Recompute) -> Job:
    return Job(name="figures", kind="recalculation", schedule="cron(0 2 * * ? *)", steps=(step,), audited=False)


def told(engine: Engine, sql: str) -> list[Any]:
    with engine.connect() as connection:
        return [tuple(row) for row in connection.execute(text(sql))]


@pytest.fixture(autouse=True)
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recompute, "FIRST", 3)
    monkeypatch.setattr(recompute, "LARGEST", 3)


BY_NAME = Recompute(
    "shop.customers",
    name="recompute-orders",
    column="orders",
    to="select customer_id as id, count(*) as value from shop.orders where id > :least group by 1",
    where="not closed and id < :most",
    values={"least": 0, "most": 39},
)


class Base(DeclarativeBase):
    pass


class Customer(Base):
    __tablename__ = "customers"
    __table_args__ = {"schema": "shop"}  # noqa: RUF012 - SQLAlchemy's own way

    id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    orders: Mapped[int]
    closed: Mapped[bool]


ordered = table("orders", column("customer_id"), schema="shop")
BY_MODEL = Recompute(
    Customer,
    name="recompute-orders",
    column=Customer.orders,
    to=lambda run: select(ordered.c.customer_id.label("key"), func.count().label("value")).group_by(
        ordered.c.customer_id
    ),
    where=~Customer.closed & (Customer.id < 39),
)


@pytest.mark.parametrize("step", [BY_NAME, BY_MODEL], ids=["name", "model"])
def test_a_key_of_bigint(made: Any, call: Call, step: Recompute) -> None:
    engine = made(BIGINT)
    wrong = (
        "from shop.customers c where not closed and id < 39"
        " and orders <> (select count(*) from shop.orders where customer_id = c.id)"
    )
    left = "select * from shop.customers where closed or id >= 39 order by id"
    before = told(engine, left)
    ((differing,),) = told(engine, f"select count(*) {wrong}")
    assert differing > 6

    (plan,) = call(engine, job(step), dry_run=True)["plan"]["steps"]
    result = call(engine, job(step))

    assert (plan["table"], plan["rows"]) == ("shop.customers", differing)
    assert plan["sample"]
    assert all(name.isdigit() for name in plan["sample"])
    assert (result["counters"]["seen"], result["counters"]["changed"]) == (35, differing)
    assert told(engine, f"select count(*) {wrong}") == [(0,)]
    assert told(engine, left) == before
    assert told(engine, "select count(*) from nightshift.differences") == [(0,)]
    assert call(engine, job(step))["counters"]["changed"] == 0


def test_a_key_of_several_columns_and_types_and_a_figure_that_is_null(made: Any, call: Call) -> None:
    engine = made(COMPOSITE)
    step = Recompute(
        "stock",
        name="recompute-stock",
        column="items",
        to='select shelf as "Shelf", kind, day, sum(items) as value from moves group by 1, 2, 3',
    )

    (plan,) = call(engine, job(step), dry_run=True)["plan"]["steps"]
    counters = call(engine, job(step))["counters"]

    assert plan["sample"][0] == "1,sweet,2026-02-02"
    assert (counters["changed"], counters["total_change"]) == (plan["rows"], 10 * 5 + 5 + 5 + 6) == (15, 66)
    found = told(engine, "select * from stock where items <> 0 order by 1, 2")
    assert [(shelf, kind, items) for shelf, kind, _, items in found] == [
        (1, "sweet", 10),
        (2, "sweet", 10),
        (3, "sour", 6),
    ]
    assert told(engine, "select count(*) from stock where items is null") == [(0,)]


def test_a_key_of_text_is_not_shown_and_a_numeric_is_rounded_as_its_column_does(made: Any, call: Call) -> None:
    engine = made(
        TEXT + "create function refuse() returns trigger language plpgsql as $$ begin"
        " if old.address like 'a3@%' then raise 'not this one'; end if; return new; end $$;"
        "create trigger refuse before update on accounts for each row execute function refuse()"
    )
    options: dict[str, Any] = {
        "name": "recompute-balance",
        "column": "balance",
        "to": "select address as key, sum(amount) as value from bookings group by address",
    }

    hidden = call(engine, job(Recompute("accounts", **options)), dry_run=True)
    result = call(engine, job(Recompute("accounts", **options)))
    shown = call(engine, job(Recompute("accounts", sample_keys=True, **options)), dry_run=True)
    again = call(engine, job(Recompute("accounts", sample_keys=True, **options)))

    assert "example.org" not in str(hidden) + str(result)
    assert (result["counters"]["changed"], result["counters"]["failed"]) == (11, 1)
    assert told(engine, "select balance::text, count(*) from accounts group by 1 order by 1") == [
        ("0.00", 4),
        ("1.00", 1),
        ("1.01", 7),
    ]
    assert shown["plan"]["steps"][0]["sample"] == ["a3@example.org"]
    assert again["errors"][0].startswith("accounts:a3@example.org: ")
    assert "not this one" not in str(again["errors"])


def test_a_figure_that_its_column_cannot_hold_is_that_rows_error_alone(made: Any, call: Call) -> None:
    engine = made(BIGINT)
    to = "select id, case id when 6 then 3000000000 else 1 end as value from shop.customers"

    result = call(engine, job(Recompute("shop.customers", name="recompute-orders", column="orders", to=to)))

    assert result["outcome"] == "succeeded"
    assert [error.partition(": ")[0] for error in result["errors"]] == ["shop.customers:6"]
    assert result["counters"]["failed"] == 1
    assert told(engine, "select count(*) from shop.customers where orders = 1") == [(39,)]


@pytest.mark.parametrize(
    ("script", "options", "remedy"),
    [
        (BIGINT, {"to": "select id, 1 as figure from shop.customers"}, "it lacks value"),
        (BIGINT, {"to": "select name, 1 as value from shop.customers"}, "The key of shop.customers is id"),
        (BIGINT, {"column": "order"}, "has no column order: did you mean orders?"),
        (BIGINT, {"column": "name"}, "shop.customers.name is text: a figure is an integer or a numeric"),
        ("create schema shop; create table shop.customers (orders int)", {}, "has no key by which"),
        ("create schema shop", {}, "no table shop.customers"),
    ],
)
def test_what_cannot_be_recomputed_is_refused_in_words(
    made: Any, call: Call, script: str, options: dict[str, Any], remedy: str
) -> None:
    given = {"column": "orders", "to": "select 1 as id, 1 as value"} | options
    step = Recompute("shop.customers", name="recompute-orders", **given)

    with pytest.raises(RunFailedError, match=remedy):
        call(made(script), job(step))


STOPPING = """
    create sequence tries; grant usage on tries to public;
    create function stop() returns trigger language plpgsql as $$ begin
        if nextval('tries') <= {times} then perform pg_cancel_backend(pg_backend_pid()), pg_sleep(5); end if;
        return new; end $$;
    create trigger stop before update on shop.customers for each statement execute function stop();
"""


def test_a_batch_that_was_stopped_is_tried_again(made: Any, call: Call) -> None:
    engine = made(BIGINT + STOPPING.format(times=2))
    result = call(engine, job(BY_NAME))
    assert (result["outcome"], result["counters"]["failed"]) == ("succeeded", 0)
    assert result["counters"]["changed"] > 6


def test_a_batch_that_is_stopped_every_time_fails_the_run(made: Any, call: Call) -> None:
    engine = made(BIGINT + STOPPING.format(times=10_000))
    with pytest.raises(RunFailedError, match="57014"):
        call(engine, job(BY_NAME))
    assert told(engine, "select last_value from tries") == [(13,)]


ODD = """
    create table accounts (address int primary key, balance {type});
    create table bookings (address int, amount numeric);
    insert into accounts select i, 1 from generate_series(1, 12) i;
    insert into bookings select i, 3 from generate_series(1, 12) i;
"""


@pytest.mark.parametrize(
    ("type_", "odd", "right"),
    [
        ("numeric", "update accounts set balance = 'NaN' where address = 5", 12),
        ("numeric", "update accounts set balance = 'Infinity' where address = 5", 12),
        ("numeric", "update bookings set amount = '-Infinity' where address = 5", 11),
        ("numeric", "update bookings set amount = 1e5000 where address = 5", 11),
        ("int", "update bookings set amount = 'NaN' where address = 5", 11),
    ],
)
def test_a_figure_that_is_no_number_or_beyond_all_measure_costs_no_other(
    made: Any, call: Call, type_: str, odd: str, right: int
) -> None:
    database = made(ODD.format(type=type_) + odd)
    step = Recompute(
        "accounts", name="f", column="balance", to="select address, sum(amount) as value from bookings group by 1"
    )

    result = call(database, job(step))

    counters = result["counters"]
    assert (counters["changed"] + counters["failed"], counters["total_change"]) == (12, 2 * 11)
    assert told(database, "select count(*) from accounts where balance = 3") == [(right,)]
    assert counters["failed"] or "total_change: changes of 10^18 and more" in result["notes"][0]


def test_locked_rows_are_left_and_counted_within_moments(made: Any, call: Call) -> None:
    database = made(ODD.format(type="int"))
    step = Recompute(
        "accounts", name="f", column="balance", to="select address, sum(amount) as value from bookings group by 1"
    )
    with database.begin() as somebody:
        somebody.execute(text("select 1 from accounts where address in (5, 11) for update"))
        began = time.monotonic()
        counters = call(database, job(step))["counters"]
        took = time.monotonic() - began

    assert (counters["changed"], counters["locked"]) == (10, 2)
    assert took < 8

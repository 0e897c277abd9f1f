"""Ages by their type, conditions by theirs: strictly older than the cut-off, in the column's own terms."""

import datetime as dt
import uuid
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import (
    ARRAY,
    Column as Declared,
    DateTime,
    Integer,
    MetaData,
    Numeric,
    String,
    Table,
    and_,
    column,
    func,
    literal,
    or_,
    text,
)

from nightshift import Job, Update
from nightshift.catalogue import Snowflake
from nightshift.catalogue.ages import before, local_cutoff
from nightshift.catalogue.table import Column
from nightshift.errors import RunFailedError
from tests.integration.tables.conftest import Call, deletion, rows

CUTOFF = dt.datetime(2026, 1, 30, 2, tzinfo=dt.UTC)
"""Thirty days before the run's now."""

SECOND = int(CUTOFF.timestamp())
EPOCH = 1_577_836_800_000


def v7(milliseconds: int, version: str = "7") -> str:
    return str(uuid.UUID(f"{milliseconds:012x}{version}abc8def0123456789ab"))


@pytest.mark.parametrize(
    ("kind", "gone", "stays", "options"),
    [
        ("timestamptz", "2026-01-30T01:59:59.999999Z", "2026-01-30T02:00:00Z", {}),
        ("timestamp", "2026-01-30 01:59:59.999999", "2026-01-30 02:00:00", {}),
        ("timestamp", "2026-01-30 02:59:59", "2026-01-30 03:00:00", {"zone": "Europe/Berlin"}),
        ("timestamp(0)", "2026-01-29 20:59:59", "2026-01-29 21:00:00", {"zone": "America/New_York"}),
        ("timestamp(0)", "2026-01-30 01:59:59", "2026-01-30 02:00:00", {}),
        ("early", "2026-01-30T01:59:59Z", "2026-01-30T02:00:01Z", {}),
        ("date", "2026-01-29", "2026-01-30", {}),
        ("date", "2026-01-28", "2026-01-29", {"zone": "America/New_York"}),
        ("bigint", str(SECOND - 1), str(SECOND), {"measured_in": "seconds"}),
        ("integer", str(SECOND - 1), str(SECOND), {"measured_in": "seconds"}),
        ("numeric", f"{SECOND - 1}.9", str(SECOND), {"measured_in": "seconds"}),
        ("bigint", str(SECOND * 1000 - 1), str(SECOND * 1000), {"measured_in": "milliseconds"}),
        ("double precision", str(SECOND * 10**6 - 1), str(SECOND * 10**6), {"measured_in": "microseconds"}),
        ("bigint", str(SECOND * 10**9 - 1), str(SECOND * 10**9), {"measured_in": "nanoseconds"}),
        ("uuid", v7(SECOND * 1000 - 1), v7(SECOND * 1000), {"measured_in": "uuid7"}),
        ("uuid", v7(SECOND * 1000 - 1), v7(SECOND * 1000 - 1, "4"), {"measured_in": "uuid7"}),
        (
            "bigint",
            str((SECOND * 1000 - 1 - EPOCH) << 22 | 4095),
            str((SECOND * 1000 - EPOCH) << 22),
            {"measured_in": Snowflake(EPOCH)},
        ),
    ],
)
def test_a_row_goes_when_it_is_strictly_older(
    made: Any, call: Call, kind: str, gone: str, stays: str, options: dict[str, Any]
) -> None:
    database = made(
        "create domain early as timestamptz check (value <> '2026-01-30T02:00:00Z');"
        f"create table things (id int primary key, at {kind}); create index on things (at);"
        f"insert into things values (1, '{gone}'), (2, '{stays}'), (3, null)"
    )

    assert call(database, deletion("things", **options))["counters"]["deleted"] == 1

    assert rows(database, "things where id in (2, 3)") == 2


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        ("text", "which has no time in it that can be compared"),
        ("jsonb", "which has no time in it that can be compared"),
        ("boolean", "which has no time in it that can be compared"),
        ("bigint", "is a number: say what it counts"),
        ("uuid", 'say measured_in="uuid7"'),
    ],
)
def test_what_has_no_time_in_it_is_refused(made: Any, call: Call, kind: str, says: str) -> None:
    database = made(f"create table things (id int primary key, at {kind})")

    with pytest.raises(RunFailedError, match=says):
        call(database, deletion("things"))


def test_a_measure_that_the_column_cannot_hold_is_refused(made: Any, call: Call) -> None:
    database = made(f"create table things (id int primary key, at int); insert into things values (1, {SECOND - 1})")

    with pytest.raises(RunFailedError, match="at is of type integer, and cannot hold 1769738400000"):
        call(database, deletion("things", measured_in="milliseconds"))

    assert rows(database, "things") == 1


@pytest.mark.parametrize(("base", "measured_in"), [("int8", "seconds"), ("int8", "milliseconds"), ("date", None)])
def test_a_row_of_the_cutoffs_own_unit_is_not_older(base: str, measured_in: Any) -> None:
    cutoff = CUTOFF.replace(microsecond=1_600)
    held = Column("at", base, base, base, nullable=True, personal=False)
    compared = before(column("at"), held, cutoff, zone="UTC", measure=measured_in)
    own = {"seconds": SECOND, "milliseconds": SECOND * 1000 + 1, None: "2026-01-30"}[measured_in]
    assert list(compared.compile().params.values()) == [str(own)]


@pytest.mark.parametrize(
    ("cutoff", "local"),
    [
        ("2025-10-26T00:30Z", "2025-10-26T02:00"),  # 02:30 for the first time
        ("2025-10-26T01:30Z", "2025-10-26T02:30"),  # and for the second
        ("2025-10-25T23:59Z", "2025-10-26T01:59"),
        ("2025-10-26T02:00Z", "2025-10-26T03:00"),
        ("2025-03-30T01:00Z", "2025-03-30T03:00"),  # the clocks were put forward
    ],
)
def test_in_a_doubled_hour_a_row_counts_as_of_the_later_one(cutoff: str, local: str) -> None:
    instant = dt.datetime.fromisoformat(cutoff)

    assert local_cutoff(instant, ZoneInfo("Europe/Berlin")) == dt.datetime.fromisoformat(local)


def test_infinity_and_years_beyond_pythons_are_as_old_as_the_database_says(made: Any, call: Call) -> None:
    database = made(
        "create table things (at timestamptz primary key); insert into things values "
        "('infinity'), ('-infinity'), ('0044-03-15 BC'), ('20260-01-01'), ('2020-01-01'), ('2026-02-28')"
    )

    plan = call(database, deletion("things"), dry_run=True)["plan"]["steps"][0]
    assert call(database, deletion("things"))["counters"]["deleted"] == plan["rows"] == 3

    with database.connect() as connection:
        left = connection.scalars(text("select cast(at as text) from things order by at")).all()
    assert left == ["2026-02-28 00:00:00+00", "20260-01-01 00:00:00+00", "infinity"]


def test_rows_without_an_age_stay_but_go_by_a_condition_alone(made: Any, call: Call) -> None:
    script = (
        "create table things (id int primary key, state text, at timestamptz); create index on things (at);"
        "insert into things select i, 'done', null from generate_series(1, 5000) i"
    )
    assert call(made(script), deletion("things"))["counters"]["deleted"] == 0


def test_a_condition_alone_reaches_rows_without_an_age(made: Any, call: Call) -> None:
    database = made(
        "create table things (id int primary key, state text, at timestamptz); create index on things (at);"
        "insert into things select i, 'done', case when i % 3 = 0 then now() end from generate_series(1, 3000) i"
    )
    job = deletion("things", older_than=None, where="state = 'done'")
    assert call(database, job)["counters"]["deleted"] == 3000


def test_the_servers_own_settings_change_nothing(made: Any, call: Call) -> None:
    database = made(
        "create table things (id int primary key, at timestamptz); create index on things (at);"
        "insert into things select i, timestamptz '2026-01-30 02:00Z' + (i - 50) * interval '1 day' "
        "from generate_series(1, 100) i"
    )
    name = database.url.database
    settings = {
        "datestyle": "'SQL, DMY'",
        "intervalstyle": "'sql_standard'",
        "bytea_output": "'escape'",
        "timezone": "'Pacific/Auckland'",
        "default_transaction_isolation": "'serializable'",
        "default_transaction_read_only": "on",
        "search_path": "'nowhere'",
        "extra_float_digits": "-15",
        "statement_timeout": "'3600s'",
    }
    with database.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        for setting, value in settings.items():
            connection.exec_driver_sql(f"alter database {name} set {setting} to {value}")

    assert call(database, deletion("things"))["counters"]["deleted"] == 49


ODD = """
    create extension citext; create extension pg_trgm; create type state as enum ('new', 'old');
    create table parents (id int primary key, at timestamptz not null, s citext, state state, n text,
        b bit(3) default '111', w varchar(3)[] default '{abc}', u uuid, r tstzrange default '[2025-01-01Z,)');
    insert into parents select i, timestamptz '2025-12-01Z', 'Spam@X.y', 'old', 'a%s' from generate_series(1, 5) i;
    update parents set u = cast('00000000-0000-7000-8000-00000000000' || id as uuid);
"""


@pytest.mark.parametrize(
    ("where", "gone"),
    [
        (column("s") == "spam@x.Y", 5),
        (column("s") != "spam@x.Y", 0),
        (literal("spam@x.Y") == column("s"), 5),
        (column("s").in_(["spam@x.Y", "ham"]), 5),
        (column("s").not_in(["spam@x.Y"]), 0),
        (column("s").between("spam@x.X", "spam@x.Z"), 5),
        (or_(column("state") == "new", and_(column("state") == "old", ~(column("s") == "ham"))), 5),
        (column("b") == "1111", 0),
        (column("b") == "111", 5),
        (column("at") < "2026-01-01", 5),
        (column("u") == "00000000-0000-7000-8000-000000000001", 1),
        (column("u").in_(["00000000-0000-7000-8000-000000000001", "00000000-0000-7000-8000-000000000002"]), 2),
        (column("r").op("@>")(dt.datetime(2025, 12, 1, tzinfo=dt.UTC)), 5),
        (column("w") == "{abcd}", 0),
        (column("w") == "{abc}", 5),
        (column("id") % 2 == 0, 2),
        (text("id % 2 = 0 and n = 'a%s' and n like 'a%'"), 2),
        (text("false or id = 1"), 1),
        (lambda run: text("false or id = 1"), 1),
        ("id %2 = 0 and n = 'a%s' and n like :n", 2),
        ("n % :n", 5),
    ],
)
def test_a_condition_means_what_the_database_makes_of_it(made: Any, call: Call, where: Any, gone: int) -> None:
    database = made(ODD)
    with database.begin() as connection:
        connection.execute(
            text("insert into parents select -i, timestamptz '2026-02-28Z' from generate_series(1, 5) i")
        )
    job = deletion(where=where, values={"n": "a%s"} if isinstance(where, str) else {})
    planned = call(database, job, dry_run=True)["plan"]["steps"][0]["rows"]
    call(database, job)
    assert (planned, 10 - rows(database, "parents")) == (gone, gone)


@pytest.mark.parametrize(
    ("where", "value"),
    [
        ("period @> :v", dt.datetime(2025, 6, 1, tzinfo=dt.UTC)),
        ("days @> :v", dt.date(2025, 6, 1)),
        ("numbers @> :v and c = :c", 3),
        ("at < timestamptz '2026-03-01Z' - :v", dt.timedelta(days=3)),
        ("periods && :v", "{[2025-06-01Z,2025-06-02Z)}"),
        ("words @> :v", ["a"]),
        ("said @> :v", {"a": 1}),
    ],
)
def test_a_value_of_sql_is_of_the_type_that_is_wanted_or_else_of_pythons(
    made: Any, call: Call, where: str, value: Any
) -> None:
    database = made(
        """
        create extension citext;
        create table parents (id int primary key, at timestamptz not null, period tstzrange, days daterange,
            numbers int4range, periods tstzmultirange, words text[], said jsonb, c citext);
        insert into parents values (1, '2025-12-01Z', '[2025-01-01Z,2025-12-01Z)', '[2025-01-01,2025-12-01)', '[1,5)',
             '{[2025-01-01Z,2025-12-01Z)}', '{a,b}', '{"a": 1}', 'A');
        insert into parents (id, at) values (2, '2025-12-01Z');
        """
    )
    values = {"v": value} | ({"c": "a"} if ":c" in where else {})
    assert call(database, deletion(where=where, values=values), dry_run=True)["plan"]["steps"][0]["rows"] > 0
    call(database, deletion(where=where, values=values), parameters={"max_share": 100})
    assert rows(database, "parents where id = 1") == 0


def test_a_condition_of_a_model_is_compared_with_the_value_as_it_is(made: Any, call: Call) -> None:
    """SQLAlchemy would round it to what the column takes, or cut it off, and other rows would be meant."""
    parents = Table(
        "parents",
        MetaData(),
        Declared("id", Integer, primary_key=True),
        Declared("at", DateTime(timezone=True)),
        Declared("n", Numeric(10, 2)),
        Declared("words", ARRAY(String(3))),
    )
    database = made(
        "create table parents (id int primary key, at timestamptz not null, n numeric(10, 2), words varchar(3)[]);"
        "insert into parents values (1, '2025-12-01Z', 1, '{abc}'), (2, '2025-12-01Z', 0.99, '{}')"
    )
    for where, meant in (
        (parents.c.n <= Decimal("0.997"), 1),
        (parents.c.n.in_([Decimal("1.001")]), 0),
        (func.coalesce(parents.c.words, parents.c.words).op("@>")(["abcd"]), 0),
    ):
        assert call(database, deletion(parents, where=where), dry_run=True)["plan"]["steps"][0]["rows"] == meant


def test_an_age_may_be_an_expression_that_is_called_like_a_column(made: Any, call: Call) -> None:
    database = made(
        """
        create table parents (id int primary key, "coalesce" int, at timestamptz not null);
        create index on parents ((coalesce(at, '2026-02-01Z')));
        insert into parents select i, i, case when i <= 10 then timestamptz '2025-12-01Z' else '2026-02-28Z' end
          from generate_series(1, 9000) i;
        analyze parents
        """
    )
    late = dt.datetime(2026, 2, 1, tzinfo=dt.UTC)
    call(database, deletion(measured_by=func.coalesce(column("at"), literal(late))))
    assert rows(database, "parents") == 8990


def test_a_partition_key_may_have_a_percent_sign(made: Any, call: Call) -> None:
    database = made(
        "create table parents (id int, at timestamptz not null) partition by list ((id % 3));"
        + "".join(f"create table p{i} partition of parents for values in ({i});" for i in range(3))
        + "insert into parents select i, timestamptz '2025-12-01Z' from generate_series(1, 30) i"
    )
    call(database, deletion())
    assert rows(database, "parents") == 0


def test_a_new_value_is_of_the_columns_type(made: Any, call: Call) -> None:
    step = Update("parents", where="state = 'old'", set={"state": "new", "n": text("n || id % 2")}, counter="changed")
    job = Job(name="renew", kind="recalculation", schedule="cron(0 2 * * ? *)", steps=(step,), audited=False)
    database = made(ODD)
    call(database, job)
    assert rows(database, "parents where state = 'new' and n = 'a%s' || id % 2") == 5

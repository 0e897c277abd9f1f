"""Partitions that are entirely older than the cut-off go as a whole: which ones, how counted, and what stops one."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.exc import DBAPIError

from nightshift import DeclarationError, Detach, Drop, Job
from nightshift.catalogue import Snowflake
from nightshift.database import sqlstate
from nightshift.engine import partitions as engine_partitions, sweeping
from nightshift.environment import STRAIN_VARIABLE
from nightshift.errors import Interrupted, RunFailedError
from tests.faults.deaths import Death, Life, let_the_lease_end
from tests.integration.tables.conftest import Call, deletion, rows
from tests.integration.tables.test_what_is_refused import as_role

BY_MONTH = """
create table events (id bigint not null, note text, at timestamptz not null) partition by range (at);
create table events_2025_11 partition of events for values from ('2025-11-01Z') to ('2025-12-01Z');
create table events_2025_12 partition of events for values from ('2025-12-01Z') to ('2026-01-01Z');
create table events_2026_01 partition of events for values from ('2026-01-01Z') to ('2026-02-01Z');
create table events_2026_02 partition of events for values from ('2026-02-01Z') to ('2026-03-01Z');
create table events_2026_03 partition of events for values from ('2026-03-01Z') to ('2026-04-01Z');
create index on events (at);
insert into events select i, 'event', timestamptz '2025-11-01Z' + i * interval '1 h' from generate_series(0, 2879) i;
analyze events;
"""
"""The cut-off is 2026-01-30 02:00. November and December have 1,464 rows; of January 698 rows are older."""

EVERYTHING = {"max_share": 100}


def dropping(table: str = "events", partitions: Any = None, **more: Any) -> Job:
    return deletion(table, partitions=partitions or Drop(), **more)


def tables(engine: Engine, schema: str = "public") -> set[str]:
    wanted = "relkind in ('r', 'p') and relnamespace = to_regnamespace(:schema)"
    with engine.connect() as connection:
        return set(connection.scalars(text(f"select relname from pg_class where {wanted}"), {"schema": schema}))


def going(engine: Engine, call: Call, job: Job) -> list[str]:
    """The partitions that a plan says go as a whole."""
    plan = call(engine, job, dry_run=True)["plan"]["steps"][0]
    return [each["name"].removeprefix("public.") for each in plan.get("partitions", ())]


def do(engine: Engine, script: str) -> None:
    with engine.begin() as connection:
        connection.exec_driver_sql(script)


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor any for the strain that the tests' other sessions are: it would end the run before it comes to a lock."""
    monkeypatch.setattr(engine_partitions, "PAUSES", (0.01, 0.01))
    monkeypatch.setenv(STRAIN_VARIABLE, json.dumps({"work_percent": 100, "lock_waits": 0}))


def test_old_partitions_go_as_a_whole_and_the_rows_of_the_one_that_is_partly_old_go_one_by_one(
    made: Any, call: Call
) -> None:
    engine = made(BY_MONTH)
    plan = call(engine, dropping(), dry_run=True)["plan"]["steps"][0]

    result = call(engine, dropping(), parameters=EVERYTHING)

    assert plan["rows"] == 720 + 744 + 698
    assert [(each["name"], each["rows"]) for each in plan["partitions"]] == [
        ("public.events_2025_11", 720),
        ("public.events_2025_12", 744),
    ]
    assert all(each["bytes"] > 0 for each in plan["partitions"])
    assert {"events_2025_11", "events_2025_12"}.isdisjoint(tables(engine))
    assert "events_2026_01" in tables(engine)
    assert result["counters"]["deleted"] == plan["rows"]
    assert result["counters"]["partitions_dropped"] == 2
    assert result["counters"]["partition_bytes"] == sum(each["bytes"] for each in plan["partitions"])
    assert rows(engine, "events") == rows(engine, "events where at >= '2026-01-30 02:00Z'") == 2880 - 2162


def test_a_second_night_finds_nothing(made: Any, call: Call) -> None:
    engine = made(BY_MONTH)
    call(engine, dropping(), parameters=EVERYTHING)

    result = call(engine, dropping(), parameters=EVERYTHING)

    assert result["counters"]["deleted"] == result["counters"]["partitions_dropped"] == 0


def test_detached_partitions_are_kept_in_another_schema(made: Any, call: Call) -> None:
    engine = made(BY_MONTH + "create schema archive;")
    job = dropping(partitions=Detach(to_schema="archive"))

    result = call(engine, job, parameters=EVERYTHING)

    assert result["counters"]["partitions_detached"] == 2
    assert tables(engine, "archive") == {"events_2025_11", "events_2025_12"}
    assert rows(engine, "archive.events_2025_12") == 744
    assert rows(engine, "events") == 2880 - result["counters"]["deleted"]


def test_rows_of_other_partitions_stay_where_the_step_says_so(made: Any, call: Call) -> None:
    engine = made(BY_MONTH)

    result = call(engine, dropping(partitions=Drop(rest="keep")), parameters=EVERYTHING)

    assert result["counters"]["deleted"] == 720 + 744
    assert rows(engine, "events") == 2880 - 720 - 744


def test_counted_by_size_no_row_is_read_and_the_cap_holds_what_fits_into_the_blocks(made: Any, call: Call) -> None:
    engine = made(BY_MONTH)
    job = dropping(partitions=Drop(counted="by size"))
    plan = call(engine, job, dry_run=True)["plan"]["steps"][0]
    fits = {each["name"]: each["rows"] for each in plan["partitions"]}

    assert all(each["at_most"] for each in plan["partitions"])
    assert 720 <= fits["public.events_2025_11"] <= 720 * 10
    with pytest.raises(RunFailedError, match=f"would delete {plan['rows']} rows of events; max_rows is"):
        call(engine, job, parameters=EVERYTHING | {"max_rows": plan["rows"] - 1})
    result = call(engine, job, parameters=EVERYTHING | {"max_rows": plan["rows"]})
    assert result["counters"]["deleted"] == 720 + 744 + 698
    assert result["counters"]["partitions_dropped"] == 2


def test_the_cap_counts_rows_that_go_with_their_partition(made: Any, call: Call) -> None:
    engine = made(BY_MONTH)

    with pytest.raises(RunFailedError, match="would delete 2162 rows of events; max_rows is 2161"):
        call(engine, dropping(), parameters=EVERYTHING | {"max_rows": 2161})

    assert rows(engine, "events") == 2880
    assert call(engine, dropping(), parameters=EVERYTHING | {"max_rows": 2162})["counters"]["deleted"] == 2162


def test_the_share_counts_rows_that_go_with_their_partition(made: Any, call: Call) -> None:
    more = "insert into events select i, '', timestamptz '2025-11-02Z' from generate_series(1, 20000) i; analyze events"
    engine = made(BY_MONTH + more)

    for partitions in (Drop(), Drop(counted="by size")):
        with pytest.raises(RunFailedError, match="max_share is 50 %"):
            call(engine, dropping(partitions=partitions))

    assert rows(engine, "events") == 22880


BOUNDS: dict[str, tuple[str, dict[str, Any], list[str]]] = {
    "a default partition beside": (
        "create table t (at timestamptz not null) partition by range (at);"
        "create table old partition of t for values from (minvalue) to ('2026-01-01Z');"
        "create table t_rest partition of t default;",
        {},
        ["old"],
    ),
    "to the last moment before the cut-off": (
        "create table t (at timestamptz not null) partition by range (at);"
        "create table old partition of t for values from ('2026-01-01Z') to ('2026-01-30 02:00Z');"
        "create table young partition of t for values from ('2026-01-30 02:00Z') to (maxvalue);",
        {},
        ["old"],
    ),
    "a moment beyond the cut-off": (
        "create table t (at timestamptz not null) partition by range (at);"
        "create table young partition of t for values from ('2026-01-01Z') to ('2026-01-30 02:00:00.000002Z');",
        {},
        [],
    ),
    "two columns, the age first": (
        "create table t (at timestamptz not null, n int) partition by range (at, n);"
        "create table old partition of t for values from (minvalue, minvalue) to ('2026-01-01Z', 5);"
        "create table young partition of t for values from ('2026-01-30 01:00Z', 5) to ('2026-01-30 02:00Z', 9);",
        {},
        ["old"],
    ),
    "two columns, the age last": (
        "create table t (at timestamptz not null, n int) partition by range (n, at);"
        "create table young partition of t for values from (1, '2025-01-01Z') to (5, '2025-02-01Z');"
        "create table old partition of t for values from (7, '2025-01-01Z') to (7, '2025-02-01Z');",
        {},
        ["old"],
    ),
    "another column": (
        "create table t (at timestamptz not null, n int) partition by range (n);"
        "create table young partition of t for values from (1) to (5);",
        {},
        [],
    ),
    "by hash": (
        "create table t (at timestamptz not null) partition by hash (at);"
        "create table young partition of t for values with (modulus 1, remainder 0);",
        {},
        [],
    ),
    "lists of days": (
        "create table t (at date) partition by list (at);"
        "create table old partition of t for values in ('2025-12-01', '2026-01-29');"
        "create table today partition of t for values in ('2025-12-02', '2026-01-30');"
        "create table none partition of t for values in ('2025-12-03', null);",
        {},
        ["old"],
    ),
    "a tree below": (
        "create table t (at timestamptz not null, n int) partition by range (at);"
        "create table old partition of t for values from (minvalue) to ('2026-01-01Z') partition by hash (n);"
        "create table old_0 partition of old for values with (modulus 2, remainder 0);"
        "create table old_1 partition of old for values with (modulus 2, remainder 1);",
        {},
        ["old"],
    ),
    "a tree below, with a default partition of another key": (
        "create table t (at timestamptz not null, n int) partition by range (at);"
        "create table old partition of t for values from (minvalue) to ('2026-01-01Z') partition by list (n);"
        "create table old_0 partition of old for values in (0);"
        "create table old_rest partition of old default partition by list (n);"
        "create table old_rest_2 partition of old_rest default; insert into t values ('2025-12-01Z', 7);"
        "create table young partition of t for values from ('2026-01-20Z') to ('2026-02-09Z') partition by list (n);"
        "create table today partition of young default;",
        {},
        ["old"],
    ),
    "a tree below, with a default partition that has a trigger": (
        "create table t (at timestamptz not null, n int) partition by range (at);"
        "create table t_1 partition of t for values from (minvalue) to ('2026-01-01Z') partition by list (n);"
        "create table old partition of t_1 for values in (0); create table none partition of t_1 default;"
        "create function told() returns trigger language plpgsql as 'begin return old; end';"
        "create trigger told after delete on none for each row execute function told();",
        {},
        ["old"],
    ),
    "a default partition with a tree below": (
        "create table t (at timestamptz not null, n int) partition by range (at);"
        "create table t_rest partition of t default partition by list (n);"
        "create table none partition of t_rest default; create table today partition of t_rest for values in (0);",
        {},
        [],
    ),
    "tenants above, of which one has only old partitions": (
        "create table t (at timestamptz not null, n int) partition by list (n);"
        "create table t_1 partition of t for values in (1) partition by range (at);"
        "create table old partition of t_1 for values from (minvalue) to ('2026-01-01Z');",
        {},
        ["old"],
    ),
    "an empty tree of the future": (
        "create table t (at timestamptz not null, n int) partition by range (at);"
        "create table young partition of t for values from ('2026-03-01Z') to ('2026-04-01Z') partition by hash (n);",
        {},
        [],
    ),
    "milliseconds": (
        "create table t (at bigint not null) partition by range (at);"
        "create table old partition of t for values from (0) to (1769738400000);"
        "create table young partition of t for values from (1769738400000) to (1769738400009);",
        {"measured_in": "milliseconds"},
        ["old"],
    ),
    "snowflakes": (
        "create table t (at bigint not null) partition by range (at);"
        "create table old partition of t for values from (0) to ((1769738400000 - 1420070400000)::bigint << 22);"
        "create table young partition of t for values "
        "from ((1769738400000 - 1420070400000)::bigint << 22) to (maxvalue);",
        {"measured_in": Snowflake(epoch=1420070400000)},
        ["old"],
    ),
    "uuids of version 7": (
        "create table t (at uuid not null) partition by range (at);"
        "create table old partition of t for values from (minvalue) to ('019b7613-f400-7000-8000-000000000000');"
        "create table odd partition of t for values from ('019b7613-f400-7000-8000-000000000000') "
        "to ('019b7613-f500-7000-8000-000000000000');"
        "create table young partition of t for values from ('019b7613-f500-7000-8000-000000000000') to (maxvalue);"
        "insert into t values ('019b7613-f300-7000-8000-000000000000'), ('019b7613-f450-4000-8000-000000000000');",
        {"measured_in": "uuid7"},
        ["old"],
    ),
    "a timestamp of another zone": (
        "create table t (at timestamp not null) partition by range (at);"
        "create table old partition of t for values from (minvalue) to ('2026-01-30 03:00');"
        "create table young partition of t for values from ('2026-01-30 03:00') to (maxvalue);",
        {"zone": "Europe/Berlin"},
        ["old"],
    ),
    "names that need quotes": (
        'create table t (at timestamptz not null) partition by range (at); create schema "Odd:%s";'
        """create table "Odd:%s"."Ol'd ""%:x" partition of t for values from (minvalue) to ('2026-01-01Z');""",
        {},
        ["Odd:%s.Ol'd \"%:x"],
    ),
}


def test_only_a_bound_that_leaves_no_room_for_younger_rows_lets_a_partition_go(made: Any, call: Call) -> None:
    for shape, (script, measured, expected) in BOUNDS.items():
        engine = made(script)
        job = dropping("t", **measured)

        assert going(engine, call, job) == expected, shape
        result = call(engine, job, parameters=EVERYTHING)

        assert result["counters"]["partitions_dropped"] == len(expected), shape
        with engine.begin() as connection:
            left = set(connection.scalars(text("select relname from pg_class where relkind in ('r', 'p')")))
            connection.exec_driver_sql("drop table t cascade")
        gone = {name.rpartition(".")[2] for name in expected}
        stays = {"young", "today", "none", "odd", "t_1", "t_rest"}
        assert not gone & left, shape
        assert {name for name in stays if f"table {name} " in script} <= left, shape


CHILDREN = """
alter table events add primary key (id, at);
create table notes (event_id bigint, event_at timestamptz,
    foreign key (event_id, event_at) references events {action});
create index on notes (event_id, event_at);
"""


@pytest.mark.parametrize("action", ["", "on delete cascade"])
def test_a_partition_whose_rows_are_referred_to_is_done_row_by_row(made: Any, call: Call, action: str) -> None:
    refers = "insert into notes select id, at from events where id = 5;"
    engine = made(BY_MONTH + CHILDREN.format(action=action) + refers)
    plan = call(engine, dropping(), dry_run=True)["plan"]["steps"][0]

    result = call(engine, dropping(), parameters=EVERYTHING)

    told = "rows of notes refer to its rows (foreign key notes_event_id_event_at_fkey)"
    assert plan["staying"] == [{"name": "public.events_2025_11", "reason": told}]
    assert "events_2025_11" in tables(engine)
    assert "events_2025_12" not in tables(engine)
    kept = 0 if action else 1
    assert rows(engine, "events_2025_11") == rows(engine, "notes") == kept
    assert result["counters"]["deleted"] == plan["rows"] == 2162 - kept
    assert result["counters"].get("referenced", 0) == kept


@pytest.mark.parametrize("action", ["", "on delete cascade"])
def test_a_partition_to_whose_rows_others_of_the_same_table_refer_is_done_row_by_row(
    made: Any, call: Call, action: str
) -> None:
    """Also if these are in a partition in which no row is old enough."""
    script = f"""
        alter table events add primary key (id, at), add before_id bigint, add before_at timestamptz,
            add foreign key (before_id, before_at) references events {action};
        create index on events (before_id, before_at);
        update events set before_id = 5, before_at = '2025-11-01T05:00Z' where id = 2879;
    """
    engine = made(BY_MONTH + script)

    result = call(engine, dropping(), parameters=EVERYTHING)

    assert "events_2025_11" in tables(engine)
    assert "events_2025_12" not in tables(engine)
    kept = 0 if action else 1
    assert rows(engine, "events_2025_11") == kept
    assert rows(engine, "events where id = 2879") == kept
    assert result["counters"]["deleted"] == 2162 - kept


def test_a_row_that_is_referred_to_only_since_the_count_keeps_its_partition(
    made: Any, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = made(BY_MONTH + CHILDREN.format(action=""))
    before_taking(monkeypatch, lambda: do(engine, "insert into notes select id, at from events where id = 5"))

    result = call(engine, dropping(), parameters=EVERYTHING)

    assert "events_2025_11" in tables(engine)
    assert result["counters"]["partitions_kept"] == 1
    assert "events_2025_11 stays: rows of another table refer to its rows" in result["notes"][0]
    assert result["counters"]["partitions_dropped"] == 1


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("create view old_events as select * from events_2025_11", "the view old_events depends on it"),
        (
            "create function olds() returns setof events_2025_11 language sql as 'select * from events_2025_11'",
            "the function olds() depends on it",
        ),
        ("create table others (held events_2025_11[])", "the column held of table others depends on it"),
        (
            "create sequence numbers owned by events_2025_11.id;"
            "alter table events_2025_11 alter id set default nextval('numbers');"
            "alter table events alter id set default nextval('numbers')",
            "the default value for column id of table events depends on it",
        ),
        (
            "create function noted() returns trigger language plpgsql as 'begin return old; end';"
            "create trigger noted before delete on events_2025_11 for each row execute function noted()",
            "its trigger noted would not fire",
        ),
        (
            "alter table events_2025_11 add primary key (id);"
            "create table own (event_id bigint references events_2025_11); create index on own (event_id)",
            "the foreign key own_event_id_fkey points to it alone",
        ),
    ],
)
def test_a_partition_with_something_of_its_own_is_done_row_by_row(
    made: Any, call: Call, script: str, reason: str
) -> None:
    engine = made(BY_MONTH + script)
    plan = call(engine, dropping(), dry_run=True)["plan"]["steps"][0]

    result = call(engine, dropping(), parameters=EVERYTHING)

    assert plan["staying"] == [{"name": "public.events_2025_11", "reason": reason}]
    assert rows(engine, "events_2025_11") == 0
    assert result["counters"]["deleted"] == plan["rows"] == 2162


TRIGGER = (
    "create function noted() returns trigger language plpgsql as 'begin return null; end';"
    "create trigger noted after delete on events for each {} execute function noted()"
)


@pytest.mark.parametrize(
    ("script", "partitions", "says"),
    [
        (TRIGGER.format("row"), Drop(), "the trigger noted on events would not fire for rows that go with their"),
        (TRIGGER.format("statement"), Drop(), "the trigger noted on events would not fire for rows that go with"),
        ("", Detach(to_schema="archive"), 'there is no schema archive .*: create schema "archive"'),
        ("alter table events rename to was; create table events (at timestamptz)", Drop(), "events is not partitioned"),
    ],
)
def test_what_would_be_wrong_for_every_partition_is_refused_before_anything_is_done(
    made: Any, call: Call, script: str, partitions: Any, says: str
) -> None:
    engine = made(BY_MONTH + script)
    job = dropping(partitions=partitions)

    for asked in ({"dry_run": True}, {"parameters": EVERYTHING}):
        with pytest.raises(RunFailedError, match=says):
            call(engine, job, **asked)

    assert {"events_2025_11", "events_2025_12"} <= tables(engine)


def test_what_stands_against_a_part_stands_against_the_whole_and_not_against_the_other_parts(
    made: Any, call: Call
) -> None:
    engine = made(
        "create table t (at timestamptz not null, k int not null) partition by range (at);"
        "create table old partition of t for values from (minvalue) to ('2026-01-01Z') partition by list (k);"
        "create table old_1 partition of old for values in (1); create table old_2 partition of old for values in (2);"
        "create view seen as select * from old_1;"
        "insert into t select '2025-11-01Z', 1 + i % 2 from generate_series(1, 9) i"
    )
    assert going(engine, call, dropping("t")) == ["old_2"]


def test_uuids_of_which_only_some_have_an_age_are_not_counted_by_size(made: Any, call: Call) -> None:
    engine = made(
        "create table events (at uuid not null) partition by range (at);"
        "create table old partition of events for values from (minvalue) to ('01900000-0000-0000-0000-000000000000')"
    )
    with pytest.raises(RunFailedError, match="only those of version 7 have an age"):
        call(engine, dropping(partitions=Drop(counted="by size"), measured_in="uuid7"), parameters=EVERYTHING)
    assert "old" in tables(engine)


def test_the_plan_says_whom_nobody_tells(made: Any, call: Call) -> None:
    identity = "alter table events_2026_01 replica identity full;"  # of its rows each one is told
    engine = made(BY_MONTH + "create publication followers for table events;" + identity)

    notes = call(engine, dropping(), dry_run=True)["plan"]["steps"][0]["notes"]

    assert notes == ["followers of the publication followers are not told of a partition that goes: they keep its rows"]


def test_rows_that_a_publication_cannot_tell_apart_are_refused_before_partitions_go(made: Any, call: Call) -> None:
    """Those of a partition that is only partly old enough; the others go as a whole, and no row of them is told."""
    engine = made(BY_MONTH + "create publication followers for table events;")
    for asked in ({"dry_run": True}, {"parameters": EVERYTHING}):
        with pytest.raises(RunFailedError, match=r"alter table public\.events_2026_01 replica identity full"):
            call(engine, dropping(), **asked)
    assert {"events_2025_11", "events_2025_12"} <= tables(engine)
    assert call(engine, dropping(partitions=Drop(rest="keep")), parameters=EVERYTHING)["outcome"] == "succeeded"


def test_a_role_that_owns_nothing_is_told_what_to_grant_and_never_an_administrator(made: Any, call: Call) -> None:
    engine = made(BY_MONTH)
    worker = as_role(engine, "grant select, delete on events to $role; grant usage on schema public to $role")

    with pytest.raises(RunFailedError, match="which administers the server, so nobody should be granted it") as told:
        call(worker, dropping())
    assert 'grant "' not in str(told.value)
    with engine.begin() as connection:
        connection.exec_driver_sql(f"create role owner_{engine.url.database}")
        connection.exec_driver_sql(f"alter table events owner to owner_{engine.url.database}")
    with pytest.raises(
        RunFailedError, match=r'only its owner may take a partition of events away.* grant ".*" to "wor'
    ):
        call(worker, dropping())

    assert rows(engine, "events") == 2880


def test_a_role_that_was_granted_the_owner_may(made: Any, call: Call) -> None:
    engine = made(BY_MONTH)
    owner = f"owner_{engine.url.database}"
    give = f"create role {owner}; grant {owner} to $role; grant usage, create on schema public to {owner};" + "".join(
        f"alter table {name} owner to {owner};" for name in ["events", *sorted(tables(engine) - {"events"})]
    )

    result = call(as_role(engine, give), dropping(), parameters=EVERYTHING)

    assert result["counters"]["partitions_dropped"] == 2


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"where": "note is null"}, "partitions and where cannot be together"),
        ({"visible_rows": True}, "partitions and visible_rows cannot be together"),
        ({"older_than": None, "where": "note is null"}, "give older_than, and a column as measured_by"),
        ({"partitions": "drop"}, r"partitions must be Drop\(\) or Detach\(to_schema"),
    ],
)
def test_a_step_that_cannot_work_is_refused_when_it_is_declared(more: dict[str, Any], says: str) -> None:
    with pytest.raises(DeclarationError, match=says):
        deletion("events", **({"partitions": Drop()} | more))


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        (lambda: Drop(counted="about"), "counted must be one of exactly, by size"),  # type: ignore[arg-type]
        (lambda: Drop(rest="leave"), "rest must be one of delete, keep"),  # type: ignore[arg-type]
        (lambda: Detach(to_schema=" "), "Detach needs the schema to keep them in"),
    ],
)
def test_a_setting_that_is_none_is_refused(setting: Callable[[], Any], says: str) -> None:
    with pytest.raises(DeclarationError, match=says):
        setting()


def before_taking(monkeypatch: pytest.MonkeyPatch, meanwhile: Callable[[], object]) -> None:
    """Do something between the count and the first partition."""
    go = engine_partitions._Taking.go_through

    def later(taking: Any) -> None:
        meanwhile()
        go(taking)

    monkeypatch.setattr(engine_partitions._Taking, "go_through", later)


@contextmanager
def held(engine: Engine, statement: str) -> Iterator[None]:
    """A transaction of somebody else that has its locks all the while."""
    with engine.connect() as connection:
        connection.exec_driver_sql(statement)
        yield


@pytest.mark.parametrize(
    "statement",
    [
        "select count(*) from events_2025_11",
        "select id from events_2025_11 where id = 5 for update",
        "lock table events_2025_11 in access exclusive mode",
    ],
)
def test_a_partition_that_somebody_has_locked_stays_and_the_others_go(made: Any, call: Call, statement: str) -> None:
    engine = made(BY_MONTH)
    call(engine, dropping(), dry_run=True)

    with started_before_taking(engine, statement):
        result = call(engine, dropping(), parameters=EVERYTHING)

    assert result["outcome"] == "succeeded"
    assert result["counters"]["partitions_dropped"] == result["counters"]["partitions_kept"] == 1
    assert result["counters"]["rows_in_kept_partitions"] == 720
    assert result["counters"]["deleted"] == 744 + 698
    assert "the partition public.events_2025_11 stays: another session had it" in result["notes"][0]
    assert rows(engine, "events_2025_11") == 720


def test_of_several_in_one_transaction_only_those_stay_that_must(
    made: Any, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    days = "".join(
        f"create table events_{day:02} partition of events for values from ('2025-11-{day:02}Z') "
        f"to ('2025-11-{day + 1:02}Z');"
        for day in range(1, 21)
    )
    engine = made(
        f"create table events (id int, at timestamptz not null) partition by range (at); {days}"
        "insert into events select i, timestamptz '2025-11-01Z' + i * interval '1 hour' from generate_series(0, 479) i"
    )
    monkeypatch.setattr(engine_partitions, "TOGETHER_SECONDS", 60)
    before_taking(monkeypatch, lambda: do(engine, "create view late as select * from events_15"))

    with started_before_taking(engine, "select id from events_09 where id = 195 for update"):
        result = call(engine, dropping(), parameters=EVERYTHING)

    assert result["counters"]["partitions_dropped"] == 18
    assert result["counters"]["partitions_kept"] == 2
    assert tables(engine) & {f"events_{day:02}" for day in range(1, 21)} == {"events_09", "events_15"}
    assert result["counters"]["batches"] < 18


@contextmanager
def started_before_taking(engine: Engine, statement: str) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch, engine.connect() as connection:
        before_taking(patch, lambda: connection.exec_driver_sql(statement))
        yield


def test_somebody_who_reads_the_table_all_the_while_keeps_its_partitions(
    made: Any, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine, take, tries = made(BY_MONTH), engine_partitions._Taking._take, list[Any]()

    def counted(*given: Any) -> None:
        tries.append(given)
        take(*given)

    monkeypatch.setattr(engine_partitions._Taking, "_take", counted)
    started = time.monotonic()

    with held(engine, "select count(*) from events"):
        result = call(engine, dropping(), parameters=EVERYTHING)

    assert result["counters"]["partitions_kept"] == 2
    assert result["counters"]["deleted"] == 698
    assert time.monotonic() - started < 3
    assert len(tries) == 3, "once a round, and not once a partition"
    assert call(engine, dropping(), parameters=EVERYTHING)["counters"]["partitions_dropped"] == 2


def test_one_that_was_locked_for_a_while_goes_in_the_end(made: Any, call: Call) -> None:
    engine = made(BY_MONTH)
    holder = engine.connect()
    rounds = engine_partitions._Taking._round

    def let_go_after_the_first(taking: Any, *given: Any, **more: Any) -> None:
        rounds(taking, *given, **more)
        holder.rollback()

    with pytest.MonkeyPatch.context() as patch:
        before_taking(patch, lambda: holder.exec_driver_sql("select 1 from events_2025_11 limit 1"))
        patch.setattr(engine_partitions._Taking, "_round", let_go_after_the_first)
        result = call(engine, dropping(), parameters=EVERYTHING)
    holder.close()

    assert result["counters"]["partitions_dropped"] == 2
    assert "notes" not in result


@pytest.mark.parametrize(
    ("meanwhile", "says", "kept"),
    [
        (
            "insert into events values (9999, 'late', '2025-11-05Z')",
            "720 rows were counted in it, and it has 721",
            721,
        ),
        ("drop table events_2025_11", "somebody else has detached or dropped it since it was counted", None),
        ("alter table events detach partition events_2025_11", "somebody else has detached or dropped it", 720),
        (
            "alter table events detach partition events_2025_11; drop table events_2026_03;"
            "truncate events_2025_11; alter table events attach partition events_2025_11 "
            "for values from ('2026-03-01Z') to ('2026-04-01Z')",
            "it may hold rows that are not old enough",
            0,
        ),
        ("create view late as select * from events_2025_11", "stays: another object depends on it (", 720),
    ],
)
def test_what_somebody_changes_between_count_and_drop_keeps_the_partition_and_is_told(
    made: Any, call: Call, monkeypatch: pytest.MonkeyPatch, meanwhile: str, says: str, kept: int | None
) -> None:
    engine = made(BY_MONTH)
    before_taking(monkeypatch, lambda: do(engine, meanwhile))

    result = call(engine, dropping(), parameters=EVERYTHING)

    assert says in result["notes"][0]
    assert result["counters"]["partitions_dropped"] == result["counters"]["partitions_kept"] == 1
    if kept is not None:
        assert rows(engine, "events_2025_11") == kept


def test_while_a_partition_is_counted_it_is_read_and_nobody_writes_to_it(
    made: Any, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine, checked, met = made(BY_MONTH), engine_partitions._Taking._checked, list[str]()
    take, limits = engine_partitions._Taking._take, set[str]()

    def beside(taking: Any, session: Any, names: Any) -> Any:
        monkeypatch.setattr(engine_partitions._Taking, "_checked", checked)
        with engine.connect() as somebody:
            somebody.exec_driver_sql("set lock_timeout to '20ms'")
            assert somebody.scalar(text("select count(*) from events_2025_11")) == 720
            with pytest.raises(DBAPIError) as refused:
                somebody.exec_driver_sql("insert into events values (9999, 'late', '2025-11-05Z')")
        met.append(str(sqlstate(refused.value)))
        return checked(taking, session, names)

    def then_look(taking: Any, session: Any, *given: Any) -> None:
        take(taking, session, *given)
        limits.add(session.scalar(text("show statement_timeout")))

    monkeypatch.setattr(engine_partitions._Taking, "_checked", beside)
    monkeypatch.setattr(engine_partitions._Taking, "_take", then_look)
    counters = call(engine, dropping(partitions=Drop(rest="keep")), parameters=EVERYTHING)["counters"]
    assert (met, counters["partitions_dropped"]) == (["55P03"], 2)
    assert "200ms" not in limits, "the ledger's own statement behind it has the time that is left"


def test_a_limit_of_rows_per_second_does_not_hold_for_rows_that_nobody_touches(made: Any, call: Call) -> None:
    engine = made(BY_MONTH + "delete from events_2026_01;")
    slow = "insert into nightshift.dials (job, rows_per_second, changed_by, reason) values ('forget', 10, 'me', 'slow')"
    do(engine, slow)
    started = time.monotonic()

    result = call(engine, dropping(), parameters=EVERYTHING)

    assert result["counters"]["partitions_dropped"] == 2
    assert time.monotonic() - started < 20


def test_by_size_a_partition_that_has_grown_stays(made: Any, call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = made(BY_MONTH)
    many = "insert into events select i, '', timestamptz '2025-11-02Z' from generate_series(1, 2000) i"
    before_taking(monkeypatch, lambda: do(engine, many))

    result = call(engine, dropping(partitions=Drop(counted="by size")), parameters=EVERYTHING)

    assert "and it is larger now" in result["notes"][0]
    assert rows(engine, "events_2025_11") == 2720


def test_dying_at_any_statement_leaves_the_data_of_an_undisturbed_run(made: Any, call: Call, new_database: Any) -> None:
    engine = made(BY_MONTH)
    whole = Life(ends_at=0, kind="dies")
    copy = str(engine.url.database)
    engine.dispose()
    with new_database(template=copy) as undisturbed, whole.lived():
        call(undisturbed, dropping(), parameters=EVERYTHING)
    first = next(number for number, point in enumerate(whole.points, 1) if "lock table" in point)
    last = max(number for number, point in enumerate(whole.points, 1) if "detach partition" in point)
    engine.dispose()

    for ends_at in range(first, last + 5, 5):
        with new_database(template=copy) as database:
            with suppress(Death), Life(ends_at=ends_at, kind="dies").lived():
                call(database, dropping(), parameters=EVERYTHING)
            let_the_lease_end(database)
            with database.connect() as connection:
                run_id = connection.scalar(text("select id from nightshift.runs"))
            result = call(database, dropping(), run_id=str(run_id))
            assert result["counters"]["deleted"] == 2162, whole.points[ends_at - 1]
            assert result["counters"]["partitions_dropped"] == 2
            assert "partitions_kept" not in result["counters"]
            assert rows(database, "events") == 2880 - 2162


def test_an_attempt_that_finds_the_rows_begun_leaves_the_partitions_alone(
    made: Any, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = made(BY_MONTH)

    def stop(*_: Any) -> None:
        raise Interrupted

    with monkeypatch.context() as first:
        first.setattr(sweeping._Sweeping, "_try_the_locked_again", stop)
        interrupted = call(engine, dropping(), parameters=EVERYTHING)
    result = call(engine, dropping(), run_id=interrupted["run_id"])

    assert (interrupted["outcome"], result["outcome"], "notes" in result) == ("interrupted", "succeeded", False)
    assert (result["counters"]["deleted"], result["counters"]["partitions_dropped"]) == (2162, 2)


def test_a_zombie_drops_nothing(made: Any, call: Call) -> None:
    engine = made(BY_MONTH)
    job = dropping(partitions=Drop(rest="keep"))
    take = engine_partitions._Taking._take

    def taken_over(taking: Any, session: Any, found: Any, limit: str) -> None:
        take(taking, session, found, limit)
        do(engine, "update nightshift.runs set epoch = epoch + 1")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(engine_partitions._Taking, "_take", taken_over)
        call(engine, job, parameters=EVERYTHING)

    assert {"events_2025_11", "events_2025_12"} <= tables(engine)
    assert rows(engine, "events") == 2880


def test_a_session_that_reads_the_table_all_the_while_waits_a_quarter_of_a_second_at_most(
    made: Any, call: Call
) -> None:
    bounds = "".join(
        f"create table t_{n:03} partition of t for values from ('2025-01-01Z'::timestamptz + {n} * interval '1 d') "
        f"to ('2025-01-01Z'::timestamptz + {n + 1} * interval '1 d');"
        for n in range(60)
    )
    engine = made(
        f"create table t (id int, at timestamptz not null) partition by range (at); {bounds}"
        "create table t_rest partition of t default; create index on t (at);"
        "insert into t select i, timestamptz '2025-01-01Z' + i * interval '5 min' from generate_series(0, 17279) i;"
        "analyze t"
    )
    waits: list[float] = []
    done = threading.Event()

    def read() -> None:
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            while not done.is_set():
                started = time.monotonic()
                connection.exec_driver_sql("select count(*) from t")
                waits.append(time.monotonic() - started)

    reader = threading.Thread(target=read)
    reader.start()
    try:
        result = call(engine, dropping("t"), parameters=EVERYTHING)
    finally:
        done.set()
        reader.join()

    assert result["counters"]["partitions_dropped"] == 60
    assert len(waits) > 20
    assert max(waits) <= 0.25

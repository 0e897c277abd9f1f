"""Not one row more goes than was counted, and no other one, whatever the run itself does to the condition."""

from typing import Any

import pytest
from sqlalchemy import text

from nightshift import Delete, Job, days
from nightshift.engine.ways import HeapWalk, KeyWalk
from tests.integration.tables.conftest import Call, deletion, rows

OLD = "timestamptz '2025-12-01Z'"
EMPTIES = f"""
    create table parents (id int primary key, above int references parents on delete set null, at timestamptz not null);
    create index on parents (above);
    insert into parents select i, null, {OLD} from generate_series(1, 200) i;
    insert into parents select i, i - 1000, {OLD} from generate_series(1001, 1200) i;
    insert into parents select i, null, {OLD} from generate_series(2001, 2400) i;
"""
COUNTS = f"""
    create table parents (id int primary key, above int, replies int not null, at timestamptz not null);
    create function count_down() returns trigger language plpgsql as $$ begin
        update parents set replies = replies - 1 where id = old.above; return null; end $$;
    create trigger count_down after delete on parents for each row execute function count_down();
    insert into parents select i, 1000 + i, 0, {OLD} from generate_series(1, 200) i;
    insert into parents select i, null, 1, {OLD} from generate_series(1001, 1200) i;
    insert into parents select i, null, 0, {OLD} from generate_series(2001, 2400) i;
"""
ASKS = f"""
    create table parents (id int primary key, above int, at timestamptz not null);
    create function "Nobody"(asked int) returns boolean language plpgsql {{kind}} as $$ begin
        return not exists (select from parents where above = asked); end $$;
    insert into parents select i, 1000 + i, {OLD} from generate_series(1, 200) i;
    insert into parents select i, null, {OLD} from generate_series(1001, 1200) i;
    insert into parents select i, null, {OLD} from generate_series(2001, 2400) i;
"""
NO_KEY = f"""
    create table parents (id int unique, above int references parents (id) on delete set null, at timestamptz not null,
        filler text default repeat('x', 200));
    create index on parents (above);
    insert into parents select i, case when i > 100 then i - 100 end, {OLD} from generate_series(1, 300) i;
    insert into parents select null, i, {OLD} from generate_series(1, 100) i;
    insert into parents select 1000 + i, null, timestamptz '2026-02-28Z' from generate_series(1, 200) i;
"""
CROWD = f"""
    create table parents (id int primary key, ip int, at timestamptz not null);
    insert into parents select i, i % 60, {OLD} from generate_series(1, 600) i;
"""


@pytest.mark.parametrize(
    ("script", "where", "stay"),
    [
        pytest.param(EMPTIES, "above is null", 200, id="empties its own rows"),
        pytest.param(COUNTS, "replies = 0", 200, id="a trigger changes its own rows"),
        pytest.param(ASKS.format(kind="stable"), '"Nobody"(id)', 200, id="a function reads the table"),
        pytest.param(ASKS.format(kind="volatile"), 'public."Nobody"(id)', 200, id="a volatile function"),
        pytest.param(
            NO_KEY,
            "(above is null or above > 0) and (id is null or id < 1000)",
            200,
            id="has no key, and moves its own rows",
        ),
        pytest.param(CROWD, "(select count(*) from parents) > 500", 0, id="counts its own rows"),
        pytest.param(CROWD, "ip in (select ip from parents group by ip having count(*) > 5)", 0, id="counts by group"),
    ],
)
def test_just_those_rows_go_that_were_meant_before_the_first_batch(
    made: Any, call: Call, script: str, where: str, stay: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However the run itself changes what the condition means."""
    for limit in ("first", "largest"):
        monkeypatch.setattr(HeapWalk, limit, 1)
        monkeypatch.setattr(KeyWalk, limit, 50)
    database = made(script)
    meant = rows(database, f"parents where {where}")

    result = call(database, deletion(where=where), parameters={"max_share": 100})

    assert (result["counters"]["deleted"], result["counters"].get("changed", 0)) == (meant, 0)
    assert rows(database, "parents") == rows(database, "parents where id between 1001 and 1200") == stay


def test_a_row_that_somebody_changes_meanwhile_is_asked_again(
    made: Any, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = made(CROWD + "create table ips (ip int); insert into ips select generate_series(0, 59)")

    told: list[str] = []

    def log(event: str, /, **_: Any) -> None:
        told.append(event)
        if event == "batch.committed" and told.count(event) == 1:  # the first one has written the keys down
            with database.begin() as connection:
                connection.execute(text("update parents set ip = -1 where id = 7"))
                connection.execute(text("update parents set ip = ip where id = 8"))

    monkeypatch.setattr("nightshift.telemetry.log", log)
    result = call(database, deletion(where="ip in (select ip from ips)"), parameters={"max_share": 100})

    assert rows(database, "parents") == rows(database, "parents where id = 7") == 1
    assert (result["counters"]["deleted"], result["counters"]["changed"]) == (599, 1)


def test_a_trigger_of_the_statement_may_change_rows_of_the_table(made: Any, call: Call) -> None:
    """Also in a batch in which no row is meant."""
    database = made(
        f"""
        create table parents (id int primary key, n int, at timestamptz not null);
        create function tell() returns trigger language plpgsql as $$ begin
            update parents set n = n + 1 where id = 250; return null; end $$;
        create trigger tell after delete on parents for each statement execute function tell();
        insert into parents select i, 0, case when i > 300 then {OLD} else timestamptz '2026-02-28Z' end
          from generate_series(1, 4000) i;
        """
    )
    call(database, deletion())
    assert rows(database, "parents") == 300


def test_a_table_without_a_partition_has_nothing_to_go(made: Any, call: Call) -> None:
    database = made(
        """
        create table parents (id int, above int, at timestamptz not null, primary key (id, at), above_at timestamptz,
            foreign key (above, above_at) references parents) partition by range (at);
        """
    )
    assert call(database, deletion())["counters"]["deleted"] == 0


def test_rows_that_an_earlier_step_empties_are_not_meant_by_a_later_one(made: Any, call: Call) -> None:
    """They are older, and found first."""
    database = made(
        f"""
        create table parents (id int primary key, at timestamptz not null);
        create table children (id int primary key, parent int references parents on delete set null,
            at timestamptz not null);
        create index on children (parent); create index on children (at);
        insert into parents select i, {OLD} from generate_series(1, 100) i;
        insert into children select i, i, {OLD} - interval '10 days' from generate_series(1, 100) i;
        insert into children select 1000 + i, null, {OLD} from generate_series(1, 100) i;
        insert into children select 10000 + i, null, timestamptz '2026-02-28Z' from generate_series(1, 20000) i;
        analyze;
        """
    )
    aged: dict[str, Any] = {"older_than": days(30), "measured_by": "at"}
    steps = (Delete("parents", **aged), Delete("children", where="parent is null", **aged))
    job = Job(name="forget", kind="retention", schedule="cron(0 2 * * ? *)", steps=steps, audited=False)

    call(database, job, parameters={"max_share": 100})

    assert rows(database, "children where id <= 10000") == rows(database, "children where id <= 100") == 100


def test_without_a_row_the_triggers_of_the_statement_fire_as_with_the_plain_one(made: Any, call: Call) -> None:
    database = made(
        """
        create table parents (id int primary key, state text, at timestamptz not null);
        create table fired (n int);
        create function fire() returns trigger language plpgsql as $$ begin
            insert into fired values (1); return null; end $$;
        create trigger fire after delete on parents for each statement execute function fire();
        """
    )
    call(database, deletion(where="state = 'old'"))
    assert rows(database, "fired") == 1

"""What goes because a row goes: planned, counted and capped with it, table by table, or rolled back."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import Engine, text

from nightshift import Delete, Job, days
from nightshift.engine import sweep, ways
from nightshift.engine.ways import HeapWalk, RangeWalk
from nightshift.errors import RunFailedError
from nightshift.steps import rows as step_rows
from tests.integration.tables.conftest import Call, deletion, rows

OLD = "timestamptz '2025-12-01Z'"
YOUNG = "timestamptz '2026-02-28Z'"


FAMILY = f"""
    create table parents (id int primary key, at timestamptz not null);
    create table children (id int primary key, parent int references parents on delete cascade, created_at timestamptz);
    create index on children (parent);
    insert into parents select i, case when i <= 20 then {OLD} else {YOUNG} end from generate_series(1, 40) i;
    insert into children select i, 1 + i % 40, {YOUNG} from generate_series(1, 4000) i;
"""


def test_the_cap_is_held_against_the_sum(made: Any, call: Call) -> None:
    database = made(FAMILY)

    with pytest.raises(
        RunFailedError, match=r"delete 20 rows of parents and 2000 that go or change with them; max_rows is 1000"
    ):
        call(database, deletion(), parameters={"max_rows": 1000})

    assert (rows(database, "parents"), rows(database, "children")) == (40, 4000)
    plan = call(database, deletion(), dry_run=True, parameters={"max_rows": 1000})["plan"]
    assert plan["over_cap"]
    (cascade,) = plan["steps"][0]["cascades"]
    assert (cascade["table"], cascade["action"], cascade["rows"]) == ("children", "delete", 2000)
    assert cascade["youngest"].startswith("2026-02-28")
    counters = call(database, deletion())["counters"]
    assert (counters["deleted"], counters["cascaded in children"]) == (20, 2000)
    assert (rows(database, "parents"), rows(database, "children")) == (20, 2000)


def test_a_plan_tells_sizes_shares_ages_and_how_long_it_will_take(made: Any, call: Call) -> None:
    database = made(FAMILY + "analyze;")
    plan = call(database, deletion(), dry_run=True)["plan"]
    (step,), (cascade,) = plan["steps"], plan["steps"][0]["cascades"]

    with database.connect() as connection:
        size, children = connection.execute(
            text("select pg_total_relation_size('parents'), pg_total_relation_size('children')")
        ).one()
    assert (step["about"], step["bytes"], cascade["about"], cascade["bytes"]) == (40, size / 2, 4000, children / 2)
    assert step["youngest"].startswith("2025-12-01")
    assert "estimate" not in plan

    call(database, deletion())
    estimate = call(database, deletion(older_than=days(1)), dry_run=True)["plan"]["estimate"]
    assert estimate["runs"] == 1
    assert estimate["rows_per_second"] > 0
    assert estimate["seconds"] == pytest.approx(2020 / estimate["rows_per_second"], abs=0.11)


def test_rows_that_go_by_either_of_two_keys_are_all_counted(made: Any, call: Call) -> None:
    database = made(
        FAMILY
        + """alter table children add other int references parents on delete cascade; create index on children (other);
        update children set other = 1 where id % 40 = 30;
        update children set created_at = '2020-01-01Z' where id = 40;"""
    )
    (cascade,) = call(database, deletion(), dry_run=True)["plan"]["steps"][0]["cascades"]
    assert (cascade["table"], cascade["rows"], cascade["youngest"][:10]) == ("children", 2100, "2026-02-28")
    assert call(database, deletion())["counters"]["cascaded in children"] == 2100


@pytest.mark.parametrize("action", ["set null", "set default"])
def test_references_that_are_emptied_are_told_and_capped(made: Any, call: Call, action: str) -> None:
    database = made(
        FAMILY.replace(
            "parent int references parents on delete cascade",
            f"parent int default 40 references parents on delete {action}",
        )
        + "create table notes (child int references children on delete cascade); create index on notes (child);"
        "insert into notes select id from children;"
    )

    with pytest.raises(RunFailedError, match="and 2000 that go or change with them"):
        call(database, deletion(), parameters={"max_rows": 1000})
    counters = call(database, deletion())["counters"]

    assert (counters["deleted"], counters["changed in children"]) == (20, 2000)
    assert rows(database, "children") == rows(database, "notes") == 4000
    left = "parent is null" if action == "set null" else "parent = 40"
    assert rows(database, f"children where {left}") == (2000 if action == "set null" else 2100)


def test_deeper_levels_diamonds_and_trees_are_counted_once(made: Any, call: Call) -> None:
    database = made(
        FAMILY
        + f"""
        create table grandchildren (id int primary key, child int references children on delete cascade,
            parent int references parents on delete cascade);
        create index on grandchildren (child); create index on grandchildren (parent);
        insert into grandchildren select i, i, 1 + i % 40 from generate_series(1, 4000) i;
        create table tree (id int primary key, above int references tree on delete cascade, at timestamptz not null);
        create index on tree (above);
        insert into tree select i, nullif(i / 2, 0), case when i between 2 and 3 then {OLD} else {YOUNG} end
            from generate_series(1, 127) i;
        """
    )
    plan = call(database, deletion(), dry_run=True)["plan"]["steps"][0]
    assert {each["table"]: each["rows"] for each in plan["cascades"]} == {"children": 2000, "grandchildren": 2000}
    counters = call(database, deletion())["counters"]
    assert (counters["cascaded in children"], counters["cascaded in grandchildren"]) == (2000, 2000)

    plan = call(database, deletion("tree"), dry_run=True)["plan"]["steps"][0]
    assert (plan["rows"], [each["rows"] for each in plan["cascades"]]) == (2, [124])
    counters = call(database, deletion("tree"))["counters"]
    assert counters["deleted"] + counters["cascaded in tree"] == 126
    assert rows(database, "tree") == 1


@pytest.mark.parametrize("way", ["heap", "range"])
def test_candidates_that_go_with_their_parents_are_no_more_than_were_planned(
    made: Any, call: Call, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ways, "DENSE_SHARE", -1 if way == "heap" else 2)
    monkeypatch.setattr(RangeWalk, "first", 3)
    database = made(
        f"""
        create table tree (id int primary key, above int references tree on delete cascade, at timestamptz not null);
        create index on tree (above); create index on tree (at);
        insert into tree select i, nullif(i / 2, 0), case when i % 5 < 3 then {OLD} else {YOUNG} end
            from generate_series(1, 200) i;
        """
    )
    plan = call(database, deletion("tree"), dry_run=True)["plan"]["steps"][0]
    assert call(database, deletion("tree"))["outcome"] == "succeeded"
    assert 200 - rows(database, "tree") == plan["rows"] + sum(each["rows"] for each in plan["cascades"])


def test_a_circle_of_tables_is_followed_to_its_end(made: Any, call: Call) -> None:
    database = made(
        f"""
        create table parents (id int primary key, at timestamptz not null, lead int);
        create table children (id int primary key, parent int references parents on delete cascade);
        alter table parents add foreign key (lead) references children on delete cascade;
        create index on children (parent); create index on parents (lead);
        insert into parents select i, case when i = 1 then {OLD} else {YOUNG} end from generate_series(1, 6) i;
        insert into children select i, i from generate_series(1, 6) i;
        update parents set lead = id - 1 where id > 1 and id < 5;
        """
    )
    plan = call(database, deletion(), dry_run=True)["plan"]["steps"][0]
    assert (plan["rows"], {each["table"]: each["rows"] for each in plan["cascades"]}) == (
        1,
        {"children": 4, "parents": 3},
    )
    assert call(database, deletion())["outcome"] == "succeeded"
    assert (rows(database, "parents"), rows(database, "children")) == (2, 2)


@pytest.fixture
def meanwhile(monkeypatch: pytest.MonkeyPatch) -> Callable[[Engine, str], None]:
    """Have something done between the count and the first batch."""

    def arrange(database: Engine, script: str) -> None:
        def then_sweep(*arguments: Any) -> None:
            with database.begin() as connection:
                connection.exec_driver_sql(script)
            sweep(*arguments)

        monkeypatch.setattr(step_rows, "sweep", then_sweep)

    return arrange


TOUCH = """
    create function touch() returns trigger language plpgsql as $$ begin
        if pg_trigger_depth() < 3 then update children set created_at = now() where id = old.id; end if; return null;
    end $$;
    create trigger touch after update on children for each row execute function touch();
"""


@pytest.mark.parametrize("trigger", ["", TOUCH])
@pytest.mark.parametrize("action", ["set null", "set default"])
def test_references_that_came_since_the_count_are_not_emptied(
    made: Any, call: Call, meanwhile: Callable[[Engine, str], None], action: str, trigger: str
) -> None:
    key = f"parent int default 40 references parents on delete {action}"
    database = made(FAMILY.replace("parent int references parents on delete cascade", key) + trigger)
    meanwhile(database, f"insert into children select i, 1 + i % 20, {YOUNG} from generate_series(5001, 7001) i")

    with pytest.raises(RunFailedError, match="changes more rows of children than the 2000 that were counted before"):
        call(database, deletion())

    assert (rows(database, "parents"), rows(database, "children where parent <= 20")) == (40, 4001)


def test_batches_together_empty_no_more_references_than_were_counted(
    made: Any, call: Call, meanwhile: Callable[[Engine, str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(HeapWalk, "first", 1)
    monkeypatch.setattr(HeapWalk, "largest", 1)
    wide = FAMILY.replace("at timestamptz not null)", "at timestamptz not null, wide char(700) not null default 'x')")
    key = "parent int references parents on delete set null"
    database = made(
        wide.replace("into parents select", "into parents (id, at) select").replace(
            "parent int references parents on delete cascade", key
        )
    )
    meanwhile(database, f"insert into children values (9001, 20, {YOUNG})")
    with pytest.raises(RunFailedError, match="changes more rows of children than the 2000 that were counted before"):
        call(database, deletion())
    assert 20 < rows(database, "parents") < 40


def test_a_trigger_that_writes_emptied_rows_again_stops_nothing(made: Any, call: Call) -> None:
    key = "parent int references parents on delete set null"
    orphans = f"insert into children select i, null, {YOUNG} from generate_series(9001, 9010) i;"
    database = made(FAMILY.replace("parent int references parents on delete cascade", key) + TOUCH + orphans)

    counters = call(database, deletion())["counters"]

    assert counters["deleted"] == 20
    assert counters["changed in children"] > 2000
    assert rows(database, "children where parent is null") == 2010


def test_references_in_the_table_itself_are_held_as_well(
    made: Any, call: Call, meanwhile: Callable[[Engine, str], None]
) -> None:
    database = made(
        f"""
        create table parents (id int primary key, above int references parents on delete set null,
            at timestamptz not null);
        create index on parents (above);
        insert into parents select i, case when i > 50 then i - 50 end, case when i <= 50 then {OLD} else {YOUNG} end
            from generate_series(1, 100) i;
        """
    )
    plan = call(database, deletion(), dry_run=True)["plan"]["steps"][0]
    assert [(each["action"], each["rows"]) for each in plan["cascades"]] == [("update", 50)]
    meanwhile(database, f"insert into parents values (101, 1, {YOUNG}) on conflict do nothing")
    with pytest.raises(RunFailedError, match="changes more rows of parents than the 50"):
        call(database, deletion())
    assert rows(database, "parents") == 101

    counters = call(database, deletion())["counters"]
    assert (counters["deleted"], counters["changed in parents"]) == (50, 51)


def test_rows_that_change_their_partition_are_changed_and_not_gone(made: Any, call: Call) -> None:
    database = made(
        f"""
        create table parents (id int primary key, at timestamptz not null);
        insert into parents select i, case when i <= 20 then {OLD} else {YOUNG} end from generate_series(1, 40) i;
        create table c (id int, p int references parents on delete set null) partition by hash (p);
        create table c_0 partition of c for values with (modulus 2, remainder 0);
        create table c_1 partition of c for values with (modulus 2, remainder 1);
        create index on c (p);
        insert into c select i, 1 + i % 40 from generate_series(1, 400) i;
        create table states (id int, state text) partition by list (state);
        create table states_open partition of states for values in ('open');
        create table states_done partition of states for values in ('done');
        insert into states select i, 'open' from generate_series(1, 40) i;
        create function settle() returns trigger language plpgsql as $$ begin
            update states set state = 'done' where id = old.id; return null; end $$;
        create trigger settle after delete on parents for each row execute function settle();
        """
    )
    answer = call(database, deletion())
    assert answer["outcome"] == "succeeded"
    assert (answer["counters"]["deleted"], answer["counters"]["changed in c"]) == (20, 200)
    assert answer["counters"]["changed in states"] == 20
    assert (rows(database, "c"), rows(database, "c where p is null"), rows(database, "states_done")) == (400, 200, 20)


def test_rows_of_a_partitioned_table_that_a_trigger_deletes_are_gone(made: Any, call: Call) -> None:
    database = made(
        FAMILY
        + """
        create table states (id int) partition by hash (id);
        create table states_0 partition of states for values with (modulus 1, remainder 0);
        insert into states select i from generate_series(1, 40) i;
        create function purge() returns trigger language plpgsql as $$ begin
            delete from states where id = old.id; return null; end $$;
        create trigger purge after delete on parents for each row execute function purge();
        """
    )
    with pytest.raises(RunFailedError, match="deleted from a table that no foreign key leads to, states"):
        call(database, deletion())
    assert (rows(database, "parents"), rows(database, "states")) == (40, 40)


TRUNCATES = """
    create table others (id int); insert into others select i from generate_series(1, 500) i;
    create function empty() returns trigger language plpgsql as $$ begin
        %s return null; end $$;
    create trigger empty after delete on %s for each statement execute function empty();
"""


@pytest.mark.parametrize(
    ("table", "does", "told"),
    [
        ("parents", "truncate others;", "emptied others as a whole"),
        ("children", "truncate others;", "emptied others as a whole"),
        ("parents", "execute 'drop table others';", "was dropped"),
    ],
)
def test_a_trigger_that_truncates_or_drops_a_table_stops_the_batch_and_its_plan_says_so(
    made: Any, call: Call, table: str, does: str, told: str
) -> None:
    database = made(FAMILY + TRUNCATES % (does, table))

    (note,) = call(database, deletion(), dry_run=True)["plan"]["steps"][0]["notes"]
    assert note.startswith(f"{table}: the trigger empty deletes from other tables")
    with pytest.raises(RunFailedError, match=told):
        call(database, deletion())
    assert (rows(database, "parents"), rows(database, "others")) == (40, 500)


def test_tables_of_the_trigger_itself_and_locks_are_no_reason_to_stop(made: Any, call: Call) -> None:
    own = (
        "create temp table mine (id int); truncate mine; drop table mine; lock table others in access exclusive mode;"
        "create table if not exists kept (id int); execute 'trun' || 'cate kept'; refresh materialized view sums;"
    )
    database = made(
        FAMILY + "create materialized view sums as select count(*) from parents;" + TRUNCATES % (own, "parents")
    )
    assert "notes" not in call(database, deletion(), dry_run=True)["plan"]["steps"][0]
    assert call(database, deletion())["counters"]["deleted"] == 20


def test_a_trigger_that_keeps_rows_from_going_along_is_named(made: Any, call: Call) -> None:
    database = made(
        FAMILY
        + """
        create function keep() returns trigger language plpgsql as $$ begin
            if old.id % 3 = 0 then return null; end if; return old; end $$;
        create trigger keep before delete on children for each row execute function keep();
        """
    )
    answer = call(database, deletion())
    assert answer["counters"]["cascaded in children"] == 2000 - rows(database, "children where parent <= 20")
    kept = rows(database, "children where parent <= 20")
    assert answer["notes"][0].startswith(
        f"{kept} of 2000 rows of children that were to go by cascade are still there: the trigger keep on children"
    )


def test_a_trigger_that_turns_some_deletions_into_updates_is_named(made: Any, call: Call) -> None:
    database = made(
        FAMILY
        + """
        create function keep() returns trigger language plpgsql as $$ begin
            if old.id % 2 = 0 then update parents set at = now() where id = old.id; return null; end if; return old;
        end $$;
        create trigger keep before delete on parents for each row execute function keep();
        """
    )
    answer = call(database, deletion())
    assert (answer["counters"]["deleted"], answer["counters"]["changed"]) == (10, 10)
    assert "the trigger keep on parents updates rows" in answer["notes"][0]


@pytest.mark.parametrize("action", ["cascade", "set null"])
def test_steps_that_share_a_table_are_held_to_their_sum(made: Any, call: Call, action: str) -> None:
    database = made(
        FAMILY.replace("cascade", action)
        + f"""
        create table others (id int primary key, at timestamptz not null);
        insert into others select i, {OLD} from generate_series(1, 30) i;
        alter table children add other int references others on delete {action};
        create index on children (other);
        update children set other = 1 + id % 60 where id % 60 < 30;
        """
    )
    job = deletion()
    job = replace(job, steps=(*job.steps, *deletion("others").steps))
    steps = call(database, job, dry_run=True)["plan"]["steps"]
    counters = call(database, job)["counters"]
    assert counters["deleted"] == 50
    if action == "set null":
        assert counters["changed in children"] == sum(step["cascades"][0]["rows"] for step in steps)
    assert rows(database, "children where parent <= 20 or other is not null") == 0


def test_children_that_came_since_the_count_stop_the_batch(made: Any, call: Call) -> None:
    database = made(
        FAMILY
        + """
        create function breed() returns trigger language plpgsql as $$ begin
            insert into children select 100000 + g, old.id, now() from generate_series(1, 5) g; return old; end $$;
        create trigger breed before delete on parents for each row execute function breed();
        """
    )
    with pytest.raises(RunFailedError, match="takes more rows of children with it than the 2000"):
        call(database, deletion())
    assert (rows(database, "parents"), rows(database, "children")) == (40, 4000)


def test_a_trigger_that_deletes_elsewhere_stops_the_batch(made: Any, call: Call) -> None:
    database = made(
        FAMILY
        + """
        create table ledger_of_others (parent int); insert into ledger_of_others select id from parents;
        create function purge() returns trigger language plpgsql as $$ begin
            delete from ledger_of_others where parent = old.id; return old; end $$;
        create trigger purge after delete on parents for each row execute function purge();
        """
    )
    with pytest.raises(RunFailedError, match="deleted from a table that no foreign key leads to"):
        call(database, deletion())
    assert (rows(database, "parents"), rows(database, "ledger_of_others")) == (40, 40)


@pytest.mark.parametrize("deferrable", ["", "deferrable initially deferred"])
@pytest.mark.parametrize("action", ["restrict", "no action"])
def test_rows_that_others_refer_to_stay_and_are_told(made: Any, call: Call, action: str, deferrable: str) -> None:
    key = f"parent int references parents on delete {action} {deferrable}"
    database = made(
        FAMILY.replace("parent int references parents on delete cascade", key).replace("1 + i % 40", "1 + i % 7")
    )

    plan = call(database, deletion(), dry_run=True)["plan"]["steps"][0]
    counters = call(database, deletion())["counters"]

    assert (plan["rows"], plan["referenced"]) == (13, 7)
    assert (counters["deleted"], counters["referenced"], counters["quarantined"]) == (13, 7, 0)


def test_a_parent_whose_child_is_kept_stays(made: Any, call: Call) -> None:
    database = made(
        FAMILY
        + "create table receipts (child int references children); create index on receipts (child);"
        + "insert into receipts values (1), (2), (3);"
    )
    counters = call(database, deletion())["counters"]
    assert (counters["deleted"], counters["referenced"], counters["quarantined"]) == (17, 3, 0)


@pytest.mark.parametrize("kept", [0, 240])
def test_steps_on_one_tree_account_each_for_its_own_rows(
    made: Any, call: Call, monkeypatch: pytest.MonkeyPatch, kept: int
) -> None:
    """Candidates go along with others of the first step; those of the second are none the more of what was planned."""
    for limit in ("first", "largest"):
        monkeypatch.setattr(ways.HeapWalk, limit, 1)
        monkeypatch.setattr(ways.KeyWalk, limit, 5)
    database = made(
        f"""
        create table trees (id int primary key, above int references trees on delete cascade, kind text, gone int,
            at timestamptz not null, filler text default repeat('x', 900));
        create index on trees (above);
        insert into trees select i, case when i % 20 > 0 then i - i % 20 end, 'a', null, {OLD}
            from generate_series(20, 119) i;
        insert into trees select i, case when i % 20 > 1 then i - 1 end, 'b', null, {OLD}
            from generate_series(200, 259) i;
        create function keep() returns trigger language plpgsql as $$ begin
            if old.id = {kept} then return null; end if; return old; end $$;
        create trigger keep before delete on trees for each row execute function keep();
        insert into trees select 400 + i, 200 + i, 'c', null, {YOUNG} from generate_series(0, 59, 6) i;
        """
    )
    steps = tuple(
        Delete("trees", name=f"delete-{kind}", where=f"kind = '{kind}'", older_than=days(30), measured_by="at")
        for kind in "ab"
    )
    job = Job(name="forget", kind="retention", schedule="cron(0 2 * * ? *)", steps=steps, audited=False)

    left = int(kept > 0)

    plan = call(database, job, dry_run=True)["plan"]["steps"]
    answer = call(database, job, parameters={"max_share": 100})

    assert (answer["outcome"], answer["counters"].get("changed", 0)) == ("succeeded", left)
    planned = -left + sum(step["rows"] + sum(each["rows"] for each in step["cascades"]) for step in plan)
    assert planned == answer["counters"]["deleted"] + answer["counters"]["cascaded in trees"] == 170 - left
    assert rows(database, "trees") == left


def test_the_applications_deferred_triggers_keep_their_time(made: Any, call: Call) -> None:
    database = made(
        FAMILY
        + """
        create table seen (n int);
        create function look() returns trigger language plpgsql as $$ begin
            insert into seen select count(*) from parents; return null; end $$;
        create constraint trigger look after delete on parents deferrable initially deferred
            for each row execute function look();
        """
    )
    call(database, deletion())
    with database.connect() as connection:
        assert set(connection.scalars(text("select n from seen"))) == {20}


def test_a_missing_index_on_the_referring_side_is_named_and_refused_above_a_size(made: Any, call: Call) -> None:
    database = made(FAMILY.replace("create index on children (parent);", "") + "analyze;")

    plan = call(database, deletion(), dry_run=True)["plan"]["steps"][0]
    with pytest.raises(RunFailedError, match=r'create index concurrently on "public"."children" \("parent"\)'):
        call(database, deletion(), parameters={"unindexed_rows": 1000})

    assert plan["missing"] == ['create index concurrently on "public"."children" ("parent")']
    assert call(database, deletion())["counters"]["deleted"] == 20


ROWS_OF_A_BLOCK_EACH = f"""
    create table tokens (id int primary key, replaced_by int references tokens on delete set null,
        at timestamptz not null, filler text not null);
    alter table tokens alter column filler set storage plain;
    create index on tokens (replaced_by);
    insert into tokens select i, nullif(i - 1, 0), {OLD}, repeat('x', 6000) from generate_series(1, 150) i;
    create function refuse() returns trigger language plpgsql as $$ begin
        if old.id = 90 then raise check_violation; end if; return old; end $$;
    create trigger refuse before delete on tokens for each row execute function refuse();
"""


def test_rows_that_the_deletion_itself_moves_are_found_again(made: Any, call: Call) -> None:
    """A row whose reference is emptied is written anew, at another place: perhaps where the walk has been."""
    database = made(ROWS_OF_A_BLOCK_EACH)
    answer = call(database, deletion("tokens"))
    counters = answer["counters"]
    assert (answer["outcome"], counters["deleted"], counters["quarantined"]) == ("succeeded", 149, 1)
    assert (rows(database, "tokens"), rows(database, "nightshift.quarantine"), len(answer["errors"])) == (1, 1, 1)


def test_the_first_batch_is_as_small_as_what_it_empties_asks_for(
    made: Any, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows that lose a reference are work as well as rows that go."""
    monkeypatch.setattr(ways, "FIRST_ROWS", 400)
    monkeypatch.setattr(ways, "DENSE_SHARE", 2)
    database = made(
        FAMILY.replace("on delete cascade", "on delete set null")
        .replace("i <= 20", "true")
        .replace("1, 40)", "1, 400)")
        .replace("i % 40", "i % 400")
        + "create index on parents (at); analyze;"
    )
    batches: list[int] = []

    def log(event: str, /, **fields: Any) -> None:
        if event == "batch.committed":
            batches.append(fields["counters"].get("deleted", 0))

    monkeypatch.setattr("nightshift.telemetry.log", log)
    call(database, deletion(), parameters={"max_share": 100})

    assert sum(batches) == 400
    assert batches[0] <= 400 / 11

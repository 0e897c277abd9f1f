"""A row that the database refuses costs itself and no other, whatever the refusal looks like."""

from typing import Any

import pytest
from sqlalchemy import text

from nightshift import Count, Delete, Job, Update, days
from nightshift.errors import RunFailedError
from tests.integration.tables.conftest import Call, deletion, rows
from tests.integration.tables.test_what_is_refused import as_role

HUNDRED = """
    create table things (id int primary key, at timestamptz not null);
    insert into things select i, timestamptz '2025-12-01Z' from generate_series(1, 100) i;
    create table guards (id int);
"""
CODES = ("45000", "42501", "P0002", "55000", "54000", "LEGAL", "55P03", "57014", "40001", "42P01")
"""What a trigger may say of a row, those among them that PostgreSQL itself says of something else."""

REFUSALS = [
    *(f"raise exception 'not %', old.at using errcode = '{code}'" for code in CODES),
    "assert false, 'not this one'",
    "select 1 / 0 into strict n",
    "select id into strict n from guards",
    "case old.id when 0 then n := 1; end case",
    "perform (select i from generate_series(1, 2) i)",
    "perform repeat('x', 2000000000) || repeat('x', 2000000000)",
]


def refusing(refusals: list[str]) -> str:
    """A trigger that refuses the rows with the first ids, each in its own way."""
    ways = " ".join(f"when {number} then {way};" for number, way in enumerate(refusals, 1))
    return (
        "create function refuse() returns trigger language plpgsql as $$ declare n int; begin"
        f" case old.id {ways} else null; end case; return old; end $$;"
        "create trigger refuse before delete on things for each row execute function refuse();"
    )


def test_a_row_that_a_trigger_refuses_is_left_whatever_code_it_raises(made: Any, call: Call) -> None:
    database = made(HUNDRED + refusing(REFUSALS))

    result = call(database, deletion("things"))

    kept = len(REFUSALS)
    counters = result["counters"]
    assert (result["outcome"], counters["deleted"], counters["quarantined"]) == ("succeeded", 100 - kept, kept)
    assert counters.get("locked", 0) == 0
    with database.connect() as connection:
        told = connection.scalars(text("select error from nightshift.quarantine order by id")).all()
    ours = "a trigger or function of the database refuses it, in the function refuse (SQLSTATE"
    assert told[: len(CODES)] == [f"{ours} {code})" for code in CODES]


def test_a_right_that_is_missing_is_no_rows_fault(made: Any, call: Call) -> None:
    database = made(
        HUNDRED
        + """
        create role nobody_at_all;
        create function look() returns trigger language plpgsql security definer as $$ begin
            if old.id = 50 then perform from guards; end if; return old; end $$;
        alter function look() owner to nobody_at_all;
        create trigger look before delete on things for each row execute function look();
        """
    )
    with pytest.raises(RunFailedError, match=r"may not use the table guards.*\(SQLSTATE 42501\)"):
        call(database, deletion("things"))
    assert rows(database, "nightshift.quarantine") == 0


def test_a_row_that_a_policy_does_not_let_be_written_is_left(made: Any, call: Call) -> None:
    worker = as_role(
        made(HUNDRED + "alter table things add state text"),
        """
        alter table things enable row level security;
        create policy others on things to $role using (true) with check (id <> 7);
        grant select, update on things to $role;
        """,
    )
    step = Update("things", visible_rows=True, older_than=days(30), measured_by="at", set={"state": "x"}, counter="set")
    job = Job(name="mark", kind="retention", schedule="cron(0 2 * * ? *)", steps=(step,), audited=False)

    counters = call(worker, job)["counters"]

    assert (counters["set"], counters["quarantined"]) == (99, 1)


def test_a_count_that_a_row_makes_impossible_costs_no_other_step(made: Any, call: Call) -> None:
    """The row is named and left out of the count, and the others are counted."""
    database = made(HUNDRED + "alter table things add note text; update things set note = 'x' where id = 5")
    with database.begin() as connection:
        connection.exec_driver_sql("update things set note = '7' where id = 6")
    steps = (
        Count("things", where="cast(note as int) > 1", counter="noted"),
        Delete("things", older_than=days(30), measured_by="at"),
    )
    job = Job(name="both", kind="retention", schedule="cron(0 2 * * ? *)", steps=steps, audited=False)

    result = call(database, job)

    counters = result["counters"]
    assert (counters["noted"], counters["deleted"], counters["quarantined"]) == (1, 100, 1)
    words = "a text is no value of the type integer (SQLSTATE 22P02)"
    assert result["errors"] == [f"public.things:5: {words}"]


def test_a_row_that_is_refused_only_at_the_commit_is_left_alone(made: Any, call: Call) -> None:
    database = made(
        HUNDRED
        + """
        create function refuse() returns trigger language plpgsql as $$ begin
            if old.id = 7 then raise 'not this one' using errcode = '45000'; end if; return null; end $$;
        create constraint trigger refuse after delete on things deferrable initially deferred
            for each row execute function refuse();
        """
    )

    counters = call(database, deletion("things"))["counters"]

    assert (counters["deleted"], counters["quarantined"]) == (99, 1)

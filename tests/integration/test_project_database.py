"""What a project learns of the application's database: sizes and columns, and the schema without any row."""

import os
from pathlib import Path

import pytest
from sqlalchemy import Engine

from cli.database_url import settings_of
from cli.project import database
from cli.project.job_files import NewJob, measured
from cli.refusals import RefusedError
from nightshift.database import DatabaseSettings

TABLES = """
create schema shop;
create type shop.state as enum ('new', 'done');
create table shop."Order Items" (id bigint primary key, state shop.state not null, "createdAt" timestamptz not null);
create index on shop."Order Items" ("createdAt");
create table "user" (id int primary key, born date, "end" timestamp);
create index on "user" ("end", id);
create table sizes (id int primary key, metres int);
create table log (at timestamptz not null, line text) partition by range (at);
create table log_2026 partition of log for values from ('2026-01-01') to ('2027-01-01');
create view late as select * from shop."Order Items";
create function shop.tidy() returns trigger language plpgsql as $tidy$
begin
    -- A comment that stays, and a line that looks like a setting:
SET local work_mem = '4MB';
    return new;
end $tidy$;
create trigger tidy before update on shop."Order Items" for each row execute function shop.tidy();
insert into shop."Order Items" select i, 'new', now() from generate_series(1, 2000) i;
insert into "user" values (1, '1990-01-01', now());
"""


@pytest.fixture
def settings(empty_database: Engine) -> DatabaseSettings:
    with empty_database.begin() as connection:
        connection.exec_driver_sql(TABLES)
        connection.exec_driver_sql("analyze")
    return settings_of(empty_database.url.render_as_string(hide_password=False))


def test_candidates_are_the_largest_tables_with_a_time(settings: DatabaseSettings) -> None:
    with database.reading(settings) as session:
        found = database.candidates(session)

    first, *others = found
    assert (first.table, first.rows, first.age, first.indexed) == ('shop."Order Items"', 2000, "createdAt", True)
    assert {(each.table, each.age, each.indexed) for each in others} == {('"user"', "end", True), ("log", "at", False)}


@pytest.mark.parametrize("given", ['shop."Order Items"', "shop.Order Items", '"user"', "user", "public.user"])
def test_a_table_is_found_by_the_name_that_people_write(settings: DatabaseSettings, given: str) -> None:
    with database.reading(settings) as session:
        facts = database.facts_of(session, given)

    job, told = measured(NewJob("old", "retention", "chores", given), facts)

    assert (job.table, job.age) in (('shop."Order Items"', "createdAt"), ('"user"', "end"))
    assert told.endswith("which an index begins with")


def test_a_table_without_a_time_is_told(settings: DatabaseSettings) -> None:
    with database.reading(settings) as session:
        facts = database.facts_of(session, "sizes")

    job, told = measured(NewJob("old", "retention", "chores", "sizes"), facts)

    assert (job.age, told) == (None, "sizes has no column with a time: it has id, metres")
    with pytest.raises(RefusedError, match="sizes has no column 'length': it has id, metres"):
        measured(NewJob("old", "retention", "chores", "sizes", "length"), facts)


@pytest.mark.parametrize(("table", "told"), [("usr", "no table usr"), ("late", "is a view")])
def test_a_table_that_is_none_is_refused(settings: DatabaseSettings, table: str, told: str) -> None:
    with database.reading(settings) as session, pytest.raises(RefusedError, match=told):
        database.facts_of(session, table)


def test_nothing_can_be_written(settings: DatabaseSettings, empty_database: Engine) -> None:
    with pytest.raises(RefusedError, match="read only"), database.reading(settings) as session:
        session.connection().exec_driver_sql("delete from sizes")


def test_the_schema_has_everything_but_rows(settings: DatabaseSettings, empty_database: Engine) -> None:
    with empty_database.begin() as connection:
        connection.exec_driver_sql("create schema nightshift create table runs (id int)")

    script = database.schema(settings)

    assert "nightshift" not in script
    assert "\\restrict" not in script
    assert "SET local work_mem = '4MB';" in script
    assert "-- A comment that stays" in script
    with empty_database.begin() as connection:
        connection.exec_driver_sql(
            'drop schema shop cascade; drop table "user", sizes, log; drop schema nightshift cascade'
        )
        connection.exec_driver_sql(script)
        connection.exec_driver_sql("set local search_path to public")
        assert connection.exec_driver_sql('select count(*) from shop."Order Items"').scalar() == 0
        assert connection.exec_driver_sql("select count(*) from log_2026").scalar() == 0
        connection.exec_driver_sql("""insert into shop."Order Items" values (1, 'new', now())""")
        connection.exec_driver_sql("""update shop."Order Items" set state = 'done'""")


def test_a_pg_dump_that_cannot_is_told_and_the_next_one_tried(
    settings: DatabaseSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = tmp_path / "pg_dump"
    old.write_text("#!/bin/sh\necho 'pg_dump: error: aborting because of server version mismatch' >&2\nexit 1\n")
    old.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")

    assert "CREATE TABLE shop" in database.schema(settings)
    monkeypatch.setattr(database, "find_spec", lambda name: None)
    with pytest.raises(RefusedError, match="is too old for the server"):
        database.schema(settings)
    monkeypatch.setenv("PATH", "")
    with pytest.raises(RefusedError, match="needs pg_dump: install"):
        database.schema(settings)


def test_a_password_is_in_no_list_of_processes(
    settings: DatabaseSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spy = tmp_path / "pg_dump"
    spy.write_text('#!/bin/sh\necho "seen: $*"\necho "$PGUSER $PGPASSWORD $PGHOST $PGPORT $PGSSLMODE"\n')
    spy.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")

    script = database.schema(settings_of("postgresql://me:s3cret@db.example:5433/shop"))

    seen = next(line for line in script.splitlines() if line.startswith("seen:"))
    assert "--schema-only" in seen
    assert "s3cret" not in seen
    assert "me s3cret db.example 5433 verify-full" in script

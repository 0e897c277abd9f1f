"""Backups of a database that the library knows nothing of: exported, tried out, and restored where nothing is."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, text
from typer.testing import CliRunner, Result

from cli.commands import application as command
from nightshift import Job
from nightshift.declaration import Registration, discovery
from nightshift.steps import Backup
from nightshift.store import FileStore
from tests.conftest import NewDatabase
from tests.integration.tables.conftest import SCHEMAS, Call, Filled, deletion, digest

MANIFEST = "s3://nightshift-files/backups/2026-03-01T020000Z/manifest.json"

BACKUP = Job(
    name="backup",
    kind="report",
    schedule="cron(30 1 * * ? *)",
    needs=frozenset({"files", "snapshots"}),
    audited=False,
    steps=Backup.parts(),
)

pytestmark = pytest.mark.usefixtures("package", "files")


def address(engine: Engine) -> str:
    return engine.url.render_as_string(hide_password=False)


def restore(into: Engine, *options: str) -> Result:
    return CliRunner().invoke(command, ["backup", "restore", MANIFEST, "--into", address(into), *options])


def shape(engine: Engine) -> set[tuple[Any, ...]]:
    """Columns, keys, constraints, indexes and triggers, as the database itself tells them."""
    with engine.connect() as connection:
        found = connection.execute(
            text(
                "select conrelid::regclass::text, pg_get_constraintdef(oid) from pg_constraint where conrelid <> 0"
                " and contype <> 'n' union all"
                " select indrelid::regclass::text, regexp_replace(pg_get_indexdef(indexrelid), 'INDEX \\S+ ON', 'ON')"
                " from pg_index join pg_class on pg_class.oid = indrelid"
                " where relnamespace::regnamespace::text !~ '^pg_' union all"
                " select attrelid::regclass::text, format('%s %s %s %s %s', attname, format_type(atttypid, atttypmod),"
                " attnotnull, attidentity, pg_get_expr(adbin, adrelid)) from pg_attribute"
                " join pg_class on pg_class.oid = attrelid"
                " left join pg_attrdef on adrelid = attrelid and adnum = attnum"
                " where attnum > 0 and not attisdropped and relkind in ('r', 'p')"
                " and relnamespace::regnamespace::text !~ '^pg_|information_schema' union all"
                " select tgrelid::regclass::text, pg_get_triggerdef(oid) from pg_trigger where not tgisinternal"
            )
        )
        return {tuple(row) for row in found}


@pytest.mark.parametrize("schema", sorted(path.stem for path in SCHEMAS.glob("*.sql")))
def test_a_database_of_ones_own_comes_back_where_nothing_is(
    filled: Filled, call: Call, new_database: NewDatabase, schema: str
) -> None:
    engine = filled(schema)
    before, its_shape = digest(engine), shape(engine)

    assert call(engine, BACKUP)["outcome"] == "succeeded"

    with new_database() as copy:
        result = restore(copy)

        assert (result.exit_code, result.stderr) == (0, "")
        assert digest(copy) == before
        assert shape(copy) == its_shape


@pytest.fixture
def jobs(monkeypatch: pytest.MonkeyPatch) -> list[Job]:
    """The jobs that there are."""
    jobs: list[Job] = []
    monkeypatch.setattr(
        discovery, "registry", lambda: {job.name: Registration(job, "own", "rule", "m") for job in jobs}
    )
    return jobs


def test_a_drill_passes_on_a_schema_of_ones_own(filled: Filled, call: Call, jobs: list[Job]) -> None:
    engine = filled("queues")
    jobs += [
        deletion("sq_jobs", measured_by="finished_at"),
        dataclasses.replace(deletion("login_attempts", measured_by="at"), name="of-the-example"),
        BACKUP,
    ]
    call(engine, BACKUP)
    before = digest(engine)

    result = restore(engine, "--drill")

    assert (result.exit_code, result.stdout[:7]) == (0, "tested:"), result.output
    assert "not planned: of-the-example" in result.stderr
    assert "not planned: forget" not in result.stderr
    with engine.connect() as connection:
        assert connection.scalar(text("select restore_tested_at is not null from nightshift.backups")) is True
        assert connection.scalar(text("select count(*) from pg_database where datname ~ 'drill'")) == 0
    assert digest(engine) == before


def test_a_drill_fails_in_words_where_a_job_cannot_be_planned(filled: Filled, call: Call, jobs: list[Job]) -> None:
    engine = filled("queues")
    jobs.append(deletion("sq_jobs", measured_by="finished"))
    call(engine, BACKUP)

    result = restore(engine, "--drill")

    assert (result.exit_code, result.stderr.count("\n")) == (2, 1)
    assert "forget cannot be planned on it: sq_jobs has no column finished: did you mean finished_at?" in result.stderr


SCRIPT = """
\\restrict abc
SELECT pg_catalog.set_config('search_path', '', false);
CREATE SCHEMA shop;
CREATE TABLE shop.orders (id bigint PRIMARY KEY, note text);
\\unrestrict abc
"""


def test_a_schema_may_be_given_and_sequences_go_on(
    made: Any, call: Call, files: FileStore, new_database: NewDatabase, tmp_path: Path
) -> None:
    engine = made(
        "create schema shop; create table shop.orders (id bigint generated always as identity primary key, note text);"
        "create sequence shop.invoices; select nextval('shop.invoices') from generate_series(1, 41);"
        "insert into shop.orders (note) select 'a' from generate_series(1, 9); delete from shop.orders where id > 5"
    )
    call(engine, BACKUP)
    script = tmp_path / "schema.sql"
    script.write_text(SCRIPT)

    with new_database() as copy, new_database() as given, new_database() as older:
        assert restore(copy).exit_code == 0
        with copy.begin() as connection:
            assert connection.scalar(text("insert into shop.orders (note) values ('b') returning id")) == 10
            assert connection.scalar(text("select nextval('shop.invoices')")) == 42

        result = restore(given, "--schema", str(script))
        assert (result.exit_code, result.stderr) == (0, "")
        assert digest(given)["shop.orders"] == digest(engine)["shop.orders"]

        # A backup from before sequences were in the manifest: they go on behind the highest number.
        key = MANIFEST.removeprefix("s3://nightshift-files/")
        known = json.loads(files.read(key))
        files.write(key, json.dumps(known | {"sequences": {}}).encode(), content_type="application/json")
        assert restore(older).exit_code == 0
        with older.begin() as connection:
            assert connection.scalar(text("insert into shop.orders (note) values ('b') returning id")) == 6


def test_a_schema_that_cannot_be_made_is_told_and_nothing_is_changed(
    made: Any, call: Call, files: FileStore, empty_database: Engine
) -> None:
    call(made("create table orders (id bigint primary key)"), BACKUP)
    key = MANIFEST.removeprefix("s3://nightshift-files/").replace("manifest", "schema")
    files.write(key, json.dumps(["create table nonsense"]).encode(), content_type="application/json")

    damaged = restore(empty_database)

    assert (damaged.exit_code, damaged.stderr.count("\n")) == (2, 1)
    assert "schema.json is damaged" in damaged.stderr
    assert digest(empty_database) == {}


def test_what_the_role_may_not_read_is_named_in_the_plan_the_manifest_and_the_restore(
    made: Any, call: Call, files: FileStore, new_database: NewDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = made(
        "create table open (id int); create table shut (id int); create schema far; create table far.away (id int);"
        "create table rows_hidden (id int); alter table rows_hidden enable row level security;"
        "insert into open values (1); insert into shut values (2);"
        "drop role if exists backing; create role backing login;"
        "grant usage on schema nightshift to backing; grant all on all tables in schema nightshift to backing;"
        "grant all on all sequences in schema nightshift to backing; grant select on open, rows_hidden to backing;"
    )
    restricted = engine.url.set(username="backing")

    class As:
        url = restricted

    plan = call(As, BACKUP, dry_run=True)["plan"]["steps"][0]
    counters = call(As, BACKUP)["counters"]

    manifest = json.loads(files.read(MANIFEST.removeprefix("s3://nightshift-files/")))
    assert manifest["unreadable"] == {
        "far.away": "grant usage on schema far",
        "shut": "grant select on public.shut",
        "rows_hidden": "row security hides rows: give the role BYPASSRLS",
    }
    assert sorted(plan["missing"]) == [
        f"{name} is left out: {why}" for name, why in sorted(manifest["unreadable"].items())
    ]
    assert counters["unreadable"] == 3
    with new_database() as copy:
        result = restore(copy)
        assert result.exit_code == 0
        assert "not in this backup: shut. For the next one: grant select on public.shut" in result.stderr
        assert digest(copy)["public.open"] == digest(engine)["public.open"]


def test_the_steps_are_those_of_a_job_that_can_be_declared() -> None:
    assert [step.name for step in BACKUP.steps] == ["snapshot", "export", "verify", "expire"]
    assert {parameter.name for parameter in BACKUP.all_parameters} >= {"keep_daily", "keep_weekly", "keep_monthly"}


def test_a_role_that_may_make_no_database_is_told_so_by_the_drill(made: Any, call: Call) -> None:
    engine = made(
        "drop role if exists drilling; create role drilling login; grant all on schema nightshift to drilling"
    )
    call(engine, BACKUP)
    into = engine.url.set(username="drilling").render_as_string(hide_password=False)

    result = CliRunner().invoke(command, ["backup", "restore", MANIFEST, "--into", into, "--drill"])

    assert (result.exit_code, result.stderr.count("\n")) == (2, 1)
    assert "alter role … createdb" in result.stderr

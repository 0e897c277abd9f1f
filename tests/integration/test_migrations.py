"""The migrations make the schema from nothing, agree with the models, and leave what is there already alone."""

import re
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import ColumnElement, Engine, Table, column, create_engine, inspect, select, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool
from sqlalchemy.schema import CreateSchema

from local.postgres import PostgresServer
from nightshift.database import NIGHTSHIFT_SCHEMA, migrations
from nightshift.database.migrations import EncodingError, UnknownRevisionError
from tests.catalogue import catalogue
from tests.conftest import NewDatabase
from tests.ground.application.project import project
from tests.tables import library
from tests.versions import OF_THE_LIBRARY

METADATA = library()
VIEWS = [table for table in METADATA.tables.values() if table.info.get("is_view")]
EVERYTHING = project.branches(tables=True)


@pytest.fixture
def bare(empty_database: Engine) -> Engine:
    """A database with the library's own branch only."""
    migrations.upgrade(empty_database)
    return empty_database


@pytest.fixture
def from_models(new_database: NewDatabase) -> Iterator[Engine]:
    """A database made from the models instead of the migrations."""
    with new_database() as engine:
        with engine.begin() as connection:
            connection.execute(CreateSchema(NIGHTSHIFT_SCHEMA))
            METADATA.create_all(connection, tables=[table for table in METADATA.tables.values() if table not in VIEWS])
        yield engine


def test_from_nothing_to_the_heads(empty_database: Engine) -> None:
    with empty_database.connect() as connection:
        assert migrations.state(connection, EVERYTHING).current == []

    applied = migrations.upgrade(empty_database, EVERYTHING)

    with empty_database.connect() as connection:
        state = migrations.state(connection, EVERYTHING)
    assert applied == [*OF_THE_LIBRARY, "shop_0001"]
    assert (state.current, state.pending) == (sorted(applied), [])


def test_a_second_upgrade_applies_nothing(database: Engine) -> None:
    before = catalogue(database, "public", NIGHTSHIFT_SCHEMA)

    assert migrations.upgrade(database, EVERYTHING) == []
    assert migrations.upgrade(database, unwanted=EVERYTHING) == []
    assert catalogue(database, "public", NIGHTSHIFT_SCHEMA) == before


def test_the_application_can_follow_later(empty_database: Engine, database: Engine) -> None:
    assert migrations.upgrade(empty_database) == OF_THE_LIBRARY
    assert migrations.upgrade(empty_database, EVERYTHING) == ["shop_0001"]

    both = ("public", NIGHTSHIFT_SCHEMA)
    assert catalogue(empty_database, *both) == catalogue(database, *both)


def test_autogenerate_finds_no_difference_between_models_and_migrations(bare: Engine) -> None:
    with bare.connect() as connection:
        context = MigrationContext.configure(
            connection,
            opts={
                "include_schemas": True,
                "version_table": migrations.VERSION_TABLE,
                "version_table_schema": NIGHTSHIFT_SCHEMA,
                "compare_type": True,
                "compare_server_default": True,
                "include_object": lambda thing, *_: not thing.info.get("is_view"),
            },
        )

        assert compare_metadata(context, METADATA) == []


def test_models_and_migrations_make_the_same_tables_to_the_letter(bare: Engine, from_models: Engine) -> None:
    """Autogenerate looks past checks, predicates, expressions, the order of columns and what a foreign key does."""
    made_by_hand = {"view", "trigger", "function"}
    views = tuple(view.fullname for view in VIEWS)
    migrated = {
        (kind, name): definition
        for (kind, name), definition in catalogue(bare, "public", NIGHTSHIFT_SCHEMA).items()
        if kind not in made_by_hand and not name.startswith(views)
    }

    modelled = {
        (kind, name): definition
        for (kind, name), definition in catalogue(from_models, "public", NIGHTSHIFT_SCHEMA).items()
        if kind not in made_by_hand
    }

    assert len(modelled) > 150
    assert migrated == modelled


@pytest.mark.parametrize("view", VIEWS, ids=lambda view: str(view.name))
def test_views_have_the_columns_of_their_models(database: Engine, view: Table) -> None:
    in_database = inspect(database).get_columns(view.name, view.schema)

    assert [(column["name"], column["type"].compile(database.dialect)) for column in in_database] == [
        (column.name, column.type.compile(database.dialect)) for column in view.columns
    ]


def test_an_existing_application_is_not_touched(empty_database: Engine) -> None:
    """GIVEN an application's own tables, triggers and rows WHEN Nightshift is added THEN only its schema appears."""
    with empty_database.begin() as connection:
        connection.exec_driver_sql(
            "create table users (id int primary key, email text unique);"
            "create table notifications (id int primary key references users);"
            "create function stamp() returns trigger language plpgsql as 'begin return new; end';"
            "create trigger stamp before update on users for each row execute function stamp();"
            "create view people as select email from users;"
            "insert into users values (1, 'ann@example.org')"
        )
    before = catalogue(empty_database, "public")

    applied = migrations.upgrade(empty_database)

    with empty_database.connect() as connection:
        schemas = connection.scalars(text("select nspname from pg_namespace where nspname !~ '^pg_'")).all()
        row = connection.execute(text("select * from users")).one()
        references = connection.scalars(
            text("select conname from pg_constraint where confrelid = 'users'::regclass")
        ).all()
    assert applied == OF_THE_LIBRARY
    assert catalogue(empty_database, "public") == before
    assert sorted(schemas) == ["information_schema", "nightshift", "public"]
    assert row == (1, "ann@example.org")
    assert references == ["notifications_id_fkey"]


def _rename(engine: Engine, old: str, new: str) -> None:
    """As code has left it that nobody here knows."""
    change = text("update nightshift.alembic_version set version_num = :new where version_num = :old")
    with engine.begin() as connection:
        assert connection.execute(change, {"old": old, "new": new}).rowcount == 1


def _newest(engine: Engine, branch: str) -> str:
    found = text("select version_num from nightshift.alembic_version where version_num like :branch")
    with engine.connect() as connection:
        return str(connection.execute(found, {"branch": f"{branch}%"}).scalar_one())


@pytest.mark.parametrize("branches", [["nightshift"], ["shop"], ["nightshift", "shop"]])
def test_a_database_that_is_ahead_is_left_as_it_is(database: Engine, branches: list[str]) -> None:
    newer = [f"{branch}_9999" for branch in branches]
    for branch in branches:
        _rename(database, _newest(database, branch), f"{branch}_9999")
    before = catalogue(database, "public", NIGHTSHIFT_SCHEMA)

    assert migrations.upgrade(database, EVERYTHING) == []

    assert catalogue(database, "public", NIGHTSHIFT_SCHEMA) == before
    with database.connect() as connection:
        state = migrations.state(connection, EVERYTHING)
    assert (state.ahead, state.pending) == (newer, [])


def test_an_unknown_migration_does_not_hide_that_another_is_missing(database: Engine, bare: Engine) -> None:
    """The project's is unknown, and the library's own lags behind: that is no rollback."""
    _rename(bare, _newest(bare, "nightshift"), "nightshift_0001")
    with bare.begin() as connection:
        connection.execute(text("insert into nightshift.alembic_version values ('somebody_0001')"))

    with pytest.raises(UnknownRevisionError, match="has the migration somebody_0001, which this code does not know"):
        migrations.upgrade(bare)


_WIDER = {("integer", "bigint"), ("smallint", "integer"), ("smallint", "bigint"), ("real", "double precision")}
_COLUMN = re.compile(r"(?P<number>\d+): (?P<type>.+?) (?P<not_null>[tf]) (?P<identity>\S*) ?default (?P<default>.*)")


def _contracted(before: dict[tuple[str, str], str], after: dict[tuple[str, str], str]) -> list[str]:
    """What code of the version before would miss or be refused: dropped, renamed or narrowed."""
    found = [f"{kind} {name} is gone" for kind, name in before if (kind, name) not in after and kind != "index"]
    for (kind, name), definition in after.items():
        old = before.get((kind, name))
        if kind == "column":
            now = _COLUMN.match(definition)
            was = _COLUMN.match(old) if old is not None else None
            assert now is not None, definition
            table = name.rpartition(".")[0]
            if was is None:
                filled = now["default"] or now["identity"]
                new_table = not [key for key in before if key[0] == "column" and key[1].rpartition(".")[0] == table]
                if now["not_null"] == "t" and not filled and not new_table:
                    found.append(f"{name} is demanded of code that does not know it")
                continue
            if now["type"] != was["type"] and (was["type"], now["type"]) not in _WIDER and now["type"] != "text":
                found.append(f"{name} is narrower: {was['type']} became {now['type']}")
            if now["not_null"] > was["not_null"]:
                found.append(f"{name} takes no null any more")
        elif kind == "constraint" and old is None and not definition.startswith(("PRIMARY KEY", "NOT NULL")):
            of = name.rpartition(".")[0]
            if [key for key in before if key[0] == "column" and f".{of}." in f".{key[1]}."]:
                found.append(f"{name} is a new rule for rows that the code before writes")
        elif kind == "function" and old is not None and old.split("AS ", 1)[0] != definition.split("AS ", 1)[0]:
            found.append(f"{name} is called otherwise")
    return found


def _steps() -> list[str]:
    """The library's revisions, the oldest first."""
    script = ScriptDirectory.from_config(migrations._config(()))
    return [step.revision for step in reversed(list(script.walk_revisions()))]


def test_every_migration_only_adds(empty_database: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a rollback would put code beside a schema that lacks what it asks for."""
    steps = _steps()
    before: dict[tuple[str, str], str] = {}
    for step in steps:
        monkeypatch.setattr(migrations, "_heads", lambda script, branches, head=step: [head])
        assert migrations.upgrade(empty_database) == [step]
        after = catalogue(empty_database, NIGHTSHIFT_SCHEMA)
        if before:
            assert _contracted(before, after) == [], step
        before = after
    assert len(steps) > 2


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ("alter table nightshift.runs drop column reason", "column nightshift.runs.reason is gone"),
        ("alter table nightshift.runs rename column reason to why", "column nightshift.runs.reason is gone"),
        ("alter table nightshift.data_keys alter kms_key type varchar(9)", "nightshift.data_keys.kms_key is narrower"),
        ("alter table nightshift.data_keys alter kms_key set not null", "nightshift.data_keys.kms_key takes no null"),
        ("alter table nightshift.data_keys add x int not null", "nightshift.data_keys.x is demanded"),
        ("alter table nightshift.data_keys add constraint low check (key_id < 9)", "is a new rule"),
        ("drop table nightshift.data_keys", "column nightshift.data_keys.key_id is gone"),
    ],
)
def test_what_takes_away_is_found(bare: Engine, change: str, found: str) -> None:
    before = catalogue(bare, NIGHTSHIFT_SCHEMA)
    with bare.begin() as connection:
        connection.execute(text(change))

    assert [line for line in _contracted(before, catalogue(bare, NIGHTSHIFT_SCHEMA)) if found in line]


def test_an_upgrade_that_fails_leaves_nothing_behind(empty_database: Engine) -> None:
    with empty_database.begin() as connection:
        connection.exec_driver_sql("create table carts_updated ()")  # the name of an index, made after some tables
    before = catalogue(empty_database, "public", NIGHTSHIFT_SCHEMA)

    with pytest.raises(DBAPIError, match="already exists"):
        migrations.upgrade(empty_database, EVERYTHING)

    assert catalogue(empty_database, "public", NIGHTSHIFT_SCHEMA) == before
    with empty_database.connect() as connection:
        assert not connection.dialect.has_schema(connection, NIGHTSHIFT_SCHEMA)


def test_a_connection_in_a_transaction_keeps_it(empty_database: Engine) -> None:
    with empty_database.connect() as connection:
        connection.begin()
        migrations.upgrade(connection, EVERYTHING)
        connection.rollback()

    assert catalogue(empty_database, "public", NIGHTSHIFT_SCHEMA) == {}


def test_two_upgrades_at_once_run_one_after_the_other(empty_database: Engine) -> None:
    """GIVEN an upgrade that has not committed WHEN another starts THEN it waits, and finds nothing left to do."""
    second: list[list[str]] = []
    thread = threading.Thread(target=lambda: second.append(migrations.upgrade(empty_database, EVERYTHING)))
    waiting = text("select count(*) from pg_locks where locktype = 'advisory' and not granted")

    with empty_database.begin() as connection:
        first = migrations.upgrade(connection, EVERYTHING)
        thread.start()
        with empty_database.connect().execution_options(isolation_level="AUTOCOMMIT") as observer:
            deadline = time.monotonic() + 30
            while not observer.scalar(waiting):
                assert time.monotonic() < deadline, "the second upgrade did not wait for the first"
    thread.join(30)

    assert first == [*OF_THE_LIBRARY, "shop_0001"]
    assert second == [[]]


@pytest.fixture(params=["LATIN1", "SQL_ASCII"])
def elsewhere_encoded(request: pytest.FixtureRequest, postgres: PostgresServer) -> Iterator[Engine]:
    """A database that is not in UTF-8."""
    administration = create_engine(postgres.url(), isolation_level="AUTOCOMMIT", poolclass=NullPool)
    with administration.connect() as connection:
        make = f"create database encoded encoding '{request.param}' locale 'C' template template0"
        connection.execute(text(make))
        yield create_engine(postgres.url("encoded"), poolclass=NullPool, connect_args={"ssl_context": False})
        connection.execute(text("drop database encoded with (force)"))


def test_a_database_that_is_not_in_utf8_is_refused_in_words_and_left_as_it_is(elsewhere_encoded: Engine) -> None:
    with pytest.raises(EncodingError, match=r"^the database encoded is in (LATIN1|SQL_ASCII), and .* UTF8"):
        migrations.upgrade(elsewhere_encoded)

    with elsewhere_encoded.connect() as connection, pytest.raises(EncodingError):
        migrations.state(connection)
    assert inspect(elsewhere_encoded).get_schema_names() == ["information_schema", "public"]


def test_every_schema_name_in_the_sql_of_the_branch_nightshift_is_its_own() -> None:
    """What the branch makes carries the schema's name, so that no search path can put it among the application's."""
    folder = Path(migrations.__file__).parent / "versions"
    for file in folder.glob("nightshift_*.sql"):
        made = re.findall(
            r"^(?:create|alter) (?:unique index \w+ on|index \w+ on|\w+) (\S+)", file.read_text(), re.MULTILINE
        )
        assert made
        assert [name for name in made if not name.startswith("nightshift.")] == []


def test_runs_that_failed_before_it_was_noted_count_as_reported(bare: Engine) -> None:
    """Else the first round of the supervisor after an upgrade would report a year's failures."""
    with bare.begin() as connection:
        connection.execute(
            text(
                """
                alter table nightshift.runs drop column reported_at, drop column notes, drop column told_at,
                                            drop column recovered_at;
                alter table nightshift.data_keys drop column kms_key;
                drop table nightshift.commands, nightshift.deployments, nightshift.signs_of_life;
                update nightshift.alembic_version set version_num = 'nightshift_0001';
                insert into nightshift.jobs (name) values ('old');
                insert into nightshift.runs (job, scheduled_for, trigger, state, max_attempts, finished_at)
                values ('old', '2026-01-01Z', 'schedule', 'failed', 3, '2026-01-02Z'),
                       ('old', '2026-01-02Z', 'schedule', 'succeeded', 3, '2026-01-02Z')
                """
            )
        )
    assert migrations.upgrade(bare) == OF_THE_LIBRARY[1:]
    with bare.connect() as connection:
        for noted in ("reported_at", "told_at", "recovered_at"):
            same = (column(noted) == column("finished_at")).label("same")
            state: ColumnElement[str] = column("state")
            its = select(state, same).select_from(text("nightshift.runs")).order_by(state)
            found: object = connection.execute(its).all()
            assert found == [("failed", True), ("succeeded", None)], noted

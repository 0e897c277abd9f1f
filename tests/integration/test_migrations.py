"""The migrations make the schema from nothing, agree with the models, and leave what is there already alone."""

import re
import threading
import time
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Engine, Table, inspect, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.schema import CreateSchema

from application.models.base import metadata
from nightshift.database import NIGHTSHIFT_SCHEMA, migrations
from nightshift.declaration import this_project
from tests.tables import library

METADATA = [library(), metadata()]
TABLES = [table for each in METADATA for table in each.tables.values()]
VIEWS = [table for table in TABLES if table.info.get("is_view")]
EVERYTHING = this_project().branches(tables=True)

# What the branch of the application's tables adds to the outbox: whoever is deleted takes their notices along.
TIES = [
    ("column", "nightshift.notifications.user_id"),
    ("constraint", "nightshift.notifications.notifications_user_id_fkey"),
    ("index", "nightshift.notif_user"),
]

# Everything a schema consists of, as PostgreSQL itself writes it down, in one list that can be compared.
CATALOGUE = """
select 'column' as kind, format('%s.%s.%s', n.nspname, c.relname, a.attname) as name, format(
        '%s: %s %s %s default %s', a.attnum, format_type(a.atttypid, a.atttypmod),
        a.attnotnull, a.attidentity, pg_get_expr(d.adbin, d.adrelid)) as definition
    from pg_attribute a
    join pg_class c on c.oid = a.attrelid and c.relkind in ('r', 'v')
    join pg_namespace n on n.oid = c.relnamespace
    left join pg_attrdef d on d.adrelid = c.oid and d.adnum = a.attnum
    where a.attnum > 0 and not a.attisdropped and n.nspname = any(:schemas)
union all
select 'constraint', format('%s.%s', conrelid::regclass, conname), pg_get_constraintdef(o.oid)
    from pg_constraint o join pg_namespace n on n.oid = connamespace where n.nspname = any(:schemas)
union all
select 'index', format('%s.%s', schemaname, indexname), indexdef from pg_indexes where schemaname = any(:schemas)
union all
select 'view', format('%s.%s', schemaname, viewname), definition from pg_views where schemaname = any(:schemas)
union all
select 'trigger', format('%s.%s', tgrelid::regclass, tgname), pg_get_triggerdef(t.oid)
    from pg_trigger t join pg_class c on c.oid = tgrelid join pg_namespace n on n.oid = c.relnamespace
    where n.nspname = any(:schemas) and not tgisinternal
union all
select 'function', p.oid::regprocedure::text, pg_get_functiondef(p.oid)
    from pg_proc p join pg_namespace n on n.oid = pronamespace where n.nspname = any(:schemas)
union all
select 'sequence', format('%s.%s', schemaname, sequencename), data_type::text
    from pg_sequences where schemaname = any(:schemas)
"""

Catalogue = dict[tuple[str, str], str]


def catalogue(engine: Engine, *schemas: str) -> Catalogue:
    with engine.connect() as connection:
        rows = connection.execute(text(CATALOGUE), {"schemas": list(schemas)})
        return {(kind, name): definition for kind, name, definition in rows if migrations.VERSION_TABLE not in name}


@pytest.fixture
def from_models(empty_database: Engine) -> Engine:
    """A database made from the models instead of the migrations."""
    with empty_database.begin() as connection:
        connection.execute(CreateSchema(NIGHTSHIFT_SCHEMA))
        # Two indexes call this function; what it does is the migrations' alone.
        connection.exec_driver_sql(
            "create function nightshift.storage_key(url text) returns text immutable language sql return url"
        )
        for each in METADATA:
            each.create_all(connection, tables=[table for table in each.tables.values() if table not in VIEWS])
    return empty_database


def test_from_nothing_to_the_heads(empty_database: Engine) -> None:
    with empty_database.connect() as connection:
        assert migrations.state(connection, EVERYTHING).current == []

    applied = migrations.upgrade(empty_database, EVERYTHING)

    with empty_database.connect() as connection:
        state = migrations.state(connection, EVERYTHING)
    assert applied == ["nightshift_0001", "records_0001", "tables_0001"]
    assert (state.current, state.pending) == (sorted(applied), [])


def test_a_second_upgrade_applies_nothing(database: Engine) -> None:
    before = catalogue(database, "public", NIGHTSHIFT_SCHEMA)

    assert migrations.upgrade(database, EVERYTHING) == []
    assert migrations.upgrade(database, unwanted=EVERYTHING) == []
    assert catalogue(database, "public", NIGHTSHIFT_SCHEMA) == before


def test_the_application_can_follow_later(empty_database: Engine, database: Engine) -> None:
    assert migrations.upgrade(empty_database) == ["nightshift_0001"]
    assert migrations.upgrade(empty_database, EVERYTHING) == ["records_0001", "tables_0001"]

    both = ("public", NIGHTSHIFT_SCHEMA)
    assert catalogue(empty_database, *both) == catalogue(database, *both)


def test_autogenerate_finds_no_difference_between_models_and_migrations(database: Engine) -> None:
    with database.connect() as connection:
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

        # Alembic takes several metadata, which its annotations do not say.
        found = compare_metadata(context, METADATA)  # type: ignore[arg-type]
        assert {(what, thing.name) for what, *_, thing in found} == {
            *(("remove_index", "notif_user"), ("remove_column", "user_id"), ("remove_fk", "notifications_user_id_fkey"))
        }


def test_models_and_migrations_make_the_same_tables_to_the_letter(database: Engine, from_models: Engine) -> None:
    """Autogenerate looks past checks, predicates, expressions, the order of columns and what a foreign key does."""
    made_by_hand = {"view", "trigger", "function"}
    views = tuple(view.fullname if view.schema else f"public.{view.name}" for view in VIEWS)
    migrated = {
        (kind, name): definition
        for (kind, name), definition in catalogue(database, "public", NIGHTSHIFT_SCHEMA).items()
        if kind not in made_by_hand and not name.startswith(views)
    }

    modelled = {
        (kind, name): definition
        for (kind, name), definition in catalogue(from_models, "public", NIGHTSHIFT_SCHEMA).items()
        if kind not in made_by_hand
    }

    assert len(modelled) > 900
    assert {name: made for name, made in migrated.items() if name not in TIES} == modelled
    assert set(TIES) <= set(migrated)


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
    assert applied == ["nightshift_0001"]
    assert catalogue(empty_database, "public") == before
    assert sorted(schemas) == ["information_schema", "nightshift", "public"]
    assert row == (1, "ann@example.org")
    assert references == ["notifications_id_fkey"]


def test_an_upgrade_that_fails_leaves_nothing_behind(empty_database: Engine) -> None:
    with empty_database.begin() as connection:
        connection.exec_driver_sql("create table licenses (of_another_shape int)")  # the last but one to be made
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

    assert first == ["nightshift_0001", "records_0001", "tables_0001"]
    assert second == [[]]


def test_every_schema_name_in_the_sql_of_the_branch_nightshift_is_its_own() -> None:
    """What the branch makes carries the schema's name, so that no search path can put it among the application's."""
    folder = Path(migrations.__file__).parent / "versions"
    for file in folder.glob("nightshift_*.sql"):
        made = re.findall(
            r"^(?:create|alter) (?:unique index \w+ on|index \w+ on|\w+) (\S+)", file.read_text(), re.MULTILINE
        )
        assert made
        assert [name for name in made if not name.startswith("nightshift.")] == []

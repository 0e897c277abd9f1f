"""The example's migrations: from nothing, beside the library's, and in agreement with the models."""

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Engine, Table, inspect
from sqlalchemy.schema import CreateSchema

from application.models.base import metadata
from application.project import project
from nightshift.database import NIGHTSHIFT_SCHEMA, migrations
from tests.catalogue import catalogue
from tests.tables import library
from tests.versions import OF_THE_LIBRARY

METADATA = [library(), metadata()]
TABLES = [table for each in METADATA for table in each.tables.values()]
VIEWS = [table for table in TABLES if table.info.get("is_view")]
EVERYTHING = project.branches(tables=True)

# What the branch of the application's tables adds to the outbox: whoever is deleted takes their notices along.
TIES = [
    ("column", "nightshift.notifications.user_id"),
    ("constraint", "nightshift.notifications.notifications_user_id_fkey"),
    ("index", "nightshift.notif_user"),
]


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
    assert applied == [*OF_THE_LIBRARY, "records_0001", "tables_0001"]
    assert (state.current, state.pending) == (sorted(applied), [])


def test_the_application_can_follow_later(empty_database: Engine, database: Engine) -> None:
    assert migrations.upgrade(empty_database) == OF_THE_LIBRARY
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

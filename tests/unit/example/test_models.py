"""The models as declarations: what other parts derive from them must hold for each."""

import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy.orm import DeclarativeBase

from application import models
from application.models.base import Base, metadata
from nightshift.database import NIGHTSHIFT_SCHEMA

TABLES = metadata().tables.values()
MAPPED = sorted((mapper.class_ for mapper in Base.registry.mappers), key=lambda model: str(model.__name__))
LAYERS = Path(__file__).parents[3] / "layers"

# What the jobs write for themselves. Everything else is the application's.
RECORDS = {
    *("alerts", "reports", "audit_archives", "erasure_ledger", "pseudonym_keys"),
    *("trusted_networks", "unclaimed_objects"),
}


def test_every_model_is_shown_under_its_name() -> None:
    assert [model.__name__ for model in MAPPED if getattr(models, model.__name__) is not model] == []


def test_every_table_has_a_model_or_is_a_view() -> None:
    views = {table for table in TABLES if table.info.get("is_view")}

    assert {model.__table__ for model in MAPPED} | views == set(TABLES)
    assert {view.name for view in views} == {"v_expiring_credentials", "v_file_references"}


def test_each_table_lives_in_its_owners_schema() -> None:
    assert {table.name for table in TABLES if table.schema == NIGHTSHIFT_SCHEMA} == RECORDS


@pytest.mark.parametrize("model", MAPPED, ids=lambda model: str(model.__name__))
def test_every_instant_knows_its_time_zone(model: type[DeclarativeBase]) -> None:
    instants = [column for column in model.__table__.columns if str(column.type).startswith(("DATETIME", "TIMESTAMP"))]

    assert [column.name for column in instants if not getattr(column.type, "timezone", False)] == []


def test_references_between_the_schemas_are_only_those_that_are_meant() -> None:
    assert {
        (f"{table.name}.{key.parent.name}", key.target_fullname, key.ondelete)
        for table in TABLES
        for key in table.foreign_keys
        if key.column.table.schema != table.schema
    } == {("audit_logs.archive_id", "nightshift.audit_archives.id", "SET NULL")}


def test_importing_the_models_reads_nothing_and_brings_no_driver() -> None:
    """Every Lambda imports them before it knows whether it has work: no driver, no AWS, no migrations."""
    unwanted = {"pg8000", "boto3", "alembic", "sqlalchemy"}
    code = f"import sys, application.models; print(*sorted({unwanted} & set(sys.modules)))"

    assert run(code) == []


def test_a_model_is_imported_without_the_others_and_the_metadata_with_all() -> None:
    code = (
        "import sys; from application.models import Goal; print('application.models.tracking' in sys.modules);"
        "from application.models.base import metadata; print(len(metadata().tables))"
    )

    assert run(code) == ["False", str(len(TABLES))]


@pytest.mark.parametrize("module", sorted({model.__module__ for model in MAPPED}))
def test_a_module_brings_the_tables_it_refers_to(module: str) -> None:
    """SQLAlchemy follows every foreign key when it writes an object, and fails on a table that was never imported."""
    code = (
        f"import {module}; from application.models.base import Base;"
        "print(*[key.column.table.name for table in Base.metadata.tables.values() for key in table.foreign_keys])"
    )

    run(code)


def run(code: str) -> list[str]:
    """Run a few statements in a fresh interpreter and return the words they print."""
    environment = {"PYTHONPATH": f"{LAYERS}/nightshift/python:{LAYERS}/application/python"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    return done.stdout.split()

"""The models as declarations: what other parts derive from them must hold for each."""

import subprocess
import sys

import pytest
from sqlalchemy import CheckConstraint, Table

from nightshift import models
from nightshift.models import NIGHTSHIFT_SCHEMA, OPEN_STATES, OUTCOMES, Base

MAPPED = sorted((mapper.class_ for mapper in Base.registry.mappers), key=lambda model: str(model.__name__))

# What Nightshift writes for itself. Everything else is the application's.
OWN = {
    *("jobs", "runs", "attempts", "quarantine", "job_runs"),
    *("notifications", "alerts", "reports", "metric_rollups", "metric_findings", "health_checks", "backups"),
    *(
        "audit_archives",
        "erasure_ledger",
        "data_keys",
        "pseudonym_keys",
        "trusted_networks",
        "unclaimed_objects",
        "differences",
    ),
}


def test_every_model_is_exported_under_its_name() -> None:
    exported = {name for name in models.__all__ if isinstance(getattr(models, name), type)} - {"Base"}

    assert exported == {model.__name__ for model in MAPPED}


def test_every_table_has_a_model_or_is_a_view() -> None:
    views = {table for table in Base.metadata.tables.values() if table.info.get("is_view")}

    assert {model.__table__ for model in MAPPED} | views == set(Base.metadata.tables.values())
    assert {view.name for view in views} == {"job_runs", "v_expiring_credentials", "v_file_references"}


def test_each_table_lives_in_its_owners_schema() -> None:
    assert {table.name for table in Base.metadata.tables.values() if table.schema == NIGHTSHIFT_SCHEMA} == OWN


@pytest.mark.parametrize("model", MAPPED, ids=lambda model: str(model.__name__))
def test_every_instant_knows_its_time_zone(model: type[Base]) -> None:
    instants = [column for column in model.__table__.columns if str(column.type).startswith(("DATETIME", "TIMESTAMP"))]

    assert [column.name for column in instants if not getattr(column.type, "timezone", False)] == []


def test_references_between_the_schemas_are_only_those_the_application_branch_ties() -> None:
    tables = Base.metadata.tables.values()

    assert {
        (f"{table.name}.{key.parent.name}", key.target_fullname, key.ondelete)
        for table in tables
        for key in table.foreign_keys
        if key.column.table.schema != table.schema
    } == {
        ("notifications.user_id", "users.id", "CASCADE"),
        ("audit_logs.archive_id", "nightshift.audit_archives.id", "SET NULL"),
    }


def test_a_run_is_either_open_or_has_one_outcome() -> None:
    table = models.RunRecord.__table__
    assert isinstance(table, Table)
    (check,) = [c for c in table.constraints if isinstance(c, CheckConstraint) and c.name == "runs_state_check"]

    assert not set(OPEN_STATES) & set(OUTCOMES)
    assert all(f"'{state}'" in str(check.sqltext) for state in OPEN_STATES + OUTCOMES)


def test_importing_the_models_reads_nothing_and_brings_no_driver() -> None:
    """Every Lambda imports them before it knows whether it has work: no driver, no AWS, no migrations."""
    code = "import sys, nightshift.models; print(*sorted({'pg8000', 'boto3', 'alembic'} & set(sys.modules)))"

    assert run(code) == []


def test_a_model_is_imported_without_the_others_and_the_base_with_all() -> None:
    code = (
        "import sys; from nightshift.models import Goal; print('nightshift.models.tracking' in sys.modules);"
        "from nightshift.models import Base; print(len(Base.metadata.tables))"
    )

    assert run(code) == ["False", str(len(Base.metadata.tables))]


@pytest.mark.parametrize("module", sorted({model.__module__ for model in MAPPED}))
def test_a_module_brings_the_tables_it_refers_to(module: str) -> None:
    """SQLAlchemy follows every foreign key when it writes an object, and fails on a table that was never imported."""
    code = (
        f"import {module}; from nightshift.models.base import Base;"
        "print(*[key.column.table.name for table in Base.metadata.tables.values() for key in table.foreign_keys])"
    )

    run(code)


def test_every_exported_name_can_be_had_and_no_other() -> None:
    assert [name for name in models.__all__ if getattr(models, name) is None] == []
    with pytest.raises(AttributeError, match="has no model 'Nothing'"):
        _ = models.Nothing


def run(code: str) -> list[str]:
    """Run a few statements in a fresh interpreter and return the words they print."""
    environment = {"PYTHONPATH": "layers/nightshift/python"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    return done.stdout.split()

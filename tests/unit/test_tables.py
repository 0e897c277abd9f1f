"""The library's own tables as declarations."""

from typing import cast

import pytest
from sqlalchemy import CheckConstraint, Table

from nightshift.database import NIGHTSHIFT_SCHEMA
from nightshift.ledger import OPEN_STATES, OUTCOMES, RunRecord
from tests.tables import library

TABLES = library().tables.values()


def test_the_library_knows_no_table_but_its_own() -> None:
    assert {table.name for table in TABLES} == {
        *("jobs", "runs", "attempts", "quarantine", "candidates", "job_runs", "dials", "dial_changes", "pauses"),
        *("commands", "deployments", "signs_of_life", "backfills"),
        *("notifications", "metric_rollups", "metric_findings", "differences", "health_checks", "backups", "data_keys"),
    }
    assert {table.schema for table in TABLES} == {NIGHTSHIFT_SCHEMA}
    assert {key.column.table for table in TABLES for key in table.foreign_keys} <= set(TABLES)


@pytest.mark.parametrize("table", TABLES, ids=lambda table: str(table.name))
def test_every_instant_knows_its_time_zone(table: Table) -> None:
    instants = [column for column in table.columns if str(column.type).startswith(("DATETIME", "TIMESTAMP"))]

    assert [column.name for column in instants if not getattr(column.type, "timezone", False)] == []


def test_a_run_is_either_open_or_has_one_outcome() -> None:
    table = cast(Table, RunRecord.__table__)
    (check,) = [c for c in table.constraints if isinstance(c, CheckConstraint) and c.name == "runs_state_check"]

    assert not set(OPEN_STATES) & set(OUTCOMES)
    assert all(f"'{state}'" in str(check.sqltext) for state in OPEN_STATES + OUTCOMES)

"""The database's snapshots by RDS: one run of `backup` takes them, later ones note and in the end delete them."""

import datetime as dt
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from local.machine import RDS_INSTANCE, Machine
from nightshift.store.snapshots import prefix
from tests.e2e.conftest import Lambda

if TYPE_CHECKING:
    from mypy_boto3_rds import RDSClient

pytestmark = pytest.mark.e2e


def test_a_snapshot_is_taken_noted_and_deleted_when_its_time_is_up(
    machine: Machine, functions: Lambda, session: Session
) -> None:
    # GIVEN a run of ten days ago, whose snapshot is kept for seven, and which is not the last good one
    rds: RDSClient = machine.aws.client("rds")
    before = (dt.datetime.now(dt.UTC) - dt.timedelta(days=10)).replace(microsecond=0)
    functions.call("backup", {"scheduled_for": before.isoformat()})
    old = f"{prefix()}{before:%Y-%m-%d-%H%M%S}"
    [taken] = rds.describe_db_snapshots(DBSnapshotIdentifier=old)["DBSnapshots"]
    assert taken["DBInstanceIdentifier"] == RDS_INSTANCE
    assert {"Key": "nightshift", "Value": "backup"} in taken["TagList"]
    # WHEN tonight's run takes its own
    functions.call("backup", {})
    # THEN both are known to be good, and the old one is gone from RDS while its row tells of it
    session.rollback()
    rows = session.execute(text("select location, status from nightshift.backups where kind = 'snapshot'"))
    statuses = {row.location: row.status for row in rows}
    assert statuses.pop(old) == "expired"
    assert statuses
    assert set(statuses.values()) == {"succeeded"}
    listed = rds.describe_db_snapshots(DBInstanceIdentifier=RDS_INSTANCE)["DBSnapshots"]
    ours = {name for each in listed if (name := each["DBSnapshotIdentifier"]).startswith(prefix())}
    assert set(statuses) <= ours
    assert old not in ours

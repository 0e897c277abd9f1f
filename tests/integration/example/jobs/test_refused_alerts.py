"""An alert that the database refuses is left alone: the other alerts, and what the job is there for, are done."""

import datetime as dt
from typing import Any

import pytest
from sqlalchemy import select, text
from sqlalchemy.orm import Session

from application.models import Alert, AuditLog, DataRequest
from functions.administration.backup import job as backup
from functions.administration.health_check import RULE, judge
from functions.administration.performance_monitor import SLOW as SLOW_REQUESTS, job as performance_monitor
from functions.community.finalize_deletions import job as finalize_deletions
from functions.productivity.performance_metrics import ERRORS, SLOW, job as performance_metrics
from nightshift.declaration import Run
from nightshift.steps import Component
from nightshift.steps.tables import HealthRecord
from nightshift.store import SnapshotError, Snapshots
from tests.integration.conftest import Invoke
from tests.integration.example.jobs.conftest import NOW
from tests.integration.example.jobs.test_finalize_deletions import person, request
from tests.integration.example.jobs.test_performance_metrics import AT, START, requests


def refuse(session: Session, condition: str) -> None:
    """The database refuses such alerts."""
    session.execute(text("create function refuse() returns trigger language plpgsql as 'begin raise ''no''; end'"))
    session.execute(
        text(
            f"create trigger refuse before insert on nightshift.alerts for each row when ({condition})"
            " execute function refuse()"
        )
    )
    session.commit()


def rules(session: Session) -> set[str]:
    session.rollback()
    return set(session.scalars(select(Alert.rule)))


@pytest.mark.parametrize(("refused", "other"), [(ERRORS, SLOW), (SLOW, ERRORS)])
def test_of_the_hours_figures(invoke_job: Invoke, session: Session, refused: str, other: str) -> None:
    requests(session, START, 100, errors=50, ms=1000)
    refuse(session, f"new.rule = '{refused}'")
    done = invoke_job(performance_metrics, at=AT)
    assert (done["outcome"], done["counters"]["alerts"], done["counters"]["quarantined"]) == ("succeeded", 1, 1)
    assert rules(session) == {other}


def test_of_slow_requests_and_old_samples_are_forgotten(invoke_job: Invoke, session: Session) -> None:
    for window in range(3):
        requests(session, AT - (window + 1) * dt.timedelta(minutes=10), 100, ms=5000)
    refuse(session, f"new.rule = '{SLOW_REQUESTS}'")
    done = invoke_job(performance_monitor, at=AT)
    assert (done["outcome"], done["counters"]["samples"], done["counters"]["quarantined"]) == ("succeeded", 1, 1)
    assert rules(session) == set()


@pytest.mark.usefixtures("files")
def test_of_a_blocked_erasure_and_the_next_is_done(invoke_job: Invoke, session: Session) -> None:
    held, free = person(session, "held@example.org"), person(session, "free@example.org")
    session.add(AuditLog(actor_id=held.id, action="auth.login", legal_hold=True))
    first, second = request(session, held), request(session, free)
    refuse(session, "new.rule like 'erasure-%'")
    done = invoke_job(finalize_deletions, at=NOW)
    assert (done["outcome"], done["counters"]["anonymized"], done["counters"]["blocked"]) == ("succeeded", 1, 1)
    session.expire_all()
    states = [session.get_one(DataRequest, each.id).status for each in (first, second)]
    assert states == ["BLOCKED", "COMPLETED"]


def test_of_a_component_and_the_other_component_is_told(session: Session, caplog: pytest.LogCaptureFixture) -> None:
    bad: dict[str, Any] = {"status": "unhealthy", "value": None, "reason": "it hangs"}
    session.add(
        HealthRecord(
            checked_at=NOW - dt.timedelta(minutes=5),
            overall="unhealthy",
            components={"files": bad, "outbox": bad},
            duration_ms=1,
        )
    )
    refuse(session, f"new.fingerprint = '{RULE}:files'")
    run = Run(id=None, job="health-check", scheduled_for=NOW, trigger="schedule")  # type: ignore[arg-type]
    with session.begin():
        judge(session, run, {name: Component(**bad) for name in ("files", "outbox")})
    assert set(session.scalars(select(Alert.fingerprint))) == {f"{RULE}:outbox"}
    assert "alert.refused" in caplog.text


@pytest.mark.usefixtures("files")
def test_of_snapshots_and_the_tables_are_exported_all_the_same(
    invoke_job: Invoke, snapshots: Snapshots, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no(*_: Any) -> None:
        raise SnapshotError("InstanceQuotaExceeded")

    monkeypatch.setattr(Snapshots, "create", no)
    refuse(session, "new.rule = 'backup-snapshot'")
    done = invoke_job(backup, at=NOW)
    assert (done["outcome"], done["counters"]["quarantined"]) == ("succeeded", 2)
    states = session.execute(text("select kind, status from nightshift.backups order by kind")).all()
    assert states == [("logical", "succeeded"), ("snapshot", "failed")]

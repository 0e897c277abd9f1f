import datetime as dt
import json
import uuid
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import select, text
from sqlalchemy.orm import Session

from application.models import (
    Alert,
    AuditLog,
    AuthToken,
    Certificate,
    DataRequest,
    Invitation,
    LoginAttempt,
    PushToken,
    Report,
    User,
)
from functions.administration.monthly_report import job
from functions.administration.reports.figures import FIGURES
from functions.administration.reports.monthly import figures
from functions.administration.reports.page import MOST_ROWS
from nightshift import Run
from nightshift.ledger import RegisteredJob, RunRecord
from nightshift.outbox import Notification, render
from nightshift.steps import Period
from nightshift.store import Backup, FileStore
from tests.integration.conftest import Invoke
from tests.integration.example.jobs.audit import event
from tests.integration.example.jobs.conftest import DAY, MICROSECOND
from tests.integration.example.jobs.people import person, utc

AT = "2026-03-01T02:30:00Z"
"""The run that tells of February 2026."""

RUN = Run(uuid.uuid4(), "monthly-report", utc("2026-03-01 02:30"))

START, END = utc("2026-02-01"), utc("2026-03-01")
HOUR = dt.timedelta(hours=1)

MFA = "every administrator has a second factor"
IDLE = "no active account is idle for over 90 days"
REQUESTS = "no deletion request is overdue"
RETENTION = "the retention rules hold"
RUNS = "the audit log's retention ran"
BACKUP = "a backup was verified in the last 2 days"
RESTORE = "a restore was tested in the last 35 days"
ALERTS = "no critical alert was left open over 24 hours"
ALL = {MFA, IDLE, REQUESTS, RETENTION, RUNS, BACKUP, RESTORE, ALERTS}


def ran(name: str, at: dt.datetime, state: str = "succeeded", **more: Any) -> tuple[RegisteredJob, RunRecord]:
    return RegisteredJob(name=name), RunRecord(
        job=name, scheduled_for=at, trigger="schedule", state=state, max_attempts=3, **more
    )


def add(session: Session, *rows: Any) -> None:
    for row in rows:
        session.merge(row) if isinstance(row, RegisteredJob) else session.add(row)
        session.flush()
    session.commit()


def backup(at: dt.datetime, **more: Any) -> Backup:
    facts = {"status": "succeeded", "expires_at": END + 7 * DAY, "started_at": at, **more}
    return Backup(kind="logical", tier="daily", scheduled_for=at, **facts)


@pytest.fixture
def kept(session: Session) -> Session:
    """A month in which every rule was kept."""
    person(session, "ann", role="admin", mfa_enabled=True, last_login_at=END - DAY)
    person(session, "ben", last_login_at=END - 90 * DAY)
    for name in ("anonymize-audit-logs", "delete-audit-logs", "audit-log-cleanup"):
        add(session, *ran(name, START + 5 * DAY))
    add(session, backup(END - DAY, verified_at=END - DAY + HOUR), backup(START, restore_tested_at=END - 35 * DAY))
    return session


def report(session: Session) -> dict[str, Any]:
    session.rollback()
    return session.scalars(select(Report).where(Report.kind == "monthly")).one().data


def failed(data: dict[str, Any]) -> set[str]:
    return {check["check"] for check in data["compliance"]["results"] if not check["passed"]}


def evidence(session: Session, check: str) -> dict[str, Any]:
    (found,) = (one["evidence"] for one in report(session)["compliance"]["results"] if one["check"] == check)
    return dict(found)


def test_a_month_in_which_every_rule_was_kept(invoke_job: Invoke, kept: Session, files: FileStore) -> None:
    counters = invoke_job(job, at=AT)["counters"]

    data = report(kept)
    assert {section: set(figures) for section, figures in data.items()} == {
        section: set(figures) for section, figures in FIGURES["monthly"].items()
    }
    assert {check["check"] for check in data["compliance"]["results"]} == ALL
    assert failed(report(kept)) == set()
    assert (data["compliance"]["score"], counters["checks"], counters["failed_checks"]) == (100.0, 8, 0)


def no_mfa(session: Session) -> None:
    person(session, "root", role="super_admin", last_login_at=END)


def idle(session: Session) -> None:
    person(session, "idle", last_login_at=END - 90 * DAY - MICROSECOND)


def never_logged_in(session: Session) -> None:
    person(session, "never", created_at=END - 91 * DAY)


def overdue(session: Session, **more: Any) -> None:
    facts = {"subject_ref": "s", "request_type": "DELETION", "requested_at": END - 31 * DAY - MICROSECOND, **more}
    add(session, DataRequest(**facts))


def given_up(session: Session) -> None:
    overdue(session, status="FAILED", attempts=5)


def done_too_late(session: Session) -> None:
    overdue(session, status="COMPLETED", completed_at=END)


def token(kind: str, **more: Any) -> Callable[[Session], None]:
    def seed(session: Session) -> None:
        user = session.scalars(select(User.id)).first()
        facts = {"kind": kind, "token_hash": b"t", "user_id": user, "expires_at": END + DAY, **more}
        add(session, AuthToken(**facts))

    return seed


def login_attempt(session: Session) -> None:
    add(session, LoginAttempt(success=True, attempted_at=END - 9 * DAY - MICROSECOND))


def invitation(session: Session) -> None:
    add(session, Invitation(kind="project", email="x@example.org", created_at=END - 32 * DAY - MICROSECOND))


def push_token(session: Session) -> None:
    user = session.scalars(select(User.id)).first()
    old = END - 92 * DAY - MICROSECOND
    add(session, PushToken(user_id=user, token="t", platform="ios", created_at=old))


def not_anonymised(session: Session) -> None:
    event(session, utc("2025-02-27") - MICROSECOND)


def not_deleted(session: Session) -> None:
    event(session, utc("2023-02-15") - MICROSECOND, anonymized_at=START)


def did_not_run(name: str) -> Callable[[Session], None]:
    def seed(session: Session) -> None:
        session.execute(text("update nightshift.runs set state = 'failed' where job = :job"), {"job": name})
        session.commit()

    return seed


def change(sql: str) -> Callable[[Session], None]:
    def seed(session: Session) -> None:
        session.execute(text(sql))
        session.commit()

    return seed


def critical(seen: dt.datetime, **more: Any) -> Callable[[Session], None]:
    def seed(session: Session) -> None:
        facts = {"severity": "critical", "status": "resolved" if "resolved_at" in more else "open", **more}
        add(session, Alert(rule="r", fingerprint="r:1", details={}, first_seen_at=seen, last_seen_at=seen, **facts))

    return seed


MORE_THAN_A_DAY = DAY + MICROSECOND


@pytest.mark.parametrize(
    ("violate", "check"),
    [
        pytest.param(no_mfa, MFA, id="administrator without a second factor"),
        pytest.param(idle, IDLE, id="idle account"),
        pytest.param(never_logged_in, IDLE, id="account that was never used"),
        pytest.param(overdue, REQUESTS, id="overdue request"),
        pytest.param(given_up, REQUESTS, id="request that was given up"),
        pytest.param(done_too_late, REQUESTS, id="request done after the month"),
        pytest.param(token("refresh", expires_at=END - 2 * HOUR - MICROSECOND), RETENTION, id="refresh token"),
        pytest.param(token("email_verification", used_at=END - 2 * HOUR), RETENTION, id="verification token"),
        pytest.param(token("password_reset", expires_at=END - 3 * HOUR), RETENTION, id="reset token"),
        pytest.param(login_attempt, RETENTION, id="login attempt"),
        pytest.param(invitation, RETENTION, id="invitation"),
        pytest.param(push_token, RETENTION, id="push token"),
        pytest.param(not_anonymised, RETENTION, id="audit row with a name"),
        pytest.param(not_deleted, RETENTION, id="audit row of old"),
        pytest.param(did_not_run("anonymize-audit-logs"), RUNS, id="anonymisation did not run"),
        pytest.param(did_not_run("delete-audit-logs"), RUNS, id="deletion did not run"),
        pytest.param(did_not_run("audit-log-cleanup"), RUNS, id="archive did not run"),
        pytest.param(
            change("update nightshift.runs set scheduled_for = timestamptz '2026-01-31 23:59:59Z'"),
            RUNS,
            id="jobs ran before the month",
        ),
        pytest.param(
            change(
                "update nightshift.runs set scheduled_for = timestamptz '2026-03-01 00:00Z' where job like 'audit%'"
            ),
            RUNS,
            id="archive ran after the month",
        ),
        pytest.param(
            change("update nightshift.backups set verified_at = timestamptz '2026-02-26 23:59:59Z'"),
            BACKUP,
            id="backup verified too long ago",
        ),
        pytest.param(
            change("update nightshift.backups set verified_at = timestamptz '2026-03-01 00:00Z'"),
            BACKUP,
            id="backup verified after the month",
        ),
        pytest.param(
            change("update nightshift.backups set status = 'failed' where verified_at is not null"),
            BACKUP,
            id="backup failed",
        ),
        pytest.param(
            change("update nightshift.backups set restore_tested_at = timestamptz '2026-01-24 23:59:59Z'"),
            RESTORE,
            id="restore tested too long ago",
        ),
        pytest.param(
            change("update nightshift.backups set restore_tested_at = timestamptz '2026-03-01 00:00Z'"),
            RESTORE,
            id="restore tested after the month",
        ),
        pytest.param(
            change("update nightshift.backups set restore_tested_at = null"), RESTORE, id="restore never tested"
        ),
        pytest.param(critical(END - MORE_THAN_A_DAY), ALERTS, id="alert nobody took up"),
        pytest.param(critical(START, acknowledged_at=START + MORE_THAN_A_DAY), ALERTS, id="alert taken up after a day"),
        pytest.param(
            critical(START - 5 * DAY, resolved_at=START + HOUR), ALERTS, id="alert of the month before, left open"
        ),
    ],
)
def test_a_violation_fails_exactly_its_check(kept: Session, violate: Callable[[Session], None], check: str) -> None:
    violate(kept)

    data = figures(kept, RUN, Period(START, END))

    assert failed(data) == {check}
    assert (data["compliance"]["score"], data["compliance"]["failed"]) == (87.5, 1)


@pytest.mark.parametrize(
    "keep",
    [
        pytest.param(lambda session: person(session, "root", role="super_admin", is_active=False), id="inactive admin"),
        pytest.param(lambda session: person(session, "gone", role="admin", deleted_at=START), id="deleted admin"),
        pytest.param(lambda session: person(session, "helper", role="support", last_login_at=END), id="no admin"),
        pytest.param(lambda session: person(session, "off", is_active=False, created_at=START - 300 * DAY), id="idle"),
        pytest.param(lambda session: overdue(session, requested_at=END - 31 * DAY), id="request in time"),
        pytest.param(lambda session: overdue(session, status="BLOCKED"), id="request on legal hold"),
        pytest.param(lambda session: overdue(session, status="CANCELLED"), id="request taken back"),
        pytest.param(lambda session: overdue(session, request_type="EXPORT"), id="export"),
        pytest.param(
            lambda session: overdue(session, status="COMPLETED", completed_at=END - MICROSECOND), id="request done"
        ),
        pytest.param(token("refresh", expires_at=END - 2 * HOUR), id="token within two periods"),
        pytest.param(token("mfa_challenge", expires_at=START), id="token of another rule"),
        pytest.param(lambda session: event(session, utc("2025-02-27")), id="audit row within two periods"),
        pytest.param(lambda session: event(session, START - 1200 * DAY, legal_hold=True), id="audit row on hold"),
        pytest.param(
            change("update nightshift.backups set verified_at = timestamptz '2026-02-27 00:00Z', status = 'expired'"),
            id="verified backup of two days ago that has gone since",
        ),
        pytest.param(critical(END - DAY), id="alert open for a day"),
        pytest.param(critical(START, acknowledged_at=START + DAY), id="alert taken up within a day"),
        pytest.param(critical(START - 5 * DAY, resolved_at=START - MICROSECOND), id="alert of the month before"),
        pytest.param(critical(START, severity="high"), id="alert that is not critical"),
    ],
)
def test_what_is_no_violation(kept: Session, keep: Callable[[Session], None]) -> None:
    keep(kept)

    assert failed(figures(kept, RUN, Period(START, END))) == set()


def test_an_empty_database_proves_what_it_can(invoke_job: Invoke, session: Session, files: FileStore) -> None:
    counters = invoke_job(job, at=AT)["counters"]

    assert failed(report(session)) == {RUNS, BACKUP, RESTORE}
    assert (report(session)["compliance"]["score"], counters["failed_checks"]) == (62.5, 3)
    assert report(session)["access"]["mfa_share"] is None


def test_the_numbers_of_a_broken_retention_rule(invoke_job: Invoke, kept: Session, files: FileStore) -> None:
    for days in (10, 11, 3):
        add(kept, LoginAttempt(success=True, attempted_at=END - days * DAY))

    invoke_job(job, at=AT)

    (rule,) = (one for one in report(kept)["retention"]["rules"] if one["job"] == "login-attempt-cleanup")
    assert rule == {
        "job": "login-attempt-cleanup",
        "step": "delete-login-attempts",
        "table": "login_attempts",
        "oldest": "2026-02-18T00:00:00Z",
        "limit": "2026-02-20T00:00:00Z",
        "overdue": 2,
    }
    assert evidence(kept, RETENTION) == {"broken": 1, "rows": 2}


def test_retention_is_judged_by_the_parameters_its_job_ran_with(
    invoke_job: Invoke, kept: Session, files: FileStore
) -> None:
    login_attempt(kept)
    add(kept, *ran("login-attempt-cleanup", END - DAY, parameters={"retention_days": 30}))

    invoke_job(job, at=AT)

    assert failed(report(kept)) == set()


def test_access_and_security_of_the_month(invoke_job: Invoke, kept: Session, files: FileStore) -> None:
    actor = person(kept, "root", role="super_admin", mfa_enabled=True, last_login_at=END)
    person(kept, "third", role="admin", last_login_at=END)
    for at in (START - MICROSECOND, START, END - MICROSECOND, END):
        event(kept, at, "role.grant", actor_id=actor, resource_id="ann@example.org")
        event(kept, at, "auth.lockout")
        event(kept, at, "auth.login", status="failure")
    event(kept, START, "permission.change", actor_type="system")
    event(kept, START, "auth.mfa", status="failure")
    event(kept, START, "auth.login")

    invoke_job(job, at=AT)

    data = report(kept)
    access = data["access"]
    assert (access["privileged_users"], access["with_mfa"], access["mfa_share"]) == (3, 2, 66.7)
    assert access["changes"] == [
        {"action": "role.grant", "actor_id": str(actor), "n": 2},
        {"action": "permission.change", "actor_id": None, "n": 1},
    ]
    assert data["security"] == {"failed_logins": 2, "failed_mfa": 1, "lockouts": 2}
    assert evidence(kept, MFA) == {"without_mfa": 1}
    content = files.read("reports/monthly/2026-02.json").decode() + files.read("reports/monthly/2026-02.html").decode()
    assert "@example" not in content


def test_a_page_does_not_grow_with_the_changes_of_a_month(invoke_job: Invoke, kept: Session, files: FileStore) -> None:
    """GIVEN 60 actors THEN the page names the busiest, and counts the others; the JSON has them all."""
    actors = [person(kept, f"ann{n}") for n in range(60)]
    for number, actor in enumerate(actors):
        event(kept, START, "role.grant", actor_id=actor, count=2 if number == 7 else 1)

    invoke_job(job, at=AT)

    page = files.read("reports/monthly/2026-02.html").decode()
    assert sum(str(actor) in page for actor in actors) == MOST_ROWS
    assert str(actors[7]) in page
    assert "And 40 more (all 60 together: 61 events). The JSON file beside this page has all of them." in page
    access = report(kept)["access"]
    assert len(access["changes"]) == 60
    assert access["changes_by_action"] == {"role.grant": 61}


def test_what_failed_is_in_the_mail_and_a_time_that_never_was_is_told_as_such(
    invoke_job: Invoke, kept: Session, files: FileStore
) -> None:
    change("update nightshift.backups set restore_tested_at = null")(kept)
    critical(START, acknowledged_at=START + 76 * HOUR)(kept)

    invoke_job(job, at=AT)

    notice = kept.scalars(select(Notification)).one()
    mail = render(notice.kind, title=notice.title, body=notice.body, data=notice.data, name=None)
    assert "A restore was tested in the last 35 days: failed (last restore test at: never)" in mail.text
    assert "No critical alert was left open over 24 hours: failed (left open: 1)" in mail.text
    assert "Mean time to acknowledge: 3 d 4 h" in mail.text
    assert "second factor: failed" not in mail.text


def test_requests_open_done_and_overdue(invoke_job: Invoke, kept: Session, files: FileStore) -> None:
    for kind in ("DELETION", "EXPORT"):
        for requested, status, completed in (
            (END - 40 * DAY, "PENDING", None),
            (END - MICROSECOND, "PENDING", None),
            (END, "PENDING", None),
            (START - DAY, "COMPLETED", START),
            (START - DAY, "COMPLETED", START - MICROSECOND),
            (START + DAY, "COMPLETED", END),
        ):
            facts = {"requested_at": requested, "status": status, "completed_at": completed}
            add(kept, DataRequest(subject_ref=str(uuid.uuid4()), request_type=kind, **facts))

    invoke_job(job, at=AT)

    assert report(kept)["data_requests"] == {
        f"{kind}_{what}": number
        for kind in ("deletions", "exports")
        for what, number in (("open", 3), ("done", 1), ("overdue", 1))
    }


def test_backups_credentials_and_alerts(invoke_job: Invoke, kept: Session, files: FileStore) -> None:
    for days, kind in ((1, "tls"), (300, "signing_key"), (0, "tls")):
        add(kept, Certificate(kind=kind, label="label of ann@example.org", expires_at=END - days * DAY))
    critical(START - 2 * HOUR, resolved_at=START - HOUR)(kept)
    critical(START, acknowledged_at=START + 10 * dt.timedelta(minutes=1))(kept)

    invoke_job(job, at=AT)

    data = report(kept)
    assert data["backups"] == {
        "verified": 1,
        "last_verified_at": "2026-02-28T01:00:00Z",
        "last_restore_test_at": "2026-01-25T00:00:00Z",
    }
    assert data["credentials"] == {"expired": 2, "expired_by_kind": {"certificate": 2}}
    assert data["alerts"] == {"critical": 1, "mean_time_to_acknowledge": 10.0, "open_over_a_day": 0}
    assert "@example" not in json.dumps(data)


def test_the_month_before_january_is_december(invoke_job: Invoke, session: Session, files: FileStore) -> None:
    event(session, utc("2025-12-01"), "auth.lockout")
    event(session, utc("2026-01-01") - MICROSECOND, "auth.lockout")
    event(session, utc("2026-01-01"), "auth.lockout")

    invoke_job(job, at="2026-01-01T02:30:00Z")

    stored = session.scalars(select(Report)).one()
    assert (stored.period_start, stored.period_end) == (utc("2025-12-01"), utc("2026-01-01"))
    assert stored.data["security"]["lockouts"] == 2
    assert stored.s3_key == "reports/monthly/2025-12.json"
    assert "December 2025" in files.read("reports/monthly/2025-12.html").decode()


def test_a_second_run_changes_nothing_and_administrators_are_told_once(
    invoke_job: Invoke, kept: Session, files: FileStore
) -> None:
    first = invoke_job(job, at=AT)["counters"]
    before = report(kept)

    again = invoke_job(job, {"force": True}, at=AT)["counters"]

    assert [(one["written"], one["notified"]) for one in (first, again)] == [(1, 1), (0, 0)]
    assert report(kept) == before
    notice = kept.scalars(select(Notification)).one()
    assert (notice.kind, notice.title) == ("monthly_admin_report", "Monthly report for February 2026")
    assert notice.body == "8 of 8 checks passed."
    assert notice.dedupe_key == f"{notice.recipient}|monthly_admin_report|2026-02-01|email"
    assert kept.scalars(select(AuditLog)).all() == []

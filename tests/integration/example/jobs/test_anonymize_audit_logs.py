import datetime as dt
import uuid
from typing import Any

import pytest
from sqlalchemy import select, text
from sqlalchemy.orm import Session

from application.models import ApiKey, AuditArchive, AuditLog
from functions.community.anonymize_audit_logs import job
from nightshift.errors import RunFailedError, SettingError
from tests.integration.conftest import Invoke
from tests.integration.example.jobs.conftest import DAY, MICROSECOND, NOW, SECOND

A_YEAR_AGO = NOW.replace(year=NOW.year - 1)
OLD = A_YEAR_AGO - DAY


def row(action: str, occurred_at: dt.datetime = OLD, **more: Any) -> AuditLog:
    return AuditLog(action=action, occurred_at=occurred_at, **more)


def anonymized(session: Session) -> set[str]:
    return set(session.scalars(select(AuditLog.action).where(AuditLog.anonymized_at.is_not(None))))


def columns(session: Session, action: str) -> dict[str, Any]:
    return dict(session.execute(select(AuditLog.__table__).where(AuditLog.action == action)).mappings().one())


def test_rows_strictly_older_than_a_year_are_anonymized_once(invoke_job: Invoke, session: Session) -> None:
    session.add_all(
        [
            row("a year", A_YEAR_AGO),
            row("a year and a microsecond", A_YEAR_AGO - MICROSECOND),
            row("young", NOW),
            row("on hold", legal_hold=True),
            row("on hold, a year", A_YEAR_AGO, legal_hold=True),
            row("on hold, done before", legal_hold=True, anonymized_at=NOW - DAY),
            row("done before", anonymized_at=NOW - DAY, metadata_={"left": "alone@example.org"}),
        ]
    )
    session.commit()

    counters = invoke_job(job, at=NOW)["counters"]

    assert counters["anonymized"] == 1
    assert counters["held"] == 1
    assert counters["cutoff"] == "2025-03-01T02:00:00Z"
    assert anonymized(session) == {"a year and a microsecond", "done before", "on hold, done before"}
    assert columns(session, "done before")["metadata"] == {"left": "alone@example.org"}
    assert columns(session, "done before")["anonymized_at"] == NOW - DAY


def test_more_rows_than_the_cap_are_left_as_they_are(invoke_job: Invoke, session: Session) -> None:
    session.add_all([row("one"), row("two")])
    session.commit()
    with pytest.raises(RunFailedError, match="max_rows is 1"):
        invoke_job(job, {"parameters": {"max_rows": 1}}, at=NOW)
    assert anonymized(session) == set()


def test_a_year_is_a_calendar_year(invoke_job: Invoke, session: Session) -> None:
    cutoff = dt.datetime(2023, 2, 28, 3, tzinfo=dt.UTC)
    session.add_all([row("at", cutoff), row("before", cutoff - SECOND)])
    session.commit()

    invoke_job(job, at="2024-02-29T03:00:00Z")

    assert anonymized(session) == {"before"}


def test_who_it_was_goes_and_what_happened_stays(invoke_job: Invoke, session: Session, user_id: uuid.UUID) -> None:
    key = ApiKey(name="deploy", key_prefix="ns_1", key_hash=b"1")
    archive = AuditArchive(month=OLD.date().replace(day=1), s3_key="a", row_count=1, sha256="", bytes=0)
    session.add_all([key, archive])
    session.flush()
    session.add(
        row(
            "user.update",
            actor_id=user_id,
            api_key_id=key.id,
            session_id=uuid.uuid4(),
            category="account",
            severity="high",
            status="partial",
            resource_type="user",
            resource_id="mailto:Ann@Example.org",
            ip="192.0.2.1",
            country="DE",
            user_agent="Mozilla/5.0",
            metadata_={"email": "ann@example.org", "count": 3},
            changes={"name": ["Ann", "Anna"], "role": ["user", "admin"]},
            compliance_tags=["gdpr"],
            archive_id=archive.id,
        )
    )
    session.commit()
    before = columns(session, "user.update")

    counters = invoke_job(job, at=NOW)["counters"]

    assert (counters["anonymized"], counters["metadata_sanitized"]) == (1, 1)
    assert columns(session, "user.update") == before | {
        "actor_id": None,
        "session_id": None,
        "ip": None,
        "user_agent": None,
        "resource_id": "mailto:[email]",
        "metadata": {"count": 3},
        "changes": {"role": ["user", "admin"]},
        "anonymized_at": NOW,
    }


@pytest.mark.parametrize(
    ("value", "left"),
    [
        (
            {"items": [{"Phone_Number": "1", "n": [{"user-agent": "x", "ok": 1}]}, "mail a@example.org", None]},
            {"items": [{"n": [{"ok": 1}]}, "mail [email]", None]},
        ),
        ([{"firstName": "Ann"}, [{"Street": "x"}], 7], [{}, [{}], 7]),
        ("asked by ann@example.org", "asked by [email]"),
        ({"a@example.org": 1, "b": 2}, {"b": 2}),
    ],
    ids=["nested arrays", "an array", "a string", "a key"],
)
def test_metadata_and_changes_of_any_shape_are_stripped(
    invoke_job: Invoke, session: Session, value: Any, left: Any
) -> None:
    session.add_all([row("metadata", metadata_=value), row("changes", changes=value)])
    session.commit()

    counters = invoke_job(job, at=NOW)["counters"]

    assert counters["metadata_sanitized"] == 2
    assert columns(session, "metadata")["metadata"] == left
    assert columns(session, "changes")["changes"] == left


@pytest.mark.parametrize("value", [{}, {"plan": "gold", "seats": 3}, [1, "two"], 12, True])
def test_rows_without_personal_data_are_not_counted_as_sanitized(
    invoke_job: Invoke, session: Session, value: Any
) -> None:
    session.add(row("plain", metadata_=value, changes=None))
    session.commit()

    counters = invoke_job(job, at=NOW)["counters"]

    assert (counters["anonymized"], counters["metadata_sanitized"]) == (1, 0)
    assert columns(session, "plain")["metadata"] == value
    assert columns(session, "plain")["changes"] is None


def test_a_second_night_finds_nothing_and_a_hold_that_ends_is_followed(invoke_job: Invoke, session: Session) -> None:
    session.add_all([row("free"), row("held", legal_hold=True, ip="192.0.2.1")])
    session.commit()
    assert invoke_job(job, at=NOW)["counters"]["anonymized"] == 1
    assert columns(session, "held")["ip"] is not None

    second = invoke_job(job, at=NOW + SECOND)["counters"]
    assert (second["anonymized"], second["held"]) == (0, 1)

    session.execute(text("select set_config('nightshift.run_id', 'test', true)"))
    session.execute(text("update audit_logs set legal_hold = false"))
    session.commit()
    third = invoke_job(job, at=NOW + 2 * SECOND)["counters"]
    assert (third["anonymized"], third["held"]) == (1, 0)
    assert columns(session, "held")["ip"] is None


def test_the_period_has_a_floor(invoke_job: Invoke, session: Session) -> None:
    session.add(row("old"))
    session.commit()

    with pytest.raises(SettingError, match="retention_years must be a whole number of years, at least 1"):
        invoke_job(job, {"parameters": {"retention_years": 0}}, at=NOW)

    assert anonymized(session) == set()

import datetime as dt
import json
import re
from typing import Any

import pytest
from sqlalchemy import delete, func, select, text
from sqlalchemy.orm import Session

from application.models import Alert, Report, UserSession
from functions.administration import daily_report
from functions.administration.reports import daily
from functions.administration.reports.figures import FIGURES, Data
from functions.administration.reports.wording import duration
from functions.administration.weekly_report import job
from nightshift import Run
from nightshift.deadline import Deadline
from nightshift.ledger import RegisteredJob, RunRecord
from nightshift.outbox import Notification
from nightshift.steps import HealthRecord, Period
from nightshift.store import FileStore
from tests.integration.conftest import Invoke
from tests.integration.example.jobs.audit import event
from tests.integration.example.jobs.conftest import DAY
from tests.integration.example.jobs.people import person, utc

AT = "2026-03-01T02:00:00Z"
"""The run, on a Sunday, that tells of Sunday 22 February to Saturday 28 February 2026."""

START, LAST, END = "2026-02-22 00:00", "2026-02-28 23:59:59.999999", "2026-03-01 00:00"
DAYS = [utc(START) + number * DAY for number in range(7)]


def report(session: Session) -> dict[str, Any]:
    session.rollback()
    return session.scalars(select(Report).where(Report.kind == "weekly")).one().data


def alert(session: Session, seen: str, resolved: str | None = None, severity: str = "high") -> None:
    session.add(
        Alert(
            rule="rule",
            fingerprint=f"rule:{seen}{resolved}{severity}",
            severity=severity,
            status="resolved" if resolved else "open",
            details={},
            first_seen_at=utc(seen),
            last_seen_at=utc(seen),
            resolved_at=resolved and utc(resolved),
        )
    )
    session.commit()


def test_an_empty_week_has_every_figure(invoke_job: Invoke, session: Session, files: FileStore) -> None:
    counters = invoke_job(job, at=AT)["counters"]

    data = report(session)
    assert {section: set(figures) for section, figures in data.items()} == {
        section: set(figures) for section, figures in FIGURES["weekly"].items()
    }
    assert data["alerts"] == {
        "by_severity": {"critical": 0, "high": 0, "medium": 0, "low": 0},
        "resolved": 0,
        "mean_time_to_resolve": None,
    }
    assert data["health"] == {"checks": 0, "healthy": 0, "availability": None}
    assert (data["activity"]["success_rate"], data["activity"]["peak_hour"]) == (None, None)
    assert (counters["days_found"], counters["days_recomputed"]) == (0, 7)


def test_the_week_is_the_sum_of_its_days(invoke_job: Invoke, session: Session, files: FileStore) -> None:
    # GIVEN rows on every day of the week and around it, and the daily reports made in time
    event(session, "2026-02-21 23:59:59.999999")
    event(session, END)
    for number, day in enumerate(DAYS, start=1):
        event(session, day + number * dt.timedelta(hours=1), count=number)
        event(session, day, "auth.login", status="failure")
        person(session, f"new{number}", created_at=day)
    event(session, LAST, "auth.mfa", status="failure")
    for day in DAYS:
        invoke_job(daily_report.job, at=day + DAY + dt.timedelta(hours=1))

    counters = invoke_job(job, at=AT)["counters"]

    data = report(session)
    assert (counters["days_found"], counters["days_recomputed"]) == (7, 0)
    dailies = session.scalars(select(Report.data).where(Report.kind == "daily")).all()
    assert len(dailies) == 7
    for section, key in (("users", "new"), ("activity", "total"), ("activity", "succeeded"), ("security", "events")):
        assert data[section][key] == sum(daily[section][key] for daily in dailies)
    assert (data["users"]["new"], data["users"]["total"]) == (7, 7)
    assert (data["activity"]["total"], data["activity"]["succeeded"]) == (36, 28)
    assert data["activity"]["success_rate"] == 77.8
    assert data["activity"]["by_hour"] == [7, 1, 2, 3, 4, 5, 6, 7, *[0] * 15, 1]
    assert data["activity"]["peak_hour"] == 0
    assert data["security"]["events_by_action"] == {"auth.login": 7, "auth.mfa": 1}


SUMMED = {
    "users": ("new", "deactivated"),
    "sessions": ("new", "ended"),
    "security": ("events", "failed_logins", "failed_mfa", "suspicious_sessions"),
    "api": ("requests", "failures"),
    "activity": ("total", "succeeded"),
    "operations": ("failed_jobs",),
}


def test_each_number_is_the_sum_of_the_seven_days(invoke_job: Invoke, session: Session, files: FileStore) -> None:
    session.add(RegisteredJob(name="backup"))
    session.flush()
    for number, day in enumerate(DAYS, start=1):
        user = person(session, f"new{number}", created_at=day)
        times = {"created_at": day, "last_activity_at": day, "expires_at": END, "terminated_at": day}
        facts = {"status": "revoked", "device_type": f"device {number % 2}", "is_suspicious": True, **times}
        session.add(UserSession(user_id=user, token_hash=bytes([number]), **facts))
        session.add(RunRecord(job="backup", scheduled_for=day, trigger="schedule", state="failed", max_attempts=3))
        for action in ("auth.login", "auth.mfa", "api.request"):
            event(session, day, action, status="failure", count=number)
        event(session, day, "user.deactivate")

    invoke_job(job, at=AT)

    data = report(session)
    dailies = session.scalars(select(Report.data).where(Report.kind == "daily")).all()
    assert len(dailies) == 7
    for section, key in ((section, key) for section, keys in SUMMED.items() for key in keys):
        total = sum(daily[section][key] for daily in dailies)
        assert (section, key, data[section][key]) == (section, key, total)
        assert total >= 7
    assert data["sessions"]["by_device"] == {"device 0": 3, "device 1": 4}


def test_a_stored_day_is_taken_as_it_was_stored(invoke_job: Invoke, session: Session, files: FileStore) -> None:
    invoke_job(daily_report.job, at=DAYS[1] + dt.timedelta(hours=1))
    event(session, "2026-02-22 12:00", count=5)

    invoke_job(job, at=AT)

    assert report(session)["activity"]["total"] == 0


def test_a_missing_day_is_made_up_for_and_stored(invoke_job: Invoke, session: Session, files: FileStore) -> None:
    for day in DAYS:
        event(session, day, count=2)
        if day != DAYS[3]:
            invoke_job(daily_report.job, at=day + DAY + dt.timedelta(hours=1))

    counters = invoke_job(job, at=AT)["counters"]

    assert (counters["days_found"], counters["days_recomputed"]) == (6, 1)
    assert report(session)["activity"]["total"] == 14
    made = session.scalars(select(Report).where(Report.kind == "daily", Report.period_start == DAYS[3])).one()
    assert (made.period_end, made.s3_key) == (DAYS[4], "reports/daily/2026-02-25.json")
    assert made.data["activity"]["total"] == 2
    assert json.loads(files.read("reports/daily/2026-02-25.json"))["data"] == made.data
    assert files.exists("reports/daily/2026-02-25.html")


def test_a_day_stored_in_another_form_counts_as_missing(invoke_job: Invoke, session: Session, files: FileStore) -> None:
    invoke_job(daily_report.job, at=DAYS[1] + dt.timedelta(hours=1))
    whole = session.scalars(select(Report.data)).one()
    session.execute(delete(Report))
    of_words = whole | {"activity": {**whole["activity"], "total": "many"}}
    of_23_hours = whole | {"activity": {**whole["activity"], "by_hour": [0] * 23}}
    of_words_by_device = whole | {"sessions": {**whole["sessions"], "by_device": {"phone": None}}}
    forms: list[Any] = [{"activities": 5}, [], None, of_words, of_23_hours, of_words_by_device, whole | {"api": True}]
    for day, form in zip(DAYS, forms, strict=True):
        session.add(Report(kind="daily", period_start=day, period_end=day + DAY, data=form))
    odd_week: Any = {"activity": {"total": "9"}, "security": []}
    session.add(Report(kind="weekly", period_start=DAYS[0] - 7 * DAY, period_end=DAYS[0], data=odd_week))
    session.commit()
    event(session, DAYS[0])

    counters = invoke_job(job, at=AT)["counters"]

    assert (counters["days_found"], counters["days_recomputed"]) == (0, 7)
    session.rollback()
    told = session.scalars(select(Report.data).where(Report.kind == "weekly", Report.period_start == DAYS[0])).one()
    assert (told["activity"]["total"], set(told["change"].values())) == (1, {None})


def test_an_interrupted_run_makes_each_missing_day_once(
    invoke_job: Invoke, session: Session, files: FileStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Deadline, "near", True)

    result = invoke_job(job, at=AT)
    while result["outcome"] == "interrupted":
        result = invoke_job(job, {"run_id": result["run_id"]})

    assert (result["counters"]["days_found"], result["counters"]["days_recomputed"]) == (0, 7)
    assert session.scalar(select(func.count()).select_from(Report)) == 8


def test_a_missing_day_is_counted_from_one_snapshot(
    invoke_job: Invoke, session: Session, files: FileStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    figures = daily.figures

    def look(session: Session, run: Run, day: Period) -> Data:
        seen.append(session.scalar(text("show transaction_isolation")))
        return figures(session, run, day)

    monkeypatch.setattr(daily, "figures", look)
    invoke_job(job, at=AT)
    assert seen[:7] == ["repeatable read"] * 7


def test_the_change_against_the_stored_week_before(invoke_job: Invoke, session: Session, files: FileStore) -> None:
    event(session, "2026-02-18 12:00", count=8)
    event(session, "2026-02-18 12:00", "auth.login", status="failure")
    invoke_job(job, at="2026-02-22T02:00:00Z")
    event(session, "2026-02-25 12:00", count=9)
    event(session, "2026-02-25 12:00", "auth.mfa", status="failure")

    invoke_job(job, at=AT)

    session.rollback()
    data = session.scalars(select(Report.data).where(Report.kind == "weekly", Report.period_start == DAYS[0])).one()
    assert data["change"]["activity.total"] == 11.1
    assert data["change"]["security.failed_logins"] == -100.0
    assert data["change"]["security.failed_mfa"] is None, "there were none in the week before"
    assert data["change"]["security.events"] == 0.0
    page = files.read("reports/weekly/2026-02-22.html").decode()
    assert "+11.1 % on the week before" in page
    assert "\N{MINUS SIGN}100.0 % on the week before" in page
    assert "as in the week before" in page
    assert "22 to 28 February 2026" in page


def test_the_first_week_has_nothing_to_compare_with(invoke_job: Invoke, session: Session, files: FileStore) -> None:
    event(session, "2026-02-18 12:00", count=8)
    event(session, "2026-02-25 12:00", count=9)

    invoke_job(job, at=AT)

    assert set(report(session)["change"].values()) == {None}


def test_the_ten_busiest_users_by_their_ids(invoke_job: Invoke, session: Session, files: FileStore) -> None:
    users = sorted(person(session, f"user{number}") for number in range(12))
    for number, user in enumerate(users):
        event(session, LAST, count=1 if number < 10 else 2, actor_id=user)
    event(session, "2026-02-21 23:59:59.999999", count=9, actor_id=users[8])
    event(session, END, count=9, actor_id=users[9])
    event(session, LAST, count=9, actor_type="system")

    invoke_job(job, at=AT)

    assert report(session)["activity"]["top_users"] == [
        *({"user_id": str(user), "actions": 2} for user in users[10:]),
        *({"user_id": str(user), "actions": 1} for user in users[:8]),
    ]
    assert "@example" not in files.read("reports/weekly/2026-02-22.json").decode()


def test_alerts_by_severity_and_the_time_until_they_were_resolved(
    invoke_job: Invoke, session: Session, files: FileStore
) -> None:
    alert(session, START, severity="critical")
    alert(session, LAST)
    alert(session, "2026-02-21 23:59", "2026-02-22 00:00")  # 1 minute
    alert(session, "2026-02-25 12:00", "2026-02-25 13:30", "low")  # 90 minutes
    alert(session, "2026-02-28 12:00", "2026-02-28 12:00:30", "low")  # half a minute
    alert(session, "2026-02-28 12:00", END, "medium")
    alert(session, END)

    invoke_job(job, at=AT)

    assert report(session)["alerts"] == {
        "by_severity": {"critical": 1, "high": 1, "medium": 1, "low": 2},
        "resolved": 3,
        "mean_time_to_resolve": 30.5,
    }
    page = files.read("reports/weekly/2026-02-22.html").decode()
    assert "30.5 min" in page
    assert re.findall(r'<th scope="row">(critical|high|medium|low)</th>', page) == ["critical", "high", "medium", "low"]


@pytest.mark.parametrize(
    ("minutes", "told"),
    [(0.5, "0.5 min"), (59.9, "59.9 min"), (60.0, "1 h 0 min"), (1728.0, "28 h 48 min"), (2880.0, "2 d 0 h")],
)
def test_a_time_to_resolve_is_told_as_people_say_it(minutes: float, told: str) -> None:
    assert duration(minutes) == told


def test_availability_is_the_share_of_healthy_checks(invoke_job: Invoke, session: Session, files: FileStore) -> None:
    for at, overall in (
        ("2026-02-21 23:55", "unhealthy"),
        (START, "healthy"),
        ("2026-02-25 12:00", "degraded"),
        (LAST, "healthy"),
        (END, "unhealthy"),
    ):
        session.add(HealthRecord(checked_at=utc(at), overall=overall, components={}, duration_ms=1))
    session.commit()

    invoke_job(job, at=AT)

    assert report(session)["health"] == {"checks": 3, "healthy": 2, "availability": 66.7}


def test_any_day_of_the_week_tells_of_the_last_whole_one(
    invoke_job: Invoke, session: Session, files: FileStore
) -> None:
    invoke_job(job, at="2026-03-07T23:59:00Z")

    stored = session.scalars(select(Report).where(Report.kind == "weekly")).one()
    assert (stored.period_start, stored.period_end) == (utc(START), utc(END))


def test_a_second_run_changes_nothing(invoke_job: Invoke, session: Session, files: FileStore) -> None:
    admin = person(session, "ann", role="admin")
    first = invoke_job(job, at=AT)["counters"]
    before = report(session)

    again = invoke_job(job, {"force": True}, at=AT)["counters"]

    assert [(one["written"], one["notified"]) for one in (first, again)] == [(1, 1), (0, 0)]
    assert report(session) == before
    notice = session.scalars(select(Notification)).one()
    assert (notice.kind, notice.title) == ("weekly_admin_report", "Weekly report for 22 to 28 February 2026")
    assert notice.dedupe_key == f"{admin}|weekly_admin_report|2026-02-22|email"

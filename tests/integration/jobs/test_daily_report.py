import json
import re
import uuid
from dataclasses import replace
from html.parser import HTMLParser
from typing import Any

import pytest
from sqlalchemy import func, select, text
from sqlalchemy.orm import Session

from application.models import Alert, ApiKey, AuditLog, Report, User, UserSession
from functions.administration.daily_report import job
from functions.administration.reports.figures import FIGURES, Data
from functions.administration.reports.step import WriteReport
from nightshift import Run
from nightshift.environment import FILES_VARIABLE
from nightshift.errors import RunFailedError
from nightshift.ledger import RegisteredJob, RunRecord
from nightshift.outbox import Notification, render
from nightshift.steps import Period
from nightshift.store import FileStore
from tests.integration.conftest import Invoke
from tests.integration.jobs.audit import event
from tests.integration.jobs.people import person, utc

AT = "2026-03-02T01:00:00Z"
"""The run that tells of 1 March 2026, a Sunday."""

START, LAST, END = "2026-03-01 00:00", "2026-03-01 23:59:59.999999", "2026-03-02 00:00"


def login(session: Session, user_id: uuid.UUID, begun: str, **more: Any) -> None:
    """A login session, committed."""
    values = {"created_at": utc(begun), "last_activity_at": utc(begun), "expires_at": utc("2026-04-01"), **more}
    session.add(UserSession(user_id=user_id, token_hash=uuid.uuid4().bytes, **values))
    session.commit()


def report(session: Session) -> dict[str, Any]:
    session.rollback()
    return session.scalars(select(Report).where(Report.kind == "daily")).one().data


def test_an_empty_day_has_every_figure_and_no_rate(invoke_job: Invoke, session: Session, files: FileStore) -> None:
    counters = invoke_job(job, at=AT)["counters"]

    data = report(session)
    assert {section: set(figures) for section, figures in data.items()} == {
        section: set(figures) for section, figures in FIGURES["daily"].items()
    }
    assert data["users"] == {"total": 0, "active": 0, "new": 0, "deactivated": 0, "by_role": {}}
    assert (data["activity"]["success_rate"], data["activity"]["peak_hour"]) == (None, None)
    assert data["activity"]["by_hour"] == [0] * 24
    assert {name: counters[name] for name in ("activities", "active_sessions", "security_events")} == {
        "activities": 0,
        "active_sessions": 0,
        "security_events": 0,
    }


def test_a_day_goes_from_midnight_to_midnight_in_utc(invoke_job: Invoke, session: Session, files: FileStore) -> None:
    session.execute(text(f"alter database \"{session.get_bind().engine.url.database}\" set timezone = 'Asia/Tokyo'"))
    session.commit()
    user = person(session, "early", created_at=utc(START))
    person(session, "late", created_at=utc(LAST))
    for name, at in (("before", "2026-02-28 23:59:59.999999"), ("after", END)):
        person(session, name, created_at=utc(at))
    for at in ("2026-02-28 23:59:59.999999", START, LAST, END):
        login(session, user, at, status="revoked", terminated_at=utc(at), is_suspicious=True)
        event(session, at, "auth.login", status="failure")
        event(session, at, "user.deactivate")
        event(session, at, "api.request")
    event(session, "2026-03-01 00:30", "user.deactivate", status="failure")

    counters = invoke_job(job, at=AT)["counters"]

    data = report(session)
    stored = session.scalars(select(Report)).one()
    assert (stored.period_start, stored.period_end, stored.created_at) == (
        utc(START),
        utc(END),
        utc("2026-03-02 01:00"),
    )
    assert (data["users"]["new"], data["users"]["deactivated"]) == (2, 2)
    assert (data["sessions"]["new"], data["sessions"]["ended"]) == (2, 2)
    assert (data["security"]["failed_logins"], data["security"]["events"]) == (2, 5)
    assert data["security"]["suspicious_sessions"] == 2
    assert data["api"]["requests"] == 2
    assert data["activity"]["by_hour"] == [4, *[0] * 22, 3]
    assert (counters["activities"], counters["security_events"]) == (7, 5)


def test_users_are_those_who_live_as_of_the_run(invoke_job: Invoke, session: Session, files: FileStore) -> None:
    person(session, "ann", role="admin")
    person(session, "ben")
    person(session, "off", is_active=False)
    person(session, "gone", deleted_at=utc("2026-02-01"))
    person(session, "anon", anonymized_at=utc("2026-02-01"))
    person(session, "new", created_at=utc("2026-03-02 00:30"))
    person(session, "future", created_at=utc("2026-03-02 01:00:01"))

    invoke_job(job, at=AT)

    assert report(session)["users"] == {
        "total": 4,
        "active": 3,
        "new": 0,
        "deactivated": 0,
        "by_role": {"admin": 1, "user": 3},
    }


def test_sessions_by_state_device_and_country(invoke_job: Invoke, session: Session, files: FileStore) -> None:
    user = person(session, "ann")
    login(session, user, "2026-03-01 08:00", device_type="mobile", country="DE", is_suspicious=True)
    login(session, user, "2026-03-01 09:00", device_type="mobile", country="AT", status="suspended")
    login(session, user, "2026-03-01 10:00", country="DE", expires_at=utc("2026-03-02 01:00"))
    login(session, user, "2026-03-01 11:00", expires_at=utc("2026-03-02 00:59:59"))
    login(session, user, "2026-02-01 08:00", device_type="desktop", country="FR")

    counters = invoke_job(job, at=AT)["counters"]

    data = report(session)
    assert data["sessions"]["active"] == counters["active_sessions"] == 3
    assert data["sessions"]["by_device"] == {"mobile": 2, "unknown": 2}
    assert data["sessions"]["top_countries"] == [
        {"country": "DE", "sessions": 2},
        {"country": "AT", "sessions": 1},
        {"country": "unknown", "sessions": 1},
    ]
    assert data["security"]["suspicious_sessions"] == 1


def test_ten_countries_are_told(invoke_job: Invoke, session: Session, files: FileStore) -> None:
    user = person(session, "ann")
    for letter in "ABCDEFGHIJKL":
        login(session, user, "2026-03-01 08:00", country=f"X{letter}")
    login(session, user, "2026-03-01 08:00", country="XL")

    invoke_job(job, at=AT)

    countries = [row["country"] for row in report(session)["sessions"]["top_countries"]]
    assert countries == ["XL", *(f"X{letter}" for letter in "ABCDEFGHI")]


def test_security_events_are_failures_and_changes_of_rights(
    invoke_job: Invoke, session: Session, files: FileStore
) -> None:
    noon = "2026-03-01 12:00"
    event(session, noon, "auth.login", count=3, status="failure")
    event(session, noon, "auth.login", count=5)
    event(session, noon, "auth.mfa", count=2, status="failure")
    event(session, noon, "auth.mfa", count=4)
    event(session, noon, "role.grant")
    event(session, noon, "goal.create", status="failure")

    counters = invoke_job(job, at=AT)["counters"]

    security = report(session)["security"]
    assert security["events_by_action"] == {"auth.login": 3, "auth.mfa": 2, "role.grant": 1}
    assert (security["failed_logins"], security["failed_mfa"], security["events"]) == (3, 2, 6)
    assert counters["security_events"] == 6


def test_the_ten_busiest_keys_with_success_and_failure(invoke_job: Invoke, session: Session, files: FileStore) -> None:
    keys = [ApiKey(name="key of Ann", key_prefix="k", key_hash=bytes([number])) for number in range(12)]
    session.add_all(keys)
    session.commit()
    ids = [key.id for key in keys]
    for number, key in enumerate(ids, start=1):
        event(session, "2026-03-01 12:00", "api.request", count=number, api_key_id=key)
    event(session, "2026-03-01 12:00", "api.request", count=2, api_key_id=ids[11], status="failure")
    event(session, "2026-03-01 12:00", "api.request", status="partial", api_key_id=ids[11])

    invoke_job(job, at=AT)

    api = report(session)["api"]
    assert (api["requests"], api["failures"]) == (81, 2)
    assert [row["api_key_id"] for row in api["top_keys"]] == [str(key) for key in reversed(ids[2:])]
    assert api["top_keys"][0] == {"api_key_id": str(ids[11]), "requests": 15, "success": 12, "failure": 2}


def test_activity_and_its_rate_of_success(invoke_job: Invoke, session: Session, files: FileStore) -> None:
    event(session, "2026-03-01 12:00", "goal.create", count=5)
    event(session, "2026-03-01 12:00", "goal.update", status="failure")
    event(session, "2026-03-01 12:00", "goal.delete", status="warning")

    invoke_job(job, at=AT)

    activity = report(session)["activity"]
    assert (activity["total"], activity["succeeded"], activity["success_rate"]) == (7, 5, 71.4)
    assert activity["top_actions"] == [
        {"action": "goal.create", "n": 5},
        {"action": "goal.delete", "n": 1},
        {"action": "goal.update", "n": 1},
    ]


def test_twenty_actions_are_told(invoke_job: Invoke, session: Session, files: FileStore) -> None:
    for number in range(22):
        event(session, "2026-03-01 12:00", f"action.{number:02}")

    invoke_job(job, at=AT)

    assert [row["action"] for row in report(session)["activity"]["top_actions"]] == [
        f"action.{number:02}" for number in range(20)
    ]


def test_of_two_peak_hours_the_earlier_one_is_told(invoke_job: Invoke, session: Session, files: FileStore) -> None:
    event(session, "2026-03-01 15:59", count=2)
    event(session, "2026-03-01 09:00")
    event(session, "2026-03-01 09:59:59")
    event(session, "2026-03-01 07:00")

    invoke_job(job, at=AT)

    assert report(session)["activity"]["peak_hour"] == 9


def test_failed_jobs_of_the_day_and_alerts_open_at_the_run(
    invoke_job: Invoke, session: Session, files: FileStore
) -> None:
    session.add(RegisteredJob(name="backup"))
    session.flush()
    for at, state in ((START, "failed"), (LAST, "failed"), (END, "failed"), ("2026-03-01 12:00", "succeeded")):
        run = RunRecord(job="backup", scheduled_for=utc(at), trigger="schedule", state=state, max_attempts=3)
        session.add(run)
    for number, (status, seen, resolved) in enumerate(
        (
            ("open", "2026-02-01", None),
            ("acknowledged", "2026-02-01", None),
            ("resolved", "2026-02-01", "2026-03-02 00:59"),
            ("resolved", "2026-02-01", "2026-03-02 01:01"),
            ("open", "2026-03-02 01:01", None),
        )
    ):
        session.add(
            Alert(
                rule="r",
                fingerprint=f"r:{number}",
                severity="high",
                status=status,
                details={},
                first_seen_at=utc(seen),
                last_seen_at=utc(seen),
                resolved_at=resolved and utc(resolved),
            )
        )
    session.commit()

    invoke_job(job, at=AT)

    assert report(session)["operations"] == {"failed_jobs": 2, "open_alerts": 3}


def test_a_second_run_keeps_the_same_row(invoke_job: Invoke, session: Session, files: FileStore) -> None:
    admin = person(session, "admin", role="admin")
    event(session, "2026-03-01 12:00")
    first = invoke_job(job, at=AT)["counters"]
    before = session.execute(select(Report.id, Report.data, Report.created_at)).one()
    session.rollback()

    again = invoke_job(job, {"force": True}, at=AT)["counters"]

    assert session.execute(select(Report.id, Report.data, Report.created_at)).one() == before
    assert [(one["written"], one["notified"]) for one in (first, again)] == [(1, 1), (0, 0)]
    assert session.scalars(select(Notification.recipient)).all() == [str(admin)]

    # WHEN a row of the day comes late THEN the report is replaced, and nobody is told again
    event(session, "2026-03-01 13:00")
    late = invoke_job(job, {"force": True}, at=AT)["counters"]
    session.rollback()
    assert (late["written"], late["notified"], late["activities"]) == (1, 0, 2)
    assert session.execute(select(Report.id)).scalar_one() == before.id


def test_the_json_is_stored_and_tells_nobody_s_name_or_address(
    invoke_job: Invoke, session: Session, files: FileStore
) -> None:
    ann = person(session, "ann", role="admin")
    login(session, ann, "2026-03-01 08:00", ip="192.0.2.77", user_agent="Mozilla/5.0 of Ann", country="DE")
    key = ApiKey(user_id=ann, name="key of ann", key_prefix="ns_ann", key_hash=b"k")
    session.add(key)
    session.commit()
    personal: dict[str, Any] = {
        "actor_id": ann,
        "resource_id": "ann@example.org",
        "ip": "192.0.2.77",
        "metadata_": {"email": "ann@example.org"},
    }
    event(session, "2026-03-01 12:00", "user.deactivate", **personal)
    event(session, "2026-03-01 12:00", "api.request", api_key_id=key.id, **personal)

    invoke_job(job, at=AT)

    stored = session.scalars(select(Report)).one()
    assert stored.s3_key == "reports/daily/2026-03-01.json"
    content = json.loads(files.read(stored.s3_key))
    assert content == {
        "kind": "daily",
        "period_start": "2026-03-01T00:00:00Z",
        "period_end": "2026-03-02T00:00:00Z",
        "as_of": "2026-03-02T01:00:00Z",
        "data": stored.data,
    }
    assert content["data"]["api"]["top_keys"][0]["api_key_id"] == str(key.id)
    notice = session.scalars(select(Notification)).one()
    written = json.dumps([content, notice.title, notice.body, notice.data]).lower()
    for text_of_a_person in (written, files.read("reports/daily/2026-03-01.html").decode().lower()):
        assert not re.search(r"@example|192\.0\.2|mozilla|key of ann|ns_ann", text_of_a_person)
        assert '"ann"' not in text_of_a_person


class Elements(HTMLParser):
    """The tags of a page, and every address that it would load something from."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.addresses: list[str] = []
        self.open: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.addresses += [value or "" for name, value in attrs if name in {"src", "href", "xlink:href", "data"}]
        if tag not in {"meta", "link", "img", "br"}:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_is_whole_and_loads_nothing(invoke_job: Invoke, session: Session, files: FileStore) -> None:
    event(session, "2026-03-01 12:00", "goal.create", count=1500)
    event(session, "2026-03-01 14:00", "<script>alert(1)</script>")

    invoke_job(job, at=AT)

    page = files.read("reports/daily/2026-03-01.html").decode()
    elements = Elements(page)
    assert elements.open == []
    assert (elements.addresses, "script" in elements.tags, "url(" in page, "@import" in page) == (
        [],
        False,
        False,
        False,
    )
    assert "svg" in elements.tags
    for told in ("Daily report", "Sunday 1 March 2026", "1,501", "12:00–13:00", "&lt;script&gt;"):
        assert told in page


def test_the_page_of_an_empty_day_says_so_and_draws_nothing(
    invoke_job: Invoke, session: Session, files: FileStore
) -> None:
    invoke_job(job, at=AT)

    page = files.read("reports/daily/2026-03-01.html").decode()
    assert "svg" not in Elements(page).tags
    for label in ("By role", "By device", "Top countries", "Events by action", "Top keys", "By hour", "Top actions"):
        assert f'<h3>{label}: <span class="none">none</span></h3>' in page
    assert "null" not in page, "a word of those who read the JSON"


def test_a_table_s_columns_are_in_the_order_in_which_they_are_read(
    invoke_job: Invoke, session: Session, files: FileStore
) -> None:
    key = ApiKey(name="key", key_prefix="k", key_hash=b"k")
    session.add(key)
    session.commit()
    event(session, "2026-03-01 12:00", "api.request", api_key_id=key.id)

    invoke_job(job, at=AT)

    page = files.read("reports/daily/2026-03-01.html").decode()
    titles = re.findall(r'<th scope="col"[^>]*>([^<]*)</th>', page)
    assert titles == ["API key ID", "Requests", "Success", "Failure"]


def test_administrators_are_told_by_mail_once(invoke_job: Invoke, session: Session, files: FileStore) -> None:
    admins = {person(session, "ann", role="admin"), person(session, "ben", role="super_admin")}
    person(session, "support", role="support")
    person(session, "off", role="admin", is_active=False)
    person(session, "mute", {"email_enabled": False}, role="admin")

    assert invoke_job(job, at=AT)["counters"]["notified"] == 2

    notices = session.scalars(select(Notification)).all()
    assert {notice.recipient for notice in notices} == {str(admin) for admin in admins}
    assert {(notice.kind, notice.channel, notice.title) for notice in notices} == {
        ("daily_admin_report", "email", "Daily report for Sunday 1 March 2026")
    }
    assert {notice.dedupe_key for notice in notices} == {
        f"{admin}|daily_admin_report|2026-03-01|email" for admin in admins
    }
    assert notices[0].data["location"] == "reports/daily/2026-03-01.html"
    assert notices[0].body == "Actions: 0. New users: 0. Failed logins: 0. Failed jobs: 0."


def test_the_notice_becomes_a_mail(invoke_job: Invoke, session: Session, files: FileStore) -> None:
    person(session, "ann", role="admin")
    event(session, "2026-03-01 12:00", count=1234)
    invoke_job(job, at=AT)
    notice = session.scalars(select(Notification)).one()

    mail = render(notice.kind, title=notice.title, body=notice.body, data=notice.data, name="Ann")

    assert "1,234" in mail.text
    assert "reports/daily/2026-03-01.html" in mail.html


def test_all_figures_are_of_one_moment(invoke_job: Invoke, session: Session, files: FileStore) -> None:
    """What is committed between two statements of a report is in none of its figures."""
    person(session, "ann")
    (step,) = job.steps
    assert isinstance(step, WriteReport)

    def disturbed(reading: Session, run: Run, day: Period) -> Data:
        reading.execute(select(func.count()).select_from(User))
        event(session, "2026-03-01 12:00")
        return step.figures(reading, run, day)

    invoke_job(replace(job, steps=(replace(step, figures=disturbed),)), at=AT)

    assert report(session)["activity"]["total"] == 0


def test_no_audit_row_is_written(invoke_job: Invoke, session: Session, files: FileStore) -> None:
    invoke_job(job, at=AT)

    assert session.scalar(select(func.count()).select_from(AuditLog)) == 0


def test_a_plan_says_what_would_be_written(invoke_job: Invoke, session: Session, files: FileStore) -> None:
    admin = person(session, "ann", role="admin")

    plan = invoke_job(job, {"dry_run": True}, at=AT)["plan"]

    reports, notices = plan["steps"]
    assert (reports["rows"], reports["sample"]) == (1, ["reports/daily/2026-03-01.json"])
    assert (notices["rows"], notices["sample"]) == (1, [f"{admin}|daily_admin_report|2026-03-01|email"])
    assert session.scalar(select(func.count()).select_from(Report)) == 0
    assert not files.exists("reports/daily/2026-03-01.json")


def test_the_file_store_comes_first(invoke_job: Invoke, session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    """The row names the object, so there is none as long as the store has not confirmed."""
    person(session, "ann", role="admin")
    monkeypatch.delenv(FILES_VARIABLE, raising=False)

    with pytest.raises(RunFailedError, match=FILES_VARIABLE):
        invoke_job(job, at=AT)
    assert session.scalar(select(func.count()).select_from(Report)) == 0
    assert session.scalar(select(func.count()).select_from(Notification)) == 0
    assert session.scalar(select(func.count()).select_from(User)) == 1

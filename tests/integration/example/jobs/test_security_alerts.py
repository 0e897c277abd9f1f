import datetime as dt
import time
import uuid
from collections.abc import Iterable
from typing import Any

import pytest
from sqlalchemy import Engine, select, text, update
from sqlalchemy.orm import Session

from application.alerts import Severity, Wording, sight, tell
from application.models import Alert, ApiKey, AuditLog, LoginAttempt, User, UserPreferences, UserSession
from functions.administration.security_alerts import job
from nightshift import Run
from nightshift.ledger import RegisteredJob, RunRecord
from nightshift.outbox import Notification, render
from tests.integration.conftest import Invoke
from tests.integration.example.jobs.people import outbox, person, utc

NOW = utc("2026-03-01 10:00")
SECOND = dt.timedelta(seconds=1)
MINUTE = dt.timedelta(minutes=1)
HOUR = dt.timedelta(hours=1)
DAY = dt.timedelta(days=1)

Found = list[tuple[str, str, int]]


@pytest.fixture
def admin(session: Session) -> uuid.UUID:
    return person(session, "root", role="admin")


@pytest.fixture
def ann(session: Session) -> uuid.UUID:
    return person(session, "ann")


def attempts(session: Session, at: Iterable[dt.datetime], *, success: bool = False, **more: Any) -> None:
    given = {"ip": "192.0.2.1", **more}
    session.add_all([LoginAttempt(success=success, attempted_at=instant, **given) for instant in at])
    session.commit()


def burst(n: int, start: dt.datetime = NOW - 10 * MINUTE, step: dt.timedelta = SECOND) -> list[dt.datetime]:
    return [start + number * step for number in range(n)]


def by_different_people(session: Session, at: Iterable[dt.datetime], **more: Any) -> None:
    """Failures from one address that concern no account twice."""
    for instant in at:
        attempts(session, [instant], email=f"{uuid.uuid4()}@example.org", **more)


def audit(session: Session, action: str, at: Iterable[dt.datetime], **more: Any) -> None:
    session.add_all([AuditLog(action=action, occurred_at=instant, **more) for instant in at])
    session.commit()


def begin(session: Session, user_id: uuid.UUID, at: dt.datetime, **more: Any) -> None:
    given = {"expires_at": NOW + DAY, "last_activity_at": at, "created_at": at, **more}
    session.add(UserSession(user_id=user_id, token_hash=uuid.uuid4().bytes, **given))
    session.commit()


def found(session: Session) -> Found:
    session.rollback()
    rows = select(Alert.rule, Alert.severity, Alert.occurrences).order_by(Alert.rule, Alert.fingerprint)
    return [(rule, severity, n) for rule, severity, n in session.execute(rows)]


def alert(session: Session) -> Alert:
    session.rollback()
    return session.scalars(select(Alert)).one()


def titles_in(mail: Notification) -> list[str]:
    return [rule["title"] for rule in mail.data.get("rules", [])]


def text_of(mail: Notification) -> str:
    return render(mail.kind, title=mail.title, body=mail.body, data=mail.data, name=None).text


def user(session: Session, user_id: uuid.UUID) -> User:
    session.rollback()
    return session.get_one(User, user_id, populate_existing=True)


@pytest.mark.parametrize(
    ("failures", "alerts"),
    [
        (4, []),
        (5, [("failed_logins_by_address", "high", 5)]),
        (19, [("failed_logins_by_address", "high", 19)]),
        (20, [("failed_logins_by_address", "critical", 20)]),
    ],
)
def test_failed_logins_from_one_address(invoke_job: Invoke, session: Session, failures: int, alerts: Found) -> None:
    by_different_people(session, burst(failures))
    attempts(session, burst(9), success=True)

    counters = invoke_job(job, at=NOW)["counters"]

    assert found(session) == alerts
    assert (counters["rules_hit"], counters["alerts_new"], counters["alerts_updated"]) == (len(alerts), len(alerts), 0)


@pytest.mark.parametrize(("last", "n"), [(30 * MINUTE, 0), (30 * MINUTE - dt.timedelta(microseconds=1), 5)])
def test_a_window_is_thirty_minutes_long_without_its_end(
    invoke_job: Invoke, session: Session, last: dt.timedelta, n: int
) -> None:
    first = NOW - 40 * MINUTE
    invoke_job(job, at=NOW - 15 * MINUTE)
    by_different_people(session, [*burst(4, first), first + last])

    invoke_job(job, at=NOW)

    assert found(session) == ([("failed_logins_by_address", "high", n)] if n else [])


def test_a_run_that_failed_has_seen_nothing(invoke_job: Invoke, session: Session) -> None:
    invoke_job(job, at=NOW - 2 * HOUR)
    failed_run(session, job.name, NOW)
    by_different_people(session, burst(5, NOW - 110 * MINUTE))

    invoke_job(job, at=NOW)

    assert found(session) == [("failed_logins_by_address", "high", 5)]


def test_what_happens_at_now_belongs_to_the_next_run(invoke_job: Invoke, session: Session) -> None:
    by_different_people(session, [*burst(4), NOW])

    assert invoke_job(job, at=NOW)["counters"]["alerts_new"] == 0
    assert invoke_job(job, at=NOW + 15 * MINUTE)["counters"]["alerts_new"] == 1


def test_the_first_run_ever_looks_thirty_minutes_back(invoke_job: Invoke, session: Session) -> None:
    by_different_people(session, burst(5, NOW - 31 * MINUTE))

    invoke_job(job, at=NOW)

    assert found(session) == []


def test_trusted_networks_are_not_counted_by_address_but_by_account(
    invoke_job: Invoke, session: Session, ann: uuid.UUID
) -> None:
    session.execute(text("insert into nightshift.trusted_networks values ('192.0.2.0/24', 'the office')"))
    attempts(session, burst(20), user_id=ann)
    by_different_people(session, burst(5), ip="198.51.100.7")

    invoke_job(job, at=NOW)

    assert found(session) == [("failed_logins_by_account", "high", 20), ("failed_logins_by_address", "high", 5)]


@pytest.mark.parametrize(("failures", "n"), [(4, 0), (5, 5)])
def test_failed_logins_to_one_account_from_anywhere(
    invoke_job: Invoke, session: Session, ann: uuid.UUID, failures: int, n: int
) -> None:
    for number, at in enumerate(burst(failures)):
        known = {"user_id": ann} if number % 2 else {"email": "Ann@Example.org"}
        attempts(session, [at], ip=f"198.51.100.{number}", **known)

    invoke_job(job, at=NOW)

    assert found(session) == ([("failed_logins_by_account", "high", n)] if n else [])


@pytest.mark.parametrize(("failures", "gap", "n"), [(4, MINUTE, 0), (5, MINUTE, 1), (5, 30 * MINUTE, 0)])
def test_a_success_after_failures_in_thirty_minutes(
    invoke_job: Invoke, session: Session, ann: uuid.UUID, failures: int, gap: dt.timedelta, n: int
) -> None:
    last = NOW - 35 * MINUTE
    invoke_job(job, at=NOW - 15 * MINUTE)
    for number in range(failures):
        attempts(session, [last], user_id=ann, ip=f"198.51.100.{number}")
    attempts(session, [last - SECOND, last + gap], success=True, user_id=ann)

    invoke_job(job, at=NOW)

    assert [one for one in found(session) if one[0] == "login_after_failures"] == (
        [("login_after_failures", "critical", n)] if n else []
    )


@pytest.mark.parametrize(
    ("addresses", "more", "n"),
    [
        (["192.0.2.1", "192.0.2.2"], {}, 0),
        (["192.0.2.1", "192.0.2.2", "192.0.2.2"], {}, 0),
        (["192.0.2.1", "192.0.2.2", "192.0.2.3"], {}, 3),
        (["192.0.2.1", "192.0.2.2", "192.0.2.3"], {"status": "revoked"}, 0),
        (["192.0.2.1", "192.0.2.2", "192.0.2.3"], {"expires_at": NOW}, 0),
    ],
)
def test_active_sessions_of_one_user_at_three_addresses(
    invoke_job: Invoke, session: Session, ann: uuid.UUID, addresses: list[str], more: dict[str, Any], n: int
) -> None:
    other = person(session, "bob")
    for number, ip in enumerate(addresses):
        begin(session, ann, NOW - (20 - number) * MINUTE, ip=ip, **more)
        begin(session, other, NOW - MINUTE, ip="192.0.2.9")

    invoke_job(job, at=NOW)

    assert found(session) == ([("many_addresses", "medium", n)] if n else [])


@pytest.mark.parametrize(("apart", "n"), [(30 * MINUTE - dt.timedelta(microseconds=1), 3), (30 * MINUTE, 0)])
def test_sessions_at_three_addresses_count_when_they_were_used_within_thirty_minutes(
    invoke_job: Invoke, session: Session, ann: uuid.UUID, apart: dt.timedelta, n: int
) -> None:
    first = NOW - 40 * MINUTE
    invoke_job(job, at=NOW - 15 * MINUTE)
    for number, at in enumerate((first, first + MINUTE, first + apart)):
        begin(session, ann, NOW - 7 * DAY, last_activity_at=at, ip=f"192.0.2.{number}")
    for number in range(3):
        begin(session, ann, NOW - MINUTE, last_activity_at=NOW - 5 * HOUR, ip=f"192.0.2.{number}")

    invoke_job(job, at=NOW)

    assert found(session) == ([("many_addresses", "medium", n)] if n else [])


@pytest.mark.parametrize(("since_the_run", "n"), [(SECOND, 3), (14 * MINUTE, 3), (15 * MINUTE, 0), (30 * DAY, 0)])
def test_a_session_in_use_while_the_run_looks_was_used_up_to_it(
    invoke_job: Invoke, session: Session, ann: uuid.UUID, since_the_run: dt.timedelta, n: int
) -> None:
    """A run looks a moment after its time. What is in use all the time then always has a later time of use."""
    for number in range(3):
        used = {"last_activity_at": NOW + since_the_run, "expires_at": NOW + 60 * DAY}
        begin(session, ann, NOW - DAY, ip=f"192.0.2.{number}", **used)

    invoke_job(job, at=NOW)

    assert found(session) == ([("many_addresses", "medium", n)] if n else [])


def test_another_country_is_told_and_then_is_the_known_one(
    invoke_job: Invoke, session: Session, admin: uuid.UUID
) -> None:
    ann = person(session, "ann", last_known_country="DE")
    begin(session, ann, NOW - 20 * MINUTE, country="DE")
    begin(session, ann, NOW - 10 * MINUTE, country="FR")
    begin(session, ann, NOW - 5 * MINUTE, country=None)

    invoke_job(job, at=NOW)

    assert found(session) == [("new_country", "medium", 1)]
    assert alert(session).details["note"] == "DE to FR"
    assert user(session, ann).last_known_country == "FR"

    begin(session, ann, NOW + MINUTE, country="FR")
    again = invoke_job(job, at=NOW + 15 * MINUTE)["counters"]

    assert (again["alerts_new"], again["alerts_updated"]) == (0, 0)


def test_a_first_login_and_an_unknown_country_are_no_alert(
    invoke_job: Invoke, session: Session, ann: uuid.UUID
) -> None:
    bob = person(session, "bob", last_known_country="DE")
    begin(session, ann, NOW - MINUTE, country="DE")
    begin(session, bob, NOW - MINUTE, country=None)

    invoke_job(job, at=NOW)

    assert found(session) == []
    assert user(session, ann).last_known_country == "DE"
    assert user(session, bob).last_known_country == "DE"


@pytest.mark.parametrize(("grants", "n"), [(5, 0), (6, 6)])
def test_more_than_five_grants_of_administrators(
    invoke_job: Invoke, session: Session, ann: uuid.UUID, grants: int, n: int
) -> None:
    audit(session, "role.grant", burst(grants - 1), actor_id=ann, metadata_={"role": "admin"})
    audit(session, "permission.change", burst(1), changes={"role": {"old": "user", "new": "admin"}})
    audit(session, "role.grant", burst(9), metadata_={"role": "support"})
    audit(session, "role.revoke", burst(9), metadata_={"role": "admin"})

    invoke_job(job, at=NOW)

    assert found(session) == ([("admin_grants", "high", n)] if n else [])


def test_any_grant_of_a_super_administrator(invoke_job: Invoke, session: Session, ann: uuid.UUID) -> None:
    audit(session, "role.grant", burst(1), resource_id=str(ann), metadata_={"role": "super_admin"})
    audit(session, "role.grant", burst(1), resource_id="bob@example.org", metadata_={"role": "super_admin"})

    invoke_job(job, at=NOW)

    assert found(session) == 2 * [("super_admin_grant", "high", 1)]
    shown = " ".join(session.scalars(select(Alert.fingerprint)))
    assert str(ann) in shown
    assert "bob" not in shown


@pytest.mark.parametrize(("failures", "n", "locked"), [(4, 0, False), (5, 5, False), (9, 9, False), (10, 10, True)])
def test_failed_second_factors_alert_and_lock(
    invoke_job: Invoke, session: Session, ann: uuid.UUID, failures: int, n: int, locked: bool
) -> None:
    audit(session, "auth.mfa", burst(failures), actor_id=ann, status="failure")
    audit(session, "auth.mfa", burst(9), actor_id=ann)

    counters = invoke_job(job, at=NOW)["counters"]

    assert found(session) == ([("failed_mfa", "high", n)] if n else [])
    assert counters["accounts_locked"] == locked
    assert user(session, ann).locked_until == (NOW + 30 * MINUTE if locked else None)
    lockouts = session.scalars(select(AuditLog.resource_id).where(AuditLog.action == "auth.lockout")).all()
    assert lockouts == ([str(ann)] if locked else [])

    invoke_job(job, at=NOW + 40 * MINUTE)

    assert user(session, ann).locked_until == (NOW + 30 * MINUTE if locked else None)


def refuse(session: Session, moment: str, condition: str) -> None:
    session.execute(
        text(
            "create function refuse() returns trigger language plpgsql as $$ begin"
            f" if {condition} then raise 'not this one' using errcode = '42501'; end if; return new; end $$;"
            f"create trigger refuse before {moment} for each row execute function refuse()"
        )
    )
    session.commit()


def test_an_account_that_cannot_be_changed_costs_no_alert_and_no_other_account(
    invoke_job: Invoke, session: Session, admin: uuid.UUID, ann: uuid.UUID
) -> None:
    others = [person(session, name, last_known_country="DE") for name in ("bob", "cem", "eve")]
    for one in (ann, *others):
        audit(session, "auth.mfa", burst(10), actor_id=one, status="failure")
        begin(session, one, NOW - MINUTE, country="FR")
    refuse(session, "update on users", f"new.id = '{ann}'")

    result = invoke_job(job, at=NOW)

    counters = result["counters"]
    assert (result["outcome"], counters["accounts_locked"], counters["quarantined"]) == ("succeeded", 3, 2)
    assert (counters["alerts_new"], counters["notified"]) == (7, 1)
    assert [user(session, one).locked_until is None for one in (ann, *others)] == [True, False, False, False]
    assert [user(session, one).last_known_country for one in (ann, *others)] == [None, "FR", "FR", "FR"]
    assert {error.partition(": ")[0] for error in result["errors"]} == {f"users:{ann}"}


def test_a_rule_whose_alert_is_refused_stops_no_other_rule(
    invoke_job: Invoke, session: Session, admin: uuid.UUID, ann: uuid.UUID
) -> None:
    audit(session, "auth.mfa", burst(10), actor_id=ann, status="failure")
    by_different_people(session, burst(5))
    refuse(session, "insert on nightshift.alerts", "new.rule = 'failed_mfa'")

    result = invoke_job(job, at=NOW)

    assert found(session) == [("failed_logins_by_address", "high", 5)]
    assert (result["counters"]["accounts_locked"], result["counters"]["notified"]) == (1, 1)
    assert [error.partition(": ")[0] for error in result["errors"]] == ["the rule failed_mfa"]


def test_an_administrator_whose_mail_is_refused_keeps_no_other_from_being_told(
    invoke_job: Invoke, session: Session, admin: uuid.UUID
) -> None:
    other = person(session, "ops", role="admin")
    by_different_people(session, burst(5))
    refuse(session, "insert on nightshift.notifications", f"new.recipient = '{admin}'")

    result = invoke_job(job, at=NOW)

    assert [mail.recipient for mail in outbox(session)] == [str(other)]
    assert (result["outcome"], result["counters"]["notified"], result["counters"]["quarantined"]) == ("succeeded", 1, 1)


def test_an_alert_whose_mails_are_all_refused_is_told_by_the_next_run(
    invoke_job: Invoke, session: Session, admin: uuid.UUID
) -> None:
    by_different_people(session, burst(5))
    refuse(session, "insert on nightshift.notifications", "true")
    assert invoke_job(job, at=NOW)["counters"]["notified"] == 0

    session.execute(text("drop trigger refuse on nightshift.notifications"))
    session.commit()
    assert invoke_job(job, at=NOW + 15 * MINUTE)["counters"]["notified"] == 1


def test_the_last_super_administrator_is_not_locked(invoke_job: Invoke, session: Session) -> None:
    some = [person(session, name, role="super_admin") for name in ("ann", "bob", "cem")]
    person(session, "gone", role="super_admin", is_active=False)
    person(session, "locked", role="super_admin", locked_until=NOW + DAY)
    for one in some:
        audit(session, "auth.mfa", burst(10), actor_id=one, status="failure")

    counters = invoke_job(job, at=NOW)["counters"]

    assert counters["accounts_locked"] == 2
    assert [user(session, one).locked_until is None for one in sorted(some)] == [True, False, False]


@pytest.mark.parametrize(("requests", "n"), [(999, 0), (1000, 1000)])
def test_a_thousand_requests_with_one_key(
    invoke_job: Invoke, session: Session, ann: uuid.UUID, requests: int, n: int
) -> None:
    key = ApiKey(user_id=ann, name="key", key_prefix="ns_1", key_hash=b"1", created_at=NOW)
    session.add(key)
    session.flush()
    at = burst(requests, step=SECOND / 10)
    audit(session, "api.request", at, actor_type="api_key", api_key_id=key.id)

    invoke_job(job, at=NOW)

    assert found(session) == ([("api_key_use", "high", n)] if n else [])


def test_deletions_and_suspicious_sessions(invoke_job: Invoke, session: Session, ann: uuid.UUID) -> None:
    for action in ("user.delete", "role.delete", "permission.delete"):
        audit(session, action, burst(1), actor_id=ann)
    audit(session, "user.deactivate", burst(1), actor_id=ann)
    begin(session, ann, NOW - MINUTE, is_suspicious=True)

    invoke_job(job, at=NOW)

    assert found(session) == [("critical_action", "high", 3), ("suspicious_session", "high", 1)]


def failed_run(session: Session, name: str, finished_at: dt.datetime) -> RunRecord:
    session.merge(RegisteredJob(name=name, registered_at=NOW))
    session.flush()
    given = {"state": "failed", "reason": "ValueError: no", "max_attempts": 3, "trigger": "schedule"}
    run = RunRecord(job=name, scheduled_for=finished_at - HOUR, finished_at=finished_at, **given)
    session.add(run)
    session.commit()
    return run


def test_a_critical_job_that_failed_for_good(invoke_job: Invoke, session: Session, admin: uuid.UUID) -> None:
    run = failed_run(session, "finalize-deletions", NOW - MINUTE)
    failed_run(session, "cache-cleanup", NOW - MINUTE)
    failed_run(session, "no-such-job", NOW - MINUTE)

    invoke_job(job, at=NOW)

    assert found(session) == [("job_failure", "critical", 1)]
    (mail,) = outbox(session)
    assert (mail.kind, mail.title) == ("job_failure", "The job finalize-deletions has failed")
    failed = {"job": "finalize-deletions", "run_id": str(run.id), "scheduled_for": "2026-03-01T08:59:00Z"}
    assert mail.data == {"jobs": [{**failed, "reason": "ValueError: no"}]}
    assert f"nightshift show {run.id}" in text_of(mail)


def test_several_critical_jobs_that_failed_are_one_mail(invoke_job: Invoke, session: Session, admin: uuid.UUID) -> None:
    for name in ("finalize-deletions", "backup"):
        failed_run(session, name, NOW - MINUTE)

    assert invoke_job(job, at=NOW)["counters"]["notified"] == 1

    (mail,) = outbox(session)
    assert mail.title == "2 jobs have failed"
    assert [failed["job"] for failed in mail.data["jobs"]] == ["backup", "finalize-deletions"]


def test_one_burst_seen_by_two_runs_is_one_alert_and_one_mail(
    invoke_job: Invoke, session: Session, admin: uuid.UUID
) -> None:
    by_different_people(session, burst(7))

    first = invoke_job(job, at=NOW)["counters"]
    second = invoke_job(job, at=NOW + 15 * MINUTE)["counters"]

    assert (first["alerts_new"], first["notified"]) == (1, 1)
    assert second["rules_hit"] == second["alerts_updated"] == second["notified"] == 0
    assert found(session) == [("failed_logins_by_address", "high", 7)]
    (mail,) = outbox(session)
    assert (mail.recipient, mail.title) == (str(admin), "High: many failed sign-ins from one address")
    assert alert(session).notified_at == NOW


def test_a_burst_across_two_runs_counts_each_event_once_and_tells_again_when_it_becomes_worse(
    invoke_job: Invoke, session: Session, admin: uuid.UUID
) -> None:
    by_different_people(session, burst(7, NOW - 2 * MINUTE))
    invoke_job(job, at=NOW)
    by_different_people(session, burst(2, NOW + MINUTE))

    known = invoke_job(job, at=NOW + 15 * MINUTE)["counters"]

    assert (known["alerts_new"], known["alerts_updated"], known["notified"]) == (0, 1, 0)
    assert found(session) == [("failed_logins_by_address", "high", 9)]
    assert (alert(session).last_seen_at, alert(session).notified_at) == (NOW + MINUTE + SECOND, NOW)

    by_different_people(session, burst(18, NOW + 16 * MINUTE))
    risen = invoke_job(job, at=NOW + 30 * MINUTE)["counters"]

    assert (risen["alerts_updated"], risen["notified"]) == (1, 1)
    assert found(session) == [("failed_logins_by_address", "critical", 27)]
    titles = {mail.title for mail in outbox(session)}
    assert titles == {f"{severity}: many failed sign-ins from one address" for severity in ("High", "Critical")}


def test_failures_before_and_after_a_run_make_a_burst_together(invoke_job: Invoke, session: Session) -> None:
    by_different_people(session, burst(4, NOW - 2 * MINUTE))
    invoke_job(job, at=NOW)
    by_different_people(session, [NOW + MINUTE])

    invoke_job(job, at=NOW + 15 * MINUTE)

    assert found(session) == [("failed_logins_by_address", "high", 5)]


@pytest.mark.parametrize(("outage", "n"), [(2 * HOUR, 6), (25 * HOUR, 0)])
def test_the_run_after_an_outage_finds_what_happened_in_it(
    invoke_job: Invoke, session: Session, outage: dt.timedelta, n: int
) -> None:
    invoke_job(job, at=NOW - outage)
    by_different_people(session, burst(6, NOW - outage + 10 * MINUTE))

    invoke_job(job, at=NOW)

    assert found(session) == ([("failed_logins_by_address", "high", n)] if n else [])


def test_a_day_without_events_resolves_and_the_next_burst_is_a_new_alert(
    invoke_job: Invoke, session: Session, admin: uuid.UUID
) -> None:
    by_different_people(session, burst(5, NOW - MINUTE))
    invoke_job(job, at=NOW)
    last = alert(session).last_seen_at

    invoke_job(job, at=last + DAY)
    assert alert(session).status == "open"
    invoke_job(job, at=last + DAY + SECOND)
    assert (alert(session).status, alert(session).resolved_at) == ("resolved", last + DAY + SECOND)

    by_different_people(session, burst(5, last + DAY + MINUTE))
    counters = invoke_job(job, at=last + DAY + HOUR)["counters"]

    assert (counters["alerts_new"], counters["notified"]) == (1, 1)


def test_what_somebody_has_resolved_is_not_raised_again_by_the_same_events(
    invoke_job: Invoke, session: Session
) -> None:
    by_different_people(session, burst(5, NOW - MINUTE))
    invoke_job(job, at=NOW)
    alert(session).status = "resolved"
    session.commit()

    invoke_job(job, at=NOW + 15 * MINUTE)

    assert found(session) == [("failed_logins_by_address", "high", 5)]


def test_super_administrators_are_told_of_what_is_critical_or_cannot_be_undone(
    invoke_job: Invoke, session: Session, admin: uuid.UUID
) -> None:
    root = person(session, "super", role="super_admin")
    person(session, "sue", role="support")
    by_different_people(session, burst(5))
    audit(session, "user.delete", burst(1), actor_id=admin)
    failed_run(session, "finalize-deletions", NOW - MINUTE)

    counters = invoke_job(job, at=NOW)["counters"]

    critical_action, address = "something was deleted for good", "many failed sign-ins from one address"
    told = {(mail.recipient, mail.kind): titles_in(mail) for mail in outbox(session)}
    assert told == {
        (str(admin), "security_alert"): [critical_action, address],
        (str(root), "security_alert"): [critical_action],
        (str(admin), "job_failure"): [],
        (str(root), "job_failure"): [],
    }
    assert counters["notified"] == 4


def test_an_alert_that_nobody_could_be_told_of_waits_for_somebody(invoke_job: Invoke, session: Session) -> None:
    by_different_people(session, burst(7))
    assert invoke_job(job, at=NOW)["counters"]["notified"] == 0
    root = person(session, "root", role="admin")

    assert invoke_job(job, at=NOW + 15 * MINUTE)["counters"]["notified"] == 1

    assert [mail.recipient for mail in outbox(session)] == [str(root)]


def test_without_administrators_the_super_administrators_are_told_of_everything(
    invoke_job: Invoke, session: Session
) -> None:
    root = person(session, "super", role="super_admin")
    person(session, "gone", role="admin", is_active=False)
    by_different_people(session, burst(5))

    invoke_job(job, at=NOW)

    assert [mail.recipient for mail in outbox(session)] == [str(root)]


def test_all_that_is_new_is_one_mail_to_each_administrator_the_most_severe_first(
    invoke_job: Invoke, session: Session, admin: uuid.UUID
) -> None:
    other, ann = person(session, "other", role="admin"), person(session, "ann", last_known_country="DE")
    begin(session, ann, NOW - 5 * MINUTE, country="FR")
    by_different_people(session, burst(5))
    by_different_people(session, burst(6), ip="192.0.2.2")
    by_different_people(session, burst(20), ip="192.0.2.3")
    audit(session, "role.delete", burst(1), actor_id=ann)

    counters = invoke_job(job, at=NOW)["counters"]

    assert (counters["alerts_new"], counters["notified"]) == (5, 2)
    mails = outbox(session)
    assert {mail.recipient for mail in mails} == {str(admin), str(other)}
    assert mails[0].data == mails[1].data
    assert {mail.title for mail in mails} == {"Critical: many failed sign-ins from one address, and 4 more"}
    assert {mail.body for mail in mails} == {"5 alerts are new or have become worse: 1 critical, 3 high, 1 medium."}
    rules = mails[0].data["rules"]
    assert [(rule["title"], rule["severity"], rule["n"]) for rule in rules] == [
        ("many failed sign-ins from one address", "critical", 3),
        ("something was deleted for good", "high", 1),
        ("a sign-in from another country", "medium", 1),
    ]
    assert [alert["occurrences"] for alert in rules[0]["alerts"]] == [20, 6, 5]
    assert rules[2]["alerts"] == [
        {
            "subject": f"user {ann}",
            "note": "DE to FR",
            "occurrences": 1,
            "first_seen_at": "2026-03-01T09:55:00Z",
            "last_seen_at": "2026-03-01T09:55:00Z",
        }
    ]
    shown = text_of(mails[0])
    assert shown.index("Critical: many failed") < shown.index("High: something") < shown.index("Medium: a sign-in")


def test_the_next_mail_tells_only_what_has_come_since(invoke_job: Invoke, session: Session, admin: uuid.UUID) -> None:
    by_different_people(session, burst(5))
    invoke_job(job, at=NOW)
    by_different_people(session, burst(5, NOW + MINUTE))
    audit(session, "role.delete", [NOW + MINUTE], actor_id=admin)

    counters = invoke_job(job, at=NOW + 15 * MINUTE)["counters"]

    assert (counters["alerts_new"], counters["alerts_updated"], counters["notified"]) == (1, 1, 1)
    (mail,) = (mail for mail in outbox(session) if mail.created_at > NOW)
    assert (mail.title, mail.data["rules"][0]["n"]) == ("High: something was deleted for good", 1)


def test_an_attack_from_very_many_addresses_buries_nothing_else(
    invoke_job: Invoke, session: Session, admin: uuid.UUID
) -> None:
    for number in range(12):
        by_different_people(session, burst(5), ip=f"198.51.100.{number}")
    audit(session, "role.delete", burst(1), actor_id=admin)

    counters = invoke_job(job, at=NOW)["counters"]

    assert (counters["alerts_new"], counters["notified"]) == (13, 1)
    (mail,) = outbox(session)
    assert mail.title == "High: something was deleted for good, and 12 more"
    listed = {rule["title"]: (rule["n"], len(rule["alerts"])) for rule in mail.data["rules"]}
    assert listed == {"something was deleted for good": (1, 1), "many failed sign-ins from one address": (12, 10)}
    assert "And 2 more" in text_of(mail)


def test_an_alert_that_another_job_is_telling_of_is_not_told_twice(
    session: Session, database: Engine, admin: uuid.UUID
) -> None:
    run = Run(uuid.uuid4(), job.name, NOW)
    wording = Wording("a component is not well", "")
    for rule in ("unhealthy_component", "slow_requests"):
        sight(session, rule=rule, subject="all", severity="high", details={}, at=NOW)
    session.commit()

    tell(session, run, {"unhealthy_component": wording})
    started = time.monotonic()
    with Session(database) as another, another.begin():
        tell(another, run, {"unhealthy_component": wording}, others=True)
    assert time.monotonic() - started < 5, "it is not waited for"
    session.commit()

    assert sorted(titles_in(mail) for mail in outbox(session)) == [["a component is not well"], ["slow requests"]]


def test_an_alert_that_somebody_has_locked_is_told_by_the_next_run(
    invoke_job: Invoke, session: Session, database: Engine, admin: uuid.UUID
) -> None:
    by_different_people(session, burst(5))
    invoke_job(job, at=NOW)
    session.execute(update(Alert).values(notified_at=None))
    session.execute(text("delete from nightshift.notifications"))
    session.commit()
    with Session(database) as somebody, somebody.begin():
        somebody.execute(text("select from nightshift.alerts for update"))
        assert invoke_job(job, at=NOW + 15 * MINUTE)["counters"]["notified"] == 0
    assert invoke_job(job, at=NOW + 30 * MINUTE)["counters"]["notified"] == 1


def test_no_address_is_written_into_alerts_or_mails(invoke_job: Invoke, session: Session, admin: uuid.UUID) -> None:
    attempts(session, burst(6), email="nobody@example.org", ip="2001:db8::7")
    attempts(session, burst(1, NOW - MINUTE), email="nobody@example.org", ip="2001:db8::7", success=True)

    invoke_job(job, at=NOW)

    assert len(found(session)) == 3
    for table in ("alerts", "notifications", "runs"):
        rows = " ".join(session.scalars(text(f"select row::text from nightshift.{table} as row")))  # noqa: S608
        assert "2001:db8" not in rows
        assert "nobody" not in rows


def test_alerts_of_other_jobs_are_told_as_well(invoke_job: Invoke, session: Session, admin: uuid.UUID) -> None:
    given = {"first_seen_at": NOW - HOUR, "last_seen_at": NOW - HOUR, "details": {}}
    session.add(Alert(rule="hourly_error_rate", fingerprint="hourly_error_rate:all", severity="high", **given))
    session.add(
        Alert(rule="over", fingerprint="over:before anybody was told", severity="high", status="resolved", **given)
    )
    session.commit()

    counters = invoke_job(job, at=NOW)["counters"]

    assert (counters["rules_hit"], counters["notified"]) == (0, 1)
    (mail,) = outbox(session)
    assert len(mail.data["rules"]) == 1
    assert (mail.title, mail.data["rules"][0]["alerts"][0]["subject"]) == ("High: hourly error rate", "all")


def test_a_plan_says_what_would_be_done_and_does_nothing(
    invoke_job: Invoke, session: Session, admin: uuid.UUID, ann: uuid.UUID
) -> None:
    audit(session, "auth.mfa", burst(10), actor_id=ann, status="failure")
    begin(session, ann, NOW - MINUTE, country="DE")

    (alerts, locks, mails) = invoke_job(job, {"dry_run": True}, at=NOW)["plan"]["steps"]

    assert (alerts["rows"], locks["rows"], mails["rows"]) == (1, 1, 1)
    assert found(session) == []
    assert outbox(session) == []
    assert (user(session, ann).locked_until, user(session, ann).last_known_country) == (None, None)


def as_planned(invoke_job: Invoke) -> tuple[int, ...]:
    """The numbers of a plan, after a run has done just that."""
    plan = tuple(step["rows"] for step in invoke_job(job, {"dry_run": True}, at=NOW)["plan"]["steps"])
    done = invoke_job(job, at=NOW)["counters"]
    assert plan == (done["alerts_new"] + done["alerts_updated"], done["accounts_locked"], done["notified"])
    return plan


def raised(session: Session, subject: str, severity: Severity, *, told: bool, rule: str = "failed_mfa") -> None:
    sight(session, rule=rule, subject=subject, severity=severity, details={}, at=NOW - 3 * HOUR)
    if told:
        session.execute(
            update(Alert).where(Alert.fingerprint == f"{rule}:{subject}").values(notified_at=NOW - 2 * HOUR)
        )
    session.commit()


@pytest.mark.parametrize(
    ("known", "numbers"),
    [
        (None, (1, 0, 1)),
        (("critical", True), (1, 0, 0)),
        (("high", True), (1, 0, 0)),
        (("medium", True), (1, 0, 1)),
        (("medium", False), (1, 0, 1)),
        (("high", False), (1, 0, 1)),
    ],
)
def test_a_plan_counts_a_mail_for_what_is_new_or_risen_or_untold(
    invoke_job: Invoke,
    session: Session,
    admin: uuid.UUID,
    ann: uuid.UUID,
    known: tuple[Severity, bool] | None,
    numbers: tuple[int, int, int],
) -> None:
    if known is not None:
        raised(session, str(ann), known[0], told=known[1])
    audit(session, "auth.mfa", burst(5), actor_id=ann, status="failure")

    assert as_planned(invoke_job) == numbers


@pytest.mark.parametrize(
    ("roles", "mails"),
    [
        ([], 0),
        (["admin"], 1),
        (["super_admin"], 1),
        (["admin", "super_admin"], 1),
        (["admin", "admin", "super_admin", "super_admin"], 2),
    ],
)
def test_a_plan_knows_who_is_told_of_what_is_not_critical(
    invoke_job: Invoke, session: Session, ann: uuid.UUID, roles: list[str], mails: int
) -> None:
    for number, role in enumerate(roles):
        person(session, f"root{number}", role=role)
    audit(session, "auth.mfa", burst(5), actor_id=ann, status="failure")

    assert as_planned(invoke_job) == (1, 0, mails)


def test_a_plan_counts_both_kinds_of_mail_and_leaves_out_who_wants_none(
    invoke_job: Invoke, session: Session, admin: uuid.UUID
) -> None:
    person(session, "boss", role="super_admin")
    unwilling = person(session, "unwilling", role="admin")
    session.add(UserPreferences(user_id=unwilling, email_enabled=False))
    session.commit()
    failed_run(session, "backup", NOW - MINUTE)
    failed_run(session, "finalize-deletions", NOW - MINUTE)
    by_different_people(session, burst(20))

    assert as_planned(invoke_job) == (3, 0, 4)
    assert sorted(mail.kind for mail in outbox(session)) == ["job_failure"] * 2 + ["security_alert"] * 2


def test_a_plan_counts_no_mail_that_was_written_before(invoke_job: Invoke, session: Session, admin: uuid.UUID) -> None:
    raised(session, "somebody", "high", told=False)
    assert invoke_job(job, at=NOW - 15 * MINUTE)["counters"]["notified"] == 1
    session.execute(update(Alert).values(notified_at=None))
    session.commit()

    assert as_planned(invoke_job) == (0, 0, 0)

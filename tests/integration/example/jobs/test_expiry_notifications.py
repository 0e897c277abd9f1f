import datetime as dt
import uuid
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from application.models import ApiKey, Certificate, License, Organization, Subscription, UserPreferences
from functions.administration.expiry_notifications import job
from nightshift.outbox import Notification, render
from tests.integration.conftest import Invoke
from tests.integration.example.jobs.people import outbox, person, utc

NOW = utc("2026-03-01 09:00")
DAY = dt.timedelta(days=1)
HOUR = dt.timedelta(hours=1)


@pytest.fixture
def ann(session: Session) -> uuid.UUID:
    return person(session, "ann")


def certificate(session: Session, owner: uuid.UUID | None, expires_at: dt.datetime, label: str = "shop") -> Certificate:
    found = Certificate(kind="tls", label=label, owner_user_id=owner, expires_at=expires_at)
    session.add(found)
    session.commit()
    return found


def mails(session: Session, user_id: uuid.UUID) -> list[Notification]:
    return [row for row in outbox(session) if row.recipient == str(user_id)]


def labels(mail: Notification) -> list[str]:
    return [item["label"] for item in mail.data["items"]]


@pytest.mark.parametrize(
    ("left", "step"),
    [
        (30 * DAY + HOUR, None),
        (30 * DAY, 30),
        (14 * DAY + HOUR, 30),
        (14 * DAY, 14),
        (7 * DAY + HOUR, 14),
        (7 * DAY, 7),
        (3 * DAY + HOUR, 7),
        (3 * DAY, 3),
        (DAY + HOUR, 3),
        (DAY, 1),
        (HOUR, 1),
        (0 * DAY, 0),
        (-HOUR, 0),
        (-DAY, -1),
        (-7 * DAY, -7),
        (-8 * DAY, None),
        (-13 * DAY, None),
        (-14 * DAY, -14),
        (-15 * DAY, None),
        (-21 * DAY, -21),
        (-700 * DAY, -700),
    ],
)
def test_the_days_left_rounded_up_decide_whether_and_as_what_it_is_told(
    invoke_job: Invoke, session: Session, ann: uuid.UUID, left: dt.timedelta, step: int | None
) -> None:
    found = certificate(session, ann, NOW + left)

    counters = invoke_job(job, at=NOW)["counters"]

    instant = f"{NOW + left:%Y-%m-%dT%H:%M:%S.%fZ}"
    keys = [] if step is None else [f"certificate|{found.id}|{instant}|{step}|email"]
    assert [row.dedupe_key for row in outbox(session)] == keys
    told = len(keys)
    expired = told if left <= 0 * DAY else 0
    assert (counters["items"], counters["notified"], counters["expired"]) == (told, told, expired)


@pytest.mark.parametrize(
    ("left", "owner_s", "administrator_s", "when"),
    [
        (DAY + HOUR, "A certificate expires in 2 days", "1 credential expires soon", "in 2 days"),
        (HOUR, "A certificate expires in 1 day", "1 credential expires soon", "in 1 day"),
        (-10 * HOUR, "A certificate expired less than a day ago", "1 credential has expired", "less than a day ago"),
        (-DAY - HOUR, "A certificate expired 1 day ago", "1 credential has expired", "1 day ago"),
        (-3 * DAY, "A certificate expired 3 days ago", "1 credential has expired", "3 days ago"),
    ],
)
def test_what_has_expired_is_told_as_such(
    invoke_job: Invoke,
    session: Session,
    ann: uuid.UUID,
    left: dt.timedelta,
    owner_s: str,
    administrator_s: str,
    when: str,
) -> None:
    root = person(session, "root", role="super_admin")
    certificate(session, ann, NOW + left)

    invoke_job(job, at=NOW)

    for user, title in ((ann, owner_s), (root, administrator_s)):
        (notice,) = mails(session, user)
        mail = render(notice.kind, title=notice.title, body=notice.body, data=notice.data, name=None)
        assert mail.subject == title
        assert f", {when}\n" in mail.text


def test_a_digest_of_both_says_both(invoke_job: Invoke, session: Session, ann: uuid.UUID) -> None:
    root = person(session, "root", role="super_admin")
    certificate(session, ann, NOW + DAY)
    certificate(session, ann, NOW - DAY)

    invoke_job(job, at=NOW)

    (digest,) = mails(session, root)
    assert digest.title == "2 credentials expire soon or have expired"


def test_each_step_is_told_once_and_a_day_without_a_run_jumps_to_the_next(
    invoke_job: Invoke, session: Session, ann: uuid.UUID
) -> None:
    certificate(session, ann, NOW + 9 * DAY)

    for day in (0, 1, 3, 4):  # 9, 8, 6 and 5 days left: step 14, and then 7, though no run saw the day of 7
        invoke_job(job, at=NOW + day * DAY)

    assert [row.title for row in mails(session, ann)] == [
        "A certificate expires in 9 days",
        "A certificate expires in 6 days",
    ]


def test_after_the_expiry_it_is_told_daily_for_a_week_and_then_weekly(
    invoke_job: Invoke, session: Session, ann: uuid.UUID
) -> None:
    certificate(session, ann, NOW)

    told = [day for day in range(1, 29) if invoke_job(job, at=NOW + day * DAY)["counters"]["notified"]]

    assert told == [1, 2, 3, 4, 5, 6, 7, 14, 21, 28]


def test_a_renewal_starts_over(invoke_job: Invoke, session: Session, ann: uuid.UUID) -> None:
    found = certificate(session, ann, NOW + 30 * DAY)
    invoke_job(job, at=NOW)
    found.expires_at = NOW + 60 * DAY
    session.commit()

    assert invoke_job(job, at=NOW + DAY)["counters"]["items"] == 0
    assert invoke_job(job, at=NOW + 30 * DAY)["counters"]["notified"] == 1

    found.rotated_at = NOW + 31 * DAY
    session.commit()

    assert invoke_job(job, at=NOW + 50 * DAY)["counters"]["items"] == 0


def test_each_administrator_gets_one_mail_with_what_is_new_to_them(
    invoke_job: Invoke, session: Session, ann: uuid.UUID
) -> None:
    admins = [person(session, "root", role="super_admin"), person(session, "bob", role="admin")]
    person(session, "sue", role="support")
    certificate(session, ann, NOW + 7 * DAY, "mail")
    certificate(session, None, NOW + 3 * DAY, "shop")

    first = invoke_job(job, at=NOW)["counters"]

    assert (first["items"], first["notified"]) == (2, 3)
    for admin in admins:
        (digest,) = mails(session, admin)
        assert (digest.title, digest.body) == ("2 credentials expire soon", "shop, mail")
        assert [(item["kind"], item["expires_on"], item["days"]) for item in digest.data["items"]] == [
            ("certificate", "2026-03-04", 3),
            ("certificate", "2026-03-08", 7),
        ]

    certificate(session, None, NOW + 15 * DAY, "new")
    invoke_job(job, at=NOW + DAY)

    assert [labels(digest) for digest in mails(session, admins[0])] == [["shop", "mail"], ["new"]]
    assert invoke_job(job, {"force": True}, at=NOW + DAY)["counters"]["notified"] == 0


def test_a_digest_of_many_stays_small_and_says_how_many_more_there_are(invoke_job: Invoke, session: Session) -> None:
    root = person(session, "root", role="super_admin")
    for number in range(1_090):
        session.add(Certificate(kind="tls", label=f"shop-{number:04}.example.com", expires_at=NOW + 7 * DAY))
    session.commit()

    invoke_job(job, at=NOW)

    (digest,) = mails(session, root)
    mail = render(digest.kind, title=digest.title, body=digest.body, data=digest.data, name=None)
    assert digest.title == "1090 credentials expire soon"
    assert digest.body.endswith(" and 1080 more")
    assert digest.body.count(".example.com") == 10
    for form in (mail.html, mail.text):
        assert len(form.encode()) < 64_000
        assert "And 1,040 more. The view v_expiring_credentials has all of them." in form
    assert invoke_job(job, {"force": True}, at=NOW)["counters"]["notified"] == 0, "nobody is told twice of the others"


def test_an_administrator_hears_of_the_longest_step_once(invoke_job: Invoke, session: Session) -> None:
    person(session, "root", role="super_admin")
    certificate(session, None, NOW + 30 * DAY)

    told = [invoke_job(job, at=NOW + day * DAY)["counters"]["notified"] for day in (0, 1, 15, 16)]

    assert told == [1, 0, 0, 1], "fifteen days are left on the third of them, and fourteen on the last"


def test_of_what_belongs_to_somebody_who_has_gone_only_the_administrators_hear(
    invoke_job: Invoke, session: Session
) -> None:
    gone = person(session, "gone", is_active=False)
    erased = person(session, "erased", anonymized_at=NOW - DAY)
    admin = person(session, "root", role="super_admin")
    key = {"key_prefix": "ns_1", "is_active": True, "expires_at": NOW + DAY}
    session.add_all(
        [ApiKey(user_id=user, name="key", key_hash=user.bytes, created_at=NOW, **key) for user in (gone, erased)]
    )
    session.commit()

    invoke_job(job, at=NOW)

    assert [row.recipient for row in outbox(session)] == [str(admin)]


def test_who_has_switched_mails_off_gets_none(invoke_job: Invoke, session: Session, ann: uuid.UUID) -> None:
    session.add(UserPreferences(user_id=ann, email_enabled=False))
    certificate(session, ann, NOW + DAY)

    counters = invoke_job(job, at=NOW)["counters"]

    assert (counters["items"], counters["notified"]) == (1, 0)


def test_every_kind_is_told_and_what_never_expires_or_renews_itself_is_not(
    invoke_job: Invoke, session: Session
) -> None:
    changed = NOW - 90 * DAY + 7 * DAY
    bob = person(session, "bob", role="admin", password_changed_at=changed)
    person(session, "user", password_changed_at=changed)
    person(session, "never", role="viewer")

    def subscription(name: str, status: str = "active", **more: Any) -> Organization:
        organization = Organization(name=name, slug=name)
        session.add(organization)
        session.flush()
        times = {"current_period_start": NOW - 23 * DAY, "current_period_end": NOW + 7 * DAY}
        given = {"status": status, "billing_cycle": "monthly", "anchor_day": 1, **times, **more}
        session.add(Subscription(org_id=organization.id, **given))
        return organization

    subscription("renews itself", has_payment_method=True)
    subscription("ends", auto_renew=False, has_payment_method=True)
    subscription("cannot pay")
    subscription("tries", "trialing", trial_ends_at=NOW + 7 * DAY)
    licensed = subscription("is licensed", has_payment_method=True)
    session.add(License(org_id=licensed.id, license_key_hash=b"1", status="active", expires_at=NOW + 7 * DAY))
    session.add(License(org_id=licensed.id, license_key_hash=b"2", status="active", expires_at=None))
    session.add(
        ApiKey(user_id=bob, name="key", key_prefix="ns_1", key_hash=b"1", expires_at=NOW + 7 * DAY, created_at=NOW)
    )
    session.commit()

    invoke_job(job, at=NOW)

    digest, *owned = sorted(mails(session, bob), key=lambda mail: -len(mail.data["items"]))
    kinds = ["API key", "licence", "password", "subscription", "subscription", "trial"]
    assert sorted(item["kind"] for item in digest.data["items"]) == kinds
    assert sorted(mail.title for mail in owned) == ["A password expires in 7 days", "An API key expires in 7 days"]


def test_an_expiry_that_python_cannot_hold_costs_nobody_a_notice(
    invoke_job: Invoke, session: Session, ann: uuid.UUID
) -> None:
    admin = person(session, "root", role="admin", password_changed_at=NOW)
    for label, at in (
        ("never", "infinity"),
        ("far", "20260-01-01Z"),
        ("always", "-infinity"),
        ("old", "0044-03-15 BC"),
    ):
        certificate(session, ann, text(f"'{at}'"), label)  # type: ignore[arg-type]
    certificate(session, ann, NOW + 7 * DAY, "shop")

    counts = [invoke_job(job, at=NOW + n * DAY)["counters"] for n in range(7)]

    assert [count["items"] for count in counts].count(3) == 1, "once a week, as everything that has long expired"
    assert sorted({label for mail in mails(session, ann) for label in labels(mail)}) == ["always", "old", "shop"]
    assert {label for mail in mails(session, admin) for label in labels(mail)} == {"always", "old", "shop"}

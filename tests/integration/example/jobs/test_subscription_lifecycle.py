"""Every transition of a subscription and a licence, both sides of each limit, and what a second run does."""

import datetime as dt
import itertools
from typing import Any

import pytest
from dateutil.relativedelta import relativedelta
from sqlalchemy import select, text
from sqlalchemy.orm import Session

from application.models import Alert, License, Organization, Subscription, SubscriptionEvent, User
from functions.administration.subscription_lifecycle import job
from tests.integration.conftest import Invoke
from tests.integration.example.jobs.conftest import DAY, MICROSECOND, NOW

HOUR = dt.timedelta(hours=1)


def day(text: str) -> dt.datetime:
    return dt.datetime.fromisoformat(text).replace(tzinfo=dt.UTC)


def subscribe(session: Session, status: str, *, organization: str = "active", **values: Any) -> Subscription:
    """A subscription whose period goes on, unless said otherwise."""
    org = Organization(name="Acme", slug=f"acme-{values.pop('slug', 1)}", status=organization, created_at=NOW)
    session.add(org)
    session.flush()
    given = {
        "billing_cycle": "monthly",
        "anchor_day": 10,
        "current_period_start": NOW - 10 * DAY,
        "current_period_end": NOW + 20 * DAY,
        "has_payment_method": True,
    }
    subscription = Subscription(org_id=org.id, status=status, **(given | values))
    session.add(subscription)
    session.commit()
    return subscription


def tell(session: Session, subscription: Subscription, event: str, at: dt.datetime) -> None:
    """What the application writes when it hears of a payment."""
    session.add(SubscriptionEvent(subscription_id=subscription.id, event=event, effective_at=at))
    session.commit()


def license_of(session: Session, subscription: Subscription, **values: Any) -> License:
    given = {"status": "active", "last_validated_at": NOW, "created_at": NOW, "license_key_hash": b"1"}
    licence = License(org_id=subscription.org_id, **(given | values))
    session.add(licence)
    session.commit()
    return licence


def status_of(session: Session, subscription: Subscription) -> tuple[str, str]:
    """The subscription's status and its organisation's."""
    session.refresh(subscription)
    organization = session.get_one(Organization, subscription.org_id, populate_existing=True)
    return subscription.status, organization.status


def events(session: Session) -> list[tuple[str, str | None, str | None, dt.datetime]]:
    """What the job has written, in order."""
    found = session.scalars(
        select(SubscriptionEvent)
        .where(SubscriptionEvent.to_status.is_not(None))
        .order_by(SubscriptionEvent.effective_at, SubscriptionEvent.id)
        .execution_options(populate_existing=True)
    )
    return [(each.event, each.from_status, each.to_status, each.effective_at) for each in found]


def open_alerts(session: Session) -> dict[str, dict[str, Any]]:
    found = session.scalars(select(Alert).where(Alert.status == "open").execution_options(populate_existing=True))
    return {alert.fingerprint: alert.details for alert in found}


def test_a_paid_trial_becomes_active_for_a_period_that_begins_where_the_trial_ended(
    invoke_job: Invoke, session: Session
) -> None:
    trial = subscribe(session, "trialing", organization="trial", trial_ends_at=NOW, anchor_day=1)

    counters = invoke_job(job, at=NOW)["counters"]

    assert counters["trials_ended"] == 1
    assert status_of(session, trial) == ("active", "active")
    assert (trial.current_period_start, trial.current_period_end) == (NOW, NOW.replace(month=4))
    assert events(session) == [("trial_ended", "trialing", "active", NOW)]


def test_a_trial_without_a_payment_method_pauses_and_its_organisation_expires(
    invoke_job: Invoke, session: Session
) -> None:
    trial = subscribe(session, "trialing", organization="trial", trial_ends_at=NOW, has_payment_method=False)

    assert invoke_job(job, at=NOW)["counters"]["trials_ended"] == 1

    assert status_of(session, trial) == ("paused", "expired")
    assert events(session) == [("trial_ended", "trialing", "paused", NOW)]


def test_a_trial_goes_on_until_its_end(invoke_job: Invoke, session: Session) -> None:
    trial = subscribe(session, "trialing", organization="trial", trial_ends_at=NOW + MICROSECOND)

    assert invoke_job(job, at=NOW)["counters"]["trials_ended"] == 0

    assert status_of(session, trial) == ("trialing", "trial")
    assert events(session) == []


def test_a_trial_that_ended_long_ago_is_renewed_in_the_same_run(invoke_job: Invoke, session: Session) -> None:
    trial = subscribe(session, "trialing", organization="trial", trial_ends_at=day("2025-12-10"))

    counters = invoke_job(job, at=NOW)["counters"]

    assert (counters["trials_ended"], counters["renewed"]) == (1, 2)
    assert status_of(session, trial) == ("active", "active")
    assert (trial.current_period_start, trial.current_period_end) == (day("2026-02-10"), day("2026-03-10"))


@pytest.mark.parametrize("paying", [True, False])
def test_a_trial_that_was_cancelled_ends_with_it(invoke_job: Invoke, session: Session, paying: bool) -> None:
    given = {"trial_ends_at": NOW, "cancel_at_period_end": True, "has_payment_method": paying}
    trial = subscribe(session, "trialing", organization="trial", **given)

    counters = invoke_job(job, at=NOW)["counters"]

    assert (counters["trials_ended"], counters["cancelled"]) == (0, 1)
    assert status_of(session, trial) == ("cancelled", "cancelled")


@pytest.mark.parametrize(
    ("values", "expected", "event"),
    [
        ({"cancel_at_period_end": True}, "cancelled", "cancelled"),
        ({"cancel_at_period_end": True, "auto_renew": False}, "cancelled", "cancelled"),
        ({"auto_renew": False}, "expired", "expired"),
        ({}, "active", "renewal_due"),
    ],
)
def test_an_ended_period_is_cancelled_or_expires_or_is_renewed(
    invoke_job: Invoke, session: Session, values: dict[str, Any], expected: str, event: str
) -> None:
    subscription = subscribe(session, "active", current_period_end=NOW, **values)

    invoke_job(job, at=NOW)

    assert status_of(session, subscription) == (expected, expected)
    assert events(session) == [(event, "active", expected, NOW)]
    organization = session.get_one(Organization, subscription.org_id)
    assert organization.cancelled_at == (NOW if expected == "cancelled" else None)


def test_a_period_lasts_until_its_end(invoke_job: Invoke, session: Session) -> None:
    endings: list[dict[str, Any]] = [{"cancel_at_period_end": True}, {"auto_renew": False}, {}]
    for number, values in enumerate(endings):
        subscribe(session, "active", slug=number, current_period_end=NOW + MICROSECOND, **values)

    assert _changed(invoke_job(job, at=NOW)) == {}

    assert events(session) == []


@pytest.mark.parametrize(
    ("cycle", "anchor", "end", "at", "ends"),
    [
        ("monthly", 31, "2026-01-31", "2026-03-30", ["2026-02-28", "2026-03-31"]),
        ("monthly", 31, "2024-01-31", "2024-03-30", ["2024-02-29", "2024-03-31"]),
        ("monthly", 30, "2026-01-30", "2026-04-29", ["2026-02-28", "2026-03-30", "2026-04-30"]),
        ("monthly", 28, "2026-02-28", "2026-02-28", ["2026-03-28"]),
        ("monthly", 15, "2025-12-15", "2026-01-14", ["2026-01-15"]),
        ("quarterly", 31, "2025-11-30", "2026-02-28", ["2026-02-28", "2026-05-31"]),
        ("annually", 29, "2024-02-29", "2026-02-28", ["2025-02-28", "2026-02-28", "2027-02-28"]),
    ],
)
def test_missed_periods_roll_one_by_one_and_keep_the_anchor_day(
    invoke_job: Invoke, session: Session, cycle: str, anchor: int, end: str, at: str, ends: list[str]
) -> None:
    subscription = subscribe(
        session, "active", billing_cycle=cycle, anchor_day=anchor, current_period_end=day(f"{end}T17:30:00")
    )

    counters = invoke_job(job, at=f"{at}T17:30:00Z")["counters"]

    times = [day(f"{each}T17:30:00") for each in (end, *ends)]
    assert counters["renewed"] == len(ends)
    assert [event for *_, event in events(session)] == times[:-1]
    session.refresh(subscription)
    assert (subscription.current_period_start, subscription.current_period_end) == (times[-2], times[-1])


def test_the_anchor_of_a_leap_day_comes_back_in_the_next_leap_year(invoke_job: Invoke, session: Session) -> None:
    subscription = subscribe(
        session, "active", billing_cycle="annually", anchor_day=29, current_period_end=day("2020-02-29")
    )

    invoke_job(job, at="2024-02-28T00:30:00Z")

    session.refresh(subscription)
    assert subscription.current_period_end == day("2024-02-29")


def test_a_custom_cycle_is_not_renewed_and_alerts_until_somebody_has_renewed_it(
    invoke_job: Invoke, session: Session
) -> None:
    subscription = subscribe(session, "active", billing_cycle="custom", current_period_end=NOW)

    counters = invoke_job(job, at=NOW)["counters"]

    assert (counters["renewed"], counters["alerts"]) == (0, 1)
    assert status_of(session, subscription) == ("active", "active")
    assert list(open_alerts(session)) == [f"subscription-custom-cycle:{subscription.id}"]

    subscription.current_period_end = NOW + 90 * DAY
    session.commit()
    assert invoke_job(job, at=NOW + DAY)["counters"]["alerts"] == 1
    assert open_alerts(session) == {}


def test_a_failed_payment_makes_a_subscription_past_due_since_then(invoke_job: Invoke, session: Session) -> None:
    subscription = subscribe(session, "active")
    tell(session, subscription, "payment_failed", NOW - 3 * DAY)
    tell(session, subscription, "payment_failed", NOW - DAY)

    assert invoke_job(job, at=NOW)["counters"]["past_due"] == 1

    assert status_of(session, subscription) == ("past_due", "active")
    assert subscription.past_due_since == NOW - 3 * DAY
    assert events(session) == [("past_due", "active", "past_due", NOW - 3 * DAY)]


def test_a_payment_told_for_later_or_settled_since_changes_nothing(invoke_job: Invoke, session: Session) -> None:
    settled, later = (subscribe(session, "active", slug=number) for number in range(2))
    tell(session, settled, "payment_failed", NOW - 3 * DAY)
    tell(session, settled, "payment_succeeded", NOW - 2 * DAY)
    tell(session, later, "payment_failed", NOW + MICROSECOND)

    assert _changed(invoke_job(job, at=NOW)) == {}


def test_a_failure_that_was_dealt_with_by_hand_is_not_taken_up_again(invoke_job: Invoke, session: Session) -> None:
    subscription = subscribe(session, "active")
    tell(session, subscription, "payment_failed", NOW - 3 * DAY)
    invoke_job(job, at=NOW)
    session.refresh(subscription)
    subscription.status, subscription.past_due_since = "active", None
    session.commit()

    assert _changed(invoke_job(job, at=NOW + DAY)) == {}


def test_past_due_for_more_than_seven_days_is_unpaid_and_suspended(invoke_job: Invoke, session: Session) -> None:
    since = NOW - 7 * DAY - MICROSECOND
    subscription = subscribe(session, "past_due", past_due_since=since)
    licence = license_of(session, subscription)
    revoked = license_of(session, subscription, status="revoked", license_key_hash=b"2")

    assert invoke_job(job, at=NOW)["counters"]["suspended"] == 1

    assert status_of(session, subscription) == ("unpaid", "suspended")
    assert session.get_one(Organization, subscription.org_id).suspended_at == NOW
    session.refresh(licence)
    session.refresh(revoked)
    assert (licence.status, revoked.status) == ("suspended", "revoked")
    assert events(session) == [("suspended", "past_due", "unpaid", since + 7 * DAY)]


def test_past_due_for_exactly_seven_days_is_not_suspended(invoke_job: Invoke, session: Session) -> None:
    subscription = subscribe(session, "past_due", past_due_since=NOW - 7 * DAY)

    assert _changed(invoke_job(job, at=NOW)) == {}

    assert status_of(session, subscription) == ("past_due", "active")


@pytest.mark.parametrize("status", ["past_due", "unpaid"])
def test_past_due_for_more_than_thirty_days_is_cancelled(invoke_job: Invoke, session: Session, status: str) -> None:
    since = NOW - 30 * DAY - MICROSECOND
    subscription = subscribe(session, status, past_due_since=since)

    counters = invoke_job(job, at=NOW)["counters"]

    assert (counters["suspended"], counters["cancelled"]) == (int(status == "past_due"), 1)
    assert status_of(session, subscription) == ("cancelled", "cancelled")
    assert session.get_one(Organization, subscription.org_id).cancelled_at == NOW
    assert events(session)[-1] == ("cancelled", "unpaid", "cancelled", since + 30 * DAY)


def test_unpaid_for_exactly_thirty_days_is_not_cancelled(invoke_job: Invoke, session: Session) -> None:
    subscription = subscribe(session, "unpaid", organization="suspended", past_due_since=NOW - 30 * DAY)

    assert _changed(invoke_job(job, at=NOW)) == {}

    assert status_of(session, subscription) == ("unpaid", "suspended")


def test_a_payment_from_before_it_was_past_due_brings_nothing_back(invoke_job: Invoke, session: Session) -> None:
    since = NOW - 8 * DAY
    unpaid = subscribe(session, "unpaid", organization="suspended", past_due_since=since)
    tell(session, unpaid, "payment_succeeded", since - MICROSECOND)

    assert _changed(invoke_job(job, at=NOW)) == {}

    assert status_of(session, unpaid) == ("unpaid", "suspended")


def test_incomplete_for_more_than_23_hours_expires(invoke_job: Invoke, session: Session) -> None:
    start = NOW - 23 * HOUR - MICROSECOND
    late = subscribe(session, "incomplete", organization="pending", current_period_start=start)
    on_time = subscribe(session, "incomplete", organization="pending", slug=2, current_period_start=NOW - 23 * HOUR)

    assert invoke_job(job, at=NOW)["counters"]["expired"] == 1

    assert status_of(session, late) == ("expired", "expired")
    assert status_of(session, on_time) == ("incomplete", "pending")
    assert events(session) == [("expired", "incomplete", "expired", start + 23 * HOUR)]


def test_from_a_failed_payment_to_suspension_and_back(invoke_job: Invoke, session: Session) -> None:
    failed = NOW
    subscription = subscribe(session, "active", current_period_end=NOW + 200 * DAY)
    suspended, by_hand = (license_of(session, subscription, license_key_hash=bytes([n])) for n in range(2))
    by_hand.status = "suspended"
    tell(session, subscription, "payment_failed", failed)
    invoke_job(job, at=NOW)
    assert status_of(session, subscription) == ("past_due", "active")
    invoke_job(job, at=NOW + 8 * DAY)
    assert status_of(session, subscription) == ("unpaid", "suspended")
    paid = NOW + 8 * DAY + HOUR
    tell(session, subscription, "payment_succeeded", paid)

    assert invoke_job(job, at=NOW + 9 * DAY)["counters"]["recovered"] == 1

    assert status_of(session, subscription) == ("active", "active")
    assert subscription.past_due_since is None
    assert session.get_one(Organization, subscription.org_id).suspended_at is None
    session.refresh(suspended)
    session.refresh(by_hand)
    assert (suspended.status, by_hand.status) == ("active", "suspended")
    assert events(session) == [
        ("past_due", "active", "past_due", failed),
        ("suspended", "past_due", "unpaid", failed + 7 * DAY),
        ("recovered", "unpaid", "active", paid),
    ]


def test_a_payment_in_time_forestalls_the_suspension_and_missed_periods_are_renewed(
    invoke_job: Invoke, session: Session
) -> None:
    subscription = subscribe(
        session, "past_due", past_due_since=NOW - 8 * DAY, current_period_end=NOW - 2 * DAY, organization="suspended"
    )
    tell(session, subscription, "payment_succeeded", NOW - DAY)

    assert _changed(invoke_job(job, at=NOW)) == {"recovered": 1, "renewed": 1}

    # The organisation was suspended for another reason: a subscription that is past due suspends nobody.
    assert status_of(session, subscription) == ("active", "suspended")


def test_a_payment_that_failed_again_after_recovery_counts_from_then(invoke_job: Invoke, session: Session) -> None:
    subscription = subscribe(session, "past_due", past_due_since=NOW - 20 * DAY)
    tell(session, subscription, "payment_failed", NOW - 20 * DAY)
    tell(session, subscription, "payment_succeeded", NOW - 10 * DAY)
    tell(session, subscription, "payment_failed", NOW - 2 * DAY)

    assert _changed(invoke_job(job, at=NOW)) == {"recovered": 1, "past_due": 1}

    assert status_of(session, subscription) == ("past_due", "active")
    assert subscription.past_due_since == NOW - 2 * DAY


@pytest.mark.parametrize(("earlier", "expected"), [(MICROSECOND, "past_due"), (0 * MICROSECOND, "active")])
def test_a_payment_counts_from_the_instant_when_it_was_past_due(
    invoke_job: Invoke, session: Session, earlier: dt.timedelta, expected: str
) -> None:
    subscription = subscribe(session, "past_due", past_due_since=NOW - DAY)
    tell(session, subscription, "payment_succeeded", NOW - DAY - earlier)

    assert invoke_job(job, at=NOW)["counters"]["recovered"] == (expected == "active")

    assert status_of(session, subscription) == (expected, "active")


def test_a_paused_subscription_that_is_paid_begins_a_period_with_the_payment(
    invoke_job: Invoke, session: Session
) -> None:
    paused = subscribe(
        session,
        "paused",
        organization="expired",
        trial_ends_at=NOW - 90 * DAY,
        current_period_end=NOW - 90 * DAY,
        anchor_day=27,
    )
    tell(session, paused, "payment_succeeded", day("2026-02-27"))

    assert _changed(invoke_job(job, at=NOW)) == {"recovered": 1}

    assert status_of(session, paused) == ("active", "active")
    assert (paused.current_period_start, paused.current_period_end) == (day("2026-02-27"), day("2026-03-27"))


def test_a_first_payment_activates(invoke_job: Invoke, session: Session) -> None:
    new = subscribe(session, "incomplete", organization="pending", current_period_start=NOW - 2 * DAY)
    tell(session, new, "payment_succeeded", NOW - DAY)

    assert _changed(invoke_job(job, at=NOW)) == {"recovered": 1}

    assert status_of(session, new) == ("active", "active")


@pytest.mark.parametrize("status", ["cancelled", "expired"])
def test_what_has_ended_stays_ended(invoke_job: Invoke, session: Session, status: str) -> None:
    ended = subscribe(session, status, organization=status, current_period_end=NOW - DAY, past_due_since=NOW - 40 * DAY)
    tell(session, ended, "payment_succeeded", NOW - HOUR)

    assert _changed(invoke_job(job, at=NOW)) == {}

    assert status_of(session, ended) == (status, status)


def test_a_licence_expires_and_can_be_read_for_seven_days_more(invoke_job: Invoke, session: Session) -> None:
    subscription = subscribe(session, "active")
    ended = license_of(session, subscription, expires_at=NOW)
    lasting = license_of(session, subscription, expires_at=NOW + MICROSECOND, license_key_hash=b"2")
    endless = license_of(session, subscription, license_key_hash=b"3")

    assert _changed(invoke_job(job, at=NOW)) == {"licences_expired": 1}

    for licence in (ended, lasting, endless):
        session.refresh(licence)
    assert (ended.status, ended.grace_until) == ("expired", NOW + 7 * DAY)
    assert (lasting.status, endless.status) == ("active", "active")


def test_more_active_users_than_seats_alert_and_change_nothing_else(invoke_job: Invoke, session: Session) -> None:
    subscription = subscribe(session, "active")
    licence = license_of(session, subscription, seats=2)
    enough = license_of(session, subscription, seats=3, license_key_hash=b"2")
    for number in range(6):
        session.add(
            User(
                email=f"user{number}@example.org",
                org_id=subscription.org_id,
                is_active=number != 3,
                deleted_at=NOW if number == 4 else None,
                anonymized_at=NOW if number == 5 else None,
                created_at=NOW,
            )
        )
    session.commit()

    assert _changed(invoke_job(job, at=NOW)) == {"alerts": 1}

    details = {"organization_id": str(subscription.org_id), "seats": 2, "users": 3}
    assert open_alerts(session) == {f"licence-seats:{licence.id}": details}
    session.refresh(licence)
    session.refresh(enough)
    assert (licence.status, enough.status) == ("active", "active")


def test_licences_unused_for_more_than_90_days_are_listed_the_longest_unused_first(
    invoke_job: Invoke, session: Session
) -> None:
    subscription = subscribe(session, "active")
    old, older, never, used, young = (
        license_of(session, subscription, license_key_hash=bytes([number]), last_validated_at=used_at, created_at=made)
        for number, (used_at, made) in enumerate(
            [
                (NOW - 90 * DAY - MICROSECOND, NOW - 300 * DAY),
                (NOW - 200 * DAY, NOW - 300 * DAY),
                (None, NOW - 100 * DAY),
                (NOW - 90 * DAY, NOW - 300 * DAY),
                (None, NOW - DAY),
            ]
        )
    )

    assert _changed(invoke_job(job, at=NOW)) == {"alerts": 1}

    listed = [str(older.id), str(never.id), str(old.id)]
    assert open_alerts(session) == {"licence-unused:all": {"licences": 3, "longest_unused": listed}}
    assert {licence.status for licence in (used, young)} == {"active"}


def test_a_second_run_writes_no_second_event(invoke_job: Invoke, session: Session) -> None:
    subscribe(session, "trialing", slug=1, trial_ends_at=NOW - 40 * DAY)
    subscribe(session, "active", slug=2, current_period_end=NOW - 100 * DAY)
    subscribe(session, "past_due", slug=3, past_due_since=NOW - 40 * DAY)
    failed = subscribe(session, "active", slug=4)
    tell(session, failed, "payment_failed", NOW - 9 * DAY)
    first = invoke_job(job, at=NOW)["counters"]
    written = events(session)
    assert _changed({"counters": first}) == {
        "trials_ended": 1,
        "renewed": 1 + 4,
        "past_due": 1,
        "suspended": 2,
        "cancelled": 1,
    }

    assert _changed(invoke_job(job, {"force": True}, at=NOW)) == {}
    assert _changed(invoke_job(job, at=NOW + HOUR)) == {}

    assert events(session) == written


def test_an_organisation_takes_its_subscription_with_it(invoke_job: Invoke, session: Session) -> None:
    subscription = subscribe(session, "active", current_period_end=NOW)
    license_of(session, subscription)
    invoke_job(job, at=NOW)

    session.delete(session.get_one(Organization, subscription.org_id))
    session.commit()

    assert session.scalars(select(SubscriptionEvent)).all() == []
    assert session.scalars(select(License)).all() == []


def test_several_batches_reach_every_subscription(
    invoke_job: Invoke, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("functions.administration.subscriptions.batches.ROWS_A_BATCH", 2)
    for number in range(5):
        subscribe(session, "active", slug=number, current_period_end=NOW)

    assert invoke_job(job, at=NOW)["counters"]["renewed"] == 5

    assert len(events(session)) == 5


def test_a_subscription_that_a_trigger_refuses_is_left_and_the_others_move_on(
    invoke_job: Invoke, session: Session
) -> None:
    for number in range(7):
        subscribe(session, "active", slug=number, current_period_end=NOW)
        subscribe(session, "trialing", slug=f"trial-{number}", trial_ends_at=NOW)
    refused = [*session.scalars(select(Subscription.id).order_by(Subscription.status, Subscription.id))][3:11:7]
    ids = ", ".join(f"'{each}'" for each in refused)
    session.execute(
        text(
            "create function refuse() returns trigger language plpgsql as $$ begin"
            f" if new.id in ({ids}) then raise 'not this one' using errcode = '45000'; end if; return new; end $$;"
            "create trigger refuse before update on subscriptions for each row execute function refuse()"
        )
    )
    session.commit()

    result = invoke_job(job, at=NOW)

    counters = result["counters"]
    assert (result["outcome"], counters["renewed"], counters["trials_ended"]) == ("succeeded", 6, 6)
    assert counters["quarantined"] == 2
    assert {error.partition(" ")[0] for error in result["errors"]} == {f"subscriptions:{each}:" for each in refused}
    assert set(session.scalars(select(SubscriptionEvent.subscription_id))).isdisjoint(refused)


@pytest.mark.parametrize(("missed", "renewed"), [(36, 36), (37, 0)])
def test_more_than_36_missed_periods_are_a_broken_date_that_a_person_mends(
    invoke_job: Invoke, session: Session, missed: int, renewed: int
) -> None:
    ends = NOW.replace(day=1) - relativedelta(months=missed - 1)
    subscription = subscribe(session, "active", anchor_day=1, current_period_end=ends)

    planned = invoke_job(job, {"dry_run": True}, at=NOW)["plan"]["steps"]
    counters = invoke_job(job, at=NOW)["counters"]

    assert counters["renewed"] == len(events(session)) == renewed
    assert sum(step["rows"] for step in planned) == renewed + counters["alerts"]
    assert list(open_alerts(session)) == ([] if renewed else [f"subscription-broken-date:{subscription.id}"])


@pytest.mark.parametrize("ends", ["0001-01-01Z", "4000-01-01Z BC", "-infinity"])
def test_a_broken_date_is_one_alert_however_far_it_is_off(invoke_job: Invoke, session: Session, ends: str) -> None:
    broken, sound = subscribe(session, "active"), subscribe(session, "active", slug=2, current_period_end=NOW)
    session.execute(
        text("update subscriptions set current_period_end = :ends where id = :id"), {"ends": ends, "id": broken.id}
    )
    session.commit()

    for at in (NOW, NOW + DAY):
        result = invoke_job(job, at=at)
        assert result["outcome"] == "succeeded"
        assert len(events(session)) == 1
        assert list(open_alerts(session)) == [f"subscription-broken-date:{broken.id}"]

    session.refresh(sound)
    assert sound.current_period_end > NOW


def test_an_alert_that_is_refused_stops_no_other(invoke_job: Invoke, session: Session) -> None:
    waiting = [subscribe(session, "active", slug=n, billing_cycle="custom", current_period_end=NOW) for n in range(5)]
    session.execute(
        text(
            "create function refuse() returns trigger language plpgsql as $$ begin"
            f" if new.fingerprint ~ '{waiting[2].id}' then raise 'not this one'; end if; return new; end $$;"
            "create trigger refuse before insert on nightshift.alerts for each row execute function refuse()"
        )
    )
    session.commit()

    result = invoke_job(job, at=NOW)

    assert (result["outcome"], result["counters"]["alerts"], result["counters"]["quarantined"]) == ("succeeded", 4, 1)
    assert len(open_alerts(session)) == 4


def test_dates_that_python_cannot_hold_stop_no_other_subscription(invoke_job: Invoke, session: Session) -> None:
    sound = subscribe(session, "active", slug="sound", current_period_end=NOW)
    states = ("incomplete", "trialing", "active", "past_due", "unpaid", "paused")
    dates = ("current_period_start", "current_period_end", "trial_ends_at", "past_due_since")
    odd = ("infinity", "-infinity", "20260-02-28", "0044-03-15 BC")
    for number, (state, column, at) in enumerate(itertools.product(states, dates, odd)):
        given: dict[str, Any] = {
            "current_period_end": NOW - DAY,
            "trial_ends_at": NOW - DAY,
            "past_due_since": NOW - 9 * DAY,
        }
        subscribe(session, state, slug=number, **(given | {column: text(f"'{at}'")}))
    session.add(SubscriptionEvent(subscription_id=sound.id, event="payment_failed", effective_at=text("'-infinity'")))
    session.commit()

    results = [invoke_job(job, at=NOW + number * DAY) for number in range(2)]

    assert [result["outcome"] for result in results] == ["succeeded", "succeeded"]
    session.refresh(sound)
    assert sound.current_period_end > NOW


def _changed(result: dict[str, Any]) -> dict[str, int]:
    return {name: number for name, number in result["counters"].items() if number and name in _changes()}


def _changes() -> set[str]:
    return {name for step in job.steps for name in step.changes}

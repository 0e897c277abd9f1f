import datetime as dt
import uuid
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import select, text
from sqlalchemy.orm import Session

from application.models import ReminderEvent, User, YearlySnapshot
from functions.tracking import _anniversaries
from functions.tracking.reminder_generation import job
from tests.integration.conftest import Invoke

RAMADAN_1445 = (1445, 9, 1)  # 2024-03-11; one year later is 2025-03-01

AMOUNT = "31415.92"
"""What every amount of these snapshots holds."""

NewUser = Callable[..., uuid.UUID]
NewSnapshot = Callable[..., uuid.UUID]


@pytest.fixture
def new_user(session: Session) -> NewUser:
    def make(**columns: Any) -> uuid.UUID:
        user = User(email=f"{uuid.uuid4()}@example.org", **columns)
        session.add(user)
        session.commit()
        return user.id

    return make


@pytest.fixture
def new_snapshot(session: Session) -> NewSnapshot:
    def make(user_id: uuid.UUID, hijri: tuple[int, int, int] = RAMADAN_1445, **columns: Any) -> uuid.UUID:
        year, month, day = hijri
        values = {
            "status": "FINALIZED",
            "calculation_date": dt.datetime(2024, 3, 11, tzinfo=dt.UTC),
            "gregorian_year": 2024,
            "total_wealth_enc": AMOUNT,
            "zakat_amount_enc": AMOUNT,
            "nisab_threshold_enc": AMOUNT,
            "nisab_type": "gold",
            "asset_breakdown_enc": AMOUNT,
            "methodology": "standard",
        }
        snapshot = YearlySnapshot(
            user_id=user_id, hijri_year=year, hijri_month=month, hijri_day=day, **{**values, **columns}
        )
        session.add(snapshot)
        session.commit()
        return snapshot.id

    return make


def run_on(invoke_job: Invoke, date: str, time: str = "03:00") -> dict[str, int]:
    """Run for a day and return the counters that are not zero."""
    result = invoke_job(job, at=f"{date}T{time}:00Z")
    assert result["outcome"] == "succeeded"
    return {name: value for name, value in result["counters"].items() if value and name != "batches"}


def reminders(session: Session) -> list[ReminderEvent]:
    session.rollback()
    return list(session.scalars(select(ReminderEvent).order_by(ReminderEvent.created_at, ReminderEvent.dedupe_key)))


def test_thirty_days_ahead_and_once(
    invoke_job: Invoke, session: Session, new_user: NewUser, new_snapshot: NewSnapshot
) -> None:
    user_id = new_user()
    snapshot_id = new_snapshot(user_id)

    assert run_on(invoke_job, "2025-01-29") == {"skipped_not_due": 1}
    assert run_on(invoke_job, "2025-01-30") == {"created": 1}
    assert run_on(invoke_job, "2025-01-31") == {"skipped_duplicate": 1}
    assert run_on(invoke_job, "2025-02-10") == {"skipped_duplicate": 1}
    assert run_on(invoke_job, "2025-03-01") == {"skipped_duplicate": 1}
    assert run_on(invoke_job, "2025-03-02") == {"skipped_not_due": 1}

    (reminder,) = reminders(session)
    now = dt.datetime(2025, 1, 30, 3, tzinfo=dt.UTC)
    assert (reminder.user_id, reminder.related_snapshot_id) == (user_id, snapshot_id)
    assert (reminder.event_type, reminder.status) == ("zakat_anniversary_approaching", "pending")
    assert (reminder.trigger_at, reminder.created_at) == (now, now)
    assert (reminder.due_on, reminder.priority) == (dt.date(2025, 3, 1), "medium")
    assert reminder.dedupe_key == f"{user_id}|zakat_anniversary_approaching|{snapshot_id}|1446"
    assert reminder.metadata_ == {
        "days_remaining": 30,
        "anniversary_gregorian": "2025-03-01",
        "anniversary_hijri": "1446-09-01",
        "lead_days": 30,
        "calendar": "umm-al-qura",
    }
    assert reminder.title == "Zakat anniversary on 1 March 2025"
    assert reminder.message == (
        "Your zakat year completes in 30 days, on 1 March 2025 (1 Ramadan 1446 AH). "
        "It is time to prepare this year's calculation."
    )


def test_a_reminder_holds_no_amount(
    invoke_job: Invoke, session: Session, new_user: NewUser, new_snapshot: NewSnapshot
) -> None:
    new_snapshot(new_user())

    assert run_on(invoke_job, "2025-02-01") == {"created": 1}

    row = session.scalar(text("select to_jsonb(reminder) - 'id' from reminder_events as reminder"))
    assert "1 March 2025" in str(row)
    assert AMOUNT not in str(row)


@pytest.mark.parametrize(
    ("date", "left", "priority"),
    [
        ("2025-02-14", 15, "medium"),
        ("2025-02-15", 14, "high"),
        ("2025-02-20", 9, "high"),
        ("2025-03-01", 0, "high"),
    ],
)
def test_late_when_earlier_runs_were_lost(
    invoke_job: Invoke,
    session: Session,
    new_user: NewUser,
    new_snapshot: NewSnapshot,
    date: str,
    left: int,
    priority: str,
) -> None:
    new_snapshot(new_user())

    assert run_on(invoke_job, date) == {"created": 1}

    (reminder,) = reminders(session)
    assert (reminder.metadata_["days_remaining"], reminder.priority) == (left, priority)


def test_a_short_month_moves_the_thirtieth_to_the_twenty_ninth(
    invoke_job: Invoke, session: Session, new_user: NewUser, new_snapshot: NewSnapshot
) -> None:
    new_snapshot(new_user(), (1445, 9, 30))

    assert run_on(invoke_job, "2025-02-26") == {"skipped_not_due": 1}
    assert run_on(invoke_job, "2025-02-27") == {"created": 1}

    (reminder,) = reminders(session)
    assert (reminder.due_on, reminder.metadata_["anniversary_hijri"]) == (dt.date(2025, 3, 29), "1446-09-29")


def test_two_anniversaries_in_one_gregorian_year(
    invoke_job: Invoke,
    session: Session,
    new_user: NewUser,
    new_snapshot: NewSnapshot,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("nightshift.ledger.claims.CLOCK_TOLERANCE", dt.timedelta(days=3660))  # 2030 is still to come
    new_snapshot(new_user())

    assert run_on(invoke_job, "2029-12-06") == {"created": 1}
    assert run_on(invoke_job, "2030-01-04") == {"skipped_duplicate": 1}
    assert run_on(invoke_job, "2030-11-26") == {"created": 1}

    assert [(str(reminder.due_on), reminder.metadata_["anniversary_hijri"]) for reminder in reminders(session)] == [
        ("2030-01-05", "1451-09-01"),
        ("2030-12-26", "1452-09-01"),
    ]


def test_the_latest_finalized_snapshot_counts(
    invoke_job: Invoke, session: Session, new_user: NewUser, new_snapshot: NewSnapshot
) -> None:
    """By Hijri year, month and day, and of one day the one made last: the earlier dates here were all made later."""
    user_id = new_user()
    for earlier in ((1444, 12, 29), (1445, 8, 29), (1445, 9, 1)):
        new_snapshot(user_id, earlier)
    ids = [
        new_snapshot(user_id, (1445, 9, 2), created_at=dt.datetime(2024, 3, day, tzinfo=dt.UTC)) for day in (13, 15, 14)
    ]
    new_snapshot(user_id, (1445, 10, 1), status="DRAFT")
    new_snapshot(user_id, (1445, 11, 1), status="UNLOCKED")

    assert run_on(invoke_job, "2025-02-01") == {"created": 1}

    assert [reminder.related_snapshot_id for reminder in reminders(session)] == [ids[1]]


def test_a_snapshot_of_somebody_else_is_never_used(
    invoke_job: Invoke, session: Session, new_user: NewUser, new_snapshot: NewSnapshot
) -> None:
    owners = {new_snapshot(user_id): user_id for user_id in (new_user(), new_user())}
    new_user()

    assert run_on(invoke_job, "2025-02-01") == {"created": 2, "skipped_no_snapshot": 1}

    assert {reminder.related_snapshot_id: reminder.user_id for reminder in reminders(session)} == owners


def test_inactive_deleted_and_anonymised_users_count_nowhere(
    invoke_job: Invoke, new_user: NewUser, new_snapshot: NewSnapshot
) -> None:
    gone = dt.datetime(2025, 1, 1, tzinfo=dt.UTC)
    for state in ({"is_active": False}, {"deleted_at": gone}, {"anonymized_at": gone}):
        new_snapshot(new_user(**state))

    assert run_on(invoke_job, "2025-02-01") == {}


@pytest.mark.parametrize(
    ("ago", "blocks"),
    [
        (dt.timedelta(days=7), True),
        (dt.timedelta(days=7, microseconds=1), False),
        (dt.timedelta(0), True),
    ],
)
def test_another_reminder_within_seven_days_blocks(
    invoke_job: Invoke, session: Session, new_user: NewUser, new_snapshot: NewSnapshot, ago: dt.timedelta, blocks: bool
) -> None:
    user_id = new_user()
    new_snapshot(user_id)
    now = dt.datetime(2025, 2, 1, 3, tzinfo=dt.UTC)
    session.add(
        ReminderEvent(
            user_id=user_id,
            event_type="zakat_anniversary_approaching",
            trigger_at=now,
            title="",
            message="",
            priority="high",
            dedupe_key="of another snapshot",
            created_at=now - ago,
        )
    )
    session.commit()

    assert run_on(invoke_job, "2025-02-01") == ({"skipped_duplicate": 1} if blocks else {"created": 1})


def test_a_reminder_of_another_type_or_user_does_not_block(
    invoke_job: Invoke, session: Session, new_user: NewUser, new_snapshot: NewSnapshot
) -> None:
    user_id = new_user()
    new_snapshot(user_id)
    now = dt.datetime(2025, 2, 1, 2, tzinfo=dt.UTC)
    for owner, kind in ((user_id, "data_backup_reminder"), (new_user(), "zakat_anniversary_approaching")):
        session.add(
            ReminderEvent(
                user_id=owner,
                event_type=kind,
                trigger_at=now,
                title="",
                message="",
                priority="low",
                dedupe_key=kind,
                created_at=now,
            )
        )
    session.commit()

    assert run_on(invoke_job, "2025-02-01") == {"created": 1, "skipped_no_snapshot": 1}


@pytest.mark.parametrize(
    ("zone", "before", "at"),
    [
        ("Pacific/Kiritimati", "2025-01-29T09:59", "2025-01-29T10:00"),  # UTC+14
        ("Pacific/Honolulu", "2025-01-30T09:59", "2025-01-30T10:00"),  # UTC-10
        ("Asia/Kathmandu", "2025-01-29T18:14", "2025-01-29T18:15"),  # UTC+5:45
    ],
)
def test_the_day_is_the_users_own(
    invoke_job: Invoke, new_user: NewUser, new_snapshot: NewSnapshot, zone: str, before: str, at: str
) -> None:
    new_snapshot(new_user(timezone=zone))

    assert run_on(invoke_job, *before.split("T")) == {"skipped_not_due": 1}
    assert run_on(invoke_job, *at.split("T")) == {"created": 1}


def test_an_invalid_zone_counts_as_utc_and_as_an_error(
    invoke_job: Invoke, session: Session, new_user: NewUser, new_snapshot: NewSnapshot
) -> None:
    new_snapshot(new_user(timezone="Mars/Olympus"))

    assert run_on(invoke_job, "2025-01-30") == {"created": 1, "errors": 1}
    assert session.scalar(text("select notes ->> 0 from nightshift.runs")).startswith("errors: so many people have")


def test_a_snapshot_of_this_year_waits_for_the_next(
    invoke_job: Invoke, session: Session, new_user: NewUser, new_snapshot: NewSnapshot
) -> None:
    """GIVEN a reminder of last year's snapshot WHEN this year's is finalized THEN only its own anniversary counts."""
    user_id = new_user()
    new_snapshot(user_id)
    assert run_on(invoke_job, "2025-02-01") == {"created": 1}
    latest = new_snapshot(user_id, (1446, 9, 1))

    assert run_on(invoke_job, "2025-03-01") == {"skipped_not_due": 1}
    assert run_on(invoke_job, "2026-02-01") == {"created": 1}

    assert [(reminder.related_snapshot_id, reminder.due_on) for reminder in reminders(session)][1:] == [
        (latest, dt.date(2026, 2, 18))
    ]


def test_a_year_outside_the_calendar_is_an_error_and_stops_nobody(
    invoke_job: Invoke, new_user: NewUser, new_snapshot: NewSnapshot
) -> None:
    new_snapshot(new_user(), (1500, 9, 1))
    new_snapshot(new_user())

    assert run_on(invoke_job, "2025-02-01") == {"created": 1, "errors": 1}


def test_a_refused_reminder_is_put_aside_and_the_others_are_written(
    invoke_job: Invoke, session: Session, new_user: NewUser, new_snapshot: NewSnapshot
) -> None:
    snapshots = [new_snapshot(new_user()) for _ in range(5)]
    session.execute(
        text(
            "create function refuse() returns trigger language plpgsql as $$ begin raise 'not this one'; end $$;"
            "create trigger refuse before insert on reminder_events for each row"
            f" when (new.related_snapshot_id = '{snapshots[2]}') execute function refuse()"
        )
    )
    session.commit()

    result = invoke_job(job, at="2025-02-01T03:00:00Z")

    assert (result["outcome"], result["counters"]["created"], result["counters"]["quarantined"]) == ("succeeded", 4, 1)
    assert str(snapshots[2]) in result["errors"][0]


def test_many_users_are_gone_over_in_windows_and_planned_alike(
    invoke_job: Invoke, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_anniversaries, "USERS_IN_A_WINDOW", 100)
    session.execute(text("insert into users (email) select i::text from generate_series(1, 1000) i"))
    session.execute(
        text(
            "insert into yearly_snapshots (user_id, status, calculation_date, gregorian_year, hijri_year, hijri_month,"
            " hijri_day, total_wealth_enc, zakat_amount_enc, nisab_threshold_enc, nisab_type, asset_breakdown_enc,"
            " methodology) select id, 'FINALIZED', '2024-03-11', 2024, 1445, 9, 1, '', '', '', 'gold', '', ''"
            " from users where email::int % 2 = 0"
        )
    )
    session.commit()

    (planned,) = invoke_job(job, {"dry_run": True}, at="2025-02-01T03:00:00Z")["plan"]["steps"]
    result = invoke_job(job, at="2025-02-01T03:00:00Z")["counters"]
    (later,) = invoke_job(job, {"dry_run": True}, at="2025-02-10T03:00:00Z")["plan"]["steps"]

    assert (planned["rows"], planned["action"], planned["table"]) == (500, "insert", "reminder_events")
    assert later["rows"] == 0
    assert (result["created"], result["skipped_no_snapshot"], result["batches"]) == (500, 500, 11)
    assert len({reminder.user_id for reminder in reminders(session)}) == 500

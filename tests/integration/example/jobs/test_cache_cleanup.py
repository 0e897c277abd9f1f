import datetime as dt
import uuid
from collections.abc import Callable

import pytest
from sqlalchemy import select, text
from sqlalchemy.orm import Session

from application.models import CachedMetric
from functions.tracking.cache_cleanup import job
from tests.integration.conftest import Invoke
from tests.integration.example.jobs.conftest import DAY, MICROSECOND, NOW, SECOND

Entry = Callable[..., CachedMetric]


@pytest.fixture
def entry(user_id: uuid.UUID) -> Entry:
    def make(label: str, *, expires_at: dt.datetime = NOW + SECOND, calculated_at: dt.datetime = NOW) -> CachedMetric:
        return CachedMetric(
            user_id=user_id,
            metric_type=label,
            start_date=NOW.date(),
            end_date=NOW.date(),
            value_enc="unreadable",
            expires_at=expires_at,
            calculated_at=calculated_at,
        )

    return make


def kept(session: Session) -> set[str]:
    return set(session.scalars(select(CachedMetric.metric_type)))


def test_the_expired_and_the_too_old_go(invoke_job: Invoke, session: Session, entry: Entry) -> None:
    session.add_all(
        [
            entry("expired a second ago", expires_at=NOW - SECOND),
            entry("expires now", expires_at=NOW),
            entry("expires in a microsecond", expires_at=NOW + MICROSECOND),
            entry("25 hours old", calculated_at=NOW - dt.timedelta(hours=25)),
            entry("just over 24 hours old", calculated_at=NOW - DAY - MICROSECOND),
            entry("exactly 24 hours old", calculated_at=NOW - DAY),
            entry("23:59 old", calculated_at=NOW - dt.timedelta(hours=23, minutes=59)),
            entry("both", expires_at=NOW - SECOND, calculated_at=NOW - 2 * DAY),
        ]
    )
    session.commit()

    result = invoke_job(job, at=NOW)

    assert result["counters"]["deleted"] == 5
    assert kept(session) == {"expires in a microsecond", "exactly 24 hours old", "23:59 old"}


def test_the_age_can_be_set(invoke_job: Invoke, session: Session, entry: Entry) -> None:
    session.add_all([entry("young", calculated_at=NOW - DAY), entry("old", calculated_at=NOW - 3 * DAY)])
    session.commit()

    invoke_job(job, {"parameters": {"max_age_hours": 48}}, at=NOW)

    assert kept(session) == {"young"}


def many(session: Session, user_id: uuid.UUID, rows: int) -> None:
    session.execute(
        text(
            "insert into analytics_cache (user_id, metric_type, start_date, end_date, value_enc, expires_at)"
            " select :user, i::text, '2026-01-01', '2026-01-31', '', '2026-02-01Z' from generate_series(1, :rows) i"
        ),
        {"user": user_id, "rows": rows},
    )
    session.commit()


def test_thousands_go_in_one_run_and_a_second_run_finds_nothing(
    invoke_job: Invoke, session: Session, user_id: uuid.UUID
) -> None:
    many(session, user_id, 2500)

    assert invoke_job(job, at=NOW)["counters"]["deleted"] == 2500
    assert invoke_job(job, at=NOW + DAY)["counters"]["deleted"] == 0


def test_a_cache_that_has_expired_almost_whole_is_no_surprise(
    invoke_job: Invoke, session: Session, user_id: uuid.UUID, entry: Entry
) -> None:
    """Entries live for minutes and go once a day: no share of the table is too much, however large it is."""
    many(session, user_id, 10_001)
    session.add(entry("fresh"))
    session.commit()

    assert invoke_job(job, at=NOW)["counters"]["deleted"] == 10_001
    assert kept(session) == {"fresh"}


def test_a_row_that_cannot_be_deleted_does_not_hold_up_the_others(
    invoke_job: Invoke, session: Session, user_id: uuid.UUID
) -> None:
    many(session, user_id, 2500)
    session.execute(
        text(
            "create function refuse() returns trigger language plpgsql as $$ begin raise 'not this one'; end $$;"
            "create trigger refuse before delete on analytics_cache for each row when (old.metric_type = '1234')"
            " execute function refuse()"
        )
    )
    session.commit()

    result = invoke_job(job, at=NOW)

    assert result["outcome"] == "succeeded"
    assert result["counters"]["deleted"] == 2499
    assert result["counters"]["quarantined"] == 1
    assert len(result["errors"]) == 1
    assert "analytics_cache" in result["errors"][0]
    assert kept(session) == {"1234"}

import datetime as dt
import uuid
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from application.models import UserSession
from functions.administration.session_cleanup import job
from tests.integration.conftest import Invoke
from tests.integration.example.jobs.conftest import DAY, MICROSECOND, NOW, SECOND

Login = Callable[..., UserSession]
State = tuple[str, str | None, dt.datetime | None]


@pytest.fixture
def login(user_id: uuid.UUID) -> Login:
    def make(label: str, **more: Any) -> UserSession:
        given = {"expires_at": NOW + DAY, "last_activity_at": NOW - SECOND, "created_at": NOW - DAY, **more}
        return UserSession(user_id=user_id, token_hash=label.encode(), **given)

    return make


def states(session: Session) -> dict[str, State]:
    found = select(
        UserSession.token_hash, UserSession.status, UserSession.termination_reason, UserSession.terminated_at
    )
    return {label.decode(): (status, reason, end) for label, status, reason, end in session.execute(found)}


ACTIVE: State = ("active", None, None)
EXPIRED: State = ("expired", "expired", NOW)
INACTIVE: State = ("expired", "inactive", NOW)


def test_sessions_past_their_time_or_idle_for_thirty_days_end(
    invoke_job: Invoke, session: Session, login: Login
) -> None:
    idle = NOW - 30 * DAY - SECOND
    session.add_all(
        [
            login("expired", expires_at=NOW - MICROSECOND),
            login("expires now", expires_at=NOW),
            login("idle", last_activity_at=idle),
            login("idle for 30 days", last_activity_at=NOW - 30 * DAY),
            login("expires now, idle", expires_at=NOW, last_activity_at=idle),
            login("expired and idle", expires_at=NOW - DAY, last_activity_at=idle),
            login("in use for 100 days", created_at=NOW - 100 * DAY),
        ]
    )
    session.commit()

    counters = invoke_job(job, at=NOW)["counters"]

    assert (counters["expired"], counters["inactive"], counters["deleted"]) == (2, 2, 0)
    assert states(session) == {
        "expired": EXPIRED,
        "expires now": ACTIVE,
        "idle": INACTIVE,
        "idle for 30 days": ACTIVE,
        "expires now, idle": INACTIVE,
        "expired and idle": EXPIRED,
        "in use for 100 days": ACTIVE,
    }


@pytest.mark.parametrize("status", ["expired", "revoked", "suspended"])
def test_ended_sessions_go_ninety_days_after_their_end(
    invoke_job: Invoke, session: Session, login: Login, status: str
) -> None:
    cutoff = NOW - 90 * DAY
    session.add_all(
        [
            login("90 days", status=status, terminated_at=cutoff),
            login("90 days and a second", status=status, terminated_at=cutoff - SECOND),
            login("created long ago, ended lately", status=status, created_at=NOW - 400 * DAY, terminated_at=NOW - DAY),
            login("end unknown, expired 90 days ago", status=status, expires_at=cutoff),
            login("end unknown, expired before", status=status, expires_at=cutoff - SECOND),
            login("ended lately, expired long ago", status=status, expires_at=NOW - 200 * DAY, terminated_at=NOW - DAY),
        ]
    )
    session.commit()

    counters = invoke_job(job, at=NOW)["counters"]

    assert (counters["expired"], counters["inactive"], counters["deleted"]) == (0, 0, 2)
    assert set(states(session)) == {
        "90 days",
        "created long ago, ended lately",
        "end unknown, expired 90 days ago",
        "ended lately, expired long ago",
    }


def test_a_session_that_expired_long_ago_unnoticed_is_ended_and_kept(
    invoke_job: Invoke, session: Session, login: Login
) -> None:
    session.add(login("forgotten", expires_at=NOW - 300 * DAY, last_activity_at=NOW - 301 * DAY))
    session.commit()

    invoke_job(job, at=NOW)
    assert states(session) == {"forgotten": EXPIRED}

    assert invoke_job(job, at=NOW + 90 * DAY)["counters"]["deleted"] == 0
    assert invoke_job(job, at=NOW + 90 * DAY + SECOND)["counters"]["deleted"] == 1

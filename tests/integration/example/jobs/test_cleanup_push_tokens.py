import datetime as dt
import uuid

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from application.models import PushToken
from functions.community.cleanup_push_tokens import job
from tests.integration.conftest import Invoke
from tests.integration.example.jobs.conftest import DAY, NOW, SECOND

LONG_AGO = NOW - 400 * DAY


def kept(session: Session) -> set[str]:
    return set(session.scalars(select(PushToken.token)))


def test_tokens_idle_for_ninety_days_go(invoke_job: Invoke, session: Session, user_id: uuid.UUID) -> None:
    def token(label: str, created_at: dt.datetime, last_used_at: dt.datetime | None) -> PushToken:
        return PushToken(user_id=user_id, token=label, platform="ios", created_at=created_at, last_used_at=last_used_at)

    session.add_all(
        [
            token("90 days", LONG_AGO, NOW - 90 * DAY),
            token("90 days and a second", LONG_AGO, NOW - 90 * DAY - SECOND),
            token("never used, old", LONG_AGO, None),
            token("never used, 90 days", NOW - 90 * DAY, None),
            token("used today", LONG_AGO, NOW),
        ]
    )
    session.commit()

    counters = invoke_job(job, at=NOW)["counters"]

    assert (counters["deleted"], counters["cutoff"]) == (2, "2025-12-01T02:00:00Z")
    assert kept(session) == {"90 days", "never used, 90 days", "used today"}


def test_a_token_registered_again_stays(invoke_job: Invoke, session: Session, user_id: uuid.UUID) -> None:
    session.add(PushToken(user_id=user_id, token="device", platform="ios", created_at=LONG_AGO))
    session.commit()
    session.execute(update(PushToken).values(last_used_at=NOW))
    session.commit()

    assert invoke_job(job, at=NOW)["counters"]["deleted"] == 0
    assert kept(session) == {"device"}

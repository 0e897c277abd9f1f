from sqlalchemy import select
from sqlalchemy.orm import Session

from application.models import AuthToken, User
from functions.identity.email_verification_cleanup import job
from tests.integration.conftest import Invoke
from tests.integration.example.jobs.conftest import DAY, MICROSECOND, NOW, SECOND


def token(label: str, *, kind: str = "email_verification", **times: object) -> AuthToken:
    return AuthToken(**{"kind": kind, "token_hash": label.encode(), "expires_at": NOW + DAY, **times})


def kept(session: Session) -> set[str]:
    return {value.decode() for value in session.scalars(select(AuthToken.token_hash))}


def test_used_and_expired_tokens_go_and_are_counted_apart(invoke_job: Invoke, session: Session) -> None:
    session.add_all(
        [
            token("unused"),
            token("expires now", expires_at=NOW),
            token("expired", expires_at=NOW - MICROSECOND),
            token("used", used_at=NOW - SECOND),
            token("used now", used_at=NOW),
            token("used and expired", used_at=NOW - 2 * DAY, expires_at=NOW - DAY),
            token("used after the run's time", used_at=NOW + SECOND),
            token("expired, used after the run's time", used_at=NOW + SECOND, expires_at=NOW - SECOND),
            token("other kind", kind="password_reset", used_at=NOW - SECOND, expires_at=NOW - SECOND),
        ]
    )
    session.commit()

    counters = invoke_job(job, at=NOW)["counters"]

    assert (counters["deleted_used"], counters["deleted_expired"]) == (3, 2)
    assert kept(session) == {"unused", "expires now", "used after the run's time", "other kind"}


def test_verified_users_stay_verified_and_the_others_stay(invoke_job: Invoke, session: Session) -> None:
    verified = User(email="ann@example.org", email_verified_at=NOW - DAY)
    unverified = User(email="joe@example.org", created_at=NOW - 400 * DAY)
    session.add_all([verified, unverified])
    session.flush()
    session.add_all(
        [
            token("used", user_id=verified.id, used_at=NOW - DAY),
            token("expired", user_id=unverified.id, expires_at=NOW - DAY),
        ]
    )
    session.commit()

    invoke_job(job, at=NOW)

    assert kept(session) == set()
    assert set(session.execute(select(User.email, User.email_verified_at))) == {
        ("ann@example.org", NOW - DAY),
        ("joe@example.org", None),
    }

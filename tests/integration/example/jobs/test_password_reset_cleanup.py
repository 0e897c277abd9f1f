from sqlalchemy import func, select, text
from sqlalchemy.orm import Session

from application.models import AuthToken, User
from functions.identity.email_verification_cleanup import job as mail_job
from functions.identity.password_reset_cleanup import job
from tests.integration.conftest import Invoke
from tests.integration.example.jobs.conftest import DAY, MICROSECOND, NOW, SECOND


def token(label: str, *, kind: str = "password_reset", **times: object) -> AuthToken:
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
            token("revoked", revoked_at=NOW - DAY),
        ]
    )
    session.commit()

    counters = invoke_job(job, at=NOW)["counters"]

    assert (counters["deleted_used"], counters["deleted_expired"]) == (3, 2)
    assert kept(session) == {"unused", "expires now", "used after the run's time", "revoked"}


def test_users_stay_as_they_are(invoke_job: Invoke, session: Session) -> None:
    users = [
        User(email="ann@example.org", password_hash="new", password_changed_at=NOW - DAY),
        User(email="joe@example.org", password_hash="forgotten"),
    ]
    session.add_all(users)
    session.flush()
    session.add(token("used", user_id=users[0].id, used_at=NOW - DAY))
    session.add(token("expired", user_id=users[1].id, expires_at=NOW - DAY))
    session.commit()
    everything = select(func.to_jsonb(text("users"))).select_from(User).order_by(User.email)
    before = session.scalars(everything).all()

    invoke_job(job, at=NOW)

    session.rollback()
    assert kept(session) == set()
    assert session.scalars(everything).all() == before


def test_the_cleanups_of_one_hour_keep_to_their_own_kind(invoke_job: Invoke, session: Session) -> None:
    for kind in ("password_reset", "email_verification"):
        session.add_all(
            [
                token(f"{kind} used", kind=kind, used_at=NOW - SECOND),
                token(f"{kind} expired", kind=kind, expires_at=NOW - SECOND),
            ]
        )
    session.commit()

    invoke_job(job, at=NOW)
    assert kept(session) == {"email_verification used", "email_verification expired"}

    invoke_job(mail_job, at=NOW)
    assert kept(session) == set()

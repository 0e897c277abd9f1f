import datetime as dt

import pytest
from sqlalchemy import select, text
from sqlalchemy.orm import Session

from application.models import AuthToken
from functions.identity.email_verification_cleanup import job as next_job
from functions.identity.refresh_token_cleanup import job
from nightshift.errors import RunFailedError, SettingError
from nightshift.ledger import RunRecord
from tests.integration.conftest import Invoke
from tests.integration.example.jobs.conftest import DAY, MICROSECOND, NOW, SECOND


def token(label: str, expires_at: dt.datetime, *, kind: str = "refresh", **more: object) -> AuthToken:
    return AuthToken(kind=kind, token_hash=label.encode(), expires_at=expires_at, **more)


def kept(session: Session) -> set[str]:
    return {value.decode() for value in session.scalars(select(AuthToken.token_hash))}


@pytest.mark.parametrize(
    ("expired", "valid"), [(0, 0), (0, 3), (2, 1), (3, 0)], ids=["empty", "none expired", "some expired", "all expired"]
)
def test_expired_tokens_go(invoke_job: Invoke, session: Session, expired: int, valid: int) -> None:
    session.add_all([token(f"expired {i}", NOW - i * DAY - SECOND) for i in range(expired)])
    session.add_all([token(f"valid {i}", NOW + i * DAY + SECOND) for i in range(valid)])
    session.commit()

    result = invoke_job(job, at=NOW)

    assert result["outcome"] == "succeeded"
    assert result["counters"]["deleted"] == expired
    assert kept(session) == {f"valid {i}" for i in range(valid)}


def test_the_boundary_is_the_microsecond_of_the_run(invoke_job: Invoke, session: Session) -> None:
    session.add_all([token("before", NOW - MICROSECOND), token("at", NOW), token("after", NOW + MICROSECOND)])
    session.commit()

    invoke_job(job, at=NOW)

    assert kept(session) == {"at", "after"}


def test_other_kinds_and_revoked_tokens_that_have_not_expired_stay(invoke_job: Invoke, session: Session) -> None:
    others = ["email_verification", "password_reset", "access_denylist", "mfa_challenge"]
    session.add_all([token(kind, NOW - DAY, kind=kind) for kind in others])
    session.add(token("revoked", NOW + DAY, revoked_at=NOW - DAY))
    session.commit()

    assert invoke_job(job, at=NOW)["counters"]["deleted"] == 0
    assert kept(session) == {*others, "revoked"}


def test_a_token_forgets_the_deleted_one_that_replaced_it(invoke_job: Invoke, session: Session) -> None:
    expired = token("expired", NOW - SECOND)
    session.add(expired)
    session.flush()
    session.add(token("replaced", NOW + DAY, replaced_by=expired.id))
    session.commit()

    invoke_job(job, at=NOW)

    assert session.execute(select(AuthToken.token_hash, AuthToken.replaced_by)).all() == [(b"replaced", None)]


def test_expired_tokens_can_be_retained(invoke_job: Invoke, session: Session) -> None:
    session.add_all([token("expired lately", NOW - 29 * DAY), token("expired long ago", NOW - 31 * DAY)])
    session.commit()

    invoke_job(job, {"parameters": {"retain_expired": 30}}, at=NOW)

    assert kept(session) == {"expired lately"}


def test_a_negative_retention_is_refused(invoke_job: Invoke, session: Session) -> None:
    session.add(token("valid", NOW + SECOND))
    session.commit()

    with pytest.raises(SettingError, match="retain_expired must be a whole number of days, at least 0"):
        invoke_job(job, {"parameters": {"retain_expired": -1}}, at=NOW)

    assert kept(session) == {"valid"}


def test_a_failure_is_recorded_and_the_next_job_still_runs(invoke_job: Invoke, session: Session) -> None:
    session.add_all([token("refused", NOW - DAY), token("mail", NOW - DAY, kind="email_verification")])
    session.execute(
        text(
            "create function panic() returns trigger language plpgsql as"
            " $$ begin perform not_there(); return old; end $$;"
            "create trigger panic before delete on auth_tokens for each row when (old.kind = 'refresh')"
            " execute function panic()"
        )
    )
    session.commit()

    with pytest.raises(RunFailedError, match="42883"):
        invoke_job(job, at=NOW)

    run = session.execute(select(RunRecord.state, RunRecord.errors).where(RunRecord.job == job.name)).one()
    assert run.state == "retrying"
    assert "42883" in run.errors[0]
    assert invoke_job(next_job, at=NOW)["counters"]["deleted_expired"] == 1
    assert kept(session) == {"refused"}

import datetime as dt
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from application.models import ApiKey, AuditLog, AuthToken, Invitation
from functions.administration.token_cleanup import job
from tests.integration.conftest import Invoke
from tests.integration.example.jobs.conftest import DAY, NOW, SECOND

MONTH_AGO = NOW - 30 * DAY


def invitation(email: str, **more: Any) -> Invitation:
    return Invitation(**{"kind": "admin", "email": email, "created_at": NOW - DAY, **more})


def key(name: str, **more: Any) -> ApiKey:
    return ApiKey(name=name, key_prefix="ns_1", key_hash=name.encode(), **more)


def test_pending_invitations_of_admins_expire(invoke_job: Invoke, session: Session) -> None:
    session.add_all(
        [
            invitation("past", expires_at=NOW - SECOND),
            invitation("now", expires_at=NOW),
            invitation("never", expires_at=None, created_at=NOW - 400 * DAY),
            invitation("accepted", status="accepted", expires_at=NOW - SECOND),
            invitation("project", kind="project", expires_at=NOW - SECOND),
        ]
    )
    session.commit()

    counters = invoke_job(job, at=NOW)["counters"]

    assert (counters["invitations_expired"], counters["invitations_deleted"]) == (1, 0)
    assert dict(session.execute(select(Invitation.email, Invitation.status)).all()) == {
        "past": "expired",
        "now": "pending",
        "never": "pending",
        "accepted": "accepted",
        "project": "pending",
    }


def test_closed_invitations_of_admins_go_thirty_days_after_their_creation(invoke_job: Invoke, session: Session) -> None:
    closed = ["accepted", "expired", "revoked", "declined"]
    session.add_all([invitation(status, status=status, created_at=MONTH_AGO - SECOND) for status in closed])
    session.add_all(
        [
            invitation("30 days", status="revoked", created_at=MONTH_AGO),
            invitation("pending", created_at=MONTH_AGO - SECOND, expires_at=NOW + DAY),
            invitation("expires in this run", created_at=MONTH_AGO - SECOND, expires_at=NOW - DAY),
            invitation("project", kind="project", status="accepted", created_at=NOW - 400 * DAY),
        ]
    )
    session.commit()

    assert invoke_job(job, at=NOW)["counters"]["invitations_deleted"] == 4
    assert set(session.scalars(select(Invitation.email))) == {"30 days", "pending", "expires in this run", "project"}


def test_keys_past_their_time_are_closed_and_live_thirty_days_more(invoke_job: Invoke, session: Session) -> None:
    session.add_all(
        [
            key("expired long ago", expires_at=NOW - 400 * DAY),
            key("expires now", expires_at=NOW),
            key("never expires", created_at=NOW - 4000 * DAY),
        ]
    )
    session.commit()

    counters = invoke_job(job, at=NOW)["counters"]

    assert (counters["keys_expired"], counters["keys_deleted"]) == (1, 0)
    found = session.execute(select(ApiKey.name, ApiKey.is_active, ApiKey.revoked_at, ApiKey.revoke_reason))
    assert set(found) == {
        ("expired long ago", False, NOW, "expired"),
        ("expires now", True, None, None),
        ("never expires", True, None, None),
    }
    assert invoke_job(job, at=NOW + 30 * DAY)["counters"]["keys_deleted"] == 0
    assert invoke_job(job, at=NOW + 30 * DAY + SECOND)["counters"]["keys_deleted"] == 1


def test_closed_keys_go_thirty_days_after_the_end_of_their_use(invoke_job: Invoke, session: Session) -> None:
    long_ago = NOW - 400 * DAY
    session.add_all(
        [
            key("revoked before", is_active=False, revoked_at=MONTH_AGO - SECOND, revoke_reason="leaked"),
            key("revoked 30 days ago", is_active=False, revoked_at=MONTH_AGO),
            key("revoked lately, expired long ago", is_active=False, revoked_at=NOW - DAY, expires_at=long_ago),
            key("end unknown, expired before", is_active=False, expires_at=MONTH_AGO - SECOND),
            key("end unknown, expired 30 days ago", is_active=False, expires_at=MONTH_AGO),
            key("end unknown, never expires", is_active=False, created_at=long_ago),
        ]
    )
    session.commit()

    assert invoke_job(job, at=NOW)["counters"]["keys_deleted"] == 2
    assert set(session.scalars(select(ApiKey.name))) == {
        "revoked 30 days ago",
        "revoked lately, expired long ago",
        "end unknown, expired 30 days ago",
        "end unknown, never expires",
    }


def test_the_audit_trail_keeps_the_prefix_of_a_deleted_key(invoke_job: Invoke, session: Session) -> None:
    gone = key("gone", is_active=False, revoked_at=NOW - 31 * DAY)
    session.add(gone)
    session.flush()
    session.add(AuditLog(action="api.request", api_key_id=gone.id, metadata_={"key_prefix": "ns_1"}))
    session.commit()

    invoke_job(job, at=NOW)

    found = select(AuditLog.api_key_id, AuditLog.metadata_).where(AuditLog.action == "api.request")
    assert session.execute(found).one() == (None, {"key_prefix": "ns_1"})


def test_spent_tokens_of_the_kinds_without_a_cleanup_of_their_own_go(invoke_job: Invoke, session: Session) -> None:
    def token(kind: str, label: str, expires_at: dt.datetime) -> AuthToken:
        return AuthToken(kind=kind, token_hash=label.encode(), expires_at=expires_at)

    kinds = ["access_denylist", "mfa_challenge", "refresh", "email_verification", "password_reset"]
    session.add_all([token(kind, "past", NOW - SECOND) for kind in kinds])
    session.add_all([token(kind, "now", NOW) for kind in kinds])
    session.commit()

    assert invoke_job(job, at=NOW)["counters"]["tokens_deleted"] == 2
    past = session.scalars(select(AuthToken.kind).where(AuthToken.token_hash == b"past"))
    assert set(past) == {"refresh", "email_verification", "password_reset"}

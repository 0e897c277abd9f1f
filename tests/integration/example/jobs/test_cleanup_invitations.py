from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from application.models import AuditLog, Invitation
from functions.community.cleanup_invitations import job
from tests.integration.conftest import Invoke
from tests.integration.example.jobs.conftest import DAY, NOW, SECOND


def invitation(email: str, **more: Any) -> Invitation:
    return Invitation(**{"kind": "project", "email": email, "created_at": NOW - 31 * DAY, **more})


def kept(session: Session) -> set[str]:
    return set(session.scalars(select(Invitation.email)))


def test_unanswered_project_invitations_go_after_thirty_days(invoke_job: Invoke, session: Session) -> None:
    session.add_all(
        [
            invitation("31 days"),
            invitation("30 days and a second", created_at=NOW - 30 * DAY - SECOND),
            invitation("30 days", created_at=NOW - 30 * DAY),
            invitation("accepted", status="accepted", accepted_at=NOW - 30 * DAY),
            invitation("declined", status="declined", declined_at=NOW - 30 * DAY),
            invitation("accepted, status not yet written", accepted_at=NOW - 30 * DAY),
            invitation("declined, status not yet written", declined_at=NOW - 30 * DAY),
            invitation("revoked", status="revoked"),
            invitation("admin", kind="admin"),
        ]
    )
    session.commit()

    counters = invoke_job(job, at=NOW)["counters"]

    assert (counters["deleted"], counters["cutoff"]) == (2, "2026-01-30T02:00:00Z")
    assert kept(session) == {
        "30 days",
        "accepted",
        "declined",
        "accepted, status not yet written",
        "declined, status not yet written",
        "revoked",
        "admin",
    }


def test_the_audit_trail_says_how_many_and_names_nobody(invoke_job: Invoke, session: Session) -> None:
    session.add_all([invitation("ann@example.org"), invitation("joe@example.org")])
    session.commit()

    result = invoke_job(job, at=NOW)

    (row,) = session.scalars(select(AuditLog))
    assert (row.action, row.actor_type, row.occurred_at) == ("job.cleanup-invitations", "system", NOW)
    assert row.resource_id == result["run_id"]
    assert row.metadata_["deleted"] == 2
    assert "example.org" not in f"{row.metadata_} {row.changes}"

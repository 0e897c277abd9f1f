from sqlalchemy import func, select, text
from sqlalchemy.orm import Session

from application.models import LoginAttempt
from functions.identity.login_attempt_cleanup import job
from tests.integration.conftest import Invoke
from tests.integration.example.jobs.conftest import DAY, NOW, SECOND


def test_what_is_older_than_seven_days_goes_failed_or_not(invoke_job: Invoke, session: Session) -> None:
    session.add_all(
        [
            LoginAttempt(email=f"{label} {success}", success=success, attempted_at=NOW - age)
            for success in (True, False)
            for label, age in (("7 days", 7 * DAY), ("7 days and a second", 7 * DAY + SECOND), ("now", 0 * DAY))
        ]
    )
    session.commit()

    result = invoke_job(job, at=NOW)

    assert result["counters"] == {
        "deleted": 2,
        "batches": result["counters"]["batches"],
        "quarantined": 0,
        "cutoff": "2026-02-22T02:00:00Z",
    }
    assert set(session.scalars(select(LoginAttempt.email))) == {"7 days True", "7 days False", "now True", "now False"}


def test_three_thousand_go_in_one_run(invoke_job: Invoke, session: Session) -> None:
    session.execute(
        text(
            "insert into login_attempts (success, attempted_at)"
            " select i % 2 = 0, timestamptz '2026-02-01Z' + i * interval '1 s' from generate_series(1, 3000) i"
        )
    )
    session.add(LoginAttempt(success=True, attempted_at=NOW))
    session.commit()

    assert invoke_job(job, at=NOW)["counters"]["deleted"] == 3000
    assert session.scalar(select(func.count()).select_from(LoginAttempt)) == 1

"""Every deployed job does its work when Lambda invokes it, under its own role; and its rule starts it."""

import datetime as dt
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from local.demo import Invocation
from nightshift.declaration import registry
from tests.e2e.conftest import TICKING, Lambda, eventually, runs, scheduled

pytestmark = pytest.mark.e2e

JOB = "cleanup-push-tokens"


@pytest.mark.parametrize("job", [name for name in registry() if name != TICKING])
def test_a_deployed_job_succeeds(job: str, answers: Mapping[str, Invocation]) -> None:
    answer = answers[job]
    assert not answer.failed, answer.answer
    assert answer.outcome == "succeeded"


def test_a_rule_starts_its_job_by_itself(session: Session) -> None:
    def by_schedule() -> list[Any]:
        return [run for run in runs(session, TICKING) if (run.trigger, run.state) == ("schedule", "succeeded")]

    run = eventually(by_schedule, seconds=120)[0]
    assert run.scheduled_for.second == 0
    assert run.created_at - run.scheduled_for < dt.timedelta(minutes=1)


def test_a_plan_changes_nothing_and_the_run_then_does_what_it_said(functions: Lambda, session: Session) -> None:
    _add_idle_tokens(session, 7)
    planned = functions.call(JOB, {"dry_run": True})
    assert planned["outcome"] == "planned"
    assert _idle_tokens(session) == 7
    assert functions.call(JOB, {})["counters"]["deleted"] == 7
    assert _idle_tokens(session) == 0


def test_a_run_can_be_asked_for_by_its_id(functions: Lambda, session: Session) -> None:
    first = functions.call(JOB, {})
    _add_idle_tokens(session, 1)
    again = functions.call(JOB, {"run_id": first["run_id"]})
    assert again == first
    assert _idle_tokens(session) == 1, "a run that has ended must not run again"


def test_the_same_scheduled_event_twice_at_the_same_moment_is_one_run(functions: Lambda, session: Session) -> None:
    # GIVEN due rows, and two warm workers so that both deliveries begin together
    functions.call(JOB, {})
    _add_idle_tokens(session, 500)
    event = scheduled(dt.datetime.now(dt.UTC).replace(second=0) - dt.timedelta(minutes=3))
    # WHEN the event is delivered twice at once, and a third time later
    with ThreadPoolExecutor(2) as pool:
        both = list(pool.map(lambda _: functions.call(JOB, event), range(2)))
    late = functions.call(JOB, event)
    # THEN it is one run of one attempt, which all three tell of
    assert len({answer["run_id"] for answer in (*both, late)}) == 1
    assert late["outcome"] == "succeeded"
    assert late["counters"]["deleted"] == 500
    attempts = [run.attempts for run in runs(session, JOB) if str(run.id) == late["run_id"]]
    assert attempts == [1]


def test_a_payload_that_is_not_understood_changes_nothing(functions: Lambda, session: Session) -> None:
    before = len(runs(session, JOB))
    assert "retention_day" in functions.error(JOB, {"parameters": {"retention_day": 60}})
    assert "in the future" in functions.error(JOB, {"scheduled_for": "2100-01-01T00:00:00Z"})
    assert len(runs(session, JOB)) == before


def _add_idle_tokens(session: Session, count: int) -> None:
    """Push tokens that are due."""
    session.execute(
        text(
            """
            insert into push_tokens (user_id, token, platform, created_at)
            select (select id from users limit 1), gen_random_uuid(), 'e2e', now() - interval '91 days'
              from generate_series(1, :count)
            """
        ),
        {"count": count},
    )
    session.commit()


def _idle_tokens(session: Session) -> int:
    session.rollback()
    return int(session.scalar(text("select count(*) from push_tokens where platform = 'e2e'")) or 0)

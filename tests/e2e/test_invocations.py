"""Every deployed job does its work when Lambda invokes it, under its own role; and its rule starts it."""

import datetime as dt
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from tests.e2e.conftest import ITEMS, JOBS, TICKING, Lambda, eventually, runs, scheduled

pytestmark = pytest.mark.e2e

OF_THE_SHOP = [name for name, found in JOBS.items() if found.pack in ("market", "back_office") and name != TICKING]


@pytest.mark.parametrize("job", OF_THE_SHOP)
def test_a_deployed_job_succeeds(job: str, functions: Lambda) -> None:
    assert functions.call(job, {})["outcome"] == "succeeded"


def test_a_rule_starts_its_job_by_itself(session: Session) -> None:
    def by_schedule() -> list[Any]:
        return [run for run in runs(session, TICKING) if (run.trigger, run.state) == ("schedule", "succeeded")]

    run = eventually(by_schedule, seconds=120)[0]
    assert run.scheduled_for.second == 0
    assert run.created_at - run.scheduled_for < dt.timedelta(minutes=1)


def test_a_plan_changes_nothing_and_the_run_then_does_what_it_said(functions: Lambda, session: Session) -> None:
    _add_items(session, 7)
    planned = functions.call(ITEMS, {"dry_run": True})
    assert planned["outcome"] == "planned"
    assert _items(session) == 7
    assert functions.call(ITEMS, {})["counters"]["deleted"] == 7
    assert _items(session) == 0


def test_a_run_can_be_asked_for_by_its_id(functions: Lambda, session: Session) -> None:
    first = functions.call(ITEMS, {})
    _add_items(session, 1)
    again = functions.call(ITEMS, {"run_id": first["run_id"]})
    assert again == first
    assert _items(session) == 1, "a run that has ended must not run again"


def test_the_same_scheduled_event_twice_at_the_same_moment_is_one_run(functions: Lambda, session: Session) -> None:
    # GIVEN due rows, and two warm workers so that both deliveries begin together
    functions.call(ITEMS, {})
    _add_items(session, 500)
    event = scheduled(dt.datetime.now(dt.UTC).replace(second=0) - dt.timedelta(minutes=3))
    # WHEN the event is delivered twice at once, and a third time later
    with ThreadPoolExecutor(2) as pool:
        both = list(pool.map(lambda _: functions.call(ITEMS, event), range(2)))
    late = functions.call(ITEMS, event)
    # THEN it is one run of one attempt, which all three tell of
    assert len({answer["run_id"] for answer in (*both, late)}) == 1
    assert late["outcome"] == "succeeded"
    assert late["counters"]["deleted"] == 500
    attempts = [run.attempts for run in runs(session, ITEMS) if str(run.id) == late["run_id"]]
    assert attempts == [1]


def test_a_payload_that_is_not_understood_changes_nothing(functions: Lambda, session: Session) -> None:
    before = len(runs(session, ITEMS))
    assert "retention_day" in functions.error(ITEMS, {"parameters": {"retention_day": 60}})
    assert "in the future" in functions.error(ITEMS, {"scheduled_for": "2100-01-01T00:00:00Z"})
    assert len(runs(session, ITEMS)) == before


def _add_items(session: Session, count: int) -> None:
    """Lines of carts that are due."""
    items = text("insert into cart_items (removed_at) select now() - interval '8 days' from generate_series(1, :count)")
    session.execute(items, {"count": count})
    session.commit()


def _items(session: Session) -> int:
    session.rollback()
    return int(session.scalar(text("select count(*) from cart_items")) or 0)

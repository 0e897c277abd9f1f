"""What is unusual about a run, or about a job without a success: marked, shown, measured, and told once."""

import datetime as dt
import uuid
from dataclasses import dataclass, field
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from nightshift import Policy, ledger
from nightshift.declaration import Deployment
from nightshift.ledger import Claim, Request
from nightshift.ledger.anomalies import Past, judged
from nightshift.operations import Notice, Round, answer
from tests.integration.test_supervisor import World, measured

__all__ = ["measured"]  # a fixture

CARTS, CHECK = "abandoned-carts", "shop-check"
USUAL = [Past(10.0, 100)] * 5


@pytest.mark.parametrize(
    ("history", "seconds", "touched", "kinds"),
    [
        (USUAL, 10.0, 100, []),
        (USUAL, 70.1, 100, ["slow"]),
        (USUAL, 70.0, 100, []),  # not a minute more
        ([Past(100.0, 100)] * 5, 500.0, 100, []),
        ([Past(100.0, 100)] * 5, 500.1, 100, ["slow"]),
        (USUAL, 10.0, 0, ["nothing"]),
        ([*USUAL, *USUAL[:4], Past(10.0, 0)], 10.0, 0, ["nothing"]),
        ([*USUAL[:4], Past(10.0, 0)], 10.0, 0, []),  # it happens
        (USUAL, 10.0, 1_100, ["many"]),
        (USUAL, 10.0, 1_000, []),  # not more than ten times
        ([*USUAL, Past(10.0, 600)], 10.0, 1_200, []),  # it was nearly as many before
        ([Past(10.0, 1)] * 5, 10.0, 1_000, []),  # not a thousand more
        (USUAL, 700.0, 0, ["slow", "nothing"]),
        (USUAL, 700.0, None, ["slow"]),  # it is at work, or changes no rows
        (USUAL[:4], 700.0, 0, []),  # too little history
    ],
)
def test_thresholds(history: list[Past], seconds: float, touched: int | None, kinds: list[str]) -> None:
    assert list(judged(history, seconds, touched)) == kinds


@dataclass
class Telling(World):
    """A supervisor that tells the operators."""

    notices: list[Notice] = field(default_factory=list)

    def look(self, deployment: Deployment | None = None, **more: Any) -> Round:
        return super().look(deployment, tell=self.notices.append, **more)


@pytest.fixture
def world(session: Session) -> World:
    session.execute(
        text("insert into nightshift.jobs (name) values (:carts), (:check)"), {"carts": CARTS, "check": CHECK}
    )
    session.commit()
    return Telling(session, deployment=Deployment(changes={CHECK: {"enabled": False}}))


def ran(world: World, days_ago: int, seconds: int, deleted: int, state: str = "succeeded", **more: Any) -> str:
    """A run of the schedule that has ended, or is at work since so many seconds."""
    world.session.rollback()
    row = text(
        "insert into nightshift.runs (job, scheduled_for, trigger, state, max_attempts, counters, started_at,"
        " finished_at, lease_until, judged_at) values (:job, date_trunc('day', now()) - make_interval(days => :days),"
        " :trigger, :state, 3, jsonb_build_object('deleted', cast(:deleted as int)),"
        " now() - make_interval(secs => :seconds),"
        " case when :state <> 'running' then now() end, now() + interval '1 hour', cast(:judged as timestamptz))"
        " returning id"
    )
    facts = {"job": CARTS, "trigger": "schedule", "judged": None, **more}
    found = world.session.scalar(
        row, {**facts, "days": days_ago, "seconds": seconds, "deleted": deleted, "state": state}
    )
    world.session.commit()
    return str(found)


def told(world: World) -> list[str]:
    """What the operators have been told: what has happened, and what to do first."""
    assert isinstance(world, Telling)
    return [f"{notice.happened}. First: {notice.first}" for notice in world.notices]


def shown(world: World, run: str) -> dict[str, str]:
    world.session.rollback()
    found = answer(world.session, world.deployment, {"query": "run", "run_id": run}, now=dt.datetime.now(dt.UTC))
    anomalies: dict[str, str] = found["run"]["anomalies"]
    return anomalies


def usual(world: World) -> None:
    for day in range(3, 9):
        ran(world, day, 10, 100, judged=dt.datetime.now(dt.UTC))


def test_an_unusual_run_is_marked_measured_and_told_once(world: World, measured: dict[str, float]) -> None:
    usual(world)
    odd, even = ran(world, 2, 700, 0), ran(world, 1, 11, 90)

    world.look()
    world.look()

    assert list(shown(world, odd)) == ["slow", "nothing"]
    assert shown(world, even) == {}
    assert measured["Anomalies"] == 2
    bodies = told(world)
    assert len(bodies) == 2
    assert f"The job {CARTS}: it has taken 700 s, and usually takes 10 s. First: nightshift show {odd}" in bodies
    assert any("it has touched no row, and usually touches 100" in body for body in bodies)


def test_a_run_that_is_still_at_work_is_told_as_slow_and_not_again_at_its_end(world: World) -> None:
    usual(world)
    run = ran(world, 1, 300, 0, "running")
    world.look()
    world.look()
    assert list(shown(world, run)) == ["slow"]
    ended = "update nightshift.runs set state = 'succeeded', finished_at = now(), counters = '{\"deleted\": 5000}'"
    world.session.execute(text(f"{ended} where id = :id"), {"id": run})
    world.session.commit()
    world.look()
    assert sorted(shown(world, run)) == ["many", "slow"]
    assert len(told(world)) == 2


@pytest.mark.parametrize("trigger", ["manual", "backfill"])
def test_what_a_person_asks_for_is_neither_judged_nor_compared(world: World, trigger: str) -> None:
    usual(world)
    asked = [ran(world, days, 700, 0, trigger=trigger) for days in (2, *range(10, 17))]
    world.look()
    assert (shown(world, asked[0]), told(world)) == ({}, [])
    odd = ran(world, 1, 700, 100)
    world.look()
    assert list(shown(world, odd)) == ["slow"]


def test_a_run_that_was_usual_at_its_end_is_judged_no_more(world: World) -> None:
    usual(world)
    even = ran(world, 1, 11, 90)
    world.look()
    world.session.execute(text("update nightshift.runs set counters = '{}' where id = :id"), {"id": even})
    world.session.commit()
    world.look()
    assert shown(world, even) == {}


def test_a_run_that_is_opened_again_is_timed_anew(world: World) -> None:
    usual(world)
    odd = ran(world, 1, 50_000, 100, "failed")  # in the evening somebody mends what made it fail in the night
    world.look()
    with world.session.begin():
        ledger.redrive(world.session, uuid.UUID(odd), "redriven by Ada")
    taken = ledger.claim(world.session, CARTS, Policy(), Request(run_id=uuid.UUID(odd)), seconds=60)
    assert isinstance(taken, Claim)
    with world.session.begin():
        standing = ledger.finish(world.session, taken, counters={"deleted": 100})
    assert standing.duration_ms is not None
    assert standing.duration_ms < 50_000_000
    world.look()
    assert shown(world, odd) == {}


def test_a_job_without_a_success_for_longer_than_its_rhythm_is_told_once_for_each_last_success(world: World) -> None:
    last = ran(world, 4, 10, 5)
    ran(world, 1, 10, 5, "failed")
    ago = text(
        "update nightshift.runs set finished_at = now() - cast(:ago as interval), judged_at = now() where id = :id"
    )
    accounted = text("update nightshift.jobs set registered_at = now(), accounted_until = now()")
    world.session.execute(ago, {"id": last, "ago": "1 day 23 hours"})
    world.session.execute(accounted)
    world.session.commit()
    world.look()
    silence = f"The job {CARTS}: its last success was at "
    assert not any(body.startswith(silence) for body in told(world))
    world.session.execute(ago, {"id": last, "ago": "3 days 1 hour"})
    world.session.commit()

    for _ in range(3):
        world.look()
    [body] = [body for body in told(world) if body.startswith(silence)]
    assert "more than two periods of its schedule ago" in body
    ran(world, 0, 10, 5, judged=dt.datetime.now(dt.UTC))
    world.look()
    assert sum(body.startswith(silence) for body in told(world)) == 1


def test_a_paused_or_disabled_job_is_not_missed(world: World) -> None:
    world.session.execute(text("update nightshift.jobs set registered_at = now() - interval '9 days'"))
    world.session.execute(
        text("update nightshift.jobs set paused_at = now(), paused_by = 'Ada', pause_reason = 'move'")
    )
    world.session.commit()
    world.look()
    assert told(world) == []
    world.session.execute(text("update nightshift.jobs set paused_at = null"))
    world.session.commit()
    world.look()
    [body] = told(world)  # that of the disabled job is left out
    assert body.startswith(f"The job {CARTS}: it has not succeeded since ")

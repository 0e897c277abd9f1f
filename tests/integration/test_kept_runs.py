"""What a freeze, a hold, a failure and strain leave of a run."""

import datetime as dt
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from nightshift import ledger
from nightshift.declaration import Policy
from nightshift.ledger import ERRORS_KEPT, Claim, Request, Standing
from tests.integration.test_supervisor import CARTS, World

HOUR = dt.timedelta(hours=1)
FROZEN = "frozen until the New Year"


@pytest.fixture
def world(session: Session) -> World:
    return World(session)


def now(world: World) -> dt.datetime:
    world.session.rollback()
    clock = ledger.database_clock(world.session)
    world.session.rollback()
    return clock.replace(microsecond=0)


def frozen(world: World, at: dt.datetime, policy: Policy, trigger: Any = "schedule") -> Standing:
    world.session.rollback()
    request = Request(trigger, scheduled_for=at)
    standing = ledger.claim(world.session, CARTS, policy, request, seconds=60, frozen=FROZEN)
    assert isinstance(standing, Standing)
    return standing


@pytest.mark.parametrize(
    ("missed", "trigger", "begun", "ends"),
    [
        ("latest", "schedule", False, "missed"),
        ("latest", "schedule", True, "queued"),
        ("latest", "backfill", False, "queued"),
        ("latest", "manual", False, "queued"),
        ("every", "schedule", False, "queued"),
        ("none", "schedule", False, "missed"),
        ("none", "schedule", True, "queued"),
        ("none", "manual", False, "queued"),
    ],
)
def test_a_freeze_gives_up_only_what_nobody_asked_for_and_nobody_has_begun(
    world: World, missed: Any, trigger: Any, begun: bool, ends: str
) -> None:
    policy, clock = Policy(missed=missed, overlap="wait"), now(world)
    earlier = world.claim(CARTS, Request(trigger, scheduled_for=clock - 2 * HOUR))
    change = "update nightshift.runs set state = 'queued', lease_until = null, epoch = :epoch where id = :id"
    world.session.execute(text(change), {"id": earlier.run.id, "epoch": int(begun)})
    world.session.commit()

    if missed == "none":
        world.session.rollback()
        ledger.claim(world.session, CARTS, policy, Request(run_id=earlier.run.id), seconds=60, frozen=FROZEN)
    else:
        frozen(world, clock - HOUR, policy)

    assert world.run(earlier).state == ends


@pytest.mark.parametrize(
    ("trigger", "step", "position", "ends"),
    [
        ("schedule", None, None, "missed"),
        ("schedule", "delete", None, "interrupted"),
        ("schedule", None, '{"after": 1}', "interrupted"),
        ("manual", None, None, "interrupted"),
    ],
)
def test_a_hold_makes_too_late_only_what_nobody_asked_for_and_has_done_nothing(
    world: World, trigger: Any, step: str | None, position: str | None, ends: str
) -> None:
    claim = world.claim(CARTS, Request(trigger, scheduled_for=now(world) - 2 * HOUR))
    done = "update nightshift.runs set step = :step, position = cast(:position as jsonb)"
    world.session.execute(text(done), {"step": step, "position": position})
    world.session.commit()
    standing = ledger.interrupt(
        world.session, claim, progressed=False, critical=False, held="held by Ada", late_limit=HOUR
    )
    assert standing.state == ends


def test_of_many_errors_the_last_are_kept(world: World) -> None:
    claim = world.claim(CARTS)
    known = [f"error {number}" for number in range(ERRORS_KEPT)]
    world.session.execute(
        text("update nightshift.runs set errors = to_jsonb(cast(:known as text[]))"), {"known": known}
    )
    world.session.commit()
    ledger.fail_attempt(world.session, claim, "the last", permanent=False, critical=False)
    assert world.run(claim).errors == [*known[1:], "the last"]


def test_a_run_that_waits_for_strain_to_pass_stays_its_attempts(world: World) -> None:
    claim = world.claim(CARTS)
    assert isinstance(claim, Claim)
    ledger.note_strain(world.session, claim, {"state": "waits"}, {}, seconds=7_200)
    left = world.run(claim).lease_until - now(world)
    assert dt.timedelta(seconds=7_100) < left < dt.timedelta(seconds=7_300)

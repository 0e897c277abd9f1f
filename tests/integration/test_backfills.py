"""Backfills: worked off by the supervisor, oldest first, and never in the way of the job's own schedule."""

import datetime as dt
import uuid
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from nightshift import ledger
from nightshift.declaration import Deployment, Policy, iso
from nightshift.ledger import Claim, Request
from nightshift.operations import Notice, answer, carry_out
from tests.ground.functions.market import abandoned_carts
from tests.integration.conftest import Invoke
from tests.integration.test_supervisor import World

CARTS, TAKINGS = "abandoned-carts", "daily-takings"
DAY, HOUR = dt.timedelta(days=1), dt.timedelta(hours=1)
SINCE, UNTIL = "2026-03-01T00:00:00Z", "2026-03-04T00:00:00Z"
TIMES = [dt.datetime(2026, 3, day, 2, tzinfo=dt.UTC) for day in (1, 2, 3)]


@pytest.fixture
def world(session: Session) -> World:
    return World(session, deployment=Deployment(changes={CARTS: {"schedule": "cron(0 2 * * ? *)"}}))


def ask(world: World, **more: Any) -> dict[str, Any]:
    world.session.rollback()
    asked = {"job": CARTS, "since": SINCE, "until": UNTIL, "by": "Ada", "reason": "late", **more}
    return carry_out(world.session, world.deployment, {"command": "backfill", **asked})


def command(world: World, name: str, backfill: str, **more: Any) -> dict[str, Any]:
    world.session.rollback()
    return carry_out(world.session, world.deployment, {"command": f"{name}_backfill", "backfill_id": backfill, **more})


def listed(world: World) -> list[dict[str, Any]]:
    world.session.rollback()
    found = answer(world.session, world.deployment, {"query": "backfills"}, now=dt.datetime.now(dt.UTC))
    backfills: list[dict[str, Any]] = found["backfills"]
    return backfills


def settle(world: World, run_id: uuid.UUID, state: str = "succeeded", job: str = CARTS) -> None:
    """The run is worked on, and ends so."""
    world.session.rollback()
    claim = ledger.claim(world.session, job, Policy(), Request(run_id=run_id), seconds=60)
    assert isinstance(claim, Claim), claim
    if state == "succeeded":
        with world.session.begin():
            ledger.finish(world.session, claim, counters={})
    else:
        ledger.fail_attempt(world.session, claim, "broken", permanent=True, critical=False)


def runs(world: World) -> list[tuple[dt.datetime, str, str]]:
    world.session.rollback()
    found = text("select scheduled_for, trigger, state from nightshift.runs order by created_at")
    return [tuple(row) for row in world.session.execute(found)]


def occurrence(world: World, time: dt.datetime, state: str, job: str = CARTS) -> uuid.UUID:
    """An occurrence that has ended like this."""
    claim = world.claim(job, Request("schedule", scheduled_for=time))
    ended = text("update nightshift.runs set state = :state, lease_until = null, finished_at = now() where id = :id")
    world.session.execute(ended, {"state": state, "id": claim.run.id})
    world.session.commit()
    return claim.run.id


def test_a_backfill_goes_on_without_whoever_asked_for_it_one_run_at_a_time_the_oldest_first(
    world: World, invoke_job: Invoke
) -> None:
    asked = ask(world)
    assert [each["does"] for each in asked["occurrences"]] == ["run"] * 3
    for done in range(3):
        world.look()
        world.look()  # nothing more while that one is open
        assert [time for time, *_ in runs(world)] == TIMES[: done + 1]
        assert listed(world)[0]["done"] == done
        result = invoke_job(abandoned_carts.job, {"run_id": str(world.begun[-1])})
        assert (result["outcome"], result["scheduled_for"]) == ("succeeded", iso(TIMES[done]))
    world.look()

    [backfill] = listed(world)
    assert (backfill["state"], backfill["counts"], backfill["by"]) == ("done", {"succeeded": 3}, "Ada")
    assert {trigger for _, trigger, _ in runs(world)} == {"backfill"}


def test_the_supervisor_stays_while_a_backfill_goes_on(world: World) -> None:
    ask(world)
    looks: list[float] = []

    def stay(seconds: float) -> bool:
        """What was begun ends in the pause."""
        looks.append(seconds)
        for run_id in world.begun[len(looks) - 1 :]:
            settle(world, run_id)
        return len(looks) < 10

    world.look(stay=stay)
    assert [state for *_, state in runs(world)] == ["succeeded"] * 3
    assert listed(world)[0]["state"] == "done"


def test_the_supervisor_stays_while_a_run_of_a_backfill_is_at_work(world: World) -> None:
    ask(world)
    at_work: list[uuid.UUID] = []

    def stay(_: float) -> bool:
        """What was begun works through one pause, and ends in the next."""
        [run_id] = world.begun[-1:]
        works = run_id not in at_work
        changed = "update nightshift.runs set state = 'running', lease_until = now() + :lease where id = :id"
        lease = dt.timedelta(minutes=1 if works else -1)
        world.session.execute(text(changed), {"id": run_id, "lease": lease})
        world.session.commit()
        if works:
            at_work.append(run_id)
        else:
            settle(world, run_id)
        return True

    world.look(stay=stay)
    assert [state for *_, state in runs(world)] == ["succeeded"] * 3


@pytest.mark.parametrize(
    ("reprocess", "does"),
    [
        ("none", ["keep", "keep", "run"]),
        ("failed", ["keep", "run again", "run"]),
        ("all", ["run again", "run again", "run"]),
    ],
)
def test_what_ran_already_is_run_again_where_that_is_asked(world: World, reprocess: str, does: list[str]) -> None:
    for time, state in zip(TIMES, ("succeeded", "failed", "missed"), strict=True):
        occurrence(world, time, state)

    asked = ask(world, reprocess=reprocess)
    for _ in range(4):
        world.look()
        if listed(world)[0]["run_id"]:
            settle(world, world.begun[-1])

    assert [each["does"] for each in asked["occurrences"]] == does
    kept = {"kept": kept} if (kept := does.count("keep")) else {}
    assert listed(world)[0]["counts"] == {**kept, "succeeded": 3 - does.count("keep")}
    assert len(runs(world)) == 3 + (reprocess == "all")
    # What was redriven gives way to the job's own schedule from then on.
    triggers = {time: trigger for time, trigger, _ in runs(world)}
    assert triggers[TIMES[1]] == ("schedule" if reprocess == "none" else "backfill")


def test_the_request_that_came_first_is_worked_off_first(world: World) -> None:
    ask(world, since="2026-03-03T00:00:00Z")
    ask(world, until="2026-03-02T00:00:00Z")
    for _ in range(2):
        world.look()
        settle(world, world.begun[-1])
        world.look()
    assert [time for time, *_ in runs(world)] == [TIMES[2], TIMES[0]]


def test_a_paused_request_keeps_no_other_from_being_worked_off(world: World) -> None:
    paused = ask(world, since="2026-03-03T00:00:00Z")["backfill"]["backfill_id"]
    ask(world, until="2026-03-02T00:00:00Z")
    command(world, "pause", paused, by="Ada", reason="lunch")
    world.look()
    assert [time for time, *_ in runs(world)] == [TIMES[0]]


def test_a_plan_of_an_occurrence_is_not_the_occurrence(world: World) -> None:
    world.claim(CARTS, Request(mode="plan", scheduled_for=TIMES[0], request_id="a plan"))
    ask(world)
    world.look()
    assert [(time, trigger) for time, trigger, _ in runs(world)] == [(TIMES[0], "manual"), (TIMES[0], "backfill")]


def test_a_run_that_fails_pauses_its_backfill_and_the_next_occurrence_comes_when_it_is_resumed(world: World) -> None:
    backfill = ask(world)["backfill"]["backfill_id"]
    world.look()
    settle(world, world.begun[-1], "failed")
    world.look()
    world.look()

    [paused] = listed(world)
    assert (paused["state"], paused["counts"]) == ("paused", {"failed": 1})
    assert "2026-03-01T02:00:00Z is failed: broken" in paused["told"]
    assert len(runs(world)) == 1
    resumed = command(world, "resume", backfill[:8], by="Ada", reason="lunch is over")["backfill"]
    assert (resumed["state"], resumed["told"]) == ("open", "resumed by Ada: lunch is over")
    world.look()
    assert [time for time, *_ in runs(world)] == TIMES[:2]


def test_a_backfill_is_paused_and_cancelled_by_a_person_with_a_reason(world: World) -> None:
    backfill = ask(world)["backfill"]["backfill_id"]
    assert "say by" in command(world, "pause", backfill)["error"]
    assert command(world, "pause", backfill, by="Ada", reason="lunch")["backfill"]["told"] == "paused by Ada: lunch"
    world.look()
    assert runs(world) == []
    assert "is paused already: paused by Ada: lunch" in command(world, "pause", backfill, by="Bo", reason="x")["error"]
    assert command(world, "cancel", backfill, by="Ada", reason="wrong month")["backfill"]["state"] == "cancelled"
    world.look()
    assert runs(world) == []
    assert "has already ended" in command(world, "resume", backfill, by="Ada")["error"]


def test_no_run_begins_while_an_occurrence_is_due_within_the_usual_time(world: World) -> None:
    now = ledger.database_clock(world.session)
    soon = now + dt.timedelta(minutes=3)
    world.deployment = Deployment(changes={CARTS: {"schedule": f"cron({soon.minute} {soon.hour} * * ? *)"}})
    settled = occurrence(world, TIMES[0] - 30 * DAY, "succeeded")
    took = text("update nightshift.runs set started_at = finished_at - make_interval(mins => :m) where id = :id")
    ask(world)

    world.session.execute(took, {"m": 10, "id": settled})
    world.session.commit()
    world.look()
    assert len(runs(world)) == 1
    world.session.execute(took, {"m": 1, "id": settled})
    world.session.commit()
    world.look()
    assert len(runs(world)) == 2


def test_no_run_begins_beside_another_or_while_the_job_is_paused(world: World) -> None:
    ask(world)
    other = world.interrupted(CARTS)
    world.look()
    assert [trigger for _, trigger, _ in runs(world)] == ["manual"]
    settle(world, other.run.id)
    world.session.rollback()
    carry_out(world.session, world.deployment, {"command": "pause", "job": CARTS, "by": "Ada", "reason": "move"})
    world.look()
    assert [trigger for _, trigger, _ in runs(world)] == ["manual"]
    world.session.rollback()
    carry_out(world.session, world.deployment, {"command": "resume", "job": CARTS, "by": "Ada", "reason": "moved"})
    world.look()
    assert [trigger for _, trigger, _ in runs(world)] == ["manual", "backfill"]


@pytest.mark.parametrize("policy", [Policy(overlap="skip"), Policy(overlap="wait")])
def test_an_occurrence_of_the_schedule_is_not_skipped_beside_a_backfill_and_starts_before_it_goes_on(
    world: World, policy: Policy
) -> None:
    # GIVEN a backfill at work, and an occurrence that comes meanwhile
    ask(world)
    world.look()
    [filling] = world.begun
    claim = ledger.claim(world.session, CARTS, policy, Request(run_id=filling), seconds=60)
    assert isinstance(claim, Claim)
    now = ledger.database_clock(world.session).replace(second=0, microsecond=0)
    world.session.rollback()
    live = ledger.claim(world.session, CARTS, policy, Request("schedule", scheduled_for=now), seconds=60)
    # WHEN the backfill's attempt runs out of time
    assert not isinstance(live, Claim)
    assert live.state == "queued"
    ledger.interrupt(world.session, claim, progressed=True, critical=False)
    world.look()
    # THEN the occurrence starts first, although its time is later
    assert world.begun[1:] == [live.run.id]
    world.session.rollback()
    assert isinstance(ledger.claim(world.session, CARTS, policy, Request(run_id=live.run.id), seconds=60), Claim)


def test_what_cannot_be_meant_is_refused_in_words(world: World) -> None:
    for wrong, says in (
        ({"since": UNTIL, "until": SINCE}, "is not before until"),
        ({"until": "2199-01-01T00:00:00Z"}, "to must be past"),
        ({"since": "2026-03-01"}, "since must be a time with a zone"),
        ({"reprocess": "some"}, "reprocess must be one of none, failed, all"),
        ({"since": "2026-03-01T03:00Z", "until": "2026-03-01T04:00Z"}, "has no occurrence from 2026-03-01T03:00:00Z"),
        ({"job": "nothing"}, "no deployed job is named"),
        ({"reason": " "}, "say reason"),
    ):
        assert says in ask(world, **wrong)["error"]
    world.deployment = Deployment(changes={CARTS: {"schedule": "cron(* * * * ? *)"}})
    assert "more than 10000 occurrences" in ask(world, until="2026-03-07T22:41:00Z")["error"]
    assert listed(world) == []


def test_a_backfill_follows_the_clocks_of_the_jobs_time_zone(world: World) -> None:
    world.deployment = Deployment(changes={CARTS: {"schedule": "cron(30 2 * * ? *)", "timezone": "Europe/Berlin"}})
    asked = ask(world, since="2026-03-28T00:00:00Z", until="2026-03-31T00:00:00Z")
    times = [each["scheduled_for"] for each in asked["occurrences"]]
    assert times == ["2026-03-28T01:30:00Z", "2026-03-29T01:00:00Z", "2026-03-30T00:30:00Z"]


@pytest.mark.parametrize("paused", [False, True])
def test_a_backfill_of_a_job_that_is_not_deployed_any_more_ends_with_the_reason_and_is_told(
    world: World, paused: bool
) -> None:
    asked = ask(world)["backfill"]["backfill_id"]
    world.look()
    if paused:
        command(world, "pause", asked, by="Ada", reason="later")
    told: list[Notice] = []
    gone = Deployment(packs=("back_office",))

    for _ in range(2):
        world.look(gone, tell=told.append)

    [backfill] = listed(world)
    assert (backfill["state"], backfill["told"]) == ("cancelled", "its job is not deployed any more")
    assert backfill["finished_at"] is not None
    assert [state for *_, state in runs(world)] == ["cancelled"]
    assert [notice.title for notice in told] == [f"A backfill of {CARTS} is cancelled"]
    assert "Ada asked for is cancelled: its job is not deployed any more" in told[0].happened


def test_a_backfill_of_a_disabled_job_is_paused_told_once_and_can_go_on(world: World) -> None:
    asked = ask(world)["backfill"]["backfill_id"]
    world.look()
    told: list[Notice] = []
    for _ in range(2):
        world.look(Deployment(changes={CARTS: {"enabled": False}}), tell=told.append)
    [backfill] = listed(world)
    assert (backfill["state"], backfill["told"]) == ("paused", "the deployment's settings disable its job")
    assert [notice.title for notice in told] == [f"A backfill of {CARTS} is paused"]
    command(world, "resume", asked, by="Ada", reason="it is back")
    world.look()
    world.look()
    assert listed(world)[0]["told"] != "the deployment's settings disable its job"


def test_a_backfill_that_cannot_be_told_now_is_settled_and_told_later(world: World) -> None:
    ask(world)
    gone = Deployment(packs=("back_office",))

    def broken(_: Notice) -> None:
        raise OSError("no answer")

    assert world.look(gone, tell=broken).hindered == 1
    assert listed(world)[0]["state"] == "open"
    told: list[Notice] = []
    world.look(gone, tell=told.append)
    assert (listed(world)[0]["state"], len(told)) == ("cancelled", 1)


@pytest.mark.parametrize("changes", [{CARTS: {"schedule": "cron(0 25 * * ? *)"}}, {}], ids=["bad", "well"])
def test_a_backfill_of_a_job_that_waits_for_better_settings_or_works_stays_open(
    world: World, changes: dict[str, Any]
) -> None:
    ask(world)
    world.look(Deployment(changes=changes))
    assert listed(world)[0]["state"] == "open"

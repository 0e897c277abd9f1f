"""The supervisor treats runs and jobs apart: what fails for one is told, and the others' turn comes."""

import datetime as dt
import json
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import boto3
import pytest
from sqlalchemy import Engine, text
from sqlalchemy.orm import Session

from functions.platform import supervisor
from nightshift import Function, Job, ledger, telemetry
from nightshift.database import DatabaseSettings, session_for
from nightshift.declaration import Deployment, Policy
from nightshift.declaration.windows import Freeze
from nightshift.environment import DATABASE_VARIABLE, DEPLOYMENT_VARIABLE
from nightshift.errors import RunFailedError
from nightshift.ledger import Claim, Request, occurrences
from nightshift.operations import Notice, Round, carry_out, look_over
from tests.integration.conftest import Context, Invoke, scheduled

CARTS, TAKINGS, ITEMS = "abandoned-carts", "daily-takings", "removed-items"
CRITICAL = "shop-check"
AT = "2026-03-01T02:00:00Z"


@dataclass
class World:
    """A supervisor between the database and an AWS of the test's own."""

    session: Session
    invoked: list[str] = field(default_factory=list)
    begun: list[uuid.UUID] = field(default_factory=list)
    reported: list[Mapping[str, Any]] = field(default_factory=list)
    refusing: Callable[[str], Exception | None] = lambda _: None
    """What invoking a function, or reporting a run, ends with."""

    deployment: Deployment = field(default_factory=Deployment)

    def look(self, deployment: Deployment | None = None, **more: Any) -> Round:
        self.session.rollback()
        return look_over(self.session, deployment or self.deployment, self._invoke, self._report, **more)

    def _invoke(self, name: str, payload: Mapping[str, Any]) -> None:
        if refusal := self.refusing(name):
            raise refusal
        self.invoked.append(name.removeprefix("nightshift-"))
        self.begun.append(uuid.UUID(payload["run_id"]))

    def _report(self, record: Mapping[str, Any]) -> None:
        if refusal := self.refusing(record["requestContext"]["functionName"]):
            raise refusal
        self.reported.append(record)

    def claim(self, job: str, request: Request = Request()) -> Claim:  # noqa: B008 - frozen
        self.session.rollback()
        claim = ledger.claim(self.session, job, Policy(), request, seconds=60)
        assert isinstance(claim, Claim)
        return claim

    def interrupted(self, job: str) -> Claim:
        claim = self.claim(job)
        ledger.interrupt(self.session, claim, progressed=True, critical=False)
        return claim

    def dead_on_its_last_attempt(self, job: str) -> Claim:
        claim = self.claim(job)
        dead = "update nightshift.runs set attempts = max_attempts, lease_until = now() - interval '1 s' where id = :id"
        self.session.execute(text(dead), {"id": claim.run.id})
        self.session.commit()
        return claim

    def run(self, claim: Claim) -> Any:
        self.session.rollback()
        return self.session.execute(text("select * from nightshift.runs where id = :id"), {"id": claim.run.id}).one()


@pytest.fixture
def world(session: Session) -> World:
    return World(session)


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> dict[str, float]:
    """The sum of each metric."""
    found: dict[str, float] = {}

    def add(**amounts: float) -> None:
        for name, amount in amounts.items():
            found[name] = found.get(name, 0) + amount

    monkeypatch.setattr(telemetry, "measure", add)
    return found


def of(job: str) -> Callable[[str], Exception | None]:
    return lambda name: RuntimeError(f"{name} is gone") if name == f"nightshift-{job}" else None


def test_a_function_that_cannot_be_started_keeps_no_other_run_from_going_on(
    world: World, measured: dict[str, float], caplog: pytest.LogCaptureFixture
) -> None:
    for job in (CARTS, TAKINGS, ITEMS):
        world.interrupted(job)
    old = world.claim("forgotten")
    with world.session.begin():
        ledger.finish(world.session, old, counters={})
    world.session.execute(
        text("update nightshift.runs set finished_at = now() - interval '401 days' where id = :id"), {"id": old.run.id}
    )
    world.session.commit()
    world.refusing = of(CARTS)

    done = world.look()

    assert sorted(world.invoked) == [TAKINGS, ITEMS]
    assert (done.continued, done.hindered) == (2, 1)
    assert world.session.scalar(text("select count(*) from nightshift.runs where id = :id"), {"id": old.run.id}) == 0
    assert measured["SupervisorHindered"] == 1
    assert measured["RunsContinued"] == 2
    assert "OldestOpenRunSeconds" in measured
    told = [vars(record) for record in caplog.records if record.levelname == "ERROR"]
    assert [(each["message"], each["job"], each["reason"]) for each in told] == [
        ("supervisor.hindered", CARTS, "RuntimeError: nightshift-abandoned-carts is gone")
    ]


def test_a_report_that_does_not_get_through_keeps_no_other_from_it_and_is_made_again(world: World) -> None:
    first, second = world.dead_on_its_last_attempt(CARTS), world.dead_on_its_last_attempt(TAKINGS)
    running = world.interrupted(ITEMS)
    world.refusing = of(CARTS)

    assert world.look().hindered == 1

    assert [record["requestPayload"]["run_id"] for record in world.reported] == [str(second.run.id)]
    assert world.invoked == [running.run.job]
    world.refusing = lambda _: None
    assert world.look().hindered == 0
    assert {record["requestPayload"]["run_id"] for record in world.reported} == {str(first.run.id), str(second.run.id)}
    assert world.run(first).state == "failed"
    world.look()
    assert len(world.reported) == 2


def test_a_job_whose_occurrences_cannot_be_counted_keeps_no_other_from_it(
    world: World, database: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = text("insert into nightshift.jobs (name, schedule, accounted_until) values (:name, :schedule, :until)")
    until = ledger.database_clock(world.session) - dt.timedelta(minutes=30)
    changes = {}
    for job in (CARTS, TAKINGS):
        changes[job] = {"schedule": "cron(0/5 * * * ? *)"}
        world.session.execute(known, {"name": job, "schedule": changes[job]["schedule"], "until": until})
    world.session.commit()
    monkeypatch.setattr(occurrences, "LOCK_SECONDS", 0.1)
    with Session(database) as other:
        other.execute(text("select * from nightshift.jobs where name = :name for update"), {"name": CARTS})
        done = world.look(Deployment(changes=changes))
    assert (done.caught_up >= 5, done.hindered, world.invoked) == (True, 1, [TAKINGS])
    assert world.look(Deployment(changes=changes)).caught_up == 1
    assert set(world.invoked[1:]) == {TAKINGS, CARTS}


@pytest.mark.parametrize(
    "settings", [{"schedule": "cron(0 25 * * ? *)"}, {"parameters": {"no_such": 1}}, {"parameters": {"max_rows": -1}}]
)
def test_settings_of_one_job_that_make_no_sense_keep_no_other_from_its_turn(
    world: World, measured: dict[str, float], settings: dict[str, Any]
) -> None:
    """Its own runs are neither begun nor settled: they wait for better settings."""
    waits, goes_on, dead = world.interrupted(CARTS), world.interrupted(TAKINGS), world.dead_on_its_last_attempt(ITEMS)
    done = world.look(Deployment(changes={CARTS: settings}))
    assert (world.invoked, done.failed, done.hindered) == ([TAKINGS], 1, 1)
    assert measured["SupervisorHindered"] == 1
    assert [world.run(claim).state for claim in (waits, goes_on, dead)] == ["interrupted", "interrupted", "failed"]
    assert world.look().continued == 2
    assert set(world.invoked[1:]) == {CARTS, TAKINGS}


def test_a_lost_connection_is_not_the_trouble_of_one_run_and_ends_the_round(
    database: Engine, measured: dict[str, float]
) -> None:
    settings = DatabaseSettings.from_mapping({"url": database.url.render_as_string(hide_password=False)})
    with session_for(settings, seconds=20) as session:
        world = World(session)
        for job in (CARTS, TAKINGS):
            world.interrupted(job)

        def cut(_: str) -> Exception:
            mine = "select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'nightshift'"
            with Session(database) as other:
                other.execute(text(mine))
            return RuntimeError("no answer")

        world.refusing = cut
        with pytest.raises(RuntimeError, match="no answer"):
            world.look()
    assert measured == {}


def test_a_function_that_was_deleted_is_told_by_the_supervisors_own_function(
    world: World, database: Engine, aws: None, monkeypatch: pytest.MonkeyPatch, measured: dict[str, float]
) -> None:
    monkeypatch.setenv(DATABASE_VARIABLE, json.dumps({"url": database.url.render_as_string(hide_password=False)}))
    queue = boto3.client("sqs").create_queue(QueueName="dead-letters")["QueueUrl"]
    monkeypatch.setenv(supervisor.QUEUE_VARIABLE, queue)
    world.interrupted(CARTS)
    dead = world.dead_on_its_last_attempt(TAKINGS)

    done = supervisor.handler({}, Context(30))

    assert (done["continued"], done["failed"], done["hindered"]) == (0, 1, 1)
    (message,) = boto3.client("sqs").receive_message(QueueUrl=queue)["Messages"]
    assert json.loads(message["Body"])["requestPayload"] == {"run_id": str(dead.run.id)}
    assert measured["SupervisorHindered"] == 1


@pytest.mark.parametrize(
    ("deployed", "reason"),
    [
        ({"changes": {CARTS: {"enabled": False}}}, "the deployment's settings disable its job"),
        ({"packs": ("back_office",)}, "its job is not deployed any more"),
    ],
    ids=["disabled", "undeployed"],
)
@pytest.mark.parametrize("state", ["queued", "interrupted", "retrying", "running"])
def test_an_open_run_of_a_job_that_may_not_run_is_settled_with_the_reason(
    world: World, deployed: dict[str, Any], reason: str, state: str
) -> None:
    deployment = Deployment(**deployed)
    claim, other = world.claim(CARTS), world.interrupted(TAKINGS)
    left = "update nightshift.runs set state = :state, lease_until = now() - interval '1 s' where id = :id"
    world.session.execute(text(left), {"state": state, "id": claim.run.id})
    world.session.commit()

    world.look(deployment)

    run = world.run(claim)
    assert (run.state, run.reason) == ("cancelled", f"{reason}, and it was {state}; redrive it once the job runs again")
    assert run.finished_at is not None
    open_attempts = text("select count(*) from nightshift.attempts where run_id = :id and ended_at is null")
    assert world.session.scalar(open_attempts, {"id": run.id}) == 0
    assert world.invoked == [TAKINGS], "nobody begins it"
    assert world.reported == []
    assert world.look(deployment).oldest_open_seconds < 60
    assert world.run(other).state == "interrupted"


def test_an_attempt_that_still_works_is_left_to_its_end_though_its_job_was_disabled(world: World) -> None:
    claim = world.claim(CARTS)
    world.look(Deployment(changes={CARTS: {"enabled": False}}))
    assert world.run(claim).state == "running"


@pytest.mark.parametrize(("trigger", "mode"), [("manual", "apply"), ("manual", "plan")])
def test_what_a_person_saw_fail_is_not_tried_again_unasked(world: World, trigger: Any, mode: Any) -> None:
    at = ledger.database_clock(world.session) - dt.timedelta(hours=1)
    world.session.rollback()
    claim = ledger.claim(world.session, CARTS, Policy(), Request(trigger, mode, at), seconds=60)
    assert isinstance(claim, Claim)
    ledger.fail_attempt(world.session, claim, "no grant", permanent=False, critical=False)

    def after(minutes: int) -> None:
        ended = "update nightshift.attempts set ended_at = now() - make_interval(mins => :minutes)"
        world.session.execute(text(ended), {"minutes": minutes})
        world.session.commit()
        world.look()

    after(3)
    assert world.run(claim).state == "retrying", "if it was asynchronous, Lambda tries it again"
    after(5)
    run = world.run(claim)
    assert (run.state, run.reason) == ("failed", "attempt 1 of 3 failed: no grant; nobody tried it again")
    assert world.invoked == []
    assert len(world.reported) == 1


def test_what_lambda_has_not_retried_in_ten_minutes_is_tried_again_and_not_given_up(world: World) -> None:
    claim = world.claim(CARTS, Request("schedule", scheduled_for=ledger.database_clock(world.session)))
    ledger.fail_attempt(world.session, claim, "broken", permanent=False, critical=False)
    world.session.execute(text("update nightshift.attempts set ended_at = now() - interval '10 minutes'"))
    world.session.commit()

    assert ledger.exhausted(world.session) == []
    assert [each.run_id for each in ledger.stalled(world.session)] == [claim.run.id]


def test_a_run_waits_for_a_later_one_that_is_at_work(world: World) -> None:
    clock = ledger.database_clock(world.session)
    world.session.rollback()

    def ask(at: dt.datetime) -> Claim | ledger.Standing:
        return ledger.claim(world.session, CARTS, Policy("wait"), Request("schedule", scheduled_for=at), seconds=60)

    ask(clock)
    assert isinstance(ask(clock - dt.timedelta(minutes=9)), ledger.Standing)
    assert ledger.stalled(world.session) == []


@pytest.mark.parametrize("by", ["a dial", "a freeze"])
def test_an_open_run_of_a_job_that_may_do_nothing_now_is_not_begun_in_vain(world: World, by: str) -> None:
    world.interrupted(CARTS)
    now, hour = dt.datetime.now(dt.UTC), dt.timedelta(hours=1)
    dial = {"command": "dial", "job": CARTS, "by": "Ada", "reason": "a busy evening"}
    if by == "a dial":
        assert "error" not in carry_out(world.session, world.deployment, {**dial, "held": True}, request_id="one")
        world.look()
    else:
        world.look(Deployment(freezes=(Freeze(now - hour, now + hour, "the Christmas trade"),)))
    assert world.invoked == []

    if by == "a dial":
        carry_out(world.session, world.deployment, {**dial, "held": False}, request_id="two")
    world.look()
    assert world.invoked == [CARTS]


def test_a_dead_run_on_its_last_attempt_is_not_begun(world: World) -> None:
    world.dead_on_its_last_attempt(CARTS)
    assert ledger.stalled(world.session) == []


def test_only_open_runs_are_measured_as_open(world: World) -> None:
    hour = dt.timedelta(hours=1)
    claim = world.claim(CARTS, Request("schedule", scheduled_for=ledger.database_clock(world.session) - hour))
    assert ledger.oldest_open_seconds(world.session) == pytest.approx(3600, abs=60)
    ledger.interrupt(world.session, claim, progressed=True, critical=False)
    assert ledger.oldest_open_seconds(world.session) > 3000
    with world.session.begin():
        ledger.cancel(world.session, claim.run.id, "enough")
    assert ledger.oldest_open_seconds(world.session) == 0


def test_no_run_is_begun_whose_job_may_not_run_though_it_could_not_be_settled(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    for job in (CARTS, TAKINGS, "forgotten"):
        world.interrupted(job)

    def refuse(*_: Any) -> None:
        raise RuntimeError("locked")

    monkeypatch.setattr(ledger, "settle_left_behind", refuse, raising=False)
    done = world.look(Deployment(changes={CARTS: {"enabled": False}}))
    assert (world.invoked, done.continued, done.hindered) == ([TAKINGS], 1, 2)


def test_lambdas_second_retry_is_waited_for_like_its_first(world: World) -> None:
    event = Request("schedule", scheduled_for=dt.datetime(2026, 3, 1, 2, tzinfo=dt.UTC))
    claim = world.claim(CARTS, event)

    def ended(seconds_ago: int, epoch: int) -> list[str]:
        change = "update nightshift.attempts set ended_at = now() - make_interval(secs => :ago) where epoch = :epoch"
        world.session.execute(text(change), {"ago": seconds_ago, "epoch": epoch})
        world.session.commit()
        world.look()
        return world.invoked

    ledger.fail_attempt(world.session, claim, "broken", permanent=False, critical=False)
    assert ended(50, epoch=1) == []
    claim = world.claim(CARTS, event)
    ledger.fail_attempt(world.session, claim, "broken", permanent=False, critical=False)
    assert ended(300, epoch=1) == [], "the last end counts"
    assert ended(50, epoch=2) == []
    assert ended(70, epoch=2) == [CARTS]


def test_a_plan_goes_on_beside_a_run_that_waits_or_works(world: World) -> None:
    """Each is the first of its kind."""
    plan = world.claim(CARTS, Request("manual", "plan", dt.datetime(2026, 2, 1, tzinfo=dt.UTC)))
    ledger.interrupt(world.session, plan, progressed=True, critical=False)
    older = Request("schedule", scheduled_for=dt.datetime(2026, 3, 1, 2, tzinfo=dt.UTC))
    run = world.claim(CARTS, older)
    world.look()
    assert world.begun == [plan.run.id], "while the run is at work"
    ledger.interrupt(world.session, run, progressed=True, critical=False)
    world.look()
    assert world.begun[1:] == [plan.run.id, run.run.id], "and when both wait"


@pytest.mark.parametrize("job", [CRITICAL, CARTS])
def test_a_job_that_dies_on_its_last_attempt_is_told_to_the_project_when_it_is_critical(world: World, job: str) -> None:
    dead = world.dead_on_its_last_attempt(job)
    assert world.look().failed == 1
    told = world.session.execute(text("select run_id, job, reason from job_failures")).all()
    assert told == ([(dead.run.id, job, "attempt 3 of 3 died without a result")] if job == CRITICAL else [])
    assert world.run(dead).finished_at is not None
    assert world.reported[0]["requestContext"] == {"functionName": f"nightshift-{job}", "condition": "LeaseExpired"}


def test_a_dead_run_that_another_supervisor_settles_is_left_to_it(world: World, database: Engine) -> None:
    dead = world.dead_on_its_last_attempt(CARTS)
    with Session(database) as another:
        another.execute(text("select from nightshift.runs where id = :id for update"), {"id": dead.run.id})
        assert ledger.fail_exhausted(world.session, dead.run.id, critical=False) is None
    assert world.look().failed == 1


@pytest.mark.parametrize("attempts", [1, 2])
def test_a_dead_run_with_an_attempt_left_is_continued_and_not_given_up(world: World, attempts: int) -> None:
    dead = world.dead_on_its_last_attempt(CARTS)
    world.session.execute(text("update nightshift.runs set attempts = :attempts"), {"attempts": attempts})
    world.session.commit()
    assert (world.look().failed, world.begun) == (0, [dead.run.id])


def test_a_run_on_its_last_attempt_is_not_given_up_while_its_lease_lasts(world: World) -> None:
    last = world.dead_on_its_last_attempt(CARTS)
    world.session.execute(text("update nightshift.runs set lease_until = now() + interval '5 s'"))
    world.session.commit()
    assert (world.look().failed, world.begun, world.reported) == (0, [], [])
    assert world.run(last).state == "running"


def test_what_the_alarms_on_the_whole_watch_is_written_for_them(
    world: World, database: Engine, aws: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # GIVEN a run of three hours ago that waits, a dead one, two missed occurrences, and functions that are gone
    monkeypatch.setenv(DATABASE_VARIABLE, json.dumps({"url": database.url.render_as_string(hide_password=False)}))
    monkeypatch.setenv(supervisor.QUEUE_VARIABLE, "https://sqs.us-east-1.amazonaws.com/123456789012/nothing")
    now = ledger.database_clock(world.session)
    hours = dt.timedelta(hours=1)
    ledger.interrupt(
        world.session,
        world.claim(TAKINGS, Request("schedule", scheduled_for=now - 3 * hours)),
        progressed=True,
        critical=False,
    )
    world.interrupted(ITEMS)
    world.dead_on_its_last_attempt(CARTS)
    known = text("insert into nightshift.jobs (name, schedule, accounted_until) values (:name, :schedule, :until)")
    minute = (now - dt.timedelta(minutes=30)).minute
    schedule = f"cron({minute} * * * ? *)"
    world.session.execute(known, {"name": CRITICAL, "schedule": schedule, "until": now - 2 * hours})
    world.session.commit()
    deployment = Deployment(changes={CRITICAL: {"schedule": schedule}})
    monkeypatch.setenv(DEPLOYMENT_VARIABLE, deployment.as_json())
    telemetry.metrics().clear_metrics()
    # WHEN the supervisor's function is called
    done = supervisor.handler({}, Context(30))
    # THEN the line from which CloudWatch takes its metrics has them
    line = json.loads(capsys.readouterr().out.splitlines()[-1])
    (definition,) = line["_aws"]["CloudWatchMetrics"]
    assert (definition["Namespace"], definition["Dimensions"]) == ("Nightshift", [["service"]])
    assert {each["Name"]: each["Unit"] for each in definition["Metrics"]} == {
        "OccurrencesCaughtUp": "Count",
        "OccurrencesMissed": "Count",
        "RunsContinued": "Count",
        "RunsFailed": "Count",
        "Anomalies": "Count",
        "SupervisorHindered": "Count",
        "OldestOpenRunSeconds": "Seconds",
    }
    assert (line["OccurrencesMissed"], line["RunsFailed"]) == ([2.0], [1.0])
    assert line["SupervisorHindered"] == [float(done["hindered"])] != [0.0]
    assert 3 * 3600 <= line["OldestOpenRunSeconds"][0] < 3 * 3600 + 60


def broken(*_: Any) -> None:
    raise ValueError("broken")


BROKEN = Job(
    name="broken",
    kind="retention",
    schedule="cron(0 2 * * ? *)",
    steps=(Function(name="work", apply=broken, plan=lambda session, run: [], counters=("done",)),),
    audited=False,
)


def failed_run(world: World) -> Any:
    world.session.rollback()
    return world.session.execute(text("select * from nightshift.runs where job = 'broken'")).one()


def test_a_failure_that_lambda_reports_is_not_reported_again(world: World, invoke_job: Invoke) -> None:
    for _ in range(3):
        with pytest.raises(RunFailedError):
            invoke_job(BROKEN, scheduled(AT))
    run = failed_run(world)
    assert (run.state, run.reported_at) == ("failed", run.finished_at)
    world.look()
    assert world.reported == []


def test_a_failure_that_somebody_waited_for_is_not_reported_again(world: World, invoke_job: Invoke) -> None:
    with pytest.raises(RunFailedError):
        invoke_job(BROKEN, {"once": True})
    world.look()
    assert (failed_run(world).state, world.reported) == ("failed", [])


def test_a_failure_of_a_run_that_the_supervisor_has_started_is_reported_once(world: World, invoke_job: Invoke) -> None:
    # GIVEN a run that was redriven, and fails in every attempt that Lambda makes
    for _ in range(3):
        with pytest.raises(RunFailedError):
            invoke_job(BROKEN, scheduled(AT))
    redriven = failed_run(world).id
    ledger.redrive(world.session, redriven, "redriven by Ada")
    world.session.commit()
    payload = {"run_id": str(redriven)}
    for _ in range(2):
        with pytest.raises(RunFailedError):
            invoke_job(BROKEN, payload, request_id="the supervisor's")
    last = invoke_job(BROKEN, payload, request_id="the supervisor's")
    assert (last["outcome"], last["reason"]) == ("failed", "ValueError: broken")
    # WHEN the supervisor looks over the ledger
    assert failed_run(world).reported_at is None
    world.look()
    # THEN it reports it, with its reason, and only once
    (record,) = world.reported
    assert record["requestPayload"] == payload
    assert record["responsePayload"] == {"errorType": "RunFailed", "errorMessage": "ValueError: broken"}
    world.look()
    assert len(world.reported) == 1
    # AND another delivery of the supervisor's call does not bring it to the queue a second time
    assert invoke_job(BROKEN, payload, request_id="the supervisor's")["outcome"] == "failed"


def lost_takings(world: World, hours: int) -> None:
    """Hourly occurrences that wait for each other."""
    now = ledger.database_clock(world.session)
    schedule = f"cron({now.minute} * * * ? *)"
    known = text("insert into nightshift.jobs (name, schedule, accounted_until) values (:name, :schedule, :until)")
    until = now.replace(second=0, microsecond=0) - dt.timedelta(hours=hours, minutes=30)
    world.session.execute(known, {"name": TAKINGS, "schedule": schedule, "until": until})
    world.session.commit()
    world.deployment = Deployment(changes={TAKINGS: {"schedule": schedule}})


def test_occurrences_that_wait_for_each_other_begin_as_soon_as_the_one_before_has_ended(world: World) -> None:
    lost_takings(world, hours=5)
    slept: list[float] = []
    running: list[Claim] = []
    delivered = 0

    def stay(seconds: float) -> bool:
        """Each invocation arrives in the next pause, and what it starts ends in the one after that."""
        nonlocal delivered
        slept.append(seconds)
        world.session.rollback()
        before = running.copy()
        for run_id in world.begun[delivered:]:
            delivered += 1
            claim = ledger.claim(world.session, TAKINGS, Policy(), Request(run_id=run_id), seconds=60)
            if isinstance(claim, Claim):
                running.append(claim)
        for claim in before:
            running.remove(claim)
            with world.session.begin():
                ledger.finish(world.session, claim, counters={})
        return len(slept) < 60

    done = world.look(stay=stay)

    left = world.session.scalars(text("select state from nightshift.runs where state <> 'succeeded'")).all()
    assert left == ["running"]
    assert done.continued == len(world.invoked) == 5, "each was begun once"
    assert set(slept) == {2.0}
    assert len(slept) < 60, "and nobody stays when nothing waits any more"


def test_a_run_whose_invocation_is_slow_to_arrive_is_begun_once_in_a_round(world: World) -> None:
    lost_takings(world, hours=2)
    looks = iter((True, True, False))
    assert world.look(stay=lambda _: next(looks)).continued == 1
    assert world.invoked == [TAKINGS]


def test_a_run_that_could_not_start_yet_is_not_begun(world: World) -> None:
    at = ledger.database_clock(world.session)
    world.session.rollback()
    older, later = (Request("schedule", scheduled_for=at - dt.timedelta(hours=hours)) for hours in (2, 1))
    claim = ledger.claim(world.session, CARTS, Policy(overlap="wait"), older, seconds=60)
    waiting = ledger.claim(world.session, CARTS, Policy(overlap="wait"), later, seconds=60)
    assert isinstance(claim, Claim)
    assert not isinstance(waiting, Claim)
    world.look()
    ledger.fail_attempt(world.session, claim, "a moment ago", permanent=False, critical=False)
    world.look()
    assert world.invoked == []


def test_the_supervisor_stays_no_longer_than_its_time(
    world: World, database: Engine, aws: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(DATABASE_VARIABLE, json.dumps({"url": database.url.render_as_string(hide_password=False)}))
    monkeypatch.setattr("nightshift.operations.supervisor.SECONDS_BETWEEN_LOOKS", 0.1)
    an_hour_ago = world.claim(TAKINGS).run.now - dt.timedelta(hours=1)
    event = Request("schedule", scheduled_for=an_hour_ago)
    waiting = ledger.claim(world.session, TAKINGS, Policy(overlap="wait"), event, seconds=60)
    assert not isinstance(waiting, Claim)
    assert waiting.state == "queued"
    context = Context(3)
    assert supervisor.handler({}, context)["continued"] == 0, "another one is at work"
    assert 0.3 < context.get_remaining_time_in_millis() / 1000 < 1.2


def failed_for_good(world: World, job: str, reason: str = "ValueError: out of luck") -> Claim:
    claim = world.claim(job)
    ledger.fail_attempt(world.session, claim, reason, permanent=True, critical=False, reported=True)
    return claim


def succeeded(world: World, job: str) -> Claim:
    claim = world.claim(job)
    with world.session.begin():
        ledger.finish(world.session, claim, counters={})
    return claim


def test_a_final_failure_is_told_once_in_words_and_so_is_the_first_success_after_it(world: World) -> None:
    # GIVEN a job that fails for good, twice
    told: list[Notice] = []
    first = failed_for_good(world, CARTS)
    world.look(tell=told.append)
    world.look(tell=told.append)
    second = failed_for_good(world, CARTS, "RuntimeError: again")
    world.look(tell=told.append)

    # THEN each failure is told: the job, the reason, what to do first, where to read on
    assert [notice.title for notice in told] == [f"{CARTS} has failed"] * 2
    assert f"run {first.run.id}: ValueError: out of luck" in told[0].happened
    assert f"nightshift redrive {second.run.id}" in told[1].first
    assert {notice.read_on for notice in told} == {"a-job-failed"}

    # WHEN it succeeds THEN that is told once, and of another job nothing
    succeeded(world, ITEMS)
    succeeded(world, CARTS)
    succeeded(world, CARTS)
    for _ in range(2):
        world.look(tell=told.append)
    assert [notice.title for notice in told[2:]] == [f"{CARTS} is well again"]

    # and the next failure is a new one
    failed_for_good(world, CARTS)
    world.look(tell=told.append)
    assert told[-1].title == f"{CARTS} has failed"


def test_the_recovery_of_one_job_is_not_that_of_another(world: World) -> None:
    told: list[Notice] = []
    for job in (CARTS, TAKINGS):
        failed_for_good(world, job)
    world.look(tell=told.append)
    for job in (CARTS, TAKINGS):
        succeeded(world, job)
        world.look(tell=told.append)

    assert [notice.title for notice in told[2:]] == [f"{CARTS} is well again", f"{TAKINGS} is well again"]


def test_a_redriven_run_that_fails_again_is_told_again_and_one_that_succeeds_has_recovered(world: World) -> None:
    told: list[Notice] = []
    claim = failed_for_good(world, CARTS)
    world.look(tell=told.append)
    for _ in range(2):
        with world.session.begin():
            ledger.redrive(world.session, claim.run.id, "redriven by Ada")
        again = world.claim(CARTS, Request(run_id=claim.run.id))
        if len(told) == 1:
            ledger.fail_attempt(world.session, again, "ValueError: still", permanent=True, critical=False)
        else:
            with world.session.begin():
                ledger.finish(world.session, again, counters={})
        world.look(tell=told.append)

    assert [notice.title for notice in told] == [f"{CARTS} has failed", f"{CARTS} has failed", f"{CARTS} is well again"]


def test_what_cannot_be_told_now_is_told_later_and_stops_nothing(world: World) -> None:
    failed_for_good(world, CARTS)
    failed_for_good(world, ITEMS)
    told: list[str] = []

    def broken(notice: Notice) -> None:
        if CARTS in notice.title:
            raise OSError("the topic is gone")
        told.append(notice.title)

    assert world.look(tell=broken).hindered == 1
    assert told == [f"{ITEMS} has failed"]
    world.look(tell=lambda notice: told.append(notice.title))
    assert told == [f"{ITEMS} has failed", f"{CARTS} has failed"]


def test_a_plan_that_fails_is_told_to_nobody_but_its_asker(world: World) -> None:
    told: list[Notice] = []
    claim = world.claim(CARTS, Request(mode="plan"))
    ledger.fail_attempt(world.session, claim, "ValueError", permanent=True, critical=False)

    world.look(tell=told.append)

    assert told == []


def test_commands_are_forgotten_after_three_years(world: World) -> None:
    told = text(
        "insert into nightshift.commands (command, arguments, result, at)"
        " select 'pause', '{}', days::text, now() - make_interval(days => days) from unnest('{1094, 1096}'::int[]) days"
    )
    world.session.execute(told)
    world.session.commit()
    world.look()
    assert world.session.scalars(text("select result from nightshift.commands")).all() == ["1094"]


def test_every_round_leaves_a_sign_of_life(world: World) -> None:
    seen = text(
        "select clock_timestamp() - at < interval '1 minute' from nightshift.signs_of_life where name = 'supervisor'"
    )
    assert world.session.scalar(seen) is None
    for _ in range(2):
        world.look()
        assert world.session.scalar(seen) is True
        world.session.rollback()


def test_a_notice_is_text_for_a_mail_and_for_a_chat_what_amazon_q_shows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NIGHTSHIFT_OPERATIONS_URL", "https://example.com/operations.md")
    notice = Notice("backup has failed", "The job backup has failed for good: no room", "look", "a-job-failed")

    told = supervisor.message(notice)

    for words in ("no room", "First: look", "https://example.com/operations.md#a-job-failed"):
        assert words in told["default"]
        assert words in told["https"]
    shown = json.loads(told["https"])
    assert (shown["version"], shown["source"]) == ("1.0", "custom")
    assert shown["content"]["title"] == "nightshift: backup has failed"
    long = Notice("x" * 200, "", "", "a-job-failed")
    assert len(supervisor.subject(long)) <= 99


def silent(seconds: float = 0.02) -> Callable[..., None]:
    """A call that waits for an answer in vain."""

    def call(*_: Any) -> None:
        call.made += 1  # type: ignore[attr-defined]
        time.sleep(seconds)
        raise OSError("no answer")

    call.made = 0  # type: ignore[attr-defined]
    return call


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("TELLING_PATIENCE", "INVOKING_PATIENCE"):
        monkeypatch.setattr(f"nightshift.operations.supervisor.{name}", 0.01)


def test_silence_where_failures_are_told_keeps_no_run_from_going_on_and_is_met_once(
    world: World, impatient: None
) -> None:
    for number in range(3):
        broken = world.claim(f"old-{number}")
        ledger.fail_attempt(world.session, broken, "broken", permanent=True, critical=False)
    world.interrupted(ITEMS)
    order: list[str] = []
    tell, report = silent(), silent()
    world.session.rollback()

    def invoke(*_: Any) -> None:
        order.append(f"invoked after {tell.made + report.made}")  # type: ignore[attr-defined]

    done = look_over(world.session, Deployment(), invoke, report, tell=tell)

    assert (order, done.continued) == (["invoked after 0"], 1)
    assert (tell.made, report.made, done.hindered) == (1, 1, 2)  # type: ignore[attr-defined]
    told: list[Notice] = []
    world.look(tell=told.append)
    assert (len(told), len(world.reported)) == (3, 3), "the next round tells them"


def test_telling_ends_when_its_time_is_up(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr("nightshift.operations.supervisor.time", SimpleNamespace(monotonic=lambda: clock[0]))
    for number in range(4):
        failed_for_good(world, f"old-{number}")
    told: list[Notice] = []

    def slowly(notice: Notice) -> None:
        clock[0] += 5
        told.append(notice)

    assert world.look(tell=slowly).hindered == 0
    assert len(told) == 2
    world.look(tell=slowly)
    assert len({notice.happened for notice in told}) == len(told) == 4


def test_silence_where_runs_are_begun_keeps_no_failure_from_being_told(world: World, impatient: None) -> None:
    failed_for_good(world, TAKINGS)
    for job in (CARTS, ITEMS):
        world.interrupted(job)
    told: list[Notice] = []
    invoke = silent()
    world.session.rollback()
    done = look_over(world.session, Deployment(), invoke, lambda _: None, tell=told.append, stay=lambda _: True)
    assert (invoke.made, done.continued, len(told)) == (1, 0, 1)  # type: ignore[attr-defined]


def test_an_old_run_that_is_locked_or_refuses_to_go_keeps_nothing_from_its_turn(
    world: World, database: Engine, measured: dict[str, float]
) -> None:
    old = {name: succeeded(world, name) for name in ("locked", "in-use", "refuses", "goes")}
    ancient = "update nightshift.runs set finished_at = now() - interval '401 days'"
    for refusal in (
        ancient,
        "create function nightshift.refuse() returns trigger language plpgsql as"
        " $$ begin if old.job = 'refuses' then raise exception 'no'; end if; return old; end $$",
        "create trigger refuse before delete on nightshift.runs for each row execute function nightshift.refuse()",
    ):
        world.session.execute(text(refusal))
    world.session.commit()
    world.interrupted(ITEMS)
    with Session(database) as other:
        other.execute(text("select from nightshift.runs where job = 'locked' for update"))
        in_use = "select from nightshift.attempts where run_id = :id for update"
        other.execute(text(in_use), {"id": old["in-use"].run.id})
        begun = time.monotonic()
        done = world.look()
        assert time.monotonic() - begun < 5
    left = set(world.session.scalars(text("select job from nightshift.runs where finished_at is not null")))
    world.session.execute(text("drop trigger refuse on nightshift.runs"))
    world.session.execute(text("drop function nightshift.refuse"))
    world.session.commit()
    assert (left, done.continued) == ({"locked", "in-use", "refuses"}, 1)
    assert measured["RunsContinued"] == 1
    assert world.session.scalar(text("select count(*) from nightshift.signs_of_life")) == 1
    world.look()
    assert world.session.scalar(text("select count(*) from nightshift.runs where finished_at is not null")) == 0


@pytest.mark.parametrize(
    "part",
    [
        "ledger.exhausted",
        "ledger.unreported",
        "ledger.untold",
        "ledger.forget",
        "ledger.note_alive",
        "ledger.stalled",
        "occurrences.watched",
        "dialling.kept_back",
        "backfills.left_behind",
        "anomalies.unjudged",
    ],
)
def test_a_part_of_the_round_that_fails_keeps_no_other_from_its_turn(
    world: World, monkeypatch: pytest.MonkeyPatch, measured: dict[str, float], part: str
) -> None:
    failed_for_good(world, TAKINGS)
    world.interrupted(ITEMS)
    told: list[Notice] = []

    def broken(*_: Any, **__: Any) -> None:
        raise RuntimeError("broken")

    monkeypatch.setattr(f"nightshift.operations.supervisor.{part}", broken)

    done = world.look(tell=told.append)

    assert done.hindered == measured["SupervisorHindered"] == 1
    assert world.invoked == ([] if part == "ledger.stalled" else [ITEMS])
    assert len(told) == (part != "ledger.untold")
    alive = world.session.scalar(text("select count(*) from nightshift.signs_of_life"))
    assert alive == (part != "ledger.note_alive")

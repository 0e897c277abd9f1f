"""A run's states: whatever happens to it, in any order, against the real ledger on a real PostgreSQL in virtual time.

Hypothesis chooses what happens next. With NIGHTSHIFT_SIMULATION_SECONDS it plays that many fresh games, and shortens
what breaks an invariant to the fewest events, which takes minutes. The nights of test_simulation play whole
invocations; here each call of the ledger is one step, so that every order of them occurs.
"""

import datetime as dt
import itertools
import os
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, ClassVar, cast
from unittest.mock import patch

import pytest
from hypothesis import HealthCheck, Phase, settings, strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import Connection, event, text, update
from sqlalchemy.orm import Session

from nightshift import Function, Job, Policy, ledger
from nightshift.database.transaction import settings_query
from nightshift.errors import EventError, Fenced
from nightshift.ledger import OPEN_STATES, OUTCOMES, Claim, Request, RunRecord, Standing
from nightshift.ledger.occurrences import PATIENCE
from nightshift.operations import look_over
from nightshift.operations.control import Control
from tests.conftest import NewDatabase
from tests.faults.simulation import START, Deployed, deployed, prepare

MINUTE = dt.timedelta(minutes=1)
BATCHES = 3
"""What a run has to do."""
SECONDS = 120
"""How long an invocation may take."""
LONGEST_REST = 120
"""Rounds of the supervisor after which everything must have come to rest."""
SECONDS_OF_TORTURE = os.environ.get("NIGHTSHIFT_SIMULATION_SECONDS")

RUNS = text("""
select r.*, (select count(*) from nightshift.attempts a where a.run_id = r.id) as attempts_made,
       (select count(*) from nightshift.attempts a where a.run_id = r.id and a.ended_at is null) as attempts_open,
       array(select number from simulated.effects e where e.run_id = r.id order by number) as effects
  from nightshift.runs r order by job, scheduled_for, id
""")


def _job(name: str, policy: Policy) -> Job:
    step = Function(name="work", apply=lambda execution: None, plan=lambda session, run: [], counters=("done",))
    return Job(name=name, kind="report", schedule="cron(0/5 * * * ? *)", steps=(step,), policy=policy, audited=False)


JOBS = {
    job.name: job
    for job in (
        _job("skips", Policy("skip", "latest", dt.timedelta(minutes=20))),
        _job("waits", Policy("wait", "every")),
    )
}
DEPLOYMENT = Deployed((), {}, {name: deployed(job) for name, job in JOBS.items()})


@dataclass
class Attempt:
    """An invocation that was granted a run. It does not know whether the run is still its own."""

    claim: Claim
    process: str
    done: int
    progressed: bool = False
    errors: list[str] = field(default_factory=list)


def turn(run: Any) -> tuple[bool, dt.datetime, uuid.UUID]:
    """Backfills last, then by occurrence."""
    return (run.trigger == "backfill", run.scheduled_for, run.id)


class Runs(RuleBasedStateMachine):
    """Two jobs, whose runs overlap, wait, die, are taken over, paused, cancelled and redriven."""

    connection: ClassVar[Connection]

    def __init__(self) -> None:
        super().__init__()
        self.now = START + dt.timedelta(seconds=13)
        self.process = ""
        event.listen(self.connection, "begin", self._begin)
        self.session = Session(self.connection, expire_on_commit=False)
        self.attempts: list[Attempt] = []
        self.called: list[dict[str, Any]] = []
        """What the supervisor has invoked, and nobody has delivered."""
        self.reported: Counter[str] = Counter()
        self.rounds: list[dt.datetime] = []
        self.ids: Iterator[int] = itertools.count(1)
        self.seen: dict[uuid.UUID, Any] = {}
        self.patched = patch("nightshift.ledger.claims.uuid", SimpleNamespace(uuid4=self._id))
        self.patched.start()

    def _id(self) -> uuid.UUID:
        return uuid.UUID(int=next(self.ids), version=4)

    def _begin(self, connection: Connection) -> None:
        self.now += dt.timedelta(microseconds=1)  # no two moments are the same
        clock = (
            f"set local simulated.now to '{self.now.isoformat()}'; set local simulated.process to '{self.process}';"
            " set local search_path to simulated, pg_catalog, public"
        )
        driver = cast(Any, connection.connection.dbapi_connection)
        driver.execute_simple(f"begin transaction; {settings_query(connection)}; {clock}")

    @initialize()
    def begin(self) -> None:
        with self.session.begin():
            self.session.execute(
                text("truncate nightshift.jobs, simulated.effects, simulated.violations, simulated.grants cascade")
            )
            names = text(
                "insert into nightshift.jobs (name, registered_at, accounted_until)"
                " select unnest(cast(:names as text[])), :start, :start"
            )
            self.session.execute(names, {"names": list(JOBS), "start": START})

    def teardown(self) -> None:
        try:
            if self.rounds or self.seen:
                self._come_to_rest()
        finally:
            self.patched.stop()
            self.session.close()
            event.remove(self.connection, "begin", self._begin)

    def rows(self) -> list[Any]:
        with self.session.begin():
            return list(self.session.execute(RUNS))

    # --- What the world does -----------------------------------------------------------------------------------------

    @rule(seconds=st.sampled_from((1, 20, 61, 91, 131, 300, 700)))
    def time_passes(self, seconds: int) -> None:
        self.now += dt.timedelta(seconds=seconds)

    @rule(job=st.sampled_from(sorted(JOBS)), back=st.sampled_from((0, 0, 0, 1, 3)), again=st.booleans())
    def an_event_arrives(self, job: str, back: int, again: bool) -> None:
        """In time or late, once or twice."""
        due = JOBS[job].timetable.previous_at_or_before(self.now)
        for _ in range(back):
            due = JOBS[job].timetable.previous_before(cast(dt.datetime, due))
        request_id = str(self._id())
        for _ in range(1 + again):
            self._claim(job, Request("schedule", scheduled_for=due, request_id=request_id))

    @rule(job=st.sampled_from(sorted(JOBS)), how=st.sampled_from(("now", "plan", "forced", "backfill")), data=st.data())
    def somebody_asks(self, job: str, how: str, data: st.DataObject) -> None:
        known = [run.scheduled_for for run in self.seen.values() if run.job == job]
        at = data.draw(st.sampled_from(known), "occurrence") if known and how in ("forced", "backfill") else None
        request = Request(
            "backfill" if how == "backfill" else "manual",
            mode="plan" if how == "plan" else "apply",
            scheduled_for=at,
            forced=how == "forced",
            request_id=str(self._id()),
        )
        self._claim(job, request)

    @precondition(lambda self: self.called)
    @rule(data=st.data(), lost=st.sampled_from((False, False, True)))
    def a_call_of_the_supervisor_arrives(self, data: st.DataObject, lost: bool) -> None:
        payload = self.called.pop(data.draw(st.integers(0, len(self.called) - 1), "call"))
        if not lost:
            self._continue(payload)

    @rule()
    def the_supervisor_looks(self) -> None:
        self._round()

    @precondition(lambda self: any(run.state in OPEN_STATES for run in self.seen.values()))
    @rule(data=st.data())
    def somebody_cancels(self, data: st.DataObject) -> None:
        found = [run.id for run in self.seen.values() if run.state in OPEN_STATES]
        self._control("cancel", run_id=str(data.draw(st.sampled_from(found), "run")))

    @precondition(lambda self: any(run.state in ("failed", "cancelled") for run in self.seen.values()))
    @rule(data=st.data())
    def somebody_redrives(self, data: st.DataObject) -> None:
        found = [run.id for run in self.seen.values() if run.state in ("failed", "cancelled")]
        chosen = data.draw(st.sampled_from(found), "run")
        with self.session.begin():
            Control(self.session, DEPLOYMENT).redrive(run_id=str(chosen), by="an operator")

    @rule(job=st.sampled_from(sorted(JOBS)), paused=st.booleans())
    def somebody_pauses_or_resumes(self, job: str, paused: bool) -> None:
        if paused:
            self._control("pause", job=job)
        else:
            with suppress(EventError), self.session.begin():  # it may not be paused
                Control(self.session, DEPLOYMENT).resume(job=job, by="an operator", reason="a reason")

    # --- What attempts do: each of them at any time, also long after another has taken its run over ------------------

    @precondition(lambda self: self.attempts)
    @rule(data=st.data(), brisk=st.booleans())
    def a_batch(self, data: st.DataObject, brisk: bool) -> None:
        self._batch(self._one(data), brisk=brisk)

    @precondition(lambda self: self.attempts)
    @rule(data=st.data())
    def an_attempt_is_interrupted(self, data: st.DataObject) -> None:
        one = self._one(data, leaves=True)
        self._ends(one, lambda: ledger.interrupt(self.session, one.claim, progressed=one.progressed, critical=False))

    @precondition(lambda self: self.attempts)
    @rule(data=st.data(), permanent=st.sampled_from((False, False, True)), heard=st.booleans())
    def an_attempt_fails(self, data: st.DataObject, permanent: bool, heard: bool) -> None:
        one = self._one(data, leaves=True)
        self._ends(
            one,
            lambda: ledger.fail_attempt(
                self.session, one.claim, "a reason", permanent=permanent, critical=False, reported=heard
            ),
        )

    @precondition(lambda self: self.attempts)
    @rule(data=st.data())
    def an_attempt_finishes(self, data: st.DataObject) -> None:
        one = self._one(data, leaves=True)
        while self._owns(one) and one.done < BATCHES and one.claim.run.mode == "apply":
            self._batch(one, brisk=True)

        def finish() -> Standing:
            with self.session.begin():
                return ledger.finish(self.session, one.claim, counters={"done": one.done})

        self._ends(one, finish)

    @precondition(lambda self: self.attempts)
    @rule(data=st.data())
    def an_attempt_loses_its_connection(self, data: st.DataObject) -> None:
        """It claims its own run again, under a new epoch."""
        one = self._one(data, leaves=True)
        run = self.seen[one.claim.run.id]
        taken = run.epoch != one.claim.epoch
        self.process = one.process
        try:
            granted = ledger.claim_again(
                self.session, one.claim, "lost", progressed=one.progressed, critical=False, seconds=SECONDS
            )
        except Fenced:
            assert taken
            return
        assert not taken
        if isinstance(granted, Claim):
            self._granted(granted, one.process)

    @precondition(lambda self: self.attempts)
    @rule(data=st.data(), seconds=st.sampled_from((30, 90)))
    def an_attempt_renews_its_lease(self, data: st.DataObject, seconds: int) -> None:
        one = self._one(data)
        owned = self._owns(one)
        try:
            ledger.renew(self.session, one.claim, seconds=seconds)
        except Fenced:
            assert not owned
        else:
            assert owned

    # --- What must hold after each of them ---------------------------------------------------------------------------

    @invariant()
    def every_promise_holds(self) -> None:
        rows = self.rows()
        with self.session.begin():
            violations = self.session.execute(text("select what, run_id from simulated.violations")).all()
        assert violations == []
        occurrences = Counter((run.job, run.scheduled_for) for run in rows if run.mode == "apply" and not run.forced)
        assert max(occurrences.values(), default=1) == 1
        at_work = Counter(run.job for run in rows if run.mode == "apply" and self._is_alive(run))
        assert max(at_work.values(), default=1) == 1
        known = {run.id for run in rows}
        assert not self.seen.keys() - known, "a run is gone"
        for run in rows:
            self._check(run, self.seen.get(run.id))
        self.seen = {run.id: run for run in rows}

    def _check(self, run: Any, before: Any) -> None:
        assert 0 <= run.attempts <= run.max_attempts, run
        assert run.attempts_made == run.epoch, run
        assert run.attempts_open == (run.state == "running"), run
        assert (run.finished_at is not None) == (run.state in OUTCOMES), run
        assert (run.lease_until is not None) == (run.state == "running"), run
        assert run.state in ("running", "queued", "succeeded", "planned") or run.reason, run
        assert run.effects == list(range(len(run.effects))), run
        done = (run.position or {"done": 0})["done"] if run.state != "succeeded" else run.counters["done"]
        assert len(run.effects) == done, run
        if run.state == "succeeded":
            assert len(run.effects) == BATCHES, run
        if run.state in ("skipped", "missed", "paused", "planned"):
            assert not run.effects, run
        if before is not None:
            assert run.epoch >= before.epoch, run
            assert len(run.effects) >= len(before.effects), run
            assert run.max_attempts == before.max_attempts, run

    # --- The oracle: which attempt may write, and which run may begin ------------------------------------------------

    def _is_alive(self, run: Any) -> bool:
        return bool(run.state == "running" and run.lease_until > self.now)

    def _owns(self, one: Attempt) -> bool:
        with self.session.begin():
            found = self.session.execute(
                text("select epoch, state from nightshift.runs where id = :id"), {"id": one.claim.run.id}
            ).one()
        return tuple(found) == (one.claim.epoch, "running")

    def _may_begin(self, run: Any) -> bool:
        """Told from what is in the table, in other words than the ledger's."""
        if run.state not in OPEN_STATES or self._is_alive(run) or run.attempts >= run.max_attempts:
            return False
        if run.mode == "plan":
            return True
        others = [
            other
            for other in self.seen.values()
            if other.job == run.job and other.mode == "apply" and other.state in OPEN_STATES and other.id != run.id
        ]
        return not any(self._is_alive(other) or turn(other) < turn(run) for other in others)

    def _one(self, data: st.DataObject, *, leaves: bool = False) -> Attempt:
        which = data.draw(st.integers(0, len(self.attempts) - 1), "attempt")
        one = self.attempts[which]
        # One that has had its end may still be there: its answer was lost, and it tries again.
        if leaves and data.draw(st.booleans(), "its end arrives"):
            del self.attempts[which]
        self.process = one.process
        return one

    # --- How it is done ----------------------------------------------------------------------------------------------

    def _claim(self, job: str, request: Request) -> Attempt | None:
        self.process = str(self._id())
        before = self.seen.get(request.run_id) if request.run_id else None
        granted = ledger.claim(self.session, job, JOBS[job].effective_policy, request, seconds=SECONDS)
        if before is not None:
            assert isinstance(granted, Claim) == self._may_begin(before), (before, granted)
        return self._granted(granted, self.process) if isinstance(granted, Claim) else None

    def _granted(self, claim: Claim, process: str) -> Attempt:
        assert claim.attempt <= claim.max_attempts
        one = Attempt(claim, process, (claim.position or {"done": 0})["done"], errors=list(claim.errors))
        self.attempts.append(one)
        return one

    def _continue(self, payload: Mapping[str, Any]) -> Attempt | None:
        run_id = uuid.UUID(payload["run_id"])
        request = Request("catch_up", run_id=run_id, request_id=str(self._id()))
        return self._claim(self.seen[run_id].job, request)

    def _batch(self, one: Attempt, *, brisk: bool) -> None:
        """A batch of one that does not own its run any more changes nothing."""
        if one.claim.run.mode == "plan" or one.done == BATCHES:
            return
        owned = self._owns(one)
        self.process = one.process
        row = {"run": one.claim.run.id, "number": one.done, "epoch": one.claim.epoch, "now": one.claim.run.now}
        try:
            with self.session.begin():
                self.session.execute(text("insert into simulated.effects values (:run, :number, :epoch, :now)"), row)
                ledger.commit_batch(
                    self.session,
                    one.claim,
                    step="work",
                    fingerprint="always the same",
                    position={"done": one.done + 1},
                    counters={"done": one.done + 1},
                    errors=one.errors,
                    lease_seconds=min(ledger.LEASE_SECONDS, SECONDS) if brisk else None,
                )
        except Fenced:
            assert not owned
        else:
            assert owned
            one.done, one.progressed = one.done + 1, True

    def _ends(self, one: Attempt, how: Callable[[], Standing]) -> None:
        owned = self._owns(one)
        self.process = one.process
        try:
            how()
        except Fenced:
            assert not owned
        else:
            assert owned

    def _control(self, command: str, **what: str) -> None:
        with self.session.begin():
            getattr(Control(self.session, DEPLOYMENT), command)(**what, by="an operator", reason="a reason")

    def _round(self) -> None:
        begun: list[str] = []

        def invoke_later(function: str, payload: Mapping[str, Any]) -> None:
            begun.append(payload["run_id"])

        def report(record: Mapping[str, Any]) -> None:
            self.reported[record["requestPayload"]["run_id"]] += 1

        self.process = "supervisor"
        done = look_over(self.session, DEPLOYMENT, invoke_later, report)
        assert not done.hindered
        self.rounds.append(self.now)
        self.every_promise_holds()
        for run_id in begun:
            assert self._may_begin(self.seen[uuid.UUID(run_id)]), self.seen[uuid.UUID(run_id)]
        self.called += [{"run_id": run_id} for run_id in begun]
        for run in self.seen.values():
            assert run.state != "failed" or run.reported_at, f"nobody has heard of it: {run}"
            idle = run.state in ("queued", "interrupted") or (run.state == "running" and not self._is_alive(run))
            assert not (idle and self._may_begin(run)) or self._is_begun(run, begun), f"nobody goes on with it: {run}"

    def _is_begun(self, run: Any, begun: list[str]) -> bool:
        """Whether it has been invoked, or another plan of its job, after which comes its turn."""
        invoked = [self.seen[uuid.UUID(run_id)] for run_id in begun]
        return any((other.job, other.mode) == (run.job, run.mode) for other in invoked)

    def _come_to_rest(self) -> None:
        """Nothing goes wrong any more: then every occurrence gets its one outcome, and all is told."""
        self.attempts.clear()
        self.called.clear()
        for job in JOBS:
            with suppress(EventError), self.session.begin():  # which is not paused
                Control(self.session, DEPLOYMENT).resume(job=job, by="an operator", reason="a reason")
        end, first = self.now, self.rounds[0] if self.rounds else None
        for _ in range(LONGEST_REST):
            self.now += MINUTE
            self._round()
            for payload in self.called:
                if (one := self._continue(payload)) is not None:
                    while one.done < BATCHES and one.claim.run.mode == "apply":
                        self._batch(one, brisk=True)
                    with self.session.begin():
                        ledger.finish(self.session, one.claim, counters={"done": one.done})
            self.called.clear()
            self.every_promise_holds()
            waits = [run for run in self.seen.values() if run.scheduled_for <= end and run.state in OPEN_STATES]
            if not waits and self.now > end + PATIENCE + MINUTE:
                break
        else:
            raise AssertionError(f"it never came to rest: {waits}")
        if first is not None:
            runs = Counter(
                (run.job, run.scheduled_for) for run in self.seen.values() if run.mode == "apply" and not run.forced
            )
            for name, declared in JOBS.items():
                for due in declared.timetable.between(first, end):
                    assert runs[name, due] == 1, f"{runs[name, due]} runs of {name} at {due}"


@pytest.fixture(scope="module")
def connection(new_database: NewDatabase) -> Iterator[Connection]:
    with new_database() as engine:
        prepare(engine)
        with engine.connect() as connection:
            yield connection


@pytest.fixture(autouse=True)
def in_silence(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("log", "warn", "error", "measure"):
        monkeypatch.setattr(f"nightshift.telemetry.{name}", lambda *_, **__: None)


CHOSEN = settings(
    max_examples=int(SECONDS_OF_TORTURE or 12),  # each takes about a second,
    stateful_step_count=30,
    derandomize=SECONDS_OF_TORTURE is None,
    phases=[Phase.generate] if SECONDS_OF_TORTURE is None else [Phase.generate, Phase.shrink],
    database=None,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)


def on(connection: Connection) -> type[Runs]:
    return type("Runs", (Runs,), {"connection": connection})


def test_no_order_of_events_breaks_a_promise(connection: Connection) -> None:
    run_state_machine_as_test(on(connection), settings=CHOSEN)


def unfenced(session: Session, claim: Claim, **values: Any) -> None:
    session.execute(update(RunRecord).where(RunRecord.id == claim.run.id).values(values))


@pytest.mark.parametrize(
    ("guard", "without"),
    [
        ("nightshift.ledger.batches.update_own", unfenced),
        ("nightshift.ledger.claims._may_start", lambda session, record, clock: record.state in OPEN_STATES),
    ],
)
def test_it_finds_what_breaks_one(
    connection: Connection, guard: str, without: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A machine that finds nothing without a guard would prove nothing with it."""
    monkeypatch.setattr(guard, without)
    quick = settings(CHOSEN, phases=[Phase.generate], derandomize=True, max_examples=100, report_multiple_bugs=False)
    with pytest.raises((AssertionError, EventError, KeyError)):
        run_state_machine_as_test(on(connection), settings=quick)

"""Claims: which attempt may start, in which order, how often; and who waits for whom."""

import datetime as dt
import time
import uuid
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.orm import Session

from nightshift import Policy, ledger
from nightshift.declaration import Trigger
from nightshift.errors import EventError, Fenced
from nightshift.ledger import Claim, Request, Standing
from nightshift.ledger.claims import own

JOB = "shop-check"
AT = dt.datetime(2026, 3, 1, 2, tzinfo=dt.UTC)
DAY = dt.timedelta(days=1)
WAITING_FOR_A_LOCK = text(
    "select exists (select from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database())"
)
SKIP, WAIT = Policy(overlap="skip"), Policy(overlap="wait")


def ask(session: Session, request: Request, policy: Policy = WAIT) -> Claim | Standing:
    session.rollback()
    return ledger.claim(session, JOB, policy, request, seconds=60)


def start(session: Session, request: Request = Request("schedule", scheduled_for=AT), policy: Policy = WAIT) -> Claim:  # noqa: B008 - frozen
    granted = ask(session, request, policy)
    assert isinstance(granted, Claim), granted.state
    return granted


def refused(session: Session, request: Request, policy: Policy = WAIT) -> Standing:
    standing = ask(session, request, policy)
    assert isinstance(standing, Standing)
    return standing


def again(claim: Claim | Standing) -> Request:
    """What the supervisor asks for."""
    return Request(run_id=claim.run.id)


def run_of(session: Session, claim: Claim | Standing) -> Any:
    session.rollback()
    return session.execute(text("select * from nightshift.runs where id = :id"), {"id": claim.run.id}).one()


def die(session: Session) -> None:
    """Whoever is at work is dead for longer than its lease."""
    session.rollback()
    session.execute(text("update nightshift.runs set lease_until = clock_timestamp() - interval '1 second'"))
    session.commit()


def finish(session: Session, claim: Claim) -> Standing:
    session.rollback()
    with session.begin():
        return ledger.finish(session, claim, counters={})


def interrupt(session: Session, claim: Claim, *, progressed: bool = True) -> Standing:
    session.rollback()
    return ledger.interrupt(session, claim, progressed=progressed, critical=True)


def fail(session: Session, claim: Claim, *, permanent: bool = False) -> Standing:
    session.rollback()
    return ledger.fail_attempt(session, claim, "broken", permanent=permanent, critical=False)


class Meanwhile:
    """Another session, which claims a run in the middle of something."""

    def __init__(self, database: Engine, pool: ThreadPoolExecutor, claim: Callable[[Session], Any]) -> None:
        self._database, self._pool, self._claim = database, pool, claim
        self._future: Future[Any] | None = None

    def arrive(self) -> None:
        """Returns when it has its answer, or waits for a lock."""
        self._future = self._pool.submit(self._ask)
        with self._database.connect() as looking:
            while not self._future.done() and not looking.scalar(WAITING_FOR_A_LOCK):
                looking.rollback()  # a transaction sees the sessions as they were when it looked first
                time.sleep(0.005)

    @property
    def granted(self) -> Any:
        assert self._future is not None
        return self._future.result()

    def _ask(self) -> Any:
        with Session(self._database) as other:
            return self._claim(other)


@pytest.fixture
def meanwhile(database: Engine) -> Any:
    with ThreadPoolExecutor(1) as pool:
        yield lambda claim: Meanwhile(database, pool, claim)


@pytest.mark.parametrize("how", ["its id", "its occurrence", "a lost connection"])
def test_who_takes_a_run_over_waits_for_the_batch_that_is_being_committed_and_goes_on_behind_it(
    session: Session, database: Engine, meanwhile: Any, how: str
) -> None:
    claim = start(session)
    die(session)

    def take_over(other: Session) -> Any:
        if how == "a lost connection":
            return ledger.claim_again(other, claim, "cut", progressed=True, critical=False, seconds=60)
        request = again(claim) if how == "its id" else Request("schedule", scheduled_for=AT)
        return ledger.claim(other, JOB, WAIT, request, seconds=60)

    next_one = meanwhile(take_over)
    with Session(database) as slow, slow.begin():
        ledger.commit_batch(
            slow, claim, step="one", fingerprint="f", position={"at": 7}, counters={"done": 7}, errors=["odd"]
        )
        next_one.arrive()
    granted = next_one.granted
    assert (granted.epoch, granted.step, granted.fingerprint) == (2, "one", "f")
    assert (granted.position, granted.counters, granted.errors) == ({"at": 7}, {"done": 7}, ["odd"])


@pytest.mark.parametrize("end", [finish, interrupt, fail])
def test_who_takes_a_run_over_waits_for_the_end_that_is_being_written(
    session: Session, meanwhile: Any, monkeypatch: pytest.MonkeyPatch, end: Callable[[Session, Claim], Standing]
) -> None:
    claim = start(session)
    die(session)
    next_one = meanwhile(lambda other: ledger.claim(other, JOB, WAIT, again(claim), seconds=60))

    def slow(session: Session, claim: Claim) -> Any:
        owned = own(session, claim)
        next_one.arrive()
        return owned

    monkeypatch.setattr("nightshift.ledger.endings.own", slow)
    end(session, claim)
    granted = next_one.granted
    found = run_of(session, claim)
    assert (found.state, found.epoch) == (("running", 2) if isinstance(granted, Claim) else ("succeeded", 1))
    assert isinstance(granted, Standing) == (end is finish)


def test_an_attempt_begins_when_it_has_the_jobs_lock_and_not_when_it_asks_for_it(
    session: Session, database: Engine, meanwhile: Any
) -> None:
    start(session, policy=SKIP)
    next_one = meanwhile(lambda other: ledger.claim(other, JOB, WAIT, Request(id=uuid.UUID(int=5)), seconds=60))
    with Session(database) as holder, holder.begin():
        ledger.lock_job(holder, JOB)
        next_one.arrive()
        let_go = ledger.database_clock(holder)
    assert next_one.granted.run.scheduled_for > let_go


def test_a_run_has_three_attempts_and_no_fourth(session: Session) -> None:
    claim = start(session)
    for attempt in (1, 2, 3):
        assert (claim.attempt, claim.epoch, claim.max_attempts) == (attempt, attempt, 3)
        die(session)
        granted = ask(session, again(claim))
        if isinstance(granted, Claim):
            claim = granted
    assert isinstance(granted, Standing)
    found = run_of(session, claim)
    assert (granted.state, found.attempts, found.epoch) == ("running", 3, 3)
    attempts = session.scalars(text("select ending from nightshift.attempts order by epoch")).all()
    assert attempts == ["lost", "lost", None]


def test_nobody_begins_a_run_that_is_at_work_or_has_ended(session: Session) -> None:
    claim = start(session)
    assert refused(session, again(claim)).state == "running"
    for state in ("succeeded", "failed", "cancelled", "planned", "missed", "paused", "skipped"):
        session.rollback()
        session.execute(text("update nightshift.runs set state = :state, lease_until = null"), {"state": state})
        session.commit()
        assert refused(session, again(claim)).state == state
        if state not in ("missed", "paused", "skipped"):
            by_hand = refused(session, Request("manual", scheduled_for=AT))
            assert (by_hand.run.id, by_hand.state) == (claim.run.id, state)


def test_runs_that_wait_for_each_other_begin_in_the_order_of_their_occurrences(session: Session) -> None:
    second = start(session, Request("schedule", scheduled_for=AT + DAY))
    first, third = (refused(session, Request("schedule", scheduled_for=at)) for at in (AT, AT + 2 * DAY))
    assert (first.state, third.state) == ("queued", "queued")
    finish(session, second)
    assert refused(session, again(third)).state == "queued", "an older one waits too"
    begun = start(session, again(first))
    assert refused(session, again(third)).state == "queued", "and is at work now"
    finish(session, begun)
    finish(session, start(session, again(third)))


def test_claims_of_one_job_are_made_one_after_the_other(
    session: Session, meanwhile: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    finish(session, start(session, Request("schedule", scheduled_for=AT - DAY)))  # from here on the job is known
    next_one = meanwhile(
        lambda other: ledger.claim(other, JOB, WAIT, Request("schedule", scheduled_for=AT + DAY), seconds=60)
    )
    grant = ledger.claims.grant

    def slow(*arguments: Any) -> Claim:
        monkeypatch.undo()
        next_one.arrive()
        return grant(*arguments)

    monkeypatch.setattr("nightshift.ledger.claims.grant", slow)
    start(session)
    assert isinstance(next_one.granted, Standing), "it waits for the end of the one before it"


def test_of_two_that_wait_for_one_time_the_same_is_always_the_first(session: Session) -> None:
    forced = [Request("manual", scheduled_for=AT, forced=True, request_id=each) for each in ("a", "b")]
    begun = start(session, forced[0])
    other = refused(session, forced[1])
    interrupt(session, begun)
    first, second = sorted((begun.run.id, other.run.id))
    assert isinstance(ask(session, Request(run_id=second)), Standing)
    start(session, Request(run_id=first))


def test_a_dead_run_keeps_those_after_it_waiting(session: Session) -> None:
    """It is continued first; until then it may have done half of its work."""
    start(session)
    die(session)
    assert refused(session, Request("schedule", scheduled_for=AT + DAY)).state == "queued"


def test_a_plan_and_a_run_keep_nobody_waiting_for_each_other(session: Session) -> None:
    plan = start(session, Request("manual", "plan", scheduled_for=AT))
    run = start(session, Request("schedule", scheduled_for=AT + DAY), SKIP)
    start(session, Request("manual", "plan", scheduled_for=AT + 2 * DAY), SKIP)
    assert len({plan.run.id, run.run.id}) == 2
    die(session)
    start(session, again(run))
    interrupt(session, start(session, again(plan)))
    assert start(session, again(plan)).run.mode == "plan"


def test_runs_of_other_jobs_keep_nobody_waiting(session: Session) -> None:
    session.rollback()
    assert isinstance(ledger.claim(session, "another", SKIP, Request(), seconds=60), Claim)
    start(session, policy=SKIP)


def test_an_interruption_after_a_batch_is_no_attempt_and_one_without_is(session: Session) -> None:
    claim = start(session)
    for _ in range(4):
        assert interrupt(session, claim).state == "interrupted"
        assert run_of(session, claim).attempts == 0
        claim = start(session, again(claim))
    for attempts in (1, 2):
        assert interrupt(session, claim, progressed=False).state == "interrupted"
        assert run_of(session, claim).attempts == attempts
        claim = start(session, again(claim))
    assert interrupt(session, claim).state == "interrupted", "the last one too, if it has committed a batch"
    claim = start(session, again(claim))
    ended = interrupt(session, claim, progressed=False)
    assert (ended.state, ended.reason) == (
        "failed",
        "out of time in 3 attempts in a row, without one batch that was committed",
    )
    assert session.scalars(text("select run_id from job_failures")).all() == [claim.run.id], "the job is critical"
    assert run_of(session, claim).finished_at is not None
    assert set(session.scalars(text("select ending from nightshift.attempts"))) == {"interrupted"}


def test_a_lost_connection_after_a_batch_is_no_attempt_and_one_without_is(session: Session) -> None:
    def lose(claim: Claim, *, progressed: bool) -> Any:
        session.rollback()
        return ledger.claim_again(session, claim, "cut", progressed=progressed, critical=True, seconds=60)

    claim = start(session, Request("schedule", scheduled_for=AT, request_id="lambda's"))
    for _ in range(4):
        claim = lose(claim, progressed=True)
        assert claim.attempt == 1
    for attempt in (2, 3):
        claim = lose(claim, progressed=False)
        assert claim.attempt == attempt
    claim = lose(claim, progressed=True)
    assert claim.attempt == 3, "the last one too, if it has committed a batch"
    ended = lose(claim, progressed=False)
    assert (ended.state, ended.reason) == (
        "failed",
        "the connection was lost in 3 attempts in a row, without one batch that was committed: cut",
    )
    assert session.scalars(text("select run_id from job_failures")).all() == [claim.run.id], "the job is critical"
    attempts = session.execute(text("select ending, request_id from nightshift.attempts order by epoch")).all()
    assert [tuple(each) for each in attempts] == [("lost", "lambda's")] * 7 + [("failed", "lambda's")]
    assert lose(claim, progressed=True).state == "failed", "whoever asks later is told so"


def test_a_failure_is_final_at_the_third_attempt_or_when_no_retry_would_help(session: Session) -> None:
    claim = start(session)
    for _ in range(2):
        standing = fail(session, claim)
        assert (standing.state, run_of(session, claim).finished_at) == ("retrying", None)
        claim = start(session, again(claim))
        assert run_of(session, claim).reason is None, "of the attempt before"
    assert fail(session, claim).state == "failed"
    other = start(session, Request("schedule", scheduled_for=AT + DAY))
    assert fail(session, other, permanent=True).state == "failed"
    for each in (claim, other):
        found = run_of(session, each)
        assert (found.finished_at is None, found.lease_until, found.reported_at) == (False, None, None)


@pytest.mark.parametrize("state", ["skipped", "missed", "paused"])
def test_what_was_left_out_is_run_by_hand_with_the_parameters_that_are_given_now(session: Session, state: str) -> None:
    event = Request("schedule", scheduled_for=AT, parameters={"days": 30}, request_id="the rule's")
    claim = start(session, event)
    session.rollback()
    left_out = text(
        "update nightshift.runs set state = :state, attempts = 0, finished_at = now(), reason = 'why',"
        """ override = '{"by": "Eve"}', started_at = now() - interval '9 hours'"""
    )
    session.execute(left_out, {"state": state})
    session.commit()

    for unasked in (event, replace(event, trigger="catch_up"), again(claim)):
        assert refused(session, unasked).state == state
    by_hand = start(session, Request("manual", scheduled_for=AT, parameters={"days": 90}, request_id="Ada's"))

    assert by_hand.run.id == claim.run.id, "an occurrence has one outcome"
    assert (by_hand.run.trigger, by_hand.run.parameters, by_hand.run.override) == ("manual", {"days": 90}, None)
    found = run_of(session, claim)
    assert (found.state, found.reason, found.finished_at, found.request_id) == ("running", None, None, "Ada's")
    assert found.started_at is not None
    assert dt.datetime.now(dt.UTC) - found.started_at < dt.timedelta(hours=1), "it is timed from when it was asked for"


def test_a_forced_repetition_or_a_plan_does_not_take_the_place_of_the_occurrence(session: Session) -> None:
    forced = start(session, Request("manual", scheduled_for=AT, forced=True))
    finish(session, forced)
    plan = start(session, Request("manual", "plan", scheduled_for=AT))
    finish(session, plan)
    event = start(session)
    finish(session, event)
    finish(session, start(session, Request("manual", "plan", scheduled_for=AT)))
    once_more = start(session, Request("manual", scheduled_for=AT, forced=True))
    assert len({each.run.id for each in (forced, plan, event, once_more)}) == 4
    assert refused(session, Request("schedule", scheduled_for=AT)).run.id == event.run.id


def test_a_request_that_is_delivered_again_is_the_same_run(session: Session) -> None:
    claim = start(session, Request(request_id="one"))
    assert refused(session, Request(request_id="one")).run.id == claim.run.id
    finish(session, claim)
    forced = Request(scheduled_for=AT, forced=True, request_id="two")
    assert start(session, forced).run.id == refused(session, forced).run.id


@pytest.mark.parametrize("trigger", ["schedule", "catch_up", "manual", "backfill"])
def test_what_a_person_asks_for_is_never_too_late_or_paused(session: Session, trigger: Trigger) -> None:
    unasked = trigger in ("schedule", "catch_up")
    with session.begin():
        now = ledger.database_clock(session)
    hourly = Policy(overlap="wait", late_limit=dt.timedelta(hours=1))
    late, punctual = (Request(trigger, scheduled_for=now - dt.timedelta(minutes=minutes)) for minutes in (61, 59))
    for request, state in ((late, "missed"), (punctual, "running")):
        ask(session, request, hourly)
        found = session.execute(
            text("select state, finished_at from nightshift.runs where scheduled_for = :at"),
            {"at": request.scheduled_for},
        ).one()
        if unasked:
            assert (found.state, found.finished_at is None) == (state, state == "running")
        else:
            assert found.state in ("running", "queued")
    session.rollback()
    session.execute(text("update nightshift.jobs set paused_at = now(), paused_by = 'Eve', pause_reason = 'move'"))
    session.commit()
    paused = ask(session, Request(trigger, scheduled_for=now), hourly)
    assert (isinstance(paused, Standing) and paused.state == "paused") == unasked


def test_only_a_backfill_waits_where_others_are_skipped(session: Session) -> None:
    start(session, policy=SKIP)
    later = AT + DAY
    assert refused(session, Request("backfill", scheduled_for=later), SKIP).state == "queued"
    for trigger in ("schedule", "catch_up", "manual"):
        later += DAY
        skipped = refused(session, Request(trigger, scheduled_for=later), SKIP)
        assert skipped.state == "skipped"
        assert run_of(session, skipped).finished_at is not None


def test_an_event_may_come_up_to_a_minute_before_the_databases_clock(session: Session) -> None:
    with session.begin():
        now = ledger.database_clock(session)
    start(session, Request("schedule", scheduled_for=now + dt.timedelta(seconds=50)))
    with pytest.raises(EventError, match="lies in the future"):
        ask(session, Request("schedule", scheduled_for=now + dt.timedelta(seconds=80)))


def test_a_redriven_run_that_had_not_begun_counts_anew_and_one_in_the_middle_keeps_its_count(session: Session) -> None:
    claim = start(session)
    fail(session, claim, permanent=True)
    for step, kept in (("one", {"one": 5}), (None, None)):
        session.execute(
            text("update nightshift.runs set candidates = '{\"one\": 5}', step = :step, state = 'failed'"),
            {"step": step},
        )
        if step is not None:
            with pytest.raises(EventError, match="stated no candidates that were too many"):
                ledger.redrive(session, claim.run.id, "again", override={"by": "Ada", "reason": "it is right"})
        assert ledger.redrive(session, claim.run.id, "again").candidates == kept


def test_a_zombie_writes_no_batch_no_candidates_and_no_end(session: Session) -> None:
    claim = start(session)
    die(session)
    successor = start(session, again(claim))

    def batch(session: Session, claim: Claim) -> None:
        session.rollback()
        with session.begin():
            ledger.commit_batch(session, claim, step="s", fingerprint="f", position={}, counters={}, errors=[])

    def candidates(session: Session, claim: Claim) -> None:
        session.rollback()
        ledger.state_candidates(session, claim, {"s": 1}, "f")

    def renew(session: Session, claim: Claim) -> None:
        session.rollback()
        ledger.renew(session, claim, seconds=9_999)

    def claim_again(session: Session, claim: Claim) -> None:
        session.rollback()
        ledger.claim_again(session, claim, "cut", progressed=True, critical=False, seconds=60)

    before = run_of(session, claim)
    for write_something in (batch, candidates, renew, claim_again, finish, interrupt, fail):
        with pytest.raises(Fenced, match="epoch 1 has ended"):
            write_something(session, claim)
    assert run_of(session, claim) == before
    finish(session, successor)
    before = run_of(session, claim)
    for write_something in (batch, candidates, renew, finish, interrupt, fail):
        with pytest.raises(Fenced, match="epoch 2 has ended"):
            write_something(session, successor)
    assert run_of(session, claim) == before


def test_a_batch_changes_its_own_run_alone(session: Session) -> None:
    one = start(session)
    session.rollback()
    other = ledger.claim(session, "another", SKIP, Request(), seconds=60)
    assert isinstance(other, Claim)
    before = run_of(session, other)
    session.rollback()
    ledger.state_candidates(session, one, {"s": 1}, "f")
    finish(session, one)
    assert run_of(session, other) == before
    assert run_of(session, one).candidates == {"s": 1}


def test_a_new_run_has_the_id_that_whoever_asks_has_given_it(session: Session) -> None:
    id = uuid.uuid4()
    first = start(session, Request("manual", id=id, request_id="first"))
    assert first.run.id == id
    # Asking again, as after a lost connection, means the same run, and never a second one.
    assert refused(session, Request("manual", id=id, request_id="second")).state == "running"
    finish(session, first)
    assert refused(session, Request("manual", id=id, request_id="third")).state == "succeeded"
    assert session.scalar(text("select count(*) from nightshift.runs")) == 1


def test_an_occurrence_that_has_a_run_keeps_its_id(session: Session) -> None:
    first = start(session)
    again = refused(session, Request("manual", scheduled_for=AT, id=uuid.uuid4()))
    assert again.run.id == first.run.id


def test_an_id_is_never_taken_from_another_run(session: Session) -> None:
    id = start(session).run.id
    for request in (
        Request("manual", scheduled_for=AT + DAY, id=id),
        Request("manual", scheduled_for=AT, forced=True, id=id),
        Request("manual", "plan", id=id),
    ):
        with pytest.raises(EventError, match="another run's"):
            ask(session, request)
    session.rollback()
    with pytest.raises(EventError, match="another run's"):
        ledger.claim(session, "abandoned-carts", WAIT, Request("manual", id=id), seconds=60)


def test_only_the_very_attempt_that_was_tried_is_ones_own(session: Session) -> None:
    """Another one may have begun under the same epoch, if the first try was never committed."""
    tried = ledger.Tried()
    request = Request("schedule", scheduled_for=AT)
    granted = ledger.claim(session, JOB, WAIT, request, seconds=60, tried=tried)
    assert ledger.claim(session, JOB, WAIT, request, seconds=60, tried=tried) is granted
    assert tried.begun_at is not None
    tried.begun_at -= dt.timedelta(microseconds=1)
    assert isinstance(ledger.claim(session, JOB, WAIT, request, seconds=60, tried=tried), Standing)

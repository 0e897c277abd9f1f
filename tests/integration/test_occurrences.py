"""Occurrences that no event announced: the supervisor finds them, and settles each by the policy of its job."""

import datetime as dt
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.orm import Session

from nightshift import ledger
from nightshift.declaration import Deployment, Policy, registry
from nightshift.ledger import Claim, Request, Standing
from nightshift.ledger.occurrences import PATIENCE
from nightshift.operations import Round, look_over

LATEST = "abandoned-carts"
EVERY = "daily-takings"
NONE = "shop-check"
NOTICE = "cart-notices"

HALF_AN_HOUR = dt.timedelta(minutes=30)
HOUR = dt.timedelta(hours=1)


class Supervisor:
    """Rounds over one job that is due each hour, last half an hour ago."""

    def __init__(self, database: Engine) -> None:
        self._database = database
        with Session(database) as session:
            now = ledger.database_clock(session)
        self.last_due = now.replace(second=0, microsecond=0) - HALF_AN_HOUR
        self.schedule = f"cron({self.last_due.minute} * * * ? *)"
        self.invoked: list[str] = []

    def due(self, count: int) -> list[dt.datetime]:
        """The last occurrences, the oldest first."""
        return [self.last_due - HOUR * number for number in reversed(range(count))]

    def watch(self, job: str, *, missing: int, schedule: str | None = None) -> None:
        """Say that the job has been accounted for until just before its last so many occurrences."""
        known = text(
            "insert into nightshift.jobs (name, schedule, accounted_until) values (:name, :schedule, :until)"
            " on conflict (name) do update set schedule = excluded.schedule, accounted_until = excluded.accounted_until"
        )
        until = self.last_due - HOUR * missing + HALF_AN_HOUR
        with Session(self._database) as session, session.begin():
            session.execute(known, {"name": job, "schedule": schedule or self.schedule, "until": until})

    def look(self, job: str, **changes: Any) -> Round:
        deployment = Deployment(changes={job: {"schedule": self.schedule, **changes}})
        with Session(self._database) as session:
            return look_over(
                session, deployment, lambda _, payload: self.invoked.append(payload["run_id"]), lambda _: None
            )

    def runs(self, job: str) -> list[Any]:
        with Session(self._database) as session:
            return list(session.execute(text("select * from nightshift.runs where job = :j order by 3"), {"j": job}))


@pytest.fixture
def supervisor(database: Engine) -> Iterator[Supervisor]:
    return Supervisor(database)  # type: ignore[return-value]


def test_an_occurrence_without_an_event_is_caught_up_in_the_same_round(supervisor: Supervisor) -> None:
    supervisor.watch(LATEST, missing=1)
    done = supervisor.look(LATEST, parameters={"retention_days": 45})
    assert (done.caught_up, done.missed) == (1, 0)
    (run,) = supervisor.runs(LATEST)
    assert (run.scheduled_for, run.trigger, run.state) == (supervisor.last_due, "catch_up", "queued")
    assert run.parameters["retention_days"] == 45, "as the deployment has set it"
    assert supervisor.invoked == [str(run.id)]


def test_an_occurrence_of_three_minutes_ago_has_waited_long_enough(supervisor: Supervisor) -> None:
    at = supervisor.last_due + dt.timedelta(minutes=27)
    schedule = f"cron({at.minute} {at.hour} * * ? *)"
    supervisor.watch(LATEST, missing=1, schedule=schedule)
    assert supervisor.look(LATEST, schedule=schedule).caught_up == 1


def test_what_has_a_run_is_not_looked_for_again(supervisor: Supervisor, session: Session) -> None:
    supervisor.watch(LATEST, missing=1)
    supervisor.look(LATEST)
    again = supervisor.look(LATEST)
    assert (again.caught_up, again.missed) == (0, 0)
    assert len(supervisor.runs(LATEST)) == 1
    until = session.execute(text("select accounted_until from nightshift.jobs")).scalar_one()
    assert until > supervisor.last_due


def test_an_occurrence_that_was_announced_is_left_alone(supervisor: Supervisor, session: Session) -> None:
    supervisor.watch(LATEST, missing=1)
    event = Request("schedule", scheduled_for=supervisor.last_due)
    granted = ledger.claim(session, LATEST, Policy(), event, seconds=60)
    assert isinstance(granted, Claim)
    assert supervisor.look(LATEST).caught_up == 0
    (run,) = supervisor.runs(LATEST)
    assert run.trigger == "schedule"


def test_a_plan_or_a_forced_repetition_does_not_hide_that_no_event_came(
    supervisor: Supervisor, session: Session
) -> None:
    supervisor.watch(EVERY, missing=1)
    for request in (Request("manual", "plan", supervisor.last_due), Request("manual", forced=True)):
        granted = ledger.claim(
            session, EVERY, Policy(), replace(request, scheduled_for=supervisor.last_due), seconds=60
        )
        assert isinstance(granted, Claim)
        with session.begin():
            ledger.finish(session, granted, counters={})
    assert supervisor.look(EVERY).caught_up == 1


def test_an_event_that_comes_after_all_finds_its_occurrence_taken(supervisor: Supervisor, session: Session) -> None:
    supervisor.watch(LATEST, missing=1)
    supervisor.look(LATEST)
    (queued,) = supervisor.runs(LATEST)
    caught_up = ledger.claim(session, LATEST, Policy(), Request(run_id=queued.id), seconds=60)
    assert isinstance(caught_up, Claim)
    late = ledger.claim(session, LATEST, Policy(), Request("schedule", scheduled_for=supervisor.last_due), seconds=60)
    assert isinstance(late, Standing)
    assert late.run.id == queued.id


def test_of_several_the_latest_is_caught_up_and_the_others_say_so(supervisor: Supervisor) -> None:
    supervisor.watch(LATEST, missing=3)
    done = supervisor.look(LATEST)
    assert (done.caught_up, done.missed) == (1, 2)
    runs = supervisor.runs(LATEST)
    assert [run.scheduled_for for run in runs] == supervisor.due(3)
    assert [run.state for run in runs] == ["missed", "missed", "queued"]
    stands_for = f"a later occurrence is due: {supervisor.last_due:%Y-%m-%dT%H:%M:%SZ}"
    assert runs[0].reason == f"no event arrived for it, and {stands_for}"
    assert runs[0].finished_at is not None


def test_an_older_one_is_not_caught_up_when_the_latest_was_announced(supervisor: Supervisor, session: Session) -> None:
    supervisor.watch(LATEST, missing=2)
    ledger.claim(session, LATEST, Policy(), Request("schedule", scheduled_for=supervisor.last_due), seconds=60)
    done = supervisor.look(LATEST)
    assert (done.caught_up, done.missed) == (0, 1)


def test_every_occurrence_of_a_rollup_is_caught_up_one_after_the_other(
    supervisor: Supervisor, session: Session
) -> None:
    supervisor.watch(EVERY, missing=3)
    assert supervisor.look(EVERY).caught_up == 3
    first, second, third = supervisor.runs(EVERY)
    assert [run.scheduled_for for run in (first, second, third)] == supervisor.due(3)
    assert supervisor.invoked == [str(first.id)], "the others wait for it"
    for run, following in ((first, second), (second, third)):
        claim = ledger.claim(session, EVERY, Policy(overlap="wait"), Request(run_id=run.id), seconds=60)
        assert isinstance(claim, Claim)
        with session.begin():
            ledger.finish(session, claim, counters={})
        supervisor.look(EVERY)
        assert supervisor.invoked[-1] == str(following.id)


def test_a_check_of_the_past_is_missed(supervisor: Supervisor) -> None:
    supervisor.watch(NONE, missing=2)
    done = supervisor.look(NONE)
    assert (done.caught_up, done.missed) == (0, 2)
    assert {run.reason for run in supervisor.runs(NONE)} == {"no event arrived for it, and this job does not catch up"}


def test_a_notice_that_is_too_late_is_missed(supervisor: Supervisor) -> None:
    # GIVEN a job of the limit of two hours that was due three hours ago
    at = supervisor.last_due - HOUR * 3
    daily = f"cron({at.minute} {at.hour} * * ? *)"
    supervisor.watch(NOTICE, missing=5, schedule=daily)
    done = supervisor.look(NOTICE, schedule=daily)
    assert (done.caught_up, done.missed) == (0, 1)
    (run,) = supervisor.runs(NOTICE)
    assert run.reason.endswith("the limit is 2:00:00")


def test_a_notice_in_its_time_is_caught_up(supervisor: Supervisor) -> None:
    supervisor.watch(NOTICE, missing=1)
    assert supervisor.look(NOTICE).caught_up == 1


@pytest.mark.parametrize("job", [EVERY, LATEST, NONE])
def test_a_paused_job_is_not_caught_up_and_has_missed_nothing(
    supervisor: Supervisor, session: Session, job: str
) -> None:
    supervisor.watch(job, missing=2)
    session.execute(text("update nightshift.jobs set paused_at = now(), paused_by = 'Eve', pause_reason = 'move'"))
    session.commit()
    done = supervisor.look(job)
    assert (done.caught_up, done.missed) == (0, 0)
    assert [(run.state, run.reason) for run in supervisor.runs(job)] == [("paused", "paused by Eve: move")] * 2


def test_an_occurrence_that_meets_an_open_run_is_skipped(supervisor: Supervisor, session: Session) -> None:
    ledger.claim(session, LATEST, Policy(), Request("manual"), seconds=60)
    supervisor.watch(LATEST, missing=1)
    assert supervisor.look(LATEST).caught_up == 0
    skipped = next(run for run in supervisor.runs(LATEST) if run.trigger == "catch_up")
    assert skipped.state == "skipped"


@pytest.mark.parametrize("change", [{"enabled": False}, {"schedule": "cron(0 0 1 1 ? *)"}], ids=["disabled", "other"])
def test_a_job_that_is_not_due_by_its_schedule_has_missed_nothing(
    supervisor: Supervisor, change: dict[str, Any]
) -> None:
    supervisor.watch(LATEST, missing=3)
    supervisor.look(LATEST, **change)
    # AND it starts anew once it is due again
    supervisor.look(LATEST)
    assert supervisor.runs(LATEST) == []


def test_a_new_schedule_counts_from_when_it_is_first_seen(supervisor: Supervisor) -> None:
    supervisor.watch(LATEST, missing=3, schedule="cron(0 0 1 1 ? *)")
    for _ in range(2):
        supervisor.look(LATEST)
    assert supervisor.runs(LATEST) == []


def test_a_job_just_registered_has_missed_nothing(supervisor: Supervisor, session: Session) -> None:
    session.execute(text("insert into nightshift.jobs (name) values (:name)"), {"name": LATEST})
    session.commit()
    for _ in range(2):
        supervisor.look(LATEST)
    assert supervisor.runs(LATEST) == []
    watched = session.execute(text("select schedule from nightshift.jobs")).scalar_one()
    assert watched == supervisor.schedule


def test_an_occurrence_is_given_a_moment_before_it_counts_as_missed(database: Engine) -> None:
    supervisor = Supervisor(database)
    with Session(database) as session:
        now = ledger.database_clock(session)
    just_due = now.replace(second=0, microsecond=0)
    assert now - just_due < PATIENCE
    every_minute = "cron(* * * * ? *)"
    supervisor.watch(LATEST, missing=1, schedule=every_minute)
    supervisor.look(LATEST, schedule=every_minute)
    latest = supervisor.runs(LATEST)[-1].scheduled_for
    assert dt.datetime.now(dt.UTC) - latest >= PATIENCE
    assert latest > now - PATIENCE - dt.timedelta(minutes=2), "and no longer"


def test_after_a_long_silence_the_last_31_days_are_looked_at(supervisor: Supervisor, session: Session) -> None:
    supervisor.watch(EVERY, missing=24 * 40)
    assert supervisor.look(EVERY).caught_up == 31 * 24
    assert supervisor.look(EVERY).caught_up == 0


def test_supervisors_and_an_event_at_one_moment_make_one_run_of_each_occurrence(
    supervisor: Supervisor, database: Engine
) -> None:
    supervisor.watch(EVERY, missing=5)

    def deliver(time: dt.datetime) -> None:
        with Session(database) as session:
            ledger.claim(session, EVERY, Policy(overlap="wait"), Request("schedule", scheduled_for=time), seconds=60)

    with ThreadPoolExecutor(8) as pool:
        work = [pool.submit(supervisor.look, EVERY) for _ in range(3)]
        work += [pool.submit(deliver, time) for time in supervisor.due(5)]  # type: ignore[arg-type]
        for each in work:
            each.result()
    assert [run.scheduled_for for run in supervisor.runs(EVERY)] == supervisor.due(5)


def test_every_job_can_be_watched(database: Engine) -> None:
    with Session(database) as session, session.begin():
        for name, each in registry().items():
            known = text("insert into nightshift.jobs (name, schedule, accounted_until) values (:n, :s, :u)")
            until = ledger.database_clock(session) - dt.timedelta(days=31)
            session.execute(known, {"n": name, "s": str(each.job.timetable), "u": until})
    with Session(database) as session:
        done = look_over(session, Deployment(), lambda *_: None, lambda _: None)
    assert done.caught_up > len(registry()) / 2
    assert done.missed > 5_000, "of two jobs, the ticks of a quarter of an hour in a month"

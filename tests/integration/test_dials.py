"""Dials that an operator turns while a run is at work, pauses of all jobs, and freezes."""

import datetime as dt
import json
from itertools import pairwise
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from nightshift import Delete, Execution, Function, Job, days
from nightshift.declaration import Deployment
from nightshift.declaration.windows import Freeze, Hours
from nightshift.engine.ways import HeapWalk
from nightshift.environment import FREEZES_VARIABLE
from nightshift.errors import EventError
from nightshift.operations import answer, carry_out
from tests.ground.functions.market.removed_items import job as removed_items
from tests.integration.conftest import Invoke, scheduled

NOW = "2026-03-01T02:00:00Z"
ADA = {"by": "Ada", "reason": "a busy evening"}
NAME = removed_items.name

job = Job(
    name=NAME,
    kind="retention",
    schedule="cron(0 2 * * ? *)",
    steps=(Delete("visits", older_than=days(7), measured_by="at"),),
    audited=False,
)

VISITS = """
create table visits (id bigint generated always as identity primary key, note text, at timestamptz not null);
insert into visits (note, at)
select repeat('x', 60), timestamptz '2026-01-01Z' + i * interval '1 s' from generate_series(1, 4000) i
"""


@pytest.fixture
def visits(session: Session) -> Session:
    session.execute(text(VISITS))
    session.commit()
    session.execute(text("analyze visits"))
    session.commit()
    return session


def do(session: Session, **request: Any) -> dict[str, Any]:
    session.rollback()
    return carry_out(session, Deployment(), request)


def ask(session: Session, query: str, **keys: Any) -> dict[str, Any]:
    session.rollback()
    return answer(session, Deployment(), {"query": query, **keys}, now=dt.datetime.now(dt.UTC))


class Batches:
    """The batches of runs; after one of them an operator does something."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.rows: list[int] = []
        self.rested: list[float] = []
        self.then: dict[int, Any] = {}
        monkeypatch.setattr("nightshift.telemetry.log", self._log)
        monkeypatch.setattr("nightshift.engine.pacing.time.sleep", self._sleep)

    def _log(self, event: str, /, **fields: Any) -> None:
        if event == "batch.committed":
            self.rows.append(fields["counters"].get("deleted", fields["counters"].get("done", 0)))
            if (do := self.then.get(len(self.rows))) is not None:
                do()

    def _sleep(self, seconds: float) -> None:
        self.rested.append(seconds)


@pytest.fixture
def batches(monkeypatch: pytest.MonkeyPatch) -> Batches:
    monkeypatch.setattr(HeapWalk, "first", 8)
    monkeypatch.setattr(HeapWalk, "largest", 8)
    monkeypatch.setenv("NIGHTSHIFT_STRAIN", json.dumps({"work_percent": 100}))
    return Batches(monkeypatch)


@pytest.mark.parametrize("largest", [100, 7])
def test_a_largest_batch_holds_from_the_next_batch_on(
    visits: Session, invoke_job: Invoke, batches: Batches, largest: int
) -> None:
    visits.execute(text("delete from visits where id > 1000"))
    visits.commit()
    batches.then[1] = lambda: do(visits, command="dial", job=NAME, largest_batch=largest, **ADA)
    result = invoke_job(job, at=NOW)
    assert (result["outcome"], result["counters"]["deleted"]) == ("succeeded", 1000)
    assert batches.rows[0] > 300
    assert max(batches.rows[1:]) <= largest
    assert visits.scalar(text("select count(*) from visits")) == 0


@pytest.mark.parametrize("looks", ["rarely", "always"], ids="looks-{}".format)
def test_rows_per_second_and_a_pause_hold_from_the_next_batch_on(
    visits: Session, invoke_job: Invoke, looks: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether the batch or a look before it brings the dials."""
    for name in ("SECONDS_TO_THE_SECOND_LOOK", "LEAST_SECONDS_BETWEEN_LOOKS"):
        monkeypatch.setattr(f"nightshift.engine.pacing.{name}", 0.0 if looks == "always" else 3600.0)
    monkeypatch.setattr("nightshift.engine.pacing.LOOKS_SHARE", 1e9)
    monkeypatch.setattr(HeapWalk, "first", 8)
    monkeypatch.setattr(HeapWalk, "largest", 8)
    told: list[dt.datetime] = []
    rows: list[int] = []

    def log(event: str, /, **fields: Any) -> None:
        if event == "batch.committed":
            told.append(dt.datetime.now(dt.UTC))
            rows.append(fields["counters"].get("deleted", 0))
            if len(told) == 2:
                do(visits, command="dial", job=NAME, pause_seconds=0.3, rows_per_second=2000, **ADA)
            if len(told) == 4:
                do(visits, command="dial", job=NAME, reset=True, **ADA)

    monkeypatch.setattr("nightshift.telemetry.log", log)
    assert invoke_job(job, at=NOW, seconds=30)["counters"]["deleted"] == 4000
    gaps = [(after - before).total_seconds() for before, after in pairwise(told)]
    assert min(gaps[1:3]) >= 0.3
    assert max(gaps[4:-1]) < 0.3, "reset"
    spent = sum(gaps[1:3])
    assert sum(rows[2:4]) / spent < 2500


def test_a_held_run_is_interrupted_with_the_reason_and_goes_on_when_it_is_released(
    visits: Session, invoke_job: Invoke, batches: Batches, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NIGHTSHIFT_STRAIN", json.dumps({"work_percent": 100, "hold_seconds": 0.01}))
    batches.then[2] = lambda: do(visits, command="dial", job=NAME, held=True, **ADA)
    stopped = invoke_job(job, at=NOW)
    assert (stopped["outcome"], len(batches.rows)) == ("interrupted", 2)
    assert "held by Ada: a busy evening" in stopped["reason"]
    batches.then.clear()
    assert invoke_job(job, {"run_id": stopped["run_id"]})["outcome"] == "interrupted", "it does not even begin a batch"
    assert len(batches.rows) == 2
    shown = ask(visits, "run", run_id=stopped["run_id"])["run"]
    assert shown["strain"]["state"] == "held"
    do(visits, command="dial", job=NAME, held=False, **ADA)
    assert invoke_job(job, {"run_id": stopped["run_id"]})["outcome"] == "succeeded"


def test_a_dial_of_all_jobs_holds_each_and_a_jobs_own_goes_before_it(
    visits: Session, invoke_job: Invoke, batches: Batches
) -> None:
    do(visits, command="dial", all=True, largest_batch=50, **ADA)
    do(visits, command="dial", job=NAME, largest_batch=400, **ADA)
    invoke_job(job, at=NOW)
    assert 50 < max(batches.rows) <= 400


def test_hours_that_are_over_interrupt_a_run_at_its_next_batch(
    visits: Session, invoke_job: Invoke, batches: Batches
) -> None:
    now = dt.datetime.now(dt.UTC)
    later = f"{now + dt.timedelta(hours=2):%H:%M}-{now + dt.timedelta(hours=3):%H:%M}"
    batches.then[2] = lambda: do(visits, command="dial", job=NAME, hours=later, **ADA)
    stopped = invoke_job(job, at=NOW)
    assert (stopped["outcome"], len(batches.rows)) == ("interrupted", 2)
    assert f"works from {later} UTC only" in stopped["reason"]
    assert not batches.rested, "nobody pays for two hours of waiting"


def test_every_kind_of_step_obeys(
    visits: Session, invoke_job: Invoke, batches: Batches, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A function of one's own, which does not know of dials."""

    def count(execution: Execution) -> None:
        for number in range(5):
            with execution.batch() as batch:
                batch.position = {"after": number}
                batch.count(done=10)

    function = Function(name="count", apply=count, plan=lambda _, __: [], counters=("done",), changes=("done",))
    its = Job(name=NAME, kind="report", schedule=job.schedule, steps=(function,), audited=False)
    monkeypatch.setenv("NIGHTSHIFT_STRAIN", json.dumps({"hold_seconds": 0.01}))
    batches.then[2] = lambda: do(visits, command="dial", job=NAME, held=True, **ADA)
    assert invoke_job(its, at=NOW)["outcome"] == "interrupted"
    assert len(batches.rows) == 2


def test_who_turned_a_dial_and_why_is_kept(visits: Session) -> None:
    do(visits, command="dial", job=NAME, rows_per_second=2000, largest_batch=500, **ADA)
    do(visits, command="dial", job=NAME, reset=True, by="Bob", reason="it is over")
    told = ask(visits, "dials", job=NAME)
    assert not any(told["dials"].values())
    assert [(each["by"], each["reason"], each["dials"]) for each in told["changes"]] == [
        ("Bob", "it is over", {}),
        ("Ada", "a busy evening", {"rows_per_second": 2000, "largest_batch": 500}),
    ]


@pytest.mark.parametrize(
    "wrong",
    [
        {"rows_per_second": 0},
        {"rows_per_second": "many"},
        {"largest_batch": 0},
        {"largest_batch": True},
        {"pause_seconds": -1},
        {"pause_seconds": 1e9},
        {"hours": "25:00-26:00"},
        {"hours": "01:00-01:00"},
        {"hours": 5},
        {"held": "yes"},
        {"colour": "red"},
        {},
    ],
)
def test_a_dial_that_cannot_be_meant_is_refused_and_changes_nothing(visits: Session, wrong: dict[str, Any]) -> None:
    assert "error" in do(visits, command="dial", job=NAME, **ADA, **wrong)
    assert "error" in do(visits, command="dial", job=NAME, largest_batch=5, by="", reason="")
    assert "error" in do(visits, command="dial", job=NAME, all=True, largest_batch=5, **ADA)
    assert visits.scalar(text("select count(*) from nightshift.dial_changes")) == 0


def test_what_is_not_held_cannot_be_released(visits: Session) -> None:
    one, every = {"job": NAME}, {"all": True}

    def refusal(**whom: Any) -> str:
        return str(do(visits, command="dial", **whom, held=False, **ADA)["error"])

    assert refusal(**one) == f"job {NAME} is not held"
    assert refusal(**every) == "all jobs are not held"
    do(visits, command="dial", **every, held=True, **ADA)
    of_all = "all jobs are, by Ada: a busy evening. Release all jobs to end that"
    assert refusal(**one) == f"job {NAME} is not held by itself, and {of_all}"
    do(visits, command="dial", **one, held=True, **ADA)
    for whom in (one, every):
        assert "error" not in do(visits, command="dial", **whom, held=False, **ADA)
    assert refusal(**one) == f"job {NAME} is not held"
    assert "error" not in do(visits, command="dial", **one, held=False, largest_batch=5, **ADA), "beside another dial"


def test_a_pause_of_all_leaves_out_every_jobs_occurrences_until_its_end(visits: Session, invoke_job: Invoke) -> None:
    soon = dt.datetime.now(dt.UTC) + dt.timedelta(hours=1)
    paused = do(visits, command="pause", all=True, until=soon.isoformat(), **ADA)["paused"]
    assert paused["all"]
    left_out = invoke_job(job, scheduled(NOW))
    assert left_out["outcome"] == "paused"
    assert left_out["reason"].startswith("all jobs are paused by Ada until ")
    shown = ask(visits, "jobs", job=NAME)["jobs"][0]["paused"]
    assert (shown["by"], shown["reason"], shown["until"][:16]) == ("Ada", "a busy evening", soon.isoformat()[:16])
    visits.execute(text("update nightshift.pauses set paused_until = now() - interval '1 s'"))
    visits.commit()
    assert ask(visits, "jobs", job=NAME)["jobs"][0]["paused"] is None, "it has ended by itself"
    assert invoke_job(job, scheduled("2026-03-02T02:00:00Z"))["outcome"] == "succeeded"


def test_the_pause_of_one_job_ends_by_itself_and_outlives_that_of_all(visits: Session, invoke_job: Invoke) -> None:
    soon = (dt.datetime.now(dt.UTC) + dt.timedelta(hours=1)).isoformat()
    do(visits, command="pause", job=NAME, until=soon, **ADA)
    do(visits, command="pause", all=True, **ADA)
    do(visits, command="resume", all=True, **ADA)
    assert invoke_job(job, scheduled(NOW))["outcome"] == "paused"
    visits.execute(text("update nightshift.jobs set paused_until = now() - interval '1 s'"))
    visits.commit()
    assert invoke_job(job, scheduled("2026-03-02T02:00:00Z"))["outcome"] == "succeeded"
    past = dt.datetime(2026, 1, 1, tzinfo=dt.UTC).isoformat()
    assert "future" in do(visits, command="pause", all=True, until=past, **ADA)["error"]


def frozen(monkeypatch: pytest.MonkeyPatch, **more: Any) -> Freeze:
    now = dt.datetime.now(dt.UTC)
    given = {
        "from": (now - dt.timedelta(hours=1)).isoformat(),
        "to": (now + dt.timedelta(hours=1)).isoformat(),
        "reason": "the Christmas trade",
        **more,
    }
    monkeypatch.setenv(FREEZES_VARIABLE, json.dumps([given]))
    return Freeze.read(given)


def test_within_a_freeze_nothing_begins_and_the_last_occurrence_is_caught_up(
    visits: Session, invoke_job: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    frozen(monkeypatch)
    first = invoke_job(job, scheduled(NOW))
    assert (first["outcome"], "the Christmas trade" in first["reason"]) == ("queued", True)
    second = invoke_job(job, scheduled("2026-03-02T02:00:00Z"))
    assert second["outcome"] == "queued"
    visits.rollback()
    states = visits.execute(text("select state from nightshift.runs order by scheduled_for")).scalars().all()
    assert states == ["missed", "queued"]
    with pytest.raises(EventError, match="the Christmas trade"):
        invoke_job(job, at="2026-03-03T02:00:00Z")
    assert invoke_job(job, {"dry_run": True})["outcome"] == "planned"
    monkeypatch.delenv(FREEZES_VARIABLE)
    assert invoke_job(job, {"run_id": second["run_id"]})["counters"]["deleted"] == 4000


def test_a_freeze_stops_a_run_at_its_next_batch(
    visits: Session, invoke_job: Invoke, batches: Batches, monkeypatch: pytest.MonkeyPatch
) -> None:
    begins = dt.datetime.now(dt.UTC) + dt.timedelta(hours=1)
    frozen(monkeypatch, **{"from": begins.isoformat(), "to": (begins + dt.timedelta(days=1)).isoformat()})

    class Later(dt.datetime):
        @classmethod
        def now(cls, tz: Any = None) -> "Later":
            return cls.fromtimestamp((begins + dt.timedelta(minutes=1)).timestamp(), tz)

    def begin() -> None:
        monkeypatch.setattr("nightshift.engine.pacing.dt.datetime", Later)

    batches.then[2] = begin
    stopped = invoke_job(job, at=NOW)
    monkeypatch.undo()
    assert stopped["outcome"] == "interrupted"
    assert "the Christmas trade" in stopped["reason"]
    assert len(batches.rows) == 2


def test_a_freeze_is_for_what_destroys_unless_it_names_jobs_or_kinds(monkeypatch: pytest.MonkeyPatch) -> None:
    now = dt.datetime.now(dt.UTC)
    harmless = Job(
        name="look",
        kind="report",
        schedule=job.schedule,
        steps=(Function(name="a", apply=lambda _: None, plan=lambda _, __: [], counters=()),),
    )
    every, named, of_kind = (
        frozen(monkeypatch),
        frozen(monkeypatch, jobs=["look"]),
        frozen(monkeypatch, kinds=["retention"]),
    )
    assert (every.holds(job, now), every.holds(harmless, now)) == (True, False)
    assert (named.holds(job, now), named.holds(harmless, now)) == (False, True)
    assert (of_kind.holds(job, now), of_kind.holds(harmless, now)) == (True, False)


def test_hours_may_go_over_midnight() -> None:
    hours = Hours.parse("22:00-04:00")
    day = dt.datetime(2026, 3, 1, tzinfo=dt.UTC)
    assert [hours.allow(day.replace(hour=hour)) for hour in (3, 4, 12, 21, 22, 23)] == [
        *(True, False, False, False),
        *(True, True),
    ]
    assert hours.next_after(day.replace(hour=12)) == day.replace(hour=22)
    assert hours.next_after(day.replace(hour=23)) == day.replace(hour=22) + dt.timedelta(days=1)

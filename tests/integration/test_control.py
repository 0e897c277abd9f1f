"""What an operator changes: the ledger afterwards, and what jobs do then."""

import datetime as dt
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from functions.platform.control import handler
from nightshift import Execution, Function, Job, ledger
from nightshift.declaration import Deployment, Policy
from nightshift.errors import EventError, RunFailedError
from nightshift.operations import answer, carry_out
from tests.ground.functions.market._tables import CartItem
from tests.ground.functions.market.removed_items import job
from tests.integration.conftest import Context, Invoke, scheduled

AT = "2026-03-01T02:00:00Z"
ADA = {"by": "Ada", "reason": "a move"}

Answer = dict[str, Any]


def do(session: Session, **request: Any) -> Answer:
    session.rollback()
    return carry_out(session, Deployment(), request)


def removed_items(session: Session, count: int) -> None:
    session.add_all(CartItem(removed_at=dt.datetime(2025, 1, 1, tzinfo=dt.UTC)) for _ in range(count))
    session.commit()


def run_of(session: Session, run_id: str) -> Any:
    session.rollback()
    return session.execute(text("select * from nightshift.runs where id = :id"), {"id": run_id}).one()


def test_a_paused_jobs_occurrences_are_settled_as_paused_until_it_is_resumed(
    session: Session, invoke_job: Invoke
) -> None:
    removed_items(session, 3)
    paused = do(session, command="pause", job=job.name, **ADA)["paused"]
    assert (paused["by"], paused["reason"]) == ("Ada", "a move")
    held_back = invoke_job(job, scheduled(AT))
    assert (held_back["outcome"], held_back["reason"]) == ("paused", "paused by Ada: a move")
    assert do(session, command="resume", job=job.name, by="Ben", reason="moved") == {"job": job.name, "paused": None}
    assert invoke_job(job, scheduled("2026-03-02T02:00:00Z"))["counters"]["deleted"] == 3


def test_a_second_pause_says_whose_it_has_replaced(session: Session) -> None:
    soon = (dt.datetime.now(dt.UTC) + dt.timedelta(hours=2)).replace(microsecond=0)
    for whom in ({"job": job.name}, {"all": True}):
        assert do(session, command="pause", **whom, until=soon.isoformat(), **ADA)["replaced"] is None
        ben = {"by": "Ben", "reason": "the index is built anew"}
        done = do(session, command="pause", **whom, **ben)
        assert (done["paused"]["by"], "until" in done["paused"]) == ("Ben", False)
        replaced = done["replaced"]
        assert (replaced["by"], replaced["reason"]) == ("Ada", "a move")
        assert dt.datetime.fromisoformat(replaced["until"]) == soon
        assert dt.datetime.fromisoformat(replaced["at"]) < soon
        told = f"done; it replaced the pause by Ada until {replaced['until']}: a move"
        assert trail(session)[-1].result == told, "the trail keeps what is gone from the ledger"


def test_a_pause_that_has_ended_is_not_replaced(session: Session) -> None:
    do(session, command="pause", job=job.name, until="2199-01-01T00:00:00Z", **ADA)
    session.execute(text("update nightshift.jobs set paused_until = now() - interval '1 s'"))
    session.commit()
    assert do(session, command="pause", job=job.name, **ADA)["replaced"] is None


def test_what_is_not_paused_cannot_be_resumed(session: Session) -> None:
    def refusal(**whom: Any) -> str:
        return str(do(session, command="resume", **whom, by="Ben", reason="moved")["error"])

    one, every = {"job": job.name}, {"all": True}
    assert refusal(**one) == f"job {job.name} is not paused"
    assert refusal(**every) == "there is no pause of all jobs"
    do(session, command="pause", **one, **ADA)
    paused = f"Paused by themselves: {job.name}. Resume each by its name"
    assert refusal(**every) == f"there is no pause of all jobs. {paused}"
    assert "error" not in do(session, command="resume", **one, by="Ben", reason="moved")
    assert refusal(**one) == f"job {job.name} is not paused", "nor a second time"
    do(session, command="pause", **every, **ADA)
    all_paused = "all jobs are paused by Ada: a move. Resume all jobs to end that"
    assert refusal(**one) == f"job {job.name} is not paused by itself, and {all_paused}"
    assert do(session, command="resume", **every, by="Ben", reason="moved") == {"job": None, "paused": None}
    do(session, command="pause", **one, until="2199-01-01T00:00:00Z", **ADA)
    session.execute(text("update nightshift.jobs set paused_until = '2026-03-01T00:00Z'"))
    session.commit()
    ended = "its pause by Ada ended by itself at 2026-03-01T00:00:00Z"
    assert refusal(**one) == f"job {job.name} is not paused: {ended}"


def test_a_person_can_run_a_paused_job_and_its_paused_occurrence(session: Session, invoke_job: Invoke) -> None:
    removed_items(session, 3)
    do(session, command="pause", job=job.name, **ADA)
    held_back = invoke_job(job, scheduled(AT))
    done = invoke_job(job, at=AT)
    assert (done["outcome"], done["counters"]["deleted"]) == ("succeeded", 3)
    assert done["run_id"] == held_back["run_id"], "an occurrence has one outcome"
    assert run_of(session, done["run_id"]).trigger == "manual"
    assert invoke_job(job, scheduled(AT))["outcome"] == "succeeded", "and the rule's event does not undo it"


def test_an_occurrence_that_has_run_says_so_when_a_person_asks_for_it_again(
    session: Session, invoke_job: Invoke
) -> None:
    removed_items(session, 3)
    first, second = (invoke_job(job, {"once": True}, at=AT) for _ in range(2))
    assert "already" not in first
    assert second == {**first, "already": True}
    assert invoke_job(job, scheduled(AT)) == first, "the rule's event is nobody's question"
    assert "already" not in invoke_job(job, {"force": True, "once": True}, at=AT)


def test_a_backfill_meets_an_open_run_and_waits(session: Session, invoke_job: Invoke) -> None:
    claim = ledger.claim(session, job.name, job.effective_policy, ledger.Request("manual"), seconds=60)
    waiting = invoke_job(job, {"trigger": "backfill"}, at=AT)
    assert waiting["outcome"] == "queued"
    with session.begin():
        ledger.finish(session, claim, counters={})  # type: ignore[arg-type]
    assert invoke_job(job, {"run_id": waiting["run_id"]})["outcome"] == "succeeded"


def test_a_failed_run_goes_on_at_its_cursor(session: Session, invoke_job: Invoke) -> None:
    # GIVEN a run that has done the first of three batches, and failed for good at the second
    broken = [True]

    def work(execution: Execution) -> None:
        for number in range((execution.position or {"done": 0})["done"], 3):
            with execution.batch() as batch:
                if broken and number == 1:
                    raise ValueError("broken")
                batch.count(done=1)
                batch.position = {"done": number + 1}

    step = Function(name="work", apply=work, plan=lambda session, run: [], counters=("done",))
    working = Job(name=job.name, kind="retention", schedule=job.schedule, steps=(step,), audited=False)
    for _ in range(3):
        with pytest.raises(RunFailedError):
            invoke_job(working, scheduled(AT))
    failed = session.execute(text("select id, state, counters from nightshift.runs")).one()
    assert (failed.state, failed.counters["done"]) == ("failed", 1)
    # WHEN it is redriven after the mend
    broken.clear()
    opened = do(session, command="redrive", run_id=str(failed.id), by="Ada")["run"]
    assert (opened["outcome"], opened["attempt"]) == ("queued", 0)
    assert opened["reason"] == "redriven by Ada; before: ValueError: broken"
    done = invoke_job(working, {"run_id": str(failed.id)})
    # THEN it does the two that were left, as of its own time
    assert (done["outcome"], done["counters"]["done"], done["counters"]["batches"]) == ("succeeded", 3, 3)
    assert done["scheduled_for"] == AT


def test_a_cancelled_run_commits_nothing_more(session: Session, invoke_job: Invoke) -> None:
    cancelled: list[Answer] = []

    def work(execution: Execution) -> None:
        with execution.batch() as batch:
            batch.count(done=1)
        cancelled.append(do(session, command="cancel", run_id=str(execution.run.id), **ADA))
        with execution.batch() as batch:
            batch.session.execute(text("insert into carts (note) values ('after')"))
            batch.count(done=1)

    step = Function(name="work", apply=work, plan=lambda session, run: [], counters=("done",))
    working = Job(name="work", kind="retention", schedule=job.schedule, steps=(step,), audited=False)
    answer = invoke_job(working, scheduled(AT))
    assert cancelled[0]["run"]["outcome"] == "cancelled"
    assert (answer["outcome"], answer["reason"]) == ("cancelled", "cancelled by Ada: a move")
    assert answer["counters"]["done"] == 1
    assert session.scalar(text("select count(*) from carts")) == 0


@pytest.mark.parametrize(
    ("deployed", "words"),
    [
        ({"changes": {job.name: {"enabled": False}}}, "is disabled by the deployment's settings"),
        ({"packs": ("back_office",)}, "is not deployed"),
    ],
)
def test_a_run_that_nobody_could_go_on_with_is_not_redriven(
    session: Session, deployed: dict[str, Any], words: str
) -> None:
    claim = ledger.claim(session, job.name, job.effective_policy, ledger.Request("manual"), seconds=60)
    do(session, command="cancel", run_id=str(claim.run.id), **ADA)
    answer = carry_out(
        session, Deployment(**deployed), {"command": "redrive", "run_id": str(claim.run.id), "by": "Ada"}
    )
    assert answer["error"] == f"job {job.name} {words}, so nobody could go on with its run: deploy or enable it first"
    assert run_of(session, str(claim.run.id)).state == "cancelled"


def test_a_cancelled_run_can_go_on_after_all(session: Session) -> None:
    claim = ledger.claim(session, job.name, job.effective_policy, ledger.Request("manual"), seconds=60)
    do(session, command="cancel", run_id=str(claim.run.id), **ADA)
    assert do(session, command="redrive", run_id=str(claim.run.id)[:8], by="Ada")["run"]["outcome"] == "queued"


@pytest.mark.parametrize(
    ("request_", "answer"),
    [
        ({}, "with one of pause, resume, cancel, redrive"),
        ({"command": "stop"}, "with one of"),
        ({"command": "pause", "job": job.name, "by": "Ada"}, "say reason"),
        ({"command": "pause", "job": job.name, "by": " ", "reason": "x"}, "say by"),
        ({"command": "pause", "job": "no-such-job", **ADA}, "no deployed job is named 'no-such-job'"),
        ({"command": "pause", "job": job.name, "all": True, **ADA}, "name one job, or all of them"),
        ({"command": "resume", "job": job.name, "by": "Ada"}, "say reason"),
        ({"command": "resume", "job": job.name, "reason": "moved"}, "say by"),
        ({"command": "resume", "job": job.name, **ADA, "force": True}, "has no key 'force'"),
        ({"command": "redrive", "run_id": "01234567", "by": "Ada"}, "no run has the id 01234567"),
        ({"command": "cancel", "run_id": "x", **ADA}, "run_id must be"),
    ],
)
def test_what_cannot_be_meant_is_refused_and_changes_nothing(
    session: Session, request_: dict[str, Any], answer: str
) -> None:
    assert answer in do(session, **request_)["error"]
    assert session.scalar(text("select count(*) from nightshift.jobs where paused_at is not null")) == 0


@pytest.mark.parametrize("reason", [None, " "])
def test_a_cap_is_not_lifted_without_a_reason(session: Session, reason: str | None) -> None:
    claim = ledger.claim(session, job.name, Policy(), ledger.Request(), seconds=60)
    assert isinstance(claim, ledger.Claim)
    ledger.state_candidates(session, claim, {"delete": {"rows": 10}}, "f")
    ledger.fail_attempt(session, claim, "too many", permanent=True, critical=False)
    asked = {"command": "redrive", "run_id": str(claim.run.id), "by": "Ada", "override_cap": True}
    assert "say reason" in do(session, **asked, reason=reason)["error"]
    assert do(session, **asked, reason="a move")["run"]["outcome"] == "queued"
    session.rollback()
    assert run_of(session, str(claim.run.id)).override == {"by": "Ada", "reason": "a move"}


@pytest.mark.parametrize("command", ["redrive", "cancel"])
def test_a_run_that_has_succeeded_stays_so(session: Session, invoke_job: Invoke, command: str) -> None:
    run_id = invoke_job(job)["run_id"]
    keys = {"by": "Ada"} if command == "redrive" else ADA
    assert "succeeded" in do(session, command=command, run_id=run_id, **keys)["error"]
    assert run_of(session, run_id).state == "succeeded"


def test_a_backfill_needs_its_occurrence(invoke_job: Invoke) -> None:
    with pytest.raises(EventError, match="a backfill needs the occurrence it is for"):
        invoke_job(job, {"trigger": "backfill"})


def test_the_function_does_it_in_the_database_of_its_environment_and_logs_no_name(
    session: Session, invoke_job: Invoke, caplog: pytest.LogCaptureFixture
) -> None:
    done = handler({"command": "pause", "job": job.name, **ADA}, Context(30))
    assert done["paused"]["by"] == "Ada"
    assert "error" in handler({"command": "pause", "by": "Ada"}, Context(30))
    logged = [vars(record) for record in caplog.records]
    assert [each["refused"] for each in logged if each["msg"] == "command.carried_out"] == [False, True]
    assert "Ada" not in str(logged)
    session.rollback()
    assert session.scalar(text("select paused_by from nightshift.jobs where name = :job"), {"job": job.name}) == "Ada"


HUGE = "a\x00b\ud800c\x1b[31m\n" + 300_000 * "é"
KEPT = "a\\x00b\\ud800c\\x1b[31m éé"


def test_what_a_person_says_is_kept_so_that_every_column_and_terminal_can_hold_it(
    session: Session, invoke_job: Invoke
) -> None:
    said = {"by": HUGE, "reason": HUGE}
    claim = ledger.claim(session, job.name, job.effective_policy, ledger.Request("manual"), seconds=60)
    run_id = str(claim.run.id)

    paused = do(session, command="pause", job=job.name, **said)["paused"]
    cancelled = do(session, command="cancel", run_id=run_id, **said)["run"]
    redriven = do(session, command="redrive", run_id=run_id, **said)["run"]

    for told in (paused["by"], paused["reason"], cancelled["reason"], redriven["reason"]):
        assert KEPT in told
        assert len(told.encode()) <= 2_048
    record = run_of(session, run_id)
    assert len(record.reason.encode()) <= 2_048


def test_a_wrong_command_is_not_repeated_at_its_length(session: Session) -> None:
    for request in (HUGE, {"command": "pause", "job": HUGE}, {"command": "cancel", "run_id": HUGE}, {HUGE: 1}):
        assert len(carry_out(session, Deployment(), request)["error"]) < 1_000


DONE = ["pause", "resume", "cancel", "redrive"]


def trail(session: Session) -> list[Any]:
    session.rollback()
    return list(session.execute(text("select * from nightshift.commands order by id")))


def test_every_command_is_in_the_trail_with_who_why_and_the_invocation(session: Session, invoke_job: Invoke) -> None:
    arn = "arn:aws:sts::123456789012:assumed-role/operator/ada"
    open_run = ledger.claim(session, job.name, job.effective_policy, ledger.Request("manual"), seconds=60).run.id
    for number, request in enumerate(
        (
            {"command": "pause", "job": job.name},
            {"command": "resume", "job": job.name},
            {"command": "cancel", "run_id": str(open_run)},
            {"command": "redrive", "run_id": str(open_run)[:8], "by": "Ada"},
        )
    ):
        session.rollback()
        asked = {**ADA, **request} if request["command"] != "redrive" else request
        done = carry_out(session, Deployment(), {**asked, "caller": arn}, request_id=f"r-{number}")
        assert "error" not in done

    found = trail(session)
    assert [each.command for each in found] == DONE
    assert {each.by for each in found} == {"Ada"}
    assert {each.caller for each in found} == {arn}
    assert [each.request_id for each in found] == ["r-0", "r-1", "r-2", "r-3"]
    assert [each.reason for each in found] == ["a move", "a move", "a move", None]
    assert [each.job for each in found] == [job.name] * 4
    assert [each.run_id for each in found] == [None, None, open_run, open_run]
    assert {each.result for each in found} == {"done"}
    session.rollback()
    told = answer(session, Deployment(), {"query": "commands", "job": job.name}, now=dt.datetime.now(dt.UTC))
    assert [each["command"] for each in told["commands"]] == [*reversed(DONE)]
    session.rollback()
    of_run = answer(session, Deployment(), {"query": "run", "run_id": str(open_run)}, now=dt.datetime.now(dt.UTC))
    assert [each["command"] for each in of_run["run"]["commands"]] == ["redrive", "cancel"]


def test_what_was_refused_is_in_the_trail_and_changes_nothing_else(session: Session) -> None:
    do(session, command="pause", job=job.name, by="Mallory", reason=" ")
    do(session, command="cancel", run_id="01234567", by="Mallory", reason="x" * 100_000)
    do(session, command="drop")

    first, second = trail(session)
    assert (first.command, first.job, first.by) == ("pause", job.name, "Mallory")
    assert first.result.startswith("refused: say reason")
    assert second.result == "refused: no run has the id 01234567"
    assert len(second.reason) < 10_000
    assert session.scalar(text("select count(*) from nightshift.jobs where paused_at is not null")) == 0


def test_a_change_and_its_record_stand_or_fall_together(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    """A record that cannot be written takes the change with it."""
    session.execute(text("alter table nightshift.commands add constraint full_disk check (command <> 'pause')"))
    session.commit()

    done = do(session, command="pause", job=job.name, **ADA)

    assert "error" in done
    assert session.scalar(text("select count(*) from nightshift.jobs where paused_at is not null")) == 0


def test_the_functions_log_names_command_job_and_run_and_nobody(
    session: Session, invoke_job: Invoke, caplog: pytest.LogCaptureFixture
) -> None:
    handler({"command": "pause", "job": job.name, "by": "Ada Lovelace", "reason": "her own"}, Context(60))
    handler({"command": "cancel", "run_id": "01234567", "by": "Ada Lovelace", "reason": "her own"}, Context(60))
    handler({"command": "pause", "job": "ada@example.com", "by": "x", "reason": "her own"}, Context(60))

    lines = [vars(record) for record in caplog.records if record.msg == "command.carried_out"]
    assert [(line["command"], line.get("job"), line.get("run_id"), line["refused"]) for line in lines] == [
        ("pause", job.name, None, False),
        ("cancel", None, "01234567", True),
        ("pause", None, None, True),
    ]
    assert not any(word in str(lines) for word in ("Ada", "her own", "ada@"))

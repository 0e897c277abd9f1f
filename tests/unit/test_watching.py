"""Looking at a run until it ends: what `run` and `watch` show, what it waits for, and what Ctrl-C says."""

import datetime as dt
import io
import json
import re
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest
from rich.console import Console
from typer.testing import CliRunner, Result

from cli import run_waits, watching
from cli.aws import AwsError, ConnectionLostError, FunctionError
from cli.commands import application
from cli.deployment import Operator
from cli.run_progress import RunProgress
from cli.run_sight import Bar, Lines, Seen, live
from nightshift.ledger import OPEN_STATES

JOB = "abandoned-carts"
RUN = "0123abcd-0000-4000-8000-000000000001"
OTHER = "0123abcd-0000-4000-8000-000000000009"
NOW = dt.datetime(2026, 3, 11, 12, 0, tzinfo=dt.UTC)

FACTS = {
    "run_id": RUN,
    "job": JOB,
    "scheduled_for": "2026-03-11T02:00:00Z",
    "trigger": "manual",
    "mode": "apply",
    "forced": False,
    "outcome": "succeeded",
    "reason": None,
    "started_at": "2026-03-11T02:00:00Z",
    "finished_at": "2026-03-11T02:00:02Z",
    "duration_ms": 2000,
    "attempt": 1,
    "max_attempts": 3,
    "counters": {"deleted": 1200, "batches": 2, "cascaded_cart_items": 7},
    "errors": [],
    "notes": ["the index carts_old is not used"],
    "strain": None,
    "step": "delete-carts",
    "candidates": {"delete-carts": 4000},
    "parameters": {"retention_days": 30, "max_share": 50, "unindexed_rows": 100_000},
    "lease_until": None,
    "plan": None,
}
RESULT = {
    **{key: FACTS[key] for key in ("job", "run_id", "scheduled_for", "outcome", "duration_ms", "errors", "notes")},
    "counters": {
        **{"deleted": 1200, "batches": 2, "quarantined": 0, "cascaded_cart_items": 7},
        "cutoff": "2026-02-09T02:00:00Z",
    },
}
LIVELY_SUPERVISOR = {"last_round": "2026-03-11T11:59:30Z", "silent": False}
LIVELY = {"supervisor": LIVELY_SUPERVISOR, "status": "ready"}
JOBS = {"jobs": [{"job": JOB, "enabled": True, "open_runs": [], "frozen": None, "paused": None}]}


def run(**facts: Any) -> dict[str, Any]:
    return {**FACTS, **facts}


def at_work(**facts: Any) -> dict[str, Any]:
    began = (NOW - dt.timedelta(seconds=100)).isoformat()
    told: dict[str, Any] = {
        "outcome": "running",
        "started_at": began,
        "finished_at": None,
        "duration_ms": None,
        "notes": [],
    }
    return run(**told | facts)


@dataclass
class Deployed:
    """A deployment whose console tells one thing of the run after the other, and the last one for ever."""

    told: list[Any]
    answer: Any = None
    """What the job's function returns; without it the function goes on until the test has ended."""
    asked: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    released: threading.Event = field(default_factory=threading.Event)

    def invoke(self, function: str, payload: Mapping[str, Any]) -> dict[str, Any]:
        name = function.removeprefix("nightshift-")
        self.asked.append((name, dict(payload)))
        if name == JOB and self.answer is None:
            self.released.wait(10)
            raise AwsError("the test has ended")
        answer = self.answer if name == JOB else self._console(payload)
        if isinstance(answer, BaseException):
            raise answer
        return json.loads(json.dumps(answer))  # type: ignore[no-any-return]

    def _console(self, payload: Mapping[str, Any]) -> Any:
        if payload.get("query") == "run":
            told = self.told.pop(0) if len(self.told) > 1 else self.told[0]
            if told is None:
                return {"error": f"no run has the id {payload['run_id']}"}
            return told if isinstance(told, BaseException) else {"run": told}
        return {"jobs": JOBS, "health": LIVELY, "runs": {"runs": [run(run_id=OTHER)]}}[payload["query"]]


@pytest.fixture(autouse=True)
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits, the clock stands, and the id of a new run is known."""
    monkeypatch.setattr("cli.watching.now", lambda: NOW)
    monkeypatch.setattr("cli.starting.new_id", lambda: RUN)
    for module in ("cli.watching", "cli.running"):
        monkeypatch.setattr(f"{module}.SECONDS_BETWEEN_LOOKS", 0.001)
    for name in ("SECONDS_TO_THE_FIRST_LOOK", "SECONDS_TO_ANSWER"):
        monkeypatch.setattr(f"cli.running.{name}", 0.001)
    monkeypatch.setattr("cli.running.SECONDS_TO_BE_FOUND", 0.05)


@pytest.fixture
def on() -> Iterator[Any]:
    made: list[Deployed] = []

    def deployed(*told: Any, answer: Any = None) -> Deployed:
        made.append(Deployed(list(told), answer))
        return made[-1]

    yield deployed
    for each in made:
        each.released.set()


def nightshift(*arguments: str, on: Deployed) -> Result:
    return CliRunner().invoke(application, arguments, obj=on)


# How it ended


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_a_run_that_has_ended_is_told_in_the_words_of_the_command_that_ran_it(on: Any, options: list[str]) -> None:
    ran = nightshift("run", JOB, *options, on=on(None, answer=RESULT))
    watched = nightshift("watch", RUN, *options, on=on(run()))

    assert (watched.exit_code, watched.stderr) == (ran.exit_code, ran.stderr) == (0, "")
    told, wanted = (json.loads(each.stdout) if options else each.stdout for each in (watched, ran))
    assert told == wanted


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_a_run_that_has_failed_has_the_words_and_the_exit_code_of_the_command_that_ran_it(
    on: Any, options: list[str]
) -> None:
    failed = run(outcome="failed", reason="ValueError: out of luck", errors=["out of luck"])
    error = FunctionError("RunFailedError", f"{JOB}, run {RUN}: ValueError: out of luck")
    ran = nightshift("run", JOB, *options, on=on(failed, answer=error))
    watched = nightshift("watch", RUN, *options, on=on(failed))

    assert (watched.exit_code, watched.stdout, watched.stderr) == (ran.exit_code, ran.stdout, ran.stderr)
    line = f"the attempt failed: {JOB}, run {RUN}: ValueError: out of luck. See nightshift runs {JOB}\n"
    assert (watched.exit_code, watched.stderr) == (1, line)
    assert "deleted" in watched.stdout
    if options:
        told = json.loads(watched.stdout)
        assert (told["run_id"], told["outcome"], "out of luck" in told["error"]) == (RUN, "failed", True)


@pytest.mark.parametrize("outcome", ["succeeded", "skipped", "missed", "paused", "cancelled", "planned"])
def test_an_end_that_is_no_failure_is_exit_code_0_with_its_reason(on: Any, outcome: str) -> None:
    done = nightshift("watch", RUN[:8], on=on(run(outcome=outcome, reason="because")))

    assert done.exit_code == 0
    assert [word for word in (outcome, "because") if word not in done.stdout] == []


def test_a_run_that_nobody_knows_is_refused(on: Any) -> None:
    refused = nightshift("watch", "0123abcd", on=on(None))

    assert (refused.exit_code, refused.stdout) == (2, "")
    assert refused.stderr == "no run has the id 0123abcd: see nightshift runs\n"


def test_a_run_of_a_job_that_this_folder_does_not_have_is_told_all_the_same(on: Any) -> None:
    elsewhere = nightshift("watch", RUN, on=on(at_work(job="elsewhere"), run(job="elsewhere")))

    assert (elsewhere.exit_code, "elsewhere: succeeded in 2.0 s" in elsewhere.stdout) == (0, True)


# How far it is


def test_where_nobody_sees_a_bar_lines_tell_of_progress_without_control_codes(on: Any) -> None:
    deployed = on(at_work(counters={"deleted": 1000}), at_work(counters={"deleted": 2000}), run())
    done = nightshift("watch", RUN, on=deployed)

    assert done.exit_code == 0
    first, *more = done.stderr.splitlines()
    assert first.startswith(f"{JOB}, run {RUN}: running, 1,000 of 4,000 rows, 10 a second, about 5 min 0 s left")
    assert more == [], "nothing has changed that a line every quarter of a minute does not tell"
    assert done.stdout.startswith(f"{JOB}: succeeded in 2.0 s\n")
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f]", done.stderr + done.stdout)


def test_a_program_hears_nothing_but_the_end(on: Any) -> None:
    done = nightshift("watch", RUN, "--json", on=on(at_work(), at_work(), run()))

    assert (done.exit_code, done.stderr) == (0, "")
    assert json.loads(done.stdout)["outcome"] == "succeeded"


def test_a_line_comes_at_each_change_of_state_and_else_now_and_then() -> None:
    said: list[str] = []
    time = 0.0
    lines = Lines(lambda line, **_: said.append(line), clock=lambda: time)

    def look(seconds: float, deleted: int, **facts: Any) -> None:
        nonlocal time
        time = seconds
        run = at_work(counters={"deleted": deleted}, candidates=None)
        lines.show(Seen({**run, **facts}, None, facts.get("waits"), facts.get("trouble")))

    look(100, 1)
    look(102, 2)
    look(114, 3)
    look(115, 4)
    look(116, 5, waits="it is held")
    look(118, 5, waits="it is held")
    look(140, 5, waits="it is held")
    look(141, 5, outcome="interrupted")

    told = [re.sub(r".*: (\w+), (at work, step delete-carts: )?", r"\1 ", line) for line in said]
    assert told == ["running deleted 1", "running deleted 4", "running deleted 5; it is held", "interrupted deleted 5"]


def drawn(bar: Bar, width: int = 100) -> str:
    out = io.StringIO()
    Console(file=out, width=width, force_terminal=True, color_system=None).print(bar.drawn())
    return out.getvalue()


def test_a_terminal_shows_a_bar_with_rate_and_time_left() -> None:
    bar = Bar(f"{JOB} is running")
    assert f"{JOB} is running 0:00:00 (Ctrl-C stops the waiting, not the job)" in drawn(bar)

    bar.show(Seen(at_work(), RunProgress(1000, 4000, 10, 300)))
    assert f"{JOB}, run {RUN}: running 0:00:00" in drawn(bar)
    assert re.search("━+.* 1,000 of 4,000 rows, 10 a second, about 5 min 0 s left", drawn(bar))
    whole = Bar("", Seen(at_work(), RunProgress(4000, 4000, 10, 0)))
    assert (drawn(bar).count("━"), drawn(whole).count("━")) == (5, 20)


@pytest.mark.parametrize("command", [("watch", RUN), ("run", JOB)])
def test_the_bar_stands_on_standard_error_and_the_result_alone_on_standard_output(
    on: Any, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...]
) -> None:
    monkeypatch.setattr("cli.run_sight.live", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    done = nightshift(*command, on=on(at_work(counters={"deleted": 1000}), run()))

    assert (done.exit_code, done.stdout.splitlines()[0]) == (0, f"{JOB}: succeeded in 2.0 s")
    assert "rows," not in done.stdout


@pytest.mark.parametrize(
    ("terminal", "kind", "bar"), [(True, "xterm", True), (False, "xterm", False), (True, "dumb", False)]
)
def test_a_bar_is_only_drawn_where_it_can_be(
    terminal: bool, kind: str, bar: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: terminal)
    monkeypatch.setenv("TERM", kind)
    assert live() == bar


def test_a_bar_says_what_the_run_waits_for_and_what_is_amiss_whole() -> None:
    why = "it waits: " + "word " * 40
    bar = Bar("", Seen(at_work(outcome="queued", candidates=None), None, why, "AWS does not answer"))

    told = " ".join(drawn(bar, width=40).split())
    assert why.strip() in told
    assert "AWS does not answer" in told
    assert "queued" in told


# What it waits for


HELD = {"state": "held", "why": "session 7 has waited for 9 s", "since": "2026-03-11T11:59:00Z"}
ROUND = ". The supervisor looks every minute"


@pytest.mark.parametrize(
    ("facts", "job", "words"),
    [
        ({}, {}, None),
        ({"strain": HELD}, {}, "it is held since 2026-03-11T11:59:00Z: session 7 has waited for 9 s"),
        ({"strain": {**HELD, "state": "slowed", "since": None}}, {}, "it is slowed: session 7 has waited for 9 s"),
        (
            {"strain": HELD, "outcome": "interrupted"},
            {},
            f"it is held since 2026-03-11T11:59:00Z: session 7 has waited for 9 s{ROUND}",
        ),
        ({"outcome": "interrupted"}, {}, f"it waits for its next attempt: its attempt ran out of time{ROUND}"),
        (
            {"outcome": "interrupted", "reason": "frozen until Monday: a move"},
            {},
            f"it waits for its next attempt: frozen until Monday: a move{ROUND}",
        ),
        (
            {"outcome": "queued", "reason": f"waits for run {OTHER} of a backfill"},
            {},
            f"it waits: waits for run {OTHER} of a backfill{ROUND}",
        ),
        (
            {"outcome": "queued"},
            {
                "open_runs": [
                    run(outcome="queued"),
                    run(run_id=OTHER, outcome="running", scheduled_for="2026-03-11T01:00:00Z"),
                    run(run_id="a plan", outcome="running", mode="plan"),
                ]
            },
            f"it waits: run {OTHER} of 2026-03-11T01:00:00Z is running{ROUND}",
        ),
        (
            {"outcome": "queued"},
            {"frozen": {"until": "2026-03-12T00:00:00Z", "reason": "a move"}},
            f"it waits: the job is frozen until 2026-03-12T00:00:00Z: a move{ROUND}",
        ),
        (
            {"outcome": "queued"},
            {"enabled": False},
            f"it waits: the job is disabled by the deployment's settings{ROUND}",
        ),
        ({"outcome": "queued"}, {}, f"it waits: it has not begun yet{ROUND}"),
        (
            {"outcome": "retrying", "reason": "ValueError: late", "attempt": 2},
            {},
            f"it is tried again: attempt 2 of 3 failed: ValueError: late{ROUND}",
        ),
        ({"lease_until": "2026-03-11T11:59:00Z"}, {}, f"its attempt has died{ROUND}"),
        ({"lease_until": "2026-03-11T12:01:00Z"}, {}, None),
    ],
)
def test_a_run_that_does_not_go_on_says_why(facts: dict[str, Any], job: dict[str, Any], words: str | None) -> None:
    of_job = {**JOBS["jobs"][0], **job}

    told = run_waits.waits(at_work(**facts), lambda: of_job, lambda: LIVELY_SUPERVISOR, NOW)

    assert told == words


@pytest.mark.parametrize(
    ("last", "words"),
    [("2026-03-11T11:00:00Z", "is silent since 2026-03-11T11:00:00Z"), (None, "is silent and has never looked")],
)
def test_a_supervisor_that_does_not_look_is_a_reason_too(last: str | None, words: str) -> None:
    silent = {"last_round": last, "silent": True}
    told = run_waits.waits(at_work(outcome="interrupted"), dict, lambda: silent, NOW)
    assert told is not None
    assert told.endswith(words)


def test_the_reason_is_shown_and_not_asked_for_at_each_look(on: Any) -> None:
    waiting = at_work(outcome="queued", started_at=None, candidates=None, counters={})
    deployed = on(*[waiting] * 5, run())
    done = nightshift("watch", RUN, on=deployed)

    assert done.exit_code == 0
    assert f": queued, nothing counted yet; it waits: it has not begun yet{ROUND}\n" in done.stderr
    assert [payload["query"] for _, payload in deployed.asked].count("jobs") == 1


def test_the_outcomes_of_open_runs_are_those_of_the_ledger() -> None:
    assert set(OPEN_STATES) == run_waits.OPEN


# Ctrl-C

COMMANDS = (f"nightshift watch {RUN}", f"nightshift show {RUN}", f"nightshift cancel {RUN} --by NAME --reason TEXT")


@pytest.mark.parametrize("command", [("watch", RUN[:8]), ("run", JOB), ("plan", JOB)])
def test_ctrl_c_says_that_the_run_goes_on_and_how_to_look_and_to_cancel(on: Any, command: tuple[str, ...]) -> None:
    left = nightshift(*command, on=on(at_work(), at_work(), KeyboardInterrupt(), at_work()))

    assert (left.exit_code, left.stdout) == (130, "")
    assert f"The run goes on. Its id is {RUN}." in left.stderr
    assert [each for each in COMMANDS if each not in left.stderr] == []
    assert "Aborted" not in left.stderr


def test_what_ctrl_c_says_to_type_finds_the_same_deployment(on: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NIGHTSHIFT_NAME", "shop")  # which the next command reads as well
    where = ("--region", "eu-west-1", "--endpoint-url", "http://127.0.0.1:4566/a path")
    left = nightshift("watch", RUN, *where, on=on(at_work(), KeyboardInterrupt(), at_work()))

    there = "--region eu-west-1 --endpoint-url 'http://127.0.0.1:4566/a path'"
    assert [each for each in COMMANDS if f"{each} {there}" not in left.stderr] == []
    assert "--name" not in left.stderr
    left = nightshift("--name", "other", "watch", RUN, on=on(at_work(), KeyboardInterrupt(), at_work()))
    assert f"nightshift watch {RUN} --name other" in left.stderr


def test_ctrl_c_during_a_redrive_says_the_same(on: Any) -> None:
    deployed = on(at_work(), KeyboardInterrupt(), at_work())
    deployed._console = lambda payload, told=deployed._console: (
        {"run": run(outcome="queued")} if payload.get("command") == "redrive" else told(payload)
    )
    left = nightshift("redrive", RUN, "--by", "Ada", on=deployed)
    assert (left.exit_code, f"The run goes on. Its id is {RUN}." in left.stderr) == (130, True)


def test_ctrl_c_before_the_run_has_begun_does_not_say_that_it_goes_on(on: Any) -> None:
    left = nightshift("run", JOB, on=on(None, KeyboardInterrupt(), None))

    assert left.exit_code == 130
    assert f"The run is not in the ledger yet, and may still begin. Its id is {RUN}." in left.stderr
    assert [each for each in COMMANDS if each not in left.stderr] == []
    assert "goes on" not in left.stderr


def test_ctrl_c_when_aws_does_not_answer_still_names_the_run(on: Any) -> None:
    left = nightshift("run", JOB, on=on(AwsError("no network"), KeyboardInterrupt(), AwsError("no network")))
    assert (left.exit_code, [each for each in COMMANDS if each not in left.stderr]) == (130, [])


def test_ctrl_c_at_the_moment_of_the_end_says_that_it_has_ended(on: Any) -> None:
    left = nightshift("run", JOB, on=on(KeyboardInterrupt(), run()))
    assert (left.exit_code, left.stderr) == (130, f"The run has ended: nightshift show {RUN}\n")


def test_the_run_of_an_occurrence_that_has_one_already_is_named_by_its_own_id(on: Any) -> None:
    deployed = on(None, at_work(run_id=OTHER), KeyboardInterrupt(), None, at_work(run_id=OTHER))
    left = nightshift("run", JOB, "--at", "2026-03-11T02:00:00Z", on=deployed)
    assert (left.exit_code, f"Its id is {OTHER}." in left.stderr) == (130, True)


# A connection that breaks


def test_a_lost_connection_does_not_lose_the_run(on: Any) -> None:
    deployed = on(None, at_work(), at_work(), run(), answer=ConnectionLostError("the connection broke"))
    done = nightshift("run", JOB, on=deployed)

    assert (done.exit_code, done.stdout.startswith(f"{JOB}: succeeded in 2.0 s")) == (0, True)
    assert [name for name, _ in deployed.asked].count(JOB) == 1, "a second call would be a second run"


def test_a_run_that_failed_after_the_connection_broke_is_exit_code_1(on: Any) -> None:
    deployed = on(at_work(), run(outcome="failed", reason="cap"), answer=ConnectionLostError("the connection broke"))
    done = nightshift("run", JOB, on=deployed)
    assert (done.exit_code, f"{JOB}, run {RUN}: cap" in done.stderr) == (1, True)


def test_a_connection_that_is_dead_without_a_word_is_noticed_by_the_ledger(on: Any) -> None:
    """The laptop slept, say: the call waits for an answer that nobody sends any more."""
    done = nightshift("run", JOB, on=on(at_work(), run()))
    assert (done.exit_code, done.stdout.startswith(f"{JOB}: succeeded in 2.0 s")) == (0, True)


def test_a_call_that_never_arrived_says_so(on: Any) -> None:
    failed = nightshift("run", JOB, on=on(None, answer=ConnectionLostError("the connection broke")))
    assert (failed.exit_code, failed.stdout, failed.stderr) == (2, "", "the connection broke\n")


def test_a_call_that_was_refused_is_not_looked_for(on: Any) -> None:
    deployed = on(at_work(), answer=AwsError("you may not invoke it"))
    failed = nightshift("run", JOB, on=deployed)
    assert (failed.exit_code, failed.stderr) == (2, "you may not invoke it\n")
    assert len(deployed.asked) == 1


@pytest.mark.parametrize(
    "trouble", [AwsError("AWS does not answer"), FunctionError("InterfaceError", "x"), FunctionError("Timeout", "30 s")]
)
def test_watching_survives_that_nobody_answers_for_a_while(on: Any, trouble: Exception) -> None:
    done = nightshift("watch", RUN, on=on(at_work(), trouble, trouble, run()))

    assert done.exit_code == 0
    assert "does not answer" in done.stderr or "30 s" in done.stderr
    assert "It is asked again" in done.stderr


def test_watching_is_given_up_when_nobody_answers_for_long(on: Any) -> None:
    time = iter(range(0, 10_000, 100))
    lookout = watching.Lookout(Operator(on(AwsError("no network"))), lambda _: None, lambda: float(next(time)))
    with pytest.raises(AwsError, match="no network"):
        lookout.until_its_end(at_work(), Lines(None))


def test_an_attempt_that_died_while_its_run_goes_on_says_so(on: Any) -> None:
    died = nightshift("run", JOB, on=on(at_work(), answer=FunctionError("Runtime.ExitError", "signal: killed")))
    assert died.exit_code == 1
    assert died.stderr.endswith(f"See nightshift runs {JOB}. The run goes on: nightshift watch {RUN}\n")


@pytest.mark.parametrize("outcome", sorted(run_waits.OPEN))
def test_a_run_that_is_still_open_when_its_function_has_ended_can_be_watched(on: Any, outcome: str) -> None:
    done = nightshift("run", JOB, on=on(None, answer={**RESULT, "outcome": outcome, "reason": "because"}))

    assert (done.exit_code, outcome in done.stdout, "because" in done.stdout) == (0, True, True)
    assert done.stderr == f"The run goes on: nightshift watch {RUN}\n"


def test_on_a_terminal_a_run_that_is_interrupted_is_watched_to_its_end(
    on: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cli.running.live", lambda: True)
    interrupted = at_work(outcome="interrupted")
    done = nightshift("run", JOB, on=on(interrupted, at_work(), run(), answer={**RESULT, "outcome": "interrupted"}))
    assert (done.exit_code, done.stdout.startswith(f"{JOB}: succeeded in 2.0 s")) == (0, True)


def test_a_deployment_that_is_older_than_the_command_still_runs_its_jobs(on: Any) -> None:
    deployed = on(None)
    unknown = FunctionError("EventError", "unknown key 'id'; the payload must be a scheduled event, …")
    answers: Iterator[dict[str, Any] | Exception] = iter([unknown, dict(RESULT)])

    def invoke(function: str, payload: Mapping[str, Any]) -> dict[str, Any]:
        deployed.asked.append((function, dict(payload)))
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    deployed.invoke = invoke
    done = nightshift("run", JOB, on=deployed)
    assert (done.exit_code, "succeeded" in done.stdout) == (0, True)
    assert [payload for _, payload in deployed.asked] == [{"once": True, "id": RUN}, {"once": True}]

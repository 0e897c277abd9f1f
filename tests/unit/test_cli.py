"""The command `nightshift`, with a deployment of the test's own in place of AWS."""

import ast
import datetime as dt
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any, cast

import pytest
import typer
from botocore import exceptions
from botocore.stub import ANY, Stubber
from typer.testing import CliRunner, Result

from cli import known_jobs, times
from cli.aws import AwsError, FunctionError, LambdaFunctions
from cli.command_line import Group
from cli.commands import application
from cli.docs import CLI
from nightshift.declaration import function_name, registry
from nightshift.declaration.discovery import Discovered
from nightshift.errors import DeclarationError

ROOT_GROUP = cast(Group, typer.main.get_command(application))
COMMANDS = list(ROOT_GROUP.commands)
TYPE = "<(bool|str|int|float|text|path|number)|(?i:TEXT|INTEGER|FLOAT|BOOLEAN|PATH)( RANGE)?\\[|INTEGER|FLOAT|BOOLEAN"
"""How a type of Python, or of the library that reads the command line, looks in a help page."""
ROOT = Path(__file__).parents[2]
CONSOLE, CONTROL = function_name("console"), function_name("control")
JOBS_OF_THE_PROJECT = list(registry())  # read before the shop stands in their place
JOB = "abandoned-carts"
RUN = "0123abcd-0000-4000-8000-000000000001"
NEW_RUN = "0123abcd-0000-4000-8000-000000000002"
"""The id that the command gives to a run which it starts."""
WHO = ("--by", "Ada", "--reason", "the rows were late")
MARCH = ("--from", "2026-03-01T00:00Z", "--to", "2026-03-03T00:00Z")
NOW = dt.datetime(2026, 3, 11, 12, 0, tzinfo=dt.UTC)

RESULT = {
    "job": JOB,
    "run_id": RUN,
    "scheduled_for": "2026-03-11T02:00:00Z",
    "outcome": "succeeded",
    "duration_ms": 1234,
    "counters": {"deleted": 1200, "batches": 2, "quarantined": 0, "cutoff": "2026-02-09T02:00:00Z"},
    "errors": [],
}
PLAN = {
    **RESULT,
    "outcome": "planned",
    "plan": {
        "steps": [
            {
                "step": "delete-carts",
                "table": "public.carts",
                "action": "delete",
                "rows": 1200,
                "of": 2000,
                "cutoff": "2026-02-09T02:00:00Z",
                "sample": ["[bold]not markup[/bold]"],
            }
        ],
        "over_cap": ["step delete-carts would delete 1200 of 2000 rows; max_share is 50 %"],
    },
}
SUMMARY = {
    "run_id": RUN,
    "job": JOB,
    "scheduled_for": "2026-03-11T02:00:00Z",
    "trigger": "schedule",
    "mode": "apply",
    "forced": False,
    "outcome": "failed",
    "reason": "ValueError: out of luck",
    "started_at": "2026-03-11T02:00:01.500000Z",
    "finished_at": "2026-03-11T02:00:03Z",
    "duration_ms": 1500,
    "attempt": 3,
    "max_attempts": 3,
    "counters": {"deleted": 1200},
    "errors": ["ValueError: out of luck"],
}
COMMAND = {
    "at": "2026-03-11T09:00:00Z",
    "command": "redrive",
    "job": JOB,
    "run_id": RUN,
    "by": "Ada",
    "caller": "arn:aws:sts::123456789012:assumed-role/operator/ada",
    "request_id": "c-1",
    "reason": "first clean-up",
    "arguments": {"run_id": RUN, "override_cap": True},
    "result": "done",
}
FULL = {
    **SUMMARY,
    "request_id": "r-1",
    "parameters": {"retention_days": 30},
    "override": {"by": "Ada", "reason": "first clean-up"},
    "lease_until": None,
    "step": "delete-carts",
    "candidates": {"delete-carts": 1200},
    "plan": None,
    "attempts": [
        {
            "epoch": 1,
            "request_id": "r-1",
            "started_at": "2026-03-11T02:00:01Z",
            "ended_at": "2026-03-11T02:00:03Z",
            "ending": "failed",
            "error": "ValueError: out of luck",
        }
    ],
    "commands": [COMMAND],
    "quarantined": [{"step": "delete-carts", "item": "public.carts/7", "error": "held"}],
}
JOBS = {
    "jobs": [
        {
            "job": JOB,
            "pack": "market",
            "kind": "retention",
            "critical": False,
            "rule": "Delete abandoned carts.",
            "schedule": "cron(0 2 * * ? *)",
            "enabled": True,
            "next_run": "2026-03-12T02:00:00Z",
            "paused": None,
            "running": True,
            "open_runs": [],
            "last_run": SUMMARY,
            "last_success": None,
            "totals": {"failed": 1},
        }
    ]
}
STATUS = {
    "jobs": {"total": 38, "enabled": 37, "paused": 1, "running": 1},
    "open_runs": [{**SUMMARY, "outcome": "running", "finished_at": None, "duration_ms": None}],
    "last_24_hours": {"failed": 1, "succeeded": 412},
    "quarantined_last_24_hours": 3,
    "failures": [SUMMARY],
}
NEXT = {
    "next": [
        {
            **{"job": JOB, "scheduled_for": "2026-03-12T02:00:00Z", "schedule": "cron(0 2 * * ? *)", "paused": True},
            "pause": {
                **{"at": "2026-03-11T09:00:00Z", "by": "Ada", "reason": "audit"},
                **{"until": "2026-03-13T06:00:00Z", "all": True},
            },
        },
    ]
}


@pytest.fixture(autouse=True)
def one_id(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cli.starting.new_id", lambda: NEW_RUN)


@pytest.fixture(autouse=True)
def unread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody's terminal and database: whoever runs the tests may have told of theirs."""
    monkeypatch.delenv("COLUMNS", raising=False)
    monkeypatch.delenv("NIGHTSHIFT_DATABASE_URL", raising=False)


def health(scheduler: str = "healthy", **job: Any) -> dict[str, Any]:
    facts = {
        "job": JOB,
        "status": scheduler,
        "reason": None,
        "last_success": None,
        "hours_since_success": None,
        "limit_hours": 48.0,
    }
    return {"status": "ready", "scheduler": scheduler, "jobs": [{**facts, **job}]}


@dataclass
class Deployed:
    """A deployment that gives one answer, or one error, to everything, and remembers what it was asked."""

    answer: Mapping[str, Any] | Exception
    asked: list[tuple[str, dict[str, Any]]] = field(default_factory=list)

    def invoke(self, function: str, payload: Mapping[str, Any]) -> dict[str, Any]:
        self.asked.append((function, dict(payload)))
        if isinstance(self.answer, Exception):
            raise self.answer
        return json.loads(json.dumps(self.answer))  # type: ignore[no-any-return]


@dataclass
class Script:
    """A deployment that gives one answer, or one error, after the other."""

    answers: list[Mapping[str, Any] | Exception]
    asked: list[tuple[str, dict[str, Any]]] = field(default_factory=list)

    def invoke(self, function: str, payload: Mapping[str, Any]) -> dict[str, Any]:
        self.asked.append((function, dict(payload)))
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return dict(answer)


class Unreachable:
    """AWS where there must be no need of it."""

    def invoke(self, function: str, payload: Mapping[str, Any]) -> dict[str, Any]:
        raise AssertionError(f"{function} was invoked with {payload}")


def nightshift(*arguments: str, on: Deployed | Script | Unreachable | None = None) -> Result:
    return CliRunner().invoke(application, arguments, obj=on or Unreachable())


@pytest.mark.parametrize(
    ("arguments", "function", "payload"),
    [
        (["run", JOB], f"nightshift-{JOB}", {"once": True, "id": NEW_RUN}),
        (["run", JOB, "--dry-run"], f"nightshift-{JOB}", {"dry_run": True, "once": True, "id": NEW_RUN}),
        (["plan", JOB], f"nightshift-{JOB}", {"dry_run": True, "once": True, "id": NEW_RUN}),
        (
            ["run", JOB, "--at", "2026-03-02T10:00:00+01:00", "--force"],
            f"nightshift-{JOB}",
            {"scheduled_for": "2026-03-02T09:00:00+00:00", "force": True, "once": True, "id": NEW_RUN},
        ),
        (
            ["plan", JOB, "--param", "retention_days=60", "--param", "max_rows=5"],
            f"nightshift-{JOB}",
            {"dry_run": True, "parameters": {"retention_days": 60, "max_rows": 5}, "once": True, "id": NEW_RUN},
        ),
        (["jobs"], CONSOLE, {"query": "jobs"}),
        (["jobs", JOB], CONSOLE, {"query": "jobs", "job": JOB}),
        (["next"], CONSOLE, {"query": "next", "count": 10}),
        (["next", JOB, "--count", "3"], CONSOLE, {"query": "next", "job": JOB, "count": 3}),
        (["runs"], CONSOLE, {"query": "runs", "limit": 20}),
        (["runs", JOB, "--limit", "5"], CONSOLE, {"query": "runs", "job": JOB, "limit": 5}),
        (["show", "0123abcd"], CONSOLE, {"query": "run", "run_id": "0123abcd"}),
        (["log"], CONSOLE, {"query": "commands", "limit": 20}),
        (["log", JOB, "--limit", "5"], CONSOLE, {"query": "commands", "job": JOB, "limit": 5}),
        (["status"], CONSOLE, {"query": "status"}),
        (["health"], CONSOLE, {"query": "health"}),
        (
            ["pause", JOB, "--by", "Ada", "--reason", "a move"],
            CONTROL,
            {"command": "pause", "job": JOB, "by": "Ada", "reason": "a move"},
        ),
        (
            ["resume", JOB, "--by", "Ada", "--reason", "moved"],
            CONTROL,
            {"command": "resume", "job": JOB, "by": "Ada", "reason": "moved"},
        ),
        (
            ["cancel", "0123abcd", "--by", "Ada", "--reason", "a mistake"],
            CONTROL,
            {"command": "cancel", "run_id": "0123abcd", "by": "Ada", "reason": "a mistake"},
        ),
        (
            ["redrive", "0123abcd", "--by", "Ada", "--override-cap", "--reason", "first clean-up"],
            CONTROL,
            {
                "command": "redrive",
                "run_id": "0123abcd",
                "by": "Ada",
                "override_cap": True,
                "reason": "first clean-up",
            },
        ),
        (["redrive", "0123abcd", "--by", "Ada"], CONTROL, {"command": "redrive", "run_id": "0123abcd", "by": "Ada"}),
        (
            ["backfill", JOB, "--from", "2026-03-01T00:00Z", "--to", "2026-03-05T00:00Z", *WHO, "--dry-run"],
            CONSOLE,
            {
                **{"query": "past", "job": JOB, "reprocess": "none"},
                **{"since": "2026-03-01T00:00:00+00:00", "until": "2026-03-05T00:00:00+00:00"},
            },
        ),
    ],
)
def test_a_command_asks_the_right_function(arguments: list[str], function: str, payload: dict[str, Any]) -> None:
    deployed = Deployed(AwsError("enough"))

    assert nightshift(*arguments, on=deployed).exit_code == 2
    assert deployed.asked == [(function, payload)]


@pytest.mark.parametrize(
    ("arguments", "answer", "words"),
    [
        (["jobs"], JOBS, [JOB, "market", "every day at 02:00 UTC", "running", "failed", "2026-03-12 02:00"]),
        (["next"], NEXT, ["2026-03-12 02:00", JOB, "with all jobs by Ada until 2026-03-13 06:00", "audit"]),
        (["runs"], {"runs": [SUMMARY]}, ["0123abcd", JOB, "schedule", "failed", "1.5 s", "deleted 1,200"]),
        (
            ["show", RUN],
            {"run": FULL},
            [RUN, "failed", "out of luck", "3 of 3", "by Ada: first clean-up", "r-1", "public.carts/7", "held"],
        ),
        (["status"], STATUS, ["total 38", "succeeded 412", "3 items", "Open runs", "Failed in the last 24 hours"]),
        (["health"], health(), ["ready", "healthy", JOB, "never", "48 h"]),
        (["run", JOB], RESULT, [JOB, "succeeded in 1.2 s", "deleted 1,200", "nightshift show 0123abcd"]),
        (
            ["plan", JOB],
            PLAN,
            [
                "planned",
                "delete",
                "1,200 of 2,000",
                "public.carts",
                "[bold]not markup[/bold]",
                "max_share is 50 %",
            ],
        ),
    ],
)
def test_a_person_reads_a_table_and_a_program_the_answer(
    arguments: list[str], answer: dict[str, Any], words: list[str]
) -> None:
    shown = nightshift(*arguments, on=Deployed(answer))
    as_json = nightshift(*arguments, "--json", on=Deployed(answer))

    assert (shown.exit_code, as_json.exit_code) == (0, 0)
    assert [word for word in words if word not in shown.stdout] == []
    told = json.loads(as_json.stdout)
    for job in told.get("jobs", []) if arguments == ["jobs"] else []:
        assert job.pop("schedule_in_words") == "every day at 02:00 UTC"
    assert told == answer
    assert as_json.stderr == ""


LONG_JOB = "generate-productivity-insights-weekly"
LONG_REASON = "paused by Ada Lovelace: the move to the new database begins on Monday and ends when it ends"
LONG_KEY = "public.carts/0197f3c2-aaaa-4bbb-8ccc-000000000007"
LONG_RUN = {**FULL, "job": LONG_JOB, "reason": LONG_REASON, "counters": {f"counter_{n}": n for n in range(12)}}
LONG_RUN["attempts"] = [{**FULL["attempts"][0], "request_id": f"r-{RUN}", "error": LONG_REASON}]  # type: ignore[index]
LONG_RUN["quarantined"] = [{"step": LONG_JOB, "item": LONG_KEY, "error": LONG_REASON}]


LONG_COMMAND = {**COMMAND, "job": LONG_JOB, "reason": LONG_REASON, "request_id": f"c-{RUN}"}
LONG_LOG = {"commands": [{**LONG_COMMAND, "result": f"refused: {LONG_REASON}"}]}
LONG_BACKFILL = {
    **{"backfill_id": RUN, "job": LONG_JOB, "since": "2026-03-01T00:00:00Z", "until": "2026-03-04T02:00:00Z"},
    **{"state": "open", "occurrences": 3, "done": 1, "counts": {"kept": 1}, "by": "Ada", "reason": LONG_REASON},
    "told": None,
}
LONG_CHANGE = {"job": LONG_JOB, "dials": {}, "at": "2026-03-11T09:00:00Z", "by": "Ada", "reason": LONG_REASON}
LONG_DIALS = {
    "job": LONG_JOB,
    "dials": dict.fromkeys(("rows_per_second", "largest_batch", "pause_seconds", "hours")),
    "held_because": LONG_REASON,
    "changes": [LONG_CHANGE],
}
PAUSE = {"by": "Ada", "at": "2026-03-11T09:00:00Z", "reason": LONG_REASON}
PAUSED_JOB = {**JOBS["jobs"][0], "job": LONG_JOB, "running": False, "paused": PAUSE}


def test_jobs_tells_who_has_paused_until_when_and_why() -> None:
    for all_of_them, words in ({}, ""), ({"all": True}, " with all jobs"):
        paused = {**PAUSE, "until": "2199-01-01T00:00:00Z", **all_of_them}
        shown = nightshift("jobs", on=Deployed({"jobs": [{**PAUSED_JOB, "paused": paused}]})).stdout
        assert re.search(f"paused{words} by Ada until 2199-01-01 00:00 [^:]*: {LONG_REASON}", shown)


@pytest.mark.parametrize("columns", [None, "200", "120", "80", "40"])
@pytest.mark.parametrize(
    ("arguments", "answer", "whole"),
    [
        (["runs"], {"runs": [LONG_RUN]}, [RUN, LONG_JOB]),
        (["status"], {**STATUS, "open_runs": [LONG_RUN]}, [RUN, LONG_JOB]),
        (["show", RUN], {"run": LONG_RUN}, [f"{LONG_JOB}, run {RUN}: failed", LONG_REASON, f"r-{RUN}", LONG_KEY]),
        (["health"], health("degraded", job=LONG_JOB, reason=LONG_REASON), [LONG_JOB, LONG_REASON]),
        (["jobs"], {"jobs": [{**JOBS["jobs"][0], "job": LONG_JOB}]}, [LONG_JOB, "2026-03-12"]),
        (["next"], {"next": [{**NEXT["next"][0], "job": LONG_JOB}]}, [LONG_JOB, "2026-03-12"]),
        (["run", JOB], {**RESULT, "reason": LONG_REASON, "errors": [LONG_KEY]}, [RUN, LONG_REASON, LONG_KEY]),
        (["plan", JOB], PLAN, ["delete-carts", "public.carts", PLAN["plan"]["over_cap"][0]]),  # type: ignore[index]
        (["log"], LONG_LOG, [RUN, LONG_JOB, LONG_REASON, COMMAND["caller"], f"c-{RUN}", f"refused: {LONG_REASON}"]),
        (["backfills"], {"backfills": [LONG_BACKFILL]}, [RUN, LONG_JOB, LONG_REASON]),
        (["dial", JOB], LONG_DIALS, [LONG_JOB, LONG_REASON]),
        (["jobs"], {"jobs": [PAUSED_JOB]}, [LONG_JOB, "Ada"]),
    ],
)
def test_an_id_a_name_and_a_reason_are_whole_on_a_terminal_of_any_width(
    arguments: list[str], answer: dict[str, Any], whole: list[str], columns: str | None
) -> None:
    shown = CliRunner().invoke(application, arguments, obj=Deployed(answer), env={"COLUMNS": columns})

    assert [each for each in whole if each not in shown.stdout] == []
    assert "…" not in shown.stdout
    assert [line for line in shown.stdout.splitlines() if line != line.rstrip()] == []


@pytest.mark.parametrize(
    ("arguments", "answer"),
    [
        (["runs"], {"runs": [{**SUMMARY, "counters": RESULT["counters"]}]}),
        (["show", RUN], {"run": {**FULL, "counters": RESULT["counters"]}}),
        (["status"], {**STATUS, "failures": [{**SUMMARY, "counters": RESULT["counters"]}]}),
        (["run", JOB], RESULT),
    ],
)
def test_a_counter_is_shown_when_it_is_zero(arguments: list[str], answer: dict[str, Any]) -> None:
    assert "deleted 1,200, batches 2, quarantined 0" in nightshift(*arguments, on=Deployed(answer)).stdout


def test_the_error_of_an_attempt_follows_its_table_which_stays_narrow() -> None:
    attempts = [{**FULL["attempts"][0], "error": "ValueError: " + "no " * 100 + "luck"}]  # type: ignore[index]
    told = nightshift("show", RUN, on=Deployed({"run": {**FULL, "errors": [], "attempts": attempts}})).stdout

    lines = told.splitlines()
    heading = next(n for n, line in enumerate(lines) if line.lstrip().startswith("Epoch"))
    assert [len(line) for line in lines[heading : heading + 3] if len(line) > 100] == []
    assert re.search("\nerror of epoch 1 +ValueError: (no ){100}luck\n", told)


def test_zero_candidates_are_shown_and_a_parameter_without_a_value_is_not() -> None:
    nothing = {**FULL, "candidates": {"delete-carts": 0}, "parameters": {"retention_days": 0, "max_rows": None}}
    shown = nightshift("show", RUN, on=Deployed({"run": nothing})).stdout
    assert re.search("candidates +delete-carts 0\n", shown)
    assert re.search("parameters +retention_days 0\n", shown)


def test_a_plan_changes_nothing_and_shows_no_counters() -> None:
    planned = {**FULL, "outcome": "planned", "mode": "plan", "plan": PLAN["plan"], "counters": RESULT["counters"]}
    assert "quarantined 0" not in nightshift("show", RUN, on=Deployed({"run": planned})).stdout
    assert "quarantined 0" not in nightshift("runs", on=Deployed({"runs": [planned]})).stdout
    assert "quarantined 0" not in nightshift("plan", JOB, on=Deployed(PLAN)).stdout


@pytest.mark.parametrize("command", ["runs", "jobs", "health"])
def test_a_row_in_a_pipe_is_one_line(command: str) -> None:
    """So that grep and awk can read it."""
    answers = {
        "runs": {"runs": [LONG_RUN] * 3},
        "jobs": {"jobs": [{**JOBS["jobs"][0], "schedule": "cron(*/25 9-17 ? * MON-FRI *)"}] * 3},
        "health": {**health(), "jobs": health(reason=LONG_REASON)["jobs"] * 3},
    }
    shown = nightshift(command, on=Deployed(answers[command]))

    rows = [line for line in shown.stdout.splitlines() if LONG_JOB in line or JOB in line]
    assert len(rows) == 3
    assert rows[0].endswith({"runs": "counter_11 11", "jobs": ")", "health": LONG_REASON}[command])


def test_a_table_that_fits_a_terminal_stays_within_it() -> None:
    """Only what may be broken is: times, schedules and counters, between words."""
    answer = {"runs": [{**SUMMARY, "counters": LONG_RUN["counters"]}]}
    shown = CliRunner().invoke(application, ["runs"], obj=Deployed(answer), env={"COLUMNS": "120"})

    assert max(len(line) for line in shown.stdout.splitlines()) <= 120
    assert [f"counter_{n} {n}" for n in range(12) if f"counter_{n}" not in shown.stdout] == []


@pytest.mark.parametrize("command", ["jobs", "next"])
@pytest.mark.parametrize("only", [None, JOB])
def test_the_declarations_are_shown_without_aws(command: str, only: str | None) -> None:
    arguments = [command, "--declared", *([only] if only else [])]

    shown, as_json = nightshift(*arguments), nightshift(*arguments, "--json")

    assert (shown.exit_code, as_json.exit_code) == (0, 0)
    found = json.loads(as_json.stdout)[command]
    assert [each for each in found if each["job"] not in shown.stdout] == []
    assert {each["job"] for each in found} <= ({only} if only else set(registry()))
    assert len(found) == (10 if command == "next" else 1 if only else len(registry()))


@pytest.mark.parametrize("command", ["run", "plan", "runs", "jobs", "next"])
@pytest.mark.parametrize(
    ("given", "answer"),
    [
        ("abandoned-cart", "no job is named 'abandoned-cart': did you mean abandoned-carts?"),
        ("abandnoed-crats", "no job is named 'abandnoed-crats': did you mean abandoned-carts?"),
        ("ABANDONED_CARTS", "no job is named 'ABANDONED_CARTS': did you mean abandoned-carts?"),
        ("carts", "no job is named 'carts': did you mean abandoned-carts?"),
        ("qqqq", "no job is named 'qqqq': see nightshift jobs --declared"),
        ("foo", "no job is named 'foo': see nightshift jobs --declared"),
    ],
)
def test_an_unknown_job_is_refused_with_the_nearest_name(command: str, given: str, answer: str) -> None:
    refused = nightshift(command, given)

    assert (refused.exit_code, refused.stdout, refused.stderr) == (2, "", answer + "\n")


@pytest.mark.parametrize(
    ("arguments", "answer"),
    [
        (["--at", "2026-03-02T09:00:00"], "has no time zone: add Z for UTC or an offset"),
        (["--at", "2026-03-02"], "has no time zone"),
        (["--at", "yesterday"], "'yesterday' is not a time: write it like 2026-03-02T09:00:00Z"),
        (["--at", "2199-01-01T00:00:00Z"], "--at 2199-01-01T00:00:00Z is in the future: give a past time"),
        (["--param", "retention_days"], "--param 'retention_days' has no value: write it like retention_days=60"),
        (["--param", "retention_days=0"], "retention_days must be a whole number of days, at least 7; got 0"),
        (["--param", "retention_days=soon"], "retention_days must be a whole number of days, at least 7; got 'soon'"),
        (
            ["--param", "retention=30"],
            "unknown parameter 'retention'; this job has: max_rows, max_share, retention_days, unindexed_rows",
        ),
        (["--force"], "--force runs an occurrence again: name it with --at TIME"),
        (["--force", "--dry-run", "--at", "2026-03-02T09:00Z"], "and --dry-run runs none: give one of them"),
        (["--param", "max_rows=5", "--param", "max_rows=6"], "--param max_rows is given twice: 5 and 6"),
    ],
)
def test_what_cannot_be_meant_is_refused_before_anything_is_invoked(arguments: list[str], answer: str) -> None:
    refused = nightshift("run", JOB, *arguments)

    assert (refused.exit_code, refused.stdout) == (2, "")
    assert answer in refused.stderr
    assert refused.stderr.count("\n") == 1


@pytest.mark.parametrize(
    "arguments", [["--endpoint-url", "localhost", "jobs"], ["jobs", JOB, "--endpoint-url", "localhost"]]
)
def test_an_endpoint_that_is_no_url_is_refused(arguments: list[str]) -> None:
    refused = CliRunner().invoke(application, arguments)

    assert (refused.exit_code, refused.stdout, refused.stderr.count("\n")) == (2, "", 1)
    assert "'localhost' is no URL: write it like http://127.0.0.1:4566" in refused.stderr


@pytest.mark.parametrize(
    ("arguments", "way"),
    [
        (["jobs"], (None, None, None)),
        (["--region", "eu-central-1", "jobs", "--json"], (None, "eu-central-1", None)),
        (["jobs", JOB, "--region", "eu-central-1", "--json"], (None, "eu-central-1", None)),
        (["--profile", "ada", "jobs", "--region", "eu-central-1"], ("ada", "eu-central-1", None)),
        (["--region", "us-east-1", "jobs", "--region", "eu-central-1"], (None, "eu-central-1", None)),
        (
            ["pause", "--profile", "ada", JOB, "--by", "Ada", "--reason", "a move", "--endpoint-url", "http://aws"],
            ("ada", None, "http://aws"),
        ),
    ],
)
def test_the_way_to_aws_is_named_before_a_command_or_behind_it(
    arguments: list[str], way: tuple[str | None, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    used = []

    def invoke(self: LambdaFunctions, function: str, payload: Mapping[str, Any]) -> dict[str, Any]:
        used.append((self.profile, self.region, self.endpoint_url))
        return JOBS

    monkeypatch.setattr(LambdaFunctions, "invoke", invoke)

    assert CliRunner().invoke(application, arguments).exit_code == 0
    assert used == [way]


def test_every_command_that_reaches_aws_takes_the_way_before_and_after_its_name() -> None:
    way = {"--name", "--profile", "--region", "--endpoint-url"}
    without = {("init",), ("upgrade",), ("mail",), ("mail", "preview"), ("new",)}
    for path in paths(ROOT_GROUP):
        shown = nightshift(*path, "--help").stdout
        missing = {option for option in way if option not in shown}
        assert missing == (way if path in without or path[0:1] == ("new",) else set()), path


@pytest.mark.parametrize(
    "arguments",
    [
        ["--region", "eu-central-1", "backup", "restore"],
        ["backup", "--region", "eu-central-1", "restore"],
        ["backup", "restore", "--region", "eu-central-1"],
    ],
)
def test_a_group_of_commands_takes_the_way_too(
    arguments: list[str], manifest: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    used: list[Any] = []
    monkeypatch.setattr("cli.aws.use_for_every_client", lambda *_, **way: used.append(way["region"]))

    CliRunner().invoke(application, [*arguments, manifest, "--into", NOWHERE])

    assert used == ["eu-central-1"]


@pytest.mark.parametrize(
    ("outcome", "code"),
    [("succeeded", 0), ("skipped", 0), ("interrupted", 0), ("running", 0), ("paused", 0), ("failed", 1)],
)
def test_the_exit_code_of_a_run_is_its_outcome(outcome: str, code: int) -> None:
    answer = {**RESULT, "outcome": outcome, "reason": "because", "duration_ms": None, "errors": ["held"]}

    done = nightshift("run", JOB, on=Deployed(answer))

    assert done.exit_code == code
    assert [word for word in (outcome, "because", "held") if word not in done.stdout] == []


def test_a_run_of_before_is_not_shown_like_a_fresh_one() -> None:
    at = ["run", JOB, "--at", "2026-03-11T02:00:00Z"]
    fresh, old = (nightshift(*at, on=Deployed({**RESULT, **more})).stdout for more in ({}, {"already": True}))

    assert "before" not in fresh
    assert "--force" not in fresh
    assert old.startswith(f"{JOB}: succeeded in 1.2 s, before: this time nothing was done\n")
    assert f"To run it again: nightshift run {JOB} --at 2026-03-11T02:00:00Z --force" in old
    at_work = {**RESULT, "outcome": "running", "duration_ms": None, "already": True}
    assert "--force" not in nightshift(*at, on=Deployed(at_work)).stdout, "nothing is to be repeated yet"


def test_a_failed_attempt_is_exit_code_1_and_says_where_to_look() -> None:
    failed = Deployed(FunctionError("RunFailedError", f"{JOB}, run {RUN}: ValueError: out of luck"))

    shown, as_json = nightshift("run", JOB, on=failed), nightshift("run", JOB, "--json", on=failed)

    assert (shown.exit_code, as_json.exit_code) == (1, 1)
    assert "out of luck" in shown.stderr
    assert f"nightshift runs {JOB}" in shown.stderr
    assert "out of luck" in json.loads(as_json.stdout)["error"]


def test_a_redriven_run_is_gone_on_with_at_once() -> None:
    deployed = Script([{"run": {**SUMMARY, "outcome": "queued"}}, RESULT])
    done = nightshift("redrive", "0123abcd", "--by", "Ada", on=deployed)
    assert (done.exit_code, "succeeded" in done.stdout) == (0, True)
    assert deployed.asked[1] == (f"nightshift-{JOB}", {"run_id": RUN, "once": True})


ASKED = {
    "backfill": {
        "backfill_id": RUN, "job": JOB, "since": "2026-03-01T00:00:00Z", "until": "2026-03-04T02:00:00Z",
        "state": "open", "occurrences": 3, "done": 1, "counts": {"kept": 1}, "by": "Ada",
        "reason": "late", "told": None,
    },
    "occurrences": [
        {"scheduled_for": "2026-03-01T02:00:00Z", "outcome": "succeeded", "does": "keep"},
        {"scheduled_for": "2026-03-02T02:00:00Z", "outcome": "missed", "does": "run"},
        {"scheduled_for": "2026-03-03T02:00:00Z", "outcome": None, "does": "run"},
    ],
}  # fmt: skip


def test_a_backfill_is_asked_for_and_tells_fresh_occurrences_from_old_ones() -> None:
    deployed = Script([ASKED])
    done = nightshift("backfill", JOB, "--from", "2026-03-01T00:00Z", "--to", "2026-03-04T02:00Z", *WHO, on=deployed)

    assert done.exit_code == 0, done.stderr
    [(function, payload)] = deployed.asked
    assert function == CONTROL
    assert payload == {
        **{"command": "backfill", "job": JOB, "reprocess": "none", "by": "Ada", "reason": "the rows were late"},
        **{"since": "2026-03-01T00:00:00+00:00", "until": "2026-03-04T02:00:00+00:00"},
    }
    lines = done.stdout.splitlines()
    first, second, third = (next(line for line in lines if f"2026-03-0{day}" in line) for day in (1, 2, 3))
    assert ("succeeded" in first, "is left as it is" in first) == (True, True)
    assert ("missed" in second, "runs" in second) == (True, True)
    assert ("has no run" in third, "runs" in third) == (True, True)
    assert "2 of 3 occurrences run; 1 are left as they are" in done.stdout


def test_backfills_are_listed_and_changed() -> None:
    listed = nightshift("backfills", on=Script([{"backfills": [ASKED["backfill"]]}]))
    assert [word for word in (RUN, JOB, "open", "1 of 3", "kept 1", "Ada") if word not in listed.stdout] == []
    for what, who in (("pause", WHO), ("cancel", WHO), ("resume", WHO[:2])):
        deployed = Script([{"backfill": ASKED["backfill"]}])
        assert nightshift("backfills", f"--{what}", RUN, *who, on=deployed).exit_code == 0
        assert deployed.asked[0][1]["command"] == f"{what}_backfill"
    for wrong in (
        ["--pause", RUN],
        ["--pause", RUN, "--by", "Ada"],
        ["--resume", RUN],
        ["--pause", RUN, "--cancel", RUN],
        ["--by", "Ada"],
        ["--reason", "late"],
        [JOB, "--cancel", RUN, *WHO],
        ["--limit", "3", "--cancel", RUN, *WHO],
    ):
        refused = nightshift("backfills", *wrong)
        assert (refused.exit_code, refused.stderr.count("\n")) == (2, 1), "and nothing is asked"
    resumed = Script([{"backfill": ASKED["backfill"]}])
    nightshift("backfills", "--resume", RUN, *WHO, on=resumed)
    assert resumed.asked[0][1]["reason"] == WHO[3], "a reason that is given is kept"


@pytest.mark.parametrize(
    ("since", "until", "answer"),
    [
        ("2026-03-01", "2026-03-09T00:00Z", "--from: '2026-03-01' has no time zone"),
        ("2026-03-01T00:00Z", "2199-03-09T00:00Z", "--to 2199-03-09T00:00Z is in the future"),
        ("2026-03-09T00:00Z", "2026-03-01T00:00Z", "--from 2026-03-09T00:00Z is not before --to 2026-03-01T00:00Z"),
        ("2026-03-01T02:00Z", "2026-03-01T02:00Z", "--from 2026-03-01T02:00Z is not before --to 2026-03-01T02:00Z"),
        ("2026-03-01T02:00Z", "2026-03-01T02:00+01:00", "--from 2026-03-01T02:00Z is not before --to"),
    ],
)
def test_a_backfill_that_cannot_be_meant_runs_nothing(since: str, until: str, answer: str) -> None:
    deployed = Deployed({})
    refused = nightshift("backfill", JOB, "--from", since, "--to", until, *WHO, on=deployed)
    assert (refused.exit_code, refused.stderr.count("\n")) == (2, 1)
    assert answer in refused.stderr
    assert deployed.asked == []


def test_the_occurrences_of_a_backfill_can_be_listed_first() -> None:
    deployed = Script([{"occurrences": ASKED["occurrences"]}])
    listed = nightshift("backfill", JOB, *MARCH, *WHO, "--dry-run", on=deployed)
    assert deployed.asked[0][1]["query"] == "past"
    assert "Nothing was asked for" in listed.stdout


@pytest.mark.parametrize(
    ("end", "answer"),
    [
        (["--for", "0h"], "--for 0h is no time at all"),
        (["--for", "-3h"], "--for: '-3h' is no length of time"),
        (["--for", "99999999d"], "--for 99999999d ends outside the calendar"),
        (["--for", "9" * 20 + "d"], "is longer than the calendar"),
        (["--until", "2026-01-01T00:00Z"], "--until 2026-01-01T00:00Z is in the past"),
        (["--until", "2199-01-01T00:00Z", "--for", "3h"], "give one of them"),
    ],
)
def test_a_pause_that_ends_before_it_begins_is_refused(end: list[str], answer: str) -> None:
    refused = nightshift("pause", JOB, *WHO, *end)
    assert (refused.exit_code, refused.stderr.count("\n")) == (2, 1)
    assert answer in refused.stderr


def test_a_second_pause_tells_whose_it_has_replaced() -> None:
    before = {"by": "Ben", "at": "2026-03-11T09:00:00Z", "until": "2199-01-01T00:00:00Z", "reason": "a new index"}
    pause = ["pause", JOB, "--by", "Ada", "--reason", "a move"]
    second = nightshift(*pause, on=Deployed({"job": JOB, "paused": {}, "replaced": before})).stdout
    assert re.search(
        f"^{JOB} is paused. It replaces the pause by Ben from 2026-03-11 09:00 .* until 2199-01-01 00:00 .*: a new "
        f"index. To resume it: nightshift resume {JOB} --by NAME --reason TEXT$",
        second.strip(),
    )
    first = nightshift(*pause, on=Deployed({"job": JOB, "paused": {}, "replaced": None}))
    assert "replaces" not in first.stdout


@pytest.mark.parametrize("kind", ["EventError", "SettingError"])
def test_what_the_function_refuses_is_exit_code_2(kind: str) -> None:
    refused = nightshift("run", JOB, on=Deployed(FunctionError(kind, "the job is disabled")))

    assert (refused.exit_code, refused.stderr) == (2, f"{JOB} refused: the job is disabled\n")


def test_the_health_of_the_jobs_is_the_exit_code() -> None:
    late = health("degraded", last_success="2026-03-01T02:00:00Z", reason="no success within 48 h")

    degraded = nightshift("health", on=Deployed(late))
    not_ready = nightshift("health", on=Deployed({"status": "not_ready", "reason": "the database does not answer"}))

    assert (nightshift("health", on=Deployed(health())).exit_code, degraded.exit_code, not_ready.exit_code) == (0, 1, 2)
    assert "no success within 48 h" in degraded.stdout
    assert "not ready: the database does not answer" in not_ready.stdout
    assert nightshift("health", "--json", on=Deployed(late)).exit_code == 1


NOT_REACHED_BY_SQLALCHEMY = ("InterfaceError", "OperationalError", "DatabaseError")
NOT_REACHED_BY_THE_SYSTEM = (
    "ConnectionResetError",
    "BrokenPipeError",
    "OSError",
    "SSLError",
    "SSLCertVerificationError",
)

DRIVER_TEXT = (
    "(pg8000.exceptions.InterfaceError) Can't create a connection to host db and port 5432 (timeout is 35).\n"
    "(Background on this error at: https://sqlalche.me/e/21/rvf5)"
)


@pytest.mark.parametrize("kind", [*NOT_REACHED_BY_SQLALCHEMY, *NOT_REACHED_BY_THE_SYSTEM])
@pytest.mark.parametrize(
    "arguments",
    [
        ["status"],
        ["jobs", "--json"],
        ["show", "0123abcd"],
        ["resume", JOB, "--by", "Ada", "--reason", "moved"],
        ["backfill", JOB, *MARCH, *WHO],
    ],
)
def test_a_database_that_is_down_is_one_sentence(arguments: list[str], kind: str) -> None:
    failed = nightshift(*arguments, on=Deployed(FunctionError(kind, DRIVER_TEXT)))

    sentence = "the database does not answer: check that it is up and that the functions can connect to it\n"
    assert (failed.exit_code, failed.stdout, failed.stderr) == (2, "", sentence)


def test_the_health_of_a_deployment_whose_database_is_down_is_told_in_both_forms() -> None:
    down = Deployed(FunctionError("InterfaceError", DRIVER_TEXT))
    shown, as_json = nightshift("health", on=down), nightshift("health", "--json", on=down)

    assert (shown.exit_code, as_json.exit_code) == (2, 2)
    assert shown.stdout.startswith("not ready: the database does not answer: check")
    assert json.loads(as_json.stdout)["status"] == "not_ready"


def test_a_run_that_could_not_begin_says_so_without_the_words_of_the_driver() -> None:
    down = FunctionError("UnclaimedError", f"job {JOB} could not claim its run: InterfaceError from the database")
    begun = nightshift("run", JOB, on=Deployed(down))

    reason = "the run did not start, because the database does not answer or the ledger is locked"
    assert (begun.exit_code, begun.stdout, begun.stderr.count("\n")) == (1, "", 1)
    assert reason in begun.stderr
    assert "InterfaceError" not in begun.stderr


def test_an_error_of_several_lines_is_told_in_one() -> None:
    failed = nightshift("jobs", on=Deployed(FunctionError("ValueError", "first\n  second\n")))
    assert failed.stderr == "the function ended with ValueError: first second\n"


@pytest.mark.parametrize(
    ("answer", "line"),
    [
        ({"error": "no run has the id 0123abcd"}, "no run has the id 0123abcd\n"),
        (AwsError("no AWS region: give --region"), "no AWS region: give --region\n"),
        (FunctionError("ClientError", "no secret"), "the function ended with ClientError: no secret\n"),
    ],
)
def test_a_deployment_that_cannot_answer_is_one_line_and_exit_code_2(
    answer: dict[str, Any] | Exception, line: str
) -> None:
    for command in (["show", "0123abcd"], ["health"], ["jobs", "--json"]):
        failed = nightshift(*command, on=Deployed(answer))
        assert (failed.exit_code, failed.stdout, failed.stderr) == (2, "", line)


# The way to AWS


@pytest.fixture
def clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No AWS settings of the machine's own, and no metadata service to wait for."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


@pytest.fixture
def credentials(clean_environment: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "made-up")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "made-up")


@pytest.fixture
def stubbed(credentials: None, monkeypatch: pytest.MonkeyPatch) -> Callable[[], tuple[LambdaFunctions, Stubber]]:
    """The gateway on a client that answers what the test has put into its stub."""

    def make() -> tuple[LambdaFunctions, Stubber]:
        gateway = LambdaFunctions(region="eu-central-1")
        client = gateway._client()
        monkeypatch.setattr(LambdaFunctions, "_client", lambda _: client)
        stub = Stubber(client)
        stub.activate()
        return gateway, stub

    return make


Stubbed = Callable[[], tuple[LambdaFunctions, Stubber]]


class Body:
    """The stream of a response."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def read(self) -> bytes:
        return json.dumps(self.value).encode()


def test_an_invocation_returns_what_the_function_returned(stubbed: Stubbed) -> None:
    gateway, stub = stubbed()
    expected = {"FunctionName": CONSOLE, "Payload": '{"query": "jobs"}'}
    stub.add_response("invoke", {"StatusCode": 200, "Payload": Body(JOBS)}, expected)

    assert gateway.invoke(CONSOLE, {"query": "jobs"}) == JOBS


def test_a_function_that_ended_with_an_error_raises_it(stubbed: Stubbed) -> None:
    gateway, stub = stubbed()
    payload = Body({"errorType": "RunFailedError", "errorMessage": "out of luck", "stackTrace": []})
    stub.add_response("invoke", {"StatusCode": 200, "FunctionError": "Unhandled", "Payload": payload})

    with pytest.raises(FunctionError, match="out of luck") as caught:
        gateway.invoke(CONSOLE, {})
    assert caught.value.kind == "RunFailedError"


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("ResourceNotFoundException", "nightshift-console is not deployed in region eu-central-1: run make deploy"),
        ("AccessDeniedException", "you need lambda:InvokeFunction on it"),
        ("ExpiredTokenException", "sign in"),
        ("UnrecognizedClientException", "sign in"),
        ("TooManyRequestsException", "try again in a minute"),
        ("ServiceException", "ServiceException: in detail"),
    ],
)
def test_a_refusal_of_aws_is_one_line_that_says_what_to_do(stubbed: Stubbed, code: str, words: str) -> None:
    gateway, stub = stubbed()
    stub.add_client_error("invoke", code, "in detail", expected_params={"FunctionName": ANY, "Payload": ANY})

    with pytest.raises(AwsError) as caught:
        gateway.invoke(CONSOLE, {})
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.usefixtures("clean_environment")
@pytest.mark.parametrize(
    ("options", "environment", "words"),
    [
        ({"region": "eu-central-1"}, {}, "no AWS credentials found: sign in"),
        ({"profile": "nobody"}, {}, "profile (nobody) could not be found: see aws configure list-profiles"),
        (
            {},
            {"AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x"},
            "no AWS region: give --region, or set AWS_DEFAULT_REGION",
        ),
    ],
)
def test_missing_settings_are_one_line_that_says_what_to_do(
    options: dict[str, Any], environment: dict[str, str], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)

    with pytest.raises(AwsError) as caught:
        LambdaFunctions(**options).invoke(CONSOLE, {})
    assert words in str(caught.value)


def test_where_nothing_ran_no_empty_table_is_shown() -> None:
    assert CliRunner().invoke(application, ["runs"], obj=Deployed({"runs": []})).stdout == "No run yet\n"


def test_a_plan_over_its_cap_names_that_cap() -> None:
    told = CliRunner().invoke(application, ["plan", JOB], obj=Deployed(PLAN)).stdout

    assert "raise max_share in the job's settings, and try the value first: nightshift plan JOB --param max_sh" in told


def test_the_command_of_one_project_says_so_in_the_folder_of_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".nightshift.json").touch()
    (tmp_path / "functions").mkdir()
    monkeypatch.chdir(tmp_path / "functions")

    told = CliRunner().invoke(application, ["jobs", "--declared", "--json"])

    assert told.exit_code == 0
    assert told.stderr.startswith(f"You are in {tmp_path}, and this is the command of ")
    assert told.stderr.endswith(f"that of the folder is {tmp_path}/.venv/bin/nightshift\n")
    monkeypatch.chdir("/")
    assert CliRunner().invoke(application, ["jobs", "--declared", "--json"]).stderr == ""


@pytest.mark.parametrize("command", [["run", JOB], ["show", RUN]])
def test_a_reason_is_not_told_again_as_an_error(command: list[str]) -> None:
    run = {"reason": "over its cap", "errors": ["over its cap", "carts:5: no"]}
    answer = {**RESULT, **run} if command[0] == "run" else {"run": {**LONG_RUN, **run, "attempts": []}}

    told = CliRunner().invoke(application, command, obj=Deployed(answer)).stdout

    assert (told.count("over its cap"), told.count("carts:5: no")) == (1, 1)


@pytest.mark.usefixtures("clean_environment")
@pytest.mark.parametrize(("command", "by_url"), [(["plan", JOB], True), (["check"], True), (["runs"], False)])
def test_who_has_no_aws_is_told_of_the_commands_that_need_none(command: list[str], by_url: bool) -> None:
    refused = CliRunner().invoke(application, command)

    assert refused.exit_code == 2
    assert refused.stderr.startswith("no AWS region: give --region, or set AWS_DEFAULT_REGION")
    assert refused.stderr.endswith("; or look at a database without AWS: --database-url URL\n") == by_url


@pytest.mark.usefixtures("credentials")
def test_an_endpoint_where_nobody_listens_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")

    with pytest.raises(AwsError, match="AWS does not answer"):
        LambdaFunctions(region="eu-central-1").invoke(CONSOLE, {})


def test_a_broken_connection_is_not_tried_again_and_does_not_mean_that_the_job_stopped(
    credentials: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    gateway = LambdaFunctions(region="eu-central-1")
    client = gateway._client()
    sent = []

    def break_off(request: Any, **_: Any) -> None:
        sent.append(request.url)
        raise exceptions.ReadTimeoutError(endpoint_url=request.url)

    client.meta.events.register("before-send.lambda.Invoke", break_off)
    monkeypatch.setattr(LambdaFunctions, "_client", lambda _: client)

    with pytest.raises(AwsError, match="may still run: see nightshift status"):
        gateway.invoke(CONSOLE, {})
    assert len(sent) == 1


@pytest.mark.usefixtures("credentials")
def test_the_wait_is_longer_than_any_function_may_run() -> None:
    config: Any = LambdaFunctions(region="eu-central-1")._client().meta.config

    assert config.read_timeout > 15 * 60
    assert config.tcp_keepalive


# A backup's way back


@pytest.fixture
def manifest(tmp_path: Path) -> str:
    """The manifest of a backup without tables."""
    folder = tmp_path / "2026-03-01T020000Z"
    folder.mkdir()
    needed = dict.fromkeys(("backup_id", "consistent", "run_id", "scheduled_for", "schema_version"), "x")
    (folder / "manifest.json").write_text(json.dumps({"format": 1, "tables": [], **needed}))
    return str(folder / "manifest.json")


def restore(manifest: str, into: str, *options: str) -> Result:
    return CliRunner().invoke(application, ["backup", "restore", manifest, "--into", into, *options])


NOWHERE = "postgresql://ada:secret@127.0.0.1:1/shop"


@pytest.mark.parametrize(
    "into",
    [
        NOWHERE,
        f" {NOWHERE}\n",
        json.dumps({"url": NOWHERE}),
        json.dumps({"url": NOWHERE}, indent=2),
        f"\n  {json.dumps({'url': NOWHERE}, indent=2)}\n",
        f"\ufeff{json.dumps({'url': NOWHERE}, indent=2)}\r\n",
    ],
)
def test_a_database_to_restore_into_is_an_address_or_json_of_any_number_of_lines(manifest: str, into: str) -> None:
    failed = restore(manifest, into)

    closed = "the database connection failed: nothing listens at this host and port"
    sentence = f"--into: the database shop at 127.0.0.1:1 cannot be used: {closed}. Nothing was changed\n"
    assert (failed.exit_code, failed.stdout, failed.stderr) == (2, "", sentence)


@pytest.mark.parametrize("drill", [(), ("--drill",)], ids=["restore", "drill"])
@pytest.mark.parametrize(
    ("into", "says"),
    [
        ("mysql://ada@127.0.0.1/shop", "begins with mysql://, which is not PostgreSQL"),
        ("postgresql://127.0.0.1/shop", "names no user"),
        ("postgresql://ada@127.0.0.1", "names no database"),
        ("postgresql://", "names no database and no user"),
        ("postgresql://ada@127.0.0.1:99999/shop", "the port 99999: a port is a number from 1 to 65535"),
        (f"{NOWHERE}?sslmode=sure", "has sslmode=sure: it is one of disable"),
        (f"{NOWHERE}?sslmode=verify-full&sslrootcert=/no/such.pem", "/no/such.pem as sslrootcert: No such file"),
        (f"{NOWHERE}?sslmode=verify-full&sslrootcert={__file__}", "it holds no certificate in PEM"),
        (
            f"{NOWHERE}?sslmode=verify-full",
            "shop at 127.0.0.1:1 cannot be used: the database connection failed: nothing",
        ),
        (
            "postgresql://ada@nowhere.invalid/shop",
            "shop at nowhere.invalid:5432 cannot be used: .* of this host is not",
        ),
        ("postgresql://ada@/shop?host=/nowhere", "cannot be used: .*there is no socket at this path"),
    ],
)
def test_whatever_is_wrong_with_a_database_to_restore_into_is_told_in_words_of_its_own(
    manifest: str, into: str, says: str, drill: tuple[str, ...]
) -> None:
    refused = restore(manifest, into, *drill)

    assert (refused.exit_code, refused.stdout, refused.stderr.count("\n")) == (2, "", 1)
    assert re.search(says, refused.stderr), refused.stderr
    assert "secret" not in refused.stderr


def test_a_ledger_of_erasures_that_does_not_answer_is_told_from_the_database_to_restore_into(manifest: str) -> None:
    refused = restore(manifest, "postgresql://ada@127.0.0.1:1/other", "--erasures-from", NOWHERE)

    assert refused.stderr.startswith("--erasures-from: the database shop at 127.0.0.1:1 cannot be used: ")


@pytest.mark.parametrize(
    ("into", "answer"),
    [
        ('{"url": ', "--into is not JSON: Expecting value: line 1 column 8 (char 7)"),
        (
            '{"host": "db", "name": "shop", "user": "ada", "iam_region": "x", "port": "many"}',
            "--into: a port is a number",
        ),
        ("postgresql://ada@db:many/shop", "--into: the database URL has a port that is no number: write it like"),
        ("shop", "--into: the database URL is no URL: write it like postgresql://user@host:5432/name"),
        ('{"adress": "db"}', "--into: unknown database setting 'adress'"),
    ],
)
def test_a_database_that_cannot_be_meant_is_refused_in_one_line(manifest: str, into: str, answer: str) -> None:
    refused = restore(manifest, into)
    ledger = restore(manifest, NOWHERE, "--erasures-from", into)

    assert (refused.exit_code, ledger.exit_code) == (2, 2)
    assert (refused.stderr.count("\n"), ledger.stderr.count("\n")) == (1, 1)
    assert refused.stderr.startswith(answer)
    assert ledger.stderr.startswith(answer.replace("--into", "--erasures-from"))


def test_a_manifest_that_lacks_something_is_refused_in_one_line(manifest: str) -> None:
    Path(manifest).write_text('{"format": 1, "tables": [], "run_id": "x", "backup_id": "x", "scheduled_for": "x"}')
    refused = restore(manifest, NOWHERE)

    lacks = "the manifest lacks consistent, schema_version: it is damaged, or something else. Nothing was changed\n"
    assert (refused.exit_code, refused.stderr) == (2, lacks)


@pytest.mark.usefixtures("clean_environment")
def test_a_secret_that_aws_does_not_give_is_one_line(manifest: str) -> None:
    failed = restore(manifest, '{"secret_arn": "arn:aws:secretsmanager:eu-central-1:1:secret:shop"}')

    assert (failed.exit_code, failed.stderr.count("\n")) == (2, 1)
    assert failed.stderr.startswith("no AWS region: give --region")


@pytest.mark.usefixtures("credentials")
def test_a_restore_uses_the_aws_that_its_options_name(manifest: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("boto3.DEFAULT_SESSION", None)  # both are put back afterwards
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:2")
    secret = '{"secret_arn": "arn:aws:secretsmanager:eu-central-1:1:secret:shop"}'
    failed = restore(manifest, secret, "--region", "eu-central-1", "--endpoint-url", "http://127.0.0.1:1")

    assert (failed.exit_code, failed.stderr.count("\n")) == (2, 1)
    assert "http://127.0.0.1:1" in failed.stderr


# Times


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "now"),
        (-1, "1 s ago"),
        (59, "in 59 s"),
        (60, "in 1 min"),
        (-3_599, "59 min ago"),
        (3_600, "in 1 h"),
        (86_399, "in 23 h"),
        (-86_400, "1 d ago"),
        (86_400 * 40, "in 40 d"),
    ],
)
def test_distances_from_now(seconds: int, words: str) -> None:
    assert times.relative(NOW + dt.timedelta(seconds=seconds), NOW) == words


@pytest.mark.parametrize(
    ("milliseconds", "words"),
    [(None, ""), (0, "0 ms"), (999, "999 ms"), (1_000, "1.0 s"), (12_340, "12.3 s"), (200_000, "3 min 20 s")],
)
def test_durations(milliseconds: int | None, words: str) -> None:
    assert times.took(milliseconds) == words


def test_an_instant_is_shown_in_utc_whatever_its_zone() -> None:
    assert times.shown("2026-03-11T11:00:00+02:00", NOW) == "2026-03-11 09:00 (3 h ago)"


# Documentation and entry


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_and_option_is_explained(command: str) -> None:
    found = nightshift(command, "--help")
    parameters: list[Any] = ROOT_GROUP.commands[command].params

    assert found.exit_code == 0
    assert [parameter.name for parameter in parameters if not parameter.help] == []
    assert f"### `nightshift {command}`" in CLI.read_text()


def paths(group: Group, way: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """What is typed for each command and each group."""
    yield way
    for name, command in group.commands.items():
        yield from paths(command, (*way, name)) if isinstance(command, Group) else [(*way, name)]


@pytest.mark.parametrize("path", list(paths(ROOT_GROUP)), ids=" ".join)
def test_a_help_page_is_short_to_ask_for_and_names_no_type_of_python(path: tuple[str, ...]) -> None:
    short, long = nightshift(*path, "-h"), nightshift(*path, "--help")

    assert (short.exit_code, long.exit_code) == (0, 0)
    assert short.stdout == long.stdout
    assert "Show this message and exit." in short.stdout
    assert not re.search(TYPE, short.stdout)


def test_the_generated_page_names_no_type_of_python() -> None:
    assert "* `-h, --help`: Show" in CLI.read_text()
    assert not re.search(TYPE, CLI.read_text())


def test_a_list_of_commands_explains_each_in_a_whole_sentence() -> None:
    assert "..." not in CLI.read_text().replace("COMMAND [ARGS]...", "")


@pytest.mark.parametrize(
    ("words", "completed"),
    [
        ("nightshift re", {"resume", "redrive"}),
        ("nightshift jobs --re", {"--region"}),
        ("nightshift plan abandoned-c", {JOB}),
        ("nightshift runs --limit 3 abandoned-c", {JOB}),
        ("nightshift mail preview cart_w", {"cart_waiting"}),
    ],
)
def test_a_shell_can_complete_commands_options_jobs_and_kinds_of_mail(words: str, completed: set[str]) -> None:
    asked = {"_NIGHTSHIFT_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(words.count(" "))}
    done = CliRunner().invoke(application, [], prog_name="nightshift", env=asked)

    assert set(done.stdout.split()) == completed


def completed(words: str, on: Deployed | None) -> set[str]:
    """What a shell is told when the Tab key is pressed behind these words."""
    asked = {"_NIGHTSHIFT_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(words.count(" "))}
    done = CliRunner().invoke(application, [], prog_name="nightshift", obj=on, env=asked)
    assert done.stderr == ""
    return set(done.stdout.split())


SUCCEEDED = {**SUMMARY, "run_id": RUN.replace("0123abcd", "0123ffff"), "outcome": "succeeded"}
TWO_RUNS = {"runs": [SUMMARY, SUCCEEDED]}
ONE_BACKFILL = {"backfill_id": RUN, "job": JOB, "since": "2026-03-01T00:00:00Z", "until": "2026-03-04T02:00:00Z"}


@pytest.mark.parametrize(
    ("words", "answer", "query", "found"),
    [
        ("nightshift show 0123", TWO_RUNS, "runs", {RUN, SUCCEEDED["run_id"]}),
        ("nightshift show --region eu-central-1 0123f", TWO_RUNS, "runs", {SUCCEEDED["run_id"]}),
        ("nightshift redrive 0123", TWO_RUNS, "runs", {RUN}),
        ("nightshift cancel 01", STATUS, "status", {RUN}),
        ("nightshift backfills --pause ", {"backfills": [{**ONE_BACKFILL, "state": "open"}]}, "backfills", {RUN}),
        ("nightshift backfills --resume ", {"backfills": [{**ONE_BACKFILL, "state": "open"}]}, "backfills", set()),
        ("nightshift backfills --cancel ", {"backfills": [{**ONE_BACKFILL, "state": "done"}]}, "backfills", set()),
    ],
)
def test_a_shell_completes_the_ids_that_a_command_can_take(
    words: str, answer: dict[str, Any], query: str, found: set[str]
) -> None:
    deployed = Deployed(answer)
    assert completed(words, deployed) == found
    assert [payload["query"] for _, payload in deployed.asked] == [query]


def test_names_of_jobs_are_completed_without_the_deployment() -> None:
    deployed = Deployed(AssertionError("it was asked"))
    assert completed("nightshift show abandoned-c", deployed) == {JOB}
    assert completed(f"nightshift backfill {JOB} --reprocess ", deployed) == {"none", "failed", "all"}
    assert deployed.asked == []


@pytest.mark.parametrize(
    "trouble", [AwsError("no AWS region"), FunctionError("InterfaceError", "away"), {"error": "no such query"}]
)
def test_what_a_deployment_does_not_tell_is_not_completed(trouble: Any) -> None:
    assert completed("nightshift cancel ", Deployed(trouble)) == set()


def test_a_completion_does_not_wait_as_long_as_a_command(monkeypatch: pytest.MonkeyPatch) -> None:
    waited = []

    def invoke(self: LambdaFunctions, function: str, payload: Mapping[str, Any]) -> dict[str, Any]:
        waited.append((self.region, self.seconds))
        return TWO_RUNS

    monkeypatch.setattr(LambdaFunctions, "invoke", invoke)
    asked = {
        "_NIGHTSHIFT_COMPLETE": "complete_bash",
        "COMP_WORDS": "nightshift --region eu redrive ",
        "COMP_CWORD": "4",
    }
    done = CliRunner().invoke(application, [], prog_name="nightshift", env=asked)
    assert done.stdout.split() == [RUN]
    assert waited == [("eu", 3.0)]


@pytest.mark.usefixtures("clean_environment")
def test_profiles_and_regions_are_completed_from_this_machine() -> None:
    Path(os.environ["AWS_CONFIG_FILE"]).write_text("[profile shop]\n[profile staging]\n")
    assert completed("nightshift --profile s", Deployed({})) == {"shop", "staging"}
    assert completed("nightshift jobs --region eu-central-", Deployed({})) == {"eu-central-1", "eu-central-2"}


@pytest.mark.parametrize(
    ("shell", "file"),
    [
        ("bash", ".bash_completions/nightshift.sh"),
        ("zsh", ".zfunc/_nightshift"),
        ("fish", ".config/fish/completions/nightshift.fish"),
    ],
)
def test_a_shell_is_taught_to_complete(shell: str, file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shellingham.detect_shell", lambda: (shell, f"/bin/{shell}"))
    done = CliRunner().invoke(
        application, ["--install-completion"], prog_name="nightshift", env={"HOME": str(tmp_path)}
    )
    assert (done.exit_code, f"{shell} completion installed in {tmp_path / file}" in done.stdout) == (0, True)
    assert f"complete_{shell}" in (tmp_path / file).read_text()


def test_a_declaration_that_cannot_work_does_not_break_a_completion(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> dict[str, Any]:
        raise DeclarationError("functions/odd is no pack")

    monkeypatch.setattr("nightshift.declaration.discovery.registry", broken)
    assert known_jobs.names() == []
    refused = nightshift("jobs", "--declared")
    assert (refused.exit_code, refused.stderr) == (2, "functions/odd is no pack\n")


def test_a_file_that_cannot_be_used_keeps_nobody_from_the_other_jobs(monkeypatch: pytest.MonkeyPatch) -> None:
    odd = DeclarationError("functions.odd.job cannot be imported: NameError (line 3)")
    found = Discovered(dict(registry()), {"odd-job": odd})
    monkeypatch.setattr("nightshift.declaration.discovery.discovered", lambda: found)
    registry.cache_clear()
    try:
        planned = nightshift("plan", JOB, on=Deployed(PLAN))
        refused = nightshift("plan", "odd-job")
    finally:
        registry.cache_clear()

    assert (planned.exit_code, planned.stderr) == (0, f"left out: {odd}\n")
    assert (refused.exit_code, refused.stderr) == (2, f"{odd}\n")


def test_completion_is_offered() -> None:
    assert "--install-completion" in nightshift("--help").stdout


def test_a_help_page_and_a_completion_import_neither_the_library_nor_the_sdk() -> None:
    program = "import sys, cli.commands; print({'nightshift', 'sqlalchemy', 'boto3', 'botocore'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


def test_no_modules_of_the_command_import_each_other_in_a_circle() -> None:
    known: dict[str, set[str]] = {}
    for file in (ROOT / "cli").glob("*.py"):
        nodes = [node for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.ImportFrom)]
        known[file.stem] = {
            node.module.partition(".")[2] for node in nodes if node.module and node.module[:4] == "cli."
        }
        known[file.stem] |= {name.name for node in nodes if node.module == "cli" for name in node.names}
    order = list(TopologicalSorter(known).static_order())  # raises CycleError, which names the circle
    assert order.index("screen") < order.index("looking") < order.index("commands")


def test_the_command_works_from_any_folder(tmp_path: Path) -> None:
    (tmp_path / "functions").mkdir()  # a name of ours, in the way
    (tmp_path / "functions" / "__init__.py").write_text("raise ImportError('the wrong one')")
    link = tmp_path / "nightshift"
    link.symlink_to(ROOT / "cli" / "nightshift")

    done = subprocess.run(
        [link, "jobs", "--declared", "--json"], cwd=tmp_path, capture_output=True, text=True, check=True
    )

    assert [job["job"] for job in json.loads(done.stdout)["jobs"]] == JOBS_OF_THE_PROJECT

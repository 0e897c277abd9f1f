"""What an operator does with a deployment: migrate again, ask, and run by the command `nightshift`."""

import datetime as dt
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from local.machine import Machine
from nightshift.declaration import function_name
from nightshift.outbox import Notification
from tests.e2e.conftest import ITEMS, JOBS, TICKING, Lambda, eventually, runs

pytestmark = pytest.mark.e2e


@pytest.fixture
def nightshift(machine: Machine, project: Path) -> "Command":
    return Command(machine, project)


class Command:
    """The command as a person calls it, from another folder, with `--json`."""

    def __init__(self, machine: Machine, project: Path) -> None:
        self._machine = machine
        self._program = project / "cli" / "nightshift"

    def __call__(self, *arguments: str, code: int = 0) -> Any:
        done = self.run(*arguments, "--json")
        assert done.returncode == code, done.stderr
        return json.loads(done.stdout)

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [self._program, *arguments],
            env=self._machine.aws.environment(),
            cwd="/",
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )


def test_the_database_is_migrated_by_the_deployment_and_migrating_again_changes_nothing(
    functions: Lambda, session: Session
) -> None:
    known = session.scalars(text("select name from nightshift.jobs")).all()
    assert set(JOBS) <= set(known)
    assert functions.call("migrate", {}) == {"applied": [], "jobs": len(JOBS)}


def test_a_function_checks_its_own_database_and_the_console_proposes_jobs(nightshift: Command) -> None:
    told = nightshift("check", "--job", TICKING)

    assert (told["jobs"], told["totals"]["error"]) == ([TICKING], 0), told["findings"]

    assert nightshift("suggest")["looked_at"] > 0


def test_an_occurrence_whose_event_is_lost_is_caught_up(machine: Machine, functions: Lambda, session: Session) -> None:
    # GIVEN a job that the supervisor watches, and the trace of what would have been had its last events been lost
    functions.call("supervisor", {})
    eventually(lambda: [run for run in runs(session, TICKING) if run.trigger == "schedule"], seconds=120)
    machine.aws.client("events").disable_rule(Name=function_name(TICKING))
    try:
        session.execute(text("delete from nightshift.runs where job = :job"), {"job": TICKING})
        forget = text("update nightshift.jobs set accounted_until = now() - interval '5 minutes' where name = :job")
        session.execute(forget, {"job": TICKING})
        session.commit()
        # WHEN the supervisor looks THEN the latest occurrence is run by the job's function
        functions.call("supervisor", {})

        def caught_up() -> list[Any]:
            found = runs(session, TICKING)
            return [run for run in found if (run.trigger, run.state) == ("catch_up", "succeeded")]

        run = eventually(caught_up, seconds=60)[-1]
        assert {other.state for other in runs(session, TICKING) if other.scheduled_for < run.scheduled_for} == {
            "missed"
        }
    finally:
        machine.aws.client("events").enable_rule(Name=function_name(TICKING))


def test_the_dispatcher_looks_through_the_outbox(functions: Lambda, session: Session) -> None:
    """GIVEN a notice of a kind that no application has WHEN it is due THEN it fails with its reason."""
    row = Notification(
        channel="ops",
        kind="unheard-of",
        title="T",
        body="B",
        data={},
        dedupe_key="e2e-shop",
        scheduled_for=dt.datetime.now(dt.UTC) - dt.timedelta(minutes=1),
    )
    session.add(row)
    session.commit()
    functions.call("dispatcher", {})

    def failed() -> bool:
        session.expire_all()
        session.rollback()
        return row.status == "failed"

    eventually(failed, seconds=30)  # its own rule may have been faster
    assert "unheard-of" in (row.error or "")


def test_jobs_lists_every_deployed_job_with_its_deployed_schedule(nightshift: Command) -> None:
    jobs = {job["job"]: job for job in nightshift("jobs")["jobs"]}
    assert set(jobs) == set(JOBS)
    assert jobs[TICKING]["schedule"] == "cron(* * * * ? *)"
    assert jobs[ITEMS]["schedule"] != JOBS[ITEMS].job.schedule


def test_a_run_by_the_command_is_found_by_the_command(nightshift: Command) -> None:
    result = nightshift("run", ITEMS, "--dry-run")
    assert result["outcome"] == "planned"
    assert result["run_id"] in [run["run_id"] for run in nightshift("runs", ITEMS)["runs"]]
    shown = nightshift("show", result["run_id"])["run"]
    assert (shown["job"], shown["outcome"], shown["trigger"]) == (ITEMS, "planned", "manual")


def test_status_and_health_answer_for_the_deployment(nightshift: Command) -> None:
    assert nightshift("status")
    health = nightshift("health")
    assert health["status"] == "ready"
    assert health["scheduler"] == "healthy"


def test_the_doctor_finds_the_deployment_in_order(nightshift: Command, functions: Lambda) -> None:
    functions.call("supervisor", {})

    found = nightshift("doctor")["findings"]

    # The other tests have runs fail, and so leave dead letters. Nobody is subscribed to the topics here.
    told = {(each["severity"], each["probe"], each["object"]) for each in found if each["severity"] != "ok"}
    subscribers = {("warning", "subscribers", "nightshift-critical"), ("note", "subscribers", "nightshift-ordinary")}
    assert told - {("warning", "dead letters", "nightshift-dead-letters")} == subscribers, found


def test_an_unknown_name_gets_one_line_and_exit_code_2(nightshift: Command) -> None:
    done = nightshift.run("run", "removed-item")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"no job is named 'removed-item': did you mean {ITEMS}?\n"

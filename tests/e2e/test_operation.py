"""What an operator does with a deployment: migrate again, ask, and run by the command `nightshift`."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from local.collect import collect
from local.demo import dispatch, mails_waiting, put_off_mails
from local.deploy import PROJECT
from local.machine import Machine
from nightshift.declaration import function_name, registry
from tests.e2e.conftest import TICKING, Lambda, eventually, runs

pytestmark = pytest.mark.e2e

JOB = "cleanup-push-tokens"


@pytest.fixture
def nightshift(machine: Machine) -> "Command":
    return Command(machine)


class Command:
    """The command as a person calls it, from another folder, with `--json`."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine

    def __call__(self, *arguments: str, code: int = 0) -> Any:
        done = self.run(*arguments, "--json")
        assert done.returncode == code, done.stderr
        return json.loads(done.stdout)

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [PROJECT / "cli" / "nightshift", *arguments],
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
    assert set(registry()) <= set(known)
    assert functions.call("migrate", {}) == {"applied": [], "jobs": len(registry())}


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


def test_the_dispatcher_sends_the_mails_of_the_outbox(
    machine: Machine, functions: Lambda, session: Session, tmp_path: Path
) -> None:
    """Those that its rule starts and those started by hand together: what is collected is what the outbox says."""
    put_off_mails(machine)
    assert dispatch(machine.aws) is None
    eventually(lambda: mails_waiting(machine)[0] == 0, seconds=60)
    # Those of the data set were sent before there was a dispatcher to claim them.
    claimed = "channel = 'email' and status = 'sent' and claimed_at is not null"
    found = f"select count(*) from nightshift.notifications where {claimed}"  # noqa: S608 - a constant
    assert collect(machine, tmp_path / "output").mails == session.scalar(text(found)) > 0
    (first, *_) = sorted((tmp_path / "output" / "mails").glob("*.txt"))
    assert first.read_text().startswith("To: ")


def test_jobs_lists_every_deployed_job_with_its_deployed_schedule(nightshift: Command) -> None:
    jobs = {job["job"]: job for job in nightshift("jobs")["jobs"]}
    assert set(jobs) == set(registry())
    assert jobs[TICKING]["schedule"] == "cron(* * * * ? *)"
    assert jobs[JOB]["schedule"] != registry()[JOB].job.schedule


def test_a_run_by_the_command_is_found_by_the_command(nightshift: Command) -> None:
    result = nightshift("run", JOB, "--dry-run")
    assert result["outcome"] == "planned"
    assert result["run_id"] in [run["run_id"] for run in nightshift("runs", JOB)["runs"]]
    shown = nightshift("show", result["run_id"])["run"]
    assert (shown["job"], shown["outcome"], shown["trigger"]) == (JOB, "planned", "manual")


def test_status_and_health_answer_for_the_deployment(nightshift: Command) -> None:
    assert nightshift("status")
    health = nightshift("health")
    assert health["status"] == "ready"
    assert health["scheduler"] == "healthy"


def test_an_unknown_name_gets_one_line_and_exit_code_2(nightshift: Command) -> None:
    done = nightshift.run("run", "cleanup-push-token")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"no job is named 'cleanup-push-token': did you mean {JOB}?\n"

"""The console's answers, from the ledger of a real PostgreSQL."""

import datetime as dt
import json
import uuid
from typing import Any

import pytest
from sqlalchemy import Engine, create_engine, delete, update
from sqlalchemy.orm import Session

from functions.platform.console import handler
from functions.platform.control import handler as control
from nightshift.declaration import Deployment, Schedule, registry
from nightshift.environment import DATABASE_VARIABLE, DEPLOYMENT_VARIABLE
from nightshift.ledger import Attempt, CommandRecord, QuarantinedItem, RegisteredJob, RunRecord
from nightshift.ledger.operators import Backfill
from nightshift.ledger.pauses import pause_all
from nightshift.operations import FAILURES_SHOWN, QUERIES, Console, answer
from nightshift.operations.control import Control
from tests.integration.conftest import Context, Invoke

NOW = dt.datetime(2026, 3, 11, 12, 0, tzinfo=dt.UTC)
DAILY = "abandoned-carts"  # at 02:00
HOUR = dt.timedelta(hours=1)


def ask(
    session: Session, question: Any, deployment: Deployment | None = None, now: dt.datetime = NOW
) -> dict[str, Any]:
    return answer(session, deployment or Deployment(), question, now=NOW)


def register(session: Session, job: str = DAILY, *, at: dt.datetime = NOW - 30 * 24 * HOUR, **pause: Any) -> None:
    session.add(RegisteredJob(name=job, registered_at=at, **pause))
    session.commit()


def add_run(
    session: Session, state: str = "succeeded", *, ended: dt.datetime = NOW - HOUR, job: str = DAILY, **facts: Any
) -> RunRecord:
    """A run that ended at `ended` after two seconds; an open one began then."""
    is_open = state in ("queued", "running", "interrupted", "retrying")
    given = {
        "id": uuid.uuid4(),
        "job": job,
        "scheduled_for": ended - dt.timedelta(seconds=2),
        "trigger": "schedule",
        "mode": "plan" if state == "planned" else "apply",
        "state": state,
        "attempts": 1,
        "max_attempts": 3,
        "counters": {"deleted": 5},
        "created_at": ended - dt.timedelta(seconds=2),
        "started_at": ended - dt.timedelta(seconds=2),
        "finished_at": None if is_open else ended,
    }
    record = RunRecord(**{**given, **facts})
    session.add(record)
    session.commit()
    return record


def job_of(found: dict[str, Any], name: str = DAILY) -> dict[str, Any]:
    [job] = [job for job in found["jobs"] if job["job"] == name]
    return dict(job)


def test_the_overview_tells_parameters_health_and_the_latest_runs_of_each_job(session: Session) -> None:
    register(session)
    for hours in (34, 33, 10):
        add_run(session, ended=NOW - hours * HOUR, counters={"deleted": hours, "batches": 1})
    add_run(session, "planned", ended=NOW - HOUR)
    add_run(session, "running", scheduled_for=NOW)
    changed = Deployment(changes={DAILY: {"parameters": {"retention_days": 60}}})

    job = job_of(ask(session, {"query": "overview", "runs": 2}, changed))

    assert job["parameters"]["retention_days"] == 60
    assert job["health"] == ask(session, {"query": "health"}, changed)["jobs"][list(registry()).index(DAILY)]
    assert [(run["outcome"], run["changed"], run["duration_ms"]) for run in job["history"]] == [
        ("succeeded", 33, 2000),
        ("succeeded", 10, 2000),
    ]
    assert {key: value for key, value in job.items() if key not in ("parameters", "health", "history")} == job_of(
        ask(session, {"query": "jobs"}, changed)
    )


def test_the_overview_names_the_jobs_whose_settings_make_no_sense(session: Session) -> None:
    wrong = Deployment(changes={DAILY: {"parameters": {"retention_days": 0}}})

    found = ask(session, {"query": "overview"}, wrong)

    assert DAILY not in [job["job"] for job in found["jobs"]]
    [other] = found["others"]
    assert (other["job"], other["status"]) == (DAILY, "degraded")
    assert "retention_days must be" in other["reason"]


def test_the_overview_is_of_one_job_and_from_a_time_on(session: Session) -> None:
    register(session)
    register(session, "shop-check")
    add_run(session, ended=NOW - 34 * HOUR)
    add_run(session, "failed", ended=NOW - 10 * HOUR)
    since = (NOW - 24 * HOUR).isoformat()

    [job] = ask(session, {"query": "overview", "job": DAILY, "since": since})["jobs"]

    assert [run["outcome"] for run in job["history"]] == ["failed"]


def test_the_overview_tells_backfills_at_work_what_is_unusual_who_did_what_and_the_supervisor(session: Session) -> None:
    register(session)
    add_run(session, ended=NOW - HOUR, anomalies={"slow": "it has taken 400 s, and usually takes 20 s"})
    facts: dict[str, Any] = {
        "job": DAILY,
        "schedule": "cron(0 2 * * ? *)",
        "reprocess": "none",
        "requested_by": "Ada",
        "reason": "late",
    }
    facts |= {"since": NOW - 72 * HOUR, "until": NOW - 24 * HOUR, "reached": NOW - 72 * HOUR, "occurrences": 2}
    over = {"state": "cancelled", "finished_at": NOW, "counts": {}}
    open_one = {"state": "open", "counts": {"failed": 1}}
    session.add_all(Backfill(**facts, **state, created_at=NOW) for state in (over, open_one))
    session.add(
        CommandRecord(at=NOW, command="pause", job=DAILY, by="Ada", reason="a move", arguments={}, result="done")
    )
    session.commit()

    everything = ask(session, {"query": "overview"})
    job = job_of(everything)

    assert [(each["state"], each["done"]) for each in job["backfills"]] == [("open", 1)]
    assert job["last_run"]["anomalies"] == {"slow": "it has taken 400 s, and usually takes 20 s"}
    assert everything["supervisor"] == {"last_round": None, "silent": True}
    assert "commands" not in job
    [alone] = ask(session, {"query": "overview", "job": DAILY})["jobs"]
    assert [(each["command"], each["by"]) for each in alone["commands"]] == [("pause", "Ada")]


@pytest.mark.parametrize("since", ["yesterday", "2026-03-11T00:00:00", 5])
def test_the_overview_refuses_what_is_no_time(session: Session, since: Any) -> None:
    assert "since must be a time like" in ask(session, {"query": "overview", "since": since})["error"]


def test_jobs_tells_what_was_deployed_and_how_each_last_ended(session: Session) -> None:
    register(session)
    add_run(session, "succeeded", ended=NOW - 34 * HOUR)
    add_run(session, "succeeded", ended=NOW - 33 * HOUR, forced=True)
    failed = add_run(session, "failed", ended=NOW - 10 * HOUR, reason="ValueError: out of luck")
    add_run(session, "planned", ended=NOW - HOUR)
    changed = Deployment(changes={DAILY: {"schedule": "cron(30 6 * * ? *)"}})

    found = ask(session, {"query": "jobs"}, changed)

    assert [job["job"] for job in found["jobs"]] == list(registry())
    job = job_of(found)
    assert (job["pack"], job["enabled"], job["paused"], job["running"]) == ("market", True, None, False)
    assert job["schedule"] == "cron(30 6 * * ? *)"
    assert job["next_run"] == "2026-03-12T06:30:00Z"
    assert job["last_run"]["run_id"] == str(failed.id)
    assert (job["last_run"]["outcome"], job["last_run"]["reason"]) == ("failed", "ValueError: out of luck")
    assert job["last_run"]["duration_ms"] == 2000
    assert job["last_success"] == "2026-03-10T03:00:00Z"
    assert job["totals"] == {"failed": 1, "planned": 1, "succeeded": 2}


def test_jobs_that_never_ran_and_packs_that_were_not_deployed(session: Session) -> None:
    found = ask(session, {"query": "jobs"}, Deployment(packs=("market",)))

    assert {job["pack"] for job in found["jobs"]} == {"market"}
    job = job_of(found)
    assert (job["last_run"], job["last_success"], job["totals"], job["open_runs"]) == (None, None, {}, [])


def test_a_disabled_job_has_no_next_run_and_a_paused_one_says_who_paused_it(session: Session) -> None:
    register(session, paused_at=NOW - HOUR, paused_by="Ada", pause_reason="audit")
    job = job_of(ask(session, {"query": "jobs"}, Deployment(changes={DAILY: {"enabled": False}})))

    assert (job["enabled"], job["next_run"]) == (False, None)
    assert job["paused"] == {"at": "2026-03-11T11:00:00Z", "by": "Ada", "reason": "audit"}


def test_a_job_at_work_shows_as_running_with_its_open_runs(session: Session) -> None:
    register(session)
    waiting = add_run(session, "queued", ended=NOW - HOUR)
    working = add_run(session, "running", ended=NOW - 2 * HOUR)

    job = job_of(ask(session, {"query": "jobs", "job": DAILY}))

    assert job["running"] is True
    assert [run["run_id"] for run in job["open_runs"]] == [str(working.id), str(waiting.id)]


def test_runs_are_the_latest_first_and_of_one_job_when_asked(session: Session) -> None:
    other = next(name for name in registry() if name != DAILY)
    register(session)
    register(session, other)
    ours = [add_run(session, ended=NOW - hours * HOUR) for hours in (3, 2, 1)]
    theirs = add_run(session, ended=NOW, job=other)

    everything = ask(session, {"query": "runs"})["runs"]
    limited = ask(session, {"query": "runs", "job": DAILY, "limit": 2})["runs"]

    assert [run["run_id"] for run in everything] == [str(run.id) for run in (theirs, *reversed(ours))]
    assert [run["run_id"] for run in limited] == [str(ours[2].id), str(ours[1].id)]


def test_a_run_is_found_by_the_beginning_of_its_id_and_told_in_full(session: Session) -> None:
    register(session)
    run = add_run(session, id=uuid.UUID("0123abcd-0000-4000-8000-000000000001"), override={"by": "Ada", "reason": "x"})
    session.add(Attempt(run_id=run.id, epoch=1, request_id="r-1", started_at=NOW, ended_at=NOW, ending="lost"))
    session.add(QuarantinedItem(run_id=run.id, step="delete", item="public.carts/1", error="held"))
    session.commit()

    found = ask(session, {"query": "run", "run_id": "0123ABCD-0"})["run"]

    assert found["run_id"] == str(run.id)
    assert found["override"] == {"by": "Ada", "reason": "x"}
    [attempt] = found["attempts"]
    assert (attempt["epoch"], attempt["ending"], attempt["request_id"]) == (1, "lost", "r-1")
    assert found["quarantined"] == [{"step": "delete", "item": "public.carts/1", "error": "held"}]


def test_a_beginning_that_several_runs_share_is_refused(session: Session) -> None:
    register(session)
    for last in (1, 2):
        add_run(session, id=uuid.UUID(f"0123abcd-0000-4000-8000-00000000000{last}"), forced=True)

    assert ask(session, {"query": "run", "run_id": "0123abcd"}) == {"error": "several runs begin with 0123abcd"}


def test_what_a_job_did_through_lambda_is_what_the_console_tells(session: Session, invoke_job: Invoke) -> None:
    job = registry()[DAILY].job
    result = invoke_job(job, at="2026-03-11T02:00:00Z")

    told = ask(session, {"query": "run", "run_id": result["run_id"]})["run"]

    assert {key: told[key] for key in ("job", "run_id", "scheduled_for", "outcome", "duration_ms", "errors")} == {
        key: result[key] for key in ("job", "run_id", "scheduled_for", "outcome", "duration_ms", "errors")
    }


def test_next_lists_the_coming_occurrences_of_all_jobs_in_order(session: Session) -> None:
    register(session, paused_at=NOW, paused_by="Ada", pause_reason="audit")
    disabled = next(name for name in registry() if name != DAILY)

    found = ask(session, {"query": "next", "count": 200}, Deployment(changes={disabled: {"enabled": False}}))["next"]

    assert len(found) == 200
    assert [each["scheduled_for"] for each in found] == sorted(each["scheduled_for"] for each in found)
    assert all(each["scheduled_for"] > "2026-03-11T12:00:00Z" for each in found)
    assert disabled not in {each["job"] for each in found}
    assert {each["paused"] for each in found if each["job"] != DAILY} == {False}
    paused = ask(session, {"query": "next", "job": DAILY})["next"]
    assert {each["paused"] for each in paused} == {True}
    assert paused[0]["pause"] == {"at": "2026-03-11T12:00:00Z", "by": "Ada", "reason": "audit"}


def test_an_occurrence_after_the_end_of_a_pause_is_not_paused(session: Session) -> None:
    register(session)
    pause_all(session, NOW, "Ada", "audit", NOW + dt.timedelta(days=1))
    session.commit()
    today, after = ask(session, {"query": "next", "job": DAILY, "count": 2})["next"]
    assert (today["paused"], today["pause"]["until"], today["pause"]["all"]) == (True, "2026-03-12T12:00:00Z", True)
    assert (after["paused"], "pause" in after) == (False, False)


def test_next_of_one_job_follows_its_deployed_schedule(session: Session) -> None:
    found = ask(session, {"query": "next", "job": DAILY, "count": 2})["next"]

    schedule = Schedule.parse(found[0]["schedule"])
    assert [each["scheduled_for"] for each in found] == ["2026-03-12T02:00:00Z", "2026-03-13T02:00:00Z"]
    assert schedule == registry()[DAILY].job.timetable


def test_status_counts_jobs_and_the_last_day(session: Session) -> None:
    register(session, paused_at=NOW, paused_by="Ada", pause_reason="audit")
    add_run(session, "succeeded", ended=NOW - 25 * HOUR)
    add_run(session, "succeeded", ended=NOW - 2 * HOUR)
    failures = [add_run(session, "failed", ended=NOW - 20 * HOUR + n * HOUR) for n in range(FAILURES_SHOWN + 1)]
    working = add_run(session, "running", ended=NOW)
    session.add(QuarantinedItem(run_id=working.id, step="delete", item="t/1", error="held", at=NOW - HOUR))
    session.add(QuarantinedItem(run_id=working.id, step="delete", item="t/2", error="held", at=NOW - 25 * HOUR))
    session.commit()

    found = ask(session, {"query": "status"})

    total = len(registry())
    assert found["jobs"] == {"total": total, "enabled": total, "paused": 1, "running": 1}
    assert found["last_24_hours"] == {"failed": FAILURES_SHOWN + 1, "succeeded": 1}
    assert found["quarantined_last_24_hours"] == 1
    assert [run["run_id"] for run in found["open_runs"]] == [str(working.id)]
    assert [run["run_id"] for run in found["failures"]] == [str(run.id) for run in reversed(failures[1:])]


@pytest.mark.parametrize(
    ("age", "status"),
    [(dt.timedelta(hours=48), "healthy"), (dt.timedelta(hours=48, seconds=1), "degraded")],
)
def test_a_job_is_degraded_two_periods_after_its_last_success(session: Session, age: dt.timedelta, status: str) -> None:
    register(session)
    add_run(session, "succeeded", ended=NOW - age)

    job = job_of(ask(session, {"query": "health"}))

    assert job["status"] == status
    assert (job["hours_since_success"], job["limit_hours"]) == (48.0, 48.0)


def test_failures_plans_and_skips_are_no_sign_of_life(session: Session) -> None:
    register(session)
    add_run(session, "succeeded", ended=NOW - 60 * HOUR)
    for state in ("failed", "planned", "skipped", "missed"):
        add_run(session, state, ended=NOW - HOUR, forced=True)

    found = ask(session, {"query": "health"})

    job = job_of(found)
    assert (job["status"], job["last_success"]) == ("degraded", "2026-03-09T00:00:00Z")
    assert job["reason"] == "no success within 48 h, two periods of its schedule"
    assert (found["status"], found["scheduler"]) == ("ready", "degraded")


def test_a_job_whose_settings_make_no_sense_is_told_and_hides_no_other(session: Session) -> None:
    deployment = Deployment(changes={DAILY: {"schedule": "every night"}})
    for name in registry():
        register(session, name)
        add_run(session, ended=NOW, job=name)
    found = ask(session, {"query": "health"}, deployment)
    assert [job["job"] for job in found["jobs"] if job["status"] == "degraded"] == [DAILY]
    assert "not a cron expression" in job_of(found)["reason"]
    assert "not a cron expression" in ask(session, {"query": "next", "job": DAILY}, deployment)["error"]
    for question in ("jobs", "next", "status"):
        assert ask(session, {"query": question}, deployment).keys() == ask(session, {"query": question}).keys()
    with session.begin():
        assert Control(session, deployment).pause(job=DAILY, by="ann", reason="it is wrong")["paused"]


def test_a_dead_job_is_not_hidden_by_living_ones(session: Session) -> None:
    for name in registry():
        register(session, name)
        if name != DAILY:
            add_run(session, ended=NOW, job=name)

    found = ask(session, {"query": "health"})

    assert found["scheduler"] == "degraded"
    assert [job["job"] for job in found["jobs"] if job["status"] == "degraded"] == [DAILY]


@pytest.mark.parametrize(
    ("registered", "status"),
    [(dt.timedelta(hours=48), "healthy"), (dt.timedelta(hours=48, seconds=1), "degraded")],
)
def test_a_job_that_never_succeeded_has_two_periods_from_its_registration(
    session: Session, registered: dt.timedelta, status: str
) -> None:
    register(session, at=NOW - registered)

    job = job_of(ask(session, {"query": "health"}))

    assert (job["status"], job["last_success"], job["hours_since_success"]) == (status, None, None)


def test_a_job_that_the_ledger_does_not_know_is_degraded(session: Session) -> None:
    assert job_of(ask(session, {"query": "health"}))["status"] == "degraded"


def test_all_healthy_when_every_job_has_just_succeeded(session: Session) -> None:
    for name in registry():
        register(session, name)
        add_run(session, ended=NOW, job=name)

    found = ask(session, {"query": "health"})

    assert (found["status"], found["scheduler"]) == ("ready", "healthy")
    assert {job["status"] for job in found["jobs"]} == {"healthy"}


@pytest.mark.parametrize("how", ["disabled", "paused"])
def test_disabled_and_paused_jobs_are_shown_but_do_not_degrade(session: Session, how: str) -> None:
    for name in registry():
        register(session, name)
        if name != DAILY:
            add_run(session, ended=NOW, job=name)
    if how == "paused":
        pause = update(RegisteredJob).where(RegisteredJob.name == DAILY)
        session.execute(pause.values(paused_at=NOW, paused_by="Ada", pause_reason="audit"))
        session.commit()
    changes = {DAILY: {"enabled": False}} if how == "disabled" else {}

    found = ask(session, {"query": "health"}, Deployment(changes=changes))

    assert job_of(found)["status"] == how
    assert found["scheduler"] == "healthy"


def test_the_limit_follows_the_deployed_schedule(session: Session) -> None:
    register(session)
    add_run(session, "succeeded", ended=NOW - 3 * HOUR)
    hourly = Deployment(changes={DAILY: {"schedule": "cron(0 * * * ? *)"}})

    job = job_of(ask(session, {"query": "health"}, hourly))

    assert (job["status"], job["limit_hours"]) == ("degraded", 2.0)


@pytest.mark.parametrize(
    ("question", "error"),
    [
        (None, "the payload must be"),
        ([], "the payload must be"),
        ({}, "the payload must be"),
        ({"query": "drop"}, "with one of jobs, overview, status, runs, run, next, health"),
        ({"query": ["jobs"]}, "the payload must be"),
        ({"query": "status", "job": DAILY}, "the query status has no key 'job'; it has none"),
        ({"query": "runs", "of": DAILY}, "the query runs has no key 'of'; it has job, limit"),
        ({"query": "runs", "job": "cleanup"}, "no deployed job is named 'cleanup'"),
        ({"query": "next", "job": {}}, "no deployed job is named {}"),
        ({"query": "runs", "limit": 0}, "limit must be a whole number from 1 to 500; got 0"),
        ({"query": "runs", "limit": "9"}, "limit must be a whole number"),
        ({"query": "runs", "limit": True}, "limit must be a whole number"),
        ({"query": "next", "count": 501}, "count must be a whole number from 1 to 500; got 501"),
        ({"query": "run"}, "run_id must be a run's id, or its first 6 characters; got None"),
        ({"query": "run", "run_id": "0123"}, "run_id must be"),
        ({"query": "run", "run_id": "xyzxyz"}, "run_id must be"),
        ({"query": "run", "run_id": "0123abcd"}, "no run has the id 0123abcd"),
    ],
)
def test_a_question_that_cannot_be_meant_is_answered_with_what_is_wrong(
    session: Session, question: Any, error: str
) -> None:
    found = ask(session, question)

    assert list(found) == ["error"]
    assert error in found["error"]


def test_a_query_cannot_write(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    def forget(console: Console) -> dict[str, Any]:
        console.session.execute(delete(RegisteredJob))
        return {}

    monkeypatch.setitem(QUERIES, "jobs", (forget, frozenset()))
    register(session)

    assert "SQLSTATE 25006" in ask(session, {"query": "jobs"})["error"]  # read_only_sql_transaction
    assert session.get(RegisteredJob, DAILY) is not None


def test_without_a_database_health_is_not_ready_and_other_questions_say_why(database: Engine) -> None:
    nowhere = create_engine(database.url.update_query_dict({"unix_sock": "/nonexistent/.s.PGSQL.5432"}))
    with Session(nowhere) as session:
        health, jobs = ask(session, {"query": "health"}), ask(session, {"query": "jobs"})
    nowhere.dispose()

    assert health["status"] == "not_ready"
    assert health["reason"].startswith("the database does not answer")
    assert list(jobs) == ["error"]


def test_before_the_migrations_health_is_not_ready(empty_database: Engine) -> None:
    with Session(empty_database) as session:
        assert ask(session, {"query": "health"})["status"] == "not_ready"


def test_the_function_answers_from_its_environment(database: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(DATABASE_VARIABLE, json.dumps({"url": database.url.render_as_string(hide_password=False)}))
    monkeypatch.setenv(DEPLOYMENT_VARIABLE, Deployment(packs=("market",)).as_json())

    found = handler({"query": "jobs"}, Context(30))

    assert {job["pack"] for job in found["jobs"]} == {"market"}
    assert json.loads(json.dumps(found)) == found


def test_a_login_that_the_server_refuses_is_told_in_words(database: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    url = database.url.set(username="nobody_here", password="wrong")
    monkeypatch.setenv(DATABASE_VARIABLE, json.dumps({"url": url.render_as_string(hide_password=False)}))
    monkeypatch.setenv(DEPLOYMENT_VARIABLE, Deployment(packs=("market",)).as_json())
    why = "the database does not answer: the role nobody_here does not exist there, or may not sign in (SQLSTATE 28000)"

    assert handler({"query": "jobs"}, Context(30)) == {"error": why}
    assert handler({"query": "health"}, Context(30)) == {"status": "not_ready", "reason": why}
    assert control({"command": "pause", "by": "Ada"}, Context(30)) == {"error": why}


def test_answers_stay_below_what_lambda_hands_out_whatever_runs_have_told(session: Session) -> None:
    register(session)
    text = "x\x1b" + 3_000 * "é"
    newest, *_ = [
        add_run(session, "failed", ended=NOW - n * HOUR, reason=text, errors=10 * [text]).id for n in range(60)
    ]
    session.add(Attempt(run_id=newest, epoch=1, started_at=NOW, ending="failed", error=text))
    session.add(QuarantinedItem(run_id=newest, step="delete", item=text, error=text))
    session.commit()

    questions: list[dict[str, Any]] = [{"query": query} for query in ("status", "jobs")]
    questions += [{"query": "runs", "limit": 60}, {"query": "run", "run_id": str(newest)}]
    *_, runs, run = answers = [ask(session, question) for question in questions]

    assert len(json.dumps(runs).encode()) * 500 / 60 < 6 * 2**20
    assert max(len(json.dumps(each).encode()) for each in answers) < 2**20
    texts = [run["run"]["reason"], *run["run"]["errors"], run["run"]["attempts"][0]["error"]]
    assert {len(each.encode()) <= 2_048 and each.startswith("x\\x1béé") for each in texts} == {True}

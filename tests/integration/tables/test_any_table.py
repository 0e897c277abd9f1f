"""Deletion on tables that are not ours: what the plan says goes, and nothing else; the same as one plain statement."""

from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest
from sqlalchemy import text

from nightshift import Count, Delete, Job, Update, days, hours
from nightshift.deadline import Deadline
from nightshift.engine import ways
from nightshift.engine.ways import HeapWalk, KeyWalk, RangeWalk
from tests.faults.deaths import Death, Life, let_the_lease_end
from tests.integration.tables.conftest import Call, Filled, digest

SHARE = {"max_share": 100}


@dataclass(frozen=True)
class Rule:
    """A rule of retention, and what it is in plain SQL."""

    schema: str
    step: Delete
    condition: str
    referenced: int = 0

    @property
    def plain(self) -> str:
        """`cut` stands for the run's now, `local` for the same in UTC without a zone."""
        now = "timestamptz '2026-03-01 02:00Z'"
        condition = self.condition.replace("$cut", now).replace("$local", f"({now} at time zone 'UTC')")
        return f"delete from {self.step.table_name} t where {condition}"

    def __str__(self) -> str:
        return f"{self.schema}-{self.step.name}"


def rule(schema: str, table: str, condition: str, *, referenced: int = 0, **step: Any) -> Rule:
    return Rule(schema, Delete(table, **step), condition, referenced)


COMMON = partial(rule, "common_names")
DJANGO = partial(rule, "django_contrib")
ODD = partial(rule, "odd_types")
PARTS = partial(rule, "partitions")
QUEUES = partial(rule, "queues")

RULES = [
    COMMON("users", "deleted_at < $local - interval '30 days'", older_than=days(30), measured_by="deleted_at"),
    COMMON("organizations", "closed_at < $cut - interval '30 days'", older_than=days(30), measured_by="closed_at"),
    COMMON("audit_logs", "created_at < $local - interval '400 days'", older_than=days(400), measured_by="created_at"),
    COMMON("documents", "created_at < $cut - interval '2 hours'", older_than=hours(2), measured_by="created_at"),
    DJANGO("django_session", "expire_date < $cut - interval '1 day'", older_than=days(1), measured_by="expire_date"),
    DJANGO(
        "django_admin_log",
        "action_time < $cut - interval '400 days'",
        older_than=days(400),
        measured_by="action_time",
    ),
    DJANGO(
        "token_blacklist_outstandingtoken",
        "expires_at < $cut - interval '1 day' and not exists "
        "(select from token_blacklist_blacklistedtoken where token_id = t.id)",
        referenced=9,
        older_than=days(1),
        measured_by="expires_at",
    ),
    DJANGO(
        "auth_user",
        "last_login is null and date_joined < $cut - interval '100 days' "
        "and not exists (select from django_admin_log where user_id = t.id) "
        "and not exists (select from token_blacklist_outstandingtoken where user_id = t.id) "
        "and not exists (select from account_emailaddress where user_id = t.id)",
        referenced=31,
        where="last_login is null",
        older_than=days(100),
        measured_by="date_joined",
    ),
    DJANGO(
        "axes_accessattempt",
        "attempt_time < $cut - interval '30 days'",
        older_than=days(30),
        measured_by="attempt_time",
    ),
    DJANGO(
        "django_celery_results_taskresult",
        "status = 'SUCCESS' and date_done < $cut - interval '7 days'",
        where="status = :status",
        values={"status": "SUCCESS"},
        older_than=days(7),
        measured_by="date_done",
    ),
    ODD("jobs_nullable", "finished_at < $cut - interval '100 h'", older_than=hours(100), measured_by="finished_at"),
    ODD(
        "jobs_nullable",
        "status = 'cancelled'",
        where="status = 'cancelled'",
        measured_by="finished_at",
        name="delete-cancelled",
    ),
    ODD("grants_inf", "expires_at < $cut - interval '1 day'", older_than=days(1), measured_by="expires_at"),
    ODD("by_day", "expires_at < $cut - interval '1 day'", older_than=days(1), measured_by="expires_at"),
    ODD(
        "ci",
        "kind = 'a' and at < $cut - interval '30 days'",
        where="kind = 'a'",
        older_than=days(30),
        measured_by="at",
    ),
    ODD(
        "ci",
        "email = 'bounce-2@example.com' and at < $cut - interval '1 hour'",
        where="email = :email",
        values={"email": "bounce-2@example.com"},
        older_than=hours(1),
        measured_by="at",
        name="delete-bounce",
    ),
    ODD("keyed", "day < ($local - interval '30 days')::date", older_than=days(30), measured_by="day"),
    PARTS("p_builds", "finished_at < $local - interval '365 days'", older_than=days(365), measured_by="finished_at"),
    PARTS("hook_logs", "created_at < $local - interval '35 days'", older_than=days(35), measured_by="created_at"),
    PARTS("q_jobs", "finished_at < $cut - interval '7 days'", older_than=days(7), measured_by="finished_at"),
    PARTS(
        "messages",
        "created_at < $cut - interval '25 days' "
        "and id not in (select parent_id from messages where parent_id is not null)",
        where="id not in (select parent_id from messages where parent_id is not null)",
        older_than=days(25),
        measured_by="created_at",
    ),
    PARTS("log_parent", "logged_at < $cut - interval '90 days'", older_than=days(90), measured_by="logged_at"),
    PARTS("tbl_events", "at < $cut - interval '30 days'", older_than=days(30), measured_by="at"),
    QUEUES("hf.job", "expireat < $local - interval '1 hour'", older_than=hours(1), measured_by="expireat"),
    QUEUES("hf.set", "expireat < $local - interval '1 hour'", older_than=hours(1), measured_by="expireat"),
    QUEUES(
        "boss.job",
        "state = 'completed' and completed_on < $cut - interval '7 days'",
        where="state = :state",
        values={"state": "completed"},
        older_than=days(7),
        measured_by="completed_on",
    ),
    QUEUES("boss.warning", "created_on < $cut - interval '30 days'", older_than=days(30), measured_by="created_on"),
    QUEUES(
        "river_job",
        "state in ('completed', 'cancelled') and finalized_at < $cut - interval '24 hours'",
        where="state in ('completed', 'cancelled')",
        older_than=hours(24),
        measured_by="finalized_at",
    ),
    QUEUES("sq_jobs", "finished_at < $local - interval '24 hours'", older_than=hours(24), measured_by="finished_at"),
    QUEUES(
        "hdb.event_log",
        "delivered and created_at < $local - interval '30 days' "
        "and not exists (select from hdb.event_invocation_logs where event_id = t.id)",
        referenced=351,
        where="delivered",
        older_than=days(30),
        measured_by="created_at",
    ),
    QUEUES(
        "hdb.event_invocation_logs",
        "created_at < $local - interval '30 days'",
        older_than=days(30),
        measured_by="created_at",
    ),
]

STAMPED = "public.deleted_records"
"""A trigger writes it, with the time of the transaction: two runs cannot write the same."""


def job_of(rule: Rule) -> Job:
    return Job(name="forget", kind="retention", schedule="cron(0 2 * * ? *)", steps=(rule.step,), audited=False)


@pytest.mark.parametrize("rule", RULES, ids=str)
def test_the_plan_goes_and_nothing_else_as_in_one_plain_statement(rule: Rule, filled: Filled, call: Call) -> None:
    ours, theirs = filled(rule.schema), filled(rule.schema)
    before = digest(ours)
    plan = call(ours, job_of(rule), dry_run=True)["plan"]["steps"][0]
    assert digest(ours) == before

    result = call(ours, job_of(rule), parameters=SHARE)

    with theirs.begin() as connection:
        plain = connection.execute(text(rule.plain)).rowcount
    after, expected = digest(ours), digest(theirs)
    if STAMPED in after:
        after[STAMPED] = expected[STAMPED] = (after[STAMPED][0] - expected[STAMPED][0], "")
    assert after == expected
    assert result["counters"]["deleted"] == plan["rows"] == plain
    assert plan.get("referenced", 0) == result["counters"].get("referenced", 0) == rule.referenced
    assert plain or rule.referenced
    planned = {each["table"]: each["rows"] for each in plan.get("cascades", ()) if each["action"] == "delete"}
    gone = sum(before[name][0] - after[name][0] for name in before if name != STAMPED)
    assert gone == plan["rows"] + sum(planned.values())
    assert {name: rows for name, rows in planned.items() if rows} == {
        name.removeprefix("cascaded in "): rows
        for name, rows in result["counters"].items()
        if name.startswith("cascaded in ")
    }


@pytest.fixture(params=["heap", "range"])
def small_batches(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every way in small steps."""
    monkeypatch.setattr(ways, "DENSE_SHARE", -1 if request.param == "heap" else 2)
    for limit in ("smallest", "first", "largest"):
        monkeypatch.setattr(HeapWalk, limit, 1)
        monkeypatch.setattr(RangeWalk, limit, 40)
        monkeypatch.setattr(KeyWalk, limit, 25)


CHOSEN = {"users", "organizations", "hook_logs", "messages", "log_parent", "hf.job", "hdb.event_log", "by_day", "keyed"}
INTERRUPTED = [each for each in RULES if each.step.table_name in CHOSEN]


@pytest.mark.parametrize("rule", INTERRUPTED, ids=str)
@pytest.mark.usefixtures("small_batches")
def test_a_run_interrupted_after_every_batch_ends_the_same(
    rule: Rule, filled: Filled, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, theirs = filled(rule.schema), filled(rule.schema)
    with monkeypatch.context() as hurried:
        hurried.setattr(Deadline, "near", True)
        result = call(ours, job_of(rule), parameters=SHARE)
        while result["outcome"] == "interrupted":
            result = call(ours, job_of(rule), run_id=result["run_id"])
    with theirs.begin() as connection:
        plain = connection.execute(text(rule.plain)).rowcount
    assert (result["outcome"], result["counters"]["deleted"]) == ("succeeded", plain)
    assert digest(ours) == digest(theirs)


KILLED = [each for each in INTERRUPTED if each.step.table_name in {"users", "messages", "hf.job", "hdb.event_log"}]


@pytest.mark.parametrize("rule", KILLED, ids=str)
@pytest.mark.usefixtures("small_batches")
def test_a_run_killed_over_and_over_ends_the_same(rule: Rule, filled: Filled, call: Call) -> None:
    """Each attempt gets some statements further than the one before, whose last batch was rolled back."""
    ours, theirs = filled(rule.schema), filled(rule.schema)
    result, statements = None, 0
    while result is None:
        statements += 7
        life = Life(ends_at=statements, kind="dies")
        with suppress(Death), life.lived():
            result = call(ours, job_of(rule), parameters=SHARE, force=False)
        let_the_lease_end(ours)
    with theirs.begin() as connection:
        plain = connection.execute(text(rule.plain)).rowcount
    assert statements > 40
    assert (result["outcome"], result["counters"]["deleted"]) == ("succeeded", plain)
    assert digest(ours) == digest(theirs)


def test_an_update_and_a_count_are_planned_whatever_refers_to_their_table(made: Any, call: Call) -> None:
    engine = made(
        "create table parents (id bigint primary key, old boolean not null, above bigint references parents);"
        "create table children (parent bigint references parents);"
        "insert into parents select i, i < 3 from generate_series(1, 5) i; insert into children values (1)"
    )
    steps = (
        Update("parents", where="old", set={"old": False}, counter="changed", irreversible=True),
        Count("parents", where="not old", counter="counted"),
    )
    job = Job(name="mark", kind="retention", schedule="cron(0 2 * * ? *)", steps=steps, audited=False)

    plan = call(engine, job, dry_run=True)["plan"]["steps"]
    counters = call(engine, job)["counters"]

    assert [(step["rows"], step.get("missing")) for step in plan] == [(2, None), (3, None)]
    assert (counters["changed"], counters["counted"]) == (2, 5)

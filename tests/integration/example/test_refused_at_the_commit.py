"""What the database refuses only at the commit, and what somebody else has locked: of every kind of step one."""

import time
from typing import Any

import pytest
from sqlalchemy import Engine, text

from nightshift.declaration import registry
from tests.integration.conftest import Invoke
from tests.integration.example.test_every_job import NOW, ROWS

pytestmark = pytest.mark.usefixtures("files", "keys", "snapshots", "operators", "deployment")

REFUSE = """
    create function public.refuse() returns trigger language plpgsql as $f$ begin
        if {condition} then raise exception 'no' using errcode = '45000'; end if;
        return case when tg_op = 'DELETE' then old else new end; end $f$;
    create {kind} trigger refuse {when} {events} on {table} {deferred} for each row execute function public.refuse();
"""
OLDEST = (
    "select id from data_requests where request_type = 'DELETION' and status = 'PENDING' order by requested_at limit 1"
)

WHOSE = OLDEST.replace("select id", "select user_id")


def refuse(database: Engine, table: str, events: str, condition: str, *, deferred: bool = True) -> None:
    given = {"table": table, "events": events, "condition": condition}
    kinds = {"kind": "constraint", "when": "after", "deferred": "deferrable initially deferred"}
    with database.begin() as connection:
        plain = {"kind": "", "when": "before", "deferred": ""}
        connection.exec_driver_sql(REFUSE.format(**given, **(kinds if deferred else plain)))


def prepared(database: Engine, *more: str) -> None:
    with database.begin() as connection:
        connection.exec_driver_sql(ROWS.read_text())
        connection.exec_driver_sql("set local session_replication_role = replica")
        for statement in more:
            connection.exec_driver_sql(statement)


def asked(database: Engine, sql: str) -> Any:
    with database.connect() as connection:
        return connection.scalar(text(sql))


STATES = "select jsonb_object_agg(status, n) from (select status, count(*) as n from data_requests group by 1) as s"


def test_a_deferred_foreign_key_keeps_one_person_and_not_the_others(invoke_job: Invoke, database: Engine) -> None:
    prepared(
        database,
        "update audit_logs set legal_hold = false",
        """update data_requests set options = '{"anonymizeContributions": false}'""",
        "create table orders (customer uuid references users deferrable initially deferred)",
        f"insert into orders select user_id from data_requests where id = ({OLDEST})",  # noqa: S608 - a test's own
    )
    counters = invoke_job(registry()["finalize-deletions"].job, at=NOW)["counters"]
    assert (counters["deleted"], counters["errors"]) == (13, 1)
    assert asked(database, STATES) == {"COMPLETED": 13, "PENDING": 3}


@pytest.mark.parametrize("deferred", [False, True])
def test_a_request_whose_own_row_is_refused_stops_no_other(
    invoke_job: Invoke, database: Engine, deferred: bool
) -> None:
    prepared(database)
    refuse(database, "data_requests", "update", f"old.id = '{asked(database, OLDEST)}'", deferred=deferred)
    counters = invoke_job(registry()["finalize-deletions"].job, at=NOW)["counters"]
    assert (counters["requests"], counters["blocked"], counters["errors"]) == (14, 13, 1)
    assert asked(database, STATES) == {"BLOCKED": 13, "PENDING": 3}


CASES: dict[str, tuple[str, str, str, str]] = {
    "subscription-lifecycle": (
        "subscriptions",
        "update",
        "old.status = 'trialing'",
        "",
    ),
    "reminder-generation": (
        "reminder_events",
        "insert",
        "exists (select from users where id = new.user_id and hashtext(email) % 2 = 0)",
        "created",
    ),
    "goal-deadlines": ("nightshift.notifications", "insert", "new.channel = 'in_app'", "goals_next_week"),
    "cleanup-orphaned-files": ("uploads", "delete", "hashtext(old.storage_key) % 2 = 0", "records_deleted"),
    "security-alerts": ("users", "update", "true", "alerts_new"),
}


@pytest.mark.parametrize("name", list(CASES))
def test_an_item_that_is_refused_at_the_commit_costs_no_other(invoke_job: Invoke, database: Engine, name: str) -> None:
    table, events, condition, counter = CASES[name]
    prepared(database)
    refuse(database, table, events, condition)
    result = invoke_job(registry()[name].job, at=NOW)
    assert result["outcome"] == "succeeded"
    assert result["counters"]["quarantined"] > 0
    assert not counter or result["counters"][counter] > 0
    assert "SQLSTATE 45000" in result["errors"][0]


def test_a_day_whose_report_is_refused_costs_no_other_day(invoke_job: Invoke, database: Engine) -> None:
    prepared(database)
    refuse(
        database,
        "nightshift.reports",
        "insert or update",
        "new.kind = 'daily' and extract(dow from new.period_start) = 3",
        deferred=False,
    )
    counters = invoke_job(registry()["weekly-report"].job, at=NOW)["counters"]
    assert (counters["days_recomputed"], counters["quarantined"], counters["written"]) == (6, 1, 1)

    # AND a plan of the next run tells which day that is, and why
    (missing, *_) = invoke_job(registry()["weekly-report"].job, {"dry_run": True}, at=NOW)["plan"]["steps"]
    assert (missing["rows"], missing["sample"]) == (1, ["reports/daily/2026-02-25.json"])
    assert missing["notes"][0].startswith("reports/daily/2026-02-25.json: an earlier run could not store this day: ")
    assert "45000" in missing["notes"][0]


def test_a_person_whose_account_somebody_has_locked_costs_nobody_else_a_notice(
    invoke_job: Invoke, database: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepared(database)
    monkeypatch.setattr("nightshift.database.transaction.LOCK_TIMEOUT_SECONDS", 0.3)
    told = registry()["goal-deadlines"].job
    steps = invoke_job(told, {"dry_run": True}, at=NOW)["plan"]["steps"]
    planned, goal = sum(step["rows"] for step in steps), steps[1]["sample"][0].partition("|")[0]
    with database.begin() as somebody:
        whose = "select id from users where id = (select user_id from goals where id = cast(:goal as uuid)) for update"
        (person,) = somebody.scalars(text(whose), {"goal": goal})
        result = invoke_job(told, at=NOW)
    counters = result["counters"]
    assert (result["outcome"], counters["quarantined"] > 0) == ("succeeded", True)
    assert 0 < counters["in_app"] + counters["emails"] < planned
    assert any(f":{person}: somebody else has the account locked" in error for error in result["errors"])


LOCKS = {
    "subscription-lifecycle": "select 1 from subscriptions where status = 'trialing' for update",
    "audit-log-cleanup": "select 1 from audit_logs where anonymized_at is not null and archive_id is null"
    " and not legal_hold order by occurred_at limit 1 for update",
    "finalize-deletions": f"select 1 from data_requests where id = ({OLDEST}) for update",  # noqa: S608
    "finalize-deletions: the account": f"select 1 from users where id = ({WHOSE}) for update",  # noqa: S608
    "delete-audit-logs": "select 1 from nightshift.audit_archives for update",
    "delete-audit-logs: a row": "select 1 from audit_logs where archive_id ="
    " (select id from nightshift.audit_archives order by month limit 1) for update",
    "reminder-generation": "select 1 from users where id in (select user_id from yearly_snapshots) for update",
}
OLD_ARCHIVES = (
    "update nightshift.audit_archives set month = month - interval '6 years'",
    "update audit_logs set occurred_at = '2026-02-01' where archive_id is not null",
)
"""Archives that are due, with rows that are not."""


@pytest.mark.parametrize("name", list(LOCKS))
def test_a_row_that_somebody_has_locked_is_left_and_told_within_moments(
    invoke_job: Invoke, database: Engine, name: str
) -> None:
    prepared(database, *(OLD_ARCHIVES if name.startswith("delete-audit-logs") else ()))
    with database.begin() as somebody:
        assert somebody.execute(text(LOCKS[name])).all()
        began = time.monotonic()
        result = invoke_job(registry()[name.partition(":")[0]].job, at=NOW)
        took = time.monotonic() - began
    assert (result["outcome"], took < 8) == ("succeeded", True)
    assert asked(database, "select sum(attempts) from data_requests") == 0
    assert result["counters"]["locked"] > 0
    assert result["notes"][0].startswith("locked: ")

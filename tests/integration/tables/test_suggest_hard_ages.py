"""Tables whose age is not what it seems, or that something stands in the way of: what is proposed, or told instead."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine

from cli.checking import check_in
from cli.planning import plan_in
from cli.project import proposed
from cli.project.files import ROOT
from nightshift.catalogue.proposals import Suggested
from tests.integration.tables.test_suggest import NOW, ages, look, only
from tests.job_files import loaded

EVERY_FOURTH = "case when i % 4 = 0 then {never} else {time} end"
TIME = "timestamptz '2026-03-01Z' - i * interval '12 h'"
SECONDS = f"extract(epoch from {TIME})::bigint"
NEVER = {
    "mm_sessions": ("bigint", f"{EVERY_FOURTH.format(never='0', time=f'{SECONDS} * 1000')}"),
    "other_sessions": ("int", f"{EVERY_FOURTH.format(never='-1', time=SECONDS)}"),
    "go_sessions": ("timestamptz", EVERY_FOURTH.format(never="'0001-01-01Z'", time=TIME)),
    "day_sessions": ("date", EVERY_FOURTH.format(never="'1970-01-01'", time=f"({TIME})::date")),
    "endless_sessions": ("timestamp", EVERY_FOURTH.format(never="'-infinity'", time=f"({TIME})::timestamp")),
}
"""By table: the type of its expires_at, and its values: those of every fourth row stand for never."""
RARELY = {
    "api_tokens": ("timestamptz not null default '1970-01-01'", TIME),
    "login_tokens": ("bigint", f"case when i = 1 then 0 else {SECONDS} end"),
}
"""Here the statistics know of none, and the default or the type say that there may be one."""

OTHERS = f"""
    create table hook_task (id int, payload text, is_done bool, finished_at timestamptz not null);
    create table dead_jobs (id int, payload text, failed_at timestamptz not null);
    create table "OutboxMessage" (id int, "Body" text, "EnqueueTime" timestamptz, "SentTime" timestamptz not null,
        "ExpirationTime" timestamptz);
    create table outbox_events (id int, payload text, created_at timestamptz, published_at timestamptz);
    create table action_task (id int, attempt int, stopped bigint not null default 0);
    insert into action_task select i, 1, case when i > 200 then {SECONDS} else 0 end from generate_series(1, 1000) i;
    create table sync_jobs (id int, ended_at timestamptz, done_at timestamptz);
    insert into sync_jobs (id, done_at) select i, {TIME} from generate_series(1, 1000) i;
    create table import_jobs (id int, cancelled_at timestamptz, failed_at timestamptz, finished_at timestamptz);
    create table refresh_tokens (id int primary key, token text, expires_at timestamptz,
        next_id int references refresh_tokens on delete cascade);
    create table api_logs (id int, ts bigint); create table odd_api_logs (id int, ts bigint);
    create table http_logs (id int, created_at text); create table rpc_logs (id int, created_at text);
    insert into http_logs select i, ({TIME})::text from generate_series(1, 100) i;
    create table system_logs (id int, created_at timestamptz);
    create table server_logs (id int, created_at timestamptz);
    create function refuse() returns trigger language plpgsql as 'begin raise exception $$no$$; end';
    create trigger g before delete on system_logs for each statement execute function refuse();
    create trigger s before update on server_logs for each row execute function refuse();
    insert into hook_task (id, finished_at) select i, {TIME} from generate_series(1, 100) i;
    insert into dead_jobs (id, failed_at) select i, {TIME} from generate_series(1, 1000) i;
    insert into "OutboxMessage" select i, 'x', {TIME}, {TIME}, {TIME} from generate_series(1, 100) i;
    insert into outbox_events (id, created_at) select i, {TIME} from generate_series(1, 100) i;
    insert into import_jobs (id, finished_at) select i, {TIME} from generate_series(1, 1000) i;
    insert into refresh_tokens select i, 'x', {TIME} from generate_series(1, 1000) i;
    insert into api_logs select i, {SECONDS} * 1000000000 from generate_series(1, 100) i;
    insert into odd_api_logs select i, i from generate_series(1, 100) i;
    insert into system_logs select i, {TIME} from generate_series(1, 100) i;
    insert into server_logs select i, {TIME} from generate_series(1, 100) i;
"""


def tables(*, named: dict[str, tuple[str, str]]) -> Iterator[str]:
    for table, (kind, values) in named.items():
        yield f"create table {table} (id int primary key, token text, expires_at {kind});"
        yield f"insert into {table} select i, 'x', {values} from generate_series(1, 1000) i;"
        yield f"create index on {table} (expires_at);"


def in_the(database: Engine, script: str) -> None:
    with database.begin() as connection:
        connection.exec_driver_sql(script)
        connection.exec_driver_sql("analyze")


def written(tmp_path: Path, found: Suggested) -> dict[str, Any]:
    """The jobs of the proposals as they were written and loaded again, by table."""
    (tmp_path / "tests/own").mkdir(parents=True)
    proposals = [each.as_json() for each in found.proposals]
    files, left = proposed.write("chores", proposals, tmp_path)
    assert left == []
    jobs = [loaded(file) for file in files if file.suffix == ".py"]
    for arguments in (["check", "--quiet"], ["format", "--check", "--quiet"]):
        ruff = Path(sys.executable).with_name("ruff")
        done = subprocess.run([ruff, *arguments, tmp_path], cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout
    return {each["table"]: job for each, job in zip(proposals, jobs, strict=True)}


def test_what_stands_for_never_is_not_counted_and_not_deleted(made: Any, tmp_path: Path) -> None:
    database = made("".join(tables(named=NEVER | RARELY)))
    in_the(database, "select")

    found = look(database)

    assert ages(found) == dict.fromkeys(NEVER | RARELY, "expires_at")
    jobs = written(tmp_path, found)
    url = database.url.set(drivername="postgresql").render_as_string(hide_password=False)
    for each in found.proposals:
        name = each.facts.name
        never = 250 if name in NEVER else 0
        assert each.but is not None, name
        (step,) = plan_in(url, jobs[name], NOW, {})["plan"]["steps"]
        assert step["rows"] == pytest.approx(each.rows, abs=25), name
        assert step["rows"] == pytest.approx((1000 - never) * (1000 - 14) / 1000, abs=15), name


def test_an_age_is_not_what_it_seems(made: Any, tmp_path: Path) -> None:
    database = made(OTHERS)
    in_the(database, "select")

    found = look(database)

    assert ages(found) == {
        "action_task": "stopped",
        "api_logs": "ts",
        "dead_jobs": "failed_at",
        "import_jobs": "finished_at",
        "outbox_events": "published_at",
        "refresh_tokens": "expires_at",
        "server_logs": "created_at",
        "sync_jobs": "done_at",
    }
    assert only(found, "outbox_events").rows == 0, "nothing was published"
    assert only(found, "import_jobs").rows == pytest.approx(986, abs=10)
    told = {each.table: each for each in found.aside}
    assert {name: each.reason for name, each in told.items()} == {
        "OutboxMessage": "unfinished",
        "hook_task": "unfinished",
        "odd_api_logs": "unit",
        "http_logs": "unit",
        "system_logs": "unworkable",
    }
    assert only(found, "api_logs").unit == "nanoseconds"
    assert "created_at is a text" in told["http_logs"].why
    assert "analyze" not in told["odd_api_logs"].why
    (itself,) = only(found, "refresh_tokens").along
    assert (itself.table, itself.rows) == ("refresh_tokens", None)
    assert itself.missing is not None
    url = database.url.set(drivername="postgresql").render_as_string(hide_password=False)
    jobs = written(tmp_path, found)
    in_the(database, (tmp_path / "tests/own/indexes.sql").read_text())
    told_by_check = check_in(url, jobs.values())["findings"]
    assert [each for each in told_by_check if each["severity"] != "note" and each["object"] != "nightshift"] == []


def test_a_table_that_is_locked_keeps_nobody_from_the_others(empty_database: Engine) -> None:
    logs = ("api_logs", "error_logs", "request_logs")
    for table in logs:
        in_the(
            empty_database,
            f"create table {table} (id int primary key, at timestamptz); insert into {table} values (1, now())",
        )
    in_the(empty_database, "create table error_logs_lines (id int not null references error_logs on delete cascade)")
    with empty_database.begin() as connection:
        connection.exec_driver_sql("lock table error_logs in access exclusive mode")

        found = look(empty_database)
        covered = look(empty_database, {"error_logs"})

    assert set(ages(found)) == set(ages(covered)) == {"api_logs", "request_logs"}
    (left,) = found.aside
    assert (left.table, left.reason) == ("error_logs", "trouble")
    assert "lock" in left.why
    assert covered.aside == ()


MONTHS = "".join(
    f"create table {{table}}_{month} partition of {{table}} for values from ('2025-{month:02}-01Z') "
    f"to ('2025-{month + 1:02}-01Z'); insert into {{table}} values ({month}, '2025-{month:02}-10Z');"
    f"create index on {{table}}_{month} (at);"
    for month in range(1, 5)
)


def test_partitions_by_the_age_go_as_a_whole_where_nothing_notices(made: Any, tmp_path: Path) -> None:
    script = "create table {table} (id int, at timestamptz not null{more}) partition by range (at);" + MONTHS
    database = made(
        script.format(table="page_hits", more="")
        + script.format(table="job_logs", more="")
        + script.format(table="api_logs", more=", primary key (id, at)")
        + "create table api_log_tags (id int, at timestamptz);"
        "alter table api_log_tags add foreign key (id, at) references api_logs on delete cascade;"
        "create function told() returns trigger language plpgsql as 'begin return null; end';"
        "create trigger t after delete on job_logs for each row execute function told();"
    )
    in_the(database, "select")

    found = look(database)

    assert ages(found) == dict.fromkeys(("page_hits", "job_logs", "api_logs"), "at")
    hits = only(found, "page_hits")
    assert hits.missing is None, "every partition has an index of its own"
    assert hits.piecewise is None
    assert only(found, "api_logs").piecewise == "rows of other tables refer to theirs"
    assert "trigger t" in str(only(found, "job_logs").piecewise)
    jobs = written(tmp_path, found)
    url = database.url.set(drivername="postgresql").render_as_string(hide_password=False)
    (step,) = plan_in(url, jobs["page_hits"], NOW, {})["plan"]["steps"]
    assert (step["rows"], len(step["partitions"])) == (4, 4)
    (step,) = plan_in(url, jobs["api_logs"], NOW, {})["plan"]["steps"]
    assert not step.get("partitions")


def test_a_name_may_have_any_sign(made: Any, tmp_path: Path) -> None:
    database = made("select")
    names = ["back\\slash_logs", "it's_logs", 'quo"ted_logs', 'it\'s "both"_logs', "a :colon_logs", 'tri"""ple_logs']
    for name in names:
        quoted = '"' + name.replace('"', '""') + '"'
        in_the(
            database,
            f'create table {quoted} (level text, "logged :at" int);'
            f"insert into {quoted} select 'info', 1740787200 + i from generate_series(1, 9) i",
        )

    jobs = written(tmp_path, look(database))

    assert {job.steps[0].target.strip('"').replace('""', '"') for job in jobs.values()} == set(names)
    url = database.url.set(drivername="postgresql").render_as_string(hide_password=False)
    for job in jobs.values():
        (step,) = plan_in(url, job, NOW, {})["plan"]["steps"]
        assert step["rows"] == 9

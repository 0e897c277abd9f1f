"""What is proposed for databases that nobody here has seen, and what never is."""

import datetime as dt
import subprocess
import sys
from collections.abc import Collection
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, create_engine, text
from sqlalchemy.exc import ProgrammingError
from sqlalchemy.orm import Session
from sqlalchemy.pool import NullPool

from cli.checking import check_in
from cli.planning import plan_in
from cli.project import proposed
from cli.project.files import ROOT
from cli.refusals import RefusedError
from nightshift.catalogue.proposals import Proposal, Suggested, suggest
from nightshift.catalogue.questions import STATISTICS
from nightshift.database.transaction import transaction
from nightshift.declaration import Deployment
from nightshift.operations import answer
from tests.integration.tables.conftest import Filled
from tests.job_files import loaded

NOW = dt.datetime(2026, 3, 1, 2, tzinfo=dt.UTC)

PROPOSED = {
    "common_names": {},
    "django_contrib": {
        "django_session": "expire_date",
        "django_celery_results_taskresult": "date_done",
        "axes_accessattempt": "attempt_time",
    },
    "odd_types": {},
    "partitions": {
        "hook_logs": "created_at",
        "q_jobs": "finished_at",
        "log_parent": "logged_at",
        "tbl_events": "at",
    },
    "queues": {
        "hf.job": "expireat",
        "hf.set": "expireat",
        "boss.job": "completed_on",
        "boss.warning": "created_on",
        "river_job": "finalized_at",
        "sq_jobs": "finished_at",
        "hdb.event_invocation_logs": "created_at",
    },
}
"""By schema: all that is proposed, with the column that tells the age."""

ASIDE = {
    "common_names": {"audit_logs": "legal"},
    "django_contrib": {"django_admin_log": "legal", "token_blacklist_outstandingtoken": "referenced"},
    "odd_types": {"by_day": "expiry", "grants_inf": "expiry"},
    "partitions": {"messages": "partitioned"},
    "queues": {"hdb.event_log": "referenced"},
}


def look(engine: Engine, covered: Collection[str] = (), now: dt.datetime = NOW) -> Suggested:
    with Session(engine) as session, transaction(session, read_only=True):
        return suggest(session, covered, now=now)


def ages(found: Suggested) -> dict[str, str]:
    return {each.facts.fullname: each.column.name for each in found.proposals}


def only(found: Suggested, table: str) -> Proposal:
    (proposal,) = (each for each in found.proposals if each.facts.fullname == table)
    return proposal


@pytest.mark.parametrize("schema", PROPOSED)
def test_what_is_proposed_and_what_is_left_aside(filled: Filled, schema: str) -> None:
    database = filled(schema)

    found = look(database)

    assert ages(found) == PROPOSED[schema]
    assert {each.table: each.reason for each in found.aside} == ASIDE[schema]
    with database.connect() as connection:
        for each in found.proposals:
            old = f'"{each.column.name}" < :cutoff'
            counted = text(f"select count(*), count(*) filter (where {old}) from {each.facts.quoted}")
            rows, going = connection.execute(counted, {"cutoff": NOW - dt.timedelta(days=each.days)}).one()
            assert each.total == rows
            assert each.rows == pytest.approx(going, abs=0.02 * rows), each.facts.fullname


FOUND = {
    "sessions": ("last_activity", "seconds"),
    "Session": ("expires", None),
    "VerificationToken": ("expires", None),
    "password_resets": ("created_at", None),
    "cache": ("expiration", "seconds"),
    "failed_jobs": ("failed_at", None),
    "oauth_access_tokens": ("revoked_at", None),
    "event_entity": ("event_time", "milliseconds"),
    "execution_entity": ("stoppedAt", None),
    "webhook_deliveries": ("created_at", None),
    "EmailLog": ("createdAt", None),
    "notifications": ("created_at", None),
    "outbox_messages": ("processed_at", None),
    "shopping_carts": ("updated_at", None),
}
REASONS = {
    "order_events": "legal",
    "PaymentEvent": "legal",
    "audit_events": "legal",
    "versions": "legal",
    "user_consents": "legal",
    "authtoken_token": "no age",
    "jobs": "unfinished",
    "login_sessions": "takes along",
    "calendar_events": "people",
    "training_sessions": "people",
    "quiz_attempts": "people",
    "jobs_board_jobs": "people",
}


@pytest.fixture
def others(filled: Filled) -> Engine:
    """Tables as well-known applications and frameworks spell them, each with 1,000 rows of 500 days."""
    return filled("spellings")


def test_names_of_every_spelling_are_understood_and_nothing_silly_is_proposed(others: Engine) -> None:
    found = look(others)

    assert {each.facts.name: (each.column.name, each.unit) for each in found.proposals} == FOUND
    assert {each.table: each.reason for each in found.aside} == REASONS
    for each in found.proposals:
        assert each.rows == pytest.approx(1000 - 2 * each.days, abs=20), each.facts.name
    carts = only(found, "shopping_carts")
    (items,) = carts.along
    assert (items.table, items.action, items.rows) == ("cart_items", "delete", carts.rows)
    assert items.missing is not None
    assert items.missing.sql == 'create index concurrently on "public"."cart_items" ("cart_id")'
    with others.connect() as connection:
        size = connection.scalar(text("select pg_total_relation_size('shopping_carts')"))
    assert carts.bytes == pytest.approx(size * carts.rows / 1000, rel=0.01)


def test_what_a_job_deletes_from_already_is_not_proposed_again(others: Engine) -> None:
    covered = {'"Session"', "public.password_resets", "shopping_carts"}

    found = look(others, covered)

    assert set(ages(found)) == set(FOUND) - {"Session", "password_resets", "shopping_carts"}
    assert found.covered == ("Session", "password_resets", "shopping_carts")


def test_a_table_that_was_never_analysed_is_unknown_and_not_empty(empty_database: Engine) -> None:
    with empty_database.begin() as connection:
        connection.exec_driver_sql(
            "create table request_logs (created_at timestamptz) with (autovacuum_enabled = off); "
            "create table error_logs (created_at timestamptz) with (autovacuum_enabled = off); analyze error_logs; "
            "create table empty_logs (created_at timestamptz); "
            "insert into request_logs select timestamptz '2025-01-01Z' from generate_series(1, 100); "
            "insert into error_logs select timestamptz '2025-01-01Z' from generate_series(1, 100)"
        )
    found = look(empty_database)
    assert {each.facts.name: (each.rows, each.total) for each in found.proposals} == dict.fromkeys(
        ("error_logs", "request_logs"), (None, None)
    )

    with empty_database.begin() as connection:
        for each in found.proposals:
            assert each.unknown is not None
            assert each.remedy is not None
            connection.exec_driver_sql(each.remedy)
    assert {(each.rows, each.unknown) for each in look(empty_database).proposals} == {(100, None)}


def test_the_statistics_of_a_table_are_looked_up_and_not_those_of_all_others(empty_database: Engine) -> None:
    asked = f"""explain select from pg_class c join pg_namespace n on n.oid = c.relnamespace cross join {STATISTICS}
                 where c.oid = 'pg_class'::regclass and s.attname = 'relname'"""
    with empty_database.connect() as connection:
        plan = "\n".join(connection.scalars(text(asked)))

    assert "Seq Scan on pg_attribute" not in plan
    assert "relname = c.relname" in plan


def test_only_catalogue_and_statistics_are_read(others: Engine) -> None:
    """A role that may read no table sees all that it needs, but the statistics, and is told the grant for these."""
    reader = f"reader_{others.url.database}"
    engine = create_engine(others.url.set(username=reader), poolclass=NullPool, connect_args={"ssl_context": False})
    with others.begin() as connection:
        connection.exec_driver_sql(f"create role {reader} login")
    with engine.connect() as connection, pytest.raises(ProgrammingError):
        connection.exec_driver_sql("select from webhook_deliveries")

    found = look(engine)
    logs = only(found, "webhook_deliveries")
    assert (logs.rows, logs.total, logs.unknown) == (None, 1000, "this role may not see its statistics")
    assert logs.remedy == f'grant select on "public"."webhook_deliveries" to "{reader}"'

    with others.begin() as connection:
        connection.exec_driver_sql(logs.remedy)
    assert only(look(engine), "webhook_deliveries").rows == only(look(others), "webhook_deliveries").rows


def test_partitions_by_time_are_counted_by_their_bounds(empty_database: Engine) -> None:
    with empty_database.begin() as connection:
        connection.exec_driver_sql(
            "create table page_hits (at timestamptz not null, n int) partition by range (at);"
            + "".join(
                f"create table page_hits_{month} partition of page_hits for values from ('2025-{month:02}-01Z') "
                f"to ('2025-{month + 1:02}-01Z'); insert into page_hits_{month} select timestamptz "
                f"'2025-{month:02}-10Z', 1 from generate_series(1, 100); analyze page_hits_{month} (n);"
                for month in range(1, 12)
            )
        )

    hits = only(look(empty_database, now=dt.datetime(2025, 9, 1, tzinfo=dt.UTC)), "page_hits")

    assert hits.days == 90
    assert hits.total == 1100
    assert hits.rows is None
    assert hits.remedy == 'analyze "public"."page_hits_6"', "only the partition with the cut-off needs statistics"
    with empty_database.begin() as connection:
        connection.exec_driver_sql(hits.remedy)
    hits = only(look(empty_database, now=dt.datetime(2025, 9, 1, tzinfo=dt.UTC)), "page_hits")
    assert (hits.rows, hits.as_json()["partitions"]) == (500, 11)


def test_the_console_answers_without_the_declared_tables(others: Engine) -> None:
    with Session(others) as session:
        found = answer(session, Deployment(), {"query": "suggest"}, now=NOW)

    assert "error" not in found
    assert {each["name"] for each in found["proposals"]} <= set(FOUND)
    assert found["looked_at"] > 40


@pytest.mark.parametrize("schema", ["spellings", "queues"])
def test_the_consoles_own_user_who_reads_no_table_of_the_application_is_told_what_it_takes(
    filled: Filled, schema: str
) -> None:
    # GIVEN the user as whom the console of a deployment connects: of the application's tables it may read none
    database = filled(schema)
    with database.begin() as connection:
        connection.exec_driver_sql("create role night_reader login")
    reader = create_engine(database.url.set(username="night_reader"), poolclass=NullPool)
    mine = [each.as_json() for each in look(database).proposals]

    def asked() -> dict[str, Any]:
        with Session(reader) as session:
            return answer(session, Deployment(), {"query": "suggest"}, now=NOW)

    # WHEN it is asked what could be cleaned up
    found = asked()
    # THEN it knows of no row, and names the rights without which nobody knows more
    assert {each["rows"] for each in found["proposals"]} == {None}
    for reasons in ("unreachable", "unit"), ("unit",):
        remedies = [each["why"].partition(": ")[2] for each in found["aside"] if each["reason"] in reasons]
        remedies += [each["remedy"] for each in found["proposals"]]
        with database.begin() as connection:
            for remedy in filter(None, remedies):
                connection.exec_driver_sql(remedy)
        found = asked()
    # AND with these it answers as anybody does
    assert found["proposals"] == mine
    reader.dispose()
    with database.begin() as connection:
        connection.exec_driver_sql("drop owned by night_reader")
        connection.exec_driver_sql("drop role night_reader")


def test_written_jobs_do_what_was_proposed_and_overwrite_nothing(others: Engine, tmp_path: Path) -> None:
    (tmp_path / "tests/own").mkdir(parents=True)
    proposals = [each.as_json() for each in look(others).proposals]

    written, left = proposed.write("chores", proposals, tmp_path)

    assert left == []
    *files, indexes = written
    jobs = {loaded(file).name: loaded(file) for file in files}
    assert len(jobs) == len(FOUND)
    assert len({job.schedule for job in jobs.values()}) == len(jobs), "they all begin at once"
    with others.begin() as connection:
        connection.exec_driver_sql(indexes.read_text())
        connection.exec_driver_sql("analyze")
    url = others.url.set(drivername="postgresql").render_as_string(hide_password=False)
    for each in proposals:
        (step,) = plan_in(url, jobs[proposed.name_of(each)], NOW, {})["plan"]["steps"]
        assert step["rows"] == pytest.approx(each["rows"], abs=20), each["table"]
        assert "missing" not in step
    told = check_in(url, jobs.values())
    assert [each for each in told["findings"] if each["object"] != "nightshift"] == []

    for arguments in (["check", "--quiet"], ["format", "--check", "--quiet"]):
        ruff = Path(sys.executable).with_name("ruff")
        done = subprocess.run([ruff, *arguments, tmp_path], cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout

    before = {file: file.read_bytes() for file in written}
    again, left = proposed.write("chores", proposals, tmp_path)
    assert len(left) == len(FOUND)
    assert again == []
    assert {file: file.read_bytes() for file in written} == before


def test_a_job_of_a_partitioned_table_says_when_its_first_run_would_stop(empty_database: Engine) -> None:
    with empty_database.begin() as connection:
        connection.exec_driver_sql(
            "create table api_logs (created_at timestamptz); "
            "insert into api_logs select timestamptz '2025-01-01Z' from generate_series(1, 20000); analyze"
        )
    (logs,) = look(empty_database).proposals
    assert (logs.rows, logs.share, logs.over_cap) == (20_000, 1.0, True)
    assert logs.missing is not None
    assert logs.missing.bytes == pytest.approx(20_000 * 24)


def test_names_that_are_alike_as_far_as_they_fit_are_told_apart(empty_database: Engine, tmp_path: Path) -> None:
    names = [f"{'very_' * 9}long_{number}_request_logs" for number in "ab"] + ["größe_日_logs", "2fa_logs"]
    with empty_database.begin() as connection:
        for name in names:
            connection.exec_driver_sql(
                f'create table "{name}" (at timestamptz); insert into "{name}" values (now()); analyze "{name}"'
            )
    (tmp_path / "tests/own").mkdir(parents=True)

    written, left = proposed.write("chores", [each.as_json() for each in look(empty_database).proposals], tmp_path)

    assert left == []
    assert len({loaded(file).name for file in written[:-1]}) == 4


def test_only_a_pack_can_be_written_into(tmp_path: Path) -> None:
    for folder in (tmp_path, Path("functions"), Path("functions/platform"), Path("functions/a/b"), Path("chores")):
        with pytest.raises(RefusedError):
            proposed.pack_of(folder)
    assert proposed.pack_of(Path("functions/chores")) == "chores"

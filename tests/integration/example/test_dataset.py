"""The demonstration's data: the same twice, whole by the database's own rules, and something for every rule to do."""

import datetime as dt
from collections.abc import Iterator

import pytest
from sqlalchemy import Connection, DateTime, Engine, Table, bindparam, exists, func, literal, not_, select, text
from sqlalchemy.dialects.postgresql import aggregate_order_by

from application.models import PaymentRecord, YearlySnapshot
from application.models.base import metadata
from local.example import dataset
from tests.conftest import NewDatabase
from tests.tables import library

NOW = dt.datetime(2026, 11, 18, 14, 40, tzinfo=dt.UTC)  # a Wednesday
USERS = 500
TABLES = [table for table in (*library().sorted_tables, *metadata().sorted_tables) if table.name in dataset.TABLES]

# What each rule of retention takes, in plain SQL: table, its rows that the rule is about, and those of them that go.
RETENTION = {
    "cache-cleanup": ("analytics_cache", "true", "expires_at <= :now or calculated_at < :now - interval '24 hours'"),
    "refresh-token-cleanup": ("auth_tokens", "kind = 'refresh'", "expires_at < :now"),
    "email-verification-cleanup, expired": ("auth_tokens", "kind = 'email_verification'", "expires_at < :now"),
    "email-verification-cleanup, used": ("auth_tokens", "kind = 'email_verification'", "used_at is not null"),
    "password-reset-cleanup, expired": ("auth_tokens", "kind = 'password_reset'", "expires_at < :now"),
    "password-reset-cleanup, used": ("auth_tokens", "kind = 'password_reset'", "used_at is not null"),
    "login-attempt-cleanup": ("login_attempts", "true", "attempted_at < :now - interval '7 days'"),
    "cleanup-invitations": (
        "invitations",
        "kind = 'project' and status = 'pending' and accepted_at is null and declined_at is null",
        "created_at < :now - interval '30 days'",
    ),
    "cleanup-push-tokens": (
        "push_tokens",
        "true",
        "coalesce(last_used_at, created_at) < :now - interval '90 days'",
    ),
    "anonymize-audit-logs": (
        "audit_logs",
        "anonymized_at is null and not legal_hold",
        "occurred_at < :now - interval '1 year'",
    ),
    "delete-audit-logs": ("audit_logs", "not legal_hold", "occurred_at < :now - interval '3 years'"),
    "delete-audit-logs, archives": (
        "nightshift.audit_archives",
        "true",
        "month + interval '1 month' < :now - interval '3 years'",
    ),
    "session-cleanup, expired": ("sessions", "status = 'active'", "expires_at < :now"),
    "session-cleanup, inactive": (
        "sessions",
        "status = 'active' and expires_at >= :now",
        "last_activity_at < :now - interval '30 days'",
    ),
    "session-cleanup, deleted": ("sessions", "status <> 'active'", "terminated_at < :now - interval '90 days'"),
    "token-cleanup, invitations expired": ("invitations", "kind = 'admin' and status = 'pending'", "expires_at < :now"),
    "token-cleanup, invitations deleted": (
        "invitations",
        "kind = 'admin' and status <> 'pending'",
        "created_at < :now - interval '30 days'",
    ),
    "token-cleanup, keys expired": ("api_keys", "is_active", "expires_at < :now"),
    "token-cleanup, keys deleted": (
        "api_keys",
        "not is_active",
        "coalesce(revoked_at, expires_at) < :now - interval '30 days'",
    ),
    "token-cleanup, denied tokens": ("auth_tokens", "kind = 'access_denylist'", "expires_at < :now"),
    "token-cleanup, challenges": ("auth_tokens", "kind = 'mfa_challenge'", "expires_at < :now"),
}
CAPPED_FROM = 10_000 / 20_000 * USERS
"""Above 10,000 candidates a share of half the table stops a run: at 20,000 users, and so for a part of them here."""


@pytest.fixture(scope="module")
def loaded(new_database: NewDatabase, migrated: str) -> Iterator[Engine]:
    """A database with 500 users, for looking only."""
    with new_database(template=migrated) as engine:
        dataset.load(engine, now=NOW, users=USERS)
        yield engine


@pytest.fixture
def looking(loaded: Engine) -> Iterator[Connection]:
    with loaded.connect() as connection:
        yield connection


def digests(engine: Engine) -> dict[str, str | None]:
    """One hash a table over all its rows, whatever their order; the numbers that identity columns give are left out."""
    found = {}
    with engine.connect() as connection:
        for table in TABLES:
            columns = [column for column in table.columns if column.identity is None]
            row = func.md5(func.concat(*(piece for column in columns for piece in (func.to_jsonb(column), ","))))
            rows = func.string_agg(row, aggregate_order_by(literal(""), row))
            found[table.name] = connection.scalar(select(func.md5(func.coalesce(rows, ""))).select_from(table))
    return found


def count(connection: Connection, table: str, condition: str) -> int:
    statement = text(f"select count(*) from {table} where {condition}")  # noqa: S608  only this file's own words
    if ":now" in table + condition:
        statement = statement.bindparams(bindparam("now", NOW, DateTime(timezone=True)))
    return int(connection.execute(statement).scalar_one())


def test_every_table_of_the_application_is_filled() -> None:
    """Of the schema nightshift only what jobs of earlier days left: the ledger is theirs alone."""
    application = {table for table in metadata().sorted_tables if not table.schema and not table.info.get("is_view")}
    assert application <= set(TABLES)
    assert {table.name for table in TABLES} == set(dataset.TABLES)


@pytest.mark.parametrize("table", TABLES, ids=str)
def test_every_table_has_rows(looking: Connection, table: Table) -> None:
    assert looking.scalar(select(exists().select_from(table)))


def test_the_rows_returned_are_the_rows_there_are(new_database: NewDatabase, migrated: str) -> None:
    told: dict[str, int] = {}
    with new_database(template=migrated) as engine:
        rows = dataset.load(engine, now=NOW, users=USERS, progress=told.__setitem__)
        with engine.connect() as connection:
            counted = {table.name: connection.scalar(select(func.count()).select_from(table)) for table in TABLES}
    assert counted == rows == told
    assert tuple(told) == dataset.TABLES


def test_the_same_seed_and_moment_give_the_same_rows_and_another_seed_does_not(
    loaded: Engine, new_database: NewDatabase, migrated: str
) -> None:
    first = digests(loaded)
    with new_database(template=migrated) as engine:
        dataset.load(engine, now=NOW, users=USERS)
        assert digests(engine) == first
    with new_database(template=migrated) as engine:
        dataset.load(engine, now=NOW, users=USERS, seed=8)
        other = digests(engine)
    assert not [name for name in first if first[name] == other[name]]


@pytest.mark.parametrize("table", [table for table in TABLES if table.foreign_keys], ids=str)
def test_every_reference_has_its_target(looking: Connection, table: Table) -> None:
    """Foreign keys are not checked while the data is loaded."""
    for key in table.foreign_keys:
        target = key.column.table.alias()
        missing = key.parent.is_not(None) & not_(exists().where(target.c[key.column.name] == key.parent))
        assert looking.scalar(select(func.count()).select_from(table).where(missing)) == 0, key


@pytest.mark.parametrize("rule", RETENTION)
def test_each_rule_of_retention_takes_some_rows_and_leaves_some(looking: Connection, rule: str) -> None:
    table, scope, going = RETENTION[rule]
    gone = count(looking, table, f"({scope}) and ({going})")
    assert gone > 0
    assert count(looking, table, f"({scope}) and ({going}) is not true") > 0
    # At 20,000 users: a run with more than 10,000 candidates may not take more than half of the table.
    if gone > CAPPED_FROM:
        assert gone <= count(looking, table, "true") / 2


def test_files_have_orphans_old_and_young(looking: Connection) -> None:
    orphan = """not exists (
        select from (select avatar_url as url from users union all select image_url from projects) as used
        where position(replace(storage_key, ' ', '%20') in url) > 0)"""
    old = count(looking, "uploads", f"{orphan} and created_at < :now - interval '30 days'")
    young = count(looking, "uploads", f"{orphan} and created_at >= :now - interval '30 days'")
    assert old
    assert young
    assert old + young < count(looking, "uploads", "true") / 2


def test_nothing_has_happened_yet_that_lies_ahead(looking: Connection) -> None:
    past = {"created_at", "occurred_at", "attempted_at", "issued_at", "started_at", "terminated_at", "used_at"}
    past |= {"last_activity_at", "last_login_at", "completed_at", "requested_at", "sent_at", "checked_at", "minute"}
    for table in TABLES:
        for column in table.columns:
            if column.name in past:
                assert looking.scalar(select(func.count()).select_from(table).where(column > NOW)) == 0, column


def test_working_people_have_timers_that_run_for_too_long(looking: Connection) -> None:
    running = """timer_sessions join users on users.id = user_id
        join pg_timezone_names as zone on zone.name = timezone"""
    hour = "extract(hour from :now at time zone zone.name) between 9 and 17"
    age = "started_at < :now - interval '50 minutes' and started_at >= :now - interval '12 hours'"
    assert count(looking, running, f"status = 'running' and {age} and {hour}") > 0
    assert count(looking, running, "status = 'running' and started_at < :now - interval '12 hours'") > 0


def test_zakat_anniversaries_fall_due_within_thirty_days(looking: Connection) -> None:
    """1 Muharram 1448 was 2026-06-16, and Jumada al-Akhirah began on 2026-11-11."""
    due = count(looking, "yearly_snapshots", "status = 'FINALIZED' and (hijri_year, hijri_month) = (1447, 6)")
    assert due > 0


def test_accounts_are_under_attack_within_the_last_half_hour(looking: Connection) -> None:
    burst = "not success and attempted_at >= :now - interval '30 minutes'"
    for subject in ("ip", "user_id"):
        accounts = f"(select from login_attempts where {burst} group by {subject} having count(*) >= 5) as hits"
        assert count(looking, accounts, "true") > 0


def test_histograms_agree_with_their_counts(looking: Connection) -> None:
    wrong = "cardinality(hist) <> 281 or n <> (select sum(bucket) from unnest(hist) as bucket)"
    assert count(looking, "request_stats", wrong) == 0


def test_addresses_are_made_up(looking: Connection) -> None:
    made_up = "email ~ '@example[.](com|org|net)$' or email ~ '^deleted-[-0-9a-f]{36}@deleted[.]invalid$'"
    assert count(looking, "users", f"not ({made_up})") == 0


def test_amounts_are_sealed_by_the_function_given(new_database: NewDatabase, migrated: str) -> None:
    with new_database(template=migrated) as engine:
        dataset.load(
            engine, now=NOW, users=USERS, encrypt=lambda user, table, row, plain: f"{user}|{table}|{row}|{len(plain)}"
        )
        with engine.connect() as connection:
            for model, column in (
                (YearlySnapshot, YearlySnapshot.zakat_amount_enc),
                (PaymentRecord, PaymentRecord.amount_enc),
            ):
                key = func.concat(model.user_id, f"|{model.__tablename__}|", model.id, "|")
                sealed = func.starts_with(column, key)
                total, readable, others = connection.execute(
                    select(
                        func.count(),
                        func.count().filter(sealed),
                        func.count().filter(~sealed & ~column.startswith("ZK1:")),
                    ).select_from(model)
                ).one()
                assert others == 0
                assert total / 2 < readable < total


def test_without_such_a_function_no_amount_can_be_read(looking: Connection) -> None:
    assert count(looking, "payment_records", "not starts_with(amount_enc, 'ZK1:')") == 0


def test_a_moment_without_a_zone_and_too_few_users_are_refused(database: Engine) -> None:
    with pytest.raises(ValueError, match="time zone"):
        dataset.load(database, now=NOW.replace(tzinfo=None), users=USERS)
    with pytest.raises(ValueError, match="at least"):
        dataset.load(database, now=NOW, users=10)

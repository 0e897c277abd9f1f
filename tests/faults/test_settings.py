"""Whatever PostgreSQL is set to for the database or its role, a job does the same.

The settings come from pg_settings itself, so that one which a new version brings is tried too. All that a session may
have otherwise is tried, but for what only the server's log shows: the other state of a switch, every word of a list,
and both ends of a number.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pytest
from sqlalchemy import Engine, Row, text

from nightshift import Count, Delete, Function, Job, Update, days
from nightshift.database import migrations
from nightshift.declaration import Execution
from nightshift.environment import DATABASE_VARIABLE
from nightshift.errors import RunFailedError
from nightshift.runtime import invoke
from nightshift.steps import Recompute
from tests.conftest import NewDatabase
from tests.integration.conftest import Context
from tests.integration.tables.conftest import digest

AT_ONCE = 24
"""Settings that are tried together. Where something is not as it should be, each of them is tried alone."""

TEXTS: Mapping[str, Sequence[str]] = {
    "DateStyle": ("SQL, DMY", "German", "Postgres, MDY"),
    "TimeZone": ("Asia/Kolkata", "America/St_Johns"),
    "client_encoding": ("LATIN1", "SQL_ASCII"),
    "default_text_search_config": ("pg_catalog.german",),
    "lc_messages": ("C",),
    "lc_monetary": ("C",),
    "lc_numeric": ("C",),
    "lc_time": ("C",),
    "restrict_nonsystem_relation_kind": ("foreign-table",),
    "search_path": ("pg_catalog", "elsewhere, pg_temp"),
    "timezone_abbreviations": ("India",),
}
"""What settings of text are set to."""

WITHOUT_EFFECT = {
    *("application_name", "backtrace_functions", "createrole_self_grant", "default_table_access_method"),
    *("default_tablespace", "dynamic_library_path", "extension_control_path", "local_preload_libraries"),
    *("log_connections", "output_plugin_libraries", "session_preload_libraries", "temp_tablespaces"),
    *("wal_consistency_checking", "role", "session_authorization"),
}
"""Settings of text that name files, or what only new objects have."""

NOT_FOR_A_DATABASE = {"transaction_deferrable", "transaction_isolation", "transaction_read_only"}
SLOW = {"post_auth_delay", "debug_discard_caches", "vacuum_cost_delay", "commit_delay"}
"""What only waits."""
NOTHING_WORKS = {
    "ignore_system_indexes": "a session may not have it set by its database",
    "max_stack_depth": "at its least no statement of some size can be parsed, Nightshift's or the application's",
    "temp_file_limit": "with 0 nothing that does not fit into memory can be sorted",
}

REFUSED = {("track_counts", "off"), ("session_replication_role", "replica")}
"""With these the server would not count what goes, or not follow foreign keys, and only a superuser may change them."""

LONGEST_WAIT = 250
"""Milliseconds: of the waits, zero means none, and one millisecond that not even a transaction can begin."""

SCRIPT = """
    create schema elsewhere;
    create table elsewhere.parents (id int);
    create table parents (id int not null, at timestamptz not null, note text, primary key (id, at))
        partition by range (at);
    create table old_parents partition of parents for values from ('2020-01-01Z') to ('2026-01-01Z');
    create table new_parents partition of parents for values from ('2026-01-01Z') to ('2027-01-01Z');
    create table children (id serial primary key, parent int, at timestamptz,
        foreign key (parent, at) references parents on delete cascade);
    create index on children (parent, at);
    create table things (id int primary key, day date not null, note text, tags text[], items numeric(10, 2));
    create table moves (thing int, items float8);
    create table seen (what text);
    create function nothing() returns trigger language plpgsql as 'begin return old; end';
    create trigger nothing before delete on children for each row execute function nothing();
"""
ROWS = """
    set datestyle to 'ISO, YMD'; set timezone to 'UTC'; set search_path to public;
    set default_transaction_read_only to off;
    set session_replication_role to origin; set extra_float_digits to 1;
    truncate parents, children, things, moves, seen, nightshift.runs restart identity cascade;
    insert into parents select i, timestamptz '2025-12-01Z' + i * interval '1 day', 'n' from generate_series(1, 80) i;
    insert into children (parent, at) select id, at from parents where id <= 40;
    insert into things select i, date '2026-01-01' + i, case when i % 2 = 0 then 'é' end, '{a,null}', 0
        from generate_series(1, 60) i;
    insert into moves select 1 + i % 60, 0.1 * i from generate_series(1, 200) i;
"""
LOOK = """
    select timestamptz '2026-02-03 04:05:06Z', interval '1 mon 2 days 03:04:05', date '2026-02-03', 0.1::float8 + 0.2,
        '\\\\xdeadbeef'::bytea, '{1,null}'::text[], 'é', null = 'x', current_schema(), 1234.5::numeric, true,
        to_jsonb(timestamptz '2026-02-03 04:05:06Z')::text, '04/05/06'::date, '"a"'::jsonb
"""


def look(execution: Execution) -> None:
    with execution.batch() as batch:
        batch.session.execute(text("select pg_sleep(:seconds)"), {"seconds": 1.2 * LONGEST_WAIT / 1000})
        row = batch.session.execute(text(LOOK)).one()
        batch.session.execute(text("insert into seen values (:what)"), {"what": repr(tuple(row))})


SUMS = "select thing as key, sum(items) as value from moves group by 1"
JOB = Job(
    name="everything",
    kind="retention",
    schedule="cron(0 2 * * ? *)",
    audited=False,
    steps=(
        Delete("parents", older_than=days(30), measured_by="at"),
        Update(
            "things", set={"note": "x"}, where="note is null", older_than=days(30), measured_by="day", counter="set"
        ),
        Count("things", where="note = 'é' and 'null' = any(tags) is null", counter="seen"),
        Recompute(
            "things", name="items", column="items", to=SUMS, counter="corrected", failed="lost", seen="looked_at"
        ),
        Function(name="look", apply=look, plan=lambda session, run: [], counters=()),
    ),
)


@dataclass(frozen=True)
class Place:
    engine: Engine

    def execute(self, *statements: str) -> None:
        with self.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            for statement in statements:
                connection.exec_driver_sql(statement)

    def run(self, settings: Sequence[tuple[str, str]]) -> Any:
        """What the job does, and leaves, with these settings of the database."""
        name = self.engine.url.database
        self.execute(f"alter database {name} reset all", ROWS)
        self.execute(*(f"alter database {name} set {key} to '{value}'" for key, value in settings))
        try:
            done = invoke(JOB, {"scheduled_for": "2026-03-01T02:00:00Z", "force": True}, Context(60))
        except RunFailedError as error:
            return str(error), {}, digest(self.engine)
        finally:
            self.execute("set default_transaction_read_only to off", f"alter database {name} reset all")
        return done["outcome"], done["counters"], digest(self.engine)


@pytest.fixture(scope="module")
def place(new_database: NewDatabase) -> Iterator[Place]:
    with new_database() as engine, pytest.MonkeyPatch.context() as patch:
        migrations.upgrade(engine)
        with engine.begin() as connection:
            connection.exec_driver_sql(SCRIPT)
        patch.setenv(DATABASE_VARIABLE, json.dumps({"url": engine.url.render_as_string(hide_password=False)}))
        yield Place(engine)


def settings_of(engine: Engine) -> Iterator[tuple[str, str]]:
    """Every other value that is to be tried, one after the other."""
    known = text(
        "select name, vartype, setting, unit, min_val, max_val, enumvals from pg_settings"
        " where context in ('user', 'superuser') and name !~ '^(log|trace|debug_print)_|^jit_.*(support|bitcode)$'"
        " order by name"
    )
    with engine.connect() as connection:
        rows = connection.execute(known).all()
    for row in rows:
        if row.name not in NOT_FOR_A_DATABASE | SLOW | NOTHING_WORKS.keys():
            yield from ((row.name, value) for value in others(row))


def others(row: Row[Any]) -> Sequence[str]:
    if row.vartype == "bool":
        return ["off" if row.setting == "on" else "on"]
    if row.vartype == "enum":
        return [value for value in row.enumvals if value != row.setting]
    if row.vartype == "string":
        assert row.name in TEXTS or row.name in WITHOUT_EFFECT, f"{row.name} is new: say what it may be set to"
        return TEXTS.get(row.name, ())
    if row.unit == "ms":
        return [str(LONGEST_WAIT)]
    return [value for value in (row.min_val, row.max_val) if value != row.setting]


def test_every_setting_of_the_server_leaves_the_result_as_it_is(place: Place) -> None:
    place.execute(ROWS)
    untouched = digest(place.engine)
    expected = place.run(())
    assert expected[0] == "succeeded", expected[0]
    assert expected[1]["deleted"] == 60
    assert expected[1]["corrected"] == 60
    settings = list(settings_of(place.engine))
    assert len(settings) > 150
    wrong: dict[tuple[str, str], Any] = {}
    groups = [[each] for each in settings if each in REFUSED]
    together = [each for each in settings if each not in REFUSED]
    number = -(-len(together) // AT_ONCE)
    groups += [together[first::number] for first in range(number)]  # so that two values of one are in two groups
    for group in groups:
        if len(group) == 1 or place.run(group) != expected:
            alone = {each: place.run([each]) for each in group}
            wrong |= {each: found for each, found in alone.items() if not fits(each, found, expected, untouched)}
    assert not wrong, "\n".join(f"{name} = {value}: {found}" for (name, value), found in wrong.items())


def fits(setting: tuple[str, str], found: Any, expected: Any, untouched: Any) -> bool:
    if setting not in REFUSED:
        return bool(found == expected)
    return f"the setting {setting[0]} = {setting[1]}" in found[0] and found[2] == untouched

"""What a check finds in the live database, each with the SQL that mends it: run, and the finding is gone."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from sqlalchemy import Engine, create_engine, event
from sqlalchemy.pool import NullPool

from cli.checking import check_in
from nightshift import Count, Detach, Drop, Function, Job, Update
from nightshift.declaration import StepPlan
from nightshift.environment import DATABASE_VARIABLE, ENABLED_VARIABLE, STRAIN_VARIABLE
from nightshift.errors import EventError
from nightshift.runtime import invoke
from nightshift.steps import Backup, Recompute
from tests.integration.conftest import Context
from tests.integration.tables.conftest import Filled, deletion, digest
from tests.integration.tables.test_partitions import BY_MONTH

PARENTS = """
    create table parents (id int primary key, at timestamptz not null, state text, made text, n int);
    create index on parents (at);
    insert into parents select i, timestamptz '2025-12-01Z' + i * interval '1 min', 'new', 'x', i
      from generate_series(1, 300) i;
    analyze parents;
"""
CHILDREN = """
    create table children (id int primary key, parent_id int references parents on delete cascade);
    insert into children select i, i from generate_series(1, 300) i; analyze children;
"""
RIGHTS = "grant select, delete, update on all tables in schema public to $role;"
OF_ANOTHER_OWNER = "create role owner_of_$role; alter table events owner to owner_of_$role;"

Finding = dict[str, Any]


@dataclass
class Look:
    """What a job's own function finds, as a role with the rights of a script."""

    made: Callable[[str], Engine]
    patch: pytest.MonkeyPatch
    database: Engine = field(init=False)

    def __call__(self, script: str, job: Job, rights: str = RIGHTS) -> list[Finding]:
        self.database = self.made(script)
        role = self._role
        with self.database.begin() as connection:
            connection.exec_driver_sql(
                f"create role {role} login; grant usage on schema nightshift to {role};"
                f"grant all on all tables in schema nightshift to {role};"
                f"grant usage on all sequences in schema nightshift to {role};" + rights.replace("$role", role)
            )
        return self.again(job)

    def again(self, job: Job) -> list[Finding]:
        url = self.database.url.set(username=self._role).render_as_string(hide_password=False)
        self.patch.setenv(DATABASE_VARIABLE, json.dumps({"url": url}))
        answer = invoke(job, {"check": True}, Context(60))
        assert answer["job"] == job.name
        return list(answer["findings"])

    @property
    def _role(self) -> str:
        return f"checker_{self.database.url.database}"


@pytest.fixture
def look(made: Any, monkeypatch: pytest.MonkeyPatch) -> Look:
    return Look(made, monkeypatch)


def mend(database: Engine, sql: str) -> None:
    """As somebody pastes it: each statement by itself, by the owner of the tables."""
    engine = create_engine(
        database.url, isolation_level="AUTOCOMMIT", poolclass=NullPool, connect_args={"ssl_context": False}
    )
    with engine.connect() as connection:
        for statement in sql.split("; "):
            connection.exec_driver_sql(statement)


def test_a_job_with_all_it_needs_has_nothing_to_tell(look: Look) -> None:
    assert look(PARENTS + CHILDREN + "create index on children (parent_id)", deletion()) == []


MANY = "update pg_class set reltuples = 200000 where relname = '{}'"

CASES: dict[str, tuple[str, Job, str, tuple[str, str, str], bool]] = {
    # script, job, rights; severity, object and words of the finding; whether its SQL mends it
    "a right": (
        PARENTS,
        deletion(),
        "grant select on parents to $role",
        ("error", "parents", "this role may not delete in parents"),
        True,
    ),
    "the schema's usage": (
        PARENTS + "create schema shop; alter table parents set schema shop",
        deletion("shop.parents"),
        "grant select, delete on shop.parents to $role",
        ("error", "shop.parents", "may not use its schema"),
        True,
    ),
    "a right on what goes along": (
        PARENTS + CHILDREN + "create index on children (parent_id)",
        deletion(),
        "grant select, delete on parents to $role",
        ("error", "children", "this role may not select in children; it refers to parents"),
        True,
    ),
    "a right on what the condition reads": (
        PARENTS + "create table held (id int)",
        deletion(where="not exists (select from held where held.id = parents.id)"),
        "grant select, delete on parents to $role",
        ("error", "parents", "this role may not"),
        True,
    ),
    "a right to update": (
        PARENTS,
        Job(
            name="forget",
            kind="retention",
            schedule="cron(0 2 * * ? *)",
            steps=(Update("parents", where="state = 'new'", set={"state": "old"}, counter="done"),),
        ),
        "grant select on parents to $role",
        ("error", "parents", "this role may not update in parents"),
        True,
    ),
    "a right of a Function step": (
        PARENTS,
        Job(
            name="forget",
            kind="retention",
            schedule="cron(0 2 * * ? *)",
            steps=(
                Function(
                    name="ask",
                    apply=lambda _: None,
                    plan=lambda session, run: [StepPlan("ask", "parents", "delete", 0)],
                    counters=("asked",),
                    tables=("parents",),
                    destructive=True,
                ),
            ),
        ),
        "grant select on parents to $role",
        ("error", "parents", "may not delete or update in it"),
        True,
    ),
    "row security": (
        PARENTS + "alter table parents enable row level security",
        deletion(),
        RIGHTS,
        ("error", "parents", "row security on parents hides rows from this role: give the role BYPASSRLS, or say"),
        True,
    ),
    "a rule": (
        PARENTS + "create rule soft as on delete to parents do instead update parents set n = 0 where id = old.id",
        deletion(),
        RIGHTS,
        ("error", "parents", "the rule soft on parents turns a delete into something else: ask whoever looks after"),
        False,
    ),
    "a trigger that keeps every row": (
        PARENTS + "create function keep() returns trigger language plpgsql as $$ begin -- return old\n"
        "update parents set n = 0 where id = old.id; return null; end $$;"
        "create trigger keep before delete on parents for each row execute function keep()",
        deletion(),
        RIGHTS,
        ("error", "parents", "the trigger keep keeps every row (its function keep returns null)"),
        False,
    ),
    "a trigger that deletes elsewhere": (
        PARENTS + "create table others (id int); create function also() returns trigger language plpgsql as "
        "$$ begin delete from others where id = old.id; return old; end $$;"
        "create trigger also after delete on parents for each row execute function also()",
        deletion(),
        RIGHTS,
        ("warning", "parents", "the trigger also deletes from other tables"),
        False,
    ),
    "a cascade without an index": (
        PARENTS + CHILDREN,
        deletion(),
        RIGHTS,
        ("warning", "children", "no index finds the rows that refer to parents by parent_id: it is read whole"),
        True,
    ),
    "a large cascade without an index": (
        PARENTS + CHILDREN + MANY.format("children"),
        deletion(),
        RIGHTS,
        ("error", "children", "about 200,000 rows, and a run is refused (unindexed_rows is 100,000)"),
        True,
    ),
    "a partitioned cascade without an index": (
        PARENTS + "create table children (id int, parent_id int references parents on delete cascade)"
        " partition by range (id); create table c1 partition of children for values from (0) to (100);"
        "create table c2 partition of children for values from (100) to (900);"
        "insert into children select i, i from generate_series(1, 300) i; analyze children",
        deletion(),
        RIGHTS,
        ("warning", "children", "no index finds the rows that refer to parents by parent_id"),
        True,
    ),
    "an age that is not there": (
        PARENTS,
        deletion(measured_by="made_at"),
        RIGHTS,
        ("error", "parents", "has no column made_at"),
        False,
    ),
    "an age of text": (
        PARENTS,
        deletion(measured_by="made"),
        RIGHTS,
        ("error", "parents", "the column made is of type text, which has no time in it"),
        False,
    ),
    "an age that is a number": (
        PARENTS,
        deletion(measured_by="n"),
        RIGHTS,
        ("error", "parents", 'the column n is a number: say what it counts: measured_in="seconds"'),
        False,
    ),
    "a condition that is no SQL": (
        PARENTS,
        deletion(where="stat = 'new'"),
        RIGHTS,
        ("error", "parents", "stat"),
        False,
    ),
    "a view": (
        PARENTS + "create view seen as select * from parents",
        deletion("seen"),
        RIGHTS,
        ("error", "seen", "seen is a view: name the table that holds the rows"),
        False,
    ),
    "no table": (PARENTS, deletion("parent"), RIGHTS, ("error", "parent", "has no table parent"), False),
    "rows that are kept": (
        PARENTS + CHILDREN.replace(" on delete cascade", "") + "create index on children (parent_id)",
        deletion(),
        RIGHTS,
        ("note", "parents", "rows stay as long as children refers to them"),
        False,
    ),
    "a table that was never analysed": (
        PARENTS.replace("analyze parents;", ""),
        deletion(),
        RIGHTS,
        ("note", "parents", "it was never analysed"),
        True,
    ),
    "the ledger": (
        PARENTS,
        deletion(),
        RIGHTS + "revoke delete on nightshift.runs from $role",
        ("error", "nightshift", "may not read and write all of the ledger: it lacks rights on runs"),
        True,
    ),
    "a table that a backup lacks": (
        PARENTS,
        Job(
            name="save",
            kind="retention",
            schedule="cron(0 2 * * ? *)",
            needs=frozenset({"files", "snapshots"}),
            steps=Backup.parts(),
        ),
        "",
        ("warning", "parents", "it is not in the backup"),
        True,
    ),
    "an owner who may not delete by cascade": (
        PARENTS + CHILDREN + "create index on children (parent_id); create role keeper;"
        "grant all on children to keeper; alter table children owner to keeper; revoke delete on children from keeper",
        deletion(),
        RIGHTS,
        ("error", "children", "its rows go by cascade, which PostgreSQL does as the owner keeper"),
        True,
    ),
    "a trigger on what goes along": (
        PARENTS + CHILDREN + "create index on children (parent_id);"
        "create function keep() returns trigger language plpgsql as $$ begin return null; end $$;"
        "create trigger keep before delete on children for each row execute function keep()",
        deletion(),
        RIGHTS,
        ("error", "children", "the trigger keep keeps every row"),
        False,
    ),
    "a partition that goes as a whole, of another owner": (
        BY_MONTH,
        deletion("events", partitions=Drop()),
        RIGHTS + OF_ANOTHER_OWNER,
        ("error", "events", "only its owner may take a partition of events away"),
        True,
    ),
    "a partition that goes as a whole, of an administrator": (
        BY_MONTH,
        deletion("events", partitions=Drop()),
        RIGHTS,
        ("error", "events", "so nobody should be granted it: make a role that owns the table and its partitions"),
        False,
    ),
    "a schema that detached partitions are kept in": (
        BY_MONTH,
        deletion("events", partitions=Detach(to_schema="kept")),
        RIGHTS + "do $do$ begin execute format('grant %I to $role', current_user); end $do$;",
        ("error", "events", "there is no schema kept to keep detached partitions in"),
        True,
    ),
    "a partition of another owner": (
        BY_MONTH,
        deletion("events", partitions=Drop()),
        RIGHTS + "alter table events owner to $role",
        ("warning", "events", "the partition public.events_2025_11 and 4 more would not go as a whole: this role does"),
        True,
    ),
    "a figure that is no number": (
        PARENTS,
        Job(
            name="forget",
            kind="recalculation",
            schedule="cron(0 2 * * ? *)",
            steps=(Recompute("parents", name="count", column="made", to="select id, 1 as value from parents"),),
        ),
        RIGHTS,
        ("error", "parents", "parents.made is text: a figure is an integer or a numeric"),
        False,
    ),
    "a plan that fails": (
        PARENTS,
        Job(
            name="forget",
            kind="report",
            schedule="cron(0 2 * * ? *)",
            steps=(Function(name="ask", apply=lambda _: None, plan=lambda session, run: run.nothing, counters=()),),  # type: ignore[attr-defined]
        ),
        RIGHTS,
        ("error", "ask", "its plan fails: AttributeError"),
        False,
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_it_is_found_and_its_sql_mends_it(look: Look, case: str) -> None:
    script, job, rights, (severity, about, words), mends = CASES[case]

    found = look(script, job, rights)

    (told,) = (each for each in found if each["severity"] == severity and words in each["what"])
    assert (told["object"], told["sql"] is not None) == (about, mends), told
    if told["sql"]:
        mend(look.database, told["sql"])
        assert told not in look.again(job)
        assert [each for each in look.again(job) if words in each["what"]] == []


def test_an_age_that_no_index_finds(look: Look) -> None:
    bare = PARENTS.replace("create index on parents (at);", "")
    (told,) = look(bare, deletion())
    assert (told["severity"], told["sql"]) == ("note", 'create index concurrently on "public"."parents" ("at")')

    mend(look.database, MANY.format("parents").replace("200000", "2000000"))
    (told,) = look.again(deletion())
    assert (told["severity"], "about 2,000,000 rows" in told["what"]) == ("warning", True)

    mend(look.database, told["sql"])
    assert look.again(deletion()) == []


def test_an_index_whose_build_was_broken_off(look: Look) -> None:
    broken = PARENTS + "update pg_index set indisvalid = false where indexrelid = 'parents_at_idx'::regclass"
    (told,) = look(broken, deletion())

    assert (told["severity"], told["sql"]) == ("warning", "reindex index concurrently public.parents_at_idx")
    mend(look.database, told["sql"])
    assert look.again(deletion()) == []


@pytest.mark.parametrize("table", ["v_events", "ruled", "soft_trg"])
def test_what_a_run_refuses_a_check_says_before(filled: Filled, table: str) -> None:
    database = filled("partitions")
    before = digest(database)

    told = check_in(url_of(database), [deletion(table)])

    assert told["totals"]["error"] == 1
    assert [(each["job"], each["object"]) for each in told["findings"] if each["severity"] == "error"] == [
        ("forget", table)
    ]
    assert digest(database) == before


def test_a_database_without_the_ledger_is_told_once(empty_database: Engine) -> None:
    with empty_database.begin() as connection:
        connection.exec_driver_sql(PARENTS)
    counting = Job(
        name="count",
        kind="check",
        schedule="cron(0 2 * * ? *)",
        steps=(Count("nightshift.runs", where="true", counter="runs"),),
    )

    told = check_in(url_of(empty_database), [deletion(), counting], {"broken": "it cannot be imported"})

    assert [(each["severity"], each["job"], each["object"], each["what"][:22]) for each in told["findings"]] == [
        ("error", "broken", "broken", "it cannot be imported"),
        ("note", "every job", "nightshift", "the ledger's schema is"),
    ]
    assert told["jobs"] == ["broken", "count", "forget"]


def test_a_check_takes_few_statements_and_writes_nothing(look: Look, made: Any) -> None:
    counted: list[str] = []

    def note(_: Any, __: Any, statement: str, *more: Any) -> None:
        if not statement.startswith(("SAVEPOINT", "RELEASE", "ROLLBACK")):
            counted.append(statement)

    event.listen(Engine, "before_cursor_execute", note)
    try:
        look(PARENTS, deletion())
        counted.clear()
        look.again(deletion())
    finally:
        event.remove(Engine, "before_cursor_execute", note)

    assert len(counted) <= 10, counted
    assert "read only" in counted[0]


def test_a_disabled_job_is_checked_and_other_keys_are_refused(look: Look, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ENABLED_VARIABLE, "false")
    assert look(PARENTS, deletion()) == []
    with pytest.raises(EventError, match="a check has no other key"):
        invoke(deletion(), {"check": True, "dry_run": True}, Context(60))


def url_of(engine: Engine) -> str:
    return engine.url.set(drivername="postgresql").render_as_string(hide_password=False)


def test_the_gate_of_the_settings_is_asked_and_its_answer_told(look: Look, monkeypatch: pytest.MonkeyPatch) -> None:
    # GIVEN a gate that reads a table which the functions' role may not read
    look(PARENTS + "create table sales (title text)", deletion(), RIGHTS + "revoke select on sales from $role")
    asked = "select (select 'a sale: ' || title from sales where title like '%sale%' limit 1)"

    def told(gate: str | None, job: Job | None = None) -> list[Any]:
        monkeypatch.setenv(STRAIN_VARIABLE, json.dumps({} if gate is None else {"gate": gate}))
        return [(each["severity"], each["object"], each["what"]) for each in look.again(job or deletion())]

    # THEN the right that it lacks is told, and with it what the gate says
    monkeypatch.setenv(STRAIN_VARIABLE, json.dumps({"gate": asked}))
    (lacking,) = look.again(deletion())
    assert (lacking["severity"], lacking["object"]) == ("warning", "strain.gate")
    mend(look.database, lacking["sql"])
    assert told(asked) == [("note", "strain.gate", "the gate of the settings is open now")]
    mend(look.database, "insert into sales values ('summer sale')")
    assert told(asked) == [("note", "strain.gate", "the gate of the settings holds runs now: a sale: summer sale")]
    # AND what can never be an answer is told, and changes nothing
    for gate, words in {
        "select no_such()": "no_such",
        "select true, true": "more than one value",
        "select true); delete from parents; select (true": "42601",
        "with gone as (delete from parents returning 1) select true from gone": "0A000",
        "select pg_sleep(3) is null": "statement",
    }.items():
        ((severity, _, said),) = told(gate)
        assert severity == "warning", gate
        assert words in said
    # AND without one, or for a job that never asks it, there is nothing to tell
    assert told(None) == []
    assert told("select false", replace(deletion(), kind="check")) == []

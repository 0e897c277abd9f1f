"""What cannot be done rightly is refused in words and changes nothing; what is in the way is left, and told."""

import threading
from typing import Any

import pytest
from sqlalchemy import Engine, create_engine, text
from sqlalchemy.pool import NullPool

from nightshift import Delete, Job, Update, days
from nightshift.engine import sweeping
from nightshift.engine.sweeping import _Sweeping
from nightshift.errors import RunFailedError
from tests.integration.tables.conftest import Call, Filled, deletion, digest, rows

ORDINARY = """
    create table things (id int primary key, at timestamptz not null, state text); create index on things (at);
    insert into things select i, timestamptz '2025-12-01Z', 'new' from generate_series(1, 300) i;
"""


@pytest.mark.parametrize(
    ("table", "says"),
    [
        ("v_events", "v_events is a view: name the table that holds the rows"),
        ("ruled", "the rule ruled_soft on ruled turns a delete into something else"),
        ("soft_trg", "the trigger soft_del on soft_trg updates rows in place of deleting them"),
        ("tbl_event", "has no table tbl_event"),
        ("elsewhere.things", "has no table elsewhere.things"),
    ],
)
def test_what_is_no_plain_table_is_refused(filled: Filled, call: Call, table: str, says: str) -> None:
    database = filled("partitions")
    before = digest(database)

    with pytest.raises(RunFailedError, match=says):
        call(database, deletion(table))

    assert digest(database) == before


@pytest.mark.parametrize("identity", ["nothing", "full"])
@pytest.mark.parametrize("published", ["for all tables", "for table things"])
def test_a_table_whose_rows_a_publication_cannot_tell_apart_is_refused(
    made: Any, call: Call, published: str, identity: str
) -> None:
    database = made(
        f"""
        create table things (id int, at timestamptz not null) partition by range (at);
        create table "Old things" partition of things for values from (minvalue) to ('2026-01-01Z');
        create table things_new partition of things for values from ('2026-01-01Z') to (maxvalue);
        alter table "Old things" replica identity {identity}; alter table things_new replica identity full;
        insert into things select i, timestamptz '2025-12-01Z' from generate_series(1, 30) i;
        create publication news {published};
        """
    )
    if identity == "full":
        call(database, deletion("things"))
        assert rows(database, "things") == 0
        return
    for dry_run in (True, False):
        with pytest.raises(RunFailedError, match=r'alter table public."Old things" replica identity full, or give it'):
            call(database, deletion("things"), dry_run=dry_run)
    assert rows(database, "things") == 30


def test_a_column_that_is_not_there_is_named_with_the_nearest(made: Any, call: Call) -> None:
    with pytest.raises(RunFailedError, match=r"things has no column att: did you mean at\?"):
        call(made(ORDINARY), deletion("things", measured_by="att"))


def test_a_table_that_is_not_there_is_named_with_the_nearest(made: Any, call: Call) -> None:
    with pytest.raises(RunFailedError, match=r"no table thing, or .*: did you mean public\.things\?"):
        call(made(ORDINARY), deletion("thing"))


@pytest.mark.parametrize(
    ("where", "says"),
    [
        pytest.param(lambda run: None, "where must be a condition", id="no return"),
        pytest.param(lambda run: True, "where must be a condition", id="true"),
        pytest.param(lambda run: "state = 'old'", "where must be a condition", id="text"),
        pytest.param("true) or (true", "where is no condition in SQL", id="parentheses"),
        pytest.param(text("true) or (true"), "where is no condition in SQL", id="parentheses of a text"),
        pytest.param("state =", "where is no condition in SQL", id="half"),
    ],
)
def test_a_condition_that_is_none_deletes_nothing(made: Any, call: Call, where: Any, says: str) -> None:
    database = made(ORDINARY)
    for dry_run in (True, False):
        with pytest.raises(RunFailedError, match=says):
            call(database, deletion("things", where=where), dry_run=dry_run)
    assert rows(database, "things") == 300


def test_a_condition_may_end_in_a_comment(made: Any, call: Call) -> None:
    database = made(ORDINARY)
    call(database, deletion("things", where="id <= 100 -- the first"))
    assert rows(database, "things") == 200


def as_role(database: Engine, script: str) -> Engine:
    """The same database, as a role that may use the ledger and what the script grants it."""
    role = f"worker_{database.url.database}"
    with database.begin() as connection:
        connection.exec_driver_sql(
            f"create role {role} login; grant usage on schema nightshift to {role};"
            f"grant all on all tables in schema nightshift to {role};"
            f"grant usage on all sequences in schema nightshift to {role};" + script.replace("$role", role)
        )
    return create_engine(database.url.set(username=role), poolclass=NullPool, connect_args={"ssl_context": False})


def test_a_missing_right_is_named_with_its_grant(made: Any, call: Call) -> None:
    worker = as_role(made(ORDINARY), "grant select on things to $role")
    with pytest.raises(RunFailedError, match=r'this role may not delete in things: grant delete on "public"."things"'):
        call(worker, deletion("things"))


POLICY = """
    alter table things enable row level security;
    create policy even on things to $role using (id % 2 = 0);
    grant select, delete on things to $role;
"""


def test_row_security_that_hides_rows_is_refused_unless_they_are_not_meant(made: Any, call: Call) -> None:
    database = made(ORDINARY)
    worker = as_role(database, POLICY)

    with pytest.raises(RunFailedError, match="row security on things hides rows from this role"):
        call(worker, deletion("things"))
    assert rows(database, "things") == 300

    assert call(worker, deletion("things", visible_rows=True))["counters"]["deleted"] == 150
    assert rows(database, "things where id % 2 = 1") == 150


def test_a_partitioned_tables_own_grants_policies_and_triggers_hold(made: Any, call: Call) -> None:
    database = made(
        """
        create table things (id int, at timestamptz not null, primary key (id, at)) partition by range (at);
        create table things_old partition of things for values from (minvalue) to ('2026-01-01Z');
        create table things_new partition of things for values from ('2026-01-01Z') to (maxvalue);
        insert into things select i, timestamptz '2025-12-01Z' + i * interval '1 day' from generate_series(1, 90) i;
        create table fired (n int);
        create function note() returns trigger language plpgsql security definer as $$ begin
            insert into fired select count(*) from gone; return null; end $$;
        create trigger note after delete on things referencing old table as gone for each statement
            execute function note();
        """
    )
    worker = as_role(database, "grant select, delete on things to $role")

    assert call(worker, deletion("things"))["counters"]["deleted"] == 60

    with database.connect() as connection:
        assert connection.scalar(text("select sum(n) from fired")) == 60


def test_locked_rows_are_left_and_counted_and_the_others_go(made: Any, call: Call) -> None:
    database = made(ORDINARY)
    with database.connect() as other:
        other.execute(text("select * from things where id in (7, 8, 9) for update"))
        result = call(database, deletion("things"))
        other.rollback()

    assert (result["outcome"], result["counters"]["deleted"], result["counters"]["locked"]) == ("succeeded", 297, 3)


def test_only_the_first_of_many_locked_rows_costs_the_whole_wait(
    made: Any, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweeping, "LOCK_SECONDS", 1.0)
    database = made(
        "create table things (id int primary key, at timestamptz not null, note char(900));"
        "insert into things select i, timestamptz '2025-12-01Z', '' from generate_series(1, 400) i"
    )
    with database.connect() as other:
        other.execute(text("select * from things where id % 90 = 0 for update"))
        result = call(database, deletion("things"), seconds=12)
        other.rollback()

    assert (result["outcome"], result["counters"]["deleted"], result["counters"]["locked"]) == ("succeeded", 396, 4)


@pytest.mark.parametrize("when", ["in the middle", "at the end"])
def test_a_lock_that_is_let_go_in_time_costs_no_row(
    made: Any, call: Call, when: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = made(ORDINARY)
    other = database.connect()
    other.execute(text("select * from things where id in (7, 8, 9) for update"))
    timer = threading.Timer(1.2, other.rollback)
    if when == "in the middle":
        timer.start()
    again = _Sweeping._try_the_locked_again

    def at_the_end(self: _Sweeping) -> None:
        other.rollback()
        again(self)

    monkeypatch.setattr(_Sweeping, "_try_the_locked_again", at_the_end)
    result = call(database, deletion("things"))
    timer.cancel()
    other.close()

    assert (result["counters"]["deleted"], result["counters"].get("locked", 0)) == (300, 0)


@pytest.mark.parametrize(
    ("columns", "values"),
    [
        ("id int", "i"),
        ("email text not null unique", "i || '@example.com'"),
        ("email text primary key", "i || '@example.com'"),
        ("emails text[] primary key", "array[i || '@example.com']"),
        ("person jsonb primary key", "jsonb_build_object('mail', i || '@example.com')"),
        ("address inet primary key", "'10.0.0.0'::inet + i"),
        ('"ORDER" int, "select" int, primary key ("ORDER", "select")', "i, i"),
    ],
    ids=["no key", "unique", "natural", "array", "json", "address", "reserved words"],
)
def test_any_key_or_none_will_do_and_none_is_shown_that_may_be_personal(
    made: Any, call: Call, columns: str, values: str
) -> None:
    database = made(
        f"create table things ({columns}, at timestamptz not null);"
        f"insert into things select {values}, timestamptz '2025-12-01Z' from generate_series(1, 30) i;"
        "create function refuse() returns trigger language plpgsql as $$ begin"
        " if old.ctid = '(0,5)' then raise 'not this one'; end if; return old; end $$;"
        "create trigger refuse before delete on things for each row execute function refuse();"
    )

    plan = call(database, deletion("things"), dry_run=True)["plan"]["steps"][0]
    result = call(database, deletion("things"))

    assert (result["counters"]["deleted"], result["counters"]["quarantined"]) == (29, 1)
    with database.connect() as connection:
        told = connection.scalar(text("select item || error from nightshift.quarantine"))
    assert "@" not in f"{plan}{told}"
    assert "10.0.0." not in f"{plan}{told}"


def test_an_update_may_move_rows_between_partitions(made: Any, call: Call) -> None:
    database = made(
        """
        create table things (id int, state text not null, at timestamptz not null, primary key (id, state))
            partition by list (state);
        create table things_live partition of things for values in ('live');
        create table things_kept partition of things for values in ('kept');
        insert into things select i, 'live', timestamptz '2025-12-01Z' from generate_series(1, 300) i;
        """
    )
    step = Update(
        "things", where="state = 'live'", older_than=days(30), measured_by="at", set={"state": "kept"}, counter="moved"
    )
    job = Job(name="keep", kind="retention", schedule="cron(0 2 * * ? *)", steps=(step,), audited=False)

    result = call(database, job)

    assert (result["counters"]["moved"], result["counters"]["quarantined"]) == (300, 0)
    assert rows(database, "things_kept") == 300


def test_not_one_row_more_goes_than_was_counted(made: Any, call: Call) -> None:
    """A trigger makes other rows match while the run is at work."""
    database = made(
        ORDINARY
        + """
        insert into things select i, timestamptz '2025-12-01Z', 'later' from generate_series(301, 600) i;
        create function spread() returns trigger language plpgsql as $$ begin
            update things set state = 'new' where state = 'later' and id <= 450; return null; end $$;
        create trigger spread after delete on things for each statement execute function spread();
        """
    )
    result = call(database, deletion("things", where="state = 'new'"))
    assert result["counters"]["deleted"] == 300
    assert rows(database, "things") == 300


def test_a_row_that_comes_back_is_told_and_the_run_has_not_succeeded(made: Any, call: Call) -> None:
    database = made(
        ORDINARY
        + """
        create function keep() returns trigger language plpgsql as $$ begin
            if old.id <= 3 then return null; end if; return old; end $$;
        create trigger keep before delete on things for each row execute function keep();
        """
    )
    with pytest.raises(
        RunFailedError,
        match="3 rows of things that were counted are still there, and nothing says why; look at the trigger keep",
    ):
        call(database, deletion("things"))
    assert rows(database, "things") == 3


def test_a_step_says_which_table_by_a_model_or_by_name() -> None:
    assert Delete("shop.Webhook_Deliveries", older_than=days(1), measured_by="at").name == "delete-webhook-deliveries"

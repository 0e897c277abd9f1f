"""What a deletion sets off in the database, and cannot be done there: rules, triggers, and what foreign keys set."""

from typing import Any

import pytest
from sqlalchemy import create_engine

from nightshift import Job, Update
from nightshift.errors import RunFailedError
from nightshift.steps import Recompute
from tests.integration.tables.conftest import Call, deletion
from tests.integration.tables.test_check import PARENTS, RIGHTS, Look, look as look, mend

FOLLOWING = """
    create table children (id int primary key, parent_id {column} references parents on delete {does});
    create index on children (parent_id);
    insert into children select i, i from generate_series(1, 300) i; analyze children;
"""
CASCADE = FOLLOWING.format(column="int", does="cascade")


def trigger(body: str, *, on: str = "children", when: str = "before delete", each: str = "row", more: str = "") -> str:
    return (
        f"create function react() returns trigger language plpgsql {more} as $$ {body} $$;"
        f"create trigger react {when} on {on} for each {each} execute function react();"
    )


REFUSING = "begin raise exception 'rows of % are kept', tg_table_name; end"
REFUSES_ONE = "begin if tg_op = '{}' then raise exception 'no'; end if; return old; end"
REFUSES_LATER = """
    declare n int := 1; begin -- if
    n := n + 1; raise 'no if, no return' using errcode = '23000'; return old; end
"""
OWNED = "create table trail (id bigserial primary key, of int);"

# script; severity, object and words of the finding (None: nothing but notes is found)
CASES: dict[str, tuple[str, tuple[str, str, str] | None]] = {
    "null in a column that takes none": (
        FOLLOWING.format(column="int not null", does="set null"),
        ("error", "children", "on delete set null empties parent_id, which takes no null"),
    ),
    "null in a column of a domain that takes none": (
        "create domain ref as int not null;" + FOLLOWING.format(column="ref", does="set null"),
        ("error", "children", "empties parent_id, which takes no null"),
    ),
    "null in a column with a check": (
        FOLLOWING.format(column="int check (parent_id is not null)", does="set null"),
        ("error", "children", "empties parent_id, which takes no null"),
    ),
    "null in a column of which one partition takes none": (
        "create table children (id int, parent_id int references parents on delete set null) partition by range (id);"
        "create table c1 partition of children for values from (0) to (200);"
        "create table c2 partition of children for values from (200) to (900);"
        "create index on children (parent_id); alter table c2 alter parent_id set not null;"
        "insert into children select i, i from generate_series(1, 300) i; analyze children;",
        ("error", "children", "empties parent_id, which takes no null"),
    ),
    "null in a column of an empty table that takes none": (
        FOLLOWING.format(column="int not null", does="set null") + "truncate children;",
        ("note", "children", "empties parent_id, which takes no null"),
    ),
    "null in one column of the key only": (
        "alter table parents add tenant int not null default 1; create unique index on parents (tenant, id);"
        "create table children (id int primary key, tenant int not null, parent_id int,"
        " foreign key (tenant, parent_id) references parents (tenant, id) on delete set null (parent_id));"
        "create index on children (parent_id, tenant);"
        "insert into children select i, 1, i from generate_series(1, 9) i;",
        None,
    ),
    "a default that is none": (
        FOLLOWING.format(column="int not null", does="set default"),
        ("error", "children", "on delete set default empties parent_id, which takes no null"),
    ),
    "a default that no row has": (
        FOLLOWING.format(column="int default 99999", does="set default"),
        ("error", "children", "gives parent_id its default, and parents has no such row"),
    ),
    "a default below 0 that no row has": (
        FOLLOWING.format(column="int default -1", does="set default"),
        ("error", "children", "and parents has no such row"),
    ),
    "a default that a row has": (FOLLOWING.format(column="int default 300", does="set default"), None),
    "a default that a unique column takes once": (
        FOLLOWING.format(column="int unique default 300", does="set default"),
        ("warning", "children", "makes its rows alike, and the unique index children_parent_id_key takes one of them"),
    ),
    "null where one is taken": (
        FOLLOWING.format(column="int unique nulls not distinct", does="set null"),
        ("warning", "children", "makes its rows alike"),
    ),
    "null in a unique column": (FOLLOWING.format(column="int unique", does="set null"), None),
    "a default of null in a unique column": (FOLLOWING.format(column="int unique", does="set default"), None),
    "a default of null": (FOLLOWING.format(column="int default null", does="set default"), None),
    "a default that is computed": (
        FOLLOWING.format(column="int default length(current_user)", does="set default"),
        ("note", "children", "which is computed"),
    ),
    "a rule in place of a cascade": (
        CASCADE + "create rule soft as on delete to children do instead nothing",
        ("error", "children", "the rule soft turns a delete into something else: PostgreSQL refuses to delete rows of"),
    ),
    "a rule in place of some of a cascade": (
        CASCADE + "create rule soft as on delete to children where old.id > 5 do instead nothing",
        ("error", "children", "rows that it keeps would refer to rows of parents that are gone"),
    ),
    "a rule beside a cascade": (
        CASCADE + OWNED + "create rule also as on delete to children do also insert into trail (of) values (old.id)",
        None,
    ),
    "a rule for updates beside a cascade": (
        CASCADE + "create rule soft as on update to children do instead nothing",
        None,
    ),
    "a rule in place of setting null": (
        FOLLOWING.format(column="int", does="set null")
        + "create rule fixed as on update to children do instead nothing",
        ("error", "children", "the rule fixed turns an update into something else"),
    ),
    "a rule beside": (
        OWNED + "create rule also as on delete to parents do also insert into trail (of) values (old.id)",
        ("error", "parents", "the rule also on parents does something else with each delete"),
    ),
    "a rule for updates": ("create rule fixed as on update to parents do instead nothing", None),
    "a trigger that refuses a cascade": (
        CASCADE + trigger(REFUSING),
        ("error", "children", "the trigger react refuses every row (its function react raises an error)"),
    ),
    "a trigger that refuses": (trigger(REFUSING, on="parents"), ("error", "parents", "refuses every row")),
    "a trigger that refuses, written otherwise": (
        trigger(REFUSES_LATER, on="parents"),
        ("error", "parents", "refuses every row"),
    ),
    "a trigger that refuses each deletion and does more": (
        trigger(REFUSES_ONE.format("DELETE"), on="parents", when="before update or delete"),
        ("error", "parents", "refuses every row"),
    ),
    "a trigger that refuses after": (
        CASCADE + trigger(REFUSING, when="after delete"),
        ("error", "children", "refuses every row"),
    ),
    "a trigger that refuses statements": (
        trigger(REFUSING, on="parents", each="statement"),
        ("error", "parents", "refuses every statement"),
    ),
    "a trigger that refuses updates": (
        trigger(REFUSES_ONE.format("UPDATE"), on="parents", when="before update or delete"),
        None,
    ),
    "a trigger that refuses some": (
        trigger("begin if old.n > 1000 then raise exception 'no'; end if; return old; end", on="parents"),
        ("warning", "parents", "the trigger react may refuse a row"),
    ),
    "a trigger that only warns": (trigger("begin raise notice 'gone'; return old; end", on="parents"), None),
    "a trigger that refuses to set null": (
        FOLLOWING.format(column="int", does="set null") + trigger(REFUSING, when="before update"),
        ("error", "children", "refuses every row"),
    ),
    "a trigger that refuses to set other columns": (
        FOLLOWING.format(column="int", does="set null") + trigger(REFUSING, when="before update of id"),
        None,
    ),
    "a trigger on deletions beside setting null": (
        FOLLOWING.format(column="int", does="set null") + trigger(REFUSING),
        None,
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_it_is_found_and_only_told_in_words(look: Look, case: str) -> None:
    script, told = CASES[case]

    found = look(PARENTS + script, deletion())

    assert [each for each in found if each["sql"]] == []
    if told is None:
        assert {each["severity"] for each in found} <= {"note"}, found
    else:
        severity, about, words = told
        assert [(each["severity"], each["object"]) for each in found if words in each["what"]] == [(severity, about)], (
            found
        )
        worse = {"error", "warning"} - ({"error"} if severity == "error" else {severity})
        assert not worse & {each["severity"] for each in found}, found


WRITING = "begin insert into trail (of) values (old.id); return old; end"
LACKING: dict[str, tuple[str, str, tuple[str, str, str]]] = {
    # script, rights; severity, object and words
    "of the job's role": (
        trigger(WRITING, on="parents", when="after delete"),
        "grant select, delete on parents to $role; grant usage on trail_id_seq to $role",
        (
            "error",
            "parents",
            "the trigger react writes into trail (its function react), as the role $role, which may not insert there",
        ),
    ),
    "of the job's role, to update": (
        trigger("begin update trail t set of = 0 where of = old.id; return old; end", on="parents"),
        "grant select, delete on parents to $role; grant select on trail to $role",
        ("error", "parents", "which may not update there"),
    ),
    "of the job's role, sometimes": (
        trigger(
            "begin if old.n > 5 then insert into public.trail values (1, 1); end if; return old; end", on="parents"
        ),
        "grant select, delete on parents to $role",
        ("warning", "parents", "may write into trail"),
    ),
    "in another schema": (
        "create schema audit; alter table trail set schema audit;"
        + trigger(WRITING, on="parents", more="set search_path = audit, public"),
        "grant select, delete on parents to $role; grant insert on audit.trail to $role;"
        "grant usage on audit.trail_id_seq to $role",
        ("error", "parents", "writes into audit.trail"),
    ),
    "of the owner of what goes along": (
        CASCADE + trigger(WRITING) + "create role warden; grant all on children to warden;"
        "alter table children owner to warden;",
        RIGHTS + "grant insert on trail to $role",
        ("error", "children", "as the role warden, which may not insert there"),
    ),
}


@pytest.mark.parametrize("case", LACKING)
def test_a_right_that_a_trigger_lacks_is_named_with_its_grant(look: Look, case: str) -> None:
    script, rights, (severity, about, words) = LACKING[case]

    found = look(PARENTS + OWNED + script, deletion(), rights)

    words = words.replace("$role", f"checker_{look.database.url.database}")
    (told,) = [each for each in found if words in each["what"]]
    assert (told["severity"], told["object"]) == (severity, about)
    mend(look.database, told["sql"])
    assert [each for each in look.again(deletion()) if each["severity"] != "note"] == []


@pytest.mark.parametrize("more", ["security definer", ""])
def test_a_trigger_with_the_rights_that_it_needs_is_not_told(look: Look, more: str) -> None:
    rights = "grant select, delete on parents to $role;" + ("" if more else "grant insert on trail to $role")
    found = look(PARENTS + OWNED + trigger(WRITING, on="parents", more=more), deletion(), rights)
    assert {each["severity"] for each in found} <= {"note"}, found


def test_the_run_names_only_the_right_that_is_known(look: Look, call: Call) -> None:
    script = PARENTS + OWNED + trigger(WRITING, on="parents")
    look(script, deletion(), "grant select, delete on parents to $role")
    role = create_engine(look.database.url.set(username=f"checker_{look.database.url.database}"))

    known = "the role that does it may not use the table trail: grant insert on trail to it, in the function react"
    with pytest.raises(RunFailedError, match=known):
        call(role, deletion())


def test_the_run_names_the_table_whose_rule_is_in_the_way_of_a_cascade(made: Any, call: Call) -> None:
    rule = "create rule soft as on delete to children do instead nothing"
    with pytest.raises(
        RunFailedError, match="a rule on children turns what its foreign key children_parent_id_fkey does"
    ):
        call(made(PARENTS + CASCADE + rule), deletion())


def setting(**values: Any) -> Job:
    step = Update("parents", where="state = 'new'", set=values, counter="done")
    return Job(name="forget", kind="retention", schedule="cron(0 2 * * ? *)", steps=(step,), audited=False)


def test_the_right_to_the_column_that_is_set_is_enough(look: Look, call: Call) -> None:
    assert look(PARENTS, setting(state="old"), "grant select, update (state) on parents to $role") == []

    (told,) = look.again(setting(n=5))
    assert (told["severity"], told["object"]) == ("error", "parents")
    mend(look.database, told["sql"])
    assert look.again(setting(n=5)) == []


def test_the_right_to_the_figure_that_is_corrected_is_enough(look: Look) -> None:
    step = Recompute("parents", name="correct", column="n", to="select id, 1 as value from parents")
    job = Job(name="forget", kind="recalculation", schedule="cron(0 2 * * ? *)", steps=(step,), audited=False)
    assert look(PARENTS, job, "grant select, update (n) on parents to $role") == []

    mend(look.database, f"revoke update (n) on parents from checker_{look.database.url.database}")
    mend(look.database, f"grant update (state) on parents to checker_{look.database.url.database}")
    (told,) = look.again(job)
    assert (told["severity"], told["what"]) == ("error", "this role may not update parents.n")
    mend(look.database, told["sql"])
    assert look.again(job) == []


@pytest.mark.parametrize(
    ("where", "words"),
    [
        ("count(*) > 1", "an aggregate, like count or max, stands where none may"),
        ("row_number() over () > 1", "a window function stands where none may"),
        ("state = $2", "a parameter like $1"),
        ("state = $9", "a parameter like $1"),
    ],
)
def test_a_condition_that_cannot_be_one_is_told_in_words_of_its_own(look: Look, where: str, words: str) -> None:
    (told,) = look(PARENTS, deletion(where=where))
    assert (told["severity"], words in told["what"]) == ("error", True), told

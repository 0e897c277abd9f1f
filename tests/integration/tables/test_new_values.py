"""What an Update writes: a value that no row can take is refused by the plan, and nothing else is written for it."""

from typing import Any

import pytest
from sqlalchemy import ARRAY, Column, Integer, MetaData, String, Table, func, text

from nightshift import Job, Update, days
from nightshift.errors import RunFailedError
from tests.integration.tables.conftest import (
    Call,
    call as call,
    digest,
    library_only as library_only,
    made as made,
)

THINGS = """
    create domain code as varchar(3); create domain flag as bit(3);
    create table things (id int primary key, at timestamptz not null, state varchar(3), note text not null default '',
        number int, code code, flag flag, bits bit(3), tags varchar(3)[], key int generated always as identity,
        twice int generated always as (number * 2) stored);
    insert into things select i, timestamptz '2025-12-01Z', 'new' from generate_series(1, 30) i;
"""


def renewal(new: dict[str, Any], where: str | None = None) -> Job:
    step = Update("things", older_than=days(30), measured_by="at", set=new, where=where, counter="changed")
    return Job(name="renew", kind="retention", schedule="cron(0 2 * * ? *)", steps=(step,), audited=False)


@pytest.mark.parametrize(
    ("new", "words"),
    [
        ({"state": "older"}, r"set state: a text is longer than its column takes"),
        ({"code": "older"}, r"set code: a text is longer than its column takes"),
        ({"bits": "1111"}, r"set bits: .*22026"),
        ({"tags": ["abcd"]}, r"set tags: a text is longer than its column takes"),
        ({"twice": 5}, r"set twice: the database gives it its value, and takes no other"),
        ({"key": 5}, r"set key: the database gives it its value, and takes no other"),
        ({"note": None}, r"set note: it must have a value"),
        ({"number": "many"}, r"set number: .*22P02"),
        ({"note": "x", "number": text("at")}, r"set number: .*42804"),
        ({"number": func.nothing_of_the_kind(1)}, r"set number: .*nothing_of_the_kind.*42883"),
        ({"nmber": 1}, r"no column nmber: did you mean number"),
    ],
)
def test_a_value_that_no_row_can_take_is_refused_by_the_plan(
    made: Any, call: Call, new: dict[str, Any], words: str
) -> None:
    database = made(THINGS)
    before = digest(database)
    for more in ({"dry_run": True}, {}):
        with pytest.raises(RunFailedError, match=words):
            call(database, renewal(new), **more)
    assert digest(database) == before


def test_a_value_of_the_right_length_is_written_as_it_is(made: Any, call: Call) -> None:
    database = made(THINGS)
    new = {"state": "old", "code": "old", "bits": "101", "flag": "110", "tags": ["a", None], "note": "a longer one"}
    call(database, renewal(new, where="state <> 'old'"), dry_run=True)
    call(database, renewal(new, where="state <> 'old'"))
    with database.connect() as connection:
        written = text("select distinct state, code, bits::text, flag::text, tags, note from things")
        assert [tuple(row) for row in connection.execute(written)] == [
            ("old", "old", "101", "110", ["a", None], "a longer one")
        ]


@pytest.mark.parametrize("keeps", ["return null", "new.state := 'new'; return new"])
def test_rows_that_a_trigger_keeps_as_they_are_are_told(made: Any, call: Call, keeps: str) -> None:
    database = made(
        THINGS
        + f"create function keep() returns trigger language plpgsql as $$ begin if new.id <= 7 then {keeps}; end if; "
        "return new; end $$; create trigger keep before update on things for each row execute function keep();"
    )
    job = renewal({"state": "old"}, where="state <> 'old'")
    result = call(database, job)
    told = "7 rows of things still meet the condition of the step after it; look at the trigger keep"
    assert [note for note in result["notes"] if "trigger" in note] == [f"step update-things: {told}"]


def test_a_list_of_a_model_is_refused_and_not_cut_off(made: Any, call: Call) -> None:
    things = Table(
        "things", MetaData(), Column("id", Integer, primary_key=True), Column("at"), Column("tags", ARRAY(String(3)))
    )
    step = Update(
        things, older_than=days(30), measured_by="at", set={things.c.tags: ["abc", "abcd"]}, counter="changed"
    )
    job = Job(name="renew", kind="retention", schedule="cron(0 2 * * ? *)", steps=(step,), audited=False)
    with pytest.raises(RunFailedError, match=r"set tags: a text is longer than its column takes"):
        call(made(THINGS), job)

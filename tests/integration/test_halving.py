"""What is done to many items at once, where one of them is bad."""

import time
from collections.abc import Iterator, Sequence
from functools import partial

import pytest
from sqlalchemy import Engine, TextClause, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from nightshift.database import by_halves
from nightshift.errors import DeclarationError

SQUARE_ROOTS = text("insert into roots select sqrt(n), n from unnest(cast(:numbers as int[])) as n")


@pytest.fixture
def session(empty_database: Engine) -> Iterator[Session]:
    with Session(empty_database) as session:
        session.execute(text("create table roots (root numeric not null, n int)"))
        yield session


def test_all_but_the_bad_ones_are_done_once_and_in_order(session: Session) -> None:
    done: list[int] = []
    left: dict[int, str] = {}

    def insert(numbers: Sequence[int]) -> None:
        session.execute(SQUARE_ROOTS, {"numbers": numbers})
        done.extend(numbers)

    by_halves(session, [*range(1, 40), -1, *range(40, 80), -2], insert, left.__setitem__)

    stored = session.scalars(text("select n from roots order by ctid")).all()
    assert stored == done == list(range(1, 80))
    assert left == dict.fromkeys((-1, -2), "a value does not fit its type or function (SQLSTATE 2201F)")


def test_a_value_that_python_refuses_is_left_like_one_that_the_database_refuses(session: Session) -> None:
    left: dict[str, str] = {}
    by_halves(session, ["1", "x", "3"], lambda texts: [int(each) for each in texts], left.__setitem__)
    assert left == {"x": "ValueError: invalid literal for int() with base 10: 'x'"}


def test_an_error_that_no_item_causes_is_raised_and_nothing_is_left(session: Session) -> None:
    left: dict[int, str] = {}

    def execute(statement: TextClause, _: Sequence[int]) -> None:
        session.execute(statement)

    for mistake in map(text, ("delete from nothing", "select 'nothing'::regclass")):
        with pytest.raises(DBAPIError, match="42P01"):
            by_halves(session, [1, 2], partial(execute, mistake), left.__setitem__)

    def declare(_: Sequence[int]) -> None:
        raise DeclarationError("no such kind")

    with pytest.raises(DeclarationError):
        by_halves(session, [1, 2], declare, left.__setitem__)
    assert left == {}


AT_THE_COMMIT = """
    create table seen (n int);
    create function look() returns trigger language plpgsql as $$ begin
        if new.n = 7 then raise 'not this one' using errcode = '45000'; end if;
        insert into seen select count(*) from roots; return null; end $$;
    create constraint trigger look after insert on roots deferrable initially deferred
        for each row execute function look();
"""


def test_what_would_be_refused_at_the_commit_is_left_and_the_databases_triggers_keep_their_time(
    session: Session,
) -> None:
    session.execute(text(AT_THE_COMMIT))
    left: dict[int, str] = {}

    def insert(numbers: Sequence[int]) -> int:
        session.execute(SQUARE_ROOTS, {"numbers": numbers})
        return len(numbers)

    counts = by_halves(session, [*range(1, 11)], insert, left.__setitem__)
    session.commit()

    assert (list(left), sum(counts)) == ([7], 9)
    assert "SQLSTATE 45000" in left[7]
    assert session.scalars(text("select n from seen")).all() == [9] * 9


def test_what_was_refused_before_the_items_is_no_items_fault(session: Session) -> None:
    session.execute(text(AT_THE_COMMIT))
    session.execute(SQUARE_ROOTS, {"numbers": [7]})
    left: dict[int, str] = {}
    with pytest.raises(DBAPIError, match="45000"):
        by_halves(session, [1, 2], lambda _: None, left.__setitem__)
    assert left == {}


def test_what_somebody_else_has_locked_is_told_and_costs_one_wait(empty_database: Engine, session: Session) -> None:
    session.execute(SQUARE_ROOTS, {"numbers": list(range(1, 101))})
    session.commit()
    session.execute(text("set local lock_timeout to '1s'"))
    locked: list[int] = []

    def change(numbers: Sequence[int]) -> int:
        changed = session.execute(text("update roots set root = 0 where n = any(:n)"), {"n": numbers})
        return changed.rowcount  # type: ignore[attr-defined,no-any-return]

    with empty_database.begin() as somebody:
        somebody.execute(text("select 1 from roots where n in (7, 70) for update"))
        began = time.monotonic()
        counts = by_halves(session, [*range(1, 101)], change, dict[int, str]().__setitem__, locked.append)
        took = time.monotonic() - began

    assert (locked, sum(counts)) == ([7, 70], 98)
    assert took < 6
    assert session.scalar(text("select current_setting('lock_timeout')")) == "1s"

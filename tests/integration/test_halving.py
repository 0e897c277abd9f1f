"""What is done to many items at once, where one of them is bad."""

from collections.abc import Iterator, Sequence

import pytest
from sqlalchemy import Engine, text
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
    with pytest.raises(DBAPIError, match="42P01"):
        by_halves(session, [1, 2], lambda _: session.execute(text("delete from nothing")), left.__setitem__)

    def declare(_: Sequence[int]) -> None:
        raise DeclarationError("no such kind")

    with pytest.raises(DeclarationError):
        by_halves(session, [1, 2], declare, left.__setitem__)
    assert left == {}

"""Rows over which a step's own condition fails: found by halving the table down to them, left out, and told.

This is done only after an error. It reads the table whole, and the condition that leaves the rows out keeps an index
from being used.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Row,
    Text,
    and_,
    any_,
    case,
    cast,
    false,
    func,
    literal,
    literal_column,
    or_,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Session

from nightshift.catalogue.ages import TID, SqlType
from nightshift.catalogue.table import Leaf
from nightshift.database import by_halves
from nightshift.engine.subject import Subject
from nightshift.errors import PermanentError

CAREFUL = "nightshift.careful"
"""In a session's info: a condition that fails over some row has failed."""

MOST_ODD = 100
"""With more of them the condition is wrong, and not the rows."""


BLOCKS = text("select pg_relation_size(cast(cast(:oid as bigint) as regclass)) / current_setting('block_size')::bigint")


@contextmanager
def carefully(session: Session) -> Iterator[None]:
    """Within this, steps leave out the rows over which their conditions fail."""
    session.info[CAREFUL] = True
    try:
        yield
    finally:
        del session.info[CAREFUL]


def without_odd_rows(session: Session, subject: Subject) -> Subject:
    """The subject without the rows over which its condition fails; they are named in `odd`, each with its error.

    Raises:
        PermanentError: there are too many of them.
    """
    odd = list[tuple[Row[Any], str]]()
    shown = not subject.personal()

    def leave(row: Row[Any], error: str) -> None:
        odd.append((row, error))
        if len(odd) > MOST_ODD:
            raise PermanentError(
                f"the step's condition fails over more than {MOST_ODD} rows of {subject.facts.fullname}: {error}"
            )

    for leaf in subject.facts.leaves:
        _halve(session, subject, leaf, leave)
    if not odd:
        return subject
    names = tuple((subject.key_of(_key(row) if shown else [row[0]]), error) for row, error in odd)
    return left_out(subject, or_(*(_same(subject, row) for row, _ in odd)), names)


def _halve(session: Session, subject: Subject, leaf: Leaf, leave: Callable[[Row[Any], str], None]) -> None:
    """Down to blocks, and each of these down to rows."""

    def judge(blocks: Sequence[int]) -> None:
        _judge(session, subject, _between(leaf, blocks))

    def judge_rows(rows: Sequence[Row[Any]]) -> None:
        places = cast([row[0] for row in rows], ARRAY(TID))
        _judge(session, subject, [_of(leaf), any_(places) == PLACE])

    def halve_the_block(block: int, _: str) -> None:
        by_halves(session, _rows(session, subject, leaf, block), judge_rows, leave)

    by_halves(session, range(session.scalar(BLOCKS, {"oid": leaf.oid}) or 0), judge, halve_the_block)


def left_out(subject: Subject, rows: ColumnElement[bool], names: Sequence[tuple[str, str]]) -> Subject:
    """The subject without these rows, whose condition is not even looked at."""
    condition: Any = case((rows, false()), else_=and_(subject.condition).self_group())
    return replace(subject, condition=condition, odd=(*subject.odd, *names))


def _judge(session: Session, subject: Subject, where: Sequence[ColumnElement[bool]]) -> None:
    """Look at the condition for each of these rows."""
    judged = func.count().filter(and_(subject.condition).self_group())
    session.execute(subject.rows(judged).where(*where))


def _rows(session: Session, subject: Subject, leaf: Leaf, block: int) -> Sequence[Row[Any]]:
    """The place, table and key of each row of a block."""
    columns = (cast(PLACE, Text), cast(literal_column("tableoid"), Text), *subject.key_columns())
    return session.execute(subject.rows(*columns).where(*_between(leaf, range(block, block + 1)))).all()


def _key(row: Sequence[Any]) -> Sequence[str]:
    return row[2:]


def _same(subject: Subject, row: Sequence[Any]) -> ColumnElement[bool]:
    """That a row is this one: by its key, which stays when the row is changed, or by its place."""
    if subject.facts.key:
        keys = zip(subject.key_columns(), _key(row), strict=True)
        return and_(*(column == literal(value, Text) for column, value in keys))
    return and_(literal(row[0], TID) == PLACE, literal_column("tableoid") == _oid(row[1]))


def _between(leaf: Leaf, blocks: Sequence[int]) -> list[ColumnElement[bool]]:
    first, end = (literal(f"({block},0)", TID) for block in (blocks[0], blocks[-1] + 1))
    return [_of(leaf), first <= PLACE, end > PLACE]


def _of(leaf: Leaf) -> ColumnElement[bool]:
    return literal_column("tableoid") == _oid(leaf.oid)


def _oid(number: Any) -> ColumnElement[Any]:
    return literal(str(number), SqlType("oid"))


PLACE: ColumnElement[Any] = literal_column("ctid", TID)

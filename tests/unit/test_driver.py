"""What SQLAlchemy writes reaches the server as it was meant, percent signs and all."""

from typing import Any

import pytest
from sqlalchemy import (
    CHAR,
    ClauseElement,
    Numeric,
    String,
    bindparam,
    column,
    create_engine,
    literal_column,
    select,
    table,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, BIT, TIMESTAMP

from nightshift.catalogue.ages import SqlType
from nightshift.database.driver import DOUBLED, _read, drive


@pytest.mark.parametrize(
    ("statement", "sent"),
    [
        (text("select id % 2, 'a%', '%s', \"a%s\" -- %s %%"), "select id % 2, 'a%', '%s', \"a%s\" -- %s %%"),
        (text("select id %s, :one, id % :two, '%s'"), "select id %s, $1, id % $2, '%s'"),
        (select(literal_column("id % 3"), column("b%c") % 2), 'SELECT id % 3, "b%c" % $1::INTEGER AS anon_1'),
        (select(table("of%s", column("a")).c.a), 'SELECT "of%s".a \nFROM "of%s"'),
    ],
)
def test_a_statement_reaches_the_server_as_it_is_written(statement: ClauseElement, sent: str) -> None:
    engine = create_engine("postgresql+pg8000://")
    drive(engine)
    written = str(statement.compile(engine))
    assert _read(DOUBLED, written, (1,))[0] == sent


@pytest.mark.parametrize(
    ("kind", "sent"),
    [
        (Numeric(10, 2), "NUMERIC"),
        (ARRAY(String(3)), "VARCHAR[]"),
        (ARRAY(CHAR(3), dimensions=2), "BPCHAR[][]"),
        (ARRAY(BIT(3)), '"bit"[]'),
        (TIMESTAMP(precision=0), "TIMESTAMP WITHOUT TIME ZONE"),
        (SqlType("geometry(1)"), "geometry(1)"),
    ],
)
def test_a_value_is_neither_rounded_nor_cut_off(kind: Any, sent: str) -> None:
    engine = create_engine("postgresql+pg8000://")
    drive(engine)
    assert str((column("a", kind) == bindparam("b", None, kind)).compile(engine)) == f"a = %s::{sent}"


def test_the_drivers_own_styles_are_read_as_before() -> None:
    assert _read("format", "select '%%', %s, 1 %% 2", (1,)) == ("select '%%', $1, 1 % 2", (1,))
    assert _read("named", "select :a", {"a": 1}) == ("select $1", (1,))

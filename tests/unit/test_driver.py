"""What SQLAlchemy writes reaches the server as it was meant, percent signs and all."""

import pytest
from sqlalchemy import ClauseElement, column, create_engine, literal_column, select, table, text

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


def test_the_drivers_own_styles_are_read_as_before() -> None:
    assert _read("format", "select '%%', %s, 1 %% 2", (1,)) == ("select '%%', $1, 1 % 2", (1,))
    assert _read("named", "select :a", {"a": 1}) == ("select $1", (1,))

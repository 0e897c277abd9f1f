"""What the driver makes of a statement is the same as without our memory of it."""

import pytest
from pg8000 import legacy
from pg8000.dbapi import convert_paramstyle

from nightshift.database.driver import read_statements_once


@pytest.mark.parametrize("style", ["format", "pyformat", "named"])
@pytest.mark.parametrize(
    "text",
    [
        "select %s, '%%s', %s",
        "select %(name)s, %(name)s",
        "select '''%s' || E'\\'' || $$%%$$ -- %s\n, :name, \"a%b\"",
        "select 7 %% %s",
    ],
)
def test_a_statement_is_read_as_the_driver_reads_it(style: str, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(legacy, "convert_paramstyle", convert_paramstyle)
    args = {"name": 1} if ":name" in text or "%(name)s" in text else (1, 2)

    def read() -> object:
        try:
            return legacy.convert_paramstyle(style, text, args)
        except (legacy.InterfaceError, KeyError, TypeError) as refusal:
            return type(refusal), str(refusal)

    before = read()
    read_statements_once()
    assert [read(), read()] == [before, before]

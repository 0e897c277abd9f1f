"""The driver reads a statement once for each text.

pg8000 turns `%s` into `$1` letter by letter, in Python, each time that a statement is executed. That was a third of the
processor time of a short run.
"""

from functools import lru_cache
from typing import Any

from pg8000 import legacy
from pg8000.dbapi import convert_paramstyle

TEXTS = 512
"""How many statements are remembered."""


@lru_cache(maxsize=TEXTS)
def _numbered(text: str) -> str:
    numbered: str = convert_paramstyle("format", text, ())[0]
    return numbered


def _read(style: str, text: str, args: Any) -> tuple[str, Any]:
    # In the other styles what is bound depends on the text too.
    return (_numbered(text), args) if style == "format" else convert_paramstyle(style, text, args)


def read_statements_once() -> None:
    """From now on, in this process."""
    legacy.convert_paramstyle = _read

"""What the fields of a declaration may hold. A refusal is one line: the field, what it needs, what it got."""

import re
from collections.abc import Iterable
from typing import Any, get_args

from nightshift.errors import DeclarationError

KEBAB = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
SNAKE = re.compile(r"[a-z][a-z0-9_]*")

LONGEST_SHOWN = 80


def must_be(fits: bool, field: str, what: str, value: Any) -> None:
    """Refuse a field's value unless it fits.

    Raises:
        DeclarationError: `<field> must be <what>; got <value>`.
    """
    if not fits:
        raise DeclarationError(f"{field} must be {what}; got {shown(value)}")


def must_be_one_of(field: str, value: Any, known: Iterable[str]) -> None:
    """Refuse a value that is none of the known ones.

    Raises:
        DeclarationError: with the known values, and the nearest one.
    """
    known = tuple(known)
    if not isinstance(value, str) or value not in known:
        hint = nearest(value, known) if isinstance(value, str) else ""
        raise DeclarationError(f"{field} must be one of {', '.join(known)}; got {shown(value)}{hint}")


def must_be_truth(field: str, value: Any) -> None:
    must_be(isinstance(value, bool), field, "True or False", value)


def must_be_text(field: str, value: Any) -> None:
    must_be(isinstance(value, str), field, "a text", value)


def must_be_snake(field: str, value: Any) -> None:
    """Refuse a name that is not snake_case. `field` says whose name it is: the value stands behind it."""
    if not (isinstance(value, str) and SNAKE.fullmatch(value)):
        raise DeclarationError(f"{field} {value!r} must be snake_case, like retention_days or deleted")


def must_be_names(field: str, value: Any) -> None:
    """Refuse whatever is no tuple of texts. One text in brackets is no tuple: the comma makes it one."""
    fits = isinstance(value, tuple) and all(isinstance(name, str) for name in value)
    example = value if isinstance(value, str) else "deleted"
    must_be(fits, field, f"a tuple of names, like ({example!r},)", value)


def is_whole(value: Any, *, least: int = 0) -> bool:
    """Whether it is a whole number from `least` on. A bool is none."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def choices(literal: Any) -> tuple[str, ...]:
    """The values of a Literal, or of a union of some."""
    return tuple(
        choice
        for argument in get_args(literal)
        for choice in ((argument,) if isinstance(argument, str) else choices(argument))
    )


def nearest(value: str, known: Iterable[str]) -> str:
    """How a message goes on that has named a wrong value: with the right one, if one is close."""
    import difflib  # only a refusal pays for it

    close = difflib.get_close_matches(value, tuple(known), n=1)
    return f"; did you mean {close[0]!r}?" if close else ""


def shown(value: Any) -> str:
    """A value as a message of one line shows it."""
    if isinstance(value, type):
        return f"the class {value.__name__}"
    text = " ".join(repr(value).split())
    return text if len(text) <= LONGEST_SHOWN else f"{text[:LONGEST_SHOWN]}…"

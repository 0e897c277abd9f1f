"""Checks of a declaration's fields. Each error is one line: the field, what it needs, and what it got."""

import re
from collections.abc import Iterable
from typing import Any, get_args

from nightshift.errors import DeclarationError

KEBAB = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
SNAKE = re.compile(r"[a-z][a-z0-9_]*")

LONGEST_SHOWN = 80


def must_be(fits: bool, field: str, what: str, value: Any) -> None:
    """Refuse a value that does not fit its field.

    Raises:
        DeclarationError: `<field> must be <what>; got <value>`.
    """
    if not fits:
        raise DeclarationError(f"{field} must be {what}; got {shown(value)}")


def must_be_one_of(field: str, value: Any, known: Iterable[str]) -> None:
    """Refuse a value that is not one of the known values.

    Raises:
        DeclarationError: it lists the known values and suggests the nearest one.
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
    """Refuse a name that is not snake_case. The message shows the value after `field`."""
    if not (isinstance(value, str) and SNAKE.fullmatch(value)):
        raise DeclarationError(f"{field} {value!r} must be snake_case, like retention_days or deleted")


def must_be_names(field: str, value: Any) -> None:
    """Refuse a value that is not a tuple of texts. Only the comma makes one: `("name",)`, not `("name")`."""
    fits = isinstance(value, tuple) and all(isinstance(name, str) for name in value)
    example = value if isinstance(value, str) else "deleted"
    must_be(fits, field, f"a tuple of names, like ({example!r},)", value)


def is_whole(value: Any, *, least: int = 0) -> bool:
    """Whether the value is a whole number and at least `least`. A bool is not a number here."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def choices(literal: Any) -> tuple[str, ...]:
    """The values of a Literal, or of a union of Literals."""
    return tuple(
        choice
        for argument in get_args(literal)
        for choice in ((argument,) if isinstance(argument, str) else choices(argument))
    )


def nearest(value: str, known: Iterable[str]) -> str:
    """The end of a message about a wrong value: it suggests the nearest known one, if there is one."""
    import difflib  # imported only when something is refused

    close = difflib.get_close_matches(value, tuple(known), n=1)
    return f"; did you mean {close[0]!r}?" if close else ""


def shown(value: Any) -> str:
    """A value as one line of a message shows it."""
    if isinstance(value, type):
        return f"the class {value.__name__}"
    text = " ".join(repr(value).split())
    return text if len(text) <= LONGEST_SHOWN else f"{text[:LONGEST_SHOWN]}…"

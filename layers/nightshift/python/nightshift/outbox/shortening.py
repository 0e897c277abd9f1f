"""How much of a notice's data a mail shows: the first entries of each list, and the beginning of each text.

The same rule holds for every kind, whatever its templates do: a mail does not grow with the data. A template says what
was left out with `more` of figures.html and figures.txt. Where it does not, the layout says so at the end.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

LARGEST = 64_000
"""Bytes of a mail, in each of its forms. Gmail cuts off what is over 102 kB, and with it the way to unsubscribe."""

SCALES = ((50, 2_048), (20, 512), (8, 200), (3, 100), (1, 50))
"""So many entries of a list and characters of a text are shown: the first pair with which the mail fits."""


class Entries(list[Any]):
    """The first entries of a list."""

    def __init__(self, first: Sequence[Any], total: int) -> None:
        super().__init__(first)
        self.total = total
        self.told = len(first) == total
        """Whether somebody has said how many are left out."""


class Facts(dict[str, Any]):
    """An object whose names can all be looked up, and whose first ones are listed."""

    def __init__(self, facts: Mapping[str, Any], most: int) -> None:
        super().__init__(facts)
        self.total = len(facts)
        self.told = True  # until it is listed
        self._most = most

    def __iter__(self) -> Iterator[str]:
        self.told = self.total <= self._most
        return islice(super().__iter__(), self._most)

    def items(self) -> Any:
        return [(name, self[name]) for name in self]


class Shortened:
    """The data of a notice as one rendering shows them."""

    def __init__(self, entries: int, characters: int) -> None:
        self._most, self._characters = entries, characters
        self._parts: list[Entries | Facts] = []

    def of(self, value: Any) -> Any:
        """A value with its lists, objects and texts shortened."""
        part: Entries | Facts
        if isinstance(value, str):
            return value if len(value) <= self._characters else value[: self._characters - 1] + "…"
        if isinstance(value, Mapping):
            part = Facts({name: self.of(inner) for name, inner in value.items()}, self._most)
        elif isinstance(value, list | tuple):
            part = Entries([self.of(inner) for inner in value[: self._most]], len(value))
        else:
            return value
        self._parts.append(part)
        return part

    @property
    def untold(self) -> int:
        """How many entries were left out without a word."""
        return sum(part.total - self._most for part in self._parts if not part.told)


def total(part: Entries | Facts) -> int:
    """How many entries there are, with those that are left out: a filter of templates."""
    return part.total


def left_out(part: Entries | Facts) -> int:
    """How many entries are left out. A filter of templates: what asks for it is expected to tell it."""
    shown = len([*part])
    part.told = True
    return part.total - shown

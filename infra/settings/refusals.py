"""What is said of a setting that cannot be meant: its path, what is wrong with it, and the remedy."""

import difflib
import json
import re
from collections.abc import Iterable, Mapping, Sequence

from pydantic import ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails, InitErrorDetails, PydanticCustomError

CONTEXT_KEY = "nightshift"

Place = Sequence[str | int]
"""Keys and positions below the object that is read."""

_SAID = "said"
"""The type of a refusal that is in our own words already."""

_KINDS = {
    "bool_type": "be true or false",
    "dict_type": "be a JSON object",
    "float_type": "be a number",
    "int_type": "be a whole number",
    "model_type": "be a JSON object",
    "string_type": "be a text",
    "tuple_type": "be a list of texts",
}


def nearest(name: str, known: Iterable[str]) -> str:
    """The end of a refusal: the known name that was meant, or all of them."""
    known = list(known)
    close = difflib.get_close_matches(name, known, n=1)
    return f"; did you mean {close[0]!r}?" if close else f"; known are {', '.join(known) or 'none'}"


def refused(wrong: Iterable[tuple[Place, str]]) -> ValidationError:
    """What a validator raises that refuses several settings at once.

    What is said of each goes on after the setting's path: `must be …`, or `: ` and a sentence of its own.
    """
    details = (
        InitErrorDetails(type=PydanticCustomError(_SAID, "{text}", {"text": text}), loc=tuple(place), input=None)
        for place, text in wrong
    )
    return ValidationError.from_exception_data(CONTEXT_KEY, list(details))


def in_words(error: ValidationError, known: Mapping[str, FieldInfo]) -> ValidationError:
    """The same refusals in our own words. `known` are the settings of the object that was read."""
    return refused(
        _in_words(wrong, known)
        for wrong in error.errors(include_url=False)
        # This setting was left out, and what its default depends on is refused already.
        if wrong["type"] != "default_factory_not_called"
    )


def lines(error: ValidationError) -> list[str]:
    """One line for each setting that was refused."""
    return [
        f"{_path(wrong['loc'])}{'' if wrong['msg'].startswith(':') else ' '}{wrong['msg']}"
        for wrong in error.errors(include_url=False)
    ]


def _in_words(wrong: ErrorDetails, known: Mapping[str, FieldInfo]) -> tuple[Place, str]:
    place, kind, got = wrong["loc"], wrong["type"], f"; got {json.dumps(wrong['input'], default=str)}"
    if kind == _SAID:
        return place, wrong["msg"]
    if kind == "extra_forbidden":
        return place[:-1], f"has no setting {place[-1]!r}{nearest(str(place[-1]), known)}"
    if kind == "missing":
        missing = next(field for name, field in known.items() if place[-1] in (name, field.alias))
        return place, f"is missing: {missing.description}"
    if kind == "value_error":
        error = wrong["ctx"]["error"]
        # The settings' own checks raise a plain ValueError; what the library raises is a sentence.
        return place, str(error) if type(error) is ValueError else f": {error}"
    if kind == "literal_error":
        return place, f"must be {_choices(wrong['ctx']['expected'])}{got}"
    if kind == "string_type" and place and isinstance(place[-1], int):
        return place, f"must hold nothing but texts{got}"
    return place, f"must {_KINDS.get(kind, 'be as docs/settings.md has it')}{got}"


def _choices(expected: str) -> str:
    """`'a', 'b' or 'c'` without the quotes, which nobody has to write."""
    choices = re.split(", | or ", expected.replace("'", ""))
    return " or ".join(choices) if len(choices) <= 3 else f"one of {', '.join(choices)}"


def _path(place: Place) -> str:
    # The second step below the database says which of the two forms it was read as.
    steps = (*place[:1], *place[2:]) if place[:1] == ("database",) else place
    names = (step for step in steps if isinstance(step, str))
    return ".".join([CONTEXT_KEY, *(name if re.fullmatch(r"[\w-]+", name) else json.dumps(name) for name in names)])

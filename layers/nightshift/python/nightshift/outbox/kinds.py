"""The kinds of notice, and their channels.

A kind is a folder of the application, notices/<kind>/. It has two templates, `mail.html` and `mail.txt`, and
`kind.json` with a sample of what a job writes. `"duty": true` in it marks notices to people on duty, such as
administrators. `"late_hours"` says how late such a mail is still worth sending; without it that is two hours.

The library has one kind itself, `operators`: a title, a body and whatever is in the data, line by line. With it a job
can tell the operators something without any templates of its own.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

from nightshift.errors import DeclarationError

Channel = Literal["in_app", "email", "push", "ops"]

OPERATORS = "operators"
"""The library's own kind."""

FILES = ("kind.json", "mail.html", "mail.txt")


@dataclass(frozen=True)
class Kind:
    """A kind of notice."""

    name: str
    sample: Mapping[str, Any]
    """A title, a body and data, as a job writes them. The templates of this kind can use them."""
    duty: bool = False
    """For people on duty: sent first, not counted by the daily cap, without an unsubscribe link."""
    late_hours: int = 2
    """Hours after which a mail that the sandbox of SES held up is not worth sending any more."""


def notices_folder() -> Path | None:
    """The folder in which the application has its kinds, one folder for each."""
    application = find_spec("application")
    for place in application.submodule_search_locations or () if application else ():
        if (folder := Path(place, "notices")).is_dir():
            return folder
    return None


@cache
def notice_kinds() -> dict[str, Kind]:
    """Every kind by name: the library's own, and the application's, which may replace it.

    Raises:
        DeclarationError: a folder lacks one of its files, or its kind.json is not valid.
    """
    folder = notices_folder()
    folders = sorted(path for path in folder.iterdir() if path.is_dir()) if folder else []
    kinds = {OPERATORS: _read(Path(__file__).parent / "templates" / OPERATORS)}
    return kinds | {path.name: _read(path) for path in folders if not path.name.startswith(("_", "."))}


def _read(folder: Path) -> Kind:
    if missing := [name for name in FILES if not (folder / name).is_file()]:
        raise DeclarationError(f"the kind of notice {folder.name} lacks {missing[0]}; it needs {', '.join(FILES)}")
    remedy = (
        'write {"sample": {"title": …, "body": …, "data": {…}}}, "duty": true for people on duty, and "late_hours": 24 '
        "for what is still worth sending a day later"
    )
    try:
        given = json.loads((folder / "kind.json").read_text())
        sample, duty, late = given.pop("sample"), given.pop("duty", False), given.pop("late_hours", Kind.late_hours)
        fits = set(sample) == {"title", "body", "data"} and isinstance(duty, bool) and not given
        fits = fits and type(late) is int and late > 0
    except (ValueError, AttributeError, KeyError, TypeError):
        fits = False
    if not fits:
        raise DeclarationError(f"kind.json of the kind of notice {folder.name} cannot be read: {remedy}")
    return Kind(folder.name, sample, duty, late)


def of_duty() -> list[str]:
    """The kinds that are sent first, however many mails the recipient had today."""
    return [kind.name for kind in notice_kinds().values() if kind.duty]


def check_kind(kind: str) -> str:
    """The kind, if it exists.

    Raises:
        DeclarationError: no kind has this name.
    """
    if kind not in notice_kinds():
        raise DeclarationError(
            f"no kind of notice {kind!r}: there are {', '.join(notice_kinds())}. A kind is a folder of the "
            f"application's notices/ with {', '.join(FILES)}"
        )
    return kind

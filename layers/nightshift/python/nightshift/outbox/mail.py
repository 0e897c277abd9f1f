"""A notice as a mail: subject, HTML and plain text, from one base layout and two templates for each kind.

A mail has an upper size, whatever the data hold: see nightshift.outbox.shortening.
Text that people wrote (names, titles) is escaped in HTML. In a header it is refused if it has a line break. A template
that uses something that `data` lacks fails; it does not leave a gap.
"""

import datetime as dt
import math
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from email.errors import MessageError
from email.headerregistry import Address
from functools import cache
from typing import Any

from jinja2 import (
    ChoiceLoader,
    Environment,
    FileSystemLoader,
    PackageLoader,
    StrictUndefined,
    TemplateError,
    select_autoescape,
)

from nightshift.database.halving import DATA_ERRORS
from nightshift.outbox.kinds import check_kind, notice_kinds, notices_folder
from nightshift.outbox.shortening import LARGEST, SCALES, Shortened, left_out, total

FONT = "font-family: -apple-system, Segoe UI, Roboto, Helvetica, Arial, sans-serif;"
"""Set in every table cell: not every mail program lets cells inherit it."""


class UnsendableError(ValueError):
    """This notice can never be sent as a mail. The message says why, and does not quote it."""


@dataclass(frozen=True)
class Mail:
    """What is sent, without addresses."""

    subject: str
    html: str
    text: str
    unsubscribe_url: str | None = None
    """Where a POST takes this person off, without a sign-in (RFC 8058)."""


def render(
    kind: str,
    *,
    title: str,
    body: str,
    data: Mapping[str, Any],
    name: str | None,
    preferences_url: str | None = None,
    unsubscribe_url: str | None = None,
) -> Mail:
    """The mail of a notice to a person named `name`.

    Raises:
        UnsendableError: the subject or the name has a line break or another control character, or the data does not
            fit the template.
    """
    check_header("title", title)
    check_header("recipient's name", name or "")
    facts = {
        "title": title,
        "body": body,
        "name": name,
        "data": data,
        "duty": notice_kinds()[check_kind(kind)].duty,
        "preferences_url": preferences_url,
    }
    try:
        html, text = _fitting(kind, facts)
    except (TemplateError, RecursionError, *DATA_ERRORS) as error:
        cause = type(error).__name__  # the error's text may quote what people wrote
        raise UnsendableError(
            f"the templates of {kind} failed with {cause}: a value in its data is missing or wrong"
        ) from None
    return Mail(title, html, text, check_unsubscribe(unsubscribe_url))


def _fitting(kind: str, facts: Mapping[str, Any]) -> tuple[str, str]:
    """HTML and text with as much of the body and the data as a mail may hold."""
    forms = [templates().get_template(f"{kind}/mail.{form}") for form in ("html", "txt")]
    for entries, characters in SCALES:
        short = Shortened(entries, characters)
        told = {**facts, "body": short.of(facts["body"]), "data": short.of(facts["data"])}
        html, text = (form.render(told, untold=0) for form in forms)
        if short.untold:
            html, text = (form.render(told, untold=short.untold) for form in forms)
        if max(len(html.encode()), len(text.encode())) <= LARGEST:
            break
    return html, text


def check_header(what: str, value: str) -> None:
    """Refuse a value that could start another header.

    Raises:
        UnsendableError: the value has a line break or another control character.
    """
    if any(unicodedata.category(character) in {"Cc", "Zl", "Zp"} for character in value):
        raise UnsendableError(f"the {what} has a line break or a control character, which could add a header")


def check_unsubscribe(url: str | None) -> str | None:
    """The address to unsubscribe at, if a header can hold it.

    Raises:
        UnsendableError: it does not begin with https:// or has a character that no address has.
    """
    if url is not None and not re.fullmatch(r"https://[!-;=?-~]+", url):
        raise UnsendableError("the recipient's unsubscribe_url is no https:// address")
    return url


def check_address(address: str) -> str:
    """The address, if it is exactly one.

    Raises:
        UnsendableError: it is none, or several.
    """
    check_header("recipient's address", address)
    try:
        parsed = Address(addr_spec=address)
    except (ValueError, IndexError, MessageError):
        raise UnsendableError("the recipient's address is not one address") from None
    if not parsed.domain:
        raise UnsendableError("the recipient's address is not one address")
    return address


def render_sample(kind: str) -> Mail:
    """The mail of a kind with its sample data, for a person to look at."""
    sample = notice_kinds()[check_kind(kind)].sample
    return render(kind, **sample, name="Ann Example", preferences_url="https://app.example.com/settings/notifications")


@cache
def templates() -> Environment:
    """The templates: the application's kinds and the library's layouts."""
    own = [FileSystemLoader(folder)] if (folder := notices_folder()) else []
    environment = Environment(
        loader=ChoiceLoader([*own, PackageLoader("nightshift.outbox")]),
        autoescape=select_autoescape(),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals["font"] = FONT
    environment.filters.update(total=total, left_out=left_out)
    environment.filters.update(day=_day, month=_month, instant=_instant, duration=_duration, in_words=_in_words)
    return environment


def _day(date: str) -> str:
    """`2026-03-01` as people write it: `1 March 2026`."""
    day = dt.date.fromisoformat(date)
    return f"{day.day} {day:%B %Y}"


def _month(month: str) -> str:
    """`2026-03` as people write it: `March 2026`."""
    return f"{dt.date.fromisoformat(month + '-01'):%B %Y}"


def _instant(instant: str) -> str:
    """`2026-03-01T01:30:00Z` as people write it: `1 March 2026, 01:30 UTC`."""
    at = dt.datetime.fromisoformat(instant).astimezone(dt.UTC)
    return f"{_day(at.date().isoformat())}, {at:%H:%M} UTC"


def _duration(minutes: float) -> str:
    """Minutes as people say it: `45 min`, `2 h`, `6 h 20 min`."""
    hours, rest = divmod(math.floor(minutes + 0.5), 60)
    parts = [f"{hours:,} h"] * (hours > 0) + [f"{rest} min"] * (rest > 0 or hours == 0)
    return " ".join(parts)


def _in_words(name: str) -> str:
    """`api_key` as people say it: `API key`."""
    return name.replace("_", " ").replace("api ", "API ")

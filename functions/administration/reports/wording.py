"""The keys, numbers and times of a report, as people read them."""

import datetime as dt
from typing import Any

from nightshift.steps import Period

ABBREVIATIONS = {"api": "API", "mfa": "MFA", "id": "ID", "n": "number"}
NOTHING = "–"


def in_words(kind: str, period: Period) -> str:
    """The period as people write it: `Saturday 28 February 2026`, `22 to 28 February 2026`, `February 2026`."""
    first, last = period.start, period.end - dt.timedelta(days=1)
    if kind == "monthly":
        return f"{first:%B %Y}"
    if kind == "daily":
        return f"{first:%A} {date(first)}"
    same_month = (first.year, first.month) == (last.year, last.month)
    return f"{first.day if same_month else date(first)} to {date(last)}"


def compared(change: float) -> str:
    if not change:
        return "as in the week before"
    return f"{change:+,.1f} % on the week before".replace("-", "\N{MINUS SIGN}")


def words(key: str) -> str:
    """A key as a label: `failed_mfa` becomes `Failed MFA`."""
    return capital(spelled(key))


def spelled(key: str) -> str:
    return " ".join(ABBREVIATIONS.get(word, word) for word in key.split("_"))


def capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def unit_of(evidence: str) -> str:
    return "time" if evidence.endswith("_at") else ""


def shown(value: Any, unit: str = "") -> str:
    match value:
        case None if unit == "time":
            return "never"
        case None:
            return NOTHING
        case int() if unit == "hour":
            return f"{value:02}:00–{(value + 1) % 24:02}:00"
        case int() | float() if unit == "percent":
            return f"{value:,.1f} %"
        case int() | float() if unit == "minutes":
            return duration(value)
        case int() | float():
            return f"{value:,}"
        case str() if value[10:11] == "T" and value.endswith("Z"):
            return f"{value[:10]} {value[11:16]}"
    return str(value)


def duration(minutes: float) -> str:
    """Minutes as people say them: `12.5 min`, `1 h 30 min`, `3 d 4 h`."""
    if minutes < 60:
        return f"{minutes:,.1f} min"
    hours, rest = divmod(round(minutes), 60)
    return f"{hours} h {rest} min" if hours < 48 else f"{hours // 24:,} d {hours % 24} h"


def date(instant: dt.datetime) -> str:
    return f"{instant.day} {instant:%B %Y}"


def clock(instant: dt.datetime) -> str:
    return f"{date(instant)}, {instant:%H:%M} UTC"

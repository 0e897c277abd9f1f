"""Instants and durations for an operator: always UTC, with the distance from now."""

import datetime as dt
import re

_UNITS = (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1))


def now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)


def parse(text: str) -> dt.datetime:
    """An instant from ISO 8601, in UTC.

    Raises:
        ValueError: not a time, outside the calendar, or without a zone; the message holds the remedy.
    """
    try:
        instant = dt.datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"{text!r} is not a time: write it like 2026-03-02T09:00:00Z") from None
    if instant.tzinfo is None:
        raise ValueError(f"{text!r} has no time zone: add Z for UTC or an offset, like 2026-03-02T09:00:00+01:00")
    try:
        return instant.astimezone(dt.UTC)
    except OverflowError:
        raise ValueError(f"{text!r} lies outside the calendar: write it like 2026-03-02T09:00:00Z") from None


_DURATION = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*(d|h|min|s)")


def duration(text: str) -> dt.timedelta:
    """A length of time from a text like `8h`, `90min`, `0.2s`.

    Raises:
        ValueError: another form; the message holds the remedy.
    """
    found = _DURATION.fullmatch(text.strip())
    if found is None:
        raise ValueError(f"{text!r} is no length of time: write it like 0.2s, 90min, 8h or 3d")
    try:
        return dt.timedelta(seconds=float(found[1]) * dict(_UNITS)[found[2]])
    except OverflowError:
        raise ValueError(f"{text!r} is longer than the calendar: write it like 8h or 3d") from None


def shown(text: str | None, now: dt.datetime) -> str:
    """An instant of an answer: `2026-03-02 09:00 (3 h ago)`; nothing for None."""
    if text is None:
        return ""
    instant = parse(text)
    return f"{instant:%Y-%m-%d %H:%M} ({relative(instant, now)})"


def relative(instant: dt.datetime, now: dt.datetime) -> str:
    """The distance from now in its largest whole unit: `in 3 h`, `2 d ago`, `now`."""
    seconds = round((instant - now).total_seconds())
    for unit, size in _UNITS:
        if abs(seconds) >= size:
            number = f"{abs(seconds) // size} {unit}"
            return f"in {number}" if seconds > 0 else f"{number} ago"
    return "now"


def took(milliseconds: int | None) -> str:
    """A duration: `340 ms`, `12.5 s`, `3 min 20 s`; nothing for None."""
    if milliseconds is None:
        return ""
    if milliseconds < 1_000:
        return f"{milliseconds} ms"
    if milliseconds < 60_000:
        return f"{milliseconds / 1_000:.1f} s"
    minutes, seconds = divmod(round(milliseconds / 1_000), 60)
    return f"{minutes} min {seconds} s"

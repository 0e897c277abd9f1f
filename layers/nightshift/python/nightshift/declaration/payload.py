"""What a payload says, read strictly: an event of a job, or a command of an operator."""

import datetime as dt
from typing import Any

from nightshift.declaration.fields import shown
from nightshift.errors import EventError


def read_truth(key: str, value: Any) -> bool:
    """True or false, and nothing that only counts as such.

    Raises:
        EventError: it is neither.
    """
    if not isinstance(value, bool):
        raise EventError(f"{key} must be true or false; got {shown(value)}")
    return value


def read_instant(key: str, value: Any) -> dt.datetime:
    """An instant from ISO 8601, in the time zone in which it was written.

    Raises:
        EventError: it is no time, or has no time zone.
    """
    try:
        instant = dt.datetime.fromisoformat(value)
    except (TypeError, ValueError):
        raise EventError(f"{key} must be a time like 2026-03-02T09:00:00Z; got {shown(value)}") from None
    if instant.tzinfo is None:
        raise EventError(f"{key} must have a time zone, like 2026-03-02T09:00:00Z; got {shown(value)}")
    return instant

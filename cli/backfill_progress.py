"""How far a backfill is: of how many occurrences, how many failed, and how long it will take."""

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cli.times import parse


@dataclass(frozen=True)
class BackfillProgress:
    """Occurrences, and the time left."""

    done: int
    of: int
    failed: int
    seconds_left: float | None
    """None where nobody can tell: it has run nothing yet, or is paused or over."""

    @property
    def words(self) -> str:
        """`12 of 30 occurrences, 2 failed, about 3 h left`."""
        parts = [f"{self.done:,} of {self.of:,} occurrences"]
        if self.failed:
            parts.append(f"{self.failed:,} failed")
        if self.seconds_left is not None:
            parts.append(f"about {_length(self.seconds_left)} left")
        return ", ".join(parts)


def backfill_progress(backfill: Mapping[str, Any], now: dt.datetime) -> BackfillProgress:
    """How far a backfill of the console's answer is. What it leaves as it is takes no time."""
    done, counts = backfill["done"], backfill["counts"]
    ran = done - counts.get("kept", 0)
    left = None
    if backfill["state"] == "open" and ran > 0:
        seconds = (now - parse(backfill["created_at"])).total_seconds()
        left = seconds / ran * (backfill["occurrences"] - done)
    return BackfillProgress(done, backfill["occurrences"], counts.get("failed", 0), left)


def _length(seconds: float) -> str:
    """The largest unit that is full at least twice, so that it says enough: `90 s`, `3 min`, `40 h`, `3 d`."""
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{round(seconds / size):,} {unit}"
    return f"{round(seconds)} s"

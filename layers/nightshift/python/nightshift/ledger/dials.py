"""Dials: how an operator lets a job work while it is at work. They hold from its next batch on."""

import datetime as dt
import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from nightshift.declaration.windows import Hours
from nightshift.ledger.tables import EVERY_JOB


@dataclass(frozen=True)
class Dials:
    """What is set. None, and not held: as declared."""

    largest_batch: int | None = None
    """How many rows of a step's table one batch may change at most."""
    rows_per_second: float | None = None
    pause_seconds: float | None = None
    """Between two batches, at least."""
    hours: Hours | None = None
    held: bool = False
    told: str = ""
    """Who holds it, and why."""

    @property
    def largest(self) -> int | None:
        """How many rows the next batch may have: at most what is allowed within a second."""
        most = [each for each in (self.largest_batch, self.rows_per_second) if each is not None]
        return max(1, int(min(most))) if most else None

    def as_json(self) -> dict[str, Any]:
        return {
            "largest_batch": self.largest_batch,
            "rows_per_second": self.rows_per_second,
            "pause_seconds": self.pause_seconds,
            "hours": None if self.hours is None else str(self.hours),
            "held": self.held,
        }


UNTOUCHED = Dials()


def dials_query(job: str) -> str:
    """One SELECT of the rows that concern a job, as text that `read_dials` takes. It stands at the begin of batches."""
    jobs = f"('{EVERY_JOB}', '{job}')"  # a job's name has letters, digits and hyphens
    return f"select coalesce(json_agg(d order by d.job)::text, '[]') from nightshift.dials d where d.job in {jobs}"  # noqa: S608


def read_dials(text: str) -> Dials:
    """What is set for a job: by its own row, and where that says nothing, by the row of all jobs."""
    return merged(json.loads(text))


def merged(rows: Collection[Mapping[str, Any]]) -> Dials:
    """The dials of a job from its own row and that of all jobs. Whoever holds either of them holds the job."""
    found: dict[str, Any] = {}
    for row in sorted(rows, key=lambda each: each["job"] != EVERY_JOB):
        for name in ("largest_batch", "rows_per_second", "pause_seconds", "hours"):
            if row[name] is not None:
                found[name] = Hours.parse(row[name]) if name == "hours" else row[name]
        if row["held"]:
            found |= {"held": True, "told": f"held by {row['changed_by']}: {row['reason']}"}
    return Dials(**found)


def why_not(dials: Dials, now: dt.datetime) -> str | None:
    """Why a run may not go on, as its dials stand."""
    if dials.held:
        return dials.told
    if dials.hours is not None and not dials.hours.allow(now):
        return f"works from {dials.hours} UTC only"
    return None

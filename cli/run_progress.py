"""How far a run is: of how many rows it has counted, how fast, and how long it will take."""

import datetime as dt
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from cli.screen import counters
from cli.times import parse

NOT_DONE = ("quarantined", "referenced", "locked", "changed")
"""Counters of candidates that stay, each with the reason that `KEPT` tells."""

KEPT = {
    "quarantined": "each failed by itself; its error is told below",
    "referenced": "other rows refer to them",
    "locked": "another session had them locked to the end",
    "changed": "they were changed after they were counted, so that they are meant no more",
    "kept": "they could not be deleted with what refers to them",
}


def kept_rows(counters: Mapping[str, Any]) -> list[tuple[str, int, str]]:
    """The rows that a run has left as they were: the kind, how many, and why they stay."""
    return [(name, counters[name], why) for name, why in KEPT.items() if counters.get(name)]


@dataclass(frozen=True)
class RunProgress:
    """Rows of candidates, and the pace."""

    done: int
    of: int
    rows_per_second: float | None
    seconds_left: float | None

    @property
    def share(self) -> float:
        return self.done / self.of if self.of else 1.0

    @property
    def words(self) -> str:
        """`12,000 of 40,000 rows, 3,000 a second, about 10 s left`."""
        parts = [f"{self.done:,} of {self.of:,} rows"]
        if self.rows_per_second:
            parts.append(f"{self.rows_per_second:,.0f} a second")
        if self.seconds_left is not None:
            minutes, seconds = divmod(round(self.seconds_left), 60)
            parts.append(f"about {f'{minutes} min ' if minutes else ''}{seconds} s left")
        return ", ".join(parts)


def run_progress(
    run: Mapping[str, Any], changed: Callable[[Mapping[str, int]], int] | None, now: dt.datetime
) -> RunProgress | None:
    """How far a run is. None if it has counted no candidates: then nobody knows how much there is.

    changed: how many rows of the job's own tables its counters say (`Job.changed`); None for a job that is not known.
    """
    stated = run.get("candidates") or {}
    of = sum(rows for name, rows in stated.items() if isinstance(rows, int) and " > " not in name)
    if not of:
        return None
    counted = run["counters"]
    done = changed(counted) if changed else sum(counted.get(name, 0) for name in ("deleted", "updated"))
    done = min(of, done + sum(counted.get(name, 0) for name in NOT_DONE))
    if not run["started_at"]:
        return RunProgress(done, of, None, None)
    end = parse(run["finished_at"]) if run["finished_at"] else now
    seconds = (end - parse(run["started_at"])).total_seconds()
    pace = done / seconds if seconds > 0 and done else None
    left = (of - done) / pace if pace and not run["finished_at"] else None
    return RunProgress(done, of, pace, left)


def at_work(run: Mapping[str, Any], progress: RunProgress | None) -> str:
    """How far an open run is, in words: rows, pace and time left, or what it has counted so far."""
    if progress is not None:
        return progress.words
    counted = counters(run["counters"]) or "nothing counted yet"
    if run["outcome"] != "running":
        return counted
    step = f", step {run['step']}" if run.get("step") else ""
    return f"{'the plan is being made' if run['mode'] == 'plan' else 'at work'}{step}: {counted}"

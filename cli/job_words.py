"""What is to be said of a job in words: what needs attention first, and its policy."""

import datetime as dt
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from nightshift.declaration import Policy

Weight = Literal["bad", "warn"]


@dataclass(frozen=True)
class Concern:
    """Why somebody should look at a job, and the run that shows it."""

    weight: Weight
    what: str
    why: str
    run_id: str | None = None


def concerns(job: Mapping[str, Any]) -> list[Concern]:
    """What needs attention at a job of the console's overview, the worst first."""
    return sorted(_concerns(job), key=lambda each: each.weight)


def of_other(health: Mapping[str, Any]) -> Concern:
    """The concern of a job whose settings make no sense, from the overview's `others`."""
    return Concern("bad", "It cannot run", health["reason"])


def may_lift(run: Mapping[str, Any]) -> bool:
    """Whether a run has stopped at its cap: the reason then names the command that lifts it."""
    return run["outcome"] == "failed" and "--override-cap" in (run["reason"] or "")


def _concerns(job: Mapping[str, Any]) -> Iterator[Concern]:
    last = job["last_run"]
    if last and last["outcome"] == "failed":
        yield Concern("bad", "The last run failed", last["reason"] or "no reason is known", last["run_id"])
    elif last and last["counters"].get("quarantined"):
        number = last["counters"]["quarantined"]
        rows = "1 row" if number == 1 else f"{number:,} rows"
        yield Concern("warn", f"The last run left {rows} as they were", "each has its own error", last["run_id"])
    elif last and last["outcome"] == "missed":
        yield Concern("warn", "The last occurrence was missed", last["reason"] or "", last["run_id"])
    for run in job["open_runs"]:
        if run["outcome"] == "retrying":
            why = f"attempt {run['attempt']} of {run['max_attempts']}: {run['reason'] or ''}"
            yield Concern("warn", "A run is tried again", why, run["run_id"])
    health = job["health"]
    if health["status"] == "degraded":
        yield Concern("bad", "No success in time", health["reason"])
    if job["paused"]:
        yield Concern("warn", "Paused", f"by {job['paused']['by']}: {job['paused']['reason']}")


def state(job: Mapping[str, Any]) -> str:
    """What a job does now: disabled, running, paused or enabled."""
    if not job["enabled"]:
        return "disabled"
    if job["running"]:
        return "running"
    return "paused" if job["paused"] else "enabled"


def occurrences(job: Mapping[str, Any], start: dt.datetime, end: dt.datetime) -> list[dt.datetime]:
    """Every time from start (included) to end (excluded) at which a deployed job is due."""
    from nightshift.declaration import Schedule

    return list(Schedule.parse(job["schedule"]).between(start, end))


def policy(effective: "Policy") -> str:
    """What happens to occurrences that were missed, that overlap, or that are late."""
    missed = {"latest": "the latest is caught up", "every": "every one is caught up", "none": "it is not caught up"}
    limit = f"; more than {effective.late_limit} late it is missed" if effective.late_limit else ""
    overlap = "an overlapping one is skipped" if effective.overlap == "skip" else "an overlapping one waits"
    return f"{missed[effective.missed]}{limit}; {overlap}"


def limits(minimum: int, maximum: int | None, unit: str) -> str:
    """`at least 7 days`, `1 to 100 percent`."""
    if minimum == 1 and maximum is None:
        return f"at least 1 {unit.removesuffix('s')}"
    return f"at least {minimum:,} {unit}" if maximum is None else f"{minimum:,} to {maximum:,} {unit}"


# What a change has done, in one sentence, for the command and the page alike.


def paused(job: str) -> str:
    return f"{job} is paused."


def resumed(job: str) -> str:
    return f"{job} is not paused."


def cancelled(run: Mapping[str, Any]) -> str:
    return f"The run of {run['job']} is cancelled. What it has committed stays."


def redriven(run: Mapping[str, Any], *, lifted: bool) -> str:
    cap = ", with its cap lifted this once" if lifted else ""
    return f"The run of {run['job']} goes on where it stopped{cap}."

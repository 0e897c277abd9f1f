"""What is to be said of a job in words: what needs attention first, and its policy."""

import datetime as dt
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from cli.screen import counters

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
    backfill_id: str | None = None


def concerns(job: Mapping[str, Any], told: Callable[[str], str]) -> list[Concern]:
    """What needs attention at a job of the console's overview, the worst first.

    told: how an instant is shown.
    """
    return sorted(_concerns(job, told), key=lambda each: each.weight)


def of_other(health: Mapping[str, Any]) -> Concern:
    """The concern of a job whose settings make no sense, from the overview's `others`."""
    return Concern("bad", "It cannot run", health["reason"])


def may_lift(run: Mapping[str, Any]) -> bool:
    """Whether a run has stopped at its cap: the reason then names the command that lifts it."""
    return run["outcome"] == "failed" and "--override-cap" in (run["reason"] or "")


def _concerns(job: Mapping[str, Any], told: Callable[[str], str]) -> Iterator[Concern]:
    last = job["last_run"]
    if last and last["outcome"] == "failed":
        yield Concern("bad", "The last run failed", last["reason"] or "no reason is known", last["run_id"])
    elif last and last["counters"].get("quarantined"):
        number = last["counters"]["quarantined"]
        rows = "1 row" if number == 1 else f"{number:,} rows"
        yield Concern("warn", f"The last run left {rows} as they were", "each has its own error", last["run_id"])
    elif last and last["outcome"] == "missed":
        yield Concern("warn", "The last occurrence was missed", last["reason"] or "", last["run_id"])
    if last and (unusual := anomalies(last)):
        yield Concern(
            "warn", f"The last run is unusual: {', '.join(unusual)}", "; ".join(unusual.values()), last["run_id"]
        )
    for run in job["open_runs"]:
        if unusual := anomalies(run):
            what = f"A run at work is unusual: {', '.join(unusual)}"
            yield Concern("warn", what, "; ".join(unusual.values()), run["run_id"])
        if run["outcome"] == "retrying":
            why = f"attempt {run['attempt']} of {run['max_attempts']}: {run['reason'] or ''}"
            yield Concern("warn", "A run is tried again", why, run["run_id"])
        if word := strained(run):
            yield Concern("warn", f"A run is {word}", run["strain"].get("why") or "", run["run_id"])
    for backfill in job.get("backfills", ()):
        if backfill["state"] == "paused":
            why = backfill["told"] or "nobody has said why"
            yield Concern("warn", "A backfill is paused", why, backfill_id=backfill["backfill_id"])
    health = job["health"]
    if health["status"] == "degraded":
        yield Concern("bad", "No success in time", health["reason"])
    if state(job) in ("paused", "frozen"):
        yield Concern("warn", state(job).capitalize(), because(job, told).strip())


ANOMALIES = {"slow": "slow", "nothing": "nothing touched", "many": "far more than usual"}


def anomalies(run: Mapping[str, Any]) -> dict[str, str]:
    """What is unusual about a run, in a few words, each with the figures that say so."""
    return {ANOMALIES.get(kind, kind): said for kind, said in (run.get("anomalies") or {}).items()}


def state(job: Mapping[str, Any]) -> str:
    """What a job does now: disabled, running, paused, frozen or enabled."""
    if not job["enabled"]:
        return "disabled"
    if job["running"]:
        return "running"
    if job["paused"]:
        return "paused"
    return "frozen" if job.get("frozen") else "enabled"


def because(job: Mapping[str, Any], told: Callable[[str], str]) -> str:
    """What follows the word of `state`: who keeps the job from its work, until when and why.

    told: how an instant is shown.
    """
    match state(job):
        case "running":
            waits = next((each["strain"] for each in job["open_runs"] if strained(each)), None)
            return f", {waits['state']}: {waits['why']}" if waits else ""
        case "paused":
            return by_whom(job["paused"], told)
        case "frozen":
            return f" until {told(job['frozen']['until'])}: {job['frozen']['reason']}"
        case "enabled" if job.get("dials"):
            return f"; dials: {counters(job['dials'])}"
    return ""


def by_whom(pause: Mapping[str, Any], told: Callable[[str], str]) -> str:
    """What follows the word "paused": by whose pause, until when and why."""
    until = f" until {told(pause['until'])}" if pause.get("until") else ""
    with_all = " with all jobs" if pause.get("all") else ""
    return f"{with_all} by {pause['by']}{until}: {pause['reason']}"


def strained(run: Mapping[str, Any]) -> str | None:
    """Whether strain, a dial or a freeze holds a run up: the word for it."""
    return (run.get("strain") or {}).get("state")


DIALS = {
    "rows_per_second": "rows per second",
    "largest_batch": "largest batch",
    "pause_seconds": "pause between batches",
    "hours": "hours (UTC)",
}


def dialled(dials: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """The name and the value of every dial that is turned."""
    for name, words in DIALS.items():
        if (value := dials[name]) is not None:
            unit = " rows" if name == "largest_batch" else " s" if name == "pause_seconds" else ""
            yield words, f"{value:g}{unit}" if isinstance(value, float) else f"{value}{unit}"


def occurrences(job: Mapping[str, Any], start: dt.datetime, end: dt.datetime) -> list[dt.datetime]:
    """Every time from start (included) to end (excluded) at which a deployed job is due."""
    from nightshift.declaration import Schedule

    return list(Schedule.parse(job["schedule"], job.get("timezone")).between(start, end))


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


def paused(job: str | None, until: str = "") -> str:
    """until: with its own word before it; nothing for a pause without an end."""
    return f"{job or 'Every job'} is paused{until}."


def replaced(answer: Mapping[str, Any], told: Callable[[str], str]) -> str:
    """The pause that a new one has taken the place of, with a space before it; nothing where there was none.

    told: how an instant is shown.
    """
    before = answer.get("replaced")
    if not before:
        return ""
    until = f" until {told(before['until'])}" if before.get("until") else ""
    return f" It replaces the pause by {before['by']} from {told(before['at'])}{until}: {before['reason']}."


def resumed(job: str | None, answer: Mapping[str, Any]) -> str:
    if answer["paused"]:
        return f"{job} itself is not paused, and all jobs are."
    return "The pause of all jobs has ended." if job is None else f"{job} is not paused."


def turned(answer: Mapping[str, Any]) -> str:
    """How the dials stand after a change."""
    stand = ", ".join(f"{words} {value}" for words, value in dialled(answer["dials"]))
    held = f" It is held: {answer['held_because']}." if answer["held_because"] else ""
    return f"The dials of {answer['job']} stand at: {stand or 'as declared'}.{held}"


def cancelled(run: Mapping[str, Any]) -> str:
    return f"The run of {run['job']} is cancelled. What it has committed stays."


def redriven(run: Mapping[str, Any], *, lifted: bool) -> str:
    cap = ", with its cap lifted this once" if lifted else ""
    return f"The run of {run['job']} goes on where it stopped{cap}."


def backfill_changed(backfill: Mapping[str, Any]) -> str:
    """What has become of a backfill that somebody paused, resumed or cancelled."""
    progress = f"{backfill['done']:,} of {backfill['occurrences']:,} occurrences are done"
    run = " Its open run goes on to its end." if backfill["run_id"] and backfill["state"] != "open" else ""
    state = {
        "open": f"goes on, at the oldest occurrence that is left: {progress}.",
        "paused": f"is paused: {progress}.{run}",
        "cancelled": f"is cancelled: {progress}, and stay so.{run}",
    }
    return f"The backfill of {backfill['job']} {state.get(backfill['state'], backfill['state'])}"

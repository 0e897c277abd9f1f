"""Why an open run does not go on at once, in words."""

import datetime as dt
from collections.abc import Callable, Mapping
from typing import Any

from cli.job_words import strained
from cli.times import parse

Answer = Mapping[str, Any]

OPEN = frozenset({"queued", "running", "retrying", "interrupted"})
"""The outcomes of runs that have not ended."""

GRACE = dt.timedelta(seconds=10)
"""How far this machine's clock may be ahead of the database's before a lease is taken for over."""


def waits(run: Answer, job: Callable[[], Answer], supervisor: Callable[[], Answer], now: dt.datetime) -> str | None:
    """What an open run waits for or gives way to; None if it is simply at work.

    job: the console's answer about the run's job, asked only where it is needed: who is ahead of the run.
    supervisor: when the supervisor last looked, asked only for a run that needs it.
    """
    if state := strained(run):
        since = run["strain"].get("since")
        held = f"it is {state}{f' since {since}' if since else ''}: {run['strain'].get('why')}"
        return held if run["outcome"] == "running" else f"{held}{_next_round(supervisor())}"
    match run["outcome"]:
        case "queued":
            ahead = run["reason"] or _ahead(run, job())
            return f"it waits: {ahead}{_next_round(supervisor())}"
        case "interrupted":
            why = run["reason"] or "its attempt ran out of time"
            return f"it waits for its next attempt: {why}{_next_round(supervisor())}"
        case "retrying":
            tried = f"attempt {run['attempt']} of {run['max_attempts']} failed: {run['reason']}"
            return f"it is tried again: {tried}{_next_round(supervisor())}"
        case "running" if run["lease_until"] and parse(run["lease_until"]) < now - GRACE:
            return f"its attempt has died{_next_round(supervisor())}"
    return None


def _ahead(run: Answer, job: Answer) -> str:
    """Which run of the job goes before it. The job may be frozen or switched off, too."""
    others = [each for each in job["open_runs"] if each["run_id"] != run["run_id"] and each["mode"] == "apply"]
    others.sort(key=lambda each: (each["outcome"] != "running", each["scheduled_for"]))
    if others:
        first = others[0]
        return f"run {first['run_id']} of {first['scheduled_for']} is {first['outcome']}"
    if frozen := job.get("frozen"):
        return f"the job is frozen until {frozen['until']}: {frozen['reason']}"
    if not job["enabled"]:
        return "the job is disabled by the deployment's settings"
    return "it has not begun yet"


def _next_round(supervisor: Answer) -> str:
    """When the supervisor goes on with it."""
    if supervisor["silent"]:
        last = supervisor["last_round"]
        seen = f"since {last}" if last else "and has never looked"
        return f". The supervisor, which would go on with it, is silent {seen}"
    return ". The supervisor looks every minute"

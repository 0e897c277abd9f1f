"""What a person sees: the answers of a deployment as tables and short lines."""

import datetime as dt
import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import groupby
from operator import itemgetter
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from cli.schedule_words import in_words
from cli.times import shown, took
from nightshift.declaration import Schedule

Answer = Mapping[str, Any]

UNREAD_WIDTH = 160
"""Columns for output that no terminal shows: wide enough to be searched line by line."""

STYLES = {
    "succeeded": "green",
    "healthy": "green",
    "planned": "cyan",
    "running": "cyan",
    "failed": "bold red",
    "degraded": "bold red",
    "not_ready": "bold red",
    "interrupted": "yellow",
    "retrying": "yellow",
    "queued": "yellow",
    "missed": "yellow",
    "paused": "yellow",
}

SHORT_ID = 8


def terminal(*, errors: bool = False) -> Console:
    """Standard output (or error) as text to read. What answers say is never taken for markup."""
    watched = sys.stderr.isatty() if errors else sys.stdout.isatty()
    width = None if watched or "COLUMNS" in os.environ else UNREAD_WIDTH
    return Console(stderr=errors, markup=False, highlight=False, emoji=False, width=width, soft_wrap=False)


@contextmanager
def waiting(text: str) -> Iterator[None]:
    """A spinner and a clock on standard error, where somebody watches it."""
    columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False), TimeElapsedColumn())
    with Progress(*columns, console=terminal(errors=True), transient=True, disable=not sys.stderr.isatty()) as progress:
        progress.add_task(text, total=None)
        yield


def words(schedule: str) -> str:
    return in_words(Schedule.parse(schedule))


def jobs(answer: Answer, now: dt.datetime) -> Table:
    """Every job in a line, under the name of its pack. Without a ledger (`--declared`) nothing is known of its runs."""
    live = any("last_run" in job for job in answer["jobs"])
    table = _table("Job", "Schedule", *(("State", "Last run (UTC)") if live else ()), "Next run (UTC)")
    table.columns[0].no_wrap = True
    for pack, members in groupby(answer["jobs"], key=itemgetter("pack")):
        table.add_row(Text(pack, "bold"))
        for job in members:
            runs = (_styled(_state(job)), _last(job["last_run"], now)) if live else ()
            table.add_row(job["job"], words(job["schedule"]), *runs, shown(job["next_run"], now) or "disabled")
        table.add_section()
    return table


def occurrences(answer: Answer, now: dt.datetime) -> Table:
    table = _table("When (UTC)", "Job", "Schedule", "")
    for each in answer["next"]:
        paused = Text("paused", "yellow") if each.get("paused") else ""
        table.add_row(shown(each["scheduled_for"], now), each["job"], words(each["schedule"]), paused)
    return table


def runs(found: Iterable[Answer], now: dt.datetime) -> Table:
    table = _table("Run", "Job", "Scheduled for (UTC)", "Trigger", "Outcome", "Took", "Counters")
    for run in found:
        trigger = run["trigger"] + (", forced" if run["forced"] else "")
        table.add_row(
            run["run_id"][:SHORT_ID],
            run["job"],
            shown(run["scheduled_for"], now),
            trigger,
            _styled(run["outcome"]),
            took(run["duration_ms"]),
            counters(run["counters"]),
        )
    return table


def result(answer: Answer) -> Iterator[Table | Text | str]:
    """What a job's function returned: the outcome first, then what it did, then where to look."""
    duration = took(answer["duration_ms"])
    yield Text.assemble(answer["job"], ": ", _styled(answer["outcome"]), f" in {duration}" if duration else "")
    facts = _facts()
    facts.add_row("for", answer["scheduled_for"])
    if answer.get("reason"):
        facts.add_row("why", answer["reason"])
    if answer["outcome"] != "planned":
        facts.add_row("counters", counters(answer["counters"], zeros=True))
    for error in answer["errors"]:
        facts.add_row("error", Text(error, "red"))
    yield facts
    if answer.get("plan"):
        yield from plan(answer["plan"])
    yield f"Look at it again: nightshift show {answer['run_id'][:SHORT_ID]}"


def plan(found: Answer) -> Iterator[Table | Text]:
    """What each step would do, and what stands in the way."""
    table = _table("Step", "Would", "Rows", "Table", "Older than", "Among them")
    table.columns[4].no_wrap = True
    for step in found["steps"]:
        rows = f"{step['rows']:,}" + (f" of {step['of']:,}" if step.get("of") is not None else "")
        table.add_row(
            step["step"], step["action"], rows, step["table"], step.get("cutoff", ""), "\n".join(step["sample"])
        )
    yield table
    for each in found["over_cap"]:
        yield Text(f"Over its cap, so that a run would stop before changing anything: {each}", "yellow")


def run(found: Answer, now: dt.datetime) -> Iterator[Table | Text | str]:
    """All about one run."""
    yield Text.assemble(f"{found['job']}, run {found['run_id']}: ", _styled(found["outcome"]))
    facts = _facts()
    for name, value in (
        ("why", found["reason"]),
        ("for", shown(found["scheduled_for"], now)),
        ("trigger", f"{found['trigger']}, {found['mode']}" + (", forced" if found["forced"] else "")),
        ("started", shown(found["started_at"], now)),
        ("finished", shown(found["finished_at"], now)),
        ("took", took(found["duration_ms"])),
        ("lease until", shown(found["lease_until"], now)),
        ("attempts", f"{found['attempt']} of {found['max_attempts']}; invocations: {len(found['attempts'])}"),
        ("step", found["step"]),
        ("parameters", counters(found["parameters"])),
        ("candidates", counters(found["candidates"] or {})),
        ("counters", counters(found["counters"])),
        ("cap lifted", "by {by}: {reason}".format(**found["override"]) if found["override"] else None),
    ):
        if value:
            facts.add_row(name, value)
    for error in found["errors"]:
        facts.add_row("error", Text(error, "red"))
    yield facts
    if found["plan"]:
        yield from plan(found["plan"])
    if found["attempts"]:
        table = _table("Epoch", "Started (UTC)", "Ended", "Ending", "Request id", "Error")
        for attempt in found["attempts"]:
            started, ended = shown(attempt["started_at"], now), shown(attempt["ended_at"], now)
            facts_of_it = (attempt["ending"] or "at work", attempt["request_id"] or "", attempt["error"] or "")
            table.add_row(str(attempt["epoch"]), started, ended, *facts_of_it)
        yield table
    if found["quarantined"]:
        table = _table("Step", "Left as it was", "Error")
        for item in found["quarantined"]:
            table.add_row(item["step"], item["item"], item["error"])
        yield table


def status(answer: Answer, now: dt.datetime) -> Iterator[Table | Text | str]:
    totals = answer["jobs"]
    facts = _facts()
    facts.add_row("jobs", counters(totals, zeros=True))
    facts.add_row("last 24 hours", counters(answer["last_24_hours"]) or "no run ended")
    facts.add_row("quarantined", f"{answer['quarantined_last_24_hours']:,} items in the last 24 hours")
    yield facts
    if answer["open_runs"]:
        yield "Open runs"
        yield runs(answer["open_runs"], now)
    if answer["failures"]:
        yield "Failed in the last 24 hours; what happened: nightshift show RUN"
        yield runs(answer["failures"], now)


def health(answer: Answer, now: dt.datetime) -> Iterator[Table | Text]:
    if answer["status"] != "ready":
        yield Text.assemble(_styled(answer["status"]), f": {answer['reason']}")
        return
    yield Text.assemble("ready; jobs: ", _styled(answer["scheduler"]))
    table = _table("Job", "Health", "Last success (UTC)", "Limit", "Why")
    for job in answer["jobs"]:
        table.add_row(
            job["job"],
            _styled(job["status"]),
            shown(job["last_success"], now) or "never",
            f"{job['limit_hours']:g} h",
            job["reason"] or "",
        )
    yield table


def backfilled(answer: Answer) -> str:
    """One occurrence in a line: for which time, how it ended, what it did."""
    facts = (answer.get("outcome", ""), counters(answer.get("counters", {})), answer.get("reason") or "")
    return "  ".join(fact for fact in (answer["scheduled_for"], *facts) if fact)


def counters(found: Mapping[str, Any], *, zeros: bool = False) -> str:
    """`deleted 1,200, batches 3`; those that are zero only when asked for."""
    return ", ".join(
        f"{name} {value:,}" if isinstance(value, int) else f"{name} {value}"
        for name, value in found.items()
        if value or zeros
    )


def _state(job: Answer) -> str:
    if not job["enabled"]:
        return "disabled"
    if job["running"]:
        return "running"
    return "paused" if job["paused"] else "enabled"


def _last(last: Answer | None, now: dt.datetime) -> Text | str:
    if last is None:
        return "never"
    return Text.assemble(_styled(last["outcome"]), f" {shown(last['finished_at'], now)}")


def _styled(word: str) -> Text:
    return Text(word.replace("_", " "), STYLES.get(word, ""))


def _table(*columns: str) -> Table:
    table = Table(*columns, box=SIMPLE_HEAD, pad_edge=False)
    for column in table.columns:
        column.overflow = "fold"  # never an ellipsis: a name must be searchable
    return table


def _facts() -> Table:
    facts = Table.grid(padding=(0, 2))
    facts.add_column(style="dim", no_wrap=True)
    facts.add_column(overflow="fold")
    return facts

"""How jobs are shown to a person: their list, next occurrences, health, and status."""

import datetime as dt
from collections.abc import Iterator
from itertools import groupby
from operator import itemgetter

from rich.table import Table
from rich.text import Text

from cli.command_line import again
from cli.job_words import because, by_whom, dialled, state
from cli.run_tables import runs
from cli.screen import Answer, counters, facts, styled, table
from cli.times import shown


def words(job: Answer) -> str:
    """A job's schedule in words."""
    from cli.schedule_words import in_words
    from nightshift.declaration import Schedule

    return in_words(Schedule.parse(job["schedule"], job.get("timezone")))


def jobs(answer: Answer, now: dt.datetime) -> Table:
    """One line for each job, under its pack. Without a ledger (`--declared`), nothing is known about its runs."""
    live = any("last_run" in job for job in answer["jobs"])
    rows = table("Job", "Schedule", *(("State", "Last run (UTC)") if live else ()), "Next run (UTC)")
    for pack, members in groupby(answer["jobs"], key=itemgetter("pack")):
        rows.add_row(Text(pack, "bold"))
        for job in members:
            runs = (_state(job, now), _last(job["last_run"], now)) if live else ()
            rows.add_row(job["job"], words(job), *runs, shown(job["next_run"], now) or "disabled")
        rows.add_section()
    return rows


def occurrences(answer: Answer, now: dt.datetime) -> Table:
    rows = table("When (UTC)", "Job", "Schedule", "")
    for each in answer["next"]:
        paused = Text(f"paused{_by_whom(each, now)}", "yellow") if each.get("paused") else ""
        rows.add_row(shown(each["scheduled_for"], now), each["job"], words(each), paused)
    return rows


def _by_whom(occurrence: Answer, now: dt.datetime) -> str:
    pause = occurrence.get("pause")  # a deployment of an earlier version says only that there is one
    return by_whom(pause, lambda instant: shown(instant, now)) if pause else ""


def status(answer: Answer, now: dt.datetime) -> Iterator[Table | Text | str]:
    totals = answer["jobs"]
    lines = facts()
    lines.add_row("jobs", counters(totals))
    lines.add_row("last 24 hours", counters(answer["last_24_hours"]) or "no run ended")
    lines.add_row("quarantined", f"{answer['quarantined_last_24_hours']:,} items in the last 24 hours")
    yield lines
    if answer["open_runs"]:
        yield "Open runs"
        yield runs(answer["open_runs"], now)
    if answer["failures"]:
        yield f"Failed in the last 24 hours. For details: {again('show RUN')}"
        yield runs(answer["failures"], now)


def health(answer: Answer, now: dt.datetime) -> Iterator[Table | Text]:
    if answer["status"] != "ready":
        yield Text.assemble(styled(answer["status"]), f": {answer['reason']}")
        return
    yield Text.assemble("deployment: ready, jobs: ", styled(answer["scheduler"]))
    rows = table("Job", "Health", "Last success (UTC)", "Limit", "Reason")
    for job in answer["jobs"]:
        rows.add_row(
            job["job"],
            styled(job["status"]),
            shown(job["last_success"], now) or "never",
            f"{job['limit_hours']:g} h",
            job["reason"] or "",
        )
    yield rows


def dials(answer: Answer, now: dt.datetime) -> Iterator[Table | Text | str]:
    """How the dials of a job, or of all, stand, and who turned them and why."""
    whom = "all jobs" if answer["job"] == "*" else answer["job"]
    lines = facts()
    for words, value in dialled(answer["dials"]):
        lines.add_row(words, value)
    if answer["held_because"]:
        lines.add_row("held", Text(answer["held_because"], "yellow"))
    yield f"{whom}: as declared" if lines.row_count == 0 else f"{whom}:"
    yield lines
    if answer["changes"]:
        rows = table("Changed (UTC)", "Job", "To", "By", "Reason")
        for change in answer["changes"]:
            to = counters(change["dials"]) or "as declared"
            job = "all jobs" if change["job"] == "*" else change["job"]
            rows.add_row(shown(change["at"], now), job, to, change["by"], change["reason"])
        yield rows


def _state(job: Answer, now: dt.datetime) -> Text:
    return Text.assemble(styled(state(job)), because(job, lambda time: shown(time, now)))


def _last(last: Answer | None, now: dt.datetime) -> Text | str:
    if last is None:
        return "never"
    return Text.assemble(styled(last["outcome"]), f" {shown(last['finished_at'], now)}")

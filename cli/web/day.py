"""One line of time: every occurrence of the last and the next 24 hours, and where they meet."""

import datetime as dt
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from cli.job_words import occurrences
from cli.times import parse, took
from cli.web.tones import tone

DAY = dt.timedelta(hours=24)
HOUR = dt.timedelta(hours=1)
SHORTEST = dt.timedelta(minutes=1)
"""A rule fires within its minute, so that jobs of the same minute meet, however short they are."""

OFTEN = 24
"""A job with more occurrences a day than this is one band: it meets every other job, and nobody can help it."""

AXIS_HOURS = 6


@dataclass(frozen=True)
class Mark:
    """One occurrence on the line of time."""

    job: str
    start: dt.datetime
    length: dt.timedelta
    outcome: str
    """How its run ended; `next` for what is to come, and `not settled` for what should have run."""
    told: str
    run_id: str | None = None

    @property
    def end(self) -> dt.datetime:
        return self.start + max(self.length, SHORTEST)

    @property
    def tone(self) -> str:
        return "next" if self.outcome == "next" else tone(self.outcome)


@dataclass(frozen=True)
class Lane:
    """One job's line."""

    job: Mapping[str, Any]
    marks: list[Mark]
    often: int | None
    """How many occurrences a day, where they are too many to tell apart."""


RARELY = 8
"""Where two jobs with no more occurrences a day than this meet, those that run each hour are not told as well."""


@dataclass(frozen=True)
class Meeting:
    """A time at which several jobs work at once."""

    start: dt.datetime
    end: dt.datetime
    jobs: list[str]


@dataclass(frozen=True)
class Day:
    """All lines, from full hour to full hour, so that the axis can be read."""

    now: dt.datetime
    start: dt.datetime
    end: dt.datetime
    lanes: list[Lane] = field(default_factory=list)
    meetings: list[Meeting] = field(default_factory=list)

    def at(self, instant: dt.datetime) -> str:
        """The place of an instant, for a drawing of any width: `41.667%`."""
        return f"{max(0.0, min(1.0, (instant - self.start) / (self.end - self.start))) * 100:.3f}%"

    def long(self, mark: Mark | Meeting) -> str:
        """How wide something is drawn; a short one is still seen."""
        return f"{max(0.35, (mark.end - mark.start) / (self.end - self.start) * 100):.3f}%"

    def together(self) -> list[tuple[list[str], list[Meeting]]]:
        """The same jobs once, with all times at which they meet; the largest company first."""
        rare = {lane.job["job"] for lane in self.lanes if len(lane.marks) <= 2 * RARELY}
        found: dict[tuple[str, ...], list[Meeting]] = defaultdict(list)
        for meeting in self.meetings:
            among = [job for job in meeting.jobs if job in rare]
            found[tuple(among if len(among) > 1 else meeting.jobs)].append(meeting)
        return sorted(((list(jobs), met) for jobs, met in found.items()), key=lambda each: -len(each[0]))

    def hours(self) -> Iterator[dt.datetime]:
        hour = self.start + HOUR
        while hour < self.end:
            yield hour
            hour += AXIS_HOURS * HOUR


def span(now: dt.datetime) -> tuple[dt.datetime, dt.datetime]:
    """The last and the next 24 hours, to the full hour before and after."""
    hour = now.replace(minute=0, second=0, microsecond=0)
    return hour - DAY, hour + DAY + HOUR


def day(jobs: Sequence[Mapping[str, Any]], now: dt.datetime) -> Day:
    """The line of time of the console's overview."""
    start, end = span(now)
    lanes = [_lane(job, start, now, end) for job in jobs]
    lanes = sorted(
        (lane for lane in lanes if lane.marks), key=lambda each: (each.often is not None, each.marks[0].start)
    )
    marks = [mark for lane in lanes if lane.often is None for mark in lane.marks]
    return Day(now, start, end, lanes, list(_meetings(marks)))


def _lane(job: Mapping[str, Any], start: dt.datetime, now: dt.datetime, end: dt.datetime) -> Lane:
    runs = {parse(run["scheduled_for"]): run for run in [*job["history"], *map(_open, job["open_runs"])]}
    times = set(occurrences(job, start, end)) if job["enabled"] else set()
    times |= {time for time in runs if start <= time < end}
    usual = _usual(job["history"])
    marks = [_mark(job, time, runs.get(time), now, usual) for time in sorted(times)]
    a_day = round(len(marks) * (DAY / (end - start)))
    return Lane(job, marks, a_day if a_day > OFTEN else None)


def _open(run: Mapping[str, Any]) -> dict[str, Any]:
    return {**run, "changed": 0}


def _usual(history: Sequence[Mapping[str, Any]]) -> dt.timedelta:
    """How long a job usually takes."""
    known = [run["duration_ms"] for run in history if run["outcome"] == "succeeded" and run["duration_ms"] is not None]
    return dt.timedelta(milliseconds=median(known)) if known else SHORTEST


def _mark(
    job: Mapping[str, Any], time: dt.datetime, run: Mapping[str, Any] | None, now: dt.datetime, usual: dt.timedelta
) -> Mark:
    name = job["job"]
    if run is None:
        if time > now:
            paused = bool(job["paused"])
            return Mark(
                name, time, usual, "paused" if paused else "next", "will be left out: paused" if paused else "to come"
            )
        return Mark(name, time, SHORTEST, "calm", "no run in the ledger")
    length = dt.timedelta(milliseconds=run["duration_ms"] or 0)
    told = run["outcome"] + (f" in {took(run['duration_ms'])}" if run["duration_ms"] is not None else "")
    return Mark(
        name, parse(run["started_at"]) if run["started_at"] else time, length, run["outcome"], told, run["run_id"]
    )


def _meetings(marks: Sequence[Mark]) -> Iterator[Meeting]:
    """The times at which jobs work at once, each with those that do."""
    edges = sorted({edge for mark in marks for edge in (mark.start, mark.end)})
    starting, ending = defaultdict(list), defaultdict(list)
    for mark in marks:
        starting[mark.start].append(mark.job)
        ending[mark.end].append(mark.job)
    at_work: list[str] = []
    open_since, together = None, set[str]()
    for edge in edges:
        for job in ending[edge]:
            at_work.remove(job)
        at_work += starting[edge]
        if len(set(at_work)) > 1:
            open_since, together = open_since or edge, together | set(at_work)
        elif open_since is not None:
            yield Meeting(open_since, edge, sorted(together))
            open_since, together = None, set()

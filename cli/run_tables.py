"""How runs are shown to a person: lists, one run, a result, a plan."""

import datetime as dt
from collections.abc import Iterator, Sequence

from rich.table import Table
from rich.text import Text

from cli.command_line import again
from cli.plan_views import plan
from cli.screen import Answer, Part, counters, facts, styled, table, watched
from cli.times import shown, took


def runs(found: Sequence[Answer], now: dt.datetime) -> Table | str:
    if not found:
        return "No run yet"
    rows = table("Run", "Job", "Scheduled for (UTC)", "Trigger", "Outcome", "Duration", "Counters")
    for run in found:
        trigger = run["trigger"] + (", forced" if run["forced"] else "")
        rows.add_row(
            run["run_id"],
            run["job"],
            shown(run["scheduled_for"], now),
            trigger,
            _outcome(run),
            took(run["duration_ms"]),
            _counted(run),
        )
    return rows


def result(answer: Answer) -> Iterator[Part]:
    """What a job's function returned: the outcome first, then what it did, then where to look."""
    duration = took(answer["duration_ms"])
    before = ", before: this time nothing was done" if answer.get("already") else ""
    yield Text.assemble(answer["job"], ": ", styled(answer["outcome"]), f" in {duration}" if duration else "", before)
    lines = facts()
    lines.add_row("scheduled for", answer["scheduled_for"])
    if answer.get("reason"):
        lines.add_row("reason", answer["reason"])
    if counted := _counted(answer):
        lines.add_row("counters", counted)
    for error in _beside(answer):
        lines.add_row("error", Text(error, "red"))
    for note in answer.get("notes", ()):
        lines.add_row("note", Text(note, "yellow"))
    yield lines
    if answer.get("plan"):
        yield from plan(answer["plan"], answer["scheduled_for"], as_tree=watched())
    if "run_id" in answer:
        details = again(f"show {answer['run_id']}")
        anew = again(f"run {answer['job']} --at {answer['scheduled_for']} --force")
        settled = answer.get("already") and duration
        yield f"For details: {details}{f'. To run it again: {anew}' if settled else ''}"
    else:
        yield f"Planned in {answer['database']}. Nothing was written"


def run(found: Answer, now: dt.datetime) -> Iterator[Part]:
    """Everything about one run."""
    yield Text.assemble(f"{found['job']}, run {found['run_id']}: ", styled(found["outcome"]))
    lines = facts()
    for name, value in (
        ("reason", found["reason"]),
        ("unusual", "; ".join(found.get("anomalies", {}).values())),
        ("strain", _strain(found)),
        ("scheduled for", shown(found["scheduled_for"], now)),
        ("trigger", f"{found['trigger']}, {found['mode']}" + (", forced" if found["forced"] else "")),
        ("started", shown(found["started_at"], now)),
        ("finished", shown(found["finished_at"], now)),
        ("duration", took(found["duration_ms"])),
        ("lease until", shown(found["lease_until"], now)),
        ("attempts", f"{found['attempt']} of {found['max_attempts']}; invocations: {len(found['attempts'])}"),
        ("step", found["step"]),
        ("parameters", counters(found["parameters"])),
        ("candidates", counters(found["candidates"] or {})),
        ("counters", _counted(found)),
        ("cap overridden", "by {by}: {reason}".format(**found["override"]) if found["override"] else None),
    ):
        if value:
            lines.add_row(name, value)
    for error in _beside(found):
        lines.add_row("error", Text(error, "red"))
    for note in found.get("notes", ()):
        lines.add_row("note", Text(note, "yellow"))
    yield lines
    if found["plan"]:
        yield from plan(found["plan"], found["scheduled_for"], as_tree=watched())
    if found["attempts"]:
        rows = table("Epoch", "Started (UTC)", "Ended (UTC)", "Outcome", "Request id")
        for attempt in found["attempts"]:
            started, ended = shown(attempt["started_at"], now), shown(attempt["ended_at"], now)
            ending, request_id = attempt["ending"] or "running", attempt["request_id"] or ""
            rows.add_row(str(attempt["epoch"]), started, ended, ending, request_id)
        yield rows
        yield from _errors_of(found["attempts"])
    yield from commands(found["commands"], now)
    if found["quarantined"]:
        rows = table("Step", "Quarantined", "Error")
        for item in found["quarantined"]:
            rows.add_row(item["step"], item["item"], item["error"])
        yield rows


def commands(found: Sequence[Answer], now: dt.datetime) -> list[Part]:
    """Who changed what, when and why; nothing where nobody did."""
    if not found:
        return []
    rows = table("When (UTC)", "Command", "Job", "Run", "By", "Caller", "Request id", "Why", "Result")
    for command in found:
        asked = ", ".join(key for key, value in command["arguments"].items() if value is True)
        rows.add_row(
            shown(command["at"], now),
            f"{command['command']} ({asked})" if asked else command["command"],
            *(command[key] or "" for key in ("job", "run_id", "by", "caller", "request_id", "reason", "result")),
        )
    return [rows]


def _outcome(run: Answer) -> Text:
    """The outcome of a run, what is unusual about it, and whether strain, a dial or a freeze holds it up."""
    state = (run.get("strain") or {}).get("state")
    beside = [*([styled(state)] if state else []), *(Text(kind, "yellow") for kind in run.get("anomalies", ()))]
    return Text(", ").join([styled(run["outcome"]), *beside])


def _strain(run: Answer) -> str | None:
    """What a run waits for or gives way to, since when, and what it could not see."""
    strain = run.get("strain") or {}
    state = f"{strain['state']}: {strain.get('why')}" if strain.get("state") else None
    since = f"since {strain['since']}" if state and strain.get("since") else None
    unknown = [f"{signal} is unknown: {why}" for signal, why in strain.get("unknown", {}).items()]
    return "; ".join(part for part in (state, since, *unknown) if part) or None


def _beside(run: Answer) -> list[str]:
    """The errors that are not the reason: that stands above them."""
    return [error for error in run["errors"] if error != run.get("reason")]


def _errors_of(attempts: Sequence[Answer]) -> Iterator[Part]:
    """Why attempts failed, under their table: an error is as long as it likes, and would make each row as wide."""
    lines = facts()
    for attempt in attempts:
        if attempt["error"]:
            lines.add_row(f"error of epoch {attempt['epoch']}", Text(attempt["error"], "red"))
    if lines.row_count:
        yield lines


def _counted(run: Answer) -> str:
    """What a run did. A plan did nothing: it shows what it would do instead."""
    return counters(run["counters"]) if run["outcome"] != "planned" else ""

"""Commands that change what runs: pause, resume, dial, cancel, redrive. The ledger keeps who did it, and why."""

import datetime as dt
from functools import partial
from typing import Annotated, Any

import typer

from cli import job_tables, job_words, known_jobs, run_tables, screen
from cli.command_line import DeploymentCommand, again
from cli.deployment import ask, change
from cli.options import All, By, EndedRun, For, Json, MaybeJob, OpenRun, Reason, Until
from cli.refusals import RefusedError
from cli.running import run_and_show
from cli.times import duration, now, parse, shown

application = typer.Typer()
command = partial(application.command, cls=DeploymentCommand, rich_help_panel="Change")


@command()
def pause(
    ctx: typer.Context,
    by: By,
    reason: Reason,
    job: MaybeJob = None,
    every: All = False,
    until: Until = None,
    for_: For = None,
    as_json: Json = False,
) -> None:
    """Pause a job, or all of them, until a time or until it is resumed.

    Its occurrences are settled as paused. Open runs continue, and nightshift run still runs the job. To hold open
    runs as well: nightshift dial --hold. A pause that is there already is replaced, and shown.
    """
    end = _end(until, for_)
    whom = _one_or_all(job, every)
    answer = change(ctx, "pause", **whom, by=by, reason=reason, **({} if end is None else {"until": end}))
    when = "" if end is None else f" until {shown(end, now())}"
    before = job_words.replaced(answer, lambda time: shown(time, now()))
    resume = again(f"resume {job or '--all'} --by NAME --reason TEXT")
    screen.show(answer, as_json, [f"{job_words.paused(job, when)}{before} To resume it: {resume}"])


@command()
def resume(
    ctx: typer.Context, by: By, reason: Reason, job: MaybeJob = None, every: All = False, as_json: Json = False
) -> None:
    """Resume a paused job, or end the pause of all.

    It runs again from its next occurrence on. To run the occurrences it left out: nightshift backfill.
    A job that was paused by itself stays so when the pause of all ends. Refused when there is no such pause.
    """
    answer = change(ctx, "resume", **_one_or_all(job, every), by=by, reason=reason)
    if answer["paused"]:
        remedy = "To end that: nightshift resume --all --by NAME --reason TEXT"
    elif job is None:
        remedy = f"To run the occurrences that one left out: {again('backfill JOB')}"
    else:
        remedy = f"To run the occurrences it left out: {again(f'backfill {job}')}"
    told = f"{job_words.resumed(job, answer)} {remedy}"
    screen.show(answer, as_json, [told])


@command()
def dial(
    ctx: typer.Context,
    job: MaybeJob = None,
    every: All = False,
    rows_per_second: Annotated[
        float | None, typer.Option(metavar="NUMBER", help="How many rows it may change in a second.")
    ] = None,
    largest_batch: Annotated[
        int | None, typer.Option(metavar="ROWS", help="How many rows one batch may change.")
    ] = None,
    pause: Annotated[
        str | None, typer.Option(metavar="DURATION", help="How long it rests between two batches, like 0.2s.")
    ] = None,
    hours: Annotated[
        str | None, typer.Option(metavar="HH:MM-HH:MM", help="When it may work, in UTC, like 01:00-05:00.")
    ] = None,
    held: Annotated[
        bool | None, typer.Option("--hold/--release", help="Let it do no batch at all; or let it go on.")
    ] = None,
    reset: Annotated[bool, typer.Option("--reset", help="As declared again, but for what is set with this.")] = False,
    by: Annotated[str | None, typer.Option(metavar="NAME", help="Who does this. The ledger keeps it.")] = None,
    reason: Annotated[str | None, typer.Option(metavar="TEXT", help="Why. The ledger keeps it.")] = None,
    as_json: Json = False,
) -> None:
    """Turn a job's dials while it is at work, or show them.

    What is set holds from the next batch on, and for later runs, until it is reset. What a job's own dials do not say,
    those of all jobs do. Without an option: shows the dials, and who turned them last and why.
    """
    given = {
        "rows_per_second": rows_per_second,
        "largest_batch": largest_batch,
        "pause_seconds": None if pause is None else _length("--pause", pause).total_seconds(),
        "hours": hours,
        "held": held,
    }
    changes = {name: value for name, value in given.items() if value is not None}
    whom = _one_or_all(job, every)
    if not changes and not reset:
        if by or reason:
            raise RefusedError("say which dial to turn: see nightshift dial --help")
        answer = ask(ctx, "dials", **({} if every else whom))
    else:
        if not (by and reason):
            raise RefusedError("say who turns the dials and why: --by NAME --reason TEXT")
        answer = change(ctx, "dial", **whom, **changes, **({"reset": True} if reset else {}), by=by, reason=reason)
    screen.show(answer, as_json, job_tables.dials(answer, now()))


def _one_or_all(job: str | None, every: bool) -> dict[str, Any]:
    """The keys of a command for one job, or for all."""
    if every == (job is not None):
        raise RefusedError("name one job, or --all")
    return {"all": True} if every else known_jobs.key(job)


def _length(option: str, text: str) -> dt.timedelta:
    try:
        return duration(text)
    except ValueError as error:
        raise RefusedError(f"{option}: {error}") from None


def _end(until: str | None, for_: str | None) -> str | None:
    """When it ends, in ISO 8601."""
    if until and for_:
        raise RefusedError("--until and --for both say when it ends: give one of them")
    try:
        if for_ is not None:
            if not (length := _length("--for", for_)):
                raise RefusedError(f"--for {for_} is no time at all: give a longer one")
            return (now() + length).isoformat()
        end = None if until is None else parse(until)
    except OverflowError:
        raise RefusedError(f"--for {for_} ends outside the calendar: give a shorter one") from None
    except ValueError as error:
        raise RefusedError(f"--until: {error}") from None
    if end is not None and end <= now():
        raise RefusedError(f"--until {until} is in the past: give a time that is still to come")
    return None if end is None else end.isoformat()


@command()
def cancel(ctx: typer.Context, run: OpenRun, by: By, reason: Reason, as_json: Json = False) -> None:
    """Cancel an open run.

    What it has committed stays. An attempt that is running commits nothing more.
    """
    answer = change(ctx, "cancel", run_id=run, by=by, reason=reason)
    screen.show(answer, as_json, [run_tables.runs([answer["run"]], now())])


@command()
def redrive(
    ctx: typer.Context,
    run: EndedRun,
    by: By,
    override_cap: Annotated[
        bool, typer.Option("--override-cap", help="Let the run touch as many rows as it has counted. Needs --reason.")
    ] = False,
    reason: Annotated[str | None, typer.Option(metavar="TEXT", help="Why the cap is lifted.")] = None,
    as_json: Json = False,
) -> None:
    """Continue a failed or cancelled run.

    The run continues at its cursor, for the same occurrence, with all its attempts again. Waits until the run ends.
    Its message stays in the dead-letter queue: delete it there.
    """
    if override_cap != bool(reason):
        raise RefusedError("to lift the cap, say why: --override-cap --reason TEXT")
    lifted = {"override_cap": True, "reason": reason} if override_cap else {}
    opened = change(ctx, "redrive", run_id=run, by=by, **lifted)["run"]
    run_and_show(ctx, opened["job"], {"run_id": opened["run_id"]}, as_json)

"""Commands that change what runs: pause, resume, cancel, redrive. Who did it, and why, stands in the ledger."""

from functools import partial

import typer

from cli import known_jobs, run_tables, screen
from cli.command_line import DeploymentCommand
from cli.deployment import change
from cli.options import By, JobName, Json, Reason, RunId
from cli.running import run_and_show
from cli.times import now

application = typer.Typer()
command = partial(application.command, cls=DeploymentCommand)


@command()
def pause(ctx: typer.Context, job: JobName, by: By, reason: Reason, as_json: Json = False) -> None:
    """Hold a job's occurrences back until it is resumed.

    Each is settled as paused. Open runs go on, and nightshift run works all the same.
    """
    answer = change(ctx, "pause", **known_jobs.key(job), by=by, reason=reason)
    screen.show(
        answer, as_json, [f"{job} is paused. Its occurrences are settled as such until: nightshift resume {job}"]
    )


@command()
def resume(ctx: typer.Context, job: JobName, as_json: Json = False) -> None:
    """Let a paused job's occurrences run again, from the next one on."""
    answer = change(ctx, "resume", **known_jobs.key(job))
    screen.show(
        answer, as_json, [f"{job} is not paused. What it left out can be made up for: nightshift backfill {job}"]
    )


@command()
def cancel(ctx: typer.Context, run: RunId, by: By, reason: Reason, as_json: Json = False) -> None:
    """End an open run for good.

    What it has committed stays. An attempt that is at work commits nothing more.
    """
    answer = change(ctx, "cancel", run_id=run, by=by, reason=reason)
    screen.show(answer, as_json, [run_tables.runs([answer["run"]], now())])


@command()
def redrive(ctx: typer.Context, run: RunId, by: By, as_json: Json = False) -> None:
    """Have a failed or cancelled run go on at its cursor, and wait for its end.

    For the same occurrence, with all its attempts anew. Its message in the dead-letter queue is yours to delete.
    """
    opened = change(ctx, "redrive", run_id=run, by=by)["run"]
    run_and_show(ctx, opened["job"], {"run_id": opened["run_id"]}, as_json)

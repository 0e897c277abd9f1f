"""Commands that change what runs: pause, resume, cancel, redrive. The ledger keeps who did it, and why."""

from functools import partial
from typing import Annotated

import typer

from cli import job_words, known_jobs, run_tables, screen
from cli.command_line import DeploymentCommand
from cli.deployment import change
from cli.options import By, JobName, Json, Reason, RunId
from cli.refusals import RefusedError
from cli.running import run_and_show
from cli.times import now

application = typer.Typer()
command = partial(application.command, cls=DeploymentCommand, rich_help_panel="Change")


@command()
def pause(ctx: typer.Context, job: JobName, by: By, reason: Reason, as_json: Json = False) -> None:
    """Pause a job until it is resumed.

    Its occurrences are settled as paused. Open runs continue, and nightshift run still runs the job.
    """
    answer = change(ctx, "pause", **known_jobs.key(job), by=by, reason=reason)
    screen.show(answer, as_json, [f"{job_words.paused(job)} To resume it: nightshift resume {job}"])


@command()
def resume(ctx: typer.Context, job: JobName, as_json: Json = False) -> None:
    """Resume a paused job.

    It runs again from its next occurrence on. To run the occurrences it left out: nightshift backfill.
    """
    answer = change(ctx, "resume", **known_jobs.key(job))
    told = f"{job_words.resumed(job)} To run the occurrences it left out: nightshift backfill {job}"
    screen.show(answer, as_json, [told])


@command()
def cancel(ctx: typer.Context, run: RunId, by: By, reason: Reason, as_json: Json = False) -> None:
    """Cancel an open run.

    What it has committed stays. An attempt that is running commits nothing more.
    """
    answer = change(ctx, "cancel", run_id=run, by=by, reason=reason)
    screen.show(answer, as_json, [run_tables.runs([answer["run"]], now())])


@command()
def redrive(
    ctx: typer.Context,
    run: RunId,
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

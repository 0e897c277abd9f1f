"""Commands that look and change nothing: jobs, next, runs, show, log, status, health."""

import re
from functools import partial
from typing import Annotated, Any

import typer

from cli import job_tables, known_jobs, run_tables, screen
from cli.command_line import DeploymentCommand
from cli.deployment import DatabaseDownError, ask
from cli.options import Declared, Json, OneJob, RunOrJob
from cli.refusals import EXIT_FAILED, EXIT_REFUSED
from cli.times import now

RUN_ID = "[0-9a-fA-F-]+"
RUNS_OF_A_JOB = 5

application = typer.Typer()
command = partial(application.command, cls=DeploymentCommand, rich_help_panel="Look")


@command()
def jobs(ctx: typer.Context, job: OneJob = None, declared: Declared = False, as_json: Json = False) -> None:
    """List the jobs and how each last ended.

    Shows schedule, state, last run and next run. The state is enabled, disabled, paused or running.
    With --json also how often each outcome occurred.
    """
    only = known_jobs.key(job)
    if declared:
        from nightshift.operations import declared as as_declared

        answer = {"jobs": [as_declared(each, now()) for each in known_jobs.as_declared(job).values()]}
    else:
        answer = ask(ctx, "jobs", **only)
    for each in answer["jobs"]:
        each["schedule_in_words"] = job_tables.words(each)
    screen.show(answer, as_json, [job_tables.jobs(answer, now())])


@command("next")
def next_(
    ctx: typer.Context,
    job: OneJob = None,
    count: Annotated[int, typer.Option(metavar="NUMBER", min=1, max=500, help="How many occurrences to show.")] = 10,
    declared: Declared = False,
    as_json: Json = False,
) -> None:
    """List the next occurrences."""
    only = known_jobs.key(job)
    if declared:
        from nightshift.operations import upcoming

        answer: dict[str, Any] = {"next": upcoming(known_jobs.as_declared(job), now(), count)}
    else:
        answer = ask(ctx, "next", count=count, **only)
    screen.show(answer, as_json, [job_tables.occurrences(answer, now())])


@command()
def runs(
    ctx: typer.Context,
    job: OneJob = None,
    limit: Annotated[int, typer.Option(metavar="NUMBER", min=1, max=500, help="How many runs to show.")] = 20,
    as_json: Json = False,
) -> None:
    """List the latest runs."""
    answer = ask(ctx, "runs", limit=limit, **known_jobs.key(job))
    screen.show(answer, as_json, [run_tables.runs(answer["runs"], now())])


@command()
def show(ctx: typer.Context, what: RunOrJob, as_json: Json = False) -> None:
    """Show everything about one run, or about one job.

    Of a run: outcome and reason, counters, errors, notes, attempts, plan, quarantined items, and who changed it.
    Of a job: what it does now, its latest runs, and who changed it.
    """
    if re.fullmatch(RUN_ID, what) and what not in known_jobs.names():
        answer = ask(ctx, "run", run_id=what)
        screen.show(answer, as_json, run_tables.run(answer["run"], now()))
        return
    only = known_jobs.key(what)
    answer = ask(ctx, "jobs", **only) | ask(ctx, "runs", limit=RUNS_OF_A_JOB, **only) | ask(ctx, "commands", **only)
    for each in answer["jobs"]:
        each["schedule_in_words"] = job_tables.words(each)
    parts = [job_tables.jobs(answer, now()), run_tables.runs(answer["runs"], now())]
    screen.show(answer, as_json, [*parts, *run_tables.commands(answer["commands"], now())])


@command()
def log(
    ctx: typer.Context,
    job: OneJob = None,
    limit: Annotated[int, typer.Option(metavar="NUMBER", min=1, max=500, help="How many commands to show.")] = 20,
    as_json: Json = False,
) -> None:
    """List who changed what: pauses, cancellations, redrives, and what was refused.

    The caller is the AWS identity that the command has found. CloudTrail's data events name it for certain, under the
    request id.
    """
    answer = ask(ctx, "commands", limit=limit, **known_jobs.key(job))
    screen.show(answer, as_json, run_tables.commands(answer["commands"], now()) or ["Nobody has changed anything"])


@command()
def status(ctx: typer.Context, as_json: Json = False) -> None:
    """Show totals, open runs and recent failures."""
    answer = ask(ctx, "status")
    screen.show(answer, as_json, job_tables.status(answer, now()))


@command()
def health(ctx: typer.Context, as_json: Json = False) -> None:
    """Check that every job succeeded recently.

    Recently means within two periods of the job's schedule. Disabled and paused jobs are shown and do not count.
    Exit code 0: no job is degraded. 1: a job is degraded. 2: the deployment or its database does not answer.
    """
    try:
        answer = ask(ctx, "health")
    except DatabaseDownError as error:
        answer = {"status": "not_ready", "reason": str(error)}
    screen.show(answer, as_json, job_tables.health(answer, now()))
    if answer["status"] != "ready":
        raise typer.Exit(EXIT_REFUSED)
    if answer["scheduler"] != "healthy":
        raise typer.Exit(EXIT_FAILED)

"""Commands for past occurrences: backfill asks for them, backfills shows how far they are, and changes that."""

from functools import partial
from typing import Annotated, Any

import typer

from cli import backfill_tables, completing, known_jobs, screen
from cli.command_line import DeploymentCommand
from cli.deployment import ask, change
from cli.known_jobs import known
from cli.options import ISO_8601, By, JobName, Json, OneJob, Reason
from cli.refusals import RefusedError
from cli.running import past
from cli.times import now

REPROCESS = ("none", "failed", "all")
SHOWN = 20

application = typer.Typer()
command = partial(application.command, cls=DeploymentCommand)


@command(rich_help_panel="Run")
def backfill(
    ctx: typer.Context,
    job: JobName,
    since: Annotated[str, typer.Option("--from", metavar="TIME", help=f"The start, included: {ISO_8601}")],
    until: Annotated[str, typer.Option("--to", metavar="TIME", help=f"The end, not included: {ISO_8601}")],
    by: By,
    reason: Reason,
    reprocess: Annotated[
        str,
        typer.Option(
            metavar="WHICH",
            help="Which occurrences that have run already are run again: none, failed, or all.",
            autocompletion=lambda: list(REPROCESS),
        ),
    ] = "none",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="List the occurrences only; ask for nothing.")] = False,
    as_json: Json = False,
) -> None:
    """Have past occurrences of a job run.

    The supervisor runs every occurrence of the schedule from one time to another, the oldest first, one at a time, and
    never in the way of the job's own schedule. This command does not wait for it: see nightshift backfills.
    An occurrence that already ran is left as it is. One that was missed, paused or skipped is run.
    A run that fails pauses the backfill.
    """
    name, first, last = known(job).job.name, past(since, "--from"), past(until, "--to")
    if first >= last:
        raise RefusedError(f"--from {since} is not before --to {until}: the end comes after the start")
    if reprocess not in REPROCESS:
        raise RefusedError(f"--reprocess must be none, failed or all; got {reprocess!r}")
    keys: dict[str, Any] = {"job": name, "since": first.isoformat(), "until": last.isoformat(), "reprocess": reprocess}
    answer = ask(ctx, "past", **keys) if dry_run else change(ctx, "backfill", **keys, by=by, reason=reason)
    screen.show(answer, as_json, backfill_tables.asked(answer, now()))


def _chosen(what: str, *states: str) -> Any:
    return typer.Option(metavar="BACKFILL", help=what, autocompletion=completing.backfills(*states))


@command(rich_help_panel="Look")
def backfills(
    ctx: typer.Context,
    job: OneJob = None,
    pause: Annotated[str | None, _chosen("Pause one. Needs --by and --reason.", "open")] = None,
    resume: Annotated[str | None, _chosen("Go on with one. Needs --by.", "paused")] = None,
    cancel: Annotated[str | None, _chosen("End one for good. Needs --by and --reason.", "open", "paused")] = None,
    by: Annotated[str | None, typer.Option(metavar="NAME", help="Who does this. The ledger keeps it.")] = None,
    reason: Annotated[str | None, typer.Option(metavar="TEXT", help="Why. The ledger keeps it.")] = None,
    limit: Annotated[
        int | None, typer.Option(metavar="NUMBER", min=1, max=500, help="How many backfills to show. Default: 20.")
    ] = None,
    as_json: Json = False,
) -> None:
    """List the backfills and how far each is, or pause, resume or cancel one.

    A run that is open goes on to its end. To end it too: nightshift cancel RUN.
    """
    wanted = {"pause": pause, "resume": resume, "cancel": cancel}
    chosen = [(what, which) for what, which in wanted.items() if which is not None]
    if not chosen:
        if by is not None or reason is not None:
            raise RefusedError("say what to do with which backfill: --pause, --resume or --cancel BACKFILL")
        answer = ask(ctx, "backfills", limit=limit or SHOWN, **known_jobs.key(job))
        screen.show(answer, as_json, [backfill_tables.backfills(answer["backfills"], now())])
        return
    if len(chosen) > 1:
        raise RefusedError("give one of --pause, --resume and --cancel")
    [(what, which)] = chosen
    if job is not None or limit is not None:
        raise RefusedError(f"--{what} names a backfill: leave out {'the job' if job is not None else '--limit'}")
    if by is None or (what != "resume" and reason is None):
        raise RefusedError(f"say who does this{'' if what == 'resume' else ', and why: --reason TEXT'}: --by NAME")
    why = {} if reason is None else {"reason": reason}
    answer = change(ctx, f"{what}_backfill", backfill_id=which, by=by, **why)
    screen.show(answer, as_json, [backfill_tables.backfills([answer["backfill"]], now())])

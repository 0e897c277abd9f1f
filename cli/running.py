"""Commands that run a job and wait for its end: plan and run."""

import datetime as dt
import time
from collections.abc import Iterable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli import run_tables, screen
from cli.aws import AwsError, ConnectionLostError, FunctionError
from cli.command_line import DeploymentCommand, again
from cli.deployment import operator
from cli.known_jobs import known
from cli.options import At, JobName, Json, Parameters
from cli.planning import plan_in
from cli.refusals import EXIT_FAILED, RefusedError
from cli.run_sight import Sight, live, sight
from cli.run_waits import OPEN
from cli.starting import Start
from cli.times import now, parse
from cli.watching import SECONDS_BETWEEN_LOOKS, TROUBLES, Lookout, conclude, fail, leave

if TYPE_CHECKING:
    from nightshift.declaration import Registration

REFUSING = {"EventError", "SettingError"}
"""The errors that a job's function raises before it changes anything."""

SECONDS_TO_THE_FIRST_LOOK = 1.0
"""Most runs have ended by then, and nobody is asked about them."""

SECONDS_TO_ANSWER = 10.0
"""So long after the ledger says that a run has ended, its function's answer is still waited for."""

SECONDS_TO_BE_FOUND = 30.0
"""So long after the connection broke, the run is looked for in the ledger."""

application = typer.Typer()
command = partial(application.command, cls=DeploymentCommand, rich_help_panel="Run")


@command()
def run(
    ctx: typer.Context,
    job: JobName,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Make a plan only; change nothing.")] = False,
    at: At = None,
    param: Parameters = None,
    force: Annotated[
        bool, typer.Option("--force", help="Run an occurrence again that is already settled. Needs --at.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Run a job now and wait until it ends.

    Shows its progress, rate and time left. Ctrl-C stops the waiting and not the run (exit code 130), and so does a
    connection that breaks: nightshift watch goes on looking. A paused job runs too. A disabled job does not.
    """
    registration = known(job)
    payload = _payload(registration, at, param, dry_run=dry_run)
    if force and at is None:
        raise RefusedError("--force runs an occurrence again: name it with --at TIME")
    if force and dry_run:
        raise RefusedError("--force runs an occurrence again, and --dry-run runs none: give one of them")
    if force:
        payload["force"] = True
    run_and_show(ctx, job, payload, as_json)


@command()
def plan(
    ctx: typer.Context,
    job: JobName,
    at: At = None,
    param: Parameters = None,
    database_url: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            envvar="NIGHTSHIFT_DATABASE_URL",
            help="Plan in this database, without a deployment and without AWS: "
            "postgresql://USER:PASSWORD@HOST:5432/DATABASE. A replica will do.",
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Show what a job would do; change nothing.

    Shows how many rows of which tables, with all that goes by cascade; which rows stay; what is missing; and what is
    over its cap.
    With --database-url the plan is made here and now, in one transaction that only reads. Parameters are as declared,
    unless --param sets them. Exit code 1: a step cannot be planned.
    """
    registration = known(job)
    payload = _payload(registration, at, param, dry_run=True)
    if not database_url:
        run_and_show(ctx, job, payload, as_json)
        return
    as_of = parse(payload["scheduled_for"]) if at else now()
    with screen.waiting(f"{job} is planned"):
        answer = plan_in(database_url, registration.job, as_of, payload.get("parameters", {}))
    screen.show(answer, as_json, run_tables.result(answer))
    if answer["outcome"] == "failed":
        raise typer.Exit(EXIT_FAILED)


def run_and_show(ctx: typer.Context, job: str, payload: Mapping[str, Any], as_json: bool) -> None:
    """Invoke a job's function, wait for its end and show its result. Exit code 1 if the run failed.

    What fails is not tried again behind the back of whoever waits for it. If the connection breaks, the ledger says
    how the run goes on and ends. On a terminal, a run that is interrupted or waits is watched until it ends.
    """
    start = Start(operator(ctx), job, payload)
    lookout = Lookout(start.operator)
    try:
        with sight(f"{job} is running", quiet=as_json) as shown:
            found = _seen_to_its_end(start, lookout, shown)
            if found is None and start.answer and start.answer["outcome"] in OPEN and live() and not as_json:
                found = lookout.until_its_end(_in_the_ledger(start), shown)
    except KeyboardInterrupt:
        leave(start.run_id, start.found or _looked_for_once_more(start))
    except FunctionError as error:
        reason = failure(job, error)
        found = None if error.kind == "UnclaimedError" else _looked_for(start)
        fail(job, reason, as_json, found)
    if found is not None:
        conclude(found, as_json)
        return
    answer = start.answer or {}
    screen.show(answer, as_json, run_tables.result(answer))
    if answer["outcome"] in OPEN:
        typer.echo("The run goes on: " + again(f"watch {answer['run_id']}"), err=True)
    if answer["outcome"] == "failed":
        raise typer.Exit(EXIT_FAILED)


def _seen_to_its_end(start: Start, lookout: Lookout, shown: Sight) -> dict[str, Any] | None:
    """Show a run while its function is at work. Returns None when that has answered, else the ended run.

    Raises:
        AwsError, FunctionError: the call has ended with it.
    """
    start.begin()
    seconds, was_open = SECONDS_TO_THE_FIRST_LOOK, False
    while not start.ended(seconds):
        seconds = SECONDS_BETWEEN_LOOKS
        found = _looked_for(start)
        if found is None:
            continue
        if found["finished_at"] is None:
            was_open = True
            shown.show(lookout.seen(found))
        elif was_open and not start.ended(SECONDS_TO_ANSWER):
            return found  # the connection is dead, and nobody has said so
    if isinstance(start.error, ConnectionLostError):
        return lookout.until_its_end(_in_the_ledger(start), shown)
    if start.error is not None:
        raise start.error
    return None


def _in_the_ledger(start: Start) -> dict[str, Any]:
    """The run of a call that was sent, as soon as the ledger has it.

    Raises:
        AwsError: it does not have it in time.
    """
    last = time.monotonic() + SECONDS_TO_BE_FOUND
    while (found := _looked_for(start)) is None:
        if time.monotonic() > last:
            raise start.error or AwsError(f"the run cannot be looked at: see {again(f'runs {start.job}')}")
        time.sleep(SECONDS_BETWEEN_LOOKS)
    return found


def _looked_for(start: Start) -> dict[str, Any] | None:
    """The run, as far as the ledger has it and can be asked now."""
    try:
        return start.find()
    except TROUBLES:
        return None


def _looked_for_once_more(start: Start) -> dict[str, Any] | None:
    """The same, for somebody who is leaving, and may be in a hurry."""
    try:
        return _looked_for(start)
    except KeyboardInterrupt:
        return None


def failure(job: str, error: FunctionError) -> str:
    """Why the attempt failed, in words. Raises a refusal if the function refused the request and changed nothing."""
    if error.kind in REFUSING:
        raise RefusedError(f"{job} refused: {error}") from None
    if error.kind == "UnclaimedError":
        return "the run did not start, because the database does not answer or the ledger is locked"
    return str(error)


def _payload(
    registration: "Registration", at: str | None, given: Iterable[str] | None, *, dry_run: bool
) -> dict[str, Any]:
    """The payload for the job's function. Names and values are checked here first: that is faster and clearer."""
    payload: dict[str, Any] = {}
    if dry_run:
        payload["dry_run"] = True
    try:
        if at is not None:
            payload["scheduled_for"] = past(at).isoformat()
        if given:
            parameters: dict[str, str] = {}
            for name, value in map(_parameter, given):
                if name in parameters:
                    raise RefusedError(f"--param {name} is given twice: {parameters[name]} and {value}")
                parameters[name] = value
            resolved = registration.job.resolve(parameters)
            payload["parameters"] = {name: resolved[name] for name in parameters}
    except ValueError as error:  # SettingError is one
        raise RefusedError(str(error)) from None
    return payload


def past(at: str, option: str = "--at") -> dt.datetime:
    """The occurrence's time. A run for a future time would count young rows as old, and delete them."""
    try:
        instant = parse(at)
    except ValueError as error:
        raise RefusedError(f"{option}: {error}") from None
    if instant > now():
        raise RefusedError(f"{option} {at} is in the future: give a past time")
    return instant


def _parameter(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise RefusedError(f"--param {text!r} has no value: write it like retention_days=60")
    return name.strip(), value.strip()

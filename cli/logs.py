"""The command logs: what a job's function has logged, and logs while one looks."""

import datetime as dt
from collections.abc import Callable, Iterable
from functools import partial
from time import sleep
from typing import Annotated

import typer

from cli import known_jobs, screen
from cli.command_line import DeploymentCommand
from cli.deployment import deployment_name, where
from cli.log_groups import Event, Following, LogGroups, NotNowError
from cli.refusals import RefusedError
from cli.times import duration, now, parse, relative

SECONDS_BETWEEN_READINGS = 2.0

application = typer.Typer()
command = partial(application.command, cls=DeploymentCommand, rich_help_panel="Look")


@command()
def logs(
    ctx: typer.Context,
    job: Annotated[
        str,
        typer.Argument(
            metavar="JOB",
            help="The job's name, or that of a function of the platform, like supervisor.",
            autocompletion=known_jobs.names,
        ),
    ],
    since: Annotated[
        str,
        typer.Option(metavar="DURATION|TIME", help="From when on: how long ago, like 15min, 8h or 3d, or a time."),
    ] = "1h",
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with what is logged, until Ctrl-C.")] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print each record as it was logged, one JSON object a line.")
    ] = False,
) -> None:
    """Print what a job's function has logged.

    Reads its log group in CloudWatch (logs:FilterLogEvents). A line has time (UTC), level, message, run, and what else
    the record says. Who changed what is another command: nightshift log.
    """
    function = _function(ctx, job)
    start = _start(since)
    reading = Following(LogGroups(**where(ctx)), function, start)
    say = _printer(as_json)
    try:
        with screen.waiting("asking CloudWatch"):
            first = reading.news()
            known = next(first, None)
        if known is not None:
            say(known)
        _print(first, say)
        if follow:
            _follow(reading, say)
    except KeyboardInterrupt:
        return  # that is how one stops to follow
    if known is None:
        typer.echo(
            f"{job} has logged nothing since {start:%Y-%m-%d %H:%M} UTC ({relative(start, now())}). "
            "Go further back with --since, like --since 1d",
            err=True,
        )


def _follow(reading: Following, say: Callable[[Event], None]) -> None:
    """Print what is logged from now on, until Ctrl-C. CloudWatch may be busy or away meanwhile."""
    told = False
    while True:
        sleep(SECONDS_BETWEEN_READINGS)
        try:
            _print(reading.news(), say)
            told = False
        except NotNowError as error:
            if not told:
                typer.echo(f"{error}. It is asked again", err=True)
            told = True


def _print(events: Iterable[Event], say: Callable[[Event], None]) -> None:
    for event in events:
        say(event)


def _printer(as_json: bool) -> Callable[[Event], None]:
    from cli.log_records import line, raw

    if as_json:
        return lambda event: typer.echo(raw(event))
    out = screen.terminal()
    return lambda event: out.print(line(event), soft_wrap=True)


def _function(ctx: typer.Context, job: str) -> str:
    from nightshift.declaration import function_name
    from nightshift.declaration.names import PLATFORM_FUNCTIONS

    name = job if job in PLATFORM_FUNCTIONS else known_jobs.known(job).job.name
    return function_name(name, deployment_name(ctx))


def _start(since: str) -> dt.datetime:
    """From when on, from how long ago or a time.

    Raises:
        RefusedError: it is neither, or has not come yet.
    """
    try:
        start = now() - duration(since)
    except OverflowError:
        raise RefusedError(f"--since {since} is before the calendar begins: write it like 15min, 8h or 3d") from None
    except ValueError:
        try:
            start = parse(since)
        except ValueError as error:
            raise RefusedError(f"--since: {error}; or say how long ago, like 15min, 8h or 3d") from None
    if start > now():
        raise RefusedError(f"--since {since} is in the future: give a past time")
    return max(start, dt.datetime(1970, 1, 1, tzinfo=dt.UTC))

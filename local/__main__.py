"""The app on one machine: `python -m local demo` runs every job once, `python -m local up` runs until Ctrl-C."""

import datetime as dt
import os
import shlex
import signal
import sys
import webbrowser
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Annotated, NoReturn, TypeVar

import typer
from rich.console import Console

from local.aws import ACCOUNT, REGION, LocalAwsError
from local.deploy import PROJECT, DeploymentError
from local.machine import DATABASE, MachineBusyError, RunningApp, machine, machine_with, own_settings
from local.own_database import OwnDatabase, OwnDatabaseError, RefusedByPersonError, consent, for_psql
from local.page import PageError, web_page
from local.postgres import PostgresError
from local.terminal import Step, Steps, deployment_display, machine_steps, say, show_table, spinner
from nightshift.declaration import function_name, registry

NARROWEST_TABLE = 150
OUTPUT = PROJECT / "demo-output"

application = typer.Typer(
    help="Nightshift on one machine.",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # it would name the type of a flag
    context_settings={"help_option_names": ["--help", "-h"]},
)
console = Console()
if not console.is_terminal:
    console = Console(width=NARROWEST_TABLE)  # a file or a log has no width of its own

FAILURES = (MachineBusyError, PostgresError, LocalAwsError, DeploymentError, PageError)
REFUSALS = (OwnDatabaseError, RefusedByPersonError)
STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

URL_VARIABLE = "NIGHTSHIFT_LOCAL_DATABASE_URL"
"""How `make local DATABASE_URL=…` hands the address over: an argument could be read by every user of the machine."""

Running = TypeVar("Running", bound=RunningApp)


@application.command()
def up(
    database_url: Annotated[
        str | None,
        typer.Option(
            envvar=URL_VARIABLE,
            show_envvar=False,
            metavar="URL",
            help="A database of your own: postgresql://user:password@host:5432/name. Without it one is made.",
        ),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Make the schema nightshift in it without asking.")] = False,
) -> None:
    """Start PostgreSQL and AWS, deploy the app, and stay up until Ctrl-C.

    With a database of your own its settings are those of cdk.json, and every rule is off: nothing runs unasked.
    """
    if database_url:
        _up_on(database_url, yes=yes)
    else:
        steps = Steps(console, [*machine_steps(len(registry())), _PAGE])
        with _running(partial(machine, "up"), steps) as running:
            _stay(running, for_psql(running.postgres.tcp_url(DATABASE)), _MADE_ANEW, steps)


def _up_on(database_url: str, *, yes: bool) -> None:
    """Everything that is started here inherits the environment, so the address does not stay there."""
    for name in (URL_VARIABLE, "DATABASE_URL"):
        os.environ.pop(name, None)
    try:
        own = OwnDatabase.parse(database_url)
        found = own.look(tables=own_settings().get("application_tables") == "create")
        _say(found.said)
        consent(found, yes=yes, ask=console.input if sys.stdin.isatty() else None)
    except REFUSALS as error:
        _give_up(error)
    steps = Steps(console, [*machine_steps(len(registry()), database=False), _PAGE])
    with _running(partial(machine_with, own, "up"), steps) as running:
        _stay(running, own.url, _EVERY_RULE_OFF, steps)


@application.command()
def demo() -> None:
    """Start everything, run every job once through Lambda, and show what each did. Exit code 1 when one failed."""
    # Imported here: its data are the example's, which a project of one's own does not have.
    from local.accidents import kill_in_the_middle, lose_an_event
    from local.collect import collect
    from local.demo import (
        dispatch,
        fail_on_purpose,
        invoke_all,
        load_data,
        mails_waiting,
        notes,
        put_off_mails,
        results_table,
        what_it_gives,
    )

    jobs = len(registry())
    then = [
        Step("loading data as if the application had been used for years", 15),
        Step(f"running {jobs} jobs through Lambda", 30),
        Step("sending mails, failing on purpose, killing a job in its middle, losing an event", 20),
    ]
    steps = Steps(console, [*machine_steps(jobs), *then])
    with _running(partial(machine, "demo"), steps) as running:
        now = dt.datetime.now(dt.UTC)
        steps.begin()
        rows = load_data(running, console, now=now)
        _say("No example, no data: the database is empty" if rows is None else f"Loaded {rows:,} rows")
        steps.begin()
        invocations = invoke_all(running.aws, console, now=now)
        show_table(console, results_table(invocations))
        for line in notes(invocations):
            _say(line)
        steps.begin()
        with spinner(console, "Sending the mails, failing on purpose, killing a job, losing an event"):
            put_off_mails(running)
            unsent = dispatch(running.aws)
            error = fail_on_purpose(running, invocations[0].job)
            its = what_it_gives()
            killed = kill_in_the_middle(running, its.long_work(running)) if its else None
            lost = lose_an_event(running)
            collected = collect(running, OUTPUT)
            waiting = sum(mails_waiting(running))
        well = sum(invocation.as_it_should for invocation in invocations)
        _say(f"{well} of {len(invocations)} jobs did what they should.")
        if error:
            _say(f"One invocation was made to fail. After three attempts it reached the dead-letter queue: {error}")
        else:
            _say("The failure on purpose did not reach the dead-letter queue.", style="red")
        if killed:
            _say(f"{killed}.")
        elif its:
            _say("The run that was killed in its middle was not finished by the supervisor.", style="red")
        _say(f"{lost}." if lost else "No lost event was caught up.", style=None if lost else "red")
        if unsent:
            _say(f"The dispatcher failed: {unsent}", style="red")
        _say(
            f"To read: {collected.mails:,} mails in {OUTPUT.name}/mails, "
            f"and {collected.files:,} files in {OUTPUT.name}/files."
        )
        if waiting:
            _say(f"{waiting:,} more mails wait in the outbox: only some of each kind were sent, to be read.")
        _say(f"Took {steps.seconds:.0f} s from start to end.")
        went_wrong = error is None or lost is None or (its is not None and killed is None)
        if went_wrong or unsent or well < len(invocations):
            raise typer.Exit(1)


_say = partial(say, console)


_MADE_ANEW = """The database is made anew each time, with the example's tables, empty.
On a database of your own: make local DATABASE_URL=postgresql://user:password@host:5432/name"""

_EVERY_RULE_OFF = "Every rule is off: nothing runs until you run it. What you run works on your database."


_PAGE = Step("starting the page", 2)


@contextmanager
def _running(start: Callable[..., AbstractContextManager[Running]], steps: Steps) -> Iterator[Running]:
    with ExitStack() as stack:
        try:
            with deployment_display(console, steps) as report:
                running = stack.enter_context(start(report=report))
        except FAILURES as error:
            _give_up(error)
        yield running


def _give_up(error: Exception) -> NoReturn:
    _say(str(error), style="red")
    raise typer.Exit(1) from error


def _stay(running: RunningApp, database: str, about: str, steps: Steps) -> None:
    """Serve the page, show how all is reached, and stay until Ctrl-C."""
    steps.begin()
    with web_page(running) as address:
        _show(running, database, about, address)
        if console.is_terminal:
            webbrowser.open(address)
        signal.pause()


def _show(running: RunningApp, database: str, about: str, page: str) -> None:
    script = running.write_variables()
    job = next(iter(running.jobs))
    shown = script.relative_to(Path.cwd()) if script.is_relative_to(Path.cwd()) else script
    console.print(
        f"""
Page        {page}
AWS         {running.aws.endpoint}   (account {ACCOUNT}, region {REGION})
PostgreSQL  {database}
Logs        {running.aws.log}

{about}

In another terminal:
  source {shlex.quote(str(shown))}
  nightshift jobs
  nightshift plan {job}
  nightshift run {job}
  psql {shlex.quote(database)}

With the AWS command line:
  aws lambda list-functions --query 'Functions[].FunctionName'
  aws lambda invoke --function-name {function_name(job)} result.json
  aws events list-rules --query 'Rules[].[Name,ScheduleExpression,State]' --output table
  aws logs tail --follow /aws/lambda/{function_name(job)}

Ctrl-C stops everything.""",
        markup=False,
        highlight=False,
        soft_wrap=True,
    )


def main() -> None:
    for number in STOPPING:
        signal.signal(number, _stop)
    application()


def _stop(number: int, frame: FrameType | None) -> None:
    """Leave every `with` block once. A second Ctrl-C does not disturb this."""
    for each in STOPPING:
        signal.signal(each, signal.SIG_IGN)
    raise KeyboardInterrupt


if __name__ == "__main__":
    main()

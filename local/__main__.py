"""The app on one machine: `python -m local demo` runs every job once, `python -m local up` runs until Ctrl-C."""

import datetime as dt
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import FrameType

import typer
from rich.console import Console

from local.aws import ACCOUNT, REGION, LocalAwsError
from local.collect import collect
from local.demo import (
    deployed_jobs,
    dispatch,
    fail_on_purpose,
    invoke_all,
    load_data,
    mails_waiting,
    put_off_mails,
    results_table,
)
from local.deploy import PROJECT, DeploymentError
from local.machine import DATABASE, Machine, MachineBusyError, machine
from local.postgres import PostgresError
from local.terminal import deployment_display
from nightshift.declaration import function_name

NARROWEST_TABLE = 150
OUTPUT = PROJECT / "demo-output"

application = typer.Typer(help="Nightshift on one machine.", add_completion=False, pretty_exceptions_enable=False)
console = Console()
if not console.is_terminal:
    console = Console(width=NARROWEST_TABLE)  # a file or a log has no width of its own

FAILURES = (MachineBusyError, PostgresError, LocalAwsError, DeploymentError)
STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@application.command()
def up() -> None:
    """Start PostgreSQL and AWS, deploy the app, and stay up until Ctrl-C."""
    with _running("up") as running:
        _show(running)
        signal.pause()


@application.command()
def demo() -> None:
    """Start everything, run every job once through Lambda, and show what each did. Exit code 1 when one failed."""
    started = time.monotonic()
    with _running("demo") as running:
        now = dt.datetime.now(dt.UTC)
        rows = load_data(running, console, now=now)
        console.print("No example, no data: the database is empty" if rows is None else f"Loaded {rows:,} rows")
        invocations = invoke_all(running.aws, console, now=now)
        console.print(results_table(invocations))
        with console.status("Sending the mails, and failing once on purpose"):
            put_off_mails(running)
            unsent = dispatch(running.aws)
            error = fail_on_purpose(running, invocations[0].job)
            collected = collect(running, OUTPUT)
            waiting = sum(mails_waiting(running))
        well = sum(invocation.as_it_should for invocation in invocations)
        console.print(f"{well} of {len(invocations)} jobs did what they should.")
        if error:
            console.print(
                f"One invocation was made to fail. After three attempts it reached the dead-letter queue: {error}"
            )
        else:
            console.print("The failure on purpose did not reach the dead-letter queue.", style="red")
        if unsent:
            console.print(f"The dispatcher failed: {unsent}", style="red")
        console.print(
            f"To read: {collected.mails:,} mails in {OUTPUT.name}/mails, "
            f"and {collected.files:,} files in {OUTPUT.name}/files."
        )
        if waiting:
            console.print(f"{waiting:,} more mails wait in the outbox: only some of each kind were sent, to be read.")
        console.print(f"Took {time.monotonic() - started:.0f} s from start to end.")
        if error is None or unsent or well < len(invocations):
            raise typer.Exit(1)


@contextmanager
def _running(name: str) -> Iterator[Machine]:
    with ExitStack() as stack:
        try:
            with deployment_display(console) as report:
                running = stack.enter_context(machine(name, report=report))
        except FAILURES as error:
            console.print(str(error), style="red", markup=False, highlight=False, soft_wrap=True)
            raise typer.Exit(1) from error
        yield running


def _show(running: Machine) -> None:
    script = running.write_variables()
    job = next(iter(deployed_jobs(running.aws)))
    console.print(
        f"""
AWS         {running.aws.endpoint}   (account {ACCOUNT}, region {REGION})
PostgreSQL  {running.postgres.tcp_url(DATABASE).render_as_string(hide_password=False)}
Logs        {running.aws.log}

In another terminal:
  source {script.relative_to(Path.cwd()) if script.is_relative_to(Path.cwd()) else script}
  nightshift jobs
  nightshift run {job} --dry-run
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

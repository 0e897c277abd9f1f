"""nightshift doctor: the installation, as `nightshift check` does it for the tables."""

from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli import screen
from cli.command_line import DeploymentCommand
from cli.deployment import deployment_name, operator, where
from cli.doctor.findings import FAILING, FAILING_STRICTLY, answer_of, parts
from cli.options import Json
from cli.refusals import EXIT_FAILED, RefusedError

if TYPE_CHECKING:
    from cli.doctor.account import Account

application = typer.Typer()
command = partial(application.command, cls=DeploymentCommand, rich_help_panel="Look")


@command()
def doctor(
    ctx: typer.Context,
    strict: Annotated[
        bool, typer.Option("--strict", help="Warnings, and what could not be read, too, end with exit code 1.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Check that the installation is in order.

    What stands on AWS and in the database, and what to do about what is wrong: TLS, migrations, clocks, the supervisor,
    jobs that never ran, functions, rules against what this folder declares, rules that no longer cover a time zone,
    concurrency, alarms, subscribers, dead letters, mails. `nightshift check` is for the tables of jobs.
    Each probe stands apart: what AWS refuses is told as unknown, with the reason, and stops no other. Nothing is
    written. It needs the viewer's policy of docs/security.md. Exit code 1: there is an error.
    """
    with screen.waiting("looking at the installation"):
        answer = _look(ctx)
    screen.show(answer, as_json, parts(answer))
    if any(answer["totals"][each] for each in (FAILING_STRICTLY if strict else FAILING)):
        raise typer.Exit(EXIT_FAILED)


def _look(ctx: typer.Context) -> dict[str, Any]:
    from cli import known_jobs
    from cli.doctor.facts import gather
    from cli.doctor.findings import UnreadError
    from cli.doctor.probes import look

    known_jobs.declared()  # refuses, in words, a folder whose declarations cannot work
    facts = gather(operator(ctx), _account(ctx))
    if reasons := facts.reasons():
        raise RefusedError(_in_words(reasons[0]))
    try:
        absent = not facts.functions.result()
    except UnreadError:
        absent = False
    if absent:
        raise RefusedError(
            f"no function of a deployment named {facts.name} is in this account and region: run make deploy, or choose "
            "with --name, --profile and --region"
        )
    return answer_of(facts.name, look(facts))


def _account(ctx: typer.Context) -> "Account":
    """Where the deployment stands, with the operator's own credentials."""
    from botocore.exceptions import BotoCoreError

    from cli import aws
    from cli.doctor.account import Account

    place = aws.Account(**where(ctx))
    try:
        return Account(deployment_name(ctx), place.session(), place.endpoint_url)
    except BotoCoreError as error:
        raise aws.AwsError(aws.unreachable(error)) from None


def _in_words(reason: Any) -> str:
    return f"{reason}: {reason.remedy}" if reason.remedy else str(reason)

"""The operator's command. It calls AWS only: the deployment reaches the database in its private network. Backups, and
what takes --database-url, are the exceptions.

The commands are in modules by subject: looking, checking, suggesting, running, backfilling, changing, backup, mail;
doctor/ for the installation, web/ for the page, and project/ for one's own project.
"""

import shlex
from pathlib import Path
from typing import Annotated, Any

import typer

from cli import (
    backfilling,
    backup,
    changing,
    checking,
    completing,
    logs,
    looking,
    mail,
    running,
    suggesting,
    watching,
)
from cli.aws import NO_AWS, AwsError, FunctionError
from cli.command_line import HELP, Root
from cli.doctor import command as doctor
from cli.project import commands as project
from cli.project.files import MANIFEST, ROOT
from cli.refusals import EXIT_FAILED, EXIT_LEFT, EXIT_REFUSED, RefusedError, end
from cli.web import command as web

MEANING = f"""Exit code 0: success. {EXIT_FAILED}: a job failed or is degraded. {EXIT_REFUSED}: the command was \
refused, or AWS or the database does not answer. {EXIT_LEFT}: Ctrl-C. Errors go to standard error."""


def other_project() -> Path | None:
    """The project in whose folder somebody types, where it is not this one: its jobs would be mistaken for these."""
    try:
        here = Path.cwd()
    except FileNotFoundError:  # the folder is gone
        return None
    project = next((folder for folder in (here, *here.parents) if (folder / MANIFEST).is_file()), ROOT)
    return None if project.resolve() == ROOT.resolve() else project


class OneLineErrors(Root):
    """All commands. One that is refused ends with one line and exit code 2."""

    def invoke(self, ctx: Any) -> Any:
        if (other := other_project()) is not None:
            typer.secho(
                f"You are in {other}, and this is the command of {ROOT}: that of the folder is "
                f"{shlex.quote(str(other / '.venv/bin/nightshift'))}",
                fg=typer.colors.YELLOW,
                err=True,
            )
        try:
            return super().invoke(ctx)
        except (RefusedError, AwsError) as error:
            command = self.commands.get(ctx.invoked_subcommand or "")
            by_url = command is not None and any(each.name == "database_url" for each in command.params)
            without = "; or look at a database without AWS: --database-url URL" if by_url else ""
            end(f"{error}{without if str(error).startswith(NO_AWS) else ''}", EXIT_REFUSED)
        except FunctionError as error:
            end(f"the function ended with {error.kind}: {error}", EXIT_REFUSED)


application = typer.Typer(
    cls=OneLineErrors, epilog=MEANING, context_settings=HELP, pretty_exceptions_enable=False, no_args_is_help=True
)
application.add_typer(looking.application)
application.add_typer(watching.application)
application.add_typer(logs.application)
application.add_typer(checking.application)
application.add_typer(doctor.application)
application.add_typer(suggesting.application)
application.add_typer(web.application)
application.add_typer(running.application)
application.add_typer(backfilling.application)
application.add_typer(changing.application)
application.add_typer(backup.application, name="backup", rich_help_panel="Backups and mails")
application.add_typer(mail.application, name="mail", rich_help_panel="Backups and mails")
application.add_typer(project.application)
application.add_typer(project.new, name="new", rich_help_panel=project.PANEL)


@application.callback()
def main(
    name: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", envvar="NIGHTSHIFT_NAME", help="The deployment's name. Default: as cdk.json names it."
        ),
    ] = None,
    profile: Annotated[
        str | None, typer.Option(metavar="NAME", help="The AWS profile.", autocompletion=completing.profiles)
    ] = None,
    region: Annotated[
        str | None, typer.Option(metavar="REGION", help="The AWS region.", autocompletion=completing.regions)
    ] = None,
    endpoint_url: Annotated[
        str | None, typer.Option(metavar="URL", help="The address of a local AWS. Default: AWS_ENDPOINT_URL.")
    ] = None,
    version: Annotated[
        bool,
        typer.Option(
            "--version",
            callback=project.print_version,
            is_eager=True,
            expose_value=False,  # it says nothing of where the deployment is, as the others do
            help="Print the version and end.",
        ),
    ] = False,
) -> None:
    """Look at scheduled jobs, run them and control them."""

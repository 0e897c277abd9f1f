"""The operator's command. It talks to AWS alone: a database in a private network is reached through the deployment.

The commands stand in modules by subject: looking, running, changing, backup, mail.
"""

from typing import Annotated, Any

import typer

from cli import backup, changing, looking, mail, running
from cli.aws import AwsError, FunctionError
from cli.command_line import HELP, FirstCommand
from cli.refusals import EXIT_FAILED, EXIT_REFUSED, RefusedError, end

MEANING = f"""Exit codes: 0 all is well; {EXIT_FAILED} the job failed, or a job's health is degraded; {EXIT_REFUSED} \
refused or not reached: unknown name, bad value, no way to AWS, not ready. Errors go to standard error in one line."""


class OneLineErrors(FirstCommand):
    """Ends every command that cannot be carried out with one line and exit code 2."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except (RefusedError, AwsError) as error:
            end(str(error), EXIT_REFUSED)
        except FunctionError as error:
            end(f"the function ended with {error.kind}: {error}", EXIT_REFUSED)


application = typer.Typer(
    cls=OneLineErrors, epilog=MEANING, context_settings=HELP, pretty_exceptions_enable=False, no_args_is_help=True
)
application.add_typer(looking.application)
application.add_typer(running.application)
application.add_typer(changing.application)
application.add_typer(backup.application, name="backup")
application.add_typer(mail.application, name="mail")


@application.callback()
def main(
    profile: Annotated[str | None, typer.Option(metavar="NAME", help="The AWS profile to use.")] = None,
    region: Annotated[str | None, typer.Option(metavar="REGION", help="The AWS region of the deployment.")] = None,
    endpoint_url: Annotated[
        str | None, typer.Option(metavar="URL", help="Another AWS than the real one. Also from AWS_ENDPOINT_URL.")
    ] = None,
) -> None:
    """Look at Nightshift's jobs, and run them."""

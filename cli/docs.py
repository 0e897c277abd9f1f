"""`python -m cli.docs` writes the generated pages: docs/cli.md and docs/jobs.md."""

from pathlib import Path

import typer
from typer.cli import get_docs_for_click
from typer.core import TyperOption

from cli.command_line import DEPLOYMENT, HELP, Root
from cli.commands import application
from cli.job_pages import JOBS, jobs_page

CLI = Path(__file__).parent.parent / "docs" / "cli.md"

INTRODUCTION = """<!-- Made by `make docs` from the commands in cli/. -->

# The command `nightshift`

`make` installs it into `.venv/bin`. It calls AWS with your own credentials. It needs `lambda:InvokeFunction`: on
`nightshift-console` to look, on a job's function to run it, and on `nightshift-control` to pause, resume, cancel and
redrive; and `logs:FilterLogEvents` for `nightshift logs`. `nightshift web` does all of that but the logs in a browser:
[tour.md](tour.md). `doctor` also reads what stands on AWS, by [the viewer's policy](security.md#policies). Only
`nightshift backup` connects to the database and the file store. `plan`, `check` and `suggest` connect to the database
alone when they have `--database-url`, for which they need no AWS.
For the local AWS, `source` the file that `make local` names.

`--name`, `--profile`, `--region` and `--endpoint-url` may stand before the command's name or after it.

## Completion

Type `nightshift --install-completion` in your bash, zsh or fish. It finds out which of them it is, and says which file
it has written. Open a new terminal then. `nightshift` must be on your `PATH`: `export PATH="$PWD/.venv/bin:$PATH"`.
For a file of your own: `nightshift --show-completion`.

The Tab key completes commands, options and names of jobs without AWS. For ids of runs and backfills it asks the
deployment, for three seconds at most: `nightshift cancel` knows the open runs, `nightshift redrive` those that failed
or were cancelled.
"""


def cli_page() -> str:
    """Every command with its options."""
    root = typer.main.get_command(application)
    assert isinstance(root, Root)
    for command in root.every():
        for option in command.params:
            if isinstance(option, TyperOption) and option.rich_help_panel == DEPLOYMENT:
                option.hidden = True  # the page shows it once, for the root
    commands = get_docs_for_click(obj=root, ctx=typer.Context(root, **HELP), name="nightshift", indent=1)
    return f"{INTRODUCTION}\n{commands.strip()}\n"


def pages() -> dict[Path, str]:
    """Each generated page, with the text that it should have."""
    return {CLI: cli_page(), JOBS: jobs_page()}


if __name__ == "__main__":
    for path, content in pages().items():
        path.write_text(content)

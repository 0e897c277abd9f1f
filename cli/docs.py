"""`python -m cli.docs` writes the generated pages: docs/cli.md, docs/jobs.md and the table of jobs in README.md."""

from pathlib import Path

import typer
from typer.cli import get_docs_for_click
from typer.core import TyperOption

from cli.command_line import DEPLOYMENT, HELP, FirstCommand
from cli.commands import application
from cli.job_pages import JOBS, README, jobs_page, readme

CLI = Path(__file__).parent.parent / "docs" / "cli.md"

INTRODUCTION = """<!-- Made by `make docs` from the commands in cli/. -->

# The command `nightshift`

`make` puts it into `.venv/bin`. It talks to AWS alone, with your own credentials, and needs `lambda:InvokeFunction` on
`nightshift-console` to look, on a job's function to run it, and on `nightshift-control` to pause, cancel and redrive.
Only `nightshift backup` goes to the database and the file store.
For the local AWS, `source` the file that `make local` names.

`--profile`, `--region` and `--endpoint-url` may stand before a command's name or after it.
`nightshift --install-completion` teaches your shell to complete commands, options and the names of jobs.
"""


def cli_page() -> str:
    """Every command with its options."""
    first = typer.main.get_command(application)
    assert isinstance(first, FirstCommand)
    for command in first.every():
        for option in command.params:
            if isinstance(option, TyperOption) and option.rich_help_panel == DEPLOYMENT:
                option.hidden = True  # said once, of the first command
    commands = get_docs_for_click(obj=first, ctx=typer.Context(first, **HELP), name="nightshift", indent=1)
    return f"{INTRODUCTION}\n{commands.strip()}\n"


def pages() -> dict[Path, str]:
    """Each generated page and what it should say."""
    return {CLI: cli_page(), JOBS: jobs_page(), README: readme(README.read_text())}


if __name__ == "__main__":
    for path, content in pages().items():
        path.write_text(content)

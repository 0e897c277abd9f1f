"""`python -m cli.docs` writes docs/cli.md from the commands themselves."""

from pathlib import Path

import typer
from typer.cli import get_docs_for_click

from cli.commands import application

PAGE = Path(__file__).parent.parent / "docs" / "cli.md"

INTRODUCTION = """<!-- Made by `make docs` from cli/commands.py. -->

# The command `nightshift`

`make` puts it into `.venv/bin`. It talks to AWS alone, with your own credentials, and needs `lambda:InvokeFunction` on
the jobs' functions and on `nightshift-console`. For the local AWS, `source` the file that `make local` names.
"""


def page() -> str:
    """The whole page."""
    command = typer.main.get_command(application)
    commands = get_docs_for_click(obj=command, ctx=typer.Context(command), name="nightshift", indent=1)
    return f"{INTRODUCTION}\n{commands.strip()}\n"


if __name__ == "__main__":
    PAGE.write_text(page())

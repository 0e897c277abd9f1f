"""How a command ends when it is refused or fails: one line on standard error, and an exit code."""

from typing import NoReturn

import typer

EXIT_FAILED = 1
EXIT_REFUSED = 2
EXIT_LEFT = 130
"""Ctrl-C has ended the waiting, and not what was waited for."""


class RefusedError(Exception):
    """The command is not carried out. The message is one line and says what to do."""


def end(message: str, code: int) -> NoReturn:
    """Print the line on standard error and exit with the code."""
    typer.secho(message, fg=typer.colors.RED, err=True)
    raise typer.Exit(code) from None

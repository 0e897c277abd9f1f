"""What every command raises that it will not, or cannot, carry out, and the exit codes that scripts read."""

from typing import NoReturn

import typer

EXIT_FAILED = 1
EXIT_REFUSED = 2


class RefusedError(Exception):
    """The command cannot be meant. The message is one line with the remedy."""


def end(message: str, code: int) -> NoReturn:
    """Say a line on standard error, and leave with this code."""
    typer.secho(message, fg=typer.colors.RED, err=True)
    raise typer.Exit(code) from None

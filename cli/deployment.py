"""How a command talks to the deployment: it asks the console, tells control, or invokes a job."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import typer

from cli import screen
from cli.aws import FunctionError, Functions, LambdaFunctions
from cli.refusals import RefusedError

NOT_REACHED = {
    *("InterfaceError", "OperationalError", "DatabaseError"),
    *("ConnectionRefusedError", "ConnectionResetError", "TimeoutError", "gaierror"),
}
"""The errors that console and control raise when they cannot connect to the database."""


class DatabaseDownError(RefusedError):
    """The deployment answers, and its database does not."""

    def __init__(self) -> None:
        super().__init__("the database does not answer: check that it is up and that the functions can connect to it")


@dataclass(frozen=True)
class Operator:
    """Whoever asks the console, tells control and invokes jobs: a command, or the page of `nightshift web`."""

    functions: Functions

    def ask(self, query: str, **keys: Any) -> dict[str, Any]:
        """Ask the console. Returns its answer, or raises a refusal with the reason."""
        return self._answer("console", {"query": query, **keys})

    def change(self, command: str, **keys: Any) -> dict[str, Any]:
        """Send a command to control. Returns its answer, or raises a refusal with the reason."""
        return self._answer("control", {"command": command, **keys})

    def invoke(self, name: str, payload: Mapping[str, Any]) -> dict[str, Any]:
        """Invoke the function of a job or of the platform, and return its result.

        Raises:
            AwsError, FunctionError.
        """
        from nightshift.declaration import function_name

        return self.functions.invoke(function_name(name), payload)

    def _answer(self, name: str, payload: Mapping[str, Any]) -> dict[str, Any]:
        try:
            answer = self.invoke(name, payload)
        except FunctionError as error:
            if error.kind in NOT_REACHED:
                raise DatabaseDownError from None
            raise
        if "error" in answer:
            raise RefusedError(answer["error"])
        return answer


def operator(ctx: typer.Context) -> Operator:
    """Whoever has called the command, in the account and region that its options name."""
    root = ctx.find_root()
    return Operator(root.obj or LambdaFunctions(**root.params))


def ask(ctx: typer.Context, query: str, **keys: Any) -> dict[str, Any]:
    """Ask the console. Returns its answer, or raises a refusal with the reason."""
    with screen.waiting("asking the deployment"):
        return operator(ctx).ask(query, **keys)


def change(ctx: typer.Context, command: str, **keys: Any) -> dict[str, Any]:
    """Send a command to control. Returns its answer, or raises a refusal with the reason."""
    with screen.waiting("asking the deployment"):
        return operator(ctx).change(command, **keys)


def invoke(ctx: typer.Context, name: str, payload: Mapping[str, Any]) -> dict[str, Any]:
    """Invoke the function of a job or of the platform, and return its result.

    Raises:
        AwsError, FunctionError.
    """
    return operator(ctx).invoke(name, payload)

"""How a command talks to the deployment: it asks the console, tells control, or invokes a job."""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import typer

from cli import screen
from cli.aws import DESK_SECONDS, WAIT_SECONDS, FunctionError, Functions, LambdaFunctions
from cli.refusals import RefusedError

CDK_JSON = Path(__file__).parent.parent / "cdk.json"

NOT_REACHED = {
    *("InterfaceError", "OperationalError", "DatabaseError", "DBAPIError"),
    *("ConnectionRefusedError", "ConnectionResetError", "ConnectionAbortedError", "BrokenPipeError", "TimeoutError"),
    *("OSError", "gaierror", "herror", "SSLError", "SSLEOFError", "SSLZeroReturnError", "SSLCertVerificationError"),
}
"""The errors that console and control raise when they cannot connect to the database."""

NO_SUCH_RUN = "no run has the id"
"""So begins the console's answer about a run that the ledger does not have."""


class DatabaseDownError(RefusedError):
    """The deployment answers, and its database does not."""

    def __init__(self) -> None:
        super().__init__("the database does not answer: check that it is up and that the functions can connect to it")


@dataclass(frozen=True)
class Operator:
    """Whoever asks the console, tells control and invokes jobs: a command, or the page of `nightshift web`."""

    functions: Functions
    deployment: str = "nightshift"
    """The deployment's name."""
    caller: Callable[[], str | None] | None = None
    """Finds the ARN of their AWS identity."""

    def ask(self, query: str, **keys: Any) -> dict[str, Any]:
        """Ask the console. Returns its answer, or raises a refusal with the reason."""
        return self._answer("console", {"query": query, **keys})

    def change(self, command: str, **keys: Any) -> dict[str, Any]:
        """Send a command to control, with the ARN of whoever gives it, as far as AWS tells.

        Returns its answer, or raises a refusal with the reason.
        """
        caller = self.caller() if self.caller else None
        return self._answer("control", {"command": command, **keys, **({"caller": caller} if caller else {})})

    def invoke(self, name: str, payload: Mapping[str, Any]) -> dict[str, Any]:
        """Invoke the function of a job or of the platform, and return its result.

        Raises:
            AwsError, FunctionError.
        """
        from nightshift.declaration import function_name

        return self.functions.invoke(function_name(name, self.deployment), payload)

    def run(self, run_id: str) -> dict[str, Any] | None:
        """Everything about one run; None if the ledger has none of that id (yet)."""
        try:
            found: dict[str, Any] = self.ask("run", run_id=run_id)["run"]
        except RefusedError as error:
            if str(error).startswith(NO_SUCH_RUN):
                return None
            raise
        return found

    def at_the_desk(self) -> "Operator":
        """The same, for whoever looks again and again: a connection that is dead is noticed before the next look."""
        if isinstance(self.functions, LambdaFunctions):
            return replace(self, functions=replace(self.functions, seconds=DESK_SECONDS))
        return self

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


def operator(ctx: typer.Context, *, seconds: float = WAIT_SECONDS) -> Operator:
    """Whoever has called the command, in the account and region that its options name.

    seconds: how long each answer is waited for.
    """
    name = deployment_name(ctx)
    if given := ctx.find_root().obj:
        return Operator(given, name)
    functions = LambdaFunctions(**where(ctx), seconds=seconds)
    return Operator(functions, name, functions.caller)


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


def deployment_name(ctx: typer.Context) -> str:
    """The name of the deployment: of the option or its variable, or of the project's cdk.json.

    Raises:
        RefusedError: no deployment can have this name.
    """
    from nightshift.declaration.names import DEPLOYMENT_NAME
    from nightshift.environment import DEFAULT_NAME

    name = ctx.find_root().params.get("name") or _set_in(CDK_JSON, "name") or DEFAULT_NAME
    if not isinstance(name, str) or not re.fullmatch(DEPLOYMENT_NAME, name):
        raise RefusedError(f"no deployment is named {name!r}: a name has small letters and digits, and no hyphen")
    return name


def where(ctx: typer.Context) -> dict[str, Any]:
    """Profile, region and endpoint: which AWS the command talks to."""
    return {key: value for key, value in ctx.find_root().params.items() if key != "name"}


def strain_of(job: str) -> dict[str, str]:
    """The environment in which a job's function would find the strain that the project's cdk.json sets for it."""
    from nightshift.environment import STRAIN_VARIABLE

    every = (_set_in(CDK_JSON, *keys, "strain") for keys in ((), ("jobs", job)))
    given = {name: value for each in every if isinstance(each, Mapping) for name, value in each.items()}
    given = {name: value for name, value in given.items() if value is not None}
    return {STRAIN_VARIABLE: json.dumps(given)} if given else {}


def _set_in(file: Path, *keys: str) -> Any:
    """What stands in the settings under these keys; None where nothing does, or no settings are there."""
    try:
        found = json.loads(file.read_text())
    except (OSError, json.JSONDecodeError):
        return None
    for key in ("context", "nightshift", *keys):
        found = found.get(key) if isinstance(found, Mapping) else None
    return found

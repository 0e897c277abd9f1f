"""What a shell completes besides commands, options and names of jobs. Whatever cannot be found is left out in silence.

Ids are asked of the deployment: of the console, as a command would, and not for long.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import typer

from cli import known_jobs
from cli.aws import AwsError, FunctionError
from cli.deployment import operator
from cli.refusals import RefusedError

SECONDS = 3.0
"""How long the console may take. Somebody has pressed a key and waits."""

MOST = 100

Completion = tuple[str, str]
"""What is completed, and what a shell may show beside it."""


def runs(ctx: typer.Context) -> list[Completion]:
    """The latest runs."""
    return [_run(each) for each in _asked(ctx, "runs", "runs", limit=MOST)]


def open_runs(ctx: typer.Context) -> list[Completion]:
    """Those that can be cancelled."""
    return [_run(each) for each in _asked(ctx, "status", "open_runs")]


def ended_badly(ctx: typer.Context) -> list[Completion]:
    """Those that can be redriven."""
    found = _asked(ctx, "runs", "runs", limit=MOST)
    return [_run(each) for each in found if each["outcome"] in ("failed", "cancelled")]


def runs_and_jobs(ctx: typer.Context, incomplete: str) -> list[Completion | str]:
    """The names of jobs. Where none begins so, runs: the names need no deployment."""
    names = [name for name in known_jobs.names() if name.startswith(incomplete)]
    return [*names] or [*runs(ctx)]


def backfills(*states: str) -> Callable[[typer.Context], list[Completion]]:
    """The backfills in one of the states."""

    def found(ctx: typer.Context) -> list[Completion]:
        each_one = _asked(ctx, "backfills", "backfills", limit=MOST)
        told = (each for each in each_one if each["state"] in states)
        return [(each["backfill_id"], f"{each['job']} {each['since']} to {each['until']}") for each in told]

    return found


def profiles() -> list[str]:
    """The profiles of this machine's AWS configuration."""
    import boto3

    return boto3.Session().available_profiles


def regions() -> list[str]:
    """The regions of AWS that have Lambda."""
    import boto3

    return boto3.Session().get_available_regions("lambda")


def _run(run: Mapping[str, Any]) -> Completion:
    return run["run_id"], f"{run['job']} {run['scheduled_for']} {run['outcome']}"


def _asked(ctx: typer.Context, query: str, what: str, **keys: Any) -> Iterable[Mapping[str, Any]]:
    try:
        found: Iterable[Mapping[str, Any]] = operator(ctx, seconds=SECONDS).ask(query, **keys)[what]
    except (AwsError, FunctionError, RefusedError):
        return ()
    return found

"""Looking at a run until it ends: the command watch, and what run and redrive do while they wait."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NoReturn

import typer

from cli import run_tables, screen
from cli.aws import AwsError, FunctionError
from cli.command_line import DeploymentCommand, again
from cli.deployment import Operator, operator
from cli.known_jobs import declared
from cli.options import Json, OpenRun
from cli.refusals import EXIT_FAILED, EXIT_LEFT, RefusedError, end
from cli.run_progress import run_progress
from cli.run_sight import Seen, Sight, sight
from cli.run_waits import waits
from cli.times import now, parse

SECONDS_BETWEEN_LOOKS = 2.0
SECONDS_BETWEEN_REASONS = 30.0
"""How often it is asked anew what a run waits for."""

SECONDS_OF_PATIENCE = 300.0
"""How long AWS or the database may be away before the looking is given up."""

TROUBLES = (AwsError, FunctionError, RefusedError)

application = typer.Typer()
command = partial(application.command, cls=DeploymentCommand, rich_help_panel="Look")


@command()
def watch(ctx: typer.Context, run: OpenRun, as_json: Json = False) -> None:
    """Watch a run until it ends: its progress, rate and time left.

    Says what a run waits for. The exit code is that of nightshift run: 1 if the run failed. Ctrl-C ends the watching
    and not the run (exit code 130). Where standard error is no terminal, a line now and then tells of the progress.
    """
    lookout = Lookout(operator(ctx))
    with screen.waiting("asking the deployment"):
        found = lookout.operator.run(run)
    if found is None:
        raise RefusedError(f"no run has the id {run}: see nightshift runs")
    if found["finished_at"] is None:
        try:
            with sight(f"run {found['run_id']}", quiet=as_json) as shown:
                found = lookout.until_its_end(found, shown)
        except KeyboardInterrupt:
            leave(found["run_id"], found)
    conclude(found, as_json)


@dataclass
class Lookout:
    """Looks at runs, for as long as it takes."""

    asking: Operator
    pause: Callable[[float], None] = time.sleep
    clock: Callable[[], float] = time.monotonic
    _reason_of: tuple[Any, ...] = ()
    _reason: str | None = None
    _reason_at: float = 0
    _jobs: dict[str, Any] = field(default_factory=dict)

    @property
    def operator(self) -> Operator:
        return self.asking.at_the_desk()

    def until_its_end(self, found: dict[str, Any], shown: Sight) -> dict[str, Any]:
        """Look at an open run again and again, and return it when it has ended.

        Raises:
            AwsError, FunctionError, RefusedError: nobody has answered for `SECONDS_OF_PATIENCE`.
        """
        answered = self.clock()
        while found["finished_at"] is None:
            shown.show(self.seen(found))
            self.pause(SECONDS_BETWEEN_LOOKS)
            try:
                found = self.operator.ask("run", run_id=found["run_id"])["run"]
                answered = self.clock()
            except TROUBLES as error:
                if self.clock() - answered > SECONDS_OF_PATIENCE:
                    raise
                shown.show(Seen(found, trouble=f"{error}. It is asked again"))
        return found

    def seen(self, run: Mapping[str, Any]) -> Seen:
        """What is to be shown of an open run."""
        return Seen(run, run_progress(run, self._changed(run["job"]), now()), self._waits(run))

    def _changed(self, job: str) -> Callable[[Mapping[str, int]], int] | None:
        if job not in self._jobs:
            try:
                found = declared().get(job)  # what is deployed may be of another folder
            except RefusedError:
                found = None
            self._jobs[job] = found.job.changed if found else None
        changed: Callable[[Mapping[str, int]], int] | None = self._jobs[job]
        return changed

    def _waits(self, run: Mapping[str, Any]) -> str | None:
        state = (run["outcome"], run["reason"], repr(run.get("strain")), run["lease_until"])
        if state != self._reason_of or self.clock() - self._reason_at > SECONDS_BETWEEN_REASONS:

            def job() -> Mapping[str, Any]:
                [found] = self.operator.ask("jobs", job=run["job"])["jobs"]
                return dict(found)

            def supervisor() -> Mapping[str, Any]:
                return dict(self.operator.ask("health").get("supervisor") or {"silent": False})

            try:
                self._reason = waits(run, job, supervisor, now())
            except TROUBLES as error:
                self._reason = f"it is {run['outcome']}; why is not known: {error}"
            self._reason_of, self._reason_at = state, self.clock()
        return self._reason


def leave(run_id: str, found: Mapping[str, Any] | None) -> NoReturn:
    """Say what becomes of a run that nobody waits for any more, and how to look at it and cancel it.

    found: the run as it was seen last; None if the ledger did not have it.
    """
    if found is None:
        said = f"The run is not in the ledger yet, and may still begin. Its id is {run_id}."
    elif found["finished_at"]:
        typer.echo(f"The run has ended: {again(f'show {run_id}')}", err=True)
        raise typer.Exit(EXIT_LEFT) from None
    else:
        said = f"The run goes on. Its id is {run_id}."
    typer.echo(
        f"{said}\n"
        f"To look at it: {again(f'watch {run_id}')}, or {again(f'show {run_id}')}\n"
        f"To cancel it: {again(f'cancel {run_id} --by NAME --reason TEXT')}",
        err=True,
    )
    raise typer.Exit(EXIT_LEFT) from None


def conclude(found: Mapping[str, Any], as_json: bool) -> None:
    """Say how a run has ended, as its function would have returned it. Exit code 1 if it failed."""
    if found["outcome"] == "failed":
        fail(found["job"], f"{found['job']}, run {found['run_id']}: {found['reason']}", as_json, found)
    answer = _result(found)
    screen.show(answer, as_json, run_tables.result(answer))


def fail(job: str, reason: str, as_json: bool, found: Mapping[str, Any] | None) -> NoReturn:
    """Say why an attempt failed: first what its run did, then the reason in one line on standard error. Exit code 1.

    found: the run, as far as the ledger could be asked.
    """
    ended = found is not None and found["finished_at"] is not None
    answer = _result(found) if found is not None and ended else {"job": job}
    if as_json:
        screen.show({**answer, "error": reason}, True, [])
    elif ended:
        screen.show(answer, False, run_tables.result(answer))
    goes_on = "" if found is None or ended else ". The run goes on: " + again(f"watch {found['run_id']}")
    stop = "" if reason.endswith("?") else "."
    end(f"the attempt failed: {reason}{stop} See {again(f'runs {job}')}{goes_on}", EXIT_FAILED)


def _result(found: Mapping[str, Any]) -> dict[str, Any]:
    """A run of the ledger in the form of a function's result."""
    told = ("job", "run_id", "scheduled_for", "outcome", "duration_ms")
    answer = {key: found[key] for key in told}
    answer |= {"counters": _counters(found), "errors": found["errors"]}
    return answer | {key: found[key] for key in ("reason", "notes", "plan") if found.get(key)}


def _counters(found: Mapping[str, Any]) -> dict[str, Any]:
    """The counters of a run, with those that the job declares and the run has not counted, and its cut-off."""
    try:
        known = declared().get(found["job"])
    except RefusedError:
        known = None
    if known is None:
        return dict(found["counters"])
    from uuid import UUID

    from nightshift.declaration import Run
    from nightshift.declaration.step import CUTOFF

    job = known.job
    counters: dict[str, Any] = dict.fromkeys(job.counters, 0) | dict(found["counters"])
    run = Run(UUID(found["run_id"]), job.name, parse(found["scheduled_for"]), parameters=found["parameters"])
    try:
        cutoff = job.cutoff(run)
    except KeyError:  # what is deployed has other parameters
        cutoff = None
    return counters if cutoff is None else counters | {CUTOFF: cutoff}

"""The operator's command. It talks to AWS alone: a database in a private network is reached through the deployment."""

import datetime as dt
import json
import time as clock
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup

from cli import backup, mail, screen
from cli.aws import AwsError, FunctionError, Functions, LambdaFunctions
from cli.refusals import RefusedError
from cli.times import parse
from nightshift.declaration import Deployment, Registration, Schedule, function_name, iso, registry
from nightshift.errors import DeclarationError, EventError, SettingError
from nightshift.ledger import OPEN_STATES

CONSOLE = function_name("console")
CONTROL = function_name("control")

EXIT_FAILED = 1
EXIT_REFUSED = 2

REFUSING = {EventError.__name__, SettingError.__name__}
"""What a job's function raises before it has changed anything."""

SECONDS_BETWEEN_LOOKS = 5.0
"""While the supervisor moves a run that was interrupted or waits."""

SIMILARITY = 60
"""From 0 to 100: how like a job's name a word must be to be taken for a misspelling of it."""

MEANING = f"""Exit codes: 0 all is well; {EXIT_FAILED} the job failed, or a job's health is degraded; {EXIT_REFUSED} \
refused or not reached: unknown name, bad value, no way to AWS, not ready. Errors go to standard error in one line."""


class OneLineErrors(TyperGroup):
    """Ends every command that cannot be carried out with one line and exit code 2."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except (RefusedError, AwsError, DeclarationError) as error:
            _end(str(error), EXIT_REFUSED)
        except FunctionError as error:
            _end(f"the function ended with {error.kind}: {error}", EXIT_REFUSED)


application = typer.Typer(
    cls=OneLineErrors, epilog=MEANING, add_completion=False, pretty_exceptions_enable=False, no_args_is_help=True
)

application.add_typer(mail.application, name="mail")
application.add_typer(backup.application, name="backup")

Json = Annotated[bool, typer.Option("--json", help="Print the answer as JSON and nothing else.")]
Declared = Annotated[bool, typer.Option("--declared", help="Ask no deployment: show what this folder's code declares.")]
JobName = Annotated[str, typer.Argument(metavar="JOB", help="The job's name, as `nightshift jobs` lists it.")]
OneJob = Annotated[str | None, typer.Argument(metavar="JOB", help="Only this job.")]
At = Annotated[
    str | None,
    typer.Option(metavar="TIME", help="Run as of this past time: ISO 8601 with a zone, like 2026-03-02T09:00:00Z."),
]
By = Annotated[str, typer.Option(metavar="NAME", help="Who does this; it stands in the ledger.")]
Reason = Annotated[str, typer.Option(metavar="TEXT", help="Why; it stands in the ledger.")]
RunId = Annotated[str, typer.Argument(metavar="RUN", help="The run's id, or its first characters.")]
Parameters = Annotated[
    list[str] | None,
    typer.Option(metavar="NAME=NUMBER", help="Set a parameter of the job for this run alone. May be repeated."),
]


@application.callback()
def main(
    ctx: typer.Context,
    profile: Annotated[str | None, typer.Option(help="The AWS profile to use.")] = None,
    region: Annotated[str | None, typer.Option(help="The AWS region of the deployment.")] = None,
    endpoint_url: Annotated[
        str | None, typer.Option(metavar="URL", help="Another AWS than the real one. Also from AWS_ENDPOINT_URL.")
    ] = None,
) -> None:
    """Look at Nightshift's jobs, and run them."""
    if endpoint_url is not None and not endpoint_url.startswith(("http://", "https://")):
        raise RefusedError(f"--endpoint-url {endpoint_url!r} is no URL: write it like http://127.0.0.1:4566")
    ctx.obj = ctx.obj or LambdaFunctions(profile, region, endpoint_url)


@application.command()
def jobs(ctx: typer.Context, job: OneJob = None, declared: Declared = False, as_json: Json = False) -> None:
    """List the jobs and how each last ended.

    Schedule, state (enabled, disabled, paused, running), last run and next run; totals with --json.
    """
    only = _job_key(job)
    if declared:
        from nightshift.operations import declared as as_declared

        found = {name: each for name, each in Deployment().jobs().items() if job in (None, name)}
        answer = {"jobs": [as_declared(each, _now()) for each in found.values()]}
    else:
        answer = _ask(ctx, "jobs", **only)
    for each in answer["jobs"]:
        each["schedule_in_words"] = screen.words(each["schedule"])
    _show(answer, as_json, [screen.jobs(answer, _now())])


@application.command("next")
def next_(
    ctx: typer.Context,
    job: OneJob = None,
    count: Annotated[int, typer.Option(min=1, max=500, help="How many occurrences to show.")] = 10,
    declared: Declared = False,
    as_json: Json = False,
) -> None:
    """Show the coming occurrences."""
    only = _job_key(job)
    if declared:
        from nightshift.operations import upcoming

        found = {name: each for name, each in Deployment().jobs().items() if job in (None, name)}
        answer: dict[str, Any] = {"next": upcoming(found, _now(), count)}
    else:
        answer = _ask(ctx, "next", count=count, **only)
    _show(answer, as_json, [screen.occurrences(answer, _now())])


@application.command()
def run(
    ctx: typer.Context,
    job: JobName,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what the run would do.")] = False,
    at: At = None,
    param: Parameters = None,
    force: Annotated[
        bool, typer.Option("--force", help="Run again an occurrence that has been settled before (with --at).")
    ] = False,
    override_cap: Annotated[
        bool, typer.Option("--override-cap", help="Let this run destroy more than its cap allows; say who and why.")
    ] = False,
    by: Annotated[str | None, typer.Option(metavar="NAME", help="Who lifts the cap.")] = None,
    reason: Annotated[str | None, typer.Option(metavar="TEXT", help="Why the cap is lifted.")] = None,
    as_json: Json = False,
) -> None:
    """Run a job now and wait for its end.

    A paused job runs too, because you ask for it; a disabled one does not.
    """
    registration = _job(job)
    payload = _payload(registration, at, param, dry_run=dry_run)
    if override_cap != bool(by and reason) or override_cap != bool(by or reason):
        raise RefusedError("to lift a cap, say who and why: --override-cap --by NAME --reason TEXT")
    if override_cap:
        payload["override"] = {"by": by, "reason": reason}
    if force:
        payload["force"] = True
    _invoke(ctx, job, payload, as_json)


@application.command()
def plan(ctx: typer.Context, job: JobName, at: At = None, param: Parameters = None, as_json: Json = False) -> None:
    """Say what a job would do, and change nothing."""
    _invoke(ctx, job, _payload(_job(job), at, param, dry_run=True), as_json)


@application.command()
def backfill(
    ctx: typer.Context,
    job: JobName,
    since: Annotated[str, typer.Option("--from", metavar="TIME", help="The first instant: ISO 8601 with a zone.")],
    until: Annotated[
        str, typer.Option("--to", metavar="TIME", help="The instant after the last: ISO 8601 with a zone.")
    ],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only list the occurrences.")] = False,
    as_json: Json = False,
) -> None:
    """Run a job for every past occurrence of its schedule from one time to another, the oldest first.

    Each is waited for. What has run already is left as it is; what was missed, paused or skipped is run.
    It stops at the first failure: call it again to go on.
    """
    registration, first, last = _job(job), _past(since, "--from"), _past(until, "--to")
    [deployed] = _ask(ctx, "jobs", job=registration.job.name)["jobs"]
    times = list(Schedule.parse(deployed["schedule"]).between(first, last))
    if not times:
        raise RefusedError(f"{job} has no occurrence from {since} to {until}: its schedule is {deployed['schedule']}")
    answers = []
    for time in times:
        answer = {"scheduled_for": iso(time)} if dry_run else _backfill(ctx, job, time)
        answers.append(answer)
        if not as_json:
            typer.echo(screen.backfilled(answer))
        if answer.get("outcome") == "failed":
            break
    if as_json:
        typer.echo(json.dumps({"backfill": answers}, indent=2))
    if answers[-1].get("outcome") == "failed":
        _end(f"stopped at the occurrence of {answers[-1]['scheduled_for']}: see nightshift runs {job}", EXIT_FAILED)


@application.command()
def pause(ctx: typer.Context, job: JobName, by: By, reason: Reason, as_json: Json = False) -> None:
    """Hold a job's occurrences back until it is resumed.

    Each is settled as paused. Open runs go on, and nightshift run works all the same.
    """
    answer = _do(ctx, "pause", **_job_key(job), by=by, reason=reason)
    _show(answer, as_json, [f"{job} is paused. Its occurrences are settled as such until: nightshift resume {job}"])


@application.command()
def resume(ctx: typer.Context, job: JobName, as_json: Json = False) -> None:
    """Let a paused job's occurrences run again, from the next one on."""
    answer = _do(ctx, "resume", **_job_key(job))
    _show(answer, as_json, [f"{job} is not paused. What it left out can be made up for: nightshift backfill {job}"])


@application.command()
def cancel(ctx: typer.Context, run: RunId, by: By, reason: Reason, as_json: Json = False) -> None:
    """End an open run for good.

    What it has committed stays. An attempt that is at work commits nothing more.
    """
    answer = _do(ctx, "cancel", run_id=run, by=by, reason=reason)
    _show(answer, as_json, [screen.runs([answer["run"]], _now())])


@application.command()
def redrive(ctx: typer.Context, run: RunId, by: By, as_json: Json = False) -> None:
    """Have a failed or cancelled run go on at its cursor, and wait for its end.

    For the same occurrence, with all its attempts anew. Its message in the dead-letter queue is yours to delete.
    """
    opened = _do(ctx, "redrive", run_id=run, by=by)["run"]
    _invoke(ctx, opened["job"], {"run_id": opened["run_id"]}, as_json)


@application.command()
def runs(
    ctx: typer.Context,
    job: OneJob = None,
    limit: Annotated[int, typer.Option(min=1, max=500, help="How many runs to show.")] = 20,
    as_json: Json = False,
) -> None:
    """List the latest runs."""
    answer = _ask(ctx, "runs", limit=limit, **_job_key(job))
    _show(answer, as_json, [screen.runs(answer["runs"], _now())])


@application.command()
def show(
    ctx: typer.Context,
    run: RunId,
    as_json: Json = False,
) -> None:
    """Show all about one run.

    Outcome and reason, counters, errors, attempts, plan, and the items it left as they were.
    """
    answer = _ask(ctx, "run", run_id=run)
    _show(answer, as_json, screen.run(answer["run"], _now()))


@application.command()
def status(ctx: typer.Context, as_json: Json = False) -> None:
    """Show totals, open runs and recent failures."""
    answer = _ask(ctx, "status")
    _show(answer, as_json, screen.status(answer, _now()))


@application.command()
def health(ctx: typer.Context, as_json: Json = False) -> None:
    """Say whether every job succeeded lately.

    Lately means within two periods of the job's own schedule. Disabled and paused jobs are shown and do not count.
    Exit code 0 when all have, 1 when a job is degraded, 2 when the deployment or its database does not answer.
    """
    answer = _ask(ctx, "health")
    _show(answer, as_json, screen.health(answer, _now()))
    if answer["status"] != "ready":
        raise typer.Exit(EXIT_REFUSED)
    if answer["scheduler"] != "healthy":
        raise typer.Exit(EXIT_FAILED)


def _job(name: str) -> Registration:
    """The job of that name, or a refusal that names the nearest one."""
    known = registry()
    if name in known:
        return known[name]
    from rapidfuzz import process, utils

    nearest = process.extractOne(name, list(known), processor=utils.default_process, score_cutoff=SIMILARITY)
    raise RefusedError(
        f"no job is named {name!r}: " + (f"did you mean {nearest[0]}?" if nearest else "see nightshift jobs --declared")
    )


def _job_key(name: str | None) -> dict[str, str]:
    return {} if name is None else {"job": _job(name).job.name}


def _payload(
    registration: Registration, at: str | None, given: Iterable[str] | None, *, dry_run: bool
) -> dict[str, Any]:
    """What the job's function is asked for. Names and values are checked here first: it is quicker, and clearer."""
    payload: dict[str, Any] = {}
    if dry_run:
        payload["dry_run"] = True
    try:
        if at is not None:
            payload["scheduled_for"] = _past(at).isoformat()
        if given:
            parameters = dict(_parameter(text) for text in given)
            resolved = registration.job.resolve(parameters)
            payload["parameters"] = {name: resolved[name] for name in parameters}
    except ValueError as error:  # SettingError is one
        raise RefusedError(str(error)) from None
    return payload


def _past(at: str, option: str = "--at") -> dt.datetime:
    """The occurrence's time. A run as of a time to come would count as old what is still young, and delete it."""
    try:
        instant = parse(at)
    except ValueError as error:
        raise RefusedError(f"{option}: {error}") from None
    if instant > _now():
        raise RefusedError(
            f"{option} {at} is still to come: name a time that has been; nightshift next shows the others"
        )
    return instant


def _parameter(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise RefusedError(f"--param {text!r} has no value: write it like retention_days=60")
    return name.strip(), value.strip()


def _invoke(ctx: typer.Context, job: str, payload: Mapping[str, Any], as_json: bool) -> None:
    functions: Functions = ctx.obj
    try:
        with screen.waiting(f"{job} is at work (Ctrl-C stops the waiting, not the job)"):
            answer = functions.invoke(function_name(job), payload)
    except FunctionError as error:
        if error.kind in REFUSING:
            raise RefusedError(f"{job} refused: {error}") from None
        if as_json:
            typer.echo(json.dumps({"job": job, "error": str(error)}, indent=2))
        _end(f"the attempt failed: {error}. See nightshift runs {job}", EXIT_FAILED)
    _show(answer, as_json, screen.result(answer))
    if answer["outcome"] == "failed":
        raise typer.Exit(EXIT_FAILED)


def _backfill(ctx: typer.Context, job: str, time: dt.datetime) -> dict[str, Any]:
    """Run one occurrence and wait until it is settled, whoever works on it."""
    functions: Functions = ctx.obj
    answer: dict[str, Any]
    with screen.waiting(f"{job} for {iso(time)} (Ctrl-C stops the waiting, not the job)"):
        try:
            answer = functions.invoke(function_name(job), {"trigger": "backfill", "scheduled_for": iso(time)})
        except FunctionError as error:
            if error.kind in REFUSING:
                raise RefusedError(f"{job} refused: {error}") from None
            return {"scheduled_for": iso(time), "outcome": "failed", "reason": str(error)}
        while answer["outcome"] in OPEN_STATES:
            clock.sleep(SECONDS_BETWEEN_LOOKS)
            answer = _ask(ctx, "run", run_id=answer["run_id"])["run"]
    return answer


def _do(ctx: typer.Context, command: str, **keys: Any) -> dict[str, Any]:
    """What the deployment answers to a command, or a refusal with its reason."""
    return _answer(ctx, CONTROL, {"command": command, **keys})


def _ask(ctx: typer.Context, query: str, **keys: Any) -> dict[str, Any]:
    """The deployment's answer, or a refusal with its reason."""
    return _answer(ctx, CONSOLE, {"query": query, **keys})


def _answer(ctx: typer.Context, function: str, payload: Mapping[str, Any]) -> dict[str, Any]:
    functions: Functions = ctx.obj
    with screen.waiting("asking the deployment"):
        answer = functions.invoke(function, payload)
    if "error" in answer:
        raise RefusedError(answer["error"])
    return answer


def _show(answer: Mapping[str, Any], as_json: bool, parts: Iterable[Any]) -> None:
    if as_json:
        typer.echo(json.dumps(answer, indent=2))
        return
    out = screen.terminal()
    for part in parts:
        out.print(part)


def _now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)


def _end(message: str, code: int) -> NoReturn:
    typer.secho(message, fg=typer.colors.RED, err=True)
    raise typer.Exit(code) from None

"""The command check: what every job would meet in the live database, asked before the first night."""

from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from cli import known_jobs, screen
from cli.aws import AwsError, FunctionError
from cli.command_line import DeploymentCommand
from cli.database_url import place_of, settings_of
from cli.deployment import NOT_REACHED, DatabaseDownError, ask, invoke, strain_of
from cli.options import Json
from cli.planning import connected
from cli.refusals import EXIT_FAILED
from cli.times import now

if TYPE_CHECKING:
    from nightshift.declaration import Job

SEVERITIES = ("error", "warning", "note")
EVERY_JOB = "every job"
"""Who a finding is of that all jobs share: it is shown once."""

AT_ONCE = 6
"""How many functions are asked at the same time. Each holds a connection to the database meanwhile."""

application = typer.Typer()
command = partial(application.command, cls=DeploymentCommand, rich_help_panel="Look")

Finding = dict[str, Any]


@command()
def check(
    ctx: typer.Context,
    job: Annotated[
        str | None, typer.Option("--job", metavar="JOB", help="Only this job.", autocompletion=known_jobs.names)
    ] = None,
    database_url: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            envvar="NIGHTSHIFT_DATABASE_URL",
            help="Check in this database, as this user, without a deployment and without AWS: "
            "postgresql://USER:PASSWORD@HOST:5432/DATABASE.",
        ),
    ] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Warnings, too, end with exit code 1.")] = False,
    as_json: Json = False,
) -> None:
    """Check every job against the live database.

    Tables, columns, types, rights, row security, indexes, cascades, triggers, rules: what a run will meet, and the SQL
    that mends it. An error fails a run or has it refused. A warning makes it slow, or less than it seems.
    Each job's own function is asked, so it is the role of its runs that is checked; with --database-url, the URL's
    user. Nothing is written. Exit code 1: there is an error.
    """
    if database_url:
        with screen.waiting("the jobs are checked"):
            usable, broken = known_jobs.apart(job)
            answer = check_in(database_url, [each.job for each in usable], broken)
    else:
        with screen.waiting("the jobs check their database"):
            answer = _check_deployed(ctx, job)
    screen.show(answer, as_json, parts(answer))
    failing = SEVERITIES[: 2 if strict else 1]
    if any(answer["totals"][each] for each in failing):
        raise typer.Exit(EXIT_FAILED)


def check_in(url: str, jobs: "Iterable[Job]", broken: Mapping[str, str] | None = None) -> dict[str, Any]:
    """The findings of these jobs in a database, each from one look that only reads. Refuses if it cannot be used.

    broken: by name, why other jobs cannot be imported.
    """
    from nightshift.runtime.checking import findings_of

    settings = settings_of(url)
    found = {name: [_of_job(name, "error", why)] for name, why in (broken or {}).items()}
    with connected(settings, "check") as session:
        for job in jobs:
            found[job.name] = findings_of(session, job, now(), {}, strain_of(job.name))
    return _answer(found, len(found) - len(broken or {})) | {"database": place_of(settings)}


def _check_deployed(ctx: typer.Context, job: str | None) -> dict[str, Any]:
    """What each job's own function finds. A job whose function does not say it is a finding itself."""
    deployed = {each["job"]: each for each in ask(ctx, "jobs", **known_jobs.key(job))["jobs"]}

    unasked: list[AwsError] = []

    def asked(name: str) -> list[Finding]:
        if not deployed[name]["enabled"]:
            return [_of_job(name, "note", "it is disabled by the deployment's settings, and was not checked")]
        try:
            findings: list[Finding] = invoke(ctx, name, {"check": True})["findings"]
        except FunctionError as error:
            if error.kind in NOT_REACHED:
                raise DatabaseDownError from None
            return [_of_job(name, "error", f"its function could not check it: {error}")]
        except AwsError as error:
            unasked.append(error)
            return [_of_job(name, "error", f"its function could not be asked: {error}")]
        return findings

    with ThreadPoolExecutor(AT_ONCE) as pool:
        found = dict(zip(deployed, pool.map(asked, deployed), strict=True))
    if unasked and len(unasked) == sum(each["enabled"] for each in deployed.values()):
        raise unasked[0]
    return _answer(found, len(found))


def _of_job(name: str, severity: str, what: str) -> Finding:
    return {"severity": severity, "step": None, "object": name, "what": what, "sql": None}


def _answer(found: Mapping[str, list[Finding]], looked: int) -> dict[str, Any]:
    """All findings, the worst first; what every job shares that looked is told once.

    looked: how many of the jobs have.
    """
    told: dict[tuple[Any, ...], Finding] = {}
    shared: dict[tuple[Any, ...], set[str]] = {}
    for job, findings in found.items():
        for each in findings:
            of_ledger = each["step"] is None
            key = (each["object"], each["what"], each["sql"], *(() if of_ledger else (job, each["step"])))
            shared.setdefault(key, set()).add(job)
            told.setdefault(key, {"severity": each["severity"], "job": job, **each})
    for key, jobs in shared.items():
        if len(jobs) == looked > 1:
            told[key]["job"] = EVERY_JOB
        elif len(jobs) > 1:
            told[key]["job"] = f"{len(jobs)} jobs"
    findings = sorted(told.values(), key=lambda each: SEVERITIES.index(each["severity"]))
    totals = {severity: sum(each["severity"] == severity for each in findings) for severity in SEVERITIES}
    return {"jobs": sorted(found), "totals": totals, "findings": findings}


def parts(answer: Mapping[str, Any]) -> Iterator[Table | Text]:
    """One line for each finding, then the SQL that mends it, then how many there are."""
    if answer["findings"]:
        lines = screen.table("Severity", "Job", "Object", "Finding")
        for each in answer["findings"]:
            lines.add_row(screen.styled(each["severity"]), each["job"], each["object"], each["what"])
        yield lines
    mending = ((f"{each['job']}: {each['object']}", each["sql"]) for each in answer["findings"] if each["sql"])
    yield from screen.statements("What mends it, for the owner of the tables", mending)
    totals, number = answer["totals"], len(answer["jobs"])
    told = [f"{count} {word}{'' if count == 1 else 's'}" for word, count in totals.items() if count]
    place = f" in {answer['database']}" if "database" in answer else ""
    result = ", ".join(told) or "nothing to tell"
    style = "bold red" if totals["error"] else "yellow" if totals["warning"] else "green"
    yield Text(f"{number} job{'' if number == 1 else 's'} checked{place}: {result}.", style)

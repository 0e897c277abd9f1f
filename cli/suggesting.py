"""The command suggest: jobs that could be written for a database that nobody here has seen."""

import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.filesize import decimal
from rich.table import Table
from rich.text import Text

from cli import known_jobs, screen
from cli.command_line import DeploymentCommand
from cli.database_url import place_of, settings_of
from cli.deployment import ask
from cli.options import Json
from cli.project import database, job_files, proposed
from cli.project.files import ROOT
from cli.refusals import RefusedError
from cli.times import now

if TYPE_CHECKING:
    from nightshift.database import DatabaseSettings

application = typer.Typer()
command = partial(application.command, cls=DeploymentCommand, rich_help_panel="Look")

Answer = Mapping[str, Any]


@command()
def suggest(
    ctx: typer.Context,
    database_url: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            envvar="NIGHTSHIFT_DATABASE_URL",
            help="Look at this database, without a deployment and without AWS: "
            "postgresql://USER:PASSWORD@HOST:5432/DATABASE. A replica will do.",
        ),
    ] = None,
    write: Annotated[
        Path | None,
        typer.Option(metavar="functions/PACK", help="Write a file for each proposed job into this pack."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Propose jobs for tables that grow and age.

    Finds sessions, tokens, logs, events, deliveries, queues and their like by names, columns and partitions, and says
    how many rows and bytes a job would delete now, what goes along, and which index is missing. Only the catalogue and
    the planner's statistics are read, in a transaction that can only read; never a table. The numbers are estimates.
    Tables that a job cleans up already are left out, and so is whatever others refer to. With --write nothing is
    overwritten. Look at what is written before you deploy it.
    """
    pack = None if write is None else proposed.pack_of(write)
    settings = None
    with screen.waiting("looking at the tables"):
        if database_url:
            settings = settings_of(database_url)
            answer = suggested_in(settings)
        else:
            answer = ask(ctx, "suggest")
    screen.show(answer, as_json, parts(answer))
    if pack is not None:
        for line in _write(pack, answer["proposals"], settings):
            typer.echo(line, err=as_json)


def suggested_in(settings: "DatabaseSettings") -> dict[str, Any]:
    """What could be proposed for this database. Refuses if it cannot be used."""
    from nightshift.catalogue.proposals import suggest as look
    from nightshift.declaration import cleaned

    jobs = (each.job for each in known_jobs.declared().values())
    with database.reading(settings) as session:
        return look(session, cleaned(jobs), now=now()).as_json() | {"database": place_of(settings)}


def parts(answer: Answer) -> Iterator[Table | Text]:
    """The proposals, what each lacks, and what was left aside with the reason."""
    proposals, aside = answer["proposals"], answer["aside"]
    if proposals:
        lines = screen.table("Table", "Rule", "Rows now", "Share", "Bytes", "Along")
        for each in proposals:
            lines.add_row(*_cells(each))
        yield lines
    for because in dict.fromkeys(each["because"] for each in proposals):
        tables = ", ".join(each["table"] for each in proposals if each["because"] == because)
        yield Text(f"{tables}: {because}")
    for each in proposals:
        yield from _remarks(each)
    if over := [each["table"] for each in proposals if each["over_cap"]]:
        yield Text(
            f"The first run on {', '.join(over)} stops at max_share before it deletes anything, because so large a "
            "part is old. Look at the plan; to let it go: nightshift run JOB --param max_share=PERCENT",
            "yellow",
        )
    yield from screen.statements("Indexes that are missing", _missing(proposals))
    if aside:
        yield Text("\nLeft aside, for you to decide:", "bold")
        lines = screen.table("Table", "Reason")
        for each in aside:
            lines.add_row(each["table"], each["why"])
        yield lines
    told = f"{answer['looked_at']} tables looked at, {len(proposals)} jobs proposed"
    covered = f"; a job deletes from {len(answer['covered'])} of them already" if answer["covered"] else ""
    yield Text(f"{told}{covered}. Rows and bytes are the planner's estimates.")


def _cells(each: Answer) -> Iterator[str]:
    yield each["table"]
    unit = f" ({each['measured_in']})" if each["measured_in"] else ""
    but = f", where {each['where']}" if each.get("where") else ""
    yield f"{each['column']}{unit} older than {job_files.days_in_words(each['older_than_days'])}{but}"
    yield "unknown" if each["rows"] is None else f"about {each['rows']:,}"
    yield "" if each["share"] is None else f"{each['share']:.0%}"
    yield "" if each["bytes"] is None else decimal(each["bytes"])
    yield ", ".join(map(_along, each["cascades"]))


def _along(going: Answer) -> str:
    rows = "unknown" if going["rows"] is None else f"about {going['rows']:,}"
    return f"{going['table']} {rows}{' emptied' if going['action'] == 'update' else ''}"


def _remarks(each: Answer) -> Iterator[Text]:
    table = each["table"]
    if each["unknown"]:
        remedy = f": {each['remedy']}" if each["remedy"] else ""
        yield Text(f"{table}: {each['unknown']}{remedy}", "yellow")
    if each["partitions"] and each.get("piecewise"):
        yield Text(f"{table}: old partitions cannot be dropped: {each['piecewise']}", "yellow")
    elif proposed.goes_whole(each):
        yield Text(f"{table}: partitions that are entirely older are dropped, which takes a moment", "green")


def _missing(proposals: Iterable[Answer]) -> Iterator[tuple[str, str]]:
    """Each index that is missing: of which table, for what, and what it costs; then its SQL."""
    for each in proposals:
        # Of a table whose old partitions go as a whole only the one that is partly old is read for its rows.
        if each["missing"] and not proposed.goes_whole(each):
            yield f"{each['table']}: each run reads it whole{_cost(each['missing'])}", each["missing"]["sql"]
        for going in each["cascades"]:
            if going.get("missing"):
                told = f"{going['table']}: it is read whole for each row of {each['table']}{_cost(going['missing'])}"
                yield told, going["missing"]["sql"]


def _cost(index: Answer) -> str:
    if index["bytes"] is None:
        return ""
    return f"; the index has about {decimal(index['bytes'])} and takes about {max(1, round(index['seconds']))} s"


def _write(pack: str, proposals: Iterable[Answer], settings: "DatabaseSettings | None") -> Iterator[str]:
    """Write the jobs and what their tests need; then the generated pages, as `make docs` does."""
    written, left = proposed.write(pack, proposals)
    yield from left
    if not written:
        yield "No file is written."
        return
    if settings is not None and proposed.has_no_tables():
        written.append(proposed.add_schema(database.schema(settings)))
    for path in written:
        yield f"{path.relative_to(ROOT)} is written."
    for module in ("cli.docs", "infra.docs"):
        done = subprocess.run([sys.executable, "-m", module], cwd=ROOT, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RefusedError("the pages of docs/ could not be written anew: run make docs")
    yield "Then: nightshift plan JOB --database-url URL for each, make check."

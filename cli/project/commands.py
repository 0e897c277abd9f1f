"""Commands for a project of one's own: init, new job, upgrade."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from cli import screen
from cli.command_line import Command, Group
from cli.database_url import settings_of
from cli.project import beginning, database, job_files, upgrading
from cli.project.files import MANIFEST, ROOT, version_of
from cli.refusals import RefusedError

PANEL = "Your own project"

application = typer.Typer()
command = partial(application.command, cls=Command, rich_help_panel=PANEL)
new = typer.Typer(cls=Group, no_args_is_help=True, help="Write what is still missing in your project.")

DatabaseUrl = Annotated[
    str | None,
    typer.Option(
        metavar="URL",
        envvar="NIGHTSHIFT_DATABASE_URL",
        help="The application's database: postgresql://user@host:5432/name. Only its schema is read.",
    ),
]

Pack = Annotated[str | None, typer.Option(metavar="NAME", help="The pack. Default: yours, if there is only one.")]


@command()
def init(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The project's folder: empty, or not there yet.")],
    database_url: DatabaseUrl = None,
    pack: Annotated[str, typer.Option(metavar="NAME", help="The first pack: a folder of functions/.")] = "housekeeping",
    backup: Annotated[
        bool | None, typer.Option("--backup/--no-backup", help="Add the job that backs the database up every night.")
    ] = None,
    health_check: Annotated[
        bool | None,
        typer.Option("--health-check/--no-health-check", help="Add the job that looks every 5 minutes what is bad."),
    ] = None,
) -> None:
    """Make a project of your own.

    It has the library, the infrastructure, this command, the local AWS and
    the tests, one pack with one job, and nothing of the example.
    With --database-url it also has the schema of your database, for its tests.
    On a terminal it asks about the two jobs that are offered. Where nobody
    can answer they are left out, and nightshift new writes them later.
    """
    folder = folder.expanduser()
    job_files.check_pack(pack)
    beginning.check_folder(folder)
    wanted = {
        "backup": _answer(backup, "Add the job that backs the database up every night?"),
        "health-check": _answer(health_check, "Add the job that looks every 5 minutes what is bad, and tells you?"),
    }
    jobs = [job for job in job_files.OFFERED if wanted[job]]
    schema, found = None, []
    if database_url is not None:
        settings = settings_of(database_url)
        with screen.waiting("reading the schema"):
            with database.reading(settings) as session:
                found = database.candidates(session)
            schema = database.schema(settings)
    with _words_for_files(), screen.waiting("making the project"):
        beginning.make_project(folder, pack, schema, jobs)
    typer.echo(f"{folder} is a project of its own, with Nightshift {version_of(ROOT)}.")
    if schema is not None:
        typer.echo("tests/own/schema.sql has the schema of your database.")
    if found:
        typer.echo("\nThe largest tables with a time in them, and whether nightshift suggest proposes a job for one:")
        screen.show({}, False, [_candidates(found)])
    typer.echo("\nNext:")
    for line in beginning.next_commands(folder, found, jobs):
        typer.echo(f"  {line}")


@new.command("job", cls=Command)
def new_job(
    ctx: typer.Context,
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="The job's name in kebab-case, like cleanup-invitations.")
    ],
    kind: Annotated[
        str,
        typer.Option(
            metavar="KIND",
            help=f"What it is: {', '.join(job_files.SCHEDULES)}.",
            autocompletion=lambda: list(job_files.SCHEDULES),
        ),
    ],
    table: Annotated[str | None, typer.Option(metavar="TABLE", help="The table it is about, like shop.orders.")] = None,
    pack: Pack = None,
    measured_by: Annotated[
        str | None, typer.Option(metavar="COLUMN", help="The column of the table that tells a row's age.")
    ] = None,
    database_url: DatabaseUrl = None,
) -> None:
    """Write the file of a new job, and its test.

    With --table and --database-url it finds the column that tells a row's age.
    What it does not know is marked FILL IN, and refused until you have
    written it.
    """
    job = job_files.NewJob(name, kind, job_files.own_pack(pack), table, measured_by)
    job_files.check(job)
    source = ctx.get_parameter_source("database_url")
    said = source is not None and source.name == "COMMANDLINE"  # what stands in the shell is meant for other commands
    if table is None and (said or measured_by is not None):
        raise RefusedError("--database-url and --measured-by are about --table: name one")
    if database_url is not None and table is not None:
        with screen.waiting("reading the table"), database.reading(settings_of(database_url)) as session:
            facts = database.facts_of(session, table)
        job, told = job_files.measured(job, facts)
        typer.echo(told)
    with _words_for_files():
        written = job_files.write(job.pack, job.files())
    _tell(written)
    if not job.filled:
        typer.echo(f"Fill in what is marked with {job_files.MARK}: until then nothing else works.")
    typer.echo(
        f"Then: nightshift plan {name} --database-url URL, rows for it in tests/own/rows.sql, make docs, make test."
    )


@new.command("backup", cls=Command)
def new_backup(pack: Pack = None) -> None:
    """Write the job that backs the database up every night.

    Nothing is to be filled in. docs/operations.md says what it keeps, and how
    a backup comes back.
    """
    _offer("backup", pack)


@new.command("health-check", cls=Command)
def new_health_check(pack: Pack = None) -> None:
    """Write the job that looks every 5 minutes what is bad.

    It looks at the database, the outbox, the jobs and the file store, and
    tells the operators of what is bad twice running. Nothing is to be filled
    in. What matters to your application is added as its measures.
    """
    _offer("health-check", pack)


@command()
def upgrade(
    source: Annotated[Path, typer.Option("--from", metavar="DIR", help="A checkout of the newer Nightshift.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would happen, and change nothing.")] = False,
) -> None:
    """Bring your project to a newer Nightshift.

    Files of Nightshift that nobody has edited are replaced. Edited ones are
    shown with their difference, and left. Your own files are never touched.
    """
    if not (ROOT / MANIFEST).exists():
        raise RefusedError(f"{ROOT} is Nightshift itself: an upgrade is for a project that nightshift init has made")
    with _words_for_files():
        worked_out = upgrading.work_out(ROOT, source)
    for change in worked_out.changes:
        typer.echo(f"{change.fate}: {change.name}")
    for change in worked_out.left:
        if change.difference:
            typer.echo(f"\n{change.difference}", nl=False)
    if worked_out.news:
        typer.echo(f"\n{worked_out.news}")
    if worked_out.rewritten:
        typer.echo(
            "\nThese migrations read otherwise now. A database that has run them does not get what is new in them:\n  "
            + "\n  ".join(worked_out.rewritten)
        )
    typer.echo(f"\n{_summary(worked_out, dry_run)}")
    if not dry_run:
        with _words_for_files():
            worked_out.carry_out()
    if worked_out.changes and not dry_run:
        typer.echo("\nNext:\n  make docs\n  make check")


def print_version(wanted: bool) -> None:
    """Print the version that pyproject.toml names, and end."""
    if wanted:
        typer.echo(version_of(ROOT))
        raise typer.Exit


def _offer(name: str, pack: str | None) -> None:
    pack = job_files.own_pack(pack)
    files = job_files.offered(name, pack)
    job_files.check_free(pack, files)
    with _words_for_files():
        _tell(job_files.write(pack, files))
    typer.echo("Then: make docs, make test.")


def _tell(written: list[Path]) -> None:
    for path in written:
        typer.echo(f"{path.relative_to(ROOT)} is written.")


def _answer(given: bool | None, question: str) -> bool:
    """What was said on the command line, or is answered now. No, where nobody can answer."""
    if given is None and screen.answering():
        return typer.confirm(question, default=True, err=True)
    return bool(given)


def _summary(worked_out: upgrading.Upgrade, dry_run: bool) -> str:
    if not worked_out.changes:
        return f"Nightshift {worked_out.new}: there is nothing to change."
    changed, left = len(worked_out.changes) - len(worked_out.left), len(worked_out.left)
    versions = f"Nightshift {worked_out.old} to {worked_out.new}"
    would = "would be " if dry_run else ""
    return f"{versions}: {changed} files {would}changed, {left} left for you to look at."


def _candidates(found: list[database.Candidate]) -> Table:
    table = screen.table("Table", "Rows", "Size", "Age by", "Index", "Proposed")
    for each in found:
        rows = "unknown" if each.rows < 0 else f"{each.rows:,.0f}"
        known = ("yes" if so else "no" for so in (each.indexed, each.proposed))
        table.add_row(each.table, rows, f"{each.bytes / 2**20:,.1f} MB", each.age, *known)
    return table


@contextmanager
def _words_for_files() -> Iterator[None]:
    """What the file system refuses ends in one line."""
    try:
        yield
    except OSError as error:
        raise RefusedError(f"{error.filename or 'the folder'}: {error.strerror}") from None

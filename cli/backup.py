"""Restoring backups. Unlike the other commands, this one connects to the database and the file store itself."""

import dataclasses
import datetime as dt
import json
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli import aws, screen
from cli.backup_files import newest_owed, parts_of
from cli.command_line import DeploymentCommand, DeploymentGroup
from cli.database_url import place_of, why
from cli.deployment import where
from cli.refusals import EXIT_FAILED, RefusedError

if TYPE_CHECKING:
    from nightshift.database import DatabaseSettings
    from nightshift.store import Parts, Restored

SECONDS = 24 * 3600
"""How long a restore may take."""

application = typer.Typer(cls=DeploymentGroup, no_args_is_help=True, help="Restore backups and test them.")

File = Annotated[
    str,
    typer.Argument(metavar="FILE", help="The backup's manifest.json: a path, or s3://BUCKET/backups/…/manifest.json."),
]
Into = Annotated[
    str,
    typer.Option(
        "--into",
        metavar="DATABASE",
        help="The database: postgresql://user@host/name, or JSON as in NIGHTSHIFT_DATABASE. "
        "It must be empty, or migrated and without rows.",
    ),
]


@application.command(cls=DeploymentCommand)
def restore(
    ctx: typer.Context,
    file: File,
    into: Into,
    erasures_from: Annotated[
        str | None,
        typer.Option(
            metavar="DATABASE",
            help="The database whose ledger says who was erased since the backup. Default: the ledger in the newest "
            "backup beside this one; with --drill, that of --into.",
        ),
    ] = None,
    drill: Annotated[
        bool,
        typer.Option(
            "--drill",
            help="Only test the backup: restore it into a new database on the same server, plan every job there, drop "
            "that database, and record the test in --into. Do this once a month.",
        ),
    ] = False,
    schema: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="SQL that makes your application's tables, like the output of `pg_dump --schema-only --no-owner "
            "--no-privileges --exclude-schema=nightshift`. Default: the tables as the backup knows them, without "
            "rights, row security and rules.",
        ),
    ] = None,
    accept_inconsistent: Annotated[
        bool, typer.Option("--accept-inconsistent", help="Accept a backup whose tables come from several snapshots.")
    ] = False,
) -> None:
    """Restore a backup into a database.

    Compares every part with the manifest before it writes anything, and writes everything in one transaction.
    Then erases again everybody who was erased since the backup.
    Exit code 1: restored, but some erasures could not be repeated.
    """
    from nightshift.store import read_manifest

    database = _settings("--into", into)
    theirs = _settings("--erasures-from", erasures_from) if erasures_from else database if drill else None
    unplanned: dict[str, str] = {}
    with _one_line_errors(), screen.waiting("restoring"):
        aws.use_for_every_client(**where(ctx))
        parts = parts_of(file)
        manifest = read_manifest(parts)
        script = _script(schema)
        if theirs:
            with _using("--erasures-from" if erasures_from else "--into", theirs):
                owed = _owed_by(theirs)
        else:
            owed = newest_owed(file)
        with _using("--into", database):
            if drill:
                with _scratch(database) as scratch:
                    done = _restore(scratch, manifest, parts, owed, accept_inconsistent, script)
                    unplanned = _plan_every_job(scratch, manifest)
                _note_test(database, manifest)
            else:
                done = _restore(database, manifest, parts, owed, accept_inconsistent, script)
    typer.echo(f"{'tested' if drill else 'restored'}: {done.tables} tables, {done.rows} rows, as in the manifest")
    typer.echo(f"erased again: {done.reapplied.again}")
    for name, remedy in manifest.get("unreadable", {}).items():
        typer.echo(f"not in this backup: {name}. For the next one: {remedy}", err=True)
    for name, reason in unplanned.items():
        typer.echo(f"not planned: {name}, which has nothing to do in this database: {reason}", err=True)
    if done.reapplied.unknown:
        typer.echo(
            f"not erased again: {done.reapplied.unknown}. These erasures are newer than the backup, so the backup does "
            "not say who they were for. Find that in your records before anybody uses this database",
            err=True,
        )
        raise typer.Exit(EXIT_FAILED)


@contextmanager
def _one_line_errors() -> Iterator[None]:
    from botocore.exceptions import BotoCoreError, ClientError

    from nightshift.errors import SettingError
    from nightshift.store import BackupError, FileStoreError

    try:
        yield
    except (BackupError, FileStoreError, SettingError, ClientError) as error:
        reason = str(error)
    except BotoCoreError as error:
        reason = aws.unreachable(error)
    else:
        return
    raise RefusedError(f"{reason}. Nothing was changed")


@contextmanager
def _using(option: str, database: "DatabaseSettings") -> Iterator[None]:
    """Whatever is wrong with the database of an option, in one line."""
    from sqlalchemy.exc import DBAPIError

    from nightshift.database import sqlstate

    try:
        yield
    except (DBAPIError, OSError) as error:
        says = "cannot be used" if sqlstate(error) is None else "refused"
        place = f" {place_of(database)}" if database.url.database else ""
        raise RefusedError(f"{option}: the database{place} {says}: {why(error)}. Nothing was changed") from None


def _settings(option: str, given: str) -> "DatabaseSettings":
    from nightshift.database import DatabaseSettings
    from nightshift.database.address import certificates
    from nightshift.errors import SettingError

    text = given.strip().removeprefix("\ufeff")  # some editors begin a file with it
    try:
        settings = DatabaseSettings.from_mapping(json.loads(text) if text.startswith("{") else {"url": text})
        return dataclasses.replace(settings, ca_file=certificates(settings.ca_file))
    except json.JSONDecodeError as error:
        raise RefusedError(f"{option} is not JSON: {error}") from None
    except SettingError as error:
        raise RefusedError(f"{option}: {error}") from None
    except ValueError:
        raise RefusedError(f"{option}: a port is a number, like 5432") from None


def _script(schema: Path | None) -> str | None:
    try:
        return None if schema is None else schema.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise RefusedError(f"--schema: {schema} cannot be read: {error}") from None


def _owed_by(database: "DatabaseSettings") -> "list[dict[str, str]]":
    from nightshift.database import session_for
    from nightshift.store.restoring import owed_by

    with session_for(database, seconds=SECONDS) as session:
        return owed_by(session)


def _restore(
    database: "DatabaseSettings",
    manifest: Any,
    parts: "Parts",
    owed: "list[dict[str, str]]",
    accept_inconsistent: bool,
    schema: str | None,
) -> "Restored":
    from nightshift.database import session_for
    from nightshift.store import restoring

    with session_for(database, seconds=SECONDS, application_name="nightshift/restore") as session:
        return restoring.restore(session, manifest, parts, owed, accept_inconsistent=accept_inconsistent, schema=schema)


@contextmanager
def _scratch(database: "DatabaseSettings") -> Iterator["DatabaseSettings"]:
    """A database on the same server, while the block runs. The role must be allowed to create one."""
    from sqlalchemy import text
    from sqlalchemy.exc import DBAPIError

    from nightshift.database import session_for
    from nightshift.database.failures import sqlstate

    name = f"nightshift_drill_{uuid.uuid4().hex}"

    def carry_out(statement: str) -> None:
        with session_for(database, seconds=SECONDS) as session:
            session.connection(execution_options={"isolation_level": "AUTOCOMMIT"}).execute(text(statement))

    try:
        carry_out(f"create database {name} template template0")
    except DBAPIError as error:
        if sqlstate(error) != "42501":
            raise
        raise RefusedError(
            "a drill makes a database of its own on the server, and this role may not: alter role … createdb. "
            "Nothing was changed"
        ) from None
    try:
        yield dataclasses.replace(database, url=database.url.set(database=name))
    finally:
        carry_out(f"drop database {name} with (force)")


def _plan_every_job(scratch: "DatabaseSettings", manifest: Any) -> dict[str, str]:
    """Plan every job: its queries must find the tables that they need.

    Returns the jobs that the database cannot have work for, such as those of the example in a database of one's own:
    tables that the backup has are all here, so that they lacked theirs before. Each with the reason.

    Raises:
        RefusedError: another job cannot be planned.
    """
    from sqlalchemy.exc import DBAPIError

    from nightshift.catalogue import NoTableError, TableError
    from nightshift.database import describe, session_for
    from nightshift.database.failures import sqlstate
    from nightshift.declaration import Run, registry
    from nightshift.errors import DeclarationError

    then = dt.datetime.fromisoformat(manifest["scheduled_for"])
    unplanned: dict[str, str] = {}
    with session_for(scratch, seconds=SECONDS) as session:
        for name, registration in registry().items():
            run = Run(uuid.uuid4(), name, then, mode="plan", parameters=registration.job.resolve({}))
            try:
                for step in registration.job.steps:
                    step.plan(session, run)
            except (NoTableError, DeclarationError) as error:
                unplanned[name] = str(error)
            except (TableError, DBAPIError) as error:
                if sqlstate(error) not in ("42P01", "3F000"):  # no such table, no such schema
                    raise RefusedError(
                        f"the backup was restored, but {name} cannot be planned on it: {describe(error)}"
                    ) from None
                unplanned[name] = "it reads a table that is not there"
            finally:
                session.rollback()
    return unplanned


def _note_test(database: "DatabaseSettings", manifest: Any) -> None:
    from sqlalchemy import func, update

    from nightshift.database import session_for
    from nightshift.store import Backup

    with session_for(database, seconds=SECONDS) as session, session.begin():
        tested = update(Backup).where(Backup.id == uuid.UUID(manifest["backup_id"]))
        session.execute(tested.values(restore_tested_at=func.now()))

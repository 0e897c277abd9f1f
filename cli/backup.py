"""Bringing backups back. Unlike most commands, these talk to the database and the file store themselves."""

import dataclasses
import datetime as dt
import json
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import urlsplit

import typer

from cli import screen
from cli.command_line import DeploymentCommand, Group
from cli.refusals import EXIT_FAILED, RefusedError

if TYPE_CHECKING:
    from nightshift.backups import Parts
    from nightshift.database import DatabaseSettings
    from nightshift.restoring import Erasure, Restored

SECONDS = 24 * 3600
"""How long a restore may take."""

application = typer.Typer(cls=Group, no_args_is_help=True, help="Bring a backup back, or try whether that works.")

File = Annotated[
    str,
    typer.Argument(metavar="FILE", help="The backup's manifest.json: a path, or s3://BUCKET/backups/…/manifest.json."),
]
Into = Annotated[
    str,
    typer.Option(
        "--into",
        metavar="DATABASE",
        help="postgresql://user@host/name, or the JSON of NIGHTSHIFT_DATABASE. Empty, or migrated and without rows.",
    ),
]


@application.callback()
def main() -> None:
    """Bring a backup back, or try whether that works."""


@application.command(cls=DeploymentCommand)
def restore(
    file: File,
    into: Into,
    erasures_from: Annotated[
        str | None,
        typer.Option(
            metavar="DATABASE",
            help="Whose ledger says who was erased since. Otherwise the newest backup's beside this one.",
        ),
    ] = None,
    drill: Annotated[
        bool,
        typer.Option(
            "--drill",
            help="Only try: restore into a scratch database beside DATABASE, plan every job there, drop it, and note "
            "in DATABASE that the backup was tested. Due once a month.",
        ),
    ] = False,
    accept_inconsistent: Annotated[
        bool, typer.Option("--accept-inconsistent", help="Take a backup whose tables come from several snapshots.")
    ] = False,
) -> None:
    """Restore a backup, and erase again whom it still has and who was erased since.

    Every part is compared with the manifest before anything is written, and all is written in one transaction.
    Exit code 1: restored, but some erasures could not be done again.
    """
    from nightshift.restoring import read_manifest

    database = _settings(into)
    with _one_line_errors(), screen.waiting("restoring"):
        parts = _parts(file)
        manifest = read_manifest(parts)
        ledger = into if drill and erasures_from is None else erasures_from
        erasures = _erasures_of(_settings(ledger)) if ledger else _newest_erasures(file)
        if drill:
            with _scratch(database) as scratch:
                done = _restore(scratch, manifest, parts, erasures, accept_inconsistent)
                _plan_every_job(scratch, manifest)
            _note_test(database, manifest)
        else:
            done = _restore(database, manifest, parts, erasures, accept_inconsistent)
    typer.echo(f"{'tested' if drill else 'restored'}: {done.tables} tables, {done.rows} rows, all as the manifest says")
    typer.echo(f"erased again: {done.erasures.again}")
    if done.erasures.unknown:
        typer.echo(
            f"not erased again: {done.erasures.unknown}. They are newer than the backup, which has no request that "
            "says whom they were about: look them up in your records before anybody uses this database",
            err=True,
        )
        raise typer.Exit(EXIT_FAILED)


@contextmanager
def _one_line_errors() -> Iterator[None]:
    from sqlalchemy.exc import DBAPIError

    from nightshift.backups import BackupError
    from nightshift.execution import describe
    from nightshift.files import FileStoreError

    try:
        yield
    except (BackupError, FileStoreError) as error:
        raise RefusedError(f"{error}. Nothing was changed") from None
    except (DBAPIError, OSError) as error:
        raise RefusedError(f"the database did not go along: {describe(error)}. Nothing was changed") from None


def _settings(given: str) -> "DatabaseSettings":
    from nightshift.database import DatabaseSettings
    from nightshift.errors import SettingError

    try:
        return DatabaseSettings.from_mapping(json.loads(given) if given.startswith("{") else {"url": given})
    except ValueError as error:  # SettingError is one, and so is what JSON raises
        what = error if isinstance(error, SettingError) else "it is not JSON"
        raise RefusedError(f"the database cannot be meant: {what}") from None


@dataclasses.dataclass(frozen=True)
class Folder:
    """The files of a backup on this machine."""

    path: Path

    def chunks(self, name: str) -> Iterator[bytes]:
        from nightshift.backups import BackupError
        from nightshift.files import CHUNK_BYTES

        try:
            with (self.path / name).open("rb") as file:
                while chunk := file.read(CHUNK_BYTES):
                    yield chunk
        except OSError as error:
            raise BackupError(f"{self.path / name} cannot be read: {error.strerror}") from None


def _parts(file: str) -> "Parts":
    from nightshift.backups import MANIFEST, StoredParts
    from nightshift.files import FileStore

    folder, _, name = file.rpartition("/")
    if name != MANIFEST:
        raise RefusedError(f"{file} is no backup: name its {MANIFEST}")
    if not file.startswith("s3://"):
        return Folder(Path(folder or "."))
    address = urlsplit(folder)
    return StoredParts(FileStore(address.netloc), f"{address.path.strip('/')}/")


def _newest_erasures(file: str) -> "list[Erasure]":
    """The ledger of the newest whole backup beside this one, itself included: their folders' names are times."""
    from nightshift.backups import MANIFEST, check
    from nightshift.files import FileStore
    from nightshift.restoring import LEDGER, erasures_in, read_manifest

    if file.startswith("s3://"):
        address = urlsplit(file)
        beside = address.path.strip("/").rpartition("/")[0].rpartition("/")[0]
        pages = FileStore(address.netloc).pages(f"{beside}/" if beside else "")
        names = [found.key for page in pages for found in page if found.key.endswith(f"/{MANIFEST}")]
        newest = f"s3://{address.netloc}/{max(names)}"
    else:
        beside_here = Path(file).resolve().parent.parent
        newest = str(max(beside_here.glob(f"*/{MANIFEST}")))
    parts = _parts(newest)
    manifest = read_manifest(parts)
    for table in manifest["tables"]:
        if table["name"] == LEDGER:
            check(table, parts)
    return erasures_in(manifest, parts)


def _erasures_of(database: "DatabaseSettings") -> "list[Erasure]":
    from nightshift.database import session_for
    from nightshift.restoring import erasures_of

    with session_for(database, seconds=SECONDS) as session:
        return erasures_of(session)


def _restore(
    database: "DatabaseSettings", manifest: Any, parts: "Parts", erasures: "list[Erasure]", accept_inconsistent: bool
) -> "Restored":
    from nightshift import restoring
    from nightshift.database import session_for

    with session_for(database, seconds=SECONDS, application_name="nightshift/restore") as session:
        return restoring.restore(session, manifest, parts, erasures, accept_inconsistent=accept_inconsistent)


@contextmanager
def _scratch(database: "DatabaseSettings") -> Iterator["DatabaseSettings"]:
    """A database on the same server, for as long as the block lasts. The role must be allowed to create one."""
    from sqlalchemy import text

    from nightshift.database import session_for

    name = f"nightshift_drill_{uuid.uuid4().hex}"

    def carry_out(statement: str) -> None:
        with session_for(database, seconds=SECONDS) as session:
            session.connection(execution_options={"isolation_level": "AUTOCOMMIT"}).execute(text(statement))

    carry_out(f"create database {name} template template0")
    try:
        yield dataclasses.replace(database, url=database.url.set(database=name))
    finally:
        carry_out(f"drop database {name} with (force)")


def _plan_every_job(scratch: "DatabaseSettings", manifest: Any) -> None:
    """What every job would have done then: its questions must find the tables as they need them."""
    from nightshift.database import session_for
    from nightshift.registry import registry
    from nightshift.run import Run

    then = dt.datetime.fromisoformat(manifest["scheduled_for"])
    with session_for(scratch, seconds=SECONDS) as session:
        for name, registration in registry().items():
            run = Run(uuid.uuid4(), name, then, mode="plan", parameters=registration.job.resolve({}))
            for step in registration.job.steps:
                step.plan(session, run)


def _note_test(database: "DatabaseSettings", manifest: Any) -> None:
    from sqlalchemy import func, update

    from nightshift.database import session_for
    from nightshift.models import Backup

    with session_for(database, seconds=SECONDS) as session, session.begin():
        tested = update(Backup).where(Backup.id == uuid.UUID(manifest["backup_id"]))
        session.execute(tested.values(restore_tested_at=func.now()))

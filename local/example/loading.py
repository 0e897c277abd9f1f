"""The demonstration's data in the machine: rows in its database, amounts sealed by its key, files in its store."""

import datetime as dt
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import Progress
from sqlalchemy import Engine, NullPool, create_engine, select
from sqlalchemy.orm import Session

from application.models import Upload, file_references
from application.sealed import Sealer
from local.aws import LocalAws, calls_at_once
from local.collect import UPLOADS
from local.example import dataset
from local.example.dataset.tracking import Encrypt
from local.machine import DATABASE, Machine
from local.terminal import progress_bar
from nightshift.store import DataKeys, KeyService

if TYPE_CHECKING:
    from mypy_boto3_kms import KMSClient
    from mypy_boto3_s3 import S3Client


@dataclass(frozen=True)
class LocalKeyService(KeyService):
    """The key of the local AWS, whose address is in nobody's environment here."""

    aws: LocalAws

    @cached_property
    def _client(self) -> "KMSClient":
        client: KMSClient = self.aws.client("kms")
        return client


def load(running: Machine, console: Console, *, now: dt.datetime, users: int) -> int:
    """Fill the database with users and what belongs to them as of now, amounts sealed, and the store with their files.

    Returns the number of rows.
    """
    engine = create_engine(running.postgres.url(DATABASE), poolclass=NullPool)
    with progress_bar(console) as progress:
        task = progress.add_task(f"Making {users:,} users and what belongs to them", total=len(dataset.TABLES))

        def filled(table: str, rows: int) -> None:
            progress.advance(task)

        rows = dataset.load(engine, now=now, users=users, encrypt=_seal(running, engine), progress=filled)
        _upload_orphans(running, engine, progress)
    return sum(rows.values())


def _seal(running: Machine, engine: Engine) -> Encrypt | None:
    """What seals amounts with the deployment's own data key; None when no deployed job needs one."""
    kms_key = running.outputs["Nightshift-Platform"].get("KmsKeyArn")
    if kms_key is None:
        return None
    with Session(engine) as session:
        keys = DataKeys.stored(session, LocalKeyService(kms_key, running.aws))
    return Sealer(keys).seal if keys else None


def _upload_orphans(running: Machine, engine: Engine, progress: Progress) -> None:
    """Store a file for every upload that nothing refers to: the old ones of them are for cleanup-orphaned-files."""
    store: S3Client = running.aws.client("s3")
    references = select(file_references.c.storage_key).where(file_references.c.storage_key == Upload.storage_key)
    orphans = select(Upload.storage_key).where(~references.exists())
    with engine.connect() as connection:
        names = connection.scalars(orphans).all()

    def put(name: str) -> None:
        store.put_object(Bucket=running.files_bucket, Key=f"{UPLOADS}{name}", Body=name.encode())

    with calls_at_once() as pool:
        for _ in progress.track(pool.map(put, names), total=len(names), description="Storing their files"):
            pass

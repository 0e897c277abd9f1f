"""The file store: objects of one S3 bucket, under keys that the database names."""

import datetime as dt
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

FILES_VARIABLE = "NIGHTSHIFT_FILES_BUCKET"
"""Environment variable with the bucket's name, given to functions whose job declares that it needs files."""

CHUNK_BYTES = 256 * 1024


def manifest_key(key: str) -> str:
    """Where an object's manifest is, if it has one: what tells a whole object from a damaged one."""
    return f"{key}.manifest.json"


class FileStoreError(RuntimeError):
    """The store did not do what it was asked. The message holds S3's code for the reason, and never a key."""


@dataclass(frozen=True)
class StoredObject:
    """An object as a listing tells of it."""

    key: str
    modified_at: dt.datetime


@dataclass(frozen=True)
class FileStore:
    """A bucket. Every call is bounded: without a route to S3 it fails in seconds and does not hang.

    Every call may raise FileStoreError.
    """

    bucket: str

    @cached_property
    def _client(self) -> "S3Client":
        import boto3  # where it is used: it costs a third of a second of start-up
        from botocore.config import Config

        config = Config(connect_timeout=3, read_timeout=20, retries={"total_max_attempts": 3, "mode": "standard"})
        return boto3.client("s3", config=config)

    @contextmanager
    def _asking(self, operation: str) -> Iterator[None]:
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            yield
        except ClientError as error:
            raise FileStoreError(f"S3 answered {operation} with {error.response['Error']['Code']}") from error
        except BotoCoreError as error:
            raise FileStoreError(f"S3 could not be asked for {operation}: {type(error).__name__}") from error

    def exists(self, key: str) -> bool:
        from botocore.exceptions import ClientError

        with self._asking("HeadObject"):
            try:
                self._client.head_object(Bucket=self.bucket, Key=key)
            except ClientError as error:
                if error.response["Error"]["Code"] in {"404", "NoSuchKey", "NotFound"}:
                    return False
                raise
        return True

    def pages(self, prefix: str, *, after: str = "") -> Iterator[list[StoredObject]]:
        """The objects whose keys begin with a prefix, in the order of their keys' bytes, 1 to 1,000 at a time.

        `after` is a key: the listing begins behind it.
        """
        pages = self._client.get_paginator("list_objects_v2")
        with self._asking("ListObjectsV2"):
            for page in pages.paginate(Bucket=self.bucket, Prefix=prefix, StartAfter=after):
                if found := page.get("Contents"):
                    yield [StoredObject(one["Key"], one["LastModified"]) for one in found]

    def read(self, key: str) -> bytes:
        with self._asking("GetObject"):
            return self._client.get_object(Bucket=self.bucket, Key=key)["Body"].read()

    def write(self, key: str, content: bytes, *, content_type: str, **metadata: Any) -> None:
        """Create or replace an object. S3 answers only when it is stored."""
        with self._asking("PutObject"):
            self._client.put_object(
                Bucket=self.bucket, Key=key, Body=content, ContentType=content_type, Metadata=metadata
            )

    def upload(self, key: str, content: IO[bytes], *, content_type: str, **metadata: Any) -> None:
        """Create or replace an object from an open file, without holding it in memory. At most 5 GB."""
        content.seek(0)
        with self._asking("PutObject"):
            self._client.put_object(
                Bucket=self.bucket, Key=key, Body=content, ContentType=content_type, Metadata=metadata
            )

    def chunks(self, key: str) -> Iterator[bytes]:
        """An object's bytes, a piece at a time."""
        with self._asking("GetObject"):
            yield from self._client.get_object(Bucket=self.bucket, Key=key)["Body"].iter_chunks(CHUNK_BYTES)

    def delete(self, key: str) -> None:
        """Delete an object; one that does not exist is fine."""
        with self._asking("DeleteObject"):
            self._client.delete_object(Bucket=self.bucket, Key=key)

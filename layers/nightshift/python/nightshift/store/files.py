"""The file store: objects in one S3 bucket, under keys that the database names."""

import datetime as dt
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


AT_ONCE = 16
"""How many objects are deleted at the same time."""

CHUNK_BYTES = 256 * 1024
PART_BYTES = 16 * 2**20
"""The size of a part of a multipart upload, which has at most 10,000 parts."""


def manifest_key(key: str) -> str:
    """The key of an object's manifest, if it has one. The manifest shows whether the object is complete."""
    return f"{key}.manifest.json"


class FileStoreError(RuntimeError):
    """The store did not do what it was asked to. The message has S3's error code, and never a key."""


@dataclass(frozen=True)
class StoredObject:
    """An object, as a listing shows it."""

    key: str
    modified_at: dt.datetime


@dataclass(frozen=True)
class FileStore:
    """A bucket. Every call has a time limit: without a route to S3 it fails within seconds and does not hang.

    Every call may raise FileStoreError.
    """

    bucket: str
    prefix: str = ""
    """What every object's key begins with in the bucket. Callers neither give nor get it."""

    @cached_property
    def _client(self) -> "S3Client":
        import boto3  # imported where it is used: it takes a third of a second
        from botocore.config import Config

        retries = {"total_max_attempts": 3, "mode": "standard"}
        config = Config(connect_timeout=3, read_timeout=20, retries=retries, max_pool_connections=AT_ONCE)  # type: ignore[arg-type]
        return boto3.client("s3", config=config)

    @contextmanager
    def asking(self, operation: str) -> Iterator["S3Client"]:
        """The client, for one call. Its errors are raised as FileStoreError."""
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            yield self._client
        except ClientError as error:
            raise FileStoreError(f"S3 answered {operation} with {error.response['Error']['Code']}") from error
        except BotoCoreError as error:
            raise FileStoreError(f"the S3 call {operation} failed: {type(error).__name__}") from error

    def exists(self, key: str) -> bool:
        from botocore.exceptions import ClientError

        with self.asking("HeadObject"):
            try:
                self._client.head_object(Bucket=self.bucket, Key=self.prefix + key)
            except ClientError as error:
                if error.response["Error"]["Code"] in {"404", "NoSuchKey", "NotFound"}:
                    return False
                raise
        return True

    def pages(self, prefix: str, *, after: str = "") -> Iterator[list[StoredObject]]:
        """The objects whose keys begin with a prefix, in the order of their keys' bytes, 1 to 1,000 at a time.

        `after` is a key: the listing starts after it.
        """
        pages = self._client.get_paginator("list_objects_v2")
        with self.asking("ListObjectsV2"):
            for page in pages.paginate(
                Bucket=self.bucket, Prefix=self.prefix + prefix, StartAfter=after and self.prefix + after
            ):
                if found := page.get("Contents"):
                    yield [StoredObject(one["Key"].removeprefix(self.prefix), one["LastModified"]) for one in found]

    def read(self, key: str) -> bytes:
        with self.asking("GetObject"):
            return self._client.get_object(Bucket=self.bucket, Key=self.prefix + key)["Body"].read()

    def write(self, key: str, content: bytes, *, content_type: str, **metadata: Any) -> None:
        """Create or replace an object. It is stored when this returns."""
        with self.asking("PutObject"):
            self._client.put_object(
                Bucket=self.bucket, Key=self.prefix + key, Body=content, ContentType=content_type, Metadata=metadata
            )

    @contextmanager
    def writing(self, key: str, *, content_type: str) -> Iterator["Writing"]:
        """Create or replace an object piece by piece, in limited memory, up to 160 GB.

        The object exists when the block has ended without an exception; otherwise nothing is kept.
        """
        writing = Writing(self, key, content_type)
        try:
            yield writing
            writing.complete()
        except BaseException:
            writing.abort()
            raise

    def chunks(self, key: str) -> Iterator[bytes]:
        """An object's bytes, a piece at a time."""
        with self.asking("GetObject"):
            yield from self._client.get_object(Bucket=self.bucket, Key=self.prefix + key)["Body"].iter_chunks(
                CHUNK_BYTES
            )

    def delete(self, key: str) -> None:
        """Delete an object. It is no error if it does not exist."""
        with self.asking("DeleteObject"):
            self._client.delete_object(Bucket=self.bucket, Key=self.prefix + key)

    def erase(self, prefix: str) -> int:
        """Delete everything whose key begins with a prefix for good: where the bucket keeps old versions, those too.

        Returns how many there were. What was deleted before, and lives on as an old version, goes as well.
        """
        erased = 0
        pages = self._client.get_paginator("list_object_versions")
        with self.asking("ListObjectVersions"):
            for page in pages.paginate(Bucket=self.bucket, Prefix=self.prefix + prefix):
                for found in (*page.get("Versions", ()), *page.get("DeleteMarkers", ())):
                    self._client.delete_object(Bucket=self.bucket, Key=found["Key"], VersionId=found["VersionId"])
                    erased += 1
        return erased

    def delete_each(self, keys: Sequence[str]) -> Iterator[dict[str, "bool | FileStoreError"]]:
        """Delete objects. For each key yields whether the object existed, or why it may still be there.

        Deletes a few at a time, in the order of the keys: a caller that stops early leaves the rest as it is. Raises
        nothing itself.
        """
        _ = self._client  # made here, not by several threads at once
        with ThreadPoolExecutor(AT_ONCE) as threads:
            for first in range(0, len(keys), AT_ONCE):
                portion = keys[first : first + AT_ONCE]
                yield dict(zip(portion, threads.map(self._delete_if_there, portion), strict=True))

    def _delete_if_there(self, key: str) -> "bool | FileStoreError":
        try:
            existed = self.exists(key)
            if existed:
                self.delete(key)
        except FileStoreError as error:
            return error
        return existed


class Writing:
    """An object that is being written: in one call if it is small, otherwise as a multipart upload."""

    def __init__(self, store: FileStore, key: str, content_type: str) -> None:
        self._store = store
        self._key = key
        self._bucket, self._whole_key = store.bucket, store.prefix + key
        self._content_type = content_type
        self._buffer = bytearray()
        self._upload: str | None = None
        self._parts: list[Any] = []

    def write(self, content: bytes) -> int:
        self._buffer += content
        while len(self._buffer) >= PART_BYTES:
            self._send(bytes(self._buffer[:PART_BYTES]))
            del self._buffer[:PART_BYTES]
        return len(content)

    def flush(self) -> None:
        """Does nothing: parts have a minimum size. The compressor calls this."""

    def complete(self) -> None:
        content = bytes(self._buffer)
        if self._upload is None:
            self._store.write(self._key, content, content_type=self._content_type)
            return
        if content:
            self._send(content)
        with self._store.asking("CompleteMultipartUpload") as client:
            client.complete_multipart_upload(
                Bucket=self._bucket, Key=self._whole_key, UploadId=self._upload, MultipartUpload={"Parts": self._parts}
            )
        self._upload = None

    def abort(self) -> None:
        """End the upload. S3 keeps the parts of an unfinished upload, and charges for them."""
        if self._upload is not None:
            with self._store.asking("AbortMultipartUpload") as client:
                client.abort_multipart_upload(Bucket=self._bucket, Key=self._whole_key, UploadId=self._upload)
            self._upload = None

    def _send(self, content: bytes) -> None:
        if self._upload is None:
            with self._store.asking("CreateMultipartUpload") as client:
                begun = client.create_multipart_upload(
                    Bucket=self._bucket, Key=self._whole_key, ContentType=self._content_type
                )
            self._upload = begun["UploadId"]
        number = len(self._parts) + 1
        with self._store.asking("UploadPart") as client:
            sent = client.upload_part(
                Bucket=self._bucket, Key=self._whole_key, UploadId=self._upload, PartNumber=number, Body=content
            )
        self._parts.append({"PartNumber": number, "ETag": sent["ETag"]})

"""The file store: objects of one S3 bucket, under keys that the database names."""

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

FILES_VARIABLE = "NIGHTSHIFT_FILES_BUCKET"
"""Environment variable with the bucket's name, given to functions whose job declares that it needs files."""


@dataclass(frozen=True)
class FileStore:
    """A bucket. Every call is bounded: without a route to S3 it fails in seconds and does not hang."""

    bucket: str

    @cached_property
    def _client(self) -> "S3Client":
        import boto3  # where it is used: it costs a third of a second of start-up
        from botocore.config import Config

        config = Config(connect_timeout=3, read_timeout=20, retries={"total_max_attempts": 3, "mode": "standard"})
        return boto3.client("s3", config=config)

    def exists(self, key: str) -> bool:
        from botocore.exceptions import ClientError

        try:
            self._client.head_object(Bucket=self.bucket, Key=key)
        except ClientError as error:
            if error.response["Error"]["Code"] in {"404", "NoSuchKey", "NotFound"}:
                return False
            raise
        return True

    def read(self, key: str) -> bytes:
        return self._client.get_object(Bucket=self.bucket, Key=key)["Body"].read()

    def write(self, key: str, content: bytes, *, content_type: str, **metadata: Any) -> None:
        """Create or replace an object. S3 answers only when it is stored."""
        self._client.put_object(Bucket=self.bucket, Key=key, Body=content, ContentType=content_type, Metadata=metadata)

    def delete(self, key: str) -> None:
        """Delete an object; one that does not exist is fine."""
        self._client.delete_object(Bucket=self.bucket, Key=key)

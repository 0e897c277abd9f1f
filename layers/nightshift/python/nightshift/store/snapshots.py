"""Snapshots that RDS takes of the database: one run starts a snapshot, the next runs check on it."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Literal

from nightshift.environment import deployment_name

if TYPE_CHECKING:
    from mypy_boto3_rds import RDSClient


def prefix(deployment: str | None = None) -> str:
    """The start of every snapshot's identifier, in a deployment: without one, in this function's own.

    The deployment grants nothing else.
    """
    return f"{deployment or deployment_name()}-backup-"


State = Literal["running", "succeeded", "failed", "missing"]


class SnapshotError(RuntimeError):
    """RDS did not do what it was asked to. The message has its error code."""


@dataclass(frozen=True)
class Snapshots:
    """The manual snapshots of one instance or cluster. Every call has a time limit and may raise SnapshotError."""

    identifier: str
    cluster: bool = False

    @cached_property
    def _client(self) -> "RDSClient":
        import boto3  # imported where it is used: it takes a third of a second
        from botocore.config import Config

        config = Config(connect_timeout=3, read_timeout=20, retries={"total_max_attempts": 3, "mode": "standard"})
        return boto3.client("rds", config=config)

    @contextmanager
    def _asking(self, operation: str, *, unless: str = "") -> Iterator[None]:
        """`unless`: the end of an error code that means "already done"."""
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            yield
        except ClientError as error:
            code = error.response["Error"]["Code"]
            if not unless or unless not in code:
                raise SnapshotError(f"RDS answered {operation} with {code}") from error
        except BotoCoreError as error:
            raise SnapshotError(f"the RDS call {operation} failed: {type(error).__name__}") from error

    def create(self, snapshot: str, tags: Mapping[str, str]) -> None:
        """Start a snapshot. If one of that name exists, it counts as this one: the call was repeated."""
        given = [{"Key": key, "Value": value} for key, value in tags.items()]
        with self._asking("CreateSnapshot", unless="AlreadyExists"):
            if self.cluster:
                self._client.create_db_cluster_snapshot(
                    DBClusterSnapshotIdentifier=snapshot,
                    DBClusterIdentifier=self.identifier,
                    Tags=given,  # type: ignore[arg-type]
                )
            else:
                self._client.create_db_snapshot(
                    DBSnapshotIdentifier=snapshot,
                    DBInstanceIdentifier=self.identifier,
                    Tags=given,  # type: ignore[arg-type]
                )

    def state(self, snapshot: str) -> State:
        """The state of a snapshot."""
        status = "missing"
        with self._asking("DescribeSnapshots", unless="NotFound"):
            if self.cluster:
                clusters = self._client.describe_db_cluster_snapshots(DBClusterSnapshotIdentifier=snapshot)
                status = next((each["Status"] for each in clusters["DBClusterSnapshots"]), status)
            else:
                instances = self._client.describe_db_snapshots(DBSnapshotIdentifier=snapshot)
                status = next((each["Status"] for each in instances["DBSnapshots"]), status)
        match status:
            case "available":
                return "succeeded"
            case "missing":
                return "missing"
            case "failed" | "incompatible-restore" | "incompatible-parameters" | "deleting":
                return "failed"
        return "running"

    def delete(self, snapshot: str) -> None:
        """Delete a snapshot. It is no error if it does not exist."""
        with self._asking("DeleteSnapshot", unless="NotFound"):
            if self.cluster:
                self._client.delete_db_cluster_snapshot(DBClusterSnapshotIdentifier=snapshot)
            else:
                self._client.delete_db_snapshot(DBSnapshotIdentifier=snapshot)

"""What a step says of partitions that are entirely older than its cut-off, and what a plan says of each."""

from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from nightshift.declaration.fields import choices, must_be_one_of, must_be_text
from nightshift.errors import DeclarationError

Counted = Literal["exactly", "by size"]
Rest = Literal["delete", "keep"]


@dataclass(frozen=True, kw_only=True)
class Whole:
    """What `Drop` and `Detach` have in common: how the rows of a partition are counted, and what happens to the others.

    counted: "exactly": its rows are counted before the first batch, and once more under a lock that lets others read.
        "by size": no row is read. The caps are held against the most rows that fit into its blocks, which is three to
        ten times as many; the counter has the planner's estimate.
    rest: what happens to rows that are old enough in partitions that cannot go as a whole: "delete" them row by row, or
        "keep" them.
    """

    counted: Counted = "exactly"
    rest: Rest = "delete"

    def __post_init__(self) -> None:
        must_be_one_of("partitions: counted", self.counted, choices(Counted))
        must_be_one_of("partitions: rest", self.rest, choices(Rest))

    @property
    def schema(self) -> str | None:
        """Where detached partitions are kept; None: they are dropped."""
        return None

    @property
    def counter(self) -> str:
        """The counter of partitions that went."""
        return "partitions_dropped"


@dataclass(frozen=True, kw_only=True)
class Drop(Whole):
    """Partitions that are entirely older than the cut-off are dropped, in place of a DELETE of their rows."""


@dataclass(frozen=True, kw_only=True)
class Detach(Whole):
    """Partitions that are entirely older than the cut-off are detached, and kept as tables in another schema.

    to_schema: a schema that is there, and in which the role may create tables.
    """

    to_schema: str

    def __post_init__(self) -> None:
        super().__post_init__()
        must_be_text("partitions: to_schema", self.to_schema)
        if not self.to_schema.strip():
            raise DeclarationError('partitions: Detach needs the schema to keep them in, like to_schema="archive"')

    @property
    def schema(self) -> str | None:
        return self.to_schema

    @property
    def counter(self) -> str:
        return "partitions_detached"


PARTITION_BYTES = "partition_bytes"
"""The counter of what the partitions that went took on disk, indexes included."""
PARTITIONS_KEPT, ROWS_KEPT = "partitions_kept", "rows_in_kept_partitions"
"""The counters of partitions that were to go as a whole and stayed, and of their rows as they were counted."""


class GoingPartition(NamedTuple):
    """A partition that goes as a whole, in a plan."""

    name: str
    """With its schema."""
    rows: int
    bytes: int
    at_most: bool = False
    """The rows were not counted: no more than this fit into it."""

    def as_json(self) -> dict[str, Any]:
        return {key: value for key, value in self._asdict().items() if value is not False}


class StayingPartition(NamedTuple):
    """A partition that is old enough and cannot go as a whole, and why."""

    name: str
    reason: str

    def as_json(self) -> dict[str, Any]:
        return self._asdict()

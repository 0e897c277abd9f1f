"""What a job does when occurrences overlap, are missed, or are late."""

import datetime as dt
from dataclasses import dataclass
from typing import Literal

from nightshift.declaration.fields import choices, must_be, must_be_one_of
from nightshift.declaration.schedule import Schedule
from nightshift.errors import DeclarationError

Kind = Literal["retention", "recalculation", "rollup", "report", "notification", "check", "lifecycle"]

PERIODS_WITHOUT_SUCCESS = 2
"""A job is degraded after this many periods of its schedule without a success. One lost run is not enough."""


Overlap = Literal["skip", "wait"]
Missed = Literal["latest", "every", "none"]


@dataclass(frozen=True)
class Policy:
    """What a job does when occurrences overlap, are missed, or are late.

    overlap: what happens to a new occurrence while another run is open: `skip` it, or let it `wait` for its turn.
    missed: which missed occurrences are caught up: the `latest`, `every` one (oldest first, up to 31 days), or `none`.
    late_limit: a scheduled occurrence that starts later than this is recorded as missed. None means no limit.

    Raises:
        DeclarationError: when a field has another value.
    """

    overlap: Overlap = "skip"
    missed: Missed = "latest"
    late_limit: dt.timedelta | None = None

    def __post_init__(self) -> None:
        must_be_one_of("policy: overlap", self.overlap, choices(Overlap))
        must_be_one_of("policy: missed", self.missed, choices(Missed))
        if self.late_limit is not None:
            like = "a timedelta, like timedelta(hours=2), or None"
            must_be(isinstance(self.late_limit, dt.timedelta), "policy: late_limit", like, self.late_limit)
            if self.late_limit <= dt.timedelta(0):
                raise DeclarationError("policy: a late limit must be longer than zero")


def default_policy(kind: Kind, schedule: Schedule) -> Policy:
    """The policy of a kind of job that declares none of its own."""
    match kind:
        case "retention" | "recalculation" | "lifecycle":
            return Policy(overlap="skip", missed="latest")
        case "rollup" | "report":
            return Policy(overlap="wait", missed="every")
        case "notification":
            return Policy(overlap="skip", missed="latest", late_limit=dt.timedelta(hours=2))
        case "check":
            return Policy(overlap="skip", missed="none", late_limit=schedule.period(dt.datetime.now(dt.UTC)))

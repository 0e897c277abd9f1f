"""What a job does when occurrences overlap, were missed or come late."""

import datetime as dt
from dataclasses import dataclass
from typing import Literal

from nightshift.declaration.schedule import Schedule

Kind = Literal["retention", "recalculation", "rollup", "report", "notification", "check", "lifecycle"]

PERIODS_WITHOUT_SUCCESS = 2
"""A job is degraded after this many periods of its schedule without a success. One lost run is not enough."""


@dataclass(frozen=True)
class Policy:
    """What a job does when occurrences overlap, were missed or come late.

    overlap: a new occurrence that meets an open run is skipped, or waits its turn.
    missed: which missed occurrences are caught up: the latest one, every one (oldest first, up to 31 days), or none.
    late_limit: a scheduled occurrence that comes later than this is settled as missed. None means no limit.
    """

    overlap: Literal["skip", "wait"] = "skip"
    missed: Literal["latest", "every", "none"] = "latest"
    late_limit: dt.timedelta | None = None


def default_policy(kind: Kind, schedule: Schedule) -> Policy:
    """What a kind of job does about overlapping, missed and late occurrences unless it says otherwise."""
    match kind:
        case "retention" | "recalculation" | "lifecycle":
            return Policy(overlap="skip", missed="latest")
        case "rollup" | "report":
            return Policy(overlap="wait", missed="every")
        case "notification":
            return Policy(overlap="skip", missed="latest", late_limit=dt.timedelta(hours=2))
        case "check":
            return Policy(overlap="skip", missed="none", late_limit=schedule.period(dt.datetime.now(dt.UTC)))

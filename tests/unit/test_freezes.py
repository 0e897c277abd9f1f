"""Freezes and dials: which of several holds, and until when."""

import datetime as dt
from typing import Any

import pytest

from nightshift.declaration.windows import Freeze, freeze_of
from nightshift.ledger.dials import merged
from nightshift.ledger.tables import EVERY_JOB
from tests.ground.functions.market.abandoned_carts import job

BEGIN = dt.datetime(2026, 12, 20, tzinfo=dt.UTC)
DAY = dt.timedelta(days=1)


@pytest.mark.parametrize(
    ("instant", "holds"), [(BEGIN - dt.timedelta.resolution, False), (BEGIN, True), (BEGIN + DAY, False)]
)
def test_a_freeze_begins_with_its_first_instant_and_its_end_is_free(instant: dt.datetime, holds: bool) -> None:
    assert Freeze(BEGIN, BEGIN + DAY, "trade").holds(job, instant) == holds


def test_of_several_freezes_the_one_that_ends_last_is_told() -> None:
    freezes = [Freeze(BEGIN, BEGIN + days * DAY, f"{days} days") for days in (2, 3, 1)]
    assert freeze_of(freezes, job, BEGIN) == freezes[1]
    assert freeze_of(freezes, job, BEGIN + 3 * DAY) is None


@pytest.mark.parametrize("name", [EVERY_JOB, "carts"])
def test_whoever_holds_all_jobs_or_one_holds_it(name: str) -> None:
    rows: list[dict[str, Any]] = [
        {
            "job": each,
            "held": each == name,
            "changed_by": "Ada",
            "reason": "a busy evening",
            **dict.fromkeys(("largest_batch", "rows_per_second", "pause_seconds", "hours")),
        }
        for each in (EVERY_JOB, "carts")
    ]
    dials = merged(rows)
    assert (dials.held, dials.told) == (True, "held by Ada: a busy evening")

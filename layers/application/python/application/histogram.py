"""The durations of requests, as the application counts them in 281 buckets, and the figures that follow from them.

A bucket counts the durations above the previous bound, up to its own: 100 buckets of 1 ms, 90 of 10 ms (up to a
second), 90 of 100 ms (up to ten seconds), and a last one for everything longer. Histograms can be added, percentiles
cannot: the percentile of an hour comes from the hour's histogram.
"""

import datetime as dt
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import accumulate

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from application.models import RequestStats

LONGEST_MS = 10_000
"""The figure for the last bucket, which has no upper bound: at least this many milliseconds."""

UPPER_BOUNDS_MS: tuple[int, ...] = (
    *range(1, 101),
    *range(110, 1_001, 10),
    *range(1_100, LONGEST_MS + 1, 100),
    LONGEST_MS,
)
BUCKETS = len(UPPER_BOUNDS_MS)


@dataclass(frozen=True)
class Requests:
    """The requests of a time span, over all routes and minutes. Figures that need a request are None without one.

    total_ms: the sum of all durations. So the mean is weighted by requests; it is not a mean of means.
    histogram: the number of requests in each of the 281 buckets.
    """

    n: int
    errors: int
    total_ms: int
    histogram: Sequence[int]

    @property
    def error_share(self) -> Fraction | None:
        """From 0 to 1, exact."""
        return Fraction(self.errors, self.n) if self.n else None

    @property
    def mean_ms(self) -> Fraction | None:
        """In milliseconds, exact."""
        return Fraction(self.total_ms, self.n) if self.n else None

    def percentile(self, p: int) -> int | None:
        """The upper bound, in milliseconds, of the bucket that holds rank ceil(p·n/100). 0 is the minimum and 100 the
        maximum, as exact as the buckets."""
        n = sum(self.histogram)
        if n == 0:
            return None
        rank = max(1, -(-p * n // 100))
        return UPPER_BOUNDS_MS[bisect_left(list(accumulate(self.histogram)), rank)]


def requests_between(session: Session, start: dt.datetime, end: dt.datetime) -> Requests:
    """The requests of the minutes from `start` (included) to `end` (excluded), added up by the database in one pass."""
    stats = RequestStats
    buckets = [func.coalesce(func.sum(stats.hist[number]), 0) for number in range(1, BUCKETS + 1)]
    totals = [func.coalesce(func.sum(column), 0) for column in (stats.n, stats.errors, stats.sum_ms)]
    found = session.execute(select(*totals, *buckets).where(stats.minute >= start, stats.minute < end)).one()
    n, errors, total_ms, *histogram = map(int, found)
    return Requests(n, errors, total_ms, histogram)

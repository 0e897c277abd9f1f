import pytest

from application.histogram import BUCKETS, UPPER_BOUNDS_MS, Requests


def measured(*durations_ms: int) -> Requests:
    """Requests of these durations, each in the first bucket that it does not pass."""
    histogram = [0] * BUCKETS
    for ms in durations_ms:
        histogram[next((i for i, bound in enumerate(UPPER_BOUNDS_MS) if ms <= bound), BUCKETS - 1)] += 1
    return Requests(len(durations_ms), 0, sum(durations_ms), histogram)


def test_there_are_281_buckets_of_1_10_and_100_milliseconds() -> None:
    assert BUCKETS == 281
    assert [UPPER_BOUNDS_MS[number - 1] for number in (1, 100, 101, 190, 191, 280)] == [
        *(1, 100),
        *(110, 1_000),
        *(1_100, 10_000),
    ]


def test_percentiles_of_one_to_a_hundred_milliseconds() -> None:
    requests = measured(*range(1, 101))

    assert [requests.percentile(p) for p in (0, 1, 50, 95, 99, 100)] == [1, 1, 50, 95, 99, 100]


@pytest.mark.parametrize(("n", "p", "rank"), [(1, 95, 1), (10, 95, 10), (20, 95, 19), (21, 95, 20), (3, 50, 2)])
def test_the_rank_is_rounded_up(n: int, p: int, rank: int) -> None:
    assert measured(*range(1, n + 1)).percentile(p) == rank


@pytest.mark.parametrize(("ms", "told"), [(100, 100), (101, 110), (1_000, 1_000), (1_001, 1_100), (60_000, 10_000)])
def test_a_percentile_is_its_buckets_upper_bound(ms: int, told: int) -> None:
    assert measured(ms).percentile(95) == told


def test_the_mean_is_exact_and_weighted() -> None:
    requests = measured(1, 1, 2)

    assert requests.mean_ms is not None
    assert requests.mean_ms * 3 == 4


def test_of_no_requests_nothing_is_told() -> None:
    nothing = measured()

    assert (nothing.mean_ms, nothing.error_share, nothing.percentile(95)) == (None, None, None)

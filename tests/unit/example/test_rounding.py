from decimal import Decimal
from fractions import Fraction

import pytest

from application.rounding import Exact, one_decimal, percent, ratio


@pytest.mark.parametrize(
    ("value", "rounded"),
    [(Decimal("0.05"), 0.1), (Decimal("0.15"), 0.2), (Decimal("12.25"), 12.3), (Fraction(1, 3), 0.3), (7, 7.0)],
)
def test_halves_go_up(value: Exact, rounded: float) -> None:
    assert one_decimal(value) == rounded
    assert one_decimal(-value) == -rounded


def test_shares() -> None:
    assert (percent(1, 3), percent(3, 2), percent(1, 2000), percent(0, 5)) == (33.3, 150.0, 0.1, 0.0)
    assert (ratio(5, 2), ratio(1, 3)) == (2.5, 0.3)


def test_of_nothing_there_is_no_share() -> None:
    assert (percent(1, 0), ratio(1, 0)) == (0.0, 0.0)

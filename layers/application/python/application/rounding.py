"""Rounding of stored figures: half up, to one decimal. Before that they are computed exactly."""

from decimal import ROUND_HALF_UP, Decimal
from fractions import Fraction
from typing import Any

Exact = int | Decimal | Fraction

TENTH = Decimal("0.1")


def is_figure(value: Any) -> bool:
    """Whether something that was stored as JSON is a number: somebody else may have written it."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def one_decimal(value: Exact) -> float:
    """A figure as it is stored: 12.25 becomes 12.3, and -12.25 becomes -12.3."""
    exact = Fraction(value)
    return float((Decimal(exact.numerator) / exact.denominator).quantize(TENTH, ROUND_HALF_UP))


def ratio(part: Exact, whole: Exact) -> float:
    """`part / whole` to one decimal; 0 if `whole` is 0."""
    return one_decimal(Fraction(part) / Fraction(whole)) if whole else 0.0


def percent(part: Exact, whole: Exact) -> float:
    """The share as a percentage, 0 to 100, to one decimal; 0 if `whole` is 0."""
    return ratio(100 * Fraction(part), whole)

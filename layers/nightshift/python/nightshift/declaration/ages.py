"""Ages: how old a row must be. An age is a fixed span, or a parameter of the job."""

import datetime as dt
from typing import Any

from dateutil.relativedelta import relativedelta

from nightshift.declaration.fields import is_whole, must_be
from nightshift.declaration.parameters import HUNDRED_YEARS, Parameter, TimeUnit
from nightshift.errors import DeclarationError

Age = Parameter | relativedelta | dt.timedelta

_SOME_DAY = dt.datetime(2000, 1, 1, tzinfo=dt.UTC)
_LONG_BEFORE = _SOME_DAY - relativedelta(years=100)


def days(number: int) -> relativedelta:
    """A fixed span of days of 24 hours (all cut-offs are UTC)."""
    return relativedelta(days=_checked(number, "days"))


def hours(number: int) -> relativedelta:
    """A fixed span of hours."""
    return relativedelta(hours=_checked(number, "hours"))


def minutes(number: int) -> relativedelta:
    """A fixed span of minutes."""
    return relativedelta(minutes=_checked(number, "minutes"))


def years(number: int) -> relativedelta:
    """A span of calendar years: one year before 29 February 2028 is 28 February 2027."""
    return relativedelta(years=_checked(number, "years"))


def check_age(field: str, age: Any) -> None:
    """Refuse a value that is not an age, that is not longer than zero, or that is longer than 100 years.

    A parameter may be zero if its own minimum allows it.

    Raises:
        DeclarationError: with the remedy.
    """
    if isinstance(age, Parameter):
        if age.unit not in HUNDRED_YEARS:
            units = ", ".join(HUNDRED_YEARS)
            raise DeclarationError(f"{field}: parameter {age.name} is a number of {age.unit}; an age is one of {units}")
        if age.default is None:
            raise DeclarationError(f"{field}: parameter {age.name} has no default, so the job would have no cut-off")
        return
    must_be(isinstance(age, relativedelta | dt.timedelta), field, "an age, like days(90), or a Parameter of days", age)
    try:
        then = _SOME_DAY - age
    except (OverflowError, ValueError):
        then = None
    must_be(then is None or then < _SOME_DAY, field, "longer than zero", age)
    must_be(then is not None and then >= _LONG_BEFORE, field, "at most 100 years", age)


def _checked(number: Any, unit: TimeUnit) -> int:
    most = HUNDRED_YEARS[unit]
    if not is_whole(number) or number > most:
        raise DeclarationError(f"{unit}({number!r}): give a whole number from 0 to {most} (100 years)")
    return int(number)

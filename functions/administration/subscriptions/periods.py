"""When a subscription's periods begin and end."""

import datetime as dt
from typing import Any

from sqlalchemy import ColumnElement, Integer, SQLColumnExpression, case, cast, extract, func, literal

from application.models import Subscription

Value = SQLColumnExpression[Any]

MONTHS = case(
    {"monthly": literal(1, Integer), "quarterly": literal(3, Integer), "annually": literal(12, Integer)},
    value=Subscription.billing_cycle,
)
"""The months of a period; null for a custom cycle, whose periods only people know."""


def period_end(start: Value, months: Value, anchor_day: Value) -> ColumnElement[dt.datetime]:
    """When the period from `start` on ends: on the anchor day, or the last day of a shorter month, at the same time.

    From 31 January the ends are 28 (or 29) February and 31 March. The calendar is UTC's.
    """
    local = func.timezone("UTC", start)
    month = func.date_trunc("month", local) + func.make_interval(0, months)
    last_day = cast(extract("day", month + func.make_interval(0, 1) - func.make_interval(0, 0, 0, 1)), Integer)
    days = func.make_interval(0, 0, 0, func.least(anchor_day, last_day) - 1)
    return func.timezone("UTC", month + days + (local - func.date_trunc("day", local)))


def new_period(start: Value) -> dict[str, Any]:
    """The values of a subscription whose period begins anew. A custom cycle's end is kept, if it is not over before."""
    end = func.coalesce(
        period_end(start, MONTHS, Subscription.anchor_day), func.greatest(Subscription.current_period_end, start)
    )
    return {"current_period_start": start, "current_period_end": end}

"""What a subscription's events tell: which payments went through or failed, and what has happened before."""

import uuid
from typing import Any

from sqlalchemy import ColumnElement, SQLColumnExpression, func, select, text

from application.models import Subscription, SubscriptionEvent
from nightshift import Run

EVENT = ("subscription_id", "event", "from_status", "to_status", "effective_at", "data")
"""The columns of an event that is written."""

SUSPENDED = "suspended"
"""The event whose data names the licences that were suspended, so that only those resume."""

Value = SQLColumnExpression[Any]


def last_success(run: Run) -> Value:
    """When the application last told of a payment that went through."""
    return (
        select(func.max(SubscriptionEvent.effective_at))
        .where(SubscriptionEvent.subscription_id == Subscription.id, SubscriptionEvent.event == "payment_succeeded")
        .where(SubscriptionEvent.effective_at <= run.now)
        .correlate(Subscription)
        .scalar_subquery()
    )


def first_failure(run: Run) -> Value:
    """When the first payment failed after the last one that went through."""
    since = func.coalesce(last_success(run), text("'-infinity'"))
    return (
        select(func.min(SubscriptionEvent.effective_at))
        .where(SubscriptionEvent.subscription_id == Subscription.id, SubscriptionEvent.event == "payment_failed")
        .where(SubscriptionEvent.effective_at <= run.now, SubscriptionEvent.effective_at > since)
        .correlate(Subscription)
        .scalar_subquery()
    )


def noted(event: str, at: Value) -> ColumnElement[bool]:
    """Whether the subscription has had an event at an instant or later."""
    return (
        select(SubscriptionEvent.id)
        .where(SubscriptionEvent.subscription_id == Subscription.id, SubscriptionEvent.event == event)
        .where(SubscriptionEvent.effective_at >= at)
        .correlate(Subscription)
        .exists()
    )


def latest_suspension(subscription_id: ColumnElement[uuid.UUID]) -> ColumnElement[Any]:
    """The ids of the licences that it suspended."""
    return (
        select(SubscriptionEvent.data["licences"])
        .where(SubscriptionEvent.subscription_id == subscription_id, SubscriptionEvent.event == SUSPENDED)
        .order_by(SubscriptionEvent.effective_at.desc())
        .limit(1)
        .scalar_subquery()
    )

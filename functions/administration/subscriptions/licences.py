"""What is said of licences, and of subscriptions that only people can renew."""

from typing import Any

from sqlalchemy import Select, Text, cast, func, literal, select
from sqlalchemy.dialects.postgresql import aggregate_order_by

from application.models import License, Subscription, User
from application.people import live
from nightshift import Parameter, Run

UNUSED_AFTER = Parameter("unused_after_days", 90, "days", minimum=7, about="a licence not validated for so long")
LICENCES_NAMED = 20


def custom_cycles(run: Run) -> Select[Any]:
    """Active subscriptions whose period has ended, and whose next one only people know."""
    return select(
        cast(Subscription.id, Text).label("subject"),
        func.jsonb_build_object(
            "organization_id", Subscription.org_id, "period_ended_at", Subscription.current_period_end
        ).label("details"),
    ).where(
        Subscription.status == "active",
        Subscription.billing_cycle == "custom",
        Subscription.auto_renew,
        ~Subscription.cancel_at_period_end,
        Subscription.current_period_end <= run.now,
    )


def exceeded_seats(run: Run) -> Select[Any]:
    """Active licences of organisations with more active users than the licence has seats."""
    users = (
        select(User.org_id, func.count().label("number"))
        .where(User.org_id.is_not(None), live)
        .group_by(User.org_id)
        .subquery()
    )
    return (
        select(
            cast(License.id, Text).label("subject"),
            func.jsonb_build_object(
                "organization_id", License.org_id, "seats", License.seats, "users", users.c.number
            ).label("details"),
        )
        .join(users, users.c.org_id == License.org_id)
        .where(License.status == "active", users.c.number > License.seats)
    )


def unused_licences(run: Run) -> Select[Any]:
    """One row when there are active licences that nobody validated for long; a new one counts from when it was made."""
    used_at = func.coalesce(License.last_validated_at, License.created_at)
    unused = (
        select(License.id, used_at.label("used_at"))
        .where(License.status == "active", used_at < run.ago(UNUSED_AFTER))
        .order_by(used_at, License.id)
        .subquery()
    )
    longest = select(unused).order_by(unused.c.used_at, unused.c.id).limit(LICENCES_NAMED).subquery()
    named = select(func.jsonb_agg(aggregate_order_by(longest.c.id, longest.c.used_at, longest.c.id)))
    return (
        select(
            literal("all").label("subject"),
            func.jsonb_build_object("licences", func.count(), "longest_unused", named.scalar_subquery()).label(
                "details"
            ),
        )
        .select_from(unused)
        .having(func.count() > 0)
    )

"""Renewal: a period that has ended is followed by the next one, and by as many as were missed, 36 at most."""

import uuid
from typing import Any

from sqlalchemy import CTE, ColumnElement, Select, Text, cast, func, literal, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from application.models import Subscription, SubscriptionEvent
from functions.administration.subscriptions.batches import in_batches
from functions.administration.subscriptions.events import EVENT
from functions.administration.subscriptions.periods import MONTHS, period_end
from nightshift import Run, StepPlan
from nightshift.declaration import Execution

PERIOD = (
    Subscription.id,
    Subscription.anchor_day,
    MONTHS.label("months"),
    Subscription.current_period_start.label("starts"),
    Subscription.current_period_end.label("ends"),
)


MOST_PERIODS = 36
"""Of one subscription in one run. More that were missed mean a broken date, which nobody should be charged for."""


def renewable(run: Run) -> ColumnElement[bool]:
    """Those whose period has ended and that renew by themselves, which custom cycles do not."""
    return (
        (Subscription.status == "active")
        & Subscription.auto_renew
        & ~Subscription.cancel_at_period_end
        & (Subscription.billing_cycle != "custom")
        & (Subscription.current_period_end <= run.now)
    )


def plan_renewals(session: Session, run: Run) -> list[StepPlan]:
    """Counts periods, of which a subscription may have missed several."""
    subscriptions = session.scalars(select(Subscription.id).where(renewable(run)).order_by(Subscription.id).limit(5))
    periods = _periods(select(*PERIOD).where(renewable(run)).cte("due"), run)
    rolled = select(func.count()).where(_rolled(periods, run))
    sample = tuple(map(str, subscriptions))
    return [StepPlan("renew", "subscriptions", "renew", session.scalar(rolled) or 0, sample=sample)]


def renew(execution: Execution) -> None:
    in_batches(execution, "renewed", renewable, _renewal)


def _periods(due: CTE, run: Run) -> CTE:
    """The period that each subscription is in, as number 0, and those after it until one has not ended, 36 at most."""
    periods = select(due, literal(0).label("number")).cte("periods", recursive=True)
    end = period_end(periods.c.ends, periods.c.months, periods.c.anchor_day)
    following = select(
        periods.c.id, periods.c.anchor_day, periods.c.months, periods.c.ends, end, periods.c.number + 1
    ).where(periods.c.ends <= run.now, periods.c.number < MOST_PERIODS, func.isfinite(periods.c.ends))
    return periods.union_all(following)


def _reached(periods: CTE, run: Run) -> Select[uuid.UUID]:
    """The subscriptions for which one of the periods has not ended. The others have a broken date."""
    return select(periods.c.id).where(periods.c.ends > run.now)


def _rolled(periods: CTE, run: Run) -> ColumnElement[bool]:
    return (periods.c.number > 0) & periods.c.id.in_(_reached(periods, run))


def broken_dates(run: Run) -> Select[Any]:
    """Subscriptions that would have to be renewed more often than they may."""
    periods = _periods(select(*PERIOD).where(renewable(run)).cte("due"), run)
    return select(
        cast(Subscription.id, Text).label("subject"),
        func.jsonb_build_object(
            "organization_id", Subscription.org_id, "period_ended_at", Subscription.current_period_end
        ).label("details"),
    ).where(renewable(run), Subscription.id.not_in(_reached(periods, run)))


def _renewal(run: Run, which: ColumnElement[bool]) -> Select[int]:
    periods = _periods(select(*PERIOD).where(renewable(run), which).cte("chosen"), run)
    data = func.jsonb_build_object("period_end", periods.c.ends)
    event = select(
        periods.c.id, literal("renewal_due"), literal("active"), literal("active"), periods.c.starts, data
    ).where(_rolled(periods, run))
    events = insert(SubscriptionEvent).from_select(EVENT, event).on_conflict_do_nothing().cte("events")
    current = {"current_period_start": periods.c.starts, "current_period_end": periods.c.ends, "updated_at": run.now}
    changed = update(Subscription).where(Subscription.id == periods.c.id, periods.c.ends > run.now).values(current)
    rolled = func.count().filter(_rolled(periods, run))
    return select(rolled).select_from(periods).add_cte(events, changed.cte("changed"))

"""Renewal: a period that has ended is followed by the next one, and by as many as were missed."""

import uuid

from sqlalchemy import CTE, ColumnElement, func, literal, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from application.models import Subscription, SubscriptionEvent
from functions.administration.subscriptions import batches
from functions.administration.subscriptions.batches import Statement, in_batches, last_of
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
    rolled = select(func.count()).where(periods.c.number > 0)
    sample = tuple(map(str, subscriptions))
    return [StepPlan("renew", "subscriptions", "renew", session.scalar(rolled) or 0, sample=sample)]


def renew(execution: Execution) -> None:
    in_batches(execution, "renewed", _renewal)


def _periods(due: CTE, run: Run) -> CTE:
    """The period that each subscription is in, as number 0, and those after it until one has not ended."""
    periods = select(due, literal(0).label("number")).cte("periods", recursive=True)
    end = period_end(periods.c.ends, periods.c.months, periods.c.anchor_day)
    following = select(
        periods.c.id, periods.c.anchor_day, periods.c.months, periods.c.ends, end, periods.c.number + 1
    ).where(periods.c.ends <= run.now)
    return periods.union_all(following)


def _renewal(run: Run, after: uuid.UUID) -> Statement:
    chosen = (
        select(*PERIOD)
        .where(renewable(run), Subscription.id > after)
        .order_by(Subscription.id)
        .limit(batches.ROWS_A_BATCH)
        .with_for_update(of=Subscription)
        .cte("chosen")
    )
    periods = _periods(chosen, run)
    data = func.jsonb_build_object("period_end", periods.c.ends)
    event = select(
        periods.c.id, literal("renewal_due"), literal("active"), literal("active"), periods.c.starts, data
    ).where(periods.c.number > 0)
    events = insert(SubscriptionEvent).from_select(EVENT, event).on_conflict_do_nothing().cte("events")
    current = {"current_period_start": periods.c.starts, "current_period_end": periods.c.ends, "updated_at": run.now}
    changed = update(Subscription).where(Subscription.id == periods.c.id, periods.c.ends > run.now).values(current)
    taken = select(func.count()).select_from(chosen).scalar_subquery()
    rolled = func.count().filter(periods.c.number > 0)
    return select(taken, rolled, last_of(chosen.c.id)).select_from(periods).add_cte(events, changed.cte("changed"))

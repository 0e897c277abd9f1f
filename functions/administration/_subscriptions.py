"""A subscription's way from one status to the next: one statement for each transition, with the event it leaves behind.

A transition's event is unique for its subscription and the instant it took effect, which follows from the rows and not
from when the job ran. So a repetition finds the status changed, and the event there.
"""

import datetime as dt
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from sqlalchemy import (
    CTE,
    ColumnElement,
    Integer,
    Select,
    SQLColumnExpression,
    Text,
    Update,
    case,
    cast,
    extract,
    func,
    literal,
    select,
    text,
    update,
)
from sqlalchemy.dialects.postgresql import JSONB, insert
from sqlalchemy.orm import Session

from application.models import License, Organization, Subscription, SubscriptionEvent
from nightshift import Parameter, Run, StepPlan
from nightshift.declaration import SAMPLE_SIZE, Execution, StepDefaults, fingerprint_of

ROWS_A_BATCH = 1_000
FIRST = uuid.UUID(int=0)
SUSPENDED = "suspended"
"""The event whose data names the licences that were suspended, so that only those resume."""

Condition = ColumnElement[bool]
Value = SQLColumnExpression[Any]
Statement = Select[int, int, uuid.UUID | None]
"""Answers with the subscriptions it took, what it counted, and the last one's id."""

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


def noted(event: str, at: Value) -> Condition:
    """Whether the subscription has had an event at an instant or later."""
    return (
        select(SubscriptionEvent.id)
        .where(SubscriptionEvent.subscription_id == Subscription.id, SubscriptionEvent.event == event)
        .where(SubscriptionEvent.effective_at >= at)
        .correlate(Subscription)
        .exists()
    )


@dataclass(frozen=True, kw_only=True)
class Transition(StepDefaults):
    """A step: subscriptions change their status, their organisation follows, and an event is written.

    effective_at: when that took effect, told from the row as it was.
    values: what else changes in the row.
    organization: what its status becomes, by what it is; an organisation of any other status is left alone.
    licences: the organisation's active ones are suspended; or those resume that the latest suspension had suspended.
    """

    name: str
    counter: str
    event: str
    to: str
    where: Callable[[Run], Condition]
    effective_at: Callable[[Run], Value]
    values: Callable[[Run], Mapping[str, Any]] = lambda run: {}
    organization: Mapping[str, str] = field(default_factory=dict)
    licences: Literal["suspend", "resume"] | None = None
    parameters: tuple[Parameter, ...] = ()

    destructive: ClassVar[bool] = False
    tables: ClassVar[tuple[str, ...]] = ("subscriptions", "subscription_events", "organizations", "licenses")

    @property
    def counters(self) -> tuple[str, ...]:
        return (self.counter,)

    @property
    def changes(self) -> tuple[str, ...]:
        return (self.counter,)

    def fingerprint(self, run: Run) -> str:
        return fingerprint_of(select(self.effective_at(run)).where(self.where(run)))

    def plan(self, session: Session, run: Run) -> list[StepPlan]:
        """What it would change of the rows as they are; what earlier steps bring comes on top."""
        found = select(Subscription.id).where(self.where(run))
        rows = session.scalar(select(func.count()).select_from(found.subquery())) or 0
        sample = session.scalars(found.order_by(Subscription.id).limit(SAMPLE_SIZE))
        return [StepPlan(self.name, "subscriptions", self.event, rows, sample=tuple(map(str, sample)))]

    def apply(self, execution: Execution) -> None:
        in_batches(execution, self.counter, self._statement)

    def _statement(self, run: Run, after: uuid.UUID) -> Statement:
        chosen = (
            select(
                Subscription.id,
                Subscription.org_id,
                Subscription.status,
                self.effective_at(run).label("effective_at"),
            )
            .where(self.where(run), Subscription.id > after)
            .order_by(Subscription.id)
            .limit(ROWS_A_BATCH)
            .with_for_update(of=Subscription)
            .cte("chosen")
        )
        values = {"status": self.to, "updated_at": run.now, **self.values(run)}
        effects = [update(Subscription).where(Subscription.id == chosen.c.id).values(values).cte("changed")]
        data: ColumnElement[Any] = literal({}, JSONB)
        if self.licences == "suspend":
            suspended = (
                update(License)
                .where(License.org_id == chosen.c.org_id, License.status == "active")
                .values(status="suspended")
                .returning(License.id, License.org_id)
                .cte("suspended")
            )
            ids = select(func.jsonb_agg(suspended.c.id)).where(suspended.c.org_id == chosen.c.org_id)
            data = func.jsonb_build_object("licences", func.coalesce(ids.scalar_subquery(), literal([], JSONB)))
            effects.append(suspended)
        elif self.licences == "resume":
            theirs = _latest_suspension(chosen.c.id).op("?")(cast(License.id, Text))
            resumed = update(License).where(License.org_id == chosen.c.org_id, License.status == "suspended", theirs)
            effects.append(resumed.values(status="active").cte("resumed"))
        event = select(chosen.c.id, literal(self.event), chosen.c.status, literal(self.to), chosen.c.effective_at, data)
        effects.append(insert(SubscriptionEvent).from_select(EVENT, event).on_conflict_do_nothing().cte("events"))
        if self.organization:
            effects.append(self._organization(run, chosen.c.org_id).cte("followers"))
        return select(func.count(), func.count(), _last(chosen.c.id)).select_from(chosen).add_cte(*effects)

    def _organization(self, run: Run, org_id: ColumnElement[uuid.UUID]) -> Update:
        new = case(self.organization, value=Organization.status)
        return (
            update(Organization)
            .where(Organization.id == org_id, Organization.status.in_(self.organization))
            .values(
                status=new,
                suspended_at=case(
                    (new == "suspended", run.now), (new == "active", None), else_=Organization.suspended_at
                ),
                cancelled_at=case((new == "cancelled", run.now), else_=Organization.cancelled_at),
                updated_at=run.now,
            )
        )


def renewable(run: Run) -> Condition:
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


PERIOD = (
    Subscription.id,
    Subscription.anchor_day,
    MONTHS.label("months"),
    Subscription.current_period_start.label("starts"),
    Subscription.current_period_end.label("ends"),
)
EVENT = ("subscription_id", "event", "from_status", "to_status", "effective_at", "data")


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
        .limit(ROWS_A_BATCH)
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
    return select(taken, rolled, _last(chosen.c.id)).select_from(periods).add_cte(events, changed.cte("changed"))


def _last(key: ColumnElement[uuid.UUID]) -> ColumnElement[Any]:
    return select(key).order_by(key.desc()).limit(1).scalar_subquery()


def _latest_suspension(subscription_id: ColumnElement[uuid.UUID]) -> ColumnElement[Any]:
    """The ids of the licences that it suspended."""
    return (
        select(SubscriptionEvent.data["licences"])
        .where(SubscriptionEvent.subscription_id == subscription_id, SubscriptionEvent.event == SUSPENDED)
        .order_by(SubscriptionEvent.effective_at.desc())
        .limit(1)
        .scalar_subquery()
    )


def in_batches(execution: Execution, counter: str, statement: Callable[[Run, uuid.UUID], Statement]) -> None:
    """Carry out a statement that takes rows in the order of their ids, until none is left."""
    while (place := execution.position or {"after": str(FIRST)}) and "after" in place:
        with execution.batch() as batch:
            taken, counted, last = batch.session.execute(statement(execution.run, uuid.UUID(place["after"]))).one()
            batch.count(**{counter: counted})
            batch.position = {"after": str(last)} if taken == ROWS_A_BATCH else {"done": True}

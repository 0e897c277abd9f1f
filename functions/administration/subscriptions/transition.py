"""A subscription's way from one status to the next: one statement for each transition, with the event it leaves behind.

A transition's event is unique for its subscription and the instant it took effect, which follows from the rows and not
from when the job ran. So a repetition finds the status changed, and the event there.
"""

import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from sqlalchemy import (
    ColumnElement,
    Select,
    SQLColumnExpression,
    Text,
    Update,
    case,
    cast,
    func,
    literal,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import JSONB, insert
from sqlalchemy.orm import Session

from application.models import License, Organization, Subscription, SubscriptionEvent
from functions.administration.subscriptions.batches import in_batches
from functions.administration.subscriptions.events import EVENT, latest_suspension
from nightshift import Parameter, Run, StepPlan
from nightshift.declaration import SAMPLE_SIZE, Execution, StepDefaults, fingerprint_of
from nightshift.declaration.fields import choices, must_be_one_of

Condition = ColumnElement[bool]
Value = SQLColumnExpression[Any]

Licences = Literal["suspend", "resume"]


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
    licences: Licences | None = None
    parameters: tuple[Parameter, ...] = ()

    destructive: ClassVar[bool] = False
    tables: ClassVar[tuple[str, ...]] = ("subscriptions", "subscription_events", "organizations", "licenses")

    def __post_init__(self) -> None:
        if self.licences is not None:
            must_be_one_of(f"step {self.name}: licences", self.licences, choices(Licences))

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
        in_batches(execution, self.counter, self.where, self._statement)

    def _statement(self, run: Run, which: Condition) -> Select[int]:
        chosen = (
            select(
                Subscription.id,
                Subscription.org_id,
                Subscription.status,
                self.effective_at(run).label("effective_at"),
            )
            .where(self.where(run), which)
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
            theirs = latest_suspension(chosen.c.id).op("?")(cast(License.id, Text))
            resumed = update(License).where(License.org_id == chosen.c.org_id, License.status == "suspended", theirs)
            effects.append(resumed.values(status="active").cte("resumed"))
        event = select(chosen.c.id, literal(self.event), chosen.c.status, literal(self.to), chosen.c.effective_at, data)
        effects.append(insert(SubscriptionEvent).from_select(EVENT, event).on_conflict_do_nothing().cte("events"))
        if self.organization:
            effects.append(self._organization(run, chosen.c.org_id).cte("followers"))
        return select(func.count()).select_from(chosen).add_cte(*effects)

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

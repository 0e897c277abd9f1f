"""The step that writes a report and tells the administrators of it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from sqlalchemy import Select, Text, cast, select
from sqlalchemy.orm import Session

from application.models import Report, User
from application.people import ADMIN_ROLES
from functions.administration.reports import page, wording
from functions.administration.reports.figures import Data
from functions.administration.reports.stored import Kind, key_of, page_key, store
from nightshift import Run, StepPlan
from nightshift.declaration import Execution, Parameter, StepDefaults, fingerprint_of
from nightshift.declaration.fields import choices, must_be_one_of
from nightshift.outbox import Via, message, pending, write
from nightshift.steps import Period
from nightshift.steps.rollup import WRITTEN

Figures = Callable[[Session, Run, Period], Data]

NOTIFIED = "notified"
"""The counter of notices to administrators."""

EMAIL = (Via("email", counter=NOTIFIED),)


@dataclass(frozen=True, kw_only=True)
class WriteReport(StepDefaults):
    """Write one report of a period and tell the administrators, in one transaction and from one snapshot.

    A report that says what it said before is not written again, and nobody is told of it a second time.

    counting: counters, each with the section and key of the figure that it shows.
    """

    kind: Kind
    period: Callable[[Run], Period]
    figures: Figures
    counting: Mapping[str, tuple[str, str]] = field(default_factory=dict)

    name: ClassVar[str] = "report"
    changes: ClassVar[tuple[str, ...]] = (WRITTEN, NOTIFIED)
    parameters: ClassVar[tuple[Parameter, ...]] = ()
    tables: ClassVar[tuple[str, ...]] = ("nightshift.reports", "nightshift.notifications")
    destructive: ClassVar[bool] = False

    def __post_init__(self) -> None:
        must_be_one_of(f"step {self.name}: kind", self.kind, choices(Kind))

    @property
    def counters(self) -> tuple[str, ...]:
        return (*self.counting, *self.changes)

    def fingerprint(self, run: Run) -> str:
        """The step is one transaction: there is no position inside it that another query could spoil."""
        return fingerprint_of(select(Report))

    def plan(self, session: Session, run: Run) -> list[StepPlan]:
        period = self.period(run)
        data = self.figures(session, run, period)
        stored = session.execute(
            select(Report.period_end, Report.data).where(Report.kind == self.kind, Report.period_start == period.start)
        ).first()
        rows = int(stored is None or tuple(stored) != (period.end, data))
        notices, keys = pending(session, run, self._notices(period, data), EMAIL)
        return [
            StepPlan(self.name, self.tables[0], "upsert", rows, sample=(key_of(self.kind, period),)),
            StepPlan(self.name, self.tables[1], f"notify {self._notice}", notices, sample=keys),
        ]

    def apply(self, execution: Execution) -> None:
        if execution.position is not None:
            return
        run = execution.run
        period = self.period(run)
        with execution.batch(snapshot=True) as batch:
            data = self.figures(batch.session, run, period)
            written = store(batch.session, execution.resources.files, run, self.kind, period, data)
            notices = self._notices(period, data)
            told = write(batch.session, run, self._notice, notices, EMAIL, refused=batch.quarantine)
            batch.count(**{counter: data[section][key] for counter, (section, key) in self.counting.items()})
            batch.count(**{WRITTEN: written, NOTIFIED: told.by_channel["email"]})
            batch.position = {"done": True}

    @property
    def _notice(self) -> str:
        return f"{self.kind}_admin_report"

    def _notices(self, period: Period, data: Data) -> Select[Any]:
        """One to each administrator and period."""
        key = cast(User.id, Text) + f"|{self._notice}|{period.start:%Y-%m-%d}"
        title = f"{self.kind.capitalize()} report for {wording.in_words(self.kind, period)}"
        told = page.mail(self.kind, period, data, page_key(key_of(self.kind, period)))
        return message(User.id, key=key, title=title, body=page.summary(data), data=told).where(
            User.role.in_(ADMIN_ROLES)
        )

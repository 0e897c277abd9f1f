"""A report: its figures stored in the database, put to the file store for machines and for people, and announced."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from sqlalchemy import Select, Text, cast, or_, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from application.models import Report, User
from application.people import ADMIN_ROLES
from functions.administration import _page
from functions.administration._figures import Data
from nightshift import Run, StepPlan
from nightshift.declaration import Execution, Parameter, StepDefaults, fingerprint_of, iso
from nightshift.outbox import Via, message, pending, write
from nightshift.steps import Period
from nightshift.steps.rollup import WRITTEN
from nightshift.store import FileStore

Kind = Literal["daily", "weekly", "monthly"]
Figures = Callable[[Session, Run, Period], Data]

NOTIFIED = "notified"
"""The counter of notices to administrators."""

EMAIL = (Via("email", counter=NOTIFIED),)


def key_of(kind: Kind, period: Period) -> str:
    """Where a report is in the file store: the same for every run of its period. The page is beside it."""
    return f"reports/{kind}/{period.start:{'%Y-%m' if kind == 'monthly' else '%Y-%m-%d'}}.json"


def store(session: Session, files: FileStore, run: Run, kind: Kind, period: Period, data: Data) -> int:
    """Put a report to the file store and name it in the database. Returns the rows written: none if it stood there."""
    key = key_of(kind, period)
    told = {"kind": kind, "period_start": iso(period.start), "period_end": iso(period.end), "as_of": iso(run.now)}
    content = json.dumps({**told, "data": data}, indent=2, ensure_ascii=False).encode()
    files.write(key, content, content_type="application/json")
    html = _page.page(kind, period, run.now, data).encode()
    files.write(page_key(key), html, content_type="text/html; charset=utf-8")
    facts = {"period_end": period.end, "data": data, "s3_key": key}
    row = insert(Report).values(kind=kind, period_start=period.start, created_at=run.now, **facts)
    return len(
        session.execute(
            row.on_conflict_do_update(
                index_elements=["kind", "period_start"],
                set_=facts | {"created_at": run.now},
                where=or_(*(getattr(Report, name).is_distinct_from(row.excluded[name]) for name in facts)),
            ).returning(Report.id)
        ).all()
    )


def page_key(key: str) -> str:
    return key.removesuffix(".json") + ".html"


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
            told = write(batch.session, run, self._notice, self._notices(period, data), EMAIL)
            batch.count(**{counter: data[section][key] for counter, (section, key) in self.counting.items()})
            batch.count(**{WRITTEN: written, NOTIFIED: told.by_channel["email"]})
            batch.position = {"done": True}

    @property
    def _notice(self) -> str:
        return f"{self.kind}_admin_report"

    def _notices(self, period: Period, data: Data) -> Select[Any]:
        """One to each administrator and period."""
        key = cast(User.id, Text) + f"|{self._notice}|{period.start:%Y-%m-%d}"
        title = f"{self.kind.capitalize()} report for {_page.in_words(self.kind, period)}"
        told = _page.mail(self.kind, period, data, page_key(key_of(self.kind, period)))
        return message(User.id, key=key, title=title, body=_page.summary(data), data=told).where(
            User.role.in_(ADMIN_ROLES)
        )

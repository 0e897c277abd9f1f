"""A step that rolls a period up into one row of figures, and stores what stood out in it."""

import datetime as dt
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from decimal import Decimal
from typing import Any, ClassVar, Literal

from sqlalchemy import delete, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from nightshift.declaration import Execution, Parameter, Run, StepDefaults, StepPlan, fingerprint_of, iso
from nightshift.declaration.fields import choices, must_be, must_be_names, must_be_one_of, must_be_snake
from nightshift.steps.periods import Period
from nightshift.steps.tables import MetricFinding, MetricRollup

WRITTEN = "written"
"""The counter of rows (figures and findings) that the run wrote because they were new or different."""


@dataclass(frozen=True)
class Finding:
    """A figure that changed a lot or stands out: its value, the value to compare with, and the change in percent."""

    metric: str
    value: float | None
    baseline: float | None = None
    change_pct: Decimal | None = None
    significant: bool = True


@dataclass(frozen=True)
class Figures:
    """The result for one period.

    data: the figures of the row, as JSON.
    counts: the values of counters. The step uses those that it declares.
    findings: what stood out.
    """

    data: Mapping[str, Any]
    counts: Mapping[str, int] = field(default_factory=dict)
    findings: Sequence[Finding] = ()


FindingKind = Literal["trend", "anomaly"]


@dataclass(frozen=True, kw_only=True)
class RollUp(StepDefaults):
    """Replace the figures of one period in one transaction. The database computes them.

    Unchanged figures are not written again, so a repeated run changes nothing. A finding that a new computation does
    not make is deleted.

    scope: the key of the figures, together with the period's start.
    period: the period of a run, or None if the run has nothing to roll up.
    figures: a function that computes the figures. It only reads, and it does not load the rows into Python.
    counting: the counters that the step takes from the figures.
    finding: the kind of its findings.

    Raises:
        DeclarationError: when a field has another value.
    """

    scope: str
    period: Callable[[Run], Period | None]
    figures: Callable[[Session, Run, Period], Figures]
    counting: tuple[str, ...] = ()
    finding: FindingKind = "trend"
    parameters: tuple[Parameter, ...] = ()

    changes: ClassVar[tuple[str, ...]] = (WRITTEN,)
    tables: ClassVar[tuple[str, ...]] = ("nightshift.metric_rollups", "nightshift.metric_findings")
    destructive: ClassVar[bool] = False

    def __post_init__(self) -> None:
        must_be_snake("roll-up: scope", self.scope)
        where = f"step {self.name}:"
        must_be(callable(self.period), f"{where} period", "a function of the run", self.period)
        must_be(callable(self.figures), f"{where} figures", "a function of session, run and period", self.figures)
        must_be_names(f"{where} counting", self.counting)
        must_be_one_of(f"{where} finding", self.finding, choices(FindingKind))

    @property
    def name(self) -> str:
        return f"roll-up-{self.scope.replace('_', '-')}"

    @property
    def counters(self) -> tuple[str, ...]:
        return (*self.counting, WRITTEN)

    def fingerprint(self, run: Run) -> str:
        """Always the same: the step is one transaction, so there is no position that another query could make wrong."""
        return fingerprint_of(select(MetricRollup))

    def plan(self, session: Session, run: Run) -> list[StepPlan]:
        period = self.period(run)
        if period is None:
            return []
        change = _Change.of(self, session, period, self.figures(session, run, period))
        rollups = 1 if change.figures_differ else 0
        sample = (f"{self.scope},{iso(period.start)}",) if rollups else ()
        written, dropped = len(change.findings), len(change.dropped)
        return [
            StepPlan(self.name, self.tables[0], "upsert", rollups, sample=sample),
            StepPlan(self.name, self.tables[1], "replace", written + dropped),
        ]

    def apply(self, execution: Execution) -> None:
        if execution.position is not None:
            return
        period = self.period(execution.run)
        with execution.batch() as batch:
            if period is not None:
                figures = self.figures(batch.session, execution.run, period)
                change = _Change.of(self, batch.session, period, figures)
                change.write(batch.session, execution.run.now)
                batch.count(**{name: figures.counts[name] for name in self.counting}, **{WRITTEN: change.rows})
            batch.position = {"done": True}


@dataclass(frozen=True)
class _Change:
    """What to write so that the stored figures and findings of a period equal the computed ones."""

    step: RollUp
    period: Period
    data: dict[str, Any]
    figures_differ: bool
    findings: list[Finding]
    dropped: list[str]

    @property
    def rows(self) -> int:
        return self.figures_differ + len(self.findings) + len(self.dropped)

    @classmethod
    def of(cls, step: RollUp, session: Session, period: Period, figures: Figures) -> "_Change":
        stored = session.execute(
            select(MetricRollup.period_end, MetricRollup.data).where(
                MetricRollup.scope == step.scope, MetricRollup.period_start == period.start
            )
        ).first()
        known = {
            row.metric: Finding(*row) for row in session.execute(select(*_FINDING).where(*_same_findings(step, period)))
        }
        found = {finding.metric: finding for finding in figures.findings}
        return cls(
            step,
            period,
            data=dict(figures.data),
            figures_differ=stored is None or tuple(stored) != (period.end, dict(figures.data)),
            findings=[finding for finding in found.values() if finding != known.get(finding.metric)],
            dropped=sorted(known.keys() - found.keys()),
        )

    def write(self, session: Session, now: dt.datetime) -> None:
        period, scope = self.period, self.step.scope
        if self.figures_differ:
            values = {"period_end": period.end, "data": self.data, "computed_at": now}
            row = insert(MetricRollup).values(scope=scope, period_start=period.start, **values)
            session.execute(row.on_conflict_do_update(index_elements=["scope", "period_start"], set_=values))
        if self.dropped:
            gone = MetricFinding.metric.in_(self.dropped)
            session.execute(delete(MetricFinding).where(*_same_findings(self.step, period), gone))
        for finding in self.findings:
            values = {**vars(finding), "created_at": now}
            key = {"kind": self.step.finding, "scope": scope, "period_start": period.start}
            session.execute(
                insert(MetricFinding)
                .values(**key, **values)
                .on_conflict_do_update(index_elements=[*key, "metric"], set_=values)
            )


_FINDING = tuple(getattr(MetricFinding, one.name) for one in fields(Finding))


def _same_findings(step: RollUp, period: Period) -> tuple[Any, ...]:
    return (
        MetricFinding.kind == step.finding,
        MetricFinding.scope == step.scope,
        MetricFinding.period_start == period.start,
    )

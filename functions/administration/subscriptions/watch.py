"""Alerts that stand for as long as something is so: opened when it begins, kept up to date, resolved when it ends."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

from sqlalchemy import Row, Select, select
from sqlalchemy.orm import Session

from application import alerts
from application.alerts import Severity
from application.models import Alert
from nightshift import Parameter, Run, StepPlan
from nightshift.declaration import SAMPLE_SIZE, Execution, StepDefaults, fingerprint_of


@dataclass(frozen=True, kw_only=True)
class Watch(StepDefaults):
    """A step: one open alert of a rule for each row that a query finds. An alert that says so already is left alone.

    found: selects `subject`, a text that tells the alerts of the rule apart, and `details`, a JSON object. Few rows.
    """

    rule: str
    severity: Severity
    found: Callable[[Run], Select[Any]]
    parameters: tuple[Parameter, ...] = ()

    counters: ClassVar[tuple[str, ...]] = ("alerts",)
    changes: ClassVar[tuple[str, ...]] = ("alerts",)
    destructive: ClassVar[bool] = False
    tables: ClassVar[tuple[str, ...]] = ("nightshift.alerts",)

    @property
    def name(self) -> str:
        return f"watch-{self.rule}"

    def fingerprint(self, run: Run) -> str:
        return fingerprint_of(self.found(run))

    def plan(self, session: Session, run: Run) -> list[StepPlan]:
        begun, ended = self._begun(session, run), self._ended(session, run)
        sample = tuple(row.subject for row in begun[:SAMPLE_SIZE])
        return [StepPlan(self.name, "nightshift.alerts", "open or resolve", len(begun) + len(ended), sample=sample)]

    def apply(self, execution: Execution) -> None:
        if execution.position is not None:
            return
        run = execution.run
        with execution.batch() as batch:
            for row in self._begun(batch.session, run):
                alerts.sight(
                    batch.session,
                    rule=self.rule,
                    subject=row.subject,
                    severity=self.severity,
                    details=row.details,
                    at=run.now,
                )
                batch.count(alerts=1)
            for fingerprint in self._ended(batch.session, run):
                subject = fingerprint.removeprefix(f"{self.rule}:")
                ended = alerts.resolve(batch.session, rule=self.rule, subject=subject, quiet_since=run.now, at=run.now)
                batch.count(alerts=ended)
            batch.position = {"done": True}

    def _begun(self, session: Session, run: Run) -> list[Row[Any]]:
        found = self.found(run).subquery()
        told = (Alert.fingerprint == self.rule + ":" + found.c.subject) & (Alert.details == found.c.details)
        open_alert = select(Alert.id).where(told, Alert.status != "resolved").exists()
        return list(session.execute(select(found).where(~open_alert).order_by(found.c.subject)))

    def _ended(self, session: Session, run: Run) -> list[str]:
        found = self.found(run).subquery()
        still = select(found.c.subject).where(Alert.fingerprint == self.rule + ":" + found.c.subject).exists()
        open_ones = select(Alert.fingerprint).where(Alert.rule == self.rule, Alert.status != "resolved")
        return list(session.scalars(open_ones.where(Alert.last_seen_at < run.now, ~still)))

"""Alerts that stand for as long as something is so: opened when it begins, kept up to date, resolved when it ends."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from sqlalchemy import Row, Select, select
from sqlalchemy.orm import Session

from application import alerts
from application.alerts import Severity
from application.models import Alert
from nightshift import Parameter, Run, StepPlan
from nightshift.database import by_halves
from nightshift.declaration import SAMPLE_SIZE, Execution, StepDefaults, fingerprint_of
from nightshift.declaration.fields import choices, must_be_one_of


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

    def __post_init__(self) -> None:
        must_be_one_of(f"step {self.name}: severity", self.severity, choices(Severity))

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
            session = batch.session

            def note(rows: Sequence[Row[Any]]) -> int:
                for row in rows:
                    known = {"rule": self.rule, "subject": row.subject, "severity": self.severity}
                    alerts.sight(session, **known, details=row.details, at=run.now)
                return len(rows)

            def end(fingerprints: Sequence[str]) -> int:
                for fingerprint in fingerprints:
                    subject = fingerprint.removeprefix(f"{self.rule}:")
                    alerts.resolve(session, rule=self.rule, subject=subject, quiet_since=run.now, at=run.now)
                return len(fingerprints)

            def leave(item: Row[Any] | str, error: str) -> None:
                fingerprint = item if isinstance(item, str) else f"{self.rule}:{item.subject}"
                batch.quarantine(f"nightshift.alerts:{fingerprint}", error)

            begun = by_halves(session, self._begun(session, run), note, leave)
            ended = by_halves(session, self._ended(session, run), end, leave)
            batch.count(alerts=sum(begun) + sum(ended))
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

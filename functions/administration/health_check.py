"""Look at database, outbox, jobs, file store, error rate and server; alert when one is bad in two checks running.

The whole is as bad as its worst component. What cannot be measured is unknown: that makes nothing worse, and is
counted. A component that is healthy again resolves its alert. Checks are kept for 30 days. When the database does not
answer there is nowhere to write: then a metric is logged and the operators are paged at once, every five minutes.
"""

from collections.abc import Sequence
from dataclasses import asdict

from sqlalchemy import select
from sqlalchemy.orm import Session

from application.alerts import Severity, Wording, sight, tell
from application.alerts.sightings import resolve
from application.models import Alert
from nightshift import Delete, Job, Parameter, Run, minutes, telemetry
from nightshift.database import by_halves
from nightshift.outbox import tell_operators
from nightshift.runtime import paging_handler
from nightshift.steps import Component, HealthCheck
from nightshift.steps.health import BAD, Found, Status, status_in
from nightshift.steps.tables import HealthRecord

RULE = "unhealthy_component"
WORDING = Wording("a component is not well", "Two health checks running have found the same component bad.")
SEVERITY: dict[Status, Severity] = {"degraded": "medium", "unhealthy": "critical"}
REPEAT = minutes(5)
RETENTION = Parameter("retention_days", 30, "days", minimum=2, about="health checks")


MEASURES: dict[str, tuple[str, float]] = {
    # The share of requests that failed within ten minutes.
    "error_rate": (
        "select sum(errors)::numeric / nullif(sum(n), 0) from request_stats"
        " where minute >= cast(:now as timestamptz) - interval '10 minutes' and minute < :now",
        0.05,
    ),
    # Known only where somebody writes them into the newest ten-minute figures: PostgreSQL does not tell them.
    **{
        name: (
            f"select case jsonb_typeof(data -> '{name}_percent') when 'number'"  # noqa: S608 - constants
            f" then (data ->> '{name}_percent')::numeric / 100 end from nightshift.metric_rollups"
            " where scope = 'perf_10m' and period_end <= :now"
            " and period_end > cast(:now as timestamptz) - interval '30 minutes'"
            " order by period_start desc limit 1",
            limit,
        )
        for name, limit in {"memory": 0.9, "cpu": 0.8, "storage": 0.9}.items()
    },
}
"""What the example measures beside the library's own components."""


def judge(session: Session, run: Run, found: Found) -> None:
    """Raise alerts for what was bad before as well, resolve those of what is healthy or gone, and tell."""
    latest = select(HealthRecord.components).where(HealthRecord.checked_at < run.now)
    before = session.scalar(latest.order_by(HealthRecord.checked_at.desc()).limit(1))
    noted = select(Alert.fingerprint).where(Alert.rule == RULE, Alert.last_seen_at > run.ago(REPEAT))
    lately = set(session.scalars(noted.where(Alert.status != "resolved")))
    for fingerprint in session.scalars(select(Alert.fingerprint).where(Alert.rule == RULE, Alert.status != "resolved")):
        name = fingerprint.removeprefix(f"{RULE}:")
        if name not in found or found[name].status == "healthy":  # a replica that is no longer there, for example
            resolve(session, rule=RULE, subject=name, quiet_since=run.now, at=run.now)

    def note(names: Sequence[str]) -> None:
        for name in names:
            one = found[name]
            severity, details = SEVERITY[one.status], {"subject": name, **asdict(one)}
            sighting = sight(session, rule=RULE, subject=name, severity=severity, details=details, at=run.now)
            if sighting != "known":
                page(session, run, name, one)

    def leave(name: str, error: str) -> None:
        telemetry.error("alert.refused", component=name, reason=error)

    bad = [name for name, one in found.items() if one.status in BAD and status_in(before, name) in BAD]
    by_halves(session, [name for name in bad if f"{RULE}:{name}" not in lately], note, leave)
    tell(session, run, {RULE: WORDING}, refused=leave)


def page(session: Session, run: Run, name: str, one: Component) -> None:
    data = WORDING.data(severity=SEVERITY[one.status], subject=name, note=one.reason, at=run.now)
    key = f"{RULE}|{name}|{run.now:%Y-%m-%dT%H:%M:%SZ}"
    title, body = f"{name} is {one.status}", f"{WORDING.body} {one.reason or ''}"
    tell_operators(session, run, "security_alert", key=key, title=title, body=body, data=data)


job = Job(
    name="health-check",
    kind="check",
    schedule="cron(0/5 * * * ? *)",
    needs=frozenset({"files", "operators", "deployment"}),
    critical=True,
    audited=False,
    steps=(
        HealthCheck(measures=MEASURES, judge=judge, writes=("nightshift.alerts", "nightshift.notifications")),
        Delete(HealthRecord, older_than=RETENTION, measured_by=HealthRecord.checked_at),
    ),
)
handler = paging_handler(job)

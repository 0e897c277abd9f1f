"""Look at database, outbox, jobs, file store, error rate and server; alert when one is bad in two checks running.

The whole is as bad as its worst component. What cannot be measured is unknown: that makes nothing worse, and is
counted. A component that is healthy again resolves its alert. Checks are kept for 30 days. When the database does not
answer there is nowhere to write: then a metric is logged and the operators are paged at once, every five minutes.
"""

import time
from dataclasses import asdict
from typing import Any

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from application.alerts import Severity, Wording, sight, tell
from application.alerts.sightings import resolve
from application.models import Alert, HealthCheck
from functions.administration.health import components
from functions.administration.health.components import BAD, FILES, Component, Status
from functions.administration.health.pager import database_unreachable
from nightshift import Delete, Function, Job, Parameter, Run, StepPlan, lambda_handler, minutes
from nightshift.declaration import Execution
from nightshift.errors import UnclaimedError
from nightshift.outbox import tell_operators
from nightshift.runtime import LambdaContext

RULE = "unhealthy_component"
WORDING = Wording("a component is not well", "Two health checks running have found the same component bad.")
SEVERITY: dict[Status, Severity] = {"degraded": "medium", "unhealthy": "critical"}
REPEAT = minutes(5)
RETENTION = Parameter("retention_days", 30, "days", minimum=2, about="health checks")


def check(execution: Execution) -> None:
    if execution.position is not None:
        return
    run, started = execution.run, time.perf_counter()
    stored = components.file_store(execution.resources.files)  # before the transaction, which need not wait for it
    with execution.batch() as batch:
        found = {**dict(components.in_database(batch.session, run.now, run.job)), FILES: stored}
        judge(batch.session, run, found)
        batch.session.execute(delete(HealthCheck).where(HealthCheck.checked_at == run.now))
        milliseconds = round((time.perf_counter() - started) * 1000)
        batch.session.add(
            HealthCheck(
                checked_at=run.now,
                overall=overall(found),
                components={name: asdict(one) for name, one in found.items()},
                duration_ms=milliseconds,
            )
        )
        statuses = [one.status for one in found.values()]
        numbers = {status: statuses.count(status) for status in ("degraded", "unhealthy", "unknown")}
        batch.count(components=len(found), written=1, **numbers)
        batch.position = {"done": True}


def overall(found: dict[str, Component]) -> Status:
    return max((one.status for one in found.values() if one.status in BAD), key=BAD.index, default="healthy")


def judge(session: Session, run: Run, found: dict[str, Component]) -> None:
    """Raise alerts for what was bad before as well, resolve those of what is healthy or gone, and tell."""
    latest = select(HealthCheck.components).where(HealthCheck.checked_at < run.now)
    before: dict[str, Any] = session.scalar(latest.order_by(HealthCheck.checked_at.desc()).limit(1)) or {}
    noted = select(Alert.fingerprint).where(Alert.rule == RULE, Alert.last_seen_at > run.ago(REPEAT))
    lately = set(session.scalars(noted.where(Alert.status != "resolved")))
    for fingerprint in session.scalars(select(Alert.fingerprint).where(Alert.rule == RULE, Alert.status != "resolved")):
        name = fingerprint.removeprefix(f"{RULE}:")
        if name not in found or found[name].status == "healthy":  # a replica that is no longer there, for example
            resolve(session, rule=RULE, subject=name, quiet_since=run.now, at=run.now)
    for name, one in found.items():
        if one.status not in BAD or before.get(name, {}).get("status") not in BAD or f"{RULE}:{name}" in lately:
            continue
        severity = SEVERITY[one.status]
        details = {"subject": name, **asdict(one)}
        sighting = sight(session, rule=RULE, subject=name, severity=severity, details=details, at=run.now)
        if sighting != "known":
            page(session, run, name, one)
    tell(session, run, {RULE: WORDING})


def page(session: Session, run: Run, name: str, one: Component) -> None:
    data = WORDING.data(severity=SEVERITY[one.status], subject=name, note=one.reason, at=run.now)
    key = f"{RULE}|{name}|{run.now:%Y-%m-%dT%H:%M:%SZ}"
    title, body = f"{name} is {one.status}", f"{WORDING.body} {one.reason or ''}"
    tell_operators(session, run, "security_alert", key=key, title=title, body=body, data=data)


def plan(session: Session, run: Run) -> list[StepPlan]:
    return [StepPlan("check", "nightshift.health_checks", "insert", 1)]


job = Job(
    name="health-check",
    kind="check",
    schedule="cron(0/5 * * * ? *)",
    needs=frozenset({"files", "operators", "deployment"}),
    critical=True,
    audited=False,
    steps=(
        Function(
            name="check",
            apply=check,
            plan=plan,
            counters=("components", "degraded", "unhealthy", "unknown", "written"),
            changes=("written",),
            tables=("nightshift.health_checks", "nightshift.alerts", "nightshift.notifications"),
        ),
        Delete(HealthCheck, older_than=RETENTION, measured_by=HealthCheck.checked_at),
    ),
)
check_health = lambda_handler(job)


def handler(event: Any, context: LambdaContext) -> dict[str, Any]:
    """Check, and page past the outbox when the database does not answer. The failure goes on to Lambda all the same."""
    try:
        return check_health(event, context)
    except UnclaimedError:
        database_unreachable()
        raise

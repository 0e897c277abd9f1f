"""Alerts: one open row for each thing that is wrong, told apart by its fingerprint, however often it is seen."""

import datetime as dt
from collections.abc import Mapping
from typing import Any, Literal

from sqlalchemy import select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from nightshift.models.operations import Alert

Severity = Literal["low", "medium", "high", "critical"]
SEVERITIES: tuple[Severity, ...] = ("low", "medium", "high", "critical")

Sighting = Literal["new", "risen", "known"]
"""First seen; seen again and worse than before; seen again. The first two are worth telling somebody."""


def sight(
    session: Session,
    *,
    rule: str,
    subject: str,
    severity: Severity,
    details: Mapping[str, Any],
    at: dt.datetime,
    occurrences: int = 1,
) -> Sighting:
    """Note, in the caller's transaction, that a rule was hit for a subject at an instant.

    The subject and the details hold ids, hashes and counts, never personal data. Severity only rises while an alert is
    open; `occurrences` are added up.
    """
    fingerprint = f"{rule}:{subject}"
    values = {
        "rule": rule,
        "fingerprint": fingerprint,
        "severity": severity,
        "details": dict(details),
        "first_seen_at": at,
        "last_seen_at": at,
        "occurrences": occurrences,
    }
    added = insert(Alert).values(values).on_conflict_do_nothing().returning(Alert.id)
    if session.execute(added).first() is not None:
        return "new"
    open_alert = select(Alert).where(Alert.fingerprint == fingerprint, Alert.status != "resolved").with_for_update()
    alert = session.execute(open_alert.execution_options(populate_existing=True)).scalar_one()
    risen = SEVERITIES.index(severity) > SEVERITIES.index(alert.severity)
    if risen:
        alert.severity = severity
    alert.details = dict(details)
    alert.occurrences += occurrences
    alert.last_seen_at = max(alert.last_seen_at, at)
    session.flush()
    return "risen" if risen else "known"


def resolve(
    session: Session, *, rule: str, quiet_since: dt.datetime, at: dt.datetime, subject: str | None = None
) -> int:
    """Resolve, in the caller's transaction, a rule's open alerts last seen before `quiet_since`. Returns how many."""
    which = [Alert.rule == rule, Alert.status != "resolved", Alert.last_seen_at < quiet_since]
    if subject is not None:
        which.append(Alert.fingerprint == f"{rule}:{subject}")
    resolved = update(Alert).where(*which).values(status="resolved", resolved_at=at).returning(Alert.id)
    return len(session.execute(resolved).all())

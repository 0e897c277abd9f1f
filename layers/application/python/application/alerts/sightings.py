"""Alerts: one open row for each problem, however often it is seen. A fingerprint identifies the problem."""

import datetime as dt
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from application.models import Alert

Severity = Literal["low", "medium", "high", "critical"]
SEVERITIES: tuple[Severity, ...] = ("low", "medium", "high", "critical")

Sighting = Literal["new", "risen", "known"]
"""new: seen for the first time. risen: seen again, and worse. known: seen again. After the first two, the alert's
`notified_at` is empty, and the next notice tells it (application.alerts.notices)."""


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
    """Note, in the caller's transaction, that a rule matched a subject at an instant.

    Subject and details hold ids, hashes and counts, never personal data. While an alert is open, its severity only
    rises, and `occurrences` are added up.
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
        alert.severity, alert.notified_at = severity, None
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


@dataclass(frozen=True)
class Noted:
    """What a rule's events led to: how many new alerts, and how many open alerts that were seen again."""

    new: int
    updated: int


@dataclass(frozen=True)
class Expected:
    """Alerts of a rule and a severity that noting its events would make or leave open, and what they came to.

    details: those of one alert that would be new, or worse than before, and so be told; None where there is none.
    """

    rule: str
    severity: Severity
    new: int
    updated: int
    details: Mapping[str, Any] | None


def note_events(session: Session, *, rule: str, events: str, details: str, values: Mapping[str, Any]) -> Noted:
    """Note all events that match a rule, in the caller's transaction, in one statement.

    events: a SELECT of `raw` (text, the subject), `personal` (whether it is an address: then its pseudonym replaces
        it), `at`, `rank` (the severity, as a position in SEVERITIES), `peak` (how many came together) and `note` (text
        or null).
    details: an SQL expression for JSON, over `subject`, `peak` and `note`.
    values: the parameters of both.

    Each event counts once, even if it is read again: only events after the latest alert's last event count. That is the
    latest alert with the same fingerprint, open or resolved.
    """
    statement = f"""
        with {_hits(events)},
        noted as (
            insert into nightshift.alerts as alert
                (rule, fingerprint, severity, details, first_seen_at, last_seen_at, occurrences)
            select :rule, {_FINGERPRINT}, ({_SEVERITIES})[rank], {details}, first_at, last_at, occurrences
            from hit
            on conflict (fingerprint) where status <> 'resolved' do update set
                severity = case when {_RISEN} then excluded.severity else alert.severity end,
                notified_at = case when {_RISEN} then null else alert.notified_at end,
                details = excluded.details,
                last_seen_at = excluded.last_seen_at,
                occurrences = alert.occurrences + excluded.occurrences
        )
        select count(*) filter (where severity is null), count(severity) from hit
    """  # noqa: S608 - made of constants of this module and of the rules' own
    new, updated = session.execute(text(statement), {"rule": rule, **values}).one()
    return Noted(new, updated)


def expect_events(
    session: Session, *, rule: str, events: str, details: str, values: Mapping[str, Any]
) -> list[Expected]:
    """What `note_events` would do with the same arguments, by severity. Reads only."""
    to_tell = f"severity is null or array_position({_SEVERITIES}, severity) < rank"
    statement = f"""
        with {_hits(events)}
        select ({_SEVERITIES})[rank], count(*) filter (where severity is null), count(severity),
            (array_agg({details}) filter (where {to_tell}))[1]
        from hit group by rank order by rank
    """  # noqa: S608 - made of constants of this module and of the rules' own
    return [Expected(rule, *row) for row in session.execute(text(statement), {"rule": rule, **values})]


_FINGERPRINT = "cast(:rule as text) || ':' || subject"
_SEVERITIES = f"array[{', '.join(repr(severity) for severity in SEVERITIES)}]"
_RISEN = " < ".join(f"array_position({_SEVERITIES}, {table}.severity)" for table in ("alert", "excluded"))


def _hits(events: str) -> str:
    """The common table `hit`: a row for each subject with events that count, and the severity it is open with."""
    return f"""
        concerned as materialized (
            select case when personal then nightshift.pseudonym(raw) else raw end as subject, array_agg(at) as instants,
                max(rank) + 1 as rank, max(peak) as peak, max(note) as note
            from ({events}) as event
            group by raw, personal
        ),
        known as (
            select concerned.*, (
                select max(last_seen_at) from nightshift.alerts where fingerprint = {_FINGERPRINT}
            ) as last_seen_at, (
                select severity from nightshift.alerts where fingerprint = {_FINGERPRINT} and status <> 'resolved'
            ) as severity
            from concerned
        ),
        hit as (
            select known.*, news.* from known cross join lateral (
                select count(*) as occurrences, min(at) as first_at, max(at) as last_at from unnest(instants) as at
                where last_seen_at is null or at > last_seen_at
            ) as news
            where occurrences > 0
        )
    """  # noqa: S608 - made of constants of this module and of the rules' own


def resolve_quiet(session: Session, *, rules: Collection[str], quiet_since: dt.datetime, at: dt.datetime) -> int:
    """Resolve, in the caller's transaction, the open alerts of these rules without an event since an instant."""
    quiet = (Alert.rule.in_(rules), Alert.status != "resolved", Alert.last_seen_at < quiet_since)
    resolved = update(Alert).where(*quiet).values(status="resolved", resolved_at=at).returning(Alert.id)
    return len(session.execute(resolved.execution_options(synchronize_session=False)).all())

"""What becomes of an alert that is seen again, whichever way it is noted, and when it is over."""

import datetime as dt
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import select, update
from sqlalchemy.orm import Session

from application.alerts import Severity, expect_events, note_events, resolve, resolve_quiet, sight
from application.alerts.sightings import SEVERITIES
from application.models import Alert
from tests.integration.example.jobs.people import utc

NOON = utc("2026-03-01 12:00")
MINUTE = dt.timedelta(minutes=1)
RULE = "odd"

Note = Callable[[Session, Severity, dt.datetime], Any]


def by_itself(session: Session, severity: Severity, at: dt.datetime) -> None:
    sight(session, rule=RULE, subject="it", severity=severity, details={"subject": "it"}, at=at)


def events(severity: Severity, at: dt.datetime) -> dict[str, Any]:
    return {
        "rule": RULE,
        "events": "select 'it' as raw, false as personal, cast(:at as timestamptz) as at, cast(:rank as int) as rank,"
        " 1 as peak, cast(null as text) as note",
        "details": "jsonb_build_object('subject', subject)",
        "values": {"at": at, "rank": SEVERITIES.index(severity)},
    }


def from_events(session: Session, severity: Severity, at: dt.datetime) -> None:
    expected = expect_events(session, **events(severity, at))
    before = known(session)
    noted = note_events(session, **events(severity, at))
    worse = not before or SEVERITIES.index(severity) > SEVERITIES.index(before[-1].severity)
    assert [(each.severity, each.new, each.updated) for each in expected] == [(severity, noted.new, noted.updated)]
    assert [each.details for each in expected] == [{"subject": "it"} if worse else None]


def known(session: Session) -> list[Alert]:
    """The open alerts, as they are stored."""
    session.flush()
    open_alerts = select(Alert).where(Alert.status != "resolved").order_by(Alert.fingerprint)
    return list(session.scalars(open_alerts.execution_options(populate_existing=True)))


@pytest.mark.parametrize("note", [by_itself, from_events])
def test_what_is_seen_again_is_told_again_only_when_it_is_worse(session: Session, note: Note) -> None:
    told = []
    seen: tuple[Severity, ...] = ("medium", "medium", "low", "high", "high", "medium", "critical")
    for number, severity in enumerate(seen):
        note(session, severity, NOON + number * MINUTE)
        (alert,) = known(session)
        told.append((alert.severity, alert.notified_at is None))
        session.execute(update(Alert).values(notified_at=NOON))

    assert told == [
        ("medium", True),
        ("medium", False),
        ("medium", False),
        ("high", True),
        ("high", False),
        ("high", False),
        ("critical", True),
    ]
    assert (alert.occurrences, alert.first_seen_at, alert.last_seen_at) == (7, NOON, NOON + 6 * MINUTE)


@pytest.mark.parametrize("note", [by_itself, from_events])
def test_what_was_resolved_and_comes_again_is_a_new_alert(session: Session, note: Note) -> None:
    note(session, "critical", NOON)
    session.execute(update(Alert).values(status="resolved", notified_at=NOON))

    note(session, "low", NOON + MINUTE)

    (alert,) = known(session)
    assert (alert.severity, alert.occurrences, alert.notified_at) == ("low", 1, None)

    note(session, "low", NOON + 2 * MINUTE)

    (alert,) = known(session)
    assert (alert.severity, alert.occurrences) == ("low", 2)


def test_the_same_event_counts_once(session: Session) -> None:
    note_events(session, **events("high", NOON))

    again = note_events(session, **events("critical", NOON))

    assert (again.new, again.updated) == (0, 0)
    (alert,) = known(session)
    assert (alert.severity, alert.occurrences) == ("high", 1)


def test_only_what_has_been_quiet_is_resolved(session: Session) -> None:
    def see(rule: str, subject: str, at: dt.datetime) -> None:
        sight(session, rule=rule, subject=subject, severity="high", details={}, at=at)

    def left() -> list[str]:
        return [alert.fingerprint for alert in known(session)]

    see("third", "quiet", NOON - MINUTE)
    for rule in ("one", "other"):
        see(rule, "quiet", NOON - MINUTE)
        see(rule, "quiet too", NOON - MINUTE)
        see(rule, "just now", NOON)

        see(rule, "just now", NOON - 2 * MINUTE)  # it is told late of what was earlier

    assert resolve(session, rule="one", subject="quiet", quiet_since=NOON, at=NOON) == 1
    assert left() == [
        "one:just now",
        "one:quiet too",
        "other:just now",
        "other:quiet",
        "other:quiet too",
        "third:quiet",
    ]
    assert resolve(session, rule="one", quiet_since=NOON, at=NOON + MINUTE) == 1
    assert left() == ["one:just now", "other:just now", "other:quiet", "other:quiet too", "third:quiet"]
    assert resolve_quiet(session, rules=["other"], quiet_since=NOON, at=NOON) == 2
    assert left() == ["one:just now", "other:just now", "third:quiet"]
    ended = session.scalars(select(Alert.resolved_at).where(Alert.fingerprint == "one:quiet")).one()
    assert ended == NOON, "what is resolved is not resolved again"

"""The figures of this pack in `nightshift.reports.data`, by kind of report, section and key, each with its unit.

Percentages go from 0 to 100 and have one decimal, rounded half up, as have averages; changes may pass 100 and fall
below 0. Days, hours, weeks and months are those of UTC, and a week begins on Sunday. Times are ISO 8601. People, keys
and whatever else has a name are told by their ids only.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

Data = dict[str, dict[str, Any]]
"""A report's figures by section and key."""


@dataclass(frozen=True)
class Figure:
    """unit: `percent`, `minutes`, …; or what is counted. summed: a week's figure is the sum of its days'."""

    unit: str
    meaning: str
    summed: bool = False


_DAILY: Mapping[str, Mapping[str, Figure]] = {
    "users": {
        "total": Figure("users", "neither deleted nor anonymised, as of the run"),
        "active": Figure("users", "those of them that are not deactivated, as of the run"),
        "new": Figure("users", "created in the time", summed=True),
        "deactivated": Figure("users", "deactivated in the time, by the audit log", summed=True),
        "by_role": Figure("users by role", "of the total"),
    },
    "sessions": {
        "active": Figure("sessions", "active and not expired, as of the run"),
        "new": Figure("sessions", "begun in the time", summed=True),
        "ended": Figure("sessions", "ended in the time", summed=True),
        "by_device": Figure("sessions by device", "of the new ones", summed=True),
        "top_countries": Figure("sessions by country", "of the new ones: the ten countries with the most"),
    },
    "security": {
        "events": Figure(
            "events", "failed logins and second factors, lockouts, changes of rights and accounts", summed=True
        ),
        "failed_logins": Figure("events", "logins that failed", summed=True),
        "failed_mfa": Figure("events", "second factors that failed", summed=True),
        "suspicious_sessions": Figure("sessions", "begun in the time and marked as suspicious", summed=True),
        "events_by_action": Figure("events by action", "of the events", summed=True),
    },
    "api": {
        "requests": Figure("requests", "made with an API key", summed=True),
        "failures": Figure("requests", "those of them that failed", summed=True),
        "top_keys": Figure("requests by key", "the ten keys with the most, with success and failure"),
    },
    "activity": {
        "total": Figure("actions", "rows of the audit log", summed=True),
        "succeeded": Figure("actions", "those of them that succeeded", summed=True),
        "success_rate": Figure("percent", "succeeded of total; null without actions"),
        "peak_hour": Figure("hour", "the first with the most actions; null without actions"),
        "by_hour": Figure("24 counts", "actions by hour", summed=True),
        "top_actions": Figure("actions by name", "the twenty most frequent"),
    },
    "operations": {
        "failed_jobs": Figure("runs", "occurrences of the time that failed for good", summed=True),
        "open_alerts": Figure("alerts", "seen and not resolved, as of the run"),
    },
}

_SUMMED = {
    section: {key: figure for key, figure in figures.items() if figure.summed} for section, figures in _DAILY.items()
}

_WEEKLY: Mapping[str, Mapping[str, Figure]] = _SUMMED | {
    "users": _SUMMED["users"] | {key: _DAILY["users"][key] for key in ("total", "active")},
    "activity": _SUMMED["activity"]
    | {key: _DAILY["activity"][key] for key in ("success_rate", "peak_hour")}
    | {"top_users": Figure("actions by user", "the ten users with the most")},
    "alerts": {
        "by_severity": Figure("alerts by severity", "first seen in the week"),
        "resolved": Figure("alerts", "resolved in the week"),
        "mean_time_to_resolve": Figure("minutes", "of those, from first sight; null without any"),
    },
    "health": {
        "checks": Figure("checks", "made in the week"),
        "healthy": Figure("checks", "those that found everything healthy"),
        "availability": Figure("percent", "healthy of all checks; null without checks"),
    },
    "change": {
        f"{section}.{key}": Figure("percent", "against the week before; null when that was 0 or has no report")
        for section, key in (
            ("users", "new"),
            ("users", "deactivated"),
            ("sessions", "new"),
            ("sessions", "ended"),
            ("security", "events"),
            ("security", "failed_logins"),
            ("security", "failed_mfa"),
            ("security", "suspicious_sessions"),
            ("api", "requests"),
            ("api", "failures"),
            ("activity", "total"),
            ("activity", "succeeded"),
            ("operations", "failed_jobs"),
        )
    },
}

_MONTHLY: Mapping[str, Mapping[str, Figure]] = {
    "compliance": {
        "score": Figure("percent", "passed of all checks"),
        "checks": Figure("checks", "made"),
        "failed": Figure("checks", "that did not pass"),
        "results": Figure("checks", "each with whether it passed and the numbers that say so"),
    },
    "access": {
        "privileged_users": Figure("users", "active administrators, as of the run"),
        "with_mfa": Figure("users", "those of them with a second factor"),
        "mfa_share": Figure("percent", "with a second factor; null without administrators"),
        "changes_by_action": Figure("events by action", "changes of roles and permissions"),
        "changes": Figure("events by action and actor", "the same, with who made them"),
    },
    "security": {
        "failed_logins": Figure("events", "logins that failed"),
        "failed_mfa": Figure("events", "second factors that failed"),
        "lockouts": Figure("events", "accounts locked"),
    },
    "accounts": {
        "active": Figure("users", "active users, as of the run"),
        "idle": Figure("users", "those of them without a login in the 90 days before the month's end"),
    },
    "data_requests": {
        "deletions_open": Figure("requests", "asked for before the month's end and not done then"),
        "deletions_done": Figure("requests", "done in the month"),
        "deletions_overdue": Figure("requests", "of the open ones, those from 31 days or more before the month's end"),
        "exports_open": Figure("requests", "asked for before the month's end and not done then"),
        "exports_done": Figure("requests", "done in the month"),
        "exports_overdue": Figure("requests", "of the open ones, those from 31 days or more before the month's end"),
    },
    "retention": {
        "rules": Figure("rules", "each with the oldest row it is for, its limit, and the rows past that"),
        "runs": Figure("runs by job", "of the retention of the audit log, with success and failure"),
    },
    "backups": {
        "verified": Figure("backups", "verified in the month"),
        "last_verified_at": Figure("time", "before the month's end; null if never"),
        "last_restore_test_at": Figure("time", "before the month's end; null if never"),
    },
    "credentials": {
        "expired": Figure("credentials", "past their end at the month's end, and still listed at the run"),
        "expired_by_kind": Figure("credentials by kind", "of those"),
    },
    "alerts": {
        "critical": Figure("alerts", "critical ones first seen in the month"),
        "mean_time_to_acknowledge": Figure("minutes", "of those, until acknowledged or resolved; null without any"),
        "open_over_a_day": Figure("alerts", "critical ones that nobody took up for more than 24 hours in the month"),
    },
}

FIGURES: Mapping[str, Mapping[str, Mapping[str, Figure]]] = {"daily": _DAILY, "weekly": _WEEKLY, "monthly": _MONTHLY}

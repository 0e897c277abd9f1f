"""A week's figures for administrators: the sums of its days, and what only a week can tell."""

import datetime as dt
from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from typing import Any

from sqlalchemy import TextClause, select, text
from sqlalchemy.orm import Session

from application.models import Report
from application.rounding import is_figure, one_decimal, percent
from functions.administration.reports import daily
from functions.administration.reports.figures import FIGURES, Data
from nightshift import Run
from nightshift.steps import Period

DAY, WEEK = dt.timedelta(days=1), dt.timedelta(weeks=1)

SUMMED = [(section, key) for section, keys in FIGURES["daily"].items() for key, one in keys.items() if one.summed]
COMPARED = [tuple(key.split(".")) for key in FIGURES["weekly"]["change"]]

TOP_USERS = text("""
    select coalesce(jsonb_agg(to_jsonb(counted) order by actions desc, user_id), '[]') from (
        select actor_id as user_id, count(*) as actions from audit_logs
        where actor_id is not null and occurred_at >= :start and occurred_at < :end
        group by actor_id order by actions desc, actor_id limit 10
    ) as counted
""")

QUERIES: Mapping[str, TextClause] = {
    "alerts": text("""
        select jsonb_build_object(
            'by_severity', (
                select jsonb_object_agg(severity, coalesce(n, 0))
                from unnest(array['critical', 'high', 'medium', 'low']) as severities (severity)
                left join (
                    select severity, count(*) as n from nightshift.alerts
                    where first_seen_at >= :start and first_seen_at < :end group by severity
                ) as counted using (severity)
            ),
            'resolved', count(*),
            'mean_time_to_resolve', round(avg(extract(epoch from resolved_at - first_seen_at) / 60), 1)
        )
        from nightshift.alerts where resolved_at >= :start and resolved_at < :end
    """),
    "health": text("""
        select jsonb_build_object('checks', count(*), 'healthy', count(*) filter (where overall = 'healthy'))
        from nightshift.health_checks where checked_at >= :start and checked_at < :end
    """),
}


def days_of(week: Period) -> Iterator[Period]:
    for number in range(7):
        start = week.start + number * DAY
        yield Period(start, start + DAY)


def dailies(session: Session, week: Period) -> dict[dt.datetime, Data]:
    """The week's stored daily reports by the start of their day. One without every figure to be summed, or with
    another value in its place, is none."""
    reports = select(Report.period_start, Report.data).where(
        Report.kind == "daily", Report.period_start >= week.start, Report.period_start < week.end
    )
    return {
        start: data
        for start, data in session.execute(reports)
        if all(
            _can_be_summed(FIGURES["daily"][section][key].unit, _told(data, section, key)) for section, key in SUMMED
        )
    }


def _told(data: Any, section: str, key: str) -> Any:
    """A figure of a stored report, whatever somebody has written there; None without one."""
    found = data.get(section) if isinstance(data, dict) else None
    return found.get(key) if isinstance(found, dict) else None


def _can_be_summed(unit: str, value: Any) -> bool:
    """Whether a value is a number; or as many as the unit counts, or numbers by something, where that is the unit."""
    if unit.endswith(" counts"):
        return isinstance(value, list) and len(value) == int(unit.split()[0]) and all(map(is_figure, value))
    if " by " in unit:
        return isinstance(value, dict) and all(map(is_figure, value.values()))
    return is_figure(value)


def figures(session: Session, run: Run, week: Period) -> Data:
    """The figures of a week. Days without a stored report are counted again."""
    given = {"now": run.now, "start": week.start, "end": week.end}
    stored = dailies(session, week)
    days = [stored.get(day.start) or daily.figures(session, run, day) for day in days_of(week)]
    data: Data = {section: {} for section in FIGURES["weekly"]}
    for section, key in SUMMED:
        data[section][key] = added([day[section][key] for day in days])
    users = session.scalar(daily.QUERIES["users"], given)
    data["users"] |= {key: users[key] for key in ("total", "active")}
    data["activity"] |= daily.derived(data["activity"]) | {"top_users": session.scalar(TOP_USERS, given)}
    data |= {section: session.scalar(query, given) for section, query in QUERIES.items()}
    checks = data["health"]["checks"]
    data["health"]["availability"] = percent(data["health"]["healthy"], checks) if checks else None
    data["change"] = changes(data, before(session, week))
    return data


def before(session: Session, week: Period) -> Data:
    """The stored figures of the week before, or none."""
    report = select(Report.data).where(Report.kind == "weekly", Report.period_start == week.start - WEEK)
    return session.scalar(report) or {}


def changes(data: Data, base: Data) -> dict[str, float | None]:
    found: dict[str, float | None] = {}
    for section, key in COMPARED:
        now, then = data[section][key], _told(base, section, key)
        known = is_figure(then) and then
        found[f"{section}.{key}"] = (
            one_decimal(100 * (Fraction(now) - Fraction(then)) / Fraction(then)) if known else None
        )
    return found


def added(figures: Sequence[Any]) -> Any:
    """The sum of numbers, of lists of numbers by place, or of objects of numbers by key."""
    first = figures[0]
    if isinstance(first, list):
        return [sum(numbers) for numbers in zip(*figures, strict=True)]
    if isinstance(first, dict):
        keys = sorted({key for figure in figures for key in figure})
        return {key: sum(figure.get(key, 0) for figure in figures) for key in keys}
    return sum(figures)

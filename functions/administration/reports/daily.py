"""A day's figures for administrators, one statement a section."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import TextClause, text
from sqlalchemy.orm import Session

from application.rounding import percent
from functions.administration.reports.figures import Data
from nightshift import Run
from nightshift.steps import Period

QUERIES: Mapping[str, TextClause] = {
    "users": text("""
        with living as (
            select role, is_active from users
            where deleted_at is null and anonymized_at is null and created_at <= :now
        )
        select jsonb_build_object(
            'total', (select count(*) from living),
            'active', (select count(*) from living where is_active),
            'new', (select count(*) from users where created_at >= :start and created_at < :end),
            'deactivated', (
                select count(*) from audit_logs
                where action = 'user.deactivate' and status = 'success' and occurred_at >= :start and occurred_at < :end
            ),
            'by_role', (
                select coalesce(jsonb_object_agg(role, n), '{}')
                from (select role, count(*) as n from living group by role) as counted
            )
        )
    """),
    "sessions": text("""
        with begun as (select device_type, country from sessions where created_at >= :start and created_at < :end)
        select jsonb_build_object(
            'active', (
                select count(*) from sessions
                where status = 'active' and created_at <= :now and expires_at >= :now
            ),
            'new', (select count(*) from begun),
            'ended', (select count(*) from sessions where terminated_at >= :start and terminated_at < :end),
            'by_device', (
                select coalesce(jsonb_object_agg(device, n), '{}') from (
                    select coalesce(device_type, 'unknown') as device, count(*) as n from begun group by device
                ) as counted
            ),
            'top_countries', (
                select coalesce(jsonb_agg(to_jsonb(counted) order by sessions desc, country), '[]') from (
                    select coalesce(country, 'unknown') as country, count(*) as sessions from begun
                    group by 1 order by sessions desc, 1 limit 10
                ) as counted
            )
        )
    """),
    "security": text("""
        with event as (
            select action from audit_logs
            where occurred_at >= :start and occurred_at < :end
                and (action in ('auth.login', 'auth.mfa') and status = 'failure'
                    or action in ('auth.lockout', 'user.delete', 'user.deactivate', 'role.grant', 'role.revoke',
                        'role.delete', 'permission.change', 'permission.delete'))
        )
        select jsonb_build_object(
            'events', (select count(*) from event),
            'failed_logins', (select count(*) from event where action = 'auth.login'),
            'failed_mfa', (select count(*) from event where action = 'auth.mfa'),
            'suspicious_sessions', (
                select count(*) from sessions where is_suspicious and created_at >= :start and created_at < :end
            ),
            'events_by_action', (
                select coalesce(jsonb_object_agg(action, n), '{}')
                from (select action, count(*) as n from event group by action) as counted
            )
        )
    """),
    "api": text("""
        with request as (
            select api_key_id, status from audit_logs
            where action = 'api.request' and occurred_at >= :start and occurred_at < :end
        )
        select jsonb_build_object(
            'requests', (select count(*) from request),
            'failures', (select count(*) from request where status = 'failure'),
            'top_keys', (
                select coalesce(jsonb_agg(to_jsonb(counted) order by requests desc, api_key_id), '[]') from (
                    select
                        api_key_id,
                        count(*) as requests,
                        count(*) filter (where status = 'success') as success,
                        count(*) filter (where status = 'failure') as failure
                    from request where api_key_id is not null
                    group by api_key_id order by requests desc, api_key_id limit 10
                ) as counted
            )
        )
    """),
    "activity": text("""
        with deed as (
            select action, status, cast(extract(hour from timezone('UTC', occurred_at)) as int) as hour from audit_logs
            where occurred_at >= :start and occurred_at < :end
        )
        select jsonb_build_object(
            'total', (select count(*) from deed),
            'succeeded', (select count(*) from deed where status = 'success'),
            'by_hour', (
                select jsonb_agg(coalesce(n, 0) order by hour)
                from generate_series(0, 23) as hours (hour)
                left join (select hour, count(*) as n from deed group by hour) as counted using (hour)
            ),
            'top_actions', (
                select coalesce(jsonb_agg(to_jsonb(counted) order by n desc, action), '[]') from (
                    select action, count(*) as n from deed group by action order by n desc, action limit 20
                ) as counted
            )
        )
    """),
    "operations": text("""
        select jsonb_build_object(
            'failed_jobs', (
                select count(*) from nightshift.job_runs
                where outcome = 'failed' and scheduled_for >= :start and scheduled_for < :end
            ),
            'open_alerts', (
                select count(*) from nightshift.alerts
                where first_seen_at <= :now and (status <> 'resolved' or resolved_at > :now)
            )
        )
    """),
}


def figures(session: Session, run: Run, day: Period) -> Data:
    """The figures of a day. What has no history, like the number of users, is told as of the run."""
    given = {"now": run.now, "start": day.start, "end": day.end}
    data = {section: session.scalar(query, given) for section, query in QUERIES.items()}
    data["activity"] |= derived(data["activity"])
    return data


def derived(activity: Mapping[str, Any]) -> dict[str, Any]:
    """What follows from the counts of a day or a week: the rate of success, the first hour with the most actions."""
    total, by_hour = activity["total"], activity["by_hour"]
    return {
        "success_rate": percent(activity["succeeded"], total) if total else None,
        "peak_hour": by_hour.index(max(by_hour)) if total else None,
    }

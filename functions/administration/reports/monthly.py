"""A month's figures of compliance, one statement a section, and the checks that are made of them."""

from collections.abc import Mapping

from sqlalchemy import TextClause, text
from sqlalchemy.orm import Session

from application.people import ADMIN_ROLES
from application.rounding import percent
from functions.administration.reports.compliance import IDLE, REQUEST_LIMIT, checks
from functions.administration.reports.figures import Data
from functions.administration.reports.retention import AUDIT_RETENTION, retention_rules
from nightshift import Run
from nightshift.steps import Period

QUERIES: Mapping[str, TextClause] = {
    "access": text("""
        with administrator as (
            select mfa_enabled from users
            where role = any(:admin_roles) and is_active and deleted_at is null and anonymized_at is null
                and created_at <= :now
        ), change as (
            select action, actor_id, count(*) as n from audit_logs
            where action in ('role.grant', 'role.revoke', 'role.delete', 'permission.change', 'permission.delete')
                and occurred_at >= :start and occurred_at < :end
            group by action, actor_id
        )
        select jsonb_build_object(
            'privileged_users', (select count(*) from administrator),
            'with_mfa', (select count(*) from administrator where mfa_enabled),
            'changes_by_action', (
                select coalesce(jsonb_object_agg(action, n), '{}') from (
                    select action, sum(n) as n from change group by action
                ) as counted
            ),
            'changes', (
                select coalesce(jsonb_agg(to_jsonb(change) order by n desc, action, actor_id), '[]') from change
            )
        )
    """),
    "security": text("""
        select jsonb_build_object(
            'failed_logins', count(*) filter (where action = 'auth.login' and status = 'failure'),
            'failed_mfa', count(*) filter (where action = 'auth.mfa' and status = 'failure'),
            'lockouts', count(*) filter (where action = 'auth.lockout')
        )
        from audit_logs
        where action in ('auth.login', 'auth.mfa', 'auth.lockout') and occurred_at >= :start and occurred_at < :end
    """),
    "accounts": text("""
        select jsonb_build_object(
            'active', count(*), 'idle', count(*) filter (where coalesce(last_login_at, created_at) < :idle_since)
        )
        from users where is_active and deleted_at is null and anonymized_at is null and created_at <= :now
    """),
    "data_requests": text("""
        with request as (
            select
                request_type,
                requested_at < :end and (status in ('PENDING', 'FAILED') or completed_at >= :end) as open,
                completed_at >= :start and completed_at < :end and status = 'COMPLETED' as done,
                requested_at < :overdue_since as old
            from data_requests
        )
        select jsonb_build_object(
            'deletions_open', count(*) filter (where request_type = 'DELETION' and open),
            'deletions_done', count(*) filter (where request_type = 'DELETION' and done),
            'deletions_overdue', count(*) filter (where request_type = 'DELETION' and open and old),
            'exports_open', count(*) filter (where request_type = 'EXPORT' and open),
            'exports_done', count(*) filter (where request_type = 'EXPORT' and done),
            'exports_overdue', count(*) filter (where request_type = 'EXPORT' and open and old)
        )
        from request
    """),
    "backups": text("""
        select jsonb_build_object(
            'verified', count(*) filter (where verified_at >= :start),
            'last_verified_at', to_char(timezone('UTC', max(verified_at)), 'YYYY-MM-DD"T"HH24:MI:SS"Z"'),
            'last_restore_test_at', (
                select to_char(timezone('UTC', max(restore_tested_at)), 'YYYY-MM-DD"T"HH24:MI:SS"Z"')
                from nightshift.backups where restore_tested_at < :end
            )
        )
        from nightshift.backups where verified_at < :end and status in ('succeeded', 'expired')
    """),
    "credentials": text("""
        with expired as (select kind from v_expiring_credentials where expires_at < :end)
        select jsonb_build_object(
            'expired', (select count(*) from expired),
            'expired_by_kind', (
                select coalesce(jsonb_object_agg(kind, n), '{}')
                from (select kind, count(*) as n from expired group by kind) as counted
            )
        )
    """),
    "alerts": text("""
        with alert as (
            select first_seen_at, coalesce(acknowledged_at, resolved_at) as taken_up_at from nightshift.alerts
            where severity = 'critical' and first_seen_at < :end
        )
        select jsonb_build_object(
            'critical', count(*) filter (where first_seen_at >= :start),
            'mean_time_to_acknowledge', round(
                avg(extract(epoch from taken_up_at - first_seen_at) / 60) filter (where first_seen_at >= :start), 1
            ),
            'open_over_a_day', count(*) filter (
                where coalesce(taken_up_at, :end) >= :start
                    and least(taken_up_at, :end) - first_seen_at > interval '24 hours'
            )
        )
        from alert
    """),
}

RUNS = text("""
    select jsonb_agg(jsonb_build_object('job', job, 'success', success, 'failure', failure) order by place)
    from unnest(cast(:jobs as text[])) with ordinality as wanted (job, place)
    cross join lateral (
        select
            count(*) filter (where outcome = 'succeeded') as success,
            count(*) filter (where outcome = 'failed') as failure
        from nightshift.job_runs as runs
        where runs.job = wanted.job and scheduled_for >= :start and scheduled_for < :end
    ) as counted
""")


def figures(session: Session, run: Run, month: Period) -> Data:
    """The figures of a month, and the checks. What has no history, like a user's role, is told as of the run."""
    given = {
        "now": run.now,
        "start": month.start,
        "end": month.end,
        "admin_roles": list(ADMIN_ROLES),
        "idle_since": month.end - IDLE,
        "overdue_since": month.end - REQUEST_LIMIT,
    }
    data: Data = {section: session.scalar(query, given) for section, query in QUERIES.items()}
    access = data["access"]
    access["mfa_share"] = (
        percent(access["with_mfa"], access["privileged_users"]) if access["privileged_users"] else None
    )
    data["retention"] = {
        "rules": retention_rules(session, run, month),
        "runs": session.scalar(RUNS, {**given, "jobs": [job.name for job in AUDIT_RETENTION]}),
    }
    results = checks(data, month)
    passed = sum(check.passed for check in results)
    compliance = {
        "score": percent(passed, len(results)),
        "checks": len(results),
        "failed": len(results) - passed,
        "results": [vars(check) for check in results],
    }
    return {"compliance": compliance, **data}

"""A month's figures of compliance: what must hold, whether it did, and the numbers that say so."""

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import TextClause, func, select, text
from sqlalchemy.orm import Session

from application.people import ADMIN_ROLES
from application.rounding import percent
from functions.administration import audit_log_cleanup
from functions.administration._figures import Data
from functions.community import anonymize_audit_logs, cleanup_invitations, cleanup_push_tokens, delete_audit_logs
from functions.identity import (
    email_verification_cleanup,
    login_attempt_cleanup,
    password_reset_cleanup,
    refresh_token_cleanup,
)
from nightshift import Delete, Job, Run, Update
from nightshift.declaration import iso
from nightshift.ledger import RunRecord
from nightshift.steps import Period

DAY = dt.timedelta(days=1)
IDLE = 90 * DAY
REQUEST_LIMIT = 31 * DAY  # 30 days, and one run of the job that carries them out
BACKUP_AGE = 2 * DAY
RESTORE_TEST_AGE = 35 * DAY

RETENTION = (
    refresh_token_cleanup.job,
    email_verification_cleanup.job,
    password_reset_cleanup.job,
    login_attempt_cleanup.job,
    cleanup_invitations.job,
    cleanup_push_tokens.job,
    anonymize_audit_logs.job,
    delete_audit_logs.job,
)
"""The jobs whose rules are proven to hold, by their own declarations."""

AUDIT_RETENTION = (anonymize_audit_logs.job, delete_audit_logs.job, audit_log_cleanup.job)
"""The jobs that must have run."""

END_OF_TIME = dt.datetime(9000, 1, 1, tzinfo=dt.UTC)

QUERIES: Mapping[str, TextClause] = {
    "access": text("""
        with administrator as (
            select mfa_enabled from users
            where role = any(:admin_roles) and is_active and deleted_at is null and anonymized_at is null
                and created_at <= :now
        )
        select jsonb_build_object(
            'privileged_users', (select count(*) from administrator),
            'with_mfa', (select count(*) from administrator where mfa_enabled),
            'changes', (
                select coalesce(jsonb_agg(to_jsonb(counted) order by n desc, action, actor_id), '[]') from (
                    select action, actor_id, count(*) as n from audit_logs
                    where action in ('role.grant', 'role.revoke', 'role.delete',
                            'permission.change', 'permission.delete')
                        and occurred_at >= :start and occurred_at < :end
                    group by action, actor_id
                ) as counted
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


@dataclass(frozen=True)
class Check:
    """Something that must hold. The evidence is what it was judged by."""

    check: str
    passed: bool
    evidence: Mapping[str, Any]


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


def checks(data: Data, month: Period) -> list[Check]:
    """The rules and their verdicts, from the figures alone."""
    access, accounts, requests, backups = (data[name] for name in ("access", "accounts", "data_requests", "backups"))
    without_mfa = access["privileged_users"] - access["with_mfa"]
    broken = [rule for rule in data["retention"]["rules"] if rule["overdue"]]
    runs = {entry["job"]: entry["success"] for entry in data["retention"]["runs"]}
    verified, tested = backups["last_verified_at"], backups["last_restore_test_at"]
    open_alerts = data["alerts"]["open_over_a_day"]
    return [
        Check("every administrator has a second factor", without_mfa == 0, {"without_mfa": without_mfa}),
        Check("no active account is idle for over 90 days", accounts["idle"] == 0, {"idle": accounts["idle"]}),
        Check(
            "no deletion request is overdue",
            requests["deletions_overdue"] == 0,
            {"overdue": requests["deletions_overdue"], "open": requests["deletions_open"]},
        ),
        Check(
            "the retention rules hold",
            not broken,
            {"broken": len(broken), "rows": sum(rule["overdue"] for rule in broken)},
        ),
        Check("the audit log's retention ran", all(runs.values()), runs),
        Check(
            "a backup was verified in the last 2 days",
            verified is not None and verified >= iso(month.end - BACKUP_AGE),
            {"last_verified_at": verified},
        ),
        Check(
            "a restore was tested in the last 35 days",
            tested is not None and tested >= iso(month.end - RESTORE_TEST_AGE),
            {"last_restore_test_at": tested},
        ),
        Check("no critical alert was left open over 24 hours", open_alerts == 0, {"left_open": open_alerts}),
    ]


def retention_rules(session: Session, run: Run, month: Period) -> list[dict[str, Any]]:
    """What each rule's own declaration says about the rows there are, with the parameters that its job last ran with.

    A row counts as overdue when the job has had two periods before the month's end to see to it, and has not.
    """
    found = []
    for job in RETENTION:
        latest = as_last_run(session, run, job)
        ever = replace(latest, scheduled_for=END_OF_TIME)
        then = replace(latest, scheduled_for=month.end - 2 * job.timetable.period(month.end))
        for step in job.steps:
            if isinstance(step, Delete | Update):
                meant = step.subject(session, ever)
                oldest = session.scalar(meant.rows(func.min(meant.age)).where(meant.condition))
                limit = then.now if step.older_than is None else then.ago(step.older_than)
                found.append(
                    {
                        "job": job.name,
                        "step": step.name,
                        "table": step.table_name,
                        "oldest": oldest and iso(oldest),
                        "limit": iso(limit),
                        "overdue": step.subject(session, then).count(session),
                    }
                )
    return found


def as_last_run(session: Session, run: Run, job: Job) -> Run:
    """A run of another job with the parameters that it last succeeded with, or its defaults."""
    last = (
        select(RunRecord.parameters)
        .where(RunRecord.job == job.name, RunRecord.mode == "apply", RunRecord.state == "succeeded")
        .order_by(RunRecord.scheduled_for.desc())
        .limit(1)
    )
    return replace(run, job=job.name, parameters={**job.resolve({}), **(session.scalar(last) or {})})

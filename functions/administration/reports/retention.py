"""Whether the retention jobs' rules hold, told from the jobs' own declarations."""

import datetime as dt
from dataclasses import replace
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from functions.administration import audit_log_cleanup
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

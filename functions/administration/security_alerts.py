"""Look for signs of attack and of misuse: note each as an alert, lock accounts under attack, tell administrators once.

Failed sign-ins by address and account, a sign-in after them, one user at many addresses or in another country, roles of
administrators granted, failed second factors, very busy API keys, deletions, suspicious sessions, failed critical jobs.
A run looks from 30 minutes before the last good run's end on, at most 24 hours back, and counts an event once. What is
new or has become worse is told in one mail to each administrator, the most severe first (super administrators: what is
critical, deletions and suspicious sessions); 24 hours after its last event an alert is resolved. Addresses appear as
pseudonyms. Failed sign-ins from the networks in `nightshift.trusted_networks` are not counted by address.
"""

import datetime as dt
from collections.abc import Sequence
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from application.alerts import Noted, expect_events, note_events, resolve_quiet, tell, would_tell
from functions.administration.security.accounts import count_attacked_accounts, follow_countries, lock_attacked_accounts
from functions.administration.security.rules import RULES, Rule
from nightshift import Function, Job, Run, StepPlan, hours, lambda_handler, minutes
from nightshift.database import by_halves
from nightshift.declaration import Batch, Execution, registry
from nightshift.ledger import RunRecord

WINDOW, LONGEST_LOOK_BACK, QUIET, LOCKED_FOR = minutes(30), hours(24), hours(24), minutes(30)
WORDINGS = {rule.name: rule.wording for rule in RULES}
WIDELY = [rule.name for rule in RULES if rule.to_super_admins]
SORTING_MEMORY = "32MB"  # so that a day's million attempts, after an outage, are sorted in memory


def settled_until(session: Session, run: Run) -> dt.datetime | None:
    """The end of the last good run before this one."""
    same = (RunRecord.job == run.job, RunRecord.mode == "apply", RunRecord.state == "succeeded")
    return session.scalar(select(func.max(RunRecord.scheduled_for)).where(*same, RunRecord.scheduled_for < run.now))


def failed_critical_jobs(session: Session, since: dt.datetime, until: dt.datetime) -> list[str]:
    failed = (RunRecord.state == "failed", RunRecord.finished_at >= since, RunRecord.finished_at < until)
    jobs = session.scalars(select(RunRecord.job).where(*failed).distinct()).all()
    # The registry imports every job: only when there is a question that it can answer.
    return [name for name in jobs if name in registry() and registry()[name].job.critical]


def watched(session: Session, run: Run) -> tuple[dict[str, Any], dict[str, Any]]:
    """The time that a run looks at, and the parameters of the rules. Lets the events be sorted in memory."""
    earliest, settled = run.ago(LONGEST_LOOK_BACK), settled_until(session, run)
    since = run.ago(WINDOW) if settled is None else max(earliest, settled - WINDOW)
    period = {"since": since, "settled": max(since, settled or since), "until": run.now}
    session.execute(select(func.set_config("work_mem", SORTING_MEMORY, True)))
    return period, period | {"critical_jobs": failed_critical_jobs(session, since, run.now)}


def look(batch: Batch, run: Run) -> None:
    """Everything a run does, in one transaction. A rule or an account that the database refuses stops no other."""
    session = batch.session

    def leave(rule: str, error: str) -> None:
        batch.quarantine(f"the rule {rule}", error)

    period, values = watched(session, run)

    def note(rules: Sequence[Rule]) -> Noted:
        (rule,) = rules
        return note_events(session, rule=rule.name, events=rule.events, details=rule.details, values=values)

    def end(rules: Sequence[str]) -> None:
        resolve_quiet(session, rules=rules, quiet_since=run.ago(QUIET), at=run.now)

    for rule in RULES:
        for noted in by_halves(session, [rule], note, lambda rule, error: leave(rule.name, error)):
            batch.count(rules_hit=noted.new + noted.updated > 0, alerts_new=noted.new, alerts_updated=noted.updated)
    locked = lock_attacked_accounts(session, period, locked_until=run.now + LOCKED_FOR, leave=batch.quarantine)
    follow_countries(session, period, leave=batch.quarantine)
    notified = tell(session, run, WORDINGS, to_super_admins=WIDELY, others=True, refused=batch.quarantine)
    by_halves(session, list(WORDINGS), end, leave)
    batch.count(accounts_locked=locked, notified=notified)


def plan(session: Session, run: Run) -> list[StepPlan]:
    """What `look` would do, from the same SELECTs."""
    period, values = watched(session, run)
    expected = [
        each
        for rule in RULES
        for each in expect_events(session, rule=rule.name, events=rule.events, details=rule.details, values=values)
    ]
    alerts = sum(each.new + each.updated for each in expected)
    mails = would_tell(session, run, WORDINGS, expected, to_super_admins=WIDELY, others=True)
    return [
        StepPlan("look", "nightshift.alerts", "note", alerts),
        StepPlan("look", "users", "lock", count_attacked_accounts(session, period)),
        StepPlan("look", "nightshift.notifications", "notify security_alert", mails),
    ]


def apply(execution: Execution) -> None:
    if execution.position is not None:
        return
    with execution.batch() as batch:
        look(batch, execution.run)
        batch.position = {"done": True}


CHANGES = ("alerts_new", "alerts_updated", "accounts_locked", "notified")

job = Job(
    name="security-alerts",
    kind="check",
    schedule="cron(0/15 * * * ? *)",
    critical=True,
    audited=False,
    steps=(
        Function(
            name="look",
            apply=apply,
            plan=plan,
            counters=("rules_hit", *CHANGES),
            changes=CHANGES,
            tables=("nightshift.alerts", "nightshift.notifications", "users", "audit_logs"),
        ),
    ),
)
handler = lambda_handler(job)

"""Mails to the administrators about alerts that nobody has been told of: at first sight, and when they become worse."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Text, and_, case, cast, exists, func, or_, select, update
from sqlalchemy.orm import Session

from nightshift.alerts import SEVERITIES
from nightshift.local_time import live
from nightshift.models import Alert, RunRecord, User
from nightshift.notifications import ADMIN_ROLES, Via, message, write
from nightshift.run import Run

JOB_FAILURE = "job_failure"
"""The rule of the alerts that the ledger raises when a critical job fails for good."""

MAILS_OF_A_RULE = 20
"""So many alerts of one rule are told one by one in one run. More are one mail: an attack from thousands of addresses
must not bury the administrators' letter boxes."""

EMAIL = [Via("email")]


@dataclass(frozen=True)
class Wording:
    """What the notice of a rule says: `title` completes "High: …", `body` is a sentence."""

    title: str
    body: str


def tell(
    session: Session,
    run: Run,
    wordings: Mapping[str, Wording],
    *,
    to_super_admins: Collection[str] = (),
    others: bool = False,
) -> int:
    """Write a mail for each alert of these rules that is to be told, in the caller's transaction. Returns the mails.

    Administrators are told. Super administrators are told of what is critical, of the rules `to_super_admins`, and of
    everything while there is nobody else to tell.

    others: also alerts of all other rules, which some job has raised without telling anybody.
    """
    untold = and_(Alert.notified_at.is_(None), Alert.status != "resolved")
    if not others:
        untold = and_(untold, Alert.rule.in_(wordings))
    counted = select(Alert.rule, func.count()).where(untold).group_by(Alert.rule)
    by_rule: dict[str, int] = dict(session.execute(counted).all())
    if not by_rule:
        return 0
    many = [rule for rule, n in by_rule.items() if n > MAILS_OF_A_RULE and rule != JOB_FAILURE]
    recipient = _recipient(to_super_admins)
    mails = 0
    for kind, found in (
        ("job_failure", _failures().where(Alert.rule == JOB_FAILURE)),
        ("security_alert", _single(wordings).where(Alert.rule.not_in([*many, JOB_FAILURE]))),
        ("security_alert", _summed(run, wordings).where(Alert.rule.in_(many))),
    ):
        mails += write(session, run, kind, found.join(administrator, recipient).where(untold), EMAIL).by_channel[
            "email"
        ]
    told = update(Alert).where(untold, select(administrator.c.id).exists()).values(notified_at=run.now)
    session.execute(told.execution_options(synchronize_session=False))
    return mails


# Read once, however many alerts there are: each is compared with each of these few.
administrator = (
    select(User.id, User.role).where(User.role.in_(ADMIN_ROLES), live).cte("administrator").prefix_with("materialized")
)


def _recipient(to_super_admins: Collection[str]) -> ColumnElement[bool]:
    other = administrator.alias("other")
    an_admin = exists().where(other.c.role == "admin")
    widely = or_(Alert.severity == SEVERITIES[-1], Alert.rule.in_(to_super_admins), ~an_admin)
    return or_(administrator.c.role == "admin", widely)


def _failures() -> Any:
    data = func.jsonb_build_object(
        *("job", RunRecord.job, "run_id", RunRecord.id),
        *("scheduled_for", _instant(RunRecord.scheduled_for), "reason", RunRecord.reason),
    )
    found = message(
        administrator.c.id,
        key=func.concat_ws("|", administrator.c.id, Alert.id, RunRecord.id),
        title="The job " + RunRecord.job + " has failed",
        body="A critical job failed for good; nobody will try it again on its own.",
        data=data,
    )
    return found.select_from(Alert).join(RunRecord, Alert.details["run_id"].astext == cast(RunRecord.id, Text))


def _single(wordings: Mapping[str, Wording]) -> Any:
    subject = func.coalesce(
        Alert.details["subject"].astext, func.substr(Alert.fingerprint, func.length(Alert.rule) + 2)
    )
    data = func.jsonb_build_object(
        *("rule", Alert.rule, "severity", Alert.severity, "subject", subject, "occurrences", Alert.occurrences),
        *("first_seen_at", _instant(Alert.first_seen_at), "last_seen_at", _instant(Alert.last_seen_at)),
    )
    title = func.concat(func.initcap(Alert.severity), ": ", _title(wordings))
    key = func.concat_ws("|", administrator.c.id, Alert.id, Alert.severity)
    return message(administrator.c.id, key=key, title=title, body=_body(wordings), data=data).select_from(Alert)


def _summed(run: Run, wordings: Mapping[str, Wording]) -> Any:
    worst = func.max(func.array_position(list(SEVERITIES), Alert.severity))
    severity = case(dict(enumerate(SEVERITIES, 1)), value=worst)
    number = cast(func.count(), Text)
    data = func.jsonb_build_object(
        *("rule", Alert.rule, "severity", severity, "subject", number + " at once"),
        *("occurrences", func.sum(Alert.occurrences)),
        *("first_seen_at", _instant(func.min(Alert.first_seen_at))),
        *("last_seen_at", _instant(func.max(Alert.last_seen_at))),
    )
    title = func.concat(func.initcap(severity), ": ", _title(wordings), ", ", number, " at once")
    key = func.concat_ws("|", administrator.c.id, Alert.rule, run.now.isoformat())
    found = message(administrator.c.id, key=key, title=title, body=_body(wordings), data=data)
    return found.select_from(Alert).group_by(administrator.c.id, Alert.rule)


def _title(wordings: Mapping[str, Wording]) -> ColumnElement[str]:
    words = func.translate(Alert.rule, "_-", "  ")
    return case({rule: wording.title for rule, wording in wordings.items()}, value=Alert.rule, else_=words)


def _body(wordings: Mapping[str, Wording]) -> ColumnElement[str]:
    bodies = {rule: wording.body for rule, wording in wordings.items()}
    return case(bodies, value=Alert.rule, else_="A job has found something that somebody should look at.")


def _instant(value: Any) -> ColumnElement[str]:
    return func.to_char(func.timezone("UTC", value), 'YYYY-MM-DD"T"HH24:MI:SS"Z"')

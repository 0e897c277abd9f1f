"""Tells administrators about alerts. Each gets one mail about all alerts that are new or have become worse, the most
severe first. Critical jobs that have failed get a separate mail, of another kind."""

import datetime as dt
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    CTE,
    ColumnElement,
    Select,
    Text,
    and_,
    case,
    cast,
    exists,
    func,
    literal,
    or_,
    select,
    true,
    union_all,
    update,
)
from sqlalchemy.dialects.postgresql import JSONB, aggregate_order_by
from sqlalchemy.orm import Session, aliased

from application.alerts.failures import JOB_FAILURE
from application.alerts.sightings import SEVERITIES, Expected, Severity
from application.models import Alert, User
from application.people import ADMIN_ROLES, live
from nightshift.database import Leave
from nightshift.declaration import Run
from nightshift.ledger import RunRecord
from nightshift.outbox import Via, message, pending, write

ALERTS_NAMED = 10
"""How many alerts of one rule a mail names. It counts the rest: an attack from thousands of addresses must not hide
other alerts."""

EMAIL = [Via("email")]


@dataclass(frozen=True)
class Wording:
    """What a notice says about a rule's alerts: `title` completes "High: …", `body` is a sentence."""

    title: str
    body: str

    def data(self, *, severity: Severity, subject: str, note: str | None, at: dt.datetime) -> dict[str, Any]:
        """The data that the templates of a `security_alert` need for one alert of this rule."""
        instant = f"{at:%Y-%m-%dT%H:%M:%SZ}"
        seen = {"occurrences": 1, "first_seen_at": instant, "last_seen_at": instant}
        alert = {"subject": subject, "note": note, **seen}
        return {"rules": [{"title": self.title, "says": self.body, "severity": severity, "n": 1, "alerts": [alert]}]}


def tell(
    session: Session,
    run: Run,
    wordings: Mapping[str, Wording],
    *,
    to_super_admins: Collection[str] = (),
    others: bool = False,
    refused: Leave | None = None,
) -> int:
    """Write each recipient one mail about the alerts of these rules that nobody was told about. Returns how many mails.

    Works in the caller's transaction. These alerts stay locked in it, so that no other job tells them too. One that
    somebody else has locked is not waited for: it is told by them, or by the next run.

    Administrators get all alerts. Super administrators get critical alerts and those of the rules `to_super_admins`; if
    there is no other administrator, they get all.

    others: also include alerts of all other rules, which a job raised without telling anybody.
    refused: told each mail that the database refuses; see `nightshift.outbox.write`. When it refuses all of them, the
        next run tells of the same alerts.
    """
    free = select(Alert.id).where(_untold(Alert, wordings, others)).with_for_update(skip_locked=True)
    if not (locked := session.scalars(free).all()):
        return 0
    untold = Alert.id.in_(locked)
    mails, lost = 0, list[tuple[str, str]]()
    leave = None if refused is None else lambda mail, error: lost.append((mail, error))
    for kind, found in _mails(Alert, untold, wordings, to_super_admins):
        mails += write(session, run, kind, found, EMAIL, refused=leave).by_channel["email"]
    if refused is not None:
        for mail, error in lost:
            refused(mail, error)
    if lost and not mails:
        return 0
    told = update(Alert).where(untold, select(administrator.c.id).exists()).values(notified_at=run.now)
    session.execute(told.execution_options(synchronize_session=False))
    return mails


def would_tell(
    session: Session,
    run: Run,
    wordings: Mapping[str, Wording],
    expected: Iterable[Expected],
    *,
    to_super_admins: Collection[str] = (),
    others: bool = False,
) -> int:
    """How many mails `tell` would write once what is expected has been noted. Reads only."""
    found = union_all(select(Alert.__table__), *(_one_of(each, run) for each in expected if each.details is not None))
    alerts = aliased(Alert, found.subquery())
    untold = _untold(alerts, wordings, others)
    mails = _mails(alerts, untold, wordings, to_super_admins)
    return sum(pending(session, run, found, EMAIL, sample=0)[0] for _, found in mails)


def _one_of(expected: Expected, run: Run) -> Select[Any]:
    """A row as one of the expected alerts would be: of a rule and severity to be told, and told to nobody before."""
    known = {
        "id": func.gen_random_uuid(),
        "rule": expected.rule,
        "fingerprint": f"{expected.rule}:",
        "severity": expected.severity,
        "status": "open",
        "occurrences": 1,
        "details": expected.details,
        "first_seen_at": run.now,
        "last_seen_at": run.now,
    }
    return select(*(cast(known.get(column.name), column.type).label(column.name) for column in Alert.__table__.c))


def _untold(alerts: type[Alert], wordings: Mapping[str, Wording], others: bool) -> ColumnElement[bool]:
    untold = and_(alerts.notified_at.is_(None), alerts.status != "resolved")
    return untold if others else and_(untold, alerts.rule.in_(wordings))


def _mails(
    alerts: type[Alert], untold: ColumnElement[bool], wordings: Mapping[str, Wording], to_super_admins: Collection[str]
) -> tuple[tuple[str, Select[Any]], ...]:
    """The messages of each kind of mail."""
    which = and_(untold, _recipient(alerts, to_super_admins))
    return ((JOB_FAILURE, _failed_jobs(alerts, which)), ("security_alert", _digest(alerts, which, wordings)))


administrator = (
    select(User.id, User.role).where(User.role.in_(ADMIN_ROLES), live).cte("administrator").prefix_with("materialized")
)
# People with the same role get the same text: there is one digest for each role, not for each person.
role = select(administrator.c.role).distinct().cte("role").prefix_with("materialized")


def _recipient(alerts: type[Alert], to_super_admins: Collection[str]) -> ColumnElement[bool]:
    an_admin = exists().where(administrator.c.role == "admin")
    widely = or_(alerts.severity == SEVERITIES[-1], alerts.rule.in_(to_super_admins), ~an_admin)
    return or_(role.c.role == "admin", widely)


def _failed_jobs(alert: type[Alert], which: ColumnElement[bool]) -> Select[Any]:
    """A mail about the critical jobs that have failed, each with its run."""
    job = func.jsonb_build_object(
        *("job", RunRecord.job, "run_id", RunRecord.id),
        *("scheduled_for", _instant(RunRecord.scheduled_for), "reason", RunRecord.reason),
    )
    failed = (
        select(
            role.c.role,
            func.count().label("n"),
            func.min(RunRecord.job).label("job"),
            func.jsonb_agg(aggregate_order_by(job, RunRecord.job)).label("jobs"),
            func.string_agg(cast(RunRecord.id, Text), aggregate_order_by(literal(","), RunRecord.id)).label("ids"),
        )
        .select_from(alert)
        .join(RunRecord, alert.details["run_id"].astext == cast(RunRecord.id, Text))
        .join(role, true())
        .where(which, alert.rule == JOB_FAILURE)
        .group_by(role.c.role)
        .cte("failed")
    )
    one = failed.c.n == 1
    return message(
        administrator.c.id,
        key=_key(JOB_FAILURE, failed.c.ids),
        title=case(
            (one, "The job " + failed.c.job + " has failed"), else_=func.concat(failed.c.n, " jobs have failed")
        ),
        body=case(
            (one, "A critical job failed for good; nobody will try it again on its own."),
            else_="Critical jobs failed for good; nobody will try them again on their own.",
        ),
        data=func.jsonb_build_object("jobs", failed.c.jobs),
    ).join(failed, failed.c.role == administrator.c.role)


def _digest(alert: type[Alert], which: ColumnElement[bool], wordings: Mapping[str, Wording]) -> Select[Any]:
    """A mail about all other alerts, rule by rule, the most severe first."""
    rank = func.array_position(list(SEVERITIES), alert.severity)
    place = func.row_number().over(
        partition_by=(role.c.role, alert.rule), order_by=(rank.desc(), alert.last_seen_at.desc(), alert.id)
    )
    told = (
        select(alert, role.c.role, rank.label("rank"), place.label("place"))
        .join(role, true())
        .where(which, alert.rule != JOB_FAILURE)
        .cte("told")
    )
    rules, alerts = _rules(told, wordings), told.c
    of_each = [func.count().filter(alerts.severity == severity) for severity in reversed(SEVERITIES)]
    counted = (
        select(
            alerts.role,
            func.count().label("n"),
            func.concat_ws(
                ", ",
                *(
                    case((n > 0, func.concat(n, " ", name)))
                    for n, name in zip(of_each, reversed(SEVERITIES), strict=True)
                ),
            ).label("severities"),
            func.string_agg(func.concat(alerts.id, alerts.severity), aggregate_order_by(literal(","), alerts.id)).label(
                "ids"
            ),
        )
        .group_by(alerts.role)
        .cte("counted")
    )
    listed = (
        select(
            rules.c.role,
            func.jsonb_agg(aggregate_order_by(rules.c.rule, rules.c.rank.desc(), rules.c.name), type_=JSONB).label(
                "rules"
            ),
        )
        .group_by(rules.c.role)
        .cte("listed")
    )
    worst, n = listed.c.rules[0], counted.c.n
    return (
        message(
            administrator.c.id,
            key=_key("alerts", counted.c.ids),
            title=func.concat(
                func.initcap(worst["severity"].astext),
                ": ",
                worst["title"].astext,
                case((n > 1, func.concat(", and ", n - 1, " more"))),
            ),
            body=func.concat(
                n,
                case((n == 1, " alert is new or has become worse: "), else_=" alerts are new or have become worse: "),
                counted.c.severities,
                ".",
            ),
            data=func.jsonb_build_object("rules", listed.c.rules),
        )
        .join(counted, counted.c.role == administrator.c.role)
        .join(listed, listed.c.role == administrator.c.role)
    )


def _rules(told: CTE, wordings: Mapping[str, Wording]) -> CTE:
    """The alerts of each role and rule as one JSON object, with the first of them by name."""
    alerts = told.c
    alert = func.jsonb_build_object(
        "subject",
        func.coalesce(alerts.details["subject"].astext, func.substr(alerts.fingerprint, func.length(alerts.rule) + 2)),
        "note",
        func.coalesce(alerts.details["note"].astext, alerts.details["reason"].astext),
        *("occurrences", alerts.occurrences),
        *("first_seen_at", _instant(alerts.first_seen_at), "last_seen_at", _instant(alerts.last_seen_at)),
    )
    named = func.jsonb_agg(aggregate_order_by(alert, alerts.place)).filter(alerts.place <= ALERTS_NAMED)
    words = func.translate(alerts.rule, "_-", "  ")
    titles = {rule: wording.title for rule, wording in wordings.items()}
    bodies = {rule: wording.body for rule, wording in wordings.items()}
    worst = func.max(alerts.rank)
    facts = func.jsonb_build_object(
        *("title", case(titles, value=alerts.rule, else_=words)),
        *("says", case(bodies, value=alerts.rule, else_="A job has found something that somebody should look at.")),
        *("severity", case(dict(enumerate(SEVERITIES, 1)), value=worst)),
        *("n", func.count(), "alerts", named),
    )
    rules = select(alerts.role, alerts.rule.label("name"), worst.label("rank"), facts.label("rule"))
    return rules.group_by(alerts.role, alerts.rule).cte("rules")


def _key(what: str, ids: ColumnElement[str]) -> ColumnElement[str]:
    """The key of the mail: no run tells the same person the same alerts twice, unless one has become worse."""
    return func.concat_ws("|", administrator.c.id, what, func.md5(ids))


def _instant(value: Any) -> ColumnElement[str]:
    return func.to_char(func.timezone("UTC", value), 'YYYY-MM-DD"T"HH24:MI:SS"Z"')

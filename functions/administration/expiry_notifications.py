"""Tell owners and administrators of what expires in 30, 14, 7, 3, 1 and 0 days, or has expired, each step once.

Passwords, API keys, certificates, licences, subscriptions and trials, as the view of expiring credentials lists them.
The days left are rounded up; a day without a run jumps to the next step. After the expiry it is told daily for a week,
then on days 14, 21, 28 and so on, until it is renewed or closed. The instant of expiry is part of what is told once,
so a renewal starts over. The owner gets a mail for each, and every administrator one with all that are new to them,
of which the mail names the first.
"""

import datetime as dt
from typing import Any

from sqlalchemy import ColumnElement, Integer, Select, Text, case, cast, exists, func, literal, select
from sqlalchemy.dialects.postgresql import JSONB, aggregate_order_by

from application.models import User, expiring_credentials
from application.people import ADMIN_ROLES
from nightshift import Job, Run, days, lambda_handler
from nightshift.outbox import Notification, People, Via, message, named
from nightshift.steps import Message, Notify

KIND = "credential_expiry"
FIRST_STEP = 30
NAMES = {"api_key": "API key", "license": "licence"}
SEEN_IN_DIGESTS = days(2 * FIRST_STEP)  # no step of one expiry lasts longer

BEGINNING = dt.datetime(1, 1, 1, tzinfo=dt.UTC)
"""What expired before it, like -infinity, counts from here: of an infinite time no days can be told."""

credential = expiring_credentials.c


def steps(run: Run) -> Select[Any]:
    """Every credential that has reached a step at which it is told: `days` left, its `step`, its `key`."""
    expires_at = func.greatest(credential.expires_at, BEGINNING, type_=credential.expires_at.type)
    left = cast(func.ceil(func.extract("epoch", expires_at - run.now) / 86_400), Integer)
    others = (each for each in credential if each is not credential.expires_at)
    listed = select(*others, expires_at.label("expires_at"), left.label("days")).where(
        credential.expires_at <= run.now + days(FIRST_STEP)
    )
    found = listed.subquery("listed").c
    step = case(
        (found.days > 14, FIRST_STEP),
        (found.days > 7, 14),
        (found.days > 3, 7),
        (found.days > 1, 3),
        (found.days >= -7, found.days),
        (found.days % 7 == 0, found.days),
    )
    instant = func.to_char(func.timezone("UTC", found.expires_at), 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')
    key = func.concat_ws("|", found.kind, found.subject_id, instant, step)
    return select(*found, key.label("key")).where(step.is_not(None))


def items(run: Run, people: People) -> Select[Any]:
    return steps(run)


def expired(run: Run, people: People) -> Select[Any]:
    found = steps(run).subquery("item")
    return select(found).where(found.c.expires_at <= run.now)


def in_words(kind: ColumnElement[str]) -> ColumnElement[str]:
    return case(NAMES, value=kind, else_=kind)


def facts(item: Any) -> ColumnElement[Any]:
    """One item as the mail's template shows it."""
    expires_on = func.to_char(func.timezone("UTC", item.expires_at), "YYYY-MM-DD")
    return func.jsonb_build_object(
        "kind", in_words(item.kind), "label", item.label, "expires_on", expires_on, "days", item.days, "key", item.key
    )


def to_administrators(run: Run, people: People) -> Select[Any]:
    item = steps(run).subquery("item").c
    this_item = func.jsonb_build_object("items", func.jsonb_build_array(func.jsonb_build_object("key", item.key)))
    known = exists().where(
        Notification.recipient == cast(User.id, Text),
        Notification.created_at >= run.ago(SEEN_IN_DIGESTS),
        Notification.kind == KIND,
        Notification.data.contains(this_item),
    )
    n, order = func.count(), (item.expires_at, item.key)
    all_expired, any_expired = func.bool_and(item.days <= 0), func.bool_or(item.days <= 0)
    one = case((all_expired, "1 credential has expired"), else_="1 credential expires soon")
    several = case(
        (all_expired, " credentials have expired"),
        (any_expired, " credentials expire soon or have expired"),
        else_=" credentials expire soon",
    )
    return (
        message(
            User.id,
            key=func.concat_ws("|", User.id, KIND, cast(literal(run.now.isoformat()), Text)),
            title=case((n == 1, one), else_=cast(n, Text) + several),
            body=named(item.label, *order),
            data=func.jsonb_build_object("items", func.jsonb_agg(aggregate_order_by(facts(item), *order))),
        )
        .join(item.key.table, literal(True))
        .where(User.role.in_(ADMIN_ROLES), ~known)
        .group_by(User.id)
    )


def to_owners(run: Run, people: People) -> Select[Any]:
    item = steps(run).subquery("item").c
    what = case((item.kind == "api_key", "An "), else_="A ") + in_words(item.kind)
    number = func.abs(item.days)
    length = cast(number, Text) + case((number == 1, " day"), else_=" days")
    when = case(
        (item.days > 0, " expires in " + length),
        (item.days == 0, " expired less than a day ago"),
        else_=" expired " + length + " ago",
    )
    data = func.jsonb_build_object("items", cast(func.jsonb_build_array(facts(item)), JSONB))
    return message(item.owner_user_id, key=item.key, title=what + when, body=item.label, data=data)


job = Job(
    name="expiry-notifications",
    kind="notification",
    schedule="cron(0 9 * * ? *)",
    audited=False,
    steps=(
        Notify(
            counting={"items": items, "expired": expired},
            messages=(
                Message(kind=KIND, to=to_administrators, via=(Via("email", counter="notified"),)),
                Message(kind=KIND, to=to_owners, via=(Via("email", counter="notified"),)),
            ),
        ),
    ),
)
handler = lambda_handler(job)

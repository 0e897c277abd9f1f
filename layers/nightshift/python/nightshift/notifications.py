"""The outbox: what people are told is first a row, written with the facts it tells, and sent by the dispatcher.

How a job tells somebody something, in increasing order of freedom:

1. **A `Notify` step** (nightshift.steps.notify), for whole groups of people, by their own clocks if need be.
2. **`write(session, message(…), via=…, …)`** inside a batch of a `Function` step: one statement for all recipients.

       found = message(User.id, key=…, title=…, body=…, data=…).where(User.role.in_(ADMIN_ROLES))
       written = write(batch.session, execution.run, "security_alert", found, [Via("email")])
       batch.count(notified=written.by_channel["email"])

3. **`tell_operators(session, …)`** for the operators' channel, which no user owns.

All three hold for everybody:

- A row is unique by `dedupe_key`, the message's key and `|<channel>`. The key names what is told and for which period;
  the same notice a second time is no row and no error.
- Inactive, deleted and anonymised users get nothing.
- Preferences: only an explicit false blocks. A missing row or a key that is not asked for allows. A channel that the
  user has switched off (`email_enabled`, `push_enabled`) gets no row, and a push needs a token.
- Quiet hours move `scheduled_for` to their end, in the user's zone. A mail that is held up into them is put off too.
- A job function cannot send: it has no permission to. Only the dispatcher has (nightshift.dispatch).
"""

import datetime as dt
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import (
    ColumnElement,
    Date,
    Select,
    Subquery,
    Text,
    Time,
    and_,
    case,
    cast,
    column,
    exists,
    func,
    literal,
    or_,
    select,
    true,
    values,
)
from sqlalchemy.dialects.postgresql import JSONB, insert
from sqlalchemy.orm import InstrumentedAttribute, Session

from nightshift.errors import DeclarationError
from nightshift.local_time import People, at_zone, everybody, everybody_at
from nightshift.models.identity import PushToken, UserPreferences
from nightshift.models.operations import Notification
from nightshift.run import Run

Channel = Literal["in_app", "email", "push", "ops"]

ADMIN_ROLES = ("admin", "super_admin")
"""The roles whose users are told as administrators."""


@dataclass(frozen=True)
class Kind:
    """A kind of notice. Its mail is made from the templates `<name>.html` and `<name>.txt`."""

    name: str
    duty: bool = False
    """Told to people in office: neither the daily cap of mails nor an unsubscribe link is for these."""


KINDS: Mapping[str, Kind] = {
    kind.name: kind
    for kind in (
        Kind("goal_deadline"),
        Kind("goal_planning"),
        Kind("productivity_nudge"),
        Kind("weekly_review"),
        Kind("inactive_user"),
        Kind("break_reminder"),
        Kind("monthly_report"),
        Kind("daily_admin_report", duty=True),
        Kind("weekly_admin_report", duty=True),
        Kind("monthly_admin_report", duty=True),
        Kind("credential_expiry", duty=True),
        Kind("security_alert", duty=True),
        Kind("job_failure", duty=True),
    )
}
"""Every kind there is. What the templates of each expect in `data` shows `templates/samples.json`."""


@dataclass(frozen=True)
class Via:
    """One channel of a message: the preference that may block it, and what its rows are counted as."""

    channel: Channel
    preference: InstrumentedAttribute[bool] | None = None
    counter: str | None = None


@dataclass(frozen=True)
class Written:
    """What became of one message: people it concerned, rows by channel, and what preferences kept from being one."""

    matched: int
    suppressed: int
    zone_errors: int
    by_channel: Counter[str]


def check_kind(kind: str) -> str:
    """The kind, if there is one.

    Raises:
        DeclarationError: there is none of this name.
    """
    if kind not in KINDS:
        raise DeclarationError(f"no kind of notice {kind!r}; KINDS in nightshift.notifications has {', '.join(KINDS)}")
    return kind


def message(user_id: Any, *, key: Any, title: Any, body: Any, data: Any = None) -> Select[Any]:
    """The SELECT that says who is told what, one row a message. Add `.where(…)`, `.join(…)` as needed.

    key: unique for what is told and the period, without the channel: `<user>|weekly|2026-03-01`.
    title: the mail's subject and the notice's heading. No line breaks.
    body: one or two sentences, for channels without templates.
    data: a JSON object for the templates.
    """
    return select(
        _as(user_id, None).label("user_id"),
        _as(key, Text).label("key"),
        _as(title, Text).label("title"),
        _as(body, Text).label("body"),
        (_as(data, JSONB) if data is not None else cast(literal("{}", Text), JSONB)).label("data"),
    )


def write(
    session: Session,
    run: Run,
    kind: str,
    messages: Select[Any],
    via: Sequence[Via],
    *,
    people: People | None = None,
) -> Written:
    """Write the rows of a SELECT made with `message`, in the caller's transaction, in one statement.

    `people` narrows the recipients down, see nightshift.local_time; without it every live user may be one.
    """
    offers = _offers(messages, via, everybody(run) if people is None else people, run).cte("offer")
    wanted = select(
        offers.c.user_id,
        offers.c.channel,
        literal(check_kind(kind), Text),
        offers.c.title,
        offers.c.body,
        offers.c.data,
        offers.c.dedupe_key,
        offers.c.scheduled_for,
        literal(run.now),
    ).where(offers.c.allowed)
    names = ("user_id", "channel", "kind", "title", "body", "data", "dedupe_key", "scheduled_for", "created_at")
    rows = insert(Notification).from_select(names, wanted).on_conflict_do_nothing(index_elements=["dedupe_key"])
    written = rows.returning(Notification.channel).cte("written")
    counts = select(
        select(func.count(offers.c.key.distinct())).scalar_subquery(),
        select(func.count()).where(offers.c.allowed.is_(False)).select_from(offers).scalar_subquery(),
        select(func.count(offers.c.user_id.distinct())).where(~offers.c.zone_known).scalar_subquery(),
        *(select(func.count()).where(written.c.channel == one.channel).scalar_subquery() for one in via),
    )
    matched, suppressed, zone_errors, *by_channel = session.execute(counts).one()
    return Written(
        matched,
        suppressed,
        zone_errors,
        Counter(dict(zip((one.channel for one in via), by_channel, strict=True))),
    )


def pending(
    session: Session, run: Run, messages: Select[Any], via: Sequence[Via], people: People | None = None, sample: int = 5
) -> tuple[int, tuple[str, ...]]:
    """How many rows `write` would write now, and a few of their keys."""
    offers = _offers(messages, via, everybody(run) if people is None else people, run).cte("offer")
    known = exists().where(Notification.dedupe_key == offers.c.dedupe_key)
    keys = select(offers.c.dedupe_key).where(offers.c.allowed, ~known).distinct().cte("key")
    rows = session.scalar(select(func.count()).select_from(keys)) or 0
    return rows, tuple(session.scalars(select(keys.c.dedupe_key).order_by(keys.c.dedupe_key).limit(sample)))


def tell_operators(
    session: Session, run: Run, kind: str, *, key: str, title: str, body: str, data: Mapping[str, Any]
) -> bool:
    """Write one row for the operators' channel, in the caller's transaction. False: they know already."""
    row = {
        "channel": "ops",
        "kind": check_kind(kind),
        "title": title,
        "body": body,
        "data": dict(data),
        "dedupe_key": f"{key}|ops",
        "scheduled_for": run.now,
        "created_at": run.now,
    }
    added = insert(Notification).values(row).on_conflict_do_nothing(index_elements=["dedupe_key"])
    return session.execute(added.returning(Notification.id)).first() is not None


def end_of_quiet_hours(session: Session, user_id: Any, now: dt.datetime) -> dt.datetime | None:
    """When the quiet hours end that an instant falls into for a user; None: into none."""
    people = everybody_at(now)
    placed = (
        select(_scheduled_for(people, now))
        .select_from(people)
        .join(UserPreferences, UserPreferences.user_id == people.c.user_id)
        .where(people.c.user_id == user_id)
    )
    until = session.scalar(placed)
    return until if until is not None and until > now else None


def _offers(messages: Select[Any], via: Iterable[Via], people: People, run: Run) -> Select[Any]:
    """Every message by every channel, with whether the recipient allows it and when it may come."""
    found = messages.subquery("message")
    preferences = UserPreferences
    channels = values(column("channel", Text), name="via").data([(one.channel,) for one in via])
    allowed = case(
        *((channels.c.channel == one.channel, _allowed(one)) for one in via),
        else_=true(),
    )
    has_token = exists().where(PushToken.user_id == people.c.user_id)
    return (
        select(
            people.c.user_id,
            people.c.zone_known,
            found.c.key,
            found.c.title,
            found.c.body,
            found.c.data,
            channels.c.channel,
            (found.c.key + "|" + channels.c.channel).label("dedupe_key"),
            _scheduled_for(people, run.now).label("scheduled_for"),
            allowed.label("allowed"),
        )
        .select_from(found)
        .join(people, people.c.user_id == found.c.user_id)
        .outerjoin(preferences, preferences.user_id == people.c.user_id)
        .join(channels, or_(channels.c.channel != "push", has_token))
    )


def _allowed(via: Via) -> ColumnElement[bool]:
    switches: dict[str, ColumnElement[bool]] = {
        "email": func.coalesce(UserPreferences.email_enabled, True),
        "push": func.coalesce(UserPreferences.push_enabled, True),
    }
    preference = [] if via.preference is None else [func.coalesce(via.preference, True)]
    return and_(true(), *preference, switches.get(via.channel, true()))


def _scheduled_for(people: Subquery, now: dt.datetime) -> ColumnElement[dt.datetime]:
    """Now, or the end of the quiet hours that it falls into. They may run over midnight; from = to means none."""
    start, end = UserPreferences.quiet_start, UserPreferences.quiet_end
    clock, today = cast(people.c.local_now, Time), cast(people.c.local_now, Date)
    overnight = start > end
    quiet = case((overnight, or_(clock >= start, clock < end)), else_=and_(clock >= start, clock < end))
    last_day = today + case((and_(overnight, clock >= start), 1), else_=0)
    return case((quiet, at_zone(people.c.zone, last_day + end)), else_=literal(now))


def _as(value: Any, kind: Any) -> ColumnElement[Any]:
    """A column as it is, and a Python value as one of the given type."""
    if isinstance(value, ColumnElement | InstrumentedAttribute):
        return value.expression if isinstance(value, InstrumentedAttribute) else value
    return literal(value) if kind is None else literal(value, kind)

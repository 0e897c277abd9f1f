"""Writes notices into the outbox, in the transaction of the rows that they are about. The dispatcher sends them.

A job has three ways to tell people something:

1. **A `Notify` step** (nightshift.steps.notify), for groups of people, at their local time if needed.
2. **`write(session, message(…), via=…, …)`** inside a batch of a `Function` step: one statement for all recipients.

       found = message(Person.id, key=…, title=…, body=…, data=…).where(Person.on_call)
       told = write(
           batch.session, execution.run, "security_alert", found, [Via("email")], refused=batch.quarantine
       )
       batch.count(notified=told.by_channel["email"])

3. **`tell_operators(session, …)`** for the operators' channel, which belongs to no person.

The same rules hold for all notices:

- A row is unique by `dedupe_key`: the message's key, then `|<channel>`. The key names what is told and for which
  period. Writing the same notice again adds no row and is no error.
- Only people that the project lists get anything (`Project.people`), by the channels that reach them.
- Preferences: only an explicit false in `wants` blocks a notice, under the name of the channel or of the preference.
- Quiet hours move `scheduled_for` to their end, in the person's zone. A mail that was delayed into them waits, too.
- A job function has no permission to send. Only the dispatcher has it (nightshift.outbox.dispatcher).
"""

import datetime as dt
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    ARRAY,
    CTE,
    Boolean,
    ColumnElement,
    Date,
    FromClause,
    Select,
    Subquery,
    Text,
    Time,
    and_,
    any_,
    case,
    cast,
    column,
    exists,
    func,
    literal,
    or_,
    select,
    true,
    type_coerce,
    values,
)
from sqlalchemy.dialects.postgresql import JSONB, Insert, aggregate_order_by, insert
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import InstrumentedAttribute, Session

from nightshift.database import Leave, by_halves, describe, is_locked, is_row_error, savepoint, waiting_briefly
from nightshift.declaration import Run
from nightshift.declaration.fields import choices, must_be, must_be_one_of, must_be_snake
from nightshift.errors import printable
from nightshift.outbox.kinds import OPERATORS, Channel, check_kind
from nightshift.outbox.local_time import at_zone
from nightshift.outbox.people import People, as_recipient, everybody, everybody_at
from nightshift.outbox.tables import Notification


@dataclass(frozen=True)
class Via:
    """One channel of a message: the preference in `wants` that may block it, and what its rows are counted as.

    Raises:
        DeclarationError: when a field holds something else.
    """

    channel: Channel
    preference: str | None = None
    counter: str | None = None

    def __post_init__(self) -> None:
        must_be_one_of("via: channel", self.channel, choices(Channel))
        preference = self.preference is None or isinstance(self.preference, str)
        must_be(preference, "via: preference", "a text or None", self.preference)
        if self.counter is not None:
            must_be_snake("via: counter", self.counter)


@dataclass(frozen=True)
class Written:
    """What was written: people with a message, rows by channel, and how many rows preferences blocked."""

    matched: int
    suppressed: int
    zone_errors: int
    by_channel: Counter[str]

    @classmethod
    def of(cls, parts: Iterable["Written"]) -> "Written":
        """The sum."""
        total = cls(0, 0, 0, Counter())
        for part in parts:
            total = cls(
                total.matched + part.matched,
                total.suppressed + part.suppressed,
                total.zone_errors + part.zone_errors,
                total.by_channel + part.by_channel,
            )
        return total


def message(recipient: Any, *, key: Any, title: Any, body: Any, data: Any = None) -> Select[Any]:
    """A SELECT of who is told what, one row for each message. Add `.where(…)`, `.join(…)` as needed.

    recipient: the person's key, as in the project's people.
    key: unique for what is told and the period, without the channel: `<person>|weekly|2026-03-01`.
    title: the mail's subject and the notice's heading. No line breaks.
    body: one or two sentences, for channels without templates. Of many rows it names a few, see `named`.
    data: a JSON object for the templates. A mail shows the first entries of its lists, and how many more there are.
    """
    return select(
        _as(recipient, None).label("recipient"),
        _as(key, Text).label("key"),
        _as(title, Text).label("title"),
        _as(body, Text).label("body"),
        (_as(data, JSONB) if data is not None else cast(literal("{}", Text), JSONB)).label("data"),
    )


NAMED = 10
"""How many rows a body names."""


def named(label: Any, *order_by: Any) -> ColumnElement[str]:
    """The first labels of a group, and how many more there are: a body that does not grow with the rows it is about."""
    labels = func.array_agg(aggregate_order_by(label, *order_by), type_=ARRAY(Text))
    n = func.count()
    rest = case((n > NAMED, func.concat(" and ", n - NAMED, " more")), else_="")
    return func.array_to_string(labels[1:NAMED], ", ") + rest


def write(
    session: Session,
    run: Run,
    kind: str,
    messages: Select[Any],
    via: Sequence[Via],
    *,
    people: People | None = None,
    refused: Leave | None = None,
) -> Written:
    """Write the rows of a SELECT made with `message`, in the caller's transaction, in one statement.

    people: limits the recipients, see nightshift.outbox.people. Without it everybody can be a recipient.
    refused: told each notice that the database refuses, each person about whom the SELECT fails, and each whose account
        somebody else has locked, where notices refer to accounts; with the error: `batch.quarantine`, mostly. All
        others get theirs. Without it, one such row is an error, and nothing is written.
    """
    found = _Found(messages, via, everybody(run) if people is None else people, run)
    if refused is None:
        return _write(session, run, kind, found.offers(), via)
    alone: list[Written] = []

    def some(recipients: Sequence[str]) -> Written:
        return _write(session, run, kind, found.offers(recipients), via)

    def leave(recipient: str, error: str) -> None:
        alone.append(_write_each(session, run, kind, found.offers((recipient,)), via, recipient, refused))

    def locked(recipient: str) -> None:
        refused(f"{kind}:{recipient}", IN_USE)

    try:
        with savepoint(session):
            return some(())
    except DBAPIError as error:
        if not (is_row_error(error) or is_locked(error)):
            raise
        waited_for = is_locked(error)
    with waiting_briefly(session) if waited_for else nullcontext():
        parts = by_halves(session, found.recipients(session), some, leave, locked)
    return Written.of([*parts, *alone])


IN_USE = "somebody else has the account locked"


def _write(session: Session, run: Run, kind: str, found: Select[Any], via: Sequence[Via]) -> Written:
    offers = found.cte("offer")
    written = _insert(run, kind, offers).returning(Notification.channel).cte("written")
    by_channel = (select(func.count()).where(written.c.channel == one.channel).scalar_subquery() for one in via)
    return _written(session.execute(select(*_counts(offers), *by_channel)).one(), via)


def _write_each(
    session: Session, run: Run, kind: str, found: Select[Any], via: Sequence[Via], recipient: str, refused: Leave
) -> Written:
    """One person's notices, each by itself."""
    offers = found.cte("offer")
    written: Counter[str] = Counter()
    try:
        with session.begin_nested():
            counts = session.execute(select(*_counts(offers))).one()
            keys = session.scalars(select(offers.c.dedupe_key).where(offers.c.allowed).distinct()).all()
    except DBAPIError as error:
        if not is_row_error(error):
            raise
        refused(f"{kind}:{recipient}", describe(error))
        return Written(0, 0, 0, written)

    def insert_one(part: Sequence[str | None]) -> Sequence[str]:
        one = offers.c.dedupe_key.is_not_distinct_from(part[0])
        return session.scalars(_insert(run, kind, offers, one).returning(Notification.channel)).all()

    def leave(key: str | None, error: str) -> None:
        refused(f"nightshift.notifications:{key or recipient}", error)

    for key in keys:
        for channels in by_halves(session, [key], insert_one, leave, lambda key: leave(key, IN_USE)):
            written.update(channels)
    return _written((*counts, *(written[one.channel] for one in via)), via)


def _insert(run: Run, kind: str, offers: CTE, *which: ColumnElement[bool]) -> Insert:
    wanted = select(
        cast(offers.c.recipient, Text),
        offers.c.channel,
        literal(check_kind(kind), Text),
        offers.c.title,
        offers.c.body,
        offers.c.data,
        offers.c.dedupe_key,
        offers.c.scheduled_for,
        literal(run.now),
    ).where(offers.c.allowed, *which)
    names = ("recipient", "channel", "kind", "title", "body", "data", "dedupe_key", "scheduled_for", "created_at")
    return insert(Notification).from_select(names, wanted).on_conflict_do_nothing(index_elements=["dedupe_key"])


def _counts(offers: CTE) -> tuple[ColumnElement[int], ...]:
    """People with a message, rows that preferences block, and people whose zone is unknown."""
    return (
        select(func.count(offers.c.key.distinct())).scalar_subquery(),
        select(func.count()).where(offers.c.allowed.is_(False)).select_from(offers).scalar_subquery(),
        select(func.count(offers.c.recipient.distinct())).where(~offers.c.zone_known).scalar_subquery(),
    )


def _written(counts: Sequence[int], via: Sequence[Via]) -> Written:
    matched, suppressed, zone_errors, *by_channel = counts
    channels = (one.channel for one in via)
    return Written(matched, suppressed, zone_errors, Counter(dict(zip(channels, by_channel, strict=True))))


def pending(
    session: Session, run: Run, messages: Select[Any], via: Sequence[Via], people: People | None = None, sample: int = 5
) -> tuple[int, tuple[str, ...]]:
    """How many rows `write` would write now, and a few of their keys."""
    offers = _Found(messages, via, everybody(run) if people is None else people, run).offers().cte("offer")
    known = exists().where(Notification.dedupe_key == offers.c.dedupe_key)
    keys = select(offers.c.dedupe_key).where(offers.c.allowed, ~known).distinct().cte("key")
    rows = session.scalar(select(func.count()).select_from(keys)) or 0
    return rows, tuple(session.scalars(select(keys.c.dedupe_key).order_by(keys.c.dedupe_key).limit(sample)))


def tell_operators(
    session: Session,
    run: Run,
    kind: str = OPERATORS,
    *,
    key: str,
    title: str,
    body: str,
    data: Mapping[str, Any] | None = None,
) -> bool:
    """Write one row for the operators' channel, in the caller's transaction. False: this notice exists already.

    kind: without one, the library's own: the title, the body, and the data as a list.
    title, body, data: may hold the text of an error: its lines are kept as `nightshift.errors.printable` makes them.

    Raises:
        DeclarationError: no kind has this name.
    """
    row = {
        "channel": "ops",
        "kind": check_kind(kind),
        "title": printable(title),
        "body": _kept(body),
        "data": _kept(dict(data or {})),
        "dedupe_key": f"{key}|ops",
        "scheduled_for": run.now,
        "created_at": run.now,
    }
    added = insert(Notification).values(row).on_conflict_do_nothing(index_elements=["dedupe_key"])
    return session.execute(added.returning(Notification.id)).first() is not None


def _kept(value: Any) -> Any:
    """A text, or every text in an object or a list, line by line as it can be stored."""
    if isinstance(value, str):
        return "\n".join(map(printable, value.splitlines()))
    if isinstance(value, Mapping):
        return {printable(str(key)): _kept(inner) for key, inner in value.items()}
    return [_kept(inner) for inner in value] if isinstance(value, list | tuple) else value


def end_of_quiet_hours(session: Session, recipient: str, now: dt.datetime) -> dt.datetime | None:
    """When the person's quiet hours end, if the instant is inside them; otherwise None."""
    people = everybody_at(now)
    placed = select(_scheduled_for(people, now)).where(people.c.recipient == as_recipient(people, recipient))
    until = session.scalar(placed)
    return until if until is not None and until > now else None


class _Found:
    """Messages, and the people and channels to which they go."""

    def __init__(self, messages: Select[Any], via: Iterable[Via], people: People, run: Run) -> None:
        self._messages, self._people, self._via, self._run = messages.subquery("message"), people, tuple(via), run

    def offers(self, recipients: Sequence[str] = ()) -> Select[Any]:
        """Every message by every channel, with whether the recipient allows it and when it may be sent.

        recipients: only those from the first to the last, in their order.
        """
        found, people, via = self._messages, self._people, self._via
        channels = values(column("channel", Text), name="via").data([(one.channel,) for one in via])
        allowed = case(
            *((channels.c.channel == one.channel, _allowed(people, one)) for one in via),
            else_=true(),
        )
        # Said of both sides: what a message is made of is then computed for these people alone.
        only = [
            side.c.recipient.between(as_recipient(people, recipients[0]), as_recipient(people, recipients[-1]))
            for side in (found, people)
            if recipients
        ]
        return (
            select(
                people.c.recipient,
                people.c.zone_known,
                found.c.key,
                found.c.title,
                found.c.body,
                found.c.data,
                channels.c.channel,
                (found.c.key + "|" + channels.c.channel).label("dedupe_key"),
                _scheduled_for(people, self._run.now).label("scheduled_for"),
                allowed.label("allowed"),
            )
            .select_from(found)
            .join(people, people.c.recipient == found.c.recipient)
            .join(channels, channels.c.channel == any_(people.c.channels))
            .where(*only)
        )

    def recipients(self, session: Session) -> Sequence[str]:
        """Who gets something, in order. Where that cannot be told because of one of them: everybody."""
        try:
            with session.begin_nested():
                return _persons(session, self.offers().subquery())
        except DBAPIError as error:
            if not is_row_error(error):
                raise
        return _persons(session, self._people)


def _persons(session: Session, source: FromClause) -> Sequence[str]:
    person = source.c.recipient
    return session.scalars(select(cast(person, Text)).group_by(person).order_by(person)).all()


def _allowed(people: Subquery, via: Via) -> ColumnElement[bool]:
    """Whether neither the channel nor the preference is switched off."""
    wants = type_coerce(people.c.wants, JSONB)
    return and_(
        *(func.coalesce(cast(wants[name].astext, Boolean), True) for name in (via.channel, via.preference) if name)
    )


def _scheduled_for(people: Subquery, now: dt.datetime) -> ColumnElement[dt.datetime]:
    """Now, or the end of the quiet hours around it. They may span midnight; equal start and end mean none."""
    start, end = people.c.quiet_start, people.c.quiet_end
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

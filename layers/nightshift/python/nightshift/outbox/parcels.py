"""The rows of the outbox while they are sent: claimed, settled, put back or put off."""

import datetime as dt
import json
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from sqlalchemy import ColumnElement, Text, and_, cast, exists, func, or_, select, true, update
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from nightshift import telemetry
from nightshift.database import by_halves, describe, still_answers
from nightshift.database.apart import BRIEFLY, MOST_TROUBLES, each_for_itself
from nightshift.database.failures import is_passing, is_row_error
from nightshift.database.halving import OF_THE_JOB
from nightshift.database.transaction import transaction
from nightshift.deadline import Deadline
from nightshift.declaration import this_project
from nightshift.errors import printable
from nightshift.outbox.kinds import Channel, Kind, notice_kinds, of_duty
from nightshift.outbox.notices import end_of_quiet_hours
from nightshift.outbox.people import person
from nightshift.outbox.tables import Notification

LEASE = dt.timedelta(minutes=5)
"""How long a claimed row waits for its sender. Longer than the dispatcher's function can run, so the sender is dead."""

FIRST_RETRY = dt.timedelta(minutes=1)

MOST_TRIES = 8
"""Tries within about two hours, because each pause is twice the last. A later notice is not worth sending."""

DAY = dt.timedelta(days=1)

AT_ONCE = 1_000
"""How many rows one transaction changes that need no sending."""

MOST_COUNTED = 2**31 - 1
"""Tries, as the column can hold them."""

PROMPT = dt.timedelta(minutes=5)
"""Up to this age a row is on time. An older one was delayed, perhaps into quiet hours."""


@dataclass(frozen=True)
class Parcel:
    """A claimed row, with the recipient's current name and address."""

    id: Any
    channel: str
    kind: str
    title: str
    body: str
    data: dict[str, Any]
    attempts: int
    name: str | None
    address: str | None
    unsubscribe_url: str | None = None

    @property
    def duty(self) -> bool:
        return self.kind in of_duty()


@dataclass
class Left:
    """The rows that a round leaves as they are: it could not change them. The next round tries them again."""

    keys: list[uuid.UUID] = field(default_factory=list)
    cause: Exception | None = None
    """The first error that is no row's. It may be that of all rows, so the round ends with it."""
    _troubles: int = 0

    def note(self, key: uuid.UUID, reason: str, cause: Exception | None) -> None:
        """Raises:
        Exception: the cause, after so many in succession that it is that of all.
        """
        self.keys.append(key)
        telemetry.error("notification.left", cause, notification=str(key), reason=reason)
        if cause is None or (isinstance(cause, DBAPIError) and is_row_error(cause)):
            return
        self.cause = self.cause or cause
        self._troubles += 1
        if self._troubles >= MOST_TROUBLES:
            raise cause

    def went_well(self) -> None:
        self._troubles = 0


def claim(session: Session, which: ColumnElement[bool], daily_cap: int, left: Left) -> Parcel | str | None:
    """Claim the next of these rows that is due. Returns it, or the status that it got without sending, or None.

    left: what this round does not try any more. A row that cannot be claimed is noted there, and is `left`.
    """
    row, key = Notification, None
    due = (
        select(row.id)
        .where(row.status == "pending", which, row.scheduled_for <= func.clock_timestamp(), row.id.not_in(left.keys))
        .order_by(row.scheduled_for, row.id)
        .limit(1)
        .with_for_update(skip_locked=True)
    )
    try:
        with transaction(session, settings=BRIEFLY):
            key = session.scalar(due)
            if key is None:
                return None
            claimed = _claim(session, key, daily_cap)
    except Exception as cause:
        # Of the database, of a trigger, or the project's own: whatever it is, the next one's turn comes.
        if key is None or isinstance(cause, OF_THE_JOB) or not still_answers(session):
            raise
        left.note(key, describe(cause), cause)
        return "left"
    if claimed is None:
        left.note(key, KEPT, None)
        return "left"
    left.went_well()
    return claimed


KEPT = "a trigger or a rule of the database kept it as it was"


def _claim(session: Session, key: uuid.UUID, daily_cap: int) -> Parcel | str | None:
    """The same of one row. None: the database has kept it as it was."""
    row = Notification
    taken = (
        update(row)
        .where(row.id == key)
        .values(
            status="sending",
            claimed_at=func.clock_timestamp(),
            attempts=func.least(row.attempts, MOST_COUNTED - 1) + 1,
            error=None,
        )
        .returning(
            row.id,
            row.channel,
            row.recipient,
            row.kind,
            row.title,
            row.body,
            cast(row.data, Text).label("data"),  # the driver may not be able to read it
            row.attempts,
            row.created_at,
            func.clock_timestamp().label("now"),
        )
        .execution_options(synchronize_session=False)
    )
    claimed = session.execute(taken).one_or_none()
    if claimed is None:
        return None
    facts = claimed._asdict()
    recipient, created_at, at = facts.pop("recipient"), facts.pop("created_at"), facts.pop("now")
    data = facts.pop("data")
    parcel = Parcel(**facts, data={}, name=None, address=None)
    try:
        parcel = replace(parcel, data=json.loads(data))
    except (ValueError, RecursionError) as error:
        return _set(session, parcel, "failed", f"nobody can read its data: {describe(error)}")
    if parcel.channel == "ops":
        return parcel
    answers: list[Parcel | str] = []

    def look_up(parcels: Sequence[Parcel]) -> None:
        answers.append(_addressed(session, parcels[0], recipient, created_at, at, daily_cap))

    # A recipient about whom nothing can be read must not be the last that the dispatcher comes to.
    try:
        by_halves(session, [parcel], look_up, lambda one, error: answers.append(_set(session, one, "failed", error)))
    except (OSError, *OF_THE_JOB):
        raise
    except Exception as cause:  # the project's own code: whatever it raises, the next one's turn comes
        if isinstance(cause, DBAPIError) and not is_passing(cause):
            raise
        telemetry.error("recipient.not_looked_up", cause, notification=str(parcel.id), reason=describe(cause))
        answers.append(_try_later(session, parcel, describe(cause)))
    return answers[0]


def _addressed(
    session: Session, parcel: Parcel, recipient: str, created_at: dt.datetime, at: dt.datetime, daily_cap: int
) -> Parcel | str:
    """The parcel with the recipient's name and address, or the status that it got without sending."""
    if this_project().people() is None:
        return _set(session, parcel, "suppressed", "the project provides no people any more (Project.people)")
    found = person(session, recipient)
    if found is None:
        return _set(session, parcel, "suppressed", "the recipient is not among the project's people any more")
    if found.wants.get("email") is False:
        return _set(session, parcel, "suppressed", "the recipient has switched mails off")
    if found.has_quiet_hours and at - created_at > PROMPT:
        until = end_of_quiet_hours(session, recipient, at)
        if until is not None:
            return _put_off(session, parcel, until)
    if not parcel.duty and _mails_of_the_day(session, recipient, parcel) >= daily_cap:
        return _set(session, parcel, "suppressed", f"the recipient has had {daily_cap} mails within 24 hours")
    return Parcel(
        **{**vars(parcel), "name": found.name, "address": found.address, "unsubscribe_url": found.unsubscribe_url}
    )


def _try_later(session: Session, parcel: Parcel, reason: str) -> str:
    """Make a row due later that was certainly not sent; at its last try it has failed."""
    if parcel.attempts >= MOST_TRIES:
        return _set(session, parcel, "failed", f"not sent in {parcel.attempts} tries: {reason}")
    mine = update(Notification).where(Notification.id == parcel.id)
    session.execute(mine.values(**_due_later(parcel), error=reason))
    return "put_back"


def _due_later(parcel: Parcel) -> dict[str, Any]:
    """Each pause is twice the last."""
    later = func.clock_timestamp() + FIRST_RETRY * 2 ** max(0, min(parcel.attempts, MOST_TRIES) - 1)
    return {"status": "pending", "claimed_at": None, "scheduled_for": later}


def _mails_of_the_day(session: Session, recipient: str, parcel: Parcel) -> int:
    row = Notification
    ordinary = and_(row.channel == "email", row.kind.not_in(of_duty()), row.id != parcel.id)
    sent = row.status.in_(("sending", "sent", "unknown"))
    recent = row.claimed_at > func.clock_timestamp() - DAY
    return session.scalar(select(func.count()).where(row.recipient == recipient, ordinary, sent, recent)) or 0


MARKING = {"lock_timeout": "2s"}
"""Settings of the transaction that marks what was handed over. Who is given up on there is not sent again."""


def settle(session: Session, parcel: Parcel, status: str, error: str | None = None) -> str:
    error = error and printable(error)
    with transaction(session, settings=MARKING):
        _set(session, parcel, status, error)
    log = telemetry.log if status == "sent" else telemetry.warn
    log(f"notification.{status}", notification=str(parcel.id), kind=parcel.kind, channel=parcel.channel, reason=error)
    return status


def _set(session: Session, parcel: Parcel, status: str, error: str | None) -> str:
    # A sender that was believed dead may still report the result.
    mine = update(Notification).where(Notification.id == parcel.id, Notification.status.in_(("sending", "unknown")))
    sent_at = func.clock_timestamp() if status == "sent" else None
    session.execute(mine.values(status=status, error=error, sent_at=sent_at))
    return status


def put_back(session: Session, parcel: Parcel, reason: str, *, counted: bool) -> None:
    """Make a row pending again that was certainly not sent: due at once after throttling, otherwise later each time."""
    reason = printable(reason)
    values: dict[str, Any] = {"error": reason}
    if counted:
        values |= _due_later(parcel)
    else:
        values |= {"status": "pending", "claimed_at": None, "attempts": Notification.attempts - 1}
    with transaction(session, settings=MARKING):
        session.execute(
            update(Notification).where(Notification.id == parcel.id, Notification.status == "sending").values(values)
        )
    telemetry.warn("notification.put_back", notification=str(parcel.id), channel=parcel.channel, reason=reason)


def _put_off(session: Session, parcel: Parcel, until: dt.datetime) -> str:
    """Make a row that was delayed into quiet hours due at their end."""
    later = {"status": "pending", "claimed_at": None, "attempts": Notification.attempts - 1, "scheduled_for": until}
    session.execute(update(Notification).where(Notification.id == parcel.id).values(later))
    return "put_off"


HELD = "held by the sandbox of SES"
"""How the error of a mail begins that waits for the account to leave the sandbox."""

HELD_FOR = dt.timedelta(minutes=30)
"""How long such a mail is left alone, while the account is in the sandbox."""


def hold(session: Session, parcel: Parcel, reason: str) -> str:
    """Make a row pending again that the sandbox refused. It stays due, and its tries are not counted."""
    reason = printable(f"{HELD}: {reason}")
    values = {"status": "pending", "attempts": Notification.attempts - 1, "error": reason}  # claimed_at: the last try
    with transaction(session, settings=MARKING):
        session.execute(
            update(Notification).where(Notification.id == parcel.id, Notification.status == "sending").values(values)
        )
    return "held"


def not_held() -> ColumnElement[bool]:
    """While the account is in the sandbox: what it has not refused within the last half hour."""
    row = Notification
    return or_(row.claimed_at.is_(None), row.claimed_at < func.clock_timestamp() - HELD_FOR)


def suppress_late(session: Session, left: Left, deadline: Deadline, *, sandbox: bool) -> int:
    """Suppress mails that the sandbox has held up past their late limit, in it and after it. Returns how many."""
    row, limits = Notification, {kind.name: kind.late_hours for kind in notice_kinds().values()}
    held = true() if sandbox else func.coalesce(row.error, "").startswith(HELD)
    suppressed = 0
    for hours in sorted({*limits.values(), Kind.late_hours}):
        others = [name for name, its in limits.items() if its != hours]
        late = and_(
            row.status == "pending",
            row.channel == "email",
            row.kind.not_in(others),
            row.scheduled_for < func.clock_timestamp() - dt.timedelta(hours=hours),
            held,
        )
        reason = f"the account was in the sandbox of SES until it was {hours} h late"
        suppressed += len(_change(session, late, {"status": "suppressed", "error": reason}, left, deadline))
    if suppressed:
        telemetry.warn("notifications.suppressed", count=suppressed, reason="too late when the sandbox of SES let go")
    return suppressed


def give_up_on_the_lost(session: Session, left: Left, deadline: Deadline) -> int:
    """Mark rows as unknown whose sender died between claiming and marking. Returns how many.

    Of a row that does not say when it was claimed, it counts when it was due; a claim of tomorrow was never made.
    """
    row = Notification
    claimed_at, now = func.coalesce(row.claimed_at, row.scheduled_for), func.clock_timestamp()
    lost = and_(row.status == "sending", or_(claimed_at < now - LEASE, claimed_at > now + LEASE))
    told = {"status": "unknown", "error": "the sender died before it got an answer: it may have been sent"}
    found = _change(session, lost, told, left, deadline)
    for key in found:
        telemetry.warn("notification.unknown", notification=str(key), reason="the sender died before it got an answer")
    return len(found)


def release_in_app(session: Session, left: Left, deadline: Deadline) -> int:
    row = Notification
    due = and_(row.status == "pending", row.channel == "in_app", row.scheduled_for <= func.clock_timestamp())
    return len(_change(session, due, {"status": "sent", "sent_at": func.clock_timestamp()}, left, deadline))


def _change(
    session: Session, which: ColumnElement[bool], values: dict[str, Any], left: Left, deadline: Deadline
) -> list[uuid.UUID]:
    """Change these rows, each apart from the others, until all are or the end is near. Returns which were changed.

    A row that somebody else holds has its turn in a later round, as one that cannot be changed.
    """
    row = Notification
    changed: list[uuid.UUID] = []
    while True:
        found = select(row.id).where(which, row.id.not_in(left.keys)).order_by(row.scheduled_for).limit(AT_ONCE)
        done: set[uuid.UUID] = set()
        refused: dict[uuid.UUID, tuple[str, DBAPIError | None]] = {}

        def change(keys: Sequence[uuid.UUID], done: set[uuid.UUID] = done) -> None:
            these = update(row).where(row.id.in_(keys)).values(values).returning(row.id)
            done.update(session.scalars(these.execution_options(synchronize_session=False)))

        def leave(
            key: uuid.UUID, reason: str, cause: DBAPIError | None, refused: dict[uuid.UUID, Any] = refused
        ) -> None:
            refused[key] = reason, cause

        with transaction(session, settings=BRIEFLY):
            keys = session.scalars(found.with_for_update(skip_locked=True)).all()
            each_for_itself(session, keys, change, leave)
        changed += done
        if done:
            left.went_well()
        for key in keys:
            if key not in done:
                left.note(key, *refused.get(key, (KEPT, None)))
        if len(keys) < AT_ONCE or deadline.near:
            return changed


def anything_due(session: Session, channel: Channel) -> bool:
    row = Notification
    due = exists().where(row.status == "pending", row.channel == channel, row.scheduled_for <= func.clock_timestamp())
    with session.begin():
        return bool(session.scalar(select(due)))


def failed_lately(session: Session, channel: Channel) -> bool:
    """Whether a row of the channel waits that was tried in vain."""
    row = Notification
    tried = exists().where(row.status == "pending", row.channel == channel, row.attempts > 0)
    with session.begin():
        return bool(session.scalar(select(tried)))

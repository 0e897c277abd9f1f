"""The rows of the outbox while they are sent: claimed, settled, put back or put off."""

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, and_, exists, func, or_, select, true, update
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from nightshift import telemetry
from nightshift.database import by_halves, describe
from nightshift.database.failures import is_passing
from nightshift.database.halving import OF_THE_JOB
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


def claim(session: Session, which: ColumnElement[bool], daily_cap: int) -> Parcel | str | None:
    """Claim the next of these rows that is due. Returns it, or the status that it got without sending, or None."""
    row, now = Notification, func.clock_timestamp().label("now")
    due = (
        select(row.id)
        .where(row.status == "pending", which, row.scheduled_for <= func.clock_timestamp())
        .order_by(row.scheduled_for, row.id)
        .limit(1)
        .with_for_update(skip_locked=True)
    )
    taken = (
        update(row)
        .where(row.id == due.scalar_subquery())
        .values(status="sending", claimed_at=func.clock_timestamp(), attempts=row.attempts + 1, error=None)
        .returning(
            row.id,
            row.channel,
            row.recipient,
            row.kind,
            row.title,
            row.body,
            row.data,
            row.attempts,
            row.created_at,
            now,
        )
        .execution_options(synchronize_session=False)
    )
    with session.begin():
        claimed = session.execute(taken).one_or_none()
        if claimed is None:
            return None
        facts = claimed._asdict()
        recipient, created_at, at = facts.pop("recipient"), facts.pop("created_at"), facts.pop("now")
        parcel = Parcel(**facts, name=None, address=None)
        if parcel.channel == "ops":
            return parcel
        answers: list[Parcel | str] = []

        def look_up(parcels: Sequence[Parcel]) -> None:
            answers.append(_addressed(session, parcels[0], recipient, created_at, at, daily_cap))

        # A recipient about whom nothing can be read must not be the last that the dispatcher comes to.
        try:
            by_halves(
                session, [parcel], look_up, lambda one, error: answers.append(_set(session, one, "failed", error))
            )
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
    if found.quiet_start is not None and at - created_at > PROMPT:
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
    later = func.clock_timestamp() + FIRST_RETRY * 2 ** (parcel.attempts - 1)
    return {"status": "pending", "claimed_at": None, "scheduled_for": later}


def _mails_of_the_day(session: Session, recipient: str, parcel: Parcel) -> int:
    row = Notification
    ordinary = and_(row.channel == "email", row.kind.not_in(of_duty()), row.id != parcel.id)
    sent = row.status.in_(("sending", "sent", "unknown"))
    recent = row.claimed_at > func.clock_timestamp() - DAY
    return session.scalar(select(func.count()).where(row.recipient == recipient, ordinary, sent, recent)) or 0


def settle(session: Session, parcel: Parcel, status: str, error: str | None = None) -> str:
    error = error and printable(error)
    with session.begin():
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
    with session.begin():
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
    with session.begin():
        session.execute(
            update(Notification).where(Notification.id == parcel.id, Notification.status == "sending").values(values)
        )
    return "held"


def not_held() -> ColumnElement[bool]:
    """While the account is in the sandbox: what it has not refused within the last half hour."""
    row = Notification
    return or_(row.claimed_at.is_(None), row.claimed_at < func.clock_timestamp() - HELD_FOR)


def suppress_late(session: Session, *, sandbox: bool) -> int:
    """Suppress mails that the sandbox has held up past their late limit, in it and after it. Returns how many."""
    row, limits = Notification, {kind.name: kind.late_hours for kind in notice_kinds().values()}
    held = true() if sandbox else func.coalesce(row.error, "").startswith(HELD)
    suppressed = 0
    for hours in sorted({*limits.values(), Kind.late_hours}):
        others = [name for name, its in limits.items() if its != hours]
        late = update(row).where(
            row.status == "pending",
            row.channel == "email",
            row.kind.not_in(others),
            row.scheduled_for < func.clock_timestamp() - dt.timedelta(hours=hours),
            held,
        )
        reason = f"the account was in the sandbox of SES until it was {hours} h late"
        with session.begin():
            done = session.execute(late.values(status="suppressed", error=reason).returning(row.id)).all()
        suppressed += len(done)
    if suppressed:
        telemetry.warn("notifications.suppressed", count=suppressed, reason="too late when the sandbox of SES let go")
    return suppressed


def give_up_on_the_lost(session: Session) -> int:
    """Mark rows as unknown whose sender died between claiming and marking. Returns how many."""
    row = Notification
    lost = update(row).where(row.status == "sending", row.claimed_at < func.clock_timestamp() - LEASE)
    lost = lost.values(status="unknown", error="the sender died before it got an answer: it may have been sent")
    with session.begin():
        found = session.execute(lost.returning(row.id)).scalars().all()
    for key in found:
        telemetry.warn("notification.unknown", notification=str(key), reason="the sender died before it got an answer")
    return len(found)


def release_in_app(session: Session) -> int:
    row = Notification
    due = update(row).where(
        row.status == "pending", row.channel == "in_app", row.scheduled_for <= func.clock_timestamp()
    )
    with session.begin():
        done = session.execute(
            due.values(status="sent", sent_at=func.clock_timestamp()).execution_options(synchronize_session=False)
        )
    return done.rowcount  # type: ignore[attr-defined, no-any-return]


def anything_due(session: Session, channel: Channel) -> bool:
    row = Notification
    due = exists().where(row.status == "pending", row.channel == channel, row.scheduled_for <= func.clock_timestamp())
    with session.begin():
        return bool(session.scalar(select(due)))

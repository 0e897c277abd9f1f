"""From the outbox to the world: each row is claimed, sent, and marked, and never sent twice.

A row goes pending → sending → sent, in two transactions with the sending between them. Whoever dies in between leaves
`sending`, which after a while is called `unknown`: it may have been sent, so it is not sent again on its own, and is
counted for somebody to look at. Rows are claimed one by one, so that a death leaves one such row, and with SKIP LOCKED,
so that two dispatchers never take the same.

What becomes of the channels: `email` goes to SES, `ops` to SNS. `in_app` rows are `sent` as soon as they are due, which
is what the application shows, with `read_at` its own to write. `push` rows stay `pending`: the application, which has
the keys of the push services, claims and marks them the same way.
"""

import datetime as dt
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import and_, exists, func, select, update
from sqlalchemy.orm import Session

from nightshift import telemetry
from nightshift.execution import Deadline
from nightshift.local_time import live
from nightshift.mail import UnsendableError, check_address, render
from nightshift.models.identity import User
from nightshift.models.operations import Notification
from nightshift.notifications import KINDS, Channel
from nightshift.outlets import NotSent, Outlets, Refused, Throttled, Unclear
from nightshift.parameters import Parameter

MAILS_A_DAY = Parameter("mails_a_day", 10, "items", about="ordinary mails that one user may get within 24 hours")

LEASE = dt.timedelta(minutes=5)
"""After this long a claimed row's sender is dead: longer than the dispatcher's function can live."""

MOST_TRIES = 5
FIRST_RETRY = dt.timedelta(minutes=1)
LONGEST_PAUSE_SECONDS = 30.0

DAY = dt.timedelta(days=1)

Wait = Callable[[float], None]


@dataclass(frozen=True)
class Parcel:
    """A claimed row with its recipient as they are now."""

    id: Any
    channel: str
    kind: str
    title: str
    body: str
    data: dict[str, Any]
    attempts: int
    name: str | None
    address: str | None

    @property
    def duty(self) -> bool:
        return KINDS[self.kind].duty


@dataclass
class _Pace:
    """Not more mails a second than the account may send, and ever longer pauses while it is throttled."""

    per_second: float
    left: int | None
    throttled: int = 0

    @property
    def pause(self) -> float:
        return min(LONGEST_PAUSE_SECONDS, 2.0**self.throttled if self.throttled else 1 / self.per_second)


def dispatch(
    session: Session, outlets: Outlets, deadline: Deadline, *, daily_cap: int, wait: Wait = time.sleep
) -> Counter[str]:
    """Send what is due until nothing is, the quota is used up, or the deadline is near.

    Returns how many rows became sent, failed, suppressed, unknown or released (in_app), and how many were put back.
    daily_cap: mails to one user within 24 hours, above which ordinary kinds are suppressed; kinds of duty always pass.
    """
    counts: Counter[str] = Counter(unknown=_give_up_on_the_lost(session), released=_release_in_app(session))
    if outlets.operators_topic:
        counts += _send_all(session, outlets, "ops", deadline, _Pace(10, None), daily_cap, wait)
    if _anything_due(session, "email"):
        if outlets.sender:
            counts += _send_mails(session, outlets, deadline, daily_cap, wait)
        else:
            telemetry.warn("mails.unsent", reason="no sender is set: give nightshift.sender and deploy again")
    telemetry.measure(MailsSent=counts["sent"], MailsFailed=counts["failed"], MailsUnknown=counts["unknown"])
    return +counts


def _send_mails(session: Session, outlets: Outlets, deadline: Deadline, daily_cap: int, wait: Wait) -> Counter[str]:
    try:
        allowance = outlets.allowance()
    except (NotSent, Unclear) as cause:
        telemetry.error("quota.unknown", reason=str(cause))
        return Counter()
    if allowance.left == 0:
        telemetry.warn("quota.used_up", reason="the account may send no more mails today; they wait")
    pace = _Pace(allowance.per_second, allowance.left)
    return _send_all(session, outlets, "email", deadline, pace, daily_cap, wait)


def _send_all(
    session: Session, outlets: Outlets, channel: Channel, deadline: Deadline, pace: _Pace, daily_cap: int, wait: Wait
) -> Counter[str]:
    counts: Counter[str] = Counter()
    while pace.left != 0 and not deadline.near:
        claimed = _claim(session, channel, daily_cap)
        if claimed is None:
            break
        if isinstance(claimed, str):
            counts[claimed] += 1
            continue
        counts[_send(session, outlets, claimed, pace)] += 1
        if pace.pause > deadline.remaining - deadline.reserve:
            break
        wait(pace.pause)
    return counts


def _send(session: Session, outlets: Outlets, parcel: Parcel, pace: _Pace) -> str:
    """Send one claimed row and note what came of it. Returns its new status; `put_back` when it is pending again."""
    try:
        _hand_over(outlets, parcel)
    except Throttled as cause:
        pace.throttled += 1
        _put_back(session, parcel, str(cause), counted=False)
        return "put_back"
    except NotSent as cause:
        if parcel.attempts >= MOST_TRIES:
            return _settle(session, parcel, "failed", f"not sent in {parcel.attempts} tries: {cause}")
        _put_back(session, parcel, str(cause), counted=True)
        return "put_back"
    except (Refused, UnsendableError) as cause:
        return _settle(session, parcel, "failed", str(cause))
    except Unclear as cause:
        return _settle(session, parcel, "unknown", f"no clear answer: {cause}")
    pace.throttled = 0
    if pace.left is not None:
        pace.left -= 1
    return _settle(session, parcel, "sent")


def _hand_over(outlets: Outlets, parcel: Parcel) -> None:
    mail = render(
        parcel.kind,
        title=parcel.title,
        body=parcel.body,
        data=parcel.data,
        name=parcel.name,
        preferences_url=outlets.preferences_url,
    )
    if parcel.channel == "ops":
        outlets.publish(mail)
    else:
        outlets.mail(check_address(parcel.address or ""), mail, unsubscribe=not parcel.duty)


def _claim(session: Session, channel: Channel, daily_cap: int) -> Parcel | str | None:
    """The next row that is due, committed as `sending`; or the status it got without sending; or None."""
    row = Notification
    due = (
        select(row.id)
        .where(row.status == "pending", row.channel == channel, row.scheduled_for <= func.clock_timestamp())
        .order_by(row.scheduled_for, row.id)
        .limit(1)
        .with_for_update(skip_locked=True)
    )
    taken = (
        update(row)
        .where(row.id == due.scalar_subquery())
        .values(status="sending", claimed_at=func.clock_timestamp(), attempts=row.attempts + 1, error=None)
        .returning(row.id, row.user_id, row.kind, row.title, row.body, row.data, row.attempts)
        .execution_options(synchronize_session=False)
    )
    with session.begin():
        claimed = session.execute(taken).one_or_none()
        if claimed is None:
            return None
        facts = claimed._asdict()
        user_id = facts.pop("user_id")
        parcel = Parcel(**facts, channel=channel, name=None, address=None)
        if channel == "ops":
            return parcel
        user = session.execute(
            select(User.name, User.email, live.label("live")).where(User.id == user_id)
        ).one_or_none()
        if user is None or not user.live:
            return _set(session, parcel, "suppressed", "the recipient is no longer an active user")
        if not parcel.duty and _mails_of_the_day(session, user_id, parcel) >= daily_cap:
            return _set(session, parcel, "suppressed", f"the recipient has had {daily_cap} mails within 24 hours")
    return Parcel(**{**vars(parcel), "name": user.name, "address": user.email})


def _mails_of_the_day(session: Session, user_id: Any, parcel: Parcel) -> int:
    row = Notification
    of_duty = [kind.name for kind in KINDS.values() if kind.duty]
    ordinary = and_(row.channel == "email", row.kind.not_in(of_duty), row.id != parcel.id)
    sent = row.status.in_(("sending", "sent", "unknown"))
    recent = row.claimed_at > func.clock_timestamp() - DAY
    return session.scalar(select(func.count()).where(row.user_id == user_id, ordinary, sent, recent)) or 0


def _settle(session: Session, parcel: Parcel, status: str, error: str | None = None) -> str:
    with session.begin():
        _set(session, parcel, status, error)
    log = telemetry.log if status == "sent" else telemetry.warn
    log(f"notification.{status}", notification=str(parcel.id), kind=parcel.kind, channel=parcel.channel, reason=error)
    return status


def _set(session: Session, parcel: Parcel, status: str, error: str | None) -> str:
    # A sender that was believed dead may still tell how it went.
    mine = update(Notification).where(Notification.id == parcel.id, Notification.status.in_(("sending", "unknown")))
    sent_at = func.clock_timestamp() if status == "sent" else None
    session.execute(mine.values(status=status, error=error, sent_at=sent_at))
    return status


def _put_back(session: Session, parcel: Parcel, reason: str, *, counted: bool) -> None:
    """Make a row pending again that was surely not sent: at once when throttled, else later each time."""
    values: dict[str, Any] = {"status": "pending", "claimed_at": None, "error": reason}
    if counted:
        values["scheduled_for"] = func.clock_timestamp() + FIRST_RETRY * 2 ** (parcel.attempts - 1)
    else:
        values["attempts"] = Notification.attempts - 1
    with session.begin():
        session.execute(
            update(Notification).where(Notification.id == parcel.id, Notification.status == "sending").values(values)
        )
    telemetry.warn("notification.put_back", notification=str(parcel.id), channel=parcel.channel, reason=reason)


def _give_up_on_the_lost(session: Session) -> int:
    """Rows whose sender died between claiming and marking."""
    row = Notification
    lost = update(row).where(row.status == "sending", row.claimed_at < func.clock_timestamp() - LEASE)
    lost = lost.values(status="unknown", error="the sender ended without a word: it may have been sent")
    with session.begin():
        found = session.execute(lost.returning(row.id)).scalars().all()
    for key in found:
        telemetry.warn("notification.unknown", notification=str(key), reason="the sender ended without a word")
    return len(found)


def _release_in_app(session: Session) -> int:
    row = Notification
    due = update(row).where(
        row.status == "pending", row.channel == "in_app", row.scheduled_for <= func.clock_timestamp()
    )
    with session.begin():
        done = session.execute(
            due.values(status="sent", sent_at=func.clock_timestamp()).execution_options(synchronize_session=False)
        )
    return done.rowcount  # type: ignore[attr-defined, no-any-return]


def _anything_due(session: Session, channel: Channel) -> bool:
    row = Notification
    due = exists().where(row.status == "pending", row.channel == channel, row.scheduled_for <= func.clock_timestamp())
    with session.begin():
        return bool(session.scalar(select(due)))

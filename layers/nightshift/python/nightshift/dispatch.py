"""From the outbox to the world: each row is claimed, sent, and marked, and never sent twice.

A row goes pending → sending → sent, in two transactions with the sending between them. Whoever dies in between leaves
`sending`, which after a while is called `unknown`: it may have been sent, so it is not sent again on its own, and is
counted for somebody to look at. Rows are claimed one by one, as each may be sent, so that a death leaves only those in
the air, and with SKIP LOCKED, so that two dispatchers never take the same.

An answer takes longer than the account's rate lets the next one wait, so several are in the air at once: threads wait
for the answers, and this one alone speaks with the database.

What becomes of the channels: `email` goes to SES, `ops` to SNS. `in_app` rows are `sent` as soon as they are due, which
is what the application shows, with `read_at` its own to write. `push` rows stay `pending`: the application, which has
the keys of the push services, claims and marks them the same way.
"""

import datetime as dt
import math
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor
from concurrent.futures import wait as wait_for
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, and_, exists, func, select, update
from sqlalchemy.orm import Session

from nightshift import telemetry
from nightshift.errors import DeclarationError
from nightshift.execution import Deadline
from nightshift.local_time import live
from nightshift.mail import UnsendableError, check_address, render
from nightshift.models.identity import User, UserPreferences
from nightshift.models.operations import Notification
from nightshift.notifications import KINDS, Channel, end_of_quiet_hours
from nightshift.outlets import CALLS_AT_ONCE, NotSent, Outlets, Refused, Throttled, Unclear
from nightshift.parameters import Parameter

MAILS_A_DAY = Parameter("mails_a_day", 10, "items", about="ordinary mails that one user may get within 24 hours")

LEASE = dt.timedelta(minutes=5)
"""After this long a claimed row's sender is dead: longer than the dispatcher's function can live."""

MOST_TRIES = 8
"""Within two hours, as each pause is twice the last: what is later than that is not worth telling."""

FIRST_RETRY = dt.timedelta(minutes=1)
LONGEST_PAUSE_SECONDS = 30.0

DAY = dt.timedelta(days=1)

PROMPT = dt.timedelta(minutes=5)
"""Up to this age a row is sent when its job meant it to be. An older one was held up, perhaps into quiet hours."""

OF_DUTY = [kind.name for kind in KINDS.values() if kind.duty]
"""Kinds that go out first, whatever the recipient's preferences and however many mails they have had."""

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
        return self.kind in OF_DUTY


Flights = dict[Future[None], tuple[Parcel, int]]
"""What is in the air: a claimed row, and how many times in a row the account was throttled when it was sent."""


@dataclass
class _Pace:
    """When the next may be sent: not more a second than the account may, and ever longer pauses while it is throttled.

    Its clock is what remains of the invocation.
    """

    deadline: Deadline
    per_second: float
    left: int | None = None
    at_once: int = 1
    throttled: int = 0

    def __post_init__(self) -> None:
        self.next_at = self.deadline.remaining

    def pause(self, in_the_air: int) -> float | None:
        """Seconds until the next may be sent; infinite while an answer must come first; None: not by this invocation.

        While the account is throttled, one at a time is tried.
        """
        if self.left == 0 or self.deadline.near:
            return None
        if in_the_air and (self.throttled or in_the_air == self.at_once or in_the_air == self.left):
            return math.inf
        pause = max(0.0, self.deadline.remaining - self.next_at)
        return pause if pause <= self.deadline.remaining - self.deadline.reserve else None

    def began(self) -> int:
        """One is being sent. Returns how many times in a row the account has been throttled before."""
        # Turns keep their distance also when one is a little late; a longer delay is not made up for.
        self.next_at = min(self.next_at - 1 / self.per_second, self.deadline.remaining)
        return self.throttled

    def throttle(self, before: int) -> None:
        self.throttled = max(self.throttled, before + 1)  # once, for all that were in the air together
        self.next_at = self.deadline.remaining - min(LONGEST_PAUSE_SECONDS, 2.0**self.throttled)

    def succeed(self, before: int) -> None:
        if before == self.throttled:
            self.throttled = 0
        if self.left is not None:
            self.left -= 1


def dispatch(
    session: Session, outlets: Outlets, deadline: Deadline, *, daily_cap: int, wait: Wait = time.sleep
) -> Counter[str]:
    """Send what is due until nothing is, the quota is used up, or the deadline is near.

    Returns how many rows became sent, failed, suppressed, unknown or released (in_app), and how many were put back or
    put off. daily_cap: mails to one user within 24 hours, above which ordinary kinds are suppressed; kinds of duty
    always pass.
    """
    counts: Counter[str] = Counter(unknown=_give_up_on_the_lost(session), released=_release_in_app(session))
    if outlets.operators_topic:
        ops = Notification.channel == "ops"
        counts += _send_all(session, outlets, ops, _Pace(deadline, per_second=10), daily_cap, wait)
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
    # As many as are begun in a second: an answer seldom takes that long.
    at_once = min(CALLS_AT_ONCE, math.ceil(allowance.per_second))
    pace = _Pace(deadline, allowance.per_second, allowance.left, at_once)
    # What somebody has to know does not queue behind what thousands are glad to know.
    counts: Counter[str] = Counter()
    for of_duty in (Notification.kind.in_(OF_DUTY), Notification.kind.not_in(OF_DUTY)):
        counts += _send_all(session, outlets, and_(Notification.channel == "email", of_duty), pace, daily_cap, wait)
    return counts


def _send_all(
    session: Session, outlets: Outlets, which: ColumnElement[bool], pace: _Pace, daily_cap: int, wait: Wait
) -> Counter[str]:
    counts: Counter[str] = Counter()
    flights: Flights = {}
    with ThreadPoolExecutor(pace.at_once) as threads, _landing(session, flights, pace, counts) as land:
        while (pause := pace.pause(len(flights))) is not None:
            if flights and land(pause):
                continue  # an answer may have changed the pace
            if pause:
                if not flights:
                    wait(pause)
                continue
            claimed = _claim(session, which, daily_cap)
            if isinstance(claimed, Parcel):
                flights[threads.submit(_hand_over, outlets, claimed)] = claimed, pace.began()
            elif claimed is not None:
                counts[claimed] += 1
            elif flights:
                land(math.inf)  # it may be put back, and be due again
            else:
                break
    return counts


@contextmanager
def _landing(
    session: Session, flights: Flights, pace: _Pace, counts: Counter[str]
) -> Iterator[Callable[[float], bool]]:
    """What marks the rows that are answered, and waits so many seconds for the first if none is; whether any was.

    At the end all land. An error that is no answer is raised; its row stays `sending`, and the others in the air are
    marked all the same.
    """

    def land(seconds: float) -> bool:
        timeout = None if math.isinf(seconds) else seconds
        landed = wait_for(flights, timeout, return_when=FIRST_COMPLETED).done
        for flight in landed:
            parcel, throttled = flights.pop(flight)
            counts[_note(session, flight, parcel, pace, throttled)] += 1
        return bool(landed)

    try:
        yield land
    finally:
        while flights:
            land(math.inf)


def _note(session: Session, flight: Future[None], parcel: Parcel, pace: _Pace, throttled: int) -> str:
    """Note what came of a claimed row. Returns its new status; `put_back` when it is pending again."""
    try:
        flight.result()
    except Throttled as cause:
        pace.throttle(throttled)
        _put_back(session, parcel, str(cause), counted=False)
        return "put_back"
    except NotSent as cause:
        if parcel.attempts >= MOST_TRIES:
            return _settle(session, parcel, "failed", f"not sent in {parcel.attempts} tries: {cause}")
        _put_back(session, parcel, str(cause), counted=True)
        return "put_back"
    except (Refused, UnsendableError, DeclarationError) as cause:
        return _settle(session, parcel, "failed", str(cause))
    except Unclear as cause:
        return _settle(session, parcel, "unknown", f"no clear answer: {cause}")
    pace.succeed(throttled)
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


def _claim(session: Session, which: ColumnElement[bool], daily_cap: int) -> Parcel | str | None:
    """The next of these rows that is due, committed as `sending`; or the status it got without sending; or None."""
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
            row.id, row.channel, row.user_id, row.kind, row.title, row.body, row.data, row.attempts, row.created_at, now
        )
        .execution_options(synchronize_session=False)
    )
    with session.begin():
        claimed = session.execute(taken).one_or_none()
        if claimed is None:
            return None
        facts = claimed._asdict()
        user_id, created_at, at = facts.pop("user_id"), facts.pop("created_at"), facts.pop("now")
        parcel = Parcel(**facts, name=None, address=None)
        if parcel.channel == "ops":
            return parcel
        recipient = (
            select(
                *(User.name, User.email, live.label("live")),
                func.coalesce(UserPreferences.email_enabled, True).label("wanted"),
                UserPreferences.quiet_start.is_not(None).label("quiet"),
            )
            .outerjoin(UserPreferences, UserPreferences.user_id == User.id)
            .where(User.id == user_id)
        )
        user = session.execute(recipient).one_or_none()
        if user is None or not user.live:
            return _set(session, parcel, "suppressed", "the recipient is no longer an active user")
        if not user.wanted:
            return _set(session, parcel, "suppressed", "the recipient has switched mails off")
        if user.quiet and at - created_at > PROMPT:
            until = end_of_quiet_hours(session, user_id, at)
            if until is not None:
                return _put_off(session, parcel, until)
        if not parcel.duty and _mails_of_the_day(session, user_id, parcel) >= daily_cap:
            return _set(session, parcel, "suppressed", f"the recipient has had {daily_cap} mails within 24 hours")
    return Parcel(**{**vars(parcel), "name": user.name, "address": user.email})


def _mails_of_the_day(session: Session, user_id: Any, parcel: Parcel) -> int:
    row = Notification
    ordinary = and_(row.channel == "email", row.kind.not_in(OF_DUTY), row.id != parcel.id)
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


def _put_off(session: Session, parcel: Parcel, until: dt.datetime) -> str:
    """Leave a row for the end of the quiet hours, into which it was held up."""
    later = {"status": "pending", "claimed_at": None, "attempts": Notification.attempts - 1, "scheduled_for": until}
    session.execute(update(Notification).where(Notification.id == parcel.id).values(later))
    return "put_off"


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

"""The dispatcher sends the rows of the outbox. It claims a row, sends it, and marks it: no row is sent twice.

A row goes pending → sending → sent, in two transactions; the sending is between them. If the dispatcher dies in
between, the row stays `sending`, and later becomes `unknown`: it may have been sent. It is not sent again by itself,
and an alarm counts it. Rows are claimed one at a time, just before each is sent. So a crash leaves only the rows whose
answers are outstanding. SKIP LOCKED keeps two dispatchers from taking the same row.

An answer takes longer than the pause between two mails, so several calls are open at once. Threads wait for the
answers; only the main thread uses the database.

Each row, each channel, and what is only marked here, has its turn whatever becomes of the others. A channel that fails
is left alone for the rest of the round, and comes last in the next one.

The channels: `email` goes to SES, `ops` to SNS. `in_app` rows become `sent` as soon as they are due: then the
application shows them, and writes `read_at` itself. `push` rows stay `pending`: the application has the keys of the
push services, and claims and marks these rows in the same way.
"""

import math
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait as wait_for
from contextlib import contextmanager
from dataclasses import dataclass, field

from sqlalchemy import ColumnElement, and_, true
from sqlalchemy.orm import Session

from nightshift import telemetry
from nightshift.database import describe, still_answers
from nightshift.database.apart import Apart
from nightshift.deadline import Deadline
from nightshift.declaration import Parameter
from nightshift.errors import DeclarationError
from nightshift.outbox.kinds import Channel, of_duty
from nightshift.outbox.mail import UnsendableError, check_address, render
from nightshift.outbox.outlets import CALLS_AT_ONCE, NotSent, Outlets, Refused, Throttled, Unclear, Unverified
from nightshift.outbox.pace import Pace
from nightshift.outbox.parcels import (
    MOST_TRIES,
    Left,
    Parcel,
    anything_due,
    claim,
    failed_lately,
    give_up_on_the_lost,
    hold,
    not_held,
    put_back,
    release_in_app,
    settle,
    suppress_late,
)
from nightshift.outbox.tables import Notification

MAILS_A_DAY = Parameter("mails_a_day", 10, "items", about="ordinary mails that one user may get within 24 hours")

Wait = Callable[[float], None]


Flights = dict[Future[None], tuple[Parcel, int]]
"""Calls without an answer yet: the claimed row, and how often in succession the account was throttled at its start."""

MAILS_FAILING = 3
"""Mails in succession that may fail before the others wait for the next round: a failure may be that of one recipient.
Those to the operators all go to one topic, and fail for all."""

MARKED_ONLY = 5
"""The part of a round's time that rows may take which need no sending: one in so many, of each kind of them."""


@dataclass(frozen=True)
class _Round:
    """One round of the dispatcher: with what it works, and what became of the rows."""

    session: Session
    outlets: Outlets
    daily_cap: int
    wait: Wait
    counts: Counter[str] = field(default_factory=Counter)
    left: Left = field(default_factory=Left)


def dispatch(
    session: Session, outlets: Outlets, deadline: Deadline, *, daily_cap: int, wait: Wait = time.sleep
) -> Counter[str]:
    """Send what is due, until nothing is left, the quota is used up, or the deadline is near.

    Returns how many rows became sent, failed, suppressed, unknown or released (in_app), and how many were put back, put
    off, held because SES has the account in its sandbox, left because the database refused to change them, or could
    not be marked after they were handed over.

    daily_cap: how many mails one person may get within 24 hours; more are suppressed. It does not apply to kinds of
        duty.

    Raises:
        Exception: the first error that was no row's, once everything else has had its turn.
    """
    round_ = _Round(session, outlets, daily_cap, wait)
    apart, counts = Apart(session, "dispatcher.hindered"), round_.counts
    with apart.of(part="lost"):
        counts["unknown"] += give_up_on_the_lost(session, round_.left, _share(deadline, MARKED_ONLY))
    with apart.of(part="in_app"):
        counts["released"] += release_in_app(session, round_.left, _share(deadline, MARKED_ONLY))
    for channel, time_for_it in _turns(round_, deadline, apart):
        with apart.of(part=channel):
            _CHANNELS[channel](round_, time_for_it)
    counts["left"] = len(round_.left.keys)
    telemetry.measure(MailsSent=counts["sent"], MailsFailed=counts["failed"], MailsUnknown=counts["unknown"])
    if (cause := apart.cause or round_.left.cause) is not None:
        raise cause
    return +counts


def _turns(round_: _Round, deadline: Deadline, apart: Apart) -> Iterator[tuple[Channel, Deadline]]:
    """The channels with something to send, and how long each may take: the first leaves half of the time to the other.

    Operators come first, unless the last round could not tell them.
    """
    session, outlets = round_.session, round_.outlets
    open_ones: list[Channel] = ["ops"] if outlets.operators_topic else []
    with apart.of(part="turns"):
        if open_ones and failed_lately(session, "ops"):
            open_ones = []
        due = anything_due(session, "email")
        if due and not outlets.sender:
            telemetry.warn("mails.unsent", reason="no sender is set: set nightshift.sender and deploy again")
        elif due:
            open_ones.append("email")
        if outlets.operators_topic and "ops" not in open_ones:
            open_ones.append("ops")
    for number, channel in enumerate(open_ones, 1):
        yield channel, deadline if number == len(open_ones) else _share(deadline, 2)


def _share(deadline: Deadline, parts: int) -> Deadline:
    """One of so many equal parts of the time that is left."""
    kept = deadline.remaining * (1 - 1 / parts)
    return Deadline(lambda: deadline.remaining - kept)


def _tell_operators(round_: _Round, deadline: Deadline) -> None:
    _send_all(round_, Notification.channel == "ops", Pace(deadline, per_second=10))


def _send_mails(round_: _Round, deadline: Deadline) -> None:
    session = round_.session
    try:
        allowance = round_.outlets.allowance()
    except (NotSent, Unclear) as cause:
        telemetry.error("quota.unknown", reason=str(cause))
        return
    if allowance.sandbox:
        telemetry.warn(
            "mails.sandbox",
            reason="SES has this account in its sandbox: mails to addresses that are not verified wait; ask AWS for "
            "production access (docs/operations.md)",
        )
    late = suppress_late(session, round_.left, _share(deadline, MARKED_ONLY), sandbox=allowance.sandbox)
    round_.counts["suppressed"] += late
    if allowance.left == 0:
        telemetry.warn("quota.used_up", reason="the account may send no more mails today; the rest waits")
    # As many as start within a second: an answer rarely takes longer.
    at_once = min(CALLS_AT_ONCE, math.ceil(allowance.per_second))
    pace = Pace(deadline, allowance.per_second, allowance.left, at_once, most_failures=MAILS_FAILING)
    which = and_(Notification.channel == "email", not_held() if allowance.sandbox else true())
    # Urgent mails to administrators do not wait behind thousands of ordinary ones.
    for first in (Notification.kind.in_(of_duty()), Notification.kind.not_in(of_duty())):
        _send_all(round_, and_(which, first), pace, sandbox=allowance.sandbox)


_CHANNELS = {"ops": _tell_operators, "email": _send_mails}


def _send_all(round_: _Round, which: ColumnElement[bool], pace: Pace, *, sandbox: bool = False) -> None:
    flights: Flights = {}
    with ThreadPoolExecutor(pace.at_once) as threads, _landing(round_, flights, pace, sandbox) as land:
        while (pause := pace.pause(len(flights))) is not None:
            if flights and land(pause):
                continue  # the answer may have changed the pace
            if pause:
                if not flights:
                    round_.wait(pause)
                continue
            claimed = claim(round_.session, which, round_.daily_cap, round_.left)
            if isinstance(claimed, Parcel):
                flights[threads.submit(_hand_over, round_.outlets, claimed)] = claimed, pace.began()
            elif claimed is not None:
                round_.counts[claimed] += 1
            elif flights:
                land(math.inf)  # a row may be put back, and be due again
            else:
                break


@contextmanager
def _landing(round_: _Round, flights: Flights, pace: Pace, sandbox: bool) -> Iterator[Callable[[float], bool]]:
    """Gives a function that marks the rows whose answers have arrived. It returns whether there were any.

    If there are none, the function waits the given number of seconds for the first. At the end of the block all
    outstanding answers are marked. If the process ends here, that row stays `sending`, and the others are still marked.
    """

    def land(seconds: float) -> bool:
        timeout = None if math.isinf(seconds) else seconds
        landed = wait_for(flights, timeout, return_when=FIRST_COMPLETED).done
        for flight in landed:
            parcel, throttled = flights.pop(flight)
            round_.counts[_marked(round_.session, flight, parcel, pace, throttled, sandbox)] += 1
        return bool(landed)

    try:
        yield land
    finally:
        while flights:
            land(math.inf)


def _marked(session: Session, flight: Future[None], parcel: Parcel, pace: Pace, throttled: int, sandbox: bool) -> str:
    """What `_note` says, and `unmarked` where the database refuses it: the row is given up on later, and not sent
    again."""
    try:
        return _note(session, flight, parcel, pace, throttled, sandbox)
    except Exception as cause:
        if not still_answers(session):
            raise
        telemetry.error("notification.unmarked", cause, notification=str(parcel.id), reason=describe(cause))
        return "unmarked"


def _note(session: Session, flight: Future[None], parcel: Parcel, pace: Pace, throttled: int, sandbox: bool) -> str:
    """Mark a claimed row by its answer. Returns its new status; `put_back` or `held` when it is pending again."""
    try:
        flight.result()
    except Throttled as cause:
        pace.throttle(throttled)
        put_back(session, parcel, str(cause), counted=False)
        return "put_back"
    except Unverified as cause:
        if sandbox:
            return hold(session, parcel, str(cause))
        # It is the sender that is not verified, or not any more: nothing about this notice.
        pace.fail()
        return _later(session, parcel, f"the sender is not verified: {cause}")
    except NotSent as cause:
        pace.fail()
        return _later(session, parcel, str(cause))
    except (Refused, UnsendableError, DeclarationError) as cause:
        return settle(session, parcel, "failed", str(cause))
    except Unclear as cause:
        pace.fail()
        return settle(session, parcel, "unknown", f"no clear answer: {cause}")
    except Exception as cause:  # noqa: BLE001 - nobody foresaw it, and it must not keep the others from going out
        telemetry.error("notification.unforeseen", cause, notification=str(parcel.id), reason=describe(cause))
        return settle(session, parcel, "unknown", f"no clear answer: {describe(cause)}")
    pace.succeed(throttled)
    return settle(session, parcel, "sent")


def _later(session: Session, parcel: Parcel, reason: str) -> str:
    """Try it again after a pause that doubles each time, but not for ever."""
    if parcel.attempts >= MOST_TRIES:
        return settle(session, parcel, "failed", f"not sent in {parcel.attempts} tries: {reason}")
    put_back(session, parcel, reason, counted=True)
    return "put_back"


def _hand_over(outlets: Outlets, parcel: Parcel) -> None:
    mail = render(
        parcel.kind,
        title=parcel.title,
        body=parcel.body,
        data=parcel.data,
        name=parcel.name,
        preferences_url=outlets.preferences_url,
        unsubscribe_url=None if parcel.duty else parcel.unsubscribe_url,
    )
    if parcel.channel == "ops":
        outlets.publish(mail)
    else:
        outlets.mail(check_address(parcel.address or ""), mail, unsubscribe=not parcel.duty)

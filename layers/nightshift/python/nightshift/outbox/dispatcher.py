"""The dispatcher sends the rows of the outbox. It claims a row, sends it, and marks it: no row is sent twice.

A row goes pending → sending → sent, in two transactions; the sending is between them. If the dispatcher dies in
between, the row stays `sending`, and later becomes `unknown`: it may have been sent. It is not sent again by itself,
and an alarm counts it. Rows are claimed one at a time, just before each is sent. So a crash leaves only the rows whose
answers are outstanding. SKIP LOCKED keeps two dispatchers from taking the same row.

An answer takes longer than the pause between two mails, so several calls are open at once. Threads wait for the
answers; only the main thread uses the database.

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

from sqlalchemy import ColumnElement, and_, true
from sqlalchemy.orm import Session

from nightshift import telemetry
from nightshift.database import describe
from nightshift.deadline import Deadline
from nightshift.declaration import Parameter
from nightshift.errors import DeclarationError
from nightshift.outbox.kinds import of_duty
from nightshift.outbox.mail import UnsendableError, check_address, render
from nightshift.outbox.outlets import CALLS_AT_ONCE, NotSent, Outlets, Refused, Throttled, Unclear, Unverified
from nightshift.outbox.pace import Pace
from nightshift.outbox.parcels import (
    MOST_TRIES,
    Parcel,
    anything_due,
    claim,
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


def dispatch(
    session: Session, outlets: Outlets, deadline: Deadline, *, daily_cap: int, wait: Wait = time.sleep
) -> Counter[str]:
    """Send what is due, until nothing is left, the quota is used up, or the deadline is near.

    Returns how many rows became sent, failed, suppressed, unknown or released (in_app), and how many were put back, put
    off, or held because SES has the account in its sandbox.

    daily_cap: how many mails one person may get within 24 hours; more are suppressed. It does not apply to kinds of
        duty.
    """
    counts: Counter[str] = Counter(unknown=give_up_on_the_lost(session), released=release_in_app(session))
    if outlets.operators_topic:
        ops = Notification.channel == "ops"
        counts += _send_all(session, outlets, ops, Pace(deadline, per_second=10), daily_cap, wait)
    if anything_due(session, "email"):
        if outlets.sender:
            counts += _send_mails(session, outlets, deadline, daily_cap, wait)
        else:
            telemetry.warn("mails.unsent", reason="no sender is set: set nightshift.sender and deploy again")
    telemetry.measure(MailsSent=counts["sent"], MailsFailed=counts["failed"], MailsUnknown=counts["unknown"])
    return +counts


def _send_mails(session: Session, outlets: Outlets, deadline: Deadline, daily_cap: int, wait: Wait) -> Counter[str]:
    try:
        allowance = outlets.allowance()
    except (NotSent, Unclear) as cause:
        telemetry.error("quota.unknown", reason=str(cause))
        return Counter()
    if allowance.sandbox:
        telemetry.warn(
            "mails.sandbox",
            reason="SES has this account in its sandbox: mails to addresses that are not verified wait; ask AWS for "
            "production access (docs/operations.md)",
        )
    counts: Counter[str] = Counter(suppressed=suppress_late(session, sandbox=allowance.sandbox))
    if allowance.left == 0:
        telemetry.warn("quota.used_up", reason="the account may send no more mails today; the rest waits")
    # As many as start within a second: an answer rarely takes longer.
    at_once = min(CALLS_AT_ONCE, math.ceil(allowance.per_second))
    pace = Pace(deadline, allowance.per_second, allowance.left, at_once)
    which = and_(Notification.channel == "email", not_held() if allowance.sandbox else true())
    # Urgent mails to administrators do not wait behind thousands of ordinary ones.
    for first in (Notification.kind.in_(of_duty()), Notification.kind.not_in(of_duty())):
        counts += _send_all(session, outlets, and_(which, first), pace, daily_cap, wait, sandbox=allowance.sandbox)
    return counts


def _send_all(
    session: Session,
    outlets: Outlets,
    which: ColumnElement[bool],
    pace: Pace,
    daily_cap: int,
    wait: Wait,
    *,
    sandbox: bool = False,
) -> Counter[str]:
    counts: Counter[str] = Counter()
    flights: Flights = {}
    with ThreadPoolExecutor(pace.at_once) as threads, _landing(session, flights, pace, counts, sandbox) as land:
        while (pause := pace.pause(len(flights))) is not None:
            if flights and land(pause):
                continue  # the answer may have changed the pace
            if pause:
                if not flights:
                    wait(pause)
                continue
            claimed = claim(session, which, daily_cap)
            if isinstance(claimed, Parcel):
                flights[threads.submit(_hand_over, outlets, claimed)] = claimed, pace.began()
            elif claimed is not None:
                counts[claimed] += 1
            elif flights:
                land(math.inf)  # a row may be put back, and be due again
            else:
                break
    return counts


@contextmanager
def _landing(
    session: Session, flights: Flights, pace: Pace, counts: Counter[str], sandbox: bool
) -> Iterator[Callable[[float], bool]]:
    """Gives a function that marks the rows whose answers have arrived. It returns whether there were any.

    If there are none, the function waits the given number of seconds for the first. At the end of the block all
    outstanding answers are marked. If the process ends here, that row stays `sending`, and the others are still marked.
    """

    def land(seconds: float) -> bool:
        timeout = None if math.isinf(seconds) else seconds
        landed = wait_for(flights, timeout, return_when=FIRST_COMPLETED).done
        for flight in landed:
            parcel, throttled = flights.pop(flight)
            counts[_note(session, flight, parcel, pace, throttled, sandbox)] += 1
        return bool(landed)

    try:
        yield land
    finally:
        while flights:
            land(math.inf)


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
        return _later(session, parcel, f"the sender is not verified: {cause}")
    except NotSent as cause:
        return _later(session, parcel, str(cause))
    except (Refused, UnsendableError, DeclarationError) as cause:
        return settle(session, parcel, "failed", str(cause))
    except Unclear as cause:
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

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

import math
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait as wait_for
from contextlib import contextmanager

from sqlalchemy import ColumnElement, and_
from sqlalchemy.orm import Session

from nightshift import telemetry
from nightshift.deadline import Deadline
from nightshift.declaration import Parameter
from nightshift.errors import DeclarationError
from nightshift.outbox.kinds import of_duty
from nightshift.outbox.mail import UnsendableError, check_address, render
from nightshift.outbox.outlets import CALLS_AT_ONCE, NotSent, Outlets, Refused, Throttled, Unclear
from nightshift.outbox.pace import Pace
from nightshift.outbox.parcels import (
    Parcel,
    anything_due,
    claim,
    give_up_on_the_lost,
    put_back,
    release_in_app,
    settle,
)
from nightshift.outbox.tables import Notification

MAILS_A_DAY = Parameter("mails_a_day", 10, "items", about="ordinary mails that one user may get within 24 hours")

MOST_TRIES = 8
"""Within two hours, as each pause is twice the last: what is later than that is not worth telling."""

Wait = Callable[[float], None]


Flights = dict[Future[None], tuple[Parcel, int]]
"""What is in the air: a claimed row, and how many times in a row the account was throttled when it was sent."""


def dispatch(
    session: Session, outlets: Outlets, deadline: Deadline, *, daily_cap: int, wait: Wait = time.sleep
) -> Counter[str]:
    """Send what is due until nothing is, the quota is used up, or the deadline is near.

    Returns how many rows became sent, failed, suppressed, unknown or released (in_app), and how many were put back or
    put off. daily_cap: mails to one user within 24 hours, above which ordinary kinds are suppressed; kinds of duty
    always pass.
    """
    counts: Counter[str] = Counter(unknown=give_up_on_the_lost(session), released=release_in_app(session))
    if outlets.operators_topic:
        ops = Notification.channel == "ops"
        counts += _send_all(session, outlets, ops, Pace(deadline, per_second=10), daily_cap, wait)
    if anything_due(session, "email"):
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
    pace = Pace(deadline, allowance.per_second, allowance.left, at_once)
    # What somebody has to know does not queue behind what thousands are glad to know.
    counts: Counter[str] = Counter()
    for first in (Notification.kind.in_(of_duty()), Notification.kind.not_in(of_duty())):
        counts += _send_all(session, outlets, and_(Notification.channel == "email", first), pace, daily_cap, wait)
    return counts


def _send_all(
    session: Session, outlets: Outlets, which: ColumnElement[bool], pace: Pace, daily_cap: int, wait: Wait
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
            claimed = claim(session, which, daily_cap)
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
def _landing(session: Session, flights: Flights, pace: Pace, counts: Counter[str]) -> Iterator[Callable[[float], bool]]:
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


def _note(session: Session, flight: Future[None], parcel: Parcel, pace: Pace, throttled: int) -> str:
    """Note what came of a claimed row. Returns its new status; `put_back` when it is pending again."""
    try:
        flight.result()
    except Throttled as cause:
        pace.throttle(throttled)
        put_back(session, parcel, str(cause), counted=False)
        return "put_back"
    except NotSent as cause:
        if parcel.attempts >= MOST_TRIES:
            return settle(session, parcel, "failed", f"not sent in {parcel.attempts} tries: {cause}")
        put_back(session, parcel, str(cause), counted=True)
        return "put_back"
    except (Refused, UnsendableError, DeclarationError) as cause:
        return settle(session, parcel, "failed", str(cause))
    except Unclear as cause:
        return settle(session, parcel, "unknown", f"no clear answer: {cause}")
    pace.succeed(throttled)
    return settle(session, parcel, "sent")


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

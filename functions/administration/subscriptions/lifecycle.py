"""Every way a subscription goes from one status to the next, in the order in which a run takes them.

What was paid for comes back first, so that nothing that follows suspends or skips it. A trial that became active, or a
subscription that was past due for long, goes all of its way in one run.
"""

from sqlalchemy import case, func, text

from application.models import Subscription as S  # noqa: N817  nearly every line below names it
from functions.administration.subscriptions.events import SUSPENDED, first_failure, last_success, noted
from functions.administration.subscriptions.periods import new_period
from functions.administration.subscriptions.transition import Transition
from nightshift import Parameter

SUSPEND_AFTER = Parameter("suspend_after_days", 7, "days", about="past due for longer: unpaid, and suspended")
CANCEL_AFTER = Parameter("cancel_after_days", 30, "days", about="past due for longer: cancelled")
PAY_WITHIN = Parameter("pay_within_hours", 23, "hours", about="without a first payment for longer: expired")

PERIOD_END = case((S.status == "trialing", S.trial_ends_at), else_=S.current_period_end)
PAST_DUE_SINCE = func.coalesce(S.past_due_since, text("'-infinity'::timestamptz"))
LIVE = ("pending", "trial", "active", "suspended")
"""An organisation that is none of these has ended already, for a reason of its own."""

PAYMENTS = (
    Transition(
        name="unpaid-is-paid",
        counter="recovered",
        event="recovered",
        to="active",
        where=lambda run: (S.status == "unpaid") & (last_success(run) >= PAST_DUE_SINCE),
        effective_at=last_success,
        values=lambda run: {"past_due_since": None},
        organization={"suspended": "active"},
        licences="resume",
    ),
    Transition(
        name="past-due-is-paid",
        counter="recovered",
        event="recovered",
        to="active",
        where=lambda run: (S.status == "past_due") & (last_success(run) >= PAST_DUE_SINCE),
        effective_at=last_success,
        values=lambda run: {"past_due_since": None},
    ),
    Transition(
        name="paused-is-paid",
        counter="recovered",
        event="recovered",
        to="active",
        where=lambda run: (S.status == "paused") & (last_success(run) >= S.trial_ends_at),
        effective_at=last_success,
        values=lambda run: new_period(last_success(run)),  # nothing is owed for the pause
        organization={"expired": "active"},
    ),
    Transition(
        name="incomplete-is-paid",
        counter="recovered",
        event="recovered",
        to="active",
        where=lambda run: (S.status == "incomplete") & (last_success(run) >= S.current_period_start),
        effective_at=last_success,
        organization={"pending": "active", "trial": "active"},
    ),
)

TRIALS = (
    Transition(
        name="trial-goes-on",
        counter="trials_ended",
        event="trial_ended",
        to="active",
        where=lambda run: (
            (S.status == "trialing") & (S.trial_ends_at <= run.now) & S.has_payment_method & ~S.cancel_at_period_end
        ),
        effective_at=lambda run: S.trial_ends_at,
        values=lambda run: new_period(S.trial_ends_at),
        organization={"pending": "active", "trial": "active"},
    ),
    Transition(
        name="trial-pauses",
        counter="trials_ended",
        event="trial_ended",
        to="paused",
        where=lambda run: (
            (S.status == "trialing") & (S.trial_ends_at <= run.now) & ~S.has_payment_method & ~S.cancel_at_period_end
        ),
        effective_at=lambda run: S.trial_ends_at,
        organization=dict.fromkeys(LIVE, "expired"),
    ),
)

ENDS = (
    Transition(
        name="cancel",
        counter="cancelled",
        event="cancelled",
        to="cancelled",
        where=lambda run: S.status.in_(("active", "trialing")) & S.cancel_at_period_end & (run.now >= PERIOD_END),
        effective_at=lambda run: PERIOD_END,
        organization=dict.fromkeys(LIVE, "cancelled"),
    ),
    Transition(
        name="expire",
        counter="expired",
        event="expired",
        to="expired",
        where=lambda run: (
            (S.status == "active") & ~S.auto_renew & ~S.cancel_at_period_end & (S.current_period_end <= run.now)
        ),
        effective_at=lambda run: S.current_period_end,
        organization=dict.fromkeys(LIVE, "expired"),
    ),
    Transition(
        name="expire-incomplete",
        counter="expired",
        event="expired",
        to="expired",
        where=lambda run: (S.status == "incomplete") & (S.current_period_start < run.ago(PAY_WITHIN)),
        effective_at=lambda run: S.current_period_start + func.make_interval(0, 0, 0, 0, run[PAY_WITHIN]),
        organization=dict.fromkeys(LIVE, "expired"),
        parameters=(PAY_WITHIN,),
    ),
)

FAILURES = (
    Transition(
        name="payment-failed",
        counter="past_due",
        event="past_due",
        to="past_due",
        where=lambda run: (
            (S.status == "active") & (first_failure(run).is_not(None)) & ~noted("past_due", first_failure(run))
        ),
        effective_at=first_failure,
        values=lambda run: {"past_due_since": first_failure(run)},
    ),
    Transition(
        name="suspend",
        counter="suspended",
        event=SUSPENDED,
        to="unpaid",
        where=lambda run: (S.status == "past_due") & (S.past_due_since < run.ago(SUSPEND_AFTER)),
        effective_at=lambda run: S.past_due_since + func.make_interval(0, 0, 0, run[SUSPEND_AFTER]),
        organization=dict.fromkeys(("pending", "trial", "active"), "suspended"),
        licences="suspend",
        parameters=(SUSPEND_AFTER,),
    ),
    Transition(
        name="cancel-unpaid",
        counter="cancelled",
        event="cancelled",
        to="cancelled",
        where=lambda run: S.status.in_(("past_due", "unpaid")) & (S.past_due_since < run.ago(CANCEL_AFTER)),
        effective_at=lambda run: S.past_due_since + func.make_interval(0, 0, 0, run[CANCEL_AFTER]),
        organization=dict.fromkeys(LIVE, "cancelled"),
        parameters=(CANCEL_AFTER,),
    ),
)

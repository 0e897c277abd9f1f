"""Move subscriptions and licences through their life by the dates they carry; charge nobody.

Trials end; ended periods are renewed one by one from the anchor day (36 at most), cancelled, or expire; a failed
payment makes a subscription past due, unpaid after 7 days (organisation and licences suspended) and cancelled after 30;
a payment brings it back; one never paid for expires after 23 hours. Licences expire, and can be read for 7 days more.
What was cancelled during its trial ends with it. Open alerts tell which ended custom cycles wait for a person
(`subscription-custom-cycle`), which subscriptions have missed more than 36 periods and are not renewed, because a date
of theirs is broken (`subscription-broken-date`), whose users are more than their licence's seats (`licence-seats`), and
which licences nobody has used for 90 days (`licence-unused`).
"""

import datetime as dt

from application.models import License
from functions.administration.subscriptions.licences import UNUSED_AFTER, custom_cycles, exceeded_seats, unused_licences
from functions.administration.subscriptions.lifecycle import ENDS, FAILURES, PAYMENTS, TRIALS
from functions.administration.subscriptions.renewals import broken_dates, plan_renewals, renew
from functions.administration.subscriptions.watch import Watch
from nightshift import Function, Job, Update, lambda_handler

GRACE = dt.timedelta(days=7)

job = Job(
    name="subscription-lifecycle",
    kind="lifecycle",
    schedule="cron(30 0 * * ? *)",
    critical=True,
    steps=(
        *PAYMENTS,
        *TRIALS,
        *ENDS,
        *FAILURES,
        Function(
            name="renew",
            apply=renew,
            plan=plan_renewals,
            counters=("renewed",),
            changes=("renewed",),
            tables=("subscriptions", "subscription_events"),
        ),
        Update(
            License,
            where=lambda run: (License.status == "active") & (License.expires_at <= run.now),
            set={License.status: "expired", License.grace_until: License.expires_at + GRACE},
            measured_by=License.expires_at,
            counter="licences_expired",
        ),
        Watch(rule="subscription-broken-date", severity="medium", found=broken_dates),
        Watch(rule="subscription-custom-cycle", severity="medium", found=custom_cycles),
        Watch(rule="licence-seats", severity="medium", found=exceeded_seats),
        Watch(rule="licence-unused", severity="low", found=unused_licences, parameters=(UNUSED_AFTER,)),
    ),
)
handler = lambda_handler(job)

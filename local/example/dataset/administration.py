"""Subscriptions in every state and at both sides of every limit, their events, and licences."""

from local.example.dataset.fill import fill
from local.example.dataset.identity import FIRST_ORGANIZATIONS

ORDINARY_SHARE = 0.8  # of the organizations after the first ones: active, paid, renewed by itself
LICENSED_SHARE = 0.9
LICENCE_OVERDUE_DAYS = 2  # active licences past their end: one expired at most so long ago
LICENCE_AHEAD_DAYS = 320
UNUSED_SHARE = 0.1  # not validated for more than 90 days

FILLS = (
    # Twenty-two kinds in turn: trials that ended with (0) and without (1) a payment method, and that go on (2); active
    # ones whose period ended: to be renewed (3), cancelled (4), expired (5), renewed for several missed quarters (6),
    # of a custom cycle (7); past due for 3, 7.5 and 30.5 days (8, 9, 10); incomplete for more and for less than 23
    # hours (11, 12); paid again (13); about to end (18); ordinary (14, 15, 21); and settled: paused (16), cancelled
    # (17), expired (19), unpaid (20).
    fill(
        "subscriptions",
        """
        insert into subscriptions (id, org_id, tier, status, billing_cycle, anchor_day, current_period_start,
            current_period_end, trial_ends_at, auto_renew, cancel_at_period_end, has_payment_method, past_due_since,
                seats,
            updated_at)
        select key('subscription', k), key('organization', k),
            pick(array['starter', 'team', 'business'], draw('tier', k)),
            case when turn <= 2 then 'trialing' when turn in (8, 9, 10, 13) then 'past_due'
                when turn in (11, 12) then 'incomplete' when turn = 16 then 'paused' when turn = 17 then 'cancelled'
                when turn = 19 then 'expired' when turn = 20 then 'unpaid' else 'active' end,
            cycle, case when mod(k, 3) = 0 then 31 else extract(day from ends)::int end, begins, ends,
            case when turn <= 2 then ends end, turn not in (5, 18, 19), turn in (4, 17),
            turn not in (1, 2, 11, 12, 16, 19),
            case turn when 8 then ago(3) when 9 then ago(7.5) when 10 then ago(30.5) when 13 then ago(4) when 20
                then ago(15) end,
            case when draw('seats', k) < 0.1 then 2 else 50 + floor(100 * draw('seats', k))::int end, begins
        from generate_series(1, (select count(*) from organizations)) as k
            cross join lateral (select case when k > :first and draw('ordinary', k) < :ordinary then 15
                else mod(k, 22) end
                as turn) as turns
            cross join lateral (select case turn when 6 then 'quarterly' when 7 then 'custom' when 15 then
                pick(array['monthly', 'monthly', 'quarterly', 'annually'], draw('cycle', k)) else 'monthly' end
                    as cycle) as cycles
            cross join lateral (select case when turn <= 1 then ago(draw('period', k)) when turn = 2
                then ago(-0.5 - 13 * draw('period', k))
                when turn in (3, 4, 5, 7) then ago(draw('period', k)) when turn = 6 then ago(200) when turn = 11
                    then ago(-29)
                when turn = 12 then ago(-29.5) when turn = 18 then ago(-1 - 6 * draw('period', k))
                when turn in (17, 19) then ago(40) else ago(-1 - 27 * draw('period', k)) end as ends) as period_end
            cross join lateral (select case when turn <= 2 then ends - interval '14 days' when turn = 11 then ago(1.1)
                when turn = 12 then ago(0.1) when cycle = 'quarterly' then ends - interval '3 months'
                when cycle = 'annually' then ends - interval '1 year' else ends - interval '1 month' end as begins)
                    as period_start
        """,
        first=FIRST_ORGANIZATIONS,
        ordinary=ORDINARY_SHARE,
    ),
    fill(
        "subscription_events",
        """
        insert into subscription_events (subscription_id, event, from_status, to_status, effective_at, data)
        select id, event, old, new, at, '{}'
        from subscriptions cross join lateral (values
            ('created', null, case when trial_ends_at is null then 'active' else 'trialing' end, current_period_start),
            ('payment_failed', 'active', 'past_due', past_due_since),
            -- what the application has heard since, and nothing has acted upon
            ('payment_succeeded', null, null, case when status = 'past_due' and past_due_since = ago(4)
                then ago(0.2) end),
            ('payment_failed', null, null, case when status = 'active' and cancel_at_period_end = false and auto_renew
                and current_period_end > present()
                    and draw('payment', extract(epoch from current_period_end)::bigint) < 0.1
                then ago(0.3) end)
        ) as history (event, old, new, at)
        where at is not null
        order by id, at, event
        """,
    ),
    fill(
        "licenses",
        """
        insert into licenses (id, org_id, subscription_id, license_key_hash, status, expires_at, seats,
            last_validated_at,
            created_at)
        select key('licence', k), org_id, id, digest('licence', k), case subscriptions.status when 'unpaid'
            then 'suspended'
                when 'cancelled' then 'revoked' when 'expired' then 'expired' when 'incomplete' then 'inactive'
                else 'active' end,
            case when subscriptions.status = 'expired' then ago(40) when draw('licence', k) < 0.1 then null
                else ago(:overdue - (:overdue + :ahead) * power(draw('licence end', k), 2)) end,
            seats, ago(case when draw('unused', k) < :unused then 91 + 60 * draw('validated', k)
                else 20 * draw('validated', k) end),
            ago(160 + 400 * draw('licence made', k))
        from generate_series(1, (select count(*) from organizations)) as k
            join subscriptions on org_id = key('organization', k)
        where draw('licensed', k) < :licensed
        """,
        licensed=LICENSED_SHARE,
        overdue=LICENCE_OVERDUE_DAYS,
        ahead=LICENCE_AHEAD_DAYS,
        unused=UNUSED_SHARE,
    ),
)

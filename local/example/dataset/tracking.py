"""Yearly snapshots on Hijri dates with their payments, and figures derived from both.

In real use, the columns `*_enc` hold ciphertext. `seal` makes it, if it gets a function that encrypts. Otherwise every
value is a placeholder, as if a client had encrypted it and no server could read it.
"""

from collections.abc import Callable

from sqlalchemy import Connection, Text, Uuid, bindparam, func, select, update
from sqlalchemy.dialects.postgresql import ARRAY

from application.models import PaymentRecord, YearlySnapshot
from local.example.dataset.calendar import months
from local.example.dataset.fill import fill
from local.example.dataset.people import DEACTIVATED_SHARE

Encrypt = Callable[[str, str, str, str], str]
"""Takes the user's id, the table, the row's id and a plain value; returns the ciphertext for the column."""

TRACKING_SHARE = 0.15  # users who keep yearly snapshots
MOST_YEARS = 4  # snapshots of one user; the Hijri year is about 354 days
DUE_SOON_SHARE = 0.15  # of those users: the next anniversary is within 30 days; for the rest, on any day of the year
DRAFT_SHARE = 0.08
UNLOCKED_SHARE = 0.05
TOUCHED_SHARE = 0.06  # snapshots edited within the last seven days
PAID_LATELY_SHARE = 0.05  # snapshots with a payment added or changed within the last seven days
MOST_PAYMENTS = 6
CLIENT_ENCRYPTED_SHARE = 0.08  # payments and snapshots whose owner alone holds the key
SUMMARIZED_SHARE = 0.7  # finalised snapshots that have a summary
REMINDED_SHARE = 0.15  # of the anniversaries within 30 days: told already
CACHED_PER_USER = 0.8
EXPIRED_CACHE_SHARE = 0.4
OLD_CACHE_SHARE = 0.05  # computed more than 24 hours ago, though not yet expired

_MONTHS = months()
_SEALED = {
    YearlySnapshot: ("total_wealth_enc", "zakat_amount_enc", "nisab_threshold_enc", "asset_breakdown_enc"),
    PaymentRecord: ("amount_enc", "recipient_name_enc", "notes_enc", "receipt_ref_enc"),
}

LOOKUPS = (
    fill(
        "months",
        """
        create table months as
        select * from unnest(cast(:years as int[]), cast(:months as int[]), cast(:firsts as date[]),
            cast(:lengths as int[]))
            as t (year, month, first, days)
        """,
        years=[year for year, _, _, _ in _MONTHS],
        months=[month for _, month, _, _ in _MONTHS],
        firsts=[first for _, _, first, _ in _MONTHS],
        lengths=[days for _, _, _, days in _MONTHS],
    ),
    # A row a snapshot: the anniversary to come, and going back from it one Hijri year at a time.
    fill(
        "calculations",
        """
        create table calculations as
        select row_number() over (order by i, back)::int as k, i, people.id as user_id, back, past.year, month, day,
            past.first + day - 1 as gregorian, anniversary
        from people
            cross join lateral (select cast(present() as date) + floor(case when draw('due soon', i) < :soon then 30
                else 354 end * draw('anniversary', i))::int as anniversary) as next
            join months as coming on anniversary >= coming.first and anniversary < coming.first + coming.days
            cross join generate_series(1, :most) as back
            join months as past using (month)
            cross join lateral (select least(anniversary - coming.first + 1, past.days) as day) as days
        where draw('tracking', i) < :share and not gone and draw('deactivated', i) >= :deactivated
            and past.year = coming.year - back and (back = 1 or draw('years', i) > back / (:most + 1.0))
        """,
        share=TRACKING_SHARE,
        deactivated=DEACTIVATED_SHARE,
        soon=DUE_SOON_SHARE,
        most=MOST_YEARS,
    ),
)

FILLS = (
    fill(
        "yearly_snapshots",
        """
        insert into yearly_snapshots (id, user_id, status, is_primary, calculation_date, gregorian_year, hijri_year,
            hijri_month, hijri_day, currency, total_wealth_enc, zakat_amount_enc, nisab_threshold_enc, nisab_type,
            asset_breakdown_enc, methodology, hawl_completion_date, finalized_at, payments_changed_at, created_at,
            updated_at)
        select key('snapshot', k), user_id, status, row_number() over (partition by user_id, year_ad order by k) = 1,
            noon, year_ad, year, month, day, pick(array['USD', 'EUR', 'GBP', 'PKR', 'IDR'], draw('currency', i)),
            case when sealed then mark || encode(digest('wealth', k), 'base64') else wealth::text end,
            case when sealed then mark || encode(digest('due', k), 'base64') else round(wealth * 0.025, 2)::text end,
            case when sealed then mark || encode(digest('nisab', k), 'base64') else '5120.00' end,
            pick(array['gold', 'silver'], draw('nisab', i)),
            case when sealed then mark || encode(digest('breakdown', k), 'base64') else jsonb_build_object(
                'cash', round(wealth * 0.4, 2), 'gold', round(wealth * 0.25, 2), 'business',
                    round(wealth * 0.35, 2))::text end,
            pick(array['standard', 'hanafi', 'shafii', 'custom'], draw('methodology', i)), gregorian,
            case when status = 'FINALIZED' then noon + interval '2 days' end,
            case when draw('paid lately', k) < :paid_lately then ago(6.5 * draw('paid when', k)) end,
            noon, case when draw('touched', k) < :touched then ago(6.5 * draw('touched when', k))
                else noon + interval '2 days' end
        from calculations
            cross join lateral (select (gregorian + time '12:00') at time zone 'UTC' as noon,
                extract(year from gregorian)::int
                as year_ad, case when draw('snapshot', k) < :draft then 'DRAFT'
                    when draw('snapshot', k) < :draft + :unlocked
                then 'UNLOCKED' else 'FINALIZED' end as status) as facts
            cross join lateral (select draw('client', i) < :client as sealed, 'ZK1:' as mark,
                round((3000 + 90000 * power(draw('wealth', i), 3) * (1.3 - 0.08 * back))::numeric, 2) as wealth)
                    as amounts
        """,
        client=CLIENT_ENCRYPTED_SHARE,
        draft=DRAFT_SHARE,
        unlocked=UNLOCKED_SHARE,
        touched=TOUCHED_SHARE,
        paid_lately=PAID_LATELY_SHARE,
    ),
    fill(
        "payment_records",
        """
        insert into payment_records (id, user_id, snapshot_id, amount_enc, recipient_name_enc, notes_enc,
            receipt_ref_enc, recipient_type, recipient_category, payment_date, payment_method, status, currency,
            exchange_rate, created_at, updated_at)
        select key('payment', n), user_id, key('snapshot', k),
            case when sealed then mark || encode(digest('amount', n), 'base64') else round(amount, 2)::text end,
            case when sealed then mark || encode(digest('recipient', n), 'base64')
                else 'Recipient ' || 1 + mod(n, 40) end,
            case when draw('noted', n) < 0.3 then case when sealed then mark || encode(digest('note', n), 'base64')
                else 'Paid in person' end end,
            case when draw('receipt', n) < 0.4 then case when sealed then mark || encode(digest('receipt', n), 'base64')
                else 'R-' || n end end,
            pick(array['individual', 'individual', 'charity', 'mosque', ''], draw('recipient type', n)),
            pick(array['fakir', 'miskin', 'amil', 'muallaf', 'riqab', 'gharimin', 'fisabilillah', 'ibnus_sabil'],
                draw('category', n)),
            paid, pick(array['transfer', 'cash', 'card'], draw('method', n)),
            pick(array['recorded', 'verified'], draw('verified', n)),
            case when foreign_currency then 'SAR'
                else pick(array['USD', 'EUR', 'GBP', 'PKR', 'IDR'], draw('currency', i)) end,
            case when foreign_currency then 0.26666667 else 1 end, paid, paid
        from calculations
            cross join lateral (select floor((:most + 1) * draw('payments', k))::int as payments) as counts
            cross join lateral generate_series(1, payments) as number
            cross join lateral (select k * 10 + number as n) as numbered
            cross join lateral (select draw('client', i) < :client as sealed, 'ZK1:' as mark,
                draw('foreign', n) < 0.1 as foreign_currency,
                (75 + 2250 * power(draw('wealth', i), 3))::numeric / payments * (0.7 + 0.6 * draw('amount', n))::numeric
                    as amount,
                least((gregorian + time '12:00') at time zone 'UTC' + interval '1 day' * 200 * draw('paid', n), ago(8))
                    as paid) as facts
        """,
        client=CLIENT_ENCRYPTED_SHARE,
        most=MOST_PAYMENTS,
    ),
    # What an earlier night wrote, before amounts could be read: counts, and what stands for an unknown figure.
    fill(
        "annual_summaries",
        """
        insert into annual_summaries (id, user_id, snapshot_id, gregorian_year, hijri_year, number_of_payments,
            first_payment_at, last_payment_at, counts_by_type, counts_by_category, payment_status, methodology,
            undecryptable, source_activity_at, content_hash, generated_at)
        select key('summary', k), s.user_id, s.id, gregorian_year, hijri_year, payments, first_at, last_at, types,
            categories, 'unknown', methodology, payments, known_at, encode(digest('summary', k), 'hex'), known_at
        from calculations join yearly_snapshots as s on s.id = key('snapshot', k)
            cross join lateral (
                select count(*)::int as payments, min(payment_date) as first_at, max(payment_date) as last_at
                from payment_records where snapshot_id = s.id
            ) as paid
            cross join lateral (
                select coalesce(jsonb_object_agg(kind, number), '{}') as types from (
                    select coalesce(nullif(recipient_type, ''), 'other') as kind, count(*) as number
                    from payment_records where snapshot_id = s.id group by 1
                ) as by_type
            ) as counted
            cross join lateral (
                select coalesce(jsonb_object_agg(recipient_category, number), '{}') as categories from (
                    select recipient_category, count(*) as number
                    from payment_records where snapshot_id = s.id group by 1
                ) as by_category
            ) as sorted
            -- half of those with activity in the last seven days were summarized after it
            cross join lateral (select least(greatest(s.updated_at, s.payments_changed_at),
                case when draw('stale', k) < 0.5 then ago(7.5) else present() end) as known_at) as knowledge
        where s.status = 'FINALIZED' and draw('summarized', k) < :share
        """,
        share=SUMMARIZED_SHARE,
    ),
    fill(
        "reminder_events",
        """
        insert into reminder_events (id, user_id, event_type, trigger_at, due_on, title, message, priority, status,
            related_snapshot_id, metadata, dedupe_key, created_at)
        select key('reminder', k), user_id, 'zakat_anniversary_approaching', told, due, 'Your anniversary is near',
            'It is time to look at your wealth again.', pick(array['medium', 'high'], draw('priority', k)),
            case when back = 1 then 'shown' else pick(array['acknowledged', 'dismissed'], draw('reaction', k)) end,
            key('snapshot', k),
            jsonb_build_object('days_remaining', 30, 'anniversary_gregorian', due, 'lead_days', 30, 'anniversary_hijri',
                year + 1 || '-' || to_char(month, 'FM00') || '-' || to_char(day, 'FM00'), 'calendar', 'umm-al-qura'),
            user_id || '|zakat_anniversary_approaching|' || key('snapshot', k) || '|' || year + 1, told
        from calculations
            cross join lateral (select case when back = 1 then anniversary
                else anniversary - ((back - 1) * 354.37)::int end as due) as dates
            cross join lateral (select case when back = 1 then ago(4 * draw('told', k))
                else (due - 30 + time '03:00') at time zone 'UTC' end as told) as moments
        where (back = 1 and anniversary <= cast(present() as date) + 30 and draw('reminded', k) < :share)
            or (back > 1 and draw('reminded', k) < 0.6)
        """,
        share=REMINDED_SHARE,
    ),
    fill(
        "analytics_cache",
        """
        insert into analytics_cache (id, user_id, metric_type, start_date, end_date, value_enc, parameters,
            calculated_at, expires_at)
        select key('cached', k), id, metric, cast(ago(365) as date), cast(present() as date),
            'ZK1:' || encode(digest('cached', k), 'base64'), jsonb_build_object('months', 12), made,
            case when phase = 'old' then present() + interval '1 hour' else made + life end
        from (
            select k, pick(array['wealth_trend', 'asset_composition', 'payment_distribution', 'zakat_total'],
                draw('metric', k))
                as metric, case when draw('cached', k) < :old then 'old' when draw('cached', k) < :old + :expired
                    then 'expired'
                else 'fresh' end as phase
            from generate_series(1, per_user(:ratio)) as k
        ) as drawn
        cross join lateral (select case metric when 'wealth_trend' then interval '60 minutes' when 'zakat_total'
            then interval '15 minutes' else interval '30 minutes' end as life) as lives
        cross join lateral (select case phase when 'old' then ago(1.01 + draw('cached at', k))
            when 'expired' then present() - life - draw('cached at', k) * interval '20 hours'
            else present() - life * 0.3 * draw('cached at', k) end as made) as moments
        join people on i = someone('cached', k)
        """,
        ratio=CACHED_PER_USER,
        old=OLD_CACHE_SHARE,
        expired=EXPIRED_CACHE_SHARE,
    ),
)


def seal(connection: Connection, encrypt: Encrypt) -> None:
    """Replace the plain values by ciphertext, in the transaction that wrote them: no other transaction sees them."""
    for model, names in _SEALED.items():
        table = model.__table__
        for name in names:
            column = table.c[name]
            rows = connection.execute(
                select(table.c.id, table.c.user_id, column).where(column.not_like("ZK1:%")).order_by(table.c.id)
            ).all()
            ciphertexts = [encrypt(str(user), model.__tablename__, str(row), plain) for row, user, plain in rows]
            sealed = (
                func.unnest(
                    bindparam("rows", [str(row) for row, _, _ in rows], ARRAY(Text)).cast(ARRAY(Uuid)),
                    bindparam("ciphertexts", ciphertexts, ARRAY(Text)),
                )
                .table_valued("id", "ciphertext", name="sealed")
                .render_derived()
            )
            connection.execute(update(model).values({column: sealed.c.ciphertext}).where(table.c.id == sealed.c.id))

"""Rows that the jobs of earlier days would have left: figures, findings, health checks, alerts, notices, reports,
backups.

The figures of days and of six-hour windows are counted from the rows; those of requests are drawn. There are no reports
and backups of the last week: the jobs make them, because their files must exist too.
"""

from local.example.dataset.fill import fill

DAYS_OF_FIGURES = 500  # 365 are kept
FIGURES_MISSING_EVERY = 41  # days: on one in so many no figures were made, so its sessions must stay
REQUEST_HOURS = 26  # every minute of so many; before that, every half hour
REQUEST_DAYS = 16  # 14 are kept
INCIDENT_MINUTES = 130  # until now: one route is slow and fails often
ROUTES = ("/v1/items", "/v1/goals", "/v1/timers", "/v1/projects", "/v1/search", "/v1/export")
INCIDENT_ROUTE = "/v1/export"
REQUEST_PATTERNS = 200  # minutes that are drawn in full; every other is one of them
INCIDENT_PATTERNS = 20  # the last of them: one second and more
PERFORMANCE_DAYS = (15, 95, 380)  # of figures of 10 minutes, hours and days: 14, 90 and 365 are kept
HEALTH_DAYS = 32  # 30 are kept
UNWELL_SHARE = 0.01
ALERTS = 48
MESSAGES_PER_USER = 2.0
MESSAGE_DAYS = 115  # 90 are kept once sent
READ_SHARE = 0.5
PENDING_MESSAGES = 20
REPORT_DAYS = (8, 60)  # daily reports: from, to so many days ago
BACKUP_DAYS = 40

FILLS = (
    fill(
        "request_stats",
        """
        with requests as (
            select pattern, case when pattern > :patterns - :slow then 900 + 3500 * draw('latency', pattern * 1000 + n)
                else exp(3.9 + 0.8 * sqrt(-2 * ln(1 - draw('latency', pattern * 1000 + n)))
                    * cos(2 * pi() * draw('phase', pattern * 1000 + n))) end as ms
            from generate_series(1, :patterns) as pattern,
                generate_series(1, 8 + floor(60 * draw('requests', pattern))::int) as n
        ),
        bucketed as (
            select pattern, ceil(ms)::int as ms, case when ms <= 100 then greatest(1, ceil(ms)) when ms <= 1000
                then 90 + ceil(ms / 10) when ms <= 10000 then 180 + ceil(ms / 100) else 281 end::int as bucket
                    from requests
        ),
        patterns as (
            select pattern, sum(number)::int as n, sum(total) as sum_ms, array(
                select coalesce(max(counts.number) filter (where counts.bucket = position), 0)::int
                from generate_series(1, 281) as position left join (
                    select bucket, count(*) as number from bucketed
                        as own where own.pattern = grouped.pattern group by bucket
                ) as counts on counts.bucket = position
                group by position order by position
            ) as hist
            from (
                select pattern, bucket, count(*) as number, sum(ms) as total from bucketed group by pattern, bucket
            ) as grouped
            group by pattern
        )
        insert into request_stats (minute, route, n, errors, sum_ms, hist)
        select minute, route, n, case when incident then ceil(n * 0.25)
            else floor(n * 0.03 * draw('errors', number)) end::int,
            sum_ms, hist
        from (
            select minute, route, extract(epoch from minute)::bigint / 60 * 10 + position as number,
                route = :incident_route and minute >= present() - interval '1 minute' * :incident as incident
            from unnest(cast(:routes as text[])) with ordinality as routes (route, position), (
                select generate_series(date_trunc('minute', ago(:hours / 24.0)),
                    date_trunc('minute', present()) - interval '1 minute',
                    interval '1 minute') as minute
                union all
                select generate_series(date_trunc('hour', ago(:days)),
                    date_trunc('hour', ago(:hours / 24.0) - interval '1 hour'),
                    interval '30 minutes')
            ) as minutes
        ) as slots
        join patterns on pattern = case when incident
            then 1 + :patterns - :slow + floor(:slow * draw('pattern', number))::int
            else 1 + floor((:patterns - :slow) * draw('pattern', number))::int end
        """,
        patterns=REQUEST_PATTERNS,
        slow=INCIDENT_PATTERNS,
        incident=INCIDENT_MINUTES,
        incident_route=INCIDENT_ROUTE,
        routes=list(ROUTES),
        hours=REQUEST_HOURS,
        days=REQUEST_DAYS,
    ),
    # Counted from the rows. Yesterday's are today's work.
    fill(
        "metric_rollups",
        """
        with timers as (
            select cast(created_at as date) as day, count(*) as sessions,
                floor(sum(coalesce(nullif(actual_seconds, 0), planned_seconds, 0)) / 60)::int as minutes
            from timer_sessions where status = 'completed' group by 1
        ),
        present_people as (select day, count(*) as people from user_activity_days group by day),
        made as (select cast(created_at as date) as day, count(*) as goals from goals group by 1),
        done as (select cast(completed_at as date) as day, count(*) as goals
            from goals where completed_at is not null group by 1)
        insert into metric_rollups (scope, period_start, period_end, data, computed_at)
        select 'day', begins, begins + interval '1 day', jsonb_build_object(
                'active_users', coalesce(people, 0), 'completed_sessions', coalesce(sessions, 0),
                'focus_minutes', coalesce(minutes, 0), 'average_minutes', coalesce(minutes / nullif(sessions, 0), 0),
                'goals_created', coalesce(made.goals, 0), 'goals_completed', coalesce(done.goals, 0),
                'completion_rate', coalesce(round(100.0 * done.goals / made.goals, 1), 0)),
            begins + interval '1 day 1 hour'
        from generate_series(2, :days) as back
            cross join lateral (select cast(present() as date) - back as day) as days
            cross join lateral (select day::timestamp at time zone 'UTC' as begins) as start
            left join timers using (day) left join present_people using (day) left join made using (day) left
                join done using (day)
        where mod(back, :missing) <> 0
        """,
        days=DAYS_OF_FIGURES,
        missing=FIGURES_MISSING_EVERY,
    ),
    fill(
        "metric_rollups",
        """
        insert into metric_rollups (scope, period_start, period_end, data, computed_at)
        select 'behavior_6h', begins, begins + interval '6 hours',
            jsonb_build_object('sessions', count(timer_sessions.id),
                'mean_minutes', round(avg(coalesce(nullif(actual_seconds, 0), planned_seconds)) / 60, 1),
                'breaks', count(*) filter (where break_taken)), begins + interval '6 hours'
        from generate_series(date_trunc('day', ago(32)), present() - interval '12 hours', interval '6 hours') as begins
            left join timer_sessions on created_at >= begins and created_at < begins + interval '6 hours'
        group by begins
        union all
        select scope, begins, ends, jsonb_build_object('active_users', sum((data ->> 'active_users')::int),
                'sessions', sum((data ->> 'completed_sessions')::int), 'focus_minutes',
                    sum((data ->> 'focus_minutes')::int)),
            ends + interval '2 hours'
        from (
            select 'week' as scope, date_trunc('week', ago(14)) - interval '1 day' - interval '7 days' * back as begins,
                date_trunc('week', ago(14)) + interval '6 days' - interval '7 days' * back as ends
            from generate_series(0, 70) as back
            union all
            select 'month', date_trunc('month', present()) - interval '1 month' * back,
                date_trunc('month', present()) - interval '1 month' * (back - 1)
            from generate_series(2, 16) as back
        ) as periods
        join (select period_start, data from metric_rollups where scope = 'day') as days
            on days.period_start >= begins and days.period_start < ends
        group by scope, begins, ends
        """,
    ),
    fill(
        "metric_rollups",
        """
        insert into metric_rollups (scope, period_start, period_end, data, computed_at)
        select scope, begins, begins + length, jsonb_build_object('n', n, 'errors', floor(n * 0.02 * luck)::int,
                'error_rate', round((2 * luck)::numeric, 1), 'mean_ms', round((60 + 40 * luck)::numeric, 1),
                'p95_ms', 180 + floor(90 * luck)::int, 'p99_ms', 400 + floor(200 * luck)::int,
                'connections_active', 2 + floor(12 * luck)::int, 'connections_max', 4 + floor(20 * luck)::int),
            begins + length
        from unnest(array['perf_10m', 'perf_1h', 'perf_1d'], array[interval '10 minutes', '1 hour', '1 day'],
                cast(:days as int[]), array['hour', 'hour', 'day'], array[interval '20 minutes', '2 hours', '2 days'])
                as scopes (scope, length, days, unit, until)
            cross join lateral generate_series(date_trunc(unit, ago(days)), present() - until, length) as begins
            cross join lateral (select draw(scope, extract(epoch from begins)::bigint) as luck,
                (extract(epoch from length) * (0.8 + 0.4 * draw('load', extract(epoch from begins)::bigint)))::int
                    as n) as load
        """,
        days=list(PERFORMANCE_DAYS),
    ),
    fill(
        "metric_findings",
        """
        insert into metric_findings (id, kind, scope, period_start, metric, value, baseline, change_pct, significant,
            created_at)
        select key('finding', extract(epoch from period_start)::bigint), 'trend', scope, period_start,
            'completed_sessions',
            value, baseline, change, abs(change) > 50, computed_at
        from (
            select scope, period_start, computed_at, (data ->> 'completed_sessions')::float8 as value,
                lag((data ->> 'completed_sessions')::float8) over (order by period_start) as baseline
            from metric_rollups where scope = 'day'
        ) as days
        cross join lateral (select round((100 * (value - baseline) / nullif(baseline, 0))::numeric, 1) as change)
            as changes
        where abs(change) > 20
        union all
        select key('anomaly', back), 'anomaly', 'behavior_6h', date_trunc('day', ago(back * 23)), 'session_length',
            130 + back, 24, null, true, date_trunc('day', ago(back * 23)) + interval '6 hours'
        from generate_series(1, 18) as back
        """,
    ),
    fill(
        "health_checks",
        """
        insert into health_checks (checked_at, overall, components, duration_ms)
        select at, case when luck < :unwell then 'degraded' else 'healthy' end, jsonb_build_object(
                'database', jsonb_build_object('status', case when luck < :unwell then 'degraded' else 'healthy' end,
                    'ms', case when luck < :unwell then 1200 else 4 end),
                'object_store', jsonb_build_object('status', 'healthy', 'ms', 20)), 30 + floor(60 * luck)::int
        from generate_series(date_trunc('hour', ago(:days)), present() - interval '5 minutes', interval '5 minutes')
            as at
            cross join lateral (select draw('health', extract(epoch from at)::bigint) as luck) as drawn
        """,
        days=HEALTH_DAYS,
        unwell=UNWELL_SHARE,
    ),
    # Of every eight: five resolved, one acknowledged, one open and still seen, one open and quiet for more than a day.
    fill(
        "alerts",
        """
        insert into alerts (id, rule, fingerprint, severity, status, occurrences, details, first_seen_at, last_seen_at,
            notified_at, acknowledged_at, resolved_at)
        select key('alert', k), rule, rule || ':' || encode(digest('subject of alert', k), 'hex'),
            pick(array['medium', 'high', 'high', 'critical'], draw('alert severity', k)),
            case when mod(k, 8) < 5 then 'resolved' when mod(k, 8) = 5 then 'acknowledged' else 'open' end,
            1 + mod(k, 9), jsonb_build_object('count', 5 + mod(k, 9)), ago(seen + 0.2), ago(seen), ago(seen + 0.19),
            case when mod(k, 8) = 5 or mod(k, 16) = 1 then ago(seen - 0.02) end, case when mod(k, 8) < 5
                then ago(seen - 1) end
        from generate_series(1, :alerts) as k
            cross join lateral (select case when mod(k, 8) = 6 then 0.1 + 0.8 * draw('alert', k) when mod(k, 8) >= 5
                then 1.05 + draw('alert', k) else 2 + 60 * draw('alert', k) end as seen,
                pick(array['failed_logins_by_address', 'failed_logins_by_account', 'failed_second_factor',
                    'new_country',
                    'error_rate', 'slow_requests'], draw('alert rule', k)) as rule) as drawn
        """,
        alerts=ALERTS,
    ),
    fill(
        "notifications",
        """
        insert into notifications (id, recipient, channel, kind, title, body, data, dedupe_key, status, scheduled_for,
            created_at,
            sent_at, read_at, attempts)
        select key('message', k), id, channel, kind, initcap(replace(kind, '_', ' ')), 'From an earlier day.',
            cast('{}' as jsonb),
            'earlier|' || k || '|' || channel, status, at, at, case when status = 'sent'
                then at + interval '1 minute' end,
            case when status = 'sent' and channel = 'in_app' and draw('read', k) < :read
                then at + interval '3 hours' end,
            case when status = 'suppressed' then 0 when status = 'failed' then 3 else 1 end
        from generate_series(1, per_user(:ratio)) as k
            cross join lateral (select pick(array['email', 'in_app', 'in_app', 'push'], draw('channel', k)) as channel,
                pick(array['goal_deadline', 'goal_planning', 'weekly_review', 'break_reminder', 'monthly_report'],
                    draw('message kind', k)) as kind,
                case when draw('message status', k) < 0.97 then 'sent' when draw('message status', k) < 0.98
                    then 'failed'
                    else 'suppressed' end as status, ago(2 + :days * draw('message', k)) as at) as drawn
            join people on i = someone('message to', k)
        union all
        select key('waiting', k), id, 'email', 'weekly_review', 'Weekly review', 'Waiting to be sent.', '{}',
            'waiting|' || k || '|email', 'pending', ago(0.005), ago(0.005), null, null, 0
        from generate_series(1, :pending) as k join people on i = 20 + k
        """,
        ratio=MESSAGES_PER_USER,
        days=MESSAGE_DAYS,
        read=READ_SHARE,
        pending=PENDING_MESSAGES,
    ),
    fill(
        "reports",
        """
        insert into reports (id, kind, period_start, period_end, data, s3_key, created_at)
        select key(kind, extract(epoch from begins)::bigint), kind, begins, ends,
            jsonb_build_object('activities', count(*),
                'failed_logins', count(*) filter (where action = 'auth.login' and status = 'failure')),
            null, ends + interval '1 hour'
        from (
            select 'daily' as kind, date_trunc('day', ago(back)) as begins, date_trunc('day', ago(back - 1)) as ends
            from generate_series(:from_days, :to_days) as back
            union all
            select 'weekly', date_trunc('week', ago(21)) - interval '1 day' - interval '7 days' * back,
                date_trunc('week', ago(21)) + interval '6 days' - interval '7 days' * back
            from generate_series(0, 8) as back
            union all
            select 'monthly', date_trunc('month', present()) - interval '1 month' * back,
                date_trunc('month', present()) - interval '1 month' * (back - 1)
            from generate_series(2, 5) as back
        ) as periods left join audit_logs on occurred_at >= begins and occurred_at < ends
        group by kind, begins, ends
        """,
        from_days=REPORT_DAYS[0],
        to_days=REPORT_DAYS[1],
    ),
    # Long expired, one failed, and two past their end that are still marked as good. Nothing is stored under the keys.
    fill(
        "backups",
        """
        insert into backups (id, kind, tier, scheduled_for, status, location, bytes, sha256, expires_at, verified_at,
            error,
            started_at, finished_at)
        select key('backup', back), 'logical', tier, at, status,
            case when status <> 'failed' then 'backups/' || to_char(at, 'YYYY-MM-DD') || '/manifest.json' end,
            case when status <> 'failed' then 40000000 + floor(1000000 * draw('backup', back))::bigint end,
            case when status <> 'failed' then encode(digest('backup', back), 'hex') end, at + interval '1 day' * keep,
            case when status <> 'failed' then at + interval '9 minutes' end,
            case when status = 'failed' then 'the export ran out of time' end, at, at + interval '8 minutes'
        from generate_series(8, :days) as back
            cross join lateral (select date_trunc('day', ago(back)) + interval '90 minutes' as at) as moments
            cross join lateral (select case when extract(isodow from at) = 7 then 'weekly' else 'daily' end as tier,
                case when back = 10 then 'failed' when back in (8, 9) then 'succeeded' else 'expired' end as status)
                    as kinds
            cross join lateral (select case when back in (8, 9) then 7 when tier = 'weekly' then least(28, back)
                else 7 end as keep)
                as keeping
        """,
        days=BACKUP_DAYS,
    ),
    fill(
        "erasure_ledger",
        """
        insert into erasure_ledger (subject_ref, mode, executed_at)
        select subject_ref, case when options -> 'anonymizeContributions' = 'false' then 'deleted'
            else 'anonymized' end,
            completed_at
        from data_requests where request_type = 'DELETION' and status = 'COMPLETED'
        """,
    ),
)

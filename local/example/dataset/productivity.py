"""Goals, timers, and the records of use that the analytics count."""

from local.example.dataset.fill import fill

GOALS_PER_USER = 3.0
OPEN_GOAL_SHARE = 0.45
CANCELLED_GOAL_SHARE = 0.10  # the rest is completed
GOAL_DAYS = 420  # the oldest was closed so long ago; those of more than 200 days are archived already
DUE_TOMORROW_SHARE = 0.12  # of the open ones, by their owner's local date
DUE_TODAY_SHARE = 0.08  # nobody is told today; yesterday they were
DUE_NEXT_WEEK_SHARE = 0.25  # in 7 to 13 days
DUE_BETWEEN_SHARE = 0.10  # in 2 to 6 days: nobody is told
OVERDUE_SHARE = 0.10  # nobody is told either
NO_DATE_SHARE = 0.15  # the rest is due in 14 to 90 days
TIMERS_PER_USER = 10.0
TIMER_DAYS = 210  # a timer ran at most so long before its owner was last seen
ABANDONED_SHARE = 0.12
PAUSED_SHARE = 0.005
RUNNING_SHARE = 0.02  # of the people at work when it was last a working hour in UTC: running for 80 to 170 minutes then
FORGOTTEN_TIMERS_PER_USER = 0.002  # running for more than twelve hours
FRESH_TIMERS_PER_USER = 0.004  # running for less than fifty minutes
EVENTS_PER_USER = 6.0
EVENT_DAYS = 420  # 400 are kept
ACTIVE_DAYS = 40  # the days before somebody was last seen on which they may have been there
OLD_ACTIVE_DAYS = 440  # and single days long before

FILLS = (
    fill(
        "goals",
        """
        insert into goals (id, user_id, title, status, due_on, completed_at, cancelled_at, archived_at, created_at,
            updated_at)
        select key('goal', k), id, pick(array['Read', 'Write', 'Plan', 'Learn', 'Tidy', 'Run', 'Finish'],
            draw('verb', k))
                || ' ' || pick(array['two chapters', 'the report', 'a week of meals', 'ten words', 'the desk',
                    'five kilometres', 'the draft'], draw('object', k)),
            status, today + case when draw('due', k) < :tomorrow then 1
                when draw('due', k) < :tomorrow + :today then 0
                when draw('due', k) < :tomorrow + :today + :next_week then 7 + floor(7 * draw('due day', k))::int
                when draw('due', k) < :tomorrow + :today + :next_week + :between
                    then 2 + floor(5 * draw('due day', k))::int
                when draw('due', k) < :tomorrow + :today + :next_week + :between + :overdue
                    then -1 - floor(30 * draw('due day', k))::int
                when draw('due', k) < :tomorrow + :today + :next_week + :between + :overdue + :none then null
                else 14 + floor(77 * draw('due day', k))::int end,
            case when status = 'completed' then ago(closed) end, case when status = 'cancelled' then ago(closed) end,
            case when status <> 'active' and closed > 200 then ago(closed - 180) end,
            -- some open ones are two years old
            ago(made), ago(least(closed, made))
        from (
            select k, case when draw('goal', k) < :open then 'active' when draw('goal', k) < :open + :cancelled
                then 'cancelled' else 'completed' end as status, :days * power(draw('closed', k), 1.6) as closed
            from generate_series(1, per_user(:ratio)) as k
        ) as drawn
        cross join lateral (select case when status = 'active' then 700 * power(draw('made', k), 3)
            else closed + 60 * draw('made', k) end as made) as start
        join people on i = regular('goal', k)
        cross join lateral (select cast(present() at time zone clock as date) as today) as there
        """,
        ratio=GOALS_PER_USER,
        open=OPEN_GOAL_SHARE,
        cancelled=CANCELLED_GOAL_SHARE,
        days=GOAL_DAYS,
        tomorrow=DUE_TOMORROW_SHARE,
        today=DUE_TODAY_SHARE,
        next_week=DUE_NEXT_WEEK_SHARE,
        between=DUE_BETWEEN_SHARE,
        overdue=OVERDUE_SHARE,
        none=NO_DATE_SHARE,
    ),
    # Mostly in the daytime: the hour of a session is around 14:00 UTC, give or take eight.
    fill(
        "timer_sessions",
        """
        insert into timer_sessions (id, user_id, timer_type, status, planned_seconds, actual_seconds, break_taken,
            started_at, ended_at, created_at)
        select key('timer', k), id, timer_type, status, planned,
            case when status = 'completed' then case when draw('measured', k) < 0.97 then ran end
                when status = 'abandoned' then ran end,
            status = 'completed' and draw('break', k) < 0.4, begun,
            case when status in ('completed', 'abandoned') then begun + interval '1 second' * ran end, begun
        from (
            select k, case when draw('timer', k) < :abandoned then 'abandoned'
                when draw('timer', k) < :abandoned + :paused
                    then 'paused' else 'completed' end as status,
                pick(array['pomodoro', 'pomodoro', 'pomodoro', 'focus', 'short'], draw('timer type', k)) as timer_type
            from generate_series(1, per_user(:ratio)) as k
        ) as drawn
        join people on i = regular('timer', k) and idle_days is not null
        cross join lateral (select case timer_type when 'pomodoro' then 1500 when 'focus' then 3000 else 900 end
            as planned)
            as plans
        cross join lateral (select case when status = 'abandoned' then ceil(planned * 0.6 * draw('ran', k))::int
            else floor(planned * (0.9 + 0.2 * draw('ran', k)))::int end as ran) as lengths
        cross join lateral (select ago(idle_days + least(:days, joined_days - idle_days) * power(draw('timer day', k),
            1.2))
            as moment) as moments
        cross join lateral (select date_trunc('day', moment)
            + interval '1 hour' * (14 + 8 * (draw('hour', k) + draw('hour', -k) - 1)) as usual offset 0) as hours
        cross join lateral (select case when usual + interval '1 hour' < present() then usual
            else usual - interval '1 day' end as begun offset 0) as start
        """,
        ratio=TIMERS_PER_USER,
        days=TIMER_DAYS,
        abandoned=ABANDONED_SHARE,
        paused=PAUSED_SHARE,
    ),
    # Running: since it was last a working hour in UTC, Monday to Friday, 09:00 to 17:59, if need be over the weekend;
    # forgotten since yesterday; and just begun.
    fill(
        "timer_sessions",
        """
        insert into timer_sessions (id, user_id, status, planned_seconds, started_at, created_at)
        select key('running', k), id, 'running', 3000, begun, begun
        from (
            select i as k, id, worked - interval '1 minute' * (80 + 90 * draw('running since', i)) as begun
            from (
                select max(minute) as worked
                from generate_series(present() - interval '3 days', present(), '1 minute') as minute
                where extract(hour from minute) between 9 and 17 and extract(isodow from minute) <= 5
            ) as last, people
            where not gone and draw('running', i) < :share
                and extract(hour from worked at time zone clock) between 9 and 17
                and extract(isodow from worked at time zone clock) <= 5
            union all
            select 1000000000 + k, id, ago((13 + 20 * draw('forgotten', k)) / 24)
            from generate_series(1, per_user(:forgotten)) as k join people on i = someone('forgotten by', k)
            union all
            select 2000000000 + k, id, ago(48 * draw('fresh', k) / 1440)
            from generate_series(1, per_user(:fresh)) as k join people on i = someone('fresh by', k)
        ) as timers
        """,
        share=RUNNING_SHARE,
        forgotten=FORGOTTEN_TIMERS_PER_USER,
        fresh=FRESH_TIMERS_PER_USER,
    ),
    fill(
        "feature_events",
        """
        insert into feature_events (user_id, feature, occurred_at)
        select case when draw('known', k) < 0.98 then id end,
            pick(array['dashboard', 'dashboard', 'dashboard', 'timer', 'timer', 'goals', 'goals', 'settings', 'export',
                'insights'], draw('feature', k)), ago(:days * power(draw('event', k), 1.7))
        from generate_series(1, per_user(:ratio)) as k join people on i = regular('event', k)
        """,
        ratio=EVENTS_PER_USER,
        days=EVENT_DAYS,
    ),
    fill(
        "user_activity_days",
        """
        insert into user_activity_days (user_id, day)
        select id, cast(ago(idle_days + back) as date)
        from people, lateral (
            select back from generate_series(0, :days) as back
            where back = 0 or draw('active', i::bigint * 1000 + back) < 0.05 + 0.5 * power(draw('keen', i), 2)
            union all
            select back from generate_series(:days + 21, :old, 29) as back
            where draw('active', i::bigint * 1000 + back) < 0.15
        ) as days
        where not gone and idle_days + back <= joined_days
        """,
        days=ACTIVE_DAYS,
        old=OLD_ACTIVE_DAYS,
    ),
)

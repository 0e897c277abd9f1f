"""Roll-ups of a day, a week and a month, each against one hand-written statement in the same database.

`BENCH_ROWS=1000000 python -m bench analytics` takes fewer timer sessions than the 10 million.
"""

import datetime as dt
import os
from functools import partial

from sqlalchemy import Engine, text

from bench.example import database
from bench.invocation import in_own_process, invoked
from bench.paired import line, paired, seconds

SESSIONS = int(os.environ.get("BENCH_ROWS", "10_000_000"))
DAYS = 60
NOW = dt.datetime(2026, 3, 1, 3, tzinfo=dt.UTC)  # a Sunday and the first of a month: each roll-up is due

FILL = (
    """
    insert into users (email, created_at, last_login_at, last_activity_at)
    select i || '@example.com', :now - mod(i, 700) * interval '1 day', :now - mod(i, 50) * interval '1 day',
           :now - mod(i, 45) * interval '1 day'
      from generate_series(1, greatest(1, :rows / 100)) i
    """,
    "create temporary table people as select id, row_number() over () - 1 as i from users",
    "create unique index on people (i)",
    """
    insert into timer_sessions (user_id, timer_type, status, planned_seconds, actual_seconds, break_taken, started_at,
           created_at)
    select id, (array['pomodoro', 'focus', 'short'])[1 + mod(k, 3)],
           case when mod(k, 10) = 0 then 'abandoned' else 'completed' end, 1500, 1200 + mod(k, 600), mod(k, 3) = 0,
           at, at
      from generate_series(0, :rows - 1) k
      join people on i = mod(k * bigint '7368787', greatest(1, :rows / 100))
      cross join lateral (select :now - (:rows - k) * (:days * interval '1 day' / :rows) as at) as moment
    """,
    """
    insert into goals (user_id, title, status, completed_at, created_at)
    select id, 'Read', case when mod(k, 2) = 0 then 'completed' else 'active' end,
           case when mod(k, 2) = 0 then at end, at
      from generate_series(1, :rows / 10) k join people on i = mod(k, greatest(1, :rows / 100))
      cross join lateral (select :now - mod(k, 4000) * interval '1 hour' as at) as moment
    """,
    """
    insert into user_activity_days (user_id, day)
    select id, date '2026-03-01' - back from people, generate_series(0, :days) back where mod(i + back, 3) = 0
    """,
    """
    insert into feature_events (feature, occurred_at)
    select (array['timer', 'goals', 'export'])[1 + mod(k, 3)], :now - mod(k, :days * 24) * interval '1 hour'
      from generate_series(1, :rows / 10) k
    """,
)

_UPSERT = """
    insert into nightshift.metric_rollups (scope, period_start, period_end, data)
    select 'by hand', :start, :end, to_jsonb(figures) from ({}) figures
    on conflict (scope, period_start) do update set data = excluded.data
"""

BY_HAND = {
    "daily_analytics": """
        select
            (select count(*) from user_activity_days where day >= cast(:start as date) and day < cast(:end as date))
                as active_users,
            timers.*, done.*
        from (select count(*), sum(coalesce(nullif(actual_seconds, 0), planned_seconds)) / 60
                from timer_sessions where status = 'completed' and created_at >= :start and created_at < :end) timers,
             (select count(*) filter (where created_at >= :start and created_at < :end) as created,
                     count(*) filter (where completed_at >= :start and completed_at < :end) as completed
                from goals) done
    """,
    "weekly_aggregation": """
        select
            (select count(distinct user_id) from user_activity_days
              where day >= cast(:start as date) and day < cast(:end as date)) as active_users,
            (select jsonb_agg(slots) from (
                select timer_type, extract(dow from created_at), extract(hour from created_at), count(*),
                       sum(coalesce(nullif(actual_seconds, 0), planned_seconds))
                  from timer_sessions where status = 'completed' and created_at >= :start and created_at < :end
                 group by 1, 2, 3) slots) as slots,
            seen.*, done.*
        from (select count(*) filter (where created_at >= :start and created_at < :end) as new_users,
                     count(*) filter (where created_at <= :end - interval '1 day') as n1,
                     count(*) filter (where created_at <= :end - interval '7 days') as n7,
                     count(*) filter (where created_at <= :end - interval '30 days') as n30,
                     count(*) filter (where created_at <= :end - interval '1 day'
                         and greatest(last_login_at, last_activity_at) >= created_at + interval '1 day') as d1,
                     count(*) filter (where created_at <= :end - interval '7 days'
                         and greatest(last_login_at, last_activity_at) >= created_at + interval '7 days') as d7,
                     count(*) filter (where created_at <= :end - interval '30 days'
                         and greatest(last_login_at, last_activity_at) >= created_at + interval '30 days') as d30
                from users where deleted_at is null and anonymized_at is null) seen,
             (select count(*), count(*) filter (where completed_at < :end)
                from goals where created_at >= :start and created_at < :end) done
    """,
    "monthly_insights": """
        select
            (select count(distinct user_id) from user_activity_days
              where day >= cast(:start as date) and day < cast(:end as date)) as active_users,
            (select jsonb_agg(features) from (
                select feature, count(*) from feature_events
                 where occurred_at >= :start and occurred_at < :end group by 1) features) as features,
            (select jsonb_agg(segments) from (
                select case when created_at >= :start then 'new'
                            when coalesce(greatest(last_login_at, last_activity_at), '-infinity')
                                < :now - interval '30 days' then 'churned'
                            when greatest(last_login_at, last_activity_at) < :now - interval '14 days' then 'at_risk'
                            when n > 20 then 'power' else 'active' end, count(*), sum(n)
                  from users left join (
                      select user_id, count(*) as n from timer_sessions
                       where status = 'completed' and created_at >= :start and created_at < :end group by user_id
                  ) timers on timers.user_id = users.id
                 where deleted_at is null and anonymized_at is null and created_at < :end
                 group by 1) segments) as segments,
            done.*
        from (select count(*) filter (where created_at >= :start and created_at < :end) as created,
                     count(*) filter (where completed_at >= :start and completed_at < :end) as completed
                from goals) done
    """,
}
PERIOD = {
    "daily_analytics": dt.datetime(2026, 2, 28, tzinfo=dt.UTC),
    "weekly_aggregation": dt.datetime(2026, 2, 22, tzinfo=dt.UTC),
    "monthly_insights": dt.datetime(2026, 2, 1, tzinfo=dt.UTC),
}
END = dt.datetime(2026, 3, 1, tzinfo=dt.UTC)

EVENT = {"scheduled_for": NOW.isoformat(), "force": True}


def fill(engine: Engine) -> None:
    """Users, timer sessions, goals and records of use. The sessions are in the order of their creation."""
    given = {"now": NOW, "rows": SESSIONS, "days": DAYS}
    indexes = ("ts_user_created", "ts_created", "ts_running")
    with engine.begin() as connection:
        connection.execute(text("set local session_replication_role = replica"))  # references hold by construction
        definitions = [connection.scalar(text(f"select pg_get_indexdef('{name}'::regclass)")) for name in indexes]
        connection.execute(text(f"drop index {', '.join(indexes)}"))
        connection.execute(text("alter table timer_sessions drop constraint timer_sessions_pkey"))
        for statement in FILL:
            used = {name: value for name, value in given.items() if f":{name}" in statement}
            typed = statement.replace(":now", "cast(:now as timestamptz)").replace(":rows", "cast(:rows as bigint)")
            connection.execute(text(typed.replace(":days", "cast(:days as int)")), used)
        for definition in ("alter table timer_sessions add primary key (id)", *definitions):
            connection.execute(text(str(definition)))
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("vacuum analyze"))
        connection.execute(text("checkpoint"))


def by_hand(engine: Engine, name: str) -> float:
    """All the figures in one statement."""
    given = {"start": PERIOD[name], "end": END, "now": NOW}
    statement = _UPSERT.format(BY_HAND[name])
    for key in given:
        statement = statement.replace(f":{key}", f"cast(:{key} as timestamptz)")
    with engine.connect() as connection:
        connection.execute(text("select 1"))
        connection.rollback()

        def work() -> None:
            connection.execute(text(statement), {key: value for key, value in given.items() if f":{key}" in statement})
            connection.commit()

        return seconds(work)


def main() -> None:
    """Print the figures."""
    print(f"Roll-ups over {SESSIONS:,} timer sessions of {DAYS} days (whole invocation against one statement)")
    with database() as engine:
        fill(engine)
        for name in BY_HAND:
            with engine.connect() as connection:
                among = text("select count(*) from timer_sessions where created_at >= :start and created_at < :end")
                rows = connection.scalar(among, {"start": PERIOD[name], "end": END})
            job = name.replace("_", "-")
            module = f"functions.productivity.{name}"

            def ours(module: str = module) -> float:
                return invoked(engine, module, EVENT).seconds

            ratios, mine, other = paired(ours, partial(by_hand, engine, name), pairs=5)
            line(f"{job}, {rows:,} sessions: time, ours / by hand", ratios)
            line("    medians, ours and by hand", f"{mine * 1000:.0f} ms, {other * 1000:.0f} ms")
            peak, _ = in_own_process(engine, module, EVENT)
            line("    peak memory of the process", f"{peak:.0f} MB", "aim: under 256 MB")

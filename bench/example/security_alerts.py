"""Security alerts at a million login attempts: a night's outage made good, an ordinary quarter of an hour, and memory.

`BENCH_ROWS=100000 python -m bench security_alerts` takes fewer attempts.
"""

import datetime as dt
import os
import time

from sqlalchemy import Engine, event, text

from bench.example import database
from bench.invocation import in_own_process, invoked
from bench.paired import line, paired

ATTEMPTS = int(os.environ.get("BENCH_ROWS", "1_000_000"))
NOW = dt.datetime(2026, 3, 1, 10, tzinfo=dt.UTC)
DAY, QUARTER = dt.timedelta(days=1), dt.timedelta(minutes=15)

FILL = (
    """
    insert into users (email, role, created_at)
    select i || '@example.com', case i when 1 then 'admin' else 'user' end, :now from generate_series(1, :rows / 10) i
    on conflict do nothing
    """,
    "create temporary table people on commit drop as select id, row_number() over () - 1 as i from users",
    "create unique index on people (i)",
    # One in five fails. One in fifty belongs to an attack: 50 failures in 50 seconds from one address at one account.
    """
    insert into login_attempts (user_id, email, success, ip, attempted_at)
    select id, 'somebody@example.com', not attack and mod(k, 5) <> 0,
           inet '10.0.0.0' + case when attack then k / 2500 else mod(k * bigint '7368787', :rows / 5) end,
           begins + case when attack then k / 2500 * 2500 * step + mod(k, 2500) * interval '1 s' else k * step end
      from generate_series(0, :rows - 1) k
      cross join (select cast(:now as timestamptz) - cast(:length as interval) as begins,
                         cast(:length as interval) / :rows as step) as time
      cross join lateral (select mod(k, 2500) < 50 as attack) as kind
      join people on i = case when attack then k / 2500 else mod(k * bigint '6700417', :rows / 10) end
    """,
)

# The three rules about attempts to sign in, each as one would write it down.
BY_HAND = """
    with failed as (
        select ip::text as subject, attempted_at,
               count(*) over (partition by ip order by attempted_at range interval '30 minutes' preceding) as n
          from login_attempts where not success and attempted_at >= :since and attempted_at < :until
        union all
        select user_id::text, attempted_at,
               count(*) over (partition by user_id order by attempted_at range interval '30 minutes' preceding)
          from login_attempts where not success and attempted_at >= :since and attempted_at < :until
        union all
        select user_id::text, attempted_at, failures
          from (select user_id, attempted_at, success, count(*) filter (where not success) over
                       (partition by user_id order by attempted_at range interval '30 minutes' preceding) as failures
                  from login_attempts where attempted_at >= :since and attempted_at < :until) as attempt
         where success
    )
    insert into nightshift.alerts
           (rule, fingerprint, severity, details, first_seen_at, last_seen_at, occurrences)
    select 'by hand', subject, 'high', '{}', min(attempted_at), max(attempted_at), count(*)
      from failed where n >= 5 group by subject
"""

MODULE = "functions.administration.security_alerts"
EVENT = {"scheduled_for": NOW.isoformat()}


def fill(engine: Engine, length: dt.timedelta) -> None:
    """The attempts, spread evenly over the time before now."""
    with engine.begin() as connection:
        connection.execute(text("truncate login_attempts"))
        for statement in FILL:
            connection.execute(text(statement), {"rows": ATTEMPTS, "now": NOW, "length": length})
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("vacuum analyze login_attempts, users"))


def last_good_run(engine: Engine, at: dt.datetime) -> None:
    """Nothing is known yet but that the job ran well at an instant."""
    with engine.begin() as connection:
        connection.execute(text("truncate nightshift.alerts, nightshift.notifications, nightshift.jobs cascade"))
        connection.execute(text("insert into nightshift.jobs (name) values ('security-alerts')"))
        connection.execute(
            text(
                "insert into nightshift.runs (job, scheduled_for, trigger, state, max_attempts, finished_at)"
                " values ('security-alerts', :at, 'schedule', 'succeeded', 3, :at)"
            ),
            {"at": at},
        )


def by_hand(engine: Engine) -> float:
    with engine.connect() as connection:
        connection.execute(text("select 1"))
        started = time.perf_counter()
        connection.execute(text(BY_HAND), {"since": NOW - DAY, "until": NOW})
        connection.commit()
        return time.perf_counter() - started


def main() -> None:
    """Print the figures."""
    print(f"Security alerts, {ATTEMPTS:,} login attempts (whole invocation; by hand: one statement for three rules)")
    with database() as engine:
        fill(engine, DAY)
        counters: dict[str, int] = {}

        def ours() -> float:
            last_good_run(engine, NOW - 2 * DAY)
            run = invoked(engine, MODULE, EVENT)
            counters.update(run.counters)
            return run.seconds

        def reference() -> float:
            last_good_run(engine, NOW - 2 * DAY)
            return by_hand(engine)

        ratios, mine, other = paired(ours, reference, pairs=3)
        line("all within the 24 hours after an outage: time, ours / by hand", ratios)
        line("    medians, ours and by hand", f"{mine:.2f} s, {other:.2f} s")
        line("    alerts, mails", f"{counters['alerts_new']:,}, {counters['notified']}")

        last_good_run(engine, NOW - 2 * DAY)
        megabytes, _ = in_own_process(engine, MODULE, EVENT)
        line("    peak memory of the process", f"{megabytes:.0f} MB", "aim: under 256 MB")

        fill(engine, 7 * DAY)
        quiet, statements = [], 0
        for _ in range(6):
            last_good_run(engine, NOW - QUARTER)
            quiet.append(invoked(engine, MODULE, EVENT).seconds)
        from nightshift.database import DatabaseSettings
        from nightshift.database.connection import _engine

        used = _engine(DatabaseSettings.from_environment())

        def count(*_: object) -> None:
            nonlocal statements
            statements += 1

        event.listen(used, "before_cursor_execute", count)
        last_good_run(engine, NOW - QUARTER)
        invoked(engine, MODULE, EVENT)
        event.remove(used, "before_cursor_execute", count)
        line("an ordinary quarter of an hour, the attempts spread over 7 days", f"{sorted(quiet)[3] * 1000:.0f} ms")
        line("    statements, the wrapper's included", statements)

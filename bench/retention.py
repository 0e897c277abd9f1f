"""Retention: the whole invocation of a job against one DELETE written by hand, in the same database."""

import datetime as dt
import time

from sqlalchemy import Engine, text

from bench.invocation import in_own_process, invoked
from bench.paired import database, line, paired

ROWS = 1_000_000
NOW = dt.datetime(2026, 3, 1, 2, tzinfo=dt.UTC)
CUTOFF = NOW - dt.timedelta(days=7)

MODULE = "functions.identity.login_attempt_cleanup"
EVENT = {"scheduled_for": NOW.isoformat(), "force": True, "parameters": {"max_share": 100}}


def fill(engine: Engine, rows: int, share: float, *, in_order: bool) -> None:
    """Login attempts of which a share is past its 7 days, in the order of their age on the heap or mixed."""
    age = "i" if in_order else "mod(i * bigint '7368787', :rows)"
    with engine.begin() as connection:
        connection.execute(text("truncate login_attempts"))
        connection.execute(
            text(
                f"""
                insert into login_attempts (email, success, ip, user_agent, attempted_at)
                select 'user' || i || '@example.com', false, '192.0.2.1', 'Mozilla/5.0',
                       cast(:cutoff as timestamptz) + ({age} - :old) * interval '1 ms'
                  from generate_series(0, :rows - 1) i
                """  # noqa: S608 - one of two constants
            ),
            {"rows": rows, "old": int(rows * share), "cutoff": CUTOFF},
        )
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("vacuum analyze login_attempts"))
        connection.execute(text("checkpoint"))


def by_hand(engine: Engine) -> float:
    """One statement in one transaction, the way everybody writes it."""
    with engine.connect() as connection:
        connection.execute(text("select 1"))  # connect before the clock starts, as the job's figure has no start-up
        connection.rollback()
        started = time.perf_counter()
        connection.execute(text("delete from login_attempts where attempted_at < :cutoff"), {"cutoff": CUTOFF})
        connection.commit()
        return time.perf_counter() - started


def main() -> None:
    """Print the figures."""
    print("Retention against one hand-written DELETE (whole invocation; login_attempts, three indexes)")
    with database() as engine:
        longest = 0
        for share, aim in ((0.5, "aim: rate at least 0.85"), (0.001, "aim: time at most 1.5")):
            for in_order in (True, False):

                def ours(share: float = share, in_order: bool = in_order) -> float:
                    nonlocal longest
                    fill(engine, ROWS, share, in_order=in_order)
                    run = invoked(engine, MODULE, EVENT)
                    longest = max((longest, *run.batches_ms))
                    return run.seconds

                def reference(share: float = share, in_order: bool = in_order) -> float:
                    fill(engine, ROWS, share, in_order=in_order)
                    return by_hand(engine)

                ratios, mine, other = paired(ours, reference, pairs=3)
                order = "in order of age" if in_order else "ages mixed"
                what = f"{ROWS:,} rows, {share:.1%} expired, {order}"
                if share >= 0.5:
                    rate = sorted(1 / value for value in ratios.values)
                    line(f"{what}: rate, ours / by hand", f"{rate[1]:.2f} (from {rate[0]:.2f} to {rate[-1]:.2f})", aim)
                    line("    longest transaction of ours", f"{longest} ms", "aim: at most 250 ms")
                    line("    medians, ours and by hand", f"{mine:.2f} s, {other:.2f} s")
                else:
                    line(f"{what}: time, ours / by hand", ratios, aim)
                    line("    medians, ours and by hand", f"{mine * 1000:.1f} ms, {other * 1000:.1f} ms")
        for rows in (1_000_000, 5_000_000):
            fill(engine, rows, 0.5, in_order=False)
            megabytes, counters = in_own_process(engine, MODULE, EVENT)
            assert counters["deleted"] == rows // 2
            what = f"{rows:,} rows, half expired: peak memory of the process"
            line(what, f"{megabytes:.0f} MB", "aim: flat, under 200 MB")

"""Retention: the whole invocation of a job against one DELETE written by hand, in the same database."""

import datetime as dt
import time
from statistics import median

from sqlalchemy import Engine, text

from bench import logins
from bench.invocation import in_own_process, invoked
from bench.paired import Ratios, database, line

ROWS = 1_000_000
DENSE = 0.5
PAIRS = 5
NOW = dt.datetime(2026, 3, 1, 2, tzinfo=dt.UTC)
CUTOFF = NOW - dt.timedelta(days=7)

MODULE = logins.__name__
EVENT = {"scheduled_for": NOW.isoformat(), "force": True, "parameters": {"max_share": 100}}


def fill(engine: Engine, rows: int, share: float, *, in_order: bool) -> None:
    """Logins of which a share is past its 7 days, in the order of their age on the heap or mixed."""
    age = "i" if in_order else "mod(i * bigint '7368787', :rows)"
    with engine.begin() as connection:
        connection.execute(text("truncate logins"))
        connection.execute(
            text(
                f"""
                insert into logins (email, success, ip, user_agent, attempted_at)
                select 'user' || i || '@example.com', false, '192.0.2.1', 'Mozilla/5.0',
                       cast(:cutoff as timestamptz) + ({age} - :old) * interval '1 ms'
                  from generate_series(0, :rows - 1) i
                """  # noqa: S608 - one of two constants
            ),
            {"rows": rows, "old": int(rows * share), "cutoff": CUTOFF},
        )
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("vacuum analyze logins"))
        connection.execute(text("checkpoint"))


def by_hand(engine: Engine) -> float:
    """One statement in one transaction, the way everybody writes it."""
    with engine.connect() as connection:
        connection.execute(text("select 1"))  # connect before the clock starts, as the job's figure has no start-up
        connection.rollback()
        started = time.perf_counter()
        connection.execute(text("delete from logins where attempted_at < :cutoff"), {"cutoff": CUTOFF})
        connection.commit()
        return time.perf_counter() - started


def measure(engine: Engine, share: float, *, in_order: bool) -> None:
    """Both ways in turn on the same rows, and the lines about it."""
    whole, deleting, hand, longest = [], [], [], 0
    for number in range(PAIRS):
        # Every other pair the other way round, so that neither always finds the warmer cache.
        for ours in (True, False) if number % 2 == 0 else (False, True):
            fill(engine, ROWS, share, in_order=in_order)
            if ours:
                run = invoked(engine, MODULE, EVENT)
                whole.append(run.seconds)
                deleting.append(sum(run.batches_ms) / 1000)
                longest = max((longest, *run.batches_ms))
            else:
                hand.append(by_hand(engine))
    what = f"{ROWS:,} rows, {share:.1%} expired, {'in order of age' if in_order else 'ages mixed'}"
    if share >= DENSE:
        line(f"{what}: rate of the invocation / by hand", _quotients(hand, whole), "aim: at least 0.85")
        line("    rate of its deleting transactions alone / by hand", _quotients(hand, deleting))
        line("    longest transaction of ours", f"{longest} ms", "aim: at most 250 ms")
    else:
        line(f"{what}: time of the invocation / by hand", _quotients(whole, hand))
        line("    time of its deleting transactions alone / by hand", _quotients(deleting, hand), "aim: at most 1.5")
    line("    medians, ours and by hand", f"{median(whole) * 1000:.1f} ms, {median(hand) * 1000:.1f} ms")


def _quotients(above: list[float], below: list[float]) -> Ratios:
    return Ratios(tuple(one / other for one, other in zip(above, below, strict=True)))


def main() -> None:
    """Print the figures."""
    print("Retention against one hand-written DELETE (whole invocation; logins, five indexes)")
    with database() as engine:
        logins.make(engine)
        invoked(engine, MODULE, {})  # the first run compiles its statements
        for share in (DENSE, 0.001):
            for in_order in (True, False):
                measure(engine, share, in_order=in_order)
        for rows in (1_000_000, 5_000_000):
            fill(engine, rows, DENSE, in_order=False)
            megabytes, counters = in_own_process(engine, MODULE, EVENT)
            assert counters["deleted"] == rows // 2
            what = f"{rows:,} rows, half expired: peak memory of the process"
            line(what, f"{megabytes:.0f} MB", "aim: flat, under 200 MB")

"""Anonymisation of audit rows, including nested JSON, against one hand-written UPDATE.

`BENCH_ROWS=100000 python -m bench anonymize_audit_logs` takes fewer rows than the million.
"""

import datetime as dt
import os
import time

from sqlalchemy import Engine, text

from bench.example import database
from bench.invocation import in_own_process, invoked
from bench.paired import line, paired

ROWS = int(os.environ.get("BENCH_ROWS", "1_000_000"))
NOW = dt.datetime(2026, 3, 1, 3, tzinfo=dt.UTC)
MODULE = "functions.community.anonymize_audit_logs"
EVENT = {"scheduled_for": NOW.isoformat(), "force": True, "parameters": {"max_share": 100}}

# Half are older than a year. One in three has personal data, two levels deep; the rest has counts and ids.
FILL = """
    insert into audit_logs (occurred_at, action, ip, user_agent, metadata)
    select cast(:now as timestamptz) - interval '1 year'
           + (mod(i * bigint '7368787', :rows) - :rows / 2) * interval '1 s',
           'user.update', '192.0.2.1', 'Mozilla/5.0',
           case when mod(i, 3) = 0
                then jsonb_build_object('user', jsonb_build_object('e_mail', i || '@example.com', 'Full Name', 'N'),
                                        'note', 'asked by ' || i || '@example.com', 'tries', jsonb_build_array(1, 2, i))
                else jsonb_build_object('count', i, 'scope', 'project', 'tags', jsonb_build_array('a', 'b')) end
      from generate_series(0, :rows - 1) i
"""

BY_HAND = """
    update audit_logs
       set actor_id = null, session_id = null, ip = null, user_agent = null, anonymized_at = :now,
           resource_id = nightshift.mask_emails(resource_id), metadata = nightshift.redact(metadata),
           changes = nightshift.redact(changes)
     where occurred_at < cast(:now as timestamptz) - interval '1 year' and anonymized_at is null and not legal_hold
"""


def fill(engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(text("select set_config('nightshift.run_id', 'bench', true)"))
        connection.execute(text("truncate audit_logs"))
        connection.execute(text(FILL), {"now": NOW, "rows": ROWS})
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("vacuum analyze audit_logs"))
        connection.execute(text("checkpoint"))


def by_hand(engine: Engine) -> float:
    fill(engine)
    with engine.connect() as connection:
        connection.execute(text("select set_config('nightshift.run_id', 'bench', true)"))
        started = time.perf_counter()
        connection.execute(text(BY_HAND), {"now": NOW})
        connection.commit()
        return time.perf_counter() - started


def main() -> None:
    """Print the figures."""
    print(f"Anonymisation of audit rows, {ROWS:,} of which half are old (whole invocation; ten indexes)")
    with database() as engine:
        longest = 0

        def ours() -> float:
            nonlocal longest
            fill(engine)
            run = invoked(engine, MODULE, EVENT)
            assert run.counters["anonymized"] == ROWS // 2
            longest = max((longest, *run.batches_ms))
            return run.seconds

        ratios, mine, other = paired(ours, lambda: by_hand(engine), pairs=3)
        line("time, ours / one UPDATE by hand", ratios)
        line("    medians, ours and by hand", f"{mine:.2f} s, {other:.2f} s")
        line("    longest transaction of ours", f"{longest} ms")
        fill(engine)
        megabytes, _ = in_own_process(engine, MODULE, EVENT)
        line("    peak memory of the process", f"{megabytes:.0f} MB", "aim: under 256 MB")

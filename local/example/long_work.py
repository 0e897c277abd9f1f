"""Work that takes long enough for the demonstration to kill it in its middle."""

from functools import partial

from sqlalchemy import NullPool, create_engine, text

from functions.identity import login_attempt_cleanup
from local.accidents import LongWork
from local.machine import DATABASE, Machine

ROWS = 60_000

ADDED = """
    insert into login_attempts (success, attempted_at)
        select false, now() - interval '30 days' - i * interval '1 ms' from generate_series(1, :rows) i
"""

SLOWLY = """
    create function dawdle() returns trigger language plpgsql as
        'begin if mod(old.id, 100) = 0 then perform pg_sleep(0.004); end if; return old; end';
    create trigger dawdle before delete on login_attempts for each row execute function dawdle()
"""
"""About three seconds for all rows, so that a fast machine can be caught in the middle as well."""


def long_work(running: Machine) -> LongWork:
    """Old login attempts, which go slowly."""
    _carry_out(running, ADDED)
    _carry_out(running, SLOWLY)
    hurry = partial(_carry_out, running, "drop function dawdle cascade")
    return LongWork(login_attempt_cleanup.job.name, ROWS, hurry)


def _carry_out(running: Machine, statement: str) -> None:
    with create_engine(running.postgres.url(DATABASE), poolclass=NullPool).begin() as connection:
        connection.execute(text(statement), {"rows": ROWS} if ":rows" in statement else {})

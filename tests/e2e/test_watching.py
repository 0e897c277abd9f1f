"""A person at a terminal: runs a job, leaves it, finds it again, watches it to its end, and reads what it logged."""

import os
import re
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

import pytest
from sqlalchemy import Connection, Engine, text
from sqlalchemy.orm import Session

from local.machine import Machine
from tests.e2e.conftest import ITEMS

pytestmark = pytest.mark.e2e

ROWS = 4_000
GATE = 4711
"""The number of an advisory lock, as the trigger below names it, too."""

UUID = r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"

Begun = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def begun(machine: Machine, project: Path) -> Iterator[Begun]:
    """Starts the command, and ends it with the test."""
    started: list[subprocess.Popen[str]] = []

    def begin(*arguments: str) -> "subprocess.Popen[str]":
        started.append(
            subprocess.Popen(
                [project / "cli" / "nightshift", *arguments],
                env=machine.aws.environment(),
                cwd="/",
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                start_new_session=True,
            )
        )
        return started[-1]

    yield begin
    for process in started:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


@pytest.fixture
def gate(engine: Engine, session: Session) -> Iterator[Connection]:
    """Lines of carts that are due, of which none goes as long as the lock of this connection is held."""
    session.execute(
        text(
            """
            truncate cart_items;
            create function waits() returns trigger language plpgsql as
                'begin
                     while not pg_try_advisory_xact_lock_shared(4711) loop perform pg_sleep(0.05); end loop;
                     return null;
                 end';
            create trigger waits before delete on cart_items for each statement execute function waits();
            """
        )
    )
    items = text("insert into cart_items (removed_at) select now() - interval '9 days' from generate_series(1, :rows)")
    session.execute(items, {"rows": ROWS})
    session.commit()
    with engine.connect() as connection:
        connection.execute(text("select pg_advisory_lock(:gate)"), {"gate": GATE})
        yield connection
    session.rollback()
    session.execute(text("drop function if exists waits cascade; truncate cart_items"))
    session.commit()


def test_a_run_is_left_found_again_watched_to_its_end_and_read_in_the_log(
    begun: Begun, gate: Connection, session: Session
) -> None:
    # GIVEN a run at work, whose progress is told WHEN its command is left
    running = begun("run", ITEMS, "--param", "max_share=100")
    said = read_until(running.stderr, rf"^{ITEMS}, run ({UUID}): running, .*of {ROWS:,} rows")
    os.killpg(running.pid, signal.SIGINT)
    out, words = running.communicate(timeout=20)
    # THEN it says that the run goes on, its id, and how to look
    run_id = said[1]
    assert (running.returncode, out) == (130, "")
    assert f"The run goes on. Its id is {run_id}." in words
    assert f"nightshift watch {run_id}" in words
    assert f"nightshift cancel {run_id}" in words
    # AND that is so: the run is watched, with rate and time left, to its end
    reading = begun("logs", ITEMS, "--since", "5min", "--follow")
    watching = begun("watch", run_id)
    read_until(watching.stderr, rf"run {run_id}: running, .*of {ROWS:,} rows")
    gate.execute(text("select pg_advisory_unlock_all()"))
    out, words = watching.communicate(timeout=30)
    assert watching.returncode == 0, words
    assert out.startswith(f"{ITEMS}: succeeded in ")
    assert f"deleted {ROWS:,}" in out
    assert "\x1b" not in out + words
    assert session.scalar(text("select count(*) from cart_items")) == 0
    # AND whoever follows the log reads of it, until Ctrl-C
    claimed = read_until(reading.stdout, rf"INFO +run\.claimed  run {run_id}  ")
    finished = read_until(reading.stdout, rf"INFO +run\.finished  run {run_id}  ")
    assert re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}  ", claimed.string)
    assert "outcome=succeeded" in finished.string
    os.killpg(reading.pid, signal.SIGINT)
    _, words = reading.communicate(timeout=20)
    assert (reading.returncode, words) == (0, "")


def read_until(stream: IO[str] | None, pattern: str) -> re.Match[str]:
    """The first line that the pattern is found in. The process must not end before."""
    assert stream is not None
    read = []
    for line in stream:
        read.append(line)
        if found := re.search(pattern, line):
            return found
    raise AssertionError(f"no line is like {pattern}: {''.join(read)}")

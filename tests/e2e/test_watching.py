"""A person at a terminal: runs a job, leaves it, finds it again, watches it to its end, and reads what it logged."""

import os
import re
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from local.machine import Machine
from tests.e2e.conftest import ITEMS

pytestmark = pytest.mark.e2e

ROWS = 100_000
"""So many that a run of batches which take their time does not end by itself while the test looks."""

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
def slowly(session: Session) -> Iterator[None]:
    """Lines of carts that are due, and a table that takes its time for each batch."""
    session.execute(
        text(
            """
            truncate cart_items;
            create function slowly() returns trigger language plpgsql as
                'begin perform pg_sleep(0.5); return null; end';
            create trigger slowly before delete on cart_items for each statement execute function slowly();
            """
        )
    )
    items = text("insert into cart_items (removed_at) select now() - interval '9 days' from generate_series(1, :rows)")
    session.execute(items, {"rows": ROWS})
    session.commit()
    yield
    session.rollback()
    session.execute(text("drop function if exists slowly cascade; truncate cart_items"))
    session.commit()


def test_a_run_is_left_found_again_watched_to_its_end_and_read_in_the_log(
    begun: Begun, slowly: None, session: Session
) -> None:
    # GIVEN a run that takes its time, and whose progress is told WHEN its command is left
    running = begun("run", ITEMS)
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
    hurry = "create or replace function slowly() returns trigger language plpgsql as 'begin return null; end'"
    session.execute(text(hurry))
    session.commit()
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

"""What fails is tried again, told to the dead-letter queue, and continued without losing or doubling anything."""

import datetime as dt
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import psutil
import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from nightshift.declaration import function_name
from tests.e2e.conftest import CARTS, ITEMS, Lambda, eventually, runs, scheduled

pytestmark = pytest.mark.e2e

FailureRecord = Callable[[Mapping[str, Any]], dict[str, Any]]


@pytest.fixture
def broken_job(session: Session) -> Iterator[str]:
    """A job whose deletion runs into a trigger that calls what is not there, for the time of a test."""
    session.execute(
        text(
            """
            create function broken() returns trigger language plpgsql as
                'begin perform not_there(); return null; end';
            create trigger broken before delete on cart_items for each statement execute function broken();
            """
        )
    )
    session.commit()
    yield ITEMS
    session.rollback()
    session.execute(text("drop trigger broken on cart_items; drop function broken"))
    session.commit()


def test_a_failing_occurrence_is_tried_three_times_and_reaches_the_queue(
    broken_job: str, functions: Lambda, session: Session, failure_record: FailureRecord
) -> None:
    event = scheduled(dt.datetime.now(dt.UTC) - dt.timedelta(minutes=7))
    functions.send(broken_job, event)
    record = failure_record(event)
    assert record["requestContext"]["functionArn"].endswith(f":function:{function_name(broken_job)}")
    assert "SQLSTATE 42883" in record["responsePayload"]["errorMessage"]
    run = runs(session, broken_job)[0]
    assert (run.trigger, run.state, run.attempts) == ("schedule", "failed", 3)
    endings = text("select ending from nightshift.attempts where run_id = :id order by epoch")
    assert session.scalars(endings, {"id": run.id}).all() == ["failed"] * 3


@pytest.mark.usefixtures("no_carts")
def test_a_run_over_its_cap_destroys_nothing_and_reaches_the_queue(
    functions: Lambda, session: Session, failure_record: FailureRecord
) -> None:
    _add_carts(session, 20)
    payload = {"parameters": {"max_rows": 19}}
    functions.send(CARTS, payload)
    assert "max_rows is 19" in failure_record(payload)["responsePayload"]["errorMessage"]
    assert {run.attempts for run in runs(session, CARTS) if run.state == "failed"} == {1}
    assert _old_carts(session) == 20
    assert functions.call(CARTS, {"parameters": {"max_rows": 20}})["counters"]["deleted"] == 20


@pytest.mark.usefixtures("no_carts")
def test_the_supervisor_goes_on_with_an_interrupted_run(functions: Lambda, session: Session) -> None:
    _add_carts(session, 30)
    run_id = functions.call(CARTS, {})["run_id"]
    # GIVEN a run that stopped at a batch boundary, with work left
    _add_carts(session, 12)
    session.execute(
        text(
            """
            update nightshift.runs set state = 'interrupted', finished_at = null, position = null, step = null,
                   scheduled_for = now()
             where id = :id
            """
        ),
        {"id": run_id},
    )
    session.commit()
    # WHEN the supervisor looks over the ledger, by this call or by its own rule
    functions.call("supervisor", {})
    # THEN the run goes on where it stood
    run = eventually(lambda: next((r for r in runs(session, CARTS) if _is_done(r, run_id)), None), seconds=30)
    assert (run.state, run.attempts, run.counters["deleted"]) == ("succeeded", 2, 42)
    assert _old_carts(session) == 0


@pytest.mark.usefixtures("no_carts")
def test_sigkill_in_the_middle_of_200_000_rows_loses_and_doubles_nothing(
    functions: Lambda, session: Session, short_lease: str
) -> None:
    # GIVEN 200,000 expired rows among others, and a run in the middle of them
    _add_carts(session, 200_000)
    _add_carts(session, 1_000, days_old=3)
    _slow_down_deletes(session)
    event = scheduled(dt.datetime.now(dt.UTC) - dt.timedelta(minutes=5))
    functions.send(short_lease, event)

    def at_work(deleted: int) -> bool:
        run = runs(session, short_lease)[0]
        mine = run.trigger == "schedule" and run.state == "running"
        return bool(mine and run.counters.get("deleted", 0) >= deleted)

    eventually(lambda: at_work(0), seconds=30)
    workers = _workers(short_lease)  # to find them takes a while: now, not in the middle
    eventually(lambda: at_work(1), seconds=30)
    # WHEN its process is killed, and with it any that an earlier invocation has left behind
    for worker in workers:
        worker.kill()
    assert at_work(1), "the process was not caught in the middle"
    assert 0 < _old_carts(session) < 200_000

    # THEN the same event says that the run may still be alive, as long as its lease lasts, and then ends it
    def ended() -> dict[str, Any] | None:
        session.rollback()
        if session.scalar(text("select bool_or(state = 'running' and lease_until > now()) from nightshift.runs")):
            return None
        answer = functions.call(short_lease, event)
        # On a machine that is slow its few seconds may not be enough for the rest.
        return answer if answer["outcome"] not in ("running", "interrupted") else None

    answer = eventually(ended, seconds=60)
    assert answer["outcome"] == "succeeded"
    assert answer["counters"]["deleted"] == 200_000
    assert _old_carts(session) == 0
    assert session.scalar(text("select count(*) from carts")) == 1_000
    run = runs(session, short_lease)[0]
    assert (run.trigger, run.attempts) == ("schedule", 2)


@pytest.fixture
def no_carts(session: Session) -> Iterator[None]:
    session.execute(text("truncate carts, cart_items"))
    session.commit()
    yield
    session.rollback()
    session.execute(text("drop function if exists dawdle cascade"))
    session.commit()


def _slow_down_deletes(session: Session) -> None:
    """Two seconds for the whole, so that a fast machine can be caught in the middle as well."""
    session.execute(
        text(
            """
            create function dawdle() returns trigger language plpgsql as $$ begin
              if mod(old.id, 100) = 0 then perform pg_sleep(0.001); end if; return old; end $$;
            create trigger dawdle before delete on carts for each row execute function dawdle();
            """
        )
    )
    session.commit()


@pytest.fixture
def short_lease(functions: Lambda) -> Iterator[str]:
    """A job whose function has seconds, so that a dead attempt's lease is over soon."""
    name = function_name(CARTS)
    before = functions.client.get_function_configuration(FunctionName=name)["Timeout"]
    functions.client.update_function_configuration(FunctionName=name, Timeout=8)
    yield CARTS
    functions.client.update_function_configuration(FunctionName=name, Timeout=before)


def _workers(job: str) -> list[psutil.Process]:
    """The processes of a job's function: the one at work, and those that are kept warm."""
    found = [
        process
        for process in psutil.Process().children(recursive=True)
        if process.status() != psutil.STATUS_ZOMBIE
        and process.environ().get("AWS_LAMBDA_FUNCTION_NAME") == function_name(job)
    ]
    assert found, "the function has no process"
    return found


def _is_done(run: Any, run_id: str) -> bool:
    return str(run.id) == run_id and run.finished_at is not None


def _add_carts(session: Session, count: int, *, days_old: int = 31) -> None:
    """They are due after 30 days."""
    session.execute(
        text(
            """
            insert into carts (updated_at)
            select now() - :days_old * interval '1 day' - i * interval '1 ms' from generate_series(1, :count) i
            """
        ),
        {"count": count, "days_old": days_old},
    )
    session.commit()


def _old_carts(session: Session) -> int:
    session.rollback()
    found = "select count(*) from carts where updated_at < now() - interval '30 days'"
    return int(session.scalar(text(found)) or 0)

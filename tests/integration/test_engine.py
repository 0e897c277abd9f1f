"""The batch engine on a real PostgreSQL: what it deletes, in which transactions, and what stops it."""

import datetime as dt
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import Engine, event, text
from sqlalchemy.orm import Session

from nightshift import Delete, Execution, Function, Job, Parameter, Run, StepPlan, Update, ledger
from nightshift.engine.ways import HeapWalk, RangeWalk
from nightshift.errors import Interrupted, RunFailedError
from tests.ground.functions.market._tables import Cart
from tests.integration.conftest import Invoke

NOW = "2026-03-01T02:00:00Z"

RETENTION = Parameter("retention_days", 7, "days")

job = Job(
    name="forget-carts",
    kind="retention",
    schedule="cron(0 2 * * ? *)",
    steps=(Delete(Cart, older_than=RETENTION, measured_by=Cart.updated_at),),
    audited=False,
)


def carts(session: Session, old: int, young: int, *, analyze: bool = True) -> None:
    """Carts, some past the 7 days and some not, mixed on the heap's blocks."""
    session.execute(
        text(
            """
            insert into carts (note, paid, updated_at)
            select 'somebody@example.com', false,
                   timestamptz '2026-03-01 02:00Z'
                   - case when mod(i * 7919, :all) < :old then interval '8 days' + i * interval '1 s'
                          else interval '6 days' - i * interval '1 ms' end
              from generate_series(0, :all - 1) i
            """
        ),
        {"old": old, "all": old + young},
    )
    session.commit()
    if analyze:
        session.execute(text("analyze carts"))
        session.commit()


def left(session: Session) -> tuple[int, int]:
    """How many old and young carts are left."""
    session.rollback()
    counted = session.execute(
        text("select count(*) filter (where updated_at < '2026-02-22 02:00Z'), count(*) from carts")
    ).one()
    return counted[0], counted[1] - counted[0]


def last_run(session: Session) -> Any:
    session.rollback()
    return session.execute(text("select * from nightshift.runs order by created_at desc limit 1")).one()


@pytest.fixture
def ways(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The way of every window that a run goes through."""
    taken: list[str] = []
    for walk in (HeapWalk, RangeWalk):

        def window(self: Any, *args: Any, _original: Any = walk.window) -> Any:
            taken.append(self.way)
            return _original(self, *args)

        monkeypatch.setattr(walk, "window", window)
    return taken


def test_many_expired_rows_go_block_by_block(invoke_job: Invoke, session: Session, ways: list[str]) -> None:
    carts(session, old=9_000, young=11_000)
    result = invoke_job(job, at=NOW)
    assert result["outcome"] == "succeeded"
    assert result["counters"]["deleted"] == 9_000
    assert left(session) == (0, 11_000)
    assert set(ways) == {"heap"}


def test_few_expired_rows_go_through_the_age_index(invoke_job: Invoke, session: Session, ways: list[str]) -> None:
    carts(session, old=50, young=20_000)
    result = invoke_job(job, at=NOW)
    assert result["counters"]["deleted"] == 50
    assert left(session) == (0, 20_000)
    assert set(ways) == {"range"}


def test_a_walk_ends_with_the_last_row_that_was_counted(
    invoke_job: Invoke, session: Session, ways: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # GIVEN old rows that lie in front of young ones, and batches of four blocks
    for number in ("first", "largest"):
        monkeypatch.setattr(HeapWalk, number, 4)
    carts(session, old=5_000, young=0, analyze=False)
    carts(session, old=0, young=15_000)
    blocks = session.scalar(text("select pg_relation_size('carts') / 8192"))
    session.commit()
    # WHEN the job deletes them THEN it does not walk through the blocks behind the last one
    assert invoke_job(job, at=NOW)["counters"]["deleted"] == 5_000
    assert left(session) == (0, 15_000)
    assert 4 * len(ways) < blocks / 2


def test_batches_stay_small_through_young_rows_because_old_ones_may_follow(
    invoke_job: Invoke, session: Session, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    # GIVEN rows of which one takes a millisecond, and many young ones in front of the old ones
    monkeypatch.setattr("nightshift.engine.ways.ROW_SECONDS", 1e-3)
    monkeypatch.setattr(HeapWalk, "first", 1)
    carts(session, old=0, young=6_000)
    carts(session, old=3_000, young=0)
    # WHEN the job goes through blocks in which it finds nothing THEN it does not take the next ones all at once
    with caplog.at_level("INFO"):
        assert invoke_job(job, at=NOW)["counters"]["deleted"] == 3_000
    batches = [record for record in caplog.records if record.getMessage() == "batch.committed"]
    assert max(record.__dict__["counters"].get("deleted", 0) for record in batches) < 300


def test_a_run_asks_the_catalogue_once_of_each_table_before_its_first_batch(
    invoke_job: Invoke, session: Session
) -> None:
    carts(session, old=10, young=10)
    asked: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if "pg_attribute" in statement:
            asked.append(statement)

    event.listen(Engine, "before_cursor_execute", note)
    try:
        assert invoke_job(job, at=NOW)["counters"]["deleted"] == 10
    finally:
        event.remove(Engine, "before_cursor_execute", note)
    assert asked
    assert len(asked) == len(set(asked))


def test_the_share_is_held_against_the_rows_that_are_there_and_not_against_an_estimate(
    invoke_job: Invoke, session: Session
) -> None:
    # GIVEN a table that had many more rows when it was analysed last
    carts(session, old=11_000, young=4_000)
    session.execute(text("update pg_class set reltuples = 1000000 where oid = cast('carts' as regclass)"))
    session.commit()
    with pytest.raises(RunFailedError, match=r"would delete 11000 of 15000 rows of carts; max_share is 50 %"):
        invoke_job(job, at=NOW)
    # WHEN so many are allowed THEN the others are not counted to the last
    allowed = {"force": True, "parameters": {"max_share": 80}}
    assert invoke_job(job, allowed, at=NOW)["counters"]["deleted"] == 11_000


def test_a_batch_of_rows_does_not_wait_for_the_disk_and_the_end_of_the_run_does(
    invoke_job: Invoke, session: Session
) -> None:
    # GIVEN a server that is as careful as one in production; the one for tests is not
    session.execute(text(f"alter database {session.get_bind().engine.url.database} set synchronous_commit = on"))
    carts(session, old=10, young=10)
    settings: list[tuple[str, str]] = []

    def ending(connection: Any) -> None:
        setting = connection.exec_driver_sql("select current_setting('synchronous_commit')").scalar()
        state = connection.exec_driver_sql("select coalesce(max(state), 'none') from nightshift.runs").scalar()
        settings.append((state, setting))

    event.listen(Engine, "commit", ending)
    try:
        invoke_job(job, at=NOW)
    finally:
        event.remove(Engine, "commit", ending)
    assert ("running", "off") in settings, "a batch"
    assert settings[-1] == ("succeeded", "on")


def test_rows_of_one_instant_that_exceed_a_batch_are_divided_by_the_heap(
    invoke_job: Invoke, session: Session, ways: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(RangeWalk, "first", 64)
    carts(session, old=0, young=30_000)
    same = "insert into carts (paid, updated_at) select true, '2026-01-01Z' from generate_series(1, 1000)"
    session.execute(text(same))
    session.commit()
    assert invoke_job(job, at=NOW)["counters"]["deleted"] == 1000
    assert ways[0] == "range"
    assert ways[-1] == "heap"
    assert left(session) == (0, 30_000)


def test_ranges_follow_each_other_without_a_gap(
    invoke_job: Invoke, session: Session, ways: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(RangeWalk, "first", 64)
    monkeypatch.setattr(RangeWalk, "largest", 64)
    carts(session, old=700, young=30_000)
    result = invoke_job(job, at=NOW)
    assert result["counters"]["deleted"] == 700
    assert result["counters"]["batches"] >= 10
    assert set(ways) == {"range"}


def test_every_leaf_of_a_partitioned_table_is_swept(invoke_job: Invoke, session: Session, ways: list[str]) -> None:
    session.execute(
        text(
            """
            drop table carts cascade;
            create table carts (
                id bigint generated always as identity, customer_id uuid, note text, paid boolean not null,
                updated_at timestamptz not null default now(), closed_at timestamptz, primary key (id, updated_at)
            ) partition by range (updated_at);
            create index carts_updated on carts (updated_at);
            create table carts_january partition of carts for values from ('2026-01-01Z') to ('2026-02-01Z');
            create table carts_february partition of carts for values from ('2026-02-01Z') to ('2026-03-01Z');
            create table carts_rest partition of carts default;
            insert into carts (paid, updated_at)
            select true, timestamptz '2026-01-15Z' + i * interval '1 minute' from generate_series(1, 60000) i;
            analyze carts;
            """
        )
    )
    session.commit()
    expected = left(session)
    result = invoke_job(job, {"parameters": {"max_share": 100}}, at=NOW)
    assert result["counters"]["deleted"] == expected[0] > 50_000
    assert left(session) == (0, expected[1])


def test_a_row_that_refuses_is_quarantined_and_the_others_go(invoke_job: Invoke, session: Session) -> None:
    carts(session, old=5_000, young=5_000)
    refuse(session, "old.id % 997 = 3")
    refused = session.scalars(text("select id from carts where id % 997 = 3 and updated_at < '2026-02-22'")).all()
    result = invoke_job(job, at=NOW)
    assert result["outcome"] == "succeeded"
    assert result["counters"]["quarantined"] == len(refused) > 2
    assert result["counters"]["deleted"] == 5_000 - len(refused)
    assert left(session) == (len(refused), 5_000)
    items = session.scalars(text("select item from nightshift.quarantine order by id")).all()
    assert sorted(items) == sorted(f"public.carts:{key}" for key in refused)
    assert "somebody@example.com" not in str(result["errors"])


def test_more_bad_rows_than_the_error_budget_fail_the_run(invoke_job: Invoke, session: Session) -> None:
    carts(session, old=1_000, young=1_000)
    refuse(session, "old.id % 10 = 0")
    with pytest.raises(RunFailedError, match=r"quarantined, more than 20 and 1 %; .* The first of them: .*SQLSTATE"):
        invoke_job(job, at=NOW)
    run = last_run(session)
    assert run.state == "failed"
    assert run.counters["deleted"] + left(session)[0] == 1_000


def refuse(session: Session, condition: str) -> None:
    """Make the database refuse to delete some rows, with a message that quotes one."""
    session.execute(
        text(
            f"""
            create function refuse() returns trigger language plpgsql as $$ begin
              if {condition} then raise exception 'no: %', old.note; end if; return old; end $$;
            create trigger refuse before delete on carts for each row execute function refuse();
            """
        )
    )
    session.commit()


def test_a_table_rewritten_in_the_middle_is_walked_from_its_start(
    invoke_job: Invoke, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Blocks move when a table is rewritten: a block number from before would leave rows out."""
    small_batches(monkeypatch)
    carts(session, old=10_000, young=10_000)
    stop_after(monkeypatch, batches=10)
    first = invoke_job(job, at=NOW)
    assert first["outcome"] == "interrupted"
    assert 0 < first["counters"]["deleted"] < 10_000
    go_on(monkeypatch)
    rewrite(session, "select * from carts order by id desc")
    second = invoke_job(job, {"run_id": first["run_id"]})
    assert second["outcome"] == "succeeded"
    assert second["counters"]["deleted"] == 10_000
    assert left(session) == (0, 10_000)


def test_an_interrupted_run_goes_on_at_its_cursor_and_gives_the_attempt_back(
    invoke_job: Invoke, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_batches(monkeypatch)
    carts(session, old=9_000, young=11_000)
    stop_after(monkeypatch, batches=5)
    first = invoke_job(job, at=NOW)
    assert first["outcome"] == "interrupted"
    run = last_run(session)
    assert (run.attempts, run.epoch, run.position["block"]) == (0, 1, 20)
    go_on(monkeypatch)
    second = invoke_job(job, {"run_id": first["run_id"]})
    assert second["outcome"] == "succeeded"
    assert second["counters"]["deleted"] == 9_000
    assert left(session) == (0, 11_000)


def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of four blocks each."""
    monkeypatch.setattr(HeapWalk, "first", 4)
    monkeypatch.setattr(HeapWalk, "largest", 4)


def rewrite(session: Session, rows: str) -> None:
    """The table gets a new file, and its rows stand in another order."""
    session.execute(text(f"create table copy as {rows}"))
    session.execute(text("truncate carts, cart_items"))
    session.execute(text("insert into carts overriding system value select * from copy"))
    session.commit()


def stop_after(monkeypatch: pytest.MonkeyPatch, *, batches: int) -> None:
    """Let the deadline come near when a number of batches have been started."""
    asked = iter(range(1_000_000))
    monkeypatch.setattr("nightshift.deadline.Deadline.near", property(lambda _: next(asked) >= batches - 1))


def go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nightshift.deadline.Deadline.near", property(lambda _: False))


def test_a_cursor_of_another_query_is_refused(
    invoke_job: Invoke, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_batches(monkeypatch)
    carts(session, old=4_000, young=16_000)
    stop_after(monkeypatch, batches=20)
    first = invoke_job(job, at=NOW)
    assert first["outcome"] == "interrupted"
    go_on(monkeypatch)
    condition = Cart.paid.is_(False)
    step = Delete(Cart, where=condition, older_than=RETENTION, measured_by=Cart.updated_at)
    changed = Job(name=job.name, kind="retention", schedule=job.schedule, steps=(step,), audited=False)
    starts: list[int] = []
    walked = HeapWalk.window

    def window(self: Any, session: Session, cursor: dict[str, Any], size: int) -> Any:
        starts.append(cursor.get("block", 0))
        return walked(self, session, cursor, size)

    monkeypatch.setattr(HeapWalk, "window", window)
    assert invoke_job(changed, {"run_id": first["run_id"]})["outcome"] == "succeeded"
    assert starts[0] == 0


def test_no_row_at_the_cut_off_or_younger_is_touched(invoke_job: Invoke, session: Session) -> None:
    cutoff = dt.datetime(2026, 2, 22, 2, tzinfo=dt.UTC)
    for microseconds in (-1, 0, 1):
        at = cutoff + dt.timedelta(microseconds=microseconds)
        session.add(Cart(paid=True, updated_at=at))
    session.commit()
    assert invoke_job(job, at=NOW)["counters"]["deleted"] == 1
    assert session.scalar(text("select count(*) from carts")) == 2


def test_the_time_zone_of_the_database_does_not_move_the_cut_off(
    invoke_job: Invoke, session: Session, database: Engine
) -> None:
    session.execute(text(f"alter database {database.url.database} set timezone to 'Pacific/Auckland'"))
    session.add(Cart(paid=True, updated_at=dt.datetime(2026, 2, 22, 2, tzinfo=dt.UTC)))
    session.commit()
    assert invoke_job(job, at=NOW)["counters"]["deleted"] == 0


def test_a_plan_counts_what_the_run_then_deletes_and_changes_nothing(invoke_job: Invoke, session: Session) -> None:
    carts(session, old=300, young=500)
    planned = invoke_job(job, {"dry_run": True}, at=NOW)
    assert planned["outcome"] == "planned"
    (step,) = planned["plan"]["steps"]
    assert (step["rows"], step["cutoff"], len(step["sample"])) == (300, "2026-02-22T02:00:00Z", 5)
    assert left(session) == (300, 500)
    assert invoke_job(job, at=NOW)["counters"]["deleted"] == 300


def test_an_attempt_that_goes_on_does_no_step_again(invoke_job: Invoke, session: Session) -> None:
    done: list[str] = []

    def step(name: str) -> Function:
        def apply(execution: Execution) -> None:
            done.append(name)
            with execution.batch() as batch:
                batch.position = {"done": True}
            if done == ["first", "second"]:
                raise Interrupted

        return Function(name=name, apply=apply, plan=lambda *_: [], counters=(), tables=())

    both = replace(job, kind="report", steps=(step("first"), step("second")))
    interrupted = invoke_job(both, at=NOW)
    result = invoke_job(both, {"run_id": interrupted["run_id"]})
    assert (result["outcome"], done) == ("succeeded", ["first", "second", "second"])


def test_what_a_function_says_of_an_item_is_kept_so_that_every_column_can_hold_it(
    invoke_job: Invoke, session: Session
) -> None:
    text_of_it = "a\x00b\ud800c\n" + 6_000_000 * "x"

    def work(execution: Execution) -> None:
        with execution.batch() as batch:
            batch.quarantine(f"things:{text_of_it}", text_of_it)
            batch.position = {"done": True}

    step = Function(name="work", apply=work, plan=lambda session, run: [], counters=())
    result = invoke_job(Job(name="odd", kind="check", schedule=job.schedule, steps=(step,), audited=False), at=NOW)

    assert (result["outcome"], result["counters"]["quarantined"]) == ("succeeded", 1)
    session.rollback()
    item, error = session.execute(text("select item, error from nightshift.quarantine")).one()
    assert item.startswith("things:a\\x00b\\ud800c xx")
    assert error.startswith("a\\x00b\\ud800c xx")
    assert max(len(item), len(error)) <= 2_048
    assert len(result["errors"][0]) <= 2 * 2_048 + 2


def test_more_candidates_than_the_cap_stop_the_run_before_it_begins(invoke_job: Invoke, session: Session) -> None:
    carts(session, old=12_000, young=3_000)
    with pytest.raises(RunFailedError, match="would delete 12000 of 15000 rows of carts; max_share is 50 %"):
        invoke_job(job, at=NOW)
    with pytest.raises(RunFailedError, match="max_rows is 100"):
        invoke_job(
            job,
            {"parameters": {"max_rows": 100, "max_share": 100}},
            at="2026-03-01T03:00:00Z",
        )
    assert left(session) == (12_000, 3_000)


def test_what_a_destructive_function_says_is_capped_like_rows(invoke_job: Invoke, session: Session) -> None:
    done: list[str] = []

    def look(_session: Session, _run: Run) -> list[StepPlan]:
        return [StepPlan("burn", "papers", "burn", 3), StepPlan("burn", "letters", "burn", 4)]

    def burn(execution: Execution) -> None:
        with execution.batch() as batch:
            done.append("burnt")
            batch.count(burnt=7)

    step = Function(name="burn", apply=burn, plan=look, counters=("burnt",), destructive=True)
    burning = replace(job, name="burn-papers", steps=(step,))
    with pytest.raises(RunFailedError, match=r"3 rows of papers, .* 4 rows of letters: 7 in all; max_rows is 6"):
        invoke_job(burning, {"parameters": {"max_rows": 6}})
    assert not done
    assert invoke_job(burning, {"parameters": {"max_rows": 7}})["counters"]["burnt"] == 7
    assert last_run(session).candidates == {"burn": 7}


EMPTYING = "step empty deleted 5 rows of cart_items, and nothing says that it does"


@pytest.mark.parametrize(
    ("declared", "planned", "refusal"),
    [
        ({"destructive": True, "tables": ("carts", "cart_items")}, 15, None),
        ({"destructive": True, "tables": ("carts", "cart_items")}, 14, "would delete 15 rows, and has planned 14"),
        ({"destructive": True, "tables": ("carts",)}, 15, EMPTYING),
        ({"destructive": False, "tables": ("carts", "cart_items")}, 15, r"of \w+, .*: declare it destructive"),
    ],
)
def test_what_another_kind_of_step_deletes_is_held_to_its_plan_in_every_batch(
    invoke_job: Invoke, session: Session, declared: dict[str, Any], planned: int, refusal: str | None
) -> None:
    """By the server's own counters, so that what goes by cascade counts like what the function says."""
    carts(session, old=10, young=5)
    session.execute(text("insert into cart_items (cart_id) select id from carts where id <= 5"))
    session.commit()

    def empty(execution: Execution) -> None:
        for first in (0, 5):
            with execution.batch() as batch:
                some = text("delete from carts where id > :first and id <= :first + 5")
                batch.session.execute(some, {"first": first})
                batch.position = {"first": first}

    plan = [StepPlan("empty", "carts", "delete", planned)]
    step = Function(name="empty", apply=empty, plan=lambda _session, _run: plan, counters=(), **declared)
    emptying = replace(job, name="empty-carts", steps=(step,))
    if refusal is None:
        counters = invoke_job(emptying)["counters"]
        assert (counters["deleted in carts"], counters["deleted in cart_items"]) == (10, 5)
    else:
        with pytest.raises(RunFailedError, match=refusal):
            invoke_job(emptying)
        # THEN nothing of the batch that went too far was kept
        assert sum(left(session)) == (10 if planned == 14 else 15)


def test_an_operator_lifts_the_cap_once_with_a_name_and_a_reason(invoke_job: Invoke, session: Session) -> None:
    carts(session, old=12_000, young=3_000)
    with pytest.raises(RunFailedError, match="nightshift redrive"):
        invoke_job(job, at=NOW)
    failed = last_run(session)
    assert failed.candidates == {"delete-carts": 12_000, "delete-carts > cart_items": 0}
    carts(session, old=500, young=0)
    override = {"by": "Ada", "reason": "the table was never cleaned before"}
    with session.begin():
        ledger.redrive(session, failed.id, "redriven by Ada", override=override)
    result = invoke_job(job, {"run_id": str(failed.id)})
    # THEN not one row more than was counted goes, though more are old enough by now
    assert result["counters"]["deleted"] == 12_000
    assert left(session)[0] == 500
    assert last_run(session).override == override


def test_a_redrive_that_lifts_no_cap_counts_anew(invoke_job: Invoke, session: Session) -> None:
    carts(session, old=12_000, young=3_000)
    with pytest.raises(RunFailedError, match="max_share is 50 %"):
        invoke_job(job, at=NOW)
    failed = last_run(session).id
    carts(session, old=0, young=12_000)
    with session.begin():
        ledger.redrive(session, failed, "redriven by Ada")
    assert invoke_job(job, {"run_id": str(failed)})["counters"]["deleted"] == 12_000


def test_a_transaction_waits_for_a_lock_only_so_long_and_tries_again(
    invoke_job: Invoke, session: Session, database: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nightshift.database.transaction.LOCK_TIMEOUT_SECONDS", 0.2)
    carts(session, old=100, young=100)
    with Session(database) as other:
        other.execute(text("select * from carts where id = 1 for update"))
        refused = Counter[str]()

        @event.listens_for(Engine, "handle_error")
        def free(context: Any) -> None:
            refused[context.original_exception.args[0]["C"]] += 1
            other.rollback()

        try:
            result = invoke_job(job, at=NOW)
        finally:
            event.remove(Engine, "handle_error", free)
    assert refused == {"55P03": 1}
    assert result["counters"]["deleted"] == 100


CLOSE = Job(
    name="close-carts",
    kind="recalculation",
    schedule="cron(0 2 * * ? *)",
    steps=(
        Update(
            Cart,
            counter="closed",
            where=lambda run: Cart.closed_at.is_(None) & (Cart.updated_at < run.now),
            measured_by=Cart.updated_at,
            set=lambda run: {Cart.closed_at: run.now},
        ),
    ),
    audited=False,
)


def test_an_update_of_a_table_rewritten_in_the_middle_leaves_no_row_out(
    invoke_job: Invoke, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing was counted that would tell."""
    small_batches(monkeypatch)
    carts(session, old=20_000, young=0)
    stop_after(monkeypatch, batches=10)
    first = invoke_job(CLOSE, at=NOW)
    assert first["outcome"] == "interrupted"
    go_on(monkeypatch)
    rewrite(session, "select * from carts order by closed_at nulls first")
    second = invoke_job(CLOSE, {"run_id": first["run_id"]})
    assert (second["outcome"], second["counters"]["closed"]) == ("succeeded", 20_000)


def test_an_update_writes_each_matching_row_once(invoke_job: Invoke, session: Session) -> None:
    session.execute(
        text(
            """
            insert into carts (updated_at)
            select timestamptz '2026-03-01Z' + (i % 2000 - 1000) * interval '1 h' from generate_series(1, 20000) i
            """
        )
    )
    session.commit()
    due = session.scalar(text("select count(*) from carts where updated_at < '2026-03-01T02:00Z'"))
    assert invoke_job(CLOSE, at=NOW)["counters"]["closed"] == due
    session.rollback()
    found = session.execute(text("select count(*), min(closed_at) from carts where closed_at is not null")).one()
    assert tuple(found) == (due, dt.datetime(2026, 3, 1, 2, tzinfo=dt.UTC))
    assert invoke_job(CLOSE, at="2026-03-01T01:00:00Z")["counters"]["closed"] == 0

"""How large batches are, where walks end, what is tried again, and what the cap allows: without a database."""

import datetime as dt
import uuid
from typing import Any

import pg8000
import pytest
from sqlalchemy import and_, true
from sqlalchemy.exc import ProgrammingError

from nightshift.catalogue import Cascade
from nightshift.catalogue.table import Leaf, Portion
from nightshift.database.failures import is_locked, is_passing, is_row_error
from nightshift.declaration import Run, StepPlan
from nightshift.engine.candidates import over_cap
from nightshift.engine.pacing import TARGET_SECONDS
from nightshift.engine.sweeping import FEWEST_ROWS, PASSING_ERRORS_IN_A_ROW, _Pace, paced
from nightshift.engine.ways import HeapWalk, KeyWalk, Window


def refused(code: str, routine: str = "") -> ProgrammingError:
    return ProgrammingError("delete", None, pg8000.ProgrammingError({"C": code, "R": routine}))


ROW, LOCKED, PASSING = "a row's", "locked", "passing"


@pytest.mark.parametrize(
    ("code", "meant"),
    [
        *((code, {ROW}) for code in ("22001", "22003", "22012", "22P02", "21000", "20000", "2F005", "38000", "39000")),
        *((code, {ROW}) for code in ("23000", "23001", "23502", "23503", "23505", "23514", "23P01", "44000", "P0001")),
        *((code, {ROW}) for code in ("54000", "54001")),
        ("55P03", {LOCKED, PASSING}),
        *((code, {PASSING}) for code in ("40001", "40P01", "57014")),
        *((code, set()) for code in ("42501", "42P01", "42703", "25006", "53100", "53200", "57P01", "08006", "XX001")),
        *((code, set()) for code in ("54023", "40000", "40003", "55000", "55006", "57000", "0A000", "24000")),
    ],
)
def test_what_an_error_means(code: str, meant: set[str]) -> None:
    error = refused(code)
    found = {ROW: is_row_error(error), LOCKED: is_locked(error), PASSING: is_passing(error)}
    assert {what for what, so in found.items() if so} == meant


def test_what_a_trigger_raises_is_a_rows_whatever_its_code() -> None:
    for code in ("40001", "40P01", "55P03", "57014", "42501"):
        error = refused(code, "exec_stmt_raise")
        assert (is_row_error(error), is_locked(error), is_passing(error)) == (True, False, False)
    assert is_row_error(refused("42501", "ExecWithCheckOptions"))
    assert not is_row_error(refused("42P01", "ExecWithCheckOptions"))
    lost = ProgrammingError("delete", None, ConnectionResetError())
    assert (is_row_error(lost), is_locked(lost), is_passing(lost)) == (False, False, False)


def portion(blocks: int, rows: float = 1_000) -> Portion:
    return Portion((Leaf(1, "carts", 1, blocks, rows),))


def pace(size: int) -> _Pace:
    found = _Pace(HeapWalk(portion(1_000)))
    found.size = size
    return found


@pytest.mark.parametrize("code", ["40001", "40P01", "55P03", "57014"])
def test_what_passes_is_tried_again_a_dozen_times_with_ever_smaller_batches(code: str) -> None:
    trying = pace(64)
    trying.alone = True  # so that a lock alone changes nothing more
    sizes = []
    for _ in range(PASSING_ERRORS_IN_A_ROW):
        assert trying.take_to_heart(refused(code))
        sizes.append(trying.size)
    assert sizes == [16, 4, *[1] * 10]
    assert not trying.take_to_heart(refused(code)), "the thirteenth is raised"
    trying.go_on(TARGET_SECONDS)
    assert trying.take_to_heart(refused(code)), "a batch that went through begins the count anew"


def test_a_batch_with_a_bad_row_is_halved_down_to_one_block_and_then_done_row_by_row() -> None:
    trying, seen = pace(8), []
    while trying.take_to_heart(refused("23503")):
        seen.append((trying.size, trying.alone))
    assert seen == [(4, False), (2, False), (1, False), (1, True)]
    trying.go_on(TARGET_SECONDS)
    assert (trying.alone, trying.limited, trying.proven) == (False, False, True)


def test_the_smallest_batch_that_is_locked_is_done_row_by_row() -> None:
    trying = pace(4)
    assert [(trying.take_to_heart(refused("55P03")), trying.size, trying.alone) for _ in range(2)] == [
        (True, 1, False),
        (True, 1, True),
    ]


def test_what_neither_passes_nor_is_a_rows_fault_is_raised_at_once() -> None:
    assert not pace(8).take_to_heart(refused("42501"))


@pytest.mark.parametrize(
    ("seconds", "size"), [(0, 400), (0.025, 400), (0.05, 200), (0.1, 100), (0.2, 50), (0.4, 25), (9, 25)]
)
def test_the_size_follows_the_time_by_a_factor_of_four_at_most(seconds: float, size: int) -> None:
    assert paced(100, seconds, 1, 1_000) == size
    assert paced(100, seconds, 60, 110) == min(110, max(60, size))


def of(window: Window | None) -> tuple[list[tuple[str, list[Any]]], Any]:
    """The conditions, each with its values, and the cursor behind them."""
    assert window is not None
    compiled = [each.compile() for each in window.conditions]
    return [(str(each), list(each.params.values())) for each in compiled], window.after


NO_SESSION: Any = None


def blocks(walk: HeapWalk, cursor: dict[str, Any], size: int) -> tuple[str, str, Any]:
    ((since, first), (until, last)), after = of(walk.window(NO_SESSION, cursor, size))
    assert (" >= " in since, " < " in until) == (True, True)
    return first[0], last[0], after


def test_a_short_batch_keeps_as_many_rows_as_pay_for_its_commit() -> None:
    """On a busy machine a commit alone takes longer than a polite batch should: fewer rows do not make it shorter."""
    found = pace(60_000)
    for _ in range(20):
        found.go_on(0.02, target=0.005)
    assert found.size * found.walk.rows_each >= 0.9 * FEWEST_ROWS
    for _ in range(20):
        found.go_on(0.5, target=0.005)
    assert found.size == found.walk.smallest, "rows that take that long are the reason"


def test_a_walk_through_blocks_ends_where_the_table_ended_when_it_began() -> None:
    walk = HeapWalk(portion(10))
    assert blocks(walk, {}, 4) == ("(0,0)", "(4,0)", {"block": 4, "end": 10})
    # WHEN the table has grown meanwhile
    grown = HeapWalk(portion(20))
    assert blocks(grown, {"block": 4, "end": 10}, 5) == ("(4,0)", "(9,0)", {"block": 9, "end": 10})
    assert blocks(grown, {"block": 9, "end": 10}, 5) == ("(9,0)", "(10,0)", None)
    assert blocks(walk, {"block": 4, "end": 10}, 6) == ("(4,0)", "(10,0)", None), "exactly at its end"


def test_a_walk_through_keys_ends_with_the_last_that_was_written_down() -> None:
    class Subject:
        class facts:  # noqa: N801 - stands for one
            key, references = (), ()
            kind, inherited = "r", False
            quoted = "carts"

        condition = true()
        workable_now = staticmethod(and_)

    subject: Any = Subject()
    walk = KeyWalk(subject, uuid.uuid4(), "step")
    ((listed, values),), after = of(walk.window(NO_SESSION, {"last": 10}, 6))
    assert ("place > " in listed, "place <= " in listed, values[2:4]) == (True, True, [0, 6])
    assert after == {"place": 6, "last": 10}
    ((_, values),), after = of(walk.window(NO_SESSION, after, 6))
    assert (values[2:4], after) == ([6, 10], None)


def run(**parameters: int) -> Run:
    at = dt.datetime(2026, 3, 1, 2, tzinfo=dt.UTC)
    return Run(uuid.uuid4(), "job", at, "manual", "apply", False, parameters)


def test_the_cap_allows_what_it_says_and_not_one_row_more() -> None:
    plans = [StepPlan("one", "carts", "delete", 50, 100), StepPlan("two", "items", "delete", 50, 100)]
    assert over_cap(run(max_rows=100, max_share=50), plans) == []
    assert len(over_cap(run(max_rows=99, max_share=50), plans)) == 1, "the sum over all steps"
    assert len(over_cap(run(max_rows=100, max_share=49), plans)) == 2, "each table by itself"
    assert over_cap(run(), plans) == []
    assert len(over_cap(run(max_rows=0, max_share=0), plans)) == 3
    assert over_cap(run(max_rows=0, max_share=0), [StepPlan("one", "carts", "delete", 0, 0)]) == []


def test_what_goes_along_is_capped_like_the_rows_themselves() -> None:
    def plan(items: int) -> list[StepPlan]:
        return [StepPlan("one", "carts", "delete", 1, 100, cascades=(Cascade("items", "delete", items, of=10),))]

    assert over_cap(run(max_rows=6, max_share=50), plan(5)) == []
    rows, share = over_cap(run(max_rows=6, max_share=50), plan(6))
    assert "1 rows of carts and 6 that go or change with them; max_rows is 6" in rows
    assert share == "step one would delete 6 of 10 rows of items; max_share is 50 %"

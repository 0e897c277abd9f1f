"""Nights of faults, one seed after the other: whatever happens, the promises hold once all has come to rest.

See `tests.seeds` for how to play more of them, or one again.
"""

import datetime as dt
import gc
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from sqlalchemy import Engine

from tests.conftest import TRIED, NewDatabase
from tests.faults.rest import Rest
from tests.faults.simulation import FAIR, NIGHT, ROUGH, Weather, World, close_connections, prepare
from tests.seeds import HALVES, again, for_a_while

SECONDS_BY_DEFAULT = 12
LONG_NIGHT = dt.timedelta(minutes=90)
"""What follows a night, until all has come to rest, is then the smaller part."""


@pytest.fixture(scope="module")
def nights(new_database: NewDatabase) -> Iterator[Engine]:
    with new_database() as engine:
        prepare(engine)
        yield engine
        close_connections(engine)


def play(database: Engine, seed: int, weather: Weather = ROUGH, night: dt.timedelta = NIGHT) -> tuple[World, Rest]:
    world = World(database, seed, weather, night)
    world.play()
    return world, Rest(world)


def test_without_faults_every_occurrence_succeeds(nights: Engine) -> None:
    _, rest = play(nights, 1, FAIR)
    assert rest.violations() == []
    assert {run.state for run in rest.runs} == {"succeeded"}


def test_a_seed_says_everything_that_happens(nights: Engine) -> None:
    told = [[tuple(run[:8]) for run in play(nights, 2, ROUGH)[1].runs if run.trigger != "catch_up"] for _ in range(2)]
    assert told[0] == told[1]


@pytest.mark.parametrize(
    ("guard", "without"),
    [
        ("occurrences.account", lambda *_: Counter()),
        ("unreported", lambda _: []),
    ],
)
def test_a_guard_that_is_taken_out_is_missed_within_a_few_nights(
    nights: Engine, guard: str, without: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other guards are taken out in test_guards, where it costs less."""
    monkeypatch.setattr(f"nightshift.ledger.{guard}", without)
    assert any(play(nights, seed)[1].violations() for seed in range(1, 6))


@pytest.mark.parametrize("half", range(HALVES))
def test_every_promise_holds_through_any_night(
    half: int, nights: Engine, record_property: Callable[[str, object], None]
) -> None:
    started, tried = time.monotonic(), 0
    outcomes: Counter[str] = Counter()
    happened: Counter[str] = Counter()
    gc.freeze()  # what is there now stays: it need not be looked through again and again
    for seed in for_a_while(half, SECONDS_BY_DEFAULT):
        world, rest = play(nights, seed, night=LONG_NIGHT)
        violations = "\n".join(rest.violations())
        assert not violations, f"{again(seed, 'tests/faults/test_simulation.py -k any_night')}\n{violations}"
        tried += 1
        outcomes.update(run.state for run in rest.runs)
        happened += world.happened
    took = time.monotonic() - started
    pace = f"{tried} nights, {outcomes.total()} runs in {took:.0f} s, {outcomes.total() / took:.0f} a second"
    record_property(TRIED, f"{pace}\noutcomes: {dict(outcomes)}\nfaults: {dict(happened)}")

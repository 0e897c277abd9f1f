"""What is drawn by chance: fresh seeds and known ones, each of which draws the same again.

NIGHTSHIFT_SIMULATION_SECONDS=600 takes fresh seeds for so long. NIGHTSHIFT_SIMULATION_SEED=7 takes that one.
"""

import itertools
import os
import random
import time
from collections.abc import Iterator

SECONDS, SEED = "NIGHTSHIFT_SIMULATION_SECONDS", "NIGHTSHIFT_SIMULATION_SEED"
HALVES = 2
"""So that two workers of pytest can be at it at once, each half of the time."""


def seeds(half: int) -> Iterator[int]:
    """One that nobody has seen, and then always the same ones; or as the environment says."""
    fresh = random.SystemRandom()
    if SEED in os.environ:
        yield from list(map(int, os.environ[SEED].split(",")))[half::HALVES]
        return
    yield fresh.getrandbits(32)
    while SECONDS in os.environ:
        yield fresh.getrandbits(32)
    yield from itertools.count(1 + half, HALVES)


def for_a_while(half: int, seconds: float) -> Iterator[int]:
    """Seeds for so many seconds, both halves together, unless the environment says for how many."""
    until = time.monotonic() + float(os.environ.get(SECONDS, seconds)) / HALVES
    for seed in seeds(half):
        yield seed
        if time.monotonic() > until:
            return


def again(seed: int, test: str) -> str:
    """How to see what a seed has drawn once more. test: its file, and what to select there."""
    return f"seed {seed}; draw it again: {SEED}={seed} pytest {test}"

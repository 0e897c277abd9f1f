"""The example deployed, with a small data set, once every job of it has run."""

import datetime as dt

import pytest
from rich.console import Console

from local.demo import Invocation, invoke_all, load_data
from local.machine import Machine

USERS = 500


@pytest.fixture(scope="module", autouse=True)
def on_the_ground() -> None:
    """No shop: the project's own application and packs."""


@pytest.fixture(scope="session")
def answers(deployed: Machine) -> dict[str, Invocation]:
    """What each job answered to its first invocation on the data set, as the demonstration makes it."""
    now, quiet = dt.datetime.now(dt.UTC), Console(quiet=True)
    load_data(deployed, quiet, now=now, users=USERS)
    return {each.job: each for each in invoke_all(deployed.aws, quiet, now=dt.datetime.now(dt.UTC))}


@pytest.fixture(scope="session")
def machine(deployed: Machine, answers: dict[str, Invocation]) -> Machine:
    """The machine once every job has run, so that a test's own rows are the only ones that are due."""
    return deployed

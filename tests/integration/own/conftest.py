"""A project's own jobs on a project's own tables. There are none of these tests while there is no such job."""

import pytest

from tests.integration.own.project import own_jobs

collect_ignore = [] if own_jobs() else ["test_own_jobs.py"]


@pytest.fixture(scope="module", autouse=True)
def on_the_ground() -> None:
    """No shop: the project's own packs."""

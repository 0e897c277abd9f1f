"""One local AWS with the app deployed, for all end-to-end tests of a session. Started only when such a test runs."""

from collections.abc import Iterator

import pytest

from local.machine import Machine
from local.machine import machine as started_machine


@pytest.fixture(scope="session")
def machine() -> Iterator[Machine]:
    """PostgreSQL and AWS with IAM enforced, every stack deployed. Retries of failed invocations come at once."""
    with started_machine("e2e", retry_base_seconds=0.1) as running:
        yield running

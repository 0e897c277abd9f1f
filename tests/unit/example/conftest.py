"""The example as it is."""

import pytest


@pytest.fixture(scope="module", autouse=True)
def shop() -> None:
    """No shop: the project's own application and packs."""

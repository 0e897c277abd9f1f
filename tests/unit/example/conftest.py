"""The example as it is."""

import pytest


@pytest.fixture(scope="module", autouse=True)
def on_the_ground() -> None:
    """No shop: the project's own application and packs."""

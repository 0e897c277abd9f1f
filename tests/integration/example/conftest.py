"""The example as it is, with its tables."""

from collections.abc import Iterator

import pytest

from application.project import project
from nightshift.database import migrations
from tests.conftest import NewDatabase


@pytest.fixture(scope="module", autouse=True)
def on_the_ground() -> None:
    """No shop: the project's own application and packs."""


@pytest.fixture(scope="session")
def migrated(new_database: NewDatabase) -> Iterator[str]:
    """The name of a database with every migration of the example applied, to copy from."""
    with new_database() as engine:
        migrations.upgrade(engine, project.branches(tables=True))
        yield str(engine.url.database)

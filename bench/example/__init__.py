"""Measurements of the example's jobs, in the example's own tables."""

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Engine

from bench import paired
from nightshift.declaration import this_project


@contextmanager
def database() -> Iterator[Engine]:
    """A migrated database with the example's tables, empty."""
    with paired.database(this_project().branches(tables=True)) as engine:
        yield engine

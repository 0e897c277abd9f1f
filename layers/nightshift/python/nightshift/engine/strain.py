"""What strain the database is under, in one cheap SELECT: what anybody may read there, and no row of the application.

What cannot be read (a right is missing, the server lacks a function, the sessions of other roles are hidden) is
unknown: it is told and holds nobody up.
"""

import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

from sqlalchemy import TextClause, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from nightshift.database import describe
from nightshift.database.failures import sqlstate
from nightshift.database.transaction import answer_of, transaction
from nightshift.declaration.limits import Limits
from nightshift.errors import printable

TOO_LATE = "57014"
"""The SQLSTATE of a statement that took longer than it may."""

LOOK_SECONDS = 1.0
"""What a look, and the gate, may take. Without an answer by then everything is unknown, and the run goes on."""

GATE_BOUNDS = {"statement_timeout": str(int(LOOK_SECONDS * 1000))}

WAITED_MILLISECONDS = 100
"""Sessions that wait for a lock no longer than this are everyday life."""

BOOLEAN = 16
"""PostgreSQL's own number of the type boolean."""

Effect = Literal["held", "slowed"]


class Strain(NamedTuple):
    """One signal that has reached its limit."""

    signal: str
    effect: Effect
    words: str

    def __str__(self) -> str:
        return f"{self.signal}: {self.words}"


class Looked(NamedTuple):
    """What one look has found."""

    strains: tuple[Strain, ...] = ()
    others: bool = False
    """Whether other sessions are at work."""
    unknown: Mapping[str, str] = MappingProxyType({})
    """Signals that could not be read, with the reason."""
    answer: str | None = None
    """What the SELECT said that came along."""

    def of(self, effect: Effect) -> tuple[Strain, ...]:
        return tuple(each for each in self.strains if each.effect == effect)


class _Signal(NamedTuple):
    """One thing that is looked at."""

    name: str
    limit: Callable[[Limits], float]
    words: str
    """With `{value}` and `{limit}`."""
    effect: Effect = "held"
    slows_from: float = 1.0
    """From this part of the limit on the run is slowed."""


SIGNALS = (
    _Signal("lock_waits", lambda limits: limits.lock_waits, "sessions that wait for a lock, or hold one: {value:.0f}"),
    _Signal(
        "replica_lag",
        lambda limits: limits.replica_lag_seconds,
        "a replica is {value:.1f} s behind, from {limit:g} s on it is waited for",
        slows_from=0.5,
    ),
    _Signal(
        "replica_backlog",
        lambda limits: limits.replica_lag_megabytes,
        "a replica has {value:.0f} MB to replay, from {limit:g} MB on it is waited for",
        slows_from=0.5,
    ),
    _Signal(
        "transaction_age",
        lambda limits: limits.transaction_seconds,
        "a transaction has been open for {value:.0f} s, from {limit:g} s on its end is waited for",
    ),
    _Signal(
        "horizon",
        lambda limits: limits.horizon_transactions,
        "something keeps the dead rows of the last {value:.0f} transactions, from {limit:g} on its end is waited for",
    ),
    _Signal(
        "vacuum",
        lambda limits: limits.vacuums,
        "VACUUM, ANALYZE or an index build is at work on the table",
        effect="slowed",
    ),
    _Signal(
        "connections",
        lambda limits: limits.connections_percent,
        "{value:.0f} % of the connections are in use, from {limit:g} % on their end is waited for",
    ),
    _Signal(
        "dead_rows",
        lambda limits: limits.dead_rows,
        "{value:.0f} dead rows wait for VACUUM, {limit:g} are many",
        effect="slowed",
    ),
)

_SHARED = """
recursive named as (
    select c.oid from pg_class c join pg_namespace n on n.oid = c.relnamespace
     where cardinality(cast(:names as text[])) > 0
       and (n.nspname || '.' || c.relname = any(cast(:names as text[]))
            or n.nspname = 'public' and c.relname = any(cast(:names as text[])))
    union
    select i.inhrelid from pg_inherits i join named on i.inhparent = named.oid
),
mine as materialized (
    select oid from named union select unnest(cast(:oids as oid[]))
),
here as materialized (
    select oid, pg_backend_pid() as me from pg_database where datname = current_database()
),
others as materialized (
    select a.* from pg_stat_get_activity(null) a, here where a.pid <> here.me
),
locks as materialized (
    select l.* from pg_lock_status() l, here
     where l.pid is distinct from here.me and (l.database is null or l.database in (0, here.oid))
)
"""

_READS = {
    "lock_waits": f"""
        (select count(distinct w.pid) from locks w
          where not w.granted and w.waitstart < pg_catalog.clock_timestamp() - interval '{WAITED_MILLISECONDS} ms'
            and (w.relation in (select oid from mine)
                 or exists (select from locks h where h.pid = w.pid and h.locktype = 'tuple'
                                                  and h.relation in (select oid from mine))))
        + (select count(*) from locks h
            where h.granted and h.locktype = 'relation' and h.relation in (select oid from mine)
              and h.mode in ('ShareLock', 'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock'))""",  # noqa: S608
    "vacuum": """
        (select count(distinct h.pid) from locks h
          where h.granted and h.mode = 'ShareUpdateExclusiveLock' and h.relation in (select oid from mine))""",
    "dead_rows": "(select coalesce(sum(pg_stat_get_dead_tuples(oid)), 0) from mine)",
    "connections": """
        (select 100.0 * sum(pg_stat_get_db_numbackends(oid)) from pg_database)
        / greatest(1, current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int
        )""",
    "transaction_age": """
        extract(epoch from pg_catalog.clock_timestamp() - least(
            (select min(o.xact_start) from others o, here
              where o.datid = here.oid and o.backend_type = 'client backend'),
            (select min(p.prepared) from pg_prepared_xact() p, here where p.dbid = here.oid)))""",
    "horizon": """
        greatest(
            (select max(age(o.backend_xmin)) from others o, here
              where o.datid = here.oid and o.backend_type = 'client backend'),
            (select max(age(s.xmin)) from pg_get_replication_slots() s),
            (select max(age(p.transaction)) from pg_prepared_xact() p, here where p.dbid = here.oid))""",
    "clock": "extract(epoch from pg_catalog.clock_timestamp())",
    "hidden": """
        (select count(*) from others o, here
          where o.datid = here.oid and o.usesysid is not null and o.backend_type is null)""",
    "replica_lag": """
        (select extract(epoch from max(replay_lag)) from pg_stat_get_wal_senders()
          where state in ('streaming', 'catchup'))""",
    "replayed": """
        (select min(replay_lsn) - pg_lsn '0/0' from pg_stat_get_wal_senders()
          where state in ('streaming', 'catchup'))""",
    "written": "case when not pg_is_in_recovery() then pg_current_wal_lsn() - pg_lsn '0/0' end",
    "hidden_replicas": "(select count(*) from pg_stat_get_wal_senders() where state is null)",
    "others": """
        (select count(*) from others o, here
          where o.datid = here.oid and o.backend_type = 'client backend'
            and coalesce(o.application_name, '') not like 'nightshift/%'
            and (o.state = 'active' or o.state_change > to_timestamp(cast(:since as double precision))))
        + (select count(*) from locks l join others o on o.pid = l.pid
            where l.locktype = 'virtualxid' and l.granted and o.backend_type is null and o.usesysid is not null)""",
}
"""What is read, each by an expression of its own. `hidden…` tell what is not shown to this role."""

_OF = {
    "hidden": ("transaction_age", "horizon"),
    "hidden_replicas": ("replica_lag", "replica_backlog"),
    "replayed": ("replica_backlog",),
    "written": ("replica_backlog",),
    "aurora_lag": ("replica_lag",),
}
"""The signals that lean on what is read under another name."""

_TABLES = "(select coalesce(json_agg(oid), '[]') from mine)"
_AURORA = """
    (select quote_ident(n.nspname) from pg_proc p join pg_namespace n on n.oid = p.pronamespace
       join pg_roles r on r.oid = p.proowner
      where p.proname = 'aurora_replica_status' and p.pronargs = 0 and (n.nspname = 'pg_catalog' or r.rolsuper)
      limit 1)"""
_AURORA_LAG = """
    (select max(replica_lag_in_msec) / 1000.0 from {schema}.aurora_replica_status()
      where session_id <> 'MASTER_SESSION_ID')"""


@lru_cache(maxsize=32)
def _select(parts: tuple[str, ...]) -> tuple[TextClause, tuple[str, ...]]:
    """The SELECT of these expressions, and its parameters. Made once: SQLAlchemy takes as long to read it as the server
    to carry it out."""
    asked = text(f"with {_SHARED} select {', '.join(parts)}")
    return asked, tuple(asked.compile().params)


HIDDEN = "this role does not see the sessions of others: grant pg_monitor to it"


class Watch:
    """Looks at one database for one attempt."""

    def __init__(self, session: Session, limits: Limits, also: str = "") -> None:
        """also: a SELECT of one value that comes along with every look."""
        self._session, self._limits, self._also = session, limits, also
        self._answer: str | None = None
        self._since: float | None = None
        """The server's time at the last look: who has done something since then is at work."""
        self._names: tuple[str, ...] = ()
        self._oids: list[int] | None = None
        self._reads = dict(_READS)
        self._failed: dict[str, str] = {}
        self._aurora: str | None = None
        self._written: deque[tuple[float, float]] = deque(maxlen=1000)

    def at(self, tables: Sequence[str]) -> bool:
        """Look at these tables from now on: by name, as steps have them. Returns whether one of them is new."""
        new = not set(self._names).issuperset(tables)
        if tuple(tables) != self._names:
            self._names, self._oids = tuple(tables), None
        return new

    def look(self) -> Looked:
        """One look, in a transaction of its own that reads only and waits for nothing."""
        unknown: dict[str, str] = {}
        self._answer = None
        try:
            values = self._values()
        except (DBAPIError, TimeoutError) as error:
            if isinstance(error, DBAPIError) and (error.connection_invalidated or sqlstate(error) is None):
                raise  # the connection is lost: that is no signal
            self._session.rollback()
            unknown = dict.fromkeys((signal.name for signal in SIGNALS if signal.limit(self._limits)), describe(error))
            values = {}
        strains = self._strains(values, unknown) if values else ()
        self._since = float(values["clock"]) if "clock" in values else None
        gate = self._gate(unknown) if self._limits.gate else ()
        return Looked((*strains, *gate), bool(values.get("others")), unknown, self._answer)

    def _values(self) -> dict[str, Any]:
        bounds = {"statement_timeout": str(int(LOOK_SECONDS * 1000))}
        try:
            with transaction(self._session, read_only=True, settings=bounds, also=self._also):
                self._answer = answer_of(self._session)
                return self._read(self._reads)
        except DBAPIError as error:
            if sqlstate(error) in (None, TOO_LATE):
                raise
            self._session.rollback()
        # Something in it does not work here: what it is, is found once, and left out from then on.
        found: dict[str, Any] = {}
        with transaction(self._session, read_only=True, settings=bounds):
            for name, read in list(self._reads.items()):
                try:
                    with self._session.begin_nested():
                        found |= self._read({name: read})
                except DBAPIError as error:
                    if sqlstate(error) in (None, TOO_LATE):
                        raise
                    self._reads.pop(name, None)
                    self._failed[name] = describe(error)
        return found

    def _read(self, reads: Mapping[str, str]) -> dict[str, Any]:
        first = self._oids is None
        parts = [f"{read} as {name}" for name, read in reads.items()]
        parts += [f"{_TABLES} as tables", f"{_AURORA} as aurora"] if first else []
        names, oids = (list(self._names), []) if first else ([], self._oids or [])
        asked, wants = _select(tuple(parts))
        values = {"names": names, "oids": oids, "since": self._since}
        found = dict(self._session.execute(asked, {name: values[name] for name in wants}).mappings().one())
        if first:
            self._oids = found.pop("tables")
            if (schema := found.pop("aurora")) is not None and "aurora_lag" not in self._failed:
                self._reads["aurora_lag"] = _AURORA_LAG.format(schema=schema)
                found |= self._read({"aurora_lag": self._reads["aurora_lag"]})
        return found

    def _strains(self, values: Mapping[str, Any], unknown: dict[str, str]) -> tuple[Strain, ...]:
        known = {name: float(value) for name, value in values.items() if value is not None}
        known |= self._of_replicas(known)
        for name, reason in self._failed.items():
            unknown |= dict.fromkeys(_OF.get(name, (name,)), reason)
        hidden = [
            name for what, names in _OF.items() if what.startswith("hidden") and known.get(what) for name in names
        ]
        found = []
        for signal in SIGNALS:
            limit, value = signal.limit(self._limits), known.get(signal.name, 0.0)
            if not limit:
                unknown.pop(signal.name, None)
            elif value >= limit:
                found.append(Strain(signal.name, signal.effect, signal.words.format(value=value, limit=limit)))
            elif signal.name in hidden:
                unknown[signal.name] = HIDDEN
            elif value >= signal.slows_from * limit:
                found.append(Strain(signal.name, "slowed", signal.words.format(value=value, limit=limit)))
        return tuple(found)

    def _of_replicas(self, known: Mapping[str, float]) -> dict[str, float]:
        """How far the slowest replica is behind. The server's own figure stands still while a replica replays nothing,
        so it is held against what was written at earlier looks."""
        now, lag = time.monotonic(), max(known.get("replica_lag", 0.0), known.get("aurora_lag", 0.0))
        written, replayed = known.get("written"), known.get("replayed")
        if written is None or replayed is None:
            return {"replica_lag": lag}
        while self._written and self._written[0][1] <= replayed:
            self._written.popleft()
        if self._written:
            lag = max(lag, now - self._written[0][0])
        if not self._written or self._written[-1][1] < written:
            self._written.append((now, written))
        return {"replica_lag": lag, "replica_backlog": max(0.0, (written - replayed) / 2**20)}

    def _gate(self, unknown: dict[str, str]) -> tuple[Strain, ...]:
        """What the deployment's own SQL says."""
        try:
            with transaction(self._session, read_only=True, settings=GATE_BOUNDS):
                says = gate_says(self._session, self._limits.gate)
        except DBAPIError as error:
            if error.connection_invalidated or sqlstate(error) is None:
                raise
            self._session.rollback()
            says = Gate(unknown=describe(error))
        if says.unknown is not None:
            unknown["gate"] = says.unknown
        return () if says.held is None else (Strain("gate", "held", says.held),)


class Gate(NamedTuple):
    """What a gate says. With neither it is open."""

    held: str | None = None
    """Why runs are to wait."""
    unknown: str | None = None
    """Why nobody knows: runs then go on."""


def gate_says(session: Session, gate: str) -> Gate:
    """What a deployment's own SQL says now, in the caller's transaction, which only reads and bounds its statements."""
    # As a part of another SELECT it can be nothing but one; on a line of its own, so that it may end in a comment.
    asked = f"select gate.* from ({gate.strip().rstrip(';')}\n) as gate cross join (select) as alone limit 2"  # noqa: S608
    given = session.connection().exec_driver_sql(asked)
    columns = [] if given.cursor is None else [column[1] for column in given.cursor.description]
    rows = given.fetchmany(2)
    for says, *_ in rows:
        if says is False:
            return Gate(held="it is closed")
        if isinstance(says, str) and says.strip():
            return Gate(held=printable(says, most=256))
    if len(columns) != 1 or len(rows) > 1:
        return Gate(unknown="it gives more than one value")
    if not rows or (rows[0][0] is not True and (columns[0] == BOOLEAN or not isinstance(rows[0][0], str | None))):
        return Gate(unknown="it says neither true nor false, and gives no reason either")
    return Gate()

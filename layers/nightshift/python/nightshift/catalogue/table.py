"""What there is to know of a table: its columns, keys, indexes, foreign keys, triggers, rules, rights and partitions.

What the engine decides (which way, which rows stay, what a deletion takes with it, what it must refuse) it decides from
this, and never from what a model says. `read` fills it in.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

from sqlalchemy import Table

from nightshift.database.quoting import quoted
from nightshift.errors import PermanentError

OnDelete = Literal["no action", "restrict", "cascade", "set null", "set default"]


class TableError(PermanentError):
    """The table is not there, or is of a kind that cannot be worked on. The message says what to do."""


class NoTableError(TableError):
    """The database has no table of this name, or this role may not use its schema."""


class Column(NamedTuple):
    """A column as the database has it."""

    name: str
    type: str
    """As SQL writes it: `timestamp(6) without time zone`, `character varying(40)`, `boss.job_state`."""
    base: str
    """The name of the type that stands behind it, a domain's and without length: `timestamptz`, `varchar`, `int8`."""
    sent_as: str
    """The same as SQL writes it. A value that is sent as this is compared and refused as it is: a cast to a type with a
    length would cut it off."""
    nullable: bool
    personal: bool
    """Whether its values may name somebody: text can be an address, and so can what holds text, bytes or hosts.
    Numbers, times, truth values, enums and uuids name nobody by themselves."""
    default: str | None = None
    """As SQL writes it."""
    generated: bool = False
    """Whether the database gives it its value, and takes no other."""


class Index(NamedTuple):
    """An index that can be used now: valid, and not being built."""

    name: str
    method: str
    keys: tuple[str, ...]
    """The key columns and expressions, as SQL writes them."""
    predicate: str | None
    """The condition of a partial index."""
    unique: bool


class Reference(NamedTuple):
    """A foreign key of another table (or of this one) to this table."""

    name: str
    schema: str
    """Of the constraint: that of the referring table."""
    child: int
    """The referring table's oid."""
    columns: tuple[str, ...]
    parent_columns: tuple[str, ...]
    on_delete: OnDelete
    deferrable: bool
    indexed: bool
    """Whether an index serves the look for the referring rows. Without one the table is read once for each row."""
    found_by: tuple[str, ...] = ()
    """Of a key over several columns those with which its best index begins, where these are not all of them."""
    bare: tuple[int, ...] = ()
    """By oid, the tables with rows that refer, and without an index that serves: the table itself, or partitions."""
    found: float | None = None
    """How many rows have the same values in `found_by` at the most. None: unknown, or there is no need to ask."""
    among: tuple[int, ...] = ()
    """The leaves whose rows can be referred to, where it is not the whole table: PostgreSQL looks for the referred row
    in the one relation that the key names, and in no other that inherits from it. Empty: any row."""
    alone: bool = False
    """Whether rows of tables that inherit from the referring one do not refer."""
    empties: tuple[str, ...] = ()
    """The referring columns that SET NULL and SET DEFAULT write: all of them, or those that the key names."""
    period: bool = False
    """Whether the last column is a period (PERIOD), which refers to all that it overlaps."""
    checks: tuple[str, ...] = ()
    """Conditions on the referring row, as SQL, that may refuse what SET NULL writes."""
    turn: str = ""
    """What is done at the deletion of a row is done in the order of this, key by key."""

    @property
    def follows(self) -> bool:
        """Whether the referring rows go or change with the row, in place of keeping it."""
        return self.on_delete in ("cascade", "set null", "set default")


class Trigger(NamedTuple):
    """A trigger of the application on deletion or update."""

    name: str
    before: bool
    each_row: bool
    on_delete: bool = True


class Rule(NamedTuple):
    """A rule that rewrites a DELETE or an UPDATE."""

    name: str
    event: Literal["delete", "update"]
    instead: bool
    """It does something in place of the statement; otherwise it does something as well."""
    conditional: bool
    """It does so for some of the rows only."""


class Keyed(NamedTuple):
    """A plain b-tree over columns, for all rows."""

    name: str
    """As SQL takes it, with its schema."""
    columns: tuple[str, ...]
    unique: bool


class Leaf(NamedTuple):
    """A table that holds rows itself: an ordinary one, a partition, or one that inherits."""

    oid: int
    name: str
    filenode: int
    blocks: int
    rows: float
    """The planner's idea of the number of rows. Negative: never analysed."""
    parent: int = 0
    """The oid of the table that it is a partition of, or inherits from; 0: of none."""
    keyed: tuple[Keyed, ...] = ()
    """Asked for only where there are several leaves."""


class Branch(NamedTuple):
    """A table that is partitioned: the named one, or a partition of it."""

    oid: int
    name: str
    parent: int
    keyed: tuple[Keyed, ...] = ()
    """Those as well that do not have a part on every partition yet."""


class Portion(NamedTuple):
    """Leaves that are walked together, and the condition by which the planner leaves all others aside.

    One partition by range or list, with its own bound; or all of a partitioning by hash, whose bounds prune nothing;
    or a table and those that inherit from it.
    """

    leaves: tuple[Leaf, ...]
    bound: str | None = None

    @property
    def name(self) -> str:
        return self.leaves[0].name

    @property
    def blocks(self) -> int:
        """As many as its longest leaf has."""
        return max(leaf.blocks for leaf in self.leaves)

    @property
    def rows(self) -> float:
        return -1.0 if any(leaf.rows < 0 for leaf in self.leaves) else sum(leaf.rows for leaf in self.leaves)


class Unidentified(NamedTuple):
    """A table whose changes PostgreSQL refuses: a publication is to tell them, and nothing identifies a row."""

    table: str
    """As SQL takes it."""
    publication: str
    events: tuple[str, ...]
    """`delete`, `update` or both."""


@dataclass(frozen=True)
class TableFacts:
    """A table as the live database has it, for the role that asks."""

    oid: int
    schema: str
    name: str
    kind: str
    """`r` for an ordinary table, `p` for a partitioned one; what else there is cannot be worked on."""
    columns: Mapping[str, Column]
    key: tuple[str, ...]
    """The columns of the primary key, or else of a unique index without nulls; empty where there is neither, and where
    other tables inherit."""
    indexes: tuple[Index, ...]
    references: tuple[Reference, ...]
    triggers: tuple[Trigger, ...]
    rules: tuple[Rule, ...]
    may: frozenset[str]
    """Which of select, delete and update this role may do."""
    filtered: bool
    """Whether row security hides rows from this role."""
    portions: tuple[Portion, ...] = ()
    bytes: int = 0
    rows: float = -1.0
    """The planner's idea of the number of rows. Negative: never analysed."""
    inherited: bool = False
    role: str = ""
    """Who asks."""
    reachable: bool = True
    """Whether this role may use the schema."""
    unidentified: tuple["Unidentified", ...] = ()
    branches: tuple[Branch, ...] = ()
    """What holds no rows itself: a partitioned table, and its partitions that are partitioned, from the top."""

    @property
    def alone(self) -> "TableFacts":
        """As a foreign key of it sees it: without the tables that inherit from it. Partitions belong to it."""
        if not self.inherited:
            return self
        own = tuple(leaf for leaf in self.leaves if leaf.oid == self.oid)
        return replace(self, portions=(Portion(own),), rows=own[0].rows, inherited=False)

    def read_in(self, leaves: Collection[int]) -> "TableFacts":
        """The same with the rows of these leaves alone, by oid: what is read of it where the others have an index."""
        some = [leaf for leaf in self.leaves if leaf.oid in leaves]
        return self if len(some) in (0, len(self.leaves)) else replace(self, rows=rows_of(some, unknown=-1.0))

    @property
    def fullname(self) -> str:
        """With the schema, unless that is `public`."""
        return self.name if self.schema == "public" else f"{self.schema}.{self.name}"

    @property
    def leaves(self) -> tuple[Leaf, ...]:
        """Every table that holds its rows."""
        return tuple(leaf for portion in self.portions for leaf in portion.leaves)

    @property
    def about(self) -> int | None:
        """How many rows it has by the planner's estimate; None where it was never analysed."""
        return round(self.rows) if self.rows >= 0 else None

    def size_of(self, rows: int) -> int | None:
        """How many bytes so many of the rows take, indexes included, by the planner's estimate; None without one."""
        return round(self.bytes * min(1.0, rows / self.rows)) if rows and self.rows > 0 else None

    @property
    def quoted(self) -> str:
        return f"{quoted(self.schema)}.{quoted(self.name)}"


def quoted_whole(name: str) -> str:
    """The name of a leaf, with its schema, as SQL takes it. A dot in the schema's own name is not told from the one
    behind it."""
    schema, _, table = name.partition(".")
    return f"{quoted(schema)}.{quoted(table)}"


def name_of(model: Table) -> str:
    """The name of a model's table, as `find` and SQL take it."""
    return f"{quoted(model.schema or 'public')}.{quoted(model.name)}"


def rows_of(leaves: Sequence[Leaf], *, unknown: float) -> float:
    """The sum. A leaf that was never analysed is taken to be as full as the others are; `unknown` where none was."""
    known = [leaf for leaf in leaves if leaf.rows > 0 or not leaf.blocks]
    rows, blocks = sum(max(0.0, leaf.rows) for leaf in known), sum(leaf.blocks for leaf in known)
    more = sum(leaf.blocks for leaf in leaves) - blocks
    if not more:
        return rows
    return rows + more * rows / blocks if blocks else unknown

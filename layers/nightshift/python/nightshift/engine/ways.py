"""The ways through a table: consecutive heap blocks, ranges over the age through an index, or a list of keys.

Every way aims at the table that was named. A partition's own bound, as a condition, keeps it to that partition.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from sqlalchemy import (
    ARRAY,
    BigInteger,
    ColumnElement,
    Text,
    and_,
    cast,
    column,
    delete,
    exists,
    func,
    insert,
    literal,
    literal_column,
    or_,
    select,
    table,
    text,
)
from sqlalchemy.orm import Session

from nightshift.catalogue.ages import TID, SqlType
from nightshift.catalogue.table import Portion
from nightshift.database.quoting import quoted
from nightshift.engine.subject import Explain, Subject, nodes

DENSE_SHARE = 0.05
"""From this share of matching rows on, going through the heap is faster than going through an index."""
LAST_TIMES = 1.5
"""So much larger the last batch may be: a small one behind it would take longer than it does."""
TIES_FACTOR = 4

FIRST_ROWS = 20_000
"""How many rows a first batch may touch, those that go by cascade included."""

ROW_SECONDS = 0.6e-6
"""What the deletion of a row takes at least."""


class Window(NamedTuple):
    """The rows of one batch, and the cursor that stands behind them. None as `after` means the portion is done."""

    conditions: Sequence[ColumnElement[bool]]
    after: dict[str, Any] | None


class Walk(Protocol):
    """A way through one portion."""

    way: str
    smallest: int
    largest: int
    first: int
    rows_each: float
    """How many rows a unit of its sizes is about, those that go by cascade included."""

    def window(self, session: Session, cursor: Mapping[str, Any], size: int) -> Window | None:
        """The next rows behind the cursor, about `size` of the walk's units; None when this way does not work."""

    def at_worst(self, size: int) -> float:
        """The seconds that a batch of this size may take although the last one found little to do."""


class HeapWalk:
    """Consecutive heap blocks: each is read and written once, however many of its rows match."""

    way = "heap"
    smallest, first, largest = 1, 64, 65_536

    def __init__(self, portion: Portion, load: float = 1.0) -> None:
        """load: how many rows go with each candidate, itself included."""
        self._portion = portion
        rows_a_block = max(1.0, portion.rows / portion.blocks) if portion.blocks and portion.rows > 0 else 50.0
        self.rows_each = rows_a_block * load
        self.first = max(self.smallest, min(self.first, int(FIRST_ROWS / load / rows_a_block)))
        self._block_seconds = rows_a_block * load * ROW_SECONDS

    def window(self, session: Session, cursor: Mapping[str, Any], size: int) -> Window | None:
        # Frozen when the walk begins: rows that arrive later are younger than the cut-off, and a row that an UPDATE
        # moves to the end has been done.
        end = cursor.get("end", self._portion.blocks)
        block = cursor.get("block", 0)
        upto = min(end, block + size)
        ctid: ColumnElement[str] = literal_column("ctid", TID)
        conditions = [ctid >= literal(f"({block},0)", TID), ctid < literal(f"({upto},0)", TID)]
        return Window(conditions, {"block": upto, "end": end} if upto < end else None)

    def at_worst(self, size: int) -> float:
        return size * self._block_seconds


class RangeWalk:
    """Ranges over the age column, oldest first, through an index that the database has."""

    way = "range"
    smallest, first, largest = 1, 2_000, 100_000

    def __init__(self, subject: Subject, portion: Portion, left: Callable[[], int | None], load: float = 1.0) -> None:
        """left: how many rows are left of those that were counted in this portion; None: more than one batch may have,
        or nobody knows."""
        assert subject.age is not None
        self._subject, self._age, self._left = subject, subject.age, left
        self._conditions = subject.window(portion)
        self.rows_each = load
        self.first = max(self.smallest, min(self.first, int(FIRST_ROWS / load)))

    def window(self, session: Session, cursor: Mapping[str, Any], size: int) -> Window | None:
        behind = self._behind(cursor)
        left = self._left()
        if left is not None and left <= size * LAST_TIMES:
            return Window(behind, None)
        rows = self._subject.rows(cast(self._age, Text)).where(*self._conditions)
        last = session.scalar(rows.where(*behind).order_by(self._age).offset(size - 1).limit(1))
        if last is None:
            return Window(behind, None)
        boundary = literal(last, self._type())
        ties = rows.where(self._age == boundary).limit(TIES_FACTOR * size).subquery()
        if session.scalar(select(func.count()).select_from(ties)) == TIES_FACTOR * size:
            return None  # one instant holds more rows than a batch may: only the heap can divide them
        return Window([*behind, self._age <= boundary], {"after": last})

    def at_worst(self, size: int) -> float:
        return 0.0

    def _behind(self, cursor: Mapping[str, Any]) -> list[ColumnElement[bool]]:
        after = cursor.get("after")
        return [] if after is None else [self._age > literal(after, self._type())]

    def _type(self) -> Any:
        known = self._subject.age_column
        return SqlType(known.type) if known else self._age.type


KEYS = table(
    "candidates",
    column("run_id"),
    column("step"),
    column("place", BigInteger),
    column("key", ARRAY(Text)),
    schema="nightshift",
)


class KeyWalk:
    """A list of keys that was written down before the first batch: what the condition meant then, and nothing else.

    The condition is asked again only of rows that somebody has changed since: the run itself may change what it means.
    """

    way = "keys"
    smallest, first, largest = 1, 2_000, 20_000

    def __init__(self, subject: Subject, run_id: Any, step: str, load: float = 1.0) -> None:
        self._subject, self._run_id, self._step = subject, run_id, step
        self.rows_each = load
        self.first = max(self.smallest, min(self.first, int(FIRST_ROWS / load)))

    def window(self, session: Session, cursor: Mapping[str, Any], size: int) -> Window | None:
        after, last = cursor.get("place", 0), cursor["last"]
        upto = min(last, after + size)
        mine = [KEYS.c.run_id == self._run_id, KEYS.c.step == self._step, KEYS.c.place > after, KEYS.c.place <= upto]
        unchanged = _written(self._subject).in_(select(KEYS.c.key).where(*mine))
        conditions = [self.listed(*mine), or_(unchanged, self._subject.condition)]
        now = self._subject.workable_now(and_(*conditions))
        return Window([now], {"place": upto, "last": last} if upto < last else None)

    def at_worst(self, size: int) -> float:
        return 0.0

    def listed(self, *mine: ColumnElement[bool]) -> ColumnElement[bool]:
        """That a row is one of those whose keys are meant by `mine`."""
        return exists().select_from(KEYS).where(*mine, *self._same())

    def _same(self) -> list[ColumnElement[bool]]:
        facts = self._subject.facts
        if facts.key:
            return self._held(facts.key, 1)
        place = literal_column(f"{facts.quoted}.ctid", TID) == cast(KEYS.c.key[1], TID)
        leaf: ColumnElement[Any] = literal_column(f"{facts.quoted}.tableoid")
        own = leaf == cast(KEYS.c.key[2], SqlType("oid"))
        if not (names := _referred_by(self._subject)):
            return [place, own]
        return [own, or_(and_(KEYS.c.key[3].is_(None), place), and_(*self._held(names, 3)))]

    def _held(self, names: Sequence[str], first: int) -> list[ColumnElement[bool]]:
        """That columns hold what is written down, from this place on."""
        facts = self._subject.facts
        return [
            literal_column(f"{facts.quoted}.{quoted(name)}")
            == cast(KEYS.c.key[number], SqlType(facts.columns[name].type))
            for number, name in enumerate(names, first)
        ]


def write_keys(session: Session, subject: Subject, run_id: Any, step: str) -> int:
    """Write down the keys of all rows that the condition means now, in the caller's transaction. Returns how many."""
    session.execute(delete(KEYS).where(KEYS.c.run_id == run_id, KEYS.c.step == step))
    key = _written(subject)
    # First those to which no row can refer: when they go, none of the others is moved.
    lonely = [key[3].is_not(None)] if not subject.facts.key and _referred_by(subject) else []
    place: list[ColumnElement[Any]] = [literal_column("tableoid"), literal_column("ctid")]
    if subject.goes_together:  # what refers to a row has mostly come later, and is gone when the row's turn comes
        place = [each.desc() for each in place]
    places = func.row_number().over(order_by=[*lonely, *place])
    found = subject.rows(literal(run_id), literal(step), places, key).where(subject.workable)
    return session.execute(insert(KEYS).from_select(["run_id", "step", "place", "key"], found)).rowcount  # type: ignore[attr-defined, no-any-return]


def _written(subject: Subject) -> ColumnElement[Any]:
    """A row as it is written down: its key, or else its place, and which transaction has made its version."""
    facts = subject.facts
    parts = [f"{facts.quoted}.{quoted(name)}::text" for name in facts.key]
    if not parts:
        parts = [f"{facts.quoted}.{part}::text" for part in ("ctid", "tableoid")]
        names = [f"{facts.quoted}.{quoted(name)}" for name in _referred_by(subject)]
        whole = " and ".join(f"{name} is not null" for name in names)
        parts += [f"case when {whole} then {name}::text end" for name in names]
    return literal_column(f"(array[{', '.join([*parts, f'{facts.quoted}.xmin::text'])}])", ARRAY(Text))


def _referred_by(subject: Subject) -> tuple[str, ...]:
    """Of a table without a key, the columns by which its rows refer to each other, where they are known as these are
    unique: when a row goes, those that referred to it are written anew, at another place."""
    facts = subject.facts
    if facts.inherited or facts.kind != "r":
        return ()
    own = (each for each in facts.references if each.child == facts.oid and each.empties)
    return next((each.parent_columns for each in own if each.on_delete in ("set null", "set default")), ())


def keys_written(session: Session, run_id: Any, step: str) -> int:
    """How many keys are written down for a step already."""
    place = select(func.max(KEYS.c.place)).where(KEYS.c.run_id == run_id, KEYS.c.step == step)
    return session.scalar(place) or 0


def keys_referenced(session: Session, subject: Subject, run_id: Any, step: str) -> int:
    """How many of these rows are still there, and others refer to them by now."""
    if subject.referenced_now is None:
        return 0
    mine = KeyWalk(subject, run_id, step).listed(KEYS.c.run_id == run_id, KEYS.c.step == step)
    return session.scalar(subject.rows(func.count()).where(mine, subject.condition, subject.referenced_now)) or 0


def choose(session: Session, subject: Subject, portion: Portion, at_most: int | None) -> str:
    """The way through a portion, as the database tells it: by its estimate, and by the indexes that it would use."""
    if subject.age is None:
        return "heap"
    if at_most is None or at_most > RangeWalk.first:
        if portion.rows < 0:
            return "heap"  # never analysed: nothing is known
        if _expected(session, subject, portion, at_most) > DENSE_SHARE * portion.rows:
            return "heap"
    return "range" if _indexed(session, subject, portion) else "heap"


def _expected(session: Session, subject: Subject, portion: Portion, at_most: int | None) -> float:
    """How many rows of a portion are meant: as they were counted, or else as the planner expects them."""
    if at_most is not None and (len(subject.portions) == 1 or at_most <= DENSE_SHARE * portion.rows):
        return at_most
    explained = session.scalar(Explain(subject.rows(literal_column("1")).where(*subject.window(portion))))
    return float(explained[0]["Plan"]["Plan Rows"])


def _indexed(session: Session, subject: Subject, portion: Portion) -> bool:
    """Whether an index gives the rows in the order of their age: asked with sorting and reading all forbidden."""
    assert subject.age is not None
    rows = subject.rows(literal_column("1")).where(*subject.window(portion)).order_by(subject.age).limit(1)
    with session.begin_nested() as nested:
        session.execute(text("; ".join(f"set local enable_{way} to off" for way in ("seqscan", "sort", "bitmapscan"))))
        explained = session.scalar(Explain(rows))
        nested.rollback()
    return not any(node["Node Type"] in ("Seq Scan", "Sort", "Tid Range Scan") for node in nodes(explained[0]["Plan"]))


__all__ = ["HeapWalk", "KeyWalk", "RangeWalk", "Walk", "Window", "and_", "choose", "write_keys"]

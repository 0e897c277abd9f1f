"""Every row that a subject means, once, in short transactions: halved down to the row where one of them fails.

The size of a batch follows time and all the rows that it touches, cascades included. What a deletion takes with it is
read from the transaction's own counters: a batch that passes what was planned is rolled back.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Text, cast, func, literal, literal_column, text, tuple_
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session
from sqlalchemy.sql.dml import Delete, Update

from nightshift.catalogue.ages import TID, SqlType
from nightshift.catalogue.reading import read
from nightshift.catalogue.table import Portion
from nightshift.database.failures import describe, is_locked, is_passing, is_row_error
from nightshift.database.quoting import quoted
from nightshift.declaration.step import QUARANTINED, Batch, Execution
from nightshift.engine.following import ALONG, Following
from nightshift.engine.odd_rows import without_odd_rows
from nightshift.engine.pacing import TARGET_SECONDS
from nightshift.engine.subject import Subject
from nightshift.engine.tally import Touched, cascaded, changes_of, kept_of, tally, went_along
from nightshift.engine.ways import (
    HeapWalk,
    KeyWalk,
    RangeWalk,
    Walk,
    choose,
    keys_referenced,
    keys_written,
    write_keys,
)
from nightshift.errors import PermanentError
from nightshift.ledger import forget_keys, quarantined

PASSING_ERRORS_IN_A_ROW = 12
LOCK_SECONDS = 0.5
"""How long a batch waits for a row that another session has locked; then it is made smaller."""
ROW_LOCK_MILLISECONDS = 50
"""How long a single row is waited for; then it is left for the end."""
MOST_LOCKED = 1_000
"""So many rows that are locked are tried again at the end; a table with more is in use, and the next run comes."""

FEWEST_ROWS = 2_000
"""With fewer rows a batch is not shorter: what it takes then is its commit. Rows that take long are another matter."""

UNBOUNDED = 2**62
"""More rows than any batch has."""

PLACE = ("block", "end", "after", "place", "last")
"""The keys of a saved position that are a walk's own."""

IDLE_ROUNDS = 2
"""After so many rounds that did nothing, rows that are still there are not explained by having moved."""

REFERENCED, LOCKED, CHANGED = "referenced", "locked", "changed"
"""Counters of candidates that stay: another row refers to them, another session has them locked to the end, or they are
no candidates any more."""


class UnexplainedRemainderError(PermanentError):
    """Candidates are still there at the end, and nothing says why."""


class Sweep(NamedTuple):
    """What to do with every row of the subject: a DELETE or UPDATE of its table, to which the conditions are added."""

    subject: Subject
    step: str
    statement: Delete | Update
    counter: str
    extra_counts: Mapping[str, ColumnElement[bool]]
    """Counters of the rows that also match a condition before they are changed."""
    keys_shown: bool = False
    keys_first: bool = False
    """Write the keys down before the first batch, because the condition may mean other rows after it."""


@dataclass
class _Planned:
    """What may go at most, by what was stated before the first batch."""

    rows: int | None
    others: dict[str, int] = field(default_factory=dict)
    referenced: int = 0
    """How many rows are no candidates, because others refer to them."""

    @classmethod
    def of(cls, execution: Execution, task: Sweep) -> "_Planned":
        stated = execution.stated(task.step)
        others = {name: rows for name, rows in stated.items() if name != task.step}
        referenced = sum(execution.stated(kept_of(task.step)).values())
        return cls(stated.get(task.step), {name.partition(" > ")[2]: rows for name, rows in others.items()}, referenced)


def sweep(execution: Execution, task: Sweep) -> None:
    """Do the task to every row that is meant, and account for those that stay.

    With a count of candidates not one row more is touched: a row that is meant only since then is the next run's.

    Raises:
        Interrupted, Fenced, ErrorBudgetExceededError: see `Execution.batch`.
        PassedPlanError: more would have gone than was planned; nothing of that batch has.
        UnexplainedRemainderError: rows are still there, and nothing says why.
        DBAPIError: an error that is neither a row's nor passing.
    """
    planned = _Planned.of(execution, task)
    if planned.rows == 0:  # one statement, as anybody would send it: its triggers fire, and no key is there
        task = task._replace(keys_first=False)
    emptied = execution.stated(changes_of(task.step))
    load = 1 + (sum(planned.others.values()) + sum(emptied.values())) / max(1, planned.rows or 1)
    run = _Sweeping(execution, task, planned, load)
    run.tell_odd()
    run.go_through()
    while not run.account():
        run.go_through()


@dataclass
class _Pace:
    """How the next batch goes: how large, and how carefully."""

    walk: Walk
    size: int = 0
    alone: bool = False
    """Each row under a savepoint of its own."""
    limited: bool = False
    """Not more rows than are left of those that were counted."""
    proven: bool = False
    """A batch of about this size has gone through."""
    few: bool = False
    """A part of the rows, and the place stays: not even the smallest part of the walk fits into what is allowed."""
    passing: int = 0
    wary: bool = False
    """A lock was waited for in vain. Where one row is locked others are, and not each is worth the whole wait."""

    def __post_init__(self) -> None:
        self.size = self.walk.first

    def take_to_heart(self, error: DBAPIError) -> bool:
        """Be more careful after an error. False: there is nothing to be done about it."""
        smallest = self.walk.smallest
        self.wary = self.wary or is_locked(error)
        if is_locked(error) and self.size <= smallest and not self.alone:
            self.alone = True
        elif is_passing(error) and self.passing < PASSING_ERRORS_IN_A_ROW:
            self.passing += 1
            self.size = max(smallest, self.size // 4)
        elif is_row_error(error) and not self.alone:
            self.alone = self.size <= smallest
            self.size = max(smallest, self.size // 2)
        else:
            return False
        return True

    def go_on(self, seconds: float, target: float = TARGET_SECONDS) -> None:
        """After a batch that went through. target: what the next one should take."""
        self.alone, self.limited, self.proven, self.passing = False, False, True, 0
        self.few = False
        # Blocks in which nothing was to be done may be followed by blocks in which all rows are meant.
        seconds = max(seconds, self.walk.at_worst(self.size))
        smallest = self.walk.smallest
        if seconds <= TARGET_SECONDS:
            smallest = max(smallest, min(self.size, math.ceil(FEWEST_ROWS / self.walk.rows_each)))
        self.size = paced(self.size, seconds, smallest, self.walk.largest, target)


class _Sweeping:
    """One sweep of one attempt."""

    def __init__(self, execution: Execution, task: Sweep, planned: _Planned, load: float) -> None:
        self.execution, self.task, self.planned, self.load = execution, task, planned, load
        self.subject = task.subject
        closure = self.subject.closure
        self._watches = self.subject.action == "delete"
        self._watched = self._watches and bool(closure.edges or self.subject.facts.triggers)
        self._portions = self.subject.portions
        self._tried_again = 0
        """How many of the locked rows the batch tries again."""

    @property
    def position(self) -> dict[str, Any]:
        """What the last batch left: the place in a portion, and of the whole step how many `rows` were done or
        quarantined, how many of these were `kept`, the places of those that were `locked`, what went `along`, and the
        `round`."""
        return dict(self.execution.position or {})

    @property
    def _left(self) -> int | None:
        """How many of the counted candidates have neither been done nor left with a reason."""
        if self.planned.rows is None:
            return None
        locked = len(self.position.get("locked", ())) - self._tried_again
        return max(0, self.planned.rows - int(self.position.get("rows", 0)) - locked)

    def _left_for_one_batch(self) -> int | None:
        """The same, if an operator lets one batch have so many."""
        left = self._left
        return left if left is not None and left <= self.execution.at_most(UNBOUNDED) else None

    def go_through(self) -> None:
        """Do the rows of all portions that are still to be done."""
        if self.task.keys_first and self._portions:
            self._walk(Portion(tuple(leaf for portion in self._portions for leaf in portion.leaves)))
        else:
            for portion in self._portions:
                # Partitions that went as a whole before leave a position that is in no portion.
                if self.position.get("portion", "") <= portion.name:
                    self._walk(portion)
        self._try_the_locked_again()

    def _walk(self, portion: Portion) -> None:
        """Do the rows of one portion."""
        cursor = self._cursor(portion)
        if self._left == 0 and self.execution.position is not None:
            return
        pace = _Pace(self._walk_of(portion, cursor))
        while not cursor.get("done"):
            try:
                fits = self._batch(portion, cursor, pace)
            except _MoreThanCounted:
                pace.limited = True
            except _MoreThanAllowed:
                pace.few = pace.size <= pace.walk.smallest
                pace.size = max(pace.walk.smallest, pace.size // 2)
            except DBAPIError as error:
                if pace.take_to_heart(error):
                    self.execution.log("batch.retried", error=describe(error), size=pace.size)
                elif self._leave_odd_out(error):
                    pace = _Pace(self._walk_of(portion, cursor))
                else:
                    raise
            else:
                cursor = self.position
                if fits:
                    pace.go_on(self.execution.last_batch_seconds, self.execution.batch_seconds)
                else:
                    pace = _Pace(HeapWalk(portion, self.load))

    def _batch(self, portion: Portion, cursor: dict[str, Any], pace: _Pace) -> bool:
        """One batch, with its position. False: this way does not work here, and the heap must do."""
        place = {"portion": portion.name, "filenodes": _filenodes(portion), "way": pace.walk.way}
        sums = ("rows", "kept", "locked", ALONG, "round")
        carried = {key: self.position[key] for key in sums if key in self.position}
        wait = ROW_LOCK_MILLISECONDS / 1000 if pace.wary else LOCK_SECONDS
        with self.execution.batch(may_be_lost=True, lock_seconds=wait, watched=self._watches) as batch:
            self.subject.prepare(batch.session)
            if not pace.proven:
                self._leave_time_for_a_smaller_one(batch)
            if pace.walk.way == KeyWalk.way and "last" not in cursor:
                last, shift = self._keys(batch.session), carried.get("round", {}).get("shift", 0)
                batch.position = place | carried | {"last": last, "done": last == 0, "place": -shift}
                return True
            pace.size = self.execution.at_most(pace.size, pace.walk.rows_each, least=pace.walk.smallest)
            window = pace.walk.window(batch.session, cursor, pace.size)
            if window is None:
                batch.position = place | carried | {"way": HeapWalk.way}
                return False
            bounds = [] if self.task.keys_first else self.subject.window(portion)
            locked = list(carried.get("locked", ()))
            if pace.alone:
                locked += self._one_by_one(batch, [*bounds, *window.conditions])
            else:
                self._all_at_once(batch, [*bounds, *window.conditions], limited=pace.limited, few=pace.few)
            kept = int(carried.get("kept", 0)) + len(batch.quarantined)
            rows = int(carried.get("rows", 0)) + batch.counts[self.task.counter] + len(batch.quarantined)
            full = self.planned.rows is not None and rows + len(locked) >= self.planned.rows
            now = carried | {"rows": rows} | ({"kept": kept} if kept else {}) | ({"locked": locked} if locked else {})
            if pace.few and batch.counts[self.task.counter] >= self.execution.at_most(UNBOUNDED) and not full:
                after: dict[str, Any] | None = {key: cursor[key] for key in PLACE if key in cursor}
            else:
                after = window.after
            whole = after is None or full
            batch.position = place | now | self._along(batch) | ({"done": True} if whole else dict(after or {}))
        return True

    def _along(self, batch: Batch) -> dict[str, dict[str, int]]:
        """What has gone, or changed, with the rows, this batch included. The run's counters hold other steps' too."""
        along = Counter(self.position.get(ALONG, {})) + Counter(went_along(batch.counts))
        return {ALONG: dict(along)} if along else {}

    def _keys(self, session: Session) -> int:
        """How many keys there are to go through: those of the count, if they were written down with it."""
        run, step = self.execution.run.id, self.task.step
        return keys_written(session, run, step) or write_keys(session, self.subject, run, step)

    def _leave_time_for_a_smaller_one(self, batch: Batch) -> None:
        """Nobody knows yet what a batch costs here: one that takes too long must not take the whole attempt."""
        deadline = self.execution.deadline
        seconds = max(1.0, (deadline.remaining - deadline.reserve) / 4)
        batch.session.execute(text(f"set local statement_timeout to {int(seconds * 1000)}"))

    def _walk_of(self, portion: Portion, cursor: Mapping[str, Any]) -> Walk:
        if self.task.keys_first:
            return KeyWalk(self.subject, self.execution.run.id, self.task.step, self.load)
        way = cursor.get("way")
        if way is None:
            with self.execution.session.begin():
                self.subject.prepare(self.execution.session)
                way = choose(self.execution.session, self.subject, portion, self._left)
        if way == RangeWalk.way:
            only = len(self.subject.portions) == 1
            return RangeWalk(self.subject, portion, self._left_for_one_batch if only else lambda: None, self.load)
        return HeapWalk(portion, self.load)

    def _cursor(self, portion: Portion) -> dict[str, Any]:
        """The saved place in this portion, unless one of its tables was rewritten since: then its blocks have moved."""
        saved = self.position
        if saved.get("portion") != portion.name:
            return {}
        if saved["filenodes"] != _filenodes(portion):
            remedy = "the table was rewritten; its walk starts over"
            self.execution.log("cursor.refused", table=portion.name, remedy=remedy)
            return {}
        return saved

    def _all_at_once(
        self,
        batch: Batch,
        conditions: Sequence[ColumnElement[bool]],
        *,
        limited: bool = False,
        few: bool = False,
    ) -> None:
        session = batch.session
        self._check_references_now(batch)
        left, allowed = self._left, self.execution.at_most(UNBOUNDED)
        if limited or few:
            place = [literal_column("tableoid"), literal_column("ctid", TID)]
            most = min(left if limited and left is not None else UNBOUNDED, allowed if few else UNBOUNDED)
            part = self.subject.rows(*place).where(*conditions).limit(most)
            conditions = [tuple_(*place).in_(part), *conditions]
        extra: dict[str, int] = {}
        if self.task.extra_counts:
            wanted = [func.count().filter(condition) for condition in self.task.extra_counts.values()]
            counted = session.execute(self.subject.rows(*wanted).where(*conditions)).one()
            extra = dict(zip(self.task.extra_counts, counted, strict=True))
        before = tally(session) if self._watched else {}
        rows = session.execute(self.task.statement.where(*conditions)).rowcount  # type: ignore[attr-defined]
        if left is not None and batch.counts[self.task.counter] + rows > left:
            raise _MoreThanCounted
        if rows > allowed:
            raise _MoreThanAllowed
        followed = self._followed(batch, before, rows) if self._watched else Counter()
        batch.count(**extra, **{self.task.counter: rows}, **followed)

    def _check_references_now(self, batch: Batch) -> None:
        """Foreign keys that would wait for the commit are checked at once, where a savepoint can catch them."""
        names = [f"{quoted(each.schema)}.{quoted(each.name)}" for each in self.subject.closure.deferrable]
        if names and self.subject.action == "delete":
            batch.session.execute(text(f"set constraints {', '.join(names)} immediate"))

    def _followed(self, batch: Batch, before: Mapping[int, Touched], rows: int) -> Counter[str]:
        """What went or changed with the rows, as counters; held to the plan. See `Following.held`."""
        following = Following(self.execution, self.subject, self.task.step, self.task.counter)
        return following.held(batch, before, rows, self._left)

    def _one_by_one(self, batch: Batch, conditions: Sequence[ColumnElement[bool]]) -> list[list[str]]:
        """Each row under its own savepoint. One that fails is quarantined: left as it was, and written down.

        Returns the places of the rows that another session has locked.
        """
        session = batch.session
        shown = self.task.keys_shown or not self.subject.personal()
        keys = self.subject.key_columns(shown=shown)
        leaf, place = (
            cast(literal_column("tableoid"), OID).label("leaf"),
            cast(literal_column("ctid", TID), Text).label("place"),
        )
        found = session.execute(self.subject.rows(leaf, place, *keys).where(*conditions)).all()
        session.execute(text(f"set local lock_timeout to '{ROW_LOCK_MILLISECONDS}ms'"))
        session.execute(text("set constraints all immediate"))  # what would be refused at the commit shows its row
        locked: list[list[str]] = []
        left = self._left
        for number, (its_leaf, its_place, *key) in enumerate(found):
            if left is not None and number >= left:
                break
            if not self._one(batch, [*_at(its_leaf, its_place), *conditions], lambda key=key: self.subject.key_of(key)):
                locked.append([str(its_leaf), its_place])
        return locked[:MOST_LOCKED]

    def _one(self, batch: Batch, conditions: Sequence[ColumnElement[bool]], name: Any) -> bool:
        """One row. False: another session has it locked."""
        kept = batch.counts.copy()
        try:
            with batch.session.begin_nested():
                self._all_at_once(batch, conditions)
        except DBAPIError as error:
            batch.counts = kept
            if is_locked(error):
                return False
            if not is_row_error(error):
                raise
            batch.quarantine(name(), describe(error))
        return True

    def _try_the_locked_again(self) -> None:
        """At the end, once more: those who had them may be done."""
        while locked := list(self.position.get("locked", ())):
            self._try_again(locked)

    def _try_again(self, locked: list[Any]) -> None:
        """As many of them as a batch may have."""
        with self.execution.batch(lock_seconds=LOCK_SECONDS, watched=self._watches) as batch:
            few = self.execution.at_most(len(locked))
            locked, later = locked[:few], locked[few:]
            self._tried_again = len(locked)
            self.subject.prepare(batch.session)
            batch.session.execute(text(f"set local lock_timeout to '{ROW_LOCK_MILLISECONDS}ms'"))
            still = [
                each
                for each in locked
                if not self._one(
                    batch,
                    [*_at(*each), self.subject.workable_alone],
                    lambda each=each: self.subject.key_of(each[1:]),
                )
            ]
            batch.count(**{LOCKED: len(still)})
            done = batch.counts[self.task.counter] + len(batch.quarantined)
            batch.position = {
                **self.position,
                "rows": self.position.get("rows", 0) + done,
                "locked": later,
                "done": True,
                **self._along(batch),
            }
        self._tried_again = 0

    def tell_odd(self) -> None:
        """Write down the rows that are left out, those that are not written down yet."""
        if not self.subject.odd:
            return
        with self.execution.session.begin():
            known = quarantined(self.execution.session, self.execution.run.id, self.task.step)
        new = [(name, error) for name, error in self.subject.odd if name not in known]
        if not new:
            return  # a batch that tells nothing would be all that an attempt near its end does
        with self.execution.batch(watched=self._watches) as batch:
            for name, error in new:
                batch.quarantine(name, error)
            batch.position = self.position or {"portion": "", "filenodes": {}}

    def _leave_odd_out(self, error: DBAPIError) -> bool:
        """Where the condition itself fails over rows, go on without them. False: it does not."""
        if not is_row_error(error):
            return False
        with self.execution.session.begin():
            self.subject.prepare(self.execution.session)
            sound = without_odd_rows(self.execution.session, self.subject)
        if sound is self.subject:
            return False
        self.subject = sound
        self.tell_odd()
        return True

    def account(self) -> bool:
        """See `_account`; a condition that fails over rows is asked of the others."""
        try:
            return self._account()
        except DBAPIError as error:
            if not self._leave_odd_out(error):
                raise
            return self._account()

    def _account(self) -> bool:
        """Nothing is left without a reason: else it is counted once more, and what is still there is told.

        False: rows have moved behind the walk, by an update of somebody else or by the deletion itself, which writes a
        row anew to empty its reference. They are walked once more.
        """
        if "accounted" in self.position:
            return True
        if self.planned.rows is None:
            self._tell_what_triggers_kept()
            return True
        counters, name = self.execution.counters, self.subject.facts.fullname
        along = int(self.position.get(ALONG, {}).get(cascaded(name), 0))
        candidates_along = max(0, along - self.planned.others.get(name, 0))
        missing = self.planned.rows - int(self.position.get("rows", 0)) - counters[LOCKED] - candidates_along
        if missing <= 0 and self.subject.referenced is None and not self.task.keys_first:
            return True
        with self.execution.batch(watched=self._watches) as batch:
            self.subject.prepare(batch.session)
            since = self._referenced_since(batch.session, missing)
            if self.task.keys_first:
                # Rows that refer to each other go when they are in one batch, or those that refer in one before.
                if missing > 0 and self.subject.goes_together and self._begin_a_round(batch):
                    return False
                forget_keys(batch.session, self.execution.run.id, self.task.step)
            elif missing > 0:
                left = int(self.position.get("kept", 0)) + counters[LOCKED]
                if (unexplained := self.subject.count(batch.session) - left) > 0:
                    if self._begin_a_round(batch):
                        return False
                    raise UnexplainedRemainderError(
                        f"{unexplained} rows of {name} that were counted are still there, and nothing says "
                        f"why{self._suspects()}"
                    )
            counts = {CHANGED: max(0, missing - since), REFERENCED: self.planned.referenced + since}
            batch.count(**{what: number for what, number in counts.items() if number})
            batch.position = {**self.position, "done": True, "accounted": True}
        return True

    def _tell_what_triggers_kept(self) -> None:
        """Of rows that nobody has counted beforehand: a trigger may turn an update into nothing, and no error tells."""
        name, triggers = self.subject.facts.fullname, self.subject.facts.triggers
        if not any(trigger.before and trigger.each_row for trigger in triggers):
            return
        with self.execution.batch(watched=self._watches) as batch:
            self.subject.prepare(batch.session)
            left = int(self.position.get("kept", 0)) + self.execution.counters[LOCKED]
            if (still := self.subject.count(batch.session) - left) > 0:
                batch.note(
                    f"step {self.task.step}: {still} rows of {name} still meet the condition of the step after it"
                    f"{self._suspects()}"
                )
            batch.position = {**self.position, "done": True, "accounted": True}

    def _referenced_since(self, session: Session, missing: int) -> int:
        """How many more rows stay because others refer to them than were stated. Those that the run itself has freed
        since then stay as well: they were no candidates."""
        if not self.task.keys_first:
            return max(0, self.subject.count_referenced(session) - self.planned.referenced)
        return keys_referenced(session, self.subject, self.execution.run.id, self.task.step) if missing > 0 else 0

    def _begin_a_round(self, batch: Batch) -> bool:
        """Go through the table from its beginning again, the rows that stayed included. False: that did not help."""
        position = self.position
        before = position.get("round", {"rows": 0, "idle": 0})
        kept = int(position.get("kept", 0))
        rows = int(position.get("rows", 0)) - kept
        idle = 0 if rows > before["rows"] else before["idle"] + 1
        if idle >= IDLE_ROUNDS:
            return False
        batch.count(**{QUARANTINED: -kept, LOCKED: -self.execution.counters[LOCKED]})
        # The batches of a list of keys have other bounds than before: rows that these parted are together.
        shift = {"shift": KeyWalk.largest // 2 - before.get("shift", 0)} if self.task.keys_first else {}
        batch.position = {"portion": "", "filenodes": {}, "rows": rows, "round": {"rows": rows, "idle": idle, **shift}}
        batch.position |= self._along(batch)
        names = {portion.name for portion in self._portions}
        now = read(batch.session, self.subject.facts.oid).portions
        self._portions = tuple(portion for portion in now if portion.name in names)
        return True

    def _suspects(self) -> str:
        names = ", ".join(trigger.name for trigger in self.subject.facts.triggers if trigger.before)
        return f"; look at the trigger {names}" if names else "; a row may have come back, or come since"


class _MoreThanCounted(Exception):  # noqa: N818 - not an error: the batch is done again with fewer rows
    """A batch would do more rows than were counted before the first one."""


class _MoreThanAllowed(Exception):  # noqa: N818 - not an error: the batch is done again with fewer rows
    """A batch would do more rows than an operator allows."""


def paced(size: int, seconds: float, smallest: int, largest: int, target: float = TARGET_SECONDS) -> int:
    """The size of the next batch, which is to take `target` seconds, after one of `size` that took so many."""
    pace = min(4.0, max(0.25, target / max(seconds, 0.001)))
    return int(min(largest, max(smallest, size * pace)))


def _filenodes(portion: Portion) -> dict[str, int]:
    return {leaf.name: leaf.filenode for leaf in portion.leaves}


def _at(leaf: Any, place: str) -> list[ColumnElement[bool]]:
    return [literal_column("tableoid") == literal(str(leaf), OID), literal_column("ctid", TID) == literal(place, TID)]


OID = SqlType("oid")

"""What went, or changed, because the rows of a batch went: held to what was stated before the first batch."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from sqlalchemy import func, literal_column, or_, select
from sqlalchemy.orm import Session

from nightshift.catalogue.cascades import from_clause, system_column
from nightshift.catalogue.table import TableError, TableFacts
from nightshift.declaration.step import Batch, Execution
from nightshift.engine.subject import Subject
from nightshift.engine.tally import UNTOUCHED, Touched, cascaded, changed_in, changes_of, tally, truncated
from nightshift.errors import PassedPlanError

ALONG = "along"
"""The key of a saved position under which the step's own counters of what went, or changed, with its rows stand."""


@dataclass
class _Changes:
    """What a statement has done in one table: its partitions together."""

    facts: TableFacts | None
    """None: no foreign key leads to it."""
    deleted: int = 0
    updated: int = 0
    moved: int = 0

    @property
    def gone(self) -> int:
        """An update that puts a row into another partition deletes it in the one that it was in."""
        return max(0, self.deleted - self.moved)

    @property
    def changed(self) -> int:
        return self.updated + min(self.deleted, self.moved)


@dataclass(frozen=True)
class Following:
    """What may follow the rows of one step.

    counter: what these rows are counted as.
    """

    execution: Execution
    subject: Subject
    step: str
    counter: str

    def held(self, batch: Batch, before: Mapping[int, Touched], rows: int, left: int | None) -> Counter[str]:
        """What went or changed with so many rows in this batch's statement, as counters.

        before: the transaction's counters before the statement.
        left: how many of the counted candidates had neither been done nor left before the batch; None: nobody counted.

        Raises:
            PassedPlanError: it is more than was planned, or in a table that was not.
            TableError: nothing went, because a trigger does something else.
        """
        facts = self.subject.facts
        found = self._changes(before, tally(batch.session))
        if self._triggers:
            self._refuse_truncated(batch.session)
        for name, each in found.items():
            if each.gone and each.facts is None:
                raise PassedPlanError(
                    f"the deletion in {facts.fullname} deleted from a table that no foreign key leads to, {name}: a "
                    "trigger does that. Nothing of it was kept; write a Function step that counts these rows too"
                )
        own = found.pop(facts.fullname, _Changes(facts))
        turning = _keeping(facts)
        if rows == 0 and own.gone == 0 and own.changed and turning:
            raise TableError(
                f"the trigger {turning[0]} on {facts.fullname} updates rows in place of deleting them: "
                "this step cannot delete them. Nothing was changed"
            )
        gone = Counter({name: each.gone for name, each in found.items()})
        changed = Counter({name: each.changed for name, each in found.items()})
        # Rows that refer to the candidates in the same table, candidates or not.
        gone[facts.fullname] = max(0, own.deleted - rows - own.moved)
        if facts.fullname in self._stated_changes:
            changed[facts.fullname] = own.changed
        more = max(0, (left or 0) - batch.counts[self.counter] - rows)
        self._hold_deletions(batch, gone, more)
        self._hold_changes(batch, changed)
        if own.changed and rows:
            self._note_trigger(batch, facts)
        if left is not None and not more:
            self._note_kept(batch, gone)
        counts = Counter({cascaded(name): number for name, number in gone.items()})
        counts.update({changed_in(name): number for name, number in changed.items()})
        return +counts

    @property
    def _stated(self) -> dict[str, int]:
        return self._by_table(self.step)

    @property
    def _stated_changes(self) -> dict[str, int]:
        """Empty in a run that has been counted by a version that did not state them."""
        return self._by_table(changes_of(self.step))

    def _by_table(self, step: str) -> dict[str, int]:
        stated = self.execution.stated(step)
        return {table: rows for name, rows in stated.items() if (table := name.partition(" > ")[2])}

    @property
    def _tables(self) -> Iterator[TableFacts]:
        yield self.subject.closure.root
        yield from self.subject.closure.reached.values()

    @property
    def _triggers(self) -> bool:
        return any(facts.triggers for facts in self._tables)

    def _changes(self, before: Mapping[int, Touched], now: Mapping[int, Touched]) -> dict[str, _Changes]:
        known = {leaf.oid: facts for facts in self._tables for leaf in facts.leaves}
        found: dict[str, _Changes] = {}
        for oid, touched in now.items():
            was, facts = before.get(oid, UNTOUCHED), known.get(oid)
            each = found.setdefault(facts.fullname if facts else touched.table, _Changes(facts))
            each.deleted += touched.deleted - was.deleted
            each.updated += touched.updated - was.updated
            each.moved += touched.moved - was.moved
        return found

    def _refuse_truncated(self, session: Session) -> None:
        if tables := truncated(session):
            raise PassedPlanError(
                f"the deletion in {self.subject.facts.fullname} emptied {tables[0]} as a whole, or wrote it anew: a "
                "trigger does that, and nobody can count its rows. Nothing of it was kept; write a Function step that "
                "counts these rows too"
            )

    def _hold_deletions(self, batch: Batch, gone: Mapping[str, int], candidates: int) -> None:
        """candidates: how many are left, of which some may go as rows that refer to others."""
        for name, number in gone.items():
            own = candidates if name == self.subject.facts.fullname else 0
            planned = self._stated.get(name, 0)
            if number and self._so_far(batch, cascaded(name)) + number > planned + own:
                raise PassedPlanError(
                    f"the deletion takes more rows of {name} with it than the {planned} that "
                    "were counted before: they are new, or a trigger deletes them. Nothing of the batch was kept; "
                    "run it again"
                )

    def _hold_changes(self, batch: Batch, changed: Mapping[str, int]) -> None:
        """What foreign keys empty. What triggers write beside it is told, and not held."""
        for name, planned in self._stated_changes.items():
            number = changed[name]
            if not number or self._so_far(batch, changed_in(name)) + number <= planned:
                continue
            if self._triggers and self._emptied(batch.session, name) <= planned:
                continue
            raise PassedPlanError(
                f"the deletion changes more rows of {name} than the {planned} that were counted before: they are new. "
                "Nothing of the batch was kept; run it again"
            )

    def _so_far(self, batch: Batch, counter: str) -> int:
        """In this step: the run's counters hold what went with the rows of others as well."""
        return int((self.execution.position or {}).get(ALONG, {}).get(counter, 0)) + batch.counts[counter]

    def _emptied(self, session: Session, name: str) -> int:
        """How many rows of a table the transaction has written that may have lost a reference: a trigger may have
        written them more than once, or others."""
        facts = next(each for each in self._tables if each.fullname == name)
        edges = [edge for _, edge in self.subject.closure.edges if edge.child == facts.oid]
        table = from_clause(facts, "emptied")
        lost = [
            table.c[column] == literal_column(f"({default})") if default is not None else table.c[column].is_(None)
            for edge in edges
            for column in edge.empties
            if edge.on_delete != "cascade"
            for default in [facts.columns[column].default if edge.on_delete == "set default" else None]
        ]
        ours = func.age(system_column(table, facts, "xmin")) <= 0
        return session.scalar(select(func.count()).select_from(table).where(ours, or_(*lost))) or 0

    def _note_trigger(self, batch: Batch, facts: TableFacts) -> None:
        for name in _keeping(facts):
            batch.note(
                f"the trigger {name} on {facts.fullname} updates rows of it while others are deleted: "
                "those that it keeps are told as changed"
            )

    def _note_kept(self, batch: Batch, gone: Mapping[str, int]) -> None:
        """With the last rows: what was to go with them, and has not."""
        for name, planned in self._stated.items():
            kept = planned - self._so_far(batch, cascaded(name)) - gone.get(name, 0)
            facts = next((each for each in self._tables if each.fullname == name), None)
            if kept <= 0 or facts is None or facts is self.subject.facts:
                continue
            if why := _keeping(facts):
                batch.note(
                    f"{kept} of {planned} rows of {name} that were to go by cascade are still there: "
                    f"the trigger {' or '.join(why)} on {name} keeps them, and they refer to rows that are gone"
                )


def _keeping(facts: TableFacts) -> list[str]:
    """The triggers that can keep a row from being deleted."""
    return [each.name for each in facts.triggers if each.before and each.each_row and each.on_delete]

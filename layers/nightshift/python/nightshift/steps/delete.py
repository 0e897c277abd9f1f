"""Delete the rows of a table that a condition and an age tell, or whole partitions."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, ClassVar, cast

from sqlalchemy import Table, delete, literal_column, text, true
from sqlalchemy.orm import InstrumentedAttribute, Session
from sqlalchemy.sql.dml import Delete as DeleteStatement
from sqlalchemy.sql.elements import ColumnClause

from nightshift.catalogue import TableError, TableFacts, around, before
from nightshift.catalogue.cascades import ALL, SHARE_APPLIES_ABOVE, of_how_many
from nightshift.catalogue.obstacles import refuse_unworkable
from nightshift.database.quoting import quoted
from nightshift.declaration import Execution, Run, StepPlan, fingerprint_of, iso
from nightshift.declaration.fields import must_be
from nightshift.declaration.partitions import PARTITION_BYTES, Detach, Drop, Whole
from nightshift.engine import Subject, keys_written
from nightshift.engine.partitions import Age as PartitionAge, Taking, divide, take_away, without
from nightshift.errors import DeclarationError
from nightshift.steps.rows import RowStep, share_of

SAME_TABLE = text("cast(to_regclass(:table) as oid)")


def _unheard(session: Session, facts: TableFacts) -> tuple[str, ...]:
    """Who is not told that a partition goes."""
    published = around(session, facts).published
    if not published:
        return ()
    names = ", ".join(published)
    return (f"followers of the publication {names} are not told of a partition that goes: they keep its rows",)


@dataclass(frozen=True, kw_only=True)
class Delete(RowStep):
    """Delete the rows, and with them what PostgreSQL's own cascades take along.

    Both are counted, and the caps checked, before the first row goes. Rows that others refer to stay, and are counted.

    partitions: `Drop()` or `Detach(to_schema=…)`: partitions that are entirely older than the cut-off go as a whole, in
        a moment. Without it their rows are deleted like all others. The step then has an age and no other condition.
    """

    counter: str = "deleted"
    partitions: Whole | None = None

    action: ClassVar[Any] = "delete"
    destructive: ClassVar[bool] = True

    def _check_fields(self, where: str) -> None:
        super()._check_fields(where)
        if self.partitions is None:
            return
        like = 'Drop() or Detach(to_schema="archive")'
        must_be(isinstance(self.partitions, Drop | Detach), f"{where} partitions", like, self.partitions)
        if self.older_than is None or not isinstance(self.measured_by, str | InstrumentedAttribute | ColumnClause):
            raise DeclarationError(
                f"{where} a partition goes as a whole when all of it is old enough: give older_than, and a column as "
                "measured_by"
            )
        for field_name, why in (
            ("where", "a partition that goes as a whole takes all its rows, whatever they are"),
            ("counting", "the rows of a partition that goes as a whole are not looked at"),
            ("visible_rows", "a partition that goes as a whole takes the rows that this role does not see as well"),
        ):
            if getattr(self, field_name):
                raise DeclarationError(f"{where} partitions and {field_name} cannot be together: {why}")

    @property
    def counters(self) -> tuple[str, ...]:
        own = () if self.partitions is None else (self.partitions.counter, PARTITION_BYTES)
        return (*super().counters, *own)

    def fingerprint(self, run: Run) -> str:
        told = super().fingerprint(run)
        return told if self.partitions is None else fingerprint_of(text(f"{told} {self.partitions!r}".replace(":", "")))

    def plan(self, session: Session, run: Run) -> list[StepPlan]:
        if self.partitions is None:
            return super().plan(session, run)
        return [self._with_partitions(session, run, self._plan_of, None)]

    def candidates(self, session: Session, run: Run) -> list[StepPlan]:
        if self.partitions is None:
            return super().candidates(session, run)
        return [self._with_partitions(session, run, self._candidates_of, share_of(run))]

    def _with_partitions(
        self, session: Session, run: Run, rows_of: Callable[[Session, Run, Subject], StepPlan], share: int | None
    ) -> StepPlan:
        """The plan for the rows, and the partitions that go as a whole beside it."""
        assert self.partitions is not None
        subject = self.subject(session, run)
        divided = divide(session, subject, self._age_of_partitions(session, run, subject), self.partitions)
        facts = subject.facts
        cutoff = self.cutoff(run)
        plan = StepPlan(self.name, facts.fullname, self.action, 0, cutoff=iso(cutoff) if cutoff is not None else None)
        if divided.rest is not None:
            plan = rows_of(session, run, divided.rest)
            if plan.rows:
                self._refuse_unidentified(session, divided.rest)
        going = divided.counted(session, self.partitions)
        rows = plan.rows + sum(each.rows for each in going)
        of = plan.of
        if going and self.partitions.counted == "exactly":
            of = of_how_many(session, facts, subject.table, rows, share)
        elif going:
            every = sum(each.most_rows for each in divided.tree.children.get(facts.oid, ()))
            of = every if rows > SHARE_APPLIES_ABOVE and share != ALL else None
        return replace(
            plan,
            rows=rows,
            of=of,
            about=facts.about if of is None else None,
            bytes=(plan.bytes or 0) + sum(each.bytes for each in going) or None,
            partitions=going,
            staying=divided.staying,
            notes=(*plan.notes, *(_unheard(session, facts) if going else ())),
        )

    def _refuse_unworkable(self, facts: TableFacts) -> None:
        # Nobody is told of a partition that goes as a whole, whatever identifies its rows.
        super()._refuse_unworkable(facts if self.partitions is None else replace(facts, unidentified=()))

    def _refuse_unidentified(self, session: Session, rest: Subject) -> None:
        """Rows that go one by one are told to publications, each of them."""
        facts = rest.facts
        for leaf in facts.unidentified:
            holds_some = rest.rows(true()).where(rest.workable, literal_column("tableoid") == SAME_TABLE)
            if session.scalar(holds_some.limit(1), {"table": leaf.table}):
                refuse_unworkable(replace(facts, unidentified=(leaf,)), self.action, visible=False)

    def _age_of_partitions(self, session: Session, run: Run, subject: Subject) -> PartitionAge:
        cutoff = self.cutoff(run)
        known = subject.age_column
        assert cutoff is not None
        if known is None:
            raise TableError(f"step {self.name}: partitions go by a column of the table, named by measured_by")
        plain = before(literal_column(quoted(known.name)), known, cutoff, zone=self.zone, measure=self.measured_in)
        return PartitionAge(known, plain)

    def apply(self, execution: Execution) -> None:
        if self.partitions is None:
            self._sweep(execution, self._statement)
            return
        session, run = execution.session, execution.run
        stated = execution.stated_partitions(self.name)
        _, counted, keys_first = session.info.pop((run.id, self.name), (0.0, None, False))
        with session.begin():
            subject = self.subject(session, run)
            age = self._age_of_partitions(session, run, subject)
            rest = without(session, subject, stated, age) if self.partitions.rest == "delete" else None
            if rest is not None and counted is None:
                keys_first = keys_written(session, run.id, self.name) > 0 or self._keys_first(session, rest)
        take_away(execution, Taking(self.name, subject.facts, age, self.partitions, self.counter), stated)
        if rest is not None:
            self._sweep_over(execution, rest, keys_first, self._statement)

    def explained(self, run: Run, subject: Subject) -> Any:
        return self._statement(subject).where(subject.workable)

    @staticmethod
    def _statement(subject: Subject) -> DeleteStatement:
        return delete(cast(Table, subject.table))

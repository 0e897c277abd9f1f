"""Update the rows of a table that a condition and an age tell."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, cast

from sqlalchemy import Table, false, text, update
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session
from sqlalchemy.sql.dml import Update as UpdateStatement

from nightshift.catalogue import Closure, TableError
from nightshift.database import describe, sqlstate
from nightshift.declaration import Execution, Run, fingerprint_of
from nightshift.declaration.fields import must_be_truth
from nightshift.engine import Subject
from nightshift.engine.subject import Explain
from nightshift.steps.conditions import check_new_values, typed_value
from nightshift.steps.rows import RowStep

MISTAKES = ("22", "23", "42")
"""Classes of SQLSTATEs that a statement meets whatever rows there are."""

NO_RIGHT = "42501"
"""The run says which grant is missing, and so does the check."""


def _refusal(session: Session, statement: UpdateStatement) -> DBAPIError | None:
    """What the planner has against a statement, which is not executed. What only hinders it now, its run will meet."""
    try:
        with session.begin_nested():
            session.execute(Explain(statement.where(false())))  # of no row: no partition is opened for it
    except DBAPIError as error:
        if (code := sqlstate(error)) is None:  # the connection is lost
            raise
        return error if code[:2] in MISTAKES and code != NO_RIGHT else None
    return None


@dataclass(frozen=True, kw_only=True)
class Update(RowStep):
    """Update the rows. The condition must exclude rows that already have the new values, so that a resumed run ends.

    set: the new values by column, or a function of the run that gives them.
    irreversible: the old values are lost for good (anonymisation), so the step is counted and capped first.
    """

    set: Mapping[Any, Any] | Callable[[Run], Mapping[Any, Any]]
    irreversible: bool = False

    action: ClassVar[Any] = "update"

    def __post_init__(self) -> None:
        super().__post_init__()
        must_be_truth(f"step {self.name}: irreversible", self.irreversible)
        if not callable(self.set):
            self._check_new_values(self.set)

    @property
    def destructive(self) -> bool:  # type: ignore[override]
        return self.irreversible

    def fingerprint(self, run: Run) -> str:
        named = {getattr(key, "key", key): value for key, value in self._values(run).items()}
        return fingerprint_of(text(super().fingerprint(run)), text(repr(sorted(map(str, named))).replace(":", r"\:")))

    def apply(self, execution: Execution) -> None:
        self._sweep(execution, partial(self._statement, execution.run))

    def explained(self, run: Run, subject: Subject) -> Any:
        return self._statement(run, subject).where(subject.workable)

    def subject_in(self, session: Session, run: Run, reached: Closure) -> Subject:
        subject = super().subject_in(session, run, reached)
        self._refuse_new_values(session, run, subject)
        return subject

    def _refuse_new_values(self, session: Session, run: Run, subject: Subject) -> None:
        """Refuse what no row can take. The planner sees that of a value, before anything is written.

        Raises:
            TableError: it names the column.
        """
        given = self._new_values(run)
        every = self._setting(subject, given)
        for name, value in given.items():
            column = subject.facts.columns[name]
            if column.generated:
                raise TableError(f"step {self.name}: set {name}: the database gives it its value, and takes no other")
            if value is None and not column.nullable:
                raise TableError(f"step {self.name}: set {name}: it must have a value")
        if (error := _refusal(session, every)) is None:
            return
        for name, value in given.items():
            if (its_own := _refusal(session, self._setting(subject, {name: value}))) is not None:
                raise TableError(f"step {self.name}: set {name}: {describe(its_own)}") from None
        raise error

    def _statement(self, run: Run, subject: Subject) -> UpdateStatement:
        return self._setting(subject, self._new_values(run))

    def _setting(self, subject: Subject, given: Mapping[str, Any]) -> UpdateStatement:
        """The statement that sets these new values."""
        known = {name: self.column_of(subject, name) for name in given}  # first, as it refuses a name that is none
        values = {known[name]: typed_value(value, subject.facts.columns[name]) for name, value in given.items()}
        return update(cast(Table, subject.table)).values(values)

    def _new_values(self, run: Run) -> dict[str, Any]:
        return {key if isinstance(key, str) else key.expression.name: value for key, value in self._values(run).items()}

    def _values(self, run: Run) -> Mapping[Any, Any]:
        if not callable(self.set):
            return self.set
        given = self.set(run)
        self._check_new_values(given)
        return given

    def _check_new_values(self, given: Any) -> None:
        check_new_values(f"step {self.name}: set", given, self.table)

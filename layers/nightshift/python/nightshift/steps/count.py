"""Count the rows of a table, and leave them alone."""

from collections.abc import Sequence
from dataclasses import dataclass

from nightshift.database import by_halves
from nightshift.declaration import Execution
from nightshift.engine import Subject, without_odd_rows
from nightshift.steps.rows import RowStep


@dataclass(frozen=True, kw_only=True)
class Count(RowStep):
    """Count rows that the job leaves alone, so that an operator sees them."""

    @property
    def changes(self) -> tuple[str, ...]:
        return ()

    @property
    def tables(self) -> tuple[str, ...]:
        return ()

    def apply(self, execution: Execution) -> None:
        if execution.position is not None:
            return
        with execution.batch() as batch:

            def count(subjects: Sequence[Subject]) -> None:
                batch.count(**{self.counter: subjects[0].count(batch.session)})

            def count_the_others(subject: Subject, error: str) -> None:
                sound = without_odd_rows(batch.session, subject)
                for name, its_error in sound.odd or ((f"the counter {self.counter}", error),):
                    batch.quarantine(name, its_error)
                if sound.odd:
                    count([sound])

            by_halves(batch.session, [self.subject(batch.session, execution.run)], count, count_the_others)
            batch.position = {"done": True}

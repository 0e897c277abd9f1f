"""What a person sees while something takes long: which step of how many, and a bar; while the machine starts, a bar for
each stack, and its lines.
"""

import re
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

Found = TypeVar("Found")

UNBOUNDED = 100_000
"""The width of a table that is never cut."""

_STACK_EVENT = re.compile(r"^(?P<stack>\S+) \| +(?P<done>\d+)/(?P<total>\d+) \| ")
_WORTH_SHOWING = re.compile(r"^\s*[✅❌✨⏳] |FAILED|[Ee]rror:")
_STEP = "Starting "
"""How a line of the machine begins with which its next step begins."""


def say(console: Console, line: str, style: str | None = None) -> None:
    """Print a line as it is. What is too long for a terminal, the terminal wraps, so that it can be copied."""
    console.print(line, style=style, markup=False, highlight=False, soft_wrap=True)


@dataclass(frozen=True)
class Step:
    """What is done, and how many seconds that takes on a small machine."""

    what: str
    seconds: int


def machine_steps(jobs: int, *, database: bool = True) -> list[Step]:
    """The steps of `local.machine`, one for each of its lines that begin so. database: whether it makes one, too."""
    own = [Step("starting PostgreSQL", 3)] if database else []
    return [
        *own,
        Step("starting the local AWS", 5),
        Step("preparing the local AWS for the CDK", 8),
        Step(f"deploying {jobs} jobs", 40),
    ]


class Steps:
    """The steps of something that takes minutes. Each is told when it begins, in a line that stays."""

    def __init__(self, console: Console, steps: Sequence[Step], clock: Callable[[], float] = time.monotonic) -> None:
        self._console, self._steps, self._clock = console, steps, clock
        self._number, self._since = 0, clock()
        say(self._console, f"{len(steps)} steps, {_about(sum(step.seconds for step in steps))}. Ctrl-C stops it.")

    @property
    def seconds(self) -> float:
        """Since the beginning."""
        return self._clock() - self._since

    def begin(self) -> None:
        """Tell the next step: `3 of 7, after 12 s: deploying 38 jobs (about 50 s)`."""
        step = self._steps[self._number]
        self._number += 1
        after = f", after {self.seconds:.0f} s" if self._number > 1 else ""
        say(self._console, f"{self._number} of {len(self._steps)}{after}: {step.what} ({_about(step.seconds)})")


def _about(seconds: int) -> str:
    return f"about {seconds} s" if seconds < 100 else f"about {round(seconds / 60)} minutes"


def progress_bar(console: Console) -> Progress:
    """How far something is and since when; gone when it is done."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    return Progress(*columns, console=console, transient=True, disable=not console.is_terminal)


def tracked(console: Console, found: Iterable[Found], total: int, description: str) -> Iterator[Found]:
    """What is found, with a bar on a terminal; in a log, a line at each quarter."""
    if console.is_terminal:
        with progress_bar(console) as progress:
            yield from progress.track(found, total=total, description=description)
        return
    since = time.monotonic()
    for number, each in enumerate(found, 1):
        yield each
        if 4 * number // total > 4 * (number - 1) // total:
            say(console, f"  {number} of {total} after {time.monotonic() - since:.0f} s")


@contextmanager
def spinner(console: Console, what: str) -> Iterator[None]:
    """A spinner and a clock, on a terminal."""
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        progress.add_task(what, total=None)
        yield


def show_table(console: Console, table: Table) -> None:
    """Print a table. What must not be broken is not cut either: where it does not fit, the terminal wraps its lines."""
    for column in table.columns:
        if column.no_wrap:
            column.min_width = max(
                (console.measure(cell).maximum for cell in [column.header, *column.cells]), default=0
            )
    least = console.measure(table, options=console.options.update(max_width=UNBOUNDED)).minimum
    console.print(table, width=max(console.width, least), soft_wrap=True)


@contextmanager
def deployment_display(console: Console, steps: Steps) -> Iterator[Callable[[str], None]]:
    """Yield a function that takes the lines of `local.machine.machine` and of the CDK and shows what matters."""
    bars: dict[str, TaskID] = {}
    with progress_bar(console) as progress:

        def show(line: str) -> None:
            if line.startswith(_STEP):
                steps.begin()
            event = _STACK_EVENT.match(line)
            if event:
                stack = event["stack"]
                if stack not in bars:
                    bars[stack] = progress.add_task(stack)
                progress.update(bars[stack], completed=int(event["done"]), total=int(event["total"]))
            if _WORTH_SHOWING.search(line):
                console.print(line.strip(), markup=False, highlight=False, soft_wrap=True)

        yield show

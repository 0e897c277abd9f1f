"""An open run as a person sees it on standard error: a live bar on a terminal, else plain lines."""

import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

import typer
from rich.console import Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from cli import screen
from cli.run_progress import RunProgress, at_work

SECONDS_BETWEEN_LINES = 15
"""How often a line tells of the progress where nobody sees a bar. A change of state is told at once."""

BAR = 20
"""The bar's width in characters."""


@dataclass(frozen=True)
class Seen:
    """What was seen of a run at the last look."""

    run: Mapping[str, Any]
    progress: RunProgress | None = None
    waits: str | None = None
    """What it waits for."""
    trouble: str | None = None
    """Why the last look saw nothing."""

    @property
    def name(self) -> str:
        return f"{self.run['job']}, run {self.run['run_id']}"

    @property
    def words(self) -> str:
        """How far it is, in one line."""
        return at_work(self.run, self.progress)


class Sight(Protocol):
    """Where a run is shown."""

    def show(self, seen: Seen) -> None: ...


def live() -> bool:
    """Whether standard error is a terminal that can draw over what it has drawn."""
    return sys.stderr.isatty() and os.environ.get("TERM", "dumb") not in ("dumb", "unknown")


@contextmanager
def sight(title: str, *, quiet: bool) -> Iterator[Sight]:
    """Show a run as long as the block lasts.

    title: what is said before anything was seen.
    quiet: say nothing where standard error is no terminal.
    """
    if live():
        yield from _bar(title)
    else:
        yield Lines(typer.echo if not quiet else None)


def _bar(title: str) -> Iterator[Sight]:
    bar = Bar(title)
    console = screen.terminal(errors=True)
    with Live(get_renderable=bar.drawn, console=console, refresh_per_second=4, transient=True):
        yield bar


@dataclass
class Bar:
    """A bar, the pace and the time left, drawn again and again; above it what runs and since when one looks."""

    title: str
    seen: Seen | None = None
    _spinner: Spinner = field(default_factory=lambda: Spinner("dots"))
    _began: float = field(default_factory=time.monotonic)

    def show(self, seen: Seen) -> None:
        self.seen = seen

    def drawn(self) -> RenderableType:
        minutes, seconds = divmod(int(time.monotonic() - self._began), 60)
        clock = f"{minutes // 60}:{minutes % 60:02}:{seconds:02}"
        if self.seen is None:
            return _in_a_row(self._spinner, Text(f"{self.title} {clock} (Ctrl-C stops the waiting, not the job)"))
        seen = self.seen
        state = screen.styled(seen.run["outcome"])
        lines: list[RenderableType] = [
            _in_a_row(self._spinner, Text.assemble(f"{seen.name}: ", state, f" {clock}")),
            _in_a_row(self._of(seen), Text(seen.words)),
        ]
        lines += [Text(text, "yellow") for text in (seen.waits, seen.trouble) if text]
        return Group(*lines)

    def _of(self, seen: Seen) -> ProgressBar:
        """Where nobody knows how much there is, the bar only moves; where it waits, it stands."""
        known = seen.progress
        if known is not None:
            return ProgressBar(total=known.of, completed=known.done, width=BAR)
        return ProgressBar(total=1, completed=0, width=BAR, pulse=seen.waits is None)


def _in_a_row(first: RenderableType, second: Text) -> Table:
    row = Table.grid(padding=(0, 1))
    row.add_row(first, second)
    return row


@dataclass
class Lines:
    """Plain lines: one at each change of state, and one now and then while it goes on."""

    say: Callable[..., None] | None
    clock: Callable[[], float] = time.monotonic
    _state: tuple[Any, ...] = ()
    _words: str = ""
    _said_at: float = 0

    def show(self, seen: Seen) -> None:
        if self.say is None:
            return
        state = (seen.run["outcome"], seen.waits, seen.trouble)
        due = self.clock() - self._said_at >= SECONDS_BETWEEN_LINES and seen.words != self._words
        if state == self._state and not due:
            return
        self._state, self._words, self._said_at = state, seen.words, self.clock()
        more = "".join(f"; {text}" for text in (seen.waits, seen.trouble) if text)
        outcome = seen.run["outcome"].replace("_", " ")
        self.say(f"{seen.name}: {outcome}, {seen.words}{more}", err=True)

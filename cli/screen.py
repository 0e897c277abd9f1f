"""Text, tables and a spinner for a terminal, built with rich."""

import json
import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.measure import Measurement
from rich.segment import Segment
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

Part = Table | Tree | Text | str
"""What an answer is shown as, one under the other."""

Answer = Mapping[str, Any]

UNBOUNDED = 100_000
"""The width of a line that is never broken: in a pipe, or on a terminal too narrow for a table."""

WHOLE = {
    *("Run", "Job", "Step", "Table", "Request id", "Quarantined", "Older than", "Reason", "Error"),
    *("Why", "Result", "SQL"),
}
"""Columns whose cells are never broken, so that each can be copied and searched. Others break between words."""

STYLES = {
    "succeeded": "green",
    "healthy": "green",
    "done": "green",
    "planned": "cyan",
    "running": "cyan",
    "open": "cyan",
    "failed": "bold red",
    "degraded": "bold red",
    "not_ready": "bold red",
    "interrupted": "yellow",
    "retrying": "yellow",
    "queued": "yellow",
    "missed": "yellow",
    "paused": "yellow",
    "error": "bold red",
    "warning": "yellow",
    "note": "dim",
    "unknown": "yellow",
    "ok": "green",
    "frozen": "yellow",
    "held": "yellow",
    "slowed": "yellow",
}


def terminal(*, errors: bool = False) -> Console:
    """Standard output (or error) as text to read. Text from answers is never read as markup."""
    width = None if watched(errors=errors) else UNBOUNDED
    return Console(stderr=errors, markup=False, highlight=False, emoji=False, width=width, soft_wrap=False)


def watched(*, errors: bool = False) -> bool:
    """Whether a person reads standard output (or standard error): on a terminal, or where a width is set."""
    return (sys.stderr if errors else sys.stdout).isatty() or "COLUMNS" in os.environ


def answering() -> bool:
    """Whether a person can be asked: what is typed is read, and the question is seen."""
    return sys.stdin.isatty() and sys.stderr.isatty()


def show(answer: Answer, as_json: bool, parts: Iterable[Part]) -> None:
    """Print the answer: as JSON for a program, or its parts for a person."""
    if as_json:
        typer.echo(json.dumps(answer, indent=2))
        return
    out = terminal()
    for part in parts:
        for line in _lines(out, part):
            out.print(line, soft_wrap=True)


@contextmanager
def waiting(text: str) -> Iterator[None]:
    """A spinner and a clock on standard error, if it is a terminal."""
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False), TimeElapsedColumn())
    with Progress(*columns, console=terminal(errors=True), transient=True, disable=not sys.stderr.isatty()) as progress:
        progress.add_task(text, total=None)
        yield


def counters(found: Mapping[str, Any]) -> str:
    """`deleted 1,200, batches 3, quarantined 0`; counters without a value are left out."""
    return ", ".join(
        f"{name} {value:,}" if isinstance(value, int) else f"{name} {value}"
        for name, value in found.items()
        if value is not None
    )


def styled(word: str) -> Text:
    """A state in its colour: `not_ready` as "not ready"."""
    return Text(word.replace("_", " "), STYLES.get(word, ""))


def table(*headings: str) -> Table:
    """A table without rows yet."""
    made = Table(box=SIMPLE_HEAD, pad_edge=False)
    for heading in headings:
        made.add_column(heading, no_wrap=heading in WHOLE)
    return made


MOST_STATEMENTS = 6
"""Of so many at most each is shown. More are those of a table's partitions, which --json has."""


def statements(heading: str, found: Iterable[tuple[str, str]]) -> Iterator[Text]:
    """SQL to copy, each statement on a line of its own, under what it is for. Nothing if there is none."""
    told: dict[str, list[str]] = {}
    for what, sql in found:
        told.setdefault(sql, []).append(what)
    if not told:
        return
    yield Text(f"\n{heading}:", "bold")
    for sql, about in told.items():
        yield Text("\n".join(f"-- {each}" for each in about), "dim")
        lines = [f"{each};" for each in sql.split("; ")]
        if len(lines) > MOST_STATEMENTS:
            lines = [lines[0], f"-- … and {len(lines) - 1} more for its partitions: see --json"]
        yield Text("\n".join(lines))


def facts() -> Table:
    """Lines with a name and a value. The value is never broken."""
    made = Table.grid(padding=(0, 2))
    made.add_column(style="dim", no_wrap=True)
    made.add_column(no_wrap=True)
    return made


def _lines(out: Console, part: Part) -> list[Text]:
    """The text of each line, without spaces at its end.

    A table that does not fit is not broken: each row is one line, and the terminal wraps it.
    """
    if isinstance(part, Tree):
        return _rendered(out, part, UNBOUNDED)
    if not isinstance(part, Table):
        return [Text(part) if isinstance(part, str) else part]
    for column in part.columns:
        cells = [Measurement.get(out, out.options.update(max_width=UNBOUNDED), cell) for cell in column.cells]
        column.min_width = max((cell.maximum if column.no_wrap else cell.minimum for cell in cells), default=0)
    lines = _rendered(out, part, out.width)
    return lines if all(line.cell_len <= out.width for line in lines) else _rendered(out, part, UNBOUNDED)


def _rendered(out: Console, part: Table | Tree, width: int) -> list[Text]:
    """The lines of a table or tree of that width."""
    rendered = Segment.split_lines(out.render(part, out.options.update(width=width)))
    lines = [Text.assemble(*((segment.text, segment.style or "") for segment in line)) for line in rendered]
    for line in lines:
        line.rstrip()
    return lines

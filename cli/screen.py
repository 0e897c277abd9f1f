"""What a person sees on a terminal: text, tables and a spinner, built with rich."""

import json
import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

Answer = Mapping[str, Any]

UNREAD_WIDTH = 160
"""Columns for output that no terminal shows: wide enough to be searched line by line."""

STYLES = {
    "succeeded": "green",
    "healthy": "green",
    "planned": "cyan",
    "running": "cyan",
    "failed": "bold red",
    "degraded": "bold red",
    "not_ready": "bold red",
    "interrupted": "yellow",
    "retrying": "yellow",
    "queued": "yellow",
    "missed": "yellow",
    "paused": "yellow",
}


def terminal(*, errors: bool = False) -> Console:
    """Standard output (or error) as text to read. What answers say is never taken for markup."""
    watched = sys.stderr.isatty() if errors else sys.stdout.isatty()
    width = None if watched or "COLUMNS" in os.environ else UNREAD_WIDTH
    return Console(stderr=errors, markup=False, highlight=False, emoji=False, width=width, soft_wrap=False)


def show(answer: Answer, as_json: bool, parts: Iterable[Any]) -> None:
    """Print the answer: as JSON for a program, or its parts for a person."""
    if as_json:
        typer.echo(json.dumps(answer, indent=2))
        return
    out = terminal()
    for part in parts:
        out.print(part)


@contextmanager
def waiting(text: str) -> Iterator[None]:
    """A spinner and a clock on standard error, where somebody watches it."""
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False), TimeElapsedColumn())
    with Progress(*columns, console=terminal(errors=True), transient=True, disable=not sys.stderr.isatty()) as progress:
        progress.add_task(text, total=None)
        yield


def counters(found: Mapping[str, Any], *, zeros: bool = False) -> str:
    """`deleted 1,200, batches 3`; those that are zero only when asked for."""
    return ", ".join(
        f"{name} {value:,}" if isinstance(value, int) else f"{name} {value}"
        for name, value in found.items()
        if value or zeros
    )


def styled(word: str) -> Text:
    """A state in its colour: `not_ready` as "not ready"."""
    return Text(word.replace("_", " "), STYLES.get(word, ""))


def table(*columns: str) -> Table:
    table = Table(*columns, box=SIMPLE_HEAD, pad_edge=False)
    for column in table.columns:
        column.overflow = "fold"  # never an ellipsis: a name must be searchable
    return table


def facts() -> Table:
    facts = Table.grid(padding=(0, 2))
    facts.add_column(style="dim", no_wrap=True)
    facts.add_column(overflow="fold")
    return facts

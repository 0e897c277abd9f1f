"""How a plan is shown to a person: as a tree of tables on a terminal, and as one line for each table in a pipe."""

import datetime as dt
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from operator import itemgetter
from typing import Any

from rich.filesize import decimal
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from cli.screen import Answer, table
from cli.times import parse, relative, shown, took

NAMES_SHOWN = 8

CAPS = ["max_rows", "max_share"]
OVER_CAP = "Over its cap. A run would stop before it changes anything: "
NEXT = (
    "If these rows are meant, raise {caps} in the job's settings, and try the value first: nightshift plan JOB "
    "--param {first}=NUMBER. To let one run continue that has stopped: "
    "nightshift redrive RUN --override-cap --by NAME --reason TEXT"
)


def plan(found: Answer, as_of: str, *, as_tree: bool) -> Iterator[Tree | Table | Text]:
    """What each step would do, what is missing, and what is over its cap.

    as_of: the run's time, in ISO 8601. Ages are counted from it.
    """
    now = parse(as_of)
    if as_tree:
        yield from _trees(found["steps"], now)
    else:
        yield _lines(found["steps"])
        for step in found["steps"]:
            for statement in step.get("missing", ()):
                yield Text(f"Missing for step {step['step']}: {statement}", "yellow")
            for each in step.get("staying", ()):
                yield Text(f"Not whole in step {step['step']}: {each['name']}: {each['reason']}", "yellow")
            for note in step.get("notes", ()):
                yield Text(f"Note on step {step['step']}: {note}", "yellow")
    if estimate := found.get("estimate"):
        pace = f"the last {estimate['runs']:,} did up to {estimate['rows_per_second']:,} rows a second"
        yield Text(f"A run would take about {took(estimate['seconds'] * 1000)}: {pace}")
    for each in found["over_cap"]:
        yield Text(f"{OVER_CAP}{each}", "bold red")
    if found["over_cap"]:
        caps = [cap for cap in CAPS if any(f"{cap} is" in each for each in found["over_cap"])] or CAPS
        yield Text(NEXT.format(caps=" and ".join(caps), first=caps[0]))


def _trees(steps: Iterable[Answer], now: dt.datetime) -> Iterator[Tree]:
    for name, tables in groupby(steps, key=itemgetter("step")):
        root = Tree(Text(name, "bold"), guide_style="dim")
        for each in tables:
            size = f"about {decimal(each['bytes'])}" if each.get("bytes") else ""
            node = root.add(_line(each["table"], _counted(each), size, _youngest(each, {}, now)))
            for label, value, style in _facts(each, now):
                node.add(Text.assemble((f"{label}: ", "dim"), (value, style)))
            _add_cascades(node, each, now)
        yield root


def _add_cascades(node: Tree, step: Answer, now: dt.datetime) -> None:
    """Each table once, under the table from which its foreign key leads to it."""
    left = list(step.get("cascades", ()))
    nodes = {step["table"]: node}
    while left:
        here = [each for each in left if each.get("through") in nodes] or left[:1]
        for each in here:
            left.remove(each)
            parent = nodes.get(each.get("through", ""), node)
            size = f"about {decimal(each['bytes'])}" if each.get("bytes") else ""
            made = parent.add(_line(each["table"], _cascaded(each), size, _youngest(each, step, now)))
            nodes.setdefault(each["table"], made)


def _facts(step: Answer, now: dt.datetime) -> Iterator[tuple[str, str, str]]:
    """What else is known of a step's rows: a name, the value and its style."""
    if cutoff := step.get("cutoff"):
        yield "older than", shown(cutoff, now), ""
    if step.get("way"):
        yield "way", step["way"], ""
    if kept := step.get("referenced"):
        yield "kept", f"{_rows(kept)} that other rows refer to", "yellow"
    if step["sample"]:
        yield "sample", _sample(step), ""
    if going := step.get("partitions"):
        yield "partitions", _going(going), ""
    for each in step.get("staying", ()):
        yield "not whole", f"{each['name']}: {each['reason']}", "yellow"
    for statement in step.get("missing", ()):
        yield "missing", statement, "yellow"
    for note in step.get("notes", ()):
        yield "note", note, "yellow"
    if cascades := step.get("cascades"):
        yield "with all that goes or changes along", _rows(step["rows"] + sum(each["rows"] for each in cascades)), ""


def _going(partitions: Sequence[Answer]) -> str:
    """Those that go as a whole: how many, with what, and which."""
    rows = sum(each["rows"] for each in partitions)
    at_most = "at most " if any(each.get("at_most") for each in partitions) else ""
    names = [each["name"] for each in partitions]
    told = ", ".join(names[:NAMES_SHOWN]) + (
        f" and {len(names) - NAMES_SHOWN} more" if len(names) > NAMES_SHOWN else ""
    )
    size = decimal(sum(each["bytes"] for each in partitions))
    return f"{len(names)} as a whole, {at_most}{_rows(rows)}, {size}: {told}"


def _lines(steps: Iterable[Answer]) -> Table:
    """One line for each table, with whole names, for grep and awk."""
    headings = ("Step", "Action", "Rows", "Share", "Table", "Through", "Older than", "Youngest", "Bytes", "Way", "Kept")
    lines = table(*headings, "Sample")
    for step in steps:
        lines.add_row(
            step["step"],
            step["action"],
            _number(step),
            _share(step),
            step["table"],
            "",
            step.get("cutoff", ""),
            step.get("youngest", ""),
            _bytes(step),
            step.get("way", ""),
            f"{step['referenced']:,} referenced" if step.get("referenced") else "",
            _sample(step),
        )
        for each in step.get("partitions", ()):
            rows = f"{'at most ' if each.get('at_most') else ''}{each['rows']:,}"
            facts = (step["step"], "whole", rows, "", each["name"], step["table"])
            lines.add_row(*facts, step.get("cutoff", ""), "", _bytes(each), "partition", "", "")
        for each in step.get("cascades", ()):
            through = each.get("through", "")
            facts = (step["step"], each["action"], _number(each), _share(each), each["table"], through)
            lines.add_row(*facts, step.get("cutoff", ""), each.get("youngest", ""), _bytes(each), "", "", "")
    return lines


def _sample(step: Answer) -> str:
    """The keys in one line. They come from rows: what is not printable would break it, or steer the terminal."""
    keys = ", ".join(step["sample"])
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in keys)


def _line(name: str, *facts: str | Text) -> Text:
    """A table and what happens to it: `shop.orders: delete 1,200 of 2,000 rows (60 %), about 1.2 MB`."""
    told = Text(", ").join(Text(each) if isinstance(each, str) else each for each in facts if each)
    return Text.assemble((name, "cyan"), ": ", told)


def _counted(found: Answer) -> str:
    action, rows = found["action"], found["rows"]
    if found.get("of") is not None:
        return f"{action} {rows:,} of {found['of']:,} rows ({_percent(rows, found['of'])})"
    if found.get("about"):
        return f"{action} {rows:,} of about {found['about']:,} rows ({_percent(rows, max(rows, found['about']))})"
    return f"{action} {_rows(rows)}"


def _cascaded(cascade: Answer) -> str:
    does = _counted(cascade)
    return f"{does} by cascade" if cascade["action"] == "delete" else f"{does} that lose a reference"


def _bytes(found: Answer) -> str:
    return decimal(found["bytes"]) if found.get("bytes") else ""


def _youngest(cascade: Answer, step: Mapping[str, Any], now: dt.datetime) -> Text:
    """The time of the youngest row, in yellow if it is younger than the step's cut-off."""
    told = cascade.get("youngest")
    if told is None:
        return Text("")
    try:
        instant = dt.datetime.fromisoformat(told)
    except ValueError:  # infinity, a year that Python has not
        return Text(f"youngest {told}")
    instant = instant if instant.tzinfo else instant.replace(tzinfo=dt.UTC)
    text = Text(f"youngest {instant.astimezone(dt.UTC):%Y-%m-%d %H:%M} ({relative(instant, now)})")
    if step.get("cutoff") and instant >= parse(step["cutoff"]):
        text.append(", younger than the cut-off")
        text.stylize("yellow")
    return text


def _rows(number: int) -> str:
    return f"{number:,} row{'' if number == 1 else 's'}"


def _number(found: Answer) -> str:
    if found.get("of") is None and found.get("about"):
        return f"{found['rows']:,} of about {found['about']:,}"
    return f"{found['rows']:,}" + (f" of {found['of']:,}" if found.get("of") is not None else "")


def _share(found: Answer) -> str:
    of = found.get("of") or found.get("about")
    return _percent(found["rows"], max(found["rows"], of)) if of else ""


def _percent(rows: int, of: int) -> str:
    share = 100 * rows / of if of else 0.0
    return f"{share:.3g} %" if share >= 0.01 or not rows else "less than 0.01 %"

"""A report for people: its figures in words and pictures, as a page and in short for a mail."""

import datetime as dt
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

from jinja2 import PackageLoader, Template

from functions.administration.reports.figures import FIGURES, Data, Figure
from functions.administration.reports.wording import capital, clock, compared, in_words, shown, spelled, unit_of, words
from nightshift.outbox.mail import templates
from nightshift.steps import Period

MOST_ROWS = 20
"""How many rows a table or a list of bars shows. What is beside them is counted, and stands in the JSON."""

# The database keeps no order of an object's keys. In these a person looks for them.
SEVERITIES = ("critical", "high", "medium", "low")
COLUMNS = (
    *("job", "step", "table", "action", "actor_id", "api_key_id", "user_id", "country"),
    *("oldest", "limit", "overdue", "requests", "success", "failure", "sessions", "actions", "n"),
)

Bars = list[tuple[str, int, float]]
"""Name, number, and the number's share of the largest."""


@dataclass
class Listed:
    """A list of a report as the page shows it: its first rows, and in words what of it is not shown."""

    label: str
    meaning: str
    rows: list[Any]
    rest: str = ""
    columns: list[str] = field(default_factory=list)


Cell = tuple[str, str]
"""What a cell shows, and how: as a `number`, as a number that is `bad`, or as a text."""


@dataclass
class Section:
    """The figures of one section by how they are shown."""

    title: str
    numbers: list[dict[str, str]] = field(default_factory=list)
    hours: list[Listed] = field(default_factory=list)
    bars: list[Listed] = field(default_factory=list)
    tables: list[Listed] = field(default_factory=list)
    checks: list[dict[str, Any]] = field(default_factory=list)


@cache
def _template() -> Template:
    return templates().overlay(loader=PackageLoader("application", "reports")).get_template("report.html")


def page(kind: str, period: Period, as_of: dt.datetime, data: Data) -> str:
    """The report as an HTML page that needs nothing else, for a screen or for paper."""
    facts = {"title": f"{kind.capitalize()} report", "period": in_words(kind, period), "as_of": clock(as_of)}
    return _template().render(**facts, summary=summary(data), sections=list(sections(kind, data)))


def mail(kind: str, period: Period, data: Data, location: str) -> dict[str, Any]:
    """The single numbers of a report and the checks that failed, as the mail's template takes them."""
    short = []
    for one in sections(kind, data):
        rows = [{key: row[key] for key in row if key != "meaning"} for row in one.numbers]
        failed = [check for check in one.checks if not check["passed"]]
        rows += [{"label": check["check"], "value": "failed", "note": check["evidence"]} for check in failed]
        if rows:
            short.append({"title": one.title, "rows": rows})
    return {"period": in_words(kind, period), "sections": short, "location": location}


def summary(data: Data) -> str:
    """The report in a line."""
    if "compliance" in data:
        checks, failed = data["compliance"]["checks"], data["compliance"]["failed"]
        return f"{checks - failed} of {checks} checks passed."
    told = {
        "Actions": data["activity"]["total"],
        "New users": data["users"]["new"],
        "Failed logins": data["security"]["failed_logins"],
        "Failed jobs": data["operations"]["failed_jobs"],
    }
    return " ".join(f"{label}: {number:,}." for label, number in told.items())


def sections(kind: str, data: Data) -> Iterator[Section]:
    changes: Mapping[str, float | None] = data.get("change", {})
    for name, figures in FIGURES[kind].items():
        if name == "change":
            continue
        section = Section(words(name))
        for key, figure in figures.items():
            value, label = data[name][key], words(key)
            match value:
                case list() if figure.unit == "24 counts":
                    by_hour = {f"{hour:02}": n for hour, n in enumerate(value)} if any(value) else {}
                    section.hours.append(Listed(label, figure.meaning, bars(by_hour)))
                case dict() if figure.unit == "alerts by severity":
                    in_order = {severity: value[severity] for severity in SEVERITIES}
                    section.bars.append(Listed(label, figure.meaning, bars(in_order)))
                case dict():
                    by_number = dict(sorted(value.items(), key=lambda item: -item[1]))
                    section.bars.append(
                        shortened(Listed(label, figure.meaning, bars(by_number)), value.values(), figure)
                    )
                case list() if figure.unit == "checks":
                    section.checks = [judged(**check) for check in value]
                case list():
                    columns = sorted(value[0], key=COLUMNS.index) if value else []
                    counted = [next(each for each in map(row.get, columns) if isinstance(each, int)) for row in value]
                    if len(columns) == 2:
                        listed = Listed(
                            label, figure.meaning, bars({row[columns[0]]: row[columns[1]] for row in value})
                        )
                        section.bars.append(shortened(listed, counted, figure))
                    else:
                        cells = [[cell(column, row[column]) for column in columns] for row in value]
                        listed = Listed(label, figure.meaning, cells, columns=[words(column) for column in columns])
                        section.tables.append(shortened(listed, counted, figure))
                case _:
                    meaning, *_ = figure.meaning.split("; null")  # which is for those who read the JSON
                    number = {"label": label, "value": shown(value, figure.unit), "meaning": meaning}
                    change = changes.get(f"{name}.{key}")
                    if change is not None:
                        number["note"] = compared(change)
                    section.numbers.append(number)
        yield section


def shortened(listed: Listed, numbers: Collection[int], figure: Figure) -> Listed:
    """The list with its first rows: those of a table with something bad come first. `rest` says what is left out.

    numbers: what the rows count.
    """
    left = len(listed.rows) - MOST_ROWS
    if left <= 0:
        return listed
    rows = sorted(listed.rows, key=lambda row: all(part != "bad" for _, part in row)) if listed.columns else listed.rows
    what, by, _ = figure.unit.partition(" by ")
    in_all = f" (all {len(rows):,} together: {sum(numbers):,} {what})" if by else ""
    rest = f"And {left:,} more{in_all}. The JSON file beside this page has all of them."
    return replace(listed, rows=rows[:MOST_ROWS], rest=rest)


def cell(column: str, value: Any) -> Cell:
    if not isinstance(value, int):
        return shown(value), "text"
    return shown(value), "bad" if column == "overdue" and value else "number"


def judged(check: str, *, passed: bool, evidence: Mapping[str, Any]) -> dict[str, Any]:
    numbers = ", ".join(f"{spelled(name)}: {shown(value, unit_of(name))}" for name, value in evidence.items())
    return {"check": capital(check), "passed": passed, "evidence": numbers}


def bars(numbers: Mapping[str, int]) -> Bars:
    largest = max(numbers.values(), default=0)
    return [(name, number, number / largest if largest else 0.0) for name, number in numbers.items()]

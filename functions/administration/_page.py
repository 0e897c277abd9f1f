"""A report for people: its figures in words and pictures, as a page and in short for a mail."""

import datetime as dt
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from functions.administration._figures import FIGURES, Data
from nightshift.mail import templates
from nightshift.periods import Period

ABBREVIATIONS = {"api": "API", "mfa": "MFA", "id": "ID", "n": "number"}
NOTHING = "–"

Bars = list[tuple[str, int, float]]
"""Name, number, and the number's share of the largest."""


Cell = tuple[str, bool]
"""What a cell shows, and whether that is a number."""


@dataclass
class Section:
    """The figures of one section by how they are shown."""

    title: str
    numbers: list[dict[str, str]] = field(default_factory=list)
    hours: list[tuple[str, Bars]] = field(default_factory=list)
    bars: list[tuple[str, str, Bars]] = field(default_factory=list)
    tables: list[tuple[str, str, list[str], list[list[Cell]]]] = field(default_factory=list)
    checks: list[dict[str, Any]] = field(default_factory=list)


def page(kind: str, period: Period, as_of: dt.datetime, data: Data) -> str:
    """The report as an HTML page that needs nothing else, for a screen or for paper."""
    template = templates().get_template("reports/report.html")
    facts = {"title": f"{kind.capitalize()} report", "period": in_words(kind, period), "as_of": clock(as_of)}
    return template.render(**facts, summary=summary(data), sections=list(sections(kind, data)))


def mail(kind: str, period: Period, data: Data, location: str) -> dict[str, Any]:
    """The single numbers of a report, as the mail's template takes them."""
    short = [
        {"title": one.title, "rows": [{key: row[key] for key in row if key != "meaning"} for row in one.numbers]}
        for one in sections(kind, data)
        if one.numbers
    ]
    return {"period": in_words(kind, period), "sections": short, "location": location}


def summary(data: Data) -> str:
    """The report in a line."""
    if "compliance" in data:
        checks, failed = data["compliance"]["checks"], data["compliance"]["failed"]
        return f"{checks - failed} of {checks} checks passed."
    activity, users, security = data["activity"]["total"], data["users"]["new"], data["security"]["failed_logins"]
    return f"Actions: {activity:,}. New users: {users:,}. Failed logins: {security:,}."


def in_words(kind: str, period: Period) -> str:
    """The period as people write it: `Saturday 28 February 2026`, `22 to 28 February 2026`, `February 2026`."""
    first, last = period.start, period.end - dt.timedelta(days=1)
    if kind == "monthly":
        return f"{first:%B %Y}"
    if kind == "daily":
        return f"{first:%A} {date(first)}"
    same_month = (first.year, first.month) == (last.year, last.month)
    return f"{first.day if same_month else date(first)} to {date(last)}"


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
                    section.hours.append((label, bars({f"{hour:02}": n for hour, n in enumerate(value)})))
                case dict():
                    by_number = dict(sorted(value.items(), key=lambda item: -item[1]))
                    section.bars.append((label, figure.meaning, bars(by_number)))
                case list() if figure.unit == "checks":
                    section.checks = [judged(**check) for check in value]
                case list():
                    # The database keeps no order of keys: names come before numbers.
                    columns = sorted(value[0], key=lambda column: isinstance(value[0][column], int)) if value else []
                    rows = [[row[column] for column in columns] for row in value]
                    if len(columns) == 2:
                        section.bars.append((label, figure.meaning, bars(dict(rows))))
                    else:
                        cells = [[(shown(cell), isinstance(cell, int)) for cell in row] for row in rows]
                        section.tables.append((label, figure.meaning, [words(column) for column in columns], cells))
                case _:
                    number = {"label": label, "value": shown(value, figure.unit), "meaning": figure.meaning}
                    change = changes.get(f"{name}.{key}")
                    if change is not None:
                        number["note"] = f"{change:+,.1f} % on the week before"
                    section.numbers.append(number)
        yield section


def judged(check: str, *, passed: bool, evidence: Mapping[str, Any]) -> dict[str, Any]:
    numbers = ", ".join(f"{spelled(name)}: {shown(value)}" for name, value in evidence.items())
    return {"check": capital(check), "passed": passed, "evidence": numbers}


def bars(numbers: Mapping[str, int]) -> Bars:
    largest = max(numbers.values(), default=0)
    return [(name, number, number / largest if largest else 0.0) for name, number in numbers.items()]


def words(key: str) -> str:
    """A key as a label: `failed_mfa` becomes `Failed MFA`."""
    return capital(spelled(key))


def spelled(key: str) -> str:
    return " ".join(ABBREVIATIONS.get(word, word) for word in key.split("_"))


def capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def shown(value: Any, unit: str = "") -> str:
    match value:
        case None:
            return NOTHING
        case int() if unit == "hour":
            return f"{value:02}:00–{(value + 1) % 24:02}:00"
        case int() | float() if unit in {"percent", "minutes"}:
            return f"{value:,.1f} {'%' if unit == 'percent' else 'min'}"
        case int() | float():
            return f"{value:,}"
        case str() if value[10:11] == "T" and value.endswith("Z"):
            return f"{value[:10]} {value[11:16]}"
    return str(value)


def date(instant: dt.datetime) -> str:
    return f"{instant.day} {instant:%B %Y}"


def clock(instant: dt.datetime) -> str:
    return f"{date(instant)}, {instant:%H:%M} UTC"

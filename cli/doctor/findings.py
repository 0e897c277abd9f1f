"""What a probe has found, and how all of it is told."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from rich.table import Table
from rich.text import Text

from cli import screen

SEVERITIES = ("error", "warning", "unknown", "note", "ok")
"""The worst first. `unknown`: it could not be read, and nobody knows. `ok`: what a probe saw that found nothing."""

FAILING = ("error",)
FAILING_STRICTLY = ("error", "warning", "unknown")


@dataclass(frozen=True)
class Finding:
    """One line."""

    severity: str
    object: str
    what: str
    remedy: str | None = None
    """What to do: a command, SQL, or a sentence."""


class UnreadError(Exception):
    """What a probe looks at could not be read. The message is the reason."""

    def __init__(self, reason: str, remedy: str | None = None) -> None:
        super().__init__(reason)
        self.remedy = remedy


def answer_of(deployment: str, found: Mapping[str, Iterable[Finding]]) -> dict[str, Any]:
    """All findings, by probe, the worst first."""
    every = [{"probe": probe, **asdict(each)} for probe, findings in found.items() for each in findings]
    findings = sorted(every, key=lambda each: SEVERITIES.index(str(each["severity"])))
    totals = {severity: sum(each["severity"] == severity for each in findings) for severity in SEVERITIES}
    return {"deployment": deployment, "probes": list(found), "totals": totals, "findings": findings}


def parts(answer: Mapping[str, Any]) -> Iterator[Table | Text]:
    """One line for each finding, then how many there are."""
    lines = screen.table("Severity", "Probe", "Object", "Finding", "What to do")
    for each in answer["findings"]:
        lines.add_row(
            screen.styled(each["severity"]), each["probe"], each["object"], each["what"], each["remedy"] or ""
        )
    yield lines
    totals = answer["totals"]
    told = [f"{totals[word]} {word}{_plural(word, totals[word])}" for word in SEVERITIES[:-1] if totals[word]]
    style = "bold red" if totals["error"] else "yellow" if totals["warning"] or totals["unknown"] else "green"
    number = len(answer["probes"])
    yield Text(f"{number} probes of {answer['deployment']}: {', '.join(told) or 'nothing to tell'}.", style)


def _plural(word: str, count: int) -> str:
    return "" if count == 1 or word == "unknown" else "s"

"""What the written pages show a reader: whole files, and commands to type."""

import re
from collections.abc import Iterator
from pathlib import Path

from cli.project.files import MANIFEST

ROOT = Path(__file__).parents[1]

MADE = {ROOT / "docs/cli.md", ROOT / "docs/jobs.md"}
"""Made from the code, so there is nothing in them to hold against it."""

README = [] if (ROOT / MANIFEST).exists() else [ROOT / "README.md"]
"""That of a project is its own."""

OTHERS = [
    ROOT / "CHANGELOG.md",
    ROOT / "tests/own/README.md",
    ROOT / "cli/project/templates/project/README.md.template",
]

PAGES = sorted({*README, *OTHERS, *(ROOT / "docs").glob("*.md")} - MADE)

SHELLS = ("", "bash", "console", "sh")
"""The languages of fences that show commands, and not a file."""

FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
FILE = re.compile(r"`([\w./-]+)`:\n\n```\w+\n(.*?)^```$", re.MULTILINE | re.DOTALL)
"""A fence whose introduction ends with the path of the file that it is."""


def files(page: Path) -> dict[str, str]:
    """The files that a page shows whole, by their paths in a project."""
    return dict(FILE.findall(page.read_text()))


def jobs(page: Path) -> list[str]:
    """The paths of the job files among them."""
    return [path for path in files(page) if path.startswith("functions/")]


def command_lines(page: Path) -> Iterator[str]:
    """Lines to type into a shell: those that are indented, and those in a fence for a shell."""
    text = page.read_text()
    fenced = "".join(body for language, body in FENCE.findall(text) if language in SHELLS)
    indented = "\n".join(line[4:] for line in FENCE.sub("", text).splitlines() if line.startswith("    "))
    yield from f"{fenced}\n{indented}".replace("\\\n", " ").splitlines()


def commands_in_sentences(page: Path) -> Iterator[str]:
    """What stands in a sentence as code, and may be a command without all that it needs."""
    sentences = "\n".join(line for line in FENCE.sub("", page.read_text()).splitlines() if not line.startswith("    "))
    yield from (" ".join(code.split()) for code in re.findall(r"`([^`]+)`", sentences))

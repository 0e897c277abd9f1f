"""What CHANGELOG.md says between two versions."""

import re
from pathlib import Path

from cli.refusals import RefusedError

CHANGELOG = "CHANGELOG.md"
_SECTION = re.compile(r"^## \[?([^\]\s]+)\]?.*$", re.MULTILINE)
"""The heading of a version, the newest first: `## [0.2.0] - 2027-01-10`, or `## [Unreleased]` above all of them."""


def sections(text: str) -> dict[str, str]:
    """The text of each version with its heading, in the order of the page."""
    starts = list(_SECTION.finditer(text))
    ends = [*(found.start() for found in starts[1:]), len(text)]
    return {found[1]: text[found.start() : end].strip() for found, end in zip(starts, ends, strict=True)}


def between(source: Path, old: str, new: str) -> str:
    """Whatever is newer than the old version. Refuses if the old one is not known there: then it is the newer one."""
    try:
        found = sections((source / CHANGELOG).read_text())
    except OSError:
        raise RefusedError(f"{source} has no {CHANGELOG}: name a checkout of Nightshift, as it was released") from None
    if old not in found:
        raise RefusedError(f"{source} has version {new}, which knows nothing of this project's {old}: it is older")
    names = list(found)
    return "\n\n".join(found[name] for name in names[: names.index(old)])

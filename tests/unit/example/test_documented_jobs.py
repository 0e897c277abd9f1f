"""The jobs that the documentation shows are declared without an error, and refuse nothing."""

import re
from pathlib import Path
from typing import Any

import pytest

from nightshift import Job

DOCS = Path(__file__).parents[3] / "docs"
EXAMPLES = [
    pytest.param(block, id=f"{page.name}-{number}")
    for page in sorted(DOCS.glob("*.md"))
    for number, block in enumerate(re.findall(r"^```python\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL))
    if "handler = " in block
]


@pytest.mark.parametrize("block", EXAMPLES)
def test_a_job_that_a_page_shows_can_be_declared(block: str) -> None:
    shown: dict[str, Any] = {"__name__": "functions.shown.job", "__file__": "functions/shown/job.py"}
    exec(compile(block, "page", "exec"), shown)  # noqa: S102 - our own pages

    assert isinstance(shown["job"], Job)
    assert callable(shown["handler"])


def test_the_pages_show_jobs() -> None:
    assert len(EXAMPLES) >= 3

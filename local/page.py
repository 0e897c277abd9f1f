"""The page of `nightshift web` for what runs on this machine."""

import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice

from local.deploy import PROJECT
from local.machine import RunningApp
from local.process import child_process

_ADDRESS = re.compile(r"http://127\.0\.0\.1:\d+/\?token=\S+")

LINES_READ = 20
"""Within so many lines it has said where it is, or why it is nowhere."""


class PageError(Exception):
    """The page did not start. The message holds its own words."""


@contextmanager
def web_page(running: RunningApp) -> Iterator[str]:
    """Serve the page on any free port of this machine, and yield its address with the token."""
    command = [sys.executable, "-m", "cli", "web", "--no-open", "--port", "0"]
    paths = [PROJECT, PROJECT / "layers/nightshift/python", PROJECT / "layers/application/python"]
    environment = {**running.aws.environment(), "PYTHONPATH": ":".join(map(str, paths))}
    with child_process(command, environment=environment, directory=PROJECT, output=subprocess.PIPE) as process:
        assert process.stdout is not None
        said = []
        for line in islice(process.stdout, LINES_READ):
            said.append(line)
            if found := _ADDRESS.search(line):
                yield found[0]
                return
        raise PageError(f"the page did not start: {' '.join(said).strip()}")

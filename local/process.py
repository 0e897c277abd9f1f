"""Child processes that never outlive the command that started them."""

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

GRACE_SECONDS = 5.0


@contextmanager
def child_process(
    command: Sequence[str], *, environment: Mapping[str, str], directory: Path, output: int | IO[str]
) -> Iterator[subprocess.Popen[str]]:
    """Run a command with standard error joined to `output`. At the end of the block, stop it and everything it started.

    The child leads a process group in its own session. So Ctrl-C in the terminal reaches only this process, which stops
    its children in order. Grandchildren that the child left behind are stopped with it.
    """
    process = subprocess.Popen(
        [*_die_with_parent(), *command],
        env=dict(environment),
        cwd=directory,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
    )
    try:
        yield process
    finally:
        _signal_group(process, signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            process.wait(GRACE_SECONDS)
        _signal_group(process, signal.SIGKILL)
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


def _die_with_parent() -> list[str]:
    """On Linux, the kernel ends the child when this process is killed. Other systems do not."""
    setpriv = shutil.which("setpriv")
    return [setpriv, "--pdeathsig", "TERM", "--"] if setpriv else []


def _signal_group(leader: subprocess.Popen[str], signal_number: signal.Signals) -> None:
    # macOS answers EPERM for a group in which only a zombie is left.
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(leader.pid, signal_number)

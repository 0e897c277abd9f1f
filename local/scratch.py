"""A folder for temporary files: in memory, if there is enough of it."""

import hashlib
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

MEMORY = Path("/dev/shm")  # noqa: S108 - a folder of its own in it, which only this user can read
ENOUGH = 6 * 2**30
"""Bytes. Each function unpacks the layers for itself: 45 MB and 2,000 files, which takes a second on a disk."""


@contextmanager
def scratch_folder(owner: Path) -> Iterator[Path]:
    """A new folder that exists during the block. Its name follows from the folder `owner`.

    So the next start removes what a killed process left there.
    """
    folder = owner / "scratch"
    if MEMORY.is_dir() and shutil.disk_usage(MEMORY).free > ENOUGH:
        folder = MEMORY / f"nightshift-{hashlib.sha256(str(owner.resolve()).encode()).hexdigest()[:16]}"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(mode=0o700)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)

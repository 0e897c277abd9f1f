"""Single breaks of the code, each of which a test beside it must notice: `python -m tests.faults.mutants [words…]`.

A break stands where a fault would lose data, delete too much, run twice or stay silent. They are applied one at a time
to a copy of the project, and only the tests named with them are run. With words: only the breaks whose description or
file has one of them. The breaks are chosen by hand: what drops a clause of a query or a lock is none of the changes
that mutation tools know, and each try of theirs would cost a database. They stand in breaks.py, and those of the
example in breaks_example.py; what the project does not have is passed over.
"""

import argparse
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Iterator
from compileall import compile_dir
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from queue import Queue

from tests.faults.breaks import BREAKS, Break
from tests.faults.breaks_example import BREAKS as OF_THE_EXAMPLE
from tests.faults.nursery import Nursery

PROJECT = Path(__file__).parents[2]
SECONDS = 180
"""A break with which the tests take longer makes something endless: that is noticed too."""
SECONDS_IN_ALL = 3600
"""For all of these tests without any break."""


def copy(folder: Path) -> None:
    """The project as it stands here, without what git ignores; what is installed is the same."""
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    for name in subprocess.check_output(listed, cwd=PROJECT, text=True).split("\0"):
        if name and Path(PROJECT, name).is_file():
            Path(folder, name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(Path(PROJECT, name), Path(folder, name))
    for name in (".venv", "node_modules"):
        Path(folder, name).symlink_to(Path(PROJECT, name).resolve())


@contextmanager
def broken(folder: Path, fault: Break) -> Iterator[None]:
    """Inside the block the copy has the break. Its file is written back whatever happens."""
    file = Path(folder, fault.file)
    whole = file.read_text()
    # Byte code is told by size and second, and a break may change neither.
    for compiled in file.parent.glob(f"__pycache__/{file.stem}.*"):
        compiled.unlink()
    file.write_text(whole.replace(fault.old, fault.new))
    try:
        yield
    finally:
        file.write_text(whole)


def tried(
    chosen: Iterable[Break], nurseries: "Queue[tuple[Path, Nursery]]", workers: int
) -> Iterator[tuple[Break, bool | None, str]]:
    """Each break, whether it was noticed, and by which test."""

    def attempt(fault: Break) -> tuple[Break, bool | None, str]:
        folder, nursery = nurseries.get()
        try:
            with broken(folder, fault):
                found, said = nursery.red(fault.beside, SECONDS)
                by = re.search(r"^(?:FAILED|ERROR) \S*::(\S+)", said, re.MULTILINE)
                return fault, found, by[1] if by else ""
        finally:
            nurseries.put((folder, nursery))

    with ThreadPoolExecutor(workers) as pool:
        yield from pool.map(attempt, chosen)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults.mutants", description=__doc__)
    parser.add_argument("words", nargs="*", help="only breaks whose description or file has one of these")
    parser.add_argument("--workers", type=int, default=2, help="how many are tried at once, each in its own copy")
    options = parser.parse_args()
    words = options.words
    there = [
        each
        for each in (*BREAKS, *OF_THE_EXAMPLE)
        if all(Path(PROJECT, name).exists() for name in (each.file, *each.beside))
    ]
    chosen = [each for each in there if not words or any(word in f"{each.what} {each.file}" for word in words)]
    if stale := [each for each in chosen if Path(PROJECT, each.file).read_text().count(each.old) != 1]:
        for each in stale:
            print(f"not found once in {each.file}: {each.what}: {each.old!r}")
        return 2
    with tempfile.TemporaryDirectory(prefix="nightshift-mutants-") as folder, ExitStack() as begun:
        nurseries: Queue[tuple[Path, Nursery]] = Queue()
        for number in range(options.workers):
            place = Path(folder, str(number))
            copy(place)
            compile_dir(place, quiet=2)
            nurseries.put((place, nursery := Nursery(place)))
            begun.callback(nursery.close)
        failing, said = nursery.red(sorted({test for each in chosen for test in each.beside}), SECONDS_IN_ALL)
        if failing is not False:
            print(f"without any break not all tests pass:\n{said}")
            return 2
        noticed = 0
        for fault, found, by in tried(chosen, nurseries, options.workers):
            noticed += bool(found)
            told = {True: "noticed", False: "NOT NOTICED", None: "COULD NOT RUN"}[found]
            print(f"{told:13} {Path(fault.file).name}: {fault.what}{f': {by}' if by else ''}", flush=True)
    print(f"{noticed} of {len(chosen)} noticed: {noticed / max(1, len(chosen)):.0%}")
    return int(noticed < len(chosen))


if __name__ == "__main__":
    raise SystemExit(main())

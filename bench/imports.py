"""Cold start: importing a job's handler from the built layers, in a fresh process each time, by processor time."""

import os
import platform
import shutil
import tempfile
from pathlib import Path

from bench.paired import line, paired, python
from infra.packages import Packages
from nightshift import Delete
from nightshift.declaration import registry

PAIRS = 9

# Processor time: a busy neighbour slows an import down, and does not make it more work.
TIMED = """
import time
started = time.process_time()
{imports}
print(time.process_time() - started)
"""
BARE = "import sqlalchemy.orm, pg8000.dbapi\nfrom aws_lambda_powertools import Logger, Metrics"


def plainest() -> str:
    """The module of the first job that only deletes: the less a job brings along, the more the library's part shows."""
    plain = (each for each in registry().values() if all(isinstance(step, Delete) for step in each.job.steps))
    return next(plain).module


def main() -> None:
    """Print the figures."""
    module = plainest()
    handler = f"from {module} import handler"
    print(f"Import of the handler of {module} from the built layers (a fresh process each time)")
    major, minor, _ = platform.python_version_tuple()
    packages = Packages(f"{major}.{minor}", "local")
    layers = (packages.application, packages.nightshift, packages.dependencies)
    built = [packages.functions.folder, *(layer.folder / "python" for layer in layers if layer is not None)]

    def seconds(imports: str, folders: list[Path], *options: str) -> float:
        # Nothing of the virtual environment: -S leaves its packages out, and the layers must be enough.
        path = os.pathsep.join(str(folder) for folder in folders)
        code = TIMED.format(imports=imports)
        return float(python(code, path=path, options=("-S", *options), AWS_LAMBDA_FUNCTION_NAME="as-in-lambda"))

    ratios, ours, bare = paired(lambda: seconds(handler, built), lambda: seconds(BARE, built), pairs=PAIRS)
    line("handler / SQLAlchemy ORM, pg8000, Powertools Logger and Metrics alone", ratios, "aim: at most 1.15")
    line("    medians", f"{ours * 1000:.0f} ms, {bare * 1000:.0f} ms")
    with tempfile.TemporaryDirectory(prefix="nightshift-bench-") as scratch:
        plain = []
        for number, folder in enumerate(built):
            copy = Path(scratch, str(number))
            shutil.copytree(folder, copy, ignore=shutil.ignore_patterns("__pycache__"))
            plain.append(copy)
        ratios, ours, without = paired(
            lambda: seconds(handler, built), lambda: seconds(handler, plain, "-B"), pairs=PAIRS
        )
    line("handler with byte-code / without", ratios, "aim: at most 0.45")
    line("    medians", f"{ours * 1000:.0f} ms, {without * 1000:.0f} ms")

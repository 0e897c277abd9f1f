"""Nightshift on AWS: what `cdk synth` and `cdk deploy` run. Settings stand in cdk.json under `nightshift`."""

import os
import sys
from importlib.util import find_spec
from pathlib import Path

PROJECT = Path(__file__).parent
LAYERS = (PROJECT / "layers/nightshift/python", PROJECT / "layers/application/python")  # the latter may be absent
OWN_PYTHON = PROJECT / ".venv/bin/python"

if find_spec("aws_cdk") is None:
    # A `cdk` of somebody's own runs the python3 of the machine. What the app needs is in .venv alone.
    if not OWN_PYTHON.exists() or Path(sys.prefix).resolve() == (PROJECT / ".venv").resolve():
        sys.exit("nightshift: the app's packages are not installed: run `make install` first")
    os.execv(OWN_PYTHON, [str(OWN_PYTHON), *sys.argv])  # noqa: S606 - the project's own interpreter

sys.path[:0] = [str(PROJECT), *(str(layer) for layer in LAYERS if layer.is_dir())]

from infra.app import main  # noqa: E402 - only now can the runtime library be found

if __name__ == "__main__":
    sys.exit(main())

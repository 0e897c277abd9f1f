"""Nightshift on AWS: what `cdk synth` and `cdk deploy` run. Settings stand in cdk.json under `nightshift`."""

import sys
from pathlib import Path

PROJECT = Path(__file__).parent
sys.path[:0] = [str(PROJECT), *(str(PROJECT / f"layers/{name}/python") for name in ("nightshift", "application"))]

from infra.app import main  # noqa: E402 - only now can the runtime library be found

if __name__ == "__main__":
    sys.exit(main())

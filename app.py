"""Nightshift on AWS: what `cdk synth` and `cdk deploy` run. Settings stand in cdk.json under `nightshift`."""

import sys
from pathlib import Path

PROJECT = Path(__file__).parent
LAYERS = (PROJECT / "layers/nightshift/python", PROJECT / "layers/application/python")  # the latter may be absent
sys.path[:0] = [str(PROJECT), *(str(layer) for layer in LAYERS if layer.is_dir())]

from infra.app import main  # noqa: E402 - only now can the runtime library be found

if __name__ == "__main__":
    sys.exit(main())

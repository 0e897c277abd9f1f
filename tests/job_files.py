"""Job files that a command has written, as Python reads them."""

import importlib.util
from pathlib import Path

from nightshift import Job


def loaded(file: Path) -> Job:
    """The job that a file declares."""
    spec = importlib.util.spec_from_file_location("new_job", file)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    found = module.job
    assert isinstance(found, Job)
    assert callable(module.handler)
    assert module.__doc__
    return found

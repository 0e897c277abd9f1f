"""Where Lambda comes in: the end of a cold start, and what every invocation leaves behind."""

import gc
import os
import runpy
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pytest

from nightshift import telemetry
from nightshift.runtime import LambdaContext, entry_point

PROJECT = Path(__file__).parents[2]
PLATFORM = sorted(path.stem for path in (PROJECT / "functions/platform").glob("[a-z]*.py"))
CONTEXT = cast(LambdaContext, None)


@pytest.fixture
def no_search() -> Iterator[None]:
    """As in a cold start, and afterwards as among the other tests, where what is there stays."""
    gc.disable()
    gc.unfreeze()
    yield
    gc.enable()
    gc.freeze()


@pytest.mark.parametrize("name", PLATFORM)
def test_a_function_looks_for_garbage_again_once_it_is_imported(name: str, no_search: None) -> None:
    runpy.run_path(str(PROJECT / f"functions/platform/{name}.py"))

    assert gc.isenabled()
    assert gc.get_freeze_count() > 0


@pytest.mark.parametrize(("where", "searched"), [({"AWS_LAMBDA_FUNCTION_NAME": "any"}, False), ({}, True)])
def test_only_in_lambda_no_garbage_is_looked_for_in_a_cold_start(where: dict[str, str], searched: bool) -> None:
    here = {name: value for name, value in os.environ.items() if name != "AWS_LAMBDA_FUNCTION_NAME"}
    asked = [sys.executable, "-S", "-c", "import gc, functions; print(gc.isenabled())"]

    said = subprocess.run(asked, cwd=PROJECT, env=here | where, capture_output=True, text=True, check=True).stdout

    assert said.strip() == str(searched)


def test_an_invocation_leaves_its_metrics_and_nothing_else_however_it_ends(capsys: pytest.CaptureFixture[str]) -> None:
    @entry_point
    def fails(_event: object, _context: object) -> None:
        telemetry.logger().append_keys(left_behind=1)
        telemetry.measure(Tried=1)
        raise ZeroDivisionError

    @entry_point
    def looks(_event: object, _context: object) -> dict[str, object]:
        return telemetry.logger().get_current_keys()

    with pytest.raises(ZeroDivisionError):
        fails({}, CONTEXT)
    assert '"Tried"' in capsys.readouterr().out
    assert "left_behind" not in looks({}, CONTEXT)

"""A log line is an event and its fields, whatever the fields are called."""

import json
import logging
from collections.abc import Callable
from typing import Any

import pytest

from nightshift import telemetry

TAKEN = sorted({*vars(logging.makeLogRecord({})), "message", "asctime"})
"""What Python's own log record has, and lets nobody overwrite."""

SHOWN = ["level", "location", "timestamp", "service", "stack_trace", "xray_trace_id"]
"""What every line shows of itself."""

ARGUMENTS = ["event", "cause", "fields", "self", "extra", "exception", "job"]


def line(caplog: pytest.LogCaptureFixture) -> dict[str, Any]:
    """The last line as it is written to the log."""
    written = telemetry.logger().registered_formatter.format(caplog.records[-1])
    return dict(json.loads(written))


@pytest.mark.parametrize("say", [telemetry.log, telemetry.warn, telemetry.error])
@pytest.mark.parametrize("name", [*TAKEN, *SHOWN, *ARGUMENTS])
def test_a_field_of_any_name_stands_on_the_line(
    say: Callable[..., None], name: str, caplog: pytest.LogCaptureFixture
) -> None:
    say("batch.committed", **{name: "given"}, rows=7)
    shown = line(caplog)
    assert shown["message"] == "batch.committed"
    assert shown["service"] == "nightshift"
    assert shown["level"] in ("INFO", "WARNING", "ERROR")
    assert [key for key, value in shown.items() if value == "given"] in ([name], [f"{name}_"])
    assert shown["rows"] == 7


def test_a_failure_says_where_it_was_and_not_what_it_said(caplog: pytest.LogCaptureFixture) -> None:
    try:
        raise ValueError("ada@example.com")
    except ValueError as cause:
        telemetry.error("run.attempt_failed", cause, reason="ValueError")
    shown = line(caplog)
    assert "ada@example.com" not in json.dumps(shown)
    assert shown["at"][0].startswith(__file__)

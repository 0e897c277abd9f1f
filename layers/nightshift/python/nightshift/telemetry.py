"""What a function says while it works: JSON logs with stable event keys, and few metrics.

A log line is an event (`run.claimed`, `batch.committed`, `run.finished`) and fields; `job` and `run_id` stand on every
line of a run. A field may have any name: one that the line itself needs, like `message`, is written as `message_`.
No personal data goes in. Run ids are never metric dimensions: each would be a metric of its own.
"""

import logging
import traceback
from collections.abc import Mapping
from functools import cache
from typing import Any

from aws_lambda_powertools import Logger, Metrics
from aws_lambda_powertools.logging.formatter import RESERVED_LOG_ATTRS
from aws_lambda_powertools.metrics import MetricUnit

NAMESPACE = "Nightshift"
SERVICE = "nightshift"

OF_THE_LINE = frozenset(
    {
        *vars(logging.makeLogRecord({})),
        *RESERVED_LOG_ATTRS,
        *("message", "asctime", "service", "exception_name", "exception_notes", "stack_trace", "xray_trace_id"),
    }
)
"""Names that Python's log record refuses as a field's, or that the formatter drops or writes over."""


@cache
def logger() -> Logger:
    """The one logger, made when it is first used."""
    return Logger(service=SERVICE, use_rfc3339=True, utc=True)


@cache
def metrics() -> Metrics:
    """The one set of metrics, with the service as its only dimension."""
    return Metrics(namespace=NAMESPACE, service=SERVICE)


def log(event: str, /, **fields: Any) -> None:
    """Something happened, as it should."""
    logger().info(event, extra=_safe(fields))


def warn(event: str, /, **fields: Any) -> None:
    """Something a person may want to know, that needs no action now."""
    logger().warning(event, extra=_safe(fields))


def error(event: str, cause: BaseException | None = None, /, **fields: Any) -> None:
    """Something failed. Of the cause only its place is logged: its text may quote a row."""
    if cause is not None:
        frames = traceback.extract_tb(cause.__traceback__)
        fields["at"] = [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames]
    logger().error(event, extra=_safe(fields))


def _safe(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {f"{name}_" if name in OF_THE_LINE else name: value for name, value in fields.items()}


def measure(**amounts: float) -> None:
    """Add to metrics by name. A name that ends in `Seconds` is a duration, any other a count."""
    for name, amount in amounts.items():
        unit = MetricUnit.Seconds if name.endswith("Seconds") else MetricUnit.Count
        metrics().add_metric(name=name, unit=unit, value=amount)


def flush() -> None:
    """Write the metrics of this invocation, if there are any."""
    if metrics().metric_set:
        metrics().flush_metrics()

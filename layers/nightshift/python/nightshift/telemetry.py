"""Logs and metrics: JSON log lines with stable event keys, and few metrics.

A log line has an event (`run.claimed`, `batch.committed`, `run.finished`) and fields. `job` and `run_id` are on every
line of a run. A field may have any name: if the line itself uses the name, like `message`, it becomes `message_`.
There is no personal data in logs. Run ids are never metric dimensions: each id would be another metric.
"""

import logging
import os
import traceback
from collections.abc import Mapping
from functools import cache
from typing import Any

from aws_lambda_powertools import Logger, Metrics
from aws_lambda_powertools.logging.formatter import RESERVED_LOG_ATTRS
from aws_lambda_powertools.metrics import MetricUnit

NAMESPACE = "Nightshift"
SERVICE = os.environ.get("NIGHTSHIFT_NAME") or "nightshift"
"""The deployment's name, see `nightshift.environment`: metrics of two in one account stay apart."""

OF_THE_LINE = frozenset(
    {
        *vars(logging.makeLogRecord({})),
        *RESERVED_LOG_ATTRS,
        *("message", "asctime", "service", "exception_name", "exception_notes", "stack_trace", "xray_trace_id"),
    }
)
"""Names that a field cannot keep: Python's log record refuses them, or the formatter drops or overwrites them."""


@cache
def logger() -> Logger:
    """The one logger, made when it is first used."""
    return Logger(service=SERVICE, use_rfc3339=True, utc=True)


@cache
def metrics() -> Metrics:
    """The one set of metrics, with the deployment's name as its only dimension."""
    return Metrics(namespace=NAMESPACE, service=SERVICE)


def log(event: str, /, **fields: Any) -> None:
    """Log something that happened as it should."""
    logger().info(event, extra=_safe(fields))


def warn(event: str, /, **fields: Any) -> None:
    """Log something that a person may want to know, but that needs no action now."""
    logger().warning(event, extra=_safe(fields))


def error(event: str, cause: BaseException | None = None, /, **fields: Any) -> None:
    """Log a failure. Of its cause, only the place in the code is logged, because the text may contain a row."""
    if cause is not None:
        frames = traceback.extract_tb(cause.__traceback__)
        fields["at"] = [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames]
    logger().error(event, extra=_safe(fields))


def _safe(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {f"{name}_" if name in OF_THE_LINE else name: value for name, value in fields.items()}


def measure(**amounts: float) -> None:
    """Add to metrics by name. A name that ends in `Seconds` is a duration; every other one is a count."""
    for name, amount in amounts.items():
        unit = MetricUnit.Seconds if name.endswith("Seconds") else MetricUnit.Count
        metrics().add_metric(name=name, unit=unit, value=amount)


def flush() -> None:
    """Write the metrics of this invocation, if there are any."""
    if metrics().metric_set:
        metrics().flush_metrics()

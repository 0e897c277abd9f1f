"""Records of a function's log as a person reads them: time, level, message, run, and what else the record says."""

import datetime as dt
import json
from collections.abc import Mapping
from typing import Any

from rich.text import Text

from cli.log_groups import Event
from nightshift.errors import printable

OF_EVERY_LINE = frozenset(
    {
        *("level", "location", "message", "timestamp", "service", "job", "run_id", "request_id", "requestId"),
        *("xray_trace_id", "logger"),
    }
)
"""Fields that say nothing new, or have a place of their own in the line."""

STYLES = {"WARNING": "yellow", "WARN": "yellow", "ERROR": "bold red", "CRITICAL": "bold red", "FATAL": "bold red"}


def line(event: Event) -> Text:
    """`2026-03-11 02:00:01.234  INFO     run.claimed  run 0123abcd-…  attempt=1`, in UTC."""
    found = _parsed(event["message"])
    if found is None:
        return _line(_time(event), "", event["message"])
    if "_aws" in found:
        return _line(_time(event), "METRICS", ", ".join(_measured(found)))
    if isinstance(found.get("record"), Mapping) and "type" in found:  # Lambda's own
        return _line(_time(event, found.get("time")), "", str(found["type"]), fields=found["record"])
    fields = {name: value for name, value in found.items() if name not in OF_EVERY_LINE}
    time, level = _time(event, found.get("timestamp")), str(found.get("level", ""))
    return _line(time, level, _shown(found.get("message", "")), found.get("run_id"), fields)


def raw(event: Event) -> str:
    """The record as it was logged, as one line of JSON. A text that is none becomes the `message` of one."""
    found = _parsed(event["message"])
    if found is None:
        found = {"timestamp": _iso(_time(event)), "message": event["message"].rstrip("\n")}
    return json.dumps(found, ensure_ascii=False)


def _line(
    time: dt.datetime, level: str, message: str, run: Any = None, fields: Mapping[str, Any] | None = None
) -> Text:
    more = [f"run {printable(str(run))}"] if run else []
    more += [f"{printable(name)}={_shown(value)}" for name, value in (fields or {}).items()]
    return Text("  ").join(
        [
            Text(f"{time:%Y-%m-%d %H:%M:%S}.{time.microsecond // 1000:03}", "dim"),
            Text(f"{printable(level):<8}", STYLES.get(level, "")),
            Text(printable(message)),
            *(Text(each) for each in more),
        ]
    )


def _shown(value: Any) -> str:
    return printable(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))


def _measured(found: Mapping[str, Any]) -> list[str]:
    """The metrics of a line that CloudWatch takes metrics from, with their values."""
    definitions = found["_aws"].get("CloudWatchMetrics", []) if isinstance(found["_aws"], Mapping) else []
    names = [metric["Name"] for each in definitions for metric in each.get("Metrics", [])]
    values = {name: found.get(name) for name in names}
    return [f"{name} {value[0] if isinstance(value, list) and value else value}" for name, value in values.items()]


def _parsed(message: str) -> dict[str, Any] | None:
    if not message.lstrip().startswith("{"):
        return None
    try:
        found = json.loads(message)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def _time(event: Event, told: Any = None) -> dt.datetime:
    """When it was logged, in UTC: as the record itself tells, else as CloudWatch does."""
    try:
        instant = dt.datetime.fromisoformat(told)
        if instant.tzinfo is not None:
            return instant.astimezone(dt.UTC)
    except (TypeError, ValueError, OverflowError):
        pass
    return dt.datetime.fromtimestamp(event["timestamp"] / 1000, dt.UTC)


def _iso(instant: dt.datetime) -> str:
    return instant.isoformat(timespec="milliseconds").replace("+00:00", "Z")

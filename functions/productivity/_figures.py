"""The figures in `nightshift.metric_rollups.data`, by scope and key, each with its unit.

All are this pack's but `perf_10m`: that is written by performance-monitor and read by performance-metrics.

Averages and percentages have one decimal, rounded half up, unless the meaning says floor. A percentage goes from 0 to
100; one that may pass 100 says so. Days, hours and weekdays are those of UTC, and weekday 0 is Sunday. "Sessions" are
timer sessions.
"""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Figure:
    """unit: `percent`, `minutes`, …; or what is counted."""

    unit: str
    meaning: str


_REQUESTS = {
    "n": Figure("requests", "requests of all routes"),
    "errors": Figure("requests", "those that failed"),
    "error_rate": Figure("percent", "errors of n; null without requests"),
    "mean_ms": Figure("milliseconds", "mean duration, weighted by requests; null without requests"),
    "p95_ms": Figure("milliseconds", "95th percentile, as the upper bound of its bucket; null without requests"),
    "requests_per_minute": Figure("requests per minute", "throughput; null without requests"),
    "n_samples": Figure("samples", "measurements of the server taken in the time, one every ten minutes"),
    "partial": Figure("yes or no", "fewer samples than the time has room for"),
    "connections_max": Figure("connections", "most connections in a sample; null when not measured"),
    "memory_percent_max": Figure("percent", "most memory in use in a sample; null when not measured"),
    "cpu_percent_max": Figure("percent", "most processor time in use in a sample; null when not measured"),
}

_SAMPLE = {
    "n": Figure("requests", "requests of all routes"),
    "errors": Figure("requests", "those that failed"),
    "error_rate": Figure("percent", "errors of n; null without requests"),
    "min_ms": Figure("milliseconds", "the shortest, as the upper bound of its bucket; null without requests"),
    "mean_ms": Figure("milliseconds", "mean duration, weighted by requests; null without requests"),
    "median_ms": Figure("milliseconds", "median, as the upper bound of its bucket; null without requests"),
    "p95_ms": Figure("milliseconds", "95th percentile, likewise"),
    "p99_ms": Figure("milliseconds", "99th percentile, likewise"),
    "max_ms": Figure("milliseconds", "the longest, likewise; 10,000 stands for anything longer"),
    "requests_per_minute": Figure("requests per minute", "throughput; null without requests"),
    "connections_active": Figure("connections", "at work when measured; like all below null when not measured"),
    "connections_idle": Figure("connections", "open without work, in a transaction or not"),
    "connections_waiting": Figure("connections", "of the active ones, waiting for a lock"),
    "slow_statements": Figure("statements", "of the active ones, at work for more than a second"),
    "cache_hit_percent": Figure("percent", "blocks found in memory since the last sample; null when none were read"),
    "commits": Figure("transactions", "committed since the last sample; null in the first one"),
    "rollbacks": Figure("transactions", "rolled back since the last sample; null in the first one"),
    "deadlocks": Figure("deadlocks", "since the last sample; null in the first one"),
    "memory_percent": Figure("percent", "not to be had from PostgreSQL: null unless somebody else fills it in"),
    "cpu_percent": Figure("percent", "likewise"),
    "runs": Figure("runs", "runs of jobs that ended in the time"),
    "run_seconds_mean": Figure("seconds", "how long they took; null without runs"),
    "run_seconds_max": Figure("seconds", "how long the longest took; null without runs"),
    "counters": Figure("counts", "what the server had counted when measured, for the next sample to subtract"),
}

FIGURES: Mapping[str, Mapping[str, Figure]] = {
    "day": {
        "active_users": Figure("users", "users who were there on the day"),
        "completed_sessions": Figure("sessions", "completed sessions created on the day"),
        "focus_minutes": Figure("minutes", "their length altogether, floor"),
        "average_minutes": Figure("minutes", "their mean length, floor"),
        "goals_created": Figure("goals", "goals created on the day"),
        "goals_completed": Figure("goals", "goals completed on the day, whenever they were created"),
        "completion_rate": Figure("percent", "completed of created, may pass 100; 0 when none was created"),
    },
    "week": {
        "active_users": Figure("users", "users who were there on any day of the week"),
        "new_users": Figure("users", "users created in the week"),
        "completed_sessions": Figure("sessions", "completed sessions created in the week"),
        "focus_minutes": Figure("minutes", "their length altogether, floor"),
        "goals_created": Figure("goals", "goals created in the week"),
        "goals_created_completed": Figure("goals", "those of them that were completed by its end"),
        "timer_types": Figure("sessions by type", "completed sessions"),
        "sessions_by_hour": Figure("24 counts", "completed sessions by the hour of their creation"),
        "sessions_by_weekday": Figure("7 counts", "completed sessions by the weekday of their creation"),
        "peak_hour": Figure("hour", "the first with the most sessions; null without sessions"),
        "peak_weekday": Figure("weekday", "the first with the most sessions; null without sessions"),
        "retention_d1": Figure("percent", "users seen a day or more after their creation, of retention_d1_n"),
        "retention_d1_n": Figure("users", "live users created at least a day before the week's end"),
        "retention_d7": Figure("percent", "users seen 7 days or more after their creation, of retention_d7_n"),
        "retention_d7_n": Figure("users", "live users created at least 7 days before the week's end"),
        "retention_d30": Figure("percent", "users seen 30 days or more after their creation, of retention_d30_n"),
        "retention_d30_n": Figure("users", "live users created at least 30 days before the week's end"),
    },
    "month": {
        "active_users": Figure("users", "users who were there on any day of the month"),
        "new_users": Figure("users", "users created in the month"),
        "completed_sessions": Figure("sessions", "completed sessions created in the month"),
        "sessions_per_active_user": Figure("sessions", "their mean number; 0 without active users"),
        "goals_created": Figure("goals", "goals created in the month"),
        "goals_completed": Figure("goals", "goals completed in the month, whenever they were created"),
        "segments": Figure("users by segment", "every live user in one: new, churned, at_risk, power or active"),
        "churn_rate": Figure("percent", "churned of the live users created before the month"),
        "feature_usage": Figure("uses by feature", "feature events of the month"),
    },
    "behavior_6h": {
        "sessions": Figure("sessions", "sessions of any status created in the six hours"),
        "timed_sessions": Figure("sessions", "those of them with a length"),
        "mean_minutes": Figure("minutes", "mean length of the timed ones; null without any"),
        "timer_types": Figure("sessions by type", "sessions"),
        "breaks": Figure("sessions", "sessions with a break taken"),
        "breaks_by_hour": Figure("24 counts", "sessions with a break taken, by the hour of their creation"),
        "mean_break_hour": Figure("hour", "mean of those hours; null without breaks"),
    },
    "perf_10m": _SAMPLE,
    "perf_1h": _REQUESTS,
    "perf_1d": _REQUESTS,
}

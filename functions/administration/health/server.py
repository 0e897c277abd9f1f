"""What PostgreSQL tells of itself: connections at the moment, and counters that only grow until they are reset.

A role sees the connections of other roles when it is a member of `pg_monitor`; otherwise they are not counted.
"""

from collections.abc import Mapping
from fractions import Fraction
from typing import Any

from sqlalchemy import text
from sqlalchemy.orm import Session

from application.rounding import is_figure, one_decimal

# The one place where a clock is read: this measures the server as it is, whatever time the run is for.
CONNECTIONS = text(
    """
    select count(*) filter (where state = 'active') as connections_active,
        count(*) filter (where state like 'idle%') as connections_idle,
        count(*) filter (where wait_event_type = 'Lock') as connections_waiting,
        count(*) filter (where state = 'active' and clock_timestamp() - query_start > interval '1 second')
            as slow_statements
    from pg_stat_activity
    where datname = current_database() and backend_type = 'client backend' and pid <> pg_backend_pid()
    """
)

COUNTERS = text(
    """
    select xact_commit as commits, xact_rollback as rollbacks, deadlocks, blks_hit, blks_read,
        extract(epoch from stats_reset)::bigint as reset_at
    from pg_stat_database where datname = current_database()
    """
)

COUNTED = ("commits", "rollbacks", "deadlocks", "blks_hit", "blks_read")


def connections(session: Session) -> dict[str, int]:
    return dict(session.execute(CONNECTIONS).one()._mapping)


def counters(session: Session) -> dict[str, int | None]:
    return dict(session.execute(COUNTERS).one()._mapping)


def growth(before: Any, after: Mapping[str, Any]) -> dict[str, Any]:
    """What was counted between two looks at the counters. After a reset, what has been counted since it.

    before: as it was stored. What has another form is no look.
    """
    if not isinstance(before, dict) or not all(is_figure(before.get(key)) for key in COUNTED):
        return dict.fromkeys(("commits", "rollbacks", "deadlocks", "cache_hit_percent"))
    reset = before.get("reset_at") != after["reset_at"] or any(after[key] < before[key] for key in COUNTED)
    grown = {key: after[key] - (0 if reset else before[key]) for key in COUNTED}
    hits, blocks = grown.pop("blks_hit"), grown.pop("blks_read")
    blocks += hits
    return {**grown, "cache_hit_percent": one_decimal(100 * Fraction(hits, blocks)) if blocks else None}

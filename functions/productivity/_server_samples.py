"""What performance-monitor has measured of the server in a period."""

from typing import Any

from sqlalchemy import Numeric, case, cast, func, select
from sqlalchemy.orm import Session

from application.rounding import one_decimal
from nightshift.steps import MetricRollup, Period

MOST_MEASURED = 10**9


def server(session: Session, period: Period) -> tuple[int, dict[str, float | None]]:
    """How often the server was measured in the period, and the most of each measurement."""

    def measured(key: str) -> Any:
        """Whoever writes these figures may have written something else, or what no server has."""
        number = case(
            (func.jsonb_typeof(MetricRollup.data[key]) == "number", cast(MetricRollup.data[key].astext, Numeric))
        )
        return case((number.between(0, MOST_MEASURED), number))

    connections = measured("connections_active") + func.coalesce(measured("connections_idle"), 0)
    most = {
        "connections_max": connections,
        "memory_percent_max": measured("memory_percent"),
        "cpu_percent_max": measured("cpu_percent"),
    }
    taken = (MetricRollup.period_end >= period.start) & (MetricRollup.period_end < period.end)
    found = select(func.count(), *map(func.max, most.values())).where(MetricRollup.scope == "perf_10m", taken)
    samples, *values = session.execute(found).one()
    return samples, {
        key: None if value is None else one_decimal(value) for key, value in zip(most, values, strict=True)
    }

"""The tables of the steps themselves, in the schema `nightshift`."""

from decimal import Decimal

from sqlalchemy import ARRAY, BigInteger, Identity, Index, Text, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from nightshift.database import IN_NIGHTSHIFT, Base, CreatedNow, Json, Off, Timestamp, UuidKey, one_of


class MetricRollup(Base):
    """The figures of one scope (`day`, `week`, `perf_10m`, …) for one period."""

    __tablename__ = "metric_rollups"
    __table_args__ = IN_NIGHTSHIFT

    scope: Mapped[str] = mapped_column(primary_key=True)
    period_start: Mapped[Timestamp] = mapped_column(primary_key=True)
    period_end: Mapped[Timestamp]
    data: Mapped[Json]
    computed_at: Mapped[CreatedNow]


class MetricFinding(Base):
    """A figure that changed a lot, or stands out."""

    __tablename__ = "metric_findings"
    __table_args__ = (
        one_of("kind", "trend", "anomaly"),
        UniqueConstraint("kind", "scope", "period_start", "metric"),
        IN_NIGHTSHIFT,
    )

    id: Mapped[UuidKey]
    kind: Mapped[str]
    scope: Mapped[str]
    period_start: Mapped[Timestamp]
    metric: Mapped[str]
    value: Mapped[float | None]
    baseline: Mapped[float | None]
    change_pct: Mapped[Decimal | None]
    significant: Mapped[Off]
    created_at: Mapped[CreatedNow]


class Difference(Base):
    """One row whose stored figure differs from the computed one. A recomputation corrects the rows of this list."""

    __tablename__ = "differences"
    __table_args__ = IN_NIGHTSHIFT

    step: Mapped[str] = mapped_column(primary_key=True)
    """The name of the step that recomputes."""
    position: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    """From 1 on without a gap, in the order in which the rows lie in their table."""
    key: Mapped[list[str]] = mapped_column(ARRAY(Text))
    """The columns of the row's key, each as text."""
    found: Mapped[Decimal | None]
    computed: Mapped[Decimal]


class HealthRecord(Base):
    """The health of the system's components at one moment."""

    __tablename__ = "health_checks"
    __table_args__ = (
        one_of("overall", "healthy", "degraded", "unhealthy"),
        Index("hc_at", text("checked_at desc")),
        IN_NIGHTSHIFT,
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    checked_at: Mapped[Timestamp]
    overall: Mapped[str]
    components: Mapped[Json]
    duration_ms: Mapped[int]

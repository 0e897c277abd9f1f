"""The kinds of step that a job can be made of."""

from typing import TYPE_CHECKING

from nightshift.faces import face

if TYPE_CHECKING:
    from nightshift.steps.backup import Backup as Backup
    from nightshift.steps.count import Count as Count
    from nightshift.steps.delete import Delete as Delete
    from nightshift.steps.function import Function as Function
    from nightshift.steps.health import Component as Component, HealthCheck as HealthCheck
    from nightshift.steps.notify import Message as Message, Notify as Notify
    from nightshift.steps.periods import (
        Period as Period,
        last_day as last_day,
        last_hour as last_hour,
        last_month as last_month,
        last_week as last_week,
    )
    from nightshift.steps.recompute import Recompute as Recompute
    from nightshift.steps.rollup import Figures as Figures, Finding as Finding, RollUp as RollUp
    from nightshift.steps.rows import RowStep as RowStep
    from nightshift.steps.tables import (
        Difference as Difference,
        HealthRecord as HealthRecord,
        MetricFinding as MetricFinding,
        MetricRollup as MetricRollup,
    )
    from nightshift.steps.update import Update as Update

__getattr__ = face(
    __name__,
    backup="Backup",
    count="Count",
    delete="Delete",
    function="Function",
    health="Component HealthCheck",
    notify="Message Notify",
    periods="Period last_day last_hour last_month last_week",
    recompute="Recompute",
    rollup="Figures Finding RollUp",
    rows="RowStep",
    tables="Difference HealthRecord MetricFinding MetricRollup",
    update="Update",
)

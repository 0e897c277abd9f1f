"""A run as its steps see it: which occurrence it executes, and the one instant it calls now."""

import datetime as dt
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from dateutil.relativedelta import relativedelta

from nightshift.declaration.ages import Age
from nightshift.declaration.parameters import Parameter

BEFORE_EVERYTHING = dt.datetime.min.replace(tzinfo=dt.UTC)
"""The cut-off of an age that reaches back beyond the calendar: nothing is as old as that."""

Trigger = Literal["schedule", "manual", "backfill", "catch_up"]
Mode = Literal["apply", "plan"]


@dataclass(frozen=True)
class Run:
    """The frozen facts of a run. A caught-up or resumed run has the same ones as the punctual run would have had."""

    id: uuid.UUID
    job: str
    scheduled_for: dt.datetime
    trigger: Trigger = "schedule"
    mode: Mode = "apply"
    forced: bool = False
    parameters: Mapping[str, int] | None = None
    override: Mapping[str, Any] | None = None

    @property
    def now(self) -> dt.datetime:
        """The run's notion of now, in UTC: its `scheduled_for`. Job code never reads a clock."""
        return self.scheduled_for

    def __getitem__(self, parameter: Parameter) -> int:
        """The run's value of a parameter.

        Raises:
            KeyError: the parameter has neither a value nor a default.
        """
        return (self.parameters or {})[parameter.name]

    def ago(self, age: Age) -> dt.datetime:
        """The instant that lies `age` before now: the cut-off. Older than an age means strictly before it."""
        try:
            span = relativedelta(**{age.unit: self[age]}) if isinstance(age, Parameter) else age  # type: ignore[arg-type]
            return self.now - span
        except (OverflowError, ValueError):
            return BEFORE_EVERYTHING

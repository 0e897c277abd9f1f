"""A run as its steps see it: its occurrence, and the one instant that it calls now."""

import datetime as dt
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from dateutil.relativedelta import relativedelta

from nightshift.declaration.ages import Age
from nightshift.declaration.parameters import Parameter

BEFORE_EVERYTHING = dt.datetime.min.replace(tzinfo=dt.UTC)
"""The cut-off of an age that is longer than the calendar. No row is that old."""

Trigger = Literal["schedule", "manual", "backfill", "catch_up"]
Mode = Literal["apply", "plan"]


@dataclass(frozen=True)
class Run:
    """The frozen facts of a run. A caught-up or resumed run has the same facts as a punctual one."""

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
        """The run's own now, in UTC: its `scheduled_for`. Job code never reads a clock."""
        return self.scheduled_for

    def __getitem__(self, parameter: Parameter) -> int:
        """The run's value of a parameter.

        Raises:
            KeyError: the parameter has neither a value nor a default.
        """
        return (self.parameters or {})[parameter.name]

    def ago(self, age: Age) -> dt.datetime:
        """The cut-off: the instant that is `age` before now. A row is older if it is strictly before the cut-off."""
        try:
            span = relativedelta(**{age.unit: self[age]}) if isinstance(age, Parameter) else age  # type: ignore[arg-type]
            return self.now - span
        except (OverflowError, ValueError):
            return BEFORE_EVERYTHING

"""Parameters of a job: whole numbers with a unit, a default and a floor that no setting can go below."""

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from dateutil.relativedelta import relativedelta

from nightshift.environment import PARAMETERS_VARIABLE
from nightshift.errors import DeclarationError, SettingError

TimeUnit = Literal["minutes", "hours", "days", "months", "years"]
Unit = TimeUnit | Literal["rows", "percent", "items"]


@dataclass(frozen=True)
class Parameter:
    """A number that an operator may set: in cdk.json for every run, or in the payload of one manual run.

    `minimum` is the floor in code: a lower value is refused at synth and at run time. `default=None` means "no limit".
    """

    name: str
    default: int | None
    unit: Unit
    minimum: int = 1
    maximum: int | None = None
    about: str = ""

    def __post_init__(self) -> None:
        if self.default is not None:
            try:
                self.parse(self.default)
            except SettingError as error:
                raise DeclarationError(
                    f"the default of parameter {self.name} is outside its own limits: {error}"
                ) from None

    def parse(self, value: Any) -> int:
        """The value as a number of `unit`. Text is accepted because environment variables and shells only have text.

        Raises:
            SettingError: not a whole number, below the floor or above the maximum.
        """
        limits = f"at least {self.minimum}" + (f" and at most {self.maximum}" if self.maximum is not None else "")
        remedy = f"{self.name} must be a whole number of {self.unit}, {limits}"
        if isinstance(value, str) and value.strip().lstrip("-").isdecimal():
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int):
            raise SettingError(f"{remedy}; got {value!r}")
        if value < self.minimum or (self.maximum is not None and value > self.maximum):
            raise SettingError(f"{remedy}; got {value}")
        return value


def days(number: int) -> relativedelta:
    """A fixed span of days of 24 hours (all cut-offs are UTC)."""
    return relativedelta(days=number)


def hours(number: int) -> relativedelta:
    """A fixed span of hours."""
    return relativedelta(hours=number)


def minutes(number: int) -> relativedelta:
    """A fixed span of minutes."""
    return relativedelta(minutes=number)


def years(number: int) -> relativedelta:
    """A span of calendar years: one year before 29 February 2028 is 28 February 2027."""
    return relativedelta(years=number)


def resolve(declared: Iterable[Parameter], given: Mapping[str, Any]) -> dict[str, int]:
    """Every declared parameter's value: the one given, or its default. Parameters without a value are left out.

    Raises:
        SettingError: a name that the job does not declare, or a value outside its limits.
    """
    by_name = {parameter.name: parameter for parameter in declared}
    for name in given:
        if name not in by_name:
            known = ", ".join(sorted(by_name)) or "none"
            raise SettingError(f"unknown parameter {name!r}; this job has: {known}")
    values = {name: given.get(name, parameter.default) for name, parameter in by_name.items()}
    return {name: by_name[name].parse(value) for name, value in values.items() if value is not None}


def from_environment(environment: Mapping[str, str] = os.environ) -> dict[str, Any]:
    """The parameters that the deployment set for this function.

    Raises:
        SettingError: the variable holds something else than a JSON object.
    """
    text = environment.get(PARAMETERS_VARIABLE, "{}")
    try:
        values = json.loads(text)
    except json.JSONDecodeError as error:
        raise SettingError(f"{PARAMETERS_VARIABLE} must be a JSON object: {error}") from None
    if not isinstance(values, dict):
        raise SettingError(f"{PARAMETERS_VARIABLE} must be a JSON object; got {text!r}")
    return values

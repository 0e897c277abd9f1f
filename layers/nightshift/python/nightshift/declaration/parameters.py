"""Parameters of a job: whole numbers with a unit, a default, and limits that no setting can exceed."""

import json
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from nightshift.declaration.fields import choices, is_whole, must_be, must_be_one_of, must_be_snake, must_be_text, shown
from nightshift.environment import PARAMETERS_VARIABLE
from nightshift.errors import DeclarationError, SettingError

TimeUnit = Literal["minutes", "hours", "days", "months", "years"]
Unit = TimeUnit | Literal["rows", "percent", "items"]

HUNDRED_YEARS = {"minutes": 52_596_000, "hours": 876_600, "days": 36_525, "months": 1_200, "years": 100}
"""The ceiling of every time parameter, by unit. Nobody wants a longer time, and no cut-off then leaves the calendar."""

MOST = 2**63 - 1
"""The ceiling of every other parameter: PostgreSQL's largest whole number."""

_WHOLE = re.compile(r"-?\d{1,30}")


@dataclass(frozen=True)
class Parameter:
    """A number that an operator may set: in cdk.json for every run, or in the payload of one manual run.

    name: snake_case. It is the key in cdk.json and in a payload.
    default: the value if nobody sets one. None means "no limit".
    minimum: the floor in code. A lower value is refused at synth and at run time.
    maximum: the ceiling in code. Without it, a time has a ceiling of 100 years.

    Raises:
        DeclarationError: when the parameter cannot work; the message holds the remedy.
    """

    name: str
    default: int | None
    unit: Unit
    minimum: int = 1
    maximum: int | None = None
    about: str = ""

    def __post_init__(self) -> None:
        must_be_snake("parameter", self.name)
        where = f"parameter {self.name}:"
        must_be_one_of(f"{where} unit", self.unit, choices(Unit))
        must_be(is_whole(self.minimum), f"{where} minimum", "a whole number, 0 or more", self.minimum)
        if self.maximum is not None:
            least = f"a whole number, {self.minimum} or more, or None"
            must_be(is_whole(self.maximum, least=self.minimum), f"{where} maximum", least, self.maximum)
        most = max(self.minimum, self.maximum or 0)
        must_be(most <= self._ceiling, f"{where} maximum", self._at_most, most)
        must_be_text(f"{where} about", self.about)
        if self.default is not None:
            try:
                self.parse(self.default)
            except SettingError as error:
                raise DeclarationError(
                    f"the default of parameter {self.name} is outside its own limits: {error}"
                ) from None

    def parse(self, value: Any) -> int:
        """The value as a number of `unit`. Text is accepted, because environment variables and shells have only text.

        Raises:
            SettingError: not a whole number, below the floor, or above the maximum or the unit's ceiling.
        """
        limits = f"at least {self.minimum}" + (f" and at most {self.maximum}" if self.maximum is not None else "")
        remedy = f"{self.name} must be a whole number of {self.unit}, {limits}"
        if isinstance(value, str) and _WHOLE.fullmatch(value.strip()):
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int):
            raise SettingError(f"{remedy}; got {shown(value)}")
        if value < self.minimum or (self.maximum is not None and value > self.maximum):
            raise SettingError(f"{remedy}; got {value}")
        if value > self._ceiling:
            raise SettingError(f"{self.name} must be {self._at_most}; got {value}")
        return value

    @property
    def _ceiling(self) -> int:
        return HUNDRED_YEARS.get(self.unit, MOST)

    @property
    def _at_most(self) -> str:
        return f"at most {self._ceiling}" + (", which is 100 years" if self.unit in HUNDRED_YEARS else "")


def resolve(declared: Iterable[Parameter], given: Mapping[str, Any]) -> dict[str, int]:
    """The value of every declared parameter: the given one, or the default. A parameter without a value is left out.

    Raises:
        SettingError: a name that the job does not declare, or a value outside its limits.
    """
    by_name = {parameter.name: parameter for parameter in declared}
    for name in given:
        if name not in by_name:
            known = ", ".join(sorted(by_name)) or "none"
            raise SettingError(f"unknown parameter {shown(name)}; this job has: {known}")
    values = {name: given.get(name, parameter.default) for name, parameter in by_name.items()}
    return {name: by_name[name].parse(value) for name, value in values.items() if value is not None}


def from_environment(environment: Mapping[str, str] = os.environ) -> dict[str, Any]:
    """The parameters that the deployment set for this function.

    Raises:
        SettingError: the variable does not hold a JSON object.
    """
    return read_object(PARAMETERS_VARIABLE, environment.get(PARAMETERS_VARIABLE, "{}"))


def read_object(variable: str, text: str) -> dict[str, Any]:
    """The JSON object that an environment variable holds.

    Raises:
        SettingError: it holds none.
    """
    try:
        values = json.loads(text)
    except json.JSONDecodeError as error:
        raise SettingError(f"{variable} must be a JSON object: {error}") from None
    if not isinstance(values, dict):
        raise SettingError(f"{variable} must be a JSON object; got {shown(text)}")
    return values

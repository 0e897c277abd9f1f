"""How much strain a database may be under while a job works on it. A deployment may set other limits."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from nightshift.declaration.fields import shown
from nightshift.environment import STRAIN_VARIABLE
from nightshift.errors import SettingError

OFF = 0
"""The limit of a signal that is not looked at."""


@dataclass(frozen=True)
class Limits:
    """From each of these values on a run waits, or works more slowly. 0 leaves the signal out.

    The defaults are what `docs/strain.md` gives the reasons for.
    """

    replica_lag_seconds: float = 5.0
    replica_lag_megabytes: float = 256.0
    lock_waits: int = 1
    transaction_seconds: float = 900.0
    horizon_transactions: int = 10_000_000
    vacuums: int = 1
    connections_percent: float = 90.0
    dead_rows: int = 20_000_000
    gate: str = ""
    hold_seconds: float = 300.0
    work_percent: float = 2.0

    @classmethod
    def read(cls, given: Mapping[str, Any]) -> "Limits":
        """The limits that were set, and the defaults.

        Raises:
            SettingError: there is no such limit, or its value cannot be meant.
        """
        defaults = {each.name: each.default for each in fields(cls)}
        for name, value in given.items():
            if name not in defaults:
                raise SettingError(f"strain has no limit {name!r}; it has {', '.join(defaults)}")
            if isinstance(defaults[name], str):
                if not isinstance(value, str):
                    raise SettingError(f"strain: {name} must be SQL; got {shown(value)}")
            elif isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < float("inf"):
                raise SettingError(f"strain: {name} must be a number, 0 or more; got {shown(value)}")
        for name in ("work_percent", "connections_percent"):
            if given.get(name, 0) > 100:
                raise SettingError(f"strain: {name} must be at most 100; got {shown(given[name])}")
        if given.get("work_percent", 1) < 1:
            raise SettingError("strain: work_percent must be at least 1: a run has to come to its end")
        if not given.get("hold_seconds", 1):
            raise SettingError("strain: hold_seconds must be more than 0: a strain that passes is waited for")
        return cls(**given)

    @property
    def looks(self) -> bool:
        """Whether anything at all is looked at."""
        return any(getattr(self, name) != value for name, value in NO_LOOKS.items()) or bool(self.gate)


NO_LOOKS: Mapping[str, float] = {
    each.name: 100 if each.name == "work_percent" else OFF
    for each in fields(Limits)
    if each.name not in ("gate", "hold_seconds")
}
"""The limits with which nothing is looked at."""


def limits_from(environment: Mapping[str, str]) -> Limits:
    """The limits of this function's job.

    Raises:
        SettingError: the variable holds none.
    """
    text = environment.get(STRAIN_VARIABLE)
    try:
        given = json.loads(text) if text else {}
    except ValueError as error:
        raise SettingError(f"{STRAIN_VARIABLE} is not JSON: {error}") from None
    if not isinstance(given, dict):
        raise SettingError(f"{STRAIN_VARIABLE} must be an object of limits; got {shown(given)}")
    return Limits.read(given)

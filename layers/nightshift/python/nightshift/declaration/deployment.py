"""What was deployed: which packs, and which settings differ from the jobs' declarations.

The platform's own functions (supervisor, console, migrate) read every declaration from the registry. The deployment
tells them the rest in one small environment variable.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from nightshift.declaration.discovery import Registration, packs, registry
from nightshift.declaration.job import Job
from nightshift.declaration.schedule import Schedule
from nightshift.declaration.windows import Freeze
from nightshift.environment import deployment_name
from nightshift.errors import SettingError, printable

DEPLOYMENT_VARIABLE = "NIGHTSHIFT_DEPLOYMENT"
"""Environment variable: `{"packs": […], "jobs": {name: {"enabled": false, "schedule": …, "timezone": …, …}}}`,
and `freezes`, see `Freeze.read`."""


def function_name(job: str, deployment: str | None = None) -> str:
    """The name of a job's Lambda function, and of its rule, in a deployment: without one, in this function's own."""
    return f"{deployment or deployment_name()}-{job}"


@dataclass(frozen=True)
class DeployedJob:
    """A job as it was deployed."""

    registration: Registration
    schedule: Schedule
    parameters: Mapping[str, int]
    """The value of every parameter, whether the deployment set it or not."""
    enabled: bool = True

    @property
    def job(self) -> Job:
        return self.registration.job


@dataclass(frozen=True)
class Misunderstood:
    """A job whose settings make no sense, and why. Nobody knows when it is due; its runs wait for better settings."""

    job: Job
    reason: str


@dataclass(frozen=True)
class Deployment:
    """The packs that were deployed, and what the settings changed in single jobs."""

    packs: tuple[str, ...] = field(default_factory=packs)
    changes: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    freezes: tuple[Freeze, ...] = field(default=(), kw_only=True)

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> "Deployment":
        """The deployment as the environment variable describes it. Without the variable, everything is as declared.

        Raises:
            SettingError: the variable does not describe a deployment.
        """
        text = environment.get(DEPLOYMENT_VARIABLE)
        if not text:
            return cls()
        try:
            given = json.loads(text)
            freezes = tuple(Freeze.read(each) for each in given.get("freezes", ()))
            return cls(tuple(given["packs"]), given.get("jobs", {}), freezes=freezes)
        except (ValueError, KeyError, TypeError) as error:
            raise SettingError(f"{DEPLOYMENT_VARIABLE} is not a deployment: {error!r}") from None

    def as_json(self) -> str:
        told: dict[str, Any] = {"packs": self.packs, "jobs": self.changes}
        if self.freezes:
            told["freezes"] = [freeze.as_json() for freeze in self.freezes]
        return json.dumps(told, separators=(",", ":"))

    def jobs(self) -> dict[str, DeployedJob]:
        """Every deployed job by name.

        Raises:
            DeclarationError, SettingError, ScheduleError: what the settings say of one of them makes no sense.
        """
        return {name: self._job(registration) for name, registration in self._deployed().items()}

    def understood(self) -> tuple[dict[str, DeployedJob], dict[str, Misunderstood]]:
        """The deployed jobs by name: those whose settings make sense, and the others."""
        found, others = {}, {}
        for name, registration in self._deployed().items():
            try:
                found[name] = self._job(registration)
            except Exception as cause:  # noqa: BLE001 - whatever is wrong with one job's settings, the others work
                others[name] = Misunderstood(registration.job, printable(f"{type(cause).__name__}: {cause}"))
        return found, others

    def _deployed(self) -> dict[str, Registration]:
        return {name: registration for name, registration in registry().items() if registration.pack in self.packs}

    def _job(self, registration: Registration) -> DeployedJob:
        change = self.changes.get(registration.job.name, {})
        schedule = registration.job.timetable_with(change)
        parameters = registration.job.resolve(change.get("parameters", {}))
        return DeployedJob(registration, schedule, parameters, change.get("enabled", True))

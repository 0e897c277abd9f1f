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
from nightshift.errors import SettingError

DEPLOYMENT_VARIABLE = "NIGHTSHIFT_DEPLOYMENT"
"""Environment variable: `{"packs": […], "jobs": {name: {"enabled": false, "schedule": …, "timezone": …, …}}}`."""


def function_name(job: str) -> str:
    """The name of a job's Lambda function, and of its rule."""
    return f"nightshift-{job}"


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
class Deployment:
    """The packs that were deployed, and what the settings changed in single jobs."""

    packs: tuple[str, ...] = field(default_factory=packs)
    changes: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

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
            return cls(tuple(given["packs"]), given.get("jobs", {}))
        except (ValueError, KeyError, TypeError) as error:
            raise SettingError(f"{DEPLOYMENT_VARIABLE} is not a deployment: {error!r}") from None

    def as_json(self) -> str:
        return json.dumps({"packs": self.packs, "jobs": self.changes}, separators=(",", ":"))

    def jobs(self) -> dict[str, DeployedJob]:
        """Every deployed job by name."""
        found = {}
        for name, registration in registry().items():
            if registration.pack in self.packs:
                change = self.changes.get(name, {})
                schedule = registration.job.timetable_with(change)
                parameters = registration.job.resolve(change.get("parameters", {}))
                found[name] = DeployedJob(registration, schedule, parameters, change.get("enabled", True))
        return found

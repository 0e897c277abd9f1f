"""What a deployment changes about single jobs, checked against their declarations."""

import datetime as dt
from collections.abc import Mapping
from typing import Annotated

from pydantic import AfterValidator, Field, SkipValidation, ValidationInfo

from infra.settings.refusals import Place, nearest, refused
from infra.settings.strain import Strain
from infra.settings.values import ByDefault, Group, LogRetention, Text
from nightshift.declaration import Job, Registration, Schedule, ScheduleError
from nightshift.errors import SettingError
from nightshift.zones import zone


def _in_capitals(schedule: str) -> str:
    """As AWS takes it, once it is known to fire."""
    return Schedule.parse(schedule, fires_after=dt.datetime.now(dt.UTC)).expression


def _known_zone(name: str) -> str:
    zone(name)
    return name


Cron = Annotated[Text, AfterValidator(_in_capitals)]
ZoneName = Annotated[Text, AfterValidator(_known_zone)]


class JobSettings(Group):
    """What differs from one job's declaration."""

    enabled: bool = Field(default=True, description="`false` switches the rule off, and the function refuses to run")
    schedule: Annotated[Cron | None, ByDefault("the declared one")] = Field(
        default=None,
        description="six fields as EventBridge has them, weekdays by name: `cron(0 5 ? * MON *)`; in UTC, or in the "
        "job's time zone",
    )
    timezone: Annotated[ZoneName | None, ByDefault("the declared one, or UTC")] = Field(
        default=None,
        description="the time zone whose clocks the schedule means, like `Europe/Berlin`; `UTC` for a job that "
        "declares another ([schedules.md](schedules.md))",
    )
    # The job itself reads them, see below: it knows their names and limits.
    parameters: Annotated[Mapping[str, SkipValidation[int]], ByDefault("the declared ones")] = Field(
        default={},
        description="whole numbers within the limits that the job's file declares; one outside them, or of an unknown "
        "name, is refused with the limits",
    )
    strain: Annotated[Strain, ByDefault("that of the deployment")] = Field(
        default=Strain(), description="what differs for this job from the deployment's `strain`"
    )
    log_retention_days: Annotated[LogRetention | None, ByDefault("that of the deployment")] = Field(
        default=None, description="how long the job's log is kept"
    )

    def timetable(self, job: Job) -> Schedule:
        """When the job is due in this deployment."""
        return job.timetable_with({"schedule": self.schedule, "timezone": self.timezone})


def _as_declared(jobs: Mapping[str, JobSettings], info: ValidationInfo) -> Mapping[str, JobSettings]:
    """The settings with their parameters as numbers. The validation's context is the registry."""
    registry: Mapping[str, Registration] = info.context or {}
    wrong: list[tuple[Place, str]] = []
    checked = {}
    for name, settings in jobs.items():
        if name not in registry:
            wrong.append(((), f"has no job {name!r}{nearest(name, registry)}"))
            continue
        try:
            resolved = registry[name].job.resolve(settings.parameters)
        except SettingError as error:
            wrong.append(((name, "parameters"), f": {error}"))
            continue
        try:
            settings.timetable(registry[name].job)
        except ScheduleError as error:
            wrong.append(((name, "timezone"), f": {error}"))
            continue
        given = {parameter: resolved[parameter] for parameter in settings.parameters}
        checked[name] = settings.model_copy(update={"parameters": given})
    if wrong:
        raise refused(wrong)
    return checked


Jobs = Annotated[Mapping[str, JobSettings], AfterValidator(_as_declared)]

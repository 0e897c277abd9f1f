"""The declaration of a job. Function, rule, alarms, grants, job tables and tests are all derived from it."""

import datetime as dt
import re
from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

from nightshift.declaration.checks import check_parameters, check_step
from nightshift.declaration.fields import (
    choices,
    is_whole,
    must_be,
    must_be_one_of,
    must_be_text,
    must_be_truth,
)
from nightshift.declaration.names import check_job_name
from nightshift.declaration.parameters import Parameter, resolve
from nightshift.declaration.policy import Kind, Policy, default_policy
from nightshift.declaration.run import Run
from nightshift.declaration.schedule import Schedule, ScheduleError
from nightshift.declaration.step import UNIVERSAL_COUNTERS, Step, iso
from nightshift.errors import DeclarationError

Need = Literal["files", "application_files", "keys", "snapshots", "operators", "deployment"]
"""What a job may need besides the database. The deployment grants exactly that, and no more.

files: the file store. keys: the data keys. snapshots: the database's snapshots. operators: the topic that pages people
directly, without the outbox. deployment: which jobs were deployed, and with which schedules.
"""

FOLDER = re.compile(r"[a-z0-9][a-z0-9_.-]*/([a-z0-9_.-]+/)*")
BACKUPS = "backups/"
"""The folder of the file store in which backups lie."""

LONGEST_TIMEOUT = dt.timedelta(minutes=15)
LEAST_MEMORY, MOST_MEMORY = 128, 10_240

MAX_ROWS = Parameter("max_rows", None, "rows", about="stop before destroying more rows than this; no limit by default")
MAX_SHARE = Parameter(
    "max_share", 50, "percent", maximum=100, about="stop before destroying more of a table, above 10,000 rows"
)
UNINDEXED_ROWS = Parameter(
    "unindexed_rows",
    100_000,
    "rows",
    about="stop when a table that refers to the rows has more rows than this and no index to find them by",
)


@dataclass(frozen=True, kw_only=True)
class Job:
    """One unit of scheduled work.

    name: kebab-case, unique, at most 43 characters. The job's file has the same name with underscores.
    kind: sets the policy for overlapping, missed and late occurrences, unless `policy` is given.
    schedule: in AWS's own syntax: `cron(0 2 * * ? *)`. A deployment can replace it with a setting.
    timezone: whose clocks the schedule means, like `Europe/Berlin`. None: UTC. A setting can replace it as well.
    steps: what the job does, in order.
    parameters: numbers that operators can set, in addition to those that the steps declare.
    needs: what the job uses besides the database. The deployment grants exactly that. `files` is Nightshift's own file
        store, `application_files` the one in which the application keeps its files; a job has one of them.
    folders: where in the file store, like `reports/`; a step adds its own. Without any it is the whole store. Nobody
        deletes or replaces what lies under `backups/` but a job with a step that makes backups.
    critical: a final failure pages somebody.
    audited: a run that changed rows writes one line to the project's audit trail. A project without a trail
        (`Project.trail`) has no such line; nothing else changes.
    timeout: of one attempt, in whole seconds, at most 15 minutes.
    memory_mb: of the function, from 128 to 10240. More memory also buys more processor.

    Raises:
        DeclarationError: when the declaration cannot work; the message holds the remedy.
    """

    name: str
    kind: Kind
    schedule: str
    steps: tuple[Step, ...]
    parameters: tuple[Parameter, ...] = ()
    policy: Policy | None = None
    needs: frozenset[Need] = frozenset()
    folders: tuple[str, ...] = ()
    critical: bool = False
    audited: bool = True
    timeout: dt.timedelta = LONGEST_TIMEOUT
    memory_mb: int = 512
    about: str = ""
    timezone: str | None = None

    def __post_init__(self) -> None:
        check_job_name(self.name)
        where = f"job {self.name}:"
        must_be_one_of(f"{where} kind", self.kind, choices(Kind))
        like = "a text, like 'cron(0 2 * * ? *)'"
        must_be(isinstance(self.schedule, str), f"{where} schedule", like, self.schedule)
        zone = self.timezone is None or isinstance(self.timezone, str)
        must_be(zone, f"{where} timezone", "a text, like 'Europe/Berlin'", self.timezone)
        self._check_work(where)
        self._check_function(where)
        policy = self.policy is None or isinstance(self.policy, Policy)
        must_be(policy, f"{where} policy", "a Policy, like Policy(overlap='wait')", self.policy)
        for field in ("critical", "audited"):
            must_be_truth(f"{where} {field}", getattr(self, field))
        must_be_text(f"{where} about", self.about)

    def _check_work(self, where: str) -> None:
        like = "a tuple of steps, like (Delete(…),) with its comma"
        must_be(isinstance(self.steps, tuple), f"{where} steps", like, self.steps)
        if not self.steps:
            raise DeclarationError(f"job {self.name} has no steps: give it something to do")
        for step in self.steps:
            check_step(self.name, step)
        check_parameters(where, self.parameters)
        for what, names in (
            ("step", [step.name for step in self.steps]),
            ("parameter", [parameter.name for parameter in self.all_parameters]),
        ):
            if doubled := {name for name in names if names.count(name) > 1}:
                raise DeclarationError(f"job {self.name} has two {what}s named {doubled.pop()!r}; name them apart")

    def _check_function(self, where: str) -> None:
        like = "a timedelta, like timedelta(minutes=5)"
        must_be(isinstance(self.timeout, dt.timedelta), f"{where} timeout", like, self.timeout)
        if not dt.timedelta(seconds=1) <= self.timeout <= LONGEST_TIMEOUT or self.timeout.microseconds:
            raise DeclarationError(
                f"{where} the timeout must be in whole seconds and at most 15 minutes, AWS Lambda's own limit"
            )
        memory = f"a whole number from {LEAST_MEMORY} to {MOST_MEMORY}"
        fits = is_whole(self.memory_mb, least=LEAST_MEMORY) and self.memory_mb <= MOST_MEMORY
        must_be(fits, f"{where} memory_mb", memory, self.memory_mb)
        must_be(isinstance(self.needs, Set), f"{where} needs", "a set, like frozenset({'files'})", self.needs)
        for need in self.needs:
            must_be_one_of(f"{where} needs", need, choices(Need))
        like = "a tuple of folders, like ('reports/',)"
        fits = isinstance(self.folders, tuple) and all(isinstance(each, str) for each in self.folders)
        must_be(fits, f"{where} folders", like, self.folders)
        if wrong := [each for each in self.folders if not FOLDER.fullmatch(each)]:
            raise DeclarationError(f"{where} a folder of the file store is like reports/, with its slash; got {wrong}")
        if any(each.startswith(BACKUPS) for each in self.folders):
            raise DeclarationError(f"{where} {BACKUPS} belongs to the step Backup, which brings it by itself")
        if self.folders and "files" not in self.needs:
            raise DeclarationError(f"{where} folders go with needs={{'files'}}: add it, or remove them")
        if {"files", "application_files"} <= self.needs:
            raise DeclarationError(
                f"job {self.name} needs both files and application_files, and a function has one file store: "
                "Nightshift's own, or the application's; make two jobs of it"
            )

    @cached_property
    def own_folders(self) -> tuple[str, ...]:
        """The folders of the file store that are the job's: those it declares, and its steps'. Empty: all of it."""
        theirs = (folder for step in self.steps for folder in getattr(step, "folders", ()))
        return tuple(sorted({*self.folders, *theirs}))

    @cached_property
    def timetable(self) -> Schedule:
        """The declared schedule, parsed. The registry checks it at synth; a running function rarely needs it.

        Raises:
            DeclarationError: AWS would not accept the schedule, it never fires, or there is no such time zone.
        """
        try:
            return Schedule.parse(self.schedule, self.timezone)
        except ScheduleError as error:
            raise DeclarationError(f"job {self.name}: {error}") from None

    def timetable_with(self, settings: Mapping[str, Any]) -> Schedule:
        """The schedule where a deployment's settings replace the declared `schedule`, `timezone`, or both.

        Raises:
            ScheduleError: as `Schedule.parse`.
        """
        changed = {name: settings[name] for name in ("schedule", "timezone") if settings.get(name)}
        if not changed:
            return self.timetable
        return Schedule.parse(changed.get("schedule", self.schedule), changed.get("timezone", self.timezone))

    @cached_property
    def effective_policy(self) -> Policy:
        return self.policy or default_policy(self.kind, self.timetable)

    @cached_property
    def destructive(self) -> bool:
        return any(step.destructive for step in self.steps)

    @cached_property
    def all_parameters(self) -> tuple[Parameter, ...]:
        """The parameters of the job and of its steps, each once. A destructive job also has the caps."""
        steps = (parameter for step in self.steps for parameter in step.parameters)
        declared = dict.fromkeys((*self.parameters, *steps))
        names = {parameter.name for parameter in declared}
        caps = (cap for cap in (MAX_ROWS, MAX_SHARE, UNINDEXED_ROWS) if self.destructive and cap.name not in names)
        return (*declared, *caps)

    @cached_property
    def counters(self) -> tuple[str, ...]:
        """Every counter that a run of this job reports, in display order."""
        return tuple(dict.fromkeys((*(name for step in self.steps for name in step.counters), *UNIVERSAL_COUNTERS)))

    def changed(self, counters: Mapping[str, int]) -> int:
        """How many rows a run has changed."""
        return sum(
            counters.get(name, 0) for name in dict.fromkeys(name for step in self.steps for name in step.changes)
        )

    def resolve(self, given: Mapping[str, Any]) -> dict[str, int]:
        """The value of every parameter.

        Raises:
            SettingError: an unknown name, or a value outside its limits.
        """
        return resolve(self.all_parameters, given)

    def cutoff(self, run: Run) -> str | None:
        """The cut-off that all steps share, in ISO 8601, as results show it. None if they have none, or several."""
        cutoffs = {cutoff for step in self.steps if (cutoff := step.cutoff(run)) is not None}
        return iso(cutoffs.pop()) if len(cutoffs) == 1 else None


def cleaned(jobs: Iterable[Job]) -> set[str]:
    """The tables that these jobs delete from, or make anonymous, as their steps name them."""
    return {table for job in jobs for step in job.steps if step.destructive for table in step.tables}

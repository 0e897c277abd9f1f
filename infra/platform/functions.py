"""What the platform's own functions have in common, each of them a file of functions/platform/."""

from collections.abc import Mapping
from dataclasses import dataclass

from aws_cdk import Duration, Stack, aws_events as events, aws_events_targets as targets, triggers

from infra.code import Code
from infra.database import DatabaseAccess
from infra.function import Function
from infra.settings import Settings
from nightshift.declaration import function_name
from nightshift.declaration.names import EVERY_MINUTE
from nightshift.environment import DEPLOYMENT_VARIABLE


@dataclass(frozen=True)
class PlatformFunctions:
    """Makes them, all in the platform's stack."""

    stack: Stack
    settings: Settings
    code: Code
    database: DatabaseAccess
    migration: triggers.Trigger | None = None
    """What the functions that are made wait for, so that no new code meets an old schema; None for the migration."""

    @property
    def deployment(self) -> Mapping[str, str]:
        """The environment of a function that must know what was deployed."""
        return {DEPLOYMENT_VARIABLE: self.settings.deployment().as_json()}

    def function(
        self,
        name: str,
        *,
        about: str,
        timeout: Duration,
        environment: Mapping[str, str],
        outside: bool = False,
        database: DatabaseAccess | None = None,
    ) -> Function:
        """The function `<deployment>-<name>`, which runs functions/platform/<name>.py.

        outside: it stands outside the network and connects to no database. database: its own access, if it has one.
        """
        made = Function(
            self.stack,
            name.capitalize(),
            deployment=self.settings.name,
            name=name,
            handler=f"functions.platform.{name}.handler",
            about=about,
            code=self.code,
            database=None if outside else database or self.database,
            timeout=timeout,
            memory_mb=256 if outside else 512,
            log_retention_days=self.settings.log_retention_days,
            environment=environment,
        )
        if self.migration is not None:
            made.node.add_dependency(self.migration)
        return made

    def start_every_minute(self, name: str, function: Function) -> events.Rule:
        """Its rule, which does not exist before the database is migrated."""
        rule = events.Rule(
            self.stack,
            f"{name.capitalize()}Rule",
            rule_name=function_name(name, self.settings.name),
            description=f"Starts the {name}",
            schedule=events.Schedule.expression(EVERY_MINUTE),
            enabled=self.settings.rules == "on",
            # Not tried again: the next minute brings the next one.
            targets=[targets.LambdaFunction(function.function, retry_attempts=0, max_event_age=Duration.minutes(1))],
        )
        if self.migration is not None:
            rule.node.add_dependency(self.migration)
        return rule

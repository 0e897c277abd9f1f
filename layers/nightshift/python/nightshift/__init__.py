"""Nightshift: scheduled jobs for PostgreSQL applications on AWS Lambda.

What a job file imports. Everything else in this package is the machinery behind it.
"""

from typing import TYPE_CHECKING

from nightshift.faces import face

if TYPE_CHECKING:
    from nightshift.declaration import (
        Detach as Detach,
        Drop as Drop,
        Execution as Execution,
        Job as Job,
        Parameter as Parameter,
        Policy as Policy,
        Run as Run,
        StepPlan as StepPlan,
        days as days,
        hours as hours,
        minutes as minutes,
        years as years,
    )
    from nightshift.errors import DeclarationError as DeclarationError, SettingError as SettingError
    from nightshift.runtime import lambda_handler as lambda_handler
    from nightshift.steps import Count as Count, Delete as Delete, Function as Function, Update as Update

__getattr__ = face(
    __name__,
    declaration="Detach Drop Execution Job Parameter Policy Run StepPlan days hours minutes years",
    errors="DeclarationError SettingError",
    runtime="lambda_handler",
    steps="Count Delete Function Update",
)

"""Nightshift: scheduled jobs for PostgreSQL applications on AWS Lambda.

What a job file imports. Everything else in this package is the machinery behind it.
"""

from nightshift.errors import DeclarationError, SettingError
from nightshift.job import Job
from nightshift.ledger import Policy
from nightshift.parameters import Parameter, days, hours, minutes, years
from nightshift.run import Run
from nightshift.runtime import lambda_handler
from nightshift.steps import Count, Delete, Function, StepPlan, Update

__all__ = [
    "Count",
    "DeclarationError",
    "Delete",
    "Function",
    "Job",
    "Parameter",
    "Policy",
    "Run",
    "SettingError",
    "StepPlan",
    "Update",
    "days",
    "hours",
    "lambda_handler",
    "minutes",
    "years",
]

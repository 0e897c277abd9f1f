"""The kinds of step a job can be made of."""

from nightshift.steps.base import Step, StepPlan
from nightshift.steps.function import Function
from nightshift.steps.rows import Count, Delete, Update

__all__ = ["Count", "Delete", "Function", "Step", "StepPlan", "Update"]

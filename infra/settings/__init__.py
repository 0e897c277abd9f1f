"""The settings of one deployment, typed and checked before anything is synthesized. docs/settings.md lists them all."""

from infra.settings.database import ExistingDatabase, NewDatabase
from infra.settings.deployment import Alarms, Architecture, LambdaPython, Settings, Tables
from infra.settings.jobs import JobSettings
from infra.settings.network import Network
from infra.settings.reading import read_settings
from infra.settings.refusals import CONTEXT_KEY
from infra.settings.values import LOG_RETENTION

__all__ = [
    "CONTEXT_KEY",
    "LOG_RETENTION",
    "Alarms",
    "Architecture",
    "ExistingDatabase",
    "JobSettings",
    "LambdaPython",
    "Network",
    "NewDatabase",
    "Settings",
    "Tables",
    "read_settings",
]

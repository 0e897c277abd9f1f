"""Every table as a model: the application's by domain, the ledger, and what the jobs write for themselves.

A model's module is imported when the model is first asked for, with the modules it refers to. Mapping all tables takes
some 70 ms, and a function that works on two of them should not wait for the other forty. Whoever asks for `Base` wants
the whole metadata and gets it.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nightshift.models.administration import License, Subscription, SubscriptionEvent, expiring_credentials
    from nightshift.models.audit import AuditArchive, AuditLog
    from nightshift.models.base import NIGHTSHIFT_SCHEMA, Base
    from nightshift.models.community import Collaborator, Idea, Invitation, Project, Upload, Upvote, file_references
    from nightshift.models.identity import (
        ApiKey,
        AuthToken,
        Certificate,
        ConsentRecord,
        DataRequest,
        LoginAttempt,
        Organization,
        PushToken,
        User,
        UserPreferences,
        UserSession,
    )
    from nightshift.models.keys import DataKey, PseudonymKey
    from nightshift.models.ledger import (
        OPEN_STATES,
        OUTCOMES,
        Attempt,
        QuarantinedItem,
        RegisteredJob,
        RunRecord,
        job_runs,
    )
    from nightshift.models.operations import (
        Alert,
        Backup,
        Difference,
        ErasureRecord,
        HealthCheck,
        MetricFinding,
        MetricRollup,
        Notification,
        Report,
        TrustedNetwork,
        UnclaimedObject,
    )
    from nightshift.models.productivity import FeatureEvent, Goal, RequestStats, TimerSession, UserActivityDay
    from nightshift.models.tracking import AnnualSummary, CachedMetric, PaymentRecord, ReminderEvent, YearlySnapshot

_MODULES = {
    "administration": "License Subscription SubscriptionEvent expiring_credentials",
    "audit": "AuditArchive AuditLog",
    "base": "NIGHTSHIFT_SCHEMA Base",
    "community": "Collaborator Idea Invitation Project Upload Upvote file_references",
    "identity": "ApiKey AuthToken Certificate ConsentRecord DataRequest "
    "LoginAttempt Organization PushToken User UserPreferences UserSession",
    "keys": "DataKey PseudonymKey",
    "ledger": "OPEN_STATES OUTCOMES Attempt QuarantinedItem RegisteredJob RunRecord job_runs",
    "operations": "Alert Backup Difference ErasureRecord HealthCheck MetricFinding MetricRollup Notification Report "
    "TrustedNetwork UnclaimedObject",
    "productivity": "FeatureEvent Goal RequestStats TimerSession UserActivityDay",
    "tracking": "AnnualSummary CachedMetric PaymentRecord ReminderEvent YearlySnapshot",
}
_MODULE_OF = {name: module for module, names in _MODULES.items() for name in names.split()}

__all__ = [
    "NIGHTSHIFT_SCHEMA",
    "OPEN_STATES",
    "OUTCOMES",
    "Alert",
    "AnnualSummary",
    "ApiKey",
    "Attempt",
    "AuditArchive",
    "AuditLog",
    "AuthToken",
    "Backup",
    "Base",
    "CachedMetric",
    "Certificate",
    "Collaborator",
    "ConsentRecord",
    "DataKey",
    "DataRequest",
    "Difference",
    "ErasureRecord",
    "FeatureEvent",
    "Goal",
    "HealthCheck",
    "Idea",
    "Invitation",
    "License",
    "LoginAttempt",
    "MetricFinding",
    "MetricRollup",
    "Notification",
    "Organization",
    "PaymentRecord",
    "Project",
    "PseudonymKey",
    "PushToken",
    "QuarantinedItem",
    "RegisteredJob",
    "ReminderEvent",
    "Report",
    "RequestStats",
    "RunRecord",
    "Subscription",
    "SubscriptionEvent",
    "TimerSession",
    "TrustedNetwork",
    "UnclaimedObject",
    "Upload",
    "Upvote",
    "User",
    "UserActivityDay",
    "UserPreferences",
    "UserSession",
    "YearlySnapshot",
    "expiring_credentials",
    "file_references",
    "job_runs",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"nightshift.models has no model {name!r}")
    if name == "Base":
        for module in _MODULES:
            import_module(f"{__name__}.{module}")
    value = globals()[name] = getattr(import_module(f"{__name__}.{_MODULE_OF[name]}"), name)
    return value

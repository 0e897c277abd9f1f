"""Every table of the application as a model, by subject, and the tables that its jobs write for themselves.

A model's module is imported when the model is first used, with the modules that it refers to. Mapping all tables takes
about 70 ms; a function that works on two of them should not wait for the rest. `application.models.base.metadata()`
imports all of them and returns the whole metadata."""

from typing import TYPE_CHECKING

from nightshift.faces import face

if TYPE_CHECKING:
    from application.models.administration import (
        License as License,
        Subscription as Subscription,
        SubscriptionEvent as SubscriptionEvent,
        expiring_credentials as expiring_credentials,
    )
    from application.models.audit import AuditArchive as AuditArchive, AuditLog as AuditLog
    from application.models.base import Base as Base
    from application.models.community import (
        Collaborator as Collaborator,
        Idea as Idea,
        Upload as Upload,
        Upvote as Upvote,
        file_references as file_references,
    )
    from application.models.identity import (
        ApiKey as ApiKey,
        AuthToken as AuthToken,
        Certificate as Certificate,
        ConsentRecord as ConsentRecord,
        DataRequest as DataRequest,
        LoginAttempt as LoginAttempt,
        PushToken as PushToken,
        UserPreferences as UserPreferences,
        UserSession as UserSession,
    )
    from application.models.operations import (
        Alert as Alert,
        ErasureRecord as ErasureRecord,
        Report as Report,
        TrustedNetwork as TrustedNetwork,
        UnclaimedObject as UnclaimedObject,
    )
    from application.models.people import Organization as Organization, User as User
    from application.models.productivity import (
        FeatureEvent as FeatureEvent,
        Goal as Goal,
        RequestStats as RequestStats,
        TimerSession as TimerSession,
        UserActivityDay as UserActivityDay,
    )
    from application.models.projects import Invitation as Invitation, Project as Project
    from application.models.pseudonyms import PseudonymKey as PseudonymKey
    from application.models.tracking import (
        AnnualSummary as AnnualSummary,
        CachedMetric as CachedMetric,
        PaymentRecord as PaymentRecord,
        ReminderEvent as ReminderEvent,
        YearlySnapshot as YearlySnapshot,
    )

__getattr__ = face(
    __name__,
    administration="License Subscription SubscriptionEvent expiring_credentials",
    audit="AuditArchive AuditLog",
    base="Base",
    community="Collaborator Idea Upload Upvote file_references",
    identity="ApiKey AuthToken Certificate ConsentRecord DataRequest LoginAttempt PushToken UserPreferences "
    "UserSession",
    operations="Alert ErasureRecord Report TrustedNetwork UnclaimedObject",
    people="Organization User",
    productivity="FeatureEvent Goal RequestStats TimerSession UserActivityDay",
    projects="Invitation Project",
    pseudonyms="PseudonymKey",
    tracking="AnnualSummary CachedMetric PaymentRecord ReminderEvent YearlySnapshot",
)

"""Erases a person: one rule for every column that identifies somebody.

There are two modes. Anonymised: the account stays as `[Deleted User]`, so that projects, ideas and likes keep an
author; everything personal is removed. Deleted: the account is deleted too, with everything that belongs to it. The
rules are applied in their order, in the caller's transaction. A test walks the metadata of all models, and fails if a
column that refers to a user has no rule here.
"""

import datetime as dt
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

from sqlalchemy import (
    ColumnElement,
    Executable,
    Table,
    any_,
    case,
    delete,
    exists,
    func,
    or_,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import distinct_on, insert
from sqlalchemy.orm import InstrumentedAttribute, Session, aliased

from application.erasure import quotes
from application.erasure.quotes import Quotes
from application.models import (
    AnnualSummary,
    ApiKey,
    AuditLog,
    AuthToken,
    CachedMetric,
    Certificate,
    Collaborator,
    ConsentRecord,
    DataRequest,
    ErasureRecord,
    FeatureEvent,
    Goal,
    Idea,
    Invitation,
    LoginAttempt,
    PaymentRecord,
    Project,
    PushToken,
    ReminderEvent,
    TimerSession,
    Upload,
    Upvote,
    User,
    UserActivityDay,
    UserPreferences,
    UserSession,
    YearlySnapshot,
)
from nightshift.outbox import Notification

Mode = Literal["anonymized", "deleted"]
Fate = Literal["delete", "forget", "keep"]
"""delete: the rows are deleted. forget: they stay, without the person. keep: they stay; addresses in texts go."""


@dataclass(frozen=True)
class Rule:
    """What happens to the rows whose column holds the person's id or address.

    texts: free texts of rows that stay. Every e-mail address in them is masked.
    """

    column: InstrumentedAttribute[Any]
    anonymized: Fate = "delete"
    deleted: Fate = "delete"
    holds: Literal["id", "id as text", "address"] = "id"
    texts: tuple[InstrumentedAttribute[Any], ...] = ()

    @property
    def table(self) -> Table:
        return cast(Table, self.column.class_.__table__)

    def theirs(self, people: Sequence["Person"]) -> ColumnElement[bool]:
        """Which rows are of these people."""
        held = self.column.expression
        match self.holds:
            case "id":
                return held.in_([person.id for person in people])
            case "id as text":
                return held.in_([str(person.id) for person in people])
            case "address":
                return func.lower(held).in_([func.lower(person.address) for person in people])

    def fate(self, mode: Mode) -> Fate:
        return self.anonymized if mode == "anonymized" else self.deleted

    def statements(self, person: "Person", mode: Mode) -> Iterator[Executable]:
        held, theirs, fate = self.column.expression, self.theirs([person]), self.fate(mode)
        if fate == "delete":
            yield delete(self.table).where(theirs)
            return
        for column in self.texts:
            masked = func.nightshift.mask_emails(column)
            yield update(self.table).values({column.key: masked}).where(theirs, column != masked)
        if fate == "forget":
            yield update(self.table).values({held.key: None}).where(theirs)


@dataclass(frozen=True)
class Person:
    """Who is erased: the account's id, and the address that other people's rows may contain."""

    id: uuid.UUID
    address: str


# The audit log, collaborations and the account have their own functions below; RULES_OF_THEIR_OWN names them.
RULES = (
    Rule(AuthToken.user_id),
    Rule(UserSession.user_id),
    Rule(LoginAttempt.user_id),
    Rule(LoginAttempt.email, holds="address"),
    Rule(ApiKey.user_id),
    Rule(PushToken.user_id),
    Rule(ConsentRecord.user_id),
    Rule(UserPreferences.user_id),
    Rule(Notification.recipient, holds="id as text"),
    Rule(Invitation.email, holds="address"),
    Rule(Invitation.invited_by, anonymized="keep", deleted="forget"),
    Rule(AnnualSummary.user_id),
    Rule(PaymentRecord.user_id),
    Rule(ReminderEvent.user_id),
    Rule(CachedMetric.user_id),
    Rule(YearlySnapshot.user_id),
    Rule(TimerSession.user_id),
    Rule(Goal.user_id),
    Rule(UserActivityDay.user_id),
    Rule(FeatureEvent.user_id, anonymized="forget", deleted="forget"),
    Rule(Certificate.owner_user_id, anonymized="keep", deleted="forget", texts=(Certificate.label,)),
    Rule(Upload.uploader_id, anonymized="keep", deleted="forget", texts=(Upload.filename,)),
    Rule(Idea.creator_id, anonymized="keep", texts=(Idea.title, Idea.description)),
    Rule(Upvote.user_id, anonymized="keep"),
    Rule(DataRequest.user_id, anonymized="keep", deleted="forget"),
)

RULES_OF_THEIR_OWN = (AuditLog.actor_id, Collaborator.user_id, User.email)

TABLES = tuple(
    dict.fromkeys(
        column.class_.__table__.fullname
        for column in (
            User.id,
            *(rule.column for rule in RULES),
            *RULES_OF_THEIR_OWN,
            Project.id,
            ErasureRecord.subject_ref,
        )
    )
)
"""Every table that an erasure may change."""


def erase(session: Session, person: Person, mode: Mode, *, at: dt.datetime, found: Quotes | None = None) -> None:
    """Erase a person in the caller's transaction. It must name its run, because the audit log is append-only.

    The caller should lock the account's row. Rows of the audit log that are on legal hold stay as they are.

    found: the result of a search for the person's address. Without it, the whole audit log is read.
    """
    for statement in (
        _redact_audit_log(person),
        *quotes.masks(person.address, found),
        _close_requests(person),
        _mask_titles(person),
        *(_hand_over_projects(person) if mode == "deleted" else ()),
        *(statement for rule in RULES for statement in rule.statements(person, mode)),
        _anonymise_account(person, at) if mode == "anonymized" else delete(User).where(User.id == person.id),
    ):
        session.execute(statement.execution_options(synchronize_session=False))


def deletions(people: Sequence[Person], mode: Mode) -> dict[Table, ColumnElement[bool]]:
    """By table, the rows that an erasure of these people deletes, the accounts and what goes by cascade apart.

    At most: where several of them have worked together, some may stay.
    """
    found: dict[Table, list[ColumnElement[bool]]] = {}
    for rule in RULES:
        if rule.fate(mode) == "delete":
            found.setdefault(rule.table, []).append(rule.theirs(people))
    if mode == "deleted":
        theirs = Collaborator.user_id.in_([person.id for person in people])
        created = exists().where(Collaborator.project_id == Project.id, Collaborator.role == "CREATOR", theirs)
        others = exists().where(Collaborator.project_id == Project.id, ~theirs)
        found[cast(Table, Project.__table__)] = [created & ~others]
        found[cast(Table, Collaborator.__table__)] = [theirs]
    return {table: or_(*conditions) for table, conditions in found.items()}


def record(session: Session, subject_ref: str, mode: Mode, *, at: dt.datetime) -> None:
    """Note the erasure, so that it is repeated after a restore. A noted deletion never becomes an anonymisation."""
    noted = insert(ErasureRecord).values(subject_ref=subject_ref, mode=mode, executed_at=at)
    harder = (ErasureRecord.mode == "anonymized") & (noted.excluded.mode == "deleted")
    session.execute(
        noted.on_conflict_do_update(
            index_elements=[ErasureRecord.subject_ref],
            set_={"mode": noted.excluded.mode, "executed_at": noted.excluded.executed_at},
            where=harder,
        )
    )


def _redact_audit_log(person: Person) -> Executable:
    """Remove the person from their own rows, as the yearly anonymisation does."""
    # Arrays, because `in (select …)` inside an OR would read the whole audit log.
    keys = func.array(select(ApiKey.id).where(ApiKey.user_id == person.id).scalar_subquery())
    sessions = func.array(select(UserSession.id).where(UserSession.user_id == person.id).scalar_subquery())
    own = or_(AuditLog.actor_id == person.id, AuditLog.api_key_id == any_(keys), AuditLog.session_id == any_(sessions))
    return (
        update(AuditLog)
        .where(own, ~AuditLog.legal_hold)
        .values(
            {
                AuditLog.actor_id: None,
                AuditLog.session_id: None,
                AuditLog.ip: None,
                AuditLog.user_agent: None,
                AuditLog.resource_id: func.nightshift.mask_emails(AuditLog.resource_id),
                AuditLog.metadata_: func.nightshift.redact(AuditLog.metadata_),
                AuditLog.changes: func.nightshift.redact(AuditLog.changes),
            }
        )
    )


def _close_requests(person: Person) -> Executable:
    """Cancel waiting exports, and redact the options of all the person's requests."""
    waiting = (DataRequest.request_type == "EXPORT") & (DataRequest.status == "PENDING")
    redacted = func.nightshift.redact(DataRequest.options)
    return (
        update(DataRequest)
        .where(DataRequest.user_id == person.id, waiting | (DataRequest.options != redacted))
        .values(status=case((waiting, "CANCELLED"), else_=DataRequest.status), options=redacted)
    )


def _mask_titles(person: Person) -> Executable:
    """Mask the person's own address in titles. Projects belong to several people, so other addresses stay."""
    theirs = select(Collaborator.project_id).where(Collaborator.user_id == person.id)
    masked = func.nightshift.mask_address(Project.title, person.address)
    return update(Project).where(Project.id.in_(theirs), Project.title != masked).values(title=masked)


def _hand_over_projects(person: Person) -> Iterator[Executable]:
    """A project whose only creator is deleted goes to its oldest contributor, or else to its oldest adviser.

    A project without other collaborators is deleted. If none of them can inherit it, it stays as it is: accounts that
    are locked now, or that were anonymised, cannot inherit.
    """
    other, owner = aliased(Collaborator), aliased(User)
    others = (
        exists(other.user_id)
        .where(other.project_id == Collaborator.project_id, other.role == "CREATOR", other.user_id != person.id)
        .where(owner.id == other.user_id, owner.deleted_at.is_(None), owner.anonymized_at.is_(None))
    )
    alone = select(Collaborator.project_id).where(
        Collaborator.user_id == person.id, Collaborator.role == "CREATOR", ~others
    )
    candidate = aliased(Collaborator)
    heir = (
        select(candidate.project_id, candidate.user_id)
        .join(User, User.id == candidate.user_id)
        .where(candidate.project_id.in_(alone), candidate.role.in_(("CONTRIBUTOR", "ADVISOR")))
        .where(User.is_active, User.deleted_at.is_(None), User.anonymized_at.is_(None), User.id != person.id)
        .order_by(candidate.project_id, candidate.role == "ADVISOR", candidate.created_at, candidate.user_id)
        .ext(distinct_on(candidate.project_id))
        .subquery()
    )
    yield (
        update(Collaborator)
        .where(Collaborator.project_id == heir.c.project_id, Collaborator.user_id == heir.c.user_id)
        .values(role="CREATOR")
    )
    anybody = exists(other.user_id).where(other.project_id == Project.id, other.user_id != person.id)
    yield delete(Project).where(Project.id.in_(alone), ~anybody)
    yield delete(Collaborator).where(Collaborator.user_id == person.id)


def _anonymise_account(person: Person, at: dt.datetime) -> Executable:
    return (
        update(User)
        .where(User.id == person.id)
        .values(
            email=f"deleted-{person.id}@deleted.invalid",
            name="[Deleted User]",
            bio=None,
            avatar_url=None,
            password_hash=None,
            is_active=False,
            show_email_on_profile=False,
            include_in_search=False,
            show_activity_publicly=False,
            locked_reason=None,
            last_login_at=None,
            last_activity_at=None,
            last_known_country=None,
            anonymized_at=at,
            deleted_at=at,
            updated_at=at,
        )
    )

import datetime as dt
import socket
import uuid
from collections import Counter
from typing import Any
from unittest.mock import Mock

import boto3
import pytest
from sqlalchemy import Engine, Table, Text, cast, event, func, select, text, update
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from application import erasure
from application.erasure import quotes
from application.erasure.rules import RULES, RULES_OF_THEIR_OWN, erase
from application.models import (
    Alert,
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
from application.models.base import metadata
from functions.community import _deletion_requests, finalize_deletions
from functions.community._deletion_requests import delete_exports, settle
from functions.community.finalize_deletions import job
from nightshift.database import sqlstate
from nightshift.deadline import Deadline
from nightshift.environment import FILES_PREFIX_VARIABLE, FILES_VARIABLE
from nightshift.errors import RunFailedError
from nightshift.ledger import RunRecord
from nightshift.outbox import Notification
from nightshift.store import FileStore
from tests.integration.conftest import Invoke
from tests.integration.example.jobs.conftest import DAY, MICROSECOND, NOW, SECOND
from tests.tables import library

pytestmark = pytest.mark.usefixtures("files")

DUE = NOW - 31 * DAY
FULLY = {"anonymizeContributions": False}
NAMED_LIKE_A_PERSON = {
    *("user_id", "actor_id", "creator_id", "uploader_id", "owner_user_id", "invited_by", "invited_user_id"),
    *("email", "subject_id", "recipient", "recipient_id", "author_id", "owner_id"),
}
MODES = pytest.mark.parametrize("options", [{}, FULLY], ids=["anonymised", "deleted"])


def person(session: Session, email: str = "ann@example.org", **given: Any) -> User:
    new = User(email=email, created_at=NOW - 400 * DAY, **given)
    session.add(new)
    session.flush()
    return new


def request(session: Session, user: User | None, at: dt.datetime = DUE, **given: Any) -> DataRequest:
    new = DataRequest(
        **{
            "user_id": user.id if user else None,
            "subject_ref": f"ref-{user.id if user else uuid.uuid4()}",
            "request_type": "DELETION",
            "requested_at": at,
            **given,
        }
    )
    session.add(new)
    session.flush()
    return new


def counters(result: dict[str, Any]) -> dict[str, int]:
    names = ("requests", "anonymized", "deleted", "already_gone", "blocked", "errors")
    return {name: result["counters"][name] for name in names if result["counters"][name]}


def again(session: Session, *rows: Any) -> None:
    session.rollback()
    for row in rows:
        session.refresh(row)


# What each table becomes.


def test_every_column_that_tells_who_somebody_is_has_a_rule() -> None:
    """A new table with a reference to a user fails here until `application.erasure` says what becomes of it."""
    users = metadata().tables["users"]
    telling = {
        f"{table.name}.{column.name}"
        for table in every_table()
        if not table.info.get("is_view")
        for column in table.columns
        if column.name in NAMED_LIKE_A_PERSON or any(key.column.table is users for key in column.foreign_keys)
    }
    ruled = {f"{rule.table.name}.{rule.column.expression.name}" for rule in RULES} | {
        f"{column.class_.__table__.name}.{column.expression.name}" for column in RULES_OF_THEIR_OWN
    }

    assert telling - ruled == set()
    assert ruled - telling == set()


def every_table() -> list[Table]:
    return [*metadata().tables.values(), *library().tables.values()]


def everything_of(session: Session, ann: User, bob: User) -> None:
    """A row of Ann's in every table that can hold one, with her address and her IP wherever they fit."""
    mail, ip, agent = "Ann@Example.org", "198.51.100.7", "AnnBrowser"
    own, snapshot = (
        Project(title=f"Write to {mail}"),
        YearlySnapshot(
            user_id=ann.id,
            status="FINALIZED",
            calculation_date=NOW,
            gregorian_year=2025,
            hijri_year=1446,
            hijri_month=9,
            hijri_day=1,
            total_wealth_enc="x",
            zakat_amount_enc="x",
            nisab_threshold_enc="x",
            nisab_type="gold",
            asset_breakdown_enc="x",
            methodology="standard",
        ),
    )
    login = UserSession(user_id=ann.id, token_hash=b"s", expires_at=NOW, ip=ip, user_agent=agent)
    key = ApiKey(user_id=ann.id, name=mail, key_prefix="k", key_hash=b"k")
    goal = Goal(user_id=ann.id, title=f"Mail {mail}")
    session.add_all([own, snapshot, login, key, goal])
    session.flush()
    at = dict.fromkeys(("scheduled_for", "created_at"), NOW)
    session.add_all(
        [
            UserPreferences(user_id=ann.id),
            AuthToken(kind="refresh", user_id=ann.id, session_id=login.id, token_hash=b"t", expires_at=NOW),
            LoginAttempt(user_id=ann.id, email=mail, success=True, ip=ip, user_agent=agent),
            LoginAttempt(email=mail, success=False, ip=ip),
            Certificate(kind="tls", label=f"signing key of {mail}", owner_user_id=ann.id, expires_at=NOW),
            Collaborator(project_id=own.id, user_id=ann.id, role="CREATOR"),
            Collaborator(project_id=own.id, user_id=bob.id, role="CONTRIBUTOR"),
            Upvote(user_id=ann.id, project_id=own.id),
            Idea(creator_id=ann.id, title=f"Write to {mail}", description=f"<{mail}>, please"),
            Invitation(kind="project", email=mail, invited_by=bob.id),
            Invitation(kind="project", email="eve@example.org", invited_by=ann.id),
            PushToken(user_id=ann.id, token="p", platform="ios"),
            ConsentRecord(user_id=ann.id, consent_type="mail", granted=True, ip=ip, user_agent=agent),
            request(session, ann, request_type="EXPORT", options={"email": mail, "deliver": f"to {mail}"}),
            Upload(storage_key="a.png", filename=f"{mail}.png", uploader_id=ann.id),
            PaymentRecord(
                user_id=ann.id,
                snapshot_id=snapshot.id,
                amount_enc="x",
                recipient_name_enc="x",
                recipient_type="person",
                recipient_category="fakir",
                payment_date=NOW,
                payment_method="cash",
                currency="USD",
            ),
            CachedMetric(user_id=ann.id, metric_type="m", start_date=NOW, end_date=NOW, value_enc="x", expires_at=NOW),
            ReminderEvent(
                user_id=ann.id,
                event_type="calculation_overdue",
                trigger_at=NOW,
                title=mail,
                message=mail,
                priority="low",
                dedupe_key="r",
            ),
            AnnualSummary(
                user_id=ann.id,
                snapshot_id=snapshot.id,
                gregorian_year=2025,
                hijri_year=1446,
                number_of_payments=0,
                counts_by_type={},
                counts_by_category={},
                payment_status="paid",
                methodology="standard",
                source_activity_at=NOW,
                content_hash="x",
            ),
            TimerSession(user_id=ann.id, goal_id=goal.id, status="completed", started_at=NOW),
            UserActivityDay(user_id=ann.id, day=NOW.date()),
            FeatureEvent(user_id=ann.id, feature="search"),
            Notification(
                recipient=str(ann.id),
                channel="email",
                kind="k",
                title=mail,
                body=mail,
                data={"to": mail},
                dedupe_key="1",
                **at,
            ),
            Notification(
                recipient=str(bob.id),
                channel="email",
                kind="k",
                title=f"{mail} joined",
                body=f"hello {mail}.",
                data={"who": [mail]},
                dedupe_key="2",
                **at,
            ),
            AuditLog(
                occurred_at=NOW,
                actor_id=ann.id,
                session_id=login.id,
                action="auth.login",
                ip=ip,
                country="DE",
                user_agent=agent,
                resource_id=f"user {mail}",
                metadata_={"ip_address": ip, "list": [{"email": mail, "n": 1}], mail: 1, "text": f"by {mail}"},
                changes={"old": {"name": "Ann"}, "n": 2},
            ),
            AuditLog(
                occurred_at=NOW, actor_type="api_key", api_key_id=key.id, action="api.request", ip=ip, user_agent=agent
            ),
            AuditLog(occurred_at=NOW, session_id=login.id, action="auth.mfa", ip=ip, user_agent=agent),
            AuditLog(
                occurred_at=NOW,
                actor_id=bob.id,
                action="user.invite",
                ip="203.0.113.9",
                resource_id="ann@example.org",
                metadata_={"to": [mail, f"ann@example.org.uk, jo-{mail}"], "who": f"a\n{mail}.", mail: 1},
            ),
        ]
    )
    session.flush()


def occurrences(engine: Engine, needle: str) -> dict[str, int]:
    """In how many rows of which column of any table a text stands, in any case."""
    found = {}
    with engine.connect() as connection:
        for table in every_table():
            for column in () if table.info.get("is_view") else table.columns:
                rows = select(func.count()).where(func.strpos(func.lower(cast(column, Text)), needle) > 0)
                if number := connection.scalar(rows):
                    found[f"{table.name}.{column.name}"] = number
    return found


@MODES
def test_neither_address_nor_ip_is_left_in_any_column(
    invoke_job: Invoke, session: Session, database: Engine, options: dict[str, Any]
) -> None:
    ann = person(session, avatar_url="https://cdn.example.net/uploads/a.png", bio="ann@example.org")
    bob = person(session, "bob@b.org")
    everything_of(session, ann, bob)
    request(session, ann, options=options | {"email": "ann@example.org"})
    session.commit()
    assert len(occurrences(database, "ann@example.org")) > 15
    assert len(occurrences(database, "198.51.100.7")) >= 5

    result = invoke_job(job, at=NOW)

    assert counters(result) == {"requests": 1, "deleted" if options else "anonymized": 1}
    # What is left are longer addresses of other people, in a row of Bob's.
    assert occurrences(database, "ann@example.org") == {"audit_logs.metadata": 1}
    assert occurrences(database, "198.51.100.7") == {}
    assert occurrences(database, "annbrowser") == {}


LEFT = {
    "anonymised": {
        *("users", "projects", "collaborators", "upvotes", "ideas", "uploads", "certificates", "feature_events"),
        *("invitations", "data_requests", "audit_logs", "notifications", "erasure_ledger"),
    },
    "deleted": {
        *("users", "projects", "collaborators", "uploads", "certificates", "feature_events"),
        *("invitations", "data_requests", "audit_logs", "notifications", "erasure_ledger"),
    },
}


def filled(session: Session) -> set[str]:
    """The tables that are not empty."""
    tables = [table for table in every_table() if not table.info.get("is_view")]
    return {table.name for table in tables if session.scalar(select(func.count()).select_from(table))}


@pytest.mark.parametrize(("options", "mode"), [({}, "anonymised"), (FULLY, "deleted")], ids=["anonymised", "deleted"])
def test_what_is_left_in_which_table(
    invoke_job: Invoke, session: Session, database: Engine, options: dict[str, Any], mode: str
) -> None:
    before = filled(session)
    ann, bob = person(session), person(session, "bob@b.org")
    everything_of(session, ann, bob)
    request(session, ann, options=options)
    session.commit()
    assert {rule.table.name for rule in RULES} <= filled(session), "add a row of Ann's to everything_of"
    ann_id = str(ann.id)

    planned: Counter[str] = Counter()
    for step in invoke_job(job, {"dry_run": True}, at=NOW)["plan"]["steps"]:
        planned[step["table"]] += step["rows"] if step["action"] == "delete" else 0
        planned.update({each["table"]: each["rows"] for each in step.get("cascades", ()) if each["action"] == "delete"})
    deleted = invoke_job(job, at=NOW)["counters"]

    # What goes was planned, table by table. What a rule and a cascade both reach is counted by both.
    own = {name for name in planned if name.startswith(("nightshift.", "exports/"))}
    gone = {name.removeprefix("deleted in "): rows for name, rows in deleted.items() if name.startswith("deleted in ")}
    assert gone.keys() == (+planned).keys() - own
    assert {name: planned[name] - rows for name, rows in gone.items() if planned[name] != rows} == {
        "annual_summaries": 1,
        "payment_records": 1,
    }
    ledger = {"jobs", "runs", "attempts", "quarantine"}
    assert filled(session) - before - ledger == LEFT[mode]
    left = {name for name in occurrences(database, ann_id) if name != "erasure_ledger.subject_ref"}
    assert left == (
        {"data_requests.subject_ref"}
        if options
        else {
            *("users.id", "users.email", "data_requests.user_id", "data_requests.subject_ref"),
            *("collaborators.user_id", "upvotes.user_id", "ideas.creator_id", "uploads.uploader_id"),
            *("certificates.owner_user_id", "invitations.invited_by"),
        }
    )


def test_an_anonymised_account_keeps_nothing_personal(invoke_job: Invoke, session: Session) -> None:
    ann = person(
        session,
        name="Ann",
        bio="b",
        avatar_url="/uploads/a",
        password_hash="h",
        locked_reason="r",
        last_login_at=NOW,
        last_activity_at=NOW,
        last_known_country="DE",
        show_email_on_profile=True,
        karma=5,
    )
    request(session, ann)
    session.commit()

    invoke_job(job, at=NOW)

    again(session, ann)
    assert (ann.email, ann.name) == (f"deleted-{ann.id}@deleted.invalid", "[Deleted User]")
    assert (ann.anonymized_at, ann.deleted_at, ann.is_active, ann.karma) == (NOW, NOW, False, 5)
    assert (ann.show_email_on_profile, ann.include_in_search, ann.show_activity_publicly) == (False,) * 3
    empty = ("bio", "avatar_url", "password_hash", "locked_reason", "last_login_at", "last_activity_at")
    assert [getattr(ann, name) for name in (*empty, "last_known_country")] == [None] * 7


@MODES
def test_audit_rows_say_what_happened_and_not_who(
    invoke_job: Invoke, session: Session, options: dict[str, Any]
) -> None:
    ann, bob = person(session), person(session, "bob@b.org")
    everything_of(session, ann, bob)
    request(session, ann, options=options)
    session.commit()

    invoke_job(job, at=NOW)

    rows = {row.action: row for row in session.scalars(select(AuditLog))}
    own, by_key, others = rows["auth.login"], rows["api.request"], rows["user.invite"]
    assert (own.actor_id, own.session_id, own.ip, own.user_agent, own.anonymized_at) == (None,) * 5
    assert (own.country, own.resource_id) == ("DE", "user [email]")
    assert (own.metadata_, own.changes) == ({"list": [{"n": 1}], "text": "by [email]"}, {"old": {}, "n": 2})
    assert (by_key.ip, by_key.user_agent) == (None, None)
    assert (rows["auth.mfa"].session_id, rows["auth.mfa"].ip, rows["auth.mfa"].user_agent) == (None,) * 3
    assert (others.actor_id, str(others.ip), others.resource_id) == (bob.id, "203.0.113.9", "[email]")
    assert others.metadata_ == {"to": ["[email]", "ann@example.org.uk, jo-Ann@Example.org"], "who": "a\n[email]."}


@pytest.mark.parametrize(
    ("value", "masked"),
    [
        ("ann@example.org", "[email]"),
        ("ANN@EXAMPLE.ORG, <Ann@example.org>; mailto:ann@example.org?x", "[email], <[email]>; mailto:[email]?x"),
        ("Ask ann@example.org. Or x=ann@example.org&y", "Ask [email]. Or x=[email]&y"),
        ("joann@example.org jo.ann@example.org jo+ann@example.org", None),
        ("ann@example.org.uk ann@example.organic ann@example.org-x", None),
        ("ann@exampleXorg", None),
    ],
)
def test_one_address_is_masked_as_a_whole(session: Session, value: str, masked: str | None) -> None:
    assert session.scalar(select(func.nightshift.mask_address(value, "ann@example.org"))) == (masked or value)


# Which requests are taken up.


def test_the_days_of_grace(invoke_job: Invoke, session: Session) -> None:
    just, over = person(session, "just@b.org"), person(session, "over@b.org")
    waits, due = request(session, just, NOW - 30 * DAY), request(session, over, NOW - 30 * DAY - MICROSECOND)
    session.commit()

    assert counters(invoke_job(job, at=NOW)) == {"requests": 1, "anonymized": 1}
    again(session, waits, due, just, over)
    assert (waits.status, due.status, due.completed_at) == ("PENDING", "COMPLETED", NOW)
    assert (just.anonymized_at, over.anonymized_at) == (None, NOW)


@pytest.mark.parametrize(
    ("options", "outcome"),
    [
        ({}, "anonymized"),
        ({"anonymizeContributions": True}, "anonymized"),
        ({"anonymizeContributions": None}, "anonymized"),
        ({"anonymizeContributions": "false"}, "anonymized"),
        ({"anonymizeContributions": 0}, "anonymized"),
        ({"anonymizeContributions": False}, "deleted"),
    ],
)
def test_only_an_explicit_false_deletes_contributions(
    invoke_job: Invoke, session: Session, options: dict[str, Any], outcome: str
) -> None:
    request(session, person(session), options=options)
    session.commit()

    assert counters(invoke_job(job, at=NOW)) == {"requests": 1, outcome: 1}
    assert session.execute(select(ErasureRecord.mode, ErasureRecord.executed_at)).all() == [(outcome, NOW)]


@pytest.mark.parametrize("status", ["CANCELLED", "FAILED", "BLOCKED", "COMPLETED"])
def test_only_pending_requests_count(invoke_job: Invoke, session: Session, status: str) -> None:
    old = request(session, person(session), status=status)
    session.commit()

    assert counters(invoke_job(job, at=NOW)) == {}
    again(session, old)
    assert old.status == status


def test_a_login_during_the_days_of_grace_cancels_nothing(invoke_job: Invoke, session: Session) -> None:
    request(session, person(session, last_login_at=NOW - DAY))
    session.commit()

    assert counters(invoke_job(job, at=NOW)) == {"requests": 1, "anonymized": 1}


def test_somebody_who_is_gone_already_completes_and_is_recorded(invoke_job: Invoke, session: Session) -> None:
    gone = request(session, None, attempts=2, last_error="earlier")
    session.commit()

    assert counters(invoke_job(job, at=NOW)) == {"requests": 1, "already_gone": 1}
    again(session, gone)
    assert (gone.status, gone.completed_at, gone.last_error) == ("COMPLETED", NOW, None)
    record = session.execute(select(ErasureRecord.subject_ref, ErasureRecord.mode)).one()
    assert record == (gone.subject_ref, "deleted")


def test_a_deletion_after_an_anonymisation_is_recorded_as_one(invoke_job: Invoke, session: Session) -> None:
    ann = person(session)
    request(session, ann)
    session.commit()
    invoke_job(job, at=NOW)
    request(session, ann, options=FULLY)
    session.commit()

    invoke_job(job, at=NOW + DAY)

    assert session.execute(select(ErasureRecord.mode, ErasureRecord.executed_at)).all() == [("deleted", NOW + DAY)]


def test_a_recorded_deletion_is_never_taken_back_to_an_anonymisation(session: Session) -> None:
    erasure.record(session, "ref", "deleted", at=NOW)
    erasure.record(session, "ref", "anonymized", at=NOW + DAY)

    assert session.execute(select(ErasureRecord.mode, ErasureRecord.executed_at)).one() == ("deleted", NOW)


def test_the_request_outlives_the_person(invoke_job: Invoke, session: Session) -> None:
    asked = request(session, person(session), options=FULLY, last_error="earlier", attempts=1)
    session.commit()

    invoke_job(job, at=NOW)

    again(session, asked)
    assert (asked.status, asked.user_id, asked.last_error, asked.attempts) == ("COMPLETED", None, None, 1)
    assert session.scalar(select(func.count()).select_from(User)) == 0


@MODES
def test_the_address_is_free_to_register_again(invoke_job: Invoke, session: Session, options: dict[str, Any]) -> None:
    request(session, person(session), options=options)
    session.commit()

    invoke_job(job, at=NOW)

    person(session, "ANN@example.org")
    session.commit()


def test_more_requests_than_the_cap_erase_nobody(invoke_job: Invoke, session: Session) -> None:
    people = [person(session, f"user{number}@example.org") for number in range(3)]
    for one in people:
        request(session, one)
    session.commit()
    with pytest.raises(RunFailedError, match="would anonymize 3 rows of users; max_rows is 2"):
        invoke_job(job, {"parameters": {"max_rows": 2}}, at=NOW)
    session.expire_all()
    assert {one.email for one in people} == {f"user{number}@example.org" for number in range(3)}
    assert counters(invoke_job(job, {"parameters": {"max_rows": 3}, "force": True}, at=NOW))["anonymized"] == 3


def test_a_second_run_does_nothing(invoke_job: Invoke, session: Session) -> None:
    request(session, person(session))
    session.commit()
    invoke_job(job, at=NOW)

    assert counters(invoke_job(job, at=NOW + DAY)) == {}
    assert session.scalar(select(func.count()).where(AuditLog.action == "job.finalize-deletions")) == 1


# What stands in the way.


def test_a_legal_hold_blocks_and_alerts(invoke_job: Invoke, session: Session, files: FileStore) -> None:
    ann = person(session)
    session.add(AuditLog(actor_id=ann.id, action="auth.login", legal_hold=True, metadata_={"email": ann.email}))
    asked, export = request(session, ann), request(session, ann, request_type="EXPORT")
    session.commit()
    files.write(f"exports/{export.id}/data.zip", b"x", content_type="application/zip")

    assert counters(invoke_job(job, at=NOW)) == {"requests": 1, "blocked": 1}

    again(session, ann, asked, export)
    assert (asked.status, asked.completed_at, ann.anonymized_at) == ("BLOCKED", None, None)
    assert asked.last_error is not None
    alert = session.scalars(select(Alert)).one()
    assert (alert.rule, alert.severity) == ("erasure-blocked", "high")
    assert alert.details["request_id"] == str(asked.id)
    assert "ann@" not in str(alert.details)
    assert export.status == "PENDING"
    assert files.exists(f"exports/{export.id}/data.zip")
    assert counters(invoke_job(job, at=NOW + DAY)) == {}


def test_a_hold_on_another_persons_row_blocks_nobody_and_is_left_as_it_is(invoke_job: Invoke, session: Session) -> None:
    bob = person(session, "bob@b.org")
    held = AuditLog(actor_id=bob.id, action="held", legal_hold=True, metadata_={"to": "ann@example.org"})
    ann = person(session)
    login = UserSession(user_id=ann.id, token_hash=b"s", expires_at=NOW)
    session.add_all([held, login])
    session.flush()
    of_hers = AuditLog(session_id=login.id, action="held as well", legal_hold=True, ip="198.51.100.7")
    session.add(of_hers)
    request(session, ann)
    session.commit()
    login_id = login.id

    assert counters(invoke_job(job, at=NOW)) == {"requests": 1, "anonymized": 1}
    again(session, held, of_hers)
    assert held.metadata_ == {"to": "ann@example.org"}
    assert (of_hers.session_id, str(of_hers.ip)) == (login_id, "198.51.100.7")


def test_of_two_super_admins_the_second_to_ask_is_blocked(invoke_job: Invoke, session: Session) -> None:
    first, second = (person(session, f"{name}@b.org", role="super_admin") for name in ("a", "b"))
    person(session, "idle@b.org", role="super_admin", is_active=False)
    person(session, "gone@b.org", role="super_admin", deleted_at=NOW)
    person(session, "hidden@b.org", role="super_admin", anonymized_at=NOW)
    later = request(session, first, DUE + SECOND, id=uuid.UUID(int=1))
    earlier = request(session, second, DUE, id=uuid.UUID(int=2))
    session.commit()

    assert counters(invoke_job(job, at=NOW)) == {"requests": 2, "anonymized": 1, "blocked": 1}
    again(session, later, earlier)
    assert (earlier.status, later.status) == ("COMPLETED", "BLOCKED")


# Projects.


def collaborators(session: Session, project: Project) -> dict[uuid.UUID, str]:
    rows = select(Collaborator.user_id, Collaborator.role).where(Collaborator.project_id == project.id)
    return dict(session.execute(rows).all())


def project_with(session: Session, *people: tuple[User, str, dt.datetime]) -> Project:
    new = Project(title="P")
    session.add(new)
    session.flush()
    session.add_all([Collaborator(project_id=new.id, user_id=u.id, role=role, created_at=at) for u, role, at in people])
    session.flush()
    return new


def test_the_oldest_contributor_inherits_before_any_adviser(invoke_job: Invoke, session: Session) -> None:
    ann, bob, cat, dan, off = (person(session, f"{name}@b.org") for name in ("ann", "bob", "cat", "dan", "off"))
    off.is_active = False
    gone = person(session, "gone@b.org", anonymized_at=NOW)
    left = person(session, "left@b.org", deleted_at=NOW)
    project = project_with(
        session,
        (ann, "CREATOR", NOW - 9 * DAY),
        (dan, "ADVISOR", NOW - 8 * DAY),
        (off, "CONTRIBUTOR", NOW - 8 * DAY),
        (gone, "CONTRIBUTOR", NOW - 8 * DAY),
        (left, "CONTRIBUTOR", NOW - 8 * DAY),
        (bob, "CONTRIBUTOR", NOW - 6 * DAY),
        (cat, "CONTRIBUTOR", NOW - 7 * DAY),
    )
    request(session, ann, options=FULLY)
    session.commit()

    invoke_job(job, at=NOW)

    passed_over = dict.fromkeys((off.id, gone.id, left.id, bob.id), "CONTRIBUTOR")
    assert collaborators(session, project) == passed_over | {dan.id: "ADVISOR", cat.id: "CREATOR"}


def test_ties_go_by_user_and_an_adviser_inherits_where_nobody_contributed(invoke_job: Invoke, session: Session) -> None:
    ann, bob, cat = (person(session, f"{name}@b.org") for name in ("ann", "bob", "cat"))
    project = project_with(session, (ann, "CREATOR", NOW), (bob, "ADVISOR", NOW), (cat, "ADVISOR", NOW))
    request(session, ann, options=FULLY)
    session.commit()

    invoke_job(job, at=NOW)

    heir, other = sorted((bob.id, cat.id), key=str)
    assert collaborators(session, project) == {heir: "CREATOR", other: "ADVISOR"}


def test_projects_with_another_creator_stay_and_those_with_nobody_go(invoke_job: Invoke, session: Session) -> None:
    ann, bob = person(session), person(session, "bob@b.org")
    shared = project_with(session, (ann, "CREATOR", NOW), (bob, "CREATOR", NOW))
    helped = project_with(session, (bob, "CREATOR", NOW), (ann, "CONTRIBUTOR", NOW))
    project_with(session, (ann, "CREATOR", NOW))
    request(session, ann, options=FULLY)
    session.commit()

    invoke_job(job, at=NOW)

    assert collaborators(session, shared) == collaborators(session, helped) == {bob.id: "CREATOR"}
    assert set(session.scalars(select(Project.id))) == {shared.id, helped.id}


def test_a_project_is_not_deleted_over_people_who_cannot_inherit_it(invoke_job: Invoke, session: Session) -> None:
    """An account that is locked today may be back tomorrow, and who was anonymised chose that the work should stay."""
    ann, idle = person(session), person(session, "idle@b.org", is_active=False)
    gone, bob = person(session, "gone@b.org", anonymized_at=NOW), person(session, "bob@b.org")
    with_idle = project_with(session, (ann, "CREATOR", NOW), (idle, "CONTRIBUTOR", NOW))
    with_gone = project_with(session, (ann, "CREATOR", NOW), (gone, "CREATOR", NOW))
    with_bob = project_with(session, (ann, "CREATOR", NOW), (gone, "CREATOR", NOW), (bob, "ADVISOR", NOW))
    projects = {project.id for project in (with_idle, with_gone, with_bob)}
    request(session, ann, options=FULLY)
    session.commit()

    invoke_job(job, at=NOW)

    assert set(session.scalars(select(Project.id))) == projects
    assert collaborators(session, with_idle) == {idle.id: "CONTRIBUTOR"}
    assert collaborators(session, with_gone) == {gone.id: "CREATOR"}
    assert collaborators(session, with_bob) == {gone.id: "CREATOR", bob.id: "CREATOR"}


def test_an_anonymised_creator_keeps_the_project(invoke_job: Invoke, session: Session) -> None:
    ann, bob = person(session), person(session, "bob@b.org")
    project = project_with(session, (ann, "CREATOR", NOW), (bob, "CONTRIBUTOR", NOW))
    session.add(Upvote(user_id=ann.id, project_id=project.id))
    request(session, ann)
    session.commit()

    invoke_job(job, at=NOW)

    assert collaborators(session, project) == {ann.id: "CREATOR", bob.id: "CONTRIBUTOR"}
    assert session.scalar(select(func.count()).select_from(Upvote)) == 1


# Other people's rows that quote the person's address.

LONG_AGO = NOW - 400 * DAY


def quoting(session: Session, address: str, at: dt.datetime = LONG_AGO, **given: Any) -> AuditLog:
    row = AuditLog(occurred_at=at, action="user.invite", metadata_={"to": address}, **given)
    session.add(row)
    session.flush()
    return row


def masked(session: Session) -> int:
    session.rollback()
    return session.scalar(select(func.count()).where(AuditLog.metadata_["to"].astext == "[email]")) or 0


PEOPLE = ("ann@example.org", "Joann@Example.org", "x@b.io", "o'brien+1@b.org", "müller@b.org", '"j \\ d"@b.org')


@pytest.mark.parametrize("rows_listed", [quotes.MOST_LISTED, 1], ids=["listed", "too many to list"])
@pytest.mark.parametrize("at_once", [500, 1], ids=["in one look", "one by one"])
def test_quotes_of_everybody_are_masked_however_they_are_found(
    invoke_job: Invoke, session: Session, monkeypatch: pytest.MonkeyPatch, rows_listed: int, at_once: int
) -> None:
    monkeypatch.setattr(quotes, "MOST_LISTED", rows_listed)
    monkeypatch.setattr(finalize_deletions, "REQUESTS_AT_ONCE", at_once)
    for address in PEOPLE:
        local, domain = address.split("@")
        request(session, person(session, address))
        session.add_all(
            [
                AuditLog(occurred_at=LONG_AGO, action="id", resource_id=f"<{local}@{domain.upper()}>"),
                AuditLog(occurred_at=LONG_AGO, action="metadata", metadata_={"deep": [f"\n{address}", "no@b.org"]}),
                AuditLog(occurred_at=LONG_AGO, action="changes", changes={address: 1, "kept": 2}),
                AuditLog(occurred_at=LONG_AGO, action="nobody", resource_id=f"x{address}", changes={"@": "@b.org"}),
                Notification(
                    channel="ops",
                    kind="k",
                    title=address,
                    body="",
                    data={"a": [address]},
                    dedupe_key=address,
                    scheduled_for=NOW,
                    created_at=LONG_AGO,
                ),
            ]
        )
    session.commit()

    assert counters(invoke_job(job, at=NOW)) == {"requests": len(PEOPLE), "anonymized": len(PEOPLE)}

    rows = session.execute(select(AuditLog.action, AuditLog.resource_id, AuditLog.metadata_, AuditLog.changes))
    found = [tuple(row) for row in rows if not row.action.startswith("job.")]
    left = [row for row in found if row[0] == "nobody"]
    assert {str(row) for row in found if row not in left} == {
        str(("id", "<[email]>", {}, None)),
        str(("metadata", None, {"deep": ["\n[email]", "no@b.org"]}, None)),
        str(("changes", None, {}, {"kept": 2})),
    }
    assert sorted(str(row[1]) for row in left) == sorted(f"x{address}" for address in PEOPLE)
    notices = session.execute(select(Notification.title, Notification.data).distinct()).all()
    assert notices == [("[email]", {"a": ["[email]"]})]


def test_a_quote_that_is_written_during_the_run_is_masked(
    invoke_job: Invoke, session: Session, database: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """GIVEN that the look for addresses is over WHEN a row quotes one before its turn THEN it is masked as well."""
    ann = person(session)
    request(session, ann)
    session.commit()

    def quote_first(*arguments: Any) -> Any:
        with Session(database) as application, application.begin():
            quoting(application, ann.email, NOW - dt.timedelta(hours=3))
        return settle(*arguments)

    monkeypatch.setattr(finalize_deletions, "settle", quote_first)

    assert counters(invoke_job(job, at=NOW)) == {"requests": 1, "anonymized": 1}
    assert masked(session) == 1


def test_an_address_that_is_changed_during_the_run_is_looked_for_anew(
    invoke_job: Invoke, session: Session, database: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    ann = person(session, "old@example.org")
    request(session, ann)
    quoting(session, "new@example.org")
    session.commit()

    def rename_first(*arguments: Any) -> None:
        with database.begin() as application:
            application.execute(update(User).where(User.id == ann.id).values(email="new@example.org"))
        delete_exports(*arguments)

    monkeypatch.setattr(finalize_deletions, "delete_exports", rename_first)

    assert counters(invoke_job(job, at=NOW)) == {"requests": 1, "anonymized": 1}
    assert masked(session) == 1


def test_a_hold_that_ends_during_the_run_no_longer_protects(
    invoke_job: Invoke, session: Session, database: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    ann = person(session)
    request(session, ann)
    quoting(session, ann.email, legal_hold=True)
    session.commit()

    def release_first(*arguments: Any) -> None:
        with database.begin() as counsel:
            counsel.execute(select(func.set_config("nightshift.run_id", "test", True)))
            counsel.execute(update(AuditLog).values(legal_hold=False))
        delete_exports(*arguments)

    monkeypatch.setattr(finalize_deletions, "delete_exports", release_first)

    assert counters(invoke_job(job, at=NOW)) == {"requests": 1, "anonymized": 1}
    assert masked(session) == 1


def test_a_failed_request_leaves_the_quotes_of_that_person_alone(invoke_job: Invoke, session: Session) -> None:
    ann, bob = person(session), person(session, "bob@b.org")
    for user in (ann, bob):
        request(session, user)
        quoting(session, user.email)
    break_erasure_of(session, bob)
    session.commit()

    assert counters(invoke_job(job, at=NOW)) == {"requests": 2, "anonymized": 1, "errors": 1}
    assert set(session.scalars(select(AuditLog.metadata_["to"].astext).where(AuditLog.action == "user.invite"))) == {
        "[email]",
        "bob@b.org",
    }


def test_a_run_that_is_cut_off_after_each_request_masks_all_quotes(
    invoke_job: Invoke, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("ann", "bob", "eve"):
        request(session, person(session, f"{name}@b.org"))
        quoting(session, f"{name}@b.org")
    session.commit()
    monkeypatch.setattr(Deadline, "near", True)

    result = invoke_job(job, at=NOW)
    while result["outcome"] == "interrupted":
        result = invoke_job(job, {"run_id": result["run_id"]})

    assert counters(result) == {"requests": 3, "anonymized": 3}
    assert masked(session) == 3


@MODES
def test_the_audit_log_is_read_as_a_whole_once_however_many_ask(
    invoke_job: Invoke, session: Session, database: Engine, options: dict[str, Any]
) -> None:
    """Of all statements of a run, only the look for the addresses cannot do without reading the whole log."""
    for number in range(4):
        request(session, person(session, f"p{number}@b.org"), options=options)
        quoting(session, f"p{number}@b.org")
    session.commit()
    sent: list[tuple[str, Any]] = []
    listener = (Engine, "before_cursor_execute", lambda *given: sent.append((given[2], given[3])))
    event.listen(*listener)
    try:
        assert counters(invoke_job(job, at=NOW))["requests"] == 4
    finally:
        event.remove(*listener)

    whole = []
    with database.connect() as connection:
        connection.execute(text("set enable_seqscan = off"))
        for statement, parameters in sent:
            if statement.startswith(("SELECT", "UPDATE", "DELETE", "INSERT")):
                plan = connection.exec_driver_sql(f"explain {statement}", parameters).scalars().all()
                whole += [statement for line in plan if "Seq Scan on audit_logs" in line]
                whole += [statement for line in plan if "Seq Scan on notifications" in line]
    assert len(sent) > 100
    assert [statement[:14] for statement in whole] == ["SELECT address"] * 2  # one for each table


# Exports.


@MODES
def test_pending_exports_are_cancelled_and_the_files_of_all_exports_go(
    invoke_job: Invoke, session: Session, files: FileStore, options: dict[str, Any]
) -> None:
    ann, bob = person(session), person(session, "bob@b.org")
    pending, ready, others = (
        request(session, user, request_type="EXPORT", status=status)
        for user, status in ((ann, "PENDING"), (ann, "COMPLETED"), (bob, "PENDING"))
    )
    request(session, ann, options=options)
    session.commit()
    for export in (pending, ready, others):
        for part in ("1.zip", "2.zip"):
            files.write(f"exports/{export.id}/{part}", b"x", content_type="application/zip")

    invoke_job(job, at=NOW)

    again(session, pending, ready, others)
    assert [export.status for export in (pending, ready, others)] == ["CANCELLED", "COMPLETED", "PENDING"]
    left = [found.key for page in files.pages("exports/") for found in page]
    assert left == [f"exports/{others.id}/1.zip", f"exports/{others.id}/2.zip"]


@MODES
@pytest.mark.parametrize("prefix", ["", "live/"])
def test_no_version_of_an_export_outlives_the_person(
    invoke_job: Invoke,
    session: Session,
    files: FileStore,
    options: dict[str, Any],
    prefix: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # GIVEN a bucket that keeps old versions, as the deployment's own does, or the application's, below a prefix
    client = boto3.client("s3")
    client.put_bucket_versioning(Bucket=files.bucket, VersioningConfiguration={"Status": "Enabled"})
    monkeypatch.setenv(FILES_PREFIX_VARIABLE, prefix)
    store = FileStore(files.bucket, prefix)
    ann, bob = person(session), person(session, "bob@b.org")
    hers, his = (request(session, user, request_type="EXPORT", status="COMPLETED") for user in (ann, bob))
    request(session, ann, options=options)
    session.commit()
    # AND exports of two people there, written twice; one was deleted by somebody else since
    for export in (hers, his):
        for part in ("1.zip", "2.zip", "1.zip"):
            store.write(f"exports/{export.id}/{part}", b"x", content_type="application/zip")
        store.delete(f"exports/{export.id}/2.zip")

    # WHEN the one person is erased
    assert counters(invoke_job(job, at=NOW))["requests"] == 1

    # THEN no version of hers is left, current or old, and no marker that tells of one; and his are what they were
    left = client.list_object_versions(Bucket=files.bucket)
    found = Counter(each["Key"] for each in (*left["Versions"], *left["DeleteMarkers"]))
    assert found == {f"{prefix}exports/{his.id}/1.zip": 2, f"{prefix}exports/{his.id}/2.zip": 2}


def test_a_person_whose_files_cannot_be_deleted_is_tried_again(
    invoke_job: Invoke, session: Session, files: FileStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    ann, bob = person(session), person(session, "bob@b.org")
    request(session, ann, request_type="EXPORT")
    asked, without_files = request(session, ann), request(session, bob)
    session.commit()

    with monkeypatch.context() as store:
        store.setenv(FILES_VARIABLE, "no-such-bucket")
        result = invoke_job(job, at=NOW)

    assert counters(result) == {"requests": 2, "anonymized": 1, "errors": 1}
    assert (result["outcome"], result["counters"]["quarantined"]) == ("succeeded", 1)
    again(session, ann, asked, without_files)
    assert (asked.status, asked.attempts, ann.anonymized_at) == ("PENDING", 1, None)
    assert "NoSuchBucket" in str(asked.last_error)
    assert without_files.status == "COMPLETED"

    assert counters(invoke_job(job, at=NOW + DAY)) == {"requests": 1, "anonymized": 1}


def test_a_zombie_deletes_no_files(
    invoke_job: Invoke, session: Session, files: FileStore, database: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither before its first request nor between two."""
    people = [person(session), person(session, "bob@b.org")]
    exports = [request(session, each, request_type="EXPORT") for each in people]
    for number, each in enumerate(people):
        request(session, each, DUE + number * SECOND)
    session.commit()
    for export in exports:
        files.write(f"exports/{export.id}/1.zip", b"x", content_type="application/zip")

    def run_taken_over_after(name: str, at: dt.datetime) -> int:
        """How many files are left by a run that is taken over once the function has been called."""
        original = getattr(finalize_deletions, name)

        def then_taken_over(*given: Any) -> Any:
            result = original(*given)
            with database.begin() as other:
                other.execute(update(RunRecord).values(epoch=RunRecord.epoch + 1))
            return result

        with monkeypatch.context() as zombie:
            zombie.setattr(finalize_deletions, name, then_taken_over)
            assert invoke_job(job, at=at)["outcome"] == "running"
        with database.begin() as other:
            other.execute(
                update(RunRecord).values(state="cancelled", lease_until=None, finished_at=RunRecord.created_at)
            )
        return sum(len(page) for page in files.pages("exports/"))

    assert run_taken_over_after("look_for_quotes", NOW) == 2
    assert run_taken_over_after("finalize_one", NOW + DAY) == 1


# Failures.


def break_erasure_of(session: Session, user: User, code: str = "P0001") -> None:
    """Make the last statement of the erasure fail, with a message that names the person."""
    session.execute(
        text(
            "create function refuse() returns trigger language plpgsql as"
            f" $$ begin if old.id = '{user.id}' then raise 'no: %', old.email using errcode = '{code}'; end if;"
            " return new; end $$"
        )
    )
    session.execute(text("create trigger refuse before update on users for each row execute function refuse()"))


@pytest.mark.parametrize("code", ["P0001", "57014"])
def test_a_failure_rolls_back_that_person_only(invoke_job: Invoke, session: Session, code: str) -> None:
    ann, bob, eve = person(session), person(session, "bob@b.org"), person(session, "eve@b.org")
    for number, user in enumerate((ann, bob, eve)):
        session.add(PushToken(user_id=user.id, token=user.email, platform="ios"))
        request(session, user, DUE + number * SECOND)
    break_erasure_of(session, bob, code)
    session.commit()

    result = invoke_job(job, at=NOW)

    assert counters(result) == {"requests": 3, "anonymized": 2, "errors": 1}
    assert session.scalars(select(PushToken.user_id)).all() == [bob.id]
    again(session, ann, bob, eve)
    assert [user.anonymized_at for user in (ann, bob, eve)] == [NOW, None, NOW]
    failed = session.scalars(select(DataRequest).where(DataRequest.user_id == bob.id)).one()
    assert (failed.status, failed.attempts, failed.completed_at) == ("PENDING", 1, None)
    assert code in str(failed.last_error)
    assert "bob@" not in f"{failed.last_error} {result['errors']}"
    assert session.scalar(select(func.count()).select_from(ErasureRecord)) == 2


def test_an_account_is_nobody_elses_while_it_is_erased(
    invoke_job: Invoke, session: Session, database: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever could change the address now would leave the quotes of the new one."""
    ann = person(session)
    request(session, ann)
    session.commit()
    refused: list[str | None] = []

    def meanwhile(*given: Any, **more: Any) -> None:
        with database.connect() as application:
            application.exec_driver_sql("set lock_timeout to '20ms'")
            with pytest.raises(DBAPIError) as error:
                application.execute(update(User).values(email="new@example.org"))
        refused.append(sqlstate(error.value))
        erase(*given, **more)

    monkeypatch.setattr(_deletion_requests, "erase", meanwhile)
    assert counters(invoke_job(job, at=NOW)) == {"requests": 1, "anonymized": 1}
    assert refused == ["55P03"]


def test_what_code_did_not_expect_is_the_requests_failure_and_quotes_nobody(
    invoke_job: Invoke, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = request(session, person(session))
    session.commit()

    def stumble(*_: Any, **__: Any) -> None:
        raise ValueError("ann@example.org is odd")

    monkeypatch.setattr(_deletion_requests, "erase", stumble)
    result = invoke_job(job, at=NOW)
    again(session, asked)
    assert (asked.last_error, asked.attempts, "ann@" in str(result["errors"])) == ("ValueError", 1, False)


def test_running_out_of_time_is_no_failure_of_the_request(invoke_job: Invoke, session: Session) -> None:
    ann = person(session)
    asked = request(session, ann)
    refusal = "begin perform pg_cancel_backend(pg_backend_pid()), pg_sleep(5); end"
    session.execute(text(f"create function refuse() returns trigger language plpgsql as $$ {refusal} $$"))
    session.execute(text("create trigger refuse before update on users for each row execute function refuse()"))
    session.commit()

    with pytest.raises(RunFailedError, match="57014"):
        invoke_job(job, at=NOW)

    again(session, ann, asked)
    assert (asked.status, asked.attempts, asked.last_error, ann.anonymized_at) == ("PENDING", 0, None, None)


@pytest.mark.parametrize("how", ["the server says so", "without a word"])
def test_a_lost_connection_is_no_failure_of_the_request(
    invoke_job: Invoke, session: Session, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    ann = person(session)
    asked = request(session, ann)
    session.commit()
    lost = []

    def lose_it_once(its: Session, *given: Any) -> Any:
        outcome = settle(its, *given)
        lost.append(how)
        if len(lost) > 1:
            return outcome
        if how == "without a word":
            driver: Any = its.connection().connection.dbapi_connection
            driver._usock.shutdown(socket.SHUT_RDWR)
        its.execute(text("select pg_terminate_backend(pg_backend_pid())"))
        return outcome

    monkeypatch.setattr(finalize_deletions, "settle", lose_it_once)

    result = invoke_job(job, at=NOW)

    assert (result["outcome"], counters(result), len(lost)) == ("succeeded", {"requests": 1, "anonymized": 1}, 2)
    again(session, ann, asked)
    assert (asked.status, asked.attempts, asked.last_error, ann.anonymized_at) == ("COMPLETED", 0, None, NOW)


def test_an_error_that_the_database_did_not_send_is_no_failure_of_the_request(
    invoke_job: Invoke, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    ann = person(session)
    asked = request(session, ann)
    session.commit()
    monkeypatch.setattr(finalize_deletions, "settle", Mock(side_effect=DBAPIError("select", {}, TimeoutError())))

    with pytest.raises(RunFailedError):
        invoke_job(job, at=NOW)

    again(session, ann, asked)
    assert (asked.status, asked.attempts, asked.last_error, ann.anonymized_at) == ("PENDING", 0, None, None)


def test_a_request_of_a_time_that_python_cannot_hold_is_due_as_the_database_says(
    invoke_job: Invoke, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(finalize_deletions, "REQUESTS_AT_ONCE", 1)
    times = ("'-infinity'", "'0044-03-15 BC'", "'2020-01-01Z'", "'20260-01-01Z'", "'infinity'")
    asked = [request(session, person(session, f"{number}@example.org"), text(at)) for number, at in enumerate(times)]  # type: ignore[arg-type]
    session.commit()

    result = invoke_job(job, at=NOW)

    assert counters(result) == {"requests": 3, "anonymized": 3}
    statuses = session.execute(select(DataRequest.id, DataRequest.status)).all()
    assert [dict(statuses)[each.id] for each in asked] == [*3 * ["COMPLETED"], *2 * ["PENDING"]]


def test_the_fifth_failure_is_final_and_alerts(invoke_job: Invoke, session: Session) -> None:
    ann = person(session)
    asked = request(session, ann)
    break_erasure_of(session, ann)
    session.commit()

    statuses = []
    for night in range(6):
        invoke_job(job, at=NOW + night * DAY)
        again(session, asked)
        statuses.append((asked.status, asked.attempts))

    assert statuses == [*(("PENDING", tries) for tries in range(1, 5)), ("FAILED", 5), ("FAILED", 5)]
    assert session.scalars(select(Alert.rule)).all() == ["erasure-failed"]


def test_a_request_taken_back_while_the_run_is_at_it_is_left_alone(
    invoke_job: Invoke, session: Session, database: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    ann = person(session)
    asked = request(session, ann)
    session.commit()

    def take_back(*arguments: Any) -> None:
        with database.begin() as application:
            application.execute(update(DataRequest).values(status="CANCELLED"))
        delete_exports(*arguments)

    monkeypatch.setattr(finalize_deletions, "delete_exports", take_back)

    assert counters(invoke_job(job, at=NOW)) == {}
    again(session, ann, asked)
    assert (asked.status, ann.anonymized_at) == ("CANCELLED", None)


def test_a_plan_says_how_many_in_which_mode(invoke_job: Invoke, session: Session) -> None:
    ann, bob = person(session), person(session, "bob@b.org")
    asked, _ = request(session, ann, options=FULLY), request(session, bob)
    session.commit()

    steps = invoke_job(job, {"dry_run": True}, at=NOW)["plan"]["steps"]

    assert {step["action"]: step["rows"] for step in steps} == {"anonymize": 1, "delete": 1}
    assert next(step for step in steps if step["action"] == "delete")["sample"] == [str(asked.id)]
    again(session, ann)
    assert ann.anonymized_at is None

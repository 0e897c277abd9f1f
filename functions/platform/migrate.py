"""Bring the database schema up to date and make the deployed jobs known. Runs in every deployment, before any rule.

Whatever goes wrong is raised, so that the deployment is rolled back.
"""

import json
import os
from typing import Any

from sqlalchemy import text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from nightshift import telemetry
from nightshift.database import NIGHTSHIFT_SCHEMA, DatabaseSettings, session_for
from nightshift.database.migrations import state, upgrade
from nightshift.declaration import Deployment, other_branches, this_project
from nightshift.environment import (
    CONSOLE_USER_VARIABLE,
    KMS_KEY_VARIABLE,
    TABLES_VARIABLE,
    TAKE_OVER_VARIABLE,
    deployment_name,
)
from nightshift.errors import SettingError
from nightshift.ledger import RegisteredJob, own
from nightshift.operations import READS
from nightshift.runtime import LambdaContext, entry_point
from nightshift.store import KeyService, keep_data_keys

NAME = "nightshift/migrate"
SECONDS_TO_ANSWER = 10.0


@entry_point
def handler(_event: Any, context: LambdaContext) -> dict[str, Any]:
    """Migrate. The payload is the deployment's own and says nothing. Returns the revisions that were applied.

    A database that is ahead, because this deployment is rolled back, is as good as one that is up to date.
    """
    settings = DatabaseSettings.from_environment()
    owner, console = os.environ.get("NIGHTSHIFT_DATABASE_OWNER"), os.environ.get(CONSOLE_USER_VARIABLE)
    if owner:
        _make_users(DatabaseSettings.from_mapping(json.loads(owner)), settings, console, _remaining(context))
    jobs = Deployment.from_environment().jobs()
    tables = os.environ[TABLES_VARIABLE] == "create"
    wanted, unwanted = this_project().branches(tables=tables), other_branches(tables=tables)
    with session_for(settings, seconds=_remaining(context), application_name=NAME) as session, session.begin():
        applied = upgrade(session.connection(), wanted, unwanted=unwanted)
        if (arn := getattr(context, "invoked_function_arn", None)) is not None:  # not where it is called by hand
            own(session, _identity(arn), take_over_from=os.environ.get(TAKE_OVER_VARIABLE))
        if console:
            _let_read(session, console)
        ahead = state(session.connection(), wanted, unwanted=unwanted).ahead
        if jobs:
            names = [{"name": name} for name in jobs]
            session.execute(insert(RegisteredJob).values(names).on_conflict_do_nothing())
        if kms_key := os.environ.get(KMS_KEY_VARIABLE):
            keep_data_keys(session, KeyService(kms_key))
    if ahead:
        telemetry.warn("database.ahead", revisions=ahead, reason="newer code has migrated it: nothing was changed")
    telemetry.log("database.migrated", applied=applied, jobs=len(jobs))
    return {"applied": applied, "jobs": len(jobs), **({"ahead": ahead} if ahead else {})}


def _make_users(owner: DatabaseSettings, settings: DatabaseSettings, console: str | None, seconds: float) -> None:
    """In a new database: the user as whom all functions connect with IAM tokens, who owns what Nightshift makes, and
    the one as whom the console reads.
    """
    with session_for(owner, seconds=seconds, application_name=NAME) as session, session.begin():
        quote = session.get_bind().dialect.identifier_preparer.quote
        user, database = quote(str(settings.url.username)), quote(str(settings.url.database))
        for name in filter(None, (settings.url.username, console)):
            if not _is_role(session, name):
                session.execute(text(f"create role {quote(name)} login"))
            session.execute(text(f"grant rds_iam to {quote(name)}"))
        session.execute(text(f"grant create on database {database} to {user}"))
        session.execute(text(f"grant usage, create on schema public to {user}"))


def _let_read(session: Session, console: str) -> None:
    """Let the console's user read the ledger's tables that it answers from, and no others.

    Raises:
        SettingError: there is no such user.
    """
    user = session.get_bind().dialect.identifier_preparer.quote(console)
    if not _is_role(session, console):
        raise SettingError(
            f"the database has no user {console}, as whom the console is to connect: make it with "
            f"create role {user} login, and a password or grant rds_iam to {user} (docs/security.md), and deploy again"
        )
    tables = ", ".join(f"{NIGHTSHIFT_SCHEMA}.{name}" for name in READS)
    session.execute(text(f"grant usage on schema {NIGHTSHIFT_SCHEMA} to {user}"))
    session.execute(text(f"grant select on {tables} to {user}"))


def _is_role(session: Session, name: str) -> bool:
    found = text("select exists (select from pg_roles where rolname = :name)")
    return bool(session.scalar(found, {"name": name}))


def _identity(arn: str) -> str:
    """`account/region/name` of this deployment, from the function's ARN."""
    region, account = arn.split(":")[3:5]
    return f"{account}/{region}/{deployment_name()}"


def _remaining(context: LambdaContext) -> float:
    return context.get_remaining_time_in_millis() / 1000 - SECONDS_TO_ANSWER

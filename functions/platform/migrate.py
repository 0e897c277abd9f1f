"""Bring the database schema up to date and make the deployed jobs known. Runs in every deployment, before any rule.

Whatever goes wrong is raised, so that the deployment is rolled back.
"""

import json
import os
from typing import Any

from sqlalchemy import text
from sqlalchemy.dialects.postgresql import insert

from nightshift import telemetry
from nightshift.database import DatabaseSettings, session_for
from nightshift.database.migrations import state, upgrade
from nightshift.declaration import Deployment, this_project
from nightshift.environment import KMS_KEY_VARIABLE
from nightshift.ledger import RegisteredJob
from nightshift.runtime import LambdaContext
from nightshift.store import KeyService, keep_data_keys

NAME = "nightshift/migrate"
SECONDS_TO_ANSWER = 10.0


def handler(_event: Any, context: LambdaContext) -> dict[str, Any]:
    """Migrate. The payload is the deployment's own and says nothing. Returns the revisions that were applied.

    A database that is ahead, because this deployment is rolled back, is as good as one that is up to date.
    """
    settings = DatabaseSettings.from_environment()
    owner = os.environ.get("NIGHTSHIFT_DATABASE_OWNER")
    if owner:
        _make_user(DatabaseSettings.from_mapping(json.loads(owner)), settings, _remaining(context))
    jobs = Deployment.from_environment().jobs()
    create = os.environ["NIGHTSHIFT_APPLICATION_TABLES"] == "create"
    wanted, possible = (this_project().branches(tables=tables) for tables in (create, True))
    with session_for(settings, seconds=_remaining(context), application_name=NAME) as session, session.begin():
        unwanted = [each for each in possible if each not in wanted]
        applied = upgrade(session.connection(), wanted, unwanted=unwanted)
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


def _make_user(owner: DatabaseSettings, settings: DatabaseSettings, seconds: float) -> None:
    """In a new database: the user as whom all functions connect with IAM tokens, who owns what Nightshift makes."""
    with session_for(owner, seconds=seconds, application_name=NAME) as session, session.begin():
        quote = session.get_bind().dialect.identifier_preparer.quote
        user, database = quote(str(settings.url.username)), quote(str(settings.url.database))
        known = session.scalar(
            text("select exists (select from pg_roles where rolname = :name)"), {"name": settings.url.username}
        )
        if not known:
            session.execute(text(f"create role {user} login"))
        session.execute(text(f"grant rds_iam to {user}"))
        session.execute(text(f"grant create on database {database} to {user}"))
        session.execute(text(f"grant usage, create on schema public to {user}"))


def _remaining(context: LambdaContext) -> float:
    return context.get_remaining_time_in_millis() / 1000 - SECONDS_TO_ANSWER

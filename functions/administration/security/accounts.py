"""What security-alerts does to accounts: locks those under attack, and remembers where people signed in last."""

import datetime as dt
import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sqlalchemy import text
from sqlalchemy.orm import Session

from functions.administration.security.events import FAILED_MFA, bursts
from nightshift.database import Leave, by_halves

# Of the super administrators who can act at all, one at least is left unlocked.
LOCKABLE = f"""
    with attacked as (
        select distinct raw::uuid as id from ({bursts(FAILED_MFA, at_least=10)}) as burst where at >= :settled
    ),
    able as (
        select id, role, id in (select id from attacked) as attacked from users
        where is_active and deleted_at is null and anonymized_at is null
            and (locked_until is null or locked_until <= :until)
            and (role = 'super_admin' or id in (select id from attacked))
    ),
    ranked as (
        select *, row_number() over (partition by role order by attacked, id) as place from able
    ),
    lockable as (
        select id from ranked where attacked and (role <> 'super_admin' or place > 1)
    )
"""  # noqa: S608 - made of constants

FOUND = text(f"{LOCKABLE} select id from lockable order by id")  # noqa: S608 - made of constants

LOCK = text(
    """
    with locked as (
        update users set locked_until = :locked_until, locked_reason = 'failed second factors'
        where id = any(:ids)
        returning id
    ),
    noted as (
        insert into audit_logs (occurred_at, actor_type, action, category, severity, resource_type, resource_id)
        select :until, 'system', 'auth.lockout', 'security', 'high', 'user', id::text from locked
    )
    select id from locked
    """
)

COUNT = text(f"{LOCKABLE} select count(*) from lockable")  # noqa: S608 - made of constants

LATEST_COUNTRIES = """
    select distinct on (user_id) user_id, country from sessions
    where created_at >= :settled and created_at < :until and country is not null
    order by user_id, created_at desc, id desc
"""

MOVED = text(
    f"""
    select users.id from ({LATEST_COUNTRIES}) as latest join users on users.id = latest.user_id
    where users.last_known_country is distinct from latest.country order by users.id
    """  # noqa: S608 - made of constants
)

FOLLOW_COUNTRIES = text(
    f"""
    update users set last_known_country = latest.country from ({LATEST_COUNTRIES}) as latest
    where users.id = latest.user_id and users.id = any(:ids)
    """  # noqa: S608 - made of constants
)


def lock_attacked_accounts(
    session: Session, period: Mapping[str, Any], *, locked_until: dt.datetime, leave: Leave
) -> int:
    """Lock the accounts with ten failed second factors in 30 minutes, and note each in the audit log. Returns how many.

    period: the parameters of the rules: `since`, `settled`, `until`.
    """

    def lock(ids: Sequence[uuid.UUID]) -> int:
        given = {"ids": ids, "until": period["until"], "locked_until": locked_until}
        return len(session.scalars(LOCK, given).all())

    attacked = session.scalars(FOUND, period).all()
    return sum(by_halves(session, attacked, lock, *_leaving(leave)))


def count_attacked_accounts(session: Session, period: Mapping[str, Any]) -> int:
    """How many accounts `lock_attacked_accounts` would lock now. Reads only."""
    count: int = session.execute(COUNT, period).scalar_one()
    return count


def follow_countries(session: Session, period: Mapping[str, Any], *, leave: Leave) -> None:
    """Make the country of everybody's latest session their last known one. After the alerts: they compare with it."""
    window = {"settled": period["settled"], "until": period["until"]}

    def follow(ids: Sequence[uuid.UUID]) -> None:
        session.execute(FOLLOW_COUNTRIES, {**window, "ids": ids})

    moved = session.scalars(MOVED, window).all()
    by_halves(session, moved, follow, *_leaving(leave))


def _leaving(leave: Leave) -> tuple[Callable[[uuid.UUID, str], None], Callable[[uuid.UUID], None]]:
    """What is told of an account that is refused, and of one that somebody else has locked."""
    return (
        lambda key, error: leave(f"users:{key}", error),
        lambda key: leave(f"users:{key}", "somebody else has the row locked"),
    )

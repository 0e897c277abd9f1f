"""What security-alerts does to accounts: locks those under attack, and remembers where people signed in last."""

import datetime as dt
from collections.abc import Mapping
from typing import Any

from sqlalchemy import text
from sqlalchemy.orm import Session

from functions.administration.security.events import FAILED_MFA, bursts

# Of the super administrators who can act at all, one at least is left unlocked.
LOCK = text(
    f"""
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
    locked as (
        update users set locked_until = :locked_until, locked_reason = 'failed second factors'
        from ranked
        where users.id = ranked.id and ranked.attacked and (ranked.role <> 'super_admin' or ranked.place > 1)
        returning users.id
    ),
    noted as (
        insert into audit_logs (occurred_at, actor_type, action, category, severity, resource_type, resource_id)
        select :until, 'system', 'auth.lockout', 'security', 'high', 'user', id::text from locked
    )
    select count(*) from locked
    """  # noqa: S608 - made of constants
)

FOLLOW_COUNTRIES = text(
    """
    update users set last_known_country = latest.country
    from (
        select distinct on (user_id) user_id, country from sessions
        where created_at >= :settled and created_at < :until and country is not null
        order by user_id, created_at desc, id desc
    ) as latest
    where users.id = latest.user_id and users.last_known_country is distinct from latest.country
    """
)


def lock_attacked_accounts(session: Session, period: Mapping[str, Any], *, locked_until: dt.datetime) -> int:
    """Lock the accounts with ten failed second factors in 30 minutes, and note each in the audit log. Returns them.

    period: the parameters of the rules: `since`, `settled`, `until`.
    """
    locked: int = session.execute(LOCK, {**period, "locked_until": locked_until}).scalar_one()
    return locked


def follow_countries(session: Session, period: Mapping[str, Any]) -> None:
    """Make the country of everybody's latest session their last known one. After the alerts: they compare with it."""
    session.execute(FOLLOW_COUNTRIES, {"settled": period["settled"], "until": period["until"]})

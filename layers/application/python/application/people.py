"""The application's users who can get notices, as the library's outbox needs them."""

from typing import Any

from sqlalchemy import ARRAY, Select, Text, case, cast, column, exists, func, select, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.sql.selectable import TextualSelect

from application.models import PushToken, User, UserPreferences

CHANNELS = ("in_app", "email", "push")

ADMIN_ROLES = ("admin", "super_admin")
"""The roles of users who get notices to administrators."""

live = User.is_active & User.deleted_at.is_(None) & User.anonymized_at.is_(None)
"""The condition of users who may get notices."""

# Jumps from one distinct text to the next in the index users_timezone, so that it costs the same with a million users.
_ZONES = text(
    """
    with recursive stored (zone) as (
        (select timezone from users order by timezone limit 1)
        union all
        select (select users.timezone from users where users.timezone > stored.zone order by timezone limit 1)
          from stored
         where stored.zone is not null
    )
    select zone from stored where zone is not null
    """
)


class Users:
    """The live users, with their preferences. A user without a row of preferences wants all notices."""

    def everybody(self) -> Select[Any]:
        wishes = UserPreferences
        has_token = exists().where(PushToken.user_id == User.id)
        everywhere, without_push = (cast([*ways], ARRAY(Text)) for ways in (CHANNELS, CHANNELS[:-1]))
        wants = func.jsonb_build_object(
            *("email", wishes.email_enabled, "push", wishes.push_enabled, "general", wishes.general),
            *("goal_reminders", wishes.goal_reminders, "break_reminders", wishes.break_reminders),
            *("weekly_report", wishes.weekly_report, "monthly_report", wishes.monthly_report),
            type_=JSONB,
        )
        return (
            select(
                User.id.label("recipient"),
                User.name.label("name"),
                User.email.label("address"),
                User.timezone.label("zone"),
                wishes.quiet_start.label("quiet_start"),
                wishes.quiet_end.label("quiet_end"),
                case((has_token, everywhere), else_=without_push).label("channels"),
                wants.label("wants"),
            )
            .outerjoin(wishes, wishes.user_id == User.id)
            .where(live)
        )

    def zones(self) -> TextualSelect:
        return _ZONES.columns(column("zone", Text))

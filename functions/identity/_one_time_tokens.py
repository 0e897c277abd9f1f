"""Tokens that are sent by mail and work once: what their two cleanups have in common."""

from sqlalchemy import or_

from application.models import AuthToken
from nightshift import Delete


def delete_used_or_expired(kind: str) -> tuple[Delete, Delete]:
    """Steps that delete tokens of one kind as soon as they are of no use. One that is both counts as used."""
    unused = AuthToken.used_at.is_(None)
    return (
        Delete(
            AuthToken,
            name="delete-used",
            where=lambda run: (AuthToken.kind == kind) & (AuthToken.used_at <= run.now),
            measured_by=AuthToken.used_at,
            counter="deleted_used",
        ),
        Delete(
            AuthToken,
            name="delete-expired",
            where=lambda run: (
                (AuthToken.kind == kind) & (AuthToken.expires_at < run.now) & or_(unused, AuthToken.used_at > run.now)
            ),
            measured_by=AuthToken.expires_at,
            counter="deleted_expired",
        ),
    )

"""Backfills that the supervisor works off."""

from alembic import op

revision = "nightshift_0009"
down_revision = "nightshift_0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute(
        """
        create table if not exists nightshift.backfills (
            id uuid primary key default gen_random_uuid(),
            job text not null references nightshift.jobs,
            schedule text not null,
            timezone text,
            since timestamptz not null,
            until timestamptz not null,
            reprocess text not null check (reprocess in ('none', 'failed', 'all')),
            state text not null check (state in ('open', 'paused', 'done', 'cancelled')),
            occurrences int not null,
            reached timestamptz not null,
            run_id uuid,
            counts jsonb not null default '{}',
            requested_by text not null,
            reason text not null,
            told text,
            created_at timestamptz not null default now(),
            finished_at timestamptz
        );
        create index if not exists backfills_open on nightshift.backfills (created_at) where state in ('open', 'paused')
        """
    )

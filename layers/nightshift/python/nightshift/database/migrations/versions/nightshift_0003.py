"""Dials, pauses with an end, and what a run says of the strain that it met."""

from alembic import op

revision = "nightshift_0003"
down_revision = "nightshift_0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute(
        """
        create table if not exists nightshift.dials (
            job text primary key,
            largest_batch int,
            rows_per_second double precision,
            pause_seconds double precision,
            hours text,
            held boolean not null default false,
            changed_at timestamptz not null default now(),
            changed_by text not null,
            reason text not null
        );
        create table if not exists nightshift.dial_changes (
            id bigint generated always as identity primary key,
            job text not null,
            dials jsonb not null,
            changed_at timestamptz not null default now(),
            changed_by text not null,
            reason text not null
        );
        create index if not exists dial_changes_job on nightshift.dial_changes (job, id);
        create table if not exists nightshift.pauses (
            scope text primary key,
            paused_at timestamptz not null default now(),
            paused_until timestamptz,
            paused_by text not null,
            reason text not null
        );
        alter table nightshift.jobs add column if not exists paused_until timestamptz;
        alter table nightshift.runs add column if not exists strain jsonb
        """
    )

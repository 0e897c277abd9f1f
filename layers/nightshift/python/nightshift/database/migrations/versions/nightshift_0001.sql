-- The ledger: what was due, what ran, where it stands.

create table nightshift.jobs (
    name text primary key,
    registered_at timestamptz not null default now(),
    paused_at timestamptz,
    paused_by text,
    pause_reason text,
    schedule text,
    accounted_until timestamptz not null default now()
);

create table nightshift.runs (
    id uuid primary key default gen_random_uuid(),
    job text not null references nightshift.jobs,
    scheduled_for timestamptz not null,
    trigger text not null check (trigger in ('schedule', 'manual', 'backfill', 'catch_up')),
    mode text not null default 'apply' check (mode in ('apply', 'plan')),
    forced boolean not null default false,
    request_id text,
    parameters jsonb not null default '{}',
    override jsonb,
    state text not null check (state in (
        'queued', 'running', 'interrupted', 'retrying',
        'succeeded', 'failed', 'skipped', 'missed', 'paused', 'cancelled', 'planned'
    )),
    reason text,
    epoch int not null default 0,
    attempts int not null default 0,
    max_attempts int not null,
    lease_until timestamptz,
    step text,
    position jsonb,
    fingerprint text,
    candidates jsonb,
    counters jsonb not null default '{}',
    errors jsonb not null default '[]',
    plan jsonb,
    created_at timestamptz not null default now(),
    started_at timestamptz,
    finished_at timestamptz
);
create unique index runs_occurrence_key on nightshift.runs (job, scheduled_for) where mode = 'apply' and not forced;
create unique index runs_request_id_key on nightshift.runs (request_id) where request_id is not null;
create index runs_open on nightshift.runs (job, state)
    where state in ('queued', 'running', 'interrupted', 'retrying');
create index runs_history on nightshift.runs (job, scheduled_for desc);
create index runs_finished on nightshift.runs (finished_at);

create table nightshift.attempts (
    run_id uuid not null references nightshift.runs on delete cascade,
    epoch int not null,
    request_id text,
    started_at timestamptz not null,
    ended_at timestamptz,
    ending text check (ending in ('finished', 'interrupted', 'failed', 'lost')),
    error text,
    primary key (run_id, epoch)
);

create table nightshift.quarantine (
    id bigint generated always as identity primary key,
    run_id uuid not null references nightshift.runs on delete cascade,
    step text not null,
    item text not null,
    error text not null,
    at timestamptz not null default now()
);
create unique index quarantine_run_id_step_item_key on nightshift.quarantine (run_id, step, item);

create table nightshift.candidates (
    run_id uuid not null references nightshift.runs on delete cascade,
    step text not null,
    place bigint not null,
    key text[] not null,
    primary key (run_id, step, place)
);

create view nightshift.job_runs as
select job, scheduled_for, state as outcome, started_at, finished_at, counters
from nightshift.runs
where mode = 'apply' and state in ('succeeded', 'failed', 'skipped', 'missed', 'paused', 'cancelled');


-- The outbox, backups and keys, and what the kinds of step write for themselves.

create table nightshift.notifications (
    id uuid primary key default gen_random_uuid(),
    recipient text,
    channel text not null check (channel in ('in_app', 'email', 'push', 'ops')),
    kind text not null,
    title text not null,
    body text not null,
    data jsonb not null default '{}',
    dedupe_key text not null unique,
    status text not null default 'pending'
        check (status in ('pending', 'sending', 'sent', 'unknown', 'failed', 'suppressed')),
    scheduled_for timestamptz not null,
    created_at timestamptz not null default now(),
    sent_at timestamptz,
    read_at timestamptz,
    attempts int not null default 0,
    claimed_at timestamptz,
    error text
);
create index notif_outbox on nightshift.notifications (channel, scheduled_for) where status = 'pending';
create index notif_sending on nightshift.notifications (claimed_at) where status = 'sending';
create index notif_sent on nightshift.notifications (sent_at) where status = 'sent';
create index notif_recipient on nightshift.notifications (recipient, created_at desc);
create index notif_created on nightshift.notifications (created_at);

create table nightshift.metric_rollups (
    scope text not null,
    period_start timestamptz not null,
    period_end timestamptz not null,
    data jsonb not null,
    computed_at timestamptz not null default now(),
    primary key (scope, period_start)
);

create table nightshift.metric_findings (
    id uuid primary key default gen_random_uuid(),
    kind text not null check (kind in ('trend', 'anomaly')),
    scope text not null,
    period_start timestamptz not null,
    metric text not null,
    value double precision,
    baseline double precision,
    change_pct numeric,
    significant boolean not null default false,
    created_at timestamptz not null default now(),
    unique (kind, scope, period_start, metric)
);

create table nightshift.backups (
    id uuid primary key default gen_random_uuid(),
    kind text not null check (kind in ('snapshot', 'logical')),
    tier text not null check (tier in ('daily', 'weekly', 'monthly')),
    scheduled_for timestamptz not null,
    status text not null check (status in ('running', 'succeeded', 'failed', 'expired')),
    location text,
    bytes bigint,
    sha256 text,
    manifest jsonb not null default '{}',
    expires_at timestamptz not null,
    verified_at timestamptz,
    restore_tested_at timestamptz,
    error text,
    started_at timestamptz not null,
    finished_at timestamptz,
    unique (kind, scheduled_for)
);

create table nightshift.data_keys (
    key_id int primary key,
    encrypted_key bytea not null,
    created_at timestamptz not null default now()
);

create table nightshift.differences (
    step text not null,
    position bigint not null,
    key text[] not null,
    found numeric,
    computed numeric not null,
    primary key (step, position)
);

create table nightshift.health_checks (
    id bigint generated always as identity primary key,
    checked_at timestamptz not null,
    overall text not null check (overall in ('healthy', 'degraded', 'unhealthy')),
    components jsonb not null,
    duration_ms int not null
);
create index hc_at on nightshift.health_checks (checked_at desc);

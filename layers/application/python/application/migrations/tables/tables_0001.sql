-- Users: who they are, how they sign in, what they agreed to, and what they asked for.

create table organizations (
    id uuid primary key default gen_random_uuid(),
    name text not null,
    slug text not null unique,
    status text not null default 'trial'
        check (status in ('pending', 'trial', 'active', 'suspended', 'expired', 'cancelled')),
    timezone text not null default 'UTC',
    suspended_at timestamptz,
    cancelled_at timestamptz,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now()
);

create table users (
    id uuid primary key default gen_random_uuid(),
    org_id uuid references organizations on delete set null,
    email text not null,
    name text,
    bio text,
    avatar_url text,
    role text not null default 'user'
        check (role in ('user', 'viewer', 'analyst', 'support', 'admin', 'super_admin')),
    is_active boolean not null default true,
    timezone text not null default 'UTC',
    locale text not null default 'en',
    password_hash text,
    password_changed_at timestamptz,
    email_verified_at timestamptz,
    mfa_enabled boolean not null default false,
    locked_until timestamptz,
    locked_reason text,
    last_login_at timestamptz,
    last_activity_at timestamptz,
    last_known_country char(2),
    karma int not null default 0,
    show_email_on_profile boolean not null default false,
    include_in_search boolean not null default true,
    show_activity_publicly boolean not null default true,
    deletion_requested_at timestamptz,
    anonymized_at timestamptz,
    deleted_at timestamptz,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now()
);
create unique index users_email_uq on users (lower(email));
create index users_last_login on users (last_login_at) where deleted_at is null;
create index users_created on users (created_at);
create index users_timezone on users (timezone, id);
create index users_avatar on users (nightshift.storage_key(avatar_url)) where avatar_url is not null;

create table user_preferences (
    user_id uuid primary key references users on delete cascade,
    goal_reminders boolean not null default true,
    general boolean not null default true,
    weekly_report boolean not null default true,
    monthly_report boolean not null default true,
    break_reminders boolean not null default true,
    email_enabled boolean not null default true,
    push_enabled boolean not null default true,
    quiet_start time,
    quiet_end time
);

create table sessions (
    id uuid primary key default gen_random_uuid(),
    user_id uuid not null references users on delete cascade,
    token_hash bytea not null unique,
    status text not null default 'active' check (status in ('active', 'expired', 'revoked', 'suspended')),
    created_at timestamptz not null default now(),
    expires_at timestamptz not null,
    last_activity_at timestamptz not null default now(),
    ip inet,
    country char(2),
    device_type text,
    user_agent text,
    is_suspicious boolean not null default false,
    suspicious_reasons text[] not null default '{}',
    risk_score int not null default 0,
    terminated_at timestamptz,
    termination_reason text
);
create index sessions_active_exp on sessions (expires_at) where status = 'active';
create index sessions_active_act on sessions (last_activity_at) where status = 'active';
create index sessions_term on sessions (terminated_at) where status <> 'active';
create index sessions_user on sessions (user_id, created_at desc);
create index sessions_created on sessions (created_at);

create table auth_tokens (
    id uuid primary key default gen_random_uuid(),
    kind text not null
        check (kind in ('refresh', 'email_verification', 'password_reset', 'access_denylist', 'mfa_challenge')),
    user_id uuid references users on delete cascade,
    session_id uuid references sessions on delete set null,
    token_hash bytea not null,
    issued_at timestamptz not null default now(),
    expires_at timestamptz not null,
    used_at timestamptz,
    revoked_at timestamptz,
    replaced_by uuid references auth_tokens on delete set null,
    unique (kind, token_hash)
);
create index auth_tokens_exp on auth_tokens (kind, expires_at);
create index auth_tokens_used on auth_tokens (kind) where used_at is not null;
create index auth_tokens_user on auth_tokens (user_id);
create index auth_tokens_repl on auth_tokens (replaced_by) where replaced_by is not null;
create index auth_tokens_session on auth_tokens (session_id) where session_id is not null;

create table login_attempts (
    id bigint generated always as identity primary key,
    user_id uuid references users on delete set null,
    email text,
    success boolean not null,
    failure_reason text,
    ip inet,
    country char(2),
    user_agent text,
    attempted_at timestamptz not null default now()
);
create index login_attempts_at on login_attempts (attempted_at);
create index login_attempts_ip on login_attempts (ip, attempted_at) where not success;

create table api_keys (
    id uuid primary key default gen_random_uuid(),
    user_id uuid references users on delete cascade,
    org_id uuid references organizations on delete cascade,
    name text not null,
    key_prefix text not null,
    key_hash bytea not null unique,
    is_active boolean not null default true,
    expires_at timestamptz,
    last_used_at timestamptz,
    revoked_at timestamptz,
    revoke_reason text,
    created_at timestamptz not null default now()
);
create index api_keys_exp on api_keys (expires_at) where is_active;
create index api_keys_rev on api_keys (revoked_at) where not is_active;

create table certificates (
    id uuid primary key default gen_random_uuid(),
    kind text not null check (kind in ('tls', 'signing_key', 'service_account')),
    label text not null,
    owner_user_id uuid references users on delete set null,
    expires_at timestamptz not null,
    rotated_at timestamptz
);


-- Projects, collaborators, votes and ideas.

create table projects (
    id uuid primary key default gen_random_uuid(),
    title text not null,
    image_url text,
    status text not null default 'active',
    is_featured boolean not null default false,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now()
);
create index projects_image on projects (nightshift.storage_key(image_url)) where image_url is not null;

create table collaborators (
    project_id uuid not null references projects on delete cascade,
    user_id uuid not null references users on delete cascade,
    role text not null check (role in ('CREATOR', 'CONTRIBUTOR', 'ADVISOR')),
    created_at timestamptz not null default now(),
    primary key (project_id, user_id)
);
create index collaborators_user on collaborators (user_id);

create table upvotes (
    user_id uuid not null references users on delete cascade,
    project_id uuid not null references projects on delete cascade,
    created_at timestamptz not null default now(),
    primary key (user_id, project_id)
);
create index upvotes_project on upvotes (project_id);

create table ideas (
    id uuid primary key default gen_random_uuid(),
    creator_id uuid not null references users on delete cascade,
    title text not null,
    description text,
    created_at timestamptz not null default now()
);


-- Invitations, devices, consents, and requests about personal data.

create table invitations (
    id uuid primary key default gen_random_uuid(),
    kind text not null check (kind in ('project', 'admin')),
    email text not null,
    role text,
    project_id uuid references projects on delete cascade,
    invited_by uuid references users on delete set null,
    token_hash bytea unique,
    status text not null default 'pending'
        check (status in ('pending', 'accepted', 'declined', 'expired', 'revoked')),
    created_at timestamptz not null default now(),
    expires_at timestamptz,
    accepted_at timestamptz,
    declined_at timestamptz
);
create index invitations_pending on invitations (kind, created_at) where status = 'pending';
create index invitations_pending_exp on invitations (expires_at) where status = 'pending';
create index invitations_closed on invitations (kind, created_at) where status <> 'pending';

create table push_tokens (
    id uuid primary key default gen_random_uuid(),
    user_id uuid not null references users on delete cascade,
    token text not null unique,
    platform text not null,
    created_at timestamptz not null default now(),
    last_used_at timestamptz
);
create index push_tokens_idle on push_tokens (coalesce(last_used_at, created_at));

create table consent_records (
    id uuid primary key default gen_random_uuid(),
    user_id uuid not null references users on delete cascade,
    consent_type text not null,
    granted boolean not null,
    granted_at timestamptz,
    revoked_at timestamptz,
    ip inet,
    user_agent text
);

create table data_requests (
    id uuid primary key default gen_random_uuid(),
    user_id uuid references users on delete set null,
    subject_ref text not null,
    request_type text not null check (request_type in ('EXPORT', 'DELETION')),
    status text not null default 'PENDING'
        check (status in ('PENDING', 'COMPLETED', 'CANCELLED', 'FAILED', 'BLOCKED')),
    options jsonb not null default '{}',
    requested_at timestamptz not null default now(),
    completed_at timestamptz,
    attempts int not null default 0,
    last_error text
);
create unique index data_requests_one_pending on data_requests (user_id)
    where request_type = 'DELETION' and status = 'PENDING';
create index data_requests_due on data_requests (requested_at)
    where request_type = 'DELETION' and status = 'PENDING';


-- Files in the file store.

create table uploads (
    id uuid primary key default gen_random_uuid(),
    storage_key text not null unique,
    filename text not null,
    bytes bigint,
    uploader_id uuid references users on delete set null,
    created_at timestamptz not null default now(),
    deleting_at timestamptz
);
create index uploads_created on uploads (created_at);
create index uploads_deleting on uploads (deleting_at, id) where deleting_at is not null;

-- Every reference from the application to a file. A file that is not in this view is an orphan, and is deleted after 30
-- days. So add a new kind of reference here; no other place needs it.
create view v_file_references as
select 'avatar' as kind, id as subject_id, nightshift.storage_key(avatar_url) as storage_key
from users
where avatar_url is not null
union all
select 'project_image', id, nightshift.storage_key(image_url)
from projects
where image_url is not null;


-- The audit log.

create table audit_logs (
    id uuid primary key default gen_random_uuid(),
    occurred_at timestamptz not null default now(),
    actor_type text not null default 'user' check (actor_type in ('user', 'api_key', 'system')),
    actor_id uuid references users on delete set null,
    api_key_id uuid references api_keys on delete set null,
    session_id uuid,
    action text not null,
    category text not null default 'other',
    severity text not null default 'low' check (severity in ('low', 'medium', 'high', 'critical')),
    status text not null default 'success' check (status in ('success', 'failure', 'partial', 'warning')),
    resource_type text,
    resource_id text,
    ip inet,
    country char(2),
    user_agent text,
    metadata jsonb not null default '{}',
    changes jsonb,
    compliance_tags text[] not null default '{}',
    legal_hold boolean not null default false,
    anonymized_at timestamptz,
    archive_id uuid references nightshift.audit_archives on delete set null
);
create index audit_at on audit_logs (occurred_at);
create index audit_action_at on audit_logs (action, occurred_at);
create index audit_actor_at on audit_logs (actor_id, occurred_at desc);
create index audit_todo_anon on audit_logs (occurred_at) where anonymized_at is null;
create index audit_todo_arch on audit_logs (occurred_at) where archive_id is null;
create index audit_archive on audit_logs (archive_id) where archive_id is not null;
create index audit_api_key on audit_logs (api_key_id) where api_key_id is not null;
create index audit_session on audit_logs (session_id) where session_id is not null;


-- Yearly wealth snapshots, payments on them, and figures derived from both.

create table yearly_snapshots (
    id uuid primary key default gen_random_uuid(),
    user_id uuid not null references users on delete cascade,
    status text not null check (status in ('DRAFT', 'FINALIZED', 'UNLOCKED')),
    is_primary boolean not null default false,
    calculation_date timestamptz not null,
    gregorian_year int not null,
    hijri_year int not null check (hijri_year between 1343 and 1500),
    hijri_month int not null check (hijri_month between 1 and 12),
    hijri_day int not null check (hijri_day between 1 and 30),
    currency char(3) not null default 'USD',
    total_wealth_enc text not null,
    zakat_amount_enc text not null,
    nisab_threshold_enc text not null,
    nisab_type text not null check (nisab_type in ('gold', 'silver')),
    asset_breakdown_enc text not null,
    methodology text not null,
    hawl_completion_date date,
    finalized_at timestamptz,
    payments_changed_at timestamptz,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now()
);
create index ys_latest on yearly_snapshots (user_id, hijri_year desc, hijri_month desc, hijri_day desc)
    where status = 'FINALIZED';
create index ys_activity on yearly_snapshots ((greatest(updated_at, payments_changed_at)))
    where status = 'FINALIZED';
create unique index ys_primary on yearly_snapshots (user_id, gregorian_year) where is_primary;

create table payment_records (
    id uuid primary key default gen_random_uuid(),
    user_id uuid not null references users on delete cascade,
    snapshot_id uuid not null references yearly_snapshots on delete cascade,
    amount_enc text not null,
    recipient_name_enc text not null,
    notes_enc text,
    receipt_ref_enc text,
    recipient_type text not null,
    recipient_category text not null
        check (recipient_category in (
            'fakir', 'miskin', 'amil', 'muallaf', 'riqab', 'gharimin', 'fisabilillah', 'ibnus_sabil'
        )),
    payment_date timestamptz not null,
    payment_method text not null,
    status text not null default 'recorded' check (status in ('recorded', 'verified')),
    currency char(3) not null,
    exchange_rate numeric(18, 8) not null default 1 check (exchange_rate > 0),
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now()
);
create index pr_snapshot on payment_records (snapshot_id);

-- A payment does not change its snapshot's row, but the snapshot's summary depends on it.
create function touch_payments() returns trigger
    language plpgsql
as $$
begin
    -- Not now(): a long transaction would set the time back to its own start, behind changes already taken up.
    if tg_op <> 'INSERT' then
        update yearly_snapshots set payments_changed_at = clock_timestamp() where id = old.snapshot_id;
    end if;
    if tg_op <> 'DELETE' then
        update yearly_snapshots set payments_changed_at = clock_timestamp() where id = new.snapshot_id;
    end if;
    return null;
end
$$;
create trigger pr_touch after insert or update or delete on payment_records
    for each row execute function touch_payments();

create table analytics_cache (
    id uuid primary key default gen_random_uuid(),
    user_id uuid not null references users on delete cascade,
    metric_type text not null,
    start_date date not null,
    end_date date not null,
    value_enc text not null,
    parameters jsonb not null default '{}',
    calculated_at timestamptz not null default now(),
    expires_at timestamptz not null,
    version int not null default 1
);
create index ac_exp on analytics_cache (expires_at);
create index ac_calc on analytics_cache (calculated_at);

create table annual_summaries (
    id uuid primary key default gen_random_uuid(),
    user_id uuid not null references users on delete cascade,
    snapshot_id uuid not null unique references yearly_snapshots on delete cascade,
    gregorian_year int not null,
    hijri_year int not null,
    number_of_payments int not null,
    first_payment_at timestamptz,
    last_payment_at timestamptz,
    counts_by_type jsonb not null,
    counts_by_category jsonb not null,
    completion_bp int check (completion_bp between 0 and 10000),
    payment_status text not null
        check (payment_status in ('not_due', 'unpaid', 'partial', 'paid', 'overpaid', 'unknown')),
    due_enc text,
    paid_enc text,
    outstanding_enc text,
    recipient_summary_enc text,
    comparison_enc text,
    methodology text not null,
    undecryptable int not null default 0,
    source_activity_at timestamptz not null,
    content_hash text not null,
    version int not null default 1,
    generated_at timestamptz not null default now()
);

create table reminder_events (
    id uuid primary key default gen_random_uuid(),
    user_id uuid not null references users on delete cascade,
    event_type text not null
        check (event_type in (
            'zakat_anniversary_approaching', 'calculation_overdue', 'payment_incomplete',
            'yearly_comparison_available', 'data_backup_reminder', 'methodology_review'
        )),
    trigger_at timestamptz not null,
    due_on date,
    title text not null,
    message text not null,
    priority text not null check (priority in ('high', 'medium', 'low')),
    status text not null default 'pending' check (status in ('pending', 'shown', 'acknowledged', 'dismissed')),
    related_snapshot_id uuid references yearly_snapshots on delete set null,
    metadata jsonb not null default '{}',
    dedupe_key text not null unique,
    created_at timestamptz not null default now()
);
create index re_recent on reminder_events (user_id, event_type, created_at desc);


-- Goals, timers and records of use.

create table goals (
    id uuid primary key default gen_random_uuid(),
    user_id uuid not null references users on delete cascade,
    title text not null,
    status text not null default 'active' check (status in ('active', 'completed', 'cancelled')),
    due_on date,
    completed_at timestamptz,
    cancelled_at timestamptz,
    archived_at timestamptz,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now()
);
create index goals_due on goals (due_on) where status = 'active' and archived_at is null;
create index goals_user on goals (user_id, completed_at);
create index goals_closed on goals ((coalesce(completed_at, cancelled_at, updated_at)))
    where status <> 'active' and archived_at is null;

create table timer_sessions (
    id uuid primary key default gen_random_uuid(),
    user_id uuid not null references users on delete cascade,
    goal_id uuid references goals on delete set null,
    timer_type text not null default 'pomodoro',
    status text not null check (status in ('running', 'paused', 'completed', 'abandoned')),
    planned_seconds int,
    actual_seconds int,
    break_taken boolean not null default false,
    started_at timestamptz not null,
    ended_at timestamptz,
    created_at timestamptz not null default now()
);
create index ts_user_created on timer_sessions (user_id, created_at);
create index ts_created on timer_sessions (created_at);
create index ts_running on timer_sessions (started_at) where status = 'running';

create table feature_events (
    id bigint generated always as identity primary key,
    user_id uuid references users on delete set null,
    feature text not null,
    occurred_at timestamptz not null default now()
);
create index fe_at on feature_events (occurred_at, feature);

create table user_activity_days (
    user_id uuid not null references users on delete cascade,
    day date not null,
    primary key (user_id, day)
);
create index uad_day on user_activity_days (day);

create table request_stats (
    minute timestamptz not null,
    route text not null,
    n int not null,
    errors int not null,
    sum_ms bigint not null,
    hist int[] not null,
    primary key (minute, route)
);


-- Subscriptions and licences.

create table subscriptions (
    id uuid primary key default gen_random_uuid(),
    org_id uuid not null unique references organizations on delete cascade,
    tier text not null default 'free',
    status text not null
        check (status in ('incomplete', 'trialing', 'active', 'past_due', 'unpaid', 'paused', 'cancelled', 'expired')),
    billing_cycle text not null check (billing_cycle in ('monthly', 'quarterly', 'annually', 'custom')),
    anchor_day int not null check (anchor_day between 1 and 31),
    current_period_start timestamptz not null,
    current_period_end timestamptz not null,
    trial_ends_at timestamptz,
    auto_renew boolean not null default true,
    cancel_at_period_end boolean not null default false,
    has_payment_method boolean not null default false,
    past_due_since timestamptz,
    seats int,
    updated_at timestamptz not null default now()
);
create index subs_period on subscriptions (current_period_end) where status in ('active', 'past_due');
create index subs_trial on subscriptions (trial_ends_at) where status = 'trialing';

create table subscription_events (
    id bigint generated always as identity primary key,
    subscription_id uuid not null references subscriptions on delete cascade,
    event text not null,
    from_status text,
    to_status text,
    effective_at timestamptz not null,
    data jsonb not null default '{}',
    unique (subscription_id, event, effective_at)
);

create table licenses (
    id uuid primary key default gen_random_uuid(),
    org_id uuid not null references organizations on delete cascade,
    subscription_id uuid references subscriptions on delete set null,
    license_key_hash bytea not null unique,
    status text not null check (status in ('inactive', 'active', 'suspended', 'expired', 'revoked')),
    expires_at timestamptz,
    grace_until timestamptz,
    seats int,
    last_validated_at timestamptz,
    created_at timestamptz not null default now()
);
create index lic_exp on licenses (expires_at) where status = 'active';

-- Everything that expires and that somebody should know about, in one form.
create view v_expiring_credentials as
select
    'password' as kind, id as subject_id, id as owner_user_id, email as label,
    password_changed_at + interval '90 days' as expires_at
from users
where is_active and deleted_at is null and password_changed_at is not null and role <> 'user'
union all
select 'api_key', id, user_id, name, expires_at
from api_keys
where is_active and expires_at is not null
union all
select 'certificate', id, owner_user_id, label, expires_at
from certificates
where rotated_at is null
union all
select 'license', id, null, id::text, expires_at
from licenses
where status = 'active' and expires_at is not null
union all
select 'subscription', s.id, null, o.name, s.current_period_end
from subscriptions s
join organizations o on o.id = s.org_id
where s.status in ('active', 'past_due') and not (s.auto_renew and s.has_payment_method)
union all
select 'trial', s.id, null, o.name, s.trial_ends_at
from subscriptions s
join organizations o on o.id = s.org_id
where s.status = 'trialing';


-- How the application's tables are connected to the schema nightshift.

-- A deleted user's notices are deleted with the user.
alter table nightshift.notifications
    add column user_id uuid generated always as (recipient::uuid) stored references users on delete cascade;
create index notif_user on nightshift.notifications (user_id) where user_id is not null;


-- The audit log is append-only. This guard stops mistakes, of the application and of people at a prompt. It allows
-- foreign keys that set a reference to null (they run inside another trigger), and jobs, which name their run in the
-- transaction. Anybody who may set a parameter can also name a run. So the real boundary is the grant: the application's
-- role gets only INSERT and SELECT on this table.
create function guard_audit_logs() returns trigger
    language plpgsql
as $$
begin
    if pg_trigger_depth() > 1 or coalesce(current_setting('nightshift.run_id', true), '') <> '' then
        return null;
    end if;
    raise exception 'audit_logs is append-only: % is refused', tg_op
        using errcode = 'insufficient_privilege',
            hint = 'Retention and anonymisation are the work of Nightshift''s jobs; '
                'they name their run in the parameter nightshift.run_id of the transaction.';
end
$$;
create trigger audit_logs_append_only before update or delete or truncate on audit_logs
    for each statement execute function guard_audit_logs();

-- An erasure looks for a person's rows in each table, and a deleted row for the rows that refer to it. Without these
-- indexes, each such search reads a whole table.
create index login_attempts_user on login_attempts (user_id) where user_id is not null;
create index login_attempts_email on login_attempts (lower(email));
create index api_keys_user on api_keys (user_id);
create index api_keys_org on api_keys (org_id);
create index push_tokens_user on push_tokens (user_id);
create index consent_records_user on consent_records (user_id);
create index ideas_creator on ideas (creator_id);
create index invitations_email on invitations (lower(email));
create index invitations_project on invitations (project_id) where project_id is not null;
create index invitations_by on invitations (invited_by) where invited_by is not null;
create index uploads_uploader on uploads (uploader_id) where uploader_id is not null;
create index pr_user on payment_records (user_id);
create index ac_user on analytics_cache (user_id);
create index annual_summaries_user on annual_summaries (user_id);
create index fe_user on feature_events (user_id) where user_id is not null;
create index ts_goal on timer_sessions (goal_id) where goal_id is not null;

-- Rows young and old for every job, as of 2026-03-01 22:00 UTC, a Sunday. No age lies within an hour of a limit, so that an
-- occurrence a second later has nothing new to do.

create function pg_temp.ago(age interval) returns timestamptz return timestamptz '2026-03-01 22:00Z' - age;

create temporary table ages as
select n, age, pg_temp.ago(age) as at
from unnest(array[
    '2 hours', '30 hours', '3 days', '6 days 12 hours', '8 days', '20 days', '29 days', '31 days', '60 days', '89 days',
    '91 days', '179 days', '181 days', '300 days', '364 days', '367 days', '500 days', '1000 days', '1090 days',
    '1100 days', '1500 days'
]::interval[]) with ordinality as given (age, n);

insert into users (email, name, last_login_at, email_verified_at, created_at, updated_at)
select 'user' || n || '@example.org', 'User ' || n, at, at, at, at from ages;

-- Somebody who is told what administrators are told.
insert into users (email, name, role, mfa_enabled, last_login_at, created_at, updated_at)
values ('admin@example.org', 'Admin', 'admin', true, pg_temp.ago('8 days'), pg_temp.ago('60 days'), pg_temp.ago('60 days'));

create temporary table people as
select ages.*, users.id as user_id from ages join users on users.name = 'User ' || n;

insert into analytics_cache
    (user_id, metric_type, start_date, end_date, value_enc, calculated_at, expires_at)
select user_id, 'trends', at, at, '', at, at + lifetime
from people, unnest(array['1 hour', '26 hours', '10 years']::interval[]) as lifetime;

-- Every second user has an anniversary in the coming month. Amounts are sealed on the users' own devices.
insert into yearly_snapshots
    (user_id, status, calculation_date, gregorian_year, hijri_year, hijri_month, hijri_day, total_wealth_enc,
        zakat_amount_enc, nisab_threshold_enc, nisab_type, asset_breakdown_enc, methodology, created_at, updated_at)
select
    user_id, status, at, 2025, 1446, case n % 2 when 0 then 9 else 3 end, 20, 'ZK1:', 'ZK1:', 'ZK1:', 'gold', 'ZK1:',
    'standard', at, at
from people, unnest(array['FINALIZED', 'DRAFT']) as status;

insert into payment_records
    (user_id, snapshot_id, amount_enc, recipient_name_enc, recipient_type, recipient_category, payment_date,
        payment_method, currency)
select user_id, id, 'ZK1:', 'ZK1:', 'charity', 'fakir', created_at, 'cash', 'USD' from yearly_snapshots;

-- Paying has stamped them with the clock.
update yearly_snapshots set payments_changed_at = updated_at;

insert into sessions (user_id, token_hash, status, created_at, expires_at, last_activity_at, terminated_at)
select user_id, convert_to(concat(n, status, lifetime), 'UTF8'), status, at, at + lifetime, at, at + ending
from
    people,
    (values
        ('active', interval '1 hour', null::interval),
        ('active', '10 years', null),
        ('revoked', '1 hour', '10 minutes'),
        ('expired', '1 hour', null)
    ) as given (status, lifetime, ending);

insert into auth_tokens (kind, user_id, token_hash, issued_at, expires_at, used_at)
select kind, user_id, convert_to(concat(n, lifetime, used), 'UTF8'), at, at + lifetime, at + used
from
    people,
    unnest(array['refresh', 'email_verification', 'password_reset', 'access_denylist', 'mfa_challenge']) as kind,
    unnest(array['1 hour', '24 hours', '10 years']::interval[]) as lifetime,
    unnest(array[null, '5 minutes']::interval[]) as used;

insert into login_attempts (user_id, email, success, ip, attempted_at)
select user_id, 'user' || n || '@example.org', success, '192.0.2.1', at from people, unnest(array[true, false]) success;

insert into api_keys (user_id, name, key_prefix, key_hash, is_active, expires_at, revoked_at, created_at)
select user_id, 'key', 'ns_1', convert_to(concat(n, given), 'UTF8'), is_active, at + lifetime, at + revoked, at
from
    people,
    (values
        (true, null::interval, null::interval),
        (true, '1 hour', null),
        (true, '10 years', null),
        (false, null, '1 minute'),
        (false, '1 hour', null)
    ) as given (is_active, lifetime, revoked);

-- A pending one of an administrator is younger than 30 days: otherwise it expires in one run and goes in the next.
insert into invitations (kind, email, token_hash, status, created_at, expires_at, accepted_at, declined_at)
select
    kind, 'guest' || n || '@example.org', convert_to(concat(n, kind, status), 'UTF8'), status, at, at + interval '7 days',
    case status when 'accepted' then at end, case status when 'declined' then at end
from
    ages,
    unnest(array['project', 'admin']) as kind,
    unnest(array['pending', 'accepted', 'declined', 'expired', 'revoked']) as status
where not (kind = 'admin' and status = 'pending' and age > '30 days');

insert into push_tokens (user_id, token, platform, created_at, last_used_at)
select user_id, concat(n, used), 'ios', at, at + used
from people, unnest(array[null, '1 minute']::interval[]) as used;

insert into nightshift.audit_archives (month, s3_key, row_count, sha256, bytes)
select month, concat('audit/', month), 1, '', 1
from (select distinct date_trunc('month', at at time zone 'UTC')::date as month from ages where age > '1 year') months;

insert into audit_logs (occurred_at, actor_id, action, ip, user_agent, metadata, changes, legal_hold)
select
    at, user_id, 'auth.login', '192.0.2.1', 'Mozilla/5.0', '{"email": "user@example.org", "n": 1}', '{"a": [1]}', legal_hold
from people, unnest(array[false, true]) as legal_hold;

insert into audit_logs (occurred_at, action, metadata, anonymized_at, archive_id)
select at, 'auth.login', '{"n": 1}', at + interval '1 year', archive.id
from ages
join nightshift.audit_archives archive on archive.month = date_trunc('month', at at time zone 'UTC')::date;

-- Anonymous and in no archive yet.
insert into audit_logs (occurred_at, action, metadata, anonymized_at)
select at, 'goal.create', '{"n": 1}', at + interval '1 year' from ages where age between '1 year' and '3 years';

-- Somebody else quotes each person's address.
insert into audit_logs (occurred_at, action, resource_id, metadata)
select at, 'user.invite', 'user' || n || '@example.org', jsonb_build_object('to', 'user' || n || '@example.org') from ages;

insert into goals (user_id, title, status, completed_at, cancelled_at, created_at, updated_at)
select user_id, 'Read', status, case status when 'completed' then at end, case status when 'cancelled' then at end, at, at
from people, unnest(array['active', 'completed', 'cancelled']) as status;

insert into timer_sessions (user_id, status, planned_seconds, break_taken, started_at, created_at)
select user_id, status, 1500, break_taken, at, at
from
    people,
    unnest(array['running', 'paused', 'completed', 'abandoned']) as status,
    unnest(array[true, false]) as break_taken;

-- This evening, in many sessions, far too short ones.
insert into timer_sessions (user_id, status, actual_seconds, break_taken, started_at, created_at)
select user_id, 'completed', 60, false, pg_temp.ago('3 hours'), pg_temp.ago('3 hours')
from people cross join generate_series(1, 60) where n = 1;

insert into user_activity_days (user_id, day) select user_id, '2026-02-28' from people where n in (1, 3);

-- Five for whom the hour of a job that goes by their clocks has just come: Monday 11:00, Monday 9:00, Sunday 19:00,
-- Sunday 18:00, and 10:00 on the first.
with local_people as (
    insert into users (email, name, timezone, last_login_at, created_at, updated_at)
    select 'clock' || n || '@example.org', zone, zone, pg_temp.ago('4 days 12 hours'), pg_temp.ago('500 days'),
        pg_temp.ago('500 days')
    from unnest(
        array['Pacific/Auckland', 'Australia/Sydney', 'America/Sao_Paulo', 'America/Halifax', 'Etc/GMT+12']
    ) with ordinality as given (zone, n)
    returning id, timezone, created_at
), due as (
    insert into goals (user_id, title, due_on, created_at, updated_at)
    select id, 'Write', due_on, created_at, created_at
    from local_people, unnest(array['2026-03-03', '2026-03-10']::date[]) as due_on
)
insert into timer_sessions (user_id, status, started_at, created_at)
select id, 'running', pg_temp.ago(age), pg_temp.ago(age)
from local_people, unnest(array['2 hours', '3 days']::interval[]) as age
where timezone in ('Pacific/Auckland', 'Australia/Sydney');

insert into feature_events (user_id, feature, occurred_at) select user_id, 'export', at from people;

insert into user_activity_days (user_id, day) select user_id, (at at time zone 'UTC')::date from people;

-- The last hour was a bad one.
insert into request_stats (minute, route, n, errors, sum_ms, hist)
select date_trunc('minute', at), '/v1/items', 10, 1, 4000, array_fill(0, array[130]) || 10 || array_fill(0, array[150])
from (select at from ages union all select pg_temp.ago('30 minutes')) as minutes;

insert into nightshift.metric_rollups (scope, period_start, period_end, data)
select 'day', date_trunc('day', at, 'UTC'), date_trunc('day', at, 'UTC') + interval '1 day', '{"goals_created": 1}'
from ages where age > '30 hours' and n % 2 = 0;

insert into nightshift.metric_rollups (scope, period_start, period_end, data)
values
    ('day', '2026-02-27Z', '2026-02-28Z', '{"completed_sessions": 4, "goals_created": 1}'),
    ('perf_10m', '2026-03-01 21:00Z', '2026-03-01 21:10Z', '{"connections_active": 3, "connections_idle": 4}');

insert into nightshift.metric_findings (kind, scope, period_start, metric, value)
select 'trend', 'day', date_trunc('day', at, 'UTC'), 'goals_created', 1 from ages where age > '30 hours';

insert into nightshift.notifications (recipient, channel, kind, title, body, dedupe_key, status, scheduled_for, sent_at)
select user_id, 'in_app', 'goal_deadline', 'A goal is due', 'Read', 'every job|' || n || '|' || status, status, at,
    case status when 'sent' then at end
from people, unnest(array['sent', 'failed']) as status;

-- An organisation for each state of a subscription, with two licences; what one step does is nothing to the next.
insert into organizations (name, slug, status, created_at)
select state, state, status, pg_temp.ago('500 days')
from
    unnest(
        array['paid trial', 'unpaid trial', 'monthly', 'custom', 'cancelled', 'expiring', 'failed', 'paid', 'late', 'new'],
        array['trial', 'trial', 'active', 'active', 'active', 'active', 'active', 'suspended', 'active', 'pending']
    ) as given (state, status);

insert into subscriptions
    (org_id, status, billing_cycle, anchor_day, current_period_start, current_period_end, trial_ends_at, auto_renew,
        cancel_at_period_end, has_payment_method, past_due_since)
select
    id, given.status, cycle, 31, pg_temp.ago(ended) - interval '1 month', pg_temp.ago(ended),
    case given.status when 'trialing' then pg_temp.ago(ended) end, name <> 'expiring', name = 'cancelled',
    name <> 'unpaid trial', pg_temp.ago(since)
from
    (values
        ('paid trial', 'trialing', 'monthly', interval '3 days', null::interval),
        ('unpaid trial', 'trialing', 'monthly', '3 days', null),
        ('monthly', 'active', 'monthly', '100 days', null),
        ('custom', 'active', 'custom', '3 days', null),
        ('cancelled', 'active', 'monthly', '3 days', null),
        ('expiring', 'active', 'monthly', '3 days', null),
        ('failed', 'active', 'monthly', '-9 days', null),
        ('paid', 'unpaid', 'monthly', '-9 days', '8 days'),
        ('late', 'past_due', 'monthly', '-9 days', '8 days'),
        ('new', 'incomplete', 'monthly', '-20 days', null)
    ) as given (name, status, cycle, ended, since)
join organizations using (name);

insert into subscription_events (subscription_id, event, effective_at)
select subscriptions.id, event, pg_temp.ago('3 days')
from (values ('failed', 'payment_failed'), ('paid', 'payment_succeeded')) as given (name, event)
join organizations using (name)
join subscriptions on org_id = organizations.id;

insert into licenses (org_id, license_key_hash, status, expires_at, seats, last_validated_at, created_at)
select id, convert_to(name || number, 'UTF8'), 'active', pg_temp.ago(ended), number, pg_temp.ago('100 days'), created_at
from organizations, (values (1, interval '3 days'), (2, '-100 days')) as given (number, ended)
where name not in ('paid', 'late');

insert into projects (title, image_url)
select concat('Project ', n), concat('/uploads/image', n) from ages;

insert into collaborators (project_id, user_id, role)
select projects.id, user_id, (array['CREATOR', 'CONTRIBUTOR', 'ADVISOR'])[role]
from people, generate_series(1, 3) as role, projects
where projects.title = concat('Project ', (n + role) % 20 + 1);

insert into upvotes (user_id, project_id)
select user_id, projects.id from people join projects on projects.title < concat('Project ', n);

insert into uploads (storage_key, filename, created_at, uploader_id)
select concat(kind, n), 'a.png', at, user_id from people, unnest(array['image', 'lost']) as kind;

insert into data_requests (user_id, subject_ref, request_type, options, requested_at)
select user_id, concat('subject ', n), 'DELETION', jsonb_build_object('anonymizeContributions', n % 2 = 0), at
from people
where n > 5;

-- An administrator whose second factor fails and fails, somebody who tries passwords, and half an hour of slow requests.
update users set role = 'admin' where name = 'User 1';

insert into audit_logs (occurred_at, actor_id, action, status)
select pg_temp.ago('10 minutes'), user_id, 'auth.mfa', 'failure' from people, generate_series(1, 10) where people.n = 1;

insert into login_attempts (email, success, ip, attempted_at)
select 'nobody@example.org', false, '192.0.2.9', pg_temp.ago('10 minutes') from generate_series(1, 6);

insert into request_stats (minute, route, n, errors, sum_ms, hist)
select pg_temp.ago(age), '/v1/slow', 10, 0, 21000, array_fill(0, array[200]) || 10 || array_fill(0, array[80])
from unnest(array['5 minutes', '15 minutes', '25 minutes']::interval[]) as age;

insert into nightshift.health_checks (checked_at, overall, components, duration_ms)
select at, 'healthy', '{}', 10 from ages;

insert into nightshift.metric_rollups (scope, period_start, period_end, data)
select scope, at, at + interval '10 minutes', '{}'
from ages, unnest(array['perf_10m', 'perf_1h', 'perf_1d']) as scope;

-- A backup that failed, and may go: the last good one never does.
insert into nightshift.backups (kind, tier, scheduled_for, status, location, expires_at, started_at)
select 'logical', 'daily', at, 'failed', 'backups/' || n || '/', at + interval '7 days', at from ages where age = '20 days';

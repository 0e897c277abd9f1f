"""The audit log of four years, and the archives of its old months."""

from local.example.dataset.fill import fill
from local.example.dataset.identity import ATTACK_MINUTES, FIRST_REQUESTER, REQUESTER_STEP

EVENTS_PER_USER = 8.0
OLDER_THAN_THREE_YEARS_SHARE = 0.08  # they go
OLDER_THAN_ONE_YEAR_SHARE = 0.24  # they are anonymised
ANONYMISED_SHARE = 0.5  # of those, done on an earlier night; of the ones over three years nearly all
ARCHIVED_AFTER_DAYS = 760  # anonymised rows older than this are in an archive
LEGAL_HOLD_SHARE = 0.002
FAILED_SHARE = 0.07
NESTED_SHARE = 0.5  # metadata with personal data further down, in objects and lists, and addresses inside sentences
MFA_FAILURES = (10, 6, 5, 4)  # of four accounts within the last minutes: to be locked, told twice, and not told
BUSY_KEY_REQUESTS = 1050  # of one API key within the last minutes

FILLS = (
    fill(
        "audit_logs",
        """
        insert into audit_logs (id, occurred_at, actor_type, actor_id, api_key_id, session_id, action, category,
            severity,
            status, resource_type, resource_id, ip, country, user_agent, metadata, changes, compliance_tags, legal_hold,
            anonymized_at, archive_id)
        select key('event', k), at, case when by_key then 'api_key' else 'user' end,
            case when not by_key and not clean then people.id end,
            case when by_key then key('api key',
                1 + floor(draw('event key', k) * (select count(*) from api_keys))::int) end,
            case when not by_key and not clean then key('session', 1 + floor(draw('event session', k) * 1000)::int) end,
            action, split_part(action, '.', 1),
            case when action in ('user.delete', 'role.delete', 'permission.delete') then 'critical'
                when action in ('role.grant', 'role.revoke', 'permission.change', 'auth.lockout') then 'high'
                when starts_with(action, 'auth.') then 'medium' else 'low' end,
            case when draw('failure', k) < :failed then 'failure' when draw('failure', k) < :failed + 0.01
                then 'warning'
                else 'success' end,
            split_part(action, '.', 1), case when starts_with(action, 'user.') and not clean then email
                else key('resource', k)::text end,
            case when not clean then ip end, country, case when not clean then agent end,
            jsonb_build_object('count', 1 + mod(k, 7), 'amount', 12.50) || case when clean then '{}'
                when draw('nested', k) < :nested then jsonb_build_object(
                    'user', jsonb_build_object('fullName', first_name || ' ' || last_name, 'Phone_Number', '+00 555 '
                        || i, 'plan', 'team'),
                    'recipients', jsonb_build_array(jsonb_build_object('email', email, 'seen', true),
                        jsonb_build_object('note', 'sent to ' || upper(email) || ' and guest@example.net')),
                    'client', jsonb_build_object('userAgent', agent, 'ip', host(ip), 'retries', 0))
                else jsonb_build_object('email', email, 'name', first_name || ' ' || last_name) end,
            case when action = 'user.update' then jsonb_build_object('before', jsonb_build_object('locale', 'en'),
                'after', jsonb_build_object('locale', 'de') || case when clean then '{}'
                    else jsonb_build_object('address',
                        jsonb_build_object('street', 'Example Street 1', 'city', 'Sampletown')) end) end,
            case when starts_with(action, 'auth.') then array['SOC2'] when starts_with(action, 'user.')
                then array['GDPR', 'SOC2'] else '{}' end,
            held, case when clean then at + interval '366 days' end,
            case when clean and age > :archived
                then key('archive', extract(year from at)::int * 12 + extract(month from at)::int) end
        from (
            select k, draw('event by', k) < 0.1 as by_key, draw('hold', k) < :hold as held, case
                when draw('event age', k) < :ancient then 1096 + 364 * draw('event day', k)
                when draw('event age', k) < :ancient + :old then 366 + 729 * draw('event day', k)
                else 0.03 + 364.9 * draw('event day', k) end as age
            from generate_series(1, per_user(:ratio)) as k
            offset 0
        ) as drawn
        cross join lateral (select ago(age) as at,
            not held and age > 380 and draw('cleaned', k) < case when age > 1096 then 0.95 else :cleaned end as clean,
            case when by_key then 'api.request' else pick(array['auth.login', 'auth.login', 'auth.login', 'auth.login',
                'auth.mfa', 'auth.logout', 'user.update', 'project.update', 'project.create', 'goal.create',
                    'goal.update',
                'upload.create', 'idea.create', 'settings.change', 'export.create', case when draw('rare', k) < 0.1 then
                    pick(array['role.grant', 'role.revoke', 'permission.change', 'user.deactivate', 'user.delete',
                        'auth.lockout', 'role.delete', 'permission.delete'], draw('which rare', k))
                    else 'user.update' end], draw('action', k)) end as action offset 0) as facts
        join people on i = regular('actor', k)
        """,
        ratio=EVENTS_PER_USER,
        ancient=OLDER_THAN_THREE_YEARS_SHARE,
        old=OLDER_THAN_ONE_YEAR_SHARE,
        cleaned=ANONYMISED_SHARE,
        archived=ARCHIVED_AFTER_DAYS,
        hold=LEGAL_HOLD_SHARE,
        failed=FAILED_SHARE,
        nested=NESTED_SHARE,
    ),
    # The last minutes: failures of the second factor, six roles handed out and one of the highest, users and
    # permissions deleted, one key that asks without a pause. And a hold on people who wish to be erased.
    fill(
        "audit_logs",
        """
        insert into audit_logs (id, occurred_at, actor_type, actor_id, api_key_id, action, category, severity, status,
            resource_type, resource_id, ip, country, user_agent, metadata, legal_hold)
        select key('recent ' || action, k), present() - interval '1 minute' * minutes,
            case when action = 'api.request' then 'api_key' else 'user' end,
            case when action <> 'api.request' then id end, case when action = 'api.request' then key('api key', 1) end,
            action, split_part(action, '.', 1), severity, status, split_part(action, '.', 1), key('target', k)::text,
                ip,
            country, agent, metadata, false
        from (
            select 'auth.mfa' as action, account * 100 + k as k, 170 + account as person, 'medium' as severity,
                'failure' as status, jsonb_build_object('method', 'totp') as metadata
            from unnest(cast(:failures as int[])) with ordinality as accounts (failures, account),
                generate_series(1, failures) as k
            union all
            select 'role.grant', k, 3, 'high', 'success',
                jsonb_build_object('role', case when k = 7 then 'super_admin' else 'admin' end, 'user_id',
                    key('user', 180 + k))
            from generate_series(1, 7) as k
            union all
            select pick(array['user.delete', 'role.delete', 'permission.delete'], k / 4.0), k, 3, 'critical',
                'success', '{}'
            from generate_series(1, 3) as k
            union all
            select 'api.request', k, 5, 'low', 'success', jsonb_build_object('route', '/v1/items')
            from generate_series(1, :requests) as k
        ) as happened
        cross join lateral (select 1 + (:minutes - 2) * draw('recent', k) as minutes) as moments
        join people on i = person
        union all
        select key('held', k), ago(100 + draw('held', k)), 'user', people.id, null, 'user.update', 'user', 'low',
            'success', 'user',
            people.id::text, ip, country, agent, jsonb_build_object('case', 'C-' || k), true
        from generate_series(1, crowd()) as k join data_requests as request
            on request.id = key('request', k) and mod(k, 15) = 4 and request.status = 'PENDING'
            join people on i = :first_requester + :step * k
        """,
        failures=list(MFA_FAILURES),
        requests=BUSY_KEY_REQUESTS,
        minutes=ATTACK_MINUTES,
        first_requester=FIRST_REQUESTER,
        step=REQUESTER_STEP,
    ),
    # The rows only: whoever loads the data puts objects under these keys, or none.
    fill(
        "audit_archives",
        """
        insert into audit_archives (id, month, part, s3_key, row_count, sha256, bytes, verified_at, created_at)
        select archive_id, month, 1, 'audit/' || to_char(month, 'YYYY/MM') || '/part-1.jsonl.gz', rows,
            encode(digest('archive', extract(epoch from month)::bigint), 'hex'), rows * 110, made, made
        from (
            select archive_id, cast(date_trunc('month', min(occurred_at)) as date) as month, count(*)::int as rows
            from audit_logs where archive_id is not null group by archive_id
        ) as archived
        cross join lateral (
                select least((month + interval '25 months 4 hours') at time zone 'UTC', present()) as made
            ) as moments
        """,
    ),
)

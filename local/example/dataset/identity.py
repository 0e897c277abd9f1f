"""How people sign in: organizations, sessions, tokens, attempts, keys, invitations,
and what they asked to be erased."""

from local.example.dataset.fill import fill

ORGANIZATIONS_PER_USER = 0.02
FIRST_ORGANIZATIONS = 44  # at least so many, so that each state of a subscription occurs twice
SESSIONS_PER_USER = 4.0
SESSION_LIFE_DAYS = 30
OVERDUE_SESSION_SHARE = 0.08  # active, past their end
IDLE_SESSION_SHARE = 0.04  # active and unexpired, but unused for more than 30 days
LONG_GONE_SESSION_SHARE = 0.10  # ended more than 90 days ago
ENDED_SESSION_SHARE = 0.33  # ended less than 90 days ago; the rest is active and in use
TOKENS_PER_USER = 7.0
REFRESH_TOKEN_SHARE = 0.62  # live 30 days
VERIFICATION_TOKEN_SHARE = 0.10  # live 24 hours
RESET_TOKEN_SHARE = 0.08  # live 1 hour
DENIED_TOKEN_SHARE = 0.13  # live 15 minutes; the rest are MFA challenges, which live 5
REFRESH_OVERDUE_DAYS = 4.0  # a refresh token was issued at most its life and so long ago
SPENT_TOKEN_SHARE = 0.4  # of the tokens sent by mail
ATTEMPTS_PER_USER = 6.0
ATTEMPT_DAYS = 9.5  # seven are kept
FAILED_ATTEMPT_SHARE = 0.12
API_KEYS_PER_USER = 0.1
ENDLESS_KEY_SHARE = 0.30  # active, no expiry
OVERDUE_KEY_SHARE = 0.06  # active, past their expiry
CLOSED_KEY_SHARE = 0.10  # revoked less than 30 days ago
LONG_CLOSED_KEY_SHARE = 0.08  # revoked more than 30 days ago; the rest is active and will expire
CERTIFICATES_PER_USER = 0.004
CERTIFICATE_OVERDUE_DAYS = 10  # the oldest expired so long ago
CERTIFICATE_AHEAD_DAYS = 110
ROTATED_SHARE = 0.25  # replaced already, so nobody is told
INVITATIONS_PER_USER = 0.4
ADMIN_INVITATION_SHARE = 0.25  # the rest invites to projects
INVITATION_DAYS = 55  # the oldest pending one
ADMIN_INVITATION_LIFE_DAYS = 7
PENDING_SHARE = 0.6
PUSH_TOKENS_PER_USER = 0.8
IDLE_PUSH_SHARE = 0.2  # last used more than 90 days ago
CONSENTS_PER_USER = 2.0
REQUESTS_PER_USER = 0.003  # requests for a copy or for erasure; see the list of fifteen below, each of which occurs
ATTACK_MINUTES = 12  # the bursts below lie within so many minutes: inside the half hour that is looked at

FIRST_REQUESTER = 60
REQUESTER_STEP = 7
"""Request k is of person 60 + 7k: one request each, and none of an administrator."""

FILLS = (
    fill(
        "organizations",
        """
        insert into organizations (id, name, slug, status, timezone, suspended_at, cancelled_at, created_at, updated_at)
        select key('organization', k), trade || ' ' || form || ' ' || k, lower(trade || '-' || k),
            case mod(k, 22) when 0 then 'trial' when 1 then 'trial' when 2 then 'trial' when 11 then 'pending'
                when 12 then 'pending' when 17 then 'cancelled' when 19 then 'expired' when 20 then 'suspended'
                else 'active' end,
            zones.zone, case when mod(k, 22) = 20 then ago(12) end, case when mod(k, 22) = 17 then ago(40) end,
            ago(60 + 1400 * draw('founded', k)), ago(60 * draw('organization changed', k))
        from generate_series(1, :first + per_user(:ratio)) as k
            join zones on draw('organization zone', k) >= low and draw('organization zone', k) < high
            cross join lateral (select
                pick(array['Harbour', 'Cedar', 'Northwind', 'Saffron', 'Granite', 'Lantern', 'Meridian'],
                    draw('trade', k))
                    as trade,
                pick(array['Studio', 'Works', 'Cooperative', 'Labs', 'Partners'], draw('form', k)) as form) as named
        """,
        first=FIRST_ORGANIZATIONS,
        ratio=ORGANIZATIONS_PER_USER,
    ),
    fill(
        "sessions",
        """
        insert into sessions (id, user_id, token_hash, status, created_at, expires_at, last_activity_at, ip, country,
            device_type, user_agent, is_suspicious, suspicious_reasons, risk_score, terminated_at, termination_reason)
        select key('session', k), id, digest('session', k), status, ago(begun), ago(begun - :life * lives), ago(used),
            ip, country, case when agent ~ 'Mobile' then 'mobile' else 'desktop' end, agent, false, '{}',
            floor(30 * draw('risk', k))::int, ago(ended),
            case status when 'expired' then 'expired' when 'revoked' then 'logout' when 'suspended' then 'locked' end
        from (
            select k, someone('session', k) as owner, draw('session age', k) as age, case
                when draw('session', k) < :overdue then 'overdue'
                when draw('session', k) < :overdue + :idle then 'idle'
                when draw('session', k) < :overdue + :idle + :long_gone then 'long gone'
                when draw('session', k) < :overdue + :idle + :long_gone + :ended then 'ended'
                else 'live' end as phase
            from generate_series(1, per_user(:ratio)) as k
            offset 0
        ) as drawn
        cross join lateral (select
            case when phase not in ('long gone', 'ended') then 'active'
                else pick(array['expired', 'expired', 'revoked', 'revoked', 'revoked', 'suspended'], draw('ending', k))
                end as status,
            case phase when 'long gone' then 90.5 + 10 * age when 'ended' then 89 * age end as ended,
            -- remembered devices have sessions of three lives: only those can be idle for a month and unexpired
            case phase when 'idle' then 3 else 1 end as lives
            offset 0
        ) as fate
        cross join lateral (select case phase when 'overdue' then :life + 1.5 * age when 'idle' then 45 + 40 * age
            when 'live' then :life * 0.95 * age else ended + :life * draw('session length', k) end as begun offset 0)
                as start
        cross join lateral (select case phase when 'idle' then 30.5 + 14 * age when 'live' then begun * draw('used', k)
            when 'overdue' then begun - 25 * draw('used', k) else ended end as used) as usage
        join people on i = owner
        """,
        ratio=SESSIONS_PER_USER,
        life=SESSION_LIFE_DAYS,
        overdue=OVERDUE_SESSION_SHARE,
        idle=IDLE_SESSION_SHARE,
        long_gone=LONG_GONE_SESSION_SHARE,
        ended=ENDED_SESSION_SHARE,
    ),
    # What the security rules look for: one account from three addresses, a sign-in from another country, and sessions
    # that the application itself marked.
    fill(
        "sessions",
        """
        insert into sessions (id, user_id, token_hash, created_at, expires_at, last_activity_at, ip, country,
            device_type, user_agent, is_suspicious, suspicious_reasons, risk_score)
        select key('strange session', k), id, digest('strange session', k), begun, begun + interval '30 days', begun,
            inet '203.0.113.0' + k, case when k <= 15 then country when country = 'NZ' then 'AR' else 'NZ' end,
            'desktop', agent, k > 21, case when k > 21 then array['impossible_travel', 'new_device'] else '{}' end,
            case when k > 21 then 90 else 40 end
        from generate_series(1, 25) as k
            join people on i = case when k <= 15 then 50 + mod(k, 5) else 80 + k end
            cross join lateral (select present() - interval '1 minute' * (1 + (:minutes - 2) * draw('strange', k))
                as begun)
                as moment
        """,
        minutes=ATTACK_MINUTES,
    ),
    fill(
        "auth_tokens",
        """
        insert into auth_tokens (id, kind, user_id, session_id, token_hash, issued_at, expires_at, used_at, revoked_at,
            replaced_by)
        select key('token', k), kind, people.id,
            case when kind = 'refresh' then key('session', session) end, digest('token', k), issued, issued + life,
            case when (kind = 'refresh' and replaced) or (kind in ('email_verification', 'password_reset')
                and draw('spent', k) < :spent) then least(issued + life * 0.4 * draw('spent', -k), present()) end,
            case when kind = 'refresh' and draw('revoked', k) < 0.03 then least(issued + life / 2, present()) end,
            case when kind = 'refresh' and replaced then key('token', k + 1) end
        from (
            select k, case when k <= tokens * :refresh then 'refresh'
                    when k <= tokens * (:refresh + :verification) then 'email_verification'
                    when k <= tokens * (:refresh + :verification + :reset) then 'password_reset'
                    when k <= tokens * (:refresh + :verification + :reset + :denied) then 'access_denylist'
                    else 'mfa_challenge' end as kind,
                draw('replaced', k) < 0.1 and k + 1 <= tokens * :refresh as replaced,
                1 + floor(draw('token session', k) * per_user(:sessions))::int as session
            from (select per_user(:ratio) as tokens) as given, generate_series(1, tokens) as k
            offset 0
        ) as drawn
        cross join lateral (select case kind when 'refresh' then interval '30 days'
            when 'email_verification' then interval '24 hours' when 'password_reset' then interval '1 hour'
            when 'access_denylist' then interval '15 minutes' else interval '5 minutes' end as life) as kinds
        cross join lateral (select present() - draw('issued', k) * case kind
            when 'refresh' then life + interval '1 day' * :overdue when 'access_denylist' then interval '40 minutes'
            when 'mfa_challenge' then interval '15 minutes' else life * 1.4 end as issued offset 0) as moment
        join people on i = case when kind = 'refresh' then someone('session', session) else someone('token', k) end
        """,
        ratio=TOKENS_PER_USER,
        sessions=SESSIONS_PER_USER,
        refresh=REFRESH_TOKEN_SHARE,
        verification=VERIFICATION_TOKEN_SHARE,
        reset=RESET_TOKEN_SHARE,
        denied=DENIED_TOKEN_SHARE,
        overdue=REFRESH_OVERDUE_DAYS,
        spent=SPENT_TOKEN_SHARE,
    ),
    fill(
        "login_attempts",
        """
        insert into login_attempts (user_id, email, success, failure_reason, ip, country, user_agent, attempted_at)
        select id, email, success, case when not success then pick(array['wrong_password', 'wrong_password',
            'unknown_device', 'mfa_timeout'], draw('reason', k)) end, ip, country, agent,
            -- nothing in the last half hour: that is written below, so that no rule is hit by chance
            present() - interval '31 minutes' - :days * draw('attempted', k) * interval '1 day'
        from generate_series(1, per_user(:ratio)) as k
            join people on i = someone('attempt', k)
            cross join lateral (select draw('success', k) >= :failed as success) as outcome
        """,
        ratio=ATTEMPTS_PER_USER,
        days=ATTEMPT_DAYS,
        failed=FAILED_ATTEMPT_SHARE,
    ),
    # Bursts: six addresses with 5 to 10 failures on many accounts, the first with 24; five accounts with 6 failures
    # from as many addresses; and two of those that then got in.
    fill(
        "login_attempts",
        """
        insert into login_attempts (user_id, email, success, failure_reason, ip, country, user_agent, attempted_at)
        select id, email, success, case when not success then 'wrong_password' end, source, 'NZ', 'curl/8.9',
            present() - interval '1 minute' * least(:minutes, 1 + minutes)
        from (
            select 200 + burst * 30 + k as person, false as success, inet '203.0.113.100' + burst as source,
                (:minutes - 2) * draw('burst', burst * 100 + k) as minutes
            from generate_series(1, 6) as burst, generate_series(1, case when burst = 1 then 24 else 4 + burst end) as k
            union all
            select 150 + account, false, inet '203.0.113.150' + account * 8 + k, 2.0 + k
            from generate_series(1, 5) as account, generate_series(1, 6) as k
            union all
            select 150 + account, true, inet '203.0.113.158' + account * 8, 1.0 from generate_series(1, 2) as account
        ) as burst
        left join people on i = 1 + mod(person, living())
        """,
        minutes=ATTACK_MINUTES,
    ),
    fill(
        "api_keys",
        """
        insert into api_keys (id, user_id, org_id, name, key_prefix, key_hash, is_active, expires_at, last_used_at,
            revoked_at, revoke_reason, created_at)
        select key('api key', k), case when draw('key owner', k) < 0.75 then people.id end,
            case when draw('key owner', k) >= 0.75
                then key('organization', 1 + floor(draw('key org', k) * (select count(*) from organizations))::int) end,
            pick(array['deploy', 'reporting', 'mobile', 'import', 'webhook'], draw('key name', k)) || '-' || k,
            'nk_' || substr(encode(digest('key', k), 'hex'), 1, 8), digest('key', k),
                phase in ('endless', 'overdue', 'open'),
            case phase when 'overdue' then ago(0.2 + 3 * age) when 'open' then ago(-0.2 - 200 * age * age)
                when 'endless' then null when 'closed' then ago(29 * age) else ago(31 + 60 * age) end,
            ago(20 * draw('key used', k)), case phase when 'closed' then ago(29 * age) when 'long closed'
                then ago(31 + 60 * age) end,
            case when phase in ('closed', 'long closed') then pick(array['rotated', 'leaked', 'expired'], age) end,
            ago(95 + 400 * draw('key made', k))
        from (
            select k, draw('key age', k) as age, case
                when draw('key phase', k) < :endless then 'endless' when draw('key phase', k) < :endless + :overdue
                    then 'overdue'
                when draw('key phase', k) < :endless + :overdue + :closed then 'closed'
                when draw('key phase', k) < :endless + :overdue + :closed + :long_closed then 'long closed'
                else 'open' end as phase
            from generate_series(1, per_user(:ratio)) as k
        ) as drawn join people on i = someone('api key', k)
        """,
        ratio=API_KEYS_PER_USER,
        endless=ENDLESS_KEY_SHARE,
        overdue=OVERDUE_KEY_SHARE,
        closed=CLOSED_KEY_SHARE,
        long_closed=LONG_CLOSED_KEY_SHARE,
    ),
    fill(
        "certificates",
        """
        insert into certificates (id, kind, label, owner_user_id, expires_at, rotated_at)
        select key('certificate', k), kind, kind || '-' || k || '.example.org', case when draw('owned', k) < 0.8
            then id end,
            ago(:overdue - (:overdue + :ahead) * draw('certificate', k)),
            case when draw('rotated', k) < :rotated then ago(20 * draw('rotated', -k)) end
        from generate_series(1, 12 + per_user(:ratio)) as k
            join people on i = 3 + mod(k, 30)
            cross join lateral (select pick(array['tls', 'tls', 'signing_key', 'service_account'], draw('kind', k))
                as kind)
                as kinds
        """,
        ratio=CERTIFICATES_PER_USER,
        overdue=CERTIFICATE_OVERDUE_DAYS,
        ahead=CERTIFICATE_AHEAD_DAYS,
        rotated=ROTATED_SHARE,
    ),
    fill(
        "invitations",
        """
        insert into invitations (id, kind, email, role, project_id, invited_by, token_hash, status, created_at,
            expires_at, accepted_at, declined_at)
        select key('invitation', k), kind, 'guest' || k || '@example.net',
            case when kind = 'admin' then pick(array['admin', 'support', 'viewer'], draw('offer', k))
                else 'CONTRIBUTOR' end,
            case when kind = 'project' then key('project',
                1 + floor(draw('invited to', k) * (select count(*) from projects))::int) end,
            id, digest('invitation', k), status, made,
            -- project invitations do not expire by themselves
            case when kind = 'admin' then made + interval '1 day' * :life end,
            case when status = 'accepted' then made + interval '1 day' * least(5, age) * draw('answered', k) end,
            case when status = 'declined' then made + interval '1 day' * least(5, age) * draw('answered', k) end
        from (
            select k, case when draw('invitation kind', k) < :admin then 'admin' else 'project' end as kind,
                case when draw('pending', k) < :pending then 'pending' else
                    pick(array['accepted', 'accepted', 'accepted', 'declined', 'revoked', 'expired'],
                        draw('answer', k)) end as status,
                :days * draw('invited', k) as age
            from generate_series(1, per_user(:ratio)) as k
        ) as drawn
        cross join lateral (select ago(case when kind = 'admin' and status = 'pending' then age / 5 else age end)
            as made)
            as moment
        join people on i = someone('inviter', k)
        """,
        ratio=INVITATIONS_PER_USER,
        admin=ADMIN_INVITATION_SHARE,
        days=INVITATION_DAYS,
        life=ADMIN_INVITATION_LIFE_DAYS,
        pending=PENDING_SHARE,
    ),
    fill(
        "push_tokens",
        """
        insert into push_tokens (id, user_id, token, platform, created_at, last_used_at)
        select key('push', k), id, 'push-' || encode(digest('push', k), 'hex'),
            pick(array['ios', 'android', 'web'], draw('platform', k)), ago(idle + 200 * draw('push made', k)),
            -- some were registered and never used: their age counts from then
            case when draw('push used', k) < 0.85 then ago(idle) end
        from generate_series(1, per_user(:ratio)) as k
            join people on i = someone('push', k)
            cross join lateral (select case when draw('push', k) < :idle then 90.5 + 200 * draw('push idle', k)
                else 60 * draw('push idle', k) end as idle) as usage
        """,
        ratio=PUSH_TOKENS_PER_USER,
        idle=IDLE_PUSH_SHARE,
    ),
    fill(
        "consent_records",
        """
        insert into consent_records (id, user_id, consent_type, granted, granted_at, revoked_at, ip, user_agent)
        select key('consent', k), id, pick(array['terms', 'privacy', 'marketing', 'analytics'], draw('consent', k)),
            draw('granted', k) < 0.85, case when draw('granted', k) < 0.9 then ago(joined_days) end,
            case when draw('granted', k) between 0.85 and 0.9 then ago(joined_days * draw('withdrawn', k)) end, ip,
                agent
        from generate_series(1, per_user(:ratio)) as k join people on i = someone('consent', k)
        """,
        ratio=CONSENTS_PER_USER,
    ),
    # Fifteen kinds in turn. Due for erasure: anonymised by default (1), deleted (2), anonymised on request (3), held
    # for legal reasons (4), anonymised because the option is not a plain false (5), the person gone already (0). Not
    # due yet (6, 7); done (8 anonymised, 9 deleted); withdrawn (10); copies asked for and sent (11, 12); blocked (13);
    # given up after five attempts (14).
    fill(
        "data_requests",
        """
        insert into data_requests (id, user_id, subject_ref, request_type, status, options, requested_at, completed_at,
            attempts, last_error)
        select key('request', k),
            case when turn in (0, 9) then null
                when turn = 8 then key('user', living() + 1 + mod(k, crowd() - living())) else people.id end,
            encode(digest('subject', k), 'hex'), case when turn in (11, 12) then 'EXPORT' else 'DELETION' end,
            case when turn <= 7 or turn = 11 then 'PENDING' when turn in (8, 9, 12) then 'COMPLETED'
                when turn = 10 then 'CANCELLED' when turn = 13 then 'BLOCKED' else 'FAILED' end,
            case turn when 2 then jsonb_build_object('anonymizeContributions', false)
                when 9 then jsonb_build_object('anonymizeContributions', false)
                when 3 then jsonb_build_object('anonymizeContributions', true)
                when 5 then jsonb_build_object('anonymizeContributions', 'false') else '{}' end,
            asked, case when turn in (8, 9) then asked + interval '30 days 4 hours'
                when turn = 12 then asked + interval '2 hours' end,
            case turn when 14 then 5 when 1 then mod(k, 2) else 0 end,
            case turn when 13 then 'legal hold' when 14 then 'lock timeout' end
        from generate_series(1, greatest(15, per_user(:ratio))) as k
            cross join lateral (select mod(k, 15) as turn) as turns
            cross join lateral (select ago(case when turn <= 5 then 30.2 + 3 * draw('asked', k)
                when turn in (6, 7) then 29 * draw('asked', k) when turn = 11 then 5 * draw('asked', k)
                else 40 + 300 * draw('asked', k) end) as asked) as moment
            join people on i = :first + :step * k
        """,
        ratio=REQUESTS_PER_USER,
        first=FIRST_REQUESTER,
        step=REQUESTER_STEP,
    ),
)

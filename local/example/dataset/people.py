"""The users: who they are, when they joined, when they were last active, and which notices they want."""

from local.example.dataset.fill import fill

GONE_SHARE = 0.015  # users erased earlier: an anonymised row is left of them, and nothing else
DEACTIVATED_SHARE = 0.03  # switched off by an administrator, data still there
NEVER_SEEN_SHARE = 0.03  # registered and never signed in
SEEN_THESE_DAYS_SHARE = 0.42  # active within the last three days
SEEN_THIS_WEEK_SHARE = 0.12  # away for three to seven days: they get the nudge
SEEN_THIS_QUARTER_SHARE = 0.26  # away for a week to three months; the rest for longer, up to 600 days
OLDEST_ACCOUNT_DAYS = 1460  # four years; newer accounts are more frequent
LOGIN_BEFORE_ACTIVITY_DAYS = 2  # the last login is at most so long before the last activity
ADMIN_SHARE = 0.002  # administrators, besides two super administrators
SUPPORT_SHARE = 0.005
ANALYST_SHARE = 0.01
VIEWER_SHARE = 0.03
INVALID_ZONE_SHARE = 0.004  # names no time zone database knows
MEMBER_SHARE = 0.6  # belong to an organization
UNVERIFIED_SHARE = 0.05
MFA_SHARE = 0.25  # of ordinary users
PRIVILEGED_MFA_SHARE = 0.9  # of everybody with a role: some have yet to be reminded
PASSWORD_DAYS = 90  # a privileged password lasts so long
PASSWORD_OVERDUE_DAYS = 10  # and some are overdue by up to this
PASSWORD_AHEAD_DAYS = 60  # or have up to this left, so that each threshold is met by somebody
LOCKED_SHARE = 0.002
AVATAR_SHARE = 0.35
KARMA_DRIFT_SHARE = 0.06  # stored karma that no longer agrees with collaborations and votes
PREFERENCES_SHARE = 0.4  # have saved preferences; for the rest the defaults hold
REFUSAL_SHARE = 0.12  # of each preference, among those who saved them
QUIET_SHARE = 0.3  # keep quiet hours, half of them over midnight

ZONES = (
    # name, country, weight: most people live in a few zones, and every offset is inhabited, :30 and :45 included
    ("UTC", "GB", 14),
    ("Europe/Berlin", "DE", 12),
    ("Europe/London", "GB", 9),
    ("America/New_York", "US", 10),
    ("America/Los_Angeles", "US", 7),
    ("America/Chicago", "US", 5),
    ("Asia/Kolkata", "IN", 8),
    ("Asia/Karachi", "PK", 4),
    ("Asia/Jakarta", "ID", 4),
    ("Africa/Cairo", "EG", 3),
    ("Europe/Istanbul", "TR", 3),
    ("Asia/Tokyo", "JP", 3),
    ("Asia/Kathmandu", "NP", 1.5),
    ("America/St_Johns", "CA", 1),
    ("Australia/Eucla", "AU", 0.5),
    ("Australia/Adelaide", "AU", 1),
    ("Australia/Sydney", "AU", 2),
    ("Australia/Lord_Howe", "AU", 0.3),
    ("Asia/Tehran", "IR", 1),
    ("Asia/Kabul", "AF", 0.5),
    ("Asia/Yangon", "MM", 0.5),
    ("Asia/Dubai", "AE", 1.5),
    ("Asia/Dhaka", "BD", 1.5),
    ("Asia/Shanghai", "CN", 1.5),
    ("Pacific/Noumea", "NC", 0.3),
    ("Pacific/Auckland", "NZ", 1),
    ("Pacific/Chatham", "NZ", 0.2),
    ("Pacific/Kiritimati", "KI", 0.2),
    ("Pacific/Pago_Pago", "AS", 0.2),
    ("Pacific/Honolulu", "US", 0.5),
    ("Pacific/Marquesas", "PF", 0.2),
    ("America/Anchorage", "US", 0.5),
    ("America/Denver", "US", 1),
    ("America/Halifax", "CA", 0.7),
    ("America/Sao_Paulo", "BR", 2),
    ("America/Noronha", "BR", 0.2),
    ("Atlantic/Azores", "PT", 0.4),
)
INVALID_ZONES = ("Mars/Olympus_Mons", "Europe/Atlantis", "GMT+25", "")
FIRST_NAMES = (
    "Aaliyah Adam Aisha Amara Anders Anika Arjun Beatriz Bilal Camille Carlos Chen Dalia Daniel Elif Emeka Emma Fatima "
    "Felix Freya Gabriel Grace Hana Hassan Hugo Ibrahim Ines Isabel Jamal Jonas Kavya Kenji Khadija Lars Leila Liam "
    "Lucia Maryam Mateo Mei Mila Mohan Nadia Noah Nora Omar Priya Rafael Rosa Samir Sara Sofia Tariq Tomas Uma Victor "
    "Wanda Yara Yusuf Zoe"
)
LAST_NAMES = (
    "Abbott Ahmed Alvarez Andersen Bauer Becker Bello Bianchi Carter Castro Chowdhury Costa Dubois Eriksen Farouk "
    "Fischer Fontaine Garcia Haddad Hansen Hughes Ibarra Ito Jansen Joshi Kaya Keller Khan Kowalski Larsen Lopez "
    "Malik Marino Mensah Moreau Nakamura Nguyen Novak Okafor Olsen Patel Pereira Petrov Qureshi Rahman Reyes Rossi "
    "Sato Schmidt Sharma Silva Singh Suzuki Tanaka Torres Usman Vargas Weber Yilmaz Zhang"
)
AGENTS = (
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) Firefox/131.0",
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 14_6) Safari/605.1.15",
    "Mozilla/5.0 (X11; Linux x86_64) Chrome/129.0",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) Mobile/15E148",
    "Mozilla/5.0 (Linux; Android 15) Chrome/129.0 Mobile",
)

# A row a user, with what later statements need: days since joining and since last seen, and the clock they live by.
PEOPLE = (
    fill(
        "zones",
        """
        create table zones as
        select zone, country, coalesce(sum(weight) over before, 0) / sum(weight) over () as low,
            (coalesce(sum(weight) over before, 0) + weight) / sum(weight) over () as high
        from unnest(cast(:zones as text[]), cast(:countries as text[]), cast(:weights as float8[]))
            with ordinality as t (zone, country, weight, position)
        window before as (order by position rows between unbounded preceding and 1 preceding)
        """,
        zones=[zone for zone, _, _ in ZONES],
        countries=[country for _, country, _ in ZONES],
        weights=[float(weight) for _, _, weight in ZONES],
    ),
    fill(
        "people",
        """
        create table people as
        select i, key('user', i) as id, i > living() as gone, zones.zone as clock, zones.country, joined_days,
            -- nobody was seen before they joined
            case when seen >= :never then least(joined_days, age) end as idle_days,
            case when draw('invalid zone', i) < :invalid
                then pick(cast(:invalid_zones as text[]), draw('which invalid zone', i)) else zones.zone end as zone,
            pick(cast(:first_names as text[]), draw('first name', i)) as first_name,
            pick(cast(:last_names as text[]), draw('last name', i)) as last_name,
            pick(cast(:agents as text[]), draw('agent', i)) as agent,
            -- address ranges that belong to nobody: benchmarking, and documentation of IPv6
            case when draw('ip version', i) < 0.8 then inet '198.18.0.0' + mod(i, 131072) else inet '2001:db8::' + i
                end as ip,
            case when i <= 2 then 'super_admin' when i <= 2 + per_user(:admin) then 'admin'
                when roles < :support then 'support' when roles < :support + :analyst then 'analyst'
                when roles < :support + :analyst + :viewer then 'viewer' else 'user' end as role
        from (
            select i, joined_days, seen, draw('role', i) as roles, draw('zone', i) as where_from,
                case when i <= 2 + per_user(:admin) then draw('age', i)
                    when seen >= 1 - :days then 3 * draw('age', i)
                    when seen >= 1 - :days - :week then 3 + 4 * draw('age', i)
                    when seen >= 1 - :days - :week - :quarter then 7 + 83 * draw('age', i)
                    else 90 + 510 * draw('age', i) end as age
            from (
                select i, 0.01 + :oldest * power(draw('joined', i), 1.6) as joined_days,
                    case when i <= 2 + per_user(:admin) then 1 else draw('seen', i) end as seen
                from generate_series(1, crowd()) as i
            ) as joined
        ) as drawn join zones on where_from >= low and where_from < high
        """,
        never=NEVER_SEEN_SHARE,
        days=SEEN_THESE_DAYS_SHARE,
        week=SEEN_THIS_WEEK_SHARE,
        quarter=SEEN_THIS_QUARTER_SHARE,
        oldest=OLDEST_ACCOUNT_DAYS,
        admin=ADMIN_SHARE,
        support=SUPPORT_SHARE,
        analyst=ANALYST_SHARE,
        viewer=VIEWER_SHARE,
        invalid=INVALID_ZONE_SHARE,
        invalid_zones=list(INVALID_ZONES),
        first_names=FIRST_NAMES.split(),
        last_names=LAST_NAMES.split(),
        agents=list(AGENTS),
    ),
    # A person's own address, and the organization they belong to.
    fill(
        "people",
        """
        alter table people add primary key (i);
        alter table people add email text generated always as (
            lower(first_name || '.' || last_name) || i
                || (array['@example.com', '@example.org', '@example.net'])[1 + mod(i, 3)]
        ) stored;
        analyze people
        """,
    ),
)

FILLS = (
    fill(
        "user_preferences",
        """
        insert into user_preferences (user_id, goal_reminders, general, weekly_report, monthly_report,
            break_reminders, email_enabled, push_enabled, quiet_start, quiet_end)
        select id, draw('goal reminders', i) >= :refusal, draw('general', i) >= :refusal,
            draw('weekly report', i) >= :refusal, draw('monthly report', i) >= :refusal,
            draw('break reminders', i) >= :refusal, draw('email', i) >= :refusal, draw('push', i) >= :refusal,
            case when draw('quiet', i) < :quiet / 2 then time '22:00' when draw('quiet', i) < :quiet
                then time '00:30' end,
            case when draw('quiet', i) < :quiet then time '07:00' end
        from people where not gone and draw('preferences', i) < :share
        """,
        share=PREFERENCES_SHARE,
        refusal=REFUSAL_SHARE,
        quiet=QUIET_SHARE,
    ),
    # Comes after the community and the requests: karma follows from the one, deletion_requested_at from the other.
    fill(
        "users",
        """
        with popularity as (select project_id, count(*) as votes from upvotes group by project_id),
        earned as (
            select user_id, sum(
                floor(coalesce(votes, 0) * case collaborators.role when 'CREATOR' then 1 when 'CONTRIBUTOR' then 0.5
                    else 0.25 end)
                + case when is_featured and collaborators.role = 'CREATOR' then 100 else 0 end
            ) as karma
            from collaborators join projects on projects.id = project_id left join popularity using (project_id)
            group by user_id
        )
        insert into users (id, org_id, email, name, bio, avatar_url, role, is_active, timezone, locale, password_hash,
            password_changed_at, email_verified_at, mfa_enabled, locked_until, locked_reason, last_login_at,
            last_activity_at, last_known_country, karma, show_email_on_profile, include_in_search,
            show_activity_publicly, deletion_requested_at, created_at, updated_at)
        select id, case when draw('member', i) < :member then
                key('organization', 1 + floor(draw('organization', i) * (select count(*) from organizations))::int) end,
            email, first_name || ' ' || last_name,
            case when draw('bio', i) < 0.3 then 'I build things. Write to me at ' || email || '.' end,
            case when draw('avatar', i) < :avatar then pick(
                array['/uploads/', 'https://cdn.example.com/uploads/', 'https://www.example.org/media/uploads/'],
                draw('avatar url', i)
            ) || key('avatar', i) || case when draw('photo name', i) < 0.05 then chr(37) || '20photo' else '' end
                || '.jpg'
            || case when draw('avatar version', i) < 0.3 then '?v=2' else '' end end,
            role, draw('deactivated', i) >= :deactivated or i <= 2, zone,
            pick(array['en', 'de', 'fr', 'tr', 'id'], draw('locale', i)), '$argon2id$'
                || encode(digest('password', i), 'hex'),
            ago(least(joined_days, case when role = 'user' then 700 * draw('password', i) else
                :password_days - (draw('password', i) * (:overdue + :ahead) - :overdue) end)),
            case when draw('unverified', i) >= :unverified then ago(joined_days) + interval '5 minutes' end,
            draw('mfa', i) < case when role = 'user' then :mfa else cast(:privileged_mfa as float8) end,
            case when draw('locked', i) < :locked and i > 2 then present() + interval '20 minutes' end,
            case when draw('locked', i) < :locked and i > 2 then 'too many attempts' end,
            ago(least(joined_days, idle_days + :login_before * draw('login', i))), ago(idle_days),
            case when idle_days is not null then country end,
            coalesce(karma, 0) + case when draw('drift', i) < :drift then 1 + floor(40 * draw('drift size', i))
                else 0 end,
            draw('show email', i) < 0.1, draw('in search', i) < 0.9, draw('activity public', i) < 0.8,
            requested_at, ago(joined_days), ago(coalesce(idle_days, joined_days))
        from people left join earned on earned.user_id = id left join (
            select user_id, requested_at from data_requests where request_type = 'DELETION' and status = 'PENDING'
        ) as deletion on deletion.user_id = id
        where not gone
        """,
        member=MEMBER_SHARE,
        avatar=AVATAR_SHARE,
        deactivated=DEACTIVATED_SHARE,
        unverified=UNVERIFIED_SHARE,
        mfa=MFA_SHARE,
        privileged_mfa=PRIVILEGED_MFA_SHARE,
        password_days=PASSWORD_DAYS,
        overdue=PASSWORD_OVERDUE_DAYS,
        ahead=PASSWORD_AHEAD_DAYS,
        locked=LOCKED_SHARE,
        login_before=LOGIN_BEFORE_ACTIVITY_DAYS,
        drift=KARMA_DRIFT_SHARE,
    ),
    # As an earlier erasure left them.
    fill(
        "users",
        """
        insert into users (id, email, name, is_active, include_in_search, show_activity_publicly,
            anonymized_at, deleted_at, created_at, updated_at)
        select id, 'deleted-' || id || '@deleted.invalid', '[Deleted User]', false, false, false, gone_at, gone_at,
            ago(joined_days), gone_at
        from people cross join lateral (select ago(joined_days * draw('gone', i)) as gone_at) as erased
        where gone
        """,
    ),
)

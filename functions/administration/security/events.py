"""The events that the rules of security-alerts look for: SELECTs, from `:since` on and before `:until`.

A rule that counts looks at windows of 30 minutes, half open: two events exactly 30 minutes apart are in none together.
`:since` lies 30 minutes before `:settled`, the end of the last good run, so that a window across it is whole. What is
not counted is looked at once, from `:settled` on, where noting it twice would not be noticed.
"""

MEDIUM, HIGH, CRITICAL = 1, 2, 3  # positions in application.alerts.sightings.SEVERITIES

LESS_THAN_A_WINDOW = "interval '29 minutes 59.999999 seconds'"

NO_ID = "!~ '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$'"


def bursts(source: str, *, at_least: int, rank: str = str(HIGH)) -> str:
    """The events of `source` (raw, personal, at) that lie in a window with so many of the same `raw`."""
    return f"""
        with source as not materialized ({source}),
        counted as (
            select raw, personal, at,
                count(*) over (partition by raw order by at range {LESS_THAN_A_WINDOW} preceding) as n
            from source
            where raw in (select raw from source group by raw having count(*) >= {at_least})
        ),
        reached as (
            select raw, personal, at, max(n) over (
                partition by raw order by at range between current row and {LESS_THAN_A_WINDOW} following
            ) as peak
            from counted
        )
        select raw, personal, at, {rank} as rank, peak, cast(null as text) as note from reached where peak >= {at_least}
    """  # noqa: S608 - constants of this module


def audited(actions: str, *, raw: str, which: str = "true", personal: str = "false") -> str:
    """Rows of the audit log as events."""
    return f"""
        select {raw} as raw, {personal} as personal, occurred_at as at
        from audit_logs
        where action in ({actions}) and occurred_at >= :since and occurred_at < :until and {raw} is not null and {which}
    """  # noqa: S608 - constants of this module


# An attempt without a user may have been for one all the same: then its address says so. Only those are looked up.
ATTEMPTS = """
    select lower(email) collate "C" as email, attempted_at as at, success,
        coalesce(
            user_id, (select id from users where lower(users.email) = lower(login_attempts.email))
        )::text collate "C" as user_id
    from login_attempts
    where attempted_at >= :since and attempted_at < :until
"""

FAILED_BY_ADDRESS = """
    select host(ip) collate "C" as raw, true as personal, attempted_at as at
    from login_attempts
    where not success and ip is not null and attempted_at >= :since and attempted_at < :until
        and not exists (select from nightshift.trusted_networks where ip <<= network)
"""

FAILED_BY_ACCOUNT = f"""
    select coalesce(user_id, email) as raw, user_id is null as personal, at
    from ({ATTEMPTS}) as attempt where not success and coalesce(user_id, email) is not null
"""  # noqa: S608 - constants of this module

SUCCESS_AFTER_FAILURES = f"""
    with attempt as not materialized (select coalesce(user_id, email) as raw, * from ({ATTEMPTS}) as one),
    counted as (
        select raw, user_id is null as personal, at, success, count(*) filter (where not success)
            over (partition by raw order by at range {LESS_THAN_A_WINDOW} preceding) as failures
        from attempt
        where raw in (select raw from attempt where not success group by raw having count(*) >= 5)
    )
    select raw, personal, at, {CRITICAL} as rank, failures as peak, cast(null as text) as note
    from counted where success and failures >= 5
"""  # noqa: S608 - constants of this module

# A session tells only when it was used last. One that is in use all the time has been used since the run's time, when
# the run looks: it counts as used up to it, for as long as until the next run.
MANY_ADDRESSES = f"""
    with used as materialized (
        select user_id, ip, least(last_activity_at, cast(:until as timestamptz) - interval '1 microsecond') as at
        from sessions
        where last_activity_at >= :since and last_activity_at < cast(:until as timestamptz) + interval '15 minutes'
            and created_at < :until and status = 'active' and expires_at > :until and ip is not null
    ),
    reached as (
        select later.user_id, later.at, count(distinct earlier.ip) as n
        from used later
        join used earlier on earlier.user_id = later.user_id
            and earlier.at <= later.at and earlier.at >= later.at - {LESS_THAN_A_WINDOW}
        where later.user_id in (select user_id from used group by user_id having count(distinct ip) >= 3)
        group by later.user_id, later.at
        having count(distinct earlier.ip) >= 3
    )
    select user_id::text as raw, false as personal, at, {MEDIUM} as rank, n as peak, cast(null as text) as note
    from used join lateral (
        select max(n) as n from reached
        where reached.user_id = used.user_id
            and reached.at >= used.at and reached.at <= used.at + {LESS_THAN_A_WINDOW}
    ) as most on n is not null
"""  # noqa: S608 - constants of this module

NEW_COUNTRY = f"""
    select user_id::text as raw, false as personal, at, {MEDIUM} as rank, 1 as peak, before || ' to ' || country as note
    from (
        select session.user_id, session.created_at as at, session.country,
            coalesce(
                lag(session.country) over (partition by session.user_id order by session.created_at, session.id),
                person.last_known_country
            ) as before
        from sessions session join users person on person.id = session.user_id
        where session.created_at >= :settled and session.created_at < :until and session.country is not null
    ) as seen
    where country <> before
"""  # noqa: S608 - constants of this module

GRANTS = "'role.grant', 'permission.change'"
GRANTEE = "coalesce(resource_id, actor_id::text, 'unknown')"


def granting(roles: str) -> str:
    """Only what was done, and gave one of these roles, wherever the application notes which."""
    places = "changes #>> '{role}', changes #>> '{role,new}', changes #>> '{role,to}', changes #>> '{after,role}'"
    return f"status <> 'failure' and array[metadata #>> '{{role}}', {places}] && array[{roles}]"


def single(source: str) -> str:
    """Events each of which is worth an alert."""
    return f"select raw, personal, at, {HIGH} as rank, 1 as peak, cast(null as text) as note from ({source}) as event"  # noqa: S608


SUSPICIOUS = """
    select user_id::text as raw, false as personal, created_at as at
    from sessions where is_suspicious and created_at >= :since and created_at < :until
"""

FAILED_JOBS = f"""
    select job as raw, false as personal, finished_at as at, {CRITICAL} as rank, 1 as peak, id::text as note
    from nightshift.runs
    where state = 'failed' and mode = 'apply' and finished_at >= :since and finished_at < :until
        and job = any(cast(:critical_jobs as text[]))
"""  # noqa: S608 - constants of this module

FAILED_MFA = audited("'auth.mfa'", raw="actor_id::text", which="status = 'failure'")

"""The rules of security-alerts: what each is called, what it tells people, and the events that hit it."""

from dataclasses import dataclass

from application.alerts import JOB_FAILURE, Wording
from functions.administration.security.events import (
    CRITICAL,
    FAILED_BY_ACCOUNT,
    FAILED_BY_ADDRESS,
    FAILED_JOBS,
    FAILED_MFA,
    GRANTEE,
    GRANTS,
    HIGH,
    MANY_ADDRESSES,
    NEW_COUNTRY,
    NO_ID,
    SUCCESS_AFTER_FAILURES,
    SUSPICIOUS,
    audited,
    bursts,
    granting,
    single,
)


@dataclass(frozen=True)
class Rule:
    """events: see `application.alerts.note_events`. concerns: what its subjects are."""

    name: str
    concerns: str
    wording: Wording
    events: str
    to_super_admins: bool = False

    @property
    def details(self) -> str:
        if self.name == JOB_FAILURE:
            return "jsonb_build_object('job', subject, 'run_id', note)"
        subject = f"concat_ws(' ', '{self.concerns}', subject)"
        return f"jsonb_strip_nulls(jsonb_build_object('subject', {subject}, 'most_in_30_minutes', peak, 'note', note))"


RULES = (
    Rule(
        "failed_logins_by_address",
        "address",
        Wording("many failed sign-ins from one address", "One address has failed to sign in again and again."),
        bursts(FAILED_BY_ADDRESS, at_least=5, rank=f"case when peak >= 20 then {CRITICAL} else {HIGH} end"),
    ),
    Rule(
        "failed_logins_by_account",
        "account",
        Wording("many failed sign-ins to one account", "Somebody has failed again and again to sign in to an account."),
        bursts(FAILED_BY_ACCOUNT, at_least=5),
    ),
    Rule(
        "login_after_failures",
        "account",
        Wording("a sign-in after many failures", "After five failures or more somebody did sign in to an account."),
        SUCCESS_AFTER_FAILURES,
    ),
    Rule(
        "many_addresses",
        "user",
        Wording(
            "one user at many addresses",
            "A user's active sessions were used at three addresses or more within 30 minutes.",
        ),
        MANY_ADDRESSES,
    ),
    Rule(
        "new_country",
        "user",
        Wording("a sign-in from another country", "A user has signed in from a country other than the last one."),
        NEW_COUNTRY,
    ),
    Rule(
        "admin_grants",
        "",
        Wording("many administrators made", "More than five roles or permissions of administrators were granted."),
        bursts(audited(GRANTS, raw="'all'", which=granting("'admin', 'super_admin'")), at_least=6),
    ),
    Rule(
        "super_admin_grant",
        "user",
        Wording("a super administrator was made", "The role of a super administrator was granted."),
        single(audited(GRANTS, raw=GRANTEE, which=granting("'super_admin'"), personal=f"{GRANTEE} {NO_ID}")),
    ),
    Rule(
        "failed_mfa",
        "user",
        Wording("many failed second factors", "A user's second factor has failed again and again."),
        bursts(FAILED_MFA, at_least=5),
    ),
    Rule(
        "api_key_use",
        "key",
        Wording("very many requests with one API key", "One API key has made a thousand requests or more."),
        bursts(audited("'api.request'", raw="api_key_id::text"), at_least=1000),
    ),
    Rule(
        "critical_action",
        "user",
        Wording("something was deleted for good", "A user, role or permission was deleted."),
        single(
            audited(
                "'user.delete', 'role.delete', 'permission.delete'",
                raw="coalesce(actor_id::text, api_key_id::text, actor_type)",
                which="status <> 'failure'",
            )
        ),
        to_super_admins=True,
    ),
    Rule(
        "suspicious_session",
        "user",
        Wording("a suspicious session", "The application has marked a session as suspicious."),
        single(SUSPICIOUS),
        to_super_admins=True,
    ),
    Rule(
        JOB_FAILURE,
        "job",
        Wording("a critical job has failed", "A critical job failed for good; nobody will try it again on its own."),
        FAILED_JOBS,
    ),
)

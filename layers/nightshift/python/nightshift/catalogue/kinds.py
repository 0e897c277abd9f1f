"""Whether the rows of a table are for a time only: by the words of its name, and what its columns prove.

The noun of a name says what rows may be. It is believed where something shows that they are a machine's, and spent: a
word beside the noun (`webhook`, `oauth`, `cron`), or columns that only machines fill (an address, a status code, a
worker). Words of money, of laws, and of people and what they own are doubts that no such sign outweighs. What is in
doubt is told, and never proposed; what has no such noun is not even looked at.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

from nightshift.catalogue.names import flat, head, role_of, telling, words

Kind = Literal["secret", "cache", "log", "event", "queue", "notification", "cart", "bookkeeping"]
Doubt = Literal["legal", "people", "proof", "store", "unproven"]


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


def _columns(text: str) -> frozenset[str]:
    """Columns by their words in the singular, with commas between them; each is known without blanks as well."""
    every = [" ".join(each.split()) for each in text.split(",")]
    return frozenset(every) | frozenset(each.replace(" ", "") for each in every)


WEB = _words(
    "webhook hook http https api rpc grpc graphql soap rack url page crawler crawl bot csrf xsrf cors proxy ahoy"
)
SIGNING_IN = _words(
    "login logon signin logout oauth oidc openid saml sso jwt auth authentication mfa totp otp captcha axes"
)
WORKING = _words("cron celery sidekiq resque hangfire quartz queue worker scheduler background lambda dag")
FAILING = _words("error exception debug slow sql query trace crash")
MAILING = _words("email sms smtp push")

STRONG = _columns(
    "ip, ip address, ip addr, remote addr, user agent, status code, http status, response code, response status, http "
    "method, request method, traceback, stack trace, stacktrace, backtrace, exception, exception class, error class, "
    "exc info, referer, referrer, request id, trace id, span id, webhook id, web hook id, hook id"
)
"""Columns that only machines fill: they outweigh what other columns say of people."""
WRITTEN = STRONG | _columns(
    "url, uri, path, request path, request url, method, endpoint, route, query string, level, log level, loglevel, "
    "logger, payload, header, hostname, host, pid, duration m, visitor id, visitor token, anonymous id, distinct id, "
    "dag id, task name, job class, msg, client ip, script"
)
WORKED = STRONG | _columns(
    "queue, queue name, worker name, worker pid, runner id, locked by, locked at, attempt, attempt count, attempt "
    "number, max attempt, retry, retry count, retry left, payload, arg, argument, kwarg, handler, run at, job class, "
    "class name, func, serialized param, serialized property, task id, job id, jid, job type, executor class, "
    "hostname, pid, failed job, total job, dead letter, cron, invocation data, on finish, enqueued at, message id, "
    "routing key, topic, header, event type, queue entry, workflow id, retry of, run id, dag id, task name, command, "
    "exit code"
)
SECRET = _columns(
    "token, token hash, token digest, token key, auth token, access token, refresh token, hash, digest, jti, secret, "
    "client secret, key, code, auth code, otp code, otp, nonce, challenge, challenge token, pin"
)
OF_SESSIONS = STRONG | _columns(
    "token, session token, access token, token hash, sid, session id, session key, session data, payload, cookie, "
    "principal name, client secret, auth method, csrf token, user session id, last session refresh, sess"
)
HELD = _columns("key, lock key, lock name, token, locked by, holder, resource, instance, instance name, lock until")

BOUND = SECRET | _columns(
    "user id, account id, member id, session id, client id, device id, scope, issued at, next link"
)
"""Columns of a secret that was given to somebody."""

_KNOWN_SESSIONS = SIGNING_IN | _words(
    "session user web django rail express spring browser offline active admin client validation remember laravel "
    "devise identity refresh expired account customer member identity server app anonymous guest"
)
_KNOWN_SECRETS = SIGNING_IN | _words(
    "user personal account deploy registration validation open api csrf bearer jwt session web django provider "
    "revoked blacklist blacklisted outstanding invalid refresh remember persistent client app application service "
    "device push invite invitation runner magic feed private temporary expired admin member email phone sms mobile "
    "password reset verification confirmation access recovery one time signup token two factor"
)
_KNOWN_CARTS = _words("cart basket shopping guest abandoned user session shop web store customer anonymous")


@dataclass(frozen=True)
class Noun:
    """What must be seen beside a noun before rows are believed to be what it says."""

    kind: Kind
    words: frozenset[str] = frozenset()
    """One of them in the name proves it."""
    columns: frozenset[str] = frozenset()
    """One of them proves it, too."""
    alone: bool = False
    """Nothing else goes by this name."""
    among: frozenset[str] = frozenset()
    """It means too much by itself: without one of these words it says nothing, or of a log without its columns."""


_MACHINES = WEB | SIGNING_IN | WORKING | FAILING | MAILING | {
    *("request", "web", "job", "task", "schedule", "import", "export", "sync", "search", "mail", "sign", "access"),
    *("session", "link", "workflow", "flow", "pipeline", "batch", "integration", "event", "trigger", "function"),
    *("system", "server", "device", "client", "app", "application", "health", "monitor", "notification", "alert"),
    *("security", "log", "file", "download", "upload", "transfer", "ip", "cache", "step"),
}  # fmt: skip
"""Words beside which a run, a request, a result or a history may be one of machines."""
_KEYS = SIGNING_IN | {
    *("password", "reset", "verification", "verify", "confirmation", "confirm", "magic", "nonce", "authorization"),
    *("access", "refresh", "device", "sms", "email", "phone", "twofactor", "one", "security", "recovery", "token"),
}
_BUS = _words("queue outbox inbox mq dead bus kafka amqp pending pgmq failed processed handled consumed deduplication")

_SENT = _columns("url, uri, payload")
"""What requests and events of people have, too."""

_SECRETS = Noun("secret", columns=SECRET, alone=True)
_KEPT_APART = Noun("secret", SIGNING_IN | _words("password verification reset magic recovery sms"), SECRET, among=_KEYS)
_WEB_LOG = Noun("log", WEB, WRITTEN)
_PROGRAMS = Noun(
    "log",
    WEB | WORKING | _words("function pipeline workflow job"),
    WORKED - _columns("run at, header, topic"),
    among=_MACHINES,
)

_NOUNS: Mapping[str, Noun] = {
    "session": Noun("secret", columns=OF_SESSIONS),
    "token": Noun(
        "secret",
        SIGNING_IN | _words("refresh bearer csrf revoked password verification reset magic one api access"),
        SECRET,
    ),
    **dict.fromkeys(("otp", "nonce", "captcha"), _SECRETS),
    "challenge": Noun(
        "secret", SIGNING_IN | _words("webauthn passkey pkce acme"), (SECRET | STRONG) - _words("code key hash")
    ),
    **dict.fromkeys(("verification", "confirmation"), Noun("secret", columns=SECRET)),
    "reset": Noun("secret", _words("password pin mfa otp"), SECRET),
    **dict.fromkeys(("code", "ticket", "grant", "assertion", "link"), _KEPT_APART),
    **dict.fromkeys(("lock", "lease"), Noun("secret", _words("cache worker distributed advisory"), HELD)),
    "cache": Noun("cache", alone=True),
    **dict.fromkeys(("pageview", "impression", "telescope"), Noun("log", alone=True)),
    **dict.fromkeys(
        ("log", "logging"),
        Noun(
            "log",
            WEB
            | SIGNING_IN
            | WORKING
            | FAILING
            | MAILING
            | _words("request search system server sync import export invocation notification integration"),
            WRITTEN | WORKED,
        ),
    ),
    **dict.fromkeys(("hit", "click", "ping", "heartbeat"), _WEB_LOG),
    "visit": replace(_WEB_LOG, kind="event"),
    "view": Noun("log", _words("page url"), WRITTEN, among=_MACHINES),
    "delivery": Noun("log", WEB | MAILING, WRITTEN | _columns("event type, attempt count")),
    "attempt": Noun("log", WEB | SIGNING_IN | _words("password"), WRITTEN),
    **dict.fromkeys(("warning", "error", "exception", "crash", "trace"), Noun("log", WEB | WORKING, WRITTEN | WORKED)),
    **dict.fromkeys(("invocation", "execution", "run", "result"), _PROGRAMS),
    **dict.fromkeys(("request", "call", "response"), Noun("log", WEB, WRITTEN - _SENT, among=_MACHINES)),
    "callback": Noun("log", WEB | SIGNING_IN, WRITTEN, among=_MACHINES),
    "history": Noun("log", SIGNING_IN | _words("cron celery sidekiq"), STRONG, among=_MACHINES),
    "failure": Noun("log", WEB | SIGNING_IN | WORKING | _words("import sync"), WRITTEN | WORKED, among=_MACHINES),
    "metric": Noun("log", WEB | WORKING | _words("cpu memory disk server host system"), WRITTEN, among=_MACHINES),
    "notice": Noun("log", WEB, WRITTEN, among=_MACHINES),
    "event": Noun(
        "event", WEB | SIGNING_IN | WORKING | FAILING | _words("feature analytics telemetry click"), WRITTEN - _SENT
    ),
    "activity": Noun("event", SIGNING_IN | _words("page web"), WRITTEN, among=_MACHINES),
    **dict.fromkeys(
        ("job", "task"), Noun("queue", WORKING | WEB | MAILING | _words("import export sync delayed index"), WORKED)
    ),
    **dict.fromkeys(("outbox", "inbox", "queue"), Noun("queue", WORKING | _words("outbox"), WORKED)),
    "message": Noun("queue", _words("outbox"), WORKED, among=_BUS),
    "batch": Noun("queue", WORKING, WORKED, among=_words("job task queue")),
    "letter": Noun("queue", columns=WORKED, among=_words("dead")),
    "work": Noun("queue", WORKING, WORKED, among=_words("queue background")),
    "notification": Noun("notification", alone=True),
    **dict.fromkeys(("cart", "basket"), Noun("cart")),
}
"""By the last noun of a table's name."""

RECORDED = _words(
    "audit consent legal gdpr dsgvo ccpa hipaa compliance erasure kyc aml retention evidence regulatory signature "
    "papertrail trail accounting ledger bookkeeping tax"
)
"""Records that laws ask for, whatever else the name says."""
LAW = RECORDED | _words(
    "opt optin optout subscribe unsubscribe agreement acceptance term privacy waiver dispute complaint abuse ban "
    "sanction moderation appeal deletion violation fraud certificate certification inspection safety incident claim "
    "notary court police breach eviction"
)
MONEY = _words(
    "payment invoice order billing transaction refund payout subscription charge credit balance wallet bank purchase "
    "checkout price contract fiscal financial salary trade card giftcard gift voucher loan mortgage rent stripe "
    "paypal adyen cash fee deposit withdrawal settlement payroll wage expense quote sale pos auction bid bet lottery "
    "debit sepa iban merchant insurance vote voting ballot election donation booking reservation appointment transfer "
    "patient medical clinical prescription"
)
"""Of what laws and contracts say how long to keep."""
PEOPLE = _words(
    "employee staff personnel candidate applicant recruiting shift attendance timesheet vacation health medication "
    "medicine clinic hospital doctor nurse dose diagnosis therapy workout fitness training food meal mood sleep "
    "symptom vaccine vaccination blood student pupil teacher tutor tutoring coach coaching lesson course exam quiz "
    "school homework study grade driver vehicle car truck bike ride trip parking charging fleet flight door house "
    "home apartment room inventory stock warehouse shipment shipping parcel courier supplier product freight cargo "
    "chat conversation game match player tournament photo music yoga studio golf pet child family person people "
    "dating friend survey poll community forum life company calendar meeting conference speaker wedding concert "
    "festival sport todo crm lead sales board test telehealth"
)
"""What people are, have and do, and goods that are on their way."""

_OF_PEOPLE = _words(
    "employee staff patient student teacher doctor nurse driver courier passenger speaker organizer organiser "
    "attendee participant trainer coach instructor technician player applicant candidate landlord supplier warehouse "
    "vehicle shipment parcel dropoff pickup quantity amount price cost currency rent salary invoice payment loan "
    "dosage dose diagnosis injury kwh calory grade score reward isin venue abstract note assignee assigned deadline "
    "street answer bpm apartment door lesson course exam booking plate"
)
"""Words of columns that machines do not fill."""
_BY_PEOPLE = _columns("location, serial, company, hour, due date, due at, order id, opt out, date deadline")
_TITLED = _columns("title, subject")
_PLANNED = _columns(
    "start at, start date, start time, start, end at, end date, end time, stop, stop at, date begin, date end, begin "
    "at, all day, rrule, recurrence"
)
_PLANS: Mapping[str, frozenset[str]] = dict.fromkeys(
    ("event", "session", "activity", "visit", "ticket", "lock"), _PLANNED
)
_PROVED = _words("verified confirmed validated approved document passport")
_STORED = _words("store stored sourcing sourced journal aggregate domain stream snapshot")
_IN_ORDER = _words(
    "stream aggregate sequence seq persistence causation correlation room conversation topological commit"
)
_VERSIONED = _columns("version, event version, entity version, object version, global index, position, ordering")
_HANDED_ON = _columns(
    "published at, published on, processed at, processed on, dispatched at, handled at, times sent, time sent"
)
"""Of an event that still has to reach somebody: its table is a queue, whatever its name."""
_POST = _columns("subject, sender, sender id, recipient, recipient id, folder, read at")
_GOODS = _columns("price, serial, sku, name")
_MARKS = _columns("type, kind, level, line, tenant, hidden, state, state name, state id, n, uuid, key, identifier")
"""Columns that say nothing of anybody."""
_PLAIN = _words("log logging event error warning job queue")
"""Nouns that are believed of a table that holds nothing but moments and marks."""

_BOOKKEEPING = re.compile(
    r"migration|schema(version|history|revision|info|change)|changelog|alembic|flyway|sequelizemeta|typeormmetadata|"
    r"arinternalmetadata|phinxlog|dbversion|databaseversion|liquibase"
)

_ENTITIES = MONEY | {
    *("user", "account", "person", "people", "customer", "member", "membership", "profile", "contact", "employee"),
    *("organization", "organisation", "company", "team", "tenant", "workspace", "group", "role", "permission"),
    *("client", "product", "catalog", "message", "post", "comment", "reply", "chat", "conversation", "thread"),
    *("topic", "status", "review", "article", "page", "document", "file", "photo", "image", "video", "media", "note"),
    *("attachment", "project", "issue", "repository", "report", "course", "lesson", "student", "address", "email"),
    *("license", "licence", "plan", "coupon", "setting", "preference", "config", "configuration", "feature", "tag"),
    *("category", "asset", "device", "application", "app", "workflow", "article", "blog", "story", "poll"),
    *("question", "answer"),
}
"""What an application is about. Nothing that takes such rows with it, or empties a column of them, is proposed."""
_PARTS = _words("tag setting preference config configuration feature category status")
"""What a row of any table may have: of a log, these are parts of the log."""


@dataclass(frozen=True)
class Judged:
    """What the rows of a table are, and what speaks against saying so."""

    kind: Kind | None
    doubt: Doubt | None = None


@dataclass(frozen=True)
class Seen:
    """What can be read of a table: its name and its columns, by their base types."""

    name: str
    columns: Mapping[str, str]

    @cached_property
    def every(self) -> frozenset[str]:
        return frozenset(words(self.name))

    @cached_property
    def noun(self) -> str:
        return "outbox" if self.every & {"outbox", "inbox"} else head(self.name)

    @cached_property
    def others(self) -> frozenset[str]:
        """The words beside the noun."""
        return telling(self.name) - {self.noun}

    @cached_property
    def told(self) -> frozenset[str]:
        """Each column, and how its name ends: `last_client_ip_address` is an `ip address`."""
        return frozenset(part for column in self.columns for part in _readings(column))

    @cached_property
    def column_words(self) -> frozenset[str]:
        return frozenset(word for column in self.columns for word in words(column))

    @property
    def expires(self) -> bool:
        return any(role_of(column) == "expiry" for column in self.columns)

    @property
    def bare(self) -> bool:
        """Whether it holds nothing but moments and marks, and its name nothing but what machines do."""
        known = _MACHINES | _NOUNS.keys() | _KEYS
        rest = [each for each in self.columns if flat(each) != "id" and role_of(each) is None]
        return self.others <= known and all(self._is_mark(each) for each in rest)

    def _is_mark(self, column: str) -> bool:
        return bool(_MARKS & _readings(column)) or self.columns[column] in ("timestamptz", "timestamp", "date")


def _readings(column: str) -> frozenset[str]:
    every = words(column)
    endings = {" ".join(every[start:]) for start in range(max(1, len(every) - 1))}
    return frozenset({flat(column), *endings, *({"ip", "webhook", "traceback", "exception"} & set(every))})


def judged(name: str, columns: Mapping[str, str]) -> Judged:
    """What the rows of a table are, by its name and its columns with their base types."""
    seen = Seen(name, columns)
    if _BOOKKEEPING.search(flat(name)):
        return Judged("bookkeeping")
    noun = _NOUNS.get(seen.noun)
    if _is_recorded(seen, noun):
        return Judged(noun.kind if noun else None, "legal")
    if noun is None:
        return Judged("cache" if _is_cache(seen) and not seen.every & (MONEY | LAW | PEOPLE) else None)
    if noun.among and not (seen.others & noun.among or (noun.kind == "log" and seen.told & noun.columns)):
        return Judged(None)
    kind = "queue" if "event" in seen.every and noun.kind in ("event", "log") and seen.told & _HANDED_ON else noun.kind
    return Judged(kind, next(_doubts(seen, noun), None))


def _doubts(seen: Seen, noun: Noun) -> Iterator[Doubt]:
    """What speaks against a proposal, the most serious first."""
    if seen.every & (MONEY | LAW):
        yield "legal"
    if seen.every & (PEOPLE - ({"health"} if "check" in seen.every else set())):
        yield "people"
    if seen.noun in ("verification", "confirmation") and (seen.column_words & _PROVED or "identity" in seen.every):
        yield "proof"
    if _is_store(seen, noun):
        yield "store"
    if not seen.told & STRONG and _is_of_people(seen, noun):
        yield "people"
    if not _is_proven(seen, noun):
        yield "unproven"


def _is_recorded(seen: Seen, noun: Noun | None) -> bool:
    """Records that laws ask for; who changed what, as a library or an administrator's log keeps it."""
    versions = seen.noun == "version" and seen.told & _columns("item type, object id, object, serialized data")
    by_admin = "admin" in seen.every and noun is not None and noun.kind in ("log", "event")
    return bool(seen.every & RECORDED or "audit" in flat(seen.name) or versions or by_admin)


def _is_store(seen: Seen, noun: Noun) -> bool:
    """Events in the order in which they are played back, or messages of a room."""
    of_events = seen.noun in ("event", "activity", "message") or (noun.kind == "log" and "event" in seen.every)
    ordered = seen.every & _STORED or seen.column_words & _IN_ORDER or seen.told & _VERSIONED
    return of_events and bool(ordered)


def _is_cache(seen: Seen) -> bool:
    keyed = "key" in seen.told and seen.told & {"value", "data", "payload", "field"}
    return bool(keyed and seen.expires)


def _is_of_people(seen: Seen, noun: Noun) -> bool:
    """Whether the columns are of what people plan, write, buy or own: `sessions` and `events` are in calendars, too."""
    if noun.kind in ("notification", "cache"):
        return False
    written = _BY_PEOPLE | (frozenset() if seen.noun == "log" else _TITLED) | _PLANS.get(seen.noun, frozenset())
    return bool(seen.column_words & _OF_PEOPLE or seen.told & written)


def _is_proven(seen: Seen, noun: Noun) -> bool:
    """Whether something beside the noun shows that rows are a machine's."""
    if seen.noun == "session":
        return _is_of_signing_in(seen)
    if noun.kind == "cart":
        return seen.others <= _KNOWN_CARTS and not seen.told & _GOODS
    if seen.noun == "outbox":
        return not seen.told & _POST or bool(seen.told & WORKED)
    if seen.noun in ("verification", "confirmation"):
        return seen.others <= _KNOWN_SECRETS and bool(seen.told & SECRET or seen.expires)
    if seen.noun == "token" and not (seen.others <= _KNOWN_SECRETS or len(seen.told & BOUND) > 1):
        return False
    proven = noun.alone or seen.others & noun.words or seen.told & noun.columns
    return bool(proven) or (seen.noun in _PLAIN and seen.bare)


def _is_of_signing_in(seen: Seen) -> bool:
    """A session by its columns; of a kind that is unknown, by more than one of them, and a secret among them."""
    signs = seen.told & OF_SESSIONS
    if seen.others <= _KNOWN_SESSIONS:
        return bool(signs) or seen.expires
    return bool(signs & (STRONG | SECRET)) and len(signs) + seen.expires > 1


def is_entity(name: str, beside: str = "") -> bool:
    """Whether the table is one of those that the application is about.

    beside: a table that refers to this one is named after it, like `request_log_tags`: it may be a part of that.
    """
    noun, theirs = head(name), words(beside)
    part = noun in _PARTS and bool(theirs) and words(name)[: len(theirs)] == theirs
    return noun in _ENTITIES and not part


def soon_worthless(name: str) -> bool:
    """Whether secrets of this table are worth nothing soon after they were made, even if no column says so."""
    every = words(name)
    once = "one time" in " ".join(every) or bool(set(every) & _ONCE)
    return once and not {"blacklist", "denylist"} & set(every)


_ONCE = _words("reset verification verify confirmation confirm otp magic nonce captcha")

"""Whether the rows of a table are for a time only: by the words of its name, and what its columns prove.

The noun of a name says what rows may be. It is believed where something shows that they are a machine's, and spent: a
word beside the noun (`webhook`, `oauth`, `cron`), or columns that only machines fill (an address, a status code, a
worker). Words of money, of laws, and of people and what they own are doubts that no such sign outweighs. What is in
doubt is told, and never proposed; what has no such noun is not even looked at.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

from nightshift.catalogue.names import flat, head, role_of, singular, telling, words

Kind = Literal["secret", "cache", "log", "event", "queue", "notification", "cart", "bookkeeping"]
Doubt = Literal["legal", "people", "proof", "store", "unproven"]


def _words(text: str) -> frozenset[str]:
    """Words as names are read: in the singular, `analytics` too."""
    return frozenset(map(singular, text.split()))


def _columns(text: str) -> frozenset[str]:
    """Columns by their words in the singular, with commas between them; each is known without blanks as well."""
    every = [" ".join(each.split()) for each in text.split(",")]
    return frozenset(every) | frozenset(each.replace(" ", "") for each in every)


WEB = _words("webhook hook http https api rpc grpc graphql soap rack url crawler crawl bot csrf xsrf cors proxy ahoy")
SEEN = WEB | {"page"}
"""For what is looked at. An editor's log of pages is none of the web."""
SIGNING_IN = _words(
    "login logon signin logout oauth oidc openid saml sso jwt auth authentication mfa totp otp captcha bruteforce"
)
WORKING = _words("cron celery sidekiq resque hangfire quartz queue worker scheduler background lambda dag")
FAILING = _words("error exception debug slow sql query trace crash")
MAILING = _words("email sms smtp push")

ANSWERED = _columns(
    "status code, http status, response code, response status, response status code, http method, request method, "
    "request header, response header, request body, response body, traceback, stack trace, stacktrace, backtrace, "
    "exception, exception class, error class, exc info, request id, trace id, span id, webhook id, web hook id, hook id"
)
"""Columns that only machines fill: they outweigh what other columns say of people."""
CAME_FROM = _columns(
    "ip, ip address, ip addr, remote addr, client ip, client addr, user agent, referer, referrer, referrer path, "
    "referrer domain"
)
"""Columns that a machine fills beside what people write, too: where somebody sat who signed, or filled in a form."""
STRONG = ANSWERED | CAME_FROM
WRITTEN = STRONG | _columns(
    "url, uri, path, url path, url query, request path, request url, method, endpoint, route, query string, log level, "
    "loglevel, logger, payload, header, hostname, pid, duration m, visitor id, visitor token, anonymous id, distinct "
    "id, dag id, task name, job class, msg, script"
)
WORKED = STRONG | _columns(
    "queue, queue name, worker name, worker pid, runner id, locked by, locked at, attempt, attempt count, attempt "
    "number, max attempt, retry, retry count, retry left, payload, arg, argument, kwarg, handler, run at, job class, "
    "class name, func, serialized param, serialized property, task id, job id, jid, job type, executor class, "
    "hostname, pid, failed job, total job, dead letter, cron, invocation data, on finish, enqueued at, message id, "
    "routing key, topic, header, event type, queue entry, workflow id, retry of, run id, dag id, task name, command, "
    "exit code"
)
_TASKS_OF_PEOPLE = _columns("topic, header, command, run id, workflow id, handler, hostname, event type, exit code")
"""Of the columns of work, those that a task of somebody may have, too."""
_DEFINED = _columns(
    "last run at, last run, last run time, next run at, next run, next run time, next fire time, crontab, cron "
    "expression, cron schedule, schedule expression, cron, total run count, enabled, is enabled, rrule, recurrence"
)
"""Of a table that says which work is to be done again and again: its rows are no work that was done."""
_AGAIN = _words("periodic recurring repeatable")
SECRET = _columns(
    "token, token hash, token digest, token key, auth token, access token, refresh token, hash, digest, jti, secret, "
    "client secret, key, code, auth code, otp code, otp, nonce, challenge, challenge token, pin, verification token, "
    "verification code, confirmation token, confirmation key, reset token, reset code, hashed token, code hash, code "
    "hmac"
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
    "device invite invitation runner magic link feed private temporary expired admin member email phone sms mobile "
    "password reset verification confirmation access recovery one time signup token two factor"
)
REVOKED = _words("revoked invalidated invalid blacklist blacklisted denylist denylisted blocklist blocklisted")
"""What a table holds as long as it must be refused: only the end of its own time lets it go."""
_ADDRESSES = _words("device push fcm apns apn gcm firebase expo notification")
_ADDRESSED = _columns("fcm token, push token, apns token, device token, registration token, platform")
"""Where a person's device is reached: such a token opens nothing."""
_RENEWED = _columns("refresh token, refresh token hash")
_OF_OTHERS = _columns("provider, institution, realm id")
"""Of a token that somebody else's server gave: when it has expired it is renewed, and the row is still needed."""
_HANDED_OUT = _columns("client id, redirect uri, scope, nonce, code challenge, code challenge method, user agent")
"""What a code has that lets somebody in at a server, and none of a door has."""
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

_OF_HOSTS = _words("cpu memory disk server host system")
_SENT = _columns("url, uri, payload")
"""What requests and events of people have, too."""

_SECRETS = Noun("secret", columns=SECRET, alone=True)
_KEPT_APART = Noun("secret", SIGNING_IN | _words("password verification reset magic recovery sms"), SECRET, among=_KEYS)
_FLOW = Noun(
    "secret", SIGNING_IN, SECRET | _columns("csrf token, request url"), among=SIGNING_IN | _words("selfservice")
)
_WEB_LOG = Noun("log", SEEN, WRITTEN)
_PROGRAMS = Noun(
    "log",
    WEB | WORKING | _words("function pipeline workflow job query"),
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
    **dict.fromkeys(("flow", "state"), _FLOW),
    "login": Noun("secret", among=_words("persistent remember"), alone=True),
    **dict.fromkeys(
        ("blacklist", "denylist", "blocklist", "jti"),
        Noun(
            "secret",
            SIGNING_IN | _words("token jti"),
            _columns("jti, token, signature"),
            among=SIGNING_IN | {"token", "jti", "session"},
        ),
    ),
    **dict.fromkeys(("lock", "lease"), Noun("secret", _words("cache worker distributed advisory"), HELD)),
    "key": Noun("cache", among=_words("idempotency idempotent"), alone=True),
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
    "view": Noun("log", _words("page url"), WRITTEN, among=_MACHINES | {"page"}),
    "delivery": Noun("log", WEB | MAILING, WRITTEN | _columns("event type, attempt count")),
    "attempt": Noun("log", WEB | SIGNING_IN | _words("password"), WRITTEN),
    **dict.fromkeys(("warning", "error", "exception", "crash", "trace"), Noun("log", WEB | WORKING, WRITTEN | WORKED)),
    **dict.fromkeys(("invocation", "execution", "run", "result"), _PROGRAMS),
    **dict.fromkeys(("request", "call", "response"), Noun("log", WEB, WRITTEN - _SENT, among=_MACHINES)),
    "callback": Noun("log", WEB | SIGNING_IN, WRITTEN, among=_MACHINES),
    "history": Noun("log", SIGNING_IN | _words("cron celery sidekiq"), STRONG, among=_MACHINES),
    "failure": Noun("log", WEB | SIGNING_IN | WORKING | _words("import sync"), WRITTEN | WORKED, among=_MACHINES),
    "metric": Noun("log", WEB | WORKING | _OF_HOSTS, WRITTEN, among=_MACHINES | _OF_HOSTS),
    "notice": Noun("log", WEB, WRITTEN, among=_MACHINES),
    "event": Noun(
        "event", WEB | SIGNING_IN | WORKING | FAILING | _words("feature analytics telemetry click"), WRITTEN - _SENT
    ),
    "activity": Noun("event", SIGNING_IN | _words("web"), WRITTEN, among=_MACHINES),
    **dict.fromkeys(
        ("job", "task"), Noun("queue", WORKING | WEB | MAILING | _words("import export sync delayed index"), WORKED)
    ),
    **dict.fromkeys(("outbox", "inbox", "queue"), Noun("queue", WORKING | _words("outbox"), WORKED)),
    "message": Noun("queue", _words("outbox"), WORKED, among=_BUS),
    "publication": Noun("queue", columns=_columns("listener id, serialized event, event type"), among=_words("event")),
    "batch": Noun("queue", WORKING, WORKED, among=_words("job task queue")),
    "letter": Noun("queue", columns=WORKED, among=_words("dead")),
    "work": Noun("queue", WORKING, WORKED, among=_words("queue background")),
    "notification": Noun("notification"),
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
    "patient medical clinical prescription ad advert advertiser affiliate sponsor sponsored campaign commission "
    "referral loyalty reward coupon promo promotion royalty tariff toll bond dividend"
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
    "festival sport todo crm lead sales board test telehealth petition rsvp guestbook esign envelope signing badge "
    "disease drug triage ambulance emergency recall race landlord"
)
"""What people are, have and do, and goods that are on their way."""

_OF_PEOPLE = _words(
    "employee staff patient student teacher doctor nurse driver courier passenger speaker organizer organiser "
    "attendee participant trainer coach instructor technician player applicant candidate landlord supplier warehouse "
    "vehicle shipment parcel dropoff pickup quantity amount price cost currency rent salary invoice payment loan "
    "dosage dose diagnosis injury kwh calory grade score reward isin venue abstract note assignee assigned deadline "
    "street answer bpm apartment door lesson course exam booking plate pupil approver signer waiter "
    "caller callee badge"
)
"""Words of columns that machines do not fill."""
_BY_PEOPLE = _columns("location, serial, company, hour, due date, due at, order id, opt out, date deadline, address")
_TITLED = _columns("title, subject")
_CHANGED = _columns(
    "old value, new value, previous value, old data, new data, old row, new row, before, after, diff, change set, "
    "changeset, change message, content changed, audited change, causer, causer id, actor, actor id, acting user, "
    "acting user id, changed by, performed by, granted by, operator, operator id, oper name"
)
"""Who changed what: evidence, whatever its table is called."""
_BOUGHT = _columns("order id, order number, payment id, payment intent id, payment session id, invoice id")
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
_POST = _columns("subject, sender, sender id, recipient, recipient id, folder, read at, to email, from email, user id")
_GOODS = _columns("price, serial, sku, name")
_MARKS = _columns("type, kind, level, line, tenant, hidden, state, state name, state id, n, uuid, key, identifier")
"""Columns that say nothing of anybody."""
_FAMILIAR = (
    _MACHINES
    | SEEN
    | (_BUS - {"bus"})
    | (_NOUNS.keys() - _words("ticket work letter delivery call cart basket grant notice code lease"))
    | _words(
        "user account member topic spam post feature action delayed admin website site tracking analytics telemetry "
        "audio video player push unread digest desktop browser mobile async"
    )
)
"""Words beside which one sign is enough."""
_ASKED = ("request", "call", "response", "callback", "notice", "history")
"""What people do, too: one sign is never enough."""
_NUMBERS = ("int2", "int4", "int8", "numeric", "float4", "float8")
_SEEN_BY_ADDRESS = ("session", "log", "view", "visit", "click", "hit")
_NOTIFIED = _columns(
    "read at, seen at, is read, read, seen, is seen, notifiable id, notifiable type, recipient id, user id, unread, "
    "read on"
)
_STORES = _words(
    "cache cached kv key value store storage set hash list counter entry data datum item temp tmp redis app web django "
    "laravel hangfire hf aggregated counter state memo memory http response request api result page session object"
)
"""Names of what is kept by keys until it ends."""
_PLAIN = _words("log logging event error warning job queue")
"""Nouns that are believed of a table that holds nothing but moments and marks."""

_ELSEWHERE = re.compile(
    r"zahlung|rechnung|bestellung|auftr[aä]g|vertrag|vertr[aä]g|buchung|guts?chein|gutschrift|[uü]berweisung|kunde|"
    r"mitarbeiter|gehalt|lohnabr|patient|sch[uü]ler|"
    r"factura|facture|fattura|fatura|faktura|factuur|pago|pagos|pagamento|pagamenti|paiement|betaling|platnosc|"
    r"pedido|commande|ordine|ordini|bestelling|zamowien|siparis|odeme|contrato|contrat|contratto|cliente|klant|"
    r"reserva|compra|venta|vendita|acquist|nomina|empleado|salaire|dipendente|zakaz|platezh"
)
"""Money, orders, contracts and people in other languages."""
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
        if self.every & {"outbox", "inbox"}:
            return "outbox"
        noun = head(self.name)
        if noun == "login" and self.every & {"failed", "failure"}:
            return "attempt"
        if noun == "request" and (self.told & SECRET or self.expires):  # for a secret, by mail: it is the secret itself
            return next((each for each in ("reset", "verification", "confirmation") if each in self.every), noun)
        return noun

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

    def with_one_of(self, known: frozenset[str]) -> list[str]:
        """The columns that are one of these."""
        return [column for column in self.columns if known & _readings(column)]

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
    if _is_bookkeeping(seen):
        return Judged("bookkeeping")
    noun = _NOUNS.get(seen.noun)
    if noun is not None and _BOOKKEEPING.search(flat(name)):
        return Judged(noun.kind, "unproven")  # what a migration tool has logged, or something of that kind
    if _is_recorded(seen, noun):
        return Judged(noun.kind if noun else None, "legal")
    if noun is None:
        return Judged("cache" if _is_cache(seen) and not seen.every & (MONEY | LAW | PEOPLE) else None)
    if seen.noun in REVOKED and not seen.expires:
        return Judged(None)
    if noun.among and not (seen.others & noun.among or (noun.kind == "log" and seen.told & noun.columns)):
        return Judged(None)
    return Judged(_kind(seen, noun), next(_doubts(seen, noun), None))


def _is_bookkeeping(seen: Seen) -> bool:
    """What a migration tool keeps: its name ends there, or in no noun of a log."""
    found = _BOOKKEEPING.search(flat(seen.name))
    return found is not None and (seen.noun not in ("log", "logging") or flat(seen.name).endswith(found[0]))


def _kind(seen: Seen, noun: Noun) -> Kind:
    if "event" in seen.every and noun.kind in ("event", "log") and seen.told & _HANDED_ON:
        return "queue"
    ends = any(role_of(column) == "finished" for column in seen.columns)
    if noun is _PROGRAMS and not ends and seen.column_words & {"state", "status"}:
        return "queue"  # some of them may still be at work
    return noun.kind


def _doubts(seen: Seen, noun: Noun) -> Iterator[Doubt]:
    """What speaks against a proposal, the most serious first."""
    if seen.every & (MONEY | LAW) or _is_of_money_elsewhere(seen.name):
        yield "legal"
    if (noun.kind in ("log", "event") and seen.told & _CHANGED) or (noun.kind == "cart" and _is_bought(seen)):
        yield "legal"
    if seen.every & (PEOPLE - ({"health"} if "check" in seen.every else set())):
        yield "people"
    if seen.noun in ("verification", "confirmation") and (seen.column_words & _PROVED or "identity" in seen.every):
        yield "proof"
    if _is_store(seen, noun):
        yield "store"
    if not seen.told & ANSWERED and _is_of_people(seen, noun):
        yield "people"
    if not _is_proven(seen, noun):
        yield "unproven"


def _is_of_money_elsewhere(name: str) -> bool:
    return any(_ELSEWHERE.match(part) for part in re.findall(r"[a-zà-öø-ÿ]+", name.lower()))


def _is_recorded(seen: Seen, noun: Noun | None) -> bool:
    """Records that laws ask for; who changed what, as a library or an administrator's log keeps it."""
    versions = seen.noun == "version" and seen.told & _columns("item type, object id, object, serialized data")
    done = "security" in seen.every or (
        "action" in seen.every and seen.every & {"user", "staff", "moderator", "operator"}
    )
    by_admin = ("admin" in seen.every or done) and noun is not None and noun.kind in ("log", "event")
    return bool(seen.every & RECORDED or "audit" in flat(seen.name) or versions or by_admin)


def _is_store(seen: Seen, noun: Noun) -> bool:
    """Events in the order in which they are played back, or messages of a room."""
    of_events = seen.noun in ("event", "activity", "message") or (noun.kind == "log" and "event" in seen.every)
    ordered = seen.every & _STORED or seen.column_words & _IN_ORDER or seen.told & _VERSIONED
    return of_events and bool(ordered)


def _is_cache(seen: Seen) -> bool:
    keyed = seen.told & {"key", "cache key"} and seen.told & {"value", "data", "payload", "field"}
    return bool(keyed and seen.expires and seen.every <= _STORES)


def _is_of_people(seen: Seen, noun: Noun) -> bool:
    """Whether the columns are of what people plan, write, buy or own: `sessions` and `events` are in calendars, too."""
    if noun.kind in ("notification", "cache"):
        return False
    if seen.told & CAME_FROM and seen.noun in _SEEN_BY_ADDRESS:
        return False
    if seen.noun == "token" and _is_address(seen):
        return True
    written = _BY_PEOPLE | _PLANS.get(seen.noun, frozenset())
    if not (seen.noun == "log" or (noun.kind == "secret" and seen.every & SIGNING_IN)):
        written |= _TITLED
    if seen.noun == "event":
        written |= {"description", "slug"}
    return bool(seen.column_words & _OF_PEOPLE or seen.told & written)


def _is_address(seen: Seen) -> bool:
    """Whether a token tells where a device is reached, or which device it is, and lets nobody in."""
    opens = seen.every & (SIGNING_IN | {"refresh", "access", "session"})
    return not opens and bool(seen.every & _ADDRESSES or seen.told & _ADDRESSED)


def _is_bought(seen: Seen) -> bool:
    """A cart that became an order is what somebody has agreed to."""
    ends = any(role_of(column) == "finished" for column in seen.columns)
    return ends or bool(
        seen.told & _BOUGHT or seen.column_words & {"ordered", "converted", "submitted", "paid", "purchased"}
    )


def _is_proven(seen: Seen, noun: Noun) -> bool:
    """Whether something beside the noun shows that rows are a machine's."""
    if noun.kind == "queue" and (seen.told & _DEFINED or seen.every & _AGAIN):
        return False
    if seen.noun == "session":
        return _is_of_signing_in(seen)
    if noun.kind == "cart":
        return seen.others <= _KNOWN_CARTS and not seen.told & _GOODS
    if seen.noun == "outbox":
        return not seen.told & _POST or bool(seen.told & WORKED)
    if seen.noun in ("verification", "confirmation"):
        return seen.others <= _KNOWN_SECRETS and bool(seen.told & SECRET or seen.expires)
    if seen.noun == "token":
        if not (seen.others <= _KNOWN_SECRETS or len(seen.told & BOUND) > 1):
            return False
        if seen.others and seen.expires:
            return True
    if noun is _KEPT_APART and seen.others & _KEYS <= {"access", "device", "security"}:
        return bool(seen.others & noun.words or seen.told & _HANDED_OUT)
    if noun.kind == "notification":
        return seen.others <= _FAMILIAR or bool(seen.told & _NOTIFIED)
    if noun.alone or seen.others & noun.words or (seen.noun in _PLAIN and seen.bare):
        return True
    if noun.kind == "secret":
        return bool(seen.told & noun.columns or {"one", "time"} <= seen.every)
    return _is_signed(seen, noun)


def _is_signed(seen: Seen, noun: Noun) -> bool:
    """Whether enough of its columns are a machine's: of a name that says nothing more, or something unknown, it takes
    more of them."""
    signs = set(seen.with_one_of(noun.columns))
    if seen.told & noun.columns & ANSWERED or (seen.noun in ("log", "logging") and _is_levelled(seen)):
        return True
    came_from, weak = set(seen.with_one_of(CAME_FROM)), set(seen.with_one_of(_TASKS_OF_PEOPLE))
    known = seen.others <= _FAMILIAR and seen.noun not in _ASKED
    number = len(signs - came_from) + bool(signs & came_from)
    if noun.kind == "queue" and signs <= weak:
        known = False
    return number >= (1 if known else 2)


def _is_levelled(seen: Seen) -> bool:
    """Whether its lines have a level in words, like `error`; that of water is a number."""
    return any(seen.columns[column] not in _NUMBERS for column in seen.columns if flat(column) == "level")


def _is_of_signing_in(seen: Seen) -> bool:
    """A session by its columns; of a kind that is unknown, by more than one of them, and a secret among them."""
    signs = seen.told & OF_SESSIONS
    if {"sid", "sess"} <= seen.told or {"session key", "session data"} <= seen.told:
        return True  # as libraries of the web make them, whatever the name
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
    return once and not is_revocation(name)


_ONCE = _words("reset verification verify confirmation confirm otp magic nonce captcha challenge")


def is_revocation(name: str) -> bool:
    """Whether rows say what must be refused: one may go only when what it refuses has expired by itself."""
    return bool(set(words(name)) & REVOKED)


def renewed(columns: Iterable[str]) -> bool:
    """Whether a row holds what renews it when it has expired: with that it is still in use."""
    seen = Seen("", dict.fromkeys(columns, ""))
    both = seen.with_one_of(_RENEWED) and seen.with_one_of(_columns("access token, access token hash"))
    return bool(both or (seen.told & _OF_OTHERS and seen.with_one_of(_columns("access token, token"))))

"""What names say: of a table, whether its rows are for a time only; of a column, which moment of a row it holds.

Applications spell alike in many ways: `password_resets`, `PasswordReset`, `passwordreset`. The last noun counts:
`user_sessions` are sessions, `session_users` are users. What is not known by its name is never proposed.
"""

import re
from collections.abc import Collection, Mapping
from typing import Literal

Role = Literal["expiry", "finished", "used", "created"]
Kind = Literal["secret", "cache", "log", "event", "queue", "notification", "cart", "legal", "bookkeeping"]

_WORD = re.compile(r"[A-Z]+(?=[A-Z][a-z])|[A-Z]?[a-z]+|[A-Z]+")
_WHEN = "(at|on|date|time|ts|timestamp|datetime|utc)?"

_ROLES: Mapping[Role, re.Pattern[str]] = {
    "expiry": re.compile(
        r"expir(?!\w*(in|after|days|seconds|minutes|hours|count|notified|notice)$)|^(valid|keep|retain)(until|till)$|^(delete|purge|discard)after$"
    ),
    "finished": re.compile(
        r"^(date)?(finished|completed|processed|finali[sz]ed|delivered|done|ended|failed|archived|discarded|cancell?ed|"
        rf"sent|consumed|used|revoked|redeemed|stopped|handled|dispatched|relayed|succeeded|terminated){_WHEN}$"
    ),
    "used": re.compile(
        r"^last(used|seen|activity|accessed|access|active|activityat|update|updated|modified|refresh|sessionrefresh|"
        rf"request|touched){_WHEN}$|^(updated|modified|accessed|touched|update|modify){_WHEN}$"
    ),
    "created": re.compile(
        r"^(created|inserted|occurr?ed|logged|happened|received|requested|recorded|added|attempted|triggered|fired|"
        r"captured|collected|raised|reported|visited|viewed|clicked|started|observed|measured|sampled|ingested|"
        rf"executed|emitted|performed|tried){_WHEN}$"
        r"|^(at|ts|date|time|timestamp|datetime|when)$|^(date|time)(created|added|inserted|logged|recorded)$"
        r"|^(event|action|attempt|access|request|log|creation|create|insert|visit|hit|start|run|execution|call|"
        r"sent|delivery)(time|date|timestamp|datetime|ts|at)$"
    ),
}

_QUALIFIERS = {
    *("parent", "table", "tbl", "archive", "archived", "old", "new", "record", "entry", "entity", "row", "master"),
    *("main", "base", "raw", "model", "item", "partitioned", "partition", "p"),
}
"""Words behind the noun that say nothing of what it is."""

_HEADS: Mapping[str, Kind] = {
    **dict.fromkeys(
        ("session", "token", "otp", "nonce", "challenge", "captcha", "verification", "confirmation", "reset", "ticket"),
        "secret",
    ),
    **dict.fromkeys(("code", "grant", "assertion", "lock", "lease", "link"), "secret"),
    **dict.fromkeys(("cache",), "cache"),
    **dict.fromkeys(
        ("log", "trace", "hit", "pageview", "impression", "click", "ping", "heartbeat", "delivery", "attempt"), "log"
    ),
    **dict.fromkeys(
        ("invocation", "execution", "run", "warning", "error", "exception", "crash", "request", "call", "response"),
        "log",
    ),
    **dict.fromkeys(("callback", "history", "result", "view", "failure", "telescope", "metric", "notice"), "log"),
    **dict.fromkeys(("event", "activity", "visit"), "event"),
    **dict.fromkeys(("job", "task", "outbox", "inbox", "queue", "message", "batch", "letter", "work"), "queue"),
    "notification": "notification",
    **dict.fromkeys(("cart", "basket"), "cart"),
}
"""By the last noun of a table's name. Some need another word beside them, or columns that fit."""

_SECRET = {"password", "reset", "verification", "verify", "confirmation", "confirm", "otp", "magic", "nonce", "captcha"}
_AUTHENTICATION = _SECRET | {
    *("auth", "oauth", "oidc", "saml", "authorization", "authentication", "login", "signin", "access", "refresh"),
    *("device", "sms", "email", "phone", "mfa", "totp", "twofactor", "one", "security", "recovery", "token", "sso"),
}
_TECHNICAL = {
    *("api", "http", "webhook", "hook", "web", "request", "rack", "job", "task", "worker", "queue", "cron", "schedule"),
    *("scheduler", "import", "export", "sync", "search", "email", "mail", "sms", "push", "login", "signin", "sign"),
    *(
        "access",
        "session",
        "page",
        "url",
        "link",
        "celery",
        "workflow",
        "flow",
        "pipeline",
        "batch",
        "crawl",
        "crawler",
    ),
    *("integration", "event", "error", "debug", "slow", "query", "trigger", "function", "lambda", "audit", "auth"),
    *("system", "server", "device", "client", "app", "application", "health", "monitor", "notification", "alert"),
    *("security", "log", "bot", "file", "download", "upload", "transfer", "graphql", "rpc", "ip", "cache", "step"),
}
"""Words that say that a run, a request, a result or a history is one of machines, and not of people."""
_NEEDS: Mapping[str, Collection[str]] = {
    **dict.fromkeys(("code", "ticket", "grant", "assertion", "link"), _AUTHENTICATION),
    **dict.fromkeys(("run", "request", "call", "response", "result", "history", "view", "execution"), _TECHNICAL),
    **dict.fromkeys(("metric", "notice", "failure", "activity", "callback"), _TECHNICAL),
    "message": {"queue", "outbox", "inbox", "mq", "dead", "bus", "kafka", "amqp", "pending", "pgmq", "failed"},
    "batch": {"job", "task", "queue"},
    "letter": {"dead"},
    "work": {"queue", "background"},
}
"""What must stand beside a noun that means too much by itself."""

_LEGAL = {
    *(
        "audit",
        "consent",
        "legal",
        "gdpr",
        "dsgvo",
        "ccpa",
        "hipaa",
        "compliance",
        "erasure",
        "kyc",
        "aml",
        "retention",
    ),
    *("evidence", "regulatory", "signature", "papertrail", "trail", "accounting", "ledger", "bookkeeping", "tax"),
}
_MONEY = {
    *("payment", "invoice", "order", "billing", "transaction", "refund", "payout", "subscription", "charge", "credit"),
    *(
        "balance",
        "wallet",
        "bank",
        "purchase",
        "checkout",
        "price",
        "contract",
        "fiscal",
        "financial",
        "salary",
        "trade",
    ),
    *("patient", "medical", "clinical", "prescription", "insurance", "vote", "donation", "booking", "reservation"),
}
"""Words of what laws say how long to keep."""

_ENTITIES = _MONEY | {
    *("user", "account", "person", "people", "customer", "member", "membership", "profile", "contact", "employee"),
    *(
        "organization",
        "organisation",
        "company",
        "team",
        "tenant",
        "workspace",
        "group",
        "role",
        "permission",
        "client",
    ),
    *("product", "catalog", "message", "post", "comment", "reply", "chat", "conversation", "thread", "topic", "status"),
    *("review", "article", "page", "document", "file", "photo", "image", "video", "media", "note", "attachment"),
    *("project", "issue", "repository", "report", "course", "lesson", "student", "address", "email", "license"),
    *("licence", "plan", "coupon", "setting", "preference", "config", "configuration", "feature", "tag", "category"),
    *("asset", "device", "application", "app", "workflow", "article", "blog", "story", "poll", "question", "answer"),
}
"""What an application is about. Nothing that takes such rows with it, or empties a column of them, is proposed."""

_BOOKKEEPING = re.compile(
    r"migration|schema(version|history|revision|info|change)|changelog|alembic|flyway|sequelizemeta|typeormmetadata|"
    r"arinternalmetadata|phinxlog|dbversion|databaseversion|liquibase"
)

_NOT_SPLIT = {
    *("catalog", "blog", "dialog", "backlog", "prolog", "analog", "block", "clock", "flock", "barcode", "zipcode"),
    *("postcode", "geocode", "countrycode", "white", "prevent", "network", "homework", "framework", "artwork"),
    *("newsletter", "flowchart", "chart", "descartes", "overview", "interview", "review", "preview", "multitask"),
    *("overrun", "recall", "heartwork", "deadlock", "padlock", "rewrite", "vlog", "weblogentry"),
}
_SPLIT = sorted((head for head in _HEADS if len(head) >= 3), key=len, reverse=True)


def flat(name: str) -> str:
    """A name in small letters and nothing else, so that spellings are alike."""
    return re.sub(r"[^a-z0-9]", "", name.lower())


def words(name: str) -> tuple[str, ...]:
    """The words of a name, in the singular: `UserSessions` and `user_sessions` are `user`, `session`."""
    found: list[str] = []
    for word in _WORD.findall(name):
        found += _parts(singular(word.lower()))
    return tuple(found)


def singular(word: str) -> str:
    """A noun in the singular, as far as its ending tells it."""
    if word.endswith("ies") and len(word) > 4:
        return f"{word[:-3]}y"
    if re.search(r"(ss|sh|ch|x|z|us)es$", word):
        return word[:-2]
    if word.endswith("s") and not word.endswith(("ss", "us", "is")) and len(word) > 3:
        return word[:-1]
    return word


def _parts(word: str) -> list[str]:
    """`accesstoken` as two words: frameworks that make names of classes leave nothing between them."""
    if word in _HEADS or word in _ENTITIES or word in _NOT_SPLIT:
        return [word]
    for head in _SPLIT:
        before = word.removesuffix(head)
        if before != word and len(before) >= 3 and not any(word.endswith(each) for each in _NOT_SPLIT):
            return [before, head]
    if word.endswith("entry") and len(word) > 7:
        return [*_parts(word.removesuffix("entry")), "entry"]
    return [word]


def head(name: str) -> str:
    """The noun of a table's name that says what a row is."""
    every = list(words(name))
    while len(every) > 1 and every[-1] in _QUALIFIERS:
        every.pop()
    return every[-1] if every else ""


def role_of(column: str) -> Role | None:
    """Which moment of a row a column with a time holds, by its name."""
    name = flat(column)
    return next((role for role, pattern in _ROLES.items() if pattern.search(name)), None)


def is_entity(name: str) -> bool:
    """Whether the table is one of those that the application is about."""
    return head(name) in _ENTITIES


def _has(columns: Collection[str], *parts: str) -> bool:
    return any(part in flat(column) for column in columns for part in parts)


def _named(columns: Collection[str], *names: str) -> bool:
    return bool({flat(column) for column in columns} & set(names))


def kind_of(name: str, columns: Collection[str]) -> Kind | None:
    """What the rows of a table are, by its name and the names of its columns. None: nothing says that they may go."""
    if _BOOKKEEPING.search(flat(name)):
        return "bookkeeping"
    every, noun = set(words(name)), head(name)
    kind = _HEADS.get(noun)
    legal = every & _LEGAL or "audit" in flat(name)
    if legal or _is_versions(noun, columns) or ("admin" in every and kind in ("log", "event")):
        return "legal"
    if kind is None:
        keyed = _named(columns, "key") and _named(columns, "value", "data", "payload", "field")
        return "cache" if keyed and any(role_of(column) == "expiry" for column in columns) else None
    needed = _NEEDS.get(noun)
    if needed is not None and not (every - {noun}) & set(needed):
        of_http = noun in ("request", "call") and _has(columns, "statuscode", "useragent", "httpmethod")
        of_work = noun in ("execution", "run") and _has(columns, "workflow", "jobid", "taskid", "retry")
        if not (of_http or of_work):
            return None
    if kind in ("log", "event", "queue") and every & _MONEY:
        return "legal"
    return kind if _fits(kind, noun, every, columns) else None


def _is_versions(noun: str, columns: Collection[str]) -> bool:
    """The versions that a library keeps of other tables' rows: who changed what."""
    return noun == "version" and _named(columns, "itemtype", "objectid", "object", "serializeddata", "contenttypeid")


def _fits(kind: Kind, noun: str, every: Collection[str], columns: Collection[str]) -> bool:
    """Whether the columns are of what the name says: `sessions` and `events` are held in calendars, too."""
    planned = _has(columns, "startsat", "endsat", "startat", "endat", "startdate", "enddate", "venue")
    peoples = _named(columns, "title", "subject", "assignee", "assigneeid", "duedate", "dueat", "price", "amount")
    peoples = peoples or _has(columns, "courier", "tracking", "score", "grade", "streetaddress", "salary", "trainer")
    if kind == "queue":
        queued = _has(columns, "queue", "attempt", "payload", "state", "status", "priority", "lockedat", "lockedby")
        queued = queued or _has(
            columns, "runat", "args", "arguments", "handler", "worker", "retries", "taskid", "failedjob"
        )
        return queued and not _named(
            columns, "title", "assignee", "assigneeid", "duedate", "dueat", "salary", "company"
        )
    if noun == "session":
        secret = _has(columns, "token", "sid", "sess", "key", "useragent", "ipaddress", "payload", "data", "expir")
        return secret and not (planned or _named(columns, "title", "subject", "trainer", "price", "score"))
    if noun in ("attempt", "result", "run", "visit", "delivery", "event", "activity", "request", "hit", "error"):
        return not (planned or peoples) or _has(columns, "useragent", "statuscode", "httpstatus")
    return not (noun in ("lock", "ticket") and planned)


def without_expiry(name: str) -> bool:
    """Whether secrets of this table are worth nothing soon after they were made, even if no column says so."""
    return bool(set(words(name)) & (_SECRET - {"password"})) and not {"blacklist", "denylist"} & set(words(name))

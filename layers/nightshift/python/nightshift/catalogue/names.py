"""What names say: the words of a table's name, the noun that says what a row is, the moment that a column holds.

Applications spell alike in many ways: `password_resets`, `PasswordReset`, `passwordreset`. The last noun counts:
`user_sessions` are sessions, `session_users` are users.
"""

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Literal

Role = Literal["expiry", "finished", "used", "created"]

_WORD = re.compile(r"[A-Z]+(?=[A-Z][a-z])|[A-Z]?[a-z]+|[A-Z]+")
_WHEN = "(at|on|date|time|ts|timestamp|datetime|dttm|utc|unix|ms)?"

_DONE = (
    "finished|completed|completion|processed|finali[sz]ed|succeeded|done|ended|end|stopped|closed",
    "delivered|sent|published|dispatched|relayed|handled|consumed|used|redeemed|forwarded|acked|acknowledged",
    "failed|archived|discarded|cancell?ed|aborted|revoked|terminated|rejected",
)
"""What is said of work that is done, as it usually ends first, and as it ends seldom last."""

_ROLES: Mapping[Role, re.Pattern[str]] = {
    "expiry": re.compile(
        r"expir(?!\w*(in|after|days|seconds|minutes|hours|count|notified|notice)$)|^(ts)?(valid|keep|retain)(until|till)(ts|ms)?$|^(delete|purge|discard)after$|^exp$"
    ),
    "finished": re.compile(rf"^(date)?({'|'.join(_DONE)}){_WHEN}$"),
    "used": re.compile(
        r"^last(used|seen|activity|accessed|access|active|activityat|update|updated|modified|refresh|sessionrefresh|"
        rf"request|touched){_WHEN}$|^(updated|modified|accessed|touched|update|modify){_WHEN}$"
    ),
    "created": re.compile(
        r"^(created|inserted|occurr?ed|logged|happened|received|requested|recorded|added|attempted|triggered|fired|"
        r"captured|collected|raised|reported|visited|viewed|clicked|started|observed|measured|sampled|ingested|crawled|"
        rf"executed|emitted|performed|tried|loggedin|signedin){_WHEN}$"
        r"|^(at|ts|date|time|timestamp|datetime|dttm|when)$|^(date|time|when)(created|added|inserted|logged|recorded)$"
        r"|^(event|action|attempt|access|request|log|creation|create|insert|visit|hit|start|run|execution|call|"
        r"sent|delivery|login|logon|signin)(time|date|timestamp|datetime|dttm|ts|at|on)$"
    ),
}

_QUALIFIERS = {
    *("parent", "table", "tbl", "archive", "archived", "old", "new", "record", "entry", "entity", "row", "master"),
    *("main", "base", "raw", "model", "item", "partitioned", "partition", "meta", "p"),
    *("hourly", "daily", "weekly", "monthly", "quarterly", "yearly", "v"),
}
"""Words behind the noun that say nothing of what it is."""

NOUNS = {
    *("session", "token", "otp", "nonce", "challenge", "captcha", "verification", "confirmation", "reset", "ticket"),
    *("code", "grant", "assertion", "lock", "lease", "link", "cache", "log", "logging", "trace", "hit", "pageview"),
    *("impression", "click", "ping", "heartbeat", "delivery", "attempt", "invocation", "execution", "run", "warning"),
    *("error", "exception", "crash", "request", "call", "response", "callback", "history", "result", "view"),
    *("failure", "telescope", "metric", "notice", "event", "activity", "visit", "job", "task", "outbox", "inbox"),
    *("queue", "message", "batch", "letter", "work", "notification", "cart", "basket"),
}
"""Nouns of what may be for a time only."""

WHOLE = {
    *("catalog", "blog", "dialog", "backlog", "prolog", "analog", "block", "clock", "flock", "barcode", "zipcode"),
    *("postcode", "geocode", "countrycode", "white", "prevent", "network", "homework", "framework", "artwork"),
    *("newsletter", "flowchart", "chart", "descartes", "overview", "interview", "review", "preview", "multitask"),
    *("overrun", "recall", "heartwork", "deadlock", "padlock", "rewrite", "vlog", "weblogentry", "webhook"),
    *("giftcard", "timesheet", "todo", "user", "message", "email", "workflow", "checkout", "subscription", "biometric"),
}
"""Words in which a noun is none, or that are one word."""
_SPLIT = sorted((noun for noun in NOUNS - {"ping"} if len(noun) >= 3), key=len, reverse=True)
_ENDINGS = ("entry", "meta")


def flat(name: str) -> str:
    """A name in small letters and nothing else, so that spellings are alike."""
    return re.sub(r"[^a-z0-9]", "", name.lower())


@lru_cache(maxsize=4096)
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
    if word in NOUNS or word in WHOLE:
        return [word]
    for noun in _SPLIT:
        before = word.removesuffix(noun)
        if before != word and len(before) >= 3 and not any(word.endswith(each) for each in WHOLE):
            return [*_parts(before), noun]
    for ending in _ENDINGS:
        if word.endswith(ending) and len(word) > len(ending) + 2:
            return [*_parts(word.removesuffix(ending)), ending]
    return [word]


def head(name: str) -> str:
    """The noun of a table's name that says what a row is."""
    every = list(words(name))
    while len(every) > 1 and every[-1] in _QUALIFIERS:
        every.pop()
    return every[-1] if every else ""


def telling(name: str) -> frozenset[str]:
    """The words of a table's name that say something: none of one or two letters, and none that any table may have."""
    return frozenset(word for word in words(name) if len(word) > 2 and word not in _QUALIFIERS)


def role_of(column: str) -> Role | None:
    """Which moment of a row a column with a time holds, by its name."""
    name = flat(column)
    return next((role for role, pattern in _ROLES.items() if pattern.search(name)), None)


def seldom(column: str) -> int:
    """Of a column that says when work ended: how seldom it ends that way. 0: usually."""
    return next(rank for rank, said in enumerate((*_DONE, "")) if re.match(rf"(date)?({said})", flat(column)))

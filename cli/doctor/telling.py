"""Probes of how people are told: alarms, who is subscribed to them, dead letters, and mails."""

from collections.abc import Iterator, Sequence
from urllib.parse import urlsplit

from cli.doctor.account import Subscriber
from cli.doctor.facts import Facts
from cli.doctor.findings import Finding, UnreadError
from nightshift.declaration import function_name

OF_CRITICAL = "supervisor-silent"
"""An alarm that every deployment has, and that is critical: whom it tells is told at once."""


def alarms(facts: Facts) -> Iterator[Finding]:
    """Alarms that have gone off, or cannot tell anybody."""
    found, critical = facts.alarms.result(), _critical(facts)
    if not found:
        yield Finding("error", facts.name, "no alarm is there: whatever happens, nobody is told", "make deploy")
        return
    ringing = [alarm for alarm in found if alarm.state == "ALARM"]
    for alarm in ringing:
        happened, _, first = alarm.about.partition(" First: ")
        severity = "error" if critical & set(alarm.topics) else "warning"
        yield Finding(severity, alarm.name, happened or "it has gone off", first or "docs/operations.md")
    mute = [alarm for alarm in found if not alarm.tells]
    for alarm in mute:
        remedy = f"aws cloudwatch enable-alarm-actions --alarm-names {alarm.name}"
        yield Finding("warning", alarm.name, "its actions are disabled, so it tells nobody", remedy)
    if not ringing and not mute:
        yield Finding("ok", "alarms", f"none of {len(found)} has gone off")


def subscribers(facts: Facts) -> Iterator[Finding]:
    """Whether somebody hears of alarms, and whoever should has confirmed it."""
    critical, told = _critical(facts), 0
    found = facts.subscribers.result()
    for topic, those in found.items():
        name = topic.rpartition(":")[2]
        if isinstance(those, UnreadError):
            yield Finding("unknown", name, str(those), those.remedy)
            told += 1
            continue
        for finding in _of_topic(topic, name, those, critical=topic in critical):
            yield finding
            told += 1
    if not found:
        yield Finding("warning", facts.name, "no alarm tells any topic", "make deploy")
    elif not told:
        number = sum(len(those) for those in found.values() if not isinstance(those, UnreadError))
        yield Finding("ok", "subscribers", f"all {number} have confirmed")


def _of_topic(topic: str, name: str, those: Sequence[Subscriber], *, critical: bool) -> Iterator[Finding]:
    confirmed = any(each.state == "confirmed" for each in those)
    pending = [each for each in those if each.state == "pending"]
    kind = "critical" if critical else "ordinary"
    for each in pending:
        severity = "error" if critical and not confirmed else "warning"
        alone = "" if confirmed else ", and nobody else is told"
        again = f"aws sns subscribe --topic-arn {topic} --protocol {each.protocol} --notification-endpoint"
        address = each.endpoint if each.protocol == "email" else "ADDRESS"
        what = f"{_shown(each)} has not confirmed{alone}"
        yield Finding(severity, name, what, f"confirm by AWS's message, or have it sent again: {again} {address}")
    if not confirmed and not pending:
        remedy = f"set alarms.{kind} in cdk.json, and make deploy (docs/operations.md#where-alarms-arrive)"
        yield Finding("warning" if critical else "note", name, f"nobody is told of {kind} alarms", remedy)


def _shown(subscriber: Subscriber) -> str:
    """An address without what lets its reader page somebody."""
    if not subscriber.protocol.startswith("http"):
        return subscriber.endpoint
    return f"{subscriber.protocol}://{urlsplit(subscriber.endpoint).hostname}/…"


def _critical(facts: Facts) -> set[str]:
    """The topics of those who are told at once."""
    name = function_name(OF_CRITICAL, facts.name)
    return {topic for alarm in facts.alarms.result() if alarm.name == name for topic in alarm.topics}


def dead_letters(facts: Facts) -> Iterator[Finding]:
    """Failures that nobody has looked at."""
    url, number = facts.dead_letters.result()
    name = url.rpartition("/")[2]
    if not number:
        yield Finding("ok", name, "the queue is empty")
        return
    what = f"{'a message waits' if number == 1 else f'{number:,} messages wait'} there: runs that failed for good"
    remedy = f"nightshift runs, redrive what is mended, then aws sqs purge-queue --queue-url {url}"
    yield Finding("warning", name, what, remedy)


def sandbox(facts: Facts) -> Iterator[Finding]:
    """Whether SES sends for this account, and to whom."""
    if facts.sender.result() is None:
        yield Finding("ok", "SES", "no sender is set, so no mail is sent")
        return
    mailing = facts.mailing.result()
    if not mailing.sending:
        what, remedy = "SES has paused sending for this account", "answer AWS's mail about it: aws sesv2 get-account"
        yield Finding("error", "SES", what, remedy)
    if not mailing.production:
        what = "the account is in the sandbox: mails go to verified addresses only, and others wait"
        ask = "aws sesv2 put-account-details --production-access-enabled --mail-type TRANSACTIONAL --website-url URL"
        yield Finding("warning", "SES", what, ask)
    if mailing.sending and mailing.production:
        yield Finding("ok", "SES", "it sends for this account, to every address")


def sender(facts: Facts) -> Iterator[Finding]:
    """Whether SES lets the sender send."""
    address = facts.sender.result()
    if address is None:
        remedy = "set sender in cdk.json, and make deploy (docs/operations.md#before-the-first-mail)"
        yield Finding("note", "sender", "none is set: mails wait in the outbox", remedy)
        return
    if identity := facts.verified.result():
        yield Finding("ok", address, f"it is verified by {identity}")
        return
    domain = address.rpartition("@")[2]
    remedy = f"aws sesv2 create-email-identity --email-identity {domain}, and set the DNS records that it answers with"
    yield Finding("error", address, "SES has verified neither it nor its domain: every mail is refused", remedy)

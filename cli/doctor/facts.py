"""What is read of an installation before anything is judged: all at once, each apart."""

import datetime as dt
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, fields
from typing import Any, TypeVar

from cli.aws import AwsError, FunctionError
from cli.deployment import DatabaseDownError, Operator
from cli.doctor.account import Account, Alarm, Concurrency, Mailing, Reading, Rule, Subscriber
from cli.doctor.findings import UnreadError
from cli.refusals import RefusedError
from cli.times import now
from nightshift.declaration import Deployment
from nightshift.environment import DEPLOYMENT_VARIABLE, SENDER_VARIABLE
from nightshift.errors import SettingError

AT_ONCE = 12
"""One for each call, so that none waits for another which waits for it."""

SAYS_SO = "the database does not answer"
"""How the console begins, when it has lost the database."""

T = TypeVar("T")


class DownError(UnreadError):
    """The console works, and has no answer: its database does not answer."""


@dataclass(frozen=True)
class Asked:
    """The console's answer, and when it was asked and had answered by this machine's clock."""

    before: dt.datetime
    after: dt.datetime
    answer: Mapping[str, Any]


@dataclass(frozen=True)
class Facts:
    """What was read. Each `result()` is there already, or raises UnreadError with the reason."""

    name: str
    """The deployment's name."""
    at: dt.datetime
    console: Future[Asked]
    rules: Future[Mapping[str, Rule]]
    functions: Future[set[str]]
    deployment: Future[Deployment]
    """The packs that were deployed and their settings. What the jobs declare is what this folder says."""
    sender: Future[str | None]
    verified: Future[str | None]
    """The identity by which SES lets the sender send."""
    mailing: Future[Mailing]
    alarms: Future[list[Alarm]]
    subscribers: Future[Mapping[str, list[Subscriber] | UnreadError]]
    """By the ARN of each topic that an alarm tells."""
    dead_letters: Future[tuple[str, int]]
    concurrency: Future[Concurrency]
    clock: Future[Reading]

    def inside(self, part: str) -> Mapping[str, Any]:
        """A part of the console's answer.

        Raises:
            UnreadError: there is none.
        """
        try:
            found: Mapping[str, Any] = self.console.result().answer[part]
        except UnreadError:
            raise UnreadError("the console has not answered: see the probe database") from None
        if "unread" in found:
            raise UnreadError(f"the console could not read it: {found['unread']}")
        return found

    @property
    def switched_off(self) -> bool:
        """Whether every rule is disabled, as the setting `rules` does it. False where that could not be read."""
        try:
            rules = self.rules.result()
        except UnreadError:
            return False
        return bool(rules) and not any(rule.enabled for rule in rules.values())

    def reasons(self) -> list[UnreadError]:
        """Why nothing at all could be read; empty if something was."""
        futures = [each for each in (getattr(self, field.name) for field in fields(self)) if isinstance(each, Future)]
        found = [each.exception() for each in futures]
        reasons = [each for each in found if isinstance(each, UnreadError)]
        return reasons if len(reasons) == len(futures) else []


def gather(operator: Operator, account: Account) -> Facts:
    """Read everything. Whatever cannot be read takes nothing else with it."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        alarms = pool.submit(account.alarms)
        dispatcher = pool.submit(account.environment, "dispatcher")
        sender = pool.submit(lambda: dispatcher.result().get(SENDER_VARIABLE))
        return Facts(
            operator.deployment,
            now(),
            console=pool.submit(_ask, operator),
            rules=pool.submit(account.rules),
            functions=pool.submit(account.functions),
            deployment=pool.submit(_deployment, account),
            sender=sender,
            verified=pool.submit(_after(sender, lambda address: account.verified(address) if address else None)),
            mailing=pool.submit(account.mailing),
            alarms=alarms,
            subscribers=pool.submit(_after(alarms, lambda found: _subscribers(account, found))),
            dead_letters=pool.submit(account.dead_letters),
            concurrency=pool.submit(account.concurrency),
            clock=pool.submit(account.clock),
        )


def _after(first: Future[Any], then: Callable[[Any], T]) -> Callable[[], T]:
    """What is read with the help of something that is read first, and submitted before it."""
    return lambda: then(first.result())


def _ask(operator: Operator) -> Asked:
    before = dt.datetime.now(dt.UTC)
    try:
        answer = operator.ask("installation")
    except DatabaseDownError as down:
        raise DownError(str(down)) from None
    except RefusedError as refusal:
        if str(refusal).startswith(SAYS_SO):
            raise DownError(str(refusal)) from None
        raise UnreadError(f"the console refuses: {refusal}", "make deploy: it may be older than this folder") from None
    except FunctionError as error:
        raise DownError(f"the console ended with {error.kind}: {error}") from None
    except AwsError as error:
        raise UnreadError(str(error)) from None
    return Asked(before, dt.datetime.now(dt.UTC), answer)


def _deployment(account: Account) -> Deployment:
    given = account.environment("console")
    if DEPLOYMENT_VARIABLE not in given:
        raise UnreadError("the console's function does not say what was deployed", "make deploy")
    try:
        return Deployment.from_environment(given)
    except SettingError as error:
        raise UnreadError(str(error), "make deploy") from None


def _subscribers(account: Account, alarms: list[Alarm]) -> dict[str, list[Subscriber] | UnreadError]:
    found: dict[str, list[Subscriber] | UnreadError] = {}
    for topic in sorted({topic for alarm in alarms for topic in alarm.topics}):
        try:
            found[topic] = account.subscribers(topic)
        except UnreadError as reason:
            found[topic] = reason
    return found

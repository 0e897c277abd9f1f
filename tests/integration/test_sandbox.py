"""An account that SES still has in its sandbox: it may write to verified addresses only, 200 mails a day."""

import datetime as dt
import json
from dataclasses import dataclass, field
from typing import Any

import pytest
from botocore.exceptions import ClientError
from sqlalchemy import Engine, text
from sqlalchemy.orm import Session

from nightshift.outbox import Outlets
from tests.integration.test_dispatch import SENDER, notice, row, send

NOT_VERIFIED = "Email address is not verified. The following identities failed the check in region EU-WEST-1: {}"
"""What SES says then."""


@dataclass
class Account:
    """SES as one account sees it."""

    sandbox: bool = True
    verified: set[str] = field(default_factory=lambda: {"ann@example.org", SENDER})
    sent: list[str] = field(default_factory=list)

    def get_account(self, **_: Any) -> tuple[Any, dict[str, Any]]:
        quota = {"Max24HourSend": 200.0, "MaxSendRate": 100.0, "SentLast24Hours": float(len(self.sent))}
        answer = {"SendingEnabled": True, "ProductionAccessEnabled": not self.sandbox, "SendQuota": quota}
        return type("Answer", (), {"status_code": 200})(), answer

    def send_email(self, params: dict[str, Any], **_: Any) -> tuple[Any, dict[str, Any]]:
        (address,) = json.loads(params["body"])["Destination"]["ToAddresses"]
        checked = {SENDER, address} if self.sandbox else {SENDER}
        if unknown := sorted(checked - self.verified):
            error = {"Code": "MessageRejected", "Message": NOT_VERIFIED.format(unknown[0])}
            raise ClientError({"Error": error, "ResponseMetadata": {"HTTPStatusCode": 400}}, "SendEmail")  # type: ignore[typeddict-item]
        self.sent.append(address)
        return type("Answer", (), {"status_code": 200})(), {"MessageId": "m-1"}

    def outlets(self) -> Outlets:
        made = Outlets(sender=SENDER)
        made._ses.meta.events.register("before-call.sesv2.GetAccount", self.get_account)  # type: ignore[arg-type]
        made._ses.meta.events.register("before-call.sesv2.SendEmail", self.send_email)  # type: ignore[arg-type]
        return made


@pytest.fixture
def account(aws: None) -> Account:
    return Account()


def due(hours: float = 0) -> dt.datetime:
    """So long ago."""
    return dt.datetime.now(dt.UTC) - dt.timedelta(hours=hours)


def pass_time(session: Session, minutes: int) -> None:
    """As if everything had happened so much earlier."""
    earlier = text(
        "update nightshift.notifications set scheduled_for = scheduled_for - make_interval(mins => :by), "
        "claimed_at = claimed_at - make_interval(mins => :by)"
    )
    session.rollback()
    session.execute(earlier, {"by": minutes})
    session.commit()


def test_mails_to_others_wait_with_a_warning_and_those_to_verified_addresses_go_out(
    database: Engine, session: Session, account: Account, caplog: pytest.LogCaptureFixture
) -> None:
    known = notice(session, user={"email": "ann@example.org"}, scheduled_for=due())
    other = notice(session, user={"email": "bob@example.org"}, scheduled_for=due())

    counts = send(database, account.outlets())

    assert (counts["sent"], counts["held"]) == (1, 1)
    assert row(session, known).status == "sent"
    held = row(session, other)
    assert (held.status, held.attempts) == ("pending", 0)
    assert held.error == "held by the sandbox of SES: MessageRejected"
    assert "mails.sandbox" in caplog.messages


def test_what_waits_is_left_alone_for_half_an_hour(database: Engine, session: Session, account: Account) -> None:
    """200 calls a day are soon used up."""
    notice(session, user={"email": "bob@example.org"}, scheduled_for=due())

    assert send(database, account.outlets())["held"] == 1
    assert send(database, account.outlets()) == {}
    pass_time(session, 31)
    assert send(database, account.outlets())["held"] == 1


def test_what_waits_goes_out_at_the_next_minute_after_the_sandbox(
    database: Engine, session: Session, account: Account
) -> None:
    key = notice(session, user={"email": "bob@example.org"}, scheduled_for=due())
    for _ in range(3):
        send(database, account.outlets())
        pass_time(session, 31)

    account.sandbox = False
    assert send(database, account.outlets())["sent"] == 1

    assert (row(session, key).status, row(session, key).error) == ("sent", None)
    assert account.sent == ["bob@example.org"]


@pytest.mark.parametrize("left", [False, True], ids=["in the sandbox", "after it"])
def test_what_is_too_late_is_suppressed_with_the_reason(
    left: bool, database: Engine, session: Session, account: Account
) -> None:
    key = notice(session, user={"email": "bob@example.org"}, scheduled_for=due())
    send(database, account.outlets())
    pass_time(session, 2 * 60 + 1)
    account.sandbox = not left

    assert send(database, account.outlets())["suppressed"] == 1

    assert (row(session, key).status, account.sent) == ("suppressed", [])
    assert row(session, key).error == "the account was in the sandbox of SES until it was 2 h late"


def test_what_never_came_to_be_tried_in_the_sandbox_is_too_late_all_the_same(
    database: Engine, session: Session, account: Account
) -> None:
    old = notice(session, user={"email": "bob@example.org"}, scheduled_for=due(hours=3))

    send(database, account.outlets())

    assert row(session, old).status == "suppressed"


def test_a_mail_that_was_late_for_another_reason_still_goes_out(
    database: Engine, session: Session, account: Account
) -> None:
    """Outside the sandbox nothing is dropped for its age: a day's quota may be used up until tomorrow."""
    account.sandbox = False
    notice(session, user={"email": "bob@example.org"}, scheduled_for=due(hours=20))

    assert send(database, account.outlets())["sent"] == 1


def test_a_sender_that_is_not_verified_is_tried_again_and_told(
    database: Engine, session: Session, account: Account
) -> None:
    """Outside the sandbox it says nothing about the notice."""
    account.sandbox, account.verified = False, set()
    key = notice(session, user={"email": "bob@example.org"}, scheduled_for=due())

    assert send(database, account.outlets())["put_back"] == 1

    assert row(session, key).status == "pending"
    assert row(session, key).error == "the sender is not verified: MessageRejected"

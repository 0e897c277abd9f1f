import datetime as dt
import json
import re
import threading
import time
import uuid
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError, EndpointConnectionError, ReadTimeoutError
from moto import mock_aws
from moto.ses.models import ses_backends
from sqlalchemy import Engine, literal, select, text, update
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from functions.platform import dispatcher
from nightshift import telemetry
from nightshift.deadline import Deadline
from nightshift.environment import DATABASE_VARIABLE, SENDER_VARIABLE
from nightshift.outbox import (
    MOST_TRIES,
    Allowance,
    Mail,
    Notification,
    NotSent,
    Outlets,
    Refused,
    Throttled,
    Unclear,
    dispatch,
    notice_kinds,
)
from nightshift.outbox.mail import UnsendableError, check_unsubscribe
from nightshift.outbox.people import person
from tests.ground.application.project import project as shop_project
from tests.ground.functions.market._tables import Customer
from tests.integration.conftest import Context

NOON = dt.datetime(2026, 3, 1, 12, tzinfo=dt.UTC)
SENDER = "nightshift@example.com"


class Letterbox(Outlets):
    """Outlets that keep what they are given, and answer as they are told."""

    def __init__(self, *answers: Exception | None, per_second: float = 1000, left: int | None = None) -> None:
        super().__init__(sender=SENDER, operators_topic="arn:aws:sns:us-east-1:123456789012:ops")
        vars(self).update(answers=list(answers), given=[], quota=Allowance(per_second, left))

    def allowance(self) -> Allowance:
        return self.quota  # type: ignore[attr-defined, no-any-return]

    def mail(self, address: str, mail: Mail, *, unsubscribe: bool) -> None:
        answer = self.answers.pop(0) if self.answers else None  # type: ignore[attr-defined]
        if answer is not None:
            raise answer
        self.given.append((address, mail.subject, unsubscribe))  # type: ignore[attr-defined]

    def publish(self, mail: Mail) -> None:
        self.given.append(("ops", mail.subject, False))  # type: ignore[attr-defined]

    @property
    def subjects(self) -> list[str]:
        return [subject for _, subject, _ in self.given]  # type: ignore[attr-defined]


def notice(session: Session, title: str = "A title", *, user: dict[str, Any] | None = None, **more: Any) -> uuid.UUID:
    """A pending mail to a user of its own, committed."""
    if "recipient" not in more and more.get("channel") != "ops":
        person = Customer(**{"email": f"{uuid.uuid4()}@example.org", **(user or {})})
        session.add(person)
        session.flush()
        more["recipient"] = str(person.id)
    kind = more.get("kind", "cart_waiting")
    row = Notification(
        **{
            "channel": "email",
            "kind": kind,
            "title": title,
            "body": "A body",
            "data": notice_kinds()[kind].sample["data"] if kind in notice_kinds() else {},
            "dedupe_key": str(uuid.uuid4()),
            "scheduled_for": NOON,
            **more,
        }
    )
    session.add(row)
    session.commit()
    return row.id


class Air(Letterbox):
    """Outlets that keep every mail in the air until so many are there together, or for a moment if they never are."""

    def __init__(self, together: int, *, per_second: float = 1000, answers: dict[str, BaseException] | None = None):
        super().__init__(per_second=per_second)
        vars(self).update(barrier=threading.Barrier(together), by_subject=answers or {}, alone=[])

    def mail(self, address: str, mail: Mail, *, unsubscribe: bool) -> None:
        try:
            self.barrier.wait(timeout=0.5)  # type: ignore[attr-defined]
        except threading.BrokenBarrierError:
            self.alone.append(mail.subject)  # type: ignore[attr-defined]
        if answer := self.by_subject.pop(mail.subject, None):  # type: ignore[attr-defined]
            raise answer
        super().mail(address, mail, unsubscribe=unsubscribe)


class Killed(BaseException):
    """The process ends."""


def send(
    database: Engine, outlets: Outlets, *, seconds: float = 100, cap: int = 10, pauses: list[float] | None = None
) -> dict[str, int]:
    """One round of the dispatcher whose waiting takes no time but uses the invocation's up.

    With an `Air` the clock goes by itself as well: its mails take time.
    """
    begun = time.monotonic()
    waited = [] if pauses is None else pauses

    def remaining() -> float:
        gone = time.monotonic() - begun if isinstance(outlets, Air) else 0
        return seconds - sum(waited) - gone

    with Session(database, expire_on_commit=False) as session:
        return dict(dispatch(session, outlets, Deadline(remaining), daily_cap=cap, wait=waited.append))


def row(session: Session, key: uuid.UUID) -> Notification:
    session.rollback()
    return session.scalars(
        select(Notification).where(Notification.id == key).execution_options(populate_existing=True)
    ).one()


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    with mock_aws():
        boto3.client("sesv2").create_email_identity(EmailIdentity=SENDER)
        yield


@pytest.mark.parametrize(
    ("user", "more", "error"),
    [
        ({"wants": []}, {}, "AttributeError: "),
        (None, {"recipient": "nobody"}, "a text is no value of the type uuid (SQLSTATE 22P02)"),
        ({"quiet_start": dt.time(1), "quiet_end": dt.time(2)}, {"created_at": text("'-infinity'")}, "TypeError: "),
    ],
    ids=["wants", "recipient", "created_at"],
)
def test_a_notice_whose_recipient_cannot_be_looked_up_fails_alone(
    database: Engine, session: Session, user: dict[str, Any] | None, more: dict[str, Any], error: str
) -> None:
    odd = notice(session, "odd", user=user, scheduled_for=NOON - dt.timedelta(days=1), **more)
    notice(session, "sound")
    letterbox = Letterbox()

    counts = send(database, letterbox)

    assert (counts["sent"], counts["failed"], letterbox.subjects) == (1, 1, ["sound"])
    session.expire_all()
    row = session.get_one(Notification, odd)
    assert row.status == "failed"
    assert str(row.error).startswith(error)


def broken(session: Session) -> None:
    raise RuntimeError("the project's own code")


def slow(session: Session) -> None:
    session.execute(text("set local statement_timeout to 20"))
    session.execute(text("select pg_sleep(1)"))


@pytest.mark.parametrize(
    ("fails", "error"),
    [(broken, "RuntimeError: the project's own code"), (slow, "57014")],
    ids=["project", "statement"],
)
def test_a_recipient_that_raises_is_tried_later_and_the_next_has_its_turn(
    database: Engine, session: Session, monkeypatch: pytest.MonkeyPatch, fails: Any, error: str
) -> None:
    odd = notice(session, "odd", scheduled_for=NOON - dt.timedelta(days=1))
    notice(session, "sound")
    recipient = row(session, odd).recipient

    def look_up(session: Session, wanted: str) -> Any:
        if wanted == recipient:
            fails(session)
        return person(session, wanted)

    monkeypatch.setattr("nightshift.outbox.parcels.person", look_up)
    letterbox = Letterbox()

    counts = send(database, letterbox)

    assert (counts["sent"], counts["put_back"], letterbox.subjects) == (1, 1, ["sound"])
    waits = row(session, odd)
    assert (waits.status, waits.attempts, waits.claimed_at) == ("pending", 1, None)
    assert error in str(waits.error)
    assert waits.scheduled_for > dt.datetime.now(dt.UTC)
    session.execute(update(Notification).where(Notification.id == odd).values(scheduled_for=NOON, attempts=7))
    session.commit()
    assert send(database, letterbox)["failed"] == 1
    assert row(session, odd).status == "failed"


def test_a_lookup_that_fails_for_everybody_loses_no_notice(
    database: Engine, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A right that is missing is not the recipient's trouble: the notices wait until somebody grants it."""
    key = notice(session)

    def look_up(session: Session, wanted: str) -> Any:
        session.execute(text("set local role pg_monitor"))
        session.execute(text("select * from customers"))

    monkeypatch.setattr("nightshift.outbox.parcels.person", look_up)
    with pytest.raises(DBAPIError):
        send(database, Letterbox())
    assert (row(session, key).status, row(session, key).attempts) == ("pending", 0)


def test_what_nobody_foresaw_of_one_mail_keeps_no_other_from_going_out(database: Engine, session: Session) -> None:
    odd, sound = notice(session, "odd", scheduled_for=NOON - dt.timedelta(days=1)), notice(session, "sound")
    letterbox = Letterbox(RuntimeError("odd"), per_second=1)
    assert send(database, letterbox) == {"unknown": 1, "sent": 1}
    assert (row(session, odd).status, row(session, odd).error) == ("unknown", "no clear answer: RuntimeError: odd")
    assert row(session, sound).status == "sent"


def test_what_is_due_is_sent_and_what_is_not_waits(database: Engine, session: Session) -> None:
    due = notice(session, "due")
    later = notice(session, "later", scheduled_for=dt.datetime.now(dt.UTC) + dt.timedelta(hours=1))
    outlets = Letterbox()

    assert send(database, outlets)["sent"] == 1

    assert outlets.subjects == ["due"]
    sent = row(session, due)
    assert (sent.status, sent.attempts) == ("sent", 1)
    assert sent.sent_at is not None
    assert row(session, later).status == "pending"


def test_a_notice_goes_out_through_ses_as_html_and_text(
    database: Engine, session: Session, aws: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = notice(session, "Your goals are waiting", user={"email": "ann@example.org"})
    calls: list[dict[str, Any]] = []
    monkeypatch.setattr(Outlets, "allowance", lambda self: Allowance(1000, None))  # moto has no GetAccount
    outlets = Outlets(sender=SENDER, preferences_url="https://app.example.com/settings")
    outlets._ses.meta.events.register(
        "before-parameter-build.sesv2.SendEmail", lambda params, **_: calls.append(params)
    )

    assert send(database, outlets)["sent"] == 1

    assert row(session, key).status == "sent"
    (sent,) = ses_backends["123456789012"]["us-east-1"].sent_messages
    assert sent.destinations["ToAddresses"] == ["ann@example.org"]
    (call,) = calls
    content = call["Content"]["Simple"]
    assert call["FromEmailAddress"] == SENDER
    assert "<h1" in content["Body"]["Html"]["Data"]
    assert "<h1" not in content["Body"]["Text"]["Data"]
    assert content["Headers"] == [
        {
            "Name": "List-Unsubscribe",
            "Value": f"<https://app.example.com/settings>, <mailto:{SENDER}?subject=unsubscribe>",
        }
    ]


def test_a_mail_program_can_unsubscribe_with_one_click(
    database: Engine, session: Session, aws: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the application has an address for that (RFC 8058); kinds of duty have none."""
    url = "https://app.example.com/unsubscribe?token=a1b2"
    people = shop_project.people()
    everybody = people.everybody().add_columns(literal(url).label("unsubscribe_url"))
    monkeypatch.setattr(type(people), "everybody", lambda self: everybody)
    monkeypatch.setattr(Outlets, "allowance", lambda self: Allowance(1000, None))
    notice(session, "Yours", user={"email": "ann@example.org"})
    notice(session, "Duty", user={"email": "bob@example.org"}, kind="shop_alarm")
    outlets, calls = Outlets(sender=SENDER, preferences_url="https://app.example.com/settings"), []
    outlets._ses.meta.events.register(
        "before-parameter-build.sesv2.SendEmail", lambda params, **_: calls.append(params)
    )

    assert send(database, outlets)["sent"] == 2

    found = {call["Content"]["Simple"]["Subject"]["Data"]: call["Content"]["Simple"].get("Headers") for call in calls}
    assert found == {
        "Duty": None,
        "Yours": [
            {"Name": "List-Unsubscribe", "Value": f"<{url}>, <mailto:{SENDER}?subject=unsubscribe>"},
            {"Name": "List-Unsubscribe-Post", "Value": "List-Unsubscribe=One-Click"},
        ],
    }


def test_operators_are_told_through_their_topic(database: Engine, session: Session, aws: None) -> None:
    topic = boto3.client("sns").create_topic(Name="ops")["TopicArn"]
    queue = boto3.client("sqs").create_queue(QueueName="reader")["QueueUrl"]
    boto3.client("sns").subscribe(TopicArn=topic, Protocol="sqs", Endpoint="arn:aws:sqs:us-east-1:123456789012:reader")
    key = notice(session, "The job backup has failed – für immer " + "x" * 100, channel="ops", kind="shop_alarm")

    send(database, Outlets(operators_topic=topic))

    assert row(session, key).status == "sent"
    (message,) = boto3.client("sqs").receive_message(QueueUrl=queue)["Messages"]
    told = json.loads(message["Body"])
    assert told["Subject"].startswith("The job backup has failed – für immer")
    assert len(told["Subject"]) == 99, "SNS takes less than 100 characters"
    assert "OperationalError" in told["Message"]


def test_a_sender_that_dies_after_its_claim_leaves_unknown_and_no_second_mail(
    database: Engine, session: Session
) -> None:
    key = notice(session)

    with pytest.raises(Killed):
        send(database, Letterbox(Killed()))  # type: ignore[arg-type]
    assert row(session, key).status == "sending"

    fresh = Letterbox()
    assert "unknown" not in send(database, fresh)  # the lease still runs
    session.execute(update(Notification).values(claimed_at=NOON))
    session.commit()
    assert send(database, fresh)["unknown"] == 1
    assert send(database, fresh) == {}

    assert row(session, key).status == "unknown"
    assert fresh.subjects == []


def test_a_sender_that_was_believed_dead_tells_how_it_went_unless_somebody_else_has_said(
    database: Engine, session: Session
) -> None:
    meanwhile: dict[str, tuple[str, Exception | None, str]] = {
        "arrives": ("unknown", None, "sent"),
        "is refused": ("unknown", Refused("MessageRejected"), "failed"),
        "was given up": ("suppressed", Refused("MessageRejected"), "suppressed"),
        "was sent by hand": ("sent", NotSent("AccessDeniedException"), "sent"),
    }
    keys = {title: notice(session, title) for title in meanwhile}

    class Late(Letterbox):
        def mail(self, address: str, mail: Mail, *, unsubscribe: bool) -> None:
            status, answer, _ = meanwhile[mail.subject]
            with database.begin() as other:
                other.execute(update(Notification).where(Notification.title == mail.subject).values(status=status))
            if answer is not None:
                raise answer

    send(database, Late())

    assert {title: row(session, key).status for title, key in keys.items()} == {
        title: ends for title, (_, _, ends) in meanwhile.items()
    }
    assert row(session, keys["arrives"]).sent_at is not None


def test_an_unclear_answer_is_unknown_at_once(database: Engine, session: Session) -> None:
    key = notice(session)
    outlets = Letterbox(Unclear("ReadTimeoutError"))

    assert send(database, outlets)["unknown"] == 1
    assert send(database, outlets) == {}

    assert (row(session, key).status, outlets.subjects) == ("unknown", [])


def test_throttling_is_waited_out_with_growing_pauses(database: Engine, session: Session) -> None:
    keys = [notice(session, f"{n}") for n in range(3)]
    outlets = Letterbox(None, Throttled("TooManyRequestsException"), Throttled("TooManyRequestsException"))

    counts = send(database, outlets)

    assert (counts["sent"], counts["put_back"]) == (3, 2)
    assert sorted(outlets.subjects) == ["0", "1", "2"]
    assert {row(session, key).attempts for key in keys} == {1}, "being throttled is no try"


@pytest.mark.parametrize("answer", [Throttled("TooManyRequestsException"), NotSent("ServiceUnavailable")])
def test_what_is_put_back_is_nobodys(database: Engine, session: Session, answer: Exception) -> None:
    """Its sender has let it go: when it was claimed is told of the next claim."""
    key = notice(session)
    counts = send(database, Letterbox(*[answer] * 50), seconds=3)
    assert counts.keys() == {"put_back"}
    waits = row(session, key)
    assert (waits.status, waits.claimed_at, waits.error) == ("pending", None, str(answer))


def test_only_what_is_pending_is_released_to_the_application(database: Engine, session: Session) -> None:
    """What somebody has suppressed stays so, and what was sent keeps its time."""
    states = ("pending", "sent", "suppressed", "failed")
    keys = {state: notice(session, state, channel="in_app", status=state) for state in states}
    assert send(database, Letterbox()) == {"released": 1}
    found = {state: row(session, key) for state, key in keys.items()}
    assert {state: each.status for state, each in found.items()} == {
        **dict(zip(states, states, strict=True)),
        "pending": "sent",
    }
    assert [state for state, each in found.items() if each.sent_at is not None] == ["pending"]


def test_no_quota_is_asked_for_while_no_mail_is_due(database: Engine, session: Session) -> None:
    """Rows of other channels may wait for ever: nobody need know how many mails the account may send."""
    notice(session, "for the telephone", channel="push")
    notice(session, "later", scheduled_for=dt.datetime.now(dt.UTC) + dt.timedelta(hours=1))

    class Asked(Letterbox):
        def allowance(self) -> Allowance:
            raise AssertionError("no mail is due")

    assert send(database, Asked()) == {}


def test_several_are_in_the_air_at_once_as_an_answer_takes_longer_than_a_turn(
    database: Engine, session: Session
) -> None:
    for _ in range(6):
        notice(session)
    outlets = Air(together=3)

    assert send(database, outlets)["sent"] == 6

    assert outlets.alone == []  # type: ignore[attr-defined]


def test_an_account_of_one_mail_a_second_has_one_in_the_air(database: Engine, session: Session) -> None:
    expected = {"1", "2", "3"}
    for title in expected:
        notice(session, title)
    outlets = Air(together=2, per_second=1)

    assert send(database, outlets)["sent"] == 3

    assert set(outlets.alone) == expected  # type: ignore[attr-defined]


def test_whoever_dies_leaves_the_others_in_the_air_marked(database: Engine, session: Session) -> None:
    dying, *others = (notice(session, title) for title in ("dies", "arrives", "is refused"))
    outlets = Air(together=3, answers={"dies": Killed(), "is refused": Refused("MessageRejected")})

    with pytest.raises(Killed):
        send(database, outlets)

    assert row(session, dying).status == "sending"
    assert [row(session, key).status for key in others] == ["sent", "failed"]


def test_throttling_of_several_in_the_air_is_one_step_and_then_one_is_tried(database: Engine, session: Session) -> None:
    titles = ("1", "2", "3")
    for title in titles:
        notice(session, title)
    outlets = Air(together=3, answers={title: Throttled("TooManyRequestsException") for title in titles})
    pauses: list[float] = []

    counts = send(database, outlets, pauses=pauses)

    assert (counts["put_back"], counts["sent"]) == (3, 3)
    assert [round(pause) for pause in pauses if pause > 1] == [2]
    assert outlets.alone, "the first after the pause waits for its answer alone"  # type: ignore[attr-defined]


def test_throttling_without_end_stops_before_the_deadline_and_loses_nothing(database: Engine, session: Session) -> None:
    key = notice(session)

    counts = send(database, Letterbox(*[Throttled("TooManyRequestsException")] * 100), seconds=50)

    assert counts == {"put_back": 5}  # after 2, 4, 8 and 16 seconds; 30 more would not fit
    assert row(session, key).status == "pending"


def test_no_more_than_the_day_s_quota_is_sent(database: Engine, session: Session) -> None:
    for _ in range(3):
        notice(session)

    assert send(database, Letterbox(left=2))["sent"] == 2
    assert send(database, Letterbox(left=0)) == {}

    assert len(session.scalars(select(Notification).where(Notification.status == "pending")).all()) == 1


def test_no_more_than_the_quota_of_each_second_is_sent(database: Engine, session: Session) -> None:
    for _ in range(10):
        notice(session)

    counts = send(database, Letterbox(per_second=2), seconds=4)

    # A second of the four is the reserve, so three are left: the first at once, then one each half second.
    assert counts["sent"] in (6, 7)


def test_a_failure_outside_the_notice_is_tried_again_later_and_not_for_ever(database: Engine, session: Session) -> None:
    key = notice(session)
    waits = []
    for attempt in range(1, MOST_TRIES):
        assert send(database, Letterbox(NotSent("EndpointConnectionError"))) == {"put_back": 1}
        waiting = row(session, key)
        assert (waiting.status, waiting.attempts) == ("pending", attempt)
        waits.append(round((waiting.scheduled_for - dt.datetime.now(dt.UTC)) / dt.timedelta(minutes=1)))
        session.execute(update(Notification).values(scheduled_for=NOON))
        session.commit()

    assert send(database, Letterbox(NotSent("EndpointConnectionError")))["failed"] == 1
    assert waits == [1, 2, 4, 8, 16, 32, 64], "minutes: it outlives an outage of two hours"

    assert row(session, key).error == "not sent in 8 tries: EndpointConnectionError"


def test_a_refused_notice_fails_and_the_next_goes_out(database: Engine, session: Session) -> None:
    refused = notice(session, "refused", scheduled_for=NOON - dt.timedelta(hours=1))
    notice(session, "accepted")
    outlets = Letterbox(Refused("MessageRejected"), per_second=1)

    counts = send(database, outlets)

    assert (counts["failed"], counts["sent"]) == (1, 1)
    assert (row(session, refused).status, row(session, refused).error) == ("failed", "MessageRejected")


@pytest.mark.parametrize(
    ("title", "user"),
    [
        ("Hello\r\nBcc: everybody@example.org", {}),
        ("Hello\nBcc: everybody@example.org", {}),
        ("Hello\u2028there", {}),
        ("Hello", {"name": "Ann\r\nBcc: everybody@example.org"}),
        ("Hello", {"email": "ann@example.org\r\nBcc: everybody@example.org"}),
        ("Hello", {"email": "ann@example.org, everybody@example.org"}),
        ("Hello", {"email": "nobody"}),
    ],
)
def test_an_attempt_at_a_header_is_refused(
    database: Engine, session: Session, title: str, user: dict[str, Any]
) -> None:
    key = notice(session, title, user=user)
    outlets = Letterbox()

    assert send(database, outlets)["failed"] == 1

    failed = row(session, key)
    assert (failed.status, outlets.subjects) == ("failed", [])
    assert re.search("line break or a control character|not one address", failed.error or "")
    assert "everybody" not in (failed.error or "")


def test_a_row_of_no_known_kind_fails_and_holds_nobody_up(database: Engine, session: Session) -> None:
    """The table is the application's to write as well."""
    stranger = notice(session, scheduled_for=NOON - dt.timedelta(hours=1), kind="birthday")
    operators = notice(session, scheduled_for=NOON, kind="birthday", channel="ops")
    notice(session, "known")
    outlets = Letterbox()

    assert send(database, outlets) == {"failed": 2, "sent": 1}

    assert outlets.subjects == ["known"]
    for key in (stranger, operators):
        assert "birthday" in (row(session, key).error or "")


def test_data_that_lacks_a_fact_fails_with_its_kind(database: Engine, session: Session) -> None:
    key = notice(session, kind="cart_waiting", data={"hours": 1})

    send(database, Letterbox())

    failed = row(session, key)
    assert failed.status == "failed"
    assert "cart_waiting" in (failed.error or "")


def test_somebody_who_left_since_gets_nothing(database: Engine, session: Session) -> None:
    key = notice(session, user={"left_at": NOON})
    outlets = Letterbox()

    assert send(database, outlets)["suppressed"] == 1

    assert (row(session, key).status, outlets.subjects) == ("suppressed", [])


def test_somebody_who_switched_mails_off_since_gets_none(database: Engine, session: Session) -> None:
    key = notice(session, user={"wants": {"email": False}})
    outlets = Letterbox()

    assert send(database, outlets)["suppressed"] == 1

    assert (row(session, key).status, outlets.subjects) == ("suppressed", [])


@pytest.mark.parametrize(
    ("begun", "age", "fate"),
    [(-1, 6, "put_off"), (-1, 4, "sent"), (1, 6, "sent")],
    ids=["held up into them", "on time", "before them"],
)
def test_what_was_held_up_into_quiet_hours_waits_for_their_end(
    database: Engine, session: Session, begun: int, age: int, fate: str
) -> None:
    """GIVEN a row so many minutes old and quiet hours that began an hour ago, or will in an hour."""
    now = dt.datetime.now(dt.UTC).replace(microsecond=0)
    start = now + dt.timedelta(hours=begun)
    end = start + dt.timedelta(hours=2)
    quiet = {"quiet_start": start.time(), "quiet_end": end.time()}
    key = notice(session, user=quiet, created_at=now - dt.timedelta(minutes=age))

    assert send(database, Letterbox()) == {fate: 1}

    kept = row(session, key)
    assert kept.status == ("pending" if fate == "put_off" else "sent")
    assert kept.scheduled_for == (end if fate == "put_off" else NOON)
    assert (kept.attempts, kept.claimed_at is None) == ((0, True) if fate == "put_off" else (1, False))


def test_mails_of_duty_go_before_those_that_have_waited_longer(database: Engine, session: Session) -> None:
    for number in range(3):
        notice(session, f"ordinary {number}", scheduled_for=NOON + dt.timedelta(seconds=number))
    notice(session, "duty", kind="shop_alarm", scheduled_for=NOON + dt.timedelta(hours=1))
    outlets = Letterbox(left=2)

    assert send(database, outlets)["sent"] == 2

    assert outlets.subjects == ["duty", "ordinary 0"]


def test_one_user_gets_no_more_than_the_daily_cap_but_duties_pass(database: Engine, session: Session) -> None:
    first = notice(session, "1", user={"email": "ann@example.org"})
    ann = row(session, first).recipient
    for title, kind in (("2", "cart_waiting"), ("3", "cart_waiting"), ("4", "shop_alarm")):
        notice(session, title, recipient=ann, kind=kind)
    notice(session, "somebody else's")
    outlets = Letterbox()

    counts = send(database, outlets, cap=2)

    assert counts["suppressed"] == 1
    assert sorted(outlets.subjects)[:-1] in (["1", "2", "4"], ["1", "3", "4"], ["2", "3", "4"])
    notice(session, "5", recipient=ann, kind="shop_alarm")
    assert send(database, outlets, cap=2)["sent"] == 1
    session.execute(
        update(Notification)
        .where(Notification.status == "sent")
        .values(claimed_at=dt.datetime.now(dt.UTC) - dt.timedelta(hours=25))
    )
    session.commit()
    notice(session, "a day later", recipient=ann)
    assert send(database, outlets, cap=2)["sent"] == 1


def test_the_daily_cap_counts_what_was_sent_or_may_have_been(database: Engine, session: Session) -> None:
    now = dt.datetime.now(dt.UTC)
    earlier: dict[str, dict[str, Any]] = {
        **{status: {"status": status} for status in ("sending", "sent", "unknown", "failed", "suppressed")},
        "yesterday": {"status": "sent", "claimed_at": now - dt.timedelta(hours=24, minutes=1)},
        "today": {"status": "sent", "claimed_at": now - dt.timedelta(hours=23, minutes=59)},
        "of duty": {"status": "sent", "kind": "shop_alarm"},
        "in the application": {"status": "sent", "channel": "in_app"},
    }
    for title, values in earlier.items():
        first = notice(session, f"first: {title}", **{"claimed_at": now, **values})
        notice(session, title, recipient=row(session, first).recipient)
    outlets = Letterbox()

    assert send(database, outlets, cap=1)["suppressed"] == 4

    assert set(outlets.subjects) == {"failed", "suppressed", "yesterday", "of duty", "in the application"}


def test_two_dispatchers_at_once_send_each_notice_once(database: Engine, session: Session) -> None:
    expected = sorted(f"{n}" for n in range(30))
    for title in expected:
        notice(session, title)
    both = threading.Barrier(2, timeout=30)
    outlets = [Letterbox(), Letterbox()]

    def work(letterbox: Letterbox) -> None:
        both.wait()
        send(database, letterbox)

    threads = [threading.Thread(target=work, args=(letterbox,)) for letterbox in outlets]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)

    assert sorted(outlets[0].subjects + outlets[1].subjects) == expected


def test_a_row_that_another_dispatcher_holds_is_passed_over(database: Engine, session: Session) -> None:
    held = notice(session, "held", scheduled_for=NOON - dt.timedelta(hours=1))
    notice(session, "free")
    outlets = Letterbox()
    with database.connect() as other, other.begin():
        other.execute(text("select from nightshift.notifications where id = :id for update"), {"id": held})
        send(database, outlets)

    assert outlets.subjects == ["free"]


def test_notices_in_the_application_are_released_when_due_and_pushes_are_left_to_it(
    database: Engine, session: Session
) -> None:
    in_app, push = notice(session, channel="in_app"), notice(session, channel="push")
    quiet = notice(session, channel="in_app", scheduled_for=dt.datetime.now(dt.UTC) + dt.timedelta(hours=1))

    assert send(database, Letterbox()) == {"released": 1}

    assert row(session, in_app).status == "sent"
    assert row(session, in_app).sent_at is not None
    assert row(session, push).status == "pending"
    assert row(session, quiet).status == "pending"


def test_without_a_sender_mails_wait(database: Engine, session: Session) -> None:
    key = notice(session)

    assert send(database, Outlets()) == {}

    assert row(session, key).status == "pending"


def test_kinds_of_duty_carry_no_link_to_unsubscribe(database: Engine, session: Session) -> None:
    for kind in notice_kinds():
        notice(session, kind, kind=kind)
    outlets = Letterbox()

    send(database, outlets)

    assert {subject: unsubscribe for _, subject, unsubscribe in outlets.given} == {  # type: ignore[attr-defined]
        kind.name: not kind.duty for kind in notice_kinds().values()
    }


def client_error(code: str, status: int) -> ClientError:
    return ClientError({"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": status}}, "SendEmail")  # type: ignore[typeddict-item]


@pytest.mark.parametrize(
    ("cause", "meaning"),
    [
        (client_error("TooManyRequestsException", 429), Throttled),
        (client_error("ThrottlingException", 400), Throttled),
        (client_error("MessageRejected", 400), Refused),
        (client_error("BadRequestException", 400), Refused),
        (client_error("SendingPausedException", 400), NotSent),
        (client_error("AccessDeniedException", 403), NotSent),
        (client_error("InternalServiceErrorException", 500), Unclear),
        (EndpointConnectionError(endpoint_url="https://email"), NotSent),
        (ReadTimeoutError(endpoint_url="https://email"), Unclear),
    ],
    ids=lambda value: getattr(value, "__name__", str(value)),
)
def test_what_surely_was_not_sent_is_told_apart_from_what_may_have_been(
    aws: None, cause: Exception, meaning: type[Exception]
) -> None:
    outlets = Outlets(sender=SENDER)
    attempts = []

    def fail(**_: Any) -> None:
        attempts.append(1)
        raise cause

    outlets._ses.meta.events.register("before-call.sesv2.SendEmail", fail)

    with pytest.raises(meaning) as raised:
        outlets.mail("ann@example.org", Mail("subject", "<p>", "text"), unsubscribe=True)

    assert type(raised.value) is meaning
    assert len(attempts) == 1, "a call whose answer was lost must not be repeated"


@pytest.mark.parametrize("url", ["http://a.example", "https://a.example/ b", "https://a.example/>,<mailto:x@y.z", ""])
def test_an_address_to_unsubscribe_that_no_header_can_hold_is_refused(url: str) -> None:
    with pytest.raises(UnsendableError, match="no https:// address"):
        check_unsubscribe(url)


def test_the_account_s_quota_is_what_ses_says(aws: None) -> None:
    outlets = Outlets(sender=SENDER)

    def answer(**_: Any) -> tuple[Any, dict[str, Any]]:
        quota = {"Max24HourSend": 200.0, "MaxSendRate": 1.0, "SentLast24Hours": 150.0}
        return type("Answer", (), {"status_code": 200})(), {"SendQuota": quota}

    outlets._ses.meta.events.register("before-call.sesv2.GetAccount", answer)  # type: ignore[arg-type]

    assert outlets.allowance() == Allowance(1.0, 50)


def test_mails_wait_while_the_account_may_not_send(
    database: Engine, session: Session, aws: None, caplog: pytest.LogCaptureFixture
) -> None:
    key = notice(session)
    outlets = Outlets(sender=SENDER)

    def answer(**_: Any) -> tuple[Any, dict[str, Any]]:
        quota = {"Max24HourSend": 200.0, "MaxSendRate": 1.0, "SentLast24Hours": 0.0}
        return type("Answer", (), {"status_code": 200})(), {"SendingEnabled": False, "SendQuota": quota}

    outlets._ses.meta.events.register("before-call.sesv2.GetAccount", answer)  # type: ignore[arg-type]

    assert send(database, outlets) == {}

    assert (row(session, key).status, row(session, key).attempts) == ("pending", 0)
    assert "quota.unknown" in caplog.messages


def test_the_function_logs_no_address(
    database: Engine,
    session: Session,
    aws: None,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    notice(session, user={"email": "ann@example.org"})
    notice(session, user={"email": "not\r\nan address"})
    monkeypatch.setenv(DATABASE_VARIABLE, json.dumps({"url": database.url.render_as_string(hide_password=False)}))
    monkeypatch.setenv(SENDER_VARIABLE, SENDER)
    monkeypatch.setattr(Outlets, "allowance", lambda self: Allowance(1000, None))

    telemetry.metrics().clear_metrics()

    counts = dispatcher.handler({}, Context(20))

    assert (counts["sent"], counts["failed"]) == (1, 1)
    measured = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (measured["MailsSent"], measured["MailsFailed"], measured["MailsUnknown"]) == ([1.0], [1.0], [0.0])
    logged = " ".join(str(vars(record)) for record in caplog.records)
    assert "notification.sent" in logged
    assert "ann@" not in logged
    assert "an address" not in logged

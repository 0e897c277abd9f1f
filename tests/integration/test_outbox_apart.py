"""Each row of the outbox, each channel and each part of a round has its turn, whatever becomes of the others."""

import datetime as dt
import socket
import threading
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import boto3
import pytest
from botocore.stub import Stubber
from sqlalchemy import Engine, text, update
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from nightshift import telemetry
from nightshift.deadline import Deadline
from nightshift.outbox import Mail, Notification, NotSent, Outlets, Throttled, Unclear, Unverified, dispatch
from nightshift.outbox.pace import Pace
from nightshift.outbox.parcels import MOST_COUNTED
from tests.integration.test_dispatch import NOON, Letterbox, notice, row, send

REFUSE = """
create function pg_temp.refuse() returns trigger language plpgsql as $$
begin if old.title = 'odd' and {when} then {does}; end if; return new; end $$;
create trigger refuse before update on nightshift.notifications for each row execute function pg_temp.refuse()
"""
RAISES, KEEPS, STUMBLES = "raise exception 'no'", "return null", "perform 1 / 0 from no_such_table"


def odd_and_others(session: Session, channel: str = "email", **more: Any) -> dict[str, uuid.UUID]:
    """A row that comes first, of the given channel, and one of each other channel that is sent or released."""
    odd = notice(session, "odd", channel=channel, scheduled_for=NOON - dt.timedelta(days=1), **more)
    others = {channel: notice(session, channel, channel=channel) for channel in ("email", "ops", "in_app")}
    return {"odd": odd, **others}


def states(session: Session, keys: dict[str, uuid.UUID]) -> dict[str, str]:
    session.rollback()
    found = text("select id, status from nightshift.notifications")  # without the data, which Python may not hold
    by_id: dict[uuid.UUID, str] = dict(session.execute(found).all())
    return {name: by_id[key] for name, key in keys.items()}


@pytest.fixture
def kept(database: Engine, session: Session) -> Iterator[Callable[..., None]]:
    """Has a trigger keep the row `odd` as it is."""
    with database.connect() as connection:  # its functions last as long as this

        def keep(does: str, when: str = "true") -> None:
            connection.exec_driver_sql(REFUSE.format(does=does, when=when))
            connection.commit()

        yield keep
        session.rollback()
        connection.exec_driver_sql("drop trigger if exists refuse on nightshift.notifications")
        connection.commit()


@pytest.mark.parametrize(
    ("channel", "does"), [("email", RAISES), ("email", KEEPS), ("ops", RAISES), ("in_app", RAISES), ("in_app", KEEPS)]
)
def test_a_row_that_refuses_to_be_changed_keeps_no_other_from_its_turn(
    database: Engine, session: Session, kept: Callable[..., None], channel: str, does: str
) -> None:
    keys = odd_and_others(session, channel)
    kept(does)
    letterbox = Letterbox()

    assert send(database, letterbox)["left"] == 1

    assert states(session, keys) == {"odd": "pending", "email": "sent", "ops": "sent", "in_app": "sent"}
    assert sorted(letterbox.subjects) == ["email", "ops"]


def test_a_row_whose_sender_cannot_be_given_up_keeps_no_other_from_its_turn(
    database: Engine, session: Session, kept: Callable[..., None]
) -> None:
    keys = odd_and_others(session, status="sending", claimed_at=NOON)
    lost = notice(session, "lost", status="sending", claimed_at=NOON)
    kept(RAISES)

    send(database, Letterbox())

    expected = {"odd": "sending", "email": "sent", "ops": "sent", "in_app": "sent", "lost": "unknown"}
    assert states(session, {**keys, "lost": lost}) == expected


@pytest.mark.parametrize("channel", ["email", "in_app"])
def test_an_error_that_may_be_that_of_all_ends_the_round_once_all_had_their_turn(
    database: Engine, session: Session, kept: Callable[..., None], channel: str
) -> None:
    keys = odd_and_others(session, channel)
    kept(STUMBLES)
    with pytest.raises(DBAPIError, match="no_such_table"):
        send(database, Letterbox())
    assert states(session, keys) == {"odd": "pending", "email": "sent", "ops": "sent", "in_app": "sent"}


def test_a_mail_that_was_sent_and_cannot_be_marked_is_not_sent_again(
    database: Engine, session: Session, kept: Callable[..., None]
) -> None:
    keys = odd_and_others(session)
    kept(RAISES, "new.status = 'sent'")
    letterbox = Letterbox(per_second=1)

    assert send(database, letterbox)["unmarked"] == 1
    session.execute(update(Notification).where(Notification.id == keys["odd"]).values(claimed_at=NOON))
    session.commit()
    send(database, letterbox)

    assert states(session, keys) == {"odd": "unknown", "email": "sent", "ops": "sent", "in_app": "sent"}
    assert sorted(letterbox.subjects) == ["email", "odd", "ops"]


@pytest.mark.parametrize(
    "data", ['{"n": ' + "9" * 5000 + "}", '{"n": ' * 3000 + "1" + "}" * 3000], ids=["long", "deep"]
)
def test_data_that_python_cannot_read_fails_alone(database: Engine, session: Session, data: str) -> None:
    keys = odd_and_others(session)
    session.execute(
        text("update nightshift.notifications set data = cast(:d as jsonb) where title = 'odd'"), {"d": data}
    )
    session.commit()

    send(database, Letterbox())

    assert states(session, keys) == {"odd": "failed", "email": "sent", "ops": "sent", "in_app": "sent"}
    said = session.scalar(text("select error from nightshift.notifications where title = 'odd'"))
    assert said.startswith("nobody can read its data: ")


@pytest.mark.parametrize(("answer", "ends"), [(None, "sent"), (NotSent("EndpointConnectionError"), "failed")])
def test_tries_that_the_column_cannot_count_on_are_no_obstacle(
    database: Engine, session: Session, answer: Exception | None, ends: str
) -> None:
    odd = notice(session, "odd", attempts=MOST_COUNTED)
    send(database, Letterbox(answer))
    assert row(session, odd).status == ends


def test_tries_below_nought_are_paused_between_like_the_first(database: Engine, session: Session) -> None:
    odd = notice(session, "odd", attempts=-MOST_COUNTED)
    assert send(database, Letterbox(NotSent("EndpointConnectionError"))) == {"put_back": 1}
    assert row(session, odd).scheduled_for > dt.datetime.now(dt.UTC) + dt.timedelta(seconds=50)


@pytest.mark.parametrize("channel", ["email", "in_app"])
def test_a_row_that_another_session_holds_is_not_waited_for(database: Engine, session: Session, channel: str) -> None:
    keys = odd_and_others(session, channel)
    with Session(database) as other:
        other.execute(text("select from nightshift.notifications where title = 'odd' for update"))
        send(database, Letterbox())
    assert states(session, keys) == {"odd": "pending", "email": "sent", "ops": "sent", "in_app": "sent"}
    send(database, Letterbox())
    assert states(session, keys)["odd"] == "sent"


def test_a_row_that_is_suppressed_too_late_in_the_sandbox_and_refuses_that_keeps_no_other_from_it(
    database: Engine, session: Session, kept: Callable[..., None]
) -> None:
    held: dict[str, Any] = {"error": "held by the sandbox of SES: MessageRejected"}
    keys = {title: notice(session, title, **held) for title in ("odd", "late")}
    kept(RAISES)
    send(database, Letterbox())
    assert states(session, keys) == {"odd": "pending", "late": "suppressed"}


def test_quiet_hours_at_24_00_are_no_obstacle(database: Engine, session: Session) -> None:
    odd, others = notice(session, "odd"), notice(session, "other")
    hours = text("update customers set quiet_start = '24:00', quiet_end = '24:00' where id = cast(:id as uuid)")
    session.execute(hours, {"id": row(session, odd).recipient})
    session.execute(text("update nightshift.notifications set created_at = now() - interval '1 hour'"))
    session.commit()
    assert send(database, Letterbox())["sent"] == 2
    assert states(session, {"odd": odd, "other": others}) == {"odd": "sent", "other": "sent"}


def test_a_part_of_the_round_that_fails_keeps_no_other_from_its_turn(
    database: Engine, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = odd_and_others(session)

    def broken(*_: Any) -> int:
        raise RuntimeError("broken")

    monkeypatch.setattr("nightshift.outbox.dispatcher.give_up_on_the_lost", broken)
    with pytest.raises(RuntimeError, match="broken"):
        send(database, Letterbox())
    assert set(states(session, keys).values()) == {"sent"}


@pytest.mark.parametrize("claimed_at", [None, "infinity"])
def test_a_claimed_row_that_does_not_say_since_when_is_given_up(
    database: Engine, session: Session, claimed_at: str | None
) -> None:
    """It is neither due nor sent, so nobody would hear of it."""
    odd = notice(session, "odd", status="sending", claimed_at=claimed_at and text(f"'{claimed_at}'"))
    fresh = notice(session, "fresh", status="sending", claimed_at=text("now()"))
    assert send(database, Letterbox()) == {"unknown": 1}
    assert states(session, {"odd": odd, "fresh": fresh}) == {"odd": "unknown", "fresh": "sending"}


class Silent(Letterbox):
    """Outlets of which one channel fails, after as many seconds as a call waits."""

    def __init__(self, channel: str, failure: Exception, *, works: int = 0) -> None:
        super().__init__()
        vars(self).update(channel=channel, failure=failure, works=works, tried=[], slept=[])

    def _try(self, channel: str) -> None:
        if channel != self.channel:  # type: ignore[attr-defined]
            return
        self.tried.append(channel)  # type: ignore[attr-defined]
        if len(self.tried) > self.works:  # type: ignore[attr-defined]
            self.slept.append(3.0)  # type: ignore[attr-defined]
            raise self.failure  # type: ignore[attr-defined]

    def mail(self, address: str, mail: Mail, *, unsubscribe: bool) -> None:
        self._try("email")
        super().mail(address, mail, unsubscribe=unsubscribe)

    def publish(self, mail: Mail) -> None:
        self._try("ops")
        super().publish(mail)


def round_of(database: Engine, outlets: Silent, seconds: float = 25) -> dict[str, int]:
    with Session(database, expire_on_commit=False) as session:
        left = Deadline(lambda: seconds - sum(outlets.slept))  # type: ignore[attr-defined]
        return dict(dispatch(session, outlets, left, daily_cap=10, wait=outlets.slept.append))  # type: ignore[attr-defined]


@pytest.mark.parametrize("failure", [NotSent("ConnectTimeoutError"), Unclear("ReadTimeoutError")])
def test_a_channel_that_fails_is_left_alone_for_the_round(
    database: Engine, session: Session, failure: Exception
) -> None:
    told = {f"{number}": notice(session, "told", channel="ops") for number in range(4)}
    mail = notice(session, "mail")
    outlets = Silent("ops", failure)

    round_of(database, outlets)

    assert len(outlets.tried) == 1  # type: ignore[attr-defined]
    assert row(session, mail).status == "sent"
    assert list(states(session, told).values()).count("pending") == (4 if isinstance(failure, NotSent) else 3)


def test_one_failure_among_successes_does_not_end_the_channel_and_two_do(database: Engine, session: Session) -> None:
    for _ in range(6):
        notice(session, "told", channel="ops")
    outlets = Silent("ops", NotSent("ConnectTimeoutError"), works=2)
    round_of(database, outlets)
    assert len(outlets.tried) == 4  # type: ignore[attr-defined]


def test_failures_with_successes_between_them_do_not_end_the_channel() -> None:
    pace = Pace(Deadline(lambda: 100.0), per_second=10)
    for _ in range(3):
        pace.succeed(0)
        pace.fail()
        assert pace.pause(0) is not None
    pace.fail()
    assert pace.pause(0) is None


@pytest.mark.parametrize("failure", [NotSent("ConnectTimeoutError"), Unverified("MessageRejected")])
def test_mails_that_fail_for_all_are_few_and_the_others_keep_their_tries(
    database: Engine, session: Session, failure: Exception
) -> None:
    keys = [notice(session, f"{number}") for number in range(6)]
    outlets = Silent("email", failure)
    vars(outlets)["quota"] = type(outlets.allowance())(1, None)
    round_of(database, outlets)
    assert sorted(row(session, key).attempts for key in keys) == [0, 0, 1, 1, 1, 1]


def test_who_could_not_be_told_comes_last_the_next_time(database: Engine, session: Session) -> None:
    for title in ("first", "second"):
        notice(session, title, channel="ops")
    round_of(database, Silent("ops", NotSent("ConnectTimeoutError")))
    notice(session, "mail")
    well = Silent("none", NotSent(""))
    round_of(database, well)
    assert well.subjects[0] == "mail"
    assert well.subjects[1:] in (["first"], ["second"]), "the other is due later"


def test_a_throttled_channel_leaves_half_of_the_time_to_the_other(database: Engine, session: Session) -> None:
    notice(session, "told", channel="ops")
    mail = notice(session, "mail")
    outlets = Silent("ops", Throttled("Throttling"))
    round_of(database, outlets, seconds=40)
    assert row(session, mail).status == "sent"


class Dropping:
    """A server that takes each request and drops the connection in the place of its answer."""

    def __init__(self) -> None:
        self.requests = 0
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            with connection:
                connection.recv(65_536)
                self.requests += 1

    def close(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()


@pytest.fixture
def dropping(monkeypatch: pytest.MonkeyPatch) -> Iterator[Dropping]:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    server = Dropping()
    monkeypatch.setenv("AWS_ENDPOINT_URL", server.url)
    boto3.setup_default_session()
    yield server
    server.close()


@pytest.mark.parametrize("channel", ["email", "ops"])
def test_a_call_whose_answer_is_lost_is_made_once(dropping: Dropping, channel: str) -> None:
    outlets = Outlets(sender="nightshift@example.com", operators_topic="arn:aws:sns:us-east-1:123456789012:ops")
    mail = Mail("A title", html="", text="A body")
    with pytest.raises(Unclear):
        outlets.publish(mail) if channel == "ops" else outlets.mail("ann@example.org", mail, unsubscribe=False)
    assert dropping.requests == 1


@pytest.mark.parametrize(("status", "raised"), [(429, Throttled), (403, NotSent), (500, Unclear)])
def test_an_answer_of_too_many_requests_is_throttling_whatever_its_code(
    dropping: Dropping, status: int, raised: type[Exception]
) -> None:
    outlets = Outlets(sender="nightshift@example.com")
    with Stubber(outlets._ses) as stubbed:
        stubbed.add_client_error("send_email", "A code of tomorrow", http_status_code=status)
        with pytest.raises(raised) as caught:
            outlets.mail("ann@example.org", Mail("A title", html="", text="A body"), unsubscribe=False)
    assert type(caught.value) is raised


def test_hindrances_are_logged_by_row(
    database: Engine, session: Session, kept: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[tuple[str, dict[str, Any]]] = []
    monkeypatch.setattr(telemetry, "error", lambda event, *_, **about: told.append((event, about)))
    keys = odd_and_others(session)
    kept(RAISES)
    send(database, Letterbox())
    [(event, about)] = told
    assert (event, about["notification"]) == ("notification.left", str(keys["odd"]))
    assert "P0001" in about["reason"]

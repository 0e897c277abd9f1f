import datetime as dt
import json
import sys
import traceback
import uuid
from base64 import b64decode
from collections.abc import Iterator
from decimal import Decimal
from functools import partial
from pathlib import Path
from types import FrameType, ModuleType
from typing import Any

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from sqlalchemy import Engine, MetaData, delete, func, select, text, update
from sqlalchemy.orm import Session

import application
import functions
import nightshift
from application.models import AnnualSummary, PaymentRecord, User, YearlySnapshot
from application.sealed import Sealer
from functions.tracking.summary_regeneration import job
from nightshift.errors import RunFailedError
from nightshift.store import DataKey, DataKeys, KeyService, add_data_key
from tests.integration.conftest import Invoke

NOW = dt.datetime(2026, 3, 1, 4, tzinfo=dt.UTC)
DAY = dt.timedelta(days=1)
HOUR = dt.timedelta(hours=1)


class Books:
    """What the application does: snapshots and payments with sealed amounts, and a reader who holds the key."""

    def __init__(self, session: Session, keys: KeyService) -> None:
        self.session = session
        self.keys = DataKeys.stored(session, keys)
        self.sealer = Sealer(self.keys)

    def user(self) -> uuid.UUID:
        user = User(email=f"{uuid.uuid4()}@example.org")
        self.session.add(user)
        self.session.commit()
        return user.id

    def snapshot(
        self, user_id: uuid.UUID, due: str = "100", *, at: dt.datetime = NOW - DAY, **columns: Any
    ) -> uuid.UUID:
        row = uuid.uuid4()
        seal = partial(self.sealer.seal, user_id, "yearly_snapshots", row)
        values = {
            "status": "FINALIZED",
            "calculation_date": at,
            "gregorian_year": 2026,
            "hijri_year": 1447,
            "hijri_month": 9,
            "hijri_day": 1,
            "total_wealth_enc": seal("4000"),
            "zakat_amount_enc": seal(due),
            "nisab_threshold_enc": seal("3500"),
            "nisab_type": "gold",
            "asset_breakdown_enc": seal("{}"),
            "methodology": "standard",
            "created_at": at,
            "updated_at": at,
        }
        self.session.add(YearlySnapshot(id=row, user_id=user_id, **{**values, **columns}))
        self.session.commit()
        return row

    def pay(
        self, user_id: uuid.UUID, snapshot_id: uuid.UUID, amount: str, *, name: str = "Food bank", **columns: Any
    ) -> uuid.UUID:
        row = uuid.uuid4()
        seal = partial(self.sealer.seal, user_id, "payment_records", row)
        values = {
            "amount_enc": seal(amount),
            "recipient_name_enc": seal(name),
            "recipient_type": "charity",
            "recipient_category": "fakir",
            "payment_date": NOW - DAY,
            "payment_method": "cash",
            "currency": "USD",
        }
        self.session.add(PaymentRecord(id=row, user_id=user_id, snapshot_id=snapshot_id, **{**values, **columns}))
        self.session.commit()
        return row

    def touched(self, snapshot_id: uuid.UUID, at: dt.datetime) -> None:
        """Payments are stamped with the database's clock, and these runs are due on a day of their own."""
        self.session.execute(
            update(YearlySnapshot).where(YearlySnapshot.id == snapshot_id).values(payments_changed_at=at)
        )
        self.session.commit()

    def summary(self, snapshot_id: uuid.UUID) -> AnnualSummary:
        self.session.rollback()
        return self.session.scalars(select(AnnualSummary).where(AnnualSummary.snapshot_id == snapshot_id)).one()

    def read(self, summary: AnnualSummary, column: str) -> str:
        _, key_id, body = getattr(summary, column).split(":")
        content = b64decode(body)
        place = f"{summary.user_id}|annual_summaries|{summary.id}".encode()
        return AESGCM(self.keys[int(key_id)]).decrypt(content[:12], content[12:], place).decode()


@pytest.fixture
def books(session: Session, keys: KeyService) -> Books:
    return Books(session, keys)


def run(invoke_job: Invoke, at: dt.datetime = NOW) -> dict[str, int]:
    """Run and return the counters that are not zero."""
    result = invoke_job(job, at=at)
    assert result["outcome"] == "succeeded"
    return {name: value for name, value in result["counters"].items() if value and name != "batches"}


def test_a_summary_is_made(invoke_job: Invoke, books: Books) -> None:
    ann = books.user()
    snapshot_id = books.snapshot(ann, "100")
    books.pay(ann, snapshot_id, "25")
    books.pay(ann, snapshot_id, "20", currency="EUR", exchange_rate="1.25", recipient_category="miskin")
    books.touched(snapshot_id, NOW - HOUR)

    assert run(invoke_job) == {"regenerated": 1}

    summary = books.summary(snapshot_id)
    assert (summary.user_id, summary.gregorian_year, summary.hijri_year, summary.methodology) == (
        ann,
        2026,
        1447,
        "standard",
    )
    assert (summary.payment_status, summary.completion_bp, summary.number_of_payments) == ("partial", 5000, 2)
    assert (summary.counts_by_type, summary.counts_by_category) == ({"charity": 2}, {"fakir": 1, "miskin": 1})
    assert (summary.first_payment_at, summary.last_payment_at) == (NOW - DAY, NOW - DAY)
    assert (summary.version, summary.generated_at, summary.source_activity_at) == (1, NOW, NOW - HOUR)
    assert [books.read(summary, name) for name in ("due_enc", "paid_enc", "outstanding_enc")] == [
        "100.00",
        "50.00",
        "50.00",
    ]
    assert summary.comparison_enc is None


def test_a_payment_that_is_added_changed_or_deleted_refreshes(
    invoke_job: Invoke, session: Session, books: Books
) -> None:
    """Each through the trigger: it stamps the snapshot, whichever way a payment changes."""
    ann = books.user()
    now = session.scalar(select(func.now()))
    assert now is not None
    snapshot_id = books.snapshot(ann, "100", at=now - DAY)
    found = []
    payment_id = None
    for hours in range(4, 0, -1):
        if hours == 3:
            payment_id = books.pay(ann, snapshot_id, "40")
        if hours == 2:
            row = session.get_one(PaymentRecord, payment_id)
            row.amount_enc = books.sealer.seal(ann, "payment_records", row.id, "60")
        if hours == 1:
            session.execute(delete(PaymentRecord))
        session.commit()
        run(invoke_job, now - hours * HOUR)
        summary = books.summary(snapshot_id)
        found.append((summary.version, books.read(summary, "paid_enc"), summary.completion_bp))

    assert found == [(1, "0.00", 0), (2, "40.00", 4000), (3, "60.00", 6000), (4, "0.00", 0)]


def test_a_payment_that_moves_refreshes_both_its_snapshots(invoke_job: Invoke, session: Session, books: Books) -> None:
    ann = books.user()
    now = session.scalar(select(func.now()))
    assert now is not None
    wrong, right = (books.snapshot(ann, "100", at=now - DAY) for _ in range(2))
    payment_id = books.pay(ann, wrong, "40")
    run(invoke_job, now - 2 * HOUR)
    session.get_one(PaymentRecord, payment_id).snapshot_id = right
    session.commit()

    assert run(invoke_job, now - HOUR) == {"regenerated": 2}

    assert [books.read(books.summary(each), "paid_enc") for each in (wrong, right)] == ["0.00", "40.00"]


def test_a_payment_of_a_long_transaction_is_not_missed(
    invoke_job: Invoke, session: Session, database: Engine, keys: KeyService, books: Books
) -> None:
    """GIVEN a transaction that began first WHEN it pays after another payment was taken up THEN it is taken up too."""
    ann = books.user()
    now = session.scalar(select(func.now()))
    assert now is not None
    snapshot_id = books.snapshot(ann, "100", at=now - DAY)
    with Session(database) as slow:
        slow.execute(select(func.now()))
        books.pay(ann, snapshot_id, "40")
        assert run(invoke_job, now - 2 * HOUR) == {"regenerated": 1}
        Books(slow, keys).pay(ann, snapshot_id, "60")

    assert run(invoke_job, now - HOUR) == {"regenerated": 1}

    assert books.read(books.summary(snapshot_id), "paid_enc") == "100.00"


def test_without_a_change_of_figures_the_version_stays(invoke_job: Invoke, books: Books) -> None:
    ann = books.user()
    snapshot_id = books.snapshot(ann)
    books.pay(ann, snapshot_id, "40")
    books.touched(snapshot_id, NOW - HOUR)
    assert run(invoke_job) == {"regenerated": 1}
    before = books.summary(snapshot_id)
    kept = (before.id, before.version, before.content_hash, before.paid_enc, before.generated_at)
    assert run(invoke_job, NOW + HOUR) == {}

    books.touched(snapshot_id, NOW + 2 * HOUR)
    assert run(invoke_job, NOW + DAY) == {"unchanged": 1}
    assert run(invoke_job, NOW + 2 * DAY) == {}

    after = books.summary(snapshot_id)
    assert (after.id, after.version, after.content_hash, after.paid_enc, after.generated_at) == kept
    assert after.source_activity_at == NOW + 2 * HOUR


def test_the_method_alone_is_a_change(invoke_job: Invoke, session: Session, books: Books) -> None:
    snapshot_id = books.snapshot(books.user())
    run(invoke_job)
    session.execute(update(YearlySnapshot).values(methodology="hanafi", updated_at=NOW))
    session.commit()

    assert run(invoke_job, NOW + DAY) == {"regenerated": 1}

    assert (books.summary(snapshot_id).methodology, books.summary(snapshot_id).version) == ("hanafi", 2)


def test_a_hundred_a_run_the_oldest_first_and_those_without_a_summary_before(
    invoke_job: Invoke, session: Session, books: Books
) -> None:
    ann = books.user()
    refreshed = books.snapshot(ann, at=NOW - 7 * DAY)
    run(invoke_job, NOW - 6 * DAY)
    books.touched(refreshed, NOW - 5 * DAY)
    by_age = [books.snapshot(ann, at=NOW - minutes * dt.timedelta(minutes=1)) for minutes in range(150, 1, -1)]

    assert run(invoke_job) == {"regenerated": 100, "remaining": 50}
    assert set(session.scalars(select(AnnualSummary.snapshot_id))) == {refreshed, *by_age[:100]}
    assert books.summary(refreshed).source_activity_at == NOW - 7 * DAY
    assert run(invoke_job, NOW + DAY) == {"regenerated": 49, "unchanged": 1}
    assert run(invoke_job, NOW + 2 * DAY) == {}


def test_equal_activity_goes_by_id(invoke_job: Invoke, session: Session, books: Books) -> None:
    ann = books.user()
    ids = sorted(books.snapshot(ann) for _ in range(4))

    result = invoke_job(job, {"parameters": {"summaries_a_run": 2}}, at=NOW)

    assert (result["counters"]["regenerated"], result["counters"]["remaining"]) == (2, 2)
    assert set(session.scalars(select(AnnualSummary.snapshot_id))) == set(ids[:2])


@pytest.mark.parametrize(
    ("age", "status", "taken"),
    [
        (7 * DAY, "FINALIZED", True),
        (7 * DAY + dt.timedelta(microseconds=1), "FINALIZED", False),
        (DAY, "DRAFT", False),
        (DAY, "UNLOCKED", False),
    ],
)
def test_what_is_taken_up(invoke_job: Invoke, books: Books, age: dt.timedelta, status: str, taken: bool) -> None:
    books.snapshot(books.user(), at=NOW - age, status=status)

    assert run(invoke_job) == ({"regenerated": 1} if taken else {})


def test_an_unlocked_snapshot_keeps_its_old_summary(invoke_job: Invoke, session: Session, books: Books) -> None:
    ann = books.user()
    snapshot_id = books.snapshot(ann)
    run(invoke_job)
    session.execute(update(YearlySnapshot).values(status="UNLOCKED", updated_at=NOW))
    session.commit()

    assert run(invoke_job, NOW + DAY) == {}
    assert books.summary(snapshot_id).version == 1


def test_a_payment_of_somebody_else_is_ignored_and_counted(invoke_job: Invoke, books: Books) -> None:
    ann, bob = books.user(), books.user()
    snapshot_id = books.snapshot(ann)
    books.pay(ann, snapshot_id, "40")
    books.pay(bob, snapshot_id, "60")
    books.touched(snapshot_id, NOW - HOUR)

    assert run(invoke_job) == {"regenerated": 1, "ownership_violations": 1}

    summary = books.summary(snapshot_id)
    assert (summary.number_of_payments, books.read(summary, "paid_enc")) == (1, "40.00")


def test_a_payment_sealed_on_the_users_device_leaves_counts(invoke_job: Invoke, books: Books) -> None:
    ann = books.user()
    snapshot_id = books.snapshot(ann)
    books.pay(ann, snapshot_id, "40")
    books.pay(ann, snapshot_id, "", amount_enc="ZK1:c2VjcmV0")
    books.touched(snapshot_id, NOW - HOUR)

    assert run(invoke_job) == {"regenerated": 1, "undecryptable": 1}

    summary = books.summary(snapshot_id)
    assert (summary.payment_status, summary.completion_bp) == ("unknown", None)
    assert (summary.number_of_payments, summary.undecryptable, summary.paid_enc) == (2, 1, None)


def test_nothing_due_and_paid_too_much(invoke_job: Invoke, books: Books) -> None:
    ann = books.user()
    nothing_due, too_much = books.snapshot(ann, "0"), books.snapshot(ann, "10")
    books.pay(ann, too_much, "11")
    books.touched(too_much, NOW - HOUR)

    assert run(invoke_job) == {"regenerated": 2}

    assert [
        (books.summary(each).payment_status, books.summary(each).completion_bp) for each in (nothing_due, too_much)
    ] == [("not_due", 10_000), ("overpaid", 10_000)]


def test_the_year_before_is_compared_with(invoke_job: Invoke, books: Books) -> None:
    ann, bob = books.user(), books.user()
    before = books.snapshot(ann, "80", gregorian_year=2025, is_primary=True, at=NOW - 365 * DAY)
    books.snapshot(ann, "1", gregorian_year=2025, at=NOW - 365 * DAY)
    books.snapshot(bob, "1", gregorian_year=2025, is_primary=True, at=NOW - 365 * DAY)
    books.pay(ann, before, "80")
    books.touched(before, NOW - 300 * DAY)
    snapshot_id = books.snapshot(ann, "100")

    assert run(invoke_job) == {"regenerated": 1}

    assert json.loads(books.read(books.summary(snapshot_id), "comparison_enc")) == {
        "consistency": "declined",
        "wealth_change": "0.00",
        "wealth_change_percent": "0.00",
        "zakat_change": "20.00",
        "zakat_change_percent": "25.00",
    }


def test_one_broken_snapshot_does_not_stop_the_rest(invoke_job: Invoke, session: Session, books: Books) -> None:
    ann = books.user()
    broken, *others = (books.snapshot(ann) for _ in range(5))
    session.execute(
        text(
            "create function refuse() returns trigger language plpgsql as $$ begin raise 'not this one'; end $$;"
            "create trigger refuse before insert on annual_summaries for each row"
            f" when (new.snapshot_id = '{broken}') execute function refuse()"
        )
    )
    session.commit()

    result = invoke_job(job, at=NOW)

    assert (result["outcome"], result["counters"]["quarantined"]) == ("succeeded", 1)
    assert (result["counters"]["regenerated"], result["counters"]["failed"]) == (4, 1)
    assert str(broken) in result["errors"][0]
    assert set(session.scalars(select(AnnualSummary.snapshot_id))) == set(others)


def test_a_plan_says_how_many_and_needs_no_key(invoke_job: Invoke, session: Session, books: Books) -> None:
    ann = books.user()
    ids = {str(books.snapshot(ann)) for _ in range(3)}
    session.execute(delete(DataKey))
    session.commit()

    (planned,) = invoke_job(job, {"dry_run": True}, at=NOW)["plan"]["steps"]

    assert (planned["rows"], planned["table"], set(planned["sample"])) == (3, "annual_summaries", ids)


def test_a_new_data_key_takes_over(invoke_job: Invoke, session: Session, keys: KeyService, books: Books) -> None:
    ann = books.user()
    snapshot_id = books.snapshot(ann)
    run(invoke_job)
    assert add_data_key(session, keys) == 2
    session.commit()
    books.touched(snapshot_id, NOW)
    assert run(invoke_job, NOW + DAY) == {"unchanged": 1}

    renewed = Books(session, keys)
    renewed.pay(ann, snapshot_id, "40")
    renewed.touched(snapshot_id, NOW + DAY)

    assert run(invoke_job, NOW + 2 * DAY) == {"regenerated": 1}
    summary = renewed.summary(snapshot_id)
    assert (summary.paid_enc or "").startswith("NS1:2:")
    assert renewed.read(summary, "paid_enc") == "40.00"


SECRETS = ("62831.85", "27182.81", "4233.11", "31415.92", "31415.93", "4669.20", "Saint Giraffe")
"""What is due, two payments, their sum, what is left, what is due on a snapshot that fails, and a name."""


@pytest.mark.parametrize("date", ["infinity", "-infinity", "20260-02-28", "0044-03-15 BC"])
def test_a_payment_of_a_date_that_python_cannot_hold_stops_no_other_summary(
    invoke_job: Invoke, session: Session, books: Books, date: str
) -> None:
    ann = books.user()
    sound, odd = (books.snapshot(ann, gregorian_year=year, at=NOW - HOUR) for year in (2026, 2025))
    for snapshot_id in (sound, odd, odd):
        books.pay(ann, snapshot_id, "10")
        books.touched(snapshot_id, NOW - HOUR)
    one = select(PaymentRecord.id).where(PaymentRecord.snapshot_id == odd).limit(1).scalar_subquery()
    session.execute(update(PaymentRecord).where(PaymentRecord.id == one).values(payment_date=text(f"'{date}'")))
    session.commit()
    books.touched(odd, NOW - HOUR)

    result = invoke_job(job, at=NOW)

    counters = result["counters"]
    assert (result["outcome"], counters["regenerated"], counters["failed"]) == ("succeeded", 1, 1)
    assert counters["quarantined"] == 1
    assert result["errors"][0].startswith(f"yearly_snapshots {odd}: ValueError: the payment ")
    assert books.summary(sound).number_of_payments == 1


REFUSES = "raise 'not %', new"
FAILS = "execute 'select from ' || quote_ident(cast(new as text))"
"""What a trigger does to a summary, with an error that quotes the whole row: of the row, and of the statement."""


def refuse_summary_of(session: Session, snapshot_id: uuid.UUID, how: str) -> None:
    session.execute(
        text(
            "create or replace function refuse() returns trigger language plpgsql as"
            f" $$ begin {how}; end $$;"
            "create or replace trigger refuse before insert on annual_summaries for each row"
            f" when (new.snapshot_id = '{snapshot_id}') execute function refuse()"
        )
    )
    session.commit()


def test_no_figure_in_the_clear_reaches_logs_errors_plans_or_the_database(
    invoke_job: Invoke, session: Session, books: Books, caplog: pytest.LogCaptureFixture
) -> None:
    """A plan, a run with one summary put aside and a run that fails, over figures that stand nowhere else."""
    ann = books.user()
    snapshot_id = books.snapshot(ann, "62831.85")
    for amount in ("27182.81", "4233.11"):
        books.pay(ann, snapshot_id, amount, name="Saint Giraffe")
    broken = books.snapshot(ann, "4669.20")
    books.touched(snapshot_id, NOW - HOUR)
    refuse_summary_of(session, broken, REFUSES)

    answers = [invoke_job(job, {"dry_run": True}, at=NOW), invoke_job(job, at=NOW)]
    refuse_summary_of(session, broken, FAILS)
    with pytest.raises(RunFailedError) as failure:
        invoke_job(job, at=NOW + HOUR)

    summary = books.summary(snapshot_id)
    assert (summary.payment_status, books.read(summary, "paid_enc")) == ("partial", "31415.92")
    texts = {
        "answers": json.dumps(answers),
        "logs": "\n".join(f"{vars(record)}" for record in caplog.records),
        "error": "".join(traceback.format_exception(failure.value)),
    }
    everything = MetaData()
    for schema in ("public", "nightshift"):
        everything.reflect(session.connection(), schema=schema)
    for table in everything.tables.values():
        texts[table.fullname] = "\n".join(map(repr, session.execute(select(table))))
    assert {"public.payment_records", "nightshift.runs", "nightshift.quarantine"} <= set(texts)
    assert "batch.committed" in texts["logs"]
    assert "run.attempt_failed" in texts["logs"]
    assert "42P01" in texts["error"]
    found = {name: secret for name, body in texts.items() for secret in SECRETS if secret in body}
    assert found == {}


def test_figures_in_the_clear_are_held_by_one_package_alone(invoke_job: Invoke, session: Session, books: Books) -> None:
    """Every value in reach of every frame of the job's and the library's code, when the frame is left."""
    ann = books.user()
    snapshot_id = books.snapshot(ann, "62831.85")
    for amount in ("27182.81", "4233.11"):
        books.pay(ann, snapshot_id, amount, name="Saint Giraffe")
    books.touched(snapshot_id, NOW - HOUR)
    ours = tuple(str(Path(*package.__path__)) for package in (functions, nightshift, application))
    seen, holders = set(), set()

    def look(frame: FrameType, event: str, returned: Any) -> None:
        file = frame.f_code.co_filename
        if event == "return" and file.startswith(ours):
            seen.add(Path(file).name)
            if any(secret in shown for shown in texts_in([frame.f_locals, returned]) for secret in SECRETS):
                holders.add(Path(file).name)

    sys.setprofile(look)
    try:
        result = invoke_job(job, at=NOW)
    finally:
        sys.setprofile(None)

    assert result["counters"]["regenerated"] == 1
    assert {"summary_regeneration.py", "_summaries.py", "execution.py", "claims.py", "handler.py"} <= seen
    assert holders == {"aggregator.py", "values.py"}


def texts_in(value: Any, depth: int = 6) -> Iterator[str]:
    """All texts and numbers in a value, in what it contains and in the attributes of its objects."""
    if isinstance(value, str | Decimal):
        yield str(value)
    elif depth and not isinstance(value, type | ModuleType):
        inner = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple | set) else ()
        for part in (*inner, *getattr(value, "__dict__", {}).values()):
            yield from texts_in(part, depth - 1)


def test_the_next_data_key_has_a_number_that_no_other_ever_had(session: Session, keys: KeyService) -> None:
    add_data_key(session, keys)
    session.execute(delete(DataKey).where(DataKey.key_id == 1))
    assert add_data_key(session, keys) == 3

import datetime as dt
import json
import uuid
from base64 import b64decode, b64encode
from decimal import Decimal
from typing import Any

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from application.models import YearlySnapshot
from application.sealed import Aggregator, SealedPayment, SealedValueError, Sealer, Summary
from nightshift.errors import SettingError
from nightshift.store import DataKeys

KEY, OTHER_KEY = b"k" * 32, b"o" * 32
ANN, BOB = uuid.UUID(int=1), uuid.UUID(int=2)
SUMMARY = uuid.UUID(int=9)
NOON = dt.datetime(2026, 2, 1, 12, tzinfo=dt.UTC)

KEYS = DataKeys.plain(KEY)


def opened(sealed: str | None, table: str = "annual_summaries", row: uuid.UUID = SUMMARY, key: bytes = KEY) -> Any:
    """What a sealed value of Ann's holds, by the format's description and not by the code under test."""
    assert sealed is not None
    version, _key_id, body = sealed.split(":")
    assert version == "NS1"
    content = b64decode(body)
    return AESGCM(key).decrypt(content[:12], content[12:], f"{ANN}|{table}|{row}".encode()).decode()


def payment(
    amount: str, rate: str = "1", *, user: uuid.UUID = ANN, name: str = "Food bank", sealed: str = "", **other: Any
) -> SealedPayment:
    row = uuid.uuid4()
    seal = Sealer(KEYS).seal
    return SealedPayment(
        row,
        user,
        sealed or seal(user, "payment_records", row, amount),
        other.get("name_enc") or seal(user, "payment_records", row, name),
        other.get("kind", "charity"),
        other.get("category", "fakir"),
        other.get("at", NOON),
        Decimal(rate),
    )


def snapshot(due: str, wealth: str = "4000", *, user: uuid.UUID = ANN, sealed_due: str = "") -> YearlySnapshot:
    row = uuid.uuid4()
    seal = Sealer(KEYS).seal
    return YearlySnapshot(
        id=row,
        user_id=user,
        gregorian_year=2026,
        hijri_year=1447,
        methodology="standard",
        zakat_amount_enc=sealed_due or seal(user, "yearly_snapshots", row, due),
        total_wealth_enc=seal(user, "yearly_snapshots", row, wealth),
    )


def summarize(due: str | YearlySnapshot, *payments: SealedPayment, **options: Any) -> Summary:
    given = due if isinstance(due, YearlySnapshot) else snapshot(due)
    return Aggregator(options.pop("keys", KEYS)).summarize(given, iter(payments), summary_id=SUMMARY, **options)


def test_a_sealed_value_opens_in_its_own_place_alone() -> None:
    row = uuid.uuid4()
    sealed = Sealer(KEYS).seal(ANN, "payment_records", row, "12.50")

    assert opened(sealed, "payment_records", row) == "12.50"
    assert sealed.startswith("NS1:1:")
    assert sealed != Sealer(KEYS).seal(ANN, "payment_records", row, "12.50")


@pytest.mark.parametrize(
    ("due", "amounts", "status", "completion", "outstanding"),
    [
        ("100", [], "unpaid", 0, "100.00"),
        ("100", ["0"], "unpaid", 0, "100.00"),
        ("100", ["33.33"], "partial", 3333, "66.67"),
        ("300", ["99.99", "100"], "partial", 6666, "100.01"),
        ("100", ["99.99"], "partial", 9999, "0.01"),
        ("100", ["60", "40.00"], "paid", 10_000, "0.00"),
        ("100", ["60", "40.01"], "overpaid", 10_000, "0.00"),
        ("0", [], "not_due", 10_000, "0.00"),
        ("0.00", ["5"], "not_due", 10_000, "0.00"),
        ("-3", ["5"], "not_due", 10_000, "0.00"),
        ("100", ["50", "-20"], "partial", 3000, "70.00"),
    ],
)
def test_completion(due: str, amounts: list[str], status: str, completion: int, outstanding: str) -> None:
    summary = summarize(due, *map(payment, amounts))

    assert (summary.payment_status, summary.completion_bp) == (status, completion)
    assert opened(summary.outstanding_enc) == outstanding


@pytest.mark.parametrize(
    ("amounts", "paid"),
    [
        ([("0.1", "1")] * 3, "0.30"),
        ([("100", "1"), ("200", "0.92150000")], "284.30"),
        ([("0.125", "1")], "0.12"),  # half to even
        ([("0.135", "1")], "0.14"),
        ([("0.005", "1"), ("0.005", "1")], "0.01"),  # rounded once, at the end
    ],
)
def test_payments_add_up_exactly(amounts: list[tuple[str, str]], paid: str) -> None:
    assert opened(summarize("1000", *(payment(*each) for each in amounts)).paid_enc) == paid


def test_the_largest_payments_add_up_exactly() -> None:
    """999999999999999.99 · 9999999999.12345678 in whole hundred-millionths, rounded to cents."""
    product = 99999999999999999 * 999999999912345678
    cents, rest = divmod(product, 10**8)
    cents += rest > 5 * 10**7 or (rest == 5 * 10**7 and cents % 2)
    paid = opened(summarize("1", payment("999999999999999.99", "9999999999.12345678")).paid_enc)

    assert paid == f"{cents // 100}.{cents % 100:02}"


def test_what_the_job_sees_and_what_stays_sealed() -> None:
    summary = summarize(
        "250",
        payment("100", name="Food bank", at=NOON),
        payment("50", "2", name=" FOOD BANK", kind="individual", category="miskin", at=NOON - dt.timedelta(days=9)),
        payment("25", name="Clinic", kind=None, category="", at=NOON + dt.timedelta(days=3)),
    )

    assert (summary.number_of_payments, summary.undecryptable) == (3, 0)
    assert (summary.first_payment_at, summary.last_payment_at) == (
        NOON - dt.timedelta(days=9),
        NOON + dt.timedelta(days=3),
    )
    assert summary.counts_by_type == {"charity": 1, "individual": 1, "other": 1}
    assert summary.counts_by_category == {"fakir": 1, "miskin": 1, "other": 1}
    assert (opened(summary.due_enc), opened(summary.paid_enc)) == ("250.00", "225.00")
    assert json.loads(opened(summary.recipient_summary_enc)) == {
        "by_type": {
            "charity": {"count": 1, "total": "100.00"},
            "individual": {"count": 1, "total": "100.00"},
            "other": {"count": 1, "total": "25.00"},
        },
        "by_category": {
            "fakir": {"count": 1, "total": "100.00"},
            "miskin": {"count": 1, "total": "100.00"},
            "other": {"count": 1, "total": "25.00"},
        },
        "unique_recipients": 2,
        "average": "75.00",
    }
    assert summary.comparison_enc is None


@pytest.mark.parametrize(
    "sealed",
    [
        "ZK1:c2VjcmV0",
        "",
        "12.50",
        "NS1:1:",
        "NS1:1:AAAA",
        "NS1:1:not base64",
        "NS1:99:" + b64encode(bytes(40)).decode(),
        "NS1:" + "9" * 5000 + ":AAAA",
        "NS2:1:" + b64encode(bytes(40)).decode(),
        pytest.param(Sealer(KEYS).seal(ANN, "payment_records", BOB, "12.50"), id="another row's"),
        pytest.param(Sealer(DataKeys.plain(OTHER_KEY)).seal(ANN, "payment_records", ANN, "12.50"), id="another key's"),
    ],
)
def test_a_payment_that_cannot_be_read_leaves_the_counts(sealed: str) -> None:
    summary = summarize("100", payment("40"), payment("", sealed=sealed))

    assert (summary.payment_status, summary.completion_bp, summary.undecryptable) == ("unknown", None, 1)
    assert (summary.number_of_payments, summary.counts_by_type) == (2, {"charity": 2})
    assert (summary.paid_enc, summary.outstanding_enc, summary.recipient_summary_enc) == (None, None, None)
    assert opened(summary.due_enc) == "100.00"


@pytest.mark.parametrize("text", ["NaN", "Infinity", "1e5", "", "12,50", "1" * 16, "٣", "12.", " 1", "1_000"])
def test_what_is_no_amount_is_not_read_as_one(text: str) -> None:
    assert summarize("100", payment(text)).undecryptable == 1
    assert summarize(text, payment("1")).payment_status == "unknown"


def test_an_unreadable_due_makes_the_status_unknown() -> None:
    summary = summarize(snapshot("", sealed_due="ZK1:AAAA"), payment("40"))

    assert (summary.payment_status, summary.completion_bp, summary.undecryptable) == ("unknown", None, 0)
    assert (summary.due_enc, summary.outstanding_enc) == (None, None)
    assert opened(summary.paid_enc) == "40.00"


def test_an_unreadable_name_leaves_the_amounts() -> None:
    summary = summarize("100", payment("40"), payment("60", name_enc="ZK1:AAAA"))

    assert (summary.payment_status, summary.undecryptable) == ("paid", 0)
    assert json.loads(opened(summary.recipient_summary_enc))["unique_recipients"] is None


@pytest.mark.parametrize(
    ("payments", "before", "consistency"),
    [
        (0, 0, "maintained"),
        (1, 0, "improved"),
        (0, 1, "declined"),
        (6, 5, "maintained"),
        (7, 5, "improved"),
        (4, 5, "maintained"),
        (3, 4, "declined"),
    ],
)
def test_consistency_with_the_year_before(payments: int, before: int, consistency: str) -> None:
    summary = summarize("9", *(payment("1") for _ in range(payments)), previous=snapshot("9"), previous_payments=before)

    assert json.loads(opened(summary.comparison_enc))["consistency"] == consistency


def test_wealth_and_zakat_are_compared_with_the_year_before() -> None:
    summary = summarize(snapshot("100", "4000.50"), previous=snapshot("0", "3000"))

    assert json.loads(opened(summary.comparison_enc)) == {
        "consistency": "maintained",
        "wealth_change": "1000.50",
        "wealth_change_percent": "33.35",
        "zakat_change": "100.00",
        "zakat_change_percent": "0.00",
    }


def test_nothing_is_compared_with_figures_that_cannot_be_read() -> None:
    assert summarize("1", previous=snapshot("", sealed_due="ZK1:AAAA")).comparison_enc is None


def test_two_users_are_never_mixed() -> None:
    with pytest.raises(SealedValueError, match="another user") as refused:
        summarize("100", payment("31.41"), payment("27.18", user=BOB))
    assert not any(character.isdigit() for character in str(refused.value))
    with pytest.raises(SealedValueError, match="two users"):
        summarize("100", previous=snapshot("100", user=BOB))


def test_equal_figures_have_equal_hashes_and_others_have_not() -> None:
    base = snapshot("100")
    first = summarize(base, payment("40", at=NOON))

    assert summarize(base, payment("40", at=NOON)).content_hash == first.content_hash
    for other in (
        summarize(base, payment("40.01", at=NOON)),
        summarize(base, payment("40", at=NOON, name="Clinic", category="amil")),
        summarize(base, payment("40", at=NOON), previous=snapshot("1")),
        summarize(snapshot("101"), payment("40", at=NOON)),
        summarize(base, payment("40", at=NOON), keys=DataKeys.plain(KEY, OTHER_KEY)),
    ):
        assert other.content_hash != first.content_hash


def test_a_new_data_key_seals_and_the_old_one_still_opens() -> None:
    """GIVEN a summary under key 1 WHEN key 2 exists THEN equal figures keep their hash, and new values use key 2."""
    base = snapshot("100")
    first = summarize(base, payment("40"))
    both = DataKeys.plain(KEY, OTHER_KEY)

    again = summarize(base, payment("40"), keys=both, known_hash=first.content_hash)

    assert again.content_hash == first.content_hash
    assert again.paid_enc is not None
    assert again.paid_enc.startswith("NS1:2:")
    assert opened(again.paid_enc, key=OTHER_KEY) == "40.00"
    assert again.undecryptable == 0


def test_without_a_data_key_nothing_is_sealed() -> None:
    with pytest.raises(SettingError, match="no data key"):
        Sealer(DataKeys.plain()).seal(ANN, "payment_records", ANN, "12.50")


def test_nothing_shows_a_figure() -> None:
    """Neither results nor the objects that worked on them."""
    keys = DataKeys.plain(KEY)
    aggregator = Aggregator(keys)
    summary = aggregator.summarize(snapshot("27182.81"), iter([payment("31415.92")]), summary_id=SUMMARY)

    shown = f"{summary!r} {aggregator!r} {keys!r} {vars(aggregator)!r}"
    assert not [figure for figure in ("27182", "31415", KEY.decode()) if figure in shown]

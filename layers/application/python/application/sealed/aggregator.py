"""Sealed amounts, and the only code that adds them up: ciphertext goes in, ciphertext and shares come out.

A sealed value reads `NS1:<data key>:<base64 of nonce and ciphertext>`: AES-256-GCM, bound to its user, table and row,
so a value that is copied to another row cannot be opened there. A value that starts with `ZK1:` was encrypted on the
user's own device; nobody else can open it.

Only this package has amounts, names and figures in plain form. No result, error or representation contains one.
"""

import datetime as dt
import hmac
import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Context, Decimal, localcontext
from typing import Any, Literal, NamedTuple
from uuid import UUID

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from application.models import YearlySnapshot
from application.sealed.values import Sealer, Unreadable

PaymentStatus = Literal["not_due", "unpaid", "partial", "paid", "overpaid", "unknown"]
CENT, NOTHING = Decimal("0.01"), Decimal("0.00")
EXACT = Context(prec=100, rounding=ROUND_HALF_EVEN)
AMOUNT = re.compile(r"-?\d{1,15}(\.\d{1,8})?", re.ASCII)
IMPROVED, DECLINED = Decimal("1.2"), Decimal("0.8")


class SealedValueError(ValueError):
    """These values must not be combined. The message contains none of them."""


class SealedPayment(NamedTuple):
    """A payment as its row holds it."""

    id: UUID
    user_id: UUID
    amount_enc: str
    recipient_name_enc: str
    recipient_type: str | None
    recipient_category: str | None
    payment_date: dt.datetime
    exchange_rate: Decimal


@dataclass(frozen=True)
class Summary:
    """A summary by column: what may be known of a snapshot and its payments without a key, and the rest sealed."""

    number_of_payments: int
    first_payment_at: dt.datetime | None
    last_payment_at: dt.datetime | None
    counts_by_type: dict[str, int]
    counts_by_category: dict[str, int]
    completion_bp: int | None
    payment_status: PaymentStatus
    undecryptable: int
    due_enc: str | None
    paid_enc: str | None
    outstanding_enc: str | None
    recipient_summary_enc: str | None
    comparison_enc: str | None
    content_hash: str
    """`<data key>:<HMAC>` of all plain figures. Equal figures have equal hashes; the hash shows nothing else."""


class Aggregator(Sealer):
    """Adds up and compares the values of one user."""

    def summarize(
        self,
        snapshot: YearlySnapshot,
        payments: Iterable[SealedPayment],
        *,
        summary_id: UUID,
        previous: YearlySnapshot | None = None,
        previous_payments: int = 0,
        known_hash: str | None = None,
    ) -> Summary:
        """The summary of a snapshot. Payments are read one by one and not kept.

        summary_id: the row for which the results are sealed.
        previous: the snapshot of the year before, to compare with.
        previous_payments: the number of payments on it.
        known_hash: the content hash of the current summary. The new hash is made with the same data key: a new data key
            alone changes no hash.

        Raises:
            SealedValueError: a payment or the previous snapshot belongs to another user.
        """
        if previous is not None and previous.user_id != snapshot.user_id:
            raise SealedValueError("the snapshots are those of two users")
        with localcontext(EXACT):
            tally = self._tally(snapshot.user_id, payments)
            due = self._amount(snapshot, "zakat_amount_enc")
            paid = tally.total() if tally.unreadable == 0 else None
            figures = {
                "due_enc": due,
                "paid_enc": paid,
                "outstanding_enc": max(due - paid, NOTHING) if due is not None and paid is not None else None,
                "recipient_summary_enc": tally.recipients() if paid is not None else None,
                "comparison_enc": self._comparison(snapshot, tally.number, previous, previous_payments),
            }
            status, completion = _completion(due, paid)
        plain: dict[str, Any] = {
            "number_of_payments": tally.number,
            "first_payment_at": tally.first,
            "last_payment_at": tally.last,
            "counts_by_type": dict(sorted(tally.types.counts.items())),
            "counts_by_category": dict(sorted(tally.categories.counts.items())),
            "completion_bp": completion,
            "payment_status": status,
            "undecryptable": tally.unreadable,
        }
        sealed: dict[str, Any] = {
            column: None
            if figure is None
            else self.seal(snapshot.user_id, "annual_summaries", summary_id, _text(figure))
            for column, figure in figures.items()
        }
        about = [snapshot.gregorian_year, snapshot.hijri_year, snapshot.methodology]
        return Summary(**plain, **sealed, content_hash=self._hash({"about": about, **plain, **figures}, known_hash))

    def _tally(self, user_id: UUID, payments: Iterable[SealedPayment]) -> "_Tally":
        tally = _Tally()
        for payment in payments:
            if payment.user_id != user_id:
                raise SealedValueError("a payment belongs to another user than the snapshot")
            tally.count(payment)
            try:
                amount = _parse(self._open(user_id, "payment_records", payment.id, payment.amount_enc))
            except Unreadable:
                tally.unreadable += 1
                continue
            tally.add(payment, amount * payment.exchange_rate)
            try:
                name = self._open(user_id, "payment_records", payment.id, payment.recipient_name_enc)
            except Unreadable:
                tally.nameless += 1
            else:
                tally.names.add(name.strip().casefold())
        return tally

    def _amount(self, snapshot: YearlySnapshot, column: str) -> Decimal | None:
        try:
            return _cents(
                _parse(self._open(snapshot.user_id, "yearly_snapshots", snapshot.id, getattr(snapshot, column)))
            )
        except Unreadable:
            return None

    def _comparison(
        self, snapshot: YearlySnapshot, payments: int, previous: YearlySnapshot | None, payments_before: int
    ) -> dict[str, str] | None:
        """The change of wealth and zakat since the year before, and whether payments were as regular."""
        if previous is None:
            return None
        found = {"consistency": _consistency(payments, payments_before)}
        for name, column in (("wealth", "total_wealth_enc"), ("zakat", "zakat_amount_enc")):
            now, before = self._amount(snapshot, column), self._amount(previous, column)
            if now is None or before is None:
                return None
            found[f"{name}_change"] = str(now - before)
            found[f"{name}_change_percent"] = str(_cents((now - before) / before * 100 if before else NOTHING))
        return found

    def _hash(self, figures: dict[str, Any], known_hash: str | None) -> str:
        known_key = (known_hash or "").partition(":")[0]
        key_id = int(known_key) if known_key.isdecimal() and int(known_key) in self._keys else self._keys.current
        derived = HKDF(SHA256(), 32, salt=None, info=b"nightshift content hash").derive(self._keys[key_id])
        content = json.dumps({name: _text(figure) for name, figure in figures.items()}, sort_keys=True)
        return f"{key_id}:{hmac.digest(derived, content.encode(), 'sha256').hex()}"


class _Groups:
    """Number and sum of payments by one of their attributes. An empty attribute counts as `other`."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.totals: defaultdict[str, Decimal] = defaultdict(Decimal)

    def summary(self) -> dict[str, dict[str, Any]]:
        return {key: {"count": n, "total": str(_cents(self.totals[key]))} for key, n in self.counts.items()}


class _Tally:
    """The payments so far, in plain form. (Not a dataclass: its representation must not show them.)"""

    def __init__(self) -> None:
        self.number = self.unreadable = self.nameless = 0
        self.first: dt.datetime | None = None
        self.last: dt.datetime | None = None
        self.types, self.categories = _Groups(), _Groups()
        self.names: set[str] = set()

    def count(self, payment: SealedPayment) -> None:
        self.number += 1
        at = payment.payment_date.astimezone(dt.UTC)
        self.first, self.last = min(self.first or at, at), max(self.last or at, at)
        self.types.counts[payment.recipient_type or "other"] += 1
        self.categories.counts[payment.recipient_category or "other"] += 1

    def add(self, payment: SealedPayment, amount: Decimal) -> None:
        """`amount` is in the snapshot's currency."""
        self.types.totals[payment.recipient_type or "other"] += amount
        self.categories.totals[payment.recipient_category or "other"] += amount

    def total(self) -> Decimal:
        return _cents(sum(self.types.totals.values(), NOTHING))

    def recipients(self) -> dict[str, Any]:
        """The recipients of the payments. Their number is unknown if a name cannot be read."""
        return {
            "by_type": self.types.summary(),
            "by_category": self.categories.summary(),
            "unique_recipients": None if self.nameless else len(self.names),
            "average": str(_cents(self.total() / self.number)) if self.number else None,
        }


def _parse(text: str) -> Decimal:
    """An amount, or None for anything else, including `NaN` and exponents."""
    if not AMOUNT.fullmatch(text):
        raise Unreadable
    return Decimal(text)


def _cents(amount: Decimal) -> Decimal:
    """Round to two places, half to even. Adding zero turns -0.00 into 0.00."""
    return amount.quantize(CENT) + NOTHING


def _text(figure: Any) -> str:
    """The text of a figure that is sealed and hashed: an amount as a number, anything else as JSON."""
    return str(figure) if isinstance(figure, Decimal | str | dt.datetime) else json.dumps(figure, sort_keys=True)


def _completion(due: Decimal | None, paid: Decimal | None) -> tuple[PaymentStatus, int | None]:
    """The payment status, and the paid share of what is due, in hundredths of a percent, rounded down."""
    if due is None or paid is None:
        return "unknown", None
    if due <= 0:
        return "not_due", 10_000
    if paid <= 0:
        return "unpaid", 0
    share = min(10_000, int(10_000 * paid // due))
    return ("partial" if paid < due else "paid" if paid == due else "overpaid"), share


def _consistency(payments: int, before: int) -> str:
    """Whether there were clearly more payments than the year before, clearly fewer, or about the same number."""
    if before == 0:
        return "improved" if payments else "maintained"
    ratio = Decimal(payments) / before
    return "improved" if ratio > IMPROVED else "declined" if ratio < DECLINED else "maintained"

"""Yearly summaries: a run of 100 with many sealed payments each, against only opening the same amounts.

The data key is given in the clear, so that no call to KMS is in the figures.
"""

import datetime as dt
import os
import uuid

from sqlalchemy import Engine, insert, text
from sqlalchemy.orm import Session

from application.models import PaymentRecord, User, YearlySnapshot
from application.sealed import Sealer
from bench.example import database
from bench.invocation import as_setting, in_own_process
from bench.paired import line, python, seconds
from nightshift.store import DataKey, DataKeys

PAYMENTS = int(os.environ.get("BENCH_ROWS", "1_000"))
"""Of each snapshot."""

SNAPSHOTS = 100
NOW = dt.datetime(2026, 3, 1, 4, tzinfo=dt.UTC)
KEY = bytes(range(32))
MODULE = "functions.tracking.summary_regeneration"
EVENT = {"scheduled_for": NOW.isoformat(), "force": True}

# In place of the key service: the stored key is the key itself.
PLAIN_KEYS = """
from types import SimpleNamespace
from nightshift.engine.resources import Resources
Resources.keys = SimpleNamespace(decrypt=lambda key_id, stored: stored)
"""

OPENING = """
import json, os, time
from base64 import b64decode
from sqlalchemy import text
from sqlalchemy.orm import Session
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from nightshift.database import DatabaseSettings, session_for
with session_for(DatabaseSettings.from_environment(), seconds=600) as session:
    started = time.perf_counter()
    cipher = AESGCM(bytes(range(32)))
    rows = session.execute(text("select id, user_id, amount_enc from payment_records")).yield_per(1000)
    for row, user, sealed in rows:
        content = b64decode(sealed.split(":")[2])
        cipher.decrypt(content[:12], content[12:], f"{user}|payment_records|{row}".encode())
    print(time.perf_counter() - started)
"""


def fill(engine: Engine) -> None:
    """As many users as snapshots, each snapshot with its payments."""
    sealer = Sealer(DataKeys.plain(KEY))
    with Session(engine) as session, session.begin():
        session.execute(insert(DataKey).values(key_id=1, encrypted_key=KEY))
        for _ in range(SNAPSHOTS):
            user, snapshot = uuid.uuid4(), uuid.uuid4()
            session.execute(insert(User).values(id=user, email=f"{user}@example.com"))
            session.execute(insert(YearlySnapshot).values(_snapshot(sealer, user, snapshot)))
            rows = [_payment(sealer, user, snapshot, number) for number in range(PAYMENTS)]
            for start in range(0, PAYMENTS, 1_000):
                session.execute(insert(PaymentRecord).values(rows[start : start + 1_000]))
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("vacuum analyze"))


def _snapshot(sealer: Sealer, user: uuid.UUID, row: uuid.UUID) -> dict[str, object]:
    sealed = {
        name: sealer.seal(user, "yearly_snapshots", row, "4000")
        for name in ("total_wealth_enc", "zakat_amount_enc", "nisab_threshold_enc", "asset_breakdown_enc")
    }
    at = NOW - dt.timedelta(days=1)
    dates = {"gregorian_year": 2026, "hijri_year": 1447, "hijri_month": 9, "hijri_day": 1, "calculation_date": at}
    facts = {"status": "FINALIZED", "nisab_type": "gold", "methodology": "standard", "updated_at": at}
    return {"id": row, "user_id": user, **sealed, **dates, **facts}


def _payment(sealer: Sealer, user: uuid.UUID, snapshot: uuid.UUID, number: int) -> dict[str, object]:
    row = uuid.uuid4()
    return {
        "id": row,
        "user_id": user,
        "snapshot_id": snapshot,
        "amount_enc": sealer.seal(user, "payment_records", row, f"{number + 1}.50"),
        "recipient_name_enc": sealer.seal(user, "payment_records", row, f"Recipient {number % 40}"),
        "recipient_type": "person",
        "recipient_category": "fakir",
        "payment_date": NOW - dt.timedelta(days=2),
        "payment_method": "transfer",
        "currency": "USD",
    }


def main() -> None:
    """Print the figures."""
    print(f"Yearly summaries, {SNAPSHOTS} with {PAYMENTS:,} sealed payments each (whole invocation in its own process)")
    with database() as engine:
        fill(engine)
        counters: dict[str, int] = {}
        megabytes = 0.0

        def ours() -> None:
            nonlocal megabytes
            megabytes, found = in_own_process(engine, MODULE, EVENT, prelude=PLAIN_KEYS)
            counters.update(found)

        took = seconds(ours)
        assert counters["regenerated"] == SNAPSHOTS
        opening = float(python(OPENING, NIGHTSHIFT_DATABASE=as_setting(engine)).splitlines()[-1])
        line("time with start-up / only reading and opening the amounts", f"{took / opening:.1f}")
        line("    ours, opening", f"{took:.2f} s, {opening:.2f} s")
        line("    peak memory of the process", f"{megabytes:.0f} MB", "aim: under 256 MB")

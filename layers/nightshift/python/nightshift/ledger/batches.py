"""What a run writes into the ledger while it works, in the transaction of its batch."""

import datetime as dt
import uuid
from collections.abc import Iterable, Mapping, Sequence
from contextlib import nullcontext
from typing import Any

from sqlalchemy import ColumnElement, delete, func
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from nightshift.ledger.claims import LEASE_MARGIN_SECONDS, Claim, update_own
from nightshift.ledger.runs import ERRORS_KEPT
from nightshift.ledger.tables import Candidate, QuarantinedItem


def commit_batch(
    session: Session,
    claim: Claim,
    *,
    step: str,
    fingerprint: str,
    position: Mapping[str, Any] | None,
    counters: Mapping[str, int],
    errors: Sequence[str],
    quarantined: Iterable[tuple[str, str]] = (),
    notes: Sequence[str] | None = None,
    lease_seconds: float | None = None,
    strain: Mapping[str, Any] | None = None,
) -> None:
    """Record a batch in the transaction that carries its effects: cursor, counters, quarantined items (item, error).

    notes: all that is to be read beside the counters, where that has changed.
    lease_seconds: how long the run stays this attempt's from now on; without it, as long as before.
    strain: what the run gives way to; without it nothing is changed of what it says.

    Raises:
        Fenced: another attempt has taken the run over; the caller must roll its transaction back.
    """
    told: dict[str, Any] = {} if notes is None else {"notes": list(notes)}
    if strain is not None:
        told["strain"] = dict(strain)
    lease = {} if lease_seconds is None else {"lease_until": _in(lease_seconds)}
    update_own(
        session,
        claim,
        **lease,
        **told,
        step=step,
        fingerprint=fingerprint,
        position=dict(position) if position is not None else None,
        counters=dict(counters),
        errors=list(errors)[:ERRORS_KEPT],
    )
    rows = [{"run_id": claim.run.id, "step": step, "item": item, "error": error} for item, error in quarantined]
    if rows:
        session.execute(insert(QuarantinedItem).values(rows).on_conflict_do_nothing())


def state_candidates(session: Session, claim: Claim, candidates: Mapping[str, Any], counted: str) -> None:
    """Write down how many rows a destructive run will touch, before it touches any. In the caller's transaction, or
    else in one of its own. The run begins at its first step, also if it had begun with other queries.

    counted: a fingerprint of the queries.

    Raises:
        Fenced: another attempt has taken the run over; the caller must roll its transaction back.
    """
    with nullcontext() if session.in_transaction() else session.begin():
        update_own(session, claim, candidates=dict(candidates), counted=counted, step=None, position=None)


def forget_keys(session: Session, run_id: uuid.UUID, *steps: str) -> None:
    """Forget which rows these steps of a run, or all, have written down to go over. In the caller's transaction."""
    mine = Candidate.run_id == run_id
    session.execute(
        delete(Candidate).where(mine, Candidate.step.in_(steps)) if steps else delete(Candidate).where(mine)
    )


def start_over(session: Session, claim: Claim, step: str) -> None:
    """Forget how far the run's step has come, and which rows it goes over: its query means others now.

    Raises:
        Fenced: another attempt has taken the run over.
    """
    with session.begin():
        update_own(session, claim, position=None)
        forget_keys(session, claim.run.id, step)


def note_strain(
    session: Session, claim: Claim, strain: Mapping[str, Any], counters: Mapping[str, int], *, seconds: float
) -> None:
    """Say what the run waits for, between batches, and keep it this attempt's for `seconds` from now.

    Raises:
        Fenced: another attempt has taken the run over, or somebody has cancelled it.
    """
    with session.begin():
        update_own(session, claim, strain=dict(strain), counters=dict(counters), lease_until=_in(seconds))


def renew(session: Session, claim: Claim, *, seconds: float) -> None:
    """Extend the lease to `seconds` from now, for work between batches that the database does not see.

    Raises:
        Fenced: another attempt has taken the run over.
    """
    with session.begin():
        update_own(session, claim, lease_until=_in(seconds + LEASE_MARGIN_SECONDS))


def _in(seconds: float) -> ColumnElement[dt.datetime]:
    return func.clock_timestamp() + dt.timedelta(seconds=seconds)

"""The ledger: which occurrences were due, which ran, which attempt may write, and how each ended."""

from typing import TYPE_CHECKING

from nightshift.faces import face

if TYPE_CHECKING:
    from nightshift.ledger.again import claim_again as claim_again
    from nightshift.ledger.batches import (
        commit_batch as commit_batch,
        forget_keys as forget_keys,
        note_strain as note_strain,
        renew as renew,
        start_over as start_over,
        state_candidates as state_candidates,
    )
    from nightshift.ledger.claims import (
        LEASE_MARGIN_SECONDS as LEASE_MARGIN_SECONDS,
        LEASE_SECONDS as LEASE_SECONDS,
        Claim as Claim,
        Request as Request,
        Tried as Tried,
        claim as claim,
    )
    from nightshift.ledger.dials import Dials as Dials
    from nightshift.ledger.endings import (
        cancel as cancel,
        fail_attempt as fail_attempt,
        finish as finish,
        interrupt as interrupt,
        redrive as redrive,
    )
    from nightshift.ledger.operators import (
        CommandRecord as CommandRecord,
        ServedDeployment as ServedDeployment,
        SignOfLife as SignOfLife,
    )
    from nightshift.ledger.ownership import ForeignDatabaseError as ForeignDatabaseError, own as own
    from nightshift.ledger.runs import (
        ERRORS_KEPT as ERRORS_KEPT,
        NOTES_KEPT as NOTES_KEPT,
        Standing as Standing,
        database_clock as database_clock,
        duration_ms as duration_ms,
        durations as durations,
        lock_job as lock_job,
        quarantined as quarantined,
        standing as standing,
    )
    from nightshift.ledger.tables import (
        OPEN_STATES as OPEN_STATES,
        OUTCOMES as OUTCOMES,
        Attempt as Attempt,
        QuarantinedItem as QuarantinedItem,
        RegisteredJob as RegisteredJob,
        RunRecord as RunRecord,
        job_runs as job_runs,
    )
    from nightshift.ledger.upkeep import (
        SUPERVISOR as SUPERVISOR,
        Stalled as Stalled,
        exhausted as exhausted,
        fail_exhausted as fail_exhausted,
        forget as forget,
        left_behind as left_behind,
        note_alive as note_alive,
        note_recovered as note_recovered,
        note_reported as note_reported,
        note_told as note_told,
        oldest_open_seconds as oldest_open_seconds,
        recovered as recovered,
        settle_left_behind as settle_left_behind,
        stalled as stalled,
        unreported as unreported,
        untold as untold,
        waiting as waiting,
    )

__getattr__ = face(
    __name__,
    again="claim_again",
    batches="commit_batch forget_keys note_strain renew start_over state_candidates",
    claims="Claim LEASE_MARGIN_SECONDS LEASE_SECONDS Request Tried claim",
    dials="Dials",
    endings="cancel fail_attempt finish interrupt redrive",
    operators="CommandRecord ServedDeployment SignOfLife",
    ownership="ForeignDatabaseError own",
    runs="ERRORS_KEPT NOTES_KEPT Standing database_clock duration_ms durations lock_job quarantined standing",
    tables=("Attempt OPEN_STATES OUTCOMES QuarantinedItem RegisteredJob RunRecord job_runs"),
    upkeep=(
        "SUPERVISOR Stalled exhausted fail_exhausted forget left_behind note_alive note_recovered note_reported "
        "note_told oldest_open_seconds recovered settle_left_behind stalled unreported untold waiting"
    ),
)

"""A past for the ledger: runs of many nights, as if the deployment had been there. For pages that draw what was."""

import datetime as dt
import math
import uuid
import zlib
from collections.abc import Mapping
from typing import Any

from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from nightshift.declaration import DeployedJob
from nightshift.ledger import RunRecord

NIGHTS = 20
"""So many of its last occurrences each job has run."""


def write_nights(session: Session, jobs: Mapping[str, DeployedJob], now: dt.datetime) -> list[uuid.UUID]:
    """The last runs of every job before now, each as long and with as many rows as befits its name. Commits.

    Returns their ids. An occurrence that has a run keeps it.
    """
    past = []
    for name, deployed in jobs.items():
        time = now
        for night in range(NIGHTS):
            found = deployed.schedule.previous_before(time)
            if found is None or now - found > dt.timedelta(days=400):
                break
            time = found
            past.append(_run(deployed, time, night, zlib.crc32(name.encode())))
    session.execute(insert(RunRecord).on_conflict_do_nothing(), past)
    session.commit()
    return [run["id"] for run in past]


def _run(deployed: DeployedJob, time: dt.datetime, night: int, seed: int) -> dict[str, Any]:
    wave = 1 + 0.35 * math.sin(night * 1.7 + seed % 7) + 0.15 * math.sin(night * 0.4 + seed % 5)
    seconds = (0.4 + seed % 90 / 6) * wave
    job = deployed.job
    changes = [name for step in job.steps for name in step.changes][:1]
    rows = int((40 + seed % 90_000) * wave) if changes else 0
    started = time + dt.timedelta(seconds=4)
    return {
        "id": uuid.uuid5(uuid.NAMESPACE_URL, f"{job.name}/{time.isoformat()}"),
        "job": job.name,
        "scheduled_for": time,
        "trigger": "schedule",
        "mode": "apply",
        "state": "succeeded",
        "attempts": 1,
        "max_attempts": 3,
        "parameters": dict(deployed.parameters),
        "counters": {**dict.fromkeys(job.counters, 0), **dict.fromkeys(changes, rows), "batches": 1 + rows // 8_000},
        "created_at": started,
        "started_at": started,
        "finished_at": started + dt.timedelta(seconds=seconds),
    }

"""A plan of a job in a database, without a deployment: no call to AWS, no ledger, nothing written."""

import datetime as dt
import socket
import struct
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from cli.database_url import place_of, settings_of, why
from cli.refusals import RefusedError

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from nightshift.database import DatabaseSettings
    from nightshift.declaration import Job, Run, StepPlan

SECONDS = 15 * 60
"""How long a plan may take: as long as Lambda lets a function run."""

CONNECT_SECONDS = 10.0

TLS_REQUEST = struct.pack("!ii", 8, 80877103)
"""What a client asks a server of PostgreSQL first. The server answers with one letter: S or N."""


def plan_in(url: str, job: "Job", at: dt.datetime, given: Mapping[str, int]) -> dict[str, Any]:
    """What a plan of the deployed job returns, but without a run. A step that cannot be planned is among the errors.

    Refuses when the database cannot be used.
    """
    from nightshift.declaration import Run
    from nightshift.engine.candidates import over_cap
    from nightshift.ledger.runs import Standing
    from nightshift.runtime.handler import result

    settings = settings_of(url)
    run = Run(uuid.uuid4(), job.name, at, trigger="manual", mode="plan", parameters=job.resolve(given))
    started = time.perf_counter()
    with _reading(settings, job) as session:
        plans, errors = _steps(session, job, run)
    took = round((time.perf_counter() - started) * 1000)
    plan = {"steps": [each.as_json() for each in plans], "over_cap": over_cap(run, plans)}
    reason = f"{len(errors)} of {len(job.steps)} steps cannot be planned" if errors else None
    answer = result(job, Standing(run, "failed" if errors else "planned", reason, took, {}, errors, plan))
    del answer["run_id"]
    return answer | {"database": place_of(settings)}


def _steps(session: "Session", job: "Job", run: "Run") -> "tuple[list[StepPlan], list[str]]":
    """The plans of all steps that have one here, and why the others have none."""
    from nightshift.database import describe
    from nightshift.engine.attempt import apart, goes_on, plan_step
    from nightshift.errors import PermanentError, SettingError

    plans, errors = [], []
    for step in job.steps:
        try:
            with apart(session) as own:
                plans += plan_step(step, own, run)
        except SettingError as error:
            errors.append(f"step {step.name} cannot be planned here, it needs more than the database: {error}")
        except PermanentError as error:
            errors.append(f"step {step.name} cannot be planned: {error}")
        except Exception as error:
            if not goes_on(session):
                raise
            errors.append(f"step {step.name} cannot be planned: {describe(error)}")
    return plans, errors


@contextmanager
def _reading(settings: "DatabaseSettings", job: "Job") -> "Iterator[Session]":
    """A transaction that sees one instant of the database and can only read, as on a replica."""
    from nightshift.database.transaction import transaction

    with (
        connected(settings, f"plan/{job.name}") as session,
        transaction(session, isolation="repeatable read", read_only=True),
    ):
        yield session


@contextmanager
def connected(settings: "DatabaseSettings", name: str) -> "Iterator[Session]":
    """A session in a database that an operator has named. Refuses, in words, when it cannot be used."""
    from sqlalchemy.exc import DBAPIError

    from nightshift.database import session_for

    try:
        if settings.socket is None:
            _knock(settings)
        with session_for(settings, seconds=SECONDS, application_name=f"nightshift/{name}") as session:
            yield session
    except (DBAPIError, OSError) as error:
        reason = why(error)
    else:
        return
    raise RefusedError(f"the database {place_of(settings)} cannot be used: {reason}")


def _knock(settings: "DatabaseSettings") -> None:
    """Find out quickly whether PostgreSQL listens at the address. The driver would wait as long as for an answer."""
    host, port = str(settings.url.host), int(settings.url.port or 0)
    with socket.create_connection((host, port), timeout=CONNECT_SECONDS) as connection:
        if settings.asks_tls(settings.url.host):
            return
        connection.sendall(TLS_REQUEST)
        if connection.recv(1) not in (b"S", b"N"):
            raise RefusedError(f"what listens at {host}:{port} is no PostgreSQL: see the host and the port")

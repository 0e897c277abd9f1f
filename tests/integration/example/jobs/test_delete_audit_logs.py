import datetime as dt
from typing import Any

import pytest
from sqlalchemy import func, select, text
from sqlalchemy.orm import Session

from application.models import AuditArchive, AuditLog
from functions.community.delete_audit_logs import job
from nightshift.environment import FILES_VARIABLE
from nightshift.errors import RunFailedError
from nightshift.store import FileStore
from nightshift.store.files import manifest_key
from tests.integration.conftest import Invoke
from tests.integration.example.jobs.conftest import MICROSECOND, NOW, SECOND

pytestmark = pytest.mark.usefixtures("files")

CUTOFF = NOW.replace(year=NOW.year - 3)
"""2023-03-01 02:00 UTC: February 2023 has ended before, March has not."""
OLD = CUTOFF - dt.timedelta(days=100)


def row(action: str, occurred_at: dt.datetime = OLD, **more: Any) -> AuditLog:
    return AuditLog(action=action, occurred_at=occurred_at, **more)


def archive(month: str, part: int = 1) -> AuditArchive:
    return AuditArchive(
        month=dt.date.fromisoformat(f"{month}-01"),
        part=part,
        s3_key=f"audit/{month}/{part}.jsonl.gz",
        row_count=1,
        sha256="",
        bytes=1,
    )


def rows(session: Session) -> set[str]:
    return set(session.scalars(select(AuditLog.action).where(AuditLog.actor_type != "system")))


def archives(session: Session) -> set[str]:
    return set(session.scalars(select(AuditArchive.s3_key)))


def test_rows_strictly_older_than_three_years_go_unless_on_hold(invoke_job: Invoke, session: Session) -> None:
    session.add_all(
        [
            row("three years", CUTOFF),
            row("three years and a microsecond", CUTOFF - MICROSECOND),
            row("young", NOW),
            row("on hold", legal_hold=True),
            row("young, on hold", NOW, legal_hold=True),
        ]
    )
    session.commit()

    counters = invoke_job(job, at=NOW)["counters"]

    assert (counters["deleted"], counters["held"], counters["cutoff"]) == (1, 1, "2023-03-01T02:00:00Z")
    assert rows(session) == {"three years", "young", "on hold", "young, on hold"}


def test_three_years_are_calendar_years(invoke_job: Invoke, session: Session) -> None:
    cutoff = dt.datetime(2021, 2, 28, 3, 30, tzinfo=dt.UTC)
    session.add_all([row("at", cutoff), row("before", cutoff - SECOND)])
    session.commit()

    invoke_job(job, at="2024-02-29T03:30:00Z")

    assert rows(session) == {"at"}


def test_rows_that_were_never_archived_go_as_well_and_are_counted(invoke_job: Invoke, session: Session) -> None:
    kept = archive("2024-01")
    session.add(kept)
    session.flush()
    session.add_all([row("archived", anonymized_at=NOW, archive_id=kept.id), row("anonymized", anonymized_at=NOW)])
    session.add(row("neither"))
    session.commit()

    counters = invoke_job(job, at=NOW)["counters"]

    assert (counters["deleted"], counters["deleted_unarchived"]) == (3, 2)


def test_five_thousand_go_in_one_run_of_several_batches(invoke_job: Invoke, session: Session) -> None:
    session.execute(
        text(
            "insert into audit_logs (action, occurred_at)"
            " select 'old', timestamptz '2022-01-01Z' + i * interval '1 minute' from generate_series(1, 5000) i"
        )
    )
    session.add(row("young", NOW))
    session.commit()

    counters = invoke_job(job, at=NOW)["counters"]

    assert counters["deleted"] == counters["deleted_unarchived"] == 5000
    assert counters["batches"] > 3  # the rows, the archives, the count, and at least one more
    assert rows(session) == {"young"}


def test_archives_of_months_that_ended_before_the_cutoff_go(
    invoke_job: Invoke, session: Session, files: FileStore
) -> None:
    made = [archive("2022-11"), archive("2023-02", 1), archive("2023-02", 2), archive("2023-03"), archive("2026-01")]
    keys = {one.s3_key for one in made}
    session.add_all(made)
    session.commit()
    for key in keys:
        files.write(key, b"x", content_type="application/gzip")
        files.write(manifest_key(key), b"{}", content_type="application/json")

    counters = invoke_job(job, at=NOW)["counters"]

    assert counters["archives_deleted"] == 3
    assert archives(session) == {"audit/2023-03/1.jsonl.gz", "audit/2026-01/1.jsonl.gz"}
    assert {key for key in keys if files.exists(key)} == archives(session)
    assert {key for key in keys if files.exists(manifest_key(key))} == archives(session)


@pytest.mark.parametrize(
    ("at", "deleted"), [("2026-03-01T00:00:00Z", 0), ("2026-03-01T00:00:01Z", 1)], ids=["at its end", "a second after"]
)
def test_a_month_ends_when_the_next_begins_in_utc(invoke_job: Invoke, session: Session, at: str, deleted: int) -> None:
    session.execute(text(f"alter database \"{session.get_bind().engine.url.database}\" set timezone = 'Asia/Tokyo'"))
    session.add(archive("2023-02"))
    session.commit()

    assert invoke_job(job, at=at)["counters"]["archives_deleted"] == deleted


def test_an_archive_with_a_row_on_hold_stays_until_the_hold_ends(
    invoke_job: Invoke, session: Session, files: FileStore
) -> None:
    held = archive("2022-11")
    session.add_all([held, archive("2022-10")])
    session.flush()
    session.add(row("held", legal_hold=True, archive_id=held.id))
    session.add(row("free", archive_id=held.id))
    session.commit()
    files.write(held.s3_key, b"x", content_type="application/gzip")

    first = invoke_job(job, at=NOW)["counters"]
    assert (first["deleted"], first["archives_deleted"], first["held"]) == (1, 1, 1)
    assert archives(session) == {"audit/2022-11/1.jsonl.gz"}
    assert files.exists("audit/2022-11/1.jsonl.gz")

    session.execute(text("select set_config('nightshift.run_id', 'test', true)"))
    session.execute(text("update audit_logs set legal_hold = false"))
    session.commit()
    second = invoke_job(job, at=NOW + SECOND)["counters"]
    assert (second["deleted"], second["archives_deleted"], second["held"]) == (1, 1, 0)
    assert not files.exists("audit/2022-11/1.jsonl.gz")


def test_a_missing_object_is_fine(invoke_job: Invoke, session: Session) -> None:
    session.add(archive("2022-11"))
    session.commit()

    assert invoke_job(job, at=NOW)["counters"]["archives_deleted"] == 1
    assert archives(session) == set()


def test_the_row_names_the_object_until_the_store_has_confirmed(
    invoke_job: Invoke, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    session.add_all([archive("2022-11"), row("old")])
    session.commit()

    with monkeypatch.context() as store:
        store.setenv(FILES_VARIABLE, "no-such-bucket")
        with pytest.raises(RunFailedError, match="NoSuchBucket"):
            invoke_job(job, at=NOW)
    assert archives(session) == {"audit/2022-11/1.jsonl.gz"}

    retried = invoke_job(job, at=NOW)["counters"]
    assert (retried["deleted"], retried["archives_deleted"]) == (1, 1)
    assert session.scalar(select(func.count()).select_from(AuditArchive)) == 0


def test_an_archive_whose_row_cannot_be_deleted_stops_no_other(
    invoke_job: Invoke, session: Session, files: FileStore
) -> None:
    made = [archive("2022-08"), archive("2022-09"), archive("2022-10"), archive("2022-11")]
    session.add_all(made)
    session.execute(
        text(
            "create function refuse() returns trigger language plpgsql as $$ begin"
            " if old.month < '2022-10-01' then"
            " raise 'not this one' using errcode = '55000'; end if; return old; end $$;"
            "create trigger refuse before delete on nightshift.audit_archives for each row execute function refuse()"
        )
    )
    session.commit()

    result = invoke_job(job, at=NOW)

    assert (result["outcome"], result["counters"]["archives_deleted"]) == ("succeeded", 2)
    assert archives(session) == {"audit/2022-08/1.jsonl.gz", "audit/2022-09/1.jsonl.gz"}
    assert len(result["errors"]) == result["counters"]["quarantined"] == 2
    assert result["errors"][0].startswith(f"nightshift.audit_archives:{made[0].id}: a trigger or function")


def test_a_plan_names_the_archives(invoke_job: Invoke, session: Session, files: FileStore) -> None:
    """A row of the archive that is not on hold goes before the archive does, in the same run."""
    made = [archive("2022-11"), archive("2024-11")]
    session.add_all(made)
    session.flush()
    session.add(row("old", archive_id=made[0].id))
    session.commit()
    files.write("audit/2022-11/1.jsonl.gz", b"x", content_type="application/gzip")

    plan = invoke_job(job, {"dry_run": True}, at=NOW)["plan"]

    (step,) = (step for step in plan["steps"] if step["step"] == "delete-archives")
    assert (step["rows"], step["sample"]) == (1, ["audit/2022-11/1.jsonl.gz"])
    assert files.exists("audit/2022-11/1.jsonl.gz")

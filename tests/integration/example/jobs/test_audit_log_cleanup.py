import datetime as dt
import gzip
import hashlib
import json
import uuid
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import func, select, text
from sqlalchemy.orm import Session

from application.models import AuditArchive, AuditLog, User
from functions.administration import audit_log_cleanup
from functions.administration.audit import archive, marking
from functions.administration.audit_log_cleanup import job
from functions.community import delete_audit_logs
from nightshift.deadline import Deadline
from nightshift.errors import RunFailedError
from nightshift.store import FileStore
from tests.integration.conftest import Invoke
from tests.integration.example.jobs.conftest import DAY, MICROSECOND, SECOND

NOW = dt.datetime(2026, 3, 1, 4, tzinfo=dt.UTC)
CUTOFF = NOW - 365 * DAY


def row(day: str | dt.datetime = "2024-11-20", **more: Any) -> AuditLog:
    """An anonymised audit row, of noon UTC when only the day is given."""
    at = day if isinstance(day, dt.datetime) else dt.datetime.fromisoformat(f"{day}T12:00Z")
    return AuditLog(**{"occurred_at": at, "action": "user.update", "anonymized_at": at + 366 * DAY, **more})


def add(session: Session, *rows: AuditLog) -> None:
    session.add_all(rows)
    session.commit()


def lines(files: FileStore, key: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in gzip.decompress(files.read(key)).splitlines()]


def archives(session: Session) -> dict[str, int]:
    return dict(session.execute(select(AuditArchive.s3_key, AuditArchive.row_count)).all())


def marked(session: Session) -> int:
    return session.scalar(select(func.count()).where(AuditLog.archive_id.is_not(None))) or 0


def test_rows_go_to_one_file_a_month_and_are_marked(invoke_job: Invoke, session: Session, files: FileStore) -> None:
    add(session, row("2024-11-30"), row("2024-11-01"), row("2024-12-01"))

    counters = invoke_job(job, at=NOW)["counters"]

    keys = ["audit/2024/11/part-1.jsonl.gz", "audit/2024/12/part-1.jsonl.gz"]
    assert archives(session) == {keys[0]: 2, keys[1]: 1}
    assert [len(lines(files, key)) for key in keys] == [2, 1]
    assert marked(session) == 3
    size = sum(len(files.read(key)) for key in keys)
    assert {name: counters[name] for name in ("archived", "parts", "bytes", "verified")} == {
        "archived": 3,
        "parts": 2,
        "bytes": size,
        "verified": 2,
    }


def test_the_manifest_and_the_row_say_what_is_in_the_file(
    invoke_job: Invoke, session: Session, files: FileStore
) -> None:
    add(session, row("2024-11-20"), row("2024-11-21"))

    invoke_job(job, at=NOW)

    archive = session.scalars(select(AuditArchive)).one()
    content = files.read(archive.s3_key)
    facts = {"rows": 2, "bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    assert {"rows": archive.row_count, "bytes": archive.bytes, "sha256": archive.sha256} == facts
    assert archive.verified_at == archive.created_at == NOW
    assert archive.month == dt.date(2024, 11, 1)
    manifest = json.loads(files.read(f"{archive.s3_key}.manifest.json"))
    assert manifest == {"key": archive.s3_key, "month": "2024-11", "part": 1, **facts}


def test_a_line_holds_what_happened_in_the_order_of_time(
    invoke_job: Invoke, session: Session, files: FileStore
) -> None:
    session.add(row("2024-11-21", action="later"))
    session.add(row("2024-11-20", country="DE", metadata_={"count": 2}, changes={"after": 1}, compliance_tags=["SOC2"]))
    session.commit()

    invoke_job(job, at=NOW)

    first, second = lines(files, "audit/2024/11/part-1.jsonl.gz")
    assert (second["action"], first["action"]) == ("later", "user.update")
    assert (first["country"], first["metadata"], first["changes"]) == ("DE", {"count": 2}, {"after": 1})
    assert (first["compliance_tags"], first["occurred_at"]) == (["SOC2"], "2024-11-20T12:00:00+00:00")
    assert session.get(AuditLog, uuid.UUID(first["id"])) is not None


@pytest.mark.parametrize(("at", "archived"), [(CUTOFF, 0), (CUTOFF - MICROSECOND, 1)], ids=["at", "before"])
def test_only_rows_older_than_a_year(
    invoke_job: Invoke, session: Session, files: FileStore, at: dt.datetime, archived: int
) -> None:
    add(session, row(at, anonymized_at=NOW))

    assert invoke_job(job, at=NOW)["counters"]["archived"] == archived


def test_rows_on_hold_and_rows_that_were_not_anonymised_stay_out(
    invoke_job: Invoke, session: Session, files: FileStore
) -> None:
    add(session, row(legal_hold=True), row(anonymized_at=None), row(action="mine"))

    assert invoke_job(job, at=NOW)["counters"]["archived"] == 1
    assert [line["action"] for line in lines(files, "audit/2024/11/part-1.jsonl.gz")] == ["mine"]


def test_an_archive_holds_no_address_and_nobody(invoke_job: Invoke, session: Session, files: FileStore) -> None:
    # GIVEN a row that says it is anonymous and is not
    user = User(email="ann@example.org")
    session.add(user)
    session.flush()
    add(
        session,
        row(
            actor_id=user.id,
            session_id=uuid.uuid4(),
            ip="192.0.2.77",
            user_agent="Mozilla/5.0 of Ann",
            resource_id="ann@example.org",
            metadata_={"list": [{"Email": "ann@example.org", "note": "to ANN@example.org"}], "ip": "192.0.2.77"},
            changes={"user_agent": "Mozilla/5.0 of Ann"},
        ),
    )

    invoke_job(job, at=NOW)

    content = gzip.decompress(files.read("audit/2024/11/part-1.jsonl.gz")).decode().lower()
    for secret in ("ann@example.org", "192.0.2.77", "mozilla", str(user.id)):
        assert secret not in content
    assert set(lines(files, "audit/2024/11/part-1.jsonl.gz")[0]).isdisjoint({"actor_id", "ip", "user_agent"})


def test_a_second_run_adds_nothing(invoke_job: Invoke, session: Session, files: FileStore) -> None:
    add(session, row())
    invoke_job(job, at=NOW)

    again = invoke_job(job, {"force": True}, at=NOW)["counters"]
    later = invoke_job(job, at=NOW + SECOND)["counters"]

    assert [(counters["archived"], counters["parts"]) for counters in (again, later)] == [(0, 0), (0, 0)]
    assert archives(session) == {"audit/2024/11/part-1.jsonl.gz": 1}


def test_rows_that_come_late_get_a_part_of_their_own(invoke_job: Invoke, session: Session, files: FileStore) -> None:
    add(session, row("2024-11-20"))
    invoke_job(job, at=NOW)
    before = files.read("audit/2024/11/part-1.jsonl.gz")
    add(session, row("2024-11-03", action="late"))

    invoke_job(job, at=NOW + SECOND)

    assert files.read("audit/2024/11/part-1.jsonl.gz") == before
    assert [line["action"] for line in lines(files, "audit/2024/11/part-2.jsonl.gz")] == ["late"]


def test_a_month_of_many_rows_has_several_parts(
    invoke_job: Invoke, session: Session, files: FileStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert archive.ROWS_A_PART <= 100_000
    # GIVEN five rows of which three happened at the same instant
    monkeypatch.setattr(audit_log_cleanup, "ROWS_A_PART", 2)
    add(session, row("2024-11-02"), row("2024-11-03"), row("2024-11-03"), row("2024-11-03"), row("2024-11-04"))

    counters = invoke_job(job, at=NOW)["counters"]

    assert (counters["archived"], counters["parts"], counters["verified"]) == (5, 3, 3)
    assert sorted(archives(session).values()) == [1, 2, 2]
    ids = [line["id"] for key in archives(session) for line in lines(files, key)]
    assert len(set(ids)) == 5


def test_an_interrupted_run_goes_on_with_the_next_part(
    invoke_job: Invoke, session: Session, files: FileStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    add(session, row("2024-10-01"), row("2024-11-01"), row("2024-12-01"))
    monkeypatch.setattr(Deadline, "near", True)

    first = invoke_job(job, at=NOW)
    assert (first["outcome"], marked(session)) == ("interrupted", 1)
    result = first
    while result["outcome"] == "interrupted":
        session.rollback()
        result = invoke_job(job, {"run_id": first["run_id"]})

    assert (result["counters"]["archived"], result["counters"]["parts"]) == (3, 3)
    assert set(archives(session).values()) == {1}


def test_a_file_that_comes_back_different_marks_nothing(
    invoke_job: Invoke, session: Session, files: FileStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    add(session, row())
    other = gzip.compress(b'{"id": "somebody else\'s"}\n')
    with monkeypatch.context() as store:
        store.setattr(FileStore, "chunks", lambda self, key: iter([other]))
        with pytest.raises(RunFailedError, match=r"part-1.jsonl.gz came back with 1 rows .* No row was marked"):
            invoke_job(job, at=NOW)
    assert (marked(session), archives(session)) == (0, {})

    # WHEN the store works again THEN the same object is written again
    session.rollback()
    assert invoke_job(job, at=NOW)["counters"]["archived"] == 1
    assert archives(session) == {"audit/2024/11/part-1.jsonl.gz": 1}


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda content: content[:-9], "cut off"),
        (lambda content: b"\x00" + content, "damaged"),
        (lambda _: b"", "cut off"),
        # Another time in its header: as many rows and bytes, and another checksum.
        (lambda content: content[:4] + bytes([1]) + content[5:], "came back with 1 rows"),
    ],
    ids=["cut off", "no gzip file", "empty", "another checksum"],
)
def test_a_file_that_comes_back_damaged_marks_nothing(
    invoke_job: Invoke, session: Session, files: FileStore, monkeypatch: pytest.MonkeyPatch, damage: Any, message: str
) -> None:
    add(session, row())
    monkeypatch.setattr(FileStore, "chunks", lambda self, key: iter([damage(self.read(key))]))

    with pytest.raises(RunFailedError, match=message):
        invoke_job(job, at=NOW)
    assert (marked(session), archives(session)) == (0, {})


def test_a_manifest_that_comes_back_different_marks_nothing(
    invoke_job: Invoke, session: Session, files: FileStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    add(session, row())
    monkeypatch.setattr(FileStore, "read", lambda self, key: b"{}")

    with pytest.raises(RunFailedError, match="manifest"):
        invoke_job(job, at=NOW)
    assert (marked(session), archives(session)) == (0, {})


def test_a_crash_after_the_upload_leads_to_the_same_object(
    invoke_job: Invoke, session: Session, files: FileStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    add(session, row("2024-11-20"))

    def crash(**_: Any) -> None:
        raise MemoryError("killed between upload and update")

    with monkeypatch.context() as patch:
        patch.setattr(marking, "AuditArchive", crash, raising=True)
        patch.setattr(audit_log_cleanup, "next_part", lambda *_: archive.Part(dt.date(2024, 11, 1), 1))
        with pytest.raises(RunFailedError):
            invoke_job(job, at=NOW)
    assert files.exists("audit/2024/11/part-1.jsonl.gz")
    assert marked(session) == 0
    add(session, row("2024-11-21"))

    invoke_job(job, at=NOW)

    assert archives(session) == {"audit/2024/11/part-1.jsonl.gz": 2}
    assert len(lines(files, "audit/2024/11/part-1.jsonl.gz")) == 2


def meanwhile(monkeypatch: pytest.MonkeyPatch, happens: Callable[[], None]) -> None:
    """Let something happen once, between a part's last byte and the marking of its rows."""
    store, once = archive.store, [happens]

    def and_then(*args: Any) -> Any:
        contents = store(*args)
        if once:
            once.pop()()
        return contents

    monkeypatch.setattr(marking, "store", and_then)


def test_a_row_that_turns_up_while_a_part_is_written_goes_to_the_next(
    invoke_job: Invoke, session: Session, files: FileStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    add(session, row("2024-11-20"))
    meanwhile(monkeypatch, lambda: add(session, row("2024-11-19", action="late")))

    invoke_job(job, at=NOW)

    assert archives(session) == {"audit/2024/11/part-1.jsonl.gz": 1, "audit/2024/11/part-2.jsonl.gz": 1}
    assert [line["action"] for line in lines(files, "audit/2024/11/part-2.jsonl.gz")] == ["late"]


def test_a_row_that_changes_while_its_part_is_written_is_archived_as_it_is_now(
    invoke_job: Invoke, session: Session, files: FileStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    add(session, row("2024-11-20", metadata_={"note": "of Ann"}))

    def erase() -> None:
        session.execute(text("select set_config('nightshift.run_id', 'test', true)"))
        session.execute(text("""update audit_logs set metadata = '{"note": "erased"}'"""))
        session.commit()

    meanwhile(monkeypatch, erase)

    with pytest.raises(RunFailedError, match="40001"):
        invoke_job(job, at=NOW)
    assert marked(session) == 0
    session.rollback()

    assert invoke_job(job, at=NOW)["counters"]["archived"] == 1
    assert [line["metadata"] for line in lines(files, "audit/2024/11/part-1.jsonl.gz")] == [{"note": "erased"}]


def test_a_row_that_cannot_be_marked_stays_out_and_stops_no_other(
    invoke_job: Invoke, session: Session, files: FileStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit_log_cleanup, "ROWS_A_PART", 3)
    add(session, *(row(f"2024-11-{day:02}", action="stay" if day in (2, 5) else "go") for day in range(1, 8)))
    add(session, row("2024-12-01", action="stay"), row("2025-01-01"))
    session.execute(
        text(
            "create function refuse() returns trigger language plpgsql as $$ begin"
            " if new.action = 'stay' then raise 'not %', new; end if; return new; end $$;"
            "create trigger refuse before update on audit_logs for each row execute function refuse()"
        )
    )
    session.commit()

    result = invoke_job(job, at=NOW)

    assert (result["outcome"], result["counters"]["quarantined"], result["counters"]["archived"]) == ("succeeded", 3, 6)
    found = archives(session)
    assert found == {f"audit/2024/11/part-{n}.jsonl.gz": rows for n, rows in ((1, 2), (2, 2), (3, 1))} | {
        "audit/2025/01/part-1.jsonl.gz": 1
    }
    assert {key: len(lines(files, key)) for key in found} == found
    assert {line["action"] for key in found for line in lines(files, key)} == {"go", "user.update"}
    assert marked(session) == 6


def test_a_row_of_a_time_that_python_cannot_hold_is_told_and_stops_no_other(
    invoke_job: Invoke, session: Session, files: FileStore
) -> None:
    times = [text(f"'{at}'") for at in ("-infinity", "0044-03-15 BC", "20260-01-01Z", "infinity")]
    add(session, *(AuditLog(occurred_at=at, action="user.update", anonymized_at=NOW) for at in times), row())

    assert invoke_job(job, {"dry_run": True}, at=NOW)["plan"]["steps"][0]["rows"] == 1
    result = invoke_job(job, at=NOW)

    assert (result["outcome"], result["counters"]["archived"], result["counters"]["quarantined"]) == ("succeeded", 1, 2)
    assert all("it is from before the year 1" in error for error in result["errors"])


def test_months_are_those_of_utc(invoke_job: Invoke, session: Session, files: FileStore) -> None:
    session.execute(text(f"alter database \"{session.get_bind().engine.url.database}\" set timezone = 'Asia/Tokyo'"))
    add(session, row(dt.datetime(2024, 11, 30, 23, 59, tzinfo=dt.UTC)), row(dt.datetime(2024, 12, 1, tzinfo=dt.UTC)))

    invoke_job(job, at=NOW)

    assert set(archives(session)) == {"audit/2024/11/part-1.jsonl.gz", "audit/2024/12/part-1.jsonl.gz"}


def test_one_summary_row_with_counts_only(invoke_job: Invoke, session: Session, files: FileStore) -> None:
    add(session, row("2024-11-20"), row("2024-12-20"))

    invoke_job(job, at=NOW)

    summary = session.scalars(select(AuditLog).where(AuditLog.action == "job.audit-log-cleanup")).one()
    assert (summary.actor_type, summary.occurred_at) == ("system", NOW)
    assert (summary.metadata_["archived"], summary.metadata_["parts"]) == (2, 2)


def test_a_plan_names_the_parts(invoke_job: Invoke, session: Session, files: FileStore) -> None:
    add(session, row("2024-11-20"), row("2024-11-21"), row("2024-12-20"), row(legal_hold=True))

    plan = invoke_job(job, {"dry_run": True}, at=NOW)["plan"]

    (step,) = plan["steps"]
    assert (step["rows"], step["cutoff"]) == (3, "2025-03-01T04:00:00Z")
    assert step["sample"] == ["audit/2024/11/part-1.jsonl.gz", "audit/2024/12/part-1.jsonl.gz"]
    assert not files.exists("audit/2024/11/part-1.jsonl.gz")


def test_what_was_archived_goes_with_its_manifest_at_three_years(
    invoke_job: Invoke, session: Session, files: FileStore
) -> None:
    add(session, row("2022-11-20"))
    invoke_job(job, at=NOW)
    key = "audit/2022/11/part-1.jsonl.gz"
    assert files.exists(f"{key}.manifest.json")

    invoke_job(delete_audit_logs.job, at=NOW)

    session.rollback()
    assert (archives(session), files.exists(key), files.exists(f"{key}.manifest.json")) == ({}, False, False)


def test_a_longer_period_is_kept(invoke_job: Invoke, session: Session, files: FileStore) -> None:
    parameters = {"audit_archive_after_days": 400}
    for age in (400 * DAY, 400 * DAY + SECOND):
        add(session, row(NOW - age, anonymized_at=NOW))

    assert invoke_job(job, {"parameters": parameters}, at=NOW)["counters"]["archived"] == 1


def test_a_period_below_a_year_is_refused(invoke_job: Invoke, session: Session, files: FileStore) -> None:
    add(session, row())

    with pytest.raises(ValueError, match="audit_archive_after_days must be a whole number of days, at least 365"):
        invoke_job(job, {"parameters": {"audit_archive_after_days": 364}}, at=NOW)
    assert marked(session) == 0

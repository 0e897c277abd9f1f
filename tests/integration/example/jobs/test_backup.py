"""Backups: export and restore, damage, interruption, tiers, the last good one, and snapshots of RDS."""

import datetime as dt
import gzip
import json
import re
import tracemalloc
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import boto3
import pytest
from sqlalchemy import Engine, func, select, text, update
from sqlalchemy.orm import Session
from typer.testing import CliRunner, Result

from application.models import Alert, DataRequest, ErasureRecord, User
from cli.commands import application
from functions.administration.backup import job
from nightshift import Run
from nightshift.deadline import Deadline
from nightshift.environment import CLUSTER_VARIABLE, INSTANCE_VARIABLE
from nightshift.errors import RunFailedError
from nightshift.ledger import Attempt, RunRecord
from nightshift.store import Backup, FileStore, FileStoreError, SnapshotError, Snapshots, backups, restoring
from nightshift.store.files import PART_BYTES
from nightshift.store.records import KEEP_DAILY, KEEP_MONTHLY, KEEP_WEEKLY, past, tier_of
from tests.conftest import NewDatabase
from tests.integration.conftest import Invoke
from tests.integration.example.jobs.conftest import DAY, NOW
from tests.integration.example.test_every_job import digests

FOLDER = "backups/2026-03-01T020000Z/"
MANIFEST = f"s3://nightshift-files/{FOLDER}manifest.json"


@pytest.fixture
def filled(database: Engine) -> Engine:
    """The test's database with rows in most tables, awkward ones included."""
    with database.begin() as connection:
        connection.exec_driver_sql(Path(__file__).parent.parent.joinpath("every_job.sql").read_text())
        connection.execute(
            text("update users set bio = :bio, name = null where name = 'User 1'"), {"bio": 'tab\t line\n \\N "é" \\'}
        )
    return database


def address(engine: Engine) -> str:
    return engine.url.render_as_string(hide_password=False)


def restore(into: Engine, *options: str, file: str = MANIFEST) -> Result:
    return CliRunner().invoke(application, ["backup", "restore", file, "--into", address(into), *options])


def backup_row(session: Session, at: dt.datetime = NOW, kind: str = "logical") -> Backup:
    row = select(Backup).where(Backup.kind == kind, Backup.scheduled_for == at)
    return session.scalars(row.execution_options(populate_existing=True)).one()


def objects(files: FileStore) -> list[str]:
    return [found.key for page in files.pages("backups/") for found in page]


def test_what_was_exported_comes_back_the_same(
    invoke_job: Invoke, filled: Engine, files: FileStore, session: Session, new_database: NewDatabase
) -> None:
    counters = invoke_job(job, at=NOW)["counters"]

    row = backup_row(session)
    assert (row.status, row.tier, row.location, row.verified_at) == ("succeeded", "weekly", FOLDER, NOW)
    assert row.manifest["consistent"] is True
    assert counters["tables"] == counters["verified"] == len(row.manifest["tables"])
    assert counters["rows"] == sum(table["rows"] for table in row.manifest["tables"])
    before = digests(filled)
    with new_database() as copy:
        result = restore(copy)

        assert (result.exit_code, result.stderr) == (0, "")
        assert f"{counters['tables']} tables, {counters['rows']} rows" in result.stdout
        after = digests(copy)
        written_since = {"nightshift.backups", "nightshift.runs", "nightshift.attempts", "nightshift.jobs"}
        left_out = {"public.analytics_cache", "public.request_stats", "nightshift.differences", "public.auth_tokens"}
        assert {table for table in before if before[table] != after[table]} <= written_since | left_out
        assert {table for table, digest in before.items() if digest} > {"public.users", "public.audit_logs"}
        with Session(copy) as restored:
            kinds = set(restored.scalars(text("select distinct kind from auth_tokens")))
            assert "access_denylist" not in kinds
            assert "refresh" in kinds
            for table in ("analytics_cache", "request_stats"):
                assert before[f"public.{table}"]
                assert restored.scalar(text(f"select count(*) from {table}")) == 0  # noqa: S608 - of this test
            assert backup_row(restored).status == "succeeded"
            # The supervisor finds nothing to go on with: the backup would be written over with what is there now.
            own = restored.execute(select(RunRecord.state, RunRecord.lease_until, RunRecord.position)).all()
            assert own == [("cancelled", None, None)]
            assert set(restored.scalars(select(Attempt.ending))) == {"lost"}
            # What identities give out goes on behind what came back, and the guards and references are there again.
            highest = restored.scalar(text("select max(id) from login_attempts"))
            given = text("insert into login_attempts (email, success) values ('a@example.org', true) returning id")
            assert restored.scalar(given) == (highest or 0) + 1
        assert _constraints(copy) == _constraints(filled)


def _tables(engine: Engine) -> int:
    with engine.connect() as connection:
        ours = text("select count(*) from pg_tables where schemaname in ('public', 'nightshift')")
        return connection.scalar(ours) or 0


def _constraints(engine: Engine) -> set[Any]:
    with engine.connect() as connection:
        found = text(
            "select conname, pg_get_constraintdef(oid), convalidated from pg_constraint"
            " union all select tgname, pg_get_triggerdef(oid), tgenabled = 'O' from pg_trigger where not tgisinternal"
        )
        return {tuple(row) for row in connection.execute(found)}


def test_an_export_of_the_copy_is_the_same_to_the_byte(
    invoke_job: Invoke, filled: Engine, files: FileStore, session: Session, new_database: NewDatabase
) -> None:
    invoke_job(job, at=NOW)
    first = {table["name"]: table for table in backup_row(session).manifest["tables"]}

    with new_database() as copy:
        restore(copy)
        with Session(copy) as restored:
            for source in backups.sources(restored):
                if source.name in ("nightshift.backups", "nightshift.runs", "nightshift.attempts"):
                    continue
                contents = backups.export(restored, source, files, f"again/{source.name}", out_of_time=lambda: False)
                known = first[source.name]
                assert vars(contents) == {key: known[key] for key in ("rows", "bytes", "sha256")}, source.name


def test_a_backup_on_disk_is_restored_into_a_migrated_database(
    invoke_job: Invoke, filled: Engine, files: FileStore, new_database: NewDatabase, migrated: str, tmp_path: Path
) -> None:
    invoke_job(job, at=NOW)
    for key in objects(files):
        path = tmp_path / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(files.read(key))

    with new_database(template=migrated) as copy:
        result = restore(copy, file=str(tmp_path / FOLDER / "manifest.json"))

        assert result.exit_code == 0, result.stderr
        assert digests(copy)["public.users"] == digests(filled)["public.users"]


def test_rows_come_back_as_they_were_whatever_triggers_the_database_has(
    invoke_job: Invoke, filled: Engine, files: FileStore, new_database: NewDatabase, migrated: str
) -> None:
    invoke_job(job, at=NOW)
    stamp = "create function stamp() returns trigger language plpgsql as $$ begin new.title = 'x'; return new; end $$"

    with new_database(template=migrated) as copy:
        with copy.begin() as connection:
            connection.execute(text(stamp))
            connection.execute(text("create trigger t before insert on goals for each row execute function stamp()"))
        result = restore(copy)

        assert result.exit_code == 0, result.stderr
        assert digests(copy)["public.goals"] == digests(filled)["public.goals"]


@pytest.mark.parametrize("damage", ["changed", "cut off", "missing", "another", "other rows"])
def test_a_damaged_part_is_found_before_anything_is_written(
    invoke_job: Invoke, filled: Engine, files: FileStore, empty_database: Engine, damage: str
) -> None:
    invoke_job(job, at=NOW)
    key = f"{FOLDER}users.copy.gz"
    content = bytearray(files.read(key))
    if damage == "missing":
        files.delete(key)
    else:
        content[len(content) // 2] ^= 1
        new = {
            "changed": bytes(content),
            "cut off": files.read(key)[:-9],
            "another": gzip.compress(b""),
            "other rows": gzip.compress(gzip.decompress(files.read(key)).swapcase(), compresslevel=3, mtime=0),
        }[damage]
        files.write(key, new, content_type="application/gzip")

    result = restore(empty_database)

    assert result.exit_code == 2
    assert "Nothing was changed" in result.stderr
    assert _tables(empty_database) == 0


@pytest.mark.parametrize(
    ("name", "says"),
    [("users.copy.gz", "users.copy.gz is damaged"), ("manifest.json", "is not the one that was written")],
)
def test_damage_between_writing_and_reading_back_fails_the_run(
    invoke_job: Invoke,
    files: FileStore,
    session: Session,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    says: str,
) -> None:
    original = FileStore.chunks

    def damaged(self: FileStore, key: str) -> Any:
        return iter([b"nothing"]) if key.endswith(f"/{name}") else original(self, key)

    monkeypatch.setattr(FileStore, "chunks", damaged)

    with pytest.raises(RunFailedError, match=re.escape(says)):
        invoke_job(job, at=NOW)

    row = backup_row(session)
    assert (row.status, row.verified_at) == ("failed", None)
    assert says in str(row.error)


def test_an_export_that_fails_leaves_a_failed_row_and_the_retry_makes_it_good(
    invoke_job: Invoke, filled: Engine, files: FileStore, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as broken:

        def refuse(self: FileStore, key: str, content: bytes, **_: Any) -> None:
            raise FileStoreError("S3 answered PutObject with AccessDenied")

        broken.setattr(FileStore, "write", refuse)
        with pytest.raises(RunFailedError):
            invoke_job(job, at=NOW, request_id="one")
    row = backup_row(session)
    assert (row.status, row.error) == ("failed", "FileStoreError: S3 answered PutObject with AccessDenied")
    assert objects(files) == []

    assert invoke_job(job, at=NOW, request_id="one")["outcome"] == "succeeded"

    assert backup_row(session).status == "succeeded"


def test_what_comes_while_tables_are_exported_is_in_none_of_them(
    invoke_job: Invoke, files: FileStore, session: Session, database: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    exported: list[str] = []

    def export(its_session: Session, source: backups.Source, *of: Any, **more: Any) -> Any:
        if len(exported) == 1:
            with Session(database) as another, another.begin():
                another.add(User(email="ann@example.org"))
        exported.append(source.name)
        return backups.export(its_session, source, *of, **more)

    monkeypatch.setattr("nightshift.steps.backups.export.export", export)
    invoke_job(job, at=NOW)

    assert session.scalar(select(func.count(User.id))) == 1
    (users,) = (table for table in backup_row(session).manifest["tables"] if table["name"] == "users")
    assert users["rows"] == 0


def test_a_good_backup_is_not_made_again(invoke_job: Invoke, files: FileStore, session: Session) -> None:
    first = invoke_job(job, at=NOW)
    again = invoke_job(job, {"force": True}, at=NOW)
    assert (again["outcome"], again["counters"]["tables"]) == ("succeeded", 0)
    assert backup_row(session).manifest["run_id"] == first["run_id"]


def test_a_backup_that_nobody_finished_is_given_up_by_the_next_run(
    invoke_job: Invoke, files: FileStore, session: Session
) -> None:
    abandoned = _known(session, NOW - DAY, status="running")

    invoke_job(job, at=NOW)

    session.refresh(abandoned)
    assert abandoned.status == "failed"
    assert "before the backup was complete" in str(abandoned.error)


@pytest.fixture
def out_of_time_after_each_block(monkeypatch: pytest.MonkeyPatch, filled: Engine) -> None:
    """Every look at the clock finds the attempt about to end; there is one between any two blocks of a table."""
    with filled.begin() as connection:
        note = {"note": "x" * 800}
        for name in ("one", "two"):
            connection.execute(text(f"create table {name} (note text)"))
            connection.execute(text(f"insert into {name} select :note from generate_series(1, 11)"), note)  # noqa: S608
    monkeypatch.setattr(backups, "BLOCKS_A_COPY", 1)
    monkeypatch.setattr(Deadline, "near", True)


@pytest.mark.usefixtures("out_of_time_after_each_block")
def test_a_table_that_outlasts_an_attempt_fails_the_run_and_says_what_to_do(
    invoke_job: Invoke, files: FileStore, session: Session
) -> None:
    run = {"run_id": invoke_job(job, at=NOW)["run_id"]}
    invoke_job(job, run)  # the row of the backup is its first batch, and the snapshot's step came before
    with pytest.raises(RunFailedError, match=r"alone takes longer to export than an attempt may last\. Rely on"):
        invoke_job(job, run | {"once": True})

    assert backup_row(session).status == "failed"
    assert boto3.client("s3").list_multipart_uploads(Bucket=files.bucket).get("Uploads", []) == []


def test_an_interrupted_export_goes_on_with_the_missing_tables_and_says_so(
    invoke_job: Invoke,
    filled: Engine,
    files: FileStore,
    session: Session,
    monkeypatch: pytest.MonkeyPatch,
    new_database: NewDatabase,
) -> None:
    original = backups.export
    exported: list[str] = []

    def interrupted_once(session: Session, source: Any, *arguments: Any, **keywords: Any) -> Any:
        if len(exported) == 10:
            exported.append("interruption")
            monkeypatch.setattr(Deadline, "near", True)
            raise backups.OutOfTimeError
        exported.append(source.name)
        return original(session, source, *arguments, **keywords)

    monkeypatch.setattr("nightshift.steps.backups.export.export", interrupted_once)
    first = invoke_job(job, at=NOW)
    assert first["outcome"] == "interrupted"
    assert backup_row(session).status == "running"
    monkeypatch.setattr(Deadline, "near", False)

    result = invoke_job(job, {"run_id": first["run_id"]})

    assert result["outcome"] == "succeeded"
    assert len(exported) - 1 == len(set(exported)) - 1 == result["counters"]["tables"]
    manifest = backup_row(session).manifest
    assert manifest["consistent"] is False
    assert [each["number"] for each in manifest["snapshots"]] == [1, 2]
    assert {table["name"] for table in manifest["tables"] if table["snapshot"] == 1} == set(exported[:10])
    with new_database() as copy:
        refused = restore(copy)
        assert (refused.exit_code, "--accept-inconsistent" in refused.stderr) == (2, True)
        assert restore(copy, "--accept-inconsistent").exit_code == 0
        assert digests(copy)["public.users"] == digests(filled)["public.users"]


def test_an_interrupted_verification_goes_on_with_the_parts_not_read_yet(
    invoke_job: Invoke, files: FileStore, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []
    original = FileStore.chunks

    def noted(self: FileStore, key: str) -> Any:
        read.append(key.rpartition("/")[2])
        return original(self, key)

    monkeypatch.setattr(FileStore, "chunks", noted)
    monkeypatch.setattr("nightshift.steps.backups.verification.LARGE_PART", -1)
    monkeypatch.setattr(Deadline, "near", True)

    result, attempts = invoke_job(job, at=NOW), 1
    while result["outcome"] == "interrupted":
        result, attempts = invoke_job(job, {"run_id": result["run_id"]}), attempts + 1

    assert attempts > result["counters"]["tables"]
    parts = [name for name in read if name != "manifest.json"]
    assert len(parts) == len(set(parts)) == result["counters"]["verified"] == result["counters"]["tables"]
    assert backup_row(session).verified_at == NOW


class Discarding:
    """A file store that keeps nothing."""

    @contextmanager
    def writing(self, key: str, *, content_type: str) -> Iterator["Discarding"]:
        yield self

    def write(self, content: bytes) -> None:
        pass


@pytest.mark.parametrize("blocks", [1, 4, 16])
def test_every_block_is_exported_once(session: Session, monkeypatch: pytest.MonkeyPatch, blocks: int) -> None:
    session.execute(text("create table large as select n from generate_series(1, 2000) n"))
    monkeypatch.setattr(backups, "BLOCKS_A_COPY", blocks)
    source = next(source for source in backups.sources(session) if source.name == "large")
    last = session.scalar(text("select cast((cast(cast(max(ctid) as text) as point))[0] as int) from large")) or 0
    assert last % 4 == 0, "the last block of all is alone in its portion"
    large = replace(source, blocks=last + 1)

    contents = backups.export(session, large, Discarding(), "large", out_of_time=lambda: False)  # type: ignore[arg-type]

    assert contents.rows == 2_000


def test_memory_does_not_grow_with_the_table(database: Engine) -> None:
    with database.begin() as connection:
        connection.execute(text("create table large (noise text)"))
        noise = "insert into large select repeat(md5(n::text), 64) from generate_series(1, 20000) n"
        connection.execute(text(noise))
    with Session(database) as session:
        large = next(source for source in backups.sources(session) if source.name == "large")
        tracemalloc.start()
        try:
            contents = backups.export(session, large, Discarding(), "large", out_of_time=lambda: False)  # type: ignore[arg-type]
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()

    assert contents.rows == 20_000  # of 2 kB: 40 MB
    assert peak < 2 * 2**20


def test_a_large_object_is_written_in_parts_and_an_abandoned_one_leaves_nothing(files: FileStore) -> None:
    content = bytes(range(256)) * (PART_BYTES // 256) + b"last"
    with files.writing("large", content_type="application/gzip") as writing:
        for start in range(0, len(content), 2**20):
            writing.write(content[start : start + 2**20])
    with suppress(InterruptedError), files.writing("abandoned", content_type="application/gzip") as writing:
        writing.write(content)
        raise InterruptedError

    head = boto3.client("s3").head_object(Bucket=files.bucket, Key="large")
    assert head["ETag"].endswith('-2"')  # two parts
    assert files.read("large") == content
    assert not files.exists("abandoned")
    assert boto3.client("s3").list_multipart_uploads(Bucket=files.bucket).get("Uploads", []) == []


def run_at(when: str, **parameters: int) -> Run:
    keep = {each.name: each.default for each in (KEEP_DAILY, KEEP_WEEKLY, KEEP_MONTHLY)}
    at = dt.datetime.fromisoformat(f"{when}T01:30:00Z")
    return Run(uuid.uuid4(), job.name, at, parameters={**keep, **parameters})  # type: ignore[dict-item]


@pytest.mark.parametrize(
    ("day", "monthly", "tier", "expires"),
    [
        ("2028-02-29", 0, "daily", "2028-03-07"),  # a Tuesday
        ("2028-02-29", 12, "daily", "2028-03-07"),
        ("2028-03-01", 0, "daily", "2028-03-08"),
        ("2028-03-01", 12, "monthly", "2029-03-01"),
        ("2032-02-29", 0, "weekly", "2032-03-28"),  # a Sunday
        ("2026-03-01", 0, "weekly", "2026-03-29"),  # a Sunday, and the 1st
        ("2026-03-01", 12, "monthly", "2027-03-01"),
        ("2026-02-28", 12, "daily", "2026-03-07"),
    ],
)
def test_the_longest_tier_of_a_day_wins(day: str, monthly: int, tier: str, expires: str) -> None:
    found, expires_at = tier_of(run_at(day, keep_monthly=monthly))

    assert (found, f"{expires_at:%Y-%m-%d}") == (tier, expires)


@pytest.mark.parametrize("last", ["2028-02-29", "2028-03-01", "2027-03-01"])
def test_seven_days_and_four_sundays_are_kept(session: Session, last: str) -> None:
    today = dt.datetime.fromisoformat(f"{last}T01:30:00Z")
    for age in range(60):
        run = run_at(f"{today - age * DAY:%Y-%m-%d}")
        tier, expires_at = tier_of(run)
        _known(session, run.now, tier=tier, expires_at=expires_at)

    gone = {backup.scheduled_for for backup in past(session, run_at(last))}

    days = {today - age * DAY for age in range(7)}
    sundays = {today - age * DAY for age in range(28) if (today - age * DAY).weekday() == 6}
    assert set(session.scalars(select(Backup.scheduled_for))) - gone == days | sundays


def _known(session: Session, at: dt.datetime, *, status: str = "succeeded", **values: Any) -> Backup:
    given = {
        "kind": "logical",
        "tier": "daily",
        "location": backups.folder_of(at),
        "expires_at": at + 7 * DAY,
        "started_at": at,
        "manifest": {"consistent": True},
    }
    row = Backup(scheduled_for=at, status=status, **(given | values))
    session.add(row)
    session.commit()
    return row


def test_the_objects_of_an_expired_backup_go_and_its_row_stays(
    invoke_job: Invoke, files: FileStore, session: Session
) -> None:
    old = _known(session, NOW - 7 * DAY)
    failed = _known(session, NOW - 8 * DAY, status="failed")
    young = _known(session, NOW - 6 * DAY)
    for row in (old, failed, young):
        for name in ("users.copy.gz", "manifest.json"):
            files.write(f"{row.location}{name}", b"", content_type="application/gzip")

    assert invoke_job(job, at=NOW)["counters"]["expired_deleted"] == 2

    for row in (old, failed, young):
        session.refresh(row)
    assert (old.status, failed.status, young.status) == ("expired", "expired", "succeeded")
    left = {key.rpartition("/")[0] + "/" for key in objects(files)}
    assert left == {young.location, FOLDER}


def test_a_snapshot_that_cannot_be_deleted_is_kept_in_mind_and_the_next_one_goes(
    invoke_job: Invoke, files: FileStore, snapshots: Snapshots, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    _known(session, NOW - DAY, kind="snapshot", location="the last good one")
    stuck, old = (_known(session, NOW - days * DAY, kind="snapshot", location=f"{days}") for days in (9, 8))
    gone = []

    def delete(_: Snapshots, name: str) -> None:
        if name == stuck.location:
            raise SnapshotError("RDS answered DeleteSnapshot with InvalidDBSnapshotState")
        gone.append(name)

    monkeypatch.setattr(Snapshots, "delete", delete)
    counters = invoke_job(job, at=NOW)["counters"]

    assert (gone, counters["expired_deleted"], counters["quarantined"]) == ([old.location], 1, 1)
    for row in (stuck, old):
        session.refresh(row)
    assert (stuck.status, old.status) == ("succeeded", "expired")


def test_the_last_good_backup_stays_however_old_it_is(session: Session) -> None:
    older, _last = _known(session, NOW - 300 * DAY), _known(session, NOW - 200 * DAY)
    torn = _known(session, NOW - 150 * DAY, manifest={"consistent": False})
    _newest_torn = _known(session, NOW - 100 * DAY, manifest={"consistent": False})
    failed = _known(session, NOW - 90 * DAY, status="failed")

    gone = past(session, run_at("2026-03-01"))

    assert [row.id for row in gone] == [older.id, torn.id, failed.id]


def test_the_last_good_one_of_each_kind_stays(session: Session) -> None:
    _known(session, NOW - 200 * DAY)
    _known(session, NOW - 100 * DAY, kind="snapshot", location="one")
    assert past(session, run_at("2026-03-01")) == []


def test_rows_that_do_not_come_in_are_told_and_nothing_is_kept(
    invoke_job: Invoke, filled: Engine, files: FileStore, empty_database: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The files are as the manifest says, and the database takes fewer rows."""
    invoke_job(job, at=NOW)
    manifest = json.loads(files.read(f"{FOLDER}manifest.json"))
    for table in manifest["tables"]:
        table["rows"] += 1
    files.write(f"{FOLDER}manifest.json", json.dumps(manifest).encode(), content_type="application/json")
    monkeypatch.setattr(restoring, "check", lambda *_: None)

    result = restore(empty_database)

    assert (result.exit_code, " rows of " in result.stderr) == (2, True)
    assert _tables(empty_database) == 0


@pytest.mark.parametrize(
    ("status", "state"),
    [
        ("available", "succeeded"),
        ("creating", "running"),
        *((status, "failed") for status in ("failed", "incompatible-restore", "incompatible-parameters", "deleting")),
    ],
)
def test_what_rds_says_of_a_snapshot(
    snapshots: Snapshots, monkeypatch: pytest.MonkeyPatch, status: str, state: str
) -> None:
    told = {"DBSnapshots": [{"Status": status}], "DBClusterSnapshots": [{"Status": status}]}
    for name in ("describe_db_snapshots", "describe_db_cluster_snapshots"):
        monkeypatch.setattr(snapshots._client, name, lambda **_: told)
    assert snapshots.state("one") == state


def test_a_new_good_backup_lets_the_last_one_go(invoke_job: Invoke, files: FileStore, session: Session) -> None:
    last = _known(session, NOW - 200 * DAY)

    assert invoke_job(job, at=NOW)["counters"]["expired_deleted"] == 1

    session.refresh(last)
    assert last.status == "expired"


def test_people_erased_since_are_erased_again_after_a_restore(
    invoke_job: Invoke, files: FileStore, session: Session, database: Engine, new_database: NewDatabase
) -> None:
    users = [User(email=f"user{number}@example.org", name="Ann", created_at=NOW - 90 * DAY) for number in range(3)]
    gone = User(email="gone@example.org", name="[Deleted User]", created_at=NOW - 90 * DAY, anonymized_at=NOW - DAY)
    session.add_all([*users, gone])
    session.flush()
    for subject, user in (("ref0", users[0]), ("ref1", users[1]), ("before", gone)):
        status = "COMPLETED" if user is gone else "PENDING"
        session.add(
            DataRequest(user_id=user.id, subject_ref=subject, request_type="DELETION", status=status, requested_at=NOW)
        )
    session.add(ErasureRecord(subject_ref="before", mode="anonymized", executed_at=NOW - DAY))
    session.commit()
    invoke_job(job, at=NOW)
    session.add(ErasureRecord(subject_ref="ref0", mode="anonymized", executed_at=NOW + 5 * DAY))
    session.add(ErasureRecord(subject_ref="ref1", mode="deleted", executed_at=NOW + 5 * DAY))
    session.commit()
    invoke_job(job, at=NOW + 6 * DAY)  # its copy of the ledger is newer
    ledger = f"{backups.folder_of(NOW + 6 * DAY)}nightshift.erasure_ledger.copy.gz"
    content = files.read(ledger)

    with new_database() as copy:
        files.write(ledger, gzip.compress(b""), content_type="application/gzip")
        damaged = restore(copy)
        assert (damaged.exit_code, "erasure_ledger.copy.gz is damaged" in damaged.stderr) == (2, True)
        files.write(ledger, content, content_type="application/gzip")

        result = restore(copy)

        assert (result.exit_code, "erased again: 2" in result.stdout) == (0, True)
        with Session(copy) as restored:
            people = {tuple(each) for each in restored.execute(select(User.email, User.name))}
            anonymous = (f"deleted-{users[0].id}@deleted.invalid", "[Deleted User]")
            before = ("gone@example.org", "[Deleted User]")
            assert people == {("user2@example.org", "Ann"), anonymous, before}
            assert restored.get_one(User, gone.id).anonymized_at == NOW - DAY
            assert set(restored.scalars(select(DataRequest.status))) == {"COMPLETED"}
            assert restored.scalar(select(func.count()).select_from(ErasureRecord)) == 3


def test_an_erasure_that_nobody_can_name_is_told(
    invoke_job: Invoke, files: FileStore, session: Session, database: Engine, new_database: NewDatabase
) -> None:
    invoke_job(job, at=NOW)
    session.add(ErasureRecord(subject_ref="ref9", mode="deleted", executed_at=NOW + DAY))
    session.commit()

    with new_database() as copy:
        result = restore(copy, "--erasures-from", address(database))

        assert result.exit_code == 1
        assert "not erased again: 1" in result.stderr
        assert digests(copy)["nightshift.erasure_ledger"] == digests(database)["nightshift.erasure_ledger"]


def test_a_drill_repeats_what_was_erased_in_the_database_since_the_backup(
    invoke_job: Invoke, files: FileStore, session: Session, database: Engine
) -> None:
    invoke_job(job, at=NOW)
    session.add(ErasureRecord(subject_ref="ref9", mode="deleted", executed_at=NOW + DAY))
    session.commit()

    assert "not erased again: 1" in restore(database, "--drill").stderr


def test_a_drill_restores_beside_the_database_and_notes_the_test(
    invoke_job: Invoke, filled: Engine, files: FileStore, session: Session
) -> None:
    other = _known(session, NOW - DAY)
    invoke_job(job, at=NOW)
    before = digests(filled)
    databases = text("select count(*) from pg_database")
    count = session.scalar(databases)

    result = restore(filled, "--drill")

    assert (result.exit_code, result.stdout[:7], result.stderr) == (0, "tested:", "")
    assert backup_row(session).restore_tested_at is not None
    session.refresh(other)
    assert other.restore_tested_at is None
    assert session.scalar(databases) == count
    assert {table for table, digest in digests(filled).items() if before[table] != digest} == {"nightshift.backups"}


def test_a_restore_is_refused_where_there_are_rows_or_another_schema(
    invoke_job: Invoke, filled: Engine, files: FileStore, empty_database: Engine
) -> None:
    invoke_job(job, at=NOW)
    assert "has rows in" in restore(filled).stderr

    manifest = json.loads(files.read(f"{FOLDER}manifest.json"))
    manifest["schema_version"] = ["application_0000", "nightshift_0000"]
    files.write(f"{FOLDER}manifest.json", json.dumps(manifest).encode(), content_type="application/json")
    result = restore(empty_database)
    assert (result.exit_code, "restore with the version of Nightshift" in result.stderr) == (2, True)

    files.write(
        f"{FOLDER}manifest.json", json.dumps(manifest | {"format": 2}).encode(), content_type="application/json"
    )
    result = restore(empty_database)
    assert (result.exit_code, "not the manifest of a backup in format 1" in result.stderr) == (2, True)
    assert _tables(empty_database) == 0


@pytest.mark.parametrize(
    "file", ["s3://nightshift-files/nothing/manifest.json", "users.copy.gz", "/nowhere/manifest.json"]
)
def test_what_is_no_backup_is_refused_in_one_line(files: FileStore, empty_database: Engine, file: str) -> None:
    result = restore(empty_database, file=file)

    assert (result.exit_code, result.stderr.count("\n")) == (2, 1)


TABLE = {"name": "users", "file": "users.copy.gz", "columns": ["id"], "rows": 0, "bytes": 0, "sha256": "x"}
DAMAGED: dict[str, Any] = {
    "tables": ("abc", None, [5], [{"name": "users"}], *([TABLE | {"file": f}] for f in (None, "a\0b", "../users"))),
    "schema_version": (5, None, [5], {}),
    "schema": ({"file": None}, "x", [], {"file": "schema.json"}),
    "sequences": ([1], {"a": "b"}),
    "backup_id": ("nope", 7, None),
    "scheduled_for": ("tomorrow", 5),
    "consistent": ("true", None),
}


@pytest.mark.parametrize("name", list(DAMAGED))
def test_a_damaged_manifest_is_told_in_words(empty_database: Engine, tmp_path: Path, name: str) -> None:
    an_id = str(uuid.uuid4())
    good = {"format": 1, "backup_id": an_id, "consistent": True, "run_id": an_id, "schema_version": ["nightshift_0001"]}
    good |= {"scheduled_for": "2026-03-01T00:00:00Z", "tables": [TABLE]}
    file = tmp_path / "manifest.json"
    for odd in DAMAGED[name]:
        file.write_text(json.dumps(good | {name: odd}))
        result = restore(empty_database, file=str(file))
        assert (result.exit_code, result.stderr.count("\n")) == (2, 1)
        assert f"the manifest has another form in {name}" in result.stderr or "of " in result.stderr


@pytest.mark.parametrize("content", [b"", b"[]", b'{"a":' * 3_000, b'{"format": ' + b"9" * 5_000 + b"}"])
def test_a_manifest_that_is_no_json_is_told_in_words(empty_database: Engine, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "manifest.json").write_bytes(content)
    result = restore(empty_database, file=str(tmp_path / "manifest.json"))
    assert (result.exit_code, result.stderr.count("\n")) == (2, 1)


@pytest.mark.parametrize("cluster", [False, True])
def test_a_snapshot_is_begun_followed_and_deleted(
    invoke_job: Invoke,
    files: FileStore,
    snapshots: Snapshots,
    session: Session,
    monkeypatch: pytest.MonkeyPatch,
    cluster: bool,
) -> None:
    rds = boto3.client("rds")
    if cluster:
        rds.create_db_cluster(
            DBClusterIdentifier="aurora",
            Engine="aurora-postgresql",
            MasterUsername="postgres",
            MasterUserPassword="postgres",
        )
        monkeypatch.delenv(INSTANCE_VARIABLE)
        monkeypatch.setenv(CLUSTER_VARIABLE, "aurora")
        snapshots = Snapshots("aurora", cluster=True)
    with monkeypatch.context() as slow:
        slow.setattr(Snapshots, "state", lambda self, name: "running")
        invoke_job(job, at=NOW)
        row = backup_row(session, kind="snapshot")
        assert (row.status, row.location) == ("running", "nightshift-backup-2026-03-01-020000")
    assert snapshots.state(str(row.location)) == "succeeded"

    invoke_job(job, at=NOW + DAY)
    assert backup_row(session, kind="snapshot").status == "succeeded"

    session.execute(update(Backup).values(expires_at=NOW))
    session.commit()
    assert invoke_job(job, at=NOW + 2 * DAY)["counters"]["expired_deleted"] == 4
    assert snapshots.state(str(row.location)) == "missing"
    newest = backup_row(session, NOW + 2 * DAY, kind="snapshot")
    assert snapshots.state(str(newest.location)) == "succeeded"


def test_a_snapshot_carries_its_tags(invoke_job: Invoke, files: FileStore, snapshots: Snapshots) -> None:
    invoke_job(job, at=NOW)

    found = boto3.client("rds").describe_db_snapshots(SnapshotType="manual")["DBSnapshots"]
    tags = [{tag["Key"]: tag["Value"] for tag in each["TagList"]} for each in found]
    assert tags == [{"nightshift": "backup", "scheduled_for": "2026-03-01T02:00:00Z"}]


def test_without_rds_there_is_only_the_export(invoke_job: Invoke, files: FileStore, session: Session) -> None:
    invoke_job(job, at=NOW)

    assert set(session.scalars(select(Backup.kind))) == {"logical"}


def alerts(session: Session) -> list[tuple[str, str, str]]:
    session.rollback()
    found = session.scalars(select(Alert).order_by(Alert.first_seen_at).execution_options(populate_existing=True))
    return [(alert.fingerprint, alert.severity, alert.status) for alert in found]


def test_rds_refusing_is_alerted_until_it_takes_one_and_the_export_goes_on(
    invoke_job: Invoke, files: FileStore, snapshots: Snapshots, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as wrong:
        wrong.setenv(INSTANCE_VARIABLE, "another")

        result = invoke_job(job, at=NOW)

    assert (result["outcome"], result["counters"]["quarantined"]) == ("succeeded", 1)
    assert backup_row(session, kind="snapshot").status == "failed"
    assert backup_row(session).status == "succeeded"
    assert alerts(session) == [("backup-snapshot:rds", "critical", "open")]

    assert invoke_job(job, at=NOW + DAY)["counters"]["quarantined"] == 0

    assert alerts(session) == [("backup-snapshot:rds", "critical", "resolved")]


def test_a_snapshot_that_failed_in_rds_is_alerted(
    invoke_job: Invoke, files: FileStore, snapshots: Snapshots, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as slow:
        slow.setattr(Snapshots, "state", lambda self, name: "running")
        invoke_job(job, at=NOW)
    snapshots.delete(str(backup_row(session, kind="snapshot").location))

    result = invoke_job(job, at=NOW + DAY)

    row = backup_row(session, kind="snapshot")
    assert (result["outcome"], row.status) == ("succeeded", "failed")
    assert alerts(session) == [("backup-snapshot:rds", "critical", "open")]
    assert backup_row(session, NOW + DAY, kind="snapshot").status == "succeeded"


def test_a_snapshot_that_was_begun_is_followed_although_an_earlier_one_could_not_be_asked_about(
    invoke_job: Invoke, files: FileStore, snapshots: Snapshots, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as broken:

        def refuse(*_: object) -> None:
            raise SnapshotError("RDS answered DescribeSnapshots with Throttling")

        broken.setattr(Snapshots, "state", refuse)
        invoke_job(job, at=NOW)
    assert backup_row(session, kind="snapshot").status == "running"
    assert alerts(session) == [("backup-snapshot:rds", "critical", "open")]

    invoke_job(job, at=NOW + DAY)

    assert backup_row(session, kind="snapshot").status == "succeeded"
    assert alerts(session) == [("backup-snapshot:rds", "critical", "resolved")]

import datetime as dt
import threading
import time
import uuid
from typing import Any
from unittest.mock import Mock

import pytest
from moto.core.models import DEFAULT_ACCOUNT_ID
from moto.s3.models import s3_backends
from sqlalchemy import Engine, func, select, text, update
from sqlalchemy.orm import Session

from application.models import AuditLog, Project, UnclaimedObject, Upload, User
from functions.community import _stored_files
from functions.community.cleanup_orphaned_files import job
from nightshift.deadline import Deadline
from nightshift.environment import FILES_VARIABLE
from nightshift.store import FileStore, FileStoreError, files as file_store
from nightshift.store.files import AT_ONCE
from tests.integration.conftest import Invoke
from tests.integration.example.jobs.conftest import DAY, MICROSECOND, NOW

OLD = NOW - 31 * DAY

pytestmark = pytest.mark.usefixtures("files")


def upload(session: Session, key: str, created_at: dt.datetime = OLD, **given: Any) -> Upload:
    new = Upload(storage_key=key, filename="picture.png", created_at=created_at, **given)
    session.add(new)
    session.flush()
    return new


def store(files: FileStore, *keys: str, modified_at: dt.datetime = OLD) -> None:
    """Put objects into the bucket as if they had been written then."""
    for key in keys:
        files.write(f"uploads/{key}", b"x", content_type="image/png")
        bucket = s3_backends[DEFAULT_ACCOUNT_ID]["aws"].buckets[files.bucket]
        bucket.keys[f"uploads/{key}"].last_modified = modified_at.replace(tzinfo=None)


def stored(files: FileStore) -> set[str]:
    return {found.key.removeprefix("uploads/") for page in files.pages("uploads/") for found in page}


def rows(session: Session) -> set[str]:
    session.rollback()
    return set(session.scalars(select(Upload.storage_key)))


def user_with_avatar(session: Session, url: str, **given: Any) -> User:
    user = User(email=f"{uuid.uuid4()}@example.org", avatar_url=url, **given)
    session.add(user)
    session.flush()
    return user


NAMES = ("checked", "orphaned", "records_deleted", "files_deleted", "files_missing", "errors", "reclaimed")


def counters(result: dict[str, Any], *names: str) -> dict[str, int]:
    assert result["outcome"] == "succeeded"
    return {name: result["counters"][name] for name in names or NAMES if result["counters"][name]}


def test_files_without_a_reference_go_row_and_object(invoke_job: Invoke, session: Session, files: FileStore) -> None:
    for key in ("orphan.png", "avatar.png", "image.png", "full.png", "folder/deep.png"):
        upload(session, key)
        store(files, key)
    user_with_avatar(session, "/uploads/avatar.png")
    user_with_avatar(session, "https://cdn.example.net/v1/uploads/full.png?width=80#top")
    session.add(Project(title="P", image_url="/uploads/image.png"))
    session.commit()

    result = invoke_job(job, at=NOW)

    assert rows(session) == stored(files) == {"avatar.png", "image.png", "full.png"}
    assert counters(result) == {"checked": 5, "orphaned": 2, "records_deleted": 2, "files_deleted": 2}


def test_a_row_that_cannot_be_deleted_stays_and_stops_no_other(
    invoke_job: Invoke, session: Session, files: FileStore
) -> None:
    for key in ("a.png", "b.png", "c.png", "d.png", "e.png"):
        upload(session, key)
        store(files, key)
    session.execute(
        text(
            "create function refuse() returns trigger language plpgsql as $$ begin"
            " if old.storage_key = 'c.png' then"
            " raise 'not this one' using errcode = '55000'; end if; return old; end $$;"
            "create trigger refuse before delete on uploads for each row execute function refuse()"
        )
    )
    session.commit()

    result = invoke_job(job, at=NOW)

    assert rows(session) == {"c.png"}
    assert stored(files) == set()
    assert counters(result, "records_deleted", "errors", "quarantined") == {
        "records_deleted": 4,
        "errors": 1,
        "quarantined": 1,
    }
    assert "a trigger or function of the database refuses it, in the function refuse" in result["errors"][0]


@pytest.mark.parametrize(
    ("url", "key"),
    [
        ("/uploads/a.png", "a.png"),
        ("uploads/a.png", "a.png"),
        ("https://cdn.example.net/uploads/x/uploads/a.png", "a.png"),
        ("/uploads/2026/a.png?x=/uploads/b.png", "2026/a.png"),
        ("/uploads/a.png#/uploads/b.png", "a.png"),
        ("/uploads/a%20b.png", "a b.png"),
        ("/uploads/%C3%A4.png", "ä.png"),
        ("/uploads/a%2520b.png", "a%20b.png"),
        ("/uploads/100%.png", "100%.png"),
        ("/uploads/%FF.png", "%FF.png"),
        ("/uploads/%00.png", "%00.png"),
        ("/uploads/A.png", "A.png"),
        ("/uploads/../a.png", "../a.png"),
        ("/uploads/", None),
        ("/static/a.png", None),
        ("a.png", None),
        ("", None),
    ],
)
def test_the_key_that_a_url_names(session: Session, url: str, key: str | None) -> None:
    assert session.scalar(select(func.nightshift.storage_key(url))) == key


def test_keys_are_compared_whole_and_in_their_case(invoke_job: Invoke, session: Session, files: FileStore) -> None:
    for key in ("a.png", "A.png", "ba.png", "a.png.bak"):
        upload(session, key)
    user_with_avatar(session, "/uploads/a.png")
    session.commit()

    invoke_job(job, at=NOW)

    assert rows(session) == {"a.png"}


def test_the_thirty_days(invoke_job: Invoke, session: Session, files: FileStore) -> None:
    upload(session, "29 days", NOW - 29 * DAY)
    upload(session, "30 days", NOW - 30 * DAY)
    upload(session, "30 days and a microsecond", NOW - 30 * DAY - MICROSECOND)
    session.commit()
    store(files, "29 days", "30 days", "30 days and a microsecond")

    result = invoke_job(job, at=NOW)

    assert rows(session) == stored(files) == {"29 days", "30 days"}
    assert counters(result) == {"checked": 1, "orphaned": 1, "records_deleted": 1, "files_deleted": 1}


def test_an_avatar_of_a_deleted_user_counts_while_it_stands(invoke_job: Invoke, session: Session) -> None:
    upload(session, "a.png")
    user = user_with_avatar(session, "/uploads/a.png", deleted_at=NOW)
    session.commit()

    invoke_job(job, at=NOW)
    assert rows(session) == {"a.png"}

    user.avatar_url = None
    session.commit()
    invoke_job(job, at=NOW + DAY)
    assert rows(session) == set()


def test_a_missing_object_is_fine(invoke_job: Invoke, session: Session) -> None:
    upload(session, "a.png")
    session.commit()

    assert counters(invoke_job(job, at=NOW)) == {"checked": 1, "orphaned": 1, "records_deleted": 1, "files_missing": 1}
    assert rows(session) == set()


def test_a_store_that_fails_keeps_the_rows_for_the_next_run(
    invoke_job: Invoke, session: Session, files: FileStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = upload(session, "a.png")
    session.commit()
    store(files, "a.png")

    with monkeypatch.context() as broken:
        broken.setenv(FILES_VARIABLE, "no-such-bucket")
        result = invoke_job(job, at=NOW)

    assert result["counters"]["quarantined"] == 2  # the file, and the listing
    assert counters(result) == {"checked": 1, "orphaned": 1, "errors": 2}
    assert [error.split(": ")[0] for error in result["errors"]] == [f"uploads/{kept.id}", "uploads/"]
    session.refresh(kept)
    assert kept.deleting_at == NOW

    assert counters(invoke_job(job, at=NOW + DAY)) == {
        "checked": 1,
        "orphaned": 1,
        "records_deleted": 1,
        "files_deleted": 1,
    }
    assert rows(session) == stored(files) == set()


def test_the_store_failing_for_one_file_keeps_that_row_only(
    invoke_job: Invoke, session: Session, files: FileStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    for key in ("a.png", "b.png", "c.png"):
        upload(session, key)
        store(files, key)
    session.commit()
    delete = FileStore.delete

    def fail_on_b(self: FileStore, key: str) -> None:
        if key == "uploads/b.png":
            raise FileStoreError("S3 answered DeleteObject with SlowDown")
        delete(self, key)

    monkeypatch.setattr(FileStore, "delete", fail_on_b)

    result = invoke_job(job, at=NOW)

    assert rows(session) == stored(files) == {"b.png"}
    assert counters(result) == {"checked": 3, "orphaned": 3, "records_deleted": 2, "files_deleted": 2, "errors": 1}


@pytest.mark.parametrize("operation", ["exists", "delete"])
def test_of_many_files_only_those_that_fail_keep_their_rows(
    invoke_job: Invoke, session: Session, files: FileStore, monkeypatch: pytest.MonkeyPatch, operation: str
) -> None:
    """Files go several at a time; neither those beside a failing one nor those behind it are held up."""
    keys = {f"{number:02}.png" for number in range(3 * AT_ONCE + 1)}
    failing = {"03.png", "30.png"}
    for key in sorted(keys):
        upload(session, key)
    session.commit()
    store(files, *keys)
    call = getattr(FileStore, operation)

    def fail_on_some(self: FileStore, key: str) -> Any:
        if key.removeprefix("uploads/") in failing:
            raise FileStoreError("S3 answered with SlowDown")
        return call(self, key)

    with monkeypatch.context() as broken:
        broken.setattr(FileStore, operation, fail_on_some)
        result = invoke_job(job, at=NOW)

    gone = len(keys - failing)
    expected = {
        "checked": len(keys),
        "orphaned": len(keys),
        "records_deleted": gone,
        "files_deleted": gone,
        "errors": 2,
    }
    assert counters(result) == expected
    assert rows(session) == stored(files) == failing

    assert counters(invoke_job(job, at=NOW + DAY), "files_deleted", "files_missing", "errors") == {"files_deleted": 2}
    assert rows(session) == stored(files) == set()


def test_the_store_is_asked_for_several_files_at_once_and_not_for_too_many(
    invoke_job: Invoke, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    """GIVEN a store that answers only when as many have asked as may WHEN files are deleted THEN it answers."""
    for number in range(2 * AT_ONCE):
        upload(session, f"{number}.png")
    session.commit()
    together, lock = threading.Barrier(AT_ONCE, timeout=30), threading.Lock()
    under_way, most = 0, 0

    def answer_all_together(self: FileStore, key: str) -> bool:
        nonlocal under_way, most
        with lock:
            under_way += 1
            most = max(most, under_way)
        together.wait()
        with lock:
            under_way -= 1
        return False

    monkeypatch.setattr(FileStore, "exists", answer_all_together)

    assert counters(invoke_job(job, at=NOW), "files_missing") == {"files_missing": 2 * AT_ONCE}
    assert most == AT_ONCE


def test_a_file_that_is_referenced_again_is_reclaimed(invoke_job: Invoke, session: Session, files: FileStore) -> None:
    again = upload(session, "a.png", deleting_at=NOW - DAY)
    store(files, "a.png")
    user_with_avatar(session, "/uploads/a.png")
    session.commit()

    assert counters(invoke_job(job, at=NOW)) == {"checked": 1, "reclaimed": 1}
    session.refresh(again)
    assert again.deleting_at is None
    assert stored(files) == {"a.png"}


def test_a_reference_between_mark_and_deletion_saves_the_file(
    invoke_job: Invoke, session: Session, files: FileStore, database: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload(session, "a.png")
    upload(session, "b.png")
    user = user_with_avatar(session, "/somewhere/else.png")
    session.commit()
    store(files, "a.png", "b.png")
    find = _stored_files._next

    def refer_first(*arguments: Any) -> Any:
        with database.begin() as application:
            application.execute(update(User).where(User.id == user.id).values(avatar_url="/uploads/a.png"))
        return find(*arguments)

    monkeypatch.setattr(_stored_files, "_next", refer_first)

    result = invoke_job(job, at=NOW)

    assert rows(session) == stored(files) == {"a.png"}
    expected = {"checked": 2, "orphaned": 2, "records_deleted": 1, "files_deleted": 1, "reclaimed": 1}
    assert counters(result) == expected
    assert session.scalar(select(Upload.deleting_at)) is None


def test_a_reference_that_comes_too_late_keeps_the_row_and_is_told(
    invoke_job: Invoke, session: Session, files: FileStore, database: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """GIVEN an application that did not look at deleting_at WHEN it refers to the file being deleted THEN it shows."""
    upload(session, "a.png")
    user = user_with_avatar(session, "/somewhere/else.png")
    session.commit()
    store(files, "a.png")
    delete = FileStore.delete

    def refer_after(self: FileStore, key: str) -> None:
        delete(self, key)
        with database.begin() as application:
            application.execute(update(User).where(User.id == user.id).values(avatar_url="/uploads/a.png"))

    monkeypatch.setattr(FileStore, "delete", refer_after)

    result = invoke_job(job, at=NOW)

    assert rows(session) == {"a.png"}
    assert counters(result) == {"checked": 1, "orphaned": 1, "files_deleted": 1, "errors": 1, "reclaimed": 1}


def test_a_reference_that_is_not_committed_yet_is_waited_for(
    invoke_job: Invoke, session: Session, files: FileStore, database: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """GIVEN an application that has locked the row to refer to it WHEN the row's turn comes THEN it is seen."""
    upload(session, "a.png")
    user = user_with_avatar(session, "/somewhere/else.png")
    session.commit()
    delete, locked = FileStore.delete, threading.Event()

    def refer_slowly() -> None:
        with database.begin() as application, database.connect() as observer:
            application.execute(select(Upload.id).with_for_update(read=True))
            application.execute(update(User).where(User.id == user.id).values(avatar_url="/uploads/a.png"))
            locked.set()
            waits = text("select exists (select from pg_locks where not granted)")
            deadline = time.monotonic() + 30
            while not observer.scalar(waits) and time.monotonic() < deadline:
                observer.rollback()

    application = threading.Thread(target=refer_slowly)

    def refer_after(self: FileStore, key: str) -> None:
        delete(self, key)
        application.start()
        assert locked.wait(timeout=30)

    store(files, "a.png")
    monkeypatch.setattr(FileStore, "delete", refer_after)

    result = invoke_job(job, at=NOW)
    application.join()

    assert rows(session) == {"a.png"}
    assert counters(result) == {"checked": 1, "orphaned": 1, "files_deleted": 1, "errors": 1, "reclaimed": 1}


def test_no_transaction_is_open_while_the_store_is_asked(
    invoke_job: Invoke, session: Session, files: FileStore, database: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload(session, "a.png")
    session.commit()
    store(files, "a.png")
    delete, states = FileStore.delete, set[str]()

    def look(self: FileStore, key: str) -> None:
        with database.connect() as observer:
            jobs = func.pg_stat_get_activity(None).table_valued("state", "application_name")
            of_job = select(jobs.c.state).where(jobs.c.application_name == f"nightshift/{job.name}")
            states.update(observer.scalars(of_job))
        delete(self, key)

    monkeypatch.setattr(FileStore, "delete", look)

    invoke_job(job, at=NOW)

    assert states <= {"idle"}
    assert rows(session) == set()


def test_a_run_that_is_cut_off_after_each_file_deletes_them_all(
    invoke_job: Invoke, session: Session, files: FileStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(4):
        upload(session, f"{number}.png")
        store(files, f"{number}.png")
    session.commit()
    monkeypatch.setattr(Deadline, "near", True)
    monkeypatch.setattr(file_store, "AT_ONCE", 1)

    left = [rows(session)]
    result = invoke_job(job, at=NOW)
    while result["outcome"] == "interrupted":
        result = invoke_job(job, {"run_id": result["run_id"]})
        left.append(rows(session))

    assert {len(each) for each in left} == {4, 3, 2, 1, 0}
    assert rows(session) == stored(files) == set()
    assert counters(result) == {"checked": 4, "orphaned": 4, "records_deleted": 4, "files_deleted": 4}


# Objects without a row.

UNCLAIMED = ("unclaimed", "unclaimed_deleted", "errors")


def test_an_object_without_a_row_goes_when_two_runs_have_seen_it(
    invoke_job: Invoke, session: Session, files: FileStore
) -> None:
    store(files, "lost.png", "deep/lost.png")
    upload(session, "known.png", NOW)
    session.commit()
    store(files, "known.png")
    files.write("reports/daily.json", b"x", content_type="application/json")

    assert counters(invoke_job(job, at=NOW), *UNCLAIMED) == {"unclaimed": 2}
    assert stored(files) == {"lost.png", "deep/lost.png", "known.png"}
    assert set(session.scalars(select(UnclaimedObject.first_seen_at))) == {NOW}

    store(files, "another.png", "")  # seen for the first time now; and the folder itself, as S3's console makes one
    assert counters(invoke_job(job, at=NOW + DAY), *UNCLAIMED) == {"unclaimed": 3, "unclaimed_deleted": 2}
    assert stored(files) == {"known.png", "another.png", ""}
    session.rollback()
    assert session.scalars(select(UnclaimedObject.storage_key)).all() == ["another.png"]
    assert files.exists("reports/daily.json")

    assert counters(invoke_job(job, at=NOW + 2 * DAY), *UNCLAIMED) == {"unclaimed": 1, "unclaimed_deleted": 1}
    assert counters(invoke_job(job, at=NOW + 3 * DAY), *UNCLAIMED) == {}


def test_the_same_run_again_is_no_second_sighting(invoke_job: Invoke, files: FileStore) -> None:
    store(files, "lost.png")
    invoke_job(job, at=NOW)

    assert counters(invoke_job(job, {"force": True}, at=NOW), *UNCLAIMED) == {"unclaimed": 1}
    assert stored(files) == {"lost.png"}


def test_a_young_object_is_not_seen(invoke_job: Invoke, session: Session, files: FileStore) -> None:
    store(files, "young.png", modified_at=NOW - 30 * DAY)
    store(files, "old.png", modified_at=NOW - 30 * DAY - dt.timedelta(seconds=1))

    assert counters(invoke_job(job, at=NOW), *UNCLAIMED) == {"unclaimed": 1}
    assert session.scalars(select(UnclaimedObject.storage_key)).all() == ["old.png"]


def test_sightings_count_only_one_after_the_other(invoke_job: Invoke, session: Session, files: FileStore) -> None:
    """GIVEN an object that had a row in between WHEN it is seen without one again THEN that is a first sighting."""
    store(files, "a.png")
    invoke_job(job, at=NOW)
    claim = upload(session, "a.png", NOW)
    session.commit()
    assert counters(invoke_job(job, at=NOW + DAY), *UNCLAIMED) == {}
    session.delete(claim)
    session.commit()

    assert counters(invoke_job(job, at=NOW + 2 * DAY), *UNCLAIMED) == {"unclaimed": 1}
    assert stored(files) == {"a.png"}
    assert counters(invoke_job(job, at=NOW + 3 * DAY), *UNCLAIMED) == {"unclaimed": 1, "unclaimed_deleted": 1}


def test_an_object_that_gets_its_row_at_the_last_moment_stays(
    invoke_job: Invoke, session: Session, files: FileStore, database: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    store(files, "a.png")
    invoke_job(job, at=NOW)
    find = _stored_files._next

    def claim_first(execution: Any, due: Any, key: Any, step: str) -> Any:
        if key is UnclaimedObject.storage_key:
            with Session(database) as application, application.begin():
                if application.scalar(select(func.count()).select_from(Upload)) == 0:
                    upload(application, "a.png", NOW)
        return find(execution, due, key, step)

    monkeypatch.setattr(_stored_files, "_next", claim_first)

    assert counters(invoke_job(job, at=NOW + DAY), *UNCLAIMED) == {"unclaimed": 1}
    assert stored(files) == rows(session) == {"a.png"}


def test_a_listing_that_fails_deletes_nothing_and_forgets_nothing(
    invoke_job: Invoke, session: Session, files: FileStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    store(files, "a.png")
    invoke_job(job, at=NOW)

    def refuse(*_: Any, **__: Any) -> Any:
        raise FileStoreError("S3 answered ListObjectsV2 with SlowDown")

    with monkeypatch.context() as broken:
        broken.setattr(FileStore, "pages", refuse)
        result = invoke_job(job, at=NOW + DAY)

    assert counters(result, *UNCLAIMED) == {"errors": 1}
    assert stored(files) == {"a.png"}
    assert session.scalars(select(UnclaimedObject.last_seen_at)).all() == [NOW]

    found = counters(invoke_job(job, at=NOW + 2 * DAY), *UNCLAIMED)
    assert found == {"unclaimed": 1, "unclaimed_deleted": 1}


def test_a_long_listing_is_read_page_by_page(
    invoke_job: Invoke, session: Session, files: FileStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    store(files, *(f"{number:04}.png" for number in range(1100)))
    session.add_all([Upload(storage_key=f"{number:04}.png", filename="x", created_at=NOW) for number in range(1095)])
    session.commit()
    monkeypatch.setattr(Deadline, "near", True)

    for day in range(2):
        result = invoke_job(job, at=NOW + day * DAY)
        while result["outcome"] == "interrupted":
            result = invoke_job(job, {"run_id": result["run_id"]})

    assert counters(result, *UNCLAIMED) == {"unclaimed": 5, "unclaimed_deleted": 5}
    assert stored(files) == {f"{number:04}.png" for number in range(1095)}


def test_a_plan_changes_neither_store(invoke_job: Invoke, session: Session, files: FileStore) -> None:
    store(files, "lost.png", modified_at=OLD - DAY)
    invoke_job(job, at=NOW - DAY)
    orphan = upload(session, "a.png")
    upload(session, "avatar.png")
    user_with_avatar(session, "/uploads/avatar.png")
    session.commit()
    store(files, "a.png")

    planned = invoke_job(job, {"dry_run": True}, at=NOW)["plan"]["steps"]

    steps = {step["step"]: (step["rows"], step["sample"]) for step in planned}
    assert steps["mark-orphans"] == steps["delete-files"] == (1, [str(orphan.id)])
    assert steps["delete-unclaimed"] == (1, ["lost.png"])
    assert stored(files) == {"a.png", "lost.png"}
    session.refresh(orphan)
    assert orphan.deleting_at is None


def test_one_line_in_the_audit_log_for_a_run(invoke_job: Invoke, session: Session) -> None:
    for key in ("a.png", "b.png"):
        upload(session, key)
    session.commit()
    invoke_job(job, at=NOW)
    invoke_job(job, at=NOW + DAY)

    assert session.scalars(select(AuditLog.action)).all() == ["job.cleanup-orphaned-files"]


def test_no_more_objects_go_than_were_counted(session: Session) -> None:
    for key in ("a.png", "b.png", "c.png"):
        upload(session, key)
    session.commit()
    execution = Mock(session=session, position=None, stated=lambda step: {step: 2})

    due = select(Upload.id.label("key"), Upload.storage_key)

    assert len(_stored_files._next(execution, due, Upload.id, "delete-files")) == 2


def test_what_went_in_earlier_batches_counts_as_well(
    invoke_job: Invoke, session: Session, database: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    for key in ("a.png", "b.png"):
        upload(session, key)
    session.commit()
    find = _stored_files._next

    def one_more(*given: Any) -> Any:
        monkeypatch.setattr(_stored_files, "_next", find)
        with Session(database) as application, application.begin():
            upload(application, "c.png", deleting_at=NOW)
        return find(*given)

    monkeypatch.setattr(_stored_files, "_next", one_more)
    monkeypatch.setattr(_stored_files, "OBJECTS_A_BATCH", 1)

    assert counters(invoke_job(job, at=NOW))["records_deleted"] == 2
    assert len(rows(session)) == 1

"""A file store that is a part of a bucket: everything below its prefix, and nothing beside it."""

from collections.abc import Callable

import boto3
import pytest

from nightshift.store import FileStore
from nightshift.store.files import PART_BYTES

PREFIX = "live/"
BESIDE = {"a/1.txt", "a/2.txt", "live", "livestock/a/1.txt", "test/live/a/1.txt"}
"""Keys of others in the same bucket, some of them named like this store's own."""


def put(key: str, content: bytes = b"of somebody else") -> None:
    boto3.client("s3").put_object(Bucket="nightshift-files", Key=key, Body=content)


def objects() -> dict[str, bytes]:
    """Everything in the bucket, by its whole key."""
    client = boto3.client("s3")
    found = client.list_objects_v2(Bucket="nightshift-files").get("Contents", [])
    return {each["Key"]: client.get_object(Bucket="nightshift-files", Key=each["Key"])["Body"].read() for each in found}


@pytest.fixture
def below(files: FileStore) -> FileStore:
    """A store below a prefix, in a versioned bucket that has objects of others."""
    boto3.client("s3").put_bucket_versioning(Bucket=files.bucket, VersioningConfiguration={"Status": "Enabled"})
    for key in BESIDE:
        put(key)
    return FileStore(files.bucket, PREFIX)


def whole(store: FileStore) -> None:
    with store.writing("a/1.txt", content_type="text/plain") as file:
        file.write(b"mine")


def in_parts(store: FileStore) -> None:
    with store.writing("a/1.txt", content_type="text/plain") as file:
        file.write(b"x" * (PART_BYTES + 1))


@pytest.mark.parametrize(
    "write", [lambda store: store.write("a/1.txt", b"mine", content_type="text/plain"), whole, in_parts]
)
def test_what_is_written_stands_below_the_prefix(below: FileStore, write: Callable[[FileStore], None]) -> None:
    write(below)

    assert set(objects()) == {*BESIDE, "live/a/1.txt"}
    assert {content for key, content in objects().items() if key in BESIDE} == {b"of somebody else"}
    assert below.exists("a/1.txt")
    assert below.read("a/1.txt") == b"".join(below.chunks("a/1.txt")) == objects()["live/a/1.txt"]


def test_what_stands_beside_the_prefix_is_not_there(below: FileStore) -> None:
    assert not below.exists("a/1.txt")
    assert not [*below.pages("")]

    for key in ("b/1.txt", "b/2.txt", "c.txt"):
        put(PREFIX + key)
    assert [[each.key for each in page] for page in below.pages("")] == [["b/1.txt", "b/2.txt", "c.txt"]]
    assert [[each.key for each in page] for page in below.pages("b/", after="b/1.txt")] == [["b/2.txt"]]


@pytest.mark.parametrize(
    "delete",
    [
        lambda store: store.delete("a/1.txt"),
        lambda store: dict(*store.delete_each(["a/1.txt"])),
        lambda store: store.erase("a/1.txt"),
        lambda store: store.erase(""),
    ],
)
def test_what_is_deleted_stood_below_the_prefix(below: FileStore, delete: Callable[[FileStore], object]) -> None:
    delete(below)
    assert set(objects()) == BESIDE  # there was none of its own

    put(PREFIX + "a/1.txt")
    delete(below)

    assert set(objects()) == BESIDE
    assert len(objects()) == len(BESIDE)


def test_an_erasure_leaves_no_version_and_no_marker_of_its_own_and_all_of_others(below: FileStore) -> None:
    # GIVEN an object that was written twice, one that was deleted before, and a namesake beside the prefix likewise
    for key in (PREFIX + "a/1.txt", PREFIX + "a/1.txt", PREFIX + "a/2.txt", "a/2.txt"):
        put(key)
    below.delete("a/2.txt")
    boto3.client("s3").delete_object(Bucket=below.bucket, Key="a/2.txt")
    others = versions("a/")

    # WHEN they are erased
    assert below.erase("a/") == 4

    # THEN nothing is left of them, and everything of the others
    assert versions(PREFIX) == []
    assert versions("a/") == others
    assert len(others) == 4


def versions(prefix: str) -> list[tuple[str, str]]:
    """Key and id of every version and delete marker."""
    found = boto3.client("s3").list_object_versions(Bucket="nightshift-files", Prefix=prefix)
    return [(each["Key"], each["VersionId"]) for each in (*found.get("Versions", []), *found.get("DeleteMarkers", []))]

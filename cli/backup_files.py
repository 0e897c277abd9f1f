"""Where the files of a backup are: in a folder on this machine, or in the file store."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from cli.refusals import RefusedError

if TYPE_CHECKING:
    from nightshift.store import Parts


@dataclasses.dataclass(frozen=True)
class Folder:
    """The files of a backup on this machine."""

    path: Path

    def chunks(self, name: str) -> Iterator[bytes]:
        from nightshift.store import BackupError
        from nightshift.store.files import CHUNK_BYTES

        try:
            with (self.path / name).open("rb") as file:
                while chunk := file.read(CHUNK_BYTES):
                    yield chunk
        except OSError as error:
            raise BackupError(f"{self.path / name} cannot be read: {error.strerror}") from None


def parts_of(file: str) -> "Parts":
    """The files beside a manifest, which is a path or an address in S3."""
    from nightshift.store import FileStore, StoredParts
    from nightshift.store.backups import MANIFEST

    folder, _, name = file.rpartition("/")
    if name != MANIFEST:
        raise RefusedError(f"{file} is not a backup: give its {MANIFEST}")
    if not file.startswith("s3://"):
        return Folder(Path(folder or "."))
    address = urlsplit(folder)
    return StoredParts(FileStore(address.netloc), f"{address.path.strip('/')}/")


def newest_owed(file: str) -> "list[dict[str, str]]":
    """What must be repeated after a restore, from the newest backup in this folder or in one beside it."""
    from nightshift.store import FileStore, read_manifest
    from nightshift.store.backups import MANIFEST
    from nightshift.store.restoring import owed_in

    if file.startswith("s3://"):
        address = urlsplit(file)
        beside = PurePosixPath(address.path).parent.parent
        pages = FileStore(address.netloc).pages(f"{beside}/".lstrip("/"))
        names = [found.key for page in pages for found in page if found.key.endswith(f"/{MANIFEST}")]
        newest = f"s3://{address.netloc}/{max(names)}"
    else:
        newest = str(max(Path(file).resolve().parent.parent.glob(f"*/{MANIFEST}")))
    parts = parts_of(newest)
    manifest = read_manifest(parts)
    return owed_in(manifest, parts)

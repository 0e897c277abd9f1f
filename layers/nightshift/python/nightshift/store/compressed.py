"""Compressed files in the file store, one row per line: written as a stream, and read back to check them.

Rows go through the compressor to the store in parts; nothing is held in memory.
"""

import gzip
import hashlib
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from nightshift.store.files import FileStore

COMPRESSION = 3  # level 6 takes twice the time and saves a twentieth of the size


class DamagedError(ValueError):
    """What was read is not a complete compressed file. The message completes "the file is …"."""


@dataclass(frozen=True)
class Contents:
    """What a file holds. Size and digest are of the compressed file; the digest is in hexadecimal digits."""

    rows: int
    bytes: int
    sha256: str


class _Stored:
    """Passes compressed bytes on to the store, and measures their size and digest."""

    def __init__(self, target: Any) -> None:
        self._target = target
        self.digest = hashlib.sha256()
        self.bytes = 0

    def write(self, content: bytes) -> int:
        self.digest.update(content)
        self.bytes += len(content)
        self._target.write(content)
        return len(content)

    def flush(self) -> None:
        """Does nothing. The compressor calls this."""


class Rows:
    """A file that is being written. Takes rows that end in a line feed and have none inside, in pieces of any size."""

    def __init__(self, compressed: gzip.GzipFile, stored: _Stored) -> None:
        self._compressed, self._stored = compressed, stored
        self._number = 0

    def write(self, content: bytes) -> None:
        self._number += content.count(b"\n")
        self._compressed.write(content)

    @property
    def contents(self) -> Contents:
        """What was written. Known when the block of `writing` has ended."""
        return Contents(self._number, self._stored.bytes, self._stored.digest.hexdigest())


@contextmanager
def writing(files: FileStore, key: str) -> Iterator[Rows]:
    """Create or replace a file row by row. The file exists when the block has ended without an exception.

    Raises:
        FileStoreError: the store refused.
    """
    with files.writing(key, content_type="application/gzip") as target:
        stored = _Stored(target)
        # No name and no time inside: the same rows make the same bytes.
        with gzip.GzipFile(filename="", mode="wb", fileobj=stored, mtime=0, compresslevel=COMPRESSION) as compressed:
            yield Rows(compressed, stored)


def rows_of(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """The rows in a file's bytes, a piece at a time.

    Raises:
        DamagedError: the bytes are not a complete compressed file.
    """
    gunzip = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)
    for chunk in chunks:
        try:
            piece = gunzip.decompress(chunk)
        except zlib.error as error:
            raise DamagedError(f"damaged ({error})") from None
        if piece:
            yield piece
    if not gunzip.eof:
        raise DamagedError("cut off")


def contents_of(chunks: Iterable[bytes]) -> Contents:
    """What a file holds, found by decompressing it.

    Raises:
        DamagedError: the bytes are not a complete compressed file.
    """
    digest, size = hashlib.sha256(), 0

    def noted() -> Iterator[bytes]:
        nonlocal size
        for chunk in chunks:
            digest.update(chunk)
            size += len(chunk)
            yield chunk

    rows = sum(piece.count(b"\n") for piece in rows_of(noted()))
    return Contents(rows, size, digest.hexdigest())

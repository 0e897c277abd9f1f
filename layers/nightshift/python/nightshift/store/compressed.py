"""Compressed files of the file store, a row a line: written as a stream, and read back to see that they have arrived.

Nothing is held in memory: what is written goes through the compressor to the store in parts.
"""

import gzip
import hashlib
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from nightshift.store.files import FileStore

COMPRESSION = 3  # level 6 takes twice the time for a twentieth of the size


class DamagedError(ValueError):
    """What was read is no whole compressed file. The message completes "the file is …"."""


@dataclass(frozen=True)
class Contents:
    """What a file holds. Bytes and digest are those of the compressed file, the digest as hexadecimal digits."""

    rows: int
    bytes: int
    sha256: str


class _Stored:
    """Passes compressed bytes on to the store, and tells their number and digest."""

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
        """Nothing to do. What wraps files calls this."""


class Rows:
    """A file that is being written. Takes rows, each with a line feed at its end and none within, cut anywhere."""

    def __init__(self, compressed: gzip.GzipFile, stored: _Stored) -> None:
        self._compressed, self._stored = compressed, stored
        self._number = 0

    def write(self, content: bytes) -> None:
        self._number += content.count(b"\n")
        self._compressed.write(content)

    @property
    def contents(self) -> Contents:
        """What was written, once the block of `writing` has ended."""
        return Contents(self._number, self._stored.bytes, self._stored.digest.hexdigest())


@contextmanager
def writing(files: FileStore, key: str) -> Iterator[Rows]:
    """Create or replace a file row by row. It exists when the block has ended without an exception.

    Raises:
        FileStoreError: the store refused.
    """
    with files.writing(key, content_type="application/gzip") as target:
        stored = _Stored(target)
        # Without a name and a time in it, the same rows make the same bytes.
        with gzip.GzipFile(filename="", mode="wb", fileobj=stored, mtime=0, compresslevel=COMPRESSION) as compressed:
            yield Rows(compressed, stored)


def rows_of(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """The rows in a file's bytes, a piece at a time.

    Raises:
        DamagedError: it is no compressed file, or not a whole one.
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
    """What a file holds, told by taking it apart again.

    Raises:
        DamagedError: it is no compressed file, or not a whole one.
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

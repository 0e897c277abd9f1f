"""Sealed values: texts that are encrypted for one row of one user.

A sealed value reads `NS1:<data key>:<base64 of nonce and ciphertext>`: AES-256-GCM, bound to its user, table and row,
so a value that is copied to another row cannot be opened there. A value that starts with `ZK1:` was encrypted on the
user's own device; nobody else can open it."""

import os
import re
from base64 import b64decode, b64encode
from uuid import UUID

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from nightshift.store import DataKeys

SEALED = re.compile(r"NS1:(\d{1,9}):([A-Za-z0-9+/]+={0,2})", re.ASCII)
NONCE_BYTES = 12


class Unreadable(Exception):  # noqa: N818 - an answer and not an error
    """The value cannot be opened, or does not fit its column."""


class Sealer:
    """Seals texts with the current data key."""

    def __init__(self, keys: DataKeys) -> None:
        self._keys = keys
        self._ciphers: dict[int, AESGCM] = {}

    def seal(self, user_id: UUID | str, table: str, row_id: UUID | str, plaintext: str) -> str:
        """The text, sealed for one row of a user. The same text gives a different ciphertext each time."""
        key_id = self._keys.current
        nonce = os.urandom(NONCE_BYTES)
        ciphertext = self._cipher(key_id).encrypt(nonce, plaintext.encode(), _place(user_id, table, row_id))
        return f"NS1:{key_id}:{b64encode(nonce + ciphertext).decode()}"

    def _open(self, user_id: UUID, table: str, row_id: UUID, sealed: str) -> str:
        parts = SEALED.fullmatch(sealed)
        if parts is None or int(parts[1]) not in self._keys:
            raise Unreadable
        cipher = self._cipher(int(parts[1]))
        try:
            content = b64decode(parts[2], validate=True)
            place = _place(user_id, table, row_id)
            return cipher.decrypt(content[:NONCE_BYTES], content[NONCE_BYTES:], place).decode()
        except (InvalidTag, ValueError):
            raise Unreadable from None

    def _cipher(self, key_id: int) -> AESGCM:
        if key_id not in self._ciphers:
            self._ciphers[key_id] = AESGCM(self._keys[key_id])
        return self._ciphers[key_id]


def _place(user_id: UUID | str, table: str, row_id: UUID | str) -> bytes:
    return f"{user_id}|{table}|{row_id}".encode()

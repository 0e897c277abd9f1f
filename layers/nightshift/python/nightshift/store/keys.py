"""Data keys, which encrypt sealed columns (envelope encryption).

AWS KMS makes a data key and returns it encrypted under a KMS key that never leaves KMS. So the data key can be stored
in the database beside the data. Only a function that may ask KMS to decrypt it can read what it sealed.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from sqlalchemy import select
from sqlalchemy.orm import Session

from nightshift.errors import SettingError
from nightshift.store.tables import DataKey

if TYPE_CHECKING:
    from mypy_boto3_kms import KMSClient


@dataclass(frozen=True)
class KeyService:
    """A key of AWS KMS that encrypts data keys. Every call has a time limit."""

    kms_key: str

    @cached_property
    def _client(self) -> "KMSClient":
        import boto3  # imported where it is used: it takes a third of a second
        from botocore.config import Config

        config = Config(connect_timeout=3, read_timeout=10, retries={"total_max_attempts": 3, "mode": "standard"})
        return boto3.client("kms", config=config)

    def make(self, key_id: int) -> bytes:
        """A new data key for AES-256, encrypted. Not even the caller sees it in plain form."""
        answer = self._client.generate_data_key_without_plaintext(
            KeyId=self.kms_key, KeySpec="AES_256", EncryptionContext=_context(key_id)
        )
        return answer["CiphertextBlob"]

    def decrypt(self, key_id: int, encrypted: bytes) -> bytes:
        answer = self._client.decrypt(KeyId=self.kms_key, CiphertextBlob=encrypted, EncryptionContext=_context(key_id))
        return answer["Plaintext"]


class DataKeys:
    """The data keys by number. Each is decrypted when it is first needed, and kept as long as this object lives."""

    def __init__(self, encrypted: Mapping[int, bytes], decrypt: Callable[[int, bytes], bytes]) -> None:
        self._encrypted = encrypted
        self._decrypt = decrypt
        self._plain: dict[int, bytes] = {}

    @classmethod
    def stored(cls, session: Session, service: KeyService) -> "DataKeys":
        """The data keys of the database."""
        return cls(dict(session.execute(select(DataKey.key_id, DataKey.encrypted_key)).all()), service.decrypt)

    @classmethod
    def plain(cls, *keys: bytes) -> "DataKeys":
        """Keys of 32 bytes in plain form, numbered from 1: for tests and demo data."""
        return cls(dict(enumerate(keys, 1)), lambda _, key: key)

    @property
    def current(self) -> int:
        """The number of the key that seals.

        Raises:
            SettingError: there is no data key yet.
        """
        if not self._encrypted:
            raise SettingError("there is no data key: deploy again; the migration makes one")
        return max(self._encrypted)

    def __contains__(self, key_id: int) -> bool:
        return key_id in self._encrypted

    def __getitem__(self, key_id: int) -> bytes:
        if key_id not in self._plain:
            self._plain[key_id] = self._decrypt(key_id, self._encrypted[key_id])
        return self._plain[key_id]


def add_data_key(session: Session, service: KeyService) -> int:
    """Make the next data key, which seals from now on. Older keys still open what they sealed. Returns its number."""
    key_id = max(session.scalars(select(DataKey.key_id)), default=0) + 1
    session.add(DataKey(key_id=key_id, encrypted_key=service.make(key_id)))
    session.flush()
    return key_id


def _context(key_id: int) -> dict[str, str]:
    """The encryption context that KMS checks and logs: a key that was moved to another number does not decrypt."""
    return {"nightshift:data-key": str(key_id)}

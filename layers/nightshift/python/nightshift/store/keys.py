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
    """The keys of AWS KMS that encrypt data keys. Every call has a time limit."""

    kms_key: str
    """ARNs with a space between them. The first encrypts new data keys; data keys of the others are opened."""

    @property
    def known(self) -> list[str]:
        """The keys that may be asked."""
        return self.kms_key.split()

    @property
    def sealing(self) -> str:
        """The key that encrypts new data keys."""
        return self.known[0]

    def refuse_unknown(self, key_id: int, sealed_by: str | None) -> None:
        """Refuse a data key that this deployment cannot open, before anything is done with it.

        Raises:
            SettingError: another KMS key encrypted it. Nothing that it sealed can be opened here.
        """
        if sealed_by is not None and sealed_by not in self.known:
            raise SettingError(
                f"data key {key_id} was encrypted under {sealed_by}, which this deployment does not know: give that "
                "key as the setting kms_key_arn, and deploy again (docs/undeploying.md)"
            )

    @cached_property
    def _client(self) -> "KMSClient":
        import boto3  # imported where it is used: it takes a third of a second
        from botocore.config import Config

        config = Config(connect_timeout=3, read_timeout=10, retries={"total_max_attempts": 3, "mode": "standard"})
        return boto3.client("kms", config=config)

    def make(self, key_id: int) -> bytes:
        """A new data key for AES-256, encrypted. Not even the caller sees it in plain form."""
        answer = self._client.generate_data_key_without_plaintext(
            KeyId=self.sealing, KeySpec="AES_256", EncryptionContext=_context(key_id)
        )
        return answer["CiphertextBlob"]

    def decrypt(self, key_id: int, encrypted: bytes, sealed_by: str | None = None) -> bytes:
        """A data key in plain form. `sealed_by`: the KMS key that encrypted it; without it KMS finds out.

        Raises:
            SettingError: that KMS key is none of this deployment's.
        """
        self.refuse_unknown(key_id, sealed_by)
        context = _context(key_id)
        if sealed_by is None:
            return self._client.decrypt(CiphertextBlob=encrypted, EncryptionContext=context)["Plaintext"]
        answer = self._client.decrypt(KeyId=sealed_by, CiphertextBlob=encrypted, EncryptionContext=context)
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
        rows = session.execute(select(DataKey.key_id, DataKey.encrypted_key, DataKey.kms_key)).all()
        sealed_by = {row.key_id: row.kms_key for row in rows}
        return cls(
            {row.key_id: row.encrypted_key for row in rows},
            lambda key_id, encrypted: service.decrypt(key_id, encrypted, sealed_by[key_id]),
        )

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

    def __bool__(self) -> bool:
        """Whether there is any."""
        return bool(self._encrypted)

    def __contains__(self, key_id: int) -> bool:
        return key_id in self._encrypted

    def __getitem__(self, key_id: int) -> bytes:
        if key_id not in self._plain:
            self._plain[key_id] = self._decrypt(key_id, self._encrypted[key_id])
        return self._plain[key_id]


def add_data_key(session: Session, service: KeyService) -> int:
    """Make the next data key, which seals from now on. Older keys still open what they sealed. Returns its number."""
    key_id = max(session.scalars(select(DataKey.key_id)), default=0) + 1
    session.add(DataKey(key_id=key_id, encrypted_key=service.make(key_id), kms_key=service.sealing))
    session.flush()
    return key_id


def keep_data_keys(session: Session, service: KeyService) -> None:
    """See that there is a data key which the first of the KMS keys encrypted, and that all others can be opened.

    Data keys are only added: what one has sealed could not be opened without it.

    Raises:
        SettingError: a data key was encrypted under a KMS key that this deployment does not know.
    """
    found = session.execute(select(DataKey.key_id, DataKey.kms_key).order_by(DataKey.key_id)).all()
    for key_id, sealed_by in found:
        service.refuse_unknown(key_id, sealed_by)
    if not found or found[-1].kms_key not in (None, service.sealing):
        add_data_key(session, service)


def _context(key_id: int) -> dict[str, str]:
    """The encryption context that KMS checks and logs: a key that was moved to another number does not decrypt."""
    return {"nightshift:data-key": str(key_id)}

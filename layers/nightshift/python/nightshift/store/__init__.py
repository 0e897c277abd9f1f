"""What is stored outside the database: files, backups, snapshots, and the service behind data keys."""

from typing import TYPE_CHECKING

from nightshift.faces import face

if TYPE_CHECKING:
    from nightshift.store.backups import BackupError as BackupError, Parts as Parts, StoredParts as StoredParts
    from nightshift.store.compressed import Contents as Contents
    from nightshift.store.files import FileStore as FileStore, FileStoreError as FileStoreError
    from nightshift.store.keys import (
        DataKeys as DataKeys,
        KeyService as KeyService,
        add_data_key as add_data_key,
        keep_data_keys as keep_data_keys,
    )
    from nightshift.store.restoring import Restored as Restored, read_manifest as read_manifest
    from nightshift.store.snapshots import SnapshotError as SnapshotError, Snapshots as Snapshots
    from nightshift.store.tables import Backup as Backup, DataKey as DataKey

__getattr__ = face(
    __name__,
    backups="BackupError Parts StoredParts",
    compressed="Contents",
    files="FileStore FileStoreError",
    keys="DataKeys KeyService add_data_key keep_data_keys",
    restoring="Restored read_manifest",
    snapshots="SnapshotError Snapshots",
    tables="Backup DataKey",
)

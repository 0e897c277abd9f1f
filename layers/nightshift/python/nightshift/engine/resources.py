"""What a step can use besides the database. Each is imported and made when it is first used: most jobs need none."""

import os
from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING

from nightshift.environment import (
    CLUSTER_VARIABLE,
    FILES_PREFIX_VARIABLE,
    FILES_VARIABLE,
    INSTANCE_VARIABLE,
    KMS_KEY_VARIABLE,
)
from nightshift.errors import SettingError

if TYPE_CHECKING:
    from nightshift.store import FileStore, KeyService, Snapshots


class Resources:
    """The resources of one function, from its environment."""

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        self._environment = environment

    @cached_property
    def files(self) -> "FileStore":
        """The file store.

        Raises:
            SettingError: the function was deployed without one, because its job declares neither `needs={"files"}` nor
                `needs={"application_files"}`.
        """
        from nightshift.store import FileStore

        return FileStore(self._required(FILES_VARIABLE), self._environment.get(FILES_PREFIX_VARIABLE, ""))

    @cached_property
    def keys(self) -> "KeyService":
        """The KMS key that opens the data keys.

        Raises:
            SettingError: the function was deployed without one, because its job does not declare `needs={"keys"}`.
        """
        from nightshift.store import KeyService

        return KeyService(self._required(KMS_KEY_VARIABLE))

    @cached_property
    def snapshots(self) -> "Snapshots | None":
        """The snapshots of the database, if it runs on RDS; otherwise None."""
        from nightshift.store import Snapshots

        if cluster := self._environment.get(CLUSTER_VARIABLE):
            return Snapshots(cluster, cluster=True)
        instance = self._environment.get(INSTANCE_VARIABLE)
        return Snapshots(instance) if instance else None

    def _required(self, variable: str) -> str:
        value = self._environment.get(variable)
        if not value:
            raise SettingError(f"{variable} is not set: the job must declare what it needs, or the setting is missing")
        return value

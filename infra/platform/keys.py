"""The KMS keys under which data keys are encrypted."""

from aws_cdk import Stack, aws_kms as kms

from infra.retention import where_data_is
from infra.settings import Settings
from infra.shared import KEYS, share


def of_data_keys(settings: Settings) -> dict[str, list[str]]:
    """A condition: the encryption context that every data key is made and opened with, see `nightshift.store.keys`.

    A KMS key that others use as well opens nothing else for these functions. The local AWS does not tell its policies
    the context.
    """
    return {} if settings.architecture == "local" else {"kms:EncryptionContextKeys": ["nightshift:data-key"]}


def keys_of_data_keys(scope: Stack, settings: Settings) -> list[str]:
    """The ARNs of the keys that may have encrypted a data key; the first encrypts the next one.

    The deployment's own key is there whatever jobs are: it stays when the last job that needs it is dropped, so that
    what is sealed can be opened when that job comes back.
    """
    key = kms.Key(
        scope,
        "Keys",
        description="Nightshift: encrypts the data keys of sealed columns",
        enable_key_rotation=True,
        removal_policy=where_data_is(settings),
    )
    share(scope, KEYS, key.key_arn)
    given = [settings.kms_key_arn] if settings.kms_key_arn else []
    return [*given, key.key_arn]

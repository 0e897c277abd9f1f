"""The KMS key under which data keys are encrypted."""

from aws_cdk import CfnOutput, RemovalPolicy, aws_kms as kms
from constructs import Construct

KEYS_EXPORT = "nightshift-kms-key-arn"


def key_of_data_keys(scope: Construct) -> kms.Key:
    """A key that outlives the stack: nothing sealed could be opened without it."""
    key = kms.Key(
        scope,
        "Keys",
        description="Nightshift: encrypts the data keys of sealed columns",
        enable_key_rotation=True,
        removal_policy=RemovalPolicy.RETAIN,
    )
    CfnOutput(scope, "KmsKeyArn", value=key.key_arn, export_name=KEYS_EXPORT)
    return key

"""The file store: archives, exports and reports."""

from aws_cdk import Duration, Stack, aws_s3 as s3

from infra.nag import acknowledge
from infra.retention import where_data_is
from infra.settings import Settings
from infra.shared import FILES, FILES_NAME, share


def file_store(scope: Stack, settings: Settings) -> s3.Bucket:
    """A private bucket that outlives the stack, unless the settings say otherwise."""
    bucket = s3.Bucket(
        scope,
        "Files",
        encryption=s3.BucketEncryption.S3_MANAGED,
        block_public_access=s3.BlockPublicAccess.BLOCK_ALL,
        enforce_ssl=True,
        versioned=True,
        removal_policy=where_data_is(settings),
        auto_delete_objects=None if settings.retain else True,
        lifecycle_rules=[
            s3.LifecycleRule(
                noncurrent_version_expiration=Duration.days(30),
                abort_incomplete_multipart_upload_after=Duration.days(7),
            ),
            # A person's export does not outlive the person for a month; what erases it deletes old versions itself.
            s3.LifecycleRule(prefix="exports/", noncurrent_version_expiration=Duration.days(1)),
        ],
    )
    acknowledge(bucket, "S1", "private to the functions; who wrote and deleted what stands in the ledger")
    share(scope, FILES, bucket.bucket_arn)
    share(scope, FILES_NAME, bucket.bucket_name)
    return bucket

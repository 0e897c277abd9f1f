"""The file store: archives, exports and reports."""

from aws_cdk import CfnOutput, Duration, RemovalPolicy, aws_s3 as s3
from constructs import Construct

from infra.nag import acknowledge

FILES_EXPORT = "nightshift-files-bucket-arn"


def file_store(scope: Construct) -> s3.Bucket:
    """A private bucket that outlives the stack."""
    bucket = s3.Bucket(
        scope,
        "Files",
        encryption=s3.BucketEncryption.S3_MANAGED,
        block_public_access=s3.BlockPublicAccess.BLOCK_ALL,
        enforce_ssl=True,
        versioned=True,
        removal_policy=RemovalPolicy.RETAIN,
        lifecycle_rules=[
            s3.LifecycleRule(
                noncurrent_version_expiration=Duration.days(30),
                abort_incomplete_multipart_upload_after=Duration.days(7),
            )
        ],
    )
    acknowledge(bucket, "S1", "private to the functions; who wrote and deleted what stands in the ledger")
    CfnOutput(scope, "FilesBucketArn", value=bucket.bucket_arn, export_name=FILES_EXPORT)
    return bucket

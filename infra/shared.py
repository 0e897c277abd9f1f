"""What packs get from the platform's stack.

They read its outputs and import no exports: CloudFormation does not let go of an export while another stack imports it,
so that a job, a pack or a database could never be taken out again. Where one pack needs something and another does not,
the output is there all the same.
"""

from aws_cdk import CfnOutput, Fn, Stack

FILES = "FilesBucketArn"
FILES_NAME = "FilesBucketName"
KEYS = "KmsKeyArn"
CLUSTER = "ClusterIdentifier"


def share(stack: Stack, output: str, value: str) -> None:
    """Write a value of the platform's into its outputs."""
    CfnOutput(stack, output, value=value)


def shared(platform: Stack, output: str) -> str:
    """That value, as another stack reads it."""
    return Fn.get_stack_output(platform.stack_name, output)

"""What outlives a deployment."""

from aws_cdk import CfnResource, RemovalPolicy
from constructs import IConstruct

from infra.settings import Settings


def where_data_is(settings: Settings) -> RemovalPolicy:
    """For a resource that holds data. A try that fails while it makes the resource takes it away again in any case."""
    return RemovalPolicy.RETAIN_ON_UPDATE_OR_DELETE if settings.retain else RemovalPolicy.DESTROY


def keep_all(construct: IConstruct) -> None:
    """Keep every resource of a construct at `destroy`: what stands around a database that stays cannot go."""
    for each in construct.node.find_all():
        if CfnResource.is_cfn_resource(each):
            assert isinstance(each, CfnResource)
            each.apply_removal_policy(RemovalPolicy.RETAIN_ON_UPDATE_OR_DELETE)

"""How functions reach the database: an existing one, or a new Aurora cluster in a network of its own."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from aws_cdk import Aws, Duration, RemovalPolicy, aws_ec2 as ec2, aws_iam as iam, aws_rds as rds
from constructs import Construct

from infra.nag import acknowledge
from infra.settings import ExistingDatabase, Network, NewDatabase
from nightshift.environment import CLUSTER_VARIABLE, INSTANCE_VARIABLE
from nightshift.store.snapshots import PREFIX


@dataclass(frozen=True)
class Placement:
    """The network in which functions stand."""

    vpc: ec2.IVpc
    subnets: ec2.SubnetSelection
    security_groups: Sequence[ec2.ISecurityGroup]


@dataclass(frozen=True)
class RdsDatabase:
    """What RDS calls the database, for the snapshots that a job asks it for."""

    identifier: str
    cluster: bool

    @property
    def environment(self) -> dict[str, str]:
        return {CLUSTER_VARIABLE if self.cluster else INSTANCE_VARIABLE: self.identifier}

    @property
    def actions(self) -> list[str]:
        """To take, follow and delete snapshots, and to restore none of them."""
        kind = "DBClusterSnapshot" if self.cluster else "DBSnapshot"
        return [f"rds:Create{kind}", f"rds:Delete{kind}", f"rds:Describe{kind}s", "rds:AddTagsToResource"]

    @property
    def resources(self) -> list[str]:
        """This database, and snapshots that bear Nightshift's name."""
        database = f"{'cluster' if self.cluster else 'db'}:{self.identifier}"
        return [f"arn:{Aws.PARTITION}:rds:{Aws.REGION}:{Aws.ACCOUNT_ID}:{each}" for each in (database, self.snapshots)]

    @property
    def snapshots(self) -> str:
        """The end of the snapshots' ARNs."""
        return f"{'cluster-snapshot' if self.cluster else 'snapshot'}:{PREFIX}*"


@dataclass(frozen=True)
class DatabaseAccess:
    """What a function needs to connect: the setting, the grant and the network."""

    connection: Mapping[str, Any]
    """See `nightshift.database.DatabaseSettings.from_mapping`."""
    grant: iam.PolicyStatement | None
    """None for a server that asks for no proof, such as the local one behind its socket."""
    placement: Placement | None
    rds: RdsDatabase | None = None
    """None where it is not known to be one of RDS: then nobody takes snapshots of it."""


def existing_database(scope: Construct, database: ExistingDatabase, network: Network | None) -> DatabaseAccess:
    """Access to a database that is there already."""
    connection = database.connection
    placement = _existing_network(scope, network) if network is not None else None
    known = database.rds_cluster or database.rds_instance
    rds_database = RdsDatabase(known, cluster=database.rds_cluster is not None) if known else None
    if "secret_arn" in connection:
        return DatabaseAccess(connection, _read_secret(connection["secret_arn"]), placement, rds_database)
    user = database.connects_as
    if database.resource_id is not None and user is not None:
        grant = _connect_as(connection["iam_region"], database.resource_id, user)
        return DatabaseAccess(connection, grant, placement, rds_database)
    return DatabaseAccess(connection, None, placement, rds_database)


def _existing_network(scope: Construct, network: Network) -> Placement:
    subnets = [
        ec2.Subnet.from_subnet_id(scope, f"Subnet{number}", subnet_id)
        for number, subnet_id in enumerate(network.subnet_ids, start=1)
    ]
    groups = [
        ec2.SecurityGroup.from_security_group_id(scope, f"SecurityGroup{number}", group_id, mutable=False)
        for number, group_id in enumerate(network.security_group_ids, start=1)
    ]
    # Named by its ids, never looked up: a synth needs no account. The zone is asked for, and used for nothing.
    vpc = ec2.Vpc.from_vpc_attributes(scope, "Vpc", vpc_id=network.vpc_id, availability_zones=["unused"])
    return Placement(vpc, ec2.SubnetSelection(subnets=subnets), groups)


class NewCluster(Construct):
    """An Aurora PostgreSQL Serverless v2 cluster without a way in or out but the functions' own.

    Functions connect as one user of their own with IAM tokens. The owner's password is made and rotated by RDS; only
    the migration reads it, to make that user.
    """

    def __init__(
        self,
        scope: Construct,
        identity: str,
        database: NewDatabase,
        *,
        keys: bool,
        mails: bool,
        snapshots: bool,
    ) -> None:
        """Whether anything in this network asks KMS (`keys`), SES (`mails`), RDS (`snapshots`)."""
        super().__init__(scope, identity)
        isolated = ec2.SubnetConfiguration(name="isolated", subnet_type=ec2.SubnetType.PRIVATE_ISOLATED, cidr_mask=24)
        vpc = ec2.Vpc(self, "Vpc", max_azs=2, nat_gateways=0, subnet_configuration=[isolated])
        acknowledge(vpc, "VPC7", "no route leads in or out of this network, so there is no foreign traffic to log")
        subnets = ec2.SubnetSelection(subnet_type=ec2.SubnetType.PRIVATE_ISOLATED)
        functions = ec2.SecurityGroup(self, "Functions", vpc=vpc, description="Nightshift functions")
        self._endpoints(vpc, subnets, functions, keys=keys, mails=mails, snapshots=snapshots)
        self.cluster = rds.DatabaseCluster(
            self,
            "Cluster",
            engine=rds.DatabaseClusterEngine.aurora_postgres(version=rds.AuroraPostgresEngineVersion.VER_18_4),
            writer=rds.ClusterInstance.serverless_v2("writer"),
            serverless_v2_min_capacity=database.min_capacity,
            serverless_v2_max_capacity=database.max_capacity,
            default_database_name=database.name,
            credentials=rds.Credentials.from_username("postgres"),
            manage_master_user_password=True,
            iam_authentication=True,
            storage_encrypted=True,
            backup=rds.BackupProps(retention=Duration.days(7)),
            deletion_protection=True,
            removal_policy=RemovalPolicy.SNAPSHOT,
            vpc=vpc,
            vpc_subnets=subnets,
        )
        self.cluster.connections.allow_default_port_from(functions, "Nightshift functions")
        host, name = self.cluster.cluster_endpoint.hostname, database.name
        placement = Placement(vpc, subnets, [functions])
        secret = self.cluster.secret
        assert secret is not None  # RDS manages it
        self.owner = DatabaseAccess(
            {"secret_arn": secret.secret_arn, "host": host, "name": name}, _read_secret(secret.secret_arn), placement
        )
        """For the migration alone: the user who may make other users."""
        self.access = DatabaseAccess(
            {"host": host, "name": name, "user": database.user, "iam_region": Aws.REGION},
            _connect_as(Aws.REGION, self.cluster.cluster_resource_identifier, database.user),
            placement,
            RdsDatabase(self.cluster.cluster_identifier, cluster=True),
        )

    def _endpoints(
        self,
        vpc: ec2.Vpc,
        subnets: ec2.SubnetSelection,
        functions: ec2.SecurityGroup,
        *,
        keys: bool,
        mails: bool,
        snapshots: bool,
    ) -> None:
        """The AWS APIs that functions call from inside. Logs, metrics and destinations do not pass through the VPC."""
        group = ec2.SecurityGroup(self, "Endpoints", vpc=vpc, allow_all_outbound=False, description="AWS APIs")
        group.connections.allow_from(functions, ec2.Port.HTTPS, "Nightshift functions")
        services = ec2.InterfaceVpcEndpointAwsService
        for name, service in (
            ("Lambda", services.LAMBDA_),  # the supervisor invokes
            ("Sqs", services.SQS),  # the supervisor reports final failures
            ("SecretsManager", services.SECRETS_MANAGER),  # the migration reads the owner's password
            ("Sns", services.SNS),  # the dispatcher tells operators
            *((("Ses", services.EMAIL),) if mails else ()),  # and sends mails
            *((("Rds", services.RDS),) if snapshots else ()),  # a job asks for snapshots
            *((("Kms", services.KMS),) if keys else ()),  # the migration and jobs that open sealed columns
        ):
            vpc.add_interface_endpoint(name, service=service, subnets=subnets, security_groups=[group], open=False)
        vpc.add_gateway_endpoint("S3", service=ec2.GatewayVpcEndpointAwsService.S3, subnets=[subnets])


def _read_secret(arn: str) -> iam.PolicyStatement:
    return iam.PolicyStatement(actions=["secretsmanager:GetSecretValue"], resources=[arn])


def _connect_as(region: str, resource_id: str, user: str) -> iam.PolicyStatement:
    database_user = f"arn:{Aws.PARTITION}:rds-db:{region}:{Aws.ACCOUNT_ID}:dbuser:{resource_id}/{user}"
    return iam.PolicyStatement(actions=["rds-db:connect"], resources=[database_user])

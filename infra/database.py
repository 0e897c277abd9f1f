"""How functions reach the database: an existing one, or a new Aurora cluster in a network of its own."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from aws_cdk import Aws, Duration, RemovalPolicy, Stack, aws_ec2 as ec2, aws_iam as iam, aws_rds as rds
from constructs import Construct

from infra.nag import acknowledge
from infra.retention import keep_all, where_data_is
from infra.settings import ExistingDatabase, Network, NewDatabase, Settings
from infra.shared import CLUSTER, share, shared
from nightshift.environment import CLUSTER_VARIABLE, INSTANCE_VARIABLE
from nightshift.store.snapshots import prefix


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
    deployment: str
    """Whose snapshots they are, by name."""

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
        return f"{'cluster-snapshot' if self.cluster else 'snapshot'}:{prefix(self.deployment)}*"


@dataclass(frozen=True)
class DatabaseAccess:
    """What a function needs to connect: the setting, the grant and the network."""

    connection: Mapping[str, Any]
    """See `nightshift.database.DatabaseSettings.from_mapping`."""
    grants: Sequence[iam.PolicyStatement]
    """None for a server that asks for no proof, such as the local one behind its socket."""
    placement: Placement | None
    rds: RdsDatabase | None = None
    """None where it is not known to be one of RDS: then nobody takes snapshots of it."""


def existing_database(
    scope: Construct, settings: Settings, database: ExistingDatabase, apis: Sequence[str], ca_file: str | None
) -> DatabaseAccess:
    """Access to a database that is there already.

    apis: the endpoints that its network gets, if it gets any. ca_file: where functions find the settings' one.
    """
    connection = {**database.connection, **({"ca_file": ca_file} if ca_file else {})}
    network, deployment = settings.network, settings.name
    placement = _existing_network(scope, network, apis) if network is not None else None
    known = database.rds_cluster or database.rds_instance
    rds_database = RdsDatabase(known, database.rds_cluster is not None, deployment) if known else None
    if "secret_arn" in connection:
        grants = [_read_secret(connection["secret_arn"])]
        if database.secret_kms_key_arn is not None:
            grants.append(_open_secret(database.secret_kms_key_arn))
        return DatabaseAccess(connection, grants, placement, rds_database)
    user = database.connects_as
    if database.resource_id is not None and user is not None:
        grant = _connect_as(connection["iam_region"], database.resource_id, user)
        return DatabaseAccess(connection, [grant], placement, rds_database)
    return DatabaseAccess(connection, (), placement, rds_database)


def reading_access(access: DatabaseAccess, database: ExistingDatabase) -> DatabaseAccess | None:
    """How the console gets to the same database as a user of its own; None where the settings name none."""
    connection = database.console_connection
    if connection is None or database.console_user is None:
        return None
    connection = {**access.connection, **connection, "ca_file": access.connection.get("ca_file")}
    grants: list[iam.PolicyStatement] = []
    if database.console_secret_arn is not None:
        grants.append(_read_secret(database.console_secret_arn))
        if database.secret_kms_key_arn is not None:
            grants.append(_open_secret(database.secret_kms_key_arn))
    elif database.resource_id is not None:
        grants.append(_connect_as(connection["iam_region"], database.resource_id, database.console_user))
    known = {key: value for key, value in connection.items() if value is not None}
    return DatabaseAccess(known, grants, access.placement)


def _existing_network(scope: Construct, network: Network, apis: Sequence[str]) -> Placement:
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
    chosen = ec2.SubnetSelection(subnets=subnets)
    if network.endpoints:
        make_endpoints(Construct(scope, "Network"), vpc, chosen, groups, apis, route_tables=network.route_table_ids)
    return Placement(vpc, chosen, groups)


class NewCluster(Construct):
    """An Aurora PostgreSQL Serverless v2 cluster without a way in or out but the functions' own and the Data API.

    Functions connect as one user of their own with IAM tokens. The owner's password is made and rotated by RDS; only
    the migration reads it, to make that user.
    """

    def __init__(
        self, scope: Stack, identity: str, database: NewDatabase, *, settings: Settings, apis: Sequence[str]
    ) -> None:
        """`apis`: the endpoints that functions need in this network, see `infra.apis.endpoints`."""
        super().__init__(scope, identity)
        isolated = ec2.SubnetConfiguration(name="isolated", subnet_type=ec2.SubnetType.PRIVATE_ISOLATED, cidr_mask=24)
        zones = list(database.availability_zones)
        vpc = ec2.Vpc(
            self,
            "Vpc",
            max_azs=None if zones else 2,
            availability_zones=zones or None,
            nat_gateways=0,
            subnet_configuration=[isolated],
        )
        acknowledge(vpc, "VPC7", "no route leads in or out of this network, so there is no foreign traffic to log")
        subnets = ec2.SubnetSelection(subnet_type=ec2.SubnetType.PRIVATE_ISOLATED)
        # Before the endpoints: what is in the VPC by now is kept together with the database.
        if settings.retain:
            keep_all(vpc)
        functions = ec2.SecurityGroup(self, "Functions", vpc=vpc, description="Nightshift functions")
        make_endpoints(self, vpc, subnets, [functions], apis)
        self.cluster = self._cluster(database, vpc, subnets, where_data_is(settings))
        if settings.retain:
            keep_all(self.cluster)
        if not database.deletion_protection:
            acknowledge(
                self.cluster,
                "RDS10",
                "the cluster outlives its stack, see `retain`; protected, a failed first deployment could not be "
                "cleared "
                "away, so `deletion_protection` comes after it",
            )
        self.cluster.connections.allow_default_port_from(functions, "Nightshift functions")
        host, name = self.cluster.cluster_endpoint.hostname, database.name
        placement = Placement(vpc, subnets, [functions])
        secret = self.cluster.secret
        assert secret is not None  # RDS manages it
        share(scope, CLUSTER, self.cluster.cluster_identifier)
        self.owner = DatabaseAccess(
            {"secret_arn": secret.secret_arn, "host": host, "name": name}, [_read_secret(secret.secret_arn)], placement
        )
        """For the migration alone: the user who may make other users."""
        self.access = DatabaseAccess(
            {"host": host, "name": name, "user": database.user, "iam_region": Aws.REGION},
            [_connect_as(Aws.REGION, self.cluster.cluster_resource_identifier, database.user)],
            placement,
            RdsDatabase(shared(scope, CLUSTER), cluster=True, deployment=settings.name),
        )
        self.reading = DatabaseAccess(
            {**self.access.connection, "user": database.console_user},
            [_connect_as(Aws.REGION, self.cluster.cluster_resource_identifier, database.console_user)],
            placement,
        )
        """For the console alone: a user who reads the ledger."""

    def _cluster(
        self, database: NewDatabase, vpc: ec2.IVpc, subnets: ec2.SubnetSelection, removal: RemovalPolicy
    ) -> rds.DatabaseCluster | rds.DatabaseClusterFromSnapshot:
        given: dict[str, Any] = {
            "engine": rds.DatabaseClusterEngine.aurora_postgres(version=rds.AuroraPostgresEngineVersion.VER_18_4),
            "writer": rds.ClusterInstance.serverless_v2("writer"),
            "serverless_v2_min_capacity": database.min_capacity,
            "serverless_v2_max_capacity": database.max_capacity,
            "manage_master_user_password": True,
            "iam_authentication": True,
            "enable_data_api": database.data_api,
            "storage_encrypted": True,
            "backup": rds.BackupProps(retention=Duration.days(7)),
            "deletion_protection": database.deletion_protection,
            "removal_policy": removal,
            "vpc": vpc,
            "vpc_subnets": subnets,
        }
        if database.restore_from is not None:
            # The database, and the owner's name, are those of the snapshot.
            return rds.DatabaseClusterFromSnapshot(self, "Cluster", snapshot_identifier=database.restore_from, **given)
        owner = rds.Credentials.from_username("postgres")
        return rds.DatabaseCluster(self, "Cluster", default_database_name=database.name, credentials=owner, **given)


def make_endpoints(
    scope: Construct,
    vpc: ec2.IVpc,
    subnets: ec2.SubnetSelection,
    functions: Sequence[ec2.ISecurityGroup],
    apis: Sequence[str],
    *,
    route_tables: Sequence[str] = (),
) -> None:
    """The AWS APIs that functions call from inside, see `infra.apis`.

    route_tables: those of the subnets, in a network that is somebody else's; S3's endpoint stands in them.
    """
    group = ec2.SecurityGroup(scope, "Endpoints", vpc=vpc, allow_all_outbound=False, description="AWS APIs")
    for each in functions:
        group.connections.allow_from(each, ec2.Port.HTTPS, "Nightshift functions")
    for api in apis:
        if api == "s3":
            continue
        ec2.InterfaceVpcEndpoint(
            scope,
            api.capitalize(),
            vpc=vpc,
            service=ec2.InterfaceVpcEndpointAwsService(api),
            subnets=subnets,
            security_groups=[group],
            open=False,
        )
    if "s3" in apis:
        its_subnets = [
            ec2.Subnet.from_subnet_attributes(scope, f"RouteTable{number}", subnet_id="unused", route_table_id=each)
            for number, each in enumerate(route_tables, start=1)
        ]
        chosen = ec2.SubnetSelection(subnets=its_subnets) if its_subnets else subnets
        service = ec2.GatewayVpcEndpointAwsService.S3
        ec2.GatewayVpcEndpoint(scope, "S3", vpc=vpc, service=service, subnets=[chosen])


def _read_secret(arn: str) -> iam.PolicyStatement:
    return iam.PolicyStatement(actions=["secretsmanager:GetSecretValue"], resources=[arn])


def _open_secret(key: str) -> iam.PolicyStatement:
    """Secrets Manager opens the secret in the function's name."""
    # In China the services' addresses end otherwise.
    names = [f"secretsmanager.{Aws.REGION}.{suffix}" for suffix in ("amazonaws.com", Aws.URL_SUFFIX)]
    through = {"StringEquals": {"kms:ViaService": names}}
    return iam.PolicyStatement(actions=["kms:Decrypt"], resources=[key], conditions=through)


def _connect_as(region: str, resource_id: str, user: str) -> iam.PolicyStatement:
    database_user = f"arn:{Aws.PARTITION}:rds-db:{region}:{Aws.ACCOUNT_ID}:dbuser:{resource_id}/{user}"
    return iam.PolicyStatement(actions=["rds-db:connect"], resources=[database_user])

"""What a deployment costs in a month, counted in its templates. `python -m infra.cost` writes docs/cost.md.

It synthesizes, which takes its time.
"""

import datetime as dt
import json
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from aws_cdk import App

from infra.app import FLAGS, stacks
from infra.settings import read_settings
from nightshift.declaration import Schedule, registry

FILE = Path(__file__).with_name("prices.json")
TABLE = json.loads(FILE.read_text())
PAGE = Path(__file__).parent.parent / "docs/cost.md"
PRICES: Mapping[str, float] = {name: each["dollars"] for name, each in TABLE["prices"].items()}
ASSUMED: Mapping[str, float] = TABLE["assumed"]
SOURCE = TABLE["source"].partition(",")[0]
HOURS: float = TABLE["hours_a_month"]
MONTH = (dt.datetime(2026, 6, 1, tzinfo=dt.UTC), dt.datetime(2026, 7, 1, tzinfo=dt.UTC))

_SUBNETS = ["subnet-0123456789abcdef0", "subnet-0123456789abcdef1"]
_NETWORK = {
    "vpc_id": "vpc-0123456789abcdef0",
    "subnet_ids": _SUBNETS,
    "security_group_ids": ["sg-0123456789abcdef0"],
}
_SECRET = "arn:aws:secretsmanager:us-east-1:111122223333:secret:application-AbCdEf"  # noqa: S105 - its name
_COMMON = {"sender": "nightshift@example.com", "files_bucket": "application-files", "python": "3.14"}

DEPLOYMENTS: Mapping[str, dict[str, Any]] = {
    "a new Aurora Serverless v2": {"database": {"create": "aurora-serverless-v2"}, **_COMMON},
    "an existing RDS instance behind a secret, without NAT": {
        "database": {"secret_arn": _SECRET, "rds_instance": "application"},
        "network": {**_NETWORK, "endpoints": True, "route_table_ids": ["rtb-0123456789abcdef0"]},
        **_COMMON,
    },
    "an existing Aurora through RDS Proxy, without NAT": {
        "database": {
            "host": "proxy.example.internal",
            "name": "application",
            "user": "nightshift",
            "iam_region": "us-east-1",
            "resource_id": "prx-0123456789abcdef0",
            "rds_cluster": "application",
        },
        "network": {**_NETWORK, "endpoints": True, "route_table_ids": ["rtb-0123456789abcdef0"]},
        **_COMMON,
    },
}
"""The settings whose cost the page totals, by what they are."""


@dataclass(frozen=True)
class Line:
    """One kind of cost: what, how it was counted, and dollars a month."""

    what: str
    counted: str
    dollars: float


def templates(settings: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The templates of a deployment of this project, by stack name."""
    jobs = registry()
    with tempfile.TemporaryDirectory(prefix="nightshift-cost-") as folder:
        app = App(context=FLAGS, outdir=folder, analytics_reporting=False, tree_metadata=False)
        stacks(app, read_settings(settings, jobs), jobs)
        app.synth()
        found = sorted(Path(folder).glob("*.template.json"))
        return {path.name.removesuffix(".template.json"): json.loads(path.read_text()) for path in found}


def lines(found: Mapping[str, Mapping[str, Any]]) -> list[Line]:
    """What the resources of these templates cost. What depends on use alone, like mails and archives, is left out."""
    each = [resource for template in found.values() for resource in template["Resources"].values()]
    calls, gigabyte_seconds = _invocations(each)
    price, told = PRICES, []
    told.append(
        Line(
            "Lambda, requests",
            f"{calls:,.0f} invocations: each rule's schedule, and the watch's question to the console",
            calls / 1_000_000 * price["lambda_million_requests"],
        )
    )
    told.append(
        Line("Lambda, time", f"{gigabyte_seconds:,.0f} GB-seconds", gigabyte_seconds * price["lambda_gb_second_arm64"])
    )
    for what, kind, by in (
        ("CloudWatch alarms", "AWS::CloudWatch::Alarm", "alarm"),
        ("CloudWatch dashboard", "AWS::CloudWatch::Dashboard", "dashboard"),
        ("KMS keys", "AWS::KMS::Key", "kms_key"),
    ):
        number = len([*_of(each, kind)])
        told.append(Line(what, f"{number}, {price[by]:.2f} each", number * price[by]))
    metrics = len(_own_metrics(each))
    told.append(Line("CloudWatch metrics", f"{metrics}, {price['metric']:.2f} each", metrics * price["metric"]))
    told.append(Line("CloudWatch logs", f"about {ASSUMED['log_gb']:g} GB", ASSUMED["log_gb"] * price["log_gb"]))
    told += [*_endpoints(each), *_secrets(each, calls), *_aurora(each)]
    return told


def page() -> str:
    """docs/cost.md."""
    counted = {name: lines(templates(settings)) for name, settings in DEPLOYMENTS.items()}
    totals = [f"| {name} | {sum(line.dollars for line in told):.0f} |" for name, told in counted.items()]
    parts = [
        "<!-- Made by `make docs` from infra/cost.py, infra/prices.json and the synthesized templates. -->",
        "# Cost",
        f"All packs in {TABLE['region']}, in dollars a month, at {SOURCE} of {TABLE['as_of']},\n"
        "before any free tier. Counted in the templates of three deployments, endpoints included. A database that is\n"
        "there already, its proxy and its storage are not counted; a NAT gateway makes the endpoints needless.",
        "\n".join(["| deployment | a month |", "|---|---|", *totals]),
        "What costs is a network without NAT, with an endpoint for each API in each zone, and a new database:\n"
        "a serverless one never pauses, because the supervisor connects every minute.",
    ]
    for name, told in counted.items():
        rows = [f"| {line.what} | {line.counted} | {line.dollars:.2f} |" for line in told]
        total = f"| **total** | | **{sum(line.dollars for line in told):.2f}** |"
        title = name[0].upper() + name[1:]
        parts += [f"## {title}", "\n".join(["| what | how it is counted | dollars |", "|---|---|---|", *rows, total])]
    parts.append(
        f"Assumed: {ASSUMED['seconds_each_minute']:g} second for what runs every minute, "
        f"{ASSUMED['seconds_of_a_job']:g} seconds for a job, arm64. By use, and not counted: mails (0.10 for a "
        "thousand), archives,\nreports and exports in S3, snapshots, what the jobs do in the database, what passes "
        "through an endpoint (0.01 a GB). Each of\nthe first two yearly rotations of the KMS key adds the price of one."
    )
    sources = [
        f"| {each['a']} | {Decimal(str(each['dollars'])):f} | {each['dated']} "
        f"| [{urlsplit(each['source']).netloc}]({each['source']}) |"
        for each in TABLE["prices"].values()
    ]
    parts += [
        "## Prices",
        f"In {TABLE['region']}, looked up on {TABLE['as_of']}, each with the date that its source bears. "
        "`infra/prices.json` has\nthem; change them there for another region, and `make docs` counts anew.",
        "\n".join(["| a | dollars | as of | source |", "|---|---|---|---|", *sources]),
    ]
    return "\n\n".join(parts) + "\n"


def _of(found: Iterable[Mapping[str, Any]], kind: str) -> Iterator[Mapping[str, Any]]:
    return (resource.get("Properties", {}) for resource in found if resource["Type"] == kind)


def _invocations(found: list[Mapping[str, Any]]) -> tuple[float, float]:
    """Of all functions in a month: how many, and their gigabyte-seconds."""
    memory = {
        each.get("FunctionName"): each["MemorySize"]
        for each in _of(found, "AWS::Lambda::Function")
        if "MemorySize" in each
    }
    calls = gigabyte_seconds = 0.0
    for rule in _of(found, "AWS::Events::Rule"):
        if rule.get("State") != "ENABLED":
            continue
        name, expression = rule["Name"], rule["ScheduleExpression"]
        times = len([*Schedule.parse(expression).between(*MONTH)])
        each_minute = expression == "cron(* * * * ? *)"
        seconds = ASSUMED["seconds_each_minute" if each_minute else "seconds_of_a_job"]
        started = [name, f"{name.partition('-')[0]}-console"] if name.endswith("-watch") else [name]
        for function in started:
            calls += times
            gigabyte_seconds += times * seconds * memory[function] / 1024
    return calls, gigabyte_seconds


def _own_metrics(found: list[Mapping[str, Any]]) -> set[str]:
    """The metrics that functions write themselves, as alarms and the dashboard know them."""
    alarms = {
        each["MetricName"] for each in _of(found, "AWS::CloudWatch::Alarm") if each.get("Namespace") == "Nightshift"
    }
    boards = " ".join(json.dumps(each["DashboardBody"]) for each in _of(found, "AWS::CloudWatch::Dashboard"))
    shown = boards.replace('\\"', '"').split('["Nightshift","')[1:]
    return alarms | {each.partition('"')[0] for each in shown}


def _endpoints(found: list[Mapping[str, Any]]) -> Iterator[Line]:
    sizes = [
        len(each["SubnetIds"]) for each in _of(found, "AWS::EC2::VPCEndpoint") if each["VpcEndpointType"] == "Interface"
    ]
    if sizes:
        hourly = sum(sizes) * PRICES["endpoint_hour"]
        yield Line("interface endpoints", f"{len(sizes)}, each in {max(sizes)} zones", hourly * HOURS)


def _secrets(found: list[Mapping[str, Any]], calls: float) -> Iterator[Line]:
    """RDS keeps the owner's password of a new cluster. A secret of an existing database is read at each connection."""
    managed = [each for each in _of(found, "AWS::RDS::DBCluster") if each.get("ManageMasterUserPassword")]
    if managed:
        yield Line("Secrets Manager", f"{len(managed)} secret", len(managed) * PRICES["secret"])
    variables = (each.get("Environment", {}).get("Variables", {}) for each in _of(found, "AWS::Lambda::Function"))
    read = [each for each in variables if "secret_arn" in json.dumps(each.get("NIGHTSHIFT_DATABASE", ""))]
    if read:
        yield Line("Secrets Manager", "one call a connection", calls / 10_000 * PRICES["secret_10000_calls"])


def _aurora(found: list[Mapping[str, Any]]) -> Iterator[Line]:
    for cluster in _of(found, "AWS::RDS::DBCluster"):
        least = cluster["ServerlessV2ScalingConfiguration"]["MinCapacity"]
        yield Line("Aurora, capacity", f"{least:g} ACU at all times, at least", least * HOURS * PRICES["acu_hour"])
        yield Line("Aurora, storage", f"about {ASSUMED['aurora_gb']:g} GB", ASSUMED["aurora_gb"] * PRICES["aurora_gb"])


if __name__ == "__main__":
    PAGE.write_text(page())

"""What docs/cost.md totals is what the templates hold."""

import re
from decimal import Decimal
from urllib.parse import urlsplit

from infra.cost import DEPLOYMENTS, PAGE, PRICES, TABLE, lines, page
from tests.ground.world import packs_in
from tests.infra.conftest import PROJECT, Assembly


def test_the_page_totals_the_templates_of_three_deployments_as_they_are_now() -> None:
    with packs_in(PROJECT / "functions"):  # the project's own jobs, without the shop that stands beside them here
        written = page()

    assert PAGE.read_text() == written, "cost.md is stale: make docs"
    assert len(DEPLOYMENTS) == 3
    assert TABLE["as_of"] in PAGE.read_text()


def test_each_price_has_its_date_and_its_source_and_the_page_shows_both() -> None:
    shown = PAGE.read_text()

    for name, price in TABLE["prices"].items():
        assert PRICES[name] == price["dollars"] > 0
        assert re.fullmatch(r"20\d\d-\d\d|undated", price["dated"]), name
        figure = f"{Decimal(str(price['dollars'])):f}"
        source = f"[{urlsplit(price['source']).netloc}]({price['source']})"
        assert f"| {price['a']} | {figure} | {price['dated']} | {source} |" in shown


def test_endpoints_alarms_and_keys_are_counted_as_they_stand_in_the_templates(
    new: Assembly, existing: Assembly
) -> None:
    for assembly in (new, existing):
        told = {line.what: line.dollars for line in lines(assembly.stacks)}

        alarms = len(assembly.resources("AWS::CloudWatch::Alarm"))
        zones = [
            len(each["SubnetIds"])
            for each in assembly.resources("AWS::EC2::VPCEndpoint").values()
            if each["VpcEndpointType"] == "Interface"
        ]
        assert told["CloudWatch alarms"] == alarms * PRICES["alarm"]
        assert told["KMS keys"] == PRICES["kms_key"]
        assert told.get("interface endpoints", 0) == sum(zones) * PRICES["endpoint_hour"] * 730
        assert ("Aurora, capacity" in told) == (assembly is new)
        assert told["Lambda, requests"] > 0

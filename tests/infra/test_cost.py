"""What docs/cost.md totals is what the templates hold."""

from infra.cost import DEPLOYMENTS, PRICES, TABLE, lines
from infra.docs import COST
from tests.infra.conftest import Assembly


def test_the_page_totals_the_templates_of_three_deployments_as_they_are_now() -> None:
    from infra.cost import page

    assert COST.read_text() == page(), "cost.md is stale: make docs"
    assert len(DEPLOYMENTS) == 3
    assert TABLE["as_of"] in COST.read_text()


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

"""The authorities by which functions know a server of RDS, and RDS Proxy."""

import datetime as dt
import hashlib
import ssl

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from infra.certificates import BUNDLE, certificates, name_of, region_of, wanted, written
from nightshift.database.connection import tls_context

REGIONS = [
    "af-south-1",
    "ap-east-1",
    "ap-east-2",
    "ap-northeast-1",
    "ap-northeast-2",
    "ap-northeast-3",
    "ap-south-1",
    "ap-south-2",
    "ap-southeast-1",
    "ap-southeast-2",
    "ap-southeast-3",
    "ap-southeast-4",
    "ap-southeast-5",
    "ap-southeast-6",
    "ap-southeast-7",
    "ca-central-1",
    "ca-west-1",
    "cn-north-1",
    "cn-northwest-1",
    "eu-central-1",
    "eu-central-2",
    "eu-north-1",
    "eu-south-1",
    "eu-south-2",
    "eu-west-1",
    "eu-west-2",
    "eu-west-3",
    "il-central-1",
    "me-central-1",
    "me-south-1",
    "me-west-1",
    "mx-central-1",
    "sa-east-1",
    "sa-west-1",
    "us-east-1",
    "us-east-2",
    "us-gov-east-1",
    "us-gov-west-1",
    "us-west-1",
    "us-west-2",
]
KINDS_OF_KEY = 3
AMAZON = [f"Amazon Root CA {number}" for number in (1, 2, 3, 4)]
PUBLISHED = {
    "d10db458b3b428b963a764a78694690d3af80616cd047de7ab56db53fb760a4e": [
        "cn-north-1 Root CA RSA4096",
        "cn-northwest-1 Root CA RSA2048",
        "cn-northwest-1 Root CA RSA4096",
        "cn-north-1 Root CA RSA2048",
        "cn-north-1 Root CA ECC384",
        "cn-northwest-1 Root CA ECC384",
    ],
    "694a8e0f4376f3133dbd76732b7644264c8a8f4c17b66d306cbec18aae58e46a": [
        "us-gov-west-1 Root CA RSA2048",
        "us-gov-west-1 Root CA RSA4096",
        "us-gov-west-1 Root CA ECC384",
        "us-gov-east-1 Root CA ECC384",
        "us-gov-east-1 Root CA RSA4096",
        "us-gov-east-1 Root CA RSA2048",
    ],
}
"""SHA-256 of the roots in the bundles of China and GovCloud, in the order in which AWS published them in 2026-09."""
YEARS_AHEAD = dt.timedelta(days=10 * 365)


@pytest.fixture(scope="module")
def bundle() -> list[x509.Certificate]:
    return certificates(BUNDLE.read_bytes())


def test_every_region_has_an_authority_for_each_kind_of_key(bundle: list[x509.Certificate]) -> None:
    found = [region for each in bundle if (region := region_of(each))]

    assert sorted(found) == sorted(REGIONS * KINDS_OF_KEY)


@pytest.mark.parametrize(("digest", "names"), PUBLISHED.items())
def test_authorities_of_other_partitions_are_those_that_aws_publishes(
    bundle: list[x509.Certificate], digest: str, names: list[str]
) -> None:
    by_name = {name_of(each): each for each in bundle}

    published = b"".join(by_name[f"Amazon RDS {name} G1"].public_bytes(serialization.Encoding.PEM) for name in names)

    assert hashlib.sha256(published).hexdigest() == digest


def test_authorities_of_amazon_stand_for_rds_proxy(bundle: list[x509.Certificate]) -> None:
    assert [name_of(each) for each in bundle if region_of(each) is None] == AMAZON


def test_none_is_a_preview_or_ends_within_ten_years(bundle: list[x509.Certificate]) -> None:
    soonest = min(each.not_valid_after_utc for each in bundle)

    assert soonest > dt.datetime.now(dt.UTC) + YEARS_AHEAD, f"{soonest:%Y-%m-%d}: python -m infra.certificates"
    assert not [name_of(each) for each in bundle if "Preview" in name_of(each) or "Beta" in name_of(each)]


def test_each_is_a_root_that_has_signed_itself(bundle: list[x509.Certificate]) -> None:
    for each in bundle:
        each.verify_directly_issued_by(each)
        assert each.extensions.get_extension_for_class(x509.BasicConstraints).value.ca


def test_connections_trust_the_whole_bundle_and_nothing_else(bundle: list[x509.Certificate]) -> None:
    context = tls_context()

    assert context.cert_store_stats()["x509_ca"] == len(bundle)
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)


def _authority(name: str, *, days: int) -> x509.Certificate:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    end = dt.datetime.now(dt.UTC) + dt.timedelta(days=days)
    made = x509.CertificateBuilder(subject, subject, key.public_key(), x509.random_serial_number())
    return made.not_valid_before(end - dt.timedelta(days=900)).not_valid_after(end).sign(key, hashes.SHA256())


def test_a_renewed_bundle_has_what_is_valid_once_and_nothing_of_previews() -> None:
    west = _authority("Amazon RDS us-gov-west-1 Root CA RSA2048 G1", days=400)
    found = [
        west,
        west,
        _authority("Amazon RDS eu-west-1 Root CA ECC384 G1", days=-1),
        _authority("Amazon RDS Preview us-east-2 Root CA RSA2048 G1", days=400),
        _authority("Amazon RDS Root 2019 CA", days=400),
        _authority("Somebody Else", days=400),
    ]

    chosen = wanted(found, dt.datetime.now(dt.UTC))

    assert chosen == [west]
    text = written(chosen)
    assert "us-gov-west-1" in text
    assert certificates(text.encode()) == [west]
    assert west.public_bytes(serialization.Encoding.PEM).decode() in text

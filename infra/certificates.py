"""The certificate authorities by which functions know a server of RDS: what the bundle has, and how it is renewed.

    python -m infra.certificates                        lists the regions of the bundle, and until when each is valid
    python -m infra.certificates global-bundle.pem …    writes the bundle anew from files that AWS publishes

A bundle holds root authorities alone: RDS presents its intermediate ones itself. AWS publishes those of GovCloud and of
China apart from all others, and Amazon's own in a third place: give all files at once.
"""

import datetime as dt
import re
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

BUNDLE = Path(__file__).parent.parent / "layers/nightshift/python/nightshift/database/certificates/rds.pem"

HEADER = """\
# The root authorities of Amazon RDS in every region, GovCloud and China included, and those of Amazon, which RDS Proxy
# uses. Written by `python -m infra.certificates`.
"""

_OF_A_REGION = re.compile(r"Amazon RDS ([a-z]{2}(?:-[a-z]+)+-\d) Root CA (\w+) G\d+")
_OF_AMAZON = re.compile(r"Amazon Root CA \d")
_PEM = re.compile(rb"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)


def certificates(pem: bytes) -> list[x509.Certificate]:
    """Those of a file, in its order. What stands between them is left out."""
    return [x509.load_pem_x509_certificate(each) for each in _PEM.findall(pem)]


def name_of(certificate: x509.Certificate) -> str:
    """Its common name, which tells the region and the kind of key."""
    (name,) = certificate.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
    return str(name.value)


def region_of(certificate: x509.Certificate) -> str | None:
    """The region whose databases it speaks for; None for an authority of Amazon as a whole."""
    found = _OF_A_REGION.fullmatch(name_of(certificate))
    return found[1] if found else None


def wanted(found: Iterable[x509.Certificate], today: dt.datetime) -> list[x509.Certificate]:
    """The root authorities that are valid today, each once, by name. Those of previews, betas and 2019 are left out."""
    chosen = {
        name_of(each): each
        for each in found
        if each.not_valid_after_utc > today
        and (_OF_A_REGION.fullmatch(name_of(each)) or _OF_AMAZON.fullmatch(name_of(each)))
    }
    return [chosen[name] for name in sorted(chosen)]


def written(chosen: Iterable[x509.Certificate]) -> str:
    """The bundle: each certificate below its name and its last day."""
    parts = [
        f"# {name_of(each)}, until {each.not_valid_after_utc:%Y-%m-%d}\n{each.public_bytes(Encoding.PEM).decode()}"
        for each in chosen
    ]
    return HEADER + "".join(parts)


def main(files: Sequence[str]) -> None:
    found = certificates(b"".join(Path(file).read_bytes() for file in files) if files else BUNDLE.read_bytes())
    chosen = wanted(found, dt.datetime.now(dt.UTC))
    if files:
        BUNDLE.write_text(written(chosen))
    regions = sorted({region for each in chosen if (region := region_of(each))})
    for region in regions:
        mine = [each for each in chosen if region_of(each) == region]
        sys.stdout.write(f"{region}  {len(mine)} until {min(each.not_valid_after_utc for each in mine):%Y-%m-%d}\n")
    amazon = [each for each in chosen if region_of(each) is None]
    sys.stdout.write(f"{len(regions)} regions, {len(amazon)} authorities of Amazon\n")


if __name__ == "__main__":
    main(sys.argv[1:])

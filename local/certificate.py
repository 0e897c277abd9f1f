"""A certificate for the loopback address, so that the local AWS speaks HTTPS: the app's policies refuse anything else.

The authority that signs it is made for one start and its key is never written down: nobody can sign a second one.
"""

import datetime as dt
import ipaddress
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

ADDRESS = ipaddress.ip_address("127.0.0.1")
VALID_FOR = dt.timedelta(days=90)
CLOCK_STEP = dt.timedelta(hours=1)
"""How far the machine's clock may be set back while the certificate is in use."""

_CERTIFICATE_SIGNING = x509.KeyUsage(
    key_cert_sign=True,
    crl_sign=True,
    digital_signature=False,
    content_commitment=False,
    key_encipherment=False,
    data_encipherment=False,
    key_agreement=False,
    encipher_only=False,
    decipher_only=False,
)


@dataclass(frozen=True)
class ServerCertificate:
    """PEM files: what the server presents, its private key, and in `authority` the one certificate to trust."""

    chain: Path
    key: Path
    authority: Path


def issue(secret: Path, authority: Path) -> ServerCertificate:
    """Make a key and certificate for 127.0.0.1 and localhost in the folder `secret`, and what to trust in `authority`.

    `secret` must be a folder that only this user can read.
    """
    authority_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    now = dt.datetime.now(dt.UTC)
    authority_name, name = _name("Nightshift local authority"), _name("Nightshift local AWS")
    identifier = x509.SubjectKeyIdentifier.from_public_key(authority_key.public_key())
    root = (
        x509.CertificateBuilder(issuer_name=authority_name, subject_name=authority_name)
        .public_key(authority_key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - CLOCK_STEP)
        .not_valid_after(now + VALID_FOR)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_CERTIFICATE_SIGNING, critical=True)
        .add_extension(identifier, critical=False)
        .sign(authority_key, hashes.SHA256())
    )
    leaf = (
        x509.CertificateBuilder(issuer_name=authority_name, subject_name=name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - CLOCK_STEP)
        .not_valid_after(now + VALID_FOR)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ADDRESS), x509.DNSName("localhost")]), critical=False
        )
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(authority_key, hashes.SHA256())
    )
    files = ServerCertificate(secret / "server.pem", secret / "server.key", authority)
    files.authority.write_bytes(root.public_bytes(Encoding.PEM))
    files.chain.write_bytes(leaf.public_bytes(Encoding.PEM) + root.public_bytes(Encoding.PEM))
    files.key.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return files


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])

"""A certificate for the loopback address. The local AWS needs HTTPS, because the app's policies refuse anything else.

The authority that signs it is made for one start, and its key is never stored: nobody can sign another certificate.
"""

import datetime as dt
from dataclasses import dataclass
from pathlib import Path

import trustme

VALID_FOR = dt.timedelta(days=90)


@dataclass(frozen=True)
class ServerCertificate:
    """PEM files: the server's certificate chain, its private key, and in `authority` the certificate to trust."""

    chain: Path
    key: Path
    authority: Path


def issue(secret: Path, authority: Path) -> ServerCertificate:
    """Make a key and a certificate for 127.0.0.1 and localhost in `secret`, and the certificate to trust in
    `authority`.

    `secret` must be a folder that only this user can read.
    """
    signer = trustme.CA(path_length=0, organization_name="Nightshift", organization_unit_name="local authority")
    issued = signer.issue_cert("127.0.0.1", "localhost", not_after=dt.datetime.now(dt.UTC) + VALID_FOR)
    files = ServerCertificate(secret / "server.pem", secret / "server.key", authority)
    signer.cert_pem.write_to_path(files.authority)
    issued.private_key_pem.write_to_path(files.key)
    for certificate in (*issued.cert_chain_pems, signer.cert_pem):
        certificate.write_to_path(files.chain, append=True)
    return files

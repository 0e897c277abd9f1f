"""Writes what jobs made for people to read into a folder: mails, and files from the file store."""

import json
import re
import shutil
import ssl
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from local.aws import ACCOUNT
from local.machine import Machine

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

UPLOADS = "uploads/"
"""Files that users uploaded; no job made them."""

_NOT_IN_A_NAME = re.compile(r"[^a-z0-9]+")


@dataclass(frozen=True)
class Collected:
    """How many mails and files there are."""

    mails: int
    files: int


def collect(running: Machine, folder: Path) -> Collected:
    """Replace `folder`: `mails/` has each mail as HTML and text, `files/` has the file store without uploads."""
    shutil.rmtree(folder, ignore_errors=True)
    return Collected(_mails(running, folder / "mails"), _files(running, folder / "files"))


def _mails(running: Machine, folder: Path) -> int:
    """Mails in the order in which they were sent, each named after its subject. The recipient is above the text."""
    folder.mkdir(parents=True)
    trusted = ssl.create_default_context(cafile=running.aws.authority)
    with urllib.request.urlopen(f"{running.aws.endpoint}/_ministack/ses/messages", context=trusted) as answer:  # noqa: S310 - https
        mails: list[dict[str, Any]] = json.load(answer)["messages"].get(ACCOUNT, [])
    for number, mail in enumerate(mails, 1):
        name = f"{number:04}-{_NOT_IN_A_NAME.sub('-', mail['Subject'].lower()).strip('-')[:60]}"
        head = f"To: {', '.join(mail['To'])}\nSubject: {mail['Subject']}\n\n"
        folder.joinpath(f"{name}.txt").write_text(head + (mail["BodyText"] or ""))
        if mail["BodyHtml"]:
            folder.joinpath(f"{name}.html").write_text(mail["BodyHtml"])
    return len(mails)


def _files(running: Machine, folder: Path) -> int:
    """Files under their keys."""
    folder.mkdir(parents=True)
    store: S3Client = running.aws.client("s3")
    count = 0
    for page in store.get_paginator("list_objects_v2").paginate(Bucket=running.files_bucket):
        for found in page.get("Contents", []):
            target = (folder / found["Key"]).resolve()
            if not found["Key"].startswith(UPLOADS) and target.is_relative_to(folder.resolve()):
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(store.get_object(Bucket=running.files_bucket, Key=found["Key"])["Body"].read())
                count += 1
    return count

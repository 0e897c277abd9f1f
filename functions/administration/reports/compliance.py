"""What must hold in a month, and whether it did: each rule with the numbers that it was judged by."""

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from functions.administration.reports.figures import Data
from nightshift.declaration import iso
from nightshift.steps import Period

DAY = dt.timedelta(days=1)
IDLE = 90 * DAY
REQUEST_LIMIT = 31 * DAY  # 30 days, and one run of the job that carries them out
BACKUP_AGE = 2 * DAY
RESTORE_TEST_AGE = 35 * DAY


@dataclass(frozen=True)
class Check:
    """Something that must hold. The evidence is what it was judged by."""

    check: str
    passed: bool
    evidence: Mapping[str, Any]


def checks(data: Data, month: Period) -> list[Check]:
    """The rules and their verdicts, from the figures alone."""
    access, accounts, requests, backups = (data[name] for name in ("access", "accounts", "data_requests", "backups"))
    without_mfa = access["privileged_users"] - access["with_mfa"]
    broken = [rule for rule in data["retention"]["rules"] if rule["overdue"]]
    runs = {entry["job"]: entry["success"] for entry in data["retention"]["runs"]}
    verified, tested = backups["last_verified_at"], backups["last_restore_test_at"]
    open_alerts = data["alerts"]["open_over_a_day"]
    return [
        Check("every administrator has a second factor", without_mfa == 0, {"without_mfa": without_mfa}),
        Check("no active account is idle for over 90 days", accounts["idle"] == 0, {"idle": accounts["idle"]}),
        Check(
            "no deletion request is overdue",
            requests["deletions_overdue"] == 0,
            {"overdue": requests["deletions_overdue"], "open": requests["deletions_open"]},
        ),
        Check(
            "the retention rules hold",
            not broken,
            {"broken": len(broken), "rows": sum(rule["overdue"] for rule in broken)},
        ),
        Check("the audit log's retention ran", all(runs.values()), runs),
        Check(
            "a backup was verified in the last 2 days",
            verified is not None and verified >= iso(month.end - BACKUP_AGE),
            {"last_verified_at": verified},
        ),
        Check(
            "a restore was tested in the last 35 days",
            tested is not None and tested >= iso(month.end - RESTORE_TEST_AGE),
            {"last_restore_test_at": tested},
        ),
        Check("no critical alert was left open over 24 hours", open_alerts == 0, {"left_open": open_alerts}),
    ]

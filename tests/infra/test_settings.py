"""The settings of cdk.json: what is understood, and what is refused with one clear line."""

import json
import os
import subprocess
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

import functions.community
from infra.app import main
from infra.settings import (
    Alarms,
    ExistingDatabase,
    JobSettings,
    Network,
    NewDatabase,
    Settings,
    read_settings,
)
from nightshift.declaration import registry
from nightshift.errors import SettingError
from tests.infra.conftest import EXISTING, JOBS, NEW, PROJECT, SECRET, VPC, context


def job(**settings: Any) -> dict[str, Any]:
    return {**NEW, "jobs": {"cleanup-invitations": settings}}


BAD = {
    "no database": ({}, "no database address"),
    "empty database": ({"database": {}}, "no database address"),
    "database without user": ({"database": {"host": "h", "name": "n", "iam_region": "eu-west-1"}}, "user"),
    "iam without resource": (
        {"database": {"host": "h", "name": "n", "user": "u", "iam_region": "eu-west-1"}},
        "resource_id",
    ),
    "resource without iam": (
        {"database": {"url": "postgresql://u@h/d", "resource_id": "cluster-A1"}},
        "goes with iam_region",
    ),
    "instance and cluster": (
        {"database": {"url": "postgresql://u@h/d", "rds_cluster": "a", "rds_instance": "b"}},
        "give rds_cluster alone",
    ),
    "arn as identifier": ({"database": {"url": "postgresql://u@h/d", "rds_instance": "arn:aws:rds:db"}}, "is no ARN"),
    "password in url": ({"database": {"url": "postgresql://u:secret@h/d"}}, "Secrets Manager"),
    "password in query": ({"database": {"url": "postgresql://u@h/d?password=secret"}}, "Secrets Manager"),
    "malformed url": ({"database": {"url": "h:d"}}, "must look like"),
    "port": ({"database": {"secret_arn": SECRET, "port": "many"}}, "must be a number"),
    "unknown database key": ({"database": {"secret_arn": SECRET, "hots": "h"}}, "unknown database setting 'hots'"),
    "secret's name": ({"database": {"secret_arn": "application"}}, "whole ARN"),
    "unknown engine": ({"database": {"create": "mysql"}}, "must be aurora-serverless-v2"),
    "capacity": ({"database": {"create": "aurora-serverless-v2", "min_capacity": 8}}, "capacity goes from"),
    "owner as user": ({"database": {"create": "aurora-serverless-v2", "user": "postgres"}}, "choose another"),
    "network of new": ({**NEW, "network": EXISTING["network"]}, "remove it"),
    "half a network": ({**EXISTING, "network": {"vpc_id": VPC}}, "subnet_ids needs at least one"),
    "subnet by name": ({**EXISTING, "network": {"vpc_id": VPC, "subnet_ids": ["private"]}}, "subnet-0123456789abcdef0"),
    "unknown key": ({**NEW, "alarm": {}}, "did you mean 'alarms'?"),
    "unknown pack": ({**NEW, "packs": ["comunity"]}, "did you mean 'community'?"),
    "packs as text": ({**NEW, "packs": "community"}, "must be a list of texts"),
    "unknown job": ({**NEW, "jobs": {"cleanup-invitation": {}}}, "did you mean 'cleanup-invitations'?"),
    "unknown job key": (job(enable=True), "did you mean 'enabled'?"),
    "enabled as text": (job(enabled="false"), "must be true or false"),
    "retention 0": (job(parameters={"retention_days": 0}), "at least 7; got 0"),
    "retention below zero": (job(parameters={"retention_days": "-3"}), "at least 7; got -3"),
    "retention soon": (job(parameters={"retention_days": "soon"}), "got 'soon'"),
    "retention empty": (job(parameters={"retention_days": ""}), "got ''"),
    "unknown parameter": (job(parameters={"retention_day": 30}), "unknown parameter 'retention_day'"),
    "digit weekday": (job(schedule="cron(0 3 ? * 1 *)"), "write SUN if Sunday is 1 as on AWS"),
    "both days": (job(schedule="cron(0 3 1 * MON *)"), "put ? in exactly one of them"),
    "31 February": (job(schedule="cron(0 3 31 FEB ? *)"), "never fires"),
    "past": (job(schedule="cron(0 3 * * ? 2025)"), "is over"),
    "no cron": (job(schedule="daily"), "not a cron expression"),
    "log retention": (job(log_retention_days=8), "must be one that CloudWatch has"),
    "alarm address": ({**NEW, "alarms": {"critical": ["oncall"]}}, "no e-mail address"),
    "sender": ({**NEW, "sender": "nobody"}, "no e-mail address"),
    "python": ({**NEW, "python": "3.8"}, "must be one of"),
    "architecture": ({**NEW, "architecture": "arm"}, "must be arm64 or x86_64 or local"),
    "deploy with": ({**NEW, "deploy_with": "hope"}, "must be bootstrap-roles or cli-credentials"),
    "no object": ([], "must be a JSON object"),
    "broken JSON": ("{", "is not JSON"),
}


@pytest.mark.parametrize(("settings", "remedy"), BAD.values(), ids=BAD)
def test_bad_settings_are_refused_with_one_line(
    settings: Any, remedy: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    code = main(context(settings), str(tmp_path))

    error = capfd.readouterr().err
    assert code == 2
    assert error.count("\n") == 1
    assert error.startswith("nightshift: ")
    assert remedy in error
    assert not list(tmp_path.iterdir())


def test_bad_declaration_is_refused_with_one_line(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # GIVEN a second file that declares a job of the same name
    pack = tmp_path / "pack"
    pack.mkdir()
    copy = (PROJECT / "functions/community/cleanup_invitations.py").read_text()
    (pack / "again.py").write_text(copy.replace('"cleanup-invitations"', '"session-cleanup"'))
    monkeypatch.setattr(functions.community, "__path__", [*functions.community.__path__, str(pack)])
    registry.cache_clear()

    # WHEN the app is synthesized
    code = main(context(NEW), str(tmp_path / "out"))
    registry.cache_clear()

    # THEN it says where
    error = capfd.readouterr().err
    assert (code, error.count("\n")) == (2, 1)
    assert "functions.community.again declares the job 'session-cleanup'" in error
    assert not list((tmp_path / "out").glob("*"))


def test_the_app_as_a_program_refuses_with_exit_code_2(tmp_path: Path) -> None:
    environment = {"PATH": os.environ["PATH"], "HOME": os.environ["HOME"], "CDK_OUTDIR": str(tmp_path)}
    settings = json.dumps(context(job(parameters={"retention_days": 0})))

    done = subprocess.run(
        [sys.executable, "app.py"],
        cwd=PROJECT,
        env={**environment, "CDK_CONTEXT_JSON": settings},
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        "nightshift: nightshift.jobs.cleanup-invitations.parameters: "
        "retention_days must be a whole number of days, at least 7; got 0"
    ]
    assert not list(tmp_path.iterdir())


def test_settings_may_come_as_text_as_the_command_line_gives_them() -> None:
    assert read_settings(json.dumps(EXISTING), JOBS) == read_settings(EXISTING, JOBS)


def test_application_tables_are_made_in_a_new_database_only_unless_asked_for() -> None:
    new = read_settings(NEW, JOBS)
    existing = read_settings(EXISTING, JOBS)
    asked = read_settings({**EXISTING, "application_tables": "create"}, JOBS)

    assert isinstance(new.database, NewDatabase)
    assert isinstance(existing.database, ExistingDatabase)
    assert [one.application_tables for one in (new, existing, asked)] == ["create", "existing", "create"]


def test_only_the_packs_asked_for_are_deployed() -> None:
    settings = read_settings({**NEW, "packs": ["community"]}, JOBS)

    assert {registration.pack for registration in settings.deployed(JOBS)} == {"community"}


def test_parameters_given_as_text_become_numbers_and_defaults_stay_in_the_code() -> None:
    settings = read_settings(job(parameters={"retention_days": "40"}), JOBS)

    assert settings.job("cleanup-invitations").parameters == {"retention_days": 40}
    assert settings.job("session-cleanup").parameters == {}


def test_local_functions_run_on_this_python() -> None:
    with pytest.raises(SettingError, match="local functions run on this Python"):
        read_settings({**NEW, "architecture": "local", "python": other_python()}, JOBS)


def other_python() -> str:
    return "3.12" if sys.version_info[:2] != (3, 12) else "3.13"


def test_every_setting_is_documented() -> None:
    page = (PROJECT / "docs/settings.md").read_text()

    settings = [field.name for kind in (Settings, JobSettings, Network, NewDatabase, Alarms) for field in fields(kind)]

    assert not [name for name in settings if f"`{name}`" not in page and f'"{name}"' not in page]

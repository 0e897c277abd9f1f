"""The settings of cdk.json: what is understood, and what is refused with one clear line."""

import importlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import fastjsonschema
import pytest
from hypothesis import given, settings as generated, strategies as st

import infra.docs
from infra.app import main
from infra.packages import Packages
from infra.settings import (
    ExistingDatabase,
    NewDatabase,
    Settings,
    read_settings,
)
from infra.settings.page import TABLES
from infra.settings.schema import cdk_json_schema
from infra.settings.values import Group
from nightshift.declaration import Registration, registry
from nightshift.errors import DeclarationError, SettingError
from tests.ground.world import FUNCTIONS
from tests.infra.conftest import CHANGED, EXISTING, JOBS, NEW, PROJECT, SECRET, VPC, context

NETWORK: dict[str, Any] = EXISTING["network"]
KEY = "arn:aws:kms:eu-west-1:111122223333:key/11111111-2222-3333-4444-555555555555"
MANY = {"schedule": f"cron({','.join(map(str, range(60)))} 3 ? * MON,TUE,WED,THU,FRI *)"}


def job(**settings: Any) -> dict[str, Any]:
    return {**NEW, "jobs": {CHANGED: settings}}


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
    "malformed url": ({"database": {"url": "h:d"}}, "is no URL: write it like postgresql://user@host:5432/name"),
    "port": ({"database": {"secret_arn": SECRET, "port": "many"}}, 'database.port must be a whole number; got "many"'),
    "port in url": ({"database": {"url": "postgresql://u@h:many/d"}}, "has a port that is no number: write it like"),
    "unknown database key": ({"database": {"secret_arn": SECRET, "hots": "h"}}, "did you mean 'host'?"),
    "secret without its end": (
        {"database": {"secret_arn": "arn:aws:secretsmanager:eu-west-1:111122223333:secret:application"}},
        "with the six letters and digits at its end",
    ),
    "alias of a key": ({**NEW, "kms_key_arn": "arn:aws:kms:eu-west-1:111122223333:alias/x"}, "of no alias"),
    "key without a secret": (
        {"database": {"url": "postgresql://u@h/d", "secret_kms_key_arn": KEY}},
        "secret_kms_key_arn goes with secret_arn",
    ),
    "one zone": (
        {"database": {"create": "aurora-serverless-v2", "availability_zones": ["eu-west-1a"]}},
        "needs two different zones",
    ),
    "snapshot": ({"database": {"create": "aurora-serverless-v2", "restore_from": "my snapshot"}}, "ARN of a snapshot"),
    "prefix without a bucket": ({**NEW, "files_prefix": "live/"}, "goes with files_bucket"),
    "prefix without a slash": ({**EXISTING, "files_prefix": "live"}, "must end with a slash"),
    "bucket": ({**NEW, "files_bucket": "Mine"}, "a bucket's name has"),
    "doubled address": (
        {**NEW, "alarms": {"critical": ["oncall@example.com", "Oncall@example.com"]}},
        "alarms.critical names oncall@example.com twice",
    ),
    "certificates": (
        {**EXISTING, "database": {**EXISTING["database"], "ca_file": "missing.pem"}},
        "database.ca_file: ",
    ),
    "endpoint of S3": (
        {**EXISTING, "network": {**NETWORK, "endpoints": True}},
        "network.route_table_ids is missing: the endpoint of S3",
    ),
    "secret's name": ({"database": {"secret_arn": "application"}}, "whole ARN"),
    "no engine": ('{"database": {"create": null}}', "database.create is missing: `aurora-serverless-v2` makes"),
    "unknown engine": ({"database": {"create": "mysql"}}, "must be aurora-serverless-v2"),
    "capacity": ({"database": {"create": "aurora-serverless-v2", "min_capacity": 8}}, "capacity goes from"),
    "owner as user": ({"database": {"create": "aurora-serverless-v2", "user": "postgres"}}, "choose another"),
    "network of new": ({**NEW, "network": EXISTING["network"]}, "remove it"),
    "half a network": (
        {**EXISTING, "network": {"vpc_id": VPC}},
        "network.subnet_ids needs at least one",
        "network.security_group_ids needs at least one",
    ),
    "subnet by name": ({**EXISTING, "network": {**NETWORK, "subnet_ids": ["private"]}}, "subnet-0123456789abcdef0"),
    "network without vpc": (
        {**EXISTING, "network": {**NETWORK, "vpc_id": None}},
        "network.vpc_id is missing: the VPC,",
    ),
    "unknown key": ({**NEW, "alarm": {}}, "did you mean 'alarms'?"),
    "unknown pack": ({**NEW, "packs": ["markte"]}, "did you mean 'market'?"),
    "no pack": ({**NEW, "packs": []}, "leave it out for all packs"),
    "packs as numbers": ({**NEW, "packs": [1]}, "must hold nothing but texts; got 1"),
    "packs as text": ({**NEW, "packs": "market"}, "must be a list of texts"),
    "unknown job": ({**NEW, "jobs": {"abandoned-cart": {}}}, "did you mean 'abandoned-carts'?"),
    "unknown job key": (job(enable=True), "did you mean 'enabled'?"),
    "enabled as text": (job(enabled="false"), "must be true or false"),
    "schedule empty": (job(schedule=" "), "is empty: give a text or leave it out"),
    "retention 0": (job(parameters={"retention_days": 0}), "at least 7; got 0"),
    "retention below zero": (job(parameters={"retention_days": "-3"}), "at least 7; got -3"),
    "retention soon": (job(parameters={"retention_days": "soon"}), "got 'soon'"),
    "retention empty": (job(parameters={"retention_days": ""}), "got ''"),
    "unknown parameter": (job(parameters={"retention_day": 30}), "unknown parameter 'retention_day'"),
    "digit weekday": (job(schedule="cron(0 3 ? * 1 *)"), "write SUN if Sunday is 1 as on AWS"),
    "both days": (job(schedule="cron(0 3 1 * MON *)"), "put ? in exactly one of them"),
    "31 February": (job(schedule="cron(0 3 31 FEB ? *)"), "never fires"),
    "past": (job(schedule="cron(0 3 * * ? 2025)"), "is over"),
    "no zone": (job(timezone="Berlin"), "timezone: no time zone is named 'Berlin': did you mean 'Europe/Berlin'?"),
    "no zone at all": (job(timezone=1), "timezone must be a text; got 1"),
    "no cron": (job(schedule="daily"), "not a cron expression"),
    "log retention": (job(log_retention_days=8), "must be one that CloudWatch has"),
    "alarm address": ({**NEW, "alarms": {"critical": ["oncall"]}}, "no e-mail address"),
    "sender": ({**NEW, "sender": "nobody"}, "no e-mail address"),
    "mails a day": ({**NEW, "mails_a_day": 0}, "at least 1; got 0"),
    "mails a day as text": ({**NEW, "mails_a_day": "10"}, "must be a whole number"),
    "preferences": ({**NEW, "preferences_url": "http://app.example.com"}, "must begin with https://"),
    "python": ({**NEW, "python": "3.8"}, "must be one of"),
    "architecture": ({**NEW, "architecture": "arm"}, "must be arm64 or x86_64 or local"),
    "deploy with": ({**NEW, "deploy_with": "hope"}, "must be bootstrap-roles or cli-credentials"),
    "no object": ([], "must be a JSON object"),
    "broken JSON": ("{", "is not JSON"),
    "several": (
        {**job(enabled=1, schedule="daily"), "sender": "nobody", "alarm": {}},
        f"jobs.{CHANGED}.enabled must be true or false; got 1",
        f"jobs.{CHANGED}.schedule: schedule 'daily': not a cron expression",
        "sender: 'nobody' is no e-mail address",
        "has no setting 'alarm'; did you mean 'alarms'?",
    ),
    "several jobs": (
        {**NEW, "jobs": {"x": {}, "removed-items": {"parameters": {"max_share": 101}}, "store-roo": {}}},
        "jobs has no job 'x'; known are ",
        "jobs.removed-items.parameters: max_share must be a whole number of percent, at least 1 and at most 100; got",
        "jobs has no job 'store-roo'; did you mean 'store-room'?",
    ),
    "several packs": (
        {**NEW, "packs": ["sales", "markte"]},
        "no pack 'sales'; known are ",
        "no pack 'markte'; did you",
    ),
}


@pytest.mark.parametrize(("settings", "remedies"), [(bad, remedies) for bad, *remedies in BAD.values()], ids=BAD)
def test_each_bad_setting_is_refused_with_one_line(
    settings: Any, remedies: list[str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    code = main(context(settings), str(tmp_path))

    lines = capfd.readouterr().err.splitlines()
    assert code == 2
    assert len(lines) == len(remedies)
    for line, remedy in zip(lines, remedies, strict=True):
        assert line.startswith("nightshift: ")
        assert remedy in line
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("bad", ["certificates", "endpoint of S3"])
def test_what_is_refused_is_refused_before_anything_is_built(
    bad: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A first build of the layers takes a minute."""
    monkeypatch.setattr(Packages, "_build", lambda *_, **__: pytest.fail("something was built"))

    settings, _ = BAD[bad]
    assert isinstance(settings, dict)

    assert main(context(settings), str(tmp_path)) == 2


def somebodys_settings() -> st.SearchStrategy[Any]:
    """Any JSON, with many keys that mean something and values that are nearly right."""
    names = {key for group in TABLES.values() for key in group.model_fields}
    texts = [CHANGED, "create", "aurora-serverless-v2", "market", "3.11", "local", "retention_days", SECRET, VPC, ""]
    words = st.sampled_from([*names, *texts, "a\nb"])
    plain = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9) | words
    return st.recursive(
        plain,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words | st.text(max_size=9), inner, max_size=4),
        max_leaves=12,
    )


@generated(deadline=None)
@given(st.dictionaries(st.sampled_from([*Settings.model_fields]), somebodys_settings()))
def test_whatever_is_given_is_understood_or_refused_in_plain_words(settings: dict[str, Any]) -> None:
    try:
        read_settings(settings, JOBS)
    except SettingError as error:
        for line in str(error).split("\n"):
            assert re.match(r"nightshift(\.(\w[\w-]*|\".*\"))*(: | has | is | needs | must | goes )\S", line), line
            own_words = re.split("['\"]", line)[0]  # up to what was given
            assert not re.search("[Ii]nput|valid|_error|_type|None|tuple|dict|[A-Z]\\w+(Database|Settings)", own_words)


@pytest.mark.parametrize("name", [*Settings.model_fields])
def test_null_is_the_same_as_left_out(name: str) -> None:
    if name == "database":
        with pytest.raises(SettingError, match="no database address"):
            read_settings({name: None}, JOBS)
    else:
        assert read_settings({**NEW, name: None}, JOBS) == read_settings(NEW, JOBS)


def test_bad_declaration_is_refused_with_one_line(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # GIVEN a second file that declares a job of the same name
    pack = tmp_path / "pack"
    pack.mkdir()
    copy = (FUNCTIONS / "market/abandoned_carts.py").read_text()
    (pack / "again.py").write_text(copy.replace('"abandoned-carts"', '"removed-items"'))
    market = importlib.import_module("functions.market")
    monkeypatch.setattr(market, "__path__", [*market.__path__, str(pack)])
    registry.cache_clear()

    # WHEN the app is synthesized
    code = main(context(NEW), str(tmp_path / "out"))
    registry.cache_clear()

    # THEN it says where
    error = capfd.readouterr().err
    assert (code, error.count("\n")) == (2, 1)
    assert "functions.market.again declares the job 'removed-items'" in error
    assert not list((tmp_path / "out").glob("*"))


def test_the_app_as_a_program_refuses_with_exit_code_2(tmp_path: Path) -> None:
    environment = {"PATH": os.environ["PATH"], "HOME": os.environ["HOME"], "CDK_OUTDIR": str(tmp_path)}
    settings = json.dumps(context({**NEW, "sender": "nobody"}))

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
        "nightshift: nightshift.sender: 'nobody' is no e-mail address, like oncall@example.com"
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
    settings = read_settings({**NEW, "packs": ["market"]}, JOBS)

    assert {registration.pack for registration in settings.deployed(JOBS)} == {"market"}


def test_parameters_given_as_text_become_numbers_and_defaults_stay_in_the_code() -> None:
    settings = read_settings(job(parameters={"retention_days": "40"}), JOBS)

    assert settings.job(CHANGED).parameters == {"retention_days": 40}
    assert settings.job("removed-items").parameters == {}


def test_local_functions_run_on_this_python() -> None:
    with pytest.raises(SettingError, match="local functions run on this Python"):
        read_settings({**NEW, "architecture": "local", "python": other_python()}, JOBS)


def other_python() -> str:
    return "3.12" if sys.version_info[:2] != (3, 12) else "3.13"


def test_every_setting_is_documented() -> None:
    page = (PROJECT / "docs/settings.md").read_text()

    assert re.findall(r"<!-- settings of ([^:]+):", page) == list(TABLES)
    assert set(TABLES.values()) == set(Group.__subclasses__())


def test_every_example_of_the_page_is_understood() -> None:
    page = (PROJECT / "docs/settings.md").read_text()
    sections = {part.split("`")[1]: part for part in page.split("\n## ")[1:]}
    examples = [
        (name, json.loads(line))
        for name, part in sections.items()
        for line in re.findall(r"^    (\{.*\})$", part, re.M)
    ]

    assert {name for name, _ in examples} == {"database", "network", "alarms", "jobs"}
    for name, example in examples:
        settings = {**(EXISTING if name == "network" else NEW), name: example}
        # The page names a job that this project need not have.
        jobs = {**JOBS, **dict.fromkeys(example if name == "jobs" else (), JOBS[CHANGED])}
        assert read_settings(settings, jobs)
        assert in_editor(settings, jobs) is None


GOOD_FOR_THE_EDITOR = {
    "existing": EXISTING,
    "new": NEW,
    "of cdk.json": json.loads((PROJECT / "cdk.json").read_text())["context"]["nightshift"],
    "a parameter at its floor": job(parameters={"retention_days": 7}),
    "everything else": {
        **NEW,
        "packs": ["market"],
        "application_tables": "existing",
        "mails_a_day": 1,
        "log_retention_days": 1,
        "architecture": "local",
        "python": "3.14",
        "deploy_with": "cli-credentials",
        "operations_url": "https://wiki.example.com/nightshift",
    },
}


@pytest.mark.parametrize("settings", GOOD_FOR_THE_EDITOR.values(), ids=GOOD_FOR_THE_EDITOR)
def test_an_editor_finds_nothing_wrong_with_what_is_right(settings: dict[str, Any]) -> None:
    assert in_editor(settings) is None


@pytest.mark.parametrize(
    ("settings", "where"),
    [
        ({}, "nightshift"),
        ({**NEW, "alarm": {}}, "nightshift"),
        ({**NEW, "packs": []}, "nightshift.packs"),
        ({**NEW, "packs": ["markte"]}, "nightshift.packs.0"),
        ({**NEW, "sender": "nobody"}, "nightshift.sender"),
        ({**NEW, "mails_a_day": 0}, "nightshift.mails_a_day"),
        ({"database": {"create": "mysql"}}, "nightshift.database"),
        ({"database": {"secret_arn": "application"}}, "nightshift.database"),
        ({**EXISTING, "network": {"vpc_id": VPC}}, "nightshift.network"),
        ({**EXISTING, "network": {**NETWORK, "subnet_ids": []}}, "nightshift.network.subnet_ids"),
        ({**NEW, "jobs": {"abandoned-cart": {}}}, "nightshift.jobs"),
        (job(enable=True), f"nightshift.jobs.{CHANGED}"),
        (job(log_retention_days=8), f"nightshift.jobs.{CHANGED}.log_retention_days"),
        (job(parameters={"retention_day": 30}), f"nightshift.jobs.{CHANGED}.parameters"),
        (job(parameters={"retention_days": 6}), f"nightshift.jobs.{CHANGED}.parameters.retention_days"),
    ],
)
def test_an_editor_marks_what_is_wrong(settings: dict[str, Any], where: str) -> None:
    assert in_editor(settings) == where


def test_an_editor_finds_the_schema() -> None:
    """That it is fresh is told by the tests of the documentation."""
    named = json.loads((PROJECT / "cdk.json").read_text())["$schema"]
    assert PROJECT / named == infra.docs.SCHEMA


def in_editor(settings: dict[str, Any], jobs: Mapping[str, Registration] = JOBS) -> str | None:
    """The path of the first thing that the schema of these jobs finds wrong."""
    file = json.loads((PROJECT / "cdk.json").read_text())
    file["context"]["nightshift"] = settings
    try:
        fastjsonschema.validate(cdk_json_schema(jobs), file, use_default=False)
    except fastjsonschema.JsonSchemaValueException as error:
        return ".".join(error.path).removeprefix("data.context.")
    return None


def test_an_environment_that_lambda_does_not_take_is_refused(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(context({**NEW, "jobs": dict.fromkeys(JOBS, MANY)}), str(tmp_path)) == 2

    (line,) = capfd.readouterr().err.splitlines()
    assert re.search(
        r"of nightshift-migrate has \d+,\d{3} bytes, and Lambda takes 4,096: NIGHTSHIFT_DEPLOYMENT alone", line
    )
    assert not list(tmp_path.glob("*.template.json"))


def _deleting(name: str) -> Registration:
    """A job that deletes the application's own files."""
    found = JOBS["store-room"]
    return replace(found, job=replace(found.job, name=name, needs=frozenset({"application_files"})))


def test_jobs_that_delete_the_applications_files_are_refused_where_these_are_not_known() -> None:
    others = [found for found in JOBS.values() if "application_files" not in found.job.needs]
    jobs = [*others, _deleting("store-room"), _deleting(CHANGED)]
    unknown = {name: given for name, given in EXISTING.items() if not name.startswith("files_")}

    # GIVEN an existing application WHEN nobody says where its files are THEN each enabled job that deletes some is told
    with pytest.raises(SettingError) as refused:
        read_settings(unknown, JOBS).check_files(jobs)
    assert str(refused.value).splitlines() == [
        "nightshift.files_bucket is missing: the job store-room deletes files of the application, which lie in a "
        "bucket of its own; name that bucket, or disable the job (nightshift.jobs.store-room.enabled: false)"
    ]

    # AND it is not where the bucket is named, or where the application was made here and has none of its own
    read_settings(EXISTING, JOBS).check_files(jobs)
    read_settings(NEW, JOBS).check_files(jobs)
    read_settings({**unknown, "application_tables": "create"}, JOBS).check_files(jobs)


def test_a_job_has_one_file_store() -> None:
    with pytest.raises(DeclarationError, match="both files and application_files"):
        replace(JOBS["store-room"].job, needs=frozenset({"files", "application_files"}))

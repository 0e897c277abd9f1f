"""The synthesized app before the judges, and on a machine without anything of AWS."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from aws_cdk import App, Stack, aws_sqs as sqs

from infra.app import build
from infra.settings import read_settings
from tests.ground.world import FUNCTIONS
from tests.infra.conftest import CHANGED, EXISTING, JOBS, NEW, PROJECT, Assembly, context, synthesize, text

ASSEMBLIES = pytest.mark.parametrize("name", ["existing", "new", "without_nat", "through_proxy"])


@ASSEMBLIES
def test_cfn_lint_has_nothing_to_say(name: str, request: pytest.FixtureRequest) -> None:
    assembly: Assembly = request.getfixturevalue(name)

    templates = [str(path) for path in assembly.folder.glob("*.template.json")]
    program = Path(sys.executable).with_name("cfn-lint")
    done = subprocess.run([program, *templates], cwd=PROJECT, capture_output=True, text=True, check=False)

    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_cdk_nag_is_listening(tmp_path: Path) -> None:
    # GIVEN the app, and in it one queue that anybody may read without TLS
    app = App(context=context(EXISTING), outdir=str(tmp_path))
    build(app, read_settings(EXISTING, JOBS), JOBS)
    sqs.Queue(Stack(app, "Elsewhere"), "Careless")

    # WHEN it is synthesized THEN it is refused. Both fixtures show that the app itself is not.
    with pytest.raises(RuntimeError, match="AwsSolutions-SQS4"):
        app.synth()


def test_a_pack_of_two_words_has_a_stack_that_cloudformation_takes(tmp_path: Path) -> None:
    # GIVEN a job in such a pack
    found = replace(JOBS[CHANGED], pack="night_shift")

    # WHEN that pack is deployed
    app = App(context=context(EXISTING), outdir=str(tmp_path))
    settings = read_settings(EXISTING, JOBS).model_copy(update={"packs": ("night_shift",)})
    build(app, settings, {CHANGED: found})
    app.synth()

    # THEN its stack is named without the underscore
    stacks = Assembly(tmp_path).stacks
    assert set(stacks) == {"Nightshift-Platform", "Nightshift-NightShift"}
    assert f"nightshift-{CHANGED}" in text(stacks["Nightshift-NightShift"])


def test_synth_needs_no_aws_no_git_no_network(existing: Assembly, tmp_path: Path) -> None:
    # GIVEN a machine with nothing but Python and Node, whose layers are built (by the fixture)
    for program in ("node", "python"):
        (tmp_path / program).symlink_to(subprocess.check_output(["which", program], text=True).strip())
    environment = {
        "PATH": str(tmp_path),
        "HOME": os.environ["HOME"],  # jsii keeps its unpacked libraries there
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "HTTPS_PROXY": "http://127.0.0.1:9",  # nobody listens there
        "CDK_OUTDIR": str(tmp_path / "out"),
        "CDK_CONTEXT_JSON": json.dumps(context(EXISTING)),
    }

    # WHEN the app is synthesized there, with the same jobs
    program = (
        f"import functions, runpy; functions.__path__.append({str(FUNCTIONS)!r});"
        "runpy.run_path('app.py', run_name='__main__')"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=PROJECT, env=environment, capture_output=True, text=True, check=False
    )

    # THEN it comes out the same
    assert done.returncode == 0, done.stderr
    assert Assembly(tmp_path / "out").stacks == existing.stacks


def test_a_cdk_of_somebodys_own_finds_what_make_has_installed() -> None:
    """It runs the machine's python3, which has none of the app's packages: the app goes on with its own."""
    bare = {"PATH": os.environ["PATH"], "HOME": os.environ["HOME"], "CDK_CONTEXT_JSON": '{"nightshift": {}}'}
    python = [str(Path(sys.base_prefix, "bin", "python3")), "-S"]

    done = subprocess.run([*python, "app.py"], cwd=PROJECT, env=bare, capture_output=True, text=True, check=False)

    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("nightshift: nightshift.database: no database address")


def test_without_anything_installed_the_app_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text((PROJECT / "app.py").read_text())
    python = [str(Path(sys.base_prefix, "bin", "python3")), "-S"]

    done = subprocess.run([*python, "app.py"], cwd=tmp_path, env={}, capture_output=True, text=True, check=False)

    assert (done.returncode, done.stderr) == (
        1,
        "nightshift: the app's packages are not installed: run `make install` first\n",
    )


def test_with_its_rules_off_nothing_runs_unasked_and_every_job_can_be_called(staging: Assembly) -> None:
    rules = staging.resources("AWS::Events::Rule").values()
    assert {"staging-supervisor", "staging-dispatcher"} < {rule["Name"] for rule in rules}
    assert {rule["State"] for rule in rules} == {"DISABLED"}
    functions = staging.resources("AWS::Lambda::Function").values()
    assert not [each for each in functions if "NIGHTSHIFT_ENABLED" in each.get("Environment", {}).get("Variables", {})]


def test_the_cdks_flags_hold_without_a_word_in_cdk_json(
    new: Assembly, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is the project's own, so that no upgrade could bring a flag there: they stand in infra/app.py."""
    monkeypatch.setattr("infra.app.FLAGS", {})

    assert synthesize(NEW, tmp_path).stacks != new.stacks


def test_the_cdk_does_not_complain_of_flags_that_an_operator_can_do_nothing_about(existing: Assembly) -> None:
    cdk = str(PROJECT / "node_modules/.bin/cdk")
    command = [cdk, "synth", "--app", str(existing.folder), "--quiet", "--no-notices"]
    quiet = {"CDK_DISABLE_VERSION_CHECK": "true", "CDK_DISABLE_CLI_TELEMETRY": "true"}

    done = subprocess.run(command, env=os.environ | quiet, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
    assert "Successfully synthesized" in done.stdout + done.stderr
    assert "flag" not in done.stdout + done.stderr

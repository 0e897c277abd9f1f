"""`nightshift init`: a project has all of Nightshift and nothing of the example, and is made whole or not at all."""

import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from cli import screen
from cli.commands import application
from cli.project import beginning, database, files, job_files
from cli.project.changes import sections
from cli.project.files import MADE, MANIFEST, ROOT, Manifest, digest_of, is_nightshifts, nightshift_files
from cli.refusals import RefusedError

OWN = {
    "README.md",
    "cdk.json",
    "own.mk",
    "functions/chores/__init__.py",
    "functions/chores/failed_runs.py",
    "layers/application/python/application/__init__.py",
    "layers/application/python/application/project.py",
    "layers/application/requirements.txt",
    *(f"tests/own/{name}" for name in ("__init__.py", "conftest.py", "rows.sql", "schema.sql", "test_failed_runs.py")),
}

REQUIREMENTS = ("requirements-dev.txt", "requirements.txt", "layers/dependencies/requirements.txt", "constraints.txt")


@pytest.fixture(autouse=True)
def no_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    """Writing the pages takes seconds, and is tried where a whole project is."""
    monkeypatch.setattr(beginning, "write_pages", lambda project: None)


def call(*arguments: str | Path) -> Result:
    return CliRunner().invoke(application, [str(each) for each in arguments])


def refusal(*arguments: str | Path) -> str:
    """The one line with which a command is refused."""
    result = call(*arguments)
    assert result.exit_code == 2, result.output
    [line] = result.stderr.splitlines()
    return line


def in_folder(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_a_project_has_all_of_nightshift_and_its_own_and_nothing_else(tmp_path: Path) -> None:
    project = tmp_path / "my own jobs"

    assert call("init", project, "--pack", "chores").exit_code == 0

    assert in_folder(project) == {*nightshift_files(ROOT), *OWN, MANIFEST}
    assert [path.name for path in tmp_path.iterdir()] == [project.name]


def test_nothing_of_the_example_or_of_anybody_else_is_nightshifts() -> None:
    for name in (
        *("functions/community/backup.py", "functions/shop/reports/page.html", "layers/application/requirements.txt"),
        *(
            "layers/application/python/application/models/base.py",
            "local/example/dataset/fill.py",
            "bench/example/a.py",
        ),
        *("tests/unit/example/test_models.py", "tests/integration/example/jobs/test_a.py", "tests/own/rows.sql"),
        *("README.md", "cdk.json", "own.mk", MANIFEST),
    ):
        assert not is_nightshifts(name), name
    for name in (
        *("functions/__init__.py", "functions/platform/console.py", "layers/nightshift/python/nightshift/errors.py"),
        *(
            "local/demo.py",
            "bench/__main__.py",
            "tests/conftest.py",
            "tests/own_tables.py",
            "tests/own/README.md",
            "Makefile",
            "CHANGELOG.md",
        ),
        "layers/dependencies/requirements.txt",
    ):
        assert is_nightshifts(name), name


def test_the_manifest_has_the_digest_of_every_file_but_the_pages_that_are_made(tmp_path: Path) -> None:
    call("init", tmp_path / "project")

    manifest = Manifest.read(tmp_path / "project")

    assert manifest.version == tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert set(manifest.files) == set(nightshift_files(ROOT)) - set(MADE)
    for name, digest in manifest.files.items():
        assert digest_of(tmp_path / "project" / name) == digest


def test_what_can_be_executed_still_can(tmp_path: Path) -> None:
    call("init", tmp_path / "project")

    assert (tmp_path / "project/cli/nightshift").stat().st_mode & 0o111


def test_a_project_of_a_project_does_not_take_edits_for_nightshifts_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = tmp_path / "first"
    call("init", first)
    (first / "Makefile").write_text("edited")
    monkeypatch.setattr(beginning, "ROOT", first)

    assert call("init", tmp_path / "second").exit_code == 0

    assert (tmp_path / "second/Makefile").read_text() == "edited"
    assert Manifest.read(tmp_path / "second") == Manifest.read(first)


def test_without_git_the_files_are_those_that_gitignore_does_not_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".gitignore").write_text(".venv/\n*.pyc\n")
    for name in (
        ".venv/lib/a.py",
        ".git/HEAD",
        "cli/x.pyc",
        "cli/x.py",
        "functions/shop/y.py",
        "functions/platform/z.py",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    monkeypatch.setenv("PATH", "")

    assert list(nightshift_files(tmp_path)) == [".gitignore", "cli/x.py", "functions/platform/z.py"]


def test_a_folder_inside_another_ones_repository_is_no_clone(tmp_path: Path) -> None:
    subprocess.run(["git", "init", "--quiet", str(tmp_path)], check=True)
    (tmp_path / "nightshift").mkdir()
    (tmp_path / "nightshift/app.py").write_text("")

    assert list(nightshift_files(tmp_path / "nightshift")) == ["app.py"]


def test_what_git_does_not_keep_stays_out(tmp_path: Path) -> None:
    for name in ("kept.py", "notes.txt"):
        (tmp_path / name).write_text("")
    for arguments in (["init", "--quiet"], ["add", "kept.py"]):
        subprocess.run(["git", "-C", str(tmp_path), *arguments], check=True)

    assert list(nightshift_files(tmp_path)) == ["kept.py"]


def test_the_next_commands_can_be_pasted(tmp_path: Path) -> None:
    project = tmp_path / "it's my project"

    told = call("init", project).stdout

    commands = told.partition("Next:\n")[2].splitlines()
    assert shlex.split(commands[0]) == ["cd", str(project.resolve())]
    assert commands[1:] == [
        "  make install",
        "  .venv/bin/nightshift new job old-rows --kind retention",
        "  .venv/bin/nightshift plan old-rows --database-url URL",
        "  .venv/bin/nightshift new backup",
        "  .venv/bin/nightshift new health-check",
    ]
    shown = subprocess.run(["sh", "-c", f"{commands[0]} && pwd"], capture_output=True, text=True, check=True).stdout
    assert shown.strip() == str(project)


def test_the_first_job_is_proposed_for_the_largest_table_whose_rows_an_index_finds(tmp_path: Path) -> None:
    found = [
        database.Candidate("logs", 9, 9, "at", indexed=False),
        database.Candidate('shop."Order Lines"', 5, 5, "made at", indexed=True),
        database.Candidate("visits", 1, 1, "at", indexed=True),
    ]

    def proposed(found: list[database.Candidate]) -> list[str]:
        commands = beginning.next_commands(tmp_path, found, job_files.OFFERED)
        assert commands[2] == ".venv/bin/nightshift suggest --database-url URL"
        return shlex.split(commands[3])[3:]

    about = ["--table", 'shop."Order Lines"', "--measured-by", "made at"]
    assert proposed(found) == ["old-shop-order-lines", "--kind", "retention", *about]
    assert proposed(found[:1]) == ["old-logs", "--kind", "retention", "--table", "logs", "--measured-by", "at"]
    letters = database.Candidate("letters", 99, 99, "at", indexed=True)
    logs = database.Candidate("logs", 9, 9, "at", indexed=False, proposed=True)
    assert "logs" in proposed([letters, logs]), "what suggest never proposes is to be deleted first"


@pytest.mark.parametrize(
    ("options", "answers", "jobs"),
    [
        ([], None, set()),
        (["--backup", "--health-check"], None, {"backup", "health_check"}),
        ([], "y\nn\n", {"backup"}),
        ([], "\n\n", {"backup", "health_check"}),
        (["--no-backup"], "y\n", {"health_check"}),
        (["--no-backup", "--health-check"], "", {"health_check"}),
    ],
)
def test_the_jobs_that_are_offered_come_when_they_are_asked_for(
    options: list[str], answers: str | None, jobs: set[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(screen, "answering", lambda: answers is not None)
    project = tmp_path / "project"

    told = CliRunner().invoke(application, ["init", str(project), "--pack", "chores", *options], input=answers)

    assert told.exit_code == 0, told.output
    assert in_folder(project / "functions/chores") == {f"{job}.py" for job in ("__init__", "failed_runs", *jobs)}
    for job in jobs:
        assert (project / f"functions/chores/{job}.py").read_text() == (ROOT / f"docs/examples/{job}.py").read_text()
    left = {line.split()[-1].replace("-", "_") for line in told.stdout.splitlines() if "nightshift new " in line}
    assert left - {"retention"} == {"backup", "health_check"} - jobs


def test_a_folder_that_cannot_be_is_refused_before_anything_is_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(screen, "answering", lambda: True)
    (tmp_path / "notes.txt").write_text("mine")

    assert "is not empty" in refusal("init", tmp_path)


def test_a_folder_at_home_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))

    assert call("init", "~/project").exit_code == 0
    assert (tmp_path / "project/app.py").exists()


def test_make_says_when_no_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / ".venv").mkdir()
    for name in (*REQUIREMENTS, "Makefile"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text((ROOT / name).read_text())
    (tmp_path / ".venv/installed").touch()

    told = subprocess.run(["make", "-s", "init"], cwd=tmp_path, capture_output=True, text=True, check=False)

    assert told.stderr.startswith("Say where: make init DIR=../jobs\n")


def test_an_empty_folder_is_taken(tmp_path: Path) -> None:
    (tmp_path / "project").mkdir()

    assert call("init", tmp_path / "project").exit_code == 0


def test_a_folder_with_something_in_it_is_refused_and_stays_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")

    assert (
        refusal("init", tmp_path) == f"{tmp_path} is not empty, and nothing in it is overwritten: name another folder"
    )
    assert in_folder(tmp_path) == {"notes.txt"}


def test_a_project_is_not_made_twice(tmp_path: Path) -> None:
    call("init", tmp_path / "project")

    assert "nightshift upgrade --from DIR" in refusal("init", tmp_path / "project")


def test_places_where_no_project_can_be(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")

    assert "is a file" in refusal("init", tmp_path / "file")
    assert "is a file" in refusal("init", tmp_path / "link")
    assert "is not a folder" in refusal("init", tmp_path / "file/below")
    assert f"is inside {ROOT}" in refusal("init", ROOT / "jobs")
    assert "has a : in its name" in refusal("init", tmp_path / "a:b")


@pytest.mark.parametrize("pack", ["Chores", "my-jobs", "platform", "class", "a__b", "../up"])
def test_a_pack_that_cannot_be_is_refused(pack: str, tmp_path: Path) -> None:
    assert f"{pack!r} cannot be a pack's name" in refusal("init", tmp_path / "project", "--pack", pack)
    assert list(tmp_path.iterdir()) == []


def test_nothing_half_done_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(project: Path) -> None:
        assert (project / "app.py").exists()
        raise RefusedError("the pages cannot be written")

    monkeypatch.setattr(beginning, "write_pages", fail)

    assert refusal("init", tmp_path / "project") == "the pages cannot be written"
    assert list(tmp_path.iterdir()) == []


def test_an_address_that_is_none_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    for given in ("nonsense", "postgresql://me@localhost", "postgresql://me@localhost:x/app"):
        assert "database URL" in refusal("init", tmp_path / "project", "--database-url", given)
    told = refusal("init", tmp_path / "project", "--database-url", "postgresql://me:secret@127.0.0.1:1/app")
    assert "the database app at 127.0.0.1:1 cannot be used" in told
    assert "secret" not in told
    assert list(tmp_path.iterdir()) == []


def test_the_projects_own_files_pass_the_linter(tmp_path: Path) -> None:
    project = tmp_path / "project"
    call("init", project)

    for arguments in (["check", "--quiet"], ["format", "--check", "--quiet"]):
        program = Path(sys.executable).with_name("ruff")
        done = subprocess.run(
            [program, *arguments, "functions", "layers/application", "tests/own"],
            cwd=project,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout


def test_the_makefile_reads_what_a_project_adds(tmp_path: Path) -> None:
    project = tmp_path / "my project"
    call("init", project)
    (project / "own.mk").write_text("greet: ## Say hello\n\t@echo hello\n")

    told = subprocess.run(["make", "-s", "greet", "help"], cwd=project, capture_output=True, text=True, check=True)

    assert told.stdout.startswith("hello\n")
    assert "make greet" in told.stdout


def test_the_version_stands_in_one_place() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]

    assert call("--version").stdout.strip() == version
    assert version in list(sections((ROOT / "CHANGELOG.md").read_text()))[:2]
    assert not re.search(r"__version__|^VERSION", (ROOT / "cli/commands.py").read_text(), re.MULTILINE)


def test_a_folder_without_nightshift_has_no_version(tmp_path: Path) -> None:
    with pytest.raises(RefusedError, match="holds no Nightshift"):
        files.version_of(tmp_path)
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "other"\nversion = "1.0"\n')
    with pytest.raises(RefusedError, match="holds no Nightshift"):
        files.version_of(tmp_path)

"""`nightshift new job`: what it writes works, or says what is missing; what could not work is refused."""

import re
import subprocess
import sys
from itertools import product
from pathlib import Path

import pytest

from cli.project import commands, job_files
from cli.project.files import ROOT
from cli.project.job_files import OFFERED, SCHEDULES, NewJob
from cli.refusals import RefusedError
from nightshift import DeclarationError, Job
from nightshift.declaration.fields import choices
from nightshift.declaration.policy import Kind
from tests.job_files import loaded

LONG = f"{'s' * 63}.{'t' * 63}"
TABLES = (None, "orders", 'shop."Order"', LONG)
AGES = (None, "created_at", "createdAt")
EVERY = [
    NewJob(f"job-{number}", kind, "chores", table, age if table else None)
    for number, (kind, table, age) in enumerate(product(choices(Kind), TABLES, AGES))
]


def declared(job: NewJob, project: Path) -> Job:
    return loaded(project / f"functions/chores/{job.module}.py")


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with every job that can be written."""
    folder = tmp_path_factory.mktemp("project")
    for name in ("functions", "tests"):
        (folder / name).mkdir()
    for name in ("layers", "tests/own_tables.py"):
        (folder / name).symlink_to(ROOT / name)
    (folder / "pyproject.toml").write_text((ROOT / "pyproject.toml").read_text())
    for name in OFFERED:
        job_files.write("chores", job_files.offered(name, "chores"), folder)
    for job in EVERY:
        job_files.check(job, folder)
        job_files.write(job.pack, job.files(), folder)
    return folder


@pytest.mark.parametrize("job", [job for job in EVERY if job.filled], ids=str)
def test_a_job_of_which_all_is_known_works(job: NewJob, project: Path) -> None:
    found = declared(job, project)

    assert (found.name, found.kind) == (job.name, job.kind)
    assert found.timetable
    assert found.steps[0].table_name == job.table  # type: ignore[attr-defined]
    assert found.steps[0].measured_by == job.age  # type: ignore[attr-defined]


@pytest.mark.parametrize("job", [job for job in EVERY if not job.filled], ids=str)
def test_what_is_not_known_is_marked_and_refused_with_the_remedy(job: NewJob, project: Path) -> None:
    with pytest.raises(DeclarationError, match=r"say by which column|name it, like|give it something to do"):
        declared(job, project)
    assert "FILL IN" in (project / f"functions/chores/{job.module}.py").read_text()


def test_a_job_that_is_filled_in_works(tmp_path: Path) -> None:
    for job, blanks in (
        (NewJob("a", "retention", "chores", "orders"), {"measured_by=None,": 'measured_by="created_at",'}),
        (NewJob("b", "report", "chores", "orders"), {"steps=(),": "steps=(step,),"}),
    ):
        job_files.write(job.pack, job.files(), tmp_path)
        file = tmp_path / f"functions/chores/{job.module}.py"
        for blank, filled in blanks.items():
            assert blank in file.read_text()
            file.write_text(file.read_text().replace(blank, filled))
        assert declared(job, tmp_path).steps


def test_every_file_passes_the_linter(project: Path) -> None:
    program = Path(sys.executable).with_name("ruff")
    for arguments in (["check", "--quiet"], ["format", "--diff", "--quiet"]):
        done = subprocess.run(
            [program, *arguments, "functions", "tests/own"], cwd=project, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout


def test_every_kind_has_a_schedule() -> None:
    assert set(SCHEDULES) == set(choices(Kind))


@pytest.mark.parametrize(
    ("name", "kind", "told"),
    [
        ("Old-Rows", "retention", "must be kebab-case"),
        ("old_rows", "retention", "must be kebab-case"),
        ("../old", "retention", "must be kebab-case"),
        ("import", "retention", "is a word of Python"),
        ("console", "retention", "is taken by the platform's own function"),
        ("supervisor", "check", "is taken by the platform's own function"),
        ("files", "retention", "is taken by a part of every pack's stack"),
        ("j" * 44, "retention", "at most 43 fit"),
        ("old-rows", "retenton", "did you mean 'retention'?"),
        ("old-rows", "xyz", "must be one of retention, recalculation"),
    ],
)
def test_what_could_not_work_is_refused(name: str, kind: str, told: str) -> None:
    with pytest.raises(RefusedError, match=told.replace("?", r"\?")):
        job_files.check(NewJob(name, kind, "chores"), ROOT)


def test_nothing_is_overwritten_whatever_pack_it_is_in(tmp_path: Path) -> None:
    job = NewJob("old-rows", "retention", "chores", "orders", "created_at")
    job_files.write(job.pack, job.files(), tmp_path)

    for again in (job, NewJob("old-rows", "check", "others")):
        with pytest.raises(RefusedError, match=r"old_rows\.py is there already"):
            job_files.check(again, tmp_path)
    (tmp_path / "functions/chores/old_rows.py").unlink()
    with pytest.raises(RefusedError, match=r"tests/own/test_old_rows\.py is there already"):
        job_files.check(job, tmp_path)


@pytest.mark.parametrize("name", OFFERED)
def test_a_job_that_is_offered_is_the_one_of_the_docs_and_is_written_once(name: str, tmp_path: Path) -> None:
    files = job_files.offered(name, "chores")
    [path] = files
    assert files[path] == (ROOT / "docs/examples" / Path(path).name).read_text()

    written = job_files.write("chores", files, tmp_path)

    assert written == [tmp_path / path]
    assert loaded(tmp_path / path).name == name
    for pack in ("chores", "others"):
        with pytest.raises(RefusedError, match=f"{re.escape(path)} is there already"):
            job_files.check_free(pack, job_files.offered(name, pack), tmp_path)


def test_every_job_of_the_docs_is_offered_by_a_command() -> None:
    of_docs = {path.stem.replace("_", "-") for path in (ROOT / "docs/examples").glob("*.py")}

    assert set(OFFERED) == of_docs
    assert {command.name for command in commands.new.registered_commands} == {"job", *of_docs}


def test_the_only_pack_need_not_be_named(tmp_path: Path) -> None:
    with pytest.raises(RefusedError, match="there is none yet"):
        job_files.own_pack(None, tmp_path)
    for pack in ("platform", "_parts", "chores"):
        (tmp_path / "functions" / pack).mkdir(parents=True)
        (tmp_path / "functions" / pack / "__init__.py").touch()
    assert job_files.own_pack(None, tmp_path) == "chores"
    assert job_files.own_pack("others", tmp_path) == "others"
    job_files.write("others", NewJob("a", "report", "others").files(), tmp_path)
    with pytest.raises(RefusedError, match="there are chores, others"):
        job_files.own_pack(None, tmp_path)

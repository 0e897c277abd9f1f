"""`nightshift upgrade`: what nobody has edited is replaced, what somebody has is told and left."""

from collections.abc import Mapping
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cli.commands import application
from cli.project import commands, upgrading
from cli.project.changes import between, sections
from cli.project.files import MANIFEST, Manifest, digest_of, put
from cli.project.upgrading import Fate, work_out
from cli.refusals import RefusedError

LOG = """# Changes

## [Unreleased]

- Not yet.

## [0.3.0] - 2027-03-01

- The third.

## [0.2.0] - 2027-02-01

- The second.

## [0.1.0] - 2027-01-01

- The first.
"""
OLD = {
    "same.py": "same\n",
    "changed.py": "old\n",
    "dropped/one.py": "old\n",
    "edited.py": "old\n",
    "steady.py": "old\n",
}
NEW = {"same.py": "same\n", "changed.py": "new\n", "added/one.py": "new\n", "edited.py": "new\n", "steady.py": "old\n"}
OWN = {
    "cdk.json": "{}",
    "own.mk": "",
    "functions/chores/a.py": "1",
    "tests/own/rows.sql": "",
    "layers/application/x": "",
}


def tree(folder: Path, version: str, contents: Mapping[str, str]) -> Path:
    """A checkout of Nightshift."""
    fixed = {"pyproject.toml": f'[project]\nname = "nightshift"\nversion = "{version}"\n', "CHANGELOG.md": LOG}
    for name, content in {**fixed, **contents}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content)
    return folder


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project of version 0.1.0, with files of its own."""
    folder = tree(tmp_path / "project", "0.1.0", OLD)
    names = [*OLD, "pyproject.toml", "CHANGELOG.md"]
    Manifest("0.1.0", {name: digest_of(folder / name) for name in names}).write(folder)
    return tree(folder, "0.1.0", OWN)


@pytest.fixture
def newer(tmp_path: Path) -> Path:
    """A checkout of version 0.3.0, with files that no project takes."""
    return tree(tmp_path / "newer", "0.3.0", {**NEW, "functions/community/b.py": "", "README.md": "", "cdk.json": "x"})


def contents(folder: Path) -> dict[str, str]:
    return {path.relative_to(folder).as_posix(): path.read_text() for path in folder.rglob("*") if path.is_file()}


def fates(upgrade: upgrading.Upgrade) -> dict[str, Fate]:
    return {change.name: change.fate for change in upgrade.changes}


def test_what_nobody_has_edited_becomes_as_nightshift_has_it(project: Path, newer: Path) -> None:
    work_out(project, newer).carry_out()

    found = contents(project)
    assert found.pop(MANIFEST)
    pyproject = {"pyproject.toml": (newer / "pyproject.toml").read_text(), "CHANGELOG.md": LOG}
    assert found == {**NEW, **OWN, **pyproject}
    assert not (project / "dropped").exists()
    manifest = Manifest.read(project)
    assert manifest.version == "0.3.0"
    assert manifest.files == {name: digest_of(newer / name) for name in {**NEW, **pyproject}}


def test_a_second_upgrade_has_nothing_to_do(project: Path, newer: Path) -> None:
    work_out(project, newer).carry_out()

    again = work_out(project, newer)

    assert again.changes == ()
    assert again.news == sections(LOG)["Unreleased"]


def test_an_edited_file_is_told_with_its_difference_and_left(project: Path, newer: Path) -> None:
    (project / "edited.py").write_text("old\nmine\n")

    upgrade = work_out(project, newer)
    upgrade.carry_out()

    [change] = upgrade.left
    assert (change.name, change.fate) == ("edited.py", Fate.KEPT)
    assert change.difference == "--- a/edited.py\n+++ b/edited.py\n@@ -1,2 +1 @@\n-old\n-mine\n+new\n"
    assert (project / "edited.py").read_text() == "old\nmine\n"
    assert fates(work_out(project, newer)) == {"edited.py": Fate.KEPT}, "a later upgrade has forgotten the edit"


def test_an_edit_that_nightshift_has_made_too_is_no_difference(project: Path, newer: Path) -> None:
    (project / "edited.py").write_text("new\n")

    assert "edited.py" not in fates(work_out(project, newer))


def test_a_table_that_make_docs_writes_is_no_edit(project: Path, newer: Path) -> None:
    page = "# Page\n\n<!-- jobs: made by `make docs` -->\n{}\n<!-- end of jobs -->\n\n{}\n"
    (project / "page.md").write_text(page.format("| mine |", "Old words."))
    (newer / "page.md").write_text(page.format("| theirs |", "Old words."))
    manifest = Manifest.read(project)
    Manifest("0.1.0", {**manifest.files, "page.md": digest_of(newer / "page.md")}).write(project)

    assert "page.md" not in fates(work_out(project, newer))
    (newer / "page.md").write_text(page.format("| theirs |", "New words."))
    assert fates(work_out(project, newer))["page.md"] is Fate.REPLACED


def test_what_became_of_files_that_somebody_changed(project: Path, newer: Path) -> None:
    (project / "dropped/one.py").write_text("mine\n")
    (project / "added").mkdir()
    (project / "added/one.py").write_text("mine\n")
    (project / "changed.py").unlink()
    (project / "steady.py").unlink()
    (project / "same.py").write_text("mine\n")

    upgrade = work_out(project, newer)
    before = contents(project)
    upgrade.carry_out()

    assert fates(upgrade) == {
        "added/one.py": Fate.IN_THE_WAY,
        "changed.py": Fate.GONE,
        "dropped/one.py": Fate.KEPT_WITHOUT,
        "edited.py": Fate.REPLACED,
        "pyproject.toml": Fate.REPLACED,
        "same.py": Fate.KEPT,
    }
    after = contents(project)
    assert {name for name in before if after.get(name) != before[name]} == {"edited.py", "pyproject.toml", MANIFEST}
    assert set(after) == set(before)


def test_a_file_that_is_no_text_is_left_without_its_difference(project: Path, newer: Path) -> None:
    (project / "edited.py").write_bytes(b"\xff\xfe")

    assert work_out(project, newer).left[0].difference == "edited.py cannot be shown as text\n"


def test_an_upgrade_that_was_broken_off_can_be_repeated(
    project: Path, newer: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = ["changed.py"]

    def fail(file: Path, content: bytes, like: Path | None = None) -> None:
        if file.name in files:
            raise OSError("the disk is full")
        put(file, content, like)

    monkeypatch.setattr(upgrading, "put", fail)
    with pytest.raises(OSError, match="full"):
        work_out(project, newer).carry_out()
    files.clear()
    work_out(project, newer).carry_out()

    assert Manifest.read(project).version == "0.3.0"
    assert work_out(project, newer).changes == ()
    assert (project / "changed.py").read_text() == "new\n"


def test_what_the_change_log_says_in_between(project: Path, newer: Path) -> None:
    told = work_out(project, newer).news

    assert [heading for heading in ("Not yet", "third", "second", "first") if heading in told] == [
        "Not yet",
        "third",
        "second",
    ]


def test_an_older_version_is_refused(project: Path, tmp_path: Path) -> None:
    older = tree(tmp_path / "older", "0.0.9", NEW)
    (older / "CHANGELOG.md").write_text("# Changes\n\n## 0.0.9\n\n- Old.\n")

    with pytest.raises(RefusedError, match=r"0\.0\.9, which knows nothing of this project's 0\.1\.0: it is older"):
        work_out(project, older)


def test_folders_that_are_no_newer_nightshift(project: Path, newer: Path, tmp_path: Path) -> None:
    for source, told in (
        (tmp_path / "nowhere", "is no folder"),
        (project, "is this project itself"),
        (tmp_path, "holds no Nightshift"),
    ):
        with pytest.raises(RefusedError, match=told):
            work_out(project, source)
    (newer / MANIFEST).write_text("{}")
    with pytest.raises(RefusedError, match="is a project, whose files may be edited"):
        work_out(project, newer)
    (newer / MANIFEST).unlink()
    (newer / "CHANGELOG.md").unlink()
    with pytest.raises(RefusedError, match=r"has no CHANGELOG\.md"):
        between(newer, "0.1.0", "0.3.0")


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"version": "1"}', '{"version": "1", "files": []}'])
def test_a_manifest_that_cannot_be_read_is_refused(project: Path, newer: Path, content: str) -> None:
    (project / MANIFEST).write_text(content)

    with pytest.raises(RefusedError, match="cannot be read: take it back from version control"):
        work_out(project, newer)


def test_the_command_tells_everything_and_a_dry_run_changes_nothing(
    project: Path, newer: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commands, "ROOT", project)
    (project / "edited.py").write_text("mine\n")
    before = contents(project)

    dry = CliRunner().invoke(application, ["upgrade", "--from", str(newer), "--dry-run"])

    assert contents(project) == before
    for told in ("added: added/one.py", "removed: dropped/one.py", "+new", "- The third.", "4 files would be changed"):
        assert told in dry.stdout
    wet = CliRunner().invoke(application, ["upgrade", "--from", str(newer)])
    assert "Nightshift 0.1.0 to 0.3.0: 4 files changed, 1 left for you to look at." in wet.stdout
    assert contents(project)["changed.py"] == "new\n"


def test_a_migration_that_reads_otherwise_is_told_because_no_database_runs_it_again(
    project: Path, newer: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commands, "ROOT", project)
    for name in ("0001", "0002"):
        put(newer / f"{upgrading.MIGRATIONS}{name}.sql", b"new")
    put(project / f"{upgrading.MIGRATIONS}0001.sql", b"old")
    manifest = Manifest.read(project)
    ran = {f"{upgrading.MIGRATIONS}0001.sql": digest_of(project / f"{upgrading.MIGRATIONS}0001.sql")}
    Manifest("0.1.0", {**manifest.files, **ran}).write(project)

    told = CliRunner().invoke(application, ["upgrade", "--from", str(newer)]).stdout

    _, head, rest = told.partition("A database that has run them does not get what is new in them:\n")
    assert head
    assert rest.partition("\n\n")[0].split() == [f"{upgrading.MIGRATIONS}0001.sql"]
    again = CliRunner().invoke(application, ["upgrade", "--from", str(newer)]).stdout
    assert "these migrations" not in again.lower()
    assert again.endswith("Nightshift 0.3.0: there is nothing to change.\n")


def test_nightshift_itself_is_not_upgraded(newer: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(commands, "ROOT", tmp_path)

    result = CliRunner().invoke(application, ["upgrade", "--from", str(newer)])

    assert (result.exit_code, result.stderr) == (
        2,
        f"{tmp_path} is Nightshift itself: an upgrade is for a project that nightshift init has made\n",
    )

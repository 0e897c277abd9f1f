"""What `make demo` and `make local` show while they take long: on a terminal, and in a log."""

import io
import re
from pathlib import Path

import pytest
from rich.console import Console
from rich.table import Column, Table
from typer.testing import CliRunner

from local.__main__ import application
from local.terminal import Step, Steps, deployment_display, machine_steps, show_table, tracked

ROOT = Path(__file__).parents[2]
JOB = "generate-productivity-insights-weekly"


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def console(width: int = 80, *, terminal: bool = False) -> tuple[Console, io.StringIO]:
    written = io.StringIO()
    return Console(file=written, width=width, force_terminal=terminal, legacy_windows=False), written


def test_each_step_is_a_line_with_its_place_the_time_so_far_and_how_long_it_takes() -> None:
    out, written = console()
    clock = Clock()
    steps = Steps(out, [Step("starting", 8), Step("deploying 38 jobs", 50), Step("loading data", 62)], clock)
    for seconds in (0, 11.6, 40):
        clock.now = 100 + seconds
        steps.begin()

    assert written.getvalue().splitlines() == [
        "3 steps, about 2 minutes. Ctrl-C stops it.",
        "1 of 3: starting (about 8 s)",
        "2 of 3, after 12 s: deploying 38 jobs (about 50 s)",
        "3 of 3, after 40 s: loading data (about 62 s)",
    ]
    assert steps.seconds == 40


@pytest.mark.parametrize("terminal", [False, True], ids=["log", "terminal"])
def test_the_lines_of_the_machine_begin_its_steps(terminal: bool) -> None:
    out, written = console(terminal=terminal)
    steps = Steps(out, machine_steps(38), Clock())
    with deployment_display(out, steps) as show:
        for line in (
            "Starting PostgreSQL",
            "Starting the local AWS",
            "Starting the deployment: bootstrap",
            "Starting the deployment: synthesis and stacks",
            "Nightshift-Platform |  3/90 | 10:00:00 | CREATE_COMPLETE | AWS::SNS::Topic | Alarms",
            " ✅  Nightshift-Platform",
            "a line that nobody needs",
        ):
            show(line)

    told = written.getvalue()
    assert re.findall(r"(\d) of 4", told) == ["1", "2", "3", "4"]
    assert "4 of 4, after 0 s: deploying 38 jobs (about 40 s)" in told
    assert "✅  Nightshift-Platform" in told
    assert "nobody needs" not in told
    assert "Starting" not in told
    assert ("━" in told) == terminal, "a log has no bars"


def test_the_machine_says_as_many_steps_as_are_told() -> None:
    source = (ROOT / "local/machine.py").read_text()
    bodies = re.findall(r"def (\w+)\((.*?)(?=\ndef |\Z)", source, re.DOTALL)
    functions = {name: body.count('report("Starting ') for name, body in bodies}

    assert functions["machine"] + functions["_deployed"] == len(machine_steps(1))
    assert functions["machine_with"] + functions["_deployed"] == len(machine_steps(1, database=False))


@pytest.mark.parametrize("terminal", [False, True], ids=["log", "terminal"])
def test_a_long_step_says_how_far_it_is_in_a_log_too(terminal: bool) -> None:
    out, written = console(terminal=terminal)
    assert list(tracked(out, iter(range(38)), 38, "Running every job")) == list(range(38))
    told = re.findall(r"^  (\d+) of 38 after 0 s$", written.getvalue(), re.MULTILINE)
    assert told == ([] if terminal else ["10", "19", "29", "38"])
    assert ("Running every job" in written.getvalue()) == terminal


@pytest.mark.parametrize("width", [40, 80, 150, 300])
def test_no_name_in_a_table_is_cut(width: int) -> None:
    out, written = console(width)
    table = Table(Column("Job", no_wrap=True), Column("What it did"), Column("Next run (UTC)", no_wrap=True))
    table.add_row(JOB, "deleted 1,200, errors 85, " * 9, "Mon 30 Nov 11:00")
    show_table(out, table)

    lines = written.getvalue().splitlines()
    assert [line for line in lines if JOB in line and "Mon 30 Nov 11:00" in line]
    assert "…" not in written.getvalue()
    if width >= 80:
        assert max(map(len, lines)) <= max(width, 100), "and what may be broken is"


@pytest.mark.parametrize("command", [[], ["up"], ["demo"]], ids=" ".join)
def test_the_help_is_short_to_ask_for_and_names_no_type_of_python(command: list[str]) -> None:
    short, long = (CliRunner().invoke(application, [*command, flag]) for flag in ("-h", "--help"))
    assert (short.exit_code, short.stdout) == (0, long.stdout)
    assert "-h, --help" in short.stdout
    assert not re.search("<|TEXT|BOOL", short.stdout)

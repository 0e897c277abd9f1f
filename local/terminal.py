"""What a person sees while something takes long: a bar; while the machine starts, one for each stack, and its lines."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

_STACK_EVENT = re.compile(r"^(?P<stack>\S+) \| +(?P<done>\d+)/(?P<total>\d+) \| ")
_WORTH_SHOWING = re.compile(r"^(Starting |\s*[✅❌✨⏳] )|FAILED|[Ee]rror:")


def progress_bar(console: Console) -> Progress:
    """How far something is and since when; gone when it is done."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    return Progress(*columns, console=console, transient=True)


@contextmanager
def deployment_display(console: Console) -> Iterator[Callable[[str], None]]:
    """Yield a function that takes the lines of `local.machine.machine` and of the CDK and shows what matters."""
    bars: dict[str, TaskID] = {}
    with progress_bar(console) as progress:

        def show(line: str) -> None:
            event = _STACK_EVENT.match(line)
            if event:
                stack = event["stack"]
                if stack not in bars:
                    bars[stack] = progress.add_task(stack)
                progress.update(bars[stack], completed=int(event["done"]), total=int(event["total"]))
            if _WORTH_SHOWING.search(line):
                console.print(line.strip(), markup=False, highlight=False, soft_wrap=True)

        yield show

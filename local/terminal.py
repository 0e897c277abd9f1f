"""What a person sees while the machine starts: a line for each step and a bar for each stack."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

_STACK_EVENT = re.compile(r"^(?P<stack>\S+) \| +(?P<done>\d+)/(?P<total>\d+) \| ")
_WORTH_SHOWING = re.compile(r"^(Starting |\s*[✅❌✨⏳] )|FAILED|[Ee]rror:")


@contextmanager
def deployment_display(console: Console) -> Iterator[Callable[[str], None]]:
    """Yield a function that takes the lines of `local.machine.machine` and of the CDK and shows what matters."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    bars: dict[str, TaskID] = {}
    with Progress(*columns, console=console, transient=True) as progress:

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

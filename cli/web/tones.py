"""Words and text of the command as the page shows them: a colour by meaning, and a plan's tree as a list."""

from collections.abc import Iterable
from itertools import pairwise

from markupsafe import Markup, escape
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from cli.screen import STYLES

TONES = {
    "green": "good",
    "cyan": "busy",
    "bold red": "bad",
    "red": "bad",
    "yellow": "warn",
    "dim": "dim",
    "bold": "strong",
}
"""The class of each style that the command writes in."""


def tone(word: str) -> str:
    """The class of an outcome or state: good, busy, bad, warn or calm."""
    return TONES.get(STYLES.get(word, ""), "calm")


def badge(word: str) -> Markup:
    """An outcome or state in its colour."""
    return Markup('<span class="badge {}">{}</span>').format(tone(word), word.replace("_", " "))


def told(part: Tree | Table | Text | str) -> Markup:
    """A part of what the command tells, with its colours and everything in it escaped."""
    if isinstance(part, Tree):
        return Markup('<ul class="tree">{}</ul>').format(_branch(part))
    if isinstance(part, Table):
        raise TypeError("a plan is shown as a tree here, and tables are made of the answer itself")
    return Markup("<p>{}</p>").format(_text(part))


def _branch(tree: Tree) -> Markup:
    label = tree.label if isinstance(tree.label, Text) else Text(str(tree.label))
    below = Markup("").join(map(_branch, tree.children))
    return Markup("<li>{}{}</li>").format(_text(label), Markup("<ul>{}</ul>").format(below) if below else "")


def _text(text: Text | str) -> Markup:
    if isinstance(text, str):
        return escape(text)
    found = []
    for start, end, style in _pieces(text):
        piece = escape(text.plain[start:end])
        known = TONES.get(style)
        found.append(Markup('<span class="{}">{}</span>').format(known, piece) if known else piece)
    return Markup("").join(found)


def _pieces(text: Text) -> Iterable[tuple[int, int, str]]:
    """The text from one change of style to the next; of styles that lie over each other, the last one counts."""
    edges = sorted({0, len(text.plain), *(edge for span in text.spans for edge in (span.start, span.end))})
    for start, end in pairwise(edges):
        over = [str(span.style) for span in text.spans if span.start <= start and end <= span.end and str(span.style)]
        yield start, end, over[-1] if over else str(text.style)

"""Drawings as SVG that stands in the page: bars of the last runs, and a line of time. They need no script or style."""

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from cli.times import took
from cli.web.tones import tone

BARS = 20
"""How many runs a small drawing shows."""

HEIGHT, GAP, LEAST = 28.0, 1.5, 2.0


def durations(history: Sequence[Mapping[str, Any]]) -> Markup:
    """How long the last runs took, one bar a run, the newest on the right."""
    found = [(each, each["duration_ms"]) for each in history[-BARS:] if each["duration_ms"] is not None]
    return _bars("Durations", [(each, number, took(number)) for each, number in found])


def rows(history: Sequence[Mapping[str, Any]]) -> Markup:
    """How many rows the last runs changed."""
    return _bars("Rows", [(each, each["changed"], f"{each['changed']:,} rows") for each in history[-BARS:]])


def _bars(what: str, runs: Sequence[tuple[Mapping[str, Any], float, str]]) -> Markup:
    if not runs:
        return Markup('<span class="dim">no run yet</span>')
    most = max(number for _, number, _ in runs) or 1
    least = min(runs, key=lambda each: each[1])[2]
    label = f"{what} of the last {len(runs)} runs: from {least} to {max(runs, key=lambda each: each[1])[2]}, "
    label += f"the last {runs[-1][2]}"
    width = 100 / BARS
    bars = []
    for place, (run, number, _) in enumerate(runs, BARS - len(runs)):
        high = max(LEAST, number / most * HEIGHT)
        bars.append(
            Markup('<rect class="{}" x="{:.2f}%" y="{:.2f}" width="{:.2f}%" height="{:.2f}" rx="1"></rect>').format(
                tone(run["outcome"]), place * width, HEIGHT - high, width - GAP, high
            )
        )
    shape = Markup('<svg class="bars" role="img" aria-label="{}" width="100%" height="{:.0f}">{}</svg>')
    return shape.format(label, HEIGHT, Markup("<title>{}</title>").format(label) + Markup("").join(bars))

"""Results → the generated parts of a page of the documentation, and its plot."""

from __future__ import annotations

from pathlib import Path

from matplotlib.figure import Figure
from side_by_side.page import fill_page

from .contenders import CONTENDERS, VARIANTS
from .tables import TABLES, Data, machine_line, seconds_of


def write_page(page: Path, data: Data) -> None:
    fill_page(page, data, {**TABLES, "machine": machine_line})
    images = page.parent / "images"
    images.mkdir(exist_ok=True)
    if data["cells"].get("read", {}).get("rounds"):
        draw_searches(data, images / "store-search.png")


def draw_searches(data: Data, file: Path) -> None:
    """Bars from nothing to the median of a search, whiskers to its 95th percentile; plain and filtered, logarithmic."""
    names = [name for name in CONTENDERS if name not in VARIANTS[1:] and seconds_of(data, name, "search")]
    figure = Figure(figsize=(8, 1 + 0.55 * len(names)), layout="constrained")
    axes = figure.subplots()
    for offset, kind, colour, label in (
        (0.2, "search", "tab:blue", "among all"),
        (-0.2, "filter", "tab:orange", "among one in a hundred"),
    ):
        for row, name in enumerate(reversed(names)):
            timing = seconds_of(data, name, kind)
            assert timing is not None
            middle, most = 1000 * timing.median, 1000 * timing.percentile(95)
            axes.barh(
                row + offset,
                middle,
                height=0.38,
                color=colour,
                xerr=[[0], [most - middle]],
                ecolor="dimgray",
                capsize=3,
                label=label if row == 0 else None,
            )
            axes.annotate(
                f"{middle:,.0f}" if middle >= 100 else f"{middle:.3g}",
                (most, row + offset),
                xytext=(5, 0),
                textcoords="offset points",
                va="center",
            )
    axes.set_yticks(range(len(names)), [CONTENDERS[name][0] for name in reversed(names)])
    axes.set_xscale("log")
    axes.set_xlabel("milliseconds a search, p50 and p95, less is better")
    axes.margins(x=0.12)
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=2, frameon=False)
    figure.savefig(file, dpi=120)

"""Results → the generated parts of a page of the documentation, and its plots."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path

from matplotlib.figure import Figure

from .contenders import contenders
from .tables import TABLES, Data, grid_ratios, timing

_PART = re.compile(r"(<!-- measured: (?P<name>\w+) -->\n).*?(<!-- /measured -->)", re.DOTALL)


def write_page(page: Path, data: Data) -> None:
    """Fill the page; draw what has been measured.

    Raises:
        SystemExit: the page names a part there is none of.
    """
    fill_page(page, data, {**TABLES, "machine": _machine})
    images = page.parent / "images"
    images.mkdir(exist_ok=True)
    if "mix" in data["cells"]:
        draw_mix(data, images / "embedding-speed.png")
    if grid_ratios(data):
        draw_grid(data, images / "embedding-grid.png")


def fill_page(page: Path, data: Data, tables: Mapping[str, Callable[[Data], str]]) -> None:
    """Fill what stands between ``<!-- measured: NAME -->`` and ``<!-- /measured -->``.

    Raises:
        SystemExit: the page names a part there is none of.
    """
    text = page.read_text(encoding="utf-8")
    if unknown := {match["name"] for match in _PART.finditer(text)} - set(tables):
        raise SystemExit(f"{page}: unknown parts {', '.join(unknown)}; expected some of {', '.join(tables)}")

    def filled(match: re.Match[str]) -> str:
        measured = tables[match["name"]](data)
        return f"{match[1]}{measured}\n{match[3]}" if measured else match[0]

    page.write_text(_PART.sub(filled, text), encoding="utf-8")


def draw_mix(data: Data, file: Path) -> None:
    """Bars of passages a second with their spread; lines where all time went into the fastest matrix product."""
    cell, known = data["cells"]["mix"], contenders(data["settings"]["model"])
    facts = cell["facts"]
    found = [(name, timed) for name in known if (timed := timing(cell, name)) is not None]
    found.sort(key=lambda item: -item[1].median)
    figure = Figure(figsize=(8, 0.8 + 0.45 * len(found)), layout="constrained")
    axes = figure.subplots()
    for row, (name, measured) in enumerate(found):
        middle, least, most = measured.rates(facts["texts"])
        colour = "tab:blue" if name.startswith("langbert") else "silver"
        axes.barh(row, middle, color=colour, xerr=[[middle - least], [most - middle]], ecolor="dimgray", capsize=3)
        axes.annotate(f"{middle:.0f}", (0, row), xytext=(4, 0), textcoords="offset points", va="center")
    for precision, style in (("float32", ":"), ("bfloat16", "--")):
        roof = facts.get(f"roof {precision}")
        if roof and facts["flops"]:
            at = 1e9 * roof["gflops"] * facts["texts"] / facts["flops"]
            axes.axvline(at, linestyle=style, color="tab:red", label=f"roof {precision}: {at:.0f}")
    axes.set_yticks(range(len(found)), [known[name].label for name, _ in found])
    axes.set_xlabel(f"passages a second, {facts['tokens'] / facts['texts']:.0f} tokens on average")
    axes.legend(loc="lower right")
    figure.savefig(file, dpi=120)


def draw_grid(data: Data, file: Path) -> None:
    """A map of how many times faster than HuggingFaceEmbeddings, for each language."""
    ratios = grid_ratios(data)
    counts = ("1", "10", "many")
    figure = Figure(figsize=(8, 3.4), layout="constrained")
    languages = [name for name in ("en", "zh") if any(place[0] == name for place in ratios)]
    panels = figure.subplots(1, len(languages), squeeze=False)[0]
    most = max(ratios.values())
    for panel, language in zip(panels, languages, strict=True):
        lengths = sorted({place[1] for place in ratios if place[0] == language})
        shown = [[ratios.get((language, length, count), float("nan")) for count in counts] for length in lengths]
        panel.imshow(shown, cmap="RdYlGn", vmin=2 - most, vmax=most, aspect="auto")  # 1 in the middle
        panel.set_xticks(range(len(counts)), [f"{count} texts" if count != "1" else "1 text" for count in counts])
        panel.set_yticks(range(len(lengths)), [f"{length} tokens" for length in lengths])
        panel.set_title({"en": "English", "zh": "Chinese"}[language])
        for row, values in enumerate(shown):
            for column, value in enumerate(values):
                panel.text(column, row, f"{value:.1f}×", ha="center", va="center")
    figure.savefig(file, dpi=120)


def _machine(data: Data) -> str:
    machine, settings = data["machine"], data["settings"]
    return (
        f"{machine['processor']}, {settings['threads']} threads, {machine['system']}, Python {machine['python']}, "
        f"torch {machine['torch']}; texts: {settings['data']}; model: {settings['model']}."
    )

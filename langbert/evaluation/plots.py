"""The plots of a report, as SVG that stands by itself."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import MissingExtra

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from .answers import AnswerRow
    from .estimates import Bin

_BINS = 20
_RIGHT, _WRONG, _NO_ANSWER = "tab:green", "tab:orange", "tab:gray"


def risk_coverage(rows: Sequence[AnswerRow]) -> tuple[list[float], list[float]]:
    """Share of the questions answered, and ``1 - F1`` over these, as the confidence that is asked for falls.

    Ends where the pipeline refuses: what it would have said beyond is not known. An answer where there is none has an
    F1 of 0.
    """
    answered = sorted((row for row in rows if not row.refused), key=lambda row: -row.confidence)
    confidences = np.array([row.confidence for row in answered])
    last = np.flatnonzero(np.append(confidences[1:] != confidences[:-1], True)) if answered else np.array([], int)
    risk = np.cumsum([1 - row.merit for row in answered])[last] / (last + 1)  # equal ones are answered together
    return ((last + 1) / max(len(rows), 1)).tolist(), risk.tolist()


def risk_coverage_plot(rows: Sequence[AnswerRow]) -> str:
    figure, axes = _figure("answers given (share of the questions)", "risk: 1 - F1 of these")
    coverage, risk = risk_coverage(rows)
    if coverage:
        axes.plot(coverage, risk, color="tab:blue")
        axes.plot(coverage[-1], risk[-1], "o", color="tab:blue")
        axes.annotate("refuses beyond", (coverage[-1], risk[-1]), (-8, 8), textcoords="offset points", ha="right")
    axes.set(xlim=(0, 1.03), ylim=(0, max([0.1, *risk]) * 1.1))
    return _svg(figure)


def confidence_plot(rows: Sequence[AnswerRow]) -> str:
    """How sure the pipeline was of what it got right, got wrong and could not know, and how often it was there."""
    groups = {
        "answered right": ([row for row in rows if row.kind == "answerable" and row.scores["contained"]], _RIGHT),
        "not found, though there": (
            [row for row in rows if row.kind == "answerable" and not row.scores["contained"]],
            _WRONG,
        ),
        "not there": ([row for row in rows if row.kind != "answerable"], _NO_ANSWER),
    }
    shown = {label: found for label, found in groups.items() if found[0]}
    figure, axes = _figure("confidence", "questions")
    if shown:
        values = [[min(max(row.confidence, 0), 1) for row in found] for found, _ in shown.values()]
        colours = [colour for _, colour in shown.values()]
        axes.hist(values, bins=_BINS, range=(0, 1), stacked=True, color=colours, label=list(shown))
        axes.legend(loc="upper left", frameon=False)
    if groups["not there"][0] and len(shown) > 1:
        right = axes.twinx()
        right.plot(*_held_by_confidence(rows), "o--", color="black", markersize=4, linewidth=1)
        right.plot([0, 1], [0, 1], ":", color="black", linewidth=0.8)
        right.set(ylim=(0, 1.05), ylabel="share that is answered there (dots)")
    return _svg(figure)


def _held_by_confidence(rows: Sequence[AnswerRow]) -> tuple[list[float], list[float]]:
    """The mean confidence of each tenth, and the share of its questions that can be answered."""
    tenths: dict[int, list[AnswerRow]] = {}
    for row in rows:
        tenths.setdefault(min(int(row.confidence * 10), 9), []).append(row)
    ordered = [tenths[tenth] for tenth in sorted(tenths)]
    held = [float(np.mean([row.kind == "answerable" for row in some])) for some in ordered]
    return [float(np.mean([row.confidence for row in some])) for some in ordered], held


def reliability_plot(bins: Sequence[Bin]) -> str:
    """How often answers of like confidence are right; on the dotted line the confidence says just that."""
    figure, axes = _figure("confidence", "share that is right")
    axes.plot([0, 1], [0, 1], ":", color="black", linewidth=0.8)
    axes.plot([each.confidence for each in bins], [each.right for each in bins], "o-", color="tab:blue")
    for each in bins:
        axes.annotate(str(each.n), (each.confidence, each.right), (6, -10), textcoords="offset points", fontsize=8)
    axes.set(xlim=(0, 1.05), ylim=(0, 1.05))
    return _svg(figure)


def latency_plot(rows: Sequence[AnswerRow]) -> str:
    """How many questions were answered within so many seconds."""
    from matplotlib.ticker import LogLocator, NullFormatter

    figure, axes = _figure("seconds, logarithmic", "questions answered (share)")
    seconds = sorted(row.timings["total"] for row in rows if row.timings.get("total", 0) > 0)
    if seconds:
        axes.step(seconds, np.arange(1, len(seconds) + 1) / len(seconds), where="post", color="tab:blue")
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axes.xaxis.set_major_formatter("{x:g}")
        axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_ylim(0, 1.03)
    return _svg(figure)


def differences_plot(differences: Sequence[float], measure: str) -> str:
    """The difference of every question, sorted."""
    figure, axes = _figure("questions", f"difference of {measure}")
    ordered = sorted(differences, reverse=True)
    axes.fill_between(range(len(ordered)), ordered, step="mid", color="tab:blue", alpha=0.6)
    axes.axhline(0, color="black", linewidth=0.8)
    return _svg(figure)


def _figure(x: str, y: str) -> tuple[Figure, Any]:
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtra("matplotlib", "eval", "a report with plots") from error
    figure = Figure(figsize=(5.4, 3.4), layout="constrained")
    axes = figure.subplots()
    axes.set(xlabel=x, ylabel=y)
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _svg(figure: Figure) -> str:
    from matplotlib import rc_context

    out = io.StringIO()
    with rc_context({"svg.hashsalt": "langbert", "svg.fonttype": "path"}):  # the same bytes every time
        figure.savefig(out, format="svg", metadata={"Date": None, "Creator": None})
    return out.getvalue()

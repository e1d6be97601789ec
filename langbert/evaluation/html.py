"""A run as one HTML file that needs nothing else: no network, no script."""

from __future__ import annotations

import base64
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from .answers import MEASURES, AnswerRow, AnswersReport
from .comparison import Comparison
from .datasets import QuestionSet
from .plots import confidence_plot, differences_plot, latency_plot, risk_coverage_plot
from .question_words import question_word

_SHOWN = 20  # answers, or changes


def write_answers_report(report: AnswersReport, data: QuestionSet, file: str | Path) -> None:
    """Summary, plots, F1 by question word, and the worst answers beside what was accepted.

    Raises:
        MissingExtra: matplotlib is not installed.
    """
    rows = report.rows
    plots = {
        "Risk and coverage": risk_coverage_plot(rows),
        "Confidence": confidence_plot(rows),
        "Latency": latency_plot(rows),
    }
    write_page(
        "answers_report.html",
        file,
        report=report,
        counts=report.to_dict()["questions"],
        labels={name: label for name, (label, _) in MEASURES.items()},
        plots={title: data_url(svg) for title, svg in plots.items()},
        words=_by_question_word(rows),
        worst=[(row, data.paragraphs[row.paragraph]) for row in worst_answers(rows, _SHOWN)],
    )


def write_comparison_report(comparison: Comparison, names: tuple[str, str], file: str | Path) -> None:
    """Each measure of two runs, the differences sorted, and the questions that changed most.

    Raises:
        MissingExtra: matplotlib is not installed.
    """
    apart = [change.difference for change in comparison.changes]
    apart += [0.0] * comparison.differences[comparison.measure].same
    plot, changes = data_url(differences_plot(apart, comparison.measure)), comparison.changes[:_SHOWN]
    write_page("comparison_report.html", file, comparison=comparison, names=names, plot=plot, changes=changes)


def worst_answers(rows: Sequence[AnswerRow], count: int) -> list[AnswerRow]:
    """The lowest F1 first; of these, what the pipeline was surest of: of its answer, or that there is none."""
    wrong = [row for row in rows if row.merit < 1]
    return sorted(wrong, key=lambda row: (row.merit, row.confidence if row.refused else -row.confidence))[:count]


def _by_question_word(rows: Sequence[AnswerRow]) -> list[tuple[str, int, float, float]]:
    """``(word, questions, mean F1, share refused)`` of the answerable questions, the most frequent first."""
    groups: dict[str, list[AnswerRow]] = {}
    for row in rows:
        if row.kind == "answerable":
            groups.setdefault(question_word(row.question), []).append(row)
    return [
        (word, n, sum(row.scores["f1"] for row in some) / n, sum(row.refused for row in some) / n)
        for word, some in sorted(groups.items(), key=lambda item: -len(item[1]))
        for n in [len(some)]
    ]


def write_page(template: str, file: str | Path, **names: Any) -> None:
    """One of our pages: everything is escaped, and a name that is not there is an error."""
    made = Environment(
        loader=PackageLoader("langbert.evaluation", "."), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    made.filters.update(marked=_marked, percent=lambda value: f"{100 * value:.1f}", seconds=_seconds)
    Path(file).write_text(made.get_template(template).render(**names), encoding="utf-8")


def _marked(text: str, answers: Sequence[str]) -> Markup:
    """The text, escaped, with the accepted answers highlighted."""
    return mark_found(text, [re.escape(answer) for answer in answers if answer])


def mark_found(text: str, patterns: Sequence[str]) -> Markup:
    """The text, escaped, with everything highlighted that one of the regular expressions finds, the longest first."""
    if not patterns:
        return escape(text)
    wanted = "|".join(sorted(set(patterns), key=len, reverse=True))
    pieces = re.split(f"({wanted})", text, flags=re.IGNORECASE)  # odd ones are found
    return Markup("").join(
        Markup("<mark>{}</mark>").format(piece) if i % 2 else escape(piece) for i, piece in enumerate(pieces)
    )


def _seconds(value: float) -> str:
    return f"{value:.2f} s" if value >= 1 else f"{1000 * value:.0f} ms"


def data_url(svg: str) -> str:
    """A picture that stands in the page itself."""
    return f"data:image/svg+xml;base64,{base64.b64encode(svg.encode()).decode()}"

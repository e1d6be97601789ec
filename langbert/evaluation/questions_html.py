"""Every question with its answer, beside what it should hold, as one HTML file: no network, no script."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

from markupsafe import Markup

from .estimates import calibration_bins
from .html import data_url, mark_found, write_page
from .nuggets import read_lengths, wording_pattern
from .plots import reliability_plot
from .questions import QuestionRow, Verdict
from .questions_report import MEASURES, QuestionsReport

_UNREAD = Markup("<span class='unread' title='beyond the words that count'>{}</span>")


def write_questions_report(report: QuestionsReport, file: str | Path, *, plot: bool = False) -> None:
    """The measures by group, and each question: answer, quotes, the words that should be there, what is missing.

    Args:
        plot: with the reliability of the confidence.

    Raises:
        MissingExtra: a plot is wanted and matplotlib is not installed.
    """
    given = [row for row in report.rows if not row.given.refused]
    bins = calibration_bins([row.given.confidence for row in given], [row.right for row in given])
    write_page(
        "questions_report.html",
        file,
        report=report,
        labels={name: label for name, (label, _) in MEASURES.items()},
        kinds=list(dict.fromkeys(row.question.kind for row in report.rows)),
        verdicts=get_args(Verdict),
        cases=[_case(row) for row in report.rows],
        reliability=data_url(reliability_plot(bins)) if plot else None,
    )


def _case(row: QuestionRow) -> dict[str, Any]:
    """What the page shows of a question; every text is escaped."""
    wordings = [wording_pattern(wording) for nugget in row.question.nuggets for wording in nugget]
    answer, *quotes = (
        _shown(text, length, wordings)
        for text, length in zip(
            (row.given.answer, *(cited.quote for cited in row.given.citations)),
            read_lengths(row.given.parts),
            strict=True,
        )
    )
    return {
        "row": row,
        "answer": answer,
        "quotes": list(zip(row.given.citations, quotes, strict=True)),
        "evidence": [(gold.source, mark_found(gold.quote, wordings)) for gold in row.question.evidence],
        "nuggets": list(zip(row.question.nuggets, row.held, strict=True)),
    }


def _shown(text: str, length: int, wordings: Sequence[str]) -> Markup:
    """Words that count are marked where they should be there; what is too far down to be read is dimmed."""
    read = mark_found(text[:length], wordings)
    return read + _UNREAD.format(text[length:]) if text[length:].strip() else read

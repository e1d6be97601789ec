"""Runs → Markdown tables."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from statistics import median
from typing import Any

from side_by_side.tables import markdown

from langbert.evaluation import AnswerRow, AnswersReport, Run
from langbert.evaluation.answers import report_answers
from langbert.evaluation.estimates import Estimate

from .contenders import BASE

Data = Mapping[str, Any]
"""``answers``: contender → run; ``aragog``: run. Either may be missing."""

_MEASURES = {
    "f1": "F1, %",
    "exact": "exact match, %",
    "contained": "answer contained, %",
    "citation_passage": "source shown is the right passage, %",
    "citation_precision": "source shown holds the answer, %",
    "wrongly_refused": "refused though it is there, %",
    "rightly_refused": "refused as the passage does not say, %",
    "absent_refused": "refused without its article, %",
    "auroc": "AUROC, answered there or not",
    "absent_auroc": "AUROC, with and without its article",
}


def answers_table(data: Data) -> str:
    runs: Mapping[str, Run] = data.get("answers") or {}
    if not runs:
        return ""
    shared = set.intersection(*(set(run.rows) for run in runs.values()))
    rows = {
        name: [AnswerRow.from_dict(row) for row in run.rows.values() if row["id"] in shared]
        for name, run in runs.items()
    }
    reports = {name: report_answers(some, name=name, mode="", passages=0) for name, some in rows.items()}
    lines = [
        [label, *(_with_interval(report, measure) for report in reports.values())]
        for measure, label in _MEASURES.items()
        if any(measure in report.measures for report in reports.values())
    ]
    lines.append(["words of the source shown", *(_words_shown(some) for some in rows.values())])
    lines += [
        [f"time to the answer, {name}, s", *(_seconds(report.stages, name) for report in reports.values())]
        for name in ("p50", "p95")
    ]
    if BASE in rows:
        lines.append(["times as fast, median of the questions", *(_times(some, rows[BASE]) for some in rows.values())])
    head = ["", *(run.settings["label"] for run in runs.values())]
    counts = [row.kind for row in next(iter(rows.values()))]
    told = ", ".join(f"{counts.count(kind)} {_KINDS[kind]}" for kind in dict.fromkeys(counts))
    first = next(iter(runs.values())).settings
    below = f"{first['data']}: {first['passages']:,} passages; {told}. In brackets 95 % intervals, bootstrapped."
    return f"{markdown(head, lines)}\n\n{below}"


_KINDS = {
    "answerable": "questions that are answered there",
    "unanswerable": "that are not, though a passage looks like it",
    "absent": "asked without their article",
}


def aragog_table(data: Data) -> str:
    run: Run | None = data.get("aragog")
    if run is None or not run.rows:
        return ""
    here = [row for row in run.rows.values() if row["here"]]
    gone = [row for row in run.rows.values() if not row["here"]]
    n = max(len(here), 1)
    lines = [
        ["right paper cited", _share([row["scores"]["cited"] for row in here])],
        ["right paper cited first", _share([row["scores"]["cited_first"] for row in here])],
        ["right paper found first", _share([row["scores"]["found_first"] for row in here])],
        ["right paper among the first 5 found", _share([row["scores"]["found"] for row in here])],
        ["refused", _share([float(row["refused"]) for row in here])],
        ["cosine of answer and reference", f"{sum(row['scores']['similarity'] for row in here) / n:.3f}"],
        ["F1 of answer and reference", f"{sum(row['scores']['f1'] for row in here) / n:.3f}"],
        ["time to the answer, p50, s", f"{median(row['seconds'] for row in run.rows.values()):.2f}"],
    ]
    if gone:
        lines.append(["refused, of those whose paper is not there", _share([float(row["refused"]) for row in gone])])
    settings = run.settings
    below = f"{settings['papers']} papers, {settings['chunks']:,} chunks, mode {settings['mode']}."
    return f"{markdown(['', ''], lines)}\n\n{below}"


def aragog_misses(data: Data) -> str:
    run: Run | None = data.get("aragog")
    if run is None or not run.rows:
        return ""
    missed = [row for row in run.rows.values() if row["here"] and not row["scores"]["cited"]]
    lines = [
        [row["question"].replace("|", "\\|").strip(), row["paper"], ", ".join(row["cited"]) or "refused"]
        for row in missed
    ]
    return (
        "\n".join(["| question | paper | cited |", "|---|---|---|", *(f"| {' | '.join(line)} |" for line in lines)])
        if lines
        else "None."
    )


def machine_line(data: Data) -> str:
    runs = [*(data.get("answers") or {}).values(), *filter(None, [data.get("aragog")])]
    return (
        ", ".join(f"{name} {value}".strip() for name, value in runs[0].settings["machine"].items()) + "."
        if runs
        else ""
    )


TABLES: dict[str, Callable[[Data], str]] = {
    "machine": machine_line,
    "answers": answers_table,
    "aragog": aragog_table,
    "aragog_misses": aragog_misses,
}


def report(data: Data) -> str:
    """All that has been measured."""
    sections = {name: table(data) for name, table in TABLES.items()}
    return "\n\n".join(f"## {name}\n\n{text}" for name, text in sections.items() if text)


def _with_interval(report: AnswersReport, measure: str) -> str:
    estimate = report.measures.get(measure)
    if estimate is None:
        return ""
    scale, form = (1, "{:.3f}") if measure.endswith("auroc") else (100, "{:.1f}")
    value = form.format(scale * estimate.value)
    if estimate.low is None or estimate.high is None:
        return value
    return f"{value} ({form.format(scale * estimate.low)}–{form.format(scale * estimate.high)})"


def _words_shown(rows: Sequence[AnswerRow]) -> str:
    words = [len(cited.quote.split()) for row in rows for cited in row.citations]
    return f"{median(words):.0f}" if words else ""


def _seconds(stages: Mapping[str, Mapping[str, Estimate]], name: str) -> str:
    return f"{stages['total'][name].value:.2f}" if "total" in stages else ""


def _times(rows: Sequence[AnswerRow], base: Sequence[AnswerRow]) -> str:
    theirs = {row.id: row.timings["total"] for row in base}
    return f"{median(theirs[row.id] / row.timings['total'] for row in rows):.2f}×"


def _share(values: Sequence[float]) -> str:
    return f"{100 * sum(values) / len(values):.1f} % ({sum(map(bool, values))} of {len(values)})" if values else ""

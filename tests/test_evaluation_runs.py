"""Files of runs, intervals, and the comparison of two runs, against scipy and values worked by hand."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from langbert.errors import DataError
from langbert.evaluation import Run, compare_runs, read_run
from langbert.evaluation.estimates import auroc, estimate_auroc, estimate_mean, estimate_percentile
from langbert.evaluation.runs import RunFile

pytest.importorskip("scipy")

SETTINGS = {"kind": "answers", "data": "d", "limits": (1, 2)}


def row(name: str, **scores: float) -> Mapping[str, object]:
    return {"id": name, "question": f"{name}? 诺曼底", "scores": scores}


def run_of(values: Mapping[str, float], measure: str = "f1", kind: str = "answers") -> Run:
    return Run({"kind": kind}, {name: row(name, **{measure: value}) for name, value in values.items()})


# --- files ---------------------------------------------------------------------------------------------------------


def test_a_run_goes_on_where_it_was_killed(tmp_path: Path) -> None:
    file = tmp_path / "runs" / "a.jsonl"
    with RunFile(file, SETTINGS) as run:
        run.append(row("q1", f1=1.0))
    with file.open("ab") as lines:  # a row that was being written
        lines.write('{"id": "q2", "question": "诺'.encode()[:-1])
    assert list(read_run(file).rows) == ["q1"]
    with RunFile(file, SETTINGS, resume=True) as run:
        assert list(run.rows) == ["q1"]
        run.append(row("q2", f1=0.5))
    found = read_run(file)
    assert [each["scores"]["f1"] for each in found.rows.values()] == [1.0, 0.5]
    assert found.rows["q2"]["question"] == "q2? 诺曼底"


def test_a_run_is_neither_overwritten_nor_mixed_with_another(tmp_path: Path) -> None:
    file = tmp_path / "a.jsonl"
    with RunFile(file, SETTINGS) as run:
        run.append(row("q1", f1=1.0))
    with pytest.raises(DataError, match="--resume"):
        RunFile(file, SETTINGS)
    with pytest.raises(DataError, match="data 'd', now 'other'"):
        RunFile(file, {**SETTINGS, "data": "other"}, resume=True)
    assert list(read_run(file).rows) == ["q1"]


@pytest.mark.parametrize("content", ["", "not json\n", "[]\n", '{"data": "d"}\n', '{"kind": "answers"}\n{"id": "q"}\n'])
def test_a_file_that_is_no_run_is_refused(tmp_path: Path, content: str) -> None:
    file = tmp_path / "a.jsonl"
    file.write_text(content, encoding="utf-8")
    with pytest.raises(DataError, match="does not hold a run"):
        read_run(file)


def test_a_missing_run_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="--save"):
        read_run(tmp_path / "nothing.jsonl")


# --- estimates -------------------------------------------------------------------------------------------------------


def test_auroc_is_that_of_scikit_learn() -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(0)
    labels = rng.random(400) < 0.3
    scores = np.round(rng.random(400) + 0.2 * labels, 1)  # many ties
    expected = metrics.roc_auc_score(labels, scores)
    assert auroc(labels.tolist(), scores.tolist()) == pytest.approx(expected)
    found = estimate_auroc(scores[labels].tolist(), scores[~labels].tolist())
    assert found is not None
    assert found.value == pytest.approx(expected)
    assert found.low < expected < found.high  # type: ignore[operator]
    assert auroc([True, True], [0.1, 0.2]) is None
    assert auroc([True, False], [0.1, float("-inf")]) == 1.0


def test_an_interval_covers_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(60):
        found = estimate_mean(rng.exponential(size=80).tolist())
        assert found is not None
        covered += found.low <= 1.0 <= found.high  # type: ignore[operator]
    assert 50 <= covered <= 60


def test_estimates_of_little_or_nothing() -> None:
    assert estimate_mean([]) is None
    assert estimate_auroc([0.1], []) is None
    single = estimate_percentile([2.0], 95)
    assert single is not None
    assert (single.value, single.low, single.high, single.n) == (2.0, None, None, 1)
    same = estimate_mean([1.0, 1.0, 1.0])
    assert same is not None
    assert (same.low, same.high) == (1.0, 1.0)
    middle = estimate_percentile([1.0, 2.0, 3.0, 4.0], 50)
    assert middle is not None
    assert middle.value == 2.5


# --- comparing -------------------------------------------------------------------------------------------------------


def test_the_paired_test_agrees_with_scipy() -> None:
    from scipy import stats

    rng = np.random.default_rng(3)
    first = rng.random(60)
    second = np.where(rng.random(60) < 0.3, first, first + rng.normal(0.04, 0.15, 60))
    runs = [run_of({str(i): float(value) for i, value in enumerate(values)}) for values in (first, second)]
    found = compare_runs(*runs).differences["f1"]
    expected = stats.permutation_test(
        (second, first),
        lambda one, two, axis: np.mean(one - two, axis=axis),
        permutation_type="samples",
        n_resamples=4999,
        vectorized=True,
        rng=np.random.default_rng(0),
    )
    assert found.difference == pytest.approx(expected.statistic)
    assert found.p_value == pytest.approx(expected.pvalue, abs=0.02)
    assert found.low < found.difference < found.high  # type: ignore[operator]
    assert found.same == int((first == second).sum())


def test_differences_worked_by_hand() -> None:
    first = run_of({"a": 1.0, "b": 0.0, "c": 0.5, "gone": 1.0})
    second = run_of({"a": 0.0, "b": 0.25, "c": 0.5, "new": 0.0, "newer": 0.0})
    found = compare_runs(first, second)
    assert (found.questions, found.only_first, found.only_second) == (3, 1, 2)
    assert [(change.id, change.difference) for change in found.changes] == [("a", -1.0), ("b", 0.25)]
    difference = found.differences["f1"]
    assert (difference.first, difference.second, difference.difference) == (0.5, 0.25, -0.25)
    assert (difference.better, difference.worse, difference.same) == (1, 1, 1)
    assert json.loads(json.dumps(found.to_dict(top=1)))["changes"][0]["question"] == "a? 诺曼底"


def test_runs_that_do_not_differ_differ_by_chance_alone() -> None:
    same = run_of({"a": 1.0, "b": 0.0})
    difference = compare_runs(same, same).differences["f1"]
    assert (difference.difference, difference.p_value) == (0.0, 1.0)
    assert compare_runs(same, same).changes == []
    alone = run_of({"a": 1.0})
    assert compare_runs(alone, alone).differences["f1"].p_value is None


def test_runs_that_cannot_be_compared_are_refused_with_the_reason() -> None:
    answers = run_of({"a": 1.0})
    with pytest.raises(DataError, match="answers cannot be compared with one of retrieval"):
        compare_runs(answers, run_of({"a": 1.0}, kind="retrieval"))
    with pytest.raises(DataError, match="share no question"):
        compare_runs(answers, run_of({"b": 1.0}))
    with pytest.raises(DataError, match="no measure 'exact' in these runs; there are f1"):
        compare_runs(answers, answers, measure="exact")

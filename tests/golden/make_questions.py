"""Writes questions.json: what score.py, which the rules of langbert.evaluation.nuggets come from, makes of the sample.

    python tests/golden/make_questions.py SCORE.PY

SCORE.PY needs the standard library only, and shares no code with langbert.
"""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path

HERE = Path(__file__).parent


def main() -> None:
    spec = importlib.util.spec_from_file_location("score", sys.argv[1])
    assert spec is not None
    assert spec.loader is not None
    scorer = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(scorer)
    questions, answers = (
        [json.loads(line) for line in (HERE / name).read_text(encoding="utf-8").splitlines()]
        for name in ("questions.jsonl", "question_answers.jsonl")
    )
    rows = scorer.score(questions, {answer["id"]: answer for answer in answers})
    groups = {"all": rows}
    for key in ("lang", "corpus", "kind"):
        for row in rows:
            groups.setdefault(f"{key}={row[key]}", []).append(row)
    summaries = {name: scorer.summary(some) for name, some in groups.items()}
    known = {
        name: {key: None if value != value else value for key, value in summary.items()}  # NaN is no JSON
        for name, summary in summaries.items()
    }
    golden = {"rows": rows, "groups": known}
    (HERE / "questions.json").write_text(json.dumps(golden, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

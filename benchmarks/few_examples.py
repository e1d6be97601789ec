"""What an embedder learns of a few pairs, and whether it spoils anything else.

    python benchmarks/few_examples.py TRAIN.jsonl TEST.jsonl [OTHER.jsonl …] --output FOLDER [--objective linear]

Every file is JSON lines of ``{"query", "positive"}``. Each query looks for its own passage among all those of its file;
told are the mean reciprocal rank before and after, and the mean difference, query by query, with its 95 % interval.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from langbert import Embedder
from langbert.evaluation.estimates import estimate_mean
from langbert.training import train


def reciprocal_ranks(embedder: Embedder, file: Path) -> NDArray[np.float64]:
    """``(n,)`` in (0, 1]."""
    rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    passages = list(dict.fromkeys(row["positive"] for row in rows))
    right = [passages.index(row["positive"]) for row in rows]
    cosines = embedder.embed([row["query"] for row in rows], "query") @ embedder.embed(passages).T
    own = cosines[np.arange(len(rows)), right]
    return np.asarray(1 / (1 + (cosines > own[:, None]).sum(axis=1)), dtype=np.float64)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("train", type=Path)
    parser.add_argument("test", type=Path, nargs="+")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--base", default="e5-small")
    parser.add_argument("--objective", default="linear")
    parser.add_argument("--threads", type=int)
    arguments = parser.parse_args()
    report = train(
        "embedder",
        arguments.train,
        arguments.output,
        base=arguments.base,
        objective=arguments.objective,
        holdout=0.0,
    )
    before, after = (Embedder(model, threads=arguments.threads) for model in (arguments.base, report.folder))
    for file in arguments.test:
        first, second = reciprocal_ranks(before, file), reciprocal_ranks(after, file)
        gain = estimate_mean((second - first).tolist())
        assert gain is not None
        print(
            f"{file.stem}: {gain.n} queries, MRR {first.mean():.3f} → {second.mean():.3f}, "
            f"{gain.value:+.3f} [{gain.low:+.3f}, {gain.high:+.3f}]",
            flush=True,
        )


if __name__ == "__main__":
    main()

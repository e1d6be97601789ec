"""Writes embeddings.json: what sentence-transformers makes of a few texts with all-MiniLM-L6-v2, in float32.

    python tests/golden/make_embeddings.py

Run again only when the texts change; the point of the numbers is that langbert did not make them.
"""

from __future__ import annotations

import json
from pathlib import Path

import sentence_transformers

from langbert.models import resolve

TEXTS = [
    "",
    "a",
    "Where does the answer stand?",
    "BERT is pre-trained with a masked language model and next sentence prediction.",
    "机器学习是人工智能的一个分支。它从数据中学习。",
    "Émigré café — naïve\u00a0ﬁle\n\n\tIndented 🙂 text.",
    "The end of this text is over the limit. " * 60,
]


def main() -> None:
    model = sentence_transformers.SentenceTransformer(str(resolve("minilm")), device="cpu")
    vectors = model.encode(TEXTS)
    golden = {
        "made_with": f"sentence-transformers {sentence_transformers.__version__}",
        "max_length": model.max_seq_length,
        "cases": [
            {"text": text, "vector": [round(float(x), 7) for x in vector]}
            for text, vector in zip(TEXTS, vectors, strict=True)
        ],
    }
    file = Path(__file__).with_name("embeddings.json")
    file.write_text(json.dumps(golden, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

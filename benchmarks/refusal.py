"""Fits the refusal model of ``langbert.answering.confidence`` and says how well it tells topics apart.

    python benchmarks/refusal.py SQUAD.json [--questions 600]

Every question is asked twice: of all paragraphs, and of all but those of its own article, which then hold no answer.
"""

from __future__ import annotations

import argparse
import random

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from langbert import Embedder, Store
from langbert.answering import confidence_features
from langbert.evaluation import read_retrieval_set
from langbert.evaluation.retrieval import corpus_chunks

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("data", help="a SQuAD JSON file, or a BEIR folder with a title for each article")
parser.add_argument("--questions", type=int, default=600)
parser.add_argument("--depth", type=int, default=4)
arguments = parser.parse_args()

data = read_retrieval_set(arguments.data)
store = Store.open(embedder=Embedder("minilm"))
store.add(corpus_chunks(data))
asked = random.Random(0).sample(list(data.queries), min(arguments.questions, len(data.queries)))
rows, held = [], []
for query in asked:
    question = data.queries[query]
    article = data.corpus[next(iter(data.qrels[query]))][0]
    for where in (None, {"source": {"$ne": article}}):
        rows.append(confidence_features(question, store.search(question, arguments.depth, where=where)))
        held.append(where is None)
features, labels = np.array(rows), np.array(held)
model = LogisticRegression(C=100).fit(features, labels)
(cosine, coverage), bias = model.coef_[0], model.intercept_[0]
scores = model.decision_function(features)
print(f"cosine {cosine:.2f}, coverage {coverage:.2f}, bias {bias:.2f}")
print(f"AUROC {roc_auc_score(labels, scores):.4f} (cosine alone {roc_auc_score(labels, features[:, 0]):.4f})")
answered, refused = np.mean(scores[labels] > 0), np.mean(scores[~labels] <= 0)
print(f"at 0.5: answered {answered:.3f} of those held, refused {refused:.3f} of the rest")

"""How good is it: readers of public data sets, metrics from ir-measures, reports."""

from __future__ import annotations

from .datasets import Question, QuestionSet, RetrievalSet, read_questions, read_retrieval_set
from .reading import ReadingReport, evaluate_reading
from .retrieval import RetrievalReport, evaluate_retrieval

__all__ = [
    "Question",
    "QuestionSet",
    "ReadingReport",
    "RetrievalReport",
    "RetrievalSet",
    "evaluate_reading",
    "evaluate_retrieval",
    "read_questions",
    "read_retrieval_set",
]

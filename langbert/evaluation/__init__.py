"""How good is it: readers of public data sets, metrics, comparisons of runs, reports."""

from __future__ import annotations

from .answers import AnswerRow, AnswersReport, evaluate_answers
from .comparison import Comparison, compare_runs
from .datasets import Question, QuestionSet, RetrievalSet, read_questions, read_retrieval_set
from .reading import ReadingReport, evaluate_reading
from .retrieval import RetrievalReport, evaluate_retrieval, save_retrieval
from .runs import Run, read_run

__all__ = [
    "AnswerRow",
    "AnswersReport",
    "Comparison",
    "Question",
    "QuestionSet",
    "ReadingReport",
    "RetrievalReport",
    "RetrievalSet",
    "Run",
    "compare_runs",
    "evaluate_answers",
    "evaluate_reading",
    "evaluate_retrieval",
    "read_questions",
    "read_retrieval_set",
    "read_run",
    "save_retrieval",
]

"""How good is it: readers of public data sets, metrics, comparisons of runs, reports."""

from __future__ import annotations

from .answers import AnswerRow, AnswersReport, evaluate_answers
from .comparison import Comparison, compare_runs
from .datasets import Question, QuestionSet, RetrievalSet, read_questions, read_retrieval_set
from .evidence import EvidenceQuestion, EvidenceReport, EvidenceSet, evaluate_evidence, read_evidence
from .questions import (
    AskedQuestion,
    GivenAnswer,
    GoldQuote,
    QuestionRow,
    Quoted,
    ask_questions,
    questions_run,
    read_asked_questions,
    read_given_answers,
)
from .questions_report import QuestionsReport, report_questions
from .reading import ReadingReport, evaluate_reading
from .retrieval import RetrievalReport, evaluate_retrieval, save_retrieval
from .runs import Run, read_run

__all__ = [
    "AnswerRow",
    "AnswersReport",
    "AskedQuestion",
    "Comparison",
    "EvidenceQuestion",
    "EvidenceReport",
    "EvidenceSet",
    "GivenAnswer",
    "GoldQuote",
    "Question",
    "QuestionRow",
    "QuestionSet",
    "QuestionsReport",
    "Quoted",
    "ReadingReport",
    "RetrievalReport",
    "RetrievalSet",
    "Run",
    "ask_questions",
    "compare_runs",
    "evaluate_answers",
    "evaluate_evidence",
    "evaluate_reading",
    "evaluate_retrieval",
    "questions_run",
    "read_asked_questions",
    "read_evidence",
    "read_given_answers",
    "read_questions",
    "read_retrieval_set",
    "read_run",
    "report_questions",
    "save_retrieval",
]

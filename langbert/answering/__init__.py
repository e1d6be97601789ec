"""Question → Answer: what the documents hold, in words that can be looked up.

:func:`answer_flow` is the whole policy; :class:`langbert.Rag` performs its steps out of a store. The names below are
for those who perform them with parts of another framework.
"""

from .evidence import Evidence, best_evidence, nearest_sentences
from .flow import (
    SMALL_DECODER,
    Budget,
    Fetch,
    Policy,
    PrepareReader,
    PrepareWriter,
    Quote,
    Read,
    Retrieve,
    Rewrite,
    Step,
    Write,
    adrive,
    answer_flow,
    drive,
)
from .parts import Part

__all__ = [
    "SMALL_DECODER",
    "Budget",
    "Evidence",
    "Fetch",
    "Part",
    "Policy",
    "PrepareReader",
    "PrepareWriter",
    "Quote",
    "Read",
    "Retrieve",
    "Rewrite",
    "Step",
    "Write",
    "adrive",
    "answer_flow",
    "best_evidence",
    "drive",
    "nearest_sentences",
]

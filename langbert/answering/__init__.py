"""Question → Answer: what the documents hold, in words that can be looked up.

:mod:`~langbert.answering.flow` is the whole policy; :class:`langbert.Rag` performs its steps out of a store. The names
below are for those who perform them with parts of another framework.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import flow
from .calibration import ask_confidences, calibrate
from .evidence import best_evidence
from .parts import Part
from .refusal import Encoder, known_encoder, threshold_of
from .selection import weigh

if TYPE_CHECKING:
    from . import claims  # a module: it is imported by whoever asks for it

__all__ = [
    "Encoder",
    "Part",
    "ask_confidences",
    "best_evidence",
    "calibrate",
    "claims",
    "flow",
    "known_encoder",
    "threshold_of",
    "weigh",
]

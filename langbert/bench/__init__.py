"""How fast the parts are: interleaved timings, arithmetic counted, and what the machine could do at best."""

from .embedding import EmbeddingSpeed, Workload, measure_embedders
from .flops import bert_flops
from .profile import Profile, profile_embedder
from .roof import MatrixProducts, Roof, measure_roof
from .texts import sample_texts
from .timing import Timing, interleaved

__all__ = [
    "EmbeddingSpeed",
    "MatrixProducts",
    "Profile",
    "Roof",
    "Timing",
    "Workload",
    "bert_flops",
    "interleaved",
    "measure_embedders",
    "measure_roof",
    "profile_embedder",
    "sample_texts",
]

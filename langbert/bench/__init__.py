"""How fast the parts are: interleaved timings, arithmetic counted, and what the machine could do at best."""

from .asking import AskSpeed, ShellSpeed, measure_asking, measure_shell
from .embedding import EmbeddingSpeed, Workload, measure_embedders
from .flops import bert_flops, gpt_flops
from .generate import GenerationSpeed, measure_generators, measure_reading, rag_messages
from .profile import Profile, profile_embedder
from .roof import MatrixProducts, Roof
from .search import PreparedEmbedder, SearchSpeed, StoreQuestion, make_questions, measure_search
from .texts import sample_texts
from .timing import Timing, interleaved, timed

__all__ = [
    "AskSpeed",
    "EmbeddingSpeed",
    "GenerationSpeed",
    "MatrixProducts",
    "PreparedEmbedder",
    "Profile",
    "Roof",
    "SearchSpeed",
    "ShellSpeed",
    "StoreQuestion",
    "Timing",
    "Workload",
    "bert_flops",
    "gpt_flops",
    "interleaved",
    "make_questions",
    "measure_asking",
    "measure_embedders",
    "measure_generators",
    "measure_reading",
    "measure_search",
    "measure_shell",
    "profile_embedder",
    "rag_messages",
    "sample_texts",
    "timed",
]

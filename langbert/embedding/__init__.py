"""Text → vectors."""

from .cache import EmbeddingCache
from .embedder import Embedder
from .quantization import Encoding, binary, int8

__all__ = ["Embedder", "EmbeddingCache", "Encoding", "binary", "int8"]

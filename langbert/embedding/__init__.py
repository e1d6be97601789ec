"""Text → vectors."""

from .embedder import Embedder

__all__ = ["Embedder"]

"""A small real embedder and chunker for the tests."""

from __future__ import annotations

from langbert.testing.small import DIMENSION, HashEmbedder, LineChunker

__all__ = ["DIMENSION", "HashEmbedder", "LineChunker"]

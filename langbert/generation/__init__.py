"""A conversation → the next turn."""

from .generator import GenerationStream, Generator

__all__ = ["GenerationStream", "Generator"]

"""A conversation → the next turn, written here or by a server that the user names."""

from .generator import Generator
from .remote import RemoteGenerator
from .streaming import GenerationStream

__all__ = ["GenerationStream", "Generator", "RemoteGenerator"]

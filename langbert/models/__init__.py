"""Models: the names langbert knows, where the bytes behind them come from, and the tables that read their weights."""

from __future__ import annotations

from .files.cache import cache_dir
from .files.catalogue import CATALOGUE, CatalogueEntry, find, near_names
from .files.resolution import BY_LLAMA_CPP, Download, is_offline, local_path, resolve

__all__ = [
    "BY_LLAMA_CPP",
    "CATALOGUE",
    "CatalogueEntry",
    "Download",
    "cache_dir",
    "find",
    "is_offline",
    "local_path",
    "near_names",
    "resolve",
]

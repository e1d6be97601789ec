"""What may be set of the limits that models' own programs, chat templates and patterns, have to keep.

They hold wherever a model is loaded, from any command or class, so they are set where all of those look: in the
environment.
"""

from __future__ import annotations

import os

__all__ = ["limit"]


def limit(name: str, default: int) -> int:
    """The limit of that name: ``LANGBERT_…`` in the environment, else ``default``.

    Raises:
        ValueError: what is set is no whole number.
    """
    said = os.environ.get(f"LANGBERT_{name}", "").strip()
    if not said:
        return default
    if not said.replace("_", "").isdecimal():
        raise ValueError(f"LANGBERT_{name}={said!r:.40}: expected a whole number, such as {default}")
    return int(said)

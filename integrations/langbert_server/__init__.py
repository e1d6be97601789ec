"""A server over a store: a page to ask and look things up on, and the APIs that clients already speak.

::

    from langbert import Embedder, StoreLike
    from langbert_server import create_app

    app = create_app(Store.open("my-index", embedder=Embedder("e5-small")))    # any ASGI server runs it

``langbert serve --store my-index`` does that and more. One direction: ``settings``, ``keys``, ``audit`` → ``access``
(what a key may see: the only way to the store) → ``batching``, ``uploads``, ``engine`` (what is loaded) → ``guard``,
``api`` (the endpoints), ``tools`` (MCP, ``mounted`` when first
asked for) → ``app``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .app import create_app, serve
    from .keys import Key, Keys
    from .settings import Settings
    from .tools import serve_tools

__all__ = ["Key", "Keys", "Settings", "create_app", "serve", "serve_tools"]

_HOME = {
    "Key": "keys",
    "Keys": "keys",
    "Settings": "settings",
    "create_app": "app",
    "serve": "app",
    "serve_tools": "tools",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'langbert_server' has no attribute {name!r}")
    from importlib import import_module

    from langbert.errors import MissingExtra

    try:
        return getattr(import_module(f".{_HOME[name]}", __name__), name)
    except ModuleNotFoundError as error:
        missing = (error.name or "").split(".")[0]
        if missing in ("langbert", "langbert_server"):
            raise
        raise MissingExtra(missing, "server", "the server") from error

"""Who may see what: keys, each bound to a filter and to rights."""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from langbert.errors import FilterError
from langbert.store import matches

Right = Literal["read", "write"]
"""``read``: ask, search and read. ``write``: upload and delete too."""

_CHUNKS_ONLY = ("id", "page")  # a filter over these says nothing of a whole document
_LEAST = 16  # characters of a key: fewer can be guessed
_DIGEST = re.compile("[0-9a-f]{64}")
_FIELDS = {"name", "key", "sha256", "where", "rights"}


def _names(where: object) -> set[str]:
    """The fields a filter is about."""
    if isinstance(where, list | tuple):
        return {name for part in where for name in _names(part)}
    if not isinstance(where, Mapping):
        return set()
    inner = {name for key, value in where.items() if key in ("$and", "$or", "$not") for name in _names(value)}
    return inner | {key for key in where if not key.startswith("$")}


class KeyFileError(ValueError):
    """A file of keys cannot be understood."""


@dataclass(frozen=True)
class Key:
    """Somebody who may use the server.

    Attributes:
        name: who that is, in the audit log.
        where: the documents this key can find, read, cite, count and change; None is all of them. It names fields of
            documents: ``source``, ``document_id`` and keys of their metadata.
        digest: the SHA-256 of the key, as hex; the key itself is not kept.
    """

    name: str
    where: Mapping[str, Any] | None = None
    rights: frozenset[Right] = frozenset(("read",))
    digest: str = field(default="", repr=False)

    def __post_init__(self) -> None:
        if self.where is not None:
            try:
                matches(self.where, {})
            except FilterError as error:
                raise KeyFileError(f"key {self.name!r}: {error}") from error
            if wrong := sorted(_names(self.where) & set(_CHUNKS_ONLY)):
                raise KeyFileError(
                    f"key {self.name!r}: its filter names {wrong[0]!r}, which is of passages; what a key may see is "
                    "told by fields of documents: source, document_id or their metadata"
                )

    @classmethod
    def made(
        cls,
        name: str,
        secret: str,
        *,
        where: Mapping[str, Any] | None = None,
        rights: Iterable[Right] = ("read",),
    ) -> Key:
        """A key of which the secret is known."""
        if len(secret) < _LEAST:
            raise KeyFileError(f"key {name!r} has {len(secret)} characters, expected at least {_LEAST}")
        return cls(name, where, frozenset(rights), _digest(secret))

    @property
    def scope(self) -> str:
        """The same for keys that see the same documents: uploads of one do not take the place of another's."""
        if self.where is None:
            return "all"
        return hashlib.sha256(json.dumps(self.where, sort_keys=True, default=str).encode()).hexdigest()[:16]

    def sees(self, document_id: str, source: str, metadata: Mapping[str, Any]) -> bool:
        """Whether a document is one of this key's."""
        if self.where is None:
            return True
        fields = {**metadata, "document_id": document_id}
        return matches(self.where, {**fields, "source": source} if source else fields)

    def stamp(self) -> dict[str, Any]:
        """The metadata that make a document one of this key's, as far as its filter names single values."""
        return {
            name: value
            for name, value in (self.where or {}).items()
            if not name.startswith("$") and name not in ("source", "document_id") and not isinstance(value, Mapping)
        }


EVERYBODY = Key("everybody", None, frozenset(get_args(Right)))
"""Who uses a server without keys."""

NOBODY = Key("nobody", {"document_id": {"$in": []}}, frozenset())
"""Who has no key, where there are some: sees the page, and no documents."""


class Keys:
    """The keys of a server."""

    def __init__(self, keys: Iterable[Key]) -> None:
        self._keys = tuple(keys)
        names = [key.name for key in self._keys]
        if not names:
            raise KeyFileError("there are no keys: give at least one, or none of this at all")
        if twice := next((name for name in names if names.count(name) > 1), None):
            raise KeyFileError(f"two keys have the name {twice!r}")

    @classmethod
    def from_file(cls, path: str | Path) -> Keys:
        """Keys from JSON::

            {"keys": [
              {"name": "hr", "key": "…", "where": {"department": "hr"}, "rights": ["read", "write"]},
              {"name": "audit", "sha256": "9f86d081…"}
            ]}

        ``sha256``, the digest of a key as hex, stands for one that the file shall not hold. Without ``where`` a key
        sees everything; without ``rights`` it reads.

        Raises:
            KeyFileError: the file cannot be understood; no message holds a key.
            OSError: it cannot be read.
        """
        text = Path(path).read_text(encoding="utf-8")
        try:
            entries = json.loads(text)["keys"]
            if not isinstance(entries, list):
                raise TypeError
        except (ValueError, TypeError, KeyError):
            raise KeyFileError(f'{path} is not JSON of the form {{"keys": [{{"name": …, "key": …}}]}}') from None
        return cls(_key(entry, path) for entry in entries)

    def of(self, secret: str) -> Key | None:
        """Whose key that is; in the same time for any wrong one."""
        digest, found = _digest(secret), None
        for key in self._keys:
            if hmac.compare_digest(key.digest, digest):
                found = key
        return found


def _key(entry: object, path: str | Path) -> Key:
    if not isinstance(entry, dict) or not isinstance(name := entry.get("name"), str) or not name:
        raise KeyFileError(f"{path}: each key is an object with a name")
    if unknown := sorted(set(entry) - _FIELDS):
        raise KeyFileError(f"{path}: key {name!r} has {unknown[0]!r}; expected are {', '.join(sorted(_FIELDS))}")
    rights, where = entry.get("rights", ["read"]), entry.get("where")
    if not isinstance(rights, list) or not set(map(str, rights)) <= set(get_args(Right)) or "read" not in rights:
        raise KeyFileError(f'{path}: key {name!r}: rights are ["read"] or ["read", "write"]')
    if where is not None and not isinstance(where, dict):
        raise KeyFileError(f'{path}: key {name!r}: where is a filter such as {{"department": "hr"}}')
    secret, digest = entry.get("key"), entry.get("sha256")
    if isinstance(secret, str) and digest is None:
        return Key.made(name, secret, where=where, rights=rights)
    if secret is None and isinstance(digest, str) and _DIGEST.fullmatch(digest):
        return Key(name, where, frozenset(rights), digest)
    raise KeyFileError(f"{path}: key {name!r} has neither a key nor the sha256 of one (64 hex digits)")


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()

"""Entity tags in one scheme: BIO, also called IOB2 (Tjong Kim Sang & Veenstra 1999, §2)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from ..errors import DataError
from ..labels.tagger import tag_parts
from .labelled import TaggedSentence

_IN_BIO = {"M": "I", "E": "I", "L": "I", "S": "B", "U": "B"}
"""Beginning and inside of BIOES, BMES (usual for Chinese) and BILOU; B and I stay what they are."""


def has_entity_tags(sentences: Sequence[TaggedSentence]) -> bool:
    """Whether these are tags of entities and not of single words."""
    return any(tag_parts(tag) for sentence in sentences for tag in sentence.tags)


def as_bio(sentences: Sequence[TaggedSentence], source: str | Path) -> list[TaggedSentence]:
    """The sentences with every entity's tags ``B-X I-X …``, from BIO, IOB1, BIOES, BMES or BILOU.

    IOB1, the scheme of CoNLL-2003's own files, is one where ``B-`` only ever parts two neighbours of one type.

    Raises:
        DataError: a tag is of no such scheme, or the tags of an entity do not begin with ``B-``.
    """
    renamed = [_renamed(sentence, source) for sentence in sentences]
    opening = [(sentence, i) for sentence in renamed for i in _opening(sentence, "I")]
    if not opening:
        return renamed
    if any(True for sentence in renamed for _ in _opening(sentence, "B")):
        sentence, i = opening[0]
        raise DataError(
            f"{source}:{sentence.lines[i]}: {sentence.tags[i]} ({sentence.words[i]}) continues nothing; expected "
            f"B{sentence.tags[i][1:]}, since an entity begins here"
        )
    return [_opened(sentence) for sentence in renamed]


def all_bio(tags: set[str]) -> set[str]:
    """The tags with both ``B-`` and ``I-`` of every type, and ``O``."""
    types = {parts[1] for parts in map(tag_parts, tags) if parts}
    return {"O"} | {f"{prefix}-{name}" for name in types for prefix in "BI"}


def _renamed(sentence: TaggedSentence, source: str | Path) -> TaggedSentence:
    tags = []
    for tag, word, line in zip(sentence.tags, sentence.words, sentence.lines, strict=True):
        parts = tag_parts(tag)
        if parts is None and tag != "O":
            raise DataError(
                f"{source}:{line}: tag {tag!r} of {word!r}; expected O, B-… or I-… as elsewhere in the file"
            )
        tags.append(tag if parts is None else f"{_IN_BIO.get(parts[0], parts[0])}-{parts[1]}")
    return sentence._replace(tags=tuple(tags))


def _opening(sentence: TaggedSentence, prefix: str) -> Iterator[int]:
    """Where a tag with that prefix stands behind another type, or behind none."""
    before = None
    for i, tag in enumerate(sentence.tags):
        parts = tag_parts(tag)
        if parts and parts[0] == prefix and before != parts[1]:
            yield i
        before = parts[1] if parts else None


def _opened(sentence: TaggedSentence) -> TaggedSentence:
    tags = list(sentence.tags)
    for i in _opening(sentence, "I"):
        tags[i] = f"B{tags[i][1:]}"
    return sentence._replace(tags=tuple(tags))

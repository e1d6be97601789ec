"""Files of texts in which entities and relations are marked; whatever cannot be used is named by its line."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

from ..errors import DataError
from ..evaluation.lines import numbered_lines, read_numbered
from ..labels.extractor import Extraction, Triple
from ..labels.tagger import Entity, entity_spans
from ..text.scripts import CJK
from .bio import as_bio, has_entity_tags
from .labelled import TaggedSentence, read_tagged

_EXPECTED = (
    '{"text": …, "triples": [{"subject": …, "relation": …, "object": …}], "entities": […]}, an entity being its words '
    'or {"start", "end", "label"}'
)


class AnnotatedTexts(NamedTuple):
    """Texts with what is to be found in them.

    Attributes:
        texts: every score is 1.
        located: whether the file says where entities stand. If it only says their words, they are marked wherever
            these words stand, and what was found is judged by its words, too.
    """

    texts: list[Extraction]
    located: bool


def read_annotated(path: str | Path) -> AnnotatedTexts:
    """Texts with entities, triples, or both, in any of these forms:

    - JSON lines of ``{"text", "triples", "entities"}``, either of which may be left out. A triple is ``{"subject",
      "relation", "object"}`` or a list of the three; an entity is its words, or ``{"start", "end"}`` in characters,
      end exclusive, with a ``"label"`` if there are types;
    - JSON lines of ``{"text", "label"}`` as CLUENER has them: types → words → first and last character;
    - one JSON list of ``{"text", "triple_list"}`` as TPLinker's WebNLG and NYT have them;
    - the columns of CoNLL04 (Bekoulis et al. 2018): number, word, entity tag, relations, the last words of objects;
    - CoNLL lines ``word … tag`` with entity tags in BIO, IOB1, BIOES, BMES or BILOU: WNUT17, CoNLL-2003.

    Raises:
        DataError: the file is missing, a line is unusable, or there is nothing to find in any text.
    """
    path = Path(path)
    begins = next((line.lstrip()[:1] for _, line in numbered_lines(path, "texts with entities or triples")), "")
    if begins == "[":
        rows = _from_list(path)
    elif begins == "{":
        rows = [row for _, row in read_numbered(path, _annotated, _EXPECTED)]
    elif any(line.startswith("#doc") for _, line in _head(path, 1)):
        rows = list(_from_relation_columns(path))
    else:
        rows = _from_tags(path)
    texts = [row for row, _ in rows]
    if not any(row.entities for row in texts):
        raise DataError(f"{path}: expected texts with entities or triples, got none in {len(texts)} texts")
    return AnnotatedTexts(texts, all(located for _, located in rows))


_Row = tuple[Extraction, bool]


def _head(path: Path, n: int) -> Iterator[tuple[int, str]]:
    for number, line in numbered_lines(path, "texts"):
        if number > n:
            return
        yield number, line


def _from_list(path: Path) -> list[_Row]:
    try:
        listed = json.loads(path.read_text(encoding="utf-8-sig"))
    except ValueError as error:
        raise DataError(f"{path}: expected one JSON list of texts ({error})") from error
    return [_item(path, i, row) for i, row in enumerate(listed)]


def _item(path: Path, i: int, row: Any) -> _Row:
    try:
        return _annotated(row)
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path}: item {i}: expected {_EXPECTED}; got {row!r:.80}") from error


def _annotated(row: Any) -> _Row:
    """One text; ``ValueError`` or ``KeyError`` if it is none."""
    text = row["text"]
    if not isinstance(text, str):
        raise ValueError("the text is no string")
    if isinstance(row.get("label"), dict):
        return _extraction(text, list(_cluener(text, row["label"])), []), True
    located = True
    entities: list[Entity] = []
    triples: list[Triple] = []
    for given in row.get("entities") or ():
        found, told = _mentions(text, given)
        entities += found
        located &= told
    for given in row.get("triples") or row.get("triple_list") or ():
        parts = [given[key] for key in ("subject", "relation", "object")] if isinstance(given, dict) else list(given)
        subject, relation, object_ = parts
        if not isinstance(relation, str) or not relation:
            raise ValueError("a relation is no name")
        (subjects, first), (objects, second) = _mentions(text, subject), _mentions(text, object_)
        located &= first and second
        triples += [Triple(one, relation, other, 1.0) for one, other in product(subjects, objects)]
    return _extraction(text, entities, triples), located


def _mentions(text: str, given: Any) -> tuple[list[Entity], bool]:
    """An entity's places, and whether they were told."""
    if isinstance(given, str):
        return list(_places(text, given, "")), False
    label = given.get("label", given.get("type", ""))
    if "start" not in given:
        return list(_places(text, given["text"], label)), False
    start, end = given["start"], given["end"]
    if not (0 <= start < end <= len(text)) or not isinstance(label, str):
        raise ValueError("an entity is nowhere in the text")
    if "text" in given and given["text"] != text[start:end]:
        raise ValueError("an entity has other words than the text has there")
    return [Entity(text[start:end], label, start, end, 1.0)], True


def _places(text: str, words: str, label: str) -> Iterator[Entity]:
    """Wherever these words stand; within longer words only if they stand nowhere else."""
    exactly = re.escape(words)
    before, after = (r"(?<!\w)" if _spaced(words[:1]) else ""), (r"(?!\w)" if _spaced(words[-1:]) else "")
    found = list(re.finditer(before + exactly + after, text)) or list(re.finditer(exactly, text))
    if not words or not found:
        raise ValueError(f"{words!r} is not in the text")
    for match in found:
        yield Entity(words, label, *match.span(), 1.0)


def _spaced(character: str) -> bool:
    """Whether it is part of a word in a script that has spaces between words."""
    return character.isalnum() and not re.match(f"[{CJK}]", character)


def _cluener(text: str, labels: Mapping[str, Mapping[str, Sequence[Sequence[int]]]]) -> Iterator[Entity]:
    for label, named in labels.items():
        for words, places in named.items():
            for first, last in places:
                if text[first : last + 1] != words:
                    raise ValueError("an entity has other words than the text has there")
                yield Entity(words, label, first, last + 1, 1.0)


def _from_tags(path: Path) -> list[_Row]:
    sentences = read_tagged(path)
    if not has_entity_tags(sentences):
        raise DataError(f"{path}: expected entity tags (B-… I-… O), got words with other tags")
    return [(_extraction(*_joined(sentence), []), True) for sentence in as_bio(sentences, path)]


def _joined(sentence: TaggedSentence) -> tuple[str, list[Entity]]:
    """Words as a text (Chinese, of single characters, without spaces between), and its entities."""
    between = "" if all(len(word) == 1 for word in sentence.words) else " "
    starts, text = [], ""
    for word in sentence.words:
        text += between if text else ""
        starts.append(len(text))
        text += word
    entities = []
    for label, first, stop in entity_spans(sentence.tags):
        start, end = starts[first], starts[stop - 1] + len(sentence.words[stop - 1])
        entities.append(Entity(text[start:end], label, start, end, 1.0))
    return text, entities


def _from_relation_columns(path: Path) -> Iterator[_Row]:
    """CoNLL04: an entity's relations stand at its last word, with the number of the last word of each object."""
    lines: list[tuple[int, list[str]]] = []
    for number, line in numbered_lines(path, "the columns of CoNLL04"):
        if not line.startswith("#doc"):
            lines.append((number, line.split("\t")))
        elif lines:
            yield _document(path, lines), True
            lines = []
    if lines:
        yield _document(path, lines), True


def _document(path: Path, lines: Sequence[tuple[int, list[str]]]) -> Extraction:
    rows = [_columns(path, number, cells) for number, cells in lines]
    numbers, words, tags, _, _ = zip(*rows, strict=True)
    sentence = TaggedSentence(words, tags, numbers)
    text, entities = _joined(sentence)
    spans = entity_spans(sentence.tags)
    ending = {stop - 1: entity for (_, _, stop), entity in zip(spans, entities, strict=True)}
    triples = []
    for i, (number, _, _, relations, objects) in enumerate(rows):
        for relation, last in zip(relations, objects, strict=True):
            if relation == "N":
                continue
            if i not in ending or last not in ending:
                raise DataError(f"{path}:{number}: {relation} from word {i} to {last}; expected last words of entities")
            triples.append(Triple(ending[i], relation, ending[last], 1.0))
    return _extraction(text, entities, triples)


def _columns(path: Path, number: int, cells: Sequence[str]) -> tuple[int, str, str, list[str], list[int]]:
    try:
        _, word, tag, relations, objects = cells
        return number, word, tag, ast.literal_eval(relations), ast.literal_eval(objects)
    except (ValueError, SyntaxError) as error:
        expected = "number, word, tag, relations and last words of objects, by TABs"
        raise DataError(f"{path}:{number}: expected {expected}; got {' '.join(cells)[:80]}") from error


def _extraction(text: str, entities: Iterable[Entity], triples: Sequence[Triple]) -> Extraction:
    """In order, each once; the entities of the triples are among them, of the type that is said at their place."""
    every = [*entities, *(one for triple in triples for one in (triple.subject, triple.object))]
    typed = {(one.start, one.end): one for one in every if one.label}

    def typed_one(one: Entity) -> Entity:
        return one if one.label else typed.get((one.start, one.end), one)

    kept = {(one.start, one.end, one.label): one for one in map(typed_one, every)}
    said = {}
    for triple in triples:
        subject, object_ = typed_one(triple.subject), typed_one(triple.object)
        key = (subject.start, subject.end, object_.start, object_.end, triple.relation)
        said[key] = Triple(subject, triple.relation, object_, 1.0)
    return Extraction(text, tuple(kept[key] for key in sorted(kept)), tuple(said[key] for key in sorted(said)))

"""What a tokenizer may not do: definitions that would take for ever, or make much of little, are refused unread.

A ``tokenizer.json`` is a program, too. Its regular expressions are matched by backtracking, its normaliser may double a
text again and again, and each of its special tokens stands in every text.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ...errors import CheckpointError, is_fault
from .limits import limit

__all__ = ["check_definition", "check_pattern", "tokenizing"]

_LONGEST_PATTERN = 50_000  # characters
_MOST_REPEATS = 4  # unbounded ones in one branch of a pattern: in texts of n characters n^4 ways to match, at worst
_MOST_GROWTH = 64  # characters that a normaliser may make of one: a ligature becomes 18
_MOST_SPECIAL = 64  # tokens that stand around a text
_LONGEST_WORD = 10_000  # characters of which a word is compared with every piece, in the square of their number
_DEEPEST = 100
# Words of letters with marks, and spaces between: repeats of repeats, but each part begins with another kind of
# character, and so there is one way to match.
_ONE_WAY = {r"(?:\p{L}\p{M}*(?: \p{L}\p{M}*)*)+": r"\p{L}+"}

_ESCAPED = re.compile(r"\\(?:[pPx]\{[^}]*\}|[kg]<[^>]*>|.)", re.DOTALL)
_QUANTIFIER = re.compile(r"[*+?][?+]?|\{(\d*)(,?)(\d*)\}[?+]?")


@contextmanager
def tokenizing(place: object) -> Iterator[None]:
    """Whatever the library raises in the block, panics too, becomes a :class:`CheckpointError` that names ``place``."""
    try:
        yield
    except CheckpointError:
        raise
    except BaseException as error:
        if not is_fault(error):
            raise
        raise CheckpointError(f"{place}: its tokenizer fails ({error}); take another copy of the model") from error


def check_definition(definition: bytes, place: object) -> None:
    """Raises CheckpointError, which names ``place``, unless a ``tokenizer.json`` is bounded in what it does."""
    try:
        rules = json.loads(definition)
        if not isinstance(rules, dict):
            raise ValueError(f"a {type(rules).__name__}, expected an object")
        growth = 1.0
        for part in _parts([rules.get("normalizer"), rules.get("pre_tokenizer"), rules.get("decoder")]):
            growth *= _checked_part(part)
            if growth > _MOST_GROWTH:
                raise ValueError(f"it makes more than {_MOST_GROWTH} characters of one")
        _check_templates(rules.get("post_processor"))
        _check_model(rules.get("model"))
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
        raise CheckpointError(f"{place}: not a tokenizer that may be used: {error}") from error


def _parts(waiting: list[Any]) -> Iterator[dict[str, Any]]:
    """Each step of a normaliser, pre-tokenizer or decoder, those of sequences one by one."""
    for step in waiting:
        if not isinstance(step, dict):
            continue
        inner = [value for key in ("normalizers", "pretokenizers", "decoders") for value in step.get(key) or ()]
        if inner:
            yield from _parts(inner)
        else:
            yield step


def _checked_part(step: dict[str, Any]) -> float:
    """How many characters it makes of one, at most."""
    kind, pattern = step.get("type"), step.get("pattern")
    if isinstance(pattern, dict) and isinstance(pattern.get("Regex"), str):
        check_pattern(pattern["Regex"])
    if kind == "Replace":
        shortest = len(pattern["String"]) if isinstance(pattern, dict) and "String" in pattern else 1
        content = str(step.get("content") or "")
        return max(1.0, len(content) / shortest if shortest else 1 + len(content))
    if kind == "Prepend" and len(str(step.get("prepend"))) > _MOST_SPECIAL:
        raise ValueError(f"it puts {len(str(step.get('prepend')))} characters before each text")
    if kind == "FixedLength" and not step.get("length"):
        raise ValueError("it cuts a text into pieces of no length")
    if kind == "Precompiled":
        _check_characters(str(step.get("precompiled_charsmap") or ""))
    return 1.0


def _check_characters(encoded: str) -> None:
    """SentencePiece's table: the size of a trie, the trie, and what its leaves become, with NUL between."""
    table = base64.b64decode(encoded, validate=True)
    size = int.from_bytes(table[:4], "little")
    if len(table) < 8 or size % 4 or not 4 <= size <= len(table) - 4:
        raise ValueError("its precompiled_charsmap is cut off")
    longest = max(map(len, table[4 + size :].split(b"\0")))
    if longest > 4 * _MOST_GROWTH:
        raise ValueError(f"its precompiled_charsmap makes {longest} bytes of one character")


def _check_templates(processor: Any) -> None:
    """Special tokens stand around a text, and a text stands there once."""
    for step in [processor, *(processor.get("processors") or ())] if isinstance(processor, dict) else []:
        if step.get("type") != "TemplateProcessing":
            continue
        ids = {name: len(token["ids"]) for name, token in step.get("special_tokens", {}).items()}
        for which, texts in (("single", "A"), ("pair", "AB")):
            pieces = step.get(which) or []
            found = [piece["Sequence"]["id"] for piece in pieces if "Sequence" in piece]
            special = sum(ids.get(piece["SpecialToken"]["id"], 1) for piece in pieces if "SpecialToken" in piece)
            if sorted(found) != list(texts) or special > _MOST_SPECIAL:
                raise ValueError(f"its template {which} has {special} special tokens around {len(found)} texts")


def _check_model(model: Any) -> None:
    longest = model.get("max_input_chars_per_word", 0)
    if longest > _LONGEST_WORD:
        raise ValueError(f"it compares words of {longest} characters; expected at most {_LONGEST_WORD}")
    unknown = model.get("unk_token")
    if model.get("type") in ("WordPiece", "WordLevel") and unknown not in model["vocab"]:
        raise ValueError(f"its unknown token {unknown!r:.80} is not among its pieces")


# --- regular expressions, as Oniguruma spells them ----------------------------------------------------------------


def check_pattern(pattern: str) -> None:
    """Raises ValueError for a pattern that backtracking may take exponential time for, or a high power of the length.

    That needs a repetition of something that can itself match in several ways (``(a+)+``, ``(a|ab)*``), or several
    repetitions in a row (``a*a*a*a*a*``). Patterns that split texts into words have neither.
    """
    if limit("TRUST_PATTERNS", 0):
        return
    longest, allowed = limit("PATTERN_LENGTH", _LONGEST_PATTERN), limit("PATTERN_REPEATS", _MOST_REPEATS)
    if len(pattern) > longest:
        raise ValueError(
            f"a pattern of {len(pattern)} characters, expected at most {longest} (LANGBERT_PATTERN_LENGTH)"
        )
    position, shown = 0, f"{pattern!r:.80}"
    for words, simpler in _ONE_WAY.items():
        pattern = pattern.replace(words, simpler)
    # of each open group: has it several ways to match, how many repetitions are in this branch, and in the longest one
    groups: list[list[int]] = [[0, 0, 0]]
    while position < len(pattern):
        varies, repeats = 0, 0
        if pattern[position] == "(":
            groups.append([0, 0, 0])
            position += 1
            opening = re.compile(r"\?(?:[:=!>|]|<[=!]|<\w+>|[imxsaWDSPy-]*[:)]|#[^)]*\))").match(pattern, position)
            if opening:
                position = opening.end()
                if opening[0].endswith(")"):
                    groups.pop()  # options for what follows, or a comment
            elif pattern.startswith("?", position):
                raise ValueError(f"the pattern {shown} has a group of an unknown kind")
            if len(groups) > _DEEPEST:
                raise ValueError(f"the pattern {shown} nests more than {_DEEPEST} deep")
            continue
        if pattern[position] == "|":
            groups[-1] = [1, 0, max(groups[-1][1:])]
            position += 1
            continue
        if pattern[position] == ")" and len(groups) > 1:
            varies, *counts = groups.pop()
            repeats = max(counts)
            position += 1
        elif pattern[position] == "[":
            position = _class_end(pattern, position)
        elif escaped := _ESCAPED.match(pattern, position):
            position = escaped.end()
        else:
            position += 1
        while quantifier := _QUANTIFIER.match(pattern, position):
            position = quantifier.end()
            least, comma, most = quantifier[1], quantifier[2], quantifier[3]
            fixed = least is not None and (not comma or least == most)
            times = int(least or 0) if fixed else int(most) if most else 1 if quantifier[0][0] == "?" else 1 << 30
            if times > 1 and (varies or repeats):
                raise ValueError(
                    f"the pattern {shown} repeats what can match in several ways: it may take for ever; "
                    "if you trust the model, set LANGBERT_TRUST_PATTERNS=1"
                )
            varies |= not fixed
            repeats += not fixed and times > 100
            if fixed and times > 1000:
                raise ValueError(f"the pattern {shown} repeats {times} times")
        groups[-1][0] |= varies
        groups[-1][1] += repeats
        if max(groups[-1][1:]) > allowed:
            raise ValueError(
                f"the pattern {shown} has more than {allowed} repetitions in a row; "
                "if you trust the model, raise LANGBERT_PATTERN_REPEATS"
            )


def _class_end(pattern: str, position: int) -> int:
    """Where the character class that begins here ends; classes nest, and one may begin with ``]``."""
    depth = 0
    while position < len(pattern):
        character = pattern[position]
        if character == "\\":
            position += 1
        elif character == "[":
            if not pattern.startswith("[:", position):
                depth += 1
                first = 2 if pattern.startswith("^", position + 1) else 1
                position += first if pattern.startswith("]", position + first) else 0
            elif (end := pattern.find(":]", position)) > 0:
                position = end + 1
        elif character == "]":
            depth -= 1
            if not depth:
                return position + 1
        position += 1
    return position

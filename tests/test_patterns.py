"""No regular expression that meets a file's or a user's words takes the square of their length.

Each is tried on what it nearly matches, repeated: its own characters, pairs of them, and the beginnings of what it
matches. What counts is processor time at four times the length, not a time as such.
"""

from __future__ import annotations

import ast
import importlib
import itertools
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import langbert

ROOT = Path(langbert.__file__).parent
ROOMS = ("documents", "text", "answering", "cli")
METHODS = ("search", "match", "fullmatch", "finditer", "findall", "sub", "subn", "split")
_CLASSES = {"CATEGORY_DIGIT": "1", "CATEGORY_SPACE": " ", "CATEGORY_WORD": "a"}
_ENOUGH = 0.02  # seconds for at most 1,600 characters: 200 times what a linear one takes


def patterns() -> Iterator[tuple[str, re.Pattern[Any], str]]:
    """Where each stands, and how it is used: those of modules by name, and those written where they are used."""
    for file in sorted(file for room in ROOMS for file in (ROOT / room).rglob("*.py")):
        source = file.read_text(encoding="utf-8")
        where = ".".join(file.relative_to(ROOT.parent).with_suffix("").parts).removesuffix(".__init__")
        for name, value in vars(importlib.import_module(where)).items():
            if isinstance(value, re.Pattern):
                used = set(re.findall(rf"\b{name}\.({'|'.join(METHODS)})\b", source))
                yield from ((f"{where}.{name}", value, method) for method in sorted(used or {"search"}))
        for node in ast.walk(ast.parse(source)):
            match node:
                case ast.Call(
                    func=ast.Attribute(value=ast.Name(id="re"), attr=method), args=[ast.Constant(value=pattern), *_]
                ) if method in METHODS:
                    yield f"{where}:{node.lineno}", re.compile(pattern), method


def parsed(pattern: re.Pattern[Any]) -> Any:
    parser = getattr(re, "_parser", None) or importlib.import_module("sre_parse")
    return parser.parse(pattern.pattern, pattern.flags)


def parts(tree: Any) -> Iterator[tuple[str, Any]]:
    """Every operation in a pattern."""
    for operation, argument in tree:
        name = str(operation)
        yield name, argument
        if name == "BRANCH":
            inner = argument[1]
        elif name in ("SUBPATTERN", "ASSERT", "ASSERT_NOT", "ATOMIC_GROUP") or "REPEAT" in name:
            inner = [argument if name == "ATOMIC_GROUP" else argument[-1]]
        else:
            inner = []
        for branch in inner:
            yield from parts(branch)


def characters(pattern: re.Pattern[Any]) -> list[str]:
    """Those that it tells apart: its own, and one of each class."""
    found = set("a1 ")
    for name, argument in parts(parsed(pattern)):
        if name in ("LITERAL", "NOT_LITERAL"):
            found.add(chr(argument))
        for kind, value in argument if name == "IN" else ():
            if str(kind) == "RANGE":
                found.update(map(chr, value))
            elif str(kind) == "LITERAL":
                found.add(chr(value))
    return sorted(found)


def example(tree: Any) -> str:
    """Something that it matches, nearly."""
    text = ""
    for operation, argument in tree:
        name = str(operation)
        if name == "LITERAL":
            text += chr(argument)
        elif name == "IN":
            kind, value = str(argument[0][0]), argument[0][1]
            text += {"LITERAL": lambda v: chr(v), "RANGE": lambda v: chr(v[0])}.get(
                kind, lambda v: _CLASSES.get(str(v), "a")
            )(value)
        elif name == "BRANCH":
            text += example(argument[1][0])
        elif name == "SUBPATTERN":
            text += example(argument[-1])
        elif "REPEAT" in name:
            text += example(argument[-1]) * max(1, min(argument[0], 4))
        elif name == "ANY":
            text += "a"
    return text


def seconds(pattern: re.Pattern[Any], method: str, text: str) -> float:
    given = text.encode("latin-1", "replace") if isinstance(pattern.pattern, bytes) else text
    call = getattr(pattern, method)
    begin = time.process_time()
    result = call(given[:0], given) if method in ("sub", "subn") else call(given)
    if method == "finditer":
        for _ in result:
            pass
    return time.process_time() - begin


def is_slow(pattern: re.Pattern[Any], method: str, head: str, unit: str, tail: str) -> bool:
    def cost(length: int) -> float:
        return seconds(pattern, method, head + unit * (length // len(unit)) + tail)

    for length in (25, 100, 400, 1600):  # an exponential one shows early
        short = cost(length)
        if short > _ENOUGH:
            return cost(length) > _ENOUGH  # and not because the machine was busy
    if short < 3e-4:  # it would take a hundred thousand characters to cost a second
        return False
    if cost(6400) < max(8 * short, 3e-3):
        return False
    return all(cost(25_600) > 8 * cost(6400) for _ in range(3))  # one that looks a bounded way ahead is linear by then


@pytest.mark.slow
@pytest.mark.timeout(300)  # an exponential one never ends
@pytest.mark.parametrize(("pattern", "method"), [pytest.param(p, m, id=f"{where}.{m}") for where, p, m in patterns()])
def test_no_pattern_takes_the_square_of_the_length(pattern: re.Pattern[Any], method: str) -> None:
    alphabet = characters(pattern)
    alphabet = alphabet[:: len(alphabet) // 30 + 1]
    sample = example(parsed(pattern))
    begun = [sample[:length] for length in range(2, min(len(sample), 24) + 1)]
    pairs = ["".join(pair) for pair in itertools.permutations(alphabet, 2)]
    units = [*alphabet, *begun, *pairs[:: len(pairs) // 200 + 1]]
    heads = ["", *begun[:10]] if len(units) < 100 else [""]
    slow = (
        f"{head!r} + {unit!r} * n + {tail!r}"
        for head, unit, tail in itertools.product(heads, units, ("\0", "q"))
        if is_slow(pattern, method, head, unit, tail)
    )
    assert next(slow, None) is None


@pytest.mark.parametrize("slow", [r"(a+)+$", r"\s*x", r"<[^>]*>", r"[^\W\d_]+\ufffe", r"^[ \t]*\|?[ \t]*-"])
def test_those_that_do_are_found(slow: str) -> None:
    pattern = re.compile(slow)
    units = [*characters(pattern), example(parsed(pattern))]
    assert any(is_slow(pattern, "search", "", unit, tail) for unit in units for tail in "\0q")

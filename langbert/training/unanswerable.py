"""Questions a paragraph does not answer, made from questions it does: what SQuAD 2.0's crowd workers did by hand.

Rajpurkar et al. 2018 ("Know What You Don't Know", table 1) list their ways: negation, antonyms, swapped entities and
numbers, mutual exclusion. Each edit below changes one word or name of a question so that it still sounds right for the
paragraph.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Sequence

__all__ = ["edited_question", "names_in"]

_ANTONYMS = """first last, most least, more less, largest smallest, highest lowest, longest shortest, oldest
youngest, before after, early late, earliest latest, northern southern, north south, eastern
western, east west, increase decrease, increased decreased, won lost, win lose, begin end, began
ended, start finish, started finished, best worst, major minor, male female, men women, old new,
older newer, upper lower, inside outside, maximum minimum, always never, allowed forbidden, public
private, same different, rural urban, rich poor, strong weak, support oppose, supported opposed,
accept reject, accepted rejected, large small, larger smaller, higher lower, greater fewer, positive
negative, internal external, success failure, birth death, born died, open closed, beginning ending"""
_OPPOSITE = {a: b for pair in _ANTONYMS.replace("\n", " ").split(", ") for a, b in (pair.split(), pair.split()[::-1])}

_NAME = re.compile(r"(?<!^)(?<![.?!] )\b[A-Z][\w'’-]+(?: (?:of |the |de )?[A-Z][\w'’-]+)*")
_NUMBER = re.compile(r"\b\d[\d,.]*\b")
_AUXILIARY = re.compile(
    r"\b(did|does|do|is|are|was|were|can|could|will|would|has|have|had)\b( \w+(?: \w+)?)?", re.IGNORECASE
)


def names_in(text: str) -> list[str]:
    """Runs of capitalised words that do not begin a sentence."""
    return _NAME.findall(text)


def edited_question(question: str, names: Sequence[str], rng: random.Random) -> str | None:
    """``question`` with one thing in it changed, so that its paragraph no longer answers it; None if nothing could be.

    Args:
        names: others that could stand where a name of the question stands, e.g. from the same article.
    """
    ways: list[Callable[[], str | None]] = [
        lambda: _swap_name(question, names, rng),
        lambda: _swap_number(question, rng),
        lambda: _swap_antonym(question, rng),
        lambda: _negate(question),
    ]
    rng.shuffle(ways)
    return next((changed for way in ways if (changed := way()) and changed != question), None)


def _swap_name(question: str, names: Sequence[str], rng: random.Random) -> str | None:
    there = names_in(question)
    others = [name for name in names if name not in question]
    if not there or not others:
        return None
    return question.replace(rng.choice(there), rng.choice(others), 1)


def _swap_number(question: str, rng: random.Random) -> str | None:
    found = list(_NUMBER.finditer(question))
    if not found:
        return None
    number = rng.choice(found)
    digits = number.group().replace(",", "").replace(".", "")
    changed = str(max(1, int(digits) + rng.choice((-30, -13, -7, -2, 2, 5, 11, 20)))) if len(digits) < 16 else "7"
    return question[: number.start()] + changed + question[number.end() :]


def _swap_antonym(question: str, rng: random.Random) -> str | None:
    found = [match for match in re.finditer(r"\w+", question) if match.group().lower() in _OPPOSITE]
    if not found:
        return None
    word = rng.choice(found)
    return question[: word.start()] + _OPPOSITE[word.group().lower()] + question[word.end() :]


def _negate(question: str) -> str | None:
    found = _AUXILIARY.search(question)
    if found is None or re.search(r"\b(not|never|n't)\b", question):
        return None
    return question[: found.end()] + " not" + question[found.end() :]

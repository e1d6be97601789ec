"""Questions a paragraph does not answer, made from questions it does: what SQuAD 2.0's crowd workers did by hand.

Rajpurkar et al. 2018 ("Know What You Don't Know", table 1) list their ways: negation, antonyms, swapped entities and
numbers, mutual exclusion. Each edit below changes one word or name of a question so that it still sounds right for the
paragraph.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Sequence

_ANTONYMS = """first last, most least, more less, largest smallest, highest lowest, longest shortest, oldest
youngest, before after, early late, earliest latest, northern southern, north south, eastern
western, east west, increase decrease, increased decreased, won lost, win lose, begin end, began
ended, start finish, started finished, best worst, major minor, male female, men women, old new,
older newer, upper lower, inside outside, maximum minimum, always never, allowed forbidden, public
private, same different, rural urban, rich poor, strong weak, support oppose, supported opposed,
accept reject, accepted rejected, large small, larger smaller, higher lower, greater fewer, positive
negative, internal external, success failure, birth death, born died, open closed, beginning ending"""
_ANTONYMS_ZH = """最大 最小, 最高 最低, 最多 最少, 最早 最晚, 最长 最短, 最長 最短, 最后 最初, 最後 最初, 首次 末次,
之前 之后, 之前 之後, 以前 以后, 以前 以後, 东部 西部, 東部 西部, 南部 北部, 东方 西方, 東方 西方,
增加 减少, 增加 減少, 上升 下降, 男性 女性, 父亲 母亲, 父親 母親, 出生 去世, 开始 结束, 開始 結束,
胜利 失败, 勝利 失敗, 成功 失败, 成功 失敗, 优点 缺点, 優點 缺點, 支持 反对, 支持 反對, 国内 国外,
國內 國外, 上游 下游, 冬季 夏季"""
_PAIRS = [pair.split() for words in (_ANTONYMS, _ANTONYMS_ZH) for pair in words.replace("\n", " ").split(", ")]
_OPPOSITE = {word: other for first, second in _PAIRS for word, other in ((first, second), (second, first))}
_WORD = re.compile("|".join([r"[A-Za-z]+", *(word for word in _OPPOSITE if not word.isascii())]))

_NAME = re.compile(r"(?<!^)(?<![.?!] )\b[A-Z][\w'’-]+(?: (?:of |the |de )?[A-Z][\w'’-]+)*")
_NUMBER = re.compile(r"(?<![A-Za-z\d])\d(?:[\d,.]*\d)?(?![A-Za-z\d])")
_AUXILIARY = re.compile(
    r"\b(did|does|do|is|are|was|were|can|could|will|would|has|have|had)\b( \w+(?: \w+)?)?", re.IGNORECASE
)


def names_in(text: str) -> list[str]:
    """Runs of capitalised words that do not begin a sentence."""
    return _NAME.findall(text)


def edited_question(question: str, names: Sequence[str], rng: random.Random, *, title: str = "") -> str | None:
    """``question`` with one thing in it changed, so that its paragraph no longer answers it; None if nothing could be.

    Args:
        names: others that could stand where a name of the question stands, e.g. from the same article.
        title: what the paragraph is about: a name too, where the language has no capitals to tell names by.
    """
    ways: list[Callable[[], str | None]] = [
        lambda: _swap_name(question, names, rng, title),
        lambda: changed_number(question, rng),
        lambda: _swap_antonym(question, rng),
        lambda: _negate(question),
    ]
    rng.shuffle(ways)
    return next((changed for way in ways if (changed := way()) and changed != question), None)


def _swap_name(question: str, names: Sequence[str], rng: random.Random, title: str) -> str | None:
    there = [*names_in(question), *([title] if title and title in question else [])]
    others = [name for name in names if name not in question]
    if not there or not others:
        return None
    return question.replace(rng.choice(there), rng.choice(others), 1)


def changed_number(text: str, rng: random.Random) -> str:
    """``text`` with one of its numbers changed, if it has any."""
    found = list(_NUMBER.finditer(text))
    if not found:
        return text
    number = rng.choice(found)
    digits = number.group().replace(",", "").replace(".", "")
    changed = str(max(1, int(digits) + rng.choice((-30, -13, -7, -2, 2, 5, 11, 20)))) if len(digits) < 16 else "7"
    return text[: number.start()] + changed + text[number.end() :]


def _swap_antonym(question: str, rng: random.Random) -> str | None:
    found = [match for match in _WORD.finditer(question) if match.group().lower() in _OPPOSITE]
    if not found:
        return None
    word = rng.choice(found)
    return question[: word.start()] + _OPPOSITE[word.group().lower()] + question[word.end() :]


def _negate(question: str) -> str | None:
    found = _AUXILIARY.search(question)
    if found is None or re.search(r"\b(not|never|n't)\b", question):
        return None
    return question[: found.end()] + " not" + question[found.end() :]

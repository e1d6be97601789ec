"""A follow-up question → a question that stands on its own, for a search that knows nothing of the conversation.

A question that leans on what was said ("How old is he?", "And in winter?") is searched for together with the key words
of the user's turn before it: no model, no time. Of 150 follow-ups made of SQuAD questions that finds the passage among
the first five for 99.3 %; as asked 85.3 % are found, with the names written out 100 % (``benchmarks/followups.py``).
Of 150 made of CMRC's, by words alone, 92.0 % (60.0 %, 100 %), and no question on something else is found less often.
Chinese leaves out what is understood ("什么时候成立的？", "病假呢？"), which counts as leaning, too; its key words are
what stands between particles. "The second one?", "第二个呢？" takes that entry of a list in the answer before it.
A chat model can rewrite the question instead. Small ones often answer, drift off or invent, so what comes back is only
believed if it keeps the follow-up's own words and is made of the conversation's.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from ..generation.streaming import Spoken
from ..records import Message
from ..text.layout import ITEM
from ..text.scripts import HAN, has_han
from ..text.terms import asked_about, terms

__all__ = ["leans", "rewriting_messages", "standalone_question", "with_key_words"]

_TURNS = 6
_TURN_LENGTH = 600  # characters; enough to know what was talked about, little to read
_LONGEST = 400
_KEPT = 0.5  # share of the follow-up's terms that a rewritten question must have
_KNOWN = 0.7  # share of its own terms that must come from the conversation
_KEY_WORDS = 8

_SYSTEM = (
    "Rewrite the user's last question so that it can be understood without the conversation: put names in the place "
    "of words like it, he, they or that. Keep its language and its words. Do not answer it. "
    "Reply with the rewritten question alone, on one line."
)
_LABEL = re.compile(
    r"^\s*(?:(?:standalone|rewritten|the)\s+)*question\s*:\s*|^\s*(?:改写后?的?|獨立的?|独立的?)?(?:问题|問題)\s*[:：]\s*",
    re.IGNORECASE,
)
_EARLY = (
    10  # characters; what Chinese points at later stands in the question itself: 年假到了年底没有休完，它能留到明年吗？
)
_ONE = "个個种種点點条條项項步位者件款"  # what is counted when nothing is named
_PRONOUN = re.compile(
    r"\b(?:it|its|he|him|his|she|hers?|they|them|theirs?|this|that|these|those|former|latter)\b"
    r"|\b(?:the|first|second|third|fourth|fifth|last|next|other) ones?\b"
    r"|^\W*(?:and|or|but|what about|how about|also)\b|^\W*the (?:first|second|third|last|next|other)\W*$"
    # 其他, 土耳其, 应该 and 吉他 stand for nothing; 该公司 and 该怎么办 differ by what follows
    rf"|^.{{,{_EARLY}}}?(?:[它她這这]|(?<![吉其])他(?![人国國乡鄉])|(?<!刹)那(?!不勒斯|霸|曲))|前者|后者|後者|上述|上面"
    r"|(?<!土耳)(?<![尤极極与與])其(?![他它余餘实實])|(?<![应應不本活])[该該](?![怎如何不去用做在是把从從吃说說选選几幾])"
    r"|^\W*(?:还有|還有|另外|然后|然後|以及|或者|而且|(?:再|还|還)(?:说|說|举|舉|来|來|能|可以|需|要|包括))"
    # 第二个呢？ 第二种怎么做？, but not 第一个登上月球的人是谁？
    rf"|^\W*(?:(?:最后|最後)一?|第?[一二两三四五六七八九十\d]+)[{_ONE}](?:的?\W*$|[呢是怎如为為有叫的])",
    re.IGNORECASE,
)
_ASKS = "什么|什麼|怎|谁|誰|哪|几|幾|多少|何|是否|吗|嗎|如"
# 病假呢？
_TOPIC_ALONE = re.compile(rf"^(?!.*(?:{_ASKS}))[^，。,]{{1,14}}呢\W*$")
# Chinese leaves out what is understood: 什么时候成立的？ 怎么做？ 有什么优点？
_NOTHING_NAMED = re.compile(
    r"^\W*(?:请问|請問|具体|具體|详细|詳細|请|請|能|可以|能不能|再)*"
    r"(?:(?:(?:是|由|在|从|從)?(?:什么时候|什麼時候|何时|何時|哪一?[年天个個里裡]|哪[里裡儿兒]|谁|誰|为什么|為什麼|怎么样?|怎樣|怎麼|如何))"
    rf"[{HAN}]{{0,4}}的|[都又]?有(?:什么|什麼|哪些|多少|几|幾)[{HAN}]{{0,5}}"
    r"|(?:怎么|怎麼|怎样|怎樣|如何)(?:做|办|辦|用|说|說|算|操作|使用|申请|申請|解决|解決)|多少[钱錢个個天年]?|几[个天年次]"
    r"|(?:什么时候|什麼時候|何时|何時|哪一?年|几时|幾時).{0,4}|在?哪[里裡儿兒]|谁|誰|是?什么意思"
    r"|[举舉][个個]?一?[个個]?例子?|(?:说明|說明|说说|說說|解释|解釋)(?:一下|一点|一點)?|继续|繼續)"
    r"[呢了吗嗎啊]?\W*$"
    r"|^\W*(?:请问|請問)?(?:是(?!否|不是|要|因|说|說|谁|誰)|主要|[一总總]共|位于|位於|出生|成立|建于|建於|毕业|畢業|担任|擔任|包括"
    r"|曾(?:经|經|任|在|是|就)|可以|适用于|適用於|由(?:什么|什麼|谁|誰|哪)|叫什么|叫什麼|(?:属于|屬於|在[什哪]).{0,8}$)"
)
_WORD = re.compile(r"\w[\w.+#'-]*")
_PARTICLES = re.compile(
    "有?[哪几幾](?:几|幾)?[种種个個]|(?<!目)的|是|被|(?<![自理])由|了(?!解)|请问|請問|吗|嗎|呢|谁|誰|[它他她]们?"
    "|[这這那](?:个|個|些|种|種|里|裡|时|時)?"
)
_NUMERALS = {
    **{character: n for n, character in enumerate("一二三四五六七八九十", start=1)},
    "两": 2,
    "last": -1,
    "最后": -1,
    "最後": -1,
    **{word: n for n, word in enumerate("first second third fourth fifth".split(), start=1)},  # noqa: SIM905
}
_ORDINAL = re.compile(
    rf"\b(first|second|third|fourth|fifth|last)\b|(最后|最後)一?[{_ONE}]|第([一二两三四五六七八九十]|\d+)[{_ONE}]",
    re.IGNORECASE,
)
_MARK = re.compile(r"(?:(?<!\s)\s+)?\[(?:\d+|\?)\]")
_ITEM = re.compile(rf"^[ \t\u3000]*{ITEM}[ \t\u00a0\u3000]*(\S.*)$", re.MULTILINE)


def rewriting_messages(question: str, history: Sequence[Message]) -> list[Message]:
    """The conversation that asks a chat model for a standalone form of ``question``."""
    names = {"user": "User", "assistant": "Assistant"}
    turns = [f"{names[turn.role]}: {turn.content[:_TURN_LENGTH]}" for turn in history if turn.role in names][-_TURNS:]
    said = "\n".join(turns)
    return [
        Message("system", _SYSTEM),
        Message("user", f"Conversation:\n{said}\n\nLast question: {question}\n\nRewritten question:"),
    ]


def standalone_question(question: str, rewritten: str, history: Sequence[Message]) -> str:
    """``rewritten`` where it can be believed, else :func:`with_key_words`.

    Believed is one line of at most 400 characters that holds at least half of the follow-up's terms and seven tenths
    of whose own terms come from the conversation. A follow-up that leans on the conversation
    must have gained a term, too.
    """
    spoken = Spoken()
    lines = (spoken.push(rewritten) + spoken.flush()).splitlines()
    line = next((line for line in lines if line.strip()), "")
    line = _LABEL.sub("", line).strip().strip("\"'“”「」").strip()
    # All texts together: alone, one of nothing but stop words would have those for terms.
    content = set(terms("\n".join([question, line, *(turn.content for turn in history)])))
    asked, got = set(terms(question)) & content, set(terms(line)) & content
    said = {term for turn in history for term in terms(turn.content)}
    believed = (
        len(line) <= _LONGEST
        and len(asked & got) >= _KEPT * len(asked)
        and len(got & (asked | said)) >= _KNOWN * len(got) > 0
        and (not leans(question) or bool(got - asked))
    )
    return line if believed else with_key_words(question, history)


def leans(question: str) -> bool:
    """Whether it can only be understood out of what was said before: by a pronoun, its first word, or saying nothing.

    >>> [leans(question) for question in ("How old is he?", "And in France?", "Why?", "How old is PEP 8?")]
    [True, True, True, False]
    >>> [leans(question) for question in ("它有多大？", "病假呢？", "什么时候成立的？", "我应该怎么安装？")]
    [True, True, True, False]
    """
    # Beside another text: alone, one of nothing but stop words would have those for terms.
    says_nothing = set(terms(question)).isdisjoint(terms(f"{question}\n{_SYSTEM}"))
    patterns = (_PRONOUN, _TOPIC_ALONE, _NOTHING_NAMED)
    return says_nothing or any(pattern.search(question) is not None for pattern in patterns)


def with_key_words(question: str, history: Sequence[Message]) -> str:
    """``question``, if it leans on the conversation with what the user's turn before it was about.

    That turn may have leant on the one before it, and so on, six turns back at most.
    """
    turns: list[tuple[str, str]] = []  # what was asked, and what was said before it
    said = ""
    for turn in history:
        if turn.role == "user" and turn.content.strip():
            turns.append((turn.content, said))
        said = turn.content if turn.role == "assistant" else said
    about = ""
    for asked, before in [*turns[-_TURNS:], (question, said)]:
        leaning = bool(about) and leans(asked)
        about = " ".join([asked, *_key_words(asked, f"{_item(asked, before)} {about}")]) if leaning else asked
    return about


def _item(question: str, said: str) -> str:
    """The entry of a list in what was ``said`` that ``question`` means: "And the second one?", "第二个呢？"."""
    found = _ORDINAL.search(question)
    if found is None:
        return ""
    word = next(group for group in found.groups() if group).lower()
    number = int(word) if word.isdecimal() else _NUMERALS[word]
    items = [_MARK.sub("", item) for item in _ITEM.findall(said)]
    return items[number - (number > 0)] if -len(items) <= number - (number > 0) < len(items) else ""


def _key_words(question: str, before: str) -> list[str]:
    """What ``before`` was about, in its own words and order, without what ``question`` says already."""
    wanted = set(terms(before)) - set(terms(question))
    words: list[str] = []
    for word in _words(before):
        new = wanted & set(terms(word))
        if new:
            words.append(word.rstrip(".'-"))
            wanted -= new
    return words[:_KEY_WORDS]


def _words(text: str) -> list[str]:
    """The words of ``text``; of Chinese, what stands between its particles and the words it asks with."""
    if not has_han(text):
        return _WORD.findall(text)
    return [
        word for word in _WORD.findall(_PARTICLES.sub(" ", asked_about(text))) if len(word) > 1 or not has_han(word)
    ]

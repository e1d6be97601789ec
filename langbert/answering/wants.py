"""Question → Wants: a figure or a name, or several sentences; and whether the documents themselves are asked for.

Rules in English and Chinese: how a question begins tells what people expect to read.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from ..text.terms import terms

__all__ = ["Wants", "parts", "wants"]

_FULL = 118.0
"""Words that are read at a glance; beyond some 120 people scroll."""

_FACT = 60.0

_ASKED = r"(?:^|[,;:?] *|\band |\bbut )(?:(?:in|on|at|by|for|from|to|of|since|until) )?"
_FACT_EN = re.compile(
    rf"{_ASKED}(?:who(?:se|m)?\b|(?:when|where) (?:is|are|was|were|did|does|do|will|can|has|have|should)\b"
    r"|how (?:many|much|long|old|large|big|tall|far|often|high|fast)\b"
    r"|(?:what|which) (?:\w+ )?(?:year|date|day|month|time|version|number|name|size|percentage|price|age|colou?r"
    r"|country|city|address|limit)\b"
    r"|what(?: is| are| was| were|'s) the (?:\w+ )?(?:maximum|minimum|max|min|default|limit|number|length|size|name"
    r"|status|date|price|cost|average|total|capital|address)\b)",
    re.IGNORECASE,
)
_FACT_ZH = re.compile(
    "谁|誰|什么时候|什麼時候|何时|何時|哪一?年|哪一?天|几号|幾號|几月|几点|多少|多久|多长|多長|多大|多高|多远|多遠|多重"
    "|几个|几条|几天|几次|几秒|几台|几人|哪里|哪裡|哪儿|叫什么|叫什麼|最(?:大|小|多|少|长|高)(?:能|可|是|为|保|存|几)"
    "|默认(?:值|是|多)"
)
_CLAUSE = re.compile("[，,；;？?。]")
_SEVERAL = re.compile(
    r"\b(?:and (?:what|who|when|how|why|which|where|is|are|does|do|on)|list|compare|differen(?:ce|t)|versus|vs|why"
    r"|explain|describe|steps|how (?:do|does|did|to|can|could|should|has|have|will)"
    r"|who (?:are|were|(?:is|was|sits?) (?:on|in|among|part of)))\b"
    r"|为什么|為什麼|为何|为啥|怎么|怎麼|怎样|如何|区别|區別|不同|哪些|列出|有谁|都是谁|步骤|步驟|分别|以及|导致|机制",
    re.IGNORECASE,
)
_BETWEEN = re.compile(
    r"(?<=[?？;；])\s*|,\s+(?:and|but)\s+(?=(?:what|who|when|where|why|how|which|is|are|does|do|did|can|was|were)\b)"
    r"|(?<!\s)\s+and\s+(?=(?:what|who|when|where|why|how)\b)|[，,]\s*(?=(?:以及|并且|另外|还有|而且|同时|又))"
    r"|[，,](?=[^，,？?]*(?:什么|什麼|怎么|怎麼|如何|哪|多[少久大长]|几|谁|誰|为何|为啥|吗|嗎))",
    re.IGNORECASE,
)
_ASKS = re.compile(
    r"\b(?:what|who|when|where|why|how|which|is|are|does|do|did|can|was|were)\b"
    "|什么|什麼|怎么|怎麼|如何|哪|多少|几|幾|为何|为啥|為什|吗|嗎|谁|誰|是否|多[大长高久]",
    re.IGNORECASE,
)
_NUMBERED = r"(?:[A-Za-z]{1,8}[-.]?)?\d{1,6}(?:[.-]\d{1,6}){0,3}[A-Za-z]{0,4}(?![A-Za-z\d])"
_LISTED = re.compile(
    rf"(?<![A-Za-z\d.-]){_NUMBERED}(?:\s?[,，、]\s?{_NUMBERED}){{0,2}}"
    rf"(?:,?\s(?:and|or)\s|\s?[和与及、]\s?){_NUMBERED}"
)
_COMPARES = re.compile(r"\b(?:differ|compar|versus|vs|between|than)|区别|區別|不同|比|差", re.IGNORECASE)
_MOST_PARTS = 3
_FEWEST_TERMS = 2  # of a part that can be understood alone
_TITLES = re.compile(
    r"\bw(?:h?ich|hat) (?:pep|doc(?:ument)?|paper|file|page|report|article|chapter|policy|contract|manual|book)s?\b"
    r"|哪一?(?:篇|份|本)|(?:哪|几)(?:些|个|几个|两个|一个)? ?(?:文档|文件|文章|论文|PEP|报告|手册|合同|制度|页面)",
    re.IGNORECASE,
)
_UNDER = re.compile(
    r"\b(?:which|what) (?:\w+ )?(?:version|release|chapter|section|part|phase|stage)s?\b"
    r"|哪一?个?(?:版本|版|章|节|部分|阶段)|第几(?:版|章|节|部分|阶段)",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Wants:
    """What a question wants.

    Attributes:
        words: about so many are an answer.
        fact: a name, a number, a date: a sure reader's words answer it.
        titles: the documents are asked for, so that their names are part of the answer.
        several: more than one thing is asked for, or how and why.
        headings: what the answer stands under may be asked for, a version or a chapter, so that it is shown.
    """

    words: float
    fact: bool = False
    titles: bool = False
    several: bool = False
    headings: bool = False


def wants(question: str) -> Wants:
    """What ``question`` wants.

    >>> wants("When was Python created?").fact, wants("Why was it created, and by whom?").fact, wants("谁写了它？").fact
    (True, False, True)
    """
    several = _SEVERAL.search(question) is not None
    clauses = _CLAUSE.split(question) if not question.isascii() else [question]
    asked = len(_FACT_EN.findall(question)) + sum(_FACT_ZH.search(clause) is not None for clause in clauses)
    fact = asked == 1 and not several
    titles, headings = (pattern.search(question) is not None for pattern in (_TITLES, _UNDER))
    return Wants(_FACT if fact else _FULL, fact, titles, several or asked > 1, headings)


def parts(question: str) -> list[str]:
    """The questions in a question that asks several things; itself where it asks one.

    >>> parts("When was the bridge built, and who paid for the work?")
    ['When was the bridge built', 'who paid for the work?']
    >>> parts("怎么安装 DM？安装后要改哪些配置")
    ['怎么安装 DM？', '安装后要改哪些配置']
    >>> parts("Who maintains 3.8 and 3.10?")
    ['Who maintains 3.8?', 'Who maintains 3.10?']
    """
    listed = _LISTED.search(question)
    if listed and not _COMPARES.search(question):
        each = [found[0] for found in re.finditer(_NUMBERED, listed[0])]
        if len(each) <= _MOST_PARTS and not any(map(str.isdigit, each)):
            return [question[: listed.start()] + one + question[listed.end() :] for one in each]
    found: list[str] = []
    for part in _BETWEEN.split(question):
        if not part or not part.strip(" ,，?？"):
            continue
        if found and not (_ASKS.search(part) and _ASKS.search(found[-1])):
            found[-1] = f"{found[-1]} {part}"
        else:
            found.append(part.strip())
    whole = all(len(set(terms(part))) >= _FEWEST_TERMS for part in found)
    return found if whole and 1 < len(found) <= _MOST_PARTS else [question]

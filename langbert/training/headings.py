"""Documents → questions that their headings ask, answered by what stands under them: no labels are needed.

A title and its text are the pairs that encoders are pre-trained on (Wang et al. 2022, "Text Embeddings by
Weakly-Supervised Contrastive Pre-training", §3.1); here a heading is put as people would ask it, and the whole section,
with its steps, lists and code, is the answer. That is what reading sets made from an encyclopedia lack.
"""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from functools import cache
from itertools import pairwise
from pathlib import Path

from ..errors import DataError
from ..files import replacing
from ..models.files.json_files import write_json
from ..records import Document, Heading
from ..text.scripts import has_han, letters, one_line, reading_length
from ..text.terms import terms

__all__ = ["as_question", "sections", "write_heading_questions"]

_SHORTEST = 15.0  # words of a section that answers
_LONGEST = 1500  # characters of it that are kept
_MOST_WORDS = 14.0  # of a heading
_NUMBER = re.compile(
    r"^(?:(?:chapter|section|part|appendix)\s+)?(?:[\dA-Z]+\.)+\d*\s+|^第.{1,3}[章节節]\s*", re.IGNORECASE
)
_MARKS = re.compile(r"[¶#🔗]+|[\[(（]\s*[\])）]")
_ASKS = re.compile(
    r"[?？]$|^(?:how|why|what|when|where|which|who|can|does|do|is|are|should)\b|什么|什麼|如何|怎么|怎麼|怎样|为何|为什|吗$",
    re.IGNORECASE,
)
_VERBS = """
add apply assign attach build calculate change check choose clear close combine configure connect convert copy create
customize debug define delete disable display download edit enable enter export filter find format get group hide
import insert install join link load make manage merge move open print protect record remove rename repeat replace
reset resize restore rotate run save search select send set share show sort split start stop switch test turn undo
update upgrade use view write
""".split()  # noqa: SIM905
_DOES_ZH = re.compile(
    "^(?:使用|利用|创建|建立|配置|设置|設定|设定|安装|安裝|删除|刪除|修改|添加|新增|加入|更改|變更|移动|移動|复制|複製|选择|選擇|打开|開啟"
    "|保存|儲存|插入|应用|套用|启用|啟用|禁用|停用|查看|檢視|导入|匯入|导出|匯出|编辑|編輯|打印|列印|更新|升级|升級|计算|計算|显示|顯示"
    "|隐藏|隱藏|查找|替换|取代|排序|合并|合併|拆分|分割|转换|轉換|定义|定義|格式化|保护|保護|旋转|旋轉|调整|調整|自定义|自訂|管理|运行|執行"
    "|连接|連結|链接|构建|编写|制作|撰写|获取|发布|重命名|切换|关闭|恢复|避免|指定|输入|輸入|录制|通过|在)"
)


def write_heading_questions(documents: Iterable[Document], output: str | Path, *, seed: int = 0) -> Path:
    """Write a reading set in SQuAD's form: a paragraph for each section, whose answer is all of it.

    A heading that stands in several places asks nothing: what is under it does not answer without the rest.

    Raises:
        DataError: no document has a section under a heading of its own.
    """
    rng = random.Random(seed)  # noqa: S311
    found = [section for document in documents for section in sections(document)]
    counts = Counter(letters(heading) for _, _, heading, _ in found)
    articles: dict[str, list[object]] = {}
    asked = 0
    for number, (_, above, heading, body) in enumerate(found):
        qas = []
        if counts[letters(heading)] == 1 and terms(heading) and reading_length(heading) <= _MOST_WORDS:
            answer = {"text": body, "answer_start": 0}
            qas.append({"id": f"h{number}", "question": as_question(heading, rng), "answers": [answer]})
            asked += 1
        articles.setdefault(above, []).append({"context": body, "qas": qas})
    if not asked:
        raise DataError("there is no section under a heading of its own: expected such as Markdown or HTML has")
    data = [{"title": title, "paragraphs": paragraphs} for title, paragraphs in articles.items()]
    with replacing(Path(output)) as fresh:  # a set that is half there would be taken for whole
        write_json({"data": data}, fresh)
    return Path(output)


def as_question(heading: str, rng: random.Random) -> str:
    """A heading as people would ask it, or as they would type it into a search.

    >>> sorted({as_question("Inserting Rows", random.Random(i)) for i in range(9)})[:2]
    ['How do I insert rows?', 'How to insert rows']
    >>> as_question("Why are strings immutable?", random.Random(0))
    'Why are strings immutable?'
    """
    heading = one_line(heading).rstrip(":：.。")
    if _ASKS.search(heading):
        return heading
    if has_han(heading):
        if _DOES_ZH.search(heading):
            return rng.choice((heading, f"怎么{heading}？", f"如何{heading}", f"{heading}要怎么做？"))
        return rng.choice((heading, heading, f"什么是{heading}？", f"{heading}是什么", f"介绍一下{heading}"))
    first, _, rest = heading.removeprefix("To ").partition(" ")
    if (verb := _deeds().get(first.lower())) or heading.startswith("To "):
        deed = f"{verb or first.lower()} {_quiet(rest)}".strip()
    else:
        name = _quiet(heading)
        return rng.choice((heading, heading, name, f"What is {name}?", f"what does {name} mean", f"Explain {name}."))
    return rng.choice((heading, deed, f"How do I {deed}?", f"How to {deed}", f"how can I {deed}?"))


def sections(document: Document) -> Iterator[tuple[int, str, str, str]]:
    """The number of a section's heading; what stands above it, or the file's name where nothing does; the heading; its
    own text. Only sections that are long enough to answer."""
    path: list[Heading] = []
    ends = [*(heading.start for heading in document.headings), len(document.text)]
    for number, (heading, (start, end)) in enumerate(zip(document.headings, pairwise(ends), strict=True)):
        while path and path[-1].level >= heading.level:
            path.pop()
        above = " > ".join(_plain(other.text) for other in path) or Path(document.source).stem
        path.append(heading)
        _, _, body = document.text[start:end].partition("\n")
        body = _cut(body.strip())
        if reading_length(body) >= _SHORTEST:
            yield number, above, _plain(heading.text), body


def _plain(heading: str) -> str:
    return _NUMBER.sub("", one_line(_MARKS.sub(" ", heading))).strip()


def _cut(text: str) -> str:
    """``text`` as far as it is not too long, up to the end of a line."""
    return text if len(text) <= _LONGEST else text[: max(text.rfind("\n", 0, _LONGEST), _LONGEST // 2)].rstrip()


def _quiet(words: str) -> str:
    """Words that are capitalised because a heading's are; names such as HTML stay."""
    return re.sub(r"\b[A-Z][a-z]+\b", lambda word: word[0].lower(), words)


@cache
def _deeds() -> dict[str, str]:
    """Verbs and their gerunds → the verb."""
    doubled = {"get", "run", "set", "split", "stop", "reset"}
    gerunds = {}
    for verb in _VERBS:
        stem = verb[:-1] if verb.endswith("e") else verb + verb[-1] if verb in doubled else verb
        gerunds[f"{stem}ing"] = gerunds[verb] = verb
    return gerunds

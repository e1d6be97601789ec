"""Questions that a decoder asks of passages, so that documents alone can teach an embedder.

Nogueira et al. 2019 ("Document Expansion by Query Prediction") make queries from passages; Wang et al. 2022 ("GPL:
Generative Pseudo Labeling for Unsupervised Domain Adaptation of Dense Retrieval", §3) train an embedder on them, with
negatives found by search and, where there is a cross-encoder, its margins.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path

from ..evaluation.lines import whole_lines
from ..generation.generator import Generator
from ..records import Chunk, Message, Progress
from ..text.scripts import has_han, is_chinese
from ..text.terms import terms

_MOST_TOKENS = 40
_MOST_CHARACTERS = 800  # of a passage: a small decoder loses its way in more
_SHARED = 0.4  # of a question's content words, at least, occur in the passage
_LABEL = re.compile(r"^\W*(?:question|问题|问|q)\s*[:：]\s*", re.IGNORECASE)
_POINTS_AT_TEXT = re.compile(
    r"\b(?:th(?:is|e|ese) (?:above |following |given |provided |first |second )?"
    r"(?:texts?|passages?|paragraphs?|documents?|sections?|author|context|question|error|code|example))\b"
    r"|本文|这段|文中|上文|这篇|作者",
    re.IGNORECASE,
)
_ASKING = "Text: {}\n\nAsk a question that this text answers."
_EXAMPLES = (
    (
        "The Rhine rises in the Swiss Alps, passes Lake Constance and Basel and, after 1,233 km, ends in the North Sea "
        "near Rotterdam.",
        "Which sea does the Rhine flow into?",
    ),
    (
        "To make sourdough, flour and water are left to ferment for several days. The wild yeast makes the bread rise, "
        "and the bacteria give it its sour taste.",
        "Why does sourdough bread taste sour?",
    ),
    (
        "Refunds: Tickets may be returned until 48 hours before departure. Later, only the taxes are paid back.",
        "Until when can a ticket be returned for a refund?",
    ),
)
_ASKING_ZH = "文字：{}\n\n请提一个这段文字能回答的问题。"
_EXAMPLES_ZH = (
    ("莱茵河发源于瑞士阿尔卑斯山，流经博登湖和巴塞尔，全长1233公里，在鹿特丹附近流入北海。", "莱茵河流入哪个海？"),
    ("制作酸面团时，面粉和水要发酵几天。野生酵母使面包膨胀，细菌使它带有酸味。", "酸面包为什么是酸的？"),
    ("退票：出发前48小时可以退票，之后只退税款。", "最晚什么时候可以退票？"),
)


def make_questions(
    passages: Sequence[Chunk],
    generator: Generator,
    output: str | Path,
    *,
    progress: Progress | None = None,
) -> Path:
    """Write ``{"query", "positive", "title"}``, a line for each passage whose likeliest question can be used.

    A question is left out if it is none, speaks of "the text", or asks of things that do not occur in its passage.
    What ``output`` already holds is kept, so that a stopped run goes on where it was.

    Args:
        progress: called after each passage.
    """
    output = Path(output)
    passages = list({passage.text: passage for passage in passages}.values())
    start = _done(passages, output)
    if progress and start:
        progress(start)
    with output.open("a", encoding="utf-8") as lines:
        for passage in passages[start:]:
            written = generator.generate(_prompt(passage), max_tokens=_MOST_TOKENS, stop=("\n",)).text
            if question := usable_question(written, passage.contextual_text):
                row = {"query": question, "positive": passage.text, "title": " > ".join(passage.headings)}
                lines.write(json.dumps(row, ensure_ascii=False) + "\n")
                lines.flush()
            if progress:
                progress(1)
    return output


def usable_question(written: str, passage: str) -> str | None:
    """The question in what a decoder wrote, if it is one that this passage may answer."""
    match = re.search(r"[^?？]*[?？]", written)
    if not match:
        return None
    question = _LABEL.sub("", match[0].strip()).strip(" \"'“”*")
    long_enough = len(question) >= 5 if has_han(question) else len(question.split()) >= 4
    if not long_enough or len(question) > 200 or _POINTS_AT_TEXT.search(question):
        return None
    asked = set(terms(question))
    return question if len(asked & set(terms(passage))) >= _SHARED * len(asked) else None


def _prompt(passage: Chunk) -> list[Message]:
    """Examples as earlier turns: a small decoder follows those better than an instruction."""
    text = " ".join(passage.text.split())[:_MOST_CHARACTERS]
    asking, examples = (_ASKING_ZH, _EXAMPLES_ZH) if is_chinese(text) else (_ASKING, _EXAMPLES)
    turns: list[Message] = []
    for example, question in examples:
        turns += [Message("user", asking.format(example)), Message("assistant", question)]
    return [*turns, Message("user", asking.format(text))]


def _done(passages: Sequence[Chunk], output: Path) -> int:
    """How many passages ``output`` is through with; a last line cut off by a kill is taken away."""
    lines = whole_lines(output, cut=True)
    if not lines:
        return 0
    last = json.loads(lines[-1])["positive"]
    return next((i + 1 for i, passage in enumerate(passages) if passage.text == last), 0)

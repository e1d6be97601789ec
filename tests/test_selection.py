"""Which pieces of the passages are shown: whole, each once, the best first, no more than can be read."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from langbert import Candidate, Chunk, Chunker, Document, Embedder, Reranker, Store
from langbert.answering.evidence import Evidence
from langbert.answering.fields import asked_fields
from langbert.answering.grounding import Grounder, set_out
from langbert.answering.pieces import Piece, cut_pieces
from langbert.answering.selection import CROSS_ENCODED, merged, select, weigh, with_headings
from langbert.answering.wants import Wants, wants
from langbert.documents.markdown import read
from langbert.text.scripts import reading_length

LEAVE = """# Leave

## Annual leave

Every employee has 24 days of annual leave a year. They are granted on 1 January.

To apply for leave, take these steps:

1. Ask your team whether the days suit them.
2. Enter the days in the portal, at least two weeks before.
3. Wait for the answer of your manager.

## Sick leave

Call before nine. A doctor's note is needed from the third day.

| Years of service | Days at full pay |
|---|---|
| under 5 | 30 |
| 5 and more | 60 |

```text
portal --leave sick --from today
```
"""
CHINESE = """# 考勤制度

## 年假

员工每年享有十天年假。年假应当在当年休完。

申请年假的步骤如下：

1. 与团队商定日期。
2. 提前两周在系统中填写申请。
3. 等待主管批准。

## 病假

病假应在当天九点前告知主管。超过三天须提供医生证明。
"""
WIDE = Wants(118.0, fact=False, titles=False)
SHORT = Wants(60.0, fact=True, titles=False)


def document_of(text: str, name: str = "leave.md") -> Document:
    extract = read(text.encode())
    return Document(name, extract.text, source=name, headings=extract.headings)


def passages(document: Document, *starts: str, length: int = 60) -> list[Candidate]:
    """Cut without regard to lines, as chunks of long sections are."""
    found = []
    for start in starts:
        at = document.text.index(start)
        chunk = Chunk(
            f"{document.id}:{at}", document.id, document.text[at : at + length], start=at, source=document.source
        )
        found.append(Candidate(chunk, 0.5))
    return found


def pieces_of(text: str, *starts: str, words: float = 45.0) -> list[Piece]:
    document = document_of(text)
    return cut_pieces(passages(document, *starts), {document.id: document}, words)


def test_a_list_is_whole_though_its_passage_was_cut_and_has_its_lead() -> None:
    (steps,) = (piece for piece in pieces_of(LEAVE, "2. Enter") if piece.kind == "list")
    assert steps.text.startswith("1. Ask your team")
    assert steps.text.endswith("answer of your manager.")
    above, said = steps.read.splitlines()  # as one sentence, which is what cross-encoders know
    assert above == "Leave > Annual leave"
    assert said.startswith("To apply for leave, take these steps: 1. Ask your team whether the days suit them; 2.")
    (evidence,) = select([steps], [np.zeros(1)], WIDE)
    assert evidence.quote.startswith("To apply for leave, take these steps:\n\n1. Ask")


def test_offsets_are_the_documents_own() -> None:
    document = document_of(LEAVE)
    pieces = cut_pieces(passages(document, "Every", "| under", "portal --"), {document.id: document})
    for evidence in select(pieces, [np.zeros(len(pieces))], Wants(1000.0, fact=False, titles=False)):
        citation = evidence.citation
        assert document.text[citation.start : citation.end] == citation.quote == evidence.quote


def test_every_sentence_or_row_may_be_a_piece_of_its_own() -> None:
    assert [piece.text for piece in pieces_of(LEAVE, "Every employee", words=0)][:2] == [
        "Every employee has 24 days of annual leave a year.",
        "They are granted on 1 January.",
    ]
    rows = [piece for piece in pieces_of(LEAVE, "| under", words=0) if piece.kind == "table"]
    assert [set_out(row.text) for row in rows] == [
        "| under 5 | Days at full pay: 30 |",
        "| 5 and more | Days at full pay: 60 |",
    ]


def test_a_question_goes_with_what_is_said_to_it() -> None:
    talk = "Ann: Who buys it?\nBo: A mill in Oban.\nAnn: And when?\nBo: In May.\n"
    assert [piece.text for piece in pieces_of(talk, "Ann", words=0)] == [
        "Ann: Who buys it?\nBo: A mill in Oban.", "Ann: And when?\nBo: In May.",
    ]  # fmt: skip


def test_a_line_that_only_announces_and_a_table_of_contents_are_no_pieces() -> None:
    text = "# Guide\n\nUse this:\n\n- [Leave](/leave.md)\n- [Pay](/pay.md)\n\nAsk us before you book anything.\n"
    assert [piece.text for piece in pieces_of(text, "Use", words=0)] == ["Ask us before you book anything."]


def test_without_its_document_a_passage_is_cut_as_it_is() -> None:
    candidates = passages(document_of(LEAVE), "2. Enter")
    pieces = cut_pieces(candidates, {"leave.md": None})
    assert [piece.text for piece in pieces] == [candidates[0].text.strip()]
    other = Document("leave.md", "Something else altogether.")
    assert cut_pieces(candidates, {"leave.md": other}) == pieces


def test_what_is_shown_is_best_first_each_once_and_as_much_as_is_wanted() -> None:
    document = document_of(LEAVE)
    pieces = cut_pieces(
        [*passages(document, "Every", "Call"), *passages(document, "Every")], {document.id: document}, 0
    )
    assert len({piece.place for piece in pieces}) == len(pieces)
    scores = np.array([float("doctor" in piece.text) for piece in pieces])
    shown = select(pieces, [scores], Wants(10.0, fact=False, titles=False))
    assert shown[0].quote == "A doctor's note is needed from the third day."
    assert sum(reading_length(evidence.quote) for evidence in shown) <= 10
    everything = select(pieces, [scores], Wants(1000.0, fact=False, titles=False))
    assert len({evidence.quote for evidence in everything}) == len(everything)


def test_neighbours_are_one_quote_and_what_stands_apart_is_another() -> None:
    pieces = pieces_of(LEAVE, "Every", "Call", words=0)
    quotes = [evidence.quote for evidence in select(pieces, [np.zeros(len(pieces))], WIDE)]
    assert quotes[0] == "Every employee has 24 days of annual leave a year. They are granted on 1 January."
    assert "Call before nine. A doctor's note is needed from the third day." in quotes


def test_faint_pieces_are_left_out_and_a_readers_answer_counts() -> None:
    pieces = pieces_of(LEAVE, "Every", "Call", words=0)
    scores = np.array([9.0 if "24 days" in piece.text else 0.0 for piece in pieces])
    (only,) = select(pieces, [scores], WIDE)
    assert "24 days" in only.quote
    candidate = passages(document_of(LEAVE), "Call")[0]
    read = Evidence(candidate, 0, 17, 1.0, (0, 4), 5.0)
    assert select(pieces, [np.zeros(len(pieces))], SHORT, read=[read])[0].quote.startswith("Call before nine.")


def test_parts_of_a_question_choose_in_turn() -> None:
    pieces = pieces_of(LEAVE, "Every", "Call", words=0)
    one = np.array([3.0 if "24 days" in piece.text else 0.0 for piece in pieces])
    other = np.array([3.0 if "doctor" in piece.text else 0.0 for piece in pieces])
    shown = select(pieces, [one, other], Wants(20.0, fact=False, titles=False))
    assert ["24 days" in shown[0].quote, "doctor" in shown[1].quote] == [True, True]


def test_where_documents_are_asked_for_each_is_named_once() -> None:
    documents = [document_of(LEAVE, f"{i}.md") for i in range(6)]
    candidates = [one for document in documents for one in passages(document, "Every")]
    pieces = cut_pieces(candidates, {document.id: document for document in documents}, 0)
    shown = select(pieces, [np.arange(len(pieces), 0, -1.0) / 9], Wants(118.0, fact=False, titles=True))
    assert len({evidence.candidate.document_id for evidence in shown}) == len(shown) <= 4


def test_what_was_found_for_the_parts_is_merged_in_turn() -> None:
    a, b, c = (Candidate(Chunk(name, "d", name), 0.5) for name in "abc")
    assert [one.text for one in merged([[a, b], [c, a]])] == ["a", "c", "b"]
    assert merged([]) == merged([[], []]) == []


def test_nothing_to_show() -> None:
    assert cut_pieces([], {}) == []
    assert select([], [np.zeros(0)], WIDE) == []
    assert len(weigh("Who?", [], None, None).scores) == 0


def test_quotes_are_read_line_by_line_where_they_are_lists_tables_or_code() -> None:
    assert set_out("Bees make\nhoney. They\nlive in hives.") == "Bees make honey. They live in hives."
    assert set_out("员工每年\n享有十天年假。") == "员工每年享有十天年假。"
    assert set_out("Take:\n\n* one\n  more\n* two") == "Take:\n* one more\n* two"
    assert set_out("Run:\n\n    a = 1\n    if a:\n        b()\n") == "Run:\na = 1\nif a:\n    b()"
    assert set_out("> 第一行，\n> 第二行。") == "第一行，第二行。"
    assert set_out('看[缓存表](/cached-tables.md#用法)与 [the `x` page](a(b)c "t").') == "看缓存表与 the `x` page."
    assert set_out("- The `docs <https://docs.python.org/3/>`_, [1](#note) [a] (b)") == "- The docs, [1](#note) [a] (b)"
    assert set_out("See :pep:`8`, :func:`~a.b` and :ref:`the index <genindex>`: `a`:b:`c`") == (
        "See PEP 8, a.b and the index: `a`:b:`c`"
    )
    assert set_out("`paramstyle`_ and `A B`__ are ``code_`` and `x`_y") == "paramstyle and A B are ``code_`` and `x`_y"
    assert set_out("Run:\n\n    f[i](x)\n") == "Run:\nf[i](x)"
    nested = "1. Make a user:\n\n   ```sql\n   CREATE USER u;\n   ```\n\n   Then log in."
    assert set_out(nested) == "1. Make a user:\n  CREATE USER u;\n  Then log in."


def test_a_list_that_nothing_introduces_is_shown_under_its_heading() -> None:
    text = "# Tiers\n\n## Tier 1\n\n- Failures block a release.\n\n## Tier 3\n\n- No promise is made.\n"
    pieces = pieces_of(text, "- Failures", "- No")
    grounder = Grounder([])
    for evidence in select(pieces, [np.array([2.0, 1.0])], WIDE):
        grounder.quote(evidence)
    assert grounder.text == "Tier 1: - Failures block a release. [1]\n\nTier 3: - No promise is made. [2]"
    assert [citation.quote for citation in grounder.citations] == [
        "- Failures block a release.",
        "- No promise is made.",
    ]


@pytest.mark.models
@pytest.mark.parametrize(
    ("text", "question", "wanted"),
    [
        (LEAVE, "How many days of annual leave do I have?", "24 days"),
        (LEAVE, "How do I apply for leave?", "1. Ask your team"),
        (LEAVE, "How many days of sick leave at full pay after seven years of service?", "60"),
        (CHINESE, "一年有几天年假？", "十天年假"),
        (CHINESE, "怎么申请年假？", "1. 与团队商定日期"),
        (CHINESE, "什么时候需要医生证明？", "三天"),
    ],
)
@pytest.mark.parametrize("name", ["minilm", "e5-small"])
def test_the_best_piece_answers(
    text: str, question: str, wanted: str, name: str, request: pytest.FixtureRequest
) -> None:
    embedder: Embedder = request.getfixturevalue("minilm") if name == "minilm" else Embedder("e5-small")
    reranker = Reranker("e5-reranker") if name == "e5-small" else Reranker() if text.isascii() else None
    document = document_of(text)
    with Store.open(embedder=embedder) as store:
        store.add([document])
        candidates = store.search(question, 8)
    pieces = cut_pieces(candidates, {document.id: document}, 0.0)
    scores = weigh(question, pieces, embedder, reranker).scores
    assert any(wanted in evidence.quote for evidence in select(pieces, [scores], SHORT))


@pytest.mark.models
def test_a_cross_encoder_reads_the_pieces_that_may_be_shown(minilm: Embedder, monkeypatch: pytest.MonkeyPatch) -> None:
    reranker = Reranker()
    read: list[str] = []
    score = reranker.score
    monkeypatch.setattr(reranker, "score", lambda question, texts: (read.extend(texts), score(question, texts))[1])
    document = document_of("\n\n".join(f"Rule {i} is that room {i} has to be left by {i} o'clock." for i in range(40)))
    candidate = Candidate(Chunk("all", document.id, document.text), 1.0)
    pieces = cut_pieces([candidate], {document.id: document}, 0.0)
    question = "When must room 17 be left?"
    weighed = weigh(question, pieces, minilm, reranker)
    assert (len(pieces), len(read), len(weighed.relevances)) == (40, CROSS_ENCODED, CROSS_ENCODED)
    assert pieces[int(weighed.scores.argmax())].text.startswith("Rule 17 ")
    assert {pieces[i].read for i in weighed.scores.argsort()[-5:]} <= set(read)


def test_chunks_of_any_size_give_the_same_pieces() -> None:
    document = document_of(LEAVE)

    def offsets(text: str) -> list[tuple[int, int]]:
        return [(i, i + 1) for i in range(len(text))]

    whole = cut_pieces([Candidate(Chunk("all", document.id, document.text), 1.0)], {document.id: document})
    small = [Candidate(chunk, 1.0) for chunk in Chunker(offsets, 120).split(document)]
    assert {piece.place for piece in cut_pieces(small, {document.id: document})} == {piece.place for piece in whole}


@pytest.mark.parametrize(
    ("text", "question", "shown"),
    [
        (
            "Title: A quicker loop\nAuthor: Ann Lee\nStatus: Deferred\nCreated: 4 May 2021\n\nLoops are slow.",
            "What is the status of the quicker loop?",
            "loop.md: Status: Deferred [1]",
        ),
        (
            "标题: 考勤制度\n作者: 王芳\n发布日期: 2024年3月5日\n\n员工应按时上班。",
            "考勤制度的作者是谁？",
            "loop.md: 作者: 王芳 [1]",
        ),
    ],
)
def test_the_fields_at_the_top_answer_what_is_asked_of_the_document(text: str, question: str, shown: str) -> None:
    document = Document("loop", text, source="loop.md")
    start = text.rindex("\n") + 1
    candidate = Candidate(Chunk("c", "loop", text[start:], start=start, source="loop.md"), 0.5)
    pieces = cut_pieces([candidate], {"loop": document}, 0.0, asked_fields(question))
    scores = weigh(question, pieces, None, None).scores
    grounder = Grounder([candidate])
    grounder.quote(select(pieces, [scores], SHORT)[0])
    assert grounder.text == shown
    assert asked_fields("How do loops work?") is None
    assert not any(piece.is_asked_field for piece in cut_pieces([candidate], {"loop": document}))


def test_of_front_matter_only_what_a_person_would_say_is_a_piece() -> None:
    text = (
        "---\ntitle: Time zones\naliases: ['/dev/time-zones', '/docs/zones']\nkeywords:\n"
        "summary: The zone of a session shifts how moments are shown.\nowner: the calendar team\n"
        "---\n\n# Time zones\n\nSet it.\n\n# The clock\n\nModel: A1\nWeight: 3 kg\nPorts: [USB, LAN]\n"
    )
    document = document_of(text)
    pieces = cut_pieces(passages(document, "---", length=len(text)), {document.id: document})
    said = [piece.text for piece in pieces if piece.kind == "fields"]
    of_itself = ["summary: The zone of a session shifts how moments are shown.", "owner: the calendar team"]
    assert said == [*of_itself, "Model: A1\nWeight: 3 kg\nPorts: [USB, LAN]"]


def test_code_has_to_be_better_than_prose_and_nothing_is_shown_twice() -> None:
    text = "# Loops\n\nA loop ends at its end.\n\n```\nfor i in loop: end()\n```\n"
    pieces = pieces_of(text, "A loop", words=0)
    scores = weigh("How does a loop end?", pieces, None, None).scores
    assert pieces[int(scores.argmax())].text == "A loop ends at its end."
    whole, part = pieces_of(LEAVE, "Every")[0], pieces_of(LEAVE, "Every", words=0)[0]
    (evidence,) = select([whole, part], [np.array([1.0, 0.9])], WIDE)
    assert evidence.quote == whole.text


def test_pieces_stand_under_their_own_headings_where_small_sections_are_one_passage() -> None:
    changes = """# Changes

## 3.6.2

### Security

- Names of jobs are escaped in the log.

## 3.6.0

### Added

- Priorities from 0 to 9; the default is 5.

## 3.5.0

### Added

- Expressions with seconds.
"""
    document = document_of(changes)
    passage = replace(passages(document, "###", length=len(changes))[0].chunk, headings=("Changes", "3.6.2"))
    pieces = cut_pieces([Candidate(passage, 0.5)], {document.id: document})
    assert [piece.read for piece in pieces] == [
        "Changes > 3.6.2\nSecurity: Names of jobs are escaped in the log.",
        "Changes > 3.6.0\nAdded: Priorities from 0 to 9; the default is 5.",
        "Changes > 3.5.0\nAdded: Expressions with seconds.",
    ]
    shown = select(pieces, [np.array([3.0, 2.0, 1.0])], WIDE)
    assert [evidence.heading for evidence in shown] == ["Security", "3.6.0 > Added", "3.5.0 > Added"]


def test_where_a_version_is_asked_for_the_headings_that_say_it_are_shown() -> None:
    document = document_of(
        "# Changes\n\n## 3.6.0\n\n### Added\n\n- Priorities from 0 to 9; the default is 5.\n", "c.md"
    )
    passage = passages(document, "- Priorities", length=30)
    pieces = cut_pieces(passage, {document.id: document})
    (evidence,) = select(pieces, [np.zeros(1)], wants("In which version were priorities added?"))
    assert evidence.heading == "Added"
    assert with_headings(evidence, pieces).heading == "3.6.0 > Added"
    assert wants("哪个版本加入了优先级？").headings
    assert not wants("What is the default priority?").headings

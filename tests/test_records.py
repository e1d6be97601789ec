"""Records: offsets, pages, JSON form, embedding spaces."""

from __future__ import annotations

import dataclasses
import json

import pytest

from langbert.records import Answer, Chunk, Citation, Document, EmbeddingSpace


def test_pages_and_lines_are_found_by_offset() -> None:
    document = Document("d", "one\ntwo\nthree", page_starts=(0, 4))
    assert [document.page_at(offset) for offset in (0, 3, 4, 12)] == [1, 1, 2, 2]
    assert [document.line_at(offset) for offset in (0, 4, 8)] == [1, 2, 3]
    assert Document("d", "one").page_at(0) is None


def test_a_chunk_knows_its_end_and_refuses_offsets_that_do_not_span_its_text() -> None:
    assert Chunk("c", "d", "four", start=3).end == 7
    with pytest.raises(ValueError, match="span 1 characters, the text has 4"):
        Chunk("c", "d", "four", start=3, end=4)


def test_contextual_text_carries_the_heading_path() -> None:
    assert Chunk("c", "d", "body", headings=("Title", "Part")).contextual_text == "Title > Part\nbody"
    assert Chunk("c", "d", "body").contextual_text == "body"


def test_records_are_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Document("d", "text").text = "other"  # type: ignore[misc]


def test_an_answer_prints_as_the_json_of_ask() -> None:
    citation = Citation("a.txt", "d", None, 0, 3, "one", 0.9)
    row = json.loads(json.dumps(Answer("one [1]", (citation,), question="?", timings={"total": 1.23456}).to_dict()))
    assert row == {
        "question": "?",
        "answer": "one [1]",
        "short": "",
        "refused": False,
        "confidence": 0.0,
        "citations": [
            {"source": "a.txt", "document_id": "d", "page": None, "start": 0, "end": 3, "quote": "one", "score": 0.9}
        ],
        "nearest": [],
        "missing": [],
        "timings": {"total": 1.2346},
    }


def test_a_citation_says_where_else_the_same_stands() -> None:
    other = Citation("b.pdf", "e", 7, 4, 7, "one", 0.9)
    cited = Citation("a.pdf", "d", 3, 0, 3, "one", 0.9, (other,))
    assert cited.places == "a.pdf, p. 3; also in b.pdf, p. 7"
    answer = Answer("one [1]", (cited,))
    assert answer.plain().endswith("[1] a.pdf, p. 3; also in b.pdf, p. 7: “one”")
    assert answer.markdown().endswith("1. **a.pdf, p. 3; also in b.pdf, p. 7**: “one”")
    (told,) = answer.to_dict()["citations"]
    assert told["also_in"] == [other.to_dict()]
    assert "also_in" not in other.to_dict()


def test_an_answer_as_plain_text_and_as_markdown() -> None:
    citations = (
        Citation("a_b.pdf", "d", 3, 0, 3, "one\n  [two](x)", 0.9),
        Citation("b.txt", "e", None, 4, 9, "three", 0.8),
    )
    answer = Answer("Use `one`. [1] Or ![three](http://x)! [2] Four. [?]\n- # <b>", citations)
    assert answer.plain() == (
        "Use `one`. [1] Or ![three](http://x)! [2] Four. [?]\n- # <b>\n\n"
        "[1] a_b.pdf, p. 3: “one [two](x)”\n[2] b.txt, characters 4–9: “three”"
    )
    assert answer.markdown() == (
        r"Use \`one\`. [1] Or \!\[three\](http://x)\! [2] Four. [?]" + "\n" + r"\- \# \<b\>" + "\n\n"
        r"1. **a\_b.pdf, p. 3**: “one \[two\](x)”" + "\n" + "2. **b.txt, characters 4–9**: “three”"
    )
    assert Answer("Nothing.").plain() == Answer("Nothing.").markdown() == "Nothing."


def test_a_space_names_its_differences_and_ignores_its_label() -> None:
    space = EmbeddingSpace("minilm", "w", "t", "mean", True, 384)
    renamed = dataclasses.replace(space, model="/a/folder")
    pooled = dataclasses.replace(space, pooling="cls")
    assert space.differences(renamed) == []
    assert space.fingerprint == renamed.fingerprint
    assert space.differences(pooled) == ["pooling: 'mean' != 'cls'"]
    assert space.fingerprint != pooled.fingerprint

"""What goes into a prompt: whole sentences of the document's own text, each once, the most useful first."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from langbert.answering.packing import fit, merge_neighbours, pack
from langbert.records import Candidate, Chunk
from langbert.text.sentences import sentences

TEXT = (
    "Bees live in hives. They make honey from nectar.\n\nA queen lays all the eggs. Drones have no sting.\n\n"
    "蜜蜂住在蜂巢里。它们用花蜜酿蜜。\n\nIn winter they cluster. The cluster shivers to keep warm."
)


def part(start: int, end: int, score: float = 0.5, **chunk: object) -> Candidate:
    made = Chunk(f"d:{start}", "d", TEXT[start:end], start=start, source="bees.txt", **chunk)  # type: ignore[arg-type]
    return Candidate(made, score)


def words(sources: Sequence[Candidate]) -> int:
    """A prompt's length where a token is a character: strict, and the same everywhere."""
    return sum(len(source.chunk.text) + 5 for source in sources)


def is_own(source: Candidate) -> bool:
    return TEXT[source.chunk.start : source.chunk.end] == source.chunk.text


def test_overlapping_chunks_become_one_and_say_nothing_twice() -> None:
    merged = merge_neighbours([part(20, 80, 0.4), part(0, 48, 0.9)])
    assert [(source.chunk.start, source.chunk.end, source.score) for source in merged] == [(0, 80, 0.9)]
    assert is_own(merged[0])


def test_what_lies_between_neighbours_is_fetched_from_the_document() -> None:
    apart = [part(0, 48, 0.9), part(50, 77, 0.4)]
    assert len(merge_neighbours(apart)) == 2
    (whole,) = merge_neighbours(apart, lambda document, start, end: TEXT[start:end])
    assert whole.chunk.text == TEXT[:77]
    assert len(merge_neighbours(apart, lambda document, start, end: None)) == 2


def test_a_chunk_within_another_one_adds_nothing() -> None:
    (whole,) = merge_neighbours([part(0, 80, 0.2), part(20, 48, 0.7)])
    assert (whole.chunk.text, whole.score) == (TEXT[:80], 0.7)


def test_texts_that_contradict_their_offsets_stay_apart() -> None:
    liars = [Candidate(Chunk("a", "d", "One thing."), 0.5), Candidate(Chunk("b", "d", "Another thing."), 0.4)]
    assert [source.chunk.text for source in merge_neighbours(liars)] == ["One thing.", "Another thing."]


def test_the_same_text_in_two_documents_is_read_once() -> None:
    copies = [Candidate(Chunk("a", "d", "One thing."), 0.5), Candidate(Chunk("b", "e", "One thing. "), 0.9)]
    assert [source.chunk.document_id for source in merge_neighbours(copies)] == ["e"]


def test_headings_of_a_merged_passage() -> None:
    first = part(0, 48, page=1, headings=("Bees", "Hives"))
    second = part(48, 100, page=2, headings=("Bees", "Queens"))
    (whole,) = merge_neighbours([first, second])
    assert whole.chunk.headings == ("Bees",)


def test_a_passage_too_long_keeps_the_sentences_that_answer() -> None:
    (kept,) = fit("Do drones have a sting?", [part(0, len(TEXT))], words, 60)
    assert "Drones have no sting." in kept.chunk.text
    assert len(kept.chunk.text) <= 55
    (chinese,) = fit("它们用花蜜做什么？", [part(0, len(TEXT))], words, 20)
    assert chinese.chunk.text == "它们用花蜜酿蜜。"


def test_nothing_is_packed_where_not_one_sentence_fits() -> None:
    assert fit("Bees?", [part(0, 48)], words, 10) == []
    assert pack("Bees?", [], words, 100) == []


spans = st.tuples(st.integers(0, len(TEXT) - 1), st.integers(1, 80)).map(
    lambda pair: (pair[0], min(pair[0] + pair[1], len(TEXT)))
)


@given(st.lists(st.tuples(spans, st.floats(0, 1)), max_size=8), st.integers(0, 300), st.booleans())
def test_whatever_is_packed_is_the_documents_own_within_the_budget(
    cuts: list[tuple[tuple[int, int], float]], budget: int, has_document: bool
) -> None:
    sources = [part(start, end, score) for (start, end), score in cuts]
    between = (lambda document, start, end: TEXT[start:end]) if has_document else None
    packed = pack("Where do bees live?", sources, words, budget, between=between)
    assert words(packed) <= budget or not packed
    assert [source.score for source in packed] == sorted((source.score for source in packed), reverse=True)
    taken: set[int] = set()
    for source in packed:
        assert is_own(source)
        here = set(range(source.chunk.start, source.chunk.end))
        assert not taken & here or not has_document  # said once
        taken |= here
    given_places = set().union(*(range(start, end) for (start, end), _ in cuts)) if cuts else set()
    if budget >= 300 * len(cuts) + 300 and not has_document:
        assert {place for place in given_places if not TEXT[place].isspace()} <= taken


@given(st.integers(0, len(TEXT) - 1), st.integers(0, 200))
def test_no_sentence_is_ever_cut(start: int, budget: int) -> None:
    source = part(start, len(TEXT))
    whole = {source.chunk.text[a:b] for a, b in sentences(source.chunk.text)}
    for kept in fit("Where do bees live?", [source], words, budget):
        assert {kept.chunk.text[a:b] for a, b in sentences(kept.chunk.text)} <= whole

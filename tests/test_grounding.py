"""Claims and quotes: what counts as support, and that a quote is always verbatim."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from langbert.answering.checking import SUPPORTED, numbers, probability
from langbert.answering.evidence import Evidence, passage_sentences
from langbert.answering.grounding import Grounder, find_support, is_refusal
from langbert.records import Candidate, Chunk, Unsupported

PEP8 = Chunk(
    "c1",
    "d1",
    "Maximum Line Length\n-------------------\n\nLimit all lines to a maximum of 79 characters.\n\n"
    "For flowing long blocks of text, the line length should be limited to 72 characters.",
    start=100,
    headings=("PEP 8 – Style Guide for Python Code", "Maximum Line Length"),
    source="pep-0008.rst",
)
NORMANS = Chunk("c2", "d2", "诺曼人定居在法国北部。那里因此得名诺曼底。", source="诺曼人.txt")
SOURCES = [Candidate(PEP8, 0.0), Candidate(NORMANS, 0.0)]
ASKED = "What does PEP 8 recommend as the maximum line length?"


def test_a_claim_is_tied_to_the_shortest_words_that_hold_it() -> None:
    support = find_support("PEP 8 recommends a maximum line length of 79 characters.", SOURCES, ASKED)
    assert support is not None
    assert support.citation.quote == "Limit all lines to a maximum of 79 characters."
    assert support.citation.source == "pep-0008.rst"


def test_offsets_are_those_of_the_document() -> None:
    support = find_support("Lines have at most 79 characters.", SOURCES)
    assert support is not None
    document = " " * PEP8.start + PEP8.text
    assert document[support.citation.start : support.citation.end] == support.citation.quote


@pytest.mark.parametrize(
    "claim",
    [
        "PEP 8 recommends a maximum line length of 120 characters.",  # the number is not in the source
        "The maximum line length limit is 99 characters.",  # nor is this one, among nothing but words of the source
        "Do not limit all lines to a maximum of 79 characters.",  # denies what the source says
        "Tim Peters wrote it in 1999.",
        "PEP 8 recommends a maximum line length.",  # says nothing the question did not
        "",
        "…",
    ],
)
def test_a_claim_that_no_source_holds_has_no_support(claim: str) -> None:
    assert find_support(claim, SOURCES, ASKED) is None


def test_chinese_claims_are_supported_by_chinese_sources() -> None:
    support = find_support("诺曼人定居在法国北部。", SOURCES, "诺曼人住在哪里？")
    assert support is not None
    assert support.citation.quote == "诺曼人定居在法国北部。"


def test_headings_and_rules_are_no_sentences_of_a_passage() -> None:
    quotes = [PEP8.text[start:end] for start, end in passage_sentences(PEP8)]
    assert quotes[0] == "Limit all lines to a maximum of 79 characters."
    assert len(quotes) == 2


@pytest.mark.parametrize("claim", ["诺曼人没有定居在法国北部。", "诺曼人定居在德国南部。", "那里因此得名巴黎。"])
def test_chinese_claims_that_change_what_the_source_says_have_no_support(claim: str) -> None:
    assert find_support(claim, SOURCES) is None


def test_names_that_changed_places_are_no_support() -> None:
    battle = Candidate(
        Chunk("c", "d", "In 1066 William of Normandy defeated King Harold at the Battle of Hastings."), 0.0
    )
    assert find_support("William of Normandy defeated King Harold at the Battle of Hastings.", [battle]) is not None
    swapped = "In 1066 King Harold of Hastings defeated William at the Battle of Normandy."
    right, wrong = (probability(claim, battle.text) for claim in (battle.text, swapped))
    assert wrong < SUPPORTED < right


def test_numbers_compare_however_they_are_written() -> None:
    assert numbers("1,500 people") == numbers("１５００ people") == {"1500"}
    assert numbers("two of them") == {"2"}
    town = [Candidate(Chunk("c", "d", "The town had 1,500 inhabitants and two churches in the year 1900."), 0.0)]
    assert find_support("The town had 1500 inhabitants in the year 1900.", town) is not None
    assert find_support("The town had 1600 inhabitants in the year 1900.", town) is None


@pytest.mark.parametrize(
    "sentence",
    [
        "The sources do not say.",
        "The provided documents do not mention the height of the tower.",
        "Based on the provided sources, there is no information about it.",
        "I cannot find the answer in the text.",
        "I don't know.",
        "This is not in these documents.",
        "这些文档里没有答案。",
        "资料中没有提到这一点。",
        "抱歉，我无法回答这个问题。",
    ],
)
def test_a_refusal_of_the_model_is_seen_and_never_let_through(sentence: str) -> None:
    assert is_refusal(sentence)
    grounder = Grounder(SOURCES, ASKED, unsupported="keep")
    assert not [*grounder.feed(sentence), *grounder.finish()]
    assert grounder.declined


@pytest.mark.parametrize(
    "sentence",
    ["Limit all lines to a maximum of 79 characters.", "Do not use tabs.", "The document says so.", "没有人住在那里。"],
)
def test_a_sentence_that_denies_something_is_no_refusal(sentence: str) -> None:
    assert not is_refusal(sentence)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("Send copies. The documents do not have to be notarised.", "The documents do not have to be notarised."),
        ("The context does not hold the state.", "The context does not hold the state."),
        ("申请文件没有截止日期。", "申请文件没有截止日期。"),
    ],
)
def test_a_sentence_of_the_source_is_no_refusal_whatever_it_sounds_like(text: str, sentence: str) -> None:
    assert is_refusal(sentence)
    grounder = Grounder([Candidate(Chunk("c", "d", text), 0.0)], "What about the papers?")
    assert "".join([*grounder.feed(sentence), *grounder.finish()]) == f"{sentence} [1]"
    assert not grounder.declined


@pytest.mark.parametrize(
    ("unsupported", "expected"),
    [
        ("drop", "Limit lines to 79 characters. [1]"),
        ("mark", "Limit lines to 79 characters. [1] The moon is made of cheese. [?]"),
        ("keep", "Limit lines to 79 characters. [1] The moon is made of cheese."),
    ],
)
def test_what_becomes_of_a_sentence_no_source_supports(unsupported: Unsupported, expected: str) -> None:
    grounder = Grounder(SOURCES, ASKED, unsupported=unsupported)
    text = "".join([*grounder.feed("Limit lines to 79 characters. The moon is made of cheese."), *grounder.finish()])
    assert text == expected
    assert grounder.unsupported == ["The moon is made of cheese."]
    assert len(grounder.citations) == 1


@given(claim=st.text(max_size=60), quote=st.text(max_size=120), question=st.text(max_size=30))
def test_a_probability_is_one_whatever_comes(claim: str, quote: str, question: str) -> None:
    assert 0 <= probability(claim, quote, question=question) <= 1


def ground(pieces: list[str]) -> tuple[str, Grounder]:
    grounder = Grounder(SOURCES, ASKED)
    out = [text for piece in pieces for text in grounder.feed(piece)]
    out += grounder.finish()
    return "".join(out), grounder


def test_only_supported_sentences_come_through_each_with_its_mark() -> None:
    answer = "Limit lines to 79 characters. The moon is made of cheese. Long text is limited to 72 characters."
    text, grounder = ground([answer])
    assert text == "Limit lines to 79 characters. [1] Long text is limited to 72 characters. [2]"
    assert grounder.unsupported == ["The moon is made of cheese."]
    assert ["79" in grounder.citations[0].quote, "72" in grounder.citations[1].quote] == [True, True]


def test_what_was_said_is_not_said_again_and_equal_quotes_share_a_number() -> None:
    text, grounder = ground(
        ["Lines have 79 characters at most. Lines have 79 characters at most. At most 79 characters."]
    )
    assert text == "Lines have 79 characters at most. [1] At most 79 characters. [1]"
    assert len(grounder.citations) == 1


def test_a_last_sentence_that_breaks_off_is_dropped_unless_it_is_all_there_is() -> None:
    assert (
        ground(["Limit lines to 79 characters. Long text is limited to 72"])[0] == "Limit lines to 79 characters. [1]"
    )
    assert ground(["At most 79 characters"])[0] == "At most 79 characters [1]"


def test_markup_is_neither_quoted_nor_said() -> None:
    rst = Chunk("c3", "d3", ".. code-block:: python\n\nErrors should never pass silently.")
    quotes = [rst.text[start:end] for start, end in passage_sentences(rst)]
    assert quotes == ["Errors should never pass silently."]
    assert ground([".. code-block:: 79 characters"])[0] == ""


def test_marks_the_decoder_wrote_itself_are_replaced_by_checked_ones() -> None:
    assert ground(["Limit lines to 79 characters [7]."])[0] == "Limit lines to 79 characters. [1]"


@given(cuts=st.lists(st.integers(0, 95), max_size=12))
def test_however_the_answer_is_cut_into_pieces_the_result_is_the_same(cuts: list[int]) -> None:
    answer = "Limit lines to 79 characters. The moon is made of cheese. Long text is limited to 72 characters."
    borders = [0, *sorted(cuts), len(answer)]
    pieces = [answer[start:end] for start, end in itertools.pairwise(borders)]
    assert ground(pieces)[0] == ground([answer])[0]


@given(claim=st.text(max_size=80), text=st.text(min_size=1, max_size=200), start=st.integers(0, 1000))
def test_a_quote_is_always_verbatim(claim: str, text: str, start: int) -> None:
    chunk = Chunk("c", "d", text, start=start)
    support = find_support(claim, [Candidate(chunk, 0.0)])
    if support is not None:
        citation = support.citation
        assert (" " * start + text)[citation.start : citation.end] == citation.quote
        assert 0 < citation.score <= 1


def test_what_a_reader_would_call_a_passage() -> None:
    assert PEP8.title == "pep-0008.rst > PEP 8 – Style Guide for Python Code > Maximum Line Length"
    assert NORMANS.title == "诺曼人.txt"


PRINCIPLES = "Who wrote the short list of principles behind the design of the language?"


@pytest.mark.parametrize(
    ("claim", "supported"),
    [
        ("The list of principles behind the design of the language was written by Tim Peters.", True),
        ("Tim Peters writes the short list of principles behind the design.", True),
        ("The list of principles behind the design of the language was not written by Tim Peters.", False),
        ("The list of principles behind the design of the language was written by Tim Peters in 1999.", False),
        ("The list of principles behind the design of the language was written by Guido van Rossum.", False),
        ("The list of principles behind the design of the language was rejected by Tim Peters.", False),
    ],
)
def test_a_claim_may_say_in_the_questions_words_what_a_reader_found(claim: str, supported: bool) -> None:
    source = Candidate(Chunk("c", "c", "Author: Tim Peters. Status: Active.", source="pep-0020.txt"), 0.0)
    for likely, let_through in ((0.9, supported), (0.3, False)):
        found = [Evidence(source, 0, 19, likely, (8, 18), 0.0)]
        grounder = Grounder([source], PRINCIPLES, found=found)
        said = "".join([*grounder.feed(claim), *grounder.finish()])
        assert said == (f"{claim} [1]" if let_through else "")
        assert [citation.quote for citation in grounder.citations] == ["Author: Tim Peters."] * let_through


def test_tenses_of_irregular_verbs_compare() -> None:
    source = Candidate(Chunk("c", "c", "Tim Peters wrote it, and Guido chose it.", source="pep-0020.txt"), 0.0)
    assert find_support("Tim Peters has written it.", [source], "Who wrote it?") is not None
    assert find_support("Guido has chosen it.", [source], "Who has chosen it?") is not None

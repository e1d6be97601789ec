"""Rag with the real default models over real documents."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from langbert import Answer, Rag, Retriever, Store
from langbert.answering.flow import SMALL_DECODER
from langbert.answering.packing import pack
from langbert.answering.prompt import NOT_FOUND, build_messages, not_found
from langbert.answering.refusal import confidence, features
from langbert.errors import GenerationError, QuestionError
from langbert.generation.streaming import StopStrings
from langbert.records import Candidate, Chunk, Message

pytestmark = pytest.mark.models

LINE_LENGTH = "What does PEP 8 recommend as the maximum line length?"


@pytest.fixture(scope="module")
def store(peps: Store) -> Store:
    return peps


@pytest.fixture(scope="module")
def rag(store: Store, smollm2) -> Rag:
    return Rag(store, generator=smollm2)


def assert_verbatim(store: Store, answer: Answer) -> None:
    assert answer.citations
    for citation in answer.citations:
        document = store.document(citation.document_id)
        assert document is not None
        assert document.text[citation.start : citation.end] == citation.quote


@pytest.mark.parametrize("mode", ["generate", "extract", "auto"])
def test_an_answer_cites_the_right_words_of_the_right_document(rag: Rag, store: Store, mode: str) -> None:
    answer = rag.ask(LINE_LENGTH, mode=mode)  # type: ignore[arg-type]
    assert not answer.refused
    assert "79" in answer.text
    assert answer.citations[0].source == "pep-0008.rst"
    assert "79 characters" in answer.citations[0].quote
    assert_verbatim(store, answer)
    assert answer.timings["total"] >= answer.timings["retrieve"] > 0


def test_a_question_about_something_else_is_refused_at_once(rag: Rag) -> None:
    answer = rag.ask("Who won the football world cup in 1998?")
    assert answer.refused
    assert (answer.text, answer.citations) == (NOT_FOUND, ())
    assert "generate" not in answer.timings


def test_a_refusal_speaks_the_language_of_the_question() -> None:
    assert not_found("法国的首都是哪里？") == "这些文档里没有答案。"
    assert not_found("What does 你好 mean in English?") == NOT_FOUND
    assert not_found("如何用 Cursor 连接 TiDB MCP Server？") == "这些文档里没有答案。"
    assert not_found("フランスの首都はどこですか？") == "これらの文書に答えはありません。"
    assert not_found("프랑스의 수도는 어디입니까?") == "이 문서들에는 답이 없습니다."


def test_the_stream_is_the_answer_in_pieces(rag: Rag) -> None:
    *pieces, answer = rag.stream(LINE_LENGTH, mode="extract")
    assert isinstance(answer, Answer)
    assert "".join(piece for piece in pieces if isinstance(piece, str)) == answer.text


def test_pdf_citations_carry_their_page(rag: Rag, store: Store) -> None:
    answer = rag.ask("Which operator became known as the walrus operator?", mode="extract")
    assert answer.citations[0].source == "pep-0572.pdf"
    assert answer.citations[0].page is not None
    assert_verbatim(store, answer)


def test_a_filter_limits_what_may_be_cited(rag: Rag) -> None:
    answer = rag.ask("How long may a line be?", mode="extract", where={"source": "pep-0257.rst"})
    assert {citation.source for citation in answer.citations} <= {"pep-0257.rst"}


def test_chinese_questions_find_chinese_words(store: Store) -> None:
    found = Retriever(store, mode="lexical").retrieve("诺曼底的名字从哪里来？", 1)
    assert found[0].chunk.source == "诺曼人.txt"


@pytest.mark.parametrize("question", ["", " \n\t", 7, None])
def test_an_empty_question_is_refused_with_a_reason(rag: Rag, question: object) -> None:
    with pytest.raises(QuestionError):
        rag.ask(question)  # type: ignore[arg-type]


def test_a_very_long_question_is_answered_all_the_same(rag: Rag, store: Store) -> None:
    answer = rag.ask(LINE_LENGTH + " Please be precise." * 400, mode="extract")
    assert isinstance(answer, Answer)


def test_the_prompt_keeps_within_its_budget(smollm2) -> None:
    sources = [Candidate(Chunk(str(n), f"d{n}", f"Fact {n} stands here in so many words."), 0.0) for n in range(1, 40)]
    kept = pack("Which fact?", sources, lambda part: smollm2.count_tokens(build_messages("Which fact?", part)), 300)
    assert 0 < len(kept) < len(sources)
    assert [source.chunk.text for source in kept] == [source.chunk.text for source in sources[: len(kept)]]
    assert smollm2.count_tokens(build_messages("Which fact?", kept)) <= 300


def test_a_prompt_far_too_small_ends_in_a_quotation(store: Store, smollm2) -> None:
    answer = Rag(store, generator=smollm2, prompt_tokens=60).ask(LINE_LENGTH, mode="generate")
    assert "79 characters" in answer.citations[0].quote
    assert_verbatim(store, answer)


class Scripted:
    """A decoder of one's own: says what it is told to, and may fail in the middle."""

    context_length = 4096

    def __init__(self, *pieces: str, failing: bool = False) -> None:
        self.pieces, self.failing = pieces, failing
        self.read: list[Message] = []

    def count_tokens(self, messages: Sequence[Message]) -> int:
        return sum(len(message.content) for message in messages) // 4

    def stream(self, messages: Sequence[Message], **options: object) -> Iterator[str]:
        self.read = list(messages)
        yield from self.pieces
        if self.failing:
            raise OSError("the disk is gone")


def scripted(store: Store, *pieces: str, **options: Any) -> Rag:
    failing = options.pop("failing", False)
    return Rag(store, generator=Scripted(*pieces, failing=failing), **options)  # type: ignore[arg-type]


def test_a_decoder_that_fails_in_the_middle_leaves_what_was_checked(store: Store) -> None:
    rag = scripted(store, "Limit all lines to a maximum of 79 characters. ", "And then", failing=True)
    pieces: list[str | Answer] = []
    with pytest.raises(GenerationError, match="the disk is gone") as caught:
        pieces.extend(rag.stream(LINE_LENGTH, mode="generate"))
    assert caught.value.answer is not None
    assert pieces == [caught.value.answer.text] == ["Limit all lines to a maximum of 79 characters. [1]"]
    assert_verbatim(store, caught.value.answer)


class Stopping(Scripted):
    """Keeps to the stop strings it is given, as real ones do."""

    def stream(self, messages: Sequence[Message], *, stop: Sequence[str] = (), **options: object) -> Iterator[str]:
        stops = StopStrings(stop)
        yield from map(stops.push, super().stream(messages))
        yield stops.flush()


@pytest.mark.parametrize("opening", ["\n\n", " \n", "\n\n\n\n"])
def test_an_answer_may_begin_with_blank_lines_and_ends_with_its_first_paragraph(store: Store, opening: str) -> None:
    said = "Limit all lines to a maximum of 79 characters."
    rag = Rag(store, generator=Stopping(opening, said, "\n\n", "Use spaces."))  # type: ignore[arg-type]
    assert rag.ask(LINE_LENGTH, mode="generate").text == f"{said} [1]"


@pytest.mark.parametrize("generator", [None, SMALL_DECODER])
def test_naming_the_default_decoder_changes_nothing(store: Store, generator: str | None) -> None:
    rag = Rag(store, generator=generator, threshold=0.0)
    assert rag.ask("诺曼底的名字从哪里来？").text.startswith("诺曼人定居在法国北部")  # quoted: it knows English alone


def test_another_decoder_is_asked_in_any_language(store: Store) -> None:
    rag = scripted(store, "诺曼人定居在法国北部。", threshold=0.0, unsupported="keep")
    assert rag.ask("诺曼底的名字从哪里来？").text.startswith("诺曼人定居在法国北部。")
    assert rag.generator.read  # type: ignore[attr-defined]


def test_a_store_of_words_only_is_asked_without_any_model() -> None:
    with Store.open() as words:
        words.add([Chunk(name, name, text) for name, text in (("bees", "Bees make honey."), ("rust", "Rust is red."))])
        rag = scripted(words, "Bees make honey.", reranker=False, reader=False)
        answer = rag.ask("What do bees make?", mode="generate")
        assert (answer.text, answer.refused) == ("Bees make honey. [1]", False)
        assert rag.ask("What do bees make?", mode="extract").text == "Bees make honey. [1]"
        absent = rag.ask("Who painted the red room in the Mona Lisa museum?")
        assert absent.refused
        assert 0 < absent.confidence < 0.5 < answer.confidence < 1


def test_a_decoder_that_says_it_cannot_tell_is_believed(store: Store) -> None:
    answer = scripted(store, "The sources do not say how long a line may be.").ask(LINE_LENGTH, mode="generate")
    assert (answer.text, answer.refused, answer.citations) == (NOT_FOUND, True, ())


def test_sentences_no_source_supports_are_marked_on_request(store: Store) -> None:
    rag = scripted(store, "The maximum line length limit is 120 characters. Limit all lines to 79 characters.")
    kept = rag.ask(LINE_LENGTH, mode="generate")
    assert kept.text == "Limit all lines to 79 characters. [1]"
    assert kept.unsupported == ("The maximum line length limit is 120 characters.",)
    marked = rag.ask(LINE_LENGTH, mode="generate", unsupported="mark")
    assert marked.text == "The maximum line length limit is 120 characters. [?] Limit all lines to 79 characters. [1]"
    assert rag.ask(LINE_LENGTH, mode="generate", unsupported="keep").text == marked.text.replace(" [?]", "")


def test_a_decoder_of_ones_own_writes_and_the_small_one_only_where_it_is_told_to(store: Store) -> None:
    own = scripted(store, "Limit all lines to a maximum of 79 characters.")
    assert own.ask(LINE_LENGTH).text == "Limit all lines to a maximum of 79 characters. [1]"
    assert "79" in scripted(store, failing=True).ask(LINE_LENGTH, mode="extract").text
    answer = Rag(store, generator=SMALL_DECODER).ask(LINE_LENGTH)
    assert "79" in answer.short
    assert answer.short in answer.text
    assert "generate" not in answer.timings


def test_a_follow_up_is_answered_out_of_the_conversation(rag: Rag, store: Store) -> None:
    history = [Message("user", "What does PEP 8 say about the length of lines?"), Message("assistant", "A limit.")]
    answer = rag.ask("What is their maximum?", mode="extract", history=history)
    assert "79" in answer.text
    assert answer.question == "What is their maximum?"
    assert answer.standalone_question.startswith("What is their maximum?")
    assert "PEP" in answer.standalone_question


def test_confidence_is_higher_where_the_answer_is(store: Store) -> None:
    held = confidence(features(LINE_LENGTH, store.search(LINE_LENGTH, 4)))
    absent = "How do penguins keep their eggs warm?"
    assert 0 <= confidence(features(absent, store.search(absent, 4))) < 0.5 < held <= 1
    assert confidence(features(LINE_LENGTH, [])) == 0

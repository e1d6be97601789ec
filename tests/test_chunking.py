"""The promises of the chunker, held against a real WordPiece and a byte-level BPE tokenizer on text of every kind."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from itertools import pairwise

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers

from langbert.chunking import Chunker
from langbert.records import Chunk, Document, Heading

TokenOffsets = Callable[[str], Sequence[tuple[int, int]]]

CORPUS = [
    "The quick brown fox jumps over the lazy dog. Sentences end, clauses do not; words are many.",
    "数据库的事务由提交或回滚结束。隔离级别决定事务之间能看到什么。",
    "def f(x): return x + 1",
]


def offsets_of(tokenizer: Tokenizer) -> TokenOffsets:
    return lambda text: tokenizer.encode(text, add_special_tokens=False).offsets


def wordpiece() -> TokenOffsets:
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]", max_input_chars_per_word=100))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.train_from_iterator(
        CORPUS, trainers.WordPieceTrainer(vocab_size=300, special_tokens=["[UNK]"], show_progress=False)
    )
    return offsets_of(tokenizer)


def byte_level() -> TokenOffsets:
    """Up to four tokens for one character, and other tokens at the start of a text than within it."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokenizer.train_from_iterator(
        CORPUS, trainers.BpeTrainer(vocab_size=400, initial_alphabet=alphabet, show_progress=False)
    )
    return offsets_of(tokenizer)


TOKENIZERS = {"wordpiece": wordpiece(), "byte-level": byte_level()}


def check(document: Document, chunker: Chunker) -> list[Chunk]:
    """Everything that always holds."""
    chunks = chunker.split(document)
    covered = bytearray(len(document.text))
    for chunk in chunks:
        assert document.text[chunk.start : chunk.end] == chunk.text
        assert chunk.text == chunk.text.strip() != ""
        assert len(chunker.token_offsets(chunk.contextual_text)) <= chunker.max_tokens
        assert chunk.document_id == document.id
        assert chunk.source == document.source
        assert chunk.metadata is document.metadata
        assert chunk.page == document.page_at(chunk.start)
        covered[chunk.start : chunk.end] = b"\1" * len(chunk.text)
    assert all(covered[i] or char.isspace() for i, char in enumerate(document.text))
    assert [chunk.start for chunk in chunks] == sorted(chunk.start for chunk in chunks)
    assert len({chunk.id for chunk in chunks}) == len(chunks)
    if not chunker.overlap:
        assert all(a.end <= b.start for a, b in pairwise(chunks))
    assert chunker.split(document) == chunks
    return chunks


PIECES = st.one_of(
    st.text(max_size=40),
    st.text(st.characters(min_codepoint=0x4E00, max_codepoint=0x4FFF), max_size=60),
    st.sampled_from(
        [
            "A sentence. ",
            "Another one, with a clause; and more! ",
            "数据库。",
            "\n\n",
            "\n",
            "    code(x)\n",
            "- item\n",
        ]
    ),
    st.sampled_from(
        ["👩‍👩‍👧‍👦", "🇩🇪🇫🇷", "e\u0301\u0323", "한국어", "\u200b", "\x00", "\u3000", "x" * 300, "...." * 30, "各" * 200]
    ),
)


@st.composite
def documents(draw: st.DrawFn) -> Document:
    text = "".join(draw(st.lists(PIECES, max_size=30)))
    starts = sorted(draw(st.lists(st.integers(0, len(text)), max_size=6)))
    words = st.text(max_size=12) | st.sampled_from(["Title", "A long heading of many words " * 8, "标题"])
    headings = tuple(Heading(start, draw(st.integers(1, 5)), draw(words)) for start in starts)
    pages = (0, *sorted(draw(st.lists(st.integers(0, len(text)), max_size=3)))) if draw(st.booleans()) else ()
    return Document("d", text, "s", {"k": 1}, pages, headings)


@pytest.mark.parametrize("tokenizer", TOKENIZERS)
@settings(max_examples=150)
@given(document=documents(), max_tokens=st.integers(16, 80), share=st.sampled_from([0.0, 0.2, 0.5]))
@example(document=Document("d", "𝕏" * 500), max_tokens=16, share=0.5)
@example(document=Document("d", " \n\u3000"), max_tokens=16, share=0.0)
@example(
    document=Document("d", "各" * 500, headings=(Heading(0, 1, "标" * 100), Heading(9, 3, "题" * 100))),
    max_tokens=20,
    share=0.5,
)
def test_the_promises_hold_on_any_text(tokenizer: str, document: Document, max_tokens: int, share: float) -> None:
    check(document, Chunker(TOKENIZERS[tokenizer], max_tokens, overlap=int(share * max_tokens)))


def markdown(text: str) -> Document:
    headings, start = [], 0
    for line in text.split("\n"):
        if line.startswith("#"):
            level = len(line) - len(line.lstrip("#"))
            headings.append(Heading(start, level, line[level:].strip()))
        start += len(line) + 1
    return Document("d", text, headings=tuple(headings))


def prose(sentences: int) -> str:
    return " ".join(f"This is sentence number {i} of the quick brown fox." for i in range(sentences))


def test_a_section_that_fits_is_one_chunk() -> None:
    document = markdown(f"# T\n\n{prose(4)}\n\n## A\n\n{prose(4)}\n\n## B\n\n{prose(4)}\n")
    chunks = check(document, Chunker(TOKENIZERS["wordpiece"], 200))
    assert [chunk.headings for chunk in chunks] == [("T",), ("T", "A"), ("T", "B")]
    assert [chunk.text.split("\n")[0] for chunk in chunks] == ["# T", "## A", "## B"]


def test_a_bare_heading_joins_what_follows() -> None:
    document = markdown(f"# T\n\n## A\n\n### A1\n\n{prose(5)}\n\n## B\n\n{prose(5)}\n")
    chunks = check(document, Chunker(TOKENIZERS["wordpiece"], 250))
    assert [chunk.headings for chunk in chunks] == [("T", "A", "A1"), ("T", "B")]
    assert chunks[0].text.startswith("# T\n\n## A\n\n### A1")


def test_small_sections_deep_down_share_a_chunk() -> None:
    entries = "\n\n".join(f"### E{i}\n\n{prose(3)}" for i in range(4))
    document = markdown(f"# T\n\n{prose(5)}\n\n## A\n\n{prose(5)}\n\n{entries}\n")
    chunks = check(document, Chunker(TOKENIZERS["wordpiece"], 400))
    assert [chunk.headings for chunk in chunks] == [("T",), ("T", "A")]
    assert chunks[1].text.endswith("sentence number 2 of the quick brown fox.")


def test_long_sections_break_at_paragraphs_then_sentences() -> None:
    document = markdown(f"# T\n\n{prose(6)}\n\n{prose(6)}\n\n{prose(20)}")
    chunks = check(document, Chunker(TOKENIZERS["wordpiece"], 130))
    assert all(chunk.text.endswith(".") for chunk in chunks)
    assert all(chunk.text.startswith(("# T", "This is sentence")) for chunk in chunks)
    assert chunks[1].text == prose(6)
    sizes = [len(chunk.text) for chunk in chunks[2:]]
    assert min(sizes) > 0.5 * max(sizes)


def test_chinese_breaks_at_sentences() -> None:
    text = "数据库的事务由提交或回滚结束。隔离级别决定事务之间能看到什么？“是的。”他说；然后结束！" * 20
    chunks = check(Document("d", text), Chunker(TOKENIZERS["wordpiece"], 100))
    assert len(chunks) > 5
    assert all(chunk.text[-1] in "。？！；”" for chunk in chunks)


def test_graphemes_stay_whole() -> None:
    family = "👩‍👩‍👧‍👦"
    chunks = check(Document("d", family * 100 + "🇩🇪" * 101), Chunker(TOKENIZERS["byte-level"], 60))
    assert all(chunk.text.startswith((family, "🇩🇪")) and not chunk.text.endswith("\u200d") for chunk in chunks)


def test_overlap_repeats_whole_sentences() -> None:
    document = Document("d", prose(40))
    chunks = check(document, Chunker(TOKENIZERS["wordpiece"], 120, overlap=30))
    for before, after in pairwise(chunks):
        repeated = document.text[after.start : before.end]
        assert repeated.startswith("This is")
        assert repeated.endswith("fox.")
        assert len(TOKENIZERS["wordpiece"](repeated)) <= 30


def test_short_sections_together_are_under_what_they_share() -> None:
    chunker = Chunker(TOKENIZERS["wordpiece"], 250)
    (chunk,) = check(markdown("# FAQ\n\n## Dogs?\n\nFree.\n\n## 猫？\n\n2 EUR.\n"), chunker)
    assert chunk.headings == ("FAQ",)
    (chunk,) = check(markdown("# FAQ\n\n## Dogs?\n\nFree.\n"), chunker)
    assert chunk.headings == ("FAQ", "Dogs?")


def test_a_long_heading_path_is_trimmed_in_the_middle() -> None:
    headings = tuple(Heading(i, i + 1, words) for i, words in enumerate(["Title", "middle " * 30, "inner " * 3]))
    document = Document("d", "abc" + prose(12), headings=headings)
    chunks = check(document, Chunker(TOKENIZERS["wordpiece"], 80))
    assert chunks[-1].headings == ("Title", "inner " * 3)


def test_one_endless_word_is_cut_all_the_same() -> None:
    """WordPiece makes a single [UNK] of it, so tokens alone would allow a chunk of a megabyte."""
    chunks = check(Document("d", "A" * 50_000), Chunker(TOKENIZERS["wordpiece"], 100))
    assert max(len(chunk.text) for chunk in chunks) <= 2400


def test_pages_and_ids() -> None:
    text = prose(10) + "\n\n" + prose(10)
    document = Document("doc", text, page_starts=(0, len(prose(10)) + 2))
    chunks = check(document, Chunker(TOKENIZERS["wordpiece"], 250))
    assert [chunk.page for chunk in chunks] == [1, 2]
    assert chunks[0].id == f"doc:0-{len(prose(10))}"


@pytest.mark.parametrize(("max_tokens", "overlap"), [(15, 0), (100, -1), (100, 51)])
def test_limits_are_checked(max_tokens: int, overlap: int) -> None:
    with pytest.raises(ValueError, match=r"max_tokens is 15|overlap is"):
        Chunker(TOKENIZERS["wordpiece"], max_tokens, overlap=overlap)


def test_a_text_is_tokenised_twice_however_long_it_is() -> None:
    """Once to find the breaks, once to hold the chunks against the limit."""
    for n_paragraphs in (100, 400):
        asked: list[int] = []
        text = "\n\n".join(prose(12) for _ in range(n_paragraphs))
        chunks = Chunker(lambda part, asked=asked: asked.append(len(part)) or TOKENIZERS["wordpiece"](part), 256).split(
            Document("d", text)
        )
        assert len(chunks) >= n_paragraphs
        assert sum(asked) <= 2 * len(text)


@pytest.mark.models
def test_the_default_embedder_never_truncates_a_chunk() -> None:
    from langbert.embedding.embedder import Embedder

    embedder = Embedder("minilm")
    text = "# Guide\n\n" + "\n\n".join(
        [prose(30), "隔离级别决定事务之间能看到什么。" * 60, "👩‍👩‍👧‍👦 naïve café " * 80]
    )
    chunker = Chunker.for_embedder(embedder)
    assert chunker.max_tokens == embedder.room("document")
    chunks = check(markdown(text), chunker)
    assert len(chunks) > 5
    assert max(len(embedder.token_offsets(chunk.contextual_text)) for chunk in chunks) > 0.6 * chunker.max_tokens


def test_a_large_text_is_tokenised_in_stretches() -> None:
    asked: list[int] = []
    words = re.compile(r"\w+|[^\w\s]")

    def counted(text: str) -> list[tuple[int, int]]:
        asked.append(len(text))
        return [match.span() for match in words.finditer(text)]

    text = "The boiler is swept every spring, before the first of May.\n" * 12_000 + "x" * 300_000
    chunks = check(Document("a", text), Chunker(counted, 200))
    assert max(asked) <= 1 << 18
    assert len(chunks) > 700

"""Large Unigram vocabularies cut in Python: what comes out is what the library makes of the same text."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Encoding, Tokenizer, models, normalizers, pre_tokenizers

from langbert.models import resolve
from langbert.models.files import tokenizer as files
from langbert.models.files import unigram
from langbert.models.files.tokenizer import TextTokenizer
from langbert.models.files.unigram import LightUnigram, TokenizerFacts

pytestmark = pytest.mark.models

TEXTS = [
    "",
    " ",
    "Bees make honey; antidisestablishmentarianism does not.",
    "  Two  spaces\n\nand lines\tﬁ ＡＢＣ a\u0301 \u200b",
    "长江是亚洲最长的河流，全长6300公里。黄河第二。",
    "日本語のテキスト🐝🐝 x 𠮷野家 \U000e0001\U000e0002 zz",
    "नमस्ते دنیا Привет, мир ▁▁ und Größe",
    "x" * 300 + "é" * 40,
    "a line\r\nof <mask> and </s> written out",
]

NO_FACTS = TokenizerFacts([], [], [], [], 0)


@pytest.fixture(scope="module")
def folder() -> Path:
    return resolve("e5-small")


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A cache folder that only this file's tokenizers are kept in."""
    place = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(files, "cache_dir", lambda: place)
        yield place


@pytest.fixture(scope="module")
def first(folder: Path, cache: Path) -> TextTokenizer:
    """Whoever reads it first: the library's, loaded once for all tests, and kept for the next one."""
    return TextTokenizer._read(folder, False, False)


@pytest.fixture(scope="module")
def library(first: TextTokenizer) -> Tokenizer:
    return first._tokenizer


@pytest.fixture(scope="module")
def light(first: TextTokenizer, cache: Path) -> LightUnigram:
    (file,) = (cache / "tokenizers").iterdir()
    kept = LightUnigram.kept_in(file)
    assert kept is not None
    return kept


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder whose tokenizer is kept although it has twenty pieces, and where."""
    monkeypatch.setattr(files, "_LARGE", 0)
    monkeypatch.setattr(unigram, "_PIECES", 20)
    monkeypatch.setattr(files, "cache_dir", lambda: tmp_path)
    pieces = ["<unk>", "▁", "▁Bees", "▁make", *"abcdeghiklmnorst."]
    whole = Tokenizer(models.Unigram([(piece, -1.0 - i) for i, piece in enumerate(pieces)], unk_id=0))
    whole.normalizer = normalizers.NFKC()
    whole.pre_tokenizer = pre_tokenizers.Metaspace()
    whole.save(str(tmp_path / "tokenizer.json"))
    return tmp_path


def seen(encoding: Encoding) -> tuple[object, ...]:
    return encoding.ids, encoding.offsets, encoding.tokens, encoding.word_ids, encoding.special_tokens_mask


@pytest.mark.parametrize("text", TEXTS[:-1])
def test_a_text_is_cut_as_the_library_cuts_it(light: LightUnigram, library: Tokenizer, text: str) -> None:
    found = light.encode(text)
    assert found is not None
    assert seen(found) == seen(library.encode(text, add_special_tokens=False))


@given(text=st.text(max_size=60))
@settings(max_examples=300)
def test_any_text_is(light: LightUnigram, library: Tokenizer, text: str) -> None:
    found = light.encode(text)
    assert found is not None
    assert seen(found) == seen(library.encode(text, add_special_tokens=False))


def test_documents_are(light: LightUnigram, library: Tokenizer, documents_folder: Path) -> None:
    for name in ("pep-0008.rst", "pep-0498.html", "pep-0257.rst"):
        for text in (documents_folder / name).read_text(encoding="utf-8").split("\n\n"):
            found = light.encode(text)
            assert found is not None
            assert seen(found) == seen(library.encode(text, add_special_tokens=False))


def test_what_is_kept_tells_the_same_of_the_tokenizer(
    folder: Path, first: TextTokenizer, library: Tokenizer, tmp_path: Path
) -> None:
    second = TextTokenizer._read(folder, False, False)
    for text in TEXTS:
        assert seen(second.encode([text])[0]) == seen(library.encode(text, add_special_tokens=False))
        assert second.offsets(text) == library.encode(text, add_special_tokens=False).offsets
    pair = library.encode("one", "two")
    ids = [encoding.ids for encoding in second.encode(["one", "two"])]
    assert second.pair(*ids) == (pair.ids, pair.type_ids)
    for name in ("prefix", "suffix", "n_special", "n_pair_special", "special_ids", "vocab_size", "mask_id"):
        assert getattr(second, name) == getattr(first, name)
    second.save(tmp_path, max_length=512)
    assert (tmp_path / "tokenizer.json").read_bytes() == (folder / "tokenizer.json").read_bytes()


def test_what_was_cut_off_is_kept_anew(small: Path) -> None:
    ids = TextTokenizer._read(small, False, False).encode(["Bees make honey."])[0].ids
    (kept,) = (small / "tokenizers").iterdir()
    whole = kept.read_bytes()
    kept.write_bytes(whole[:40])
    for _ in range(2):
        assert TextTokenizer._read(small, False, False).encode(["Bees make honey."])[0].ids == ids
        assert kept.read_bytes() == whole


def test_what_was_damaged_is_not_read(small: Path) -> None:
    TextTokenizer._read(small, False, False)
    (kept,) = (small / "tokenizers").iterdir()
    whole = kept.read_bytes()
    first = LightUnigram.kept_in(kept)
    assert first is not None
    refused = 0
    for spot in range(len(whole)):
        for bit in (1, 8, 128):
            kept.write_bytes(whole[:spot] + bytes([whole[spot] ^ bit]) + whole[spot + 1 :])
            found = LightUnigram.kept_in(kept)
            refused += found is None
            assert found is None or (found._ids, found._scores, found.facts) == (first._ids, first._scores, first.facts)
    assert refused > 2 * len(whole)  # what a zip file says of dates and owners counts for nothing


def test_many_texts_are_cut_by_the_library(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "_LITTLE", 40)
    lightly: list[str] = []
    cut = LightUnigram.encode
    monkeypatch.setattr(LightUnigram, "encode", lambda self, text: lightly.append(text) or cut(self, text))
    TextTokenizer._read(small, False, False)  # keeps it
    tokenizer = TextTokenizer._read(small, False, False)
    texts = ["Bees make honey.", "Bees make wax.", "A hive is their home.", "Honey is sweet."]
    one_by_one = [tokenizer.encode([text])[0].ids for text in texts]
    assert lightly == texts[:2]
    assert one_by_one == [encoding.ids for encoding in tokenizer.encode(texts)]


def test_small_ones_and_other_kinds_are_not_kept(minilm_folder: Path, tmp_path: Path) -> None:
    definition = (minilm_folder / "tokenizer.json").read_bytes()
    LightUnigram.keep(definition, NO_FACTS, tmp_path / "kept.json")
    assert LightUnigram.kept_in(tmp_path / "kept.json") is None

"""A WordPiece vocabulary of one's own (Devlin et al. 2019, §3, after Wu et al. 2016), trained by ``tokenizers``.

The same texts give the same vocabulary, id by id, so that a run from scratch can be resumed: left to itself the library
numbers letters as its hash tables happen to lie, and breaks ties between merges by those numbers.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from tokenizers import Tokenizer
from tokenizers.models import WordPiece
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer
from tokenizers.trainers import WordPieceTrainer

from ..errors import DataError
from ..models.files.json_files import write_json
from ..models.files.tokenizer import TextTokenizer

SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
_LONGEST = 100  # characters; BERT's tokenizer makes [UNK] of longer words


def train_vocabulary(texts: Iterable[str], size: int, *, lowercase: bool = True) -> list[str]:
    """The word pieces of ``texts``, the special ones first; fewer than ``size`` where the texts hold no more.

    At most half of them are single characters, the most frequent: Chinese has thousands.

    Raises:
        DataError: the texts are empty.
    """
    words = _words(texts, lowercase)
    if not words:
        raise DataError("there are no words to make a vocabulary of")
    characters: Counter[str] = Counter()
    for word, count in words.items():
        for i, character in enumerate(word):
            characters[f"##{character}" if i else character] += count
    frequent = sorted(characters, key=lambda form: (-characters[form], form))[: max(size - len(SPECIAL_TOKENS), 2) // 2]
    alphabet = set(frequent)
    spelled = {word: n for word, n in words.items() if _forms(word) <= alphabet}
    tokenizer = Tokenizer(WordPiece(unk_token=SPECIAL_TOKENS[1]))
    # as "special tokens" the characters are numbered before anything else, in this order
    trainer = WordPieceTrainer(
        vocab_size=size, min_frequency=2, special_tokens=[*SPECIAL_TOKENS, *sorted(alphabet)], show_progress=False
    )
    tokenizer.train_from_iterator(([word] * n for word, n in sorted(spelled.items())), trainer)
    ids = tokenizer.get_vocab()
    return sorted(ids, key=ids.__getitem__)


def _words(texts: Iterable[str], lowercase: bool) -> Counter[str]:
    """How often each word occurs, as BERT's tokenizer sees words: normalised, apart from punctuation."""
    normalizer, splitter = BertNormalizer(lowercase=lowercase), BertPreTokenizer()
    raw: Counter[str] = Counter()
    for text in texts:
        raw.update(text.encode("utf-8", "replace").decode().split())
    words: Counter[str] = Counter()
    for stretch, count in raw.items():
        for word, _ in splitter.pre_tokenize_str(normalizer.normalize_str(stretch)):
            if len(word) <= _LONGEST:
                words[word] += count
    return words


def _forms(word: str) -> set[str]:
    return {word[0], *(f"##{character}" for character in word[1:])}


def write_vocabulary(pieces: Sequence[str], folder: Path, *, lowercase: bool = True) -> None:
    """``vocab.txt`` and ``tokenizer_config.json``, as the authors' tokenizer and ``transformers`` want them."""
    (folder / "vocab.txt").write_text("".join(f"{piece}\n" for piece in pieces), encoding="utf-8")
    config = {
        "tokenizer_class": "BertTokenizer",
        "do_lower_case": lowercase,
        "strip_accents": None,
        "tokenize_chinese_chars": True,
        **{f"{token.strip('[]').lower()}_token": token for token in SPECIAL_TOKENS},
    }
    write_json(config, folder / "tokenizer_config.json")


def wordpiece_tokenizer(pieces: Sequence[str], *, lowercase: bool = True) -> TextTokenizer:
    """BERT's tokenizer over these pieces."""
    with tempfile.TemporaryDirectory() as folder:
        write_vocabulary(pieces, Path(folder), lowercase=lowercase)
        return TextTokenizer.from_folder(folder)

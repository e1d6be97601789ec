"""Tiny real checkpoints for the tests of classifiers and taggers: vocabularies of real text, random weights."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
import transformers

from langbert.models.files.tokenizer import TextTokenizer

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


def write_tokenizer(folder: Path, texts: Iterable[str], size: int = 1500) -> int:
    """A BERT tokenizer of the commonest words and all characters of ``texts``; how many pieces it has."""
    words = Counter(word for text in texts for word in re.findall(r"\w+|[^\w\s]", text.lower()))
    letters = sorted({letter for word in words for letter in word})
    pieces = [*SPECIAL, *letters, *(f"##{letter}" for letter in letters)]
    pieces += [word for word, _ in words.most_common(size) if len(word) > 1]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.txt").write_text("\n".join(pieces), encoding="utf-8")
    TextTokenizer.from_folder(folder).save(folder, max_length=512)
    return len(pieces)


def write_bert(
    folder: Path, texts: Iterable[str], kind: Any = transformers.BertModel, *, spread: float = 0.0, **changes: Any
) -> Any:
    """A tiny checkpoint of ``kind`` as transformers writes it, with its tokenizer.

    Args:
        spread: of noise added to every parameter: zero biases would hide a swapped tensor.
    """
    n_pieces = write_tokenizer(folder, texts)
    sizes = {
        "vocab_size": n_pieces,
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 64,
        "max_position_embeddings": 128,
    }
    torch.manual_seed(0)
    model = kind(transformers.BertConfig(**{**sizes, **changes})).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * spread)
    model.save_pretrained(folder)
    return model

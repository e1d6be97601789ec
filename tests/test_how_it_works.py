"""The page that walks a sentence through BERT and GPT: its two languages agree, and its picture shows what it says.

That its code runs and prints what stands below it is checked by ``test_docs.py``, as for every page.
"""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch

from langbert.models.bert.loading import load_bert
from langbert.models.files.tokenizer import TextTokenizer

DOCS = Path(__file__).parent.parent / "docs"
PAGE, CHINESE = DOCS / "how-bert-and-gpt-work.md", DOCS / "how-bert-and-gpt-work.zh.md"
SCRIPT, PICTURE = DOCS / "images" / "attention.py", DOCS / "images" / "attention.png"
LARGEST = 150_000  # bytes


@pytest.fixture(scope="module")
def drawing() -> ModuleType:
    pytest.importorskip("matplotlib")
    spec = importlib.util.spec_from_file_location("attention_picture", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def is_png(file: Path) -> bool:
    return file.read_bytes().startswith(b"\x89PNG\r\n\x1a\n")


@pytest.mark.parametrize("kind", ["```.*?^```$", r"^\[[\w-]+\]: .*?$", r"\[`[\w./]+`\]\([^)]*\)"])
def test_both_languages_have_the_same_code_outputs_and_links(kind: str) -> None:
    found = [re.findall(kind, page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL) for page in (PAGE, CHINESE)]
    english, chinese = ([piece for piece in pieces if "$ langbert" not in piece] for pieces in found)
    assert english
    assert english == chinese


@pytest.mark.models
def test_the_picture_is_drawn_by_one_command(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    output = tmp_path / "attention.png"
    subprocess.run([sys.executable, SCRIPT, "--output", output], check=True, capture_output=True)
    for file in (output, PICTURE):
        assert is_png(file)
        assert file.stat().st_size < LARGEST


@pytest.mark.models
def test_the_heads_do_what_is_written_above_them(drawing: ModuleType, minilm_folder: Path) -> None:
    tokenizer, bert = TextTokenizer.from_folder(minilm_folder), load_bert(minilm_folder).requires_grad_(False)
    text = tokenizer.encode([drawing.SENTENCE])[0]
    tokens = ["[CLS]", *text.tokens, "[SEP]"]
    weights = drawing.attention_weights(bert, torch.tensor([[*tokenizer.prefix, *text.ids, *tokenizer.suffix]]))
    assert weights.shape == (6, 12, 11, 11)
    torch.testing.assert_close(weights.sum(-1), torch.ones(6, 12, 11))

    before, after, related, resting = (weights[layer, head] for layer, head in drawing.HEADS)
    assert before.diagonal(-1).min() > 0.99
    words = after[1:-1].clone()  # of what does not rest on [CLS], the next token gets most
    words[:, 0] = 0
    assert words.argmax(-1).tolist() == list(range(2, 11))
    for token in ("honey", "hive"):
        assert tokens[related[tokens.index(token)].argmax()] == "bee"
    assert resting[:, 0].min() > 0.7

    on_cls = weights[:, :, 1:, 0].mean(-1) > 0.5  # (layers, heads)
    assert (on_cls[1:5].sum(1) > 6).all()  # "in the middle layers most heads rest on [CLS]"

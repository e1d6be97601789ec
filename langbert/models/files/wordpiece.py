"""BERT's own kind of tokenizer, a list of word pieces, as a ``tokenizer.json``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ...errors import CheckpointError
from .json_files import read_json

SPECIAL_ROLES = ("pad", "unk", "cls", "sep", "mask")
"""What special tokens are for."""

# rows, to a multiple of which tables are made larger than their lists
_LEAST_PADDING, _PADDING = 8, 128


def wordpiece_definition(vocab_file: Path, config: dict[str, Any]) -> str:
    """BERT's tokenizer (Devlin et al. 2019, §3) as a ``tokenizer.json``, from its list of word pieces.

    Written out by hand and not by the library, whose notation changes between versions, so that its hash lasts.
    """
    try:
        text = vocab_file.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{vocab_file}: cannot be read as a list of word pieces ({error})") from error
    pieces = text.splitlines()
    _require_whole(vocab_file, len(pieces), ended=text.endswith("\n"))
    vocab = {piece: i for i, piece in enumerate(pieces)}
    names = {role: content_of(config.get(f"{role}_token")) or f"[{role.upper()}]" for role in SPECIAL_ROLES}
    missing = [name for name in names.values() if name not in vocab]
    if missing:
        raise CheckpointError(f"{vocab_file}: lacks the special tokens {', '.join(missing)}")
    classify, separate = names["cls"], names["sep"]
    definition = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [
            {
                "id": vocab[name],
                "content": name,
                "single_word": False,
                "lstrip": False,
                "rstrip": False,
                "normalized": False,
                "special": True,
            }
            for name in sorted(names.values(), key=vocab.__getitem__)
        ],
        "normalizer": {
            "type": "BertNormalizer",
            "clean_text": True,
            "handle_chinese_chars": config.get("tokenize_chinese_chars", True),
            "strip_accents": config.get("strip_accents"),
            "lowercase": config.get("do_lower_case", True),
        },
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [_special(classify, 0), _sequence("A", 0), _special(separate, 0)],
            "pair": [
                _special(classify, 0),
                _sequence("A", 0),
                _special(separate, 0),
                _sequence("B", 1),
                _special(separate, 1),
            ],
            "special_tokens": {
                name: {"id": name, "ids": [vocab[name]], "tokens": [name]} for name in (classify, separate)
            },
        },
        "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": True},
        "model": {
            "type": "WordPiece",
            "unk_token": names["unk"],
            "continuing_subword_prefix": "##",
            "max_input_chars_per_word": 100,
            "vocab": vocab,
        },
    }
    return json.dumps(definition, ensure_ascii=False)


def _special(name: str, segment: int) -> dict[str, Any]:
    return {"SpecialToken": {"id": name, "type_id": segment}}


def _sequence(name: str, segment: int) -> dict[str, Any]:
    return {"Sequence": {"id": name, "type_id": segment}}


def _require_whole(vocab_file: Path, n_pieces: int, *, ended: bool) -> None:
    """Whether the list is as long as the network's table of embeddings, which may be padded to a multiple of 8 to 128.

    Args:
        ended: whether its last line is.

    Raises:
        CheckpointError: it was cut off, as an interrupted download leaves it.
    """
    config_file = vocab_file.with_name("config.json")
    said = read_json(config_file).get("vocab_size") if config_file.is_file() else None
    n_rows = said if isinstance(said, int) else 0
    added_file = vocab_file.with_name("added_tokens.json")
    missing = n_rows - n_pieces
    if missing > 0 and added_file.is_file():
        missing -= len(read_json(added_file))
    if missing > 0 and (missing >= _PADDING or n_rows % _LEAST_PADDING or not ended):
        raise CheckpointError(
            f"{vocab_file}: has {n_pieces:,} word pieces, and config.json expects {n_rows:,}: it was cut off; "
            "delete it and fetch the model again"
        )


def content_of(token: object) -> str | None:
    """A special token's text, which some versions of transformers wrap in an object."""
    if isinstance(token, dict):
        token = token.get("content")
    return token if isinstance(token, str) else None

"""The tokenizer that lies in a GGUF file's metadata, as a ``tokenizers.Tokenizer``: byte-level BPE.

(Sennrich et al. 2016, "Neural Machine Translation of Rare Words with Subword Units"; bytes as in Radford et al. 2019,
section 2.2.) What a file calls its pre-tokenizer decides where words are cut before any merge.
"""

from __future__ import annotations

from tokenizers import AddedToken, Regex, Tokenizer
from tokenizers.decoders import ByteLevel as ByteLevelDecoder
from tokenizers.models import BPE
from tokenizers.normalizers import NFC
from tokenizers.pre_tokenizers import ByteLevel, Digits, PreTokenizer, Sequence, Split
from tokenizers.processors import TemplateProcessing

from ...errors import CheckpointError
from .gguf import GGUFFile

__all__ = ["gguf_tokenizer"]

_CONTROL, _USER_DEFINED = 3, 4

_WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}%s| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def gguf_tokenizer(file: GGUFFile) -> Tokenizer:
    """The tokenizer in ``file``; control tokens are special tokens.

    Raises:
        CheckpointError: it is not a byte-level BPE, its pre-tokenizer is unknown, or its parts do not fit together.
    """
    metadata = file.metadata
    model = metadata.get("tokenizer.ggml.model")
    if model != "gpt2":
        raise CheckpointError(
            f"{file.path}: the tokenizer model {model!r} cannot be read, only 'gpt2' (byte-level BPE)"
        )
    name = metadata.get("tokenizer.ggml.pre")
    if name not in _PRE_TOKENIZERS:
        known = ", ".join(map(repr, _PRE_TOKENIZERS))
        raise CheckpointError(f"{file.path}: the pre-tokenizer {name!r} is unknown; expected one of {known}")
    try:
        tokens: list[str] = metadata["tokenizer.ggml.tokens"]
        kinds: list[int] = metadata.get("tokenizer.ggml.token_type") or [1] * len(tokens)
        merges = [tuple(merge.split(" ", 1)) for merge in metadata["tokenizer.ggml.merges"]]
        vocabulary = {token: index for index, token in enumerate(tokens)}
        if len(vocabulary) != len(tokens) or len(kinds) != len(tokens):
            raise ValueError(f"{len(tokens)} tokens, {len(vocabulary)} of them distinct, {len(kinds)} token types")
        tokenizer = Tokenizer(BPE(vocab=vocabulary, merges=merges, ignore_merges=name == "llama-bpe"))
    except Exception as error:  # tokenizers raises plain Exception for a merge of unknown tokens
        raise CheckpointError(f"{file.path}: the tokenizer in the file does not fit together: {error!r}") from error
    if name == "qwen2":
        tokenizer.normalizer = NFC()
    tokenizer.pre_tokenizer = _PRE_TOKENIZERS[name]
    tokenizer.decoder = ByteLevelDecoder()
    added = [(token, kind) for token, kind in zip(tokens, kinds, strict=True) if kind in (_CONTROL, _USER_DEFINED)]
    tokenizer.add_tokens([AddedToken(t, special=kind == _CONTROL, normalized=False) for t, kind in added])
    begin = metadata.get("tokenizer.ggml.bos_token_id")
    if metadata.get("tokenizer.ggml.add_bos_token") and isinstance(begin, int) and 0 <= begin < len(tokens):
        tokenizer.post_processor = TemplateProcessing(
            single=[tokens[begin], "$A"], special_tokens=[(tokens[begin], begin)]
        )
    return tokenizer


def _byte_level(*before: PreTokenizer) -> PreTokenizer:
    return Sequence([*before, ByteLevel(add_prefix_space=False)])


def _split(pattern: str) -> PreTokenizer:
    """Words cut by ``pattern`` instead of by GPT-2's."""
    cut = Split(Regex(pattern), behavior="isolated")
    return Sequence([cut, ByteLevel(add_prefix_space=False, use_regex=False)])


_PRE_TOKENIZERS: dict[str, PreTokenizer] = {
    "gpt-2": _byte_level(),
    "smollm": _byte_level(Digits(individual_digits=True)),
    "llama-bpe": _split(_WORDS % "{1,3}"),
    "qwen2": _split(_WORDS % ""),
}

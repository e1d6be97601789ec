"""The loop and its tasks on small real text with a tiny network: learning, stopping, going on, refusing."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from langbert import Reranker
from langbert.errors import CheckpointError, DataError, LangbertError
from langbert.evaluation.lines import numbered_lines, read_lines, read_numbered
from langbert.models.files.weights import read_tensors, save_tensors
from langbert.training import Step, train
from langbert.training.batching import batches_from, epoch_batches
from langbert.training.calibration import logistic
from langbert.training.data import held_out
from langbert.training.loop import run
from langbert.training.recording import read_rows
from langbert.training.settings import TrainSettings
from langbert.training.task import Batch, Task
from langbert.training.unanswerable import edited_question, names_in

QUICK = TrainSettings(epochs=3, batch_size=4, learning_rate=0.05, save_every=5, eval_every=7, precision="float32")


class Majority(Task):
    """A small real task: are most of five bits set? With dropout, so that random states matter."""

    name = "majority"
    metric = "loss"
    higher_is_better = False

    def __init__(self, size: int = 48, poison: int | None = None) -> None:
        torch.manual_seed(0)
        self.network: nn.Module = nn.Sequential(nn.Linear(5, 16), nn.Tanh(), nn.Dropout(0.2), nn.Linear(16, 2))
        self.rows = [[int(bit) for bit in f"{i % 32:05b}"] for i in range(size)]
        self.poison = poison
        self.seen: list[int] = []

    def __len__(self) -> int:
        return len(self.rows)

    def lengths(self) -> Sequence[int]:
        return [1 + sum(row) for row in self.rows]

    def collate(self, examples: Sequence[int], seed: int) -> Batch:
        self.seen += examples
        bits = torch.tensor([self.rows[i] for i in examples])
        noise = torch.tensor([random.Random(seed).random()])  # what a masked language model would draw
        return {"token_ids": bits, "noise": noise}

    def loss(self, network: nn.Module, batch: Batch) -> Tensor:
        bits = batch["token_ids"]
        logits = network(bits.float() + 0.01 * batch["noise"])
        value = nn.functional.cross_entropy(logits, (bits.sum(1) > 2).long())
        return value * math.nan if self.poison is not None and len(self.seen) > self.poison else value

    def evaluate(self, network: nn.Module, device: torch.device) -> dict[str, float]:
        bits = torch.tensor(self.rows)
        return {"loss": float(nn.functional.cross_entropy(network(bits.float()), (bits.sum(1) > 2).long()))}

    def save(self, network: nn.Module, folder: Path) -> None:
        save_tensors(network.state_dict(), folder / "model.safetensors")

    def facts(self) -> Mapping[str, Any]:
        return {"data": "five bits"}


class Killed(Exception):
    """Stands for kill -9: nothing after it runs."""


def test_every_example_is_seen_once_an_epoch_and_batches_have_like_lengths() -> None:
    lengths = [random.Random(i).randint(1, 300) for i in range(1000)]
    batches = epoch_batches(lengths, 10, seed=1, epoch=0)
    assert sorted(i for batch in batches for i in batch) == list(range(1000))
    spread = [max(lengths[i] for i in batch) - min(lengths[i] for i in batch) for batch in batches]
    assert sum(spread) / len(spread) < 15
    assert batches == epoch_batches(lengths, 10, seed=1, epoch=0)
    assert batches != epoch_batches(lengths, 10, seed=1, epoch=1)


def test_batches_can_be_entered_anywhere() -> None:
    lengths = list(range(1, 31))
    whole = [batch for _, batch in zip(range(25), batches_from(lengths, 4, 0, 0), strict=False)]
    late = [batch for _, batch in zip(range(10), batches_from(lengths, 4, 0, 15), strict=False)]
    assert late == whole[15:]


def test_a_run_learns_and_leaves_what_it_should(tmp_path: Path) -> None:
    steps: list[Step] = []
    report = run(
        Majority(), tmp_path / "run", TrainSettings(epochs=60, batch_size=8, learning_rate=0.02), watch=steps.append
    )
    assert report.metrics["loss"] < 0.4 < steps[0].loss
    assert [step.number for step in steps] == list(range(1, report.steps + 1))
    names = {file.name for file in (tmp_path / "run").iterdir()}
    assert names == {"metrics.csv", "tensorboard", "learning-curve.png", "model", "run.json"}
    card = (report.folder / "README.md").read_text()
    assert "five bits" in card
    assert "learning_rate" in card
    assert len(read_rows(tmp_path / "run" / "metrics.csv")) == report.steps


@pytest.mark.parametrize("killed_at", [1, 5, 6, 23])
def test_a_killed_run_goes_on_bit_for_bit(tmp_path: Path, killed_at: int) -> None:
    whole = run(Majority(), tmp_path / "whole", QUICK)

    def die(step: Step) -> None:
        if step.number == killed_at:
            raise Killed

    with pytest.raises(Killed):
        run(Majority(), tmp_path / "killed", QUICK, watch=die)
    resumed = run(Majority(), tmp_path / "killed", QUICK, resume=True)
    mine, theirs = (read_tensors(report.folder) for report in (whole, resumed))
    assert all(torch.equal(mine[name], theirs[name]) for name in mine)
    columns = ("step", "loss", "learning_rate", "metrics")
    rows = [[[row[c] for c in columns] for row in read_rows(tmp_path / n / "metrics.csv")] for n in ("whole", "killed")]
    assert rows[0] == rows[1]


def test_a_loss_that_is_no_number_stops_and_keeps_the_last_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(LangbertError, match=r"the loss is nan at step 11; the checkpoint of step-00000010 is kept"):
        run(Majority(poison=40), tmp_path, QUICK)
    assert (tmp_path / "checkpoints" / "step-00000010" / "run.json").is_file()


def test_an_unfinished_run_is_not_overwritten_and_not_resumed_with_other_settings(tmp_path: Path) -> None:
    def die(step: Step) -> None:
        if step.number == 6:
            raise Killed

    with pytest.raises(Killed):
        run(Majority(), tmp_path, QUICK, watch=die)
    with pytest.raises(LangbertError, match="holds a run already"):
        run(Majority(), tmp_path, QUICK)
    other = TrainSettings(epochs=3, batch_size=4, learning_rate=0.01, save_every=5, eval_every=7, precision="float32")
    with pytest.raises(LangbertError, match=r"other settings \(learning_rate\)"):
        run(Majority(), tmp_path, other, resume=True)


def test_a_finished_run_is_neither_overwritten_nor_trained_again(tmp_path: Path) -> None:
    report = run(Majority(), tmp_path, QUICK)
    before = {file: file.read_bytes() for file in (tmp_path / "model").iterdir()}
    with pytest.raises(LangbertError, match="holds a run already"):
        run(Majority(), tmp_path, QUICK)
    steps: list[Step] = []
    assert run(Majority(), tmp_path, QUICK, resume=True, watch=steps.append) == report
    assert steps == []
    with pytest.raises(LangbertError, match=r"other settings \(epochs\)"):
        run(Majority(), tmp_path, replace(QUICK, epochs=9), resume=True)
    (tmp_path / "run.json").unlink()  # as releases before this one left it
    for resume in (False, True):
        with pytest.raises(LangbertError, match=r"holds a (finished )?run"):
            run(Majority(), tmp_path, QUICK, resume=resume)
    assert {file: file.read_bytes() for file in (tmp_path / "model").iterdir()} == before


def test_nothing_to_train_on_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no training examples"):
        run(Majority(size=0), tmp_path, QUICK)


def test_accumulated_batches_weigh_as_one_large_batch(tmp_path: Path) -> None:
    once = TrainSettings(max_steps=1, batch_size=8, precision="float32", learning_rate=0.1, warmup=0, clip=100.0)
    twice = TrainSettings(
        max_steps=1, batch_size=4, accumulation=2, precision="float32", learning_rate=0.1, warmup=0, clip=100.0
    )

    class Still(Majority):
        def __init__(self) -> None:
            super().__init__(size=8)
            self.network = nn.Sequential(nn.Linear(5, 16), nn.Tanh(), nn.Linear(16, 2))
            torch.manual_seed(3)
            for parameter in self.network.parameters():
                nn.init.normal_(parameter, std=0.3)

        def collate(self, examples: Sequence[int], seed: int) -> Batch:
            return {**super().collate(examples, seed), "noise": torch.zeros(1)}

    one, two = (read_tensors(run(Still(), tmp_path / name, s).folder) for name, s in (("a", once), ("b", twice)))
    for name in one:
        assert torch.allclose(one[name], two[name], atol=1e-5)


def test_the_learning_rate_rises_then_falls_to_nothing() -> None:
    settings = TrainSettings(learning_rate=1.0, warmup=0.1)
    rates = [settings.learning_rate_at(step, 100) for step in range(100)]
    assert rates[0] == pytest.approx(0.1)
    assert max(rates) == rates[9] == pytest.approx(1.0)
    assert rates[9:] == sorted(rates[9:], reverse=True)
    assert rates[-1] == pytest.approx(1 / 90)


def test_gradient_checkpointing_changes_memory_and_nothing_else(tmp_path: Path) -> None:
    def trained(name: str, *, recompute: bool) -> dict[str, Tensor]:
        settings = TrainSettings(epochs=1, batch_size=8, precision="float32", gradient_checkpointing=recompute)
        return read_tensors(run(Deep(), tmp_path / name, settings).folder)

    class Deep(Majority):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.network = nn.Sequential(nn.Linear(5, 16), Chain(), nn.Linear(16, 2))

    class Chain(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.ModuleList(nn.Sequential(nn.Linear(16, 16), nn.Tanh(), nn.Dropout(0.1)) for _ in range(3))

        def forward(self, hidden: Tensor) -> Tensor:
            for layer in self.layers:
                hidden = layer(hidden)
            return hidden

    plain, frugal = trained("plain", recompute=False), trained("frugal", recompute=True)
    assert all(torch.equal(plain[name], frugal[name]) for name in plain)


def test_dropout_is_set_everywhere(tmp_path: Path) -> None:
    from langbert.models.bert.network import Bert, BertConfig
    from langbert.training.loop import _set_dropout

    bert = Bert(BertConfig(vocab_size=50, hidden_size=16, n_layers=1, n_heads=2, intermediate_size=32))
    _set_dropout(bert, 0.0)
    token_ids = torch.randint(50, (2, 9))
    assert torch.equal(bert.train()(token_ids), bert(token_ids))
    _set_dropout(bert, 0.5)
    assert not torch.equal(bert(token_ids), bert(token_ids))


def test_an_unknown_objective_names_a_near_one(tmp_path: Path) -> None:
    with pytest.raises(LangbertError, match="did you mean reranker"):
        train("rerank", "data", tmp_path)


@pytest.mark.parametrize("wrong", [{"epochs": 0}, {"batch_size": 0}, {"warmup": -1}, {"learning_rate": -1e-3}])
def test_settings_out_of_range_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        TrainSettings(**wrong)


@pytest.mark.parametrize(
    ("question", "expected"),
    [
        ("Which city is the largest in Texas?", {"smallest", "Ohio", "not"}),
        ("How many people died in 1906?", {"born", "not"}),
        ("When did the war end?", {"begin", "not"}),
    ],
)
def test_edited_questions_change_one_thing(question: str, expected: set[str]) -> None:
    for seed in range(20):
        changed = edited_question(question, ["Ohio"], random.Random(seed))
        assert changed is not None
        assert changed != question
        new = set(changed.rstrip("?").split()) - set(question.rstrip("?").split())
        assert new & expected or any(word.isdigit() for word in new)


def test_a_question_with_nothing_to_change_stays_unmade() -> None:
    assert edited_question("Why?", [], random.Random(0)) is None
    assert names_in("Where did the Duke of Normandy meet Edward?") == ["Duke of Normandy", "Edward"]


def test_calibration_finds_the_logistic_that_made_the_labels() -> None:
    rng = random.Random(0)
    scores = [rng.uniform(-6, 6) for _ in range(20000)]
    labels = [rng.random() < 1 / (1 + math.exp(-(1.5 * score - 1))) for score in scores]
    slope, bias = logistic(scores, labels)
    assert slope == pytest.approx(1.5, abs=0.1)
    assert bias == pytest.approx(-1, abs=0.1)


def squad(tmp_path: Path) -> Path:
    """Two articles in SQuAD's form, of real sentences."""
    facts = {
        "Bees": [
            "Bees make honey from nectar.",
            "A hive holds about 40,000 bees in summer.",
            "Wax is made by young bees.",
        ],
        "Normans": [
            "The Normans lived in Normandy.",
            "William was crowned king in 1066.",
            "They spoke Old Norman French.",
        ],
        "Rivers": [
            "The Rhine ends in the North Sea.",
            "The Danube flows to the Black Sea.",
            "The Elbe passes Hamburg.",
        ],
    }
    answers = {
        "Bees": ["honey", "40,000", "Wax"],
        "Normans": ["Normandy", "1066", "Old"],
        "Rivers": ["Rhine", "Danube", "Elbe"],
    }
    data = [
        {
            "title": title,
            "paragraphs": [
                {
                    "context": text,
                    "qas": [
                        {
                            "id": f"{title}{i}",
                            "question": f"Which {answer.lower()} did William see first?",
                            "answers": [{"text": answer, "answer_start": text.index(answer)}],
                        }
                    ],
                }
                for i, (text, answer) in enumerate(zip(texts, answers[title], strict=True))
            ],
        }
        for title, texts in facts.items()
    ]
    file = tmp_path / "squad.json"
    file.write_text(json.dumps({"data": data}), encoding="utf-8")
    return file


@pytest.mark.models
def test_a_reader_is_trained_saved_and_used(tmp_path: Path) -> None:
    from langbert.reading import Reader
    from langbert.training.reader import ReaderTask
    from langbert.training.settings import LoraSettings

    task = ReaderTask(squad(tmp_path), holdout=0.34, unanswerable=1.0)
    settings = TrainSettings(
        epochs=15, batch_size=4, learning_rate=2e-3, save_every=0, lora=LoraSettings(rank=4, dropout=0.0)
    )
    losses: list[float] = []
    report = run(task, tmp_path / "run", settings, watch=lambda step: losses.append(step.loss))
    assert losses[-1] < losses[0]
    assert set(report.metrics) == {"exact", "f1"}
    spans = Reader(report.folder).read("Which honey did William see first?", ["Bees make honey from nectar."])
    assert spans[0].text in "Bees make honey from nectar."
    calibration = json.loads((report.folder / "calibration.json").read_text())
    assert set(calibration) == {"slope", "bias"}
    texts = [text for _, text in task._data.paragraphs.values()]
    asked = [question.question for question in task._held]
    own = [[*task._data.paragraphs].index(question.paragraph) for question in task._held]
    margins = Reader(report.folder, precision="float32").margins(
        asked * 2, [texts[i] for i in own] + [texts[i - 1] for i in own]
    )
    slope, bias = logistic([margin for margin, _, _ in margins], [True] * len(asked) + [False] * len(asked))
    assert (calibration["slope"], calibration["bias"]) == pytest.approx((slope, bias), rel=0.02)


@pytest.mark.models
def test_a_reader_is_trained_further_from_where_it_stands(tmp_path: Path) -> None:
    from langbert.models import resolve
    from langbert.models.bert.loading import load_span_reader
    from langbert.models.files.json_files import read_json
    from langbert.training.adapters import adapt, merged
    from langbert.training.reader import ReaderTask
    from langbert.training.settings import LoraSettings

    task = ReaderTask(squad(tmp_path), base="minilm-reader", holdout=0.34, unanswerable=0)
    batch = task.collate(range(len(task)), seed=0)
    inputs = batch["token_ids"], batch["attention_mask"], batch["segment_ids"]
    same = LoraSettings(rank=64, alpha=128, dropout=0.0)
    with torch.no_grad():
        shipped = load_span_reader(resolve("minilm-reader")).network(*inputs)
        begun = merged(adapt(task.network, same, task.heads, start=task.start)).eval()(*inputs)
    torch.testing.assert_close(begun, shipped, atol=1e-4, rtol=1e-4)

    again = ReaderTask(squad(tmp_path), base="minilm-reader", holdout=0.34, unanswerable=0)
    report = run(again, tmp_path / "run", TrainSettings(epochs=1, batch_size=4, save_every=0, lora=same))
    assert read_json(report.folder / "adapter_config.json")["base_model_name_or_path"] == "minilm"

    with pytest.raises(CheckpointError, match=r"rank 64 and alpha 128.* ask for 4"):
        adapt(ReaderTask(squad(tmp_path), holdout=0).network, LoraSettings(rank=4), ("head",), start=task.start)
    with pytest.raises(LangbertError, match="train them further with lora"):
        run(again, tmp_path / "whole", TrainSettings(epochs=1, lora=None))


@pytest.mark.models
def test_answers_are_labelled_at_their_own_tokens(tmp_path: Path) -> None:
    from langbert.training.reader import ReaderTask

    task = ReaderTask(squad(tmp_path), holdout=0, unanswerable=0)
    batch = task.collate(range(len(task)), seed=0)
    for i, answer in enumerate(["honey", "40,000", "wax", "normandy", "1066", "old", "rhine", "danube", "elbe"]):
        tokens = batch["token_ids"][i, batch["starts"][i] : batch["ends"][i] + 1].tolist()
        assert task._tokenizer._tokenizer.decode(tokens).replace(" ", "") == answer
        assert batch["allowed"][i, batch["starts"][i]]
        assert batch["segment_ids"][i, batch["starts"][i]] == 1


@pytest.mark.models
def test_mined_negatives_train_a_reranker_that_langbert_loads(tmp_path: Path, minilm) -> None:
    from langbert.evaluation import read_questions
    from langbert.training.mining import mine_negatives
    from langbert.training.reranker import RerankerTask
    from langbert.training.settings import LoraSettings

    data = squad(tmp_path)
    file = mine_negatives(read_questions(data), minilm, tmp_path / "negatives.jsonl", limit=4)
    assert file.read_text().count("\n") == 4
    mine_negatives(read_questions(data), minilm, file)  # goes on where it stopped
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    assert len({row["id"] for row in rows}) == len(rows) == 9
    assert all(row["positive"] not in row["negatives"] and row["negatives"] for row in rows)
    task = RerankerTask(data, file, group=4, holdout=0.34)
    settings = TrainSettings(epochs=2, batch_size=2, learning_rate=2e-3, save_every=0, lora=LoraSettings(rank=4))
    report = run(task, tmp_path / "run", settings)
    assert set(report.metrics) == {"rr", "top1"}
    assert 0 < report.metrics["rr"] <= 1
    scores = Reranker(report.folder).score("Which honey did William see?", ["Bees make honey.", "They spoke French."])
    assert ((scores > 0) & (scores < 1)).all()

    again = RerankerTask(data, file, base=str(report.folder), group=4, holdout=0.34)
    assert (again.base, again.start) == ("minilm", report.folder)
    further = run(again, tmp_path / "further", TrainSettings(epochs=1, save_every=0, lora=LoraSettings(rank=4)))
    config = json.loads((further.folder / "adapter_config.json").read_text(encoding="utf-8"))
    assert config["base_model_name_or_path"] == "minilm"


@pytest.mark.models
def test_pairs_run_by_length_have_the_logits_of_one_padded_batch(tmp_path: Path) -> None:
    from langbert.models.bert.heads import CrossEncoder
    from langbert.models.bert.network import BertConfig
    from langbert.models.files.tokenizer import TokenPair
    from langbert.training.batching import padded_pairs
    from langbert.training.reranker import _logits

    torch.manual_seed(0)
    sizes = BertConfig(vocab_size=50, hidden_size=16, n_layers=2, n_heads=2, intermediate_size=32, max_positions=40)
    network = CrossEncoder(sizes).eval()
    rng = random.Random(0)
    pairs = [TokenPair([rng.randrange(50) for _ in range(n)], [0] * n) for n in (30, 3, 17, 9, 12, 25, 4, 8, 21, 2, 11)]
    batch = padded_pairs(pairs)
    whole = network(batch["token_ids"], batch["attention_mask"], batch["segment_ids"])[:, 0]
    assert torch.allclose(_logits(network, batch), whole, atol=1e-5)


@pytest.mark.models
def test_unusable_negatives_are_named_by_line(tmp_path: Path) -> None:
    from langbert.training.reranker import RerankerTask

    file = tmp_path / "negatives.jsonl"
    file.write_text('{"question": "?", "positive": "p0", "negatives": ["p1"]}\n{"question": "?"}\n', encoding="utf-8")
    with pytest.raises(DataError, match=r"negatives\.jsonl:2: expected"):
        RerankerTask(squad(tmp_path), file)


def test_blank_lines_and_a_byte_order_mark_do_no_harm_and_other_encodings_are_named(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_bytes(b'\xef\xbb\xbf{"a": 1}\n\n{"a": 2}\n')
    assert list(read_lines(file, lambda row: row["a"], "{a}")) == [1, 2]
    file.write_bytes('{"a": "蜂蜜"}\n'.encode("gbk"))
    with pytest.raises(DataError, match=r"rows\.jsonl:1: expected UTF-8"):
        list(read_lines(file, lambda row: row["a"], "{a}"))


def test_lines_have_their_own_numbers(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_bytes(b'\n{"a": 1}\r\n \n\n{"a": 2}\n{"b": 3}\n')
    rows = read_numbered(file, lambda row: row["a"], "{a}")
    assert [next(rows), next(rows)] == [(2, 1), (5, 2)]
    with pytest.raises(DataError, match=r"rows\.jsonl:6: expected \{a\}; got \{\"b\": 3\}$"):
        next(rows)
    file.write_bytes(b"one\n\n" + "两\n".encode() + b"caf\xe9\n")
    assert list(islice(numbered_lines(file, "words", blank=True), 3)) == [(1, "one"), (2, ""), (3, "两")]
    with pytest.raises(DataError, match=r"rows\.jsonl:4: expected UTF-8; byte 0xe9 is not"):
        list(numbered_lines(file, "words"))


def test_what_is_held_out_depends_on_names_and_seed_alone() -> None:
    assert held_out("abcdefghij", 0.3, 0) == {"h", "i", "b"}
    assert held_out("jjihgfedcbaa", 0.3, 0) == {"h", "i", "b"}
    assert held_out("abcdefghij", 0.3, 1) == {"g", "i", "j"}
    assert held_out("abc", 0.1, 0) == set()
    assert held_out("abc", 0.9, 0) == {"a", "b", "c"}

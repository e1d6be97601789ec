"""BERT pre-training: what is hidden, what stands beside what, the heads against transformers, runs that learn."""

from __future__ import annotations

import json
import math
import random
import subprocess
import sys
from collections import Counter
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from langbert.errors import CheckpointError, DataError, MissingExtra
from langbert.models.bert.heads import PreTrainingBert, PreTrainingLogits, pretraining_loss
from langbert.models.bert.loading import load_bert, load_pretraining, save_pretraining
from langbert.models.bert.network import Bert, BertConfig
from langbert.models.files.weights import read_tensors, save_tensors
from langbert.training.corpus import Corpus, read_texts
from langbert.training.loop import run
from langbert.training.masking import choose, continued, corrupt, seen_instead, words_of
from langbert.training.mlm import MlmTask
from langbert.training.settings import LoraSettings, TrainSettings
from langbert.training.vocabulary import SPECIAL_TOKENS, train_vocabulary, wordpiece_tokenizer

TINY = BertConfig(vocab_size=50, hidden_size=32, n_layers=2, n_heads=4, intermediate_size=64, max_positions=40)
SMALL = {"base": "scratch", "layers": 2, "hidden": 64, "vocab_size": 1200, "max_length": 48}

CHINESE = [
    "使用语言模型来预测下一个词的概率。语言模型先读许多文章。读得越多，预测就越准。模型把词变成向量。",
    "数据库把数据保存在磁盘上。查询语句先被解析。优化器选择最好的计划。执行器按计划读取数据。",
    "北京是中国的首都。长城在北京的北边。每年有许多游客参观长城。秋天的北京最美丽。",
    "医生先问病人哪里不舒服。病人说头很疼。医生给病人开了药。病人第二天就好了。",
]


@pytest.fixture(scope="module")
def peps(documents_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight of the shorter documents."""
    folder = tmp_path_factory.mktemp("peps")
    for number in ("0007", "0263", "0289", "0328", "0352", "0448", "0604", "0616"):
        (folder / f"pep-{number}.rst").write_bytes((documents_folder / f"pep-{number}.rst").read_bytes())
    return folder


@pytest.fixture
def chinese(tmp_path: Path) -> Path:
    file = tmp_path / "zh.txt"
    file.write_text("\n\n".join(CHINESE), encoding="utf-8")
    return file


# --- which tokens are hidden ---------------------------------------------------------------------------------------


def test_of_all_draws_exactly_80_10_and_10_percent_have_their_fate() -> None:
    fates = Counter(seen_instead(7, i / 1000, mask_id=4, random_id=9) for i in range(1000))
    assert fates == {4: 800, 9: 100, 7: 100}


def test_chosen_tokens_are_replaced_in_the_papers_shares() -> None:
    n = 40_000
    ids = [5] * n
    seen = corrupt(ids, range(0, n, 2), mask_id=4, ordinary_ids=range(10, 1000), rng=random.Random(0))
    assert seen[1::2] == ids[1::2]
    fates = Counter("mask" if token == 4 else "kept" if token == 5 else "random" for token in seen[::2])
    for fate, share in (("mask", 0.8), ("random", 0.1), ("kept", 0.1)):
        deviation = math.sqrt(share * (1 - share) * n / 2)
        assert abs(fates[fate] - share * n / 2) < 4 * deviation, fate
    drawn = Counter(token for token in seen[::2] if token >= 10)
    assert len(drawn) > 800  # random tokens are any token


@given(
    tokens=st.lists(st.tuples(st.integers(0, 60), st.booleans()), max_size=80),
    share=st.floats(0.01, 0.99),
    seed=st.integers(),
)
def test_masking_keeps_its_promises(tokens: list[tuple[int, bool]], share: float, seed: int) -> None:
    special = {0, 1, 2, 3, 4}
    ids, goes_on = [token for token, _ in tokens], [flag for _, flag in tokens]
    words = words_of(ids, goes_on, special)
    ordinary = [i for i, token in enumerate(ids) if token not in special]
    assert [i for word in words for i in word] == ordinary  # each once, in order, no special token
    assert all(word == list(range(word[0], word[-1] + 1)) for word in words)
    rng = random.Random(seed)
    chosen = choose(words, share, rng)
    assert chosen == sorted(set(chosen))
    assert set(chosen) <= set(ordinary)
    assert all(set(word) <= set(chosen) or not set(word) & set(chosen) for word in words)
    if words:
        budget = max(1, round(share * len(ordinary)))
        assert 1 <= len(chosen) <= max(budget, min(map(len, words)))
        if all(len(word) == 1 for word in words):
            assert len(chosen) == budget
    seen = corrupt(ids, chosen, 4, range(5, 61), rng)
    assert all(seen[i] == ids[i] for i in range(len(ids)) if i not in chosen)
    assert all(seen[i] >= 4 for i in chosen)
    again = random.Random(seed)
    assert choose(words, share, again) == chosen
    assert corrupt(ids, chosen, 4, range(5, 61), again) == seen


def test_every_word_is_as_likely_to_be_hidden_as_any_other() -> None:
    words = [[i] for i in range(40)]
    counts = Counter(i for seed in range(4000) for i in choose(words, 0.15, random.Random(seed)))
    assert all(abs(counts[i] - 600) < 4 * math.sqrt(600 * 0.85) for i in range(40))


def test_the_characters_of_a_chinese_word_go_together() -> None:
    text = "使用语言模型来预测probability，今天 天气。"
    pieces = [*SPECIAL_TOKENS, *sorted({c for c in text if ord(c) > 128}), "pro", "##babi", "##lity"]
    encoding = wordpiece_tokenizer(pieces).encode([text])[0]
    goes_on = continued(text, encoding.offsets, encoding.word_ids)
    spelled = [
        "".join(encoding.tokens[i].removeprefix("##") for i in word)
        for word in words_of(encoding.ids, goes_on, frozenset())
    ]
    assert spelled == ["使用", "语言", "模型", "来", "预测", "probability", "，", "今天", "天气", "。"]


def test_without_a_segmenter_chinese_says_what_to_install(monkeypatch: pytest.MonkeyPatch, chinese: Path) -> None:
    monkeypatch.setitem(sys.modules, "rjieba", None)
    with pytest.raises(MissingExtra, match=r"masking='token'.* pip install \"langbert\[train\]\""):
        MlmTask(chinese, **SMALL)
    assert continued("two words", [(0, 3), (4, 9)], [0, 1]) == [False, False]
    assert len(MlmTask(chinese, masking="token", **SMALL)) > 0


# --- the vocabulary ------------------------------------------------------------------------------------------------


def test_a_vocabulary_is_the_same_in_every_process(peps: Path) -> None:
    code = (
        "import sys; from langbert.training.corpus import read_texts; "
        "from langbert.training.vocabulary import train_vocabulary; "
        "sys.stdout.buffer.write(chr(10).join(train_vocabulary(read_texts(sys.argv[1]), 1500)).encode())"
    )
    done = subprocess.run([sys.executable, "-c", code, str(peps)], capture_output=True, check=True)
    pieces = train_vocabulary(read_texts(peps), 1500)
    assert done.stdout.decode().split("\n") == pieces
    assert len(pieces) == len(set(pieces)) == 1500
    assert tuple(pieces[:5]) == SPECIAL_TOKENS
    assert {"the", "python", "import", "##ing"} <= set(pieces)


def test_a_chinese_vocabulary_knows_its_characters() -> None:
    tokenizer = wordpiece_tokenizer(train_vocabulary(CHINESE, 2000))
    encoding = tokenizer.encode([CHINESE[0]])[0]
    assert "[UNK]" not in encoding.tokens
    assert encoding.tokens[:4] == ["使", "用", "语", "言"]


def test_rare_characters_give_way_and_an_empty_text_is_refused() -> None:
    pieces = train_vocabulary(["ab ab ab ab xyz"], 13)
    assert {"a", "##b", "ab"} <= set(pieces)
    assert "x" not in pieces  # four characters at most, and these came first
    with pytest.raises(DataError, match="no words"):
        train_vocabulary([" \n"], 100)


# --- the network against transformers ------------------------------------------------------------------------------


def reference(folder: Path, kind: str):
    """A tiny random model of transformers, saved, and a batch of two padded pairs."""
    import transformers

    config = transformers.BertConfig(
        vocab_size=50,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=40,
    )
    torch.manual_seed(0)
    model = getattr(transformers, kind)(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.1)
    model.save_pretrained(folder)
    return model


def two_pairs() -> dict[str, torch.Tensor]:
    torch.manual_seed(1)
    mask = torch.ones(2, 12, dtype=torch.int64)
    mask[1, 9:] = 0
    segments = torch.tensor([[0] * 6 + [1] * 6, [0] * 4 + [1] * 5 + [0] * 3])
    return {"token_ids": torch.randint(5, 50, (2, 12)), "attention_mask": mask, "segment_ids": segments}


@pytest.mark.parametrize("kind", ["BertForPreTraining", "BertForMaskedLM"])
def test_logits_and_loss_are_those_of_transformers(tmp_path: Path, kind: str) -> None:
    model = reference(tmp_path, kind)
    joint = kind == "BertForPreTraining"
    batch = two_pairs()
    labels = torch.full((2, 12), -100)
    chosen = torch.tensor([1, 7, 12 + 3, 12 + 8])
    targets = torch.tensor([11, 22, 33, 44])
    labels.view(-1)[chosen] = targets
    given = {"input_ids": batch["token_ids"], "attention_mask": batch["attention_mask"], "labels": labels}
    if joint:
        given["next_sentence_label"] = torch.tensor([0, 1])
    with torch.no_grad():
        theirs = model(token_type_ids=batch["segment_ids"], **given)
        network = load_pretraining(tmp_path, next_sentence=joint)
        everywhere = network(**batch)
        ours = network(**batch, chosen=chosen)
    real = batch["attention_mask"].bool()
    their_tokens = theirs.prediction_logits if joint else theirs.logits
    assert torch.allclose(everywhere.tokens[real], their_tokens[real], atol=1e-5)
    assert torch.equal(ours.tokens, everywhere.tokens.flatten(0, 1)[chosen])
    assert (ours.pairs is not None) == joint
    if joint:
        assert torch.allclose(ours.pairs, theirs.seq_relationship_logits, atol=1e-5)
    loss = pretraining_loss(ours, targets, given.get("next_sentence_label"))
    assert abs(float(loss) - float(theirs.loss)) < 1e-5


def test_the_joint_loss_by_hand() -> None:
    tokens = torch.log(torch.tensor([[0.5, 0.25, 0.25], [0.1, 0.1, 0.8]]))
    pairs = torch.log(torch.tensor([[0.9, 0.1], [0.6, 0.4]]))
    loss = pretraining_loss(PreTrainingLogits(tokens, pairs), torch.tensor([0, 2]), torch.tensor([0, 1]))
    by_hand = -(math.log(0.5) + math.log(0.8)) / 2 - (math.log(0.9) + math.log(0.4)) / 2
    assert float(loss) == pytest.approx(by_hand, abs=1e-6)


@pytest.mark.parametrize("joint", [True, False])
def test_transformers_loads_what_was_saved(tmp_path: Path, joint: bool) -> None:
    import transformers

    torch.manual_seed(3)
    network = PreTrainingBert(Bert(TINY), next_sentence=joint).eval()
    torch.nn.init.normal_(network.masked_head.bias)
    save_pretraining(network, tmp_path)
    kind = transformers.BertForPreTraining if joint else transformers.BertForMaskedLM
    model, report = kind.from_pretrained(tmp_path, output_loading_info=True)
    assert not report["missing_keys"]
    assert not report["unexpected_keys"]
    batch = two_pairs()
    with torch.no_grad():
        ours = network(**batch)
        theirs = model.eval()(batch["token_ids"], batch["attention_mask"], batch["segment_ids"])
    real = batch["attention_mask"].bool()
    theirs_tokens = theirs.prediction_logits if joint else theirs.logits
    assert torch.allclose(ours.tokens[real], theirs_tokens[real], atol=1e-5)
    if joint:
        assert torch.allclose(ours.pairs, theirs.seq_relationship_logits, atol=1e-5)
    again = load_pretraining(tmp_path, next_sentence=joint)
    assert all(torch.equal(tensor, network.state_dict()[name]) for name, tensor in again.state_dict().items())


def test_an_encoder_without_heads_gets_new_ones(tmp_path: Path) -> None:
    reference(tmp_path, "BertModel")
    network = load_pretraining(tmp_path)
    assert torch.equal(network.bert.embeddings.tokens.weight, load_bert(tmp_path).embeddings.tokens.weight)
    assert float(network.masked_head.dense.weight.detach().std()) == pytest.approx(0.02, rel=0.2)
    assert load_pretraining(tmp_path, next_sentence=False).bert.pooler is None


@pytest.mark.parametrize("damage", ["half a head", "untied"])
def test_heads_that_do_not_fit_are_refused_by_name(tmp_path: Path, damage: str) -> None:
    reference(tmp_path, "BertForPreTraining")
    tensors = read_tensors(tmp_path)
    if damage == "untied":
        tensors["cls.predictions.decoder.weight"] = torch.zeros(50, 32)
    else:
        del tensors["cls.predictions.transform.dense.bias"]
    save_tensors(tensors, tmp_path / "model.safetensors")
    with pytest.raises(CheckpointError, match="dense.bias" if damage == "half a head" else "token table"):
        load_pretraining(tmp_path)


# --- sequences and pairs -------------------------------------------------------------------------------------------


def numbered(documents: list[list[int]]) -> Corpus:
    """A corpus of sentences of these lengths; every token is another number."""
    sizes = [size for document in documents for size in document]
    starts = [sum(sizes[:i]) for i in range(len(sizes) + 1)]
    counts = [sum(map(len, documents[:i])) for i in range(len(documents) + 1)]
    ids = torch.arange(starts[-1], dtype=torch.int32).numpy()
    return Corpus(ids, ids < 0, starts, counts)


@given(
    documents=st.lists(st.lists(st.integers(1, 10), min_size=1, max_size=12), min_size=2, max_size=6),
    room=st.integers(20, 40),
    seed=st.integers(),
)
def test_pairs_keep_their_promises(documents: list[list[int]], room: int, seed: int) -> None:
    corpus, rng = numbered(documents), random.Random(seed)
    stretches = corpus.stretches(room, 2)
    covered = {i for s in stretches for i in range(s.start, s.stop)}
    assert covered == {i for first, last in pairwise(corpus.documents) if last - first > 1 for i in range(first, last)}
    for stretch in stretches:
        begin, end = corpus.documents[stretch.document : stretch.document + 2]
        assert begin <= stretch.start < stretch.stop - 1 < end
        drawn = corpus.pair(stretch, rng)
        (a, b), (c, d) = drawn.texts
        assert a < b
        assert c < d
        assert b - a + d - c <= room
        assert corpus.sentences[stretch.start] == a
        own = range(corpus.sentences[begin], corpus.sentences[end])
        assert c == b if drawn.follows else (c not in own and d - 1 not in own)
        assert [ids for ids, _ in corpus.texts(drawn)] == [list(range(a, b)), list(range(c, d))]


def test_half_of_the_pairs_belong_together_and_their_looks_do_not_betray_it(peps: Path) -> None:
    corpus = Corpus.of(
        read_texts(peps), wordpiece_tokenizer(train_vocabulary(read_texts(peps), 2000)), 62, whole_words=True
    )
    stretches, rng = corpus.stretches(125, 2), random.Random(0)
    drawn = [corpus.pair(stretch, rng) for stretch in stretches * 10]
    n = len(drawn)
    assert abs(sum(pair.follows for pair in drawn) - n / 2) < 4 * math.sqrt(n / 4)
    lengths = {
        kind: [tuple(b - a for a, b in pair.texts) for pair in drawn if pair.follows is kind] for kind in (True, False)
    }
    for part in (0, 1):  # what a guesser could make of the lengths alone
        ours, others = ([pair[part] for pair in lengths[kind][:1500]] for kind in (True, False))
        area = sum((x > y) + (x == y) / 2 for x in ours for y in others) / (len(ours) * len(others))
        assert abs(area - 0.5) < 0.04, area


def test_long_sentences_are_cut_and_nothing_is_lost() -> None:
    tokenizer = wordpiece_tokenizer(train_vocabulary(CHINESE, 500))
    text = CHINESE[0].replace("。", "，") * 5
    corpus = Corpus.of([text, " \u200b"], tokenizer, 30, whole_words=True)
    assert corpus.token_ids.tolist() == tokenizer.encode([text])[0].ids
    assert max(b - a for a, b in pairwise(corpus.sentences)) <= 30
    assert len(corpus) == 1  # the second has no tokens


def test_a_batch_is_a_function_of_its_seed_and_shows_what_it_should(peps: Path) -> None:
    task = MlmTask(peps, **SMALL)
    special = task._tokenizer.special_ids
    total = chosen = 0
    for number in range(8):
        examples = range(16 * number, 16 * number + 16)
        batch, again = task.collate(examples, seed=number), task.collate(examples, seed=number)
        assert all(torch.equal(batch[name], again[name]) for name in batch)
        assert not torch.equal(
            batch["token_ids"],
            F.pad(task.collate(examples, seed=99)["token_ids"], (0, 9))[:, : batch["token_ids"].shape[1]],
        )
        real = batch["token_ids"].clone()
        real.view(-1)[batch["chosen"]] = batch["targets"]
        assert not set(batch["targets"].tolist()) & special
        assert len(set(batch["chosen"].tolist())) == len(batch["chosen"])
        mask = batch["attention_mask"].bool()
        assert bool(mask.view(-1)[batch["chosen"]].all())
        for row, is_token, segments in zip(real, mask, batch["segment_ids"], strict=True):
            ids = row[is_token].tolist()
            assert ids[0] == 2  # [CLS] A [SEP] B [SEP]
            assert ids[-1] == 3
            middle = ids.index(3)
            assert segments[is_token].tolist() == [0] * (middle + 1) + [1] * (len(ids) - middle - 1)
            assert len(ids) <= 48
            total += sum(token not in special for token in ids)
        chosen += len(batch["chosen"])
    assert chosen / total == pytest.approx(0.15, abs=0.01)


def test_whole_words_are_hidden_in_a_batch(chinese: Path) -> None:
    task = MlmTask(chinese, next_sentence=False, holdout=0, **SMALL)
    for seed in range(20):
        batch = task.collate([0], seed)
        row = batch["token_ids"][0].clone()
        row[batch["chosen"]] = batch["targets"]
        spelled = "".join(task._pieces[token] for token in row.tolist())
        hidden = set(batch["chosen"].tolist())
        at = row.tolist().index(task._tokenizer.encode(["语"])[0].ids[0])
        assert "语言" in spelled
        assert (at in hidden) == (at + 1 in hidden)
    assert set(batch) == {"token_ids", "attention_mask", "segment_ids", "chosen", "targets"}


# --- runs ----------------------------------------------------------------------------------------------------------


def test_a_bert_from_scratch_learns_and_everyone_can_load_it(peps: Path, tmp_path: Path) -> None:
    import transformers

    from langbert import Embedder

    task = MlmTask(peps, holdout=0.2, **SMALL)
    start = task.evaluate(task.network.eval(), torch.device("cpu"))
    assert start["mlm_loss"] == pytest.approx(math.log(1200), abs=0.3)  # it knows nothing
    settings = TrainSettings(
        epochs=100, max_steps=80, batch_size=32, learning_rate=4e-3, dropout=0.0, warmup=0.1, save_every=0
    )
    report = run(task, tmp_path / "run", settings)
    assert set(report.metrics) == {"mlm_loss", "perplexity", "mlm_accuracy", "nsp_accuracy", "unigram_entropy"}
    assert report.metrics["mlm_loss"] < start["mlm_loss"] - 0.8
    assert report.metrics["perplexity"] == pytest.approx(math.exp(report.metrics["mlm_loss"]))
    card = (report.folder / "README.md").read_text()
    assert "unigram_entropy" in card
    assert "held-out documents" in card

    batch = task.collate(range(4), seed=0)
    model = transformers.BertForPreTraining.from_pretrained(report.folder).eval()
    ours = load_pretraining(report.folder)
    with torch.no_grad():
        theirs = model(batch["token_ids"], batch["attention_mask"], batch["segment_ids"])
        mine = ours(batch["token_ids"], batch["attention_mask"], batch["segment_ids"], batch["chosen"])
    assert torch.allclose(mine.tokens, theirs.prediction_logits.flatten(0, 1)[batch["chosen"]], atol=1e-4)
    text = "Python source code encodings"
    tokenizer = transformers.AutoTokenizer.from_pretrained(report.folder)
    assert tokenizer(text)["input_ids"] == [2, *task._tokenizer.encode([text])[0].ids, 3]
    assert tokenizer.mask_token == "[MASK]"
    for pooling in ("mean", "cls", "pooler"):
        vector = Embedder(report.folder, pooling=pooling, precision="float32").embed([text])[0]
        with torch.no_grad():
            output = model.bert(**tokenizer(text, return_tensors="pt"))
        hidden = output.last_hidden_state[0]
        expected = {"mean": hidden.mean(0), "cls": hidden[0], "pooler": output.pooler_output[0]}[pooling]
        assert torch.allclose(torch.from_numpy(vector), F.normalize(expected, dim=0), atol=1e-5)


def test_chinese_is_learned_by_heart(chinese: Path, tmp_path: Path) -> None:
    task = MlmTask(chinese, holdout=0, masking="token", **SMALL)
    losses: list[float] = []
    settings = TrainSettings(
        epochs=1000, max_steps=200, batch_size=8, learning_rate=3e-3, dropout=0.0, warmup=0.1, save_every=0
    )
    run(task, tmp_path / "run", settings, watch=lambda step: losses.append(step.loss))
    assert losses[0] == pytest.approx(math.log(len(task._pieces)) + math.log(2), abs=0.4)
    assert sum(losses[-20:]) / 20 < 0.65 * losses[0]


def test_going_on_from_a_checkpoint_with_adapters_merges_them(chinese: Path, tmp_path: Path) -> None:
    first = MlmTask(chinese, holdout=0.5, **SMALL)
    (tmp_path / "base").mkdir()
    first.save(first.network, tmp_path / "base")
    task = MlmTask(chinese, base=str(tmp_path / "base"), holdout=0.5, max_length=48)
    before = {name: tensor.clone() for name, tensor in task.network.state_dict().items()}
    assert all(torch.equal(tensor, before[name]) for name, tensor in first.network.state_dict().items())
    settings = TrainSettings(
        epochs=30, batch_size=4, learning_rate=5e-3, save_every=0, lora=LoraSettings(rank=4, dropout=0.0)
    )
    report = run(task, tmp_path / "run", settings)
    after = load_pretraining(report.folder).state_dict()
    assert torch.equal(after["bert.embeddings.tokens.weight"], before["bert.embeddings.tokens.weight"])
    for name in ("bert.layers.0.up.weight", "masked_head.dense.weight", "next_head.weight", "bert.pooler.dense.weight"):
        assert not torch.equal(after[name], before[name]), name
    assert report.metrics["mlm_loss"] < math.log(len(first._pieces))


@pytest.mark.models
def test_minilm_is_adapted_to_documents(chinese: Path, tmp_path: Path) -> None:
    from langbert import Embedder

    file = tmp_path / "english.txt"
    file.write_text(
        "\n\n".join(f"The {n} is far. We see the {n}. It is the {n} again." for n in ("sea", "sun", "sky", "hill"))
    )
    task = MlmTask(file, next_sentence=False, max_length=32, holdout=0.25)
    report = run(task, tmp_path / "run", TrainSettings(max_steps=2, batch_size=2, save_every=0))
    config = json.loads((report.folder / "config.json").read_text())
    assert config["architectures"] == ["BertForMaskedLM"]
    adapted, original = Embedder(report.folder, pooling="mean"), Embedder("minilm")
    similarity = float(adapted.embed(["the sea"])[0] @ original.embed(["the sea"])[0])
    assert 0.8 < similarity < 1


def test_the_unigram_entropy_by_hand(tmp_path: Path) -> None:
    file = tmp_path / "one.txt"
    file.write_text("A a a b. A a a b.\n\nA b b b. B b b b.", encoding="utf-8")
    task = MlmTask(file, holdout=0, **SMALL)
    assert task.evaluate(task.network, torch.device("cpu")) == {}
    a, b, full_stop = (task._tokenizer.encode([word])[0].ids[0] for word in "ab.")
    counts = {a: 7, b: 9, full_stop: 4}
    total = 20 + len(task._pieces)
    expected = -sum(math.log((counts[token] + 1) / total) for token in (a, a, full_stop)) / 3
    assert task._unigram_entropy([a, a, full_stop]) == pytest.approx(expected)


# --- what cannot be used -------------------------------------------------------------------------------------------


def test_a_text_file_holds_documents_and_a_folder_holds_files(tmp_path: Path) -> None:
    file = tmp_path / "all.txt"
    file.write_text("One. Two.\nThree.\n \nFour.\n\n\n\nFive.\n", encoding="utf-8")
    assert [text.split() for text in read_texts(file)] == [["One.", "Two.", "Three."], ["Four."], ["Five."]]
    assert len(read_texts(tmp_path)) == 1


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        (None, {}, "no such file or folder"),
        ("", {}, "empty"),
        ("One. Two. Three.", {}, "1 documents; expected at least 2 to train on and 2 held out.*next_sentence=False"),
        ("One. Two.", {"next_sentence": False}, "1 documents; expected at least 1 to train on and 1 held out"),
        ("One.\n\nTwo.\n\nThree.", {"holdout": 0}, "2 sentences or more is needed"),
    ],
)
def test_unusable_data_says_why(tmp_path: Path, text: str | None, options: dict[str, object], message: str) -> None:
    file = tmp_path / "data.txt"
    if text is not None:
        file.write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=message):
        MlmTask(file, **{**SMALL, **options})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"masking": "sentence"}, "expected one of token, word"),
        ({"share": 0.0}, "share must be"),
        ({"max_length": 8}, "max_length 8 is out of range"),
    ],
)
def test_options_out_of_range_are_refused(chinese: Path, options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        MlmTask(chinese, **{**SMALL, **options})

"""Classifiers and taggers: their data, their losses against transformers, and learning on small real text."""

from __future__ import annotations

import json
import random
import re
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from hypothesis import given
from hypothesis import strategies as st
from label_tools import write_bert
from store_tools import HashEmbedder

from langbert.errors import CheckpointError, DataError
from langbert.labels.classifier import Classifier, in_order
from langbert.labels.few_shot import FewShotClassifier
from langbert.labels.tagger import Tagger, word_spans
from langbert.models.bert.heads import IGNORED
from langbert.models.bert.loading import load_classifier, load_tagger
from langbert.training.bio import all_bio, as_bio
from langbert.training.classifier import ClassifierTask
from langbert.training.labelled import read_labelled, read_tagged, split
from langbert.training.loop import run
from langbert.training.settings import LoraSettings, TrainSettings
from langbert.training.tagger import TaggerTask

CHINESE = [
    *(
        "李明在北京大学读书。",
        "王芳从上海来到南京。",
        "张伟是清华大学的学生。",
        "赵丽住在广州。",
        "陈强到过北京和上海。",
    ),
    *("李娜在复旦大学教书。", "王强和张丽去了南京。", "刘洋毕业于北京大学。", "周杰在广州工作。", "清华大学在北京。"),
    *("复旦大学在上海。", "陈芳喜欢南京。"),
]
"""Written for this test; people, places and schools below."""
NAMES = {
    "PER": "李明 王芳 张伟 赵丽 陈强 李娜 王强 张丽 刘洋 周杰 陈芳",
    "LOC": "北京 上海 南京 广州",
    "ORG": "北京大学 清华大学 复旦大学",
}
ENGLISH = {
    "PER": r"Guido van Rossum|Tim Peters|Barry Warsaw|Raymond Hettinger|Guido|Brett Cannon",
    "TERM": r"Steering Council|PEP editors?|generator (?:functions?|expressions?)|standard library",
    "LANG": r"Python|Java|Perl|Haskell|C\+\+",
}


def paragraphs(folder: Path, *numbers: int, least: int = 15) -> list[tuple[str, str]]:
    """``(paragraph, name of its document)`` of real documents: Python Enhancement Proposals."""
    found = []
    for number in numbers:
        text = (folder / f"pep-{number:04d}.rst").read_text(encoding="utf-8")
        parts = [" ".join(part.split()) for part in re.split(r"\n\s*\n", text)[1:]]
        found += [(part, f"pep-{number}") for part in parts if len(part.split()) >= least]
    return found


def tags_of(text: str, spans: dict[str, str]) -> list[tuple[str, str]]:
    """The words of ``text`` with BIO tags where the regular expressions of ``spans`` match."""
    tags = {}
    for label, pattern in reversed(spans.items()):
        for match in re.finditer(pattern, text):
            inside = [i for i, (a, b) in enumerate(word_spans(text)) if match.start() <= a and b <= match.end()]
            tags.update({i: f"{'I' if place else 'B'}-{label}" for place, i in enumerate(inside)})
    return [(text[a:b], tags.get(i, "O")) for i, (a, b) in enumerate(word_spans(text))]


def write_conll(file: Path, sentences: list[list[tuple[str, str]]], separator: str = "\t") -> Path:
    lines = ["\n".join(f"{word}{separator}{tag}" for word, tag in words) for words in sentences]
    file.write_text("\n\n".join(lines) + "\n", encoding="utf-8")
    return file


def write_jsonl(file: Path, rows: list[Any]) -> Path:
    file.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return file


@pytest.fixture(scope="module")
def topics(documents_folder: Path) -> list[tuple[str, str]]:
    """Paragraphs of three documents: style, the database interface, generators."""
    return paragraphs(documents_folder, 8, 249, 255)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory, topics: list[tuple[str, str]]) -> str:
    """A tiny BERT of random weights whose vocabulary knows the texts of these tests."""
    folder = tmp_path_factory.mktemp("base")
    write_bert(folder, [*(text for text, _ in topics), *CHINESE], hidden_size=48, intermediate_size=96)
    return str(folder)


def quick(**changes: Any) -> TrainSettings:
    given = {"batch_size": 16, "learning_rate": 3e-3, "save_every": 0, "precision": "float32", "dropout": 0.0}
    return TrainSettings(**{**given, **changes})


# --- data -----------------------------------------------------------------------------------------------------------


def test_labelled_texts_in_every_format(tmp_path: Path) -> None:
    singles = [("good 书", None, "pos"), ("bad", None, "neg")]
    pairs = [("it rains", "it is wet", "entailment"), ("a", "b", "neutral")]
    (tmp_path / "a.tsv").write_bytes("\ufeffSentence\tLabel\r\ngood 书\tpos\r\n\r\nbad\tneg\r\n".encode())
    (tmp_path / "b.tsv").write_text("it rains\tit is wet\tentailment\na\tb\tneutral\n", encoding="utf-8")
    write_jsonl(tmp_path / "c.jsonl", [{"text": t, "label": label} for t, _, label in singles])
    write_jsonl(tmp_path / "d.jsonl", [{"text": t, "pair": p, "label": label} for t, p, label in pairs])
    assert read_labelled(tmp_path / "a.tsv") == read_labelled(tmp_path / "c.jsonl") == singles
    assert read_labelled(tmp_path / "b.tsv") == read_labelled(tmp_path / "d.jsonl") == pairs
    for first, second in (("text", "text_pair"), ("premise", "hypothesis"), ("question1", "question2")):
        write_jsonl(tmp_path / "f.jsonl", [{first: t, second: p, "label": label} for t, p, label in pairs])
        assert read_labelled(tmp_path / "f.jsonl") == pairs
    numbered = write_jsonl(tmp_path / "e.jsonl", [{"text": "x", "label": value} for value in (10, 9, True)])
    assert [row.label for row in read_labelled(numbered)] == ["10", "9", "true"]
    assert in_order({"10", "9"}) == ["9", "10"]
    assert in_order({"b", "O", "A"}) == ["O", "A", "b"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.tsv", "text\tlabel\nfine\tx\nno label here\n", r"a\.tsv:3: expected text<TAB>label .*; got no label here"),
        ("a.tsv", "one\tx\n\tx\n", r"a\.tsv:2: expected text<TAB>label"),
        ("a.tsv", "one\tx\ntwo\tx\n", r"expected two different labels or more, got \['x'\]"),
        ("a.jsonl", '{"text": "one", "label": "x"}\n{"text": " ", "label": "y"}\n', r"a\.jsonl:2: expected"),
        ("a.jsonl", '{"text": "one", "label": null}\n', r"a\.jsonl:1: expected"),
        ("a.jsonl", "[1]\n", r"a\.jsonl:1: expected"),
        ("a.tsv", b"one\tx\ntwo\t\xff\n", r"a\.tsv:2: expected UTF-8"),
        ("a.tsv", None, r"no file at .*a\.tsv: expected lines of text<TAB>label"),
    ],
)
def test_unusable_labelled_texts_are_named(tmp_path: Path, name: str, content: Any, message: str) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(DataError, match=message):
        read_labelled(tmp_path / name)


def test_tagged_sentences_in_every_format(tmp_path: Path) -> None:
    words, tags = ("EU", "rejects", "\u3000", "北"), ("B-ORG", "O", "O", "B-LOC")
    rows = list(zip(words, tags, strict=True))
    file = write_conll(tmp_path / "a.conll", [[("-DOCSTART-", "O")], rows, [("x", "O")]])
    spaced = write_conll(tmp_path / "b.txt", [[("-DOCSTART-", "-X- O")], [(w, f"NNP  {t}") for w, t in rows]], " ")
    lines = write_jsonl(tmp_path / "c.jsonl", [{"tokens": ["a"], "tags": ["O"]}, {"tokens": words, "tags": tags}])
    assert [sentence[:2] for sentence in read_tagged(file)] == [(words, tags), (("x",), ("O",))]
    assert read_tagged(file)[0].lines == (3, 4, 5, 6)
    assert read_tagged(spaced)[0][:2] == (words, tags)
    assert read_tagged(spaced, column=1)[0].tags == ("NNP",) * 4
    assert read_tagged(lines)[1][:2] == (words, tags)
    assert read_tagged(lines)[1].lines == (2, 2, 2, 2)
    lines.write_text(f"\n{lines.read_text(encoding='utf-8')}", encoding="utf-8")
    assert read_tagged(lines)[1].lines == (3, 3, 3, 3)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.conll", "EU B-ORG\nrejects\n", r"a\.conll:2: expected a word and its tag \(column -1\); got rejects"),
        ("a.conll", "\n\n", "expected sentences of tagged words, got none"),
        ("a.conll", "EU B-ORG\n\nof ORG\n", r"a\.conll:3: tag 'ORG' of 'of'; expected O, B-… or I-…"),
        ("a.conll", "EU B-ORG\nof O\nX I-ORG\n", r"a\.conll:3: I-ORG \(X\) continues nothing; expected B-ORG"),
        ("a.conll", "EU B-ORG\nX I-PER\n", r"a\.conll:2: I-PER \(X\) continues nothing"),
        ("a.conll", "EU O\nof O\n", r"expected two different tags or more, got \['O'\]"),
        ("a.jsonl", '{"tokens": ["a", "b"], "tags": ["O"]}\n', r"a\.jsonl:1: expected .* a tag for each token"),
        ("a.jsonl", '{"tokens": "ab", "tags": ["O", "O"]}\n', r"a\.jsonl:1: expected"),
        ("a.conll", None, "no file at"),
    ],
)
def test_unusable_tagged_sentences_are_named(tmp_path: Path, name: str, content: str | None, message: str) -> None:
    if content is not None:
        (tmp_path / name).write_text(content, encoding="utf-8")
    with pytest.raises(DataError, match=message):
        TaggerTask(tmp_path / name)


@pytest.mark.parametrize(
    ("scheme", "theirs", "bio"),
    [
        ("BIO", "B-X I-X B-X O B-Y", "B-X I-X B-X O B-Y"),
        ("IOB1", "I-X I-X B-X O I-Y I-X", "B-X I-X B-X O B-Y B-X"),
        ("BIOES", "B-X I-X E-X S-X O S-Y-Z", "B-X I-X I-X B-X O B-Y-Z"),
        ("BMES", "B-人 M-人 E-人 S-人 O", "B-人 I-人 I-人 B-人 O"),
        ("BILOU", "B-X I-X L-X U-X O", "B-X I-X I-X B-X O"),
    ],
)
def test_every_scheme_becomes_bio(tmp_path: Path, scheme: str, theirs: str, bio: str) -> None:
    from seqeval.metrics.sequence_labeling import get_entities

    file = write_conll(tmp_path / "a", [[("w", tag) for tag in theirs.split()]])
    (sentence,) = as_bio(read_tagged(file), file)
    assert sentence.tags == tuple(bio.split())
    if scheme in ("BIO", "IOB1", "BIOES"):
        assert get_entities(list(sentence.tags)) == get_entities(theirs.split())
    assert all_bio({"B-X", "O"}) == {"O", "B-X", "I-X"}


@given(
    st.lists(st.tuples(st.integers(0, 30), st.sampled_from("abc")), min_size=1, max_size=120),
    st.floats(0, 1, exclude_max=True),
    st.integers(0, 5),
)
def test_nothing_is_in_both_parts_and_no_label_is_lost(rows: list[tuple[int, str]], share: float, seed: int) -> None:
    first = dict(reversed([(text, label) for text, label in rows]))
    told = {"key": lambda row: row[0], "stratum": lambda row: row[1]}
    parts = split(rows, share, seed, **told)
    assert parts == split(rows, share, seed, **told)
    assert sorted([*parts[0], *parts[1]]) == sorted(rows)
    kept, out = ({text for text, _ in part} for part in parts)
    assert not kept & out
    for label in set(first.values()):
        size = sum(first[t] == label for t in first)
        n_out = sum(first[t] == label for t in out)
        assert n_out <= size - 1
        assert abs(n_out - share * size) <= 1


# --- losses, against transformers -----------------------------------------------------------------------------------


@torch.no_grad()
def test_the_classification_loss_is_that_of_transformers(tmp_path: Path, topics: list[tuple[str, str]]) -> None:
    theirs = write_bert(
        tmp_path, [text for text, _ in topics], transformers.BertForSequenceClassification, spread=0.2, num_labels=3
    )
    file = write_jsonl(
        tmp_path / "data.jsonl",
        [{"text": text, **({"pair": topics[i][0]} if i % 2 else {}), "label": label} for i, (text, label) in
         enumerate(topics[:12] + topics[-12:] + topics[60:70])],
    )  # fmt: skip
    task = ClassifierTask(file, base=str(tmp_path), holdout=0, max_length=64)
    task.network = load_classifier(tmp_path).network
    batch = task.collate(range(0, len(task), 3), seed=0)
    assert batch["segment_ids"].any()
    output = theirs(
        input_ids=batch["token_ids"],
        attention_mask=batch["attention_mask"],
        token_type_ids=batch["segment_ids"],
        labels=batch["labels"],
    )
    assert task.loss(task.network, batch).item() == pytest.approx(output.loss.item(), abs=1e-5)


@torch.no_grad()
def test_the_tagging_loss_is_that_of_transformers(tmp_path: Path, topics: list[tuple[str, str]]) -> None:
    texts = [text for text, _ in topics]
    theirs = write_bert(tmp_path, texts, transformers.BertForTokenClassification, spread=0.2, num_labels=7)
    file = write_conll(tmp_path / "data.conll", [tags_of(text, ENGLISH) for text in texts])
    task = TaggerTask(file, base=str(tmp_path), holdout=0, max_length=64)
    assert task.labels == ["O", "B-LANG", "B-PER", "B-TERM", "I-LANG", "I-PER", "I-TERM"]
    batch = task.collate(range(20), seed=0)
    output = theirs(input_ids=batch["token_ids"], attention_mask=batch["attention_mask"], labels=batch["labels"])
    network = load_tagger(tmp_path).network
    assert task.loss(network, batch).item() == pytest.approx(output.loss.item(), abs=1e-5)


def test_the_first_piece_of_a_word_carries_its_label(base: str, tmp_path: Path) -> None:
    words = ["Zyzzyva", "李", "O'Brien's", "\u200b", "PEP", "9999"]
    tags = ["B-X", "O", "B-Y", "I-Y", "O", "B-X"]
    task = TaggerTask(write_conll(tmp_path / "a", [list(zip(words, tags, strict=True))]), base=base, holdout=0)
    batch = task.collate([0], seed=0)
    inputs = transformers.AutoTokenizer.from_pretrained(base)(words, is_split_into_words=True)
    expected, before = [], None
    for owner in inputs.word_ids():
        first = owner is not None and owner != before
        expected.append(task.labels.index(tags[owner]) if first else IGNORED)
        before = owner
    assert batch["token_ids"][0].tolist() == inputs["input_ids"]
    assert batch["labels"][0].tolist() == expected
    assert len(inputs["input_ids"]) > len(words) + 4  # some words have several pieces


def test_a_long_sentence_is_learnt_whole(base: str, tmp_path: Path) -> None:
    words = [("Python", "B-LANG"), ("is", "O"), ("fun", "O")] * 70
    task = TaggerTask(write_conll(tmp_path / "a", [words]), base=base, holdout=0, max_length=64)
    batch = task.collate(range(len(task)), seed=0)
    assert batch["token_ids"].shape[1] <= 64
    counts = Counter(batch["labels"].flatten().tolist())
    assert {task.labels[i]: n for i, n in counts.items() if i != IGNORED} == {"B-LANG": 70, "O": 140}


# --- learning, through the loop -------------------------------------------------------------------------------------


def test_a_classifier_learns_which_document_a_paragraph_is_from(
    base: str, topics: list[tuple[str, str]], tmp_path: Path
) -> None:
    file = write_jsonl(tmp_path / "data.jsonl", [{"text": text, "label": label} for text, label in topics])
    task = ClassifierTask(file, base=base, holdout=0.25, max_length=64)
    losses: list[float] = []
    report = run(task, tmp_path / "run", quick(epochs=6), watch=lambda step: losses.append(step.loss))
    assert losses[0] == pytest.approx(np.log(3), abs=0.2)  # it begins by knowing nothing
    assert losses[-1] < 0.3
    assert set(report.metrics) == {"accuracy", "macro_f1"}
    assert report.metrics["macro_f1"] > 0.7
    assert report.metrics["accuracy"] > Counter(label for _, label in topics).most_common(1)[0][1] / len(topics)
    classifier = Classifier(report.folder, precision="float32")
    assert classifier.labels == ("pep-249", "pep-255", "pep-8")
    texts = [text for text, _ in topics[::5]]
    pipeline = transformers.pipeline("text-classification", model=str(report.folder), device="cpu")
    for text, mine in zip(texts, classifier.predict(texts), strict=True):
        (theirs,) = pipeline(text, truncation=True)
        assert theirs["label"] == mine.label
        assert theirs["score"] == pytest.approx(mine.score, abs=1e-5)
    assert "pep-249, pep-255, pep-8" in (report.folder / "README.md").read_text()


def test_a_classifier_learns_from_pairs(base: str, topics: list[tuple[str, str]], tmp_path: Path) -> None:
    chosen = [row for label in ("pep-8", "pep-249") for row in [r for r in topics if r[1] == label][:16]]
    rows = [
        f"{'style' if i % 2 else 'database'}\t{text}\t{label == 'pep-8' and i % 2 == 1}"
        for i, (text, label) in enumerate(chosen)
    ]
    file = tmp_path / "pairs.tsv"
    file.write_text("\n".join(rows), encoding="utf-8")
    task = ClassifierTask(file, dev=file, base=base, max_length=64)
    report = run(task, tmp_path / "run", quick(epochs=30, batch_size=8))
    assert report.metrics["accuracy"] > 0.9
    first, text, label = rows[1].split("\t")
    assert Classifier(report.folder).predict([(first, text)])[0].label == label == "True"


def test_a_tagger_learns_names(base: str, documents_folder: Path, tmp_path: Path) -> None:
    texts = [text for text, _ in paragraphs(documents_folder, 1, 8, 20, 234, 255, 289, 318, 342)]
    tagged = [words for words in (tags_of(text, ENGLISH) for text in texts) if any(tag != "O" for _, tag in words)]
    file = write_conll(tmp_path / "data.conll", tagged)
    losses: list[float] = []
    task = TaggerTask(file, base=base, holdout=0.2, max_length=64)
    report = run(task, tmp_path / "run", quick(epochs=6, batch_size=8), watch=lambda step: losses.append(step.loss))
    assert losses[-1] < 0.2 * losses[0]
    assert set(report.metrics) == {"accuracy", "precision", "recall", "f1"}
    assert report.metrics["f1"] > 0.5  # of whole entities; one that guesses finds next to none
    text = "Many of them wrote it in Python."
    (entities,) = Tagger(report.folder).predict([text])
    assert [(entity.text, entity.label) for entity in entities] == [("Python", "LANG")]


def test_a_tagger_learns_chinese_by_character(base: str, tmp_path: Path) -> None:
    spans = {label: "|".join(names.split()) for label, names in reversed(NAMES.items())}  # schools before cities
    file = write_conll(tmp_path / "zh.txt", [tags_of(sentence, spans) for sentence in CHINESE], " ")
    task = TaggerTask(file, dev=file, base=base)
    report = run(task, tmp_path / "run", quick(epochs=40, batch_size=6))
    assert report.metrics["f1"] > 0.9
    tagger = Tagger(report.folder)
    assert tagger.words == "characters"
    text = "  李明在北京大学读书。\n王芳从上海来到南京。"
    (found,) = tagger.predict([text])
    assert all(text[entity.start : entity.end] == entity.text for entity in found)
    assert {"北京大学", "上海", "南京"} <= {entity.text for entity in found}


def test_a_tagger_learns_parts_of_speech(base: str, topics: list[tuple[str, str]], tmp_path: Path) -> None:
    def kind(word: str) -> str:
        if word.lower() in ("the", "a", "an"):
            return "DET"
        return "NUM" if word[0].isdigit() else "WORD" if word[0].isalpha() else "PUNCT"

    sentences = [[(text[a:b], kind(text[a:b])) for a, b in word_spans(text)] for text, _ in topics[:60]]
    task = TaggerTask(write_conll(tmp_path / "pos.conll", sentences), base=base, holdout=0.2, max_length=64)
    assert task.metric == "accuracy"
    report = run(task, tmp_path / "run", quick(epochs=4, batch_size=4))
    assert set(report.metrics) == {"accuracy"}
    assert report.metrics["accuracy"] > 0.9
    (found,) = Tagger(report.folder).predict(["The function, 42."])
    assert [(e.text, e.label) for e in found][:3] == [("The", "DET"), ("function", "WORD"), (",", "PUNCT")]


def test_without_a_held_out_part_there_are_no_scores(base: str, topics: list[tuple[str, str]], tmp_path: Path) -> None:
    file = write_jsonl(tmp_path / "data.jsonl", [{"text": text, "label": label} for text, label in topics[::4]])
    report = run(ClassifierTask(file, base=base, holdout=0), tmp_path / "run", quick(max_steps=1))
    assert report.metrics == {}
    assert Classifier(report.folder).labels == ("pep-249", "pep-255", "pep-8")


def test_what_a_dev_file_may_not_have(base: str, tmp_path: Path) -> None:
    data, dev = tmp_path / "data.tsv", tmp_path / "dev.tsv"
    data.write_text("a\tx\nb\ty\n")
    dev.write_text("a\tx\nb\tz\n")
    with pytest.raises(DataError, match=r"dev\.tsv: expected the labels of .*data\.tsv, x, y; got z too"):
        ClassifierTask(data, dev=dev, base=base)
    write_conll(data, [[("a", "B-X"), ("b", "O")]])
    write_conll(dev, [[("a", "O"), ("b", "B-Y")]])
    with pytest.raises(DataError, match=r"dev\.tsv:2: tag B-Y; expected one of"):
        TaggerTask(data, dev=dev, base=base)
    with pytest.raises(ValueError, match=r"holdout must be in \[0, 1\), got 1"):
        TaggerTask(data, base=base, holdout=1)
    with pytest.raises(ValueError, match="max_length 5 is out of range"):
        TaggerTask(data, base=base, max_length=5)


# --- few examples ---------------------------------------------------------------------------------------------------


def examples(topics: list[tuple[str, str]], n: int) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """``n`` of each class, and the rest."""
    shuffled = random.Random(0).sample(topics, len(topics))
    chosen = [row for label in sorted({r[1] for r in topics}) for row in [r for r in shuffled if r[1] == label][:n]]
    return chosen, [row for row in shuffled if row not in chosen]


def test_few_shot_predictions_are_those_of_scikit_learn(topics: list[tuple[str, str]]) -> None:
    from sklearn.linear_model import LogisticRegression

    embedder = HashEmbedder(64)
    for rows in (topics, [row for row in topics if row[1] != "pep-8"]):  # three classes, and two
        known, rest = examples(rows, 8)
        texts, labels = zip(*known, strict=True)
        model = LogisticRegression(C=0.01, class_weight="balanced", max_iter=1000).fit(embedder.embed(texts), labels)
        expected = model.predict_proba(embedder.embed([text for text, _ in rest]))
        found = FewShotClassifier(embedder, strength=0.01).fit(texts, labels).predict([text for text, _ in rest])
        scores = [[label.scores[name] for name in model.classes_] for label in found]
        np.testing.assert_allclose(scores, expected, atol=1e-3)


def test_a_few_shot_classifier_is_saved_and_loaded(topics: list[tuple[str, str]], tmp_path: Path) -> None:
    known, rest = examples(topics, 8)
    classifier = FewShotClassifier(HashEmbedder(64)).fit(*zip(*known, strict=True))
    classifier.save(tmp_path)
    assert {file.name for file in tmp_path.iterdir()} == {"few-shot.json", "head.safetensors"}
    again = FewShotClassifier.load(tmp_path, HashEmbedder(64))
    texts = [text for text, _ in rest]
    assert again.predict(texts) == classifier.predict(texts)
    assert again.predict([]) == []
    with pytest.raises(CheckpointError, match="was fitted on vectors of hash"):
        FewShotClassifier.load(tmp_path, HashEmbedder(32))
    (tmp_path / "few-shot.json").write_text("{}")
    with pytest.raises(CheckpointError, match="no whole few-shot classifier"):
        FewShotClassifier.load(tmp_path, HashEmbedder(64))


def test_unusable_examples_are_refused() -> None:
    classifier = FewShotClassifier(HashEmbedder())
    with pytest.raises(DataError, match="call fit"):
        classifier.predict(["x"])
    with pytest.raises(DataError, match="call fit"):
        classifier.save(Path("nowhere"))
    with pytest.raises(DataError, match="got 2 texts and 1 labels"):
        classifier.fit(["a", "b"], ["x"])
    with pytest.raises(DataError, match=r"two different labels or more, got \['x'\]"):
        classifier.fit(["a", "b"], ["x", "x"])
    with pytest.raises(ValueError, match="strength must be more than 0"):
        FewShotClassifier(HashEmbedder(), strength=0)


@pytest.mark.models
def test_eight_examples_tell_documents_apart(topics: list[tuple[str, str]], minilm, tmp_path: Path) -> None:
    known, rest = examples(topics, 8)
    rest = rest[:60]
    FewShotClassifier(minilm).fit(*zip(*known, strict=True)).save(tmp_path)
    found = FewShotClassifier.load(tmp_path).predict([text for text, _ in rest])
    right = sum(label.label == truth for label, (_, truth) in zip(found, rest, strict=True))
    assert right / len(rest) > 0.75


# --- the default encoder, by adapters -------------------------------------------------------------------------------


@pytest.mark.models
def test_adapters_are_merged_into_what_transformers_loads(topics: list[tuple[str, str]], tmp_path: Path) -> None:
    lora = LoraSettings(rank=4, dropout=0.0)
    settings = quick(max_steps=2, batch_size=4, learning_rate=2e-3, lora=lora)
    rows = [(text, label) for text, label in topics if label != "pep-255"][::8]
    file = write_jsonl(tmp_path / "data.jsonl", [{"text": text, "label": label} for text, label in rows])
    report = run(ClassifierTask(file, holdout=0.2, max_length=64), tmp_path / "classifier", settings)
    assert 0 <= report.metrics["macro_f1"] <= 1
    assert {f.name for f in report.folder.iterdir()} >= {"config.json", "model.safetensors", "tokenizer.json"}
    assert not (report.folder / "adapter_config.json").exists()
    pipeline = transformers.pipeline("text-classification", model=str(report.folder), device="cpu")
    for (text, _), mine in zip(
        rows[:6], Classifier(report.folder, precision="float32").predict([t for t, _ in rows[:6]]), strict=True
    ):
        (theirs,) = pipeline(text, truncation=True)
        assert theirs["label"] == mine.label
        assert theirs["score"] == pytest.approx(mine.score, abs=1e-5)

    sentences = [tags_of(text, ENGLISH) for text, _ in topics[:40]]
    report = run(
        TaggerTask(write_conll(tmp_path / "data.conll", sentences), holdout=0.2), tmp_path / "tagger", settings
    )
    assert 0 <= report.metrics["f1"] <= 1
    theirs = transformers.BertForTokenClassification.from_pretrained(report.folder).eval()
    token_ids = torch.randint(1000, 2000, (2, 12))
    with torch.no_grad():
        expected = theirs(input_ids=token_ids).logits
        torch.testing.assert_close(load_tagger(report.folder).network(token_ids), expected, atol=1e-5, rtol=0)

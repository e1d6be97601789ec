"""Classifier and Tagger: against transformers, and against their own promises on tiny random networks."""

from __future__ import annotations

import json
import logging
import shutil
import warnings
from collections import Counter
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st
from label_tools import write_bert

from langbert.errors import CheckpointError
from langbert.labels.classifier import Classifier
from langbert.labels.tagger import Tagger, entity_spans, word_pieces, word_spans, word_windows
from langbert.models.bert.heads import TokenClassifier
from langbert.models.bert.loading import load_classifier, load_tagger, save_classifier, save_tagger
from langbert.models.files.tokenizer import TextTokenizer

TEXTS = [
    "Guido van Rossum wrote Python at CWI in Amsterdam.",
    "Beautiful is better than ugly; explicit is better than implicit.",
    "The U.S. paid $3,000 for O'Brien's well-known paper.",
    "李明在北京大学工作，他来自上海。",
    "2008年，北京举办了奥运会。",
    "",
]
TAGS = ["O", "B-PER", "I-PER", "B-LOC", "I-LOC", "B-机构", "I-机构"]


def named(labels: list[str]) -> dict[str, object]:
    return {"id2label": dict(enumerate(labels)), "label2id": {label: i for i, label in enumerate(labels)}}


@pytest.fixture(scope="module")
def classified(tmp_path_factory: pytest.TempPathFactory):
    folder = tmp_path_factory.mktemp("classifier")
    kind = transformers.BertForSequenceClassification
    return write_bert(folder, TEXTS, kind, spread=0.2, **named(["bad", "good", "中性"])), folder


@pytest.fixture(scope="module")
def tagged(tmp_path_factory: pytest.TempPathFactory):
    folder = tmp_path_factory.mktemp("tagger")
    return write_bert(folder, TEXTS, transformers.BertForTokenClassification, spread=0.2, **named(TAGS)), folder


@pytest.fixture(scope="module")
def classifier(classified) -> Classifier:
    return Classifier(classified[1], precision="float32")


@pytest.fixture(scope="module")
def tagger(tagged) -> Tagger:
    return Tagger(tagged[1], precision="float32")


@torch.no_grad()
def their_probabilities(model, folder: Path, *texts: list[str]) -> np.ndarray:
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    inputs = tokenizer(*texts, padding=True, truncation=True, max_length=128, return_tensors="pt")
    return model(**inputs).logits.softmax(-1).numpy()


def test_a_classifier_agrees_with_transformers(classified, classifier) -> None:
    model, folder = classified
    expected = their_probabilities(model, folder, TEXTS)
    assert np.ptp(expected, axis=0).max() > 0.01  # a constant would agree with itself
    np.testing.assert_allclose(classifier.probabilities(TEXTS), expected, atol=1e-5)
    pairs = list(zip(TEXTS, TEXTS[::-1], strict=True))
    expected = their_probabilities(model, folder, TEXTS, TEXTS[::-1])
    np.testing.assert_allclose(classifier.probabilities(pairs), expected, atol=1e-5)


@pytest.mark.parametrize("sizes", [(300, 20), (20, 300), (90, 90), (90, 91), (300, 301), (62, 63), (63, 63)])
def test_what_is_too_long_is_cut_as_transformers_cuts_it(classified, classifier, sizes, caplog) -> None:
    model, folder = classified
    first, second = ("python better " * 200, "北京 the " * 200)
    first, second = " ".join(first.split()[: sizes[0]]), " ".join(second.split()[: sizes[1]])
    expected = their_probabilities(model, folder, [first], [second])
    with caplog.at_level(logging.WARNING, "langbert"):
        np.testing.assert_allclose(classifier.probabilities([(first, second)]), expected, atol=1e-5)
    n_tokens = sum(len(encoding.ids) for encoding in classifier._tokenizer.encode([first, second]))
    assert ("1 of 1 texts were over 128 tokens" in caplog.text) == (n_tokens > 125)
    np.testing.assert_allclose(
        classifier.probabilities([first]), their_probabilities(model, folder, [first]), atol=1e-5
    )


def test_labels_come_with_their_probabilities(classifier) -> None:
    done: list[int] = []
    items = [*TEXTS, ("李明", "Python")]
    found = classifier.predict(items, progress=done.append)
    assert sum(done) == len(items)
    for label, row in zip(found, classifier.probabilities(items), strict=True):
        assert label.score == max(label.scores.values()) == pytest.approx(row.max())
        assert set(label.scores) == {"bad", "good", "中性"}
        assert sum(label.scores.values()) == pytest.approx(1, abs=1e-5)
        assert list(label.scores.values()) == sorted(label.scores.values(), reverse=True)
    (alone,) = classifier.predict([TEXTS[1]])
    assert alone.score == pytest.approx(found[1].score, abs=1e-5)
    assert classifier.predict([]) == []


@torch.no_grad()
def test_a_tagger_agrees_with_transformers(tagged, tagger) -> None:
    model, folder = tagged
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    sentences = [[text[a:b] for a, b in word_spans(text)] for text in TEXTS]
    for words, tags in zip(sentences, tagger.tag(sentences), strict=True):
        if not words:
            assert tags == []
            continue
        inputs = tokenizer(words, is_split_into_words=True, return_tensors="pt")
        best = model(**inputs).logits[0].argmax(-1).tolist()
        owners = inputs.word_ids()
        assert tags == [TAGS[best[owners.index(i)]] for i in range(len(words))]
    assert len({tag for tags in tagger.tag(sentences) for tag in tags}) > 2


def test_entities_are_the_words_of_the_text(tagger) -> None:
    done: list[int] = []
    found = tagger.predict(TEXTS, progress=done.append)
    assert sum(done) == len(TEXTS)
    assert any(found)
    for text, entities in zip(TEXTS, found, strict=True):
        for entity in entities:
            assert text[entity.start : entity.end] == entity.text
            assert entity.label in {"PER", "LOC", "机构"}
            assert 0 < entity.score <= 1
        assert [e.start for e in entities] == sorted(e.start for e in entities)
        (alone,) = tagger.predict([text])
        assert [(e.start, e.end, e.label) for e in alone] == [(e.start, e.end, e.label) for e in entities]


@given(
    st.lists(
        st.text(max_size=60) | st.text(alphabet="Gu ido 北京\u0301\u200b\ud800.'’s-3,\x00\n", max_size=200), max_size=4
    )
)
@settings(max_examples=60)
def test_offsets_are_true_of_any_text(tagger, texts: list[str]) -> None:
    found = tagger.predict(texts)
    assert len(found) == len(texts)
    for text, entities in zip(texts, found, strict=True):
        assert all(text[entity.start : entity.end] == entity.text != "" for entity in entities)
        assert all(a.end <= b.start for a, b in pairwise(entities))


@given(st.lists(st.lists(st.integers(5, 99), max_size=7), max_size=60), st.integers(9, 40))
def test_every_word_is_read_once_in_windows_that_fit(sentence: list[list[int]], room: int) -> None:
    found = word_windows(sentence, room)
    read = Counter(word for window in found for word in window.words)
    assert read == Counter({i: 1 for i, word in enumerate(sentence) if word})
    for window in found:
        assert len(window.ids) <= room
        for word, place in zip(window.words, window.places, strict=True):
            whole = sentence[word][: len(window.ids) - place]
            assert window.ids[place : place + len(whole)] == whole


@torch.no_grad()
def test_a_long_text_is_labelled_to_its_end(tagger, tagged) -> None:
    words = (" ".join(TEXTS[:3]).split() * 40)[:300]
    pieces = word_pieces(tagger._tokenizer, [words])[0]
    found = word_windows(pieces, 126)
    assert len(found) > 3
    (tags,) = tagger.tag([words])
    for window in found:
        logits = load_tagger(tagged[1]).network(torch.tensor([[2, *window.ids, 3]]))[0].argmax(-1).tolist()
        assert [tags[i] for i in window.words] == [TAGS[logits[place + 1]] for place in window.places]
    assert tagger.predict([" ".join(words)])[0][-1].end > 0.9 * len(" ".join(words))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("John's O’Brien paid $3,000 at 10:30.", ["John", "'s", "O’Brien", "paid", "$", "3,000", "at", "10:30", "."]),
        ("the U.S. and U.K.-based", ["the", "U.S.", "and", "U.K.", "-", "based"]),
        ("well-known AT&T (2.5%)", ["well-known", "AT&T", "(", "2.5", "%", ")"]),
        ("李明2008年在Python社区。", ["李", "明", "2008", "年", "在", "Python", "社", "区", "。"]),
        ("Jose\u0301 naïve\u3000snake_case", ["Jose\u0301", "naïve", "snake_case"]),
        ("", []),
    ],
)  # fmt: skip
def test_words_are_cut_as_in_corpora(text: str, words: list[str]) -> None:
    assert [text[a:b] for a, b in word_spans(text)] == words


def test_characters_are_cut_one_by_one() -> None:
    assert [a for a, _ in word_spans("在1998 年", "characters")] == [0, 1, 2, 3, 4, 6]


@given(st.lists(st.sampled_from(["O", "B-PER", "I-PER", "B-LOC", "I-LOC", "S-LOC", "E-PER", "B-A-B", "I-A-B"])))
def test_spans_are_those_of_seqeval(tags: list[str]) -> None:
    from seqeval.metrics.sequence_labeling import get_entities

    expected = [(label, first, last + 1) for label, first, last in get_entities(tags)]
    assert entity_spans(tags) == expected


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        (["B-X", "M-X", "E-X", "E-X", "S-X"], [("X", 0, 3), ("X", 3, 4), ("X", 4, 5)]),
        (["I-X", "I-X", "B-X"], [("X", 0, 2), ("X", 2, 3)]),
    ],
)
def test_spans_of_other_schemes(tags: list[str], expected: list[tuple[str, int, int]]) -> None:
    assert entity_spans(tags) == expected


def test_parts_of_speech_are_entities_of_one_word(tmp_path: Path) -> None:
    write_bert(tmp_path, TEXTS, transformers.BertForTokenClassification, spread=0.2, **named(["NOUN", "VERB", "X"]))
    (found,) = Tagger(tmp_path).predict([TEXTS[3]])
    assert [entity.text for entity in found] == list(TEXTS[3])
    assert {entity.label for entity in found} <= {"NOUN", "VERB", "X"}


def test_what_is_saved_is_what_transformers_loads(classified, tagged, tmp_path: Path) -> None:
    token_ids = torch.randint(5, 60, (2, 9))
    for (theirs, folder), load, save in (
        (classified, load_classifier, save_classifier),
        (tagged, load_tagger, save_tagger),
    ):
        loaded = load(folder)
        target = tmp_path / type(theirs).__name__
        target.mkdir()
        save(loaded.network, loaded.labels, target)
        again, report = type(theirs).from_pretrained(target, output_loading_info=True)
        assert not report["missing_keys"]
        assert not report["unexpected_keys"]
        assert again.config.id2label == theirs.config.id2label
        with torch.no_grad():
            expected = theirs(input_ids=token_ids).logits
            torch.testing.assert_close(again.eval()(input_ids=token_ids).logits, expected, atol=1e-6, rtol=0)
            torch.testing.assert_close(loaded.network(token_ids), expected, atol=1e-5, rtol=0)
            torch.testing.assert_close(load(target).network(token_ids), expected, atol=1e-5, rtol=0)


def test_labels_without_names_are_numbered(tmp_path: Path) -> None:
    write_bert(tmp_path, TEXTS, transformers.BertForSequenceClassification)  # two labels: no id2label is written
    assert "id2label" not in json.loads((tmp_path / "config.json").read_text())
    assert Classifier(tmp_path).labels == ("LABEL_0", "LABEL_1")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model_type": "distilbert"}, "is a 'distilbert'; expected a BERT"),
        ({"architectures": ["BertForMaskedLM"]}, "is a BertForMaskedLM, expected a BertForSequenceClassification"),
        ({"problem_type": "multi_label_classification"}, "problem_type is 'multi_label_classification'"),
        ({"id2label": {"0": "bad", "1": "good"}}, "expected one name for each of 3 labels"),
    ],
)
def test_other_models_are_refused(classified, tmp_path: Path, changes: dict[str, object], message: str) -> None:
    shutil.copytree(classified[1], tmp_path, dirs_exist_ok=True)
    file = tmp_path / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))
    with pytest.raises(CheckpointError, match=message):
        Classifier(tmp_path)


def test_a_reranker_is_no_classifier_and_a_classifier_no_tagger(classified, tmp_path: Path) -> None:
    write_bert(tmp_path, TEXTS, transformers.BertForSequenceClassification, num_labels=1)
    with pytest.raises(CheckpointError, match="has one label"):
        Classifier(tmp_path)
    with pytest.raises(CheckpointError, match="expected a BertForTokenClassification"):
        Tagger(classified[1])


def test_bad_arguments_are_named(classified, classifier, tagged, tagger) -> None:
    with pytest.raises(TypeError, match="got one str"):
        classifier.predict("text")
    with pytest.raises(TypeError, match=r"item 1 is \('a', 3\)"):
        classifier.predict(["a", ("a", 3)])
    with pytest.raises(TypeError, match="got one str"):
        tagger.predict("text")
    with pytest.raises(TypeError, match="text 0 is int"):
        tagger.predict([1])
    with pytest.raises(ValueError, match="max_length 129 is out of range"):
        Classifier(classified[1], max_length=129)
    with pytest.raises(ValueError, match="max_length 3 is out of range"):
        Tagger(tagged[1], max_length=3)
    with pytest.raises(ValueError, match="words 'letters' is unknown"):
        Tagger(tagged[1], words="letters")  # type: ignore[arg-type]


def test_the_metrics_library_is_quiet() -> None:
    """seqeval is old: with warnings as errors it has to import and to score nothing against nothing."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        from seqeval.metrics import f1_score

        assert f1_score([["O", "O"]], [["O", "O"]], zero_division=0) == 0
        assert f1_score([["B-PER", "I-PER", "O"]], [["B-PER", "O", "O"]], zero_division=0) == 0


def test_the_trainable_tagger_has_a_logit_for_every_label(tagged) -> None:
    network = load_tagger(tagged[1]).network
    assert isinstance(network, TokenClassifier)
    assert network(torch.randint(5, 60, (2, 9))).shape == (2, 9, len(TAGS))


def test_the_tokenizer_is_saved_with_its_limit(classified, tmp_path: Path) -> None:
    TextTokenizer.from_folder(classified[1]).save(tmp_path, max_length=77)
    assert transformers.AutoTokenizer.from_pretrained(tmp_path).model_max_length == 77

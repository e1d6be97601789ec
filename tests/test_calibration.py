"""A store's own questions, and what they make of its confidence."""

from __future__ import annotations

import json
import math
import random
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from langbert import Document, Rag, Store
from langbert.answering import calibrate
from langbert.cli import run
from langbert.errors import DataError, StoreCorrupt
from langbert.evaluation.questions import read_answerable
from langbert.log_odds import sigmoid
from langbert.records import Calibration
from langbert.store.maintenance.moving import move
from langbert.store.maintenance.portable import export_store, import_store
from langbert.testing.small import HashEmbedder, LineChunker

DOCUMENTS = [
    Document("pep8", "PEP 8 was written by Guido van Rossum. Limit lines to 79 characters.", "pep_8.txt"),
    Document("bees", "Bees make honey from nectar. A queen lives for five years.", "bees.txt"),
    Document("zh", "蜜蜂用花蜜酿造蜂蜜。蜂王的寿命是五年。", "蜜蜂.txt"),
]
HELD = ["Who wrote PEP 8?", "What do bees make honey from?", "How long does a queen live?", "What is the line limit?"]
ABSENT = ["Who won the cup in 1954?", "How tall is the Eiffel Tower?", "What does rust consist of?"]


def told(slope: float, bias: float, n: int) -> tuple[list[float], list[bool]]:
    """Confidences of a store where the truth is ``sigmoid(slope · log-odds + bias)`` for four held in five."""
    rng = random.Random(0)
    odds = [rng.gauss(1, 2) for _ in range(n)]
    return [sigmoid(x) for x in odds], [rng.random() < sigmoid(slope * x + bias) for x in odds]


def test_many_questions_say_what_the_confidence_is_worth() -> None:
    confidences, held = told(0.5, -0.5, 3000)
    found = calibrate(confidences, held, share=sum(held) / len(held))
    assert found.calibration.slope == pytest.approx(0.5, abs=0.06)
    assert found.calibration.bias == pytest.approx(-0.5, abs=0.12)
    assert found.helps
    assert found.after.right > found.before.right


def test_few_that_agree_with_the_confidence_change_little() -> None:
    confidences, held = told(1, 0, 20)
    found = calibrate(confidences, held, share=sum(held) / len(held))
    assert abs(math.log(found.calibration.slope)) < 0.5
    assert abs(found.calibration.bias) < 0.8


def test_who_expects_more_questions_without_an_answer_refuses_more() -> None:
    confidences, held = told(1, 0, 60)
    biases = [calibrate(confidences, held, share=share).calibration.bias for share in (0.2, 0.5, 0.8)]
    assert biases == sorted(biases)
    assert biases[0] < biases[-1]


@pytest.mark.parametrize("held", [[True] * 5 + [False] * 4, [True] * 18 + [False] * 2, [False] * 20, []])
def test_too_few_or_all_of_one_kind_is_an_error_that_says_so(held: list[bool]) -> None:
    with pytest.raises(DataError, match=rf"got {len(held)}: {sum(held)} with, {len(held) - sum(held)} without"):
        calibrate([0.5] * len(held), held)


@given(st.floats(0.05, 4), st.floats(-5, 5), st.floats(0.001, 0.999))
def test_a_calibration_keeps_the_order_and_can_be_undone(slope: float, bias: float, confidence: float) -> None:
    kept = Calibration(slope, bias)
    assert 0 <= kept.of(confidence) <= kept.of(min(1, confidence + 0.001)) <= 1
    if 0.001 < kept.of(confidence) < 0.999:
        assert kept.was(kept.of(confidence)) == pytest.approx(confidence, abs=1e-6)
    assert kept.of(0.0) == 0


def test_what_was_learned_stays_with_the_store_and_its_vectors(tmp_path: Path) -> None:
    embedder = HashEmbedder()
    kept = Calibration(1.5, -1.0, 20, embedder.space.fingerprint)
    with Store.open(tmp_path / "a", embedder=embedder, chunker=LineChunker()) as store:
        store.add(DOCUMENTS)
        assert store.calibration is None
        store.keep_calibration(kept)
    with Store.open(tmp_path / "a") as again:
        assert again.calibration == kept
        assert again.info()["calibration"]["questions"] == 20
        export_store(again, tmp_path / "a.jsonl")
        with Store.open(tmp_path / "moved") as moved:
            move(again, moved)
            assert moved.calibration == kept
    import_store(tmp_path / "a.jsonl", tmp_path / "b")
    with Store.open(tmp_path / "b") as copy:
        assert copy.calibration == kept
        copy.keep_calibration(replace(kept, space="of other vectors"))
        assert copy.calibration is None
        copy.keep_calibration(None)
        assert copy.calibration is None
        with copy.transaction() as transaction:
            transaction.set_meta("calibration", '{"slope": 0}')
        with pytest.raises(StoreCorrupt, match="langbert calibrate"):
            _ = copy.calibration


def test_labels_are_read_from_questions_of_either_form(tmp_path: Path) -> None:
    file = tmp_path / "q.jsonl"
    rows = [
        {"question": "a?", "corpus": "x"},
        {"question": "b?", "unanswerable": True, "corpus": "x"},
        {"question": "c?", "answerable": False, "corpus": "y"},
    ]
    file.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    assert read_answerable(file, "x") == [("a?", True), ("b?", False)]
    with pytest.raises(DataError, match="asks of x, y: say which"):
        read_answerable(file)
    with pytest.raises(DataError, match="nothing of 'z', only of x, y"):
        read_answerable(file, "z")
    file.write_text('{"question": "a?", "answerable": "no"}\n', encoding="utf-8")
    with pytest.raises(DataError, match=r"q\.jsonl:1"):
        read_answerable(file)


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory, minilm) -> Path:
    folder = tmp_path_factory.mktemp("calibrated") / "store"
    with Store.open(folder, embedder=minilm) as store:
        store.add(DOCUMENTS)
    return folder


@pytest.mark.models
def test_answers_are_given_and_refused_by_it(asked: Path, minilm) -> None:
    from langchain_langbert import LangBertEmbeddings, LangBertVectorStore, create_rag_chain

    with Store.open(asked, embedder=minilm) as store:
        plain = Rag(store).ask(HELD[0], mode="extract")
        assert not plain.refused
        kept = Calibration(1.0, -12.0, 20, store.space.fingerprint)
        store.keep_calibration(kept)
        try:
            found = Rag(store).ask(HELD[0], mode="extract")
            assert found.refused
            assert found.confidence == pytest.approx(kept.of(plain.confidence))
            assert not Rag(store, calibrated=False).ask(HELD[0], mode="extract").refused
            opened = LangBertVectorStore(LangBertEmbeddings(model="minilm"), asked)
            assert create_rag_chain(opened, mode="extract").invoke(HELD[0])["refused"]
        finally:
            store.keep_calibration(None)


@pytest.mark.models
def test_the_command(asked: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "mine.jsonl"
    rows = [{"question": q} for q in (*HELD, *HELD[:2])] + [{"question": q, "unanswerable": True} for q in ABSENT * 2]
    file.write_text("\n".join(map(json.dumps, rows[:-1])), encoding="utf-8")
    common = ["--store", str(asked), "--offline", "--json"]
    assert run(["calibrate", "--questions", str(file), *common]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["calibration"]["questions"] == 11
    assert said["kept"] == said["helps"] == (said["after"]["loss"] < said["before"]["loss"])
    assert [row["answerable"] for row in said["questions"]] == [True] * 6 + [False] * 5
    with Store.open(asked) as store:
        assert (store.calibration is not None) == said["kept"]
    assert run(["calibrate", "--forget", *common]) == 0
    with Store.open(asked) as store:
        assert store.calibration is None
    file.write_text("\n".join(map(json.dumps, rows[:6])), encoding="utf-8")
    capsys.readouterr()
    assert run(["calibrate", "--questions", str(file), *common]) == 1
    assert "got 6: 6 with, 0 without" in json.loads(capsys.readouterr().out.split("\n{")[-1])["error"]["message"]
    assert run(["calibrate", *common]) == 2

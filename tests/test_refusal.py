"""When to say no: what speaks for an answer, and how likely there is one."""

from __future__ import annotations

import importlib
import itertools
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from langbert import Candidate, Chunk, Embedder, Reader, Reranker, Retriever, Store
from langbert.answering.evidence import Evidence, best_evidence
from langbert.answering.fitted import FILE, fitted
from langbert.answering.refusal import FITTED, Encoder, Features, confidence, features, known_encoder, threshold_of

PASSAGES = {
    "Bees": "Bees make honey from the nectar of flowers. They store it in wax combs. A worker bee lives for six weeks.",
    "Normans": "The Normans took Sicily in 1091, after thirty years of war. Their leader was Roger.",
    "Rust": "Rust is iron oxide. It forms when iron meets oxygen and water. Paint keeps it away.",
}
HELD = ("What do bees make honey from?", "Who was the leader of the Normans?", "What is rust?")
ABSENT = ("How tall is the Eiffel Tower?", "Which pope crowned Charlemagne?", "When was the telephone invented?")

shares = st.floats(0, 1)
logits = st.floats(-15, 15)
known = st.builds(Features, shares, st.none() | shares, st.none() | logits).flatmap(
    lambda found: st.one_of(
        st.just(found), st.tuples(logits, shares).map(lambda read: replace(found, margin=read[0], quoted=read[1]))
    )
)


@given(
    known, st.none() | logits, st.sampled_from(Features.__slots__), st.floats(0, 3), st.sampled_from(["minilm", "e5"])
)
def test_more_of_anything_never_makes_an_answer_less_likely(
    found: Features, piece: float | None, name: str, more: float, encoder: Encoder
) -> None:
    found = replace(found, piece=piece)
    before = confidence(found, encoder)
    assert 0 <= before <= 1
    if getattr(found, name) is not None:
        assert confidence(replace(found, **{name: getattr(found, name) + more}), encoder) >= before


def test_there_are_coefficients_for_every_set_of_parts() -> None:
    for encoder, sets in FITTED.items():
        for cosine, judged, margin in itertools.product((None, 0.5), (None, 0.0), (None, 0.0)):
            names, _ = Features(0.5, cosine, judged, margin, margin, judged, judged).known(encoder)
            assert set(sets[names]) == {*names, "bias"}
            assert all(weight >= 0 for name, weight in sets[names].items() if name != "bias")


def test_nothing_found_is_no_confidence() -> None:
    assert features("Who?", []) is None
    assert confidence(None) == 0


def test_what_speaks_for_an_answer() -> None:
    chunk = Chunk(id="a", document_id="a", text="Bees make honey. Wax too.", headings=("Insects",))
    found = [Candidate(chunk, 0.9, {"dense": 0.7, "reranker": 0.5}), Candidate(chunk, 0.1, {"dense": 0.9})]
    assert features("Which insects make honey?", found[1:]) == Features(1.0, 0.9)
    span = Evidence(found[0], 0, 16, 0.8, (0, 4), 4.5)
    told = features("Which insects make honey?", found, [span, replace(span, margin=5.0)])
    assert told == Features(1.0, 0.9, pytest.approx(0.0), 5.0, 1.0)
    elsewhere = replace(span, start=17, end=25, answer=(17, 25))
    told = features("Which insects make honey?", found, [elsewhere])
    assert told is not None
    assert told.quoted == pytest.approx(1 / 3)  # "insects", of its heading


@pytest.mark.parametrize(
    ("question", "text", "share"),
    [
        ("Which licence has the CodeNet data of 2021?", "The CodeNet data are old.", 0.5),
        ("what is it called", "It is called a bee.", 1.0),
        ("TiDB 支持 Safari 吗", "TiDB 支持 Chrome。", 0.5),
        ("Where is Beijing?", "北京在中国北部。", 1.0),
        ("北京 GDP 有多高", "北京的 GDP 很高。", 1.0),
    ],
)
def test_names_and_figures_are_looked_for_where_the_best_piece_stands(question: str, text: str, share: float) -> None:
    passage = Candidate(Chunk(id="a", document_id="a", text=text), 0.9)
    told = features(question, [passage], relevances=[1.0], nearest=passage)
    assert told is not None
    assert told.named == share
    headed = replace(passage, chunk=replace(passage.chunk, headings=("CodeNet, 2021, for Safari",)))
    told = features(question, [headed], relevances=[1.0], nearest=headed)
    assert told is not None
    assert told.named == 1.0


@pytest.fixture(scope="module")
def store(minilm):
    chunks = [
        Chunk(id=title, document_id=title, text=text, headings=(title,), source=title)
        for title, text in PASSAGES.items()
    ]
    chinese = ["蜜蜂采集花蜜，在蜂巢里酿成蜂蜜。", "诺曼人在十一世纪征服了西西里岛。"]
    chunks += [Chunk(id=text, document_id=text, text=text) for text in chinese]
    with Store.open(embedder=minilm) as store:
        store.add(chunks)
        yield store


@pytest.mark.models
@pytest.mark.parametrize("parts", ["search", "search, reranker", "search, reader", "search, reranker, reader"])
def test_what_is_held_is_told_from_what_is_not(store: Store, parts: str) -> None:
    retriever = Retriever(store, reranker=Reranker() if "reranker" in parts else None)
    reader = Reader() if "reader" in parts else None

    def sure(question: str) -> float:
        found = retriever.retrieve(question, 4)
        spans = best_evidence(question, found, reader) if reader else ()
        return confidence(features(question, found, spans))

    held, absent = [sure(question) for question in HELD], [sure(question) for question in ABSENT]
    assert min(held) > 0.5 > max(absent)


@pytest.mark.models
def test_chinese_works_without_reranker_and_reader(store: Store) -> None:
    held = confidence(features("诺曼人什么时候征服了西西里岛？", store.search("诺曼人什么时候征服了西西里岛？", 4)))
    absent = confidence(features("埃菲尔铁塔有多高？", store.search("埃菲尔铁塔有多高？", 4)))
    assert held > 0.5 > absent


def test_the_benchmark_fits_every_set_of_parts_that_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parent.parent / "benchmarks"))
    benchmark = importlib.import_module("refusal")
    assert {encoder: set(parts.values()) for encoder, parts in benchmark.PARTS.items()} == {
        encoder: set(sets) for encoder, sets in FITTED.items()
    }


def test_what_a_benchmark_writes_is_what_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parent.parent / "benchmarks"))
    coefficients = importlib.import_module("asked.coefficients")
    copy = tmp_path / "fitted.json"
    copy.write_bytes(FILE.read_bytes())
    monkeypatch.setattr(coefficients, "FILE", copy)
    coefficients.write_fitted("checking", fitted("checking"))
    assert copy.read_bytes() == FILE.read_bytes()


def test_cosines_of_another_encoder_are_no_reason_to_be_confident() -> None:
    """e5-small's lie between 0.7 and 1, whatever the texts are about."""
    chunk = Chunk("a", "a", "Bees make honey of nectar.")
    candidates = [Candidate(chunk, 0.9, {"dense": 0.85})]
    assert confidence(features("Who governs Peru today?", candidates)) > 0.5
    assert confidence(features("Who governs Peru today?", candidates, known_cosines=False)) < 0.5


def test_which_cosines_are_known(minilm: Embedder) -> None:
    assert known_encoder(minilm.space) == "minilm"
    assert known_encoder(replace(minilm.space, weights="others")) is None
    assert known_encoder(None) is None


def test_thresholds_by_name() -> None:
    assert threshold_of("rarely") < threshold_of("balanced") == 0.5 < threshold_of("strictly")
    assert threshold_of(0.3) == 0.3
    for wrong in ("always", -0.1, 1.1, float("nan")):
        with pytest.raises(ValueError, match="rarely, balanced, strictly"):
            threshold_of(wrong)  # type: ignore[arg-type]

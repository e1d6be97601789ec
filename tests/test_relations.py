"""Extractor: the tables of links, what is read off them, learning on small texts of our own, the files people have."""

from __future__ import annotations

import json
import math
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from label_tools import write_bert
from store_tools import HashEmbedder

from langbert import Chunk, Document, Extraction, Extractor, Store, Triple
from langbert.cli.app import invoke
from langbert.errors import CheckpointError, DataError
from langbert.evaluation.relations import Overlap, best_thresholds, evaluate_extraction
from langbert.labels.cited import extract_cited, stored_texts
from langbert.labels.pieces import pieces
from langbert.labels.tagger import Entity
from langbert.models import resolve
from langbert.models.bert.linking import LinkerCheckpoint, PairScores, TokenPairLinker, link_loss
from langbert.models.bert.loading import load_bert
from langbert.models.files.tokenizer import TextTokenizer
from langbert.training.annotated import read_annotated
from langbert.training.loop import run
from langbert.training.relations import RelationsTask
from langbert.training.settings import LoraSettings, TrainSettings

PEOPLE = ["Ada Lovelace", "Alan Turing", "Grace Hopper", "李明", "王芳", "张伟"]
PLACES = ["London", "New York", "Turin", "北京", "上海", "南京"]
WORDS = [
    " met ",
    " lives in ",
    "University of ",
    " and ",
    "住在",
    "大学",
    "，",
    ". ",
    "\n",
    "  ",
    "é",
    "😀",
    "a\u0301",
    ".",
]


def sentence(i: int) -> dict[str, Any]:
    """A text with nested entities (a place within a university's name) and one entity in two relations."""
    person, place = PEOPLE[i % 6], PLACES[(i // 6 + i) % 6]
    if i % 6 < 3 and (i // 6 + i) % 6 < 3:
        school = f"University of {place}"
        text = f"{person} lives in {place} and went to the {school}."
    else:
        school = f"{place}大学"
        text = f"{person}住在{place}，毕业于{school}。"

    def span(words: str, label: str, *, last: bool = False) -> dict[str, Any]:
        start = text.rindex(words) if last else text.index(words)
        return {"start": start, "end": start + len(words), "label": label}

    someone, home, college = span(person, "PER"), span(place, "LOC"), span(school, "ORG")
    return {
        "text": text,
        "entities": [span(place, "LOC", last=True)],
        "triples": [
            {"subject": someone, "relation": "lives_in", "object": home},
            [someone, "studied_at", college],
            [college, "located_in", span(place, "LOC", last=True)],
        ],
    }


def write_jsonl(file: Path, rows: list[Any]) -> Path:
    file.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return file


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("base")
    texts = [*(sentence(i)["text"] for i in range(36)), "".join(WORDS)]
    write_bert(folder, texts, spread=0.1, hidden_size=48, intermediate_size=96)
    return str(folder)


@pytest.fixture(scope="module")
def random_extractor(base: str) -> Extractor:
    """Of random weights that link some pairs of tokens and others not."""
    torch.manual_seed(0)
    network = TokenPairLinker(load_bert(base, pooler=False), 2, 2, size=8).eval()
    with torch.no_grad():
        for scores, bias in (network.head.entities, -0.9), (network.head.heads, -0.3), (network.head.tails, -0.3):
            scores.weight.mul_(4)
            scores.second.bias.fill_(bias)
    checkpoint = LinkerCheckpoint(network, TextTokenizer.from_folder(base), ("X", "Y"), ("of", "在"), 24)
    return Extractor(checkpoint, precision="float32")


def quick(**changes: Any) -> TrainSettings:
    given = {"batch_size": 6, "learning_rate": 3e-3, "save_every": 0, "precision": "float32", "dropout": 0.0}
    return TrainSettings(**{**given, **changes})


@pytest.fixture(scope="module")
def trained(base: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained")
    file = write_jsonl(folder / "data.jsonl", [sentence(i) for i in range(36)])
    report = run(RelationsTask(file, base=base, dev=file, size=16), folder / "run", quick(epochs=30))
    assert report.metrics["entity_f1"] > 0.95
    assert report.metrics["relation_f1"] > 0.9
    return report.folder


# --- the tables -----------------------------------------------------------------------------------------------------


def test_a_score_is_the_product_that_the_docstring_says() -> None:
    torch.manual_seed(0)
    scores = PairScores(6, 3, 4, rotary=False).double()
    torch.nn.init.normal_(scores.weight)
    states = torch.randn(1, 5, 6, dtype=torch.float64)
    table = scores(states, torch.arange(5)[None])
    first, second = scores.project(states[0]).split(4, dim=1)
    for label, i, j in product(range(3), range(5), range(5)):
        weight = torch.cat([scores.weight[label], scores.weight[label]])
        expected = (first[i] * weight * second[j]).sum() / math.sqrt(4)
        expected = expected + scores.first(states[0, i])[label] + scores.second(states[0, j])[label]
        assert table[0, label, i, j].item() == pytest.approx(expected.item())


def test_with_turned_vectors_only_the_distance_of_two_tokens_tells() -> None:
    torch.manual_seed(0)
    states = torch.randn(1, 6, 8)
    scores = PairScores(8, 2, 8, rotary=True)
    here, there, wider = (scores(states, positions[None]) for positions in
                          (torch.arange(6), torch.arange(6) + 9, torch.arange(6) * 3))  # fmt: skip
    torch.testing.assert_close(here, there, atol=1e-4, rtol=1e-4)
    assert (here - wider).abs().max() > 0.01


def test_the_loss_is_that_of_the_paper_and_blind_to_padding() -> None:
    torch.manual_seed(0)
    logits = torch.randn(2, 3, 4, 4, requires_grad=True)
    allowed = torch.tensor([[False, True, True, True], [True, True, False, False]])
    linked = torch.tensor([[0, 0, 1, 2], [0, 0, 3, 3], [1, 2, 0, 1]])
    expected = 0.0
    for text, label in product(range(2), range(3)):
        right, wrong = 1.0, 1.0
        for i, j in product(range(4), range(4)):
            score = logits[text, label, i, j].item()
            if [text, label, i, j] in linked.tolist():
                right += math.exp(-score)
            elif allowed[text, i] and allowed[text, j]:
                wrong += math.exp(score)
        expected += (math.log(right) + math.log(wrong)) / 2
    loss = link_loss(logits, linked, allowed)
    assert loss.item() == pytest.approx(expected, rel=1e-5)
    loss.backward()
    assert not logits.grad[1, :, 2:].any()
    assert not logits.grad[0, :, 0].any()
    assert link_loss(logits[:, :0], linked[:0], allowed).item() == 0


# --- reading texts --------------------------------------------------------------------------------------------------


texts = st.lists(st.sampled_from([*WORDS, *PEOPLE, *PLACES]), max_size=24).map("".join)


@settings(max_examples=40)
@given(text=texts)
def test_whatever_is_found_stands_in_the_text(random_extractor: Extractor, text: str) -> None:
    found = random_extractor.extract(text)
    assert found.text == text
    for entity in found.entities:
        assert text[entity.start : entity.end] == entity.text == entity.text.strip() != ""
        assert 0.5 <= entity.score <= 1
    places = [(entity.start, entity.end) for entity in found.entities]
    assert places == sorted(set(places))
    for triple in found.triples:
        assert {triple.subject, triple.object} <= set(found.entities)
        assert triple.score <= min(1, triple.subject.score, triple.object.score) + 0.5
        assert triple.relation in random_extractor.relations


def test_random_tables_find_something(random_extractor: Extractor) -> None:
    found = random_extractor.extract(" ".join(PEOPLE))
    assert len(found.entities) > 3
    assert found.triples


@settings(max_examples=40)
@given(text=texts)
def test_windows_hold_every_token_in_its_place(base: str, text: str) -> None:
    tokenizer = TextTokenizer.from_folder(base)
    windows = pieces(tokenizer, [text], 24)[0]
    seen = set()
    for window in windows:
        assert len(window.ids) <= 24
        for place, (start, end) in zip(window.places, window.spans, strict=True):
            assert window.tokens(start, end) == (place, place)
            seen.update(range(start, end))
    assert {i for i, character in enumerate(text) if character.isalnum()} <= seen


def test_one_text_or_many_long_or_short_it_is_the_same(random_extractor: Extractor) -> None:
    some = ["", "  ", *(sentence(i)["text"] for i in range(8))]
    counted: list[int] = []
    found = random_extractor.extract_all(some, progress=counted.append)
    assert sum(counted) == len(some)
    alone = [random_extractor.extract(text) for text in some]
    places = [[[(e.start, e.end, e.label) for e in one.entities] for one in side] for side in (found, alone)]
    assert places[0] == places[1]
    with pytest.raises(TypeError, match="put it in a list"):
        random_extractor.extract_all("text")


def test_a_long_text_is_cut_between_sentences(base: str) -> None:
    tokenizer = TextTokenizer.from_folder(base)
    text = "Grace Hopper lives in New York and went to the University of New York. " * 6
    windows = pieces(tokenizer, [text], 40)[0]
    assert len(windows) > 2
    for window in windows:
        assert text[window.spans[-1][0] : window.spans[-1][1]] == "."  # each is whole sentences
    (whole,) = pieces(tokenizer, [text], 512)[0]
    assert whole.spans == [span for window in windows for span in window.spans]
    assert [len(own) for own in (pieces(tokenizer, [text], 512, most)[0] for most in (1, 4, 6))] == [6, 2, 1]
    overlapping = pieces(tokenizer, ["word " * 60], 24)[0]
    assert overlapping[0].spans[-1][1] > overlapping[1].spans[0][0]


@pytest.mark.models
def test_chinese_is_read_by_character_whatever_the_vocabulary_holds() -> None:
    text = "王芳在北京看《红楼梦》，2008年iPhone发布。"
    tokenizer = TextTokenizer.from_folder(resolve("e5-small"))
    assert len(tokenizer.encode([text])[0].ids) < 18  # by itself it joins what belongs apart: 在北京
    (window,) = pieces(tokenizer, [text], 64)[0]
    for name in ("王芳", "北京", "《红楼梦》", "红楼梦", "2008年"):
        start = text.index(name)
        first, last = window.tokens(start, start + len(name)) or (0, 0)
        spans = dict(zip(window.places, window.spans, strict=True))
        assert (spans[first][0], spans[last][1]) == (start, start + len(name)), name


# --- learning -------------------------------------------------------------------------------------------------------


def test_it_learns_nested_entities_and_several_relations_of_one_in_two_languages(trained: Path) -> None:
    extractor = Extractor(trained, precision="float32")
    assert extractor.types == ("LOC", "ORG", "PER")
    assert extractor.relations == ("lives_in", "located_in", "studied_at")
    text = "Ada Lovelace lives in London and went to the University of London."
    found = extractor.extract(text)
    assert [(e.text, e.label, e.start) for e in found.entities] == [
        ("Ada Lovelace", "PER", 0),
        ("London", "LOC", 22),
        ("University of London", "ORG", 45),
        ("London", "LOC", 59),
    ]
    said = {(one.subject.text, one.relation, one.object.text, one.object.start) for one in found.triples}
    assert said == {
        ("Ada Lovelace", "lives_in", "London", 22),
        ("Ada Lovelace", "studied_at", "University of London", 45),
        ("University of London", "located_in", "London", 59),
    }
    (zh,) = extractor.extract_all(["王芳住在北京，毕业于北京大学。"])
    assert ("王芳", "lives_in", "北京") in {(one.subject.text, one.relation, one.object.text) for one in zh.triples}
    assert Extractor(trained, threshold=50.0).extract(text) == Extraction(text)


def test_adapters_say_the_same_as_the_network_they_were_trained_in(base: str, tmp_path: Path) -> None:
    file = write_jsonl(tmp_path / "data.jsonl", [sentence(i) for i in range(24)])
    task = RelationsTask(file, base=base, dev=file, size=8)
    report = run(task, tmp_path / "run", quick(epochs=12, lora=LoraSettings(rank=4, alpha=8, dropout=0.0)))
    assert {path.name for path in report.folder.iterdir()} == {
        *("README.md", "adapter_config.json", "adapter_model.safetensors", "relations.json")
    }
    annotated = read_annotated(file)
    scores = evaluate_extraction(Extractor(report.folder, precision="float32"), annotated.texts, located=True)
    assert scores.entities.f1 == pytest.approx(report.metrics["entity_f1"], abs=0.02)  # adapters are kept in float16
    assert report.metrics["entity_f1"] > 0.3
    assert "lives_in, located_in, studied_at" in (report.folder / "README.md").read_text()


def test_entities_alone_are_learnt_too(base: str, tmp_path: Path) -> None:
    data = tmp_path / "names.conll"
    data.write_text("Ada B-PER\nLovelace I-PER\nmet O\nAlan B-PER\nTuring I-PER\n\n" * 4 + "so O\n", encoding="utf-8")
    task = RelationsTask(data, base=base, dev=data, size=8)
    assert task.metric == "entity_f1"
    report = run(task, tmp_path / "run", quick(epochs=60, batch_size=5))
    assert report.metrics["entity_f1"] > 0.9
    extractor = Extractor(report.folder)
    assert extractor.relations == ()
    assert [one.text for one in extractor.extract("Ada Lovelace met Alan Turing").entities] == [
        "Ada Lovelace",
        "Alan Turing",
    ]


def test_what_is_no_extractor_is_refused(base: str, trained: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"no relations\.json; expected a model of `langbert train relations`"):
        Extractor(base)
    for file in trained.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    labels = json.loads((tmp_path / "relations.json").read_text())
    (tmp_path / "relations.json").write_text(json.dumps({**labels, "types": ["LOC"]}))
    with pytest.raises(CheckpointError, match="does not fit"):
        Extractor(tmp_path)
    (tmp_path / "relations.json").write_text(json.dumps({**labels, "size": 1 << 40}))
    with pytest.raises(CheckpointError, match=r"size is 1099511627776"):
        Extractor(tmp_path)
    (tmp_path / "relations.json").write_text("{}")
    with pytest.raises(
        CheckpointError, match="expected types, relations, size, max_length, max_sentences and two thresholds"
    ):
        Extractor(tmp_path)
    with pytest.raises(ValueError, match="size is 7, expected an even one"):
        RelationsTask(write_jsonl(tmp_path / "d.jsonl", [sentence(0)]), base=base, size=7)


# --- files ----------------------------------------------------------------------------------------------------------


def test_the_columns_of_conll04(tmp_path: Path) -> None:
    rows = [
        "#doc 1",
        "0\tJohn\tB-Peop\t['N']\t[0]",
        "1\tBooth\tI-Peop\t['Kill', 'Live_In']\t[3, 5]",
        "2\tshot\tO\t['N']\t[2]",
        "3\tLincoln\tB-Peop\t['N']\t[3]",
        "4\tin\tO\t['N']\t[4]",
        "5\tWashington\tB-Loc\t['N']\t[5]",
        "#doc 2",
        "0\tNothing\tO\t['N']\t[0]",
    ]
    file = tmp_path / "train.txt"
    file.write_text("\n".join(rows) + "\n", encoding="utf-8")
    (one, other), located = read_annotated(file)
    assert located
    booth, lincoln, washington = one.entities
    assert one.text == "John Booth shot Lincoln in Washington"
    assert booth == Entity("John Booth", "Peop", 0, 10, 1.0)
    assert one.triples == (Triple(booth, "Kill", lincoln, 1.0), Triple(booth, "Live_In", washington, 1.0))
    assert other == Extraction("Nothing")
    file.write_text("\n".join([*rows[:2], "1 Booth"]), encoding="utf-8")
    with pytest.raises(DataError, match=r"train\.txt:3: expected number, word, tag"):
        read_annotated(file)
    file.write_text("\n".join([*rows[:2], rows[2].replace("[3, 5]", "[3, 2]"), *rows[3:7]]), encoding="utf-8")
    with pytest.raises(DataError, match=r"train\.txt:3: Live_In from word 1 to 2; expected last words of entities"):
        read_annotated(file)


def test_triples_of_words_are_marked_wherever_these_stand(tmp_path: Path) -> None:
    text = "Ann met Anna in Bonn. Ann left Bonn."
    file = tmp_path / "triples.json"
    file.write_text(json.dumps([{"text": text, "triple_list": [["Ann", "was in", "Bonn"]]}]), encoding="utf-8")
    (found,), located = read_annotated(file)
    assert not located
    assert [(one.text, one.start) for one in found.entities] == [("Ann", 0), ("Bonn", 16), ("Ann", 22), ("Bonn", 31)]
    assert len(found.triples) == 4
    file.write_text(json.dumps([{"text": text, "triple_list": [["Bob", "was in", "Bonn"]]}]), encoding="utf-8")
    with pytest.raises(DataError, match="item 0: expected"):
        read_annotated(file)


def test_cluener_and_tags_and_our_own(tmp_path: Path) -> None:
    file = tmp_path / "train.json"
    row = {"text": "浙商银行叶老桂", "label": {"name": {"叶老桂": [[4, 6]]}, "company": {"浙商银行": [[0, 3]]}}}
    write_jsonl(file, [row])
    (found,), located = read_annotated(file)
    assert located
    assert [(one.text, one.label) for one in found.entities] == [("浙商银行", "company"), ("叶老桂", "name")]
    file = tmp_path / "names.txt"
    file.write_text("北 B-LOC\n京 I-LOC\n\nAda B-PER\nmet O\n", encoding="utf-8")
    (zh, en), _ = read_annotated(file)
    assert (zh.text, zh.entities[0].text, en.text) == ("北京", "北京", "Ada met")
    typed = {"text": "Ada", "entities": [{"text": "Ada", "label": "PER"}], "triples": [["Ada", "is", "Ada"]]}
    (found,), located = read_annotated(write_jsonl(tmp_path / "typed.jsonl", [typed]))
    assert not located
    assert found.triples[0].subject == Entity("Ada", "PER", 0, 3, 1.0)


@pytest.mark.parametrize(
    "row",
    [
        {"triples": []},
        {"text": "Ada", "triples": [["Ada", "is"]]},
        {"text": "Ada", "entities": [{"start": 0, "end": 9}]},
        {"text": "Ada", "entities": [{"start": 0, "end": 3, "text": "Bob"}]},
        {"text": "Ada", "triples": [["Ada", 3, "Ada"]]},
        {"text": "Ada", "label": {"PER": {"Ada": [[0, 1]]}}},
    ],
)
def test_an_unusable_line_is_named(tmp_path: Path, row: dict[str, Any]) -> None:
    file = write_jsonl(tmp_path / "data.jsonl", [sentence(0), row])
    with pytest.raises(DataError, match=r"data\.jsonl:2: expected .*\"triples\""):
        read_annotated(file)


def test_files_without_anything_to_find_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="got none in 1 texts"):
        read_annotated(write_jsonl(tmp_path / "data.jsonl", [{"text": "Nothing."}]))
    with pytest.raises(DataError, match="no file at"):
        read_annotated(tmp_path / "nothing.jsonl")
    (tmp_path / "pos.txt").write_text("The DET\ndog NOUN\n", encoding="utf-8")
    with pytest.raises(DataError, match="expected entity tags"):
        read_annotated(tmp_path / "pos.txt")


# --- measuring ------------------------------------------------------------------------------------------------------


def test_f1_counts_whole_entities_and_triples(trained: Path) -> None:
    class Says:
        """An extractor whose findings are known."""

        def extract_all(self, texts: list[str], *, progress: object = None) -> list[Extraction]:
            a, b = Entity("Ada", "PER", 0, 3, 0.9), Entity("Bonn", "ORG", 7, 11, 0.9)
            return [Extraction(texts[0], (a, b), (Triple(a, "in", b, 0.9),))]

    a, b, late = Entity("Ada", "PER", 0, 3, 1.0), Entity("Bonn", "LOC", 7, 11, 1.0), Entity("Ada", "PER", 13, 16, 1.0)
    there = [Extraction("Ada in Bonn. Ada.", (a, b, late), (Triple(a, "in", b, 1.0),))]
    report = evaluate_extraction(Says(), there, located=True)  # type: ignore[arg-type]
    assert report.entities == Overlap(1, 2, 3)
    assert report.entities.f1 == pytest.approx(2 / 5)
    assert report.triples == Overlap(0, 1, 1)  # of the wrong type at one end
    assert report.by_label["PER"] == Overlap(1, 1, 2)
    assert evaluate_extraction(Says(), there, located=False).by_label["PER"] == Overlap(1, 1, 1)  # type: ignore[arg-type]


def test_the_thresholds_are_those_that_are_best_on_the_texts() -> None:
    def sure(logit: float) -> float:
        return 1 / (1 + math.exp(-logit))

    a, b, wrong = (
        Entity("Ada", "PER", 0, 3, sure(2)),
        Entity("Bob", "PER", 8, 11, sure(-1.2)),
        Entity("met", "", 4, 7, sure(-2)),
    )

    class Says:
        def extract_all(self, texts: list[str]) -> list[Extraction]:
            return [
                Extraction(texts[0], (a, wrong, b), (Triple(a, "met", b, sure(-1.7)), Triple(b, "met", a, sure(-2.2))))
            ]

    there = [Extraction("Ada met Bob", (a, b), (Triple(a, "met", b, 1.0),))]
    thresholds, report = best_thresholds(Says(), there, located=True)  # type: ignore[arg-type]
    assert thresholds == (-1.5, -2.0)
    assert report.entities == Overlap(2, 2, 2)
    assert report.triples == Overlap(1, 1, 1)


# --- stores and the command line ------------------------------------------------------------------------------------


@pytest.fixture
def store(tmp_path: Path) -> Path:
    first, second = "\f\n", "Grace Hopper lives in Turin and went to the University of Turin."
    with Store.open(tmp_path / "store", embedder=HashEmbedder(16)) as opened:
        opened.add([Document("a", first + second, "a.pdf", page_starts=(0, len(first)))])
        opened.add([Chunk("c", "elsewhere", "王芳住在北京，毕业于北京大学。", start=100, source="b.txt", page=7)])
    return tmp_path / "store"


def test_all_of_a_store_is_read_and_cited(store: Path, trained: Path) -> None:
    extractor = Extractor(trained, precision="float32")
    with Store.open(store) as opened:
        texts = list(stored_texts(opened))
        assert [text.id for text in texts] == ["a", "c"]
        counted: list[int] = []
        found = list(extract_cited(extractor, texts, progress=counted.append))
        names = list(extract_cited(extractor, texts, entities=True))
    assert sum(counted) == 2
    by_subject = {one.found.subject.text: one for one in found if one.found.relation == "lives_in"}
    hopper = by_subject["Grace Hopper"]
    assert (hopper.citation.page, hopper.citation.source) == (2, "a.pdf")
    assert hopper.citation.quote == texts[0].text[2:]
    for one in (*found, *names):
        offset, text = (100, texts[1].text) if one.citation.document_id == "elsewhere" else (0, texts[0].text)
        assert text[one.citation.start - offset : one.citation.end - offset] == one.citation.quote
        for entity in [one.found] if isinstance(one.found, Entity) else [one.found.subject, one.found.object]:
            assert text[entity.start - offset : entity.end - offset] == entity.text
            assert one.citation.start <= entity.start < entity.end <= one.citation.end
    assert "王芳" in by_subject


def test_extract_on_the_command_line(store: Path, trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["extract", "--store", str(store), "--model", str(trained)]
    assert invoke([*arguments, "--jsonl"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert {"subject", "relation", "object", "score", "citation"} == set(lines[0])
    assert {"source", "page", "start", "end", "quote"} <= set(lines[0]["citation"])
    assert invoke([*arguments, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["found"] == lines
    assert invoke([*arguments, "--entities"]) == 0
    assert "Grace Hopper PER" in capsys.readouterr().out
    assert invoke(arguments) == 0
    shown = capsys.readouterr().out
    assert "a.pdf, p. 2" in shown
    assert "Grace Hopper lives_in Turin" in shown
    assert invoke([*arguments, "--json", "--jsonl"]) == 2


def test_train_and_eval_on_the_command_line(base: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = write_jsonl(tmp_path / "data.jsonl", [sentence(i) for i in range(12)])
    arguments = ["train", "relations", "--data", str(file), "--base", base, "--output", str(tmp_path / "run"), "--json"]
    assert invoke([*arguments, "--max-steps", "3", "--holdout", "0.25", "--size", "8"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert set(shown["metrics"]) == {f"{a}_{b}" for a in ("entity", "relation") for b in ("f1", "precision", "recall")}
    model = shown["model"]
    assert invoke(["eval", "relations", "--data", str(file), "--model", model, "--threshold", "-5", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["texts"] == 12
    assert report["triples"]["there"] == 36
    assert invoke(["eval", "relations", "--data", str(file), "--model", model]) == 0
    assert "lives_in" in capsys.readouterr().out

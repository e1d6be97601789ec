"""LangBertExtractor: what it writes into metadata, and the graphs it makes, by a tiny model trained here."""

from __future__ import annotations

import json

import pytest
from label_tools import write_bert
from langchain_core.documents import BaseDocumentTransformer, Document

from langbert import Extractor
from langbert.training import TrainSettings
from langbert.training.loop import run
from langbert.training.relations import RelationsTask
from langchain_langbert import LangBertExtractor

TEXTS = ["Ada lives in Rome.", "Bob lives in Oslo.", "Ada met Bob.", "王芳住在北京。"]
TRIPLES = [
    ["Ada", "lives_in", "Rome"],
    ["Bob", "lives_in", "Oslo"],
    ["Ada", "met", "Bob"],
    ["王芳", "lives_in", "北京"],
]
LABELS = {"Ada": "PER", "Bob": "PER", "王芳": "PER", "Rome": "LOC", "Oslo": "LOC", "北京": "LOC"}


@pytest.fixture(scope="module")
def extractor(tmp_path_factory: pytest.TempPathFactory) -> LangBertExtractor:
    folder = tmp_path_factory.mktemp("extractor")
    write_bert(folder / "base", TEXTS, spread=0.1)
    rows = []
    for text, triple in zip(TEXTS, TRIPLES, strict=True):
        named = [{"start": text.index(word), "end": text.index(word) + len(word), "label": LABELS[word]}
                 for word in (triple[0], triple[2])]  # fmt: skip
        rows.append({"text": text, "entities": named, "triples": [[named[0], triple[1], named[1]]]})
    file = folder / "data.jsonl"
    file.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    task = RelationsTask(file, base=str(folder / "base"), dev=file, size=8)
    report = run(task, folder / "run", TrainSettings(epochs=120, batch_size=4, learning_rate=5e-3, dropout=0.0))
    assert report.metrics["relation_f1"] == 1.0
    return LangBertExtractor(report.folder)


def test_metadata_say_what_was_found_and_where(extractor: LangBertExtractor) -> None:
    assert isinstance(extractor, BaseDocumentTransformer)
    documents = [Document(id="a", page_content=text, metadata={"source": "a.txt"}) for text in (*TEXTS, "")]
    before = [document.model_copy(deep=True) for document in documents]
    found = extractor.transform_documents(documents)
    assert documents == before
    for document, triple in zip(found, TRIPLES, strict=False):
        assert document.metadata["source"] == "a.txt"
        for entity in document.metadata["entities"]:
            assert document.page_content[entity["start"] : entity["end"]] == entity["text"]
            assert entity["label"] == LABELS[entity["text"]]
        said = [
            [one["subject"]["text"], one["relation"], one["object"]["text"]] for one in document.metadata["triples"]
        ]
        assert said == [triple]
    assert found[-1].metadata == {"source": "a.txt", "entities": [], "triples": []}
    json.dumps([document.metadata for document in found])


async def test_it_transforms_without_blocking_too(extractor: LangBertExtractor) -> None:
    (found,) = await extractor.atransform_documents([Document(page_content=TEXTS[0])])
    assert found.metadata["triples"]


@pytest.mark.filterwarnings("ignore:`langchain-community` is being sunset")
def test_a_graph_document_is_what_graph_stores_take(extractor: LangBertExtractor) -> None:
    graphs = pytest.importorskip("langchain_community.graphs.graph_document")
    document = Document(id="a", page_content=TEXTS[3], metadata={"source": "a.txt"})
    (graph,) = extractor.graph_documents([document])
    assert isinstance(graph, graphs.GraphDocument)
    assert {(node.id, node.type) for node in graph.nodes} == {("王芳", "PER"), ("北京", "LOC")}
    (relationship,) = graph.relationships
    assert (relationship.source.id, relationship.type, relationship.target.id) == ("王芳", "lives_in", "北京")
    place = relationship.properties
    assert document.page_content[place["subject_start"] : place["subject_end"]] == "王芳"
    assert document.page_content[place["object_start"] : place["object_end"]] == "北京"
    assert graph.source == document


def test_an_extractor_of_ones_own_may_be_given(extractor: LangBertExtractor) -> None:
    own = Extractor(extractor.extractor.name, threshold=60.0)
    assert LangBertExtractor(own).transform_documents([Document(page_content=TEXTS[0])])[0].metadata["entities"] == []

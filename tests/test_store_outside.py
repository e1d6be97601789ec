"""What is PostgreSQL's own: permissions, its index, moving a store there and back, and what stands over it."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from urllib.parse import quote

import numpy as np
import pytest
from store_tools import HashEmbedder, LineChunker

from langbert import Chunk, Document, Rag, Store, open_store, sync
from langbert.cli import run
from langbert.errors import StoreError
from langbert.store.maintenance.moving import move
from langbert.store.words import idf, numbered, question_words, word_weights

psycopg = pytest.importorskip("psycopg")
from langbert_scale._postgres_state import needed_words  # noqa: E402

DOCUMENTS = [
    Document("pep8", "PEP 8 was written by Guido van Rossum.\nLimit lines to 79 characters.\n", "pep_8.txt", {"n": 1}),
    Document("bees", "Bees make honey from nectar.\n蜜蜂在夏天酿蜜。\n", "bees.txt", {"tags": ["x"], "f": 0.1}),
]


def opened(place: str | Path, **options):
    return open_store(place, embedder=HashEmbedder(), chunker=LineChunker(), **options)


def schema_of(place: str) -> tuple[str, str]:
    url, _, schema = place.partition("&schema=")
    return url, schema


# --- moving ----------------------------------------------------------------------------------------------------------


def test_a_store_moves_out_and_back_as_it_is(postgres_place: str, tmp_path: Path) -> None:
    (tmp_path / "note.txt").write_text("A note about honey.")
    with opened(tmp_path / "old") as old, opened(postgres_place) as outside, opened(tmp_path / "new") as new:
        old.add([*DOCUMENTS, Chunk("alone", "nobody", "A chunk of its own.")])
        old.ledger("web").record(["alone"], ["group"], at=old.ledger("web").now())
        sync(tmp_path / "note.txt", old, workers=0)
        there = move(old, outside)
        back = move(outside, new)
        assert (there.documents, there.chunks, there.resumed) == (3, 6, 0)
        assert back == there
        for mode in ("dense", "lexical", "hybrid"):
            found = [
                [(hit.chunk, hit.scores.get("dense")) for hit in store.search("who makes honey", 3, mode=mode)]
                for store in (old, outside, new)
            ]
            assert [chunk for chunk, _ in found[0]] == [chunk for chunk, _ in found[1]]
            assert found[0] == found[2]
        assert list(old.files) == list(outside.files) == list(new.files)
        assert new.ledger("web").keys(groups=["group"]) == ["alone"]
        before = new.embedder.embedded.copy()
        new.add(DOCUMENTS)
        assert new.embedder.embedded == before  # nothing has to be embedded again
        assert sync(tmp_path / "note.txt", outside, workers=0).unchanged == 1


def test_a_move_that_was_broken_off_goes_on(postgres_place: str, tmp_path: Path) -> None:
    class Interrupted(Exception):
        pass

    def interrupt(doing: str, done: int, total: int) -> None:
        if doing == "moving chunks" and done == 500:
            raise Interrupted

    with opened(tmp_path / "old") as old:
        old.add([Chunk(f"c{i}", f"d{i}", f"text {i}") for i in range(700)])
        with opened(postgres_place) as outside:
            with pytest.raises(Interrupted):
                move(old, outside, watch=interrupt)
            assert len(outside) == 500
            old.add([Chunk("c1", "d1", "changed meanwhile")])
        with opened(postgres_place) as outside:
            moved = move(old, outside)
            assert (moved.chunks, moved.resumed) == (700, 499)
            assert outside.get(["c1"]) == old.get(["c1"])
            with opened(tmp_path / "other") as other:
                other.add(DOCUMENTS)
                with pytest.raises(StoreError, match="holds 700 chunks already"):
                    move(other, outside)


# --- PostgreSQL ------------------------------------------------------------------------------------------------------


def test_who_may_not_see_a_row_finds_the_best_of_the_others(postgres_place: str) -> None:
    url, schema = schema_of(postgres_place)
    documents = [
        Document(f"d{i}", f"salary number {i} of somebody\n", metadata={"groups": [("hr", "all")[i % 2]]})
        for i in range(40)
    ]
    with opened(postgres_place, index_from=20) as owner, psycopg.connect(url, autocommit=True) as admin:
        owner.add(documents)
        role = f"reader_{schema}"
        for statement in POLICIES.format(schema=schema, role=role).split(";"):
            admin.execute(statement)
        as_reader = url.replace("postgres:@", f"{role}:@") + f"&schema={schema}"
        seen = {}
        for groups in ("hr", "all", "hr,all", ""):
            options = quote(f"-c langbert.groups={groups}")
            with opened(f"{as_reader}&options={options}", create=False, read_only=True) as reader:
                for mode in ("dense", "lexical", "hybrid"):
                    found = reader.search("salary number 8", 15, mode=mode, repeats=True)
                    seen[groups, mode] = [hit.document_id for hit in found]
                assert (reader.document("d0") is not None) == ("hr" in groups)
                assert len(list(reader.documents())) == {"": 0, "hr,all": 40}.get(groups, 20)
        for mode in ("dense", "lexical", "hybrid"):
            assert len(seen["hr", mode]) == len(seen["all", mode]) == len(seen["hr,all", mode]) == 15
            assert seen["", mode] == []
            assert all(int(id[1:]) % 2 == 0 for id in seen["hr", mode])
            assert all(int(id[1:]) % 2 == 1 for id in seen["all", mode])
        with opened(as_reader, create=False) as reader, pytest.raises(StoreError, match="permission denied"):
            reader.delete(["d0"])


POLICIES = """
CREATE ROLE {role} LOGIN;
GRANT USAGE ON SCHEMA {schema} TO {role};
GRANT SELECT ON {schema}.meta, {schema}.documents, {schema}.chunks, {schema}.word_counts TO {role};
ALTER TABLE {schema}.documents ENABLE ROW LEVEL SECURITY;
ALTER TABLE {schema}.chunks ENABLE ROW LEVEL SECURITY;
CREATE POLICY readers ON {schema}.documents FOR SELECT TO {role}
    USING (fields -> 'groups' ?| string_to_array(current_setting('langbert.groups', TRUE), ','));
CREATE POLICY readers ON {schema}.chunks FOR SELECT TO {role}
    USING (fields -> 'groups' ?| string_to_array(current_setting('langbert.groups', TRUE), ','))
"""


def test_the_index_is_asked_and_where_it_gives_up_all_are_compared(postgres_place: str) -> None:
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((3000, 8)).astype(np.float32)
    with open_store(postgres_place, index_from=1000) as store:
        store.add_vectors([Chunk(f"c{i:04}", "d", "word", metadata={"i": i}) for i in range(3000)], vectors)
        assert store.info()["dense_index"] == {"kind": "hnsw"}
        cosines = vectors @ vectors[7] / np.linalg.norm(vectors, axis=1) / np.linalg.norm(vectors[7])
        best = [f"c{i:04}" for i in np.argsort(-cosines)[:10]]
        found = [hit.chunk.id for hit in store.search_vector(vectors[7], 10)]
        assert len({*found} & {*best}) >= 9
        url, schema = schema_of(postgres_place)
        with psycopg.connect(url) as connection:
            connection.execute(f"SET search_path TO {schema}, public")
            plan = connection.execute(
                "EXPLAIN SELECT row_id FROM chunks ORDER BY embedding <=> %s::vector LIMIT 10",
                [str(vectors[7].tolist())],
            ).fetchall()
        assert any("chunks_hnsw" in line for (line,) in plan)
        farthest = np.argsort(cosines)[:5].tolist()
        found = store.search_vector(vectors[7], 5, where={"i": {"$in": farthest}})
        assert {hit.chunk.metadata["i"] for hit in found} == set(farthest)


def test_what_cannot_be_opened_says_why(postgres: str, postgres_place: str, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="oracle:// is no kind of store"):
        open_store("oracle://somewhere")
    with pytest.raises(StoreError, match=r"/nowhere \(schema langbert\): .* failed") as raised:
        open_store(f"postgresql://me:secret@/nowhere?host={tmp_path}")
    assert "secret" not in str(raised.value)
    with opened(postgres_place) as store:
        store.add(DOCUMENTS)
        with psycopg.connect(postgres, autocommit=True) as admin:  # a server that was started anew
            admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()")
        assert store.search("honey", 1, mode="lexical")[0].document_id == "bees"


# --- what stands over it ---------------------------------------------------------------------------------------------


@pytest.mark.models
def test_commands_answers_and_chains(
    postgres_place: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], minilm
) -> None:
    from langchain_langbert import LangBertEmbeddings, LangBertVectorStore, create_rag_chain

    files = tmp_path / "files"
    files.mkdir()
    for document in DOCUMENTS:
        (files / document.source).write_text(document.text, encoding="utf-8")

    def said(*arguments: str) -> dict:
        assert run([*arguments, "--store", postgres_place, "--json", "--offline"]) == 0
        return json.loads(capsys.readouterr().out)

    made = said("index", str(files), "--embedder", "minilm", "--workers", "0")
    assert (made["added"], made["documents"]) == (2, 2)
    assert said("index", str(files), "--workers", "0")["unchanged"] == 2
    assert said("search", "蜜蜂", "--mode", "lexical")["hits"][0]["source"] == "bees.txt"
    answer = said("ask", "Who wrote PEP 8?", "--mode", "extract")
    assert answer["short"] == "Guido van Rossum"
    assert answer["citations"][0]["quote"] == "PEP 8 was written by Guido van Rossum."
    assert said("store", "info")["embedding_space"]["model"] == "minilm"
    with open_store(postgres_place, embedder=minilm) as store:
        assert Rag(store).ask("Who wrote PEP 8?", mode="extract").short == "Guido van Rossum"
    with LangBertVectorStore(LangBertEmbeddings(model="minilm"), postgres_place) as vectorstore:
        found = vectorstore.similarity_search("Who wrote PEP 8?", k=1, filter={"source": "pep_8.txt"})
        assert "Guido" in found[0].page_content
        given = create_rag_chain(vectorstore, mode="extract").invoke("Who wrote PEP 8?")
        assert given["citations"][0]["quote"] == "PEP 8 was written by Guido van Rossum."
        with pytest.raises(StoreError, match="migrate --to"):
            vectorstore.save_local(tmp_path / "copy")
    moved = tmp_path / "moved"
    assert run(["store", "migrate", "--store", postgres_place, "--to", str(moved), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["documents"] == 2
    with Store.open(moved, embedder=minilm) as store:
        assert store.search("honey", 1)[0].document_id
    said("store", "rm", "bees.txt")
    assert said("store", "info")["documents"] == 1
    assert run(["store", "migrate", "--store", postgres_place]) == 2


@pytest.mark.models
def test_the_server_answers_out_of_it(postgres_place: str, tmp_path: Path, minilm) -> None:
    httpx, server = pytest.importorskip("httpx"), pytest.importorskip("langbert_server")
    from server_tools import PATIENT, running, until

    with open_store(postgres_place, embedder=minilm) as store:
        store.add(DOCUMENTS)
        app = server.create_app(store, settings=server.Settings(uploads=tmp_path / "uploads"))
        with running(app) as url, httpx.Client(base_url=url, **PATIENT) as client:
            hit = client.post("/api/search", json={"question": "who wrote it", "where": {"n": 1}}).json()["hits"][0]
            assert hit["source"] == "pep_8.txt"
            client.post("/api/documents", files={"file": ("ants.txt", b"Ants live in colonies.")})
            until(lambda: store.n_documents == 3)
            assert store.search("colonies", 1, mode="lexical")[0].chunk.source == "ants.txt"


def test_common_words_are_left_out_and_the_ranking_stays(postgres_place: str) -> None:
    """Against BM25 reckoned here, over words with Zipf's frequencies; the commonest stand in nearly every chunk."""
    rng = np.random.default_rng(0)
    words = [*(f"w{i}" for i in range(300)), *"的是在有人这中大国上"]
    rng.shuffle(words)
    ranks = np.minimum(rng.zipf(1.3, size=(800, 60)) - 1, len(words) - 1)
    chunks = [Chunk(f"c{i}", "d", " ".join(words[rank] for rank in row)) for i, row in enumerate(ranks)]
    held = [word_weights(chunk.text, "", "") for chunk in chunks]
    n_holding = Counter(word for weights in held for word in weights)
    shortened = 0
    with open_store(postgres_place) as store:
        store.add(chunks)
        for i in range(40):
            question = " ".join(words[rank] for rank in np.minimum(rng.zipf(1.3, size=8) - 1, len(words) - 1))
            asked = numbered(question_words(question))
            rarity = dict(zip(asked, idf(len(chunks), (n_holding[word] for word in asked)), strict=True))
            scores = [
                sum(weights[word] * asked[word] * rarity[word] for word in asked if word in weights) for weights in held
            ]
            where = {"id": {"$in": [f"c{j}" for j in range(0, 800, 2)]}} if i % 4 == 0 else None
            expected = sorted((score for j, score in enumerate(scores) if where is None or j % 2 == 0), reverse=True)
            found = store.search(question, 10, mode="lexical", where=where, repeats=True)
            assert [hit.scores["lexical"] for hit in found] == pytest.approx(
                [score for score in expected[:10] if score > 0], rel=1e-4, abs=1e-5
            )
            assert all(
                hit.scores["lexical"] == pytest.approx(scores[int(hit.chunk.id[1:])], rel=1e-4, abs=1e-5)
                for hit in found
            )
            by_rarity = dict(sorted(((word, asked[word] * rarity[word]) for word in asked), key=lambda pair: -pair[1]))
            shortened += len(needed_words(by_rarity, expected[9])) < len(asked)
    assert shortened > 20


@pytest.mark.parametrize(("least", "needed"), [(0.0, 3), (0.1, 3), (0.23, 2), (2.0, 2), (2.45, 1), (100.0, 0)])
def test_words_are_needed_that_could_make_a_chunk_one_of_the_best(least: float, needed: int) -> None:
    assert len(needed_words({1: 5.0, 2: 1.0, 3: 0.1}, least)) == needed

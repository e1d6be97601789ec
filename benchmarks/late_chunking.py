"""Chunks embedded each by itself against late chunking: same encoder, same chunks, dense search only.

    python benchmarks/late_chunking.py SQUAD.json BEIR_FOLDER … [--documents 6] [--questions 300]
    python benchmarks/late_chunking.py BEIR_FOLDER --whole 96
    python benchmarks/late_chunking.py QUESTIONS.jsonl --folder DOCUMENTS --corpus NAME

Of a file of people's questions the documents are those that answer them, and the chunk that holds the quoted evidence
is to be found.

Of a SQuAD file each article is one document, and the chunk that holds the answer is to be found; of a BEIR folder each
passage of the corpus is one, and counts by its best chunk. "plain, title" puts the document's title before each chunk.
The last column is the mean difference to "plain", question by question, with its standard error; seconds are of the
CPU, for embedding the chunks.

With ``--whole`` passages are not cut up: what becomes of one vector for each if the encoder reads only so many tokens
at once, beside what it is when one pass reads all of it.
"""

from __future__ import annotations

import argparse
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import ir_measures
import numpy as np
from ir_measures import R, nDCG

from langbert import Chunker, Document, Embedder, read_documents
from langbert.evaluation import read_asked_questions, read_questions, read_retrieval_set
from langbert.text.sentences import sentences

Span = tuple[int, int]


@dataclass(frozen=True)
class Collection:
    """Documents, and questions with what answers them: places in a document, or whole documents."""

    name: str
    titles: dict[str, str]
    texts: dict[str, str]
    questions: dict[str, str]
    places: dict[str, tuple[str, int]]  # question → document, character
    qrels: dict[str, dict[str, int]]  # question → document → relevance, where there are no places


def squad(path: Path, n_documents: int, n_questions: int) -> Collection:
    data = read_questions(path)
    articles: dict[str, list[str]] = {}
    for name, (title, _) in data.paragraphs.items():
        articles.setdefault(title, []).append(name)
    chosen = random.Random(0).sample(sorted(articles), min(n_documents, len(articles)))
    texts, starts = {}, {}
    for title in chosen:
        texts[title] = ""
        for name in articles[title]:
            starts[name] = (title, len(texts[title]))
            texts[title] += data.paragraphs[name][1] + "\n\n"
    asked = [question for question in data.questions if question.answers and question.paragraph in starts]
    asked = random.Random(0).sample(asked, min(n_questions, len(asked)))
    places = {}
    for question in asked:
        title, start = starts[question.paragraph]
        places[question.id] = (title, start + question.answer_starts[0])
    titles = {title: title for title in chosen}
    return Collection(path.stem, titles, texts, {q.id: q.question for q in asked}, places, {})


def beir(path: Path, n_documents: int, n_questions: int) -> Collection:
    """As many questions as wanted, all that is relevant to them, and other passages up to ``50 * n_documents``."""
    data = read_retrieval_set(path)
    asked = random.Random(0).sample(sorted(data.queries), min(n_questions, len(data.queries)))
    qrels = {query: dict(data.qrels[query]) for query in asked}
    needed = {name: None for relevant in qrels.values() for name in relevant if data.corpus[name][1].strip()}
    others = [name for name, (_, text) in data.corpus.items() if name not in needed and text.strip()]
    room = max(0, 50 * n_documents - len(needed))
    chosen = [*needed, *random.Random(0).sample(others, min(room, len(others)))]
    titles = {name: data.corpus[name][0] for name in chosen}
    texts = {name: data.corpus[name][1] for name in chosen}
    return Collection(data.name, titles, texts, {query: data.queries[query] for query in asked}, {}, qrels)


def asked(path: Path, folder: Path, corpus: str, n_questions: int) -> Collection:
    """Questions of ``corpus`` with the first quote that answers them, among all documents that answer any."""
    rows = [one for one in read_asked_questions(path) if one.corpus == corpus and one.evidence][:n_questions]
    names = sorted({one.evidence[0].source for one in rows})
    documents = {document.source: document for document in read_documents([folder / name for name in names])}
    places = {}
    for one in rows:
        quote = one.evidence[0]
        if quote.source in documents and (place := documents[quote.source].text.find(quote.quote)) >= 0:
            places[one.id] = (quote.source, place)
    titles = {name: str(document.metadata.get("title", name)) for name, document in documents.items()}
    texts = {name: document.text for name, document in documents.items()}
    questions = {one.id: one.question for one in rows if one.id in places}
    return Collection(corpus, titles, texts, questions, places, {})


def scores(data: Collection, spans: Sequence[Sequence[Span]], similarities: np.ndarray) -> dict[str, dict[str, float]]:
    """Measure → question → value; ``similarities`` is ``(n_questions, n_chunks)``."""
    chunks = [(name, *span) for name, some in zip(data.texts, spans, strict=True) for span in some]
    run: dict[str, dict[str, float]] = {}
    qrels = dict(data.qrels)
    for query, row in zip(data.questions, similarities, strict=True):
        run[query] = {}
        for (name, start, _), score in zip(chunks, row.tolist(), strict=True):
            unit = f"{name}:{start}" if data.places else name
            run[query][unit] = max(score, run[query].get(unit, -1.0))
        if data.places:
            document, place = data.places[query]
            holders = [start for name, start, end in chunks if name == document and start <= place < end]
            qrels[query] = {f"{document}:{start}": 1 for start in holders}
    found: dict[str, dict[str, float]] = {"R@1": {}, "nDCG@10": {}}
    for value in ir_measures.iter_calc([R @ 1, nDCG @ 10], qrels, run):
        found[str(value.measure)][value.query_id] = value.value
    return found


def compare(data: Collection, model: str, cut: Callable[[str], list[Span]], windows: Sequence[int], what: str) -> None:
    spans = [cut(text) for text in data.texts.values()]
    pieces = [text[a:b] for text, some in zip(data.texts.values(), spans, strict=True) for a, b in some]
    titled = [
        f"{data.titles[name]}\n{text[a:b]}".lstrip()
        for (name, text), some in zip(data.texts.items(), spans, strict=True)
        for a, b in some
    ]
    plain = Embedder(model)
    questions = plain.embed(list(data.questions.values()), "query")
    ways: dict[str, Callable[[], np.ndarray]] = {
        "plain": lambda: plain.embed(pieces),
        "plain, title": lambda: plain.embed(titled),
    }
    for window in windows:
        late = Embedder(model, max_length=window)
        ways[f"late, {window}"] = lambda late=late: np.concatenate(late.embed_spans(list(data.texts.values()), spans))
    print(f"\n{data.name}, {what}: {len(data.texts)} documents, {len(pieces)} chunks, {len(data.questions)} questions")
    print(f"{'':14}{'R@1':>8}{'nDCG@10':>10}{'seconds':>9}   nDCG@10 − plain")
    base: dict[str, float] = {}
    for way, embed in ways.items():
        began = time.process_time()
        vectors = embed()
        seconds = time.process_time() - began
        found = scores(data, spans, questions @ vectors.T)
        base = base or found["nDCG@10"]
        gains = np.array([found["nDCG@10"][query] - base[query] for query in base])
        error = gains.std() / len(gains) ** 0.5
        means = [np.mean(list(found[measure].values())) for measure in ("R@1", "nDCG@10")]
        print(f"{way:14}{means[0]:8.3f}{means[1]:10.3f}{seconds:9.1f}   {gains.mean():+.3f} ± {error:.3f}", flush=True)


def compare_whole(data: Collection, model: str, limit: int, longest: int) -> None:
    one_pass, split = Embedder(model, max_length=longest), Embedder(model, max_length=limit)
    raw, cut_off = Embedder(model, normalize=False), Embedder(model, max_length=limit, on_overflow="truncate")
    texts = list(data.texts.values())
    chunker = Chunker(split.token_offsets, limit - 2)

    def averaged() -> np.ndarray:
        pieces = [[chunk.text for chunk in chunker.split(Document("d", text))] for text in texts]
        vectors = iter(raw.embed([piece for some in pieces for piece in some]))
        means = [sum(len(split.token_offsets(piece)) * next(vectors) for piece in some) for some in pieces]
        return np.stack([mean / np.linalg.norm(mean) for mean in means])

    ways = {
        "one pass": lambda: one_pass.embed(texts),
        "windows": lambda: split.embed(texts),
        "pieces' mean": averaged,
        "cut off": lambda: cut_off.embed(texts),
    }
    questions = one_pass.embed(list(data.questions.values()), "query")
    spans = [[(0, len(text))] for text in texts]
    print(f"\n{data.name}, {limit} tokens at once: {len(texts)} passages, {len(data.questions)} questions")
    print(f"{'':14}{'nDCG@10':>8}{'cosine':>8}{'seconds':>9}")
    whole: np.ndarray | None = None
    for way, embed in ways.items():
        began = time.process_time()
        vectors = embed()
        seconds = time.process_time() - began
        whole = vectors if whole is None else whole
        ndcg = np.mean(list(scores(data, spans, questions @ vectors.T)["nDCG@10"].values()))
        print(f"{way:14}{ndcg:8.3f}{(vectors * whole).sum(axis=1).mean():8.3f}{seconds:9.1f}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="+", type=Path, help="SQuAD JSON files and BEIR folders")
    parser.add_argument("--model", default="minilm")
    parser.add_argument("--documents", type=int, default=6, help="articles; fifty times as many passages of a corpus")
    parser.add_argument("--questions", type=int, default=300)
    parser.add_argument("--windows", type=int, nargs="+", default=[256, 512], help="tokens read at once")
    parser.add_argument("--chunks", nargs="+", default=["sentences", "64"], help="sentences, or tokens of a chunk")
    parser.add_argument("--folder", type=Path, help="of the documents that people's questions are about")
    parser.add_argument("--corpus", default="", help="those of them that are asked of it")
    parser.add_argument("--whole", type=int, metavar="TOKENS", help="compare vectors of whole passages instead")
    arguments = parser.parse_args()

    offsets = Embedder(arguments.model).token_offsets

    def cutter(kind: str) -> Callable[[str], list[Span]]:
        if kind == "sentences":
            return sentences
        chunker = Chunker(offsets, int(kind))
        return lambda text: [(chunk.start, chunk.end) for chunk in chunker.split(Document("d", text))]

    for path in arguments.data:
        if arguments.folder:
            data = asked(path, arguments.folder, arguments.corpus, arguments.questions)
        else:
            data = (beir if path.is_dir() else squad)(path, arguments.documents, arguments.questions)
        if arguments.whole:
            compare_whole(data, arguments.model, arguments.whole, max(arguments.windows))
            continue
        for kind in arguments.chunks:
            what = kind if kind == "sentences" else f"chunks of {kind} tokens"
            compare(data, arguments.model, cutter(kind), arguments.windows, what)


if __name__ == "__main__":
    main()

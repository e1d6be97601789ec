"""Passages that say the same are one hit with several places; what differs in what is asked stays a hit of its own."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from langbert import Candidate, Chunk, Store
from langbert.store.repeats import different, folded

NOTICE = "If you have questions about the delivery of your order, the delivery time or the costs, write to the service."
NOTICE_ZH = "如果您对订单的配送、配送时间或配送费用有疑问，请随时联系我们的客户服务部门，我们会尽快答复。"
UNLIKE = " ".join(f"Sentence {n} says something that stands nowhere else." for n in range(5))


def candidates(*texts: str) -> list[Candidate]:
    return [Candidate(Chunk(f"c{n}", f"d{n}", text), 1 - n / 1000) for n, text in enumerate(texts)]


@pytest.mark.parametrize(
    ("question", "one", "other"),
    [
        ("How long is the timeout?", "The timeout is 30 seconds.", "the  timeout is\n30 seconds"),
        ("超时时间是多少？", "默认的超时时间是三十秒。可以修改。", "默认的超时时间\n是三十秒。可以修改"),
        ("What is the delivery time?", f"# Lamp\n\nThe lamp weighs 20 kg.\n\n{NOTICE}", f"# Carpet\n\n{NOTICE}"),
        ("配送时间是多久？", f"# 台灯\n\n台灯重二十公斤。\n\n{NOTICE_ZH}", f"# 地毯\n\n地毯重三公斤。\n\n{NOTICE_ZH}"),
        ("How soon does a parcel come?", f"# Lamp\n\nIt is red.\n\n{NOTICE}", f"# Carpet\n\nIt is blue.\n\n{NOTICE}"),
    ],
)
def test_the_same_words_are_one_hit(question: str, one: str, other: str) -> None:
    (hit,) = folded(candidates(one, other), question)
    assert hit.text == one
    assert [place.text for place in hit.places] == [other]


@pytest.mark.parametrize(
    ("question", "one", "other"),
    [
        ("How long is the timeout?", "The timeout is 30 seconds.", "The timeout is 60 seconds."),
        ("超时时间是多少？", "默认的超时时间是三十秒。", "默认的超时时间是六十秒。"),
        ("May I smoke here?", f"{NOTICE} You may smoke here.", f"{NOTICE} You may not smoke here."),
        ("这里可以吸烟吗？", f"{NOTICE_ZH}这里可以吸烟。", f"{NOTICE_ZH}这里不可以吸烟。"),
        ("How much does it weigh?", f"# Lamp\n\nIt weighs 2 kg.\n\n{NOTICE}", f"# Rug\n\nIt weighs 3 kg.\n\n{NOTICE}"),
        ("What is the delivery time?", f"{NOTICE} Red is out.", f"{NOTICE} Parcels take a delivery time of two days."),
        ("Who is asked about delivery?", NOTICE, f"{NOTICE} Anna answers letters. " + "Bob is hers. " * 9 + UNLIKE),
    ],
)
def test_what_differs_in_what_is_asked_or_mostly_stays(question: str, one: str, other: str) -> None:
    assert [hit.text for hit in folded(candidates(one, other), question)] == [one, other]


def test_the_heading_a_passage_stands_under_tells_it_apart() -> None:
    lamp, rug = (Candidate(Chunk(name, name, "It costs 20 euros.", headings=(name,)), 1.0) for name in ("Lamp", "Rug"))
    assert folded([lamp, rug], "What does the rug cost?") == [lamp, rug]
    (both,) = folded([lamp, rug], "What costs 20 euros?")
    assert both.places == (rug.chunk,)


SAYINGS = ["A b.", "A  B", "C d.", "A b. C d.", "。", "", "甲乙。丙丁。", "甲乙。", "戊"]


@given(st.lists(st.sampled_from(SAYINGS), max_size=12), st.sampled_from(["a", "c d", "甲乙", "the"]))
def test_nothing_is_lost_and_the_order_stays(texts: list[str], question: str) -> None:
    given = candidates(*texts)
    hits = folded(given, question)
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
    everything = [chunk for hit in hits for chunk in (hit.chunk, *hit.places)]
    assert sorted(everything, key=lambda chunk: int(chunk.id[1:])) == [one.chunk for one in given]


def test_it_is_looked_deeper_until_enough_differ() -> None:
    given = candidates(*["The same."] * 30, "Another one.", "A third one.")
    depths = []

    def search(depth: int) -> list[Candidate]:
        depths.append(depth)
        return given[:depth]

    hits = different(search, "same", 2)
    assert [hit.text for hit in hits] == ["The same.", "Another one."]
    assert len(hits[0].places) == 29
    assert depths == [2, 8, 32]
    assert len(different(search, "same", 5)) == 3, "there are no more"


@pytest.mark.models
def test_copies_and_notices_take_one_place_in_a_store(minilm, tmp_path: Path) -> None:
    answer = "Parcels leave the warehouse on the next working day and reach customers after three to five days."
    with Store.open(embedder=minilm) as store:
        store.add([Chunk(f"n{n}", f"file{n}", f"# Model {n}\n\nIt weighs {n + 7} kg.\n\n{NOTICE}") for n in range(40)])
        store.add([Chunk("answer", "shipping", answer), Chunk("copy", "copy", answer), Chunk("x", "x", "Bees hum.")])
        for mode in ("hybrid", "dense"):
            hits = store.search("What is the delivery time of an order?", 3, mode=mode)
            assert len({hit.text for hit in hits}) == 3
            assert sorted(len(hit.places) for hit in hits) == [0, 1, 39]
            if mode == "hybrid":
                assert hits[0].text == answer, "words that every passage has tell none of them apart"
        every = store.search("What is the delivery time of an order?", 43, mode="dense", repeats=True)
        assert len(every) == 43
        assert not any(hit.places for hit in every)

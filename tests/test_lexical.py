"""Words: analysis, identifiers, scripts without spaces, BM25 through the store."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from langbert.records import Chunk
from langbert.store import Store
from langbert.text.names import dates, identifiers, question_identifiers
from langbert.text.numerals import in_han
from langbert.text.terms import characters, spaced, terms


def store_of(*texts: str, **fields) -> Store:
    store = Store.open()
    chunks = [Chunk(str(index), str(index), text, **fields) for index, text in enumerate(texts)]
    store.add_vectors(chunks, np.ones((len(texts), 2), dtype=np.float32))
    return store


def ids(store: Store, question: str, k: int = 10, **options) -> list[str]:
    return [found.chunk.id for found in store.search(question, k, mode="lexical", **options)]


def test_english_is_stemmed_and_stop_words_do_not_count():
    assert terms("What are the runners running to?") == ["runner", "run"]
    assert terms("naïve Café") == ["naiv", "cafe"]


def test_a_question_of_stop_words_is_still_a_question():
    assert terms("to be or not to be") == ["to", "be", "or", "not", "to", "be"]
    assert ids(store_of("to be or not to be", "something else"), "to be or not to be") == ["0"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("机器学习", " 机器 器学 学习 "),
        ("使用Python编程", " 使用 Python 编程 "),
        ("猫", " 猫 "),
        ("ＡＢＣ１２", "ABC12"),
        ("ﾊﾝｶｸ", " ハン ンカ カク "),
        ("plain", "plain"),
    ],
)
def test_scripts_without_spaces_become_pairs(text, expected):
    assert spaced(text) == expected


def test_characters_are_those_of_unspaced_scripts():
    assert characters("学习 AI 的").split() == ["学", "习", "的"]


@given(st.text())
@settings(max_examples=200)
def test_analysis_takes_any_text(text):
    assert all(isinstance(term, str) and term for term in terms(text))
    identifiers(spaced(text))
    question_identifiers(spaced(text))
    dates(text)
    characters(text)


@pytest.mark.parametrize(
    ("question", "expected"),
    [
        ("PEP-0008", "0"),
        ("pep 8", "0"),
        ("pep-8", "0"),
        ("max_length", "1"),
        ("CVE-2024-1234", "2"),
        ("cve-2024-1234", "2"),
        ("C++", "3"),
        ("__init__", "4"),
        ("RFC 2119", "5"),
        ("numpy.linalg.norm", "6"),
    ],
)
def test_identifiers_are_found_whole(question, expected):
    store = store_of(
        "As PEP-0008 says, style matters.",
        "Set max_length before you start; the length may be at its max.",
        "This fixes CVE-2024-1234 and nothing more.",
        "The C++ compiler is slow.",
        "Define __init__ first.",
        "Words as in RFC 2119.",
        "Call numpy.linalg.norm on it.",
        "CVE-2023-1234 is older, CVE-2024-9999 newer; PEP 20, pep and 8 bits; init and c; RFC 822; linalg",
        "the max of a length",
    )
    assert ids(store, question)[0] == expected


def neighbours(form: str) -> list[str]:
    """300 texts of one kind, a number apart; the 43rd is the one that is looked for."""
    numbers = [n * 7 % 9000 + 1000 for n in range(1, 301)]
    return [f"{form.format(n, n // 1000, n // 100 % 10, n % 100)}: tighten the screw and restart." for n in numbers]


@pytest.mark.parametrize(
    ("form", "questions"),
    [
        ("Error E-{0}", ["E1301", "E 1301", "What does E-1301 mean?", "fault 1301"]),
        ("Error E{0}", ["E-1301", "E 1301", "How do I mend error 1301?"]),
        ("Error E {0}", ["E-1301", "E1301"]),
        ("DIN{0} applies", ["DIN 1301", "What does din-1301 say?"]),
        ("DIN {0} applies", ["DIN1301"]),
        ("Part QX-{0}/C", ["QX1301C", "qx 1301", "QX-1301-C"]),
        ("v{1}.{2}.{3}", ["1.3.1", "Version 1.3.1", "v1.3.1", "What is new in 1.3.01?"]),
        ("Release {1}.{2}.{3}", ["v1.3.1", "version 1.3.1"]),
        ("{0} parts were sold", ["1,301 parts", "1'301"]),
        ("{1},3{3:02} tons", ["1301 tons"]),
    ],
)
def test_a_name_is_found_in_another_spelling(form, questions):
    store = store_of(*neighbours(form))
    for question in questions:
        assert ids(store, question)[0] == "42", question


@pytest.mark.parametrize(
    ("text", "questions"),
    [
        ("Pay into CH93 0076 2011 6238 5295 7.", ["CH9300762011623852957", "ch93-0076-2011-6238-5295-7"]),
        ("Call +41 44 668 18 00.", ["044 668 1800", "+41446681800", "(044) 668 18 00"]),
        ("ISBN 978-0-306-40615-7", ["9780306406157", "978 0306 406157"]),
        ("Its address is 3C:22:FB:0A:91:7E.", ["3c22fb0a917e", "3C-22-FB-0A-91-7E"]),
        ("Fill in form K-4DRX-7.", ["K4DRX7"]),
        ("押金为捌仟元整。", ["8000元", "8,000 yuan", "八千元"]),
        ("The dam cost 2.5 million.", ["2,500,000", "250万"]),
        ("税率为百分之九。", ["9%", "9 percent"]),
        ("Zu zahlen sind 7.310,40 Euro.", ["7,310.40", "7310.40"]),
        ("Sales fell in Q2 2017.", ["second quarter of 2017", "2017Q2", "2017年第二季度"]),
        ("The gate shuts at 21:45.", ["9:45 pm"]),
        ("It is told in Chapter XVII.", ["chapter 17"]),
        ("请拨打0755-8203-4417咨询。", ["075582034417", "8203 4417"]),
        ("電話番号は０３－８２０３－４４１７です。", ["0382034417"]),
        ("自2017Q2起下降。", ["second quarter of 2017", "2017年二季度"]),
        ("Sales fell in Q2 FY2017.", ["Q2 2017", "2Q 2017"]),
        ("会议定于下午九点三刻。", ["21:45", "9:45 pm", "晚上9点45分", "二十一点四十五分"]),
        ("会议定于下午9:45举行。", ["21:45", "晚上九点四十五"]),
        ("Bags of 77kg.", ["77 kg"]),
        ("平成30年4月7日から施行する。", ["2018-04-07", "7 April 2018"]),
    ],
)
def test_figures_are_found_in_another_spelling(text, questions):
    others = neighbours("Form {0}, {1}:{3} pm, {0},{2}0 euros, {2}% of {1} million, Q{1} 20{3}, chapter {3}, 0{0} {0}")
    store = store_of(*others, text)
    for question in questions:
        assert ids(store, question)[0] == "300", question


@pytest.mark.parametrize("written", ["maxChunkLength", "max_chunk_length", "MAX_CHUNK_LENGTH", "max-chunk-length"])
@pytest.mark.parametrize("asked", ["maxChunkLength", "MaxChunkLength", "max_chunk_length", "max chunk length"])
def test_a_name_in_code_is_found_however_its_words_are_joined(written, asked):
    store = store_of("the max of a chunk of some length", "chunk", f"Set {written} to 4.", "maxChunk and chunkLength")
    assert ids(store, asked)[0] == "2"
    assert "2" in ids(store, "chunk")


def test_the_same_spelling_comes_first():
    spellings = ["E1042", "E-1042", "max_length", "maxLength"]
    store = store_of(*(f"about {spelling} here" for spelling in spellings))
    for i, spelling in enumerate(spellings):
        assert ids(store, spelling)[0] == str(i), spelling


DAYS = [
    "{d} {name} {y}",
    "{name} {d}th, {y}",
    "{d}th of {name} {y}",
    "{y}-{m:02}-{d:02}",
    "{y}/{m}/{d}",
    "{y}年{m}月{d}日",
    "{d}.{m}.{y}",
]


def written_as(form: str, year: int, month: int, day: int) -> str:
    return form.format(d=day, m=month, y=year, name=("March", "April", "May")[month - 3])


@pytest.mark.parametrize("around", ["来自 {}: the minutes", "会议于{}举行"])
@pytest.mark.parametrize("written", DAYS)
def test_a_day_is_found_in_another_spelling(written, around):
    days = [(year, month, day) for year in (2023, 2024) for month in (3, 4, 5) for day in range(4, 29)]
    store = store_of(*(around.format(written_as(written, *day)) for day in days))
    for form in [*DAYS, "{d:02} {name} {y}", "{y}{m:02}{d:02}"]:
        asked = written_as(form, 2024, 4, 17)
        assert ids(store, f"what happened on {asked}?")[0] == str(days.index((2024, 4, 17))), asked


def test_what_is_raised_is_no_more_of_the_number():
    store = store_of("in 2017 it was 11 to 12", "In 2019¹² it was 5½ inches.", "20191 and 51")
    assert ids(store, "2019")[0] == "1"
    assert "1" not in ids(store, "51")


def test_a_month_finds_its_days():
    assert ids(store_of("on 2024-04-05", "on 2024-03-05"), "March 2024")[0] == "1"


def test_a_day_in_chinese_figures_is_found():
    store = store_of("二〇二三年四月十七日签署", "二〇二四年四月十七日签署", "二零二四年十一月三日签署", "三年四月")
    assert ids(store, "2024-04-17")[0] == "1"
    assert ids(store, "什么在2024年11月3日签署？")[0] == "2"
    assert ids(store_of("2023年4月17日", "2024年4月17日"), "二〇二四年四月十七日发生了什么")[0] == "1"


def test_a_clause_is_found_by_its_number():
    store = store_of(*(f"第{in_han(n)}条 员工应当遵守规定。" for n in range(1, 60)), "第32章 其他", "条 32")
    for question in ("第32条", "第三十二条说什么？", "第 32 條"):
        assert ids(store, question)[0] == "31", question


@pytest.mark.parametrize(
    ("written", "asked"),
    [
        ("The Wi-Fi is off.", "wifi"),
        ("The wifi is off.", "Wi-Fi"),
        ("Write an e-mail.", "email"),
        ("order 550e8400-e29b-41d4-a716-446655440000", "550E8400E29B41D4A716446655440000"),
    ],
)
def test_a_word_is_found_without_its_hyphens(written, asked):
    assert ids(store_of("unrelated words", written, "other words"), asked)[0] == "1"


@pytest.mark.parametrize("part", ["length", "max", "1234", "pep", "linalg"])
def test_identifiers_are_found_in_parts(part):
    store = store_of("max_length PEP-0008 CVE-2024-1234 numpy.linalg.norm", "unrelated words")
    assert ids(store, part) == ["0"]


@pytest.mark.parametrize(
    ("question", "expected"),
    [
        ("什么是机器学习", "0"),
        ("猫", "1"),
        ("データベースとは何ですか", "2"),
        ("데이터베이스를 설치", "3"),
        ("如何安装集群", "4"),
        ("ฐานข้อมูล", "5"),
    ],
)
def test_chinese_japanese_korean_thai(question, expected):
    store = store_of(
        "机器学习是人工智能的一个分支。",
        "小猫在睡觉。",
        "データベースの使い方を説明します。",
        "데이터베이스 설치 방법",
        "安装集群之前请检查硬件。",
        "การใช้ฐานข้อมูลเบื้องต้น",
        "什么是好的问题？如何提问？",
        "English text only.",
    )
    assert ids(store, question)[0] == expected


def test_headings_and_source_are_read_too():
    store = Store.open()
    chunks = [
        Chunk("a", "a", "Nothing of note.", headings=("Installation", "Windows")),
        Chunk("b", "b", "Nothing of note.", source="guide/pep-0020.rst"),
        Chunk("c", "c", "Nothing of note."),
    ]
    store.add_vectors(chunks, np.ones((3, 2), dtype=np.float32))
    assert ids(store, "installing on windows") == ["a"]
    assert ids(store, "PEP 20") == ["b"]


@given(st.text(max_size=60))
@settings(max_examples=150)
def test_no_question_is_syntax(question):
    store = test_no_question_is_syntax.store  # type: ignore[attr-defined]
    if question.strip():
        for found in store.search(question, 5, mode="lexical"):
            assert 0 < found.score < 1
            assert found.score == pytest.approx(found.scores["lexical"] / (found.scores["lexical"] + 10))


test_no_question_is_syntax.store = store_of("a OR b AND (c", '"quoted" +must -not field:value [1 TO 2] ^3 ~ * ? \\')  # type: ignore[attr-defined]


def test_k_hits_under_a_filter_few_and_many(monkeypatch):
    texts = [f"common word number{index}" for index in range(500)]
    store = Store.open()
    chunks = [Chunk(str(i), "d", text, metadata={"n": i}) for i, text in enumerate(texts)]
    store.add_vectors(chunks, np.ones((500, 2), dtype=np.float32))
    rare = {"n": {"$in": [3, 77, 250, 251, 499]}}
    inside = ids(store, "common", 5, where=rare)
    assert sorted(inside, key=int) == ["3", "77", "250", "251", "499"]
    for name in ("_NAMED", "_SET"):  # the way of large sets: fetch more and sift
        monkeypatch.setattr(f"langbert.store.lexical.{name}", 0)
    assert ids(store, "common", 5, where=rare) == inside
    assert len(ids(store, "common", 400, where={"n": {"$gte": 100}})) == 400
    assert ids(store, "nowhere", 5, where=rare) == []


def test_a_very_long_question():
    store = store_of("needle", "hay")
    assert ids(store, "needle " + " ".join(f"word{i}" for i in range(20_000)))[0] == "0"


def test_as_many_as_a_number_of_numpys_says():
    assert len(store_of("a fox", "a fox and a hen", "foxes").search("fox", k=np.int64(2), mode="lexical")) == 2

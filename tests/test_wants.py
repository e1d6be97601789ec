"""What a question wants to read, and the questions in it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from langbert.answering.wants import parts, wants


@pytest.mark.parametrize(
    "question",
    [
        "Who wrote the report?",
        "When was the company founded?",
        "In which year did sales double?",
        "How many employees does it have?",
        "What is the maximum line length?",
        "What's the default port?",
        "What is the status of the plan?",
        "谁写了这份报告？",
        "公司是哪一年成立的？",
        "默认值是多少",
        "附件最大能传多大？",
    ],
)
def test_a_name_a_number_or_a_date(question: str) -> None:
    assert wants(question).fact
    assert wants(question).words < wants("Why?").words


@pytest.mark.parametrize(
    "question",
    [
        "Why did sales fall?",
        "How do I reset my password?",
        "Compare the two plans",
        "When detecting fraud, do rules or models work better?",
        "Who founded it, when, and why was it sold?",
        "List the requirements",
        "Who is on the committee?",
        "How did sales change from 2023 to 2025?",
        "董事会里都有谁",
        "为什么销量下降？",
        "怎么重置密码",
        "两种方案有什么区别",
        "有哪些要求？",
        "谁创办了公司，什么时候上市的？",
    ],
)
def test_several_sentences(question: str) -> None:
    assert not wants(question).fact


def test_the_documents_themselves() -> None:
    for question in (
        "Which PEP added it?",
        "wich paper says so",
        "哪份合同规定了违约金",
        "哪个文档讲了部署",
        "哪篇论文提出的",
    ):
        assert wants(question).titles
    for question in ("Which colour is it?", "哪个城市最大", "Who wrote the paper?"):
        assert not wants(question).titles


@pytest.mark.parametrize(
    ("question", "expected"),
    [
        ("Who paid for the bridge?", ["Who paid for the bridge?"]),
        (
            "When was the old bridge built, and who paid for the repair?",
            ["When was the old bridge built", "who paid for the repair?"],
        ),
        ("Who sent the letter with the roses, and when?", ["Who sent the letter with the roses, and when?"]),
        ("年假有几天？请病假需要哪些材料？", ["年假有几天？", "请病假需要哪些材料？"]),
        ("备份放在哪里，恢复一次数据库要多久", ["备份放在哪里", "恢复一次数据库要多久"]),
        ("写入变慢了，怎么办", ["写入变慢了，怎么办"]),
        ("Salt, pepper and oil: what for?", ["Salt, pepper and oil: what for?"]),
    ],
)
def test_the_questions_in_a_question(question: str, expected: list[str]) -> None:
    assert parts(question) == expected


@pytest.mark.parametrize(
    ("question", "expected"),
    [
        ("What do E3 and E5 mean?", ["What do E3 mean?", "What do E5 mean?"]),
        ("显示E3和E7怎么办？", ["显示E3怎么办？", "显示E7怎么办？"]),
        (
            "release managers of python 3.8, 3.10 and 3.13",
            [f"release managers of python {version}" for version in ("3.8", "3.10", "3.13")],
        ),
        ("What was the revenue in 2021 and 2022?", ["What was the revenue in 2021 and 2022?"]),
        ("What is the difference between 3.8 and 3.10?", ["What is the difference between 3.8 and 3.10?"]),
        ("A-1和B-2有什么区别？", ["A-1和B-2有什么区别？"]),
    ],
)
def test_things_with_numbers_are_asked_one_by_one(question: str, expected: list[str]) -> None:
    assert parts(question) == expected


@given(st.text(min_size=1, max_size=120))
def test_any_question_has_parts(question: str) -> None:
    found = parts(question)
    assert found
    assert len(found) <= 3
    wants(question)

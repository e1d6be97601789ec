"""Follow-up questions: when a rewriting is believed, and what is searched for when it is not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from langbert.answering.follow_up import leans, rewriting_messages, standalone_question, with_key_words
from langbert.records import Message

HISTORY = [
    Message("user", "Who was William the Conqueror?"),
    Message("assistant", "A duke of Normandy who became king of England."),
]


@pytest.mark.parametrize(
    ("question", "rewritten", "expected"),
    [
        ("How old did he get?", "How old did William the Conqueror get?", None),
        ("How old did he get?", 'Rewritten question: "How old did William the Conqueror get?"\nHe was 59.', None),
        ("Why?", "Why did William become king of England?", "Why did William become king of England?"),
        ("Do bees make honey?", "Do bees make honey?", "Do bees make honey?"),
        # an answer, a refusal, an invention, an echo, nothing
        ("How old did he get?", "He died at the age of 59 in Rouen.", "How old did he get? William Conqueror"),
        ("How old did he get?", "I cannot answer this.", "How old did he get? William Conqueror"),
        ("How old did he get?", "How old is the Eiffel Tower in Paris?", "How old did he get? William Conqueror"),
        ("How old did he get?", "How old did he get?", "How old did he get? William Conqueror"),
        ("How old did he get?", "", "How old did he get? William Conqueror"),
        ("Why?", "Why?", "Why? William Conqueror"),
        ("How old was William?", "x" * 500, "How old was William?"),
        ("What about William?", "x" * 500, "What about William? Conqueror"),
    ],
)
def test_what_is_searched_for(question: str, rewritten: str, expected: str | None) -> None:
    assert standalone_question(question, rewritten, HISTORY) == (expected or "How old did William the Conqueror get?")


def test_chinese() -> None:
    history = [Message("user", "机器学习是什么？"), Message("assistant", "人工智能的一个分支。")]
    assert standalone_question("它有什么应用？", "机器学习有什么应用？", history) == "机器学习有什么应用？"
    assert "机器学习" in standalone_question("它有什么应用？", "I do not know", history)


def test_a_question_that_stands_alone_is_left_alone() -> None:
    assert with_key_words("Do bees make honey?", HISTORY) == "Do bees make honey?"
    assert with_key_words("How old did he get?", []) == "How old did he get?"


def test_a_third_question_still_knows_what_the_first_was_about() -> None:
    history = [*HISTORY, Message("user", "How old did he get?"), Message("assistant", "59.")]
    assert with_key_words("Where did he die?", history).startswith("Where did he die?")
    assert "William Conqueror" in with_key_words("Where did he die?", history)
    changed = [*history, Message("user", "Do bees make honey?"), Message("assistant", "Yes.")]
    assert with_key_words("Where do they live?", changed) == "Where do they live? bees make honey"


LEAN = """
它有多大？|还有呢？|为什么？|那它什么时候成立的？|第二个呢？|第二种怎么做？|最后一个是什么？|病假呢？|那上海呢？
什么时候成立的？|谁发明的？|有什么优点？|有哪些？|怎么做？|具体怎么操作？|怎么申请？|多少钱？|在哪里？
该公司有多少员工？|其作者是谁？|他是哪国人？|前者和后者有什么区别？|举个例子|详细说明一下|继续|然后呢|還有呢？
是什么运动员？|由什么公司经营？|位于哪个省？|曾任什么职务？|在哪一年出版？|主要讲什么？
And then?|Why?|What about Rouen?|The second one?|What does the last one say?|Does the latter apply?|The third?| """
ALONE = """
机器学习是什么？|我应该怎么安装？|土耳其的首都在哪里？|第一个登上月球的人是谁？|第二次世界大战是哪一年开始的？
其他城市有地铁吗？|吉他有几根弦？|怎么申请护照？|有哪些数据库支持事务处理和备份？|谁发明了电话？|那不勒斯在哪里？
地球为什么是圆的呢？|年假有多少天？|再生能源有哪些？|而立之年是几岁？|还原反应是什么？|PEP 8 是谁写的？
年假到了年底没有休完，它能留到明年吗？|是不是要重启数据库才能生效？|是否需要重启数据库？|曾国藩是谁？
Who was William?|How long may a line be?|Which was the first PEP?|Who came first?|Who won the second World War?"""


@pytest.mark.parametrize("question", [question for line in LEAN[1:].split("\n") for question in line.split("|")])
def test_questions_that_lean_on_what_was_said(question: str) -> None:
    assert leans(question)


@pytest.mark.parametrize("question", [question for line in ALONE[1:].split("\n") for question in line.split("|")])
def test_questions_that_do_not(question: str) -> None:
    assert not leans(question)


COMPANY = [Message("user", "请问阿里巴巴集团是什么样的公司？"), Message("assistant", "一家互联网公司。")]


@pytest.mark.parametrize("question", ["那它什么时候成立的？", "为什么？", "还有呢？", "谁创立的？", "腾讯呢？"])
def test_a_chinese_question_takes_what_the_one_before_it_was_about(question: str) -> None:
    assert with_key_words(question, COMPANY) == f"{question} 阿里巴巴集团 公司"


def test_chinese_conversations_go_on_and_change_their_subject() -> None:
    history = [*COMPANY, Message("user", "它什么时候成立的？"), Message("assistant", "1999 年。")]
    assert "阿里巴巴集团" in with_key_words("在哪里？", history)
    changed = [*history, Message("user", "机器学习是什么？"), Message("assistant", "人工智能的一个分支。")]
    assert with_key_words("有什么应用？", changed) == "有什么应用？ 机器学习"


CHINESE_LIST = [
    Message("user", "休假有哪几种？"),
    Message("assistant", "有三种：\n1. 年假，每年十天 [1]\n2. 病假，需要医院证明 [2]\n3、婚假 [3]"),
]
ENGLISH_LIST = [
    Message("user", "Which kinds of leave are there?"),
    Message("assistant", "There are:\n- annual leave\n- sick leave, with a certificate\n- parental leave"),
]


@pytest.mark.parametrize(
    ("history", "question", "about"),
    [
        (CHINESE_LIST, "第二个呢？", "病假 需要医院证明 休假"),
        (CHINESE_LIST, "那第三种要怎么申请？", "婚假 休假"),
        (CHINESE_LIST, "最后一个呢？", "婚假 休假"),
        (CHINESE_LIST, "第九个呢？", "休假"),
        (ENGLISH_LIST, "And the second one?", "sick leave certificate kinds"),
        (ENGLISH_LIST, "What about the last?", "parental leave kinds"),
        (ENGLISH_LIST, "And the fifth?", "kinds leave"),
    ],
)
def test_the_second_one_is_that_of_the_list(history: list[Message], question: str, about: str) -> None:
    assert with_key_words(question, history) == f"{question} {about}"


def test_a_rewriting_with_a_chinese_label_is_believed() -> None:
    rewritten = "改写后的问题：阿里巴巴集团什么时候成立的？"
    assert standalone_question("它什么时候成立的？", rewritten, COMPANY) == "阿里巴巴集团什么时候成立的？"


def test_the_prompt_is_short_and_holds_the_last_turns() -> None:
    long = [Message("system", "Be kind."), *(Message("user", f"turn {n} " + "word " * 1000) for n in range(20))]
    system, asked = rewriting_messages("And then?", long)
    assert system.role == "system"
    assert "turn 19" in asked.content
    assert "turn 13" not in asked.content
    assert "Be kind" not in asked.content
    assert "And then?" in asked.content
    assert len(asked.content) < 5000


@given(question=st.text(min_size=1), rewritten=st.text(), said=st.text())
def test_something_is_always_searched_for(question: str, rewritten: str, said: str) -> None:
    found = standalone_question(question, rewritten, [Message("user", said)])
    assert found.startswith(question) or found in rewritten

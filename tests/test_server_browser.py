"""The page in a real browser: upload, ask, open the quoted words; and documents that would like to do something."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from server_tools import running

from langbert import Document, Store
from langbert_server import Key, Keys, create_app

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
PEP = Path(__file__).parent.parent / "examples" / "documents" / "pep-0572.pdf"

pytestmark = [
    pytest.mark.models,
    pytest.mark.skipif(CHROMIUM is None and "CI" not in os.environ, reason="no browser: apt-get install chromium"),
]

HOSTILE = (
    'Bees make <script>window.hacked = 1</script><img src=x onerror="window.hacked = 1"> honey '
    "[click](javascript:window.hacked=1) \x1b[2J https://evil.example/?q= from nectar."
)


@pytest.fixture(scope="module")
def url(minilm, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("browser")
    with Store.open(folder / "store", embedder=minilm) as store:
        store.add([Document("bees", HOSTILE, '<b onclick="window.hacked=1">bees</b>.txt')])
        far = "".join(f"Chapter {i}\n\nLamp {i} stands in room {i}.\n\n" for i in range(300))
        store.add([Document("lamps", far + "🐝 The Norman castle was finished in 1078.", "lamps.txt")])
        notice = "The emergency exit is behind the stairs."
        store.add([Document(f"exit-{n}", notice, f"<b>exit</b> {n}.txt") for n in range(3)])
        with running(create_app(store)) as address:
            yield address


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.fixture
def page(browser: Any, url: str) -> Iterator[Any]:
    """The page, in English; a script error, or anything asked of another server, fails the test."""
    context = browser.new_context(locale="en-US", viewport={"width": 1200, "height": 800})
    page = context.new_page()
    page.set_default_timeout(60_000)
    wrong: list[str] = []
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("request", lambda request: None if request.url.startswith((url, "blob:")) else wrong.append(request.url))
    page.goto(url)
    yield page
    context.close()
    assert wrong == []


def ask(page: Any, question: str) -> Any:
    """The box of the finished answer."""
    page.fill("#question", question)
    page.keyboard.press("Enter")
    answer = page.locator(".turn").last.locator(".answer")
    answer.locator("details").wait_for()
    return answer


def in_view(page: Any, selector: str) -> bool:
    """Whether the middle of an element is inside the part of the source that is seen."""
    return bool(
        page.evaluate(
            """(selector) => {
                const mark = document.querySelector(selector).getBoundingClientRect();
                const body = document.querySelector("#source-body").getBoundingClientRect();
                const x = mark.left + mark.width / 2, y = mark.top + mark.height / 2;
                return x > body.left && x < body.right && y > body.top && y < body.bottom && mark.height > 0;
            }""",
            selector,
        )
    )


def test_upload_ask_and_open_the_words_on_the_page_of_the_pdf(page: Any, url: str) -> None:
    page.click("nav >> text=Documents")
    page.set_input_files("#files", PEP)
    page.locator("tr", has_text="pep-0572.pdf").locator("td.indexed").wait_for()
    page.click("nav >> text=Ask")
    answer = ask(page, "Who is the author of PEP 572?")
    answer.locator(".cite").first.click()
    page.locator(".sheet .box").first.wait_for()
    assert in_view(page, ".sheet .box")
    assert "page" in page.locator("#source-title").inner_text()
    # the boxes cover the words: what is drawn under them is not blank
    box = page.locator(".sheet .box").first.bounding_box()
    assert box["width"] > 10
    assert box["height"] > 5
    page.click("#as-text")
    page.locator("#source-body mark").wait_for()
    quote = page.locator("#source-body mark").inner_text()
    assert "".join(quote.split()) in "".join(answer.locator("q").first.text_content().split())
    assert in_view(page, "#source-body mark")
    page.keyboard.press("Escape")
    assert not page.locator("#source").is_visible()


def test_a_dropped_file_is_indexed_and_deleted(page: Any) -> None:
    page.click("nav >> text=Documents")
    page.locator("#drop").wait_for()
    page.evaluate(
        """() => {
            const files = new DataTransfer();
            files.items.add(new File(["The lighthouse keeper is called Ada."], "keeper.txt", {type: "text/plain"}));
            files.items.add(new File(["MZ"], "program.exe"));
            document.querySelector("#drop").dispatchEvent(new DragEvent("drop", {dataTransfer: files, bubbles: true}));
        }"""
    )
    row = page.locator("tr", has_text="keeper.txt")
    row.locator("td.indexed").wait_for()
    page.locator("#sending li.skipped", has_text=".exe").wait_for()
    page.on("dialog", lambda dialog: dialog.accept())
    row.get_by_role("button", name="Delete").click()
    row.wait_for(state="detached")


def test_a_server_that_wants_a_key_is_given_it_for_this_tab(browser: Any, minilm, tmp_path: Path) -> None:
    secret = "a secret of the garden"
    keys = Keys([Key.made("garden", secret, where={"department": "garden"})])
    with Store.open(tmp_path / "store", embedder=minilm) as store:
        store.add([Document("bees", "Bees make honey.", "bees.txt", {"department": "garden"})])
        store.add([Document("pay", "The salary is high.", "pay.txt", {"department": "hr"})])
        with running(create_app(store, keys=keys)) as url:
            context = browser.new_context(locale="en-US")
            page = context.new_page()
            page.goto(f"{url}/#/documents")
            for given in ("a wrong one, to begin with", secret):
                page.locator("#key-dialog").wait_for()
                page.fill("#key", given)
                page.keyboard.press("Enter")
            page.locator("#rows a", has_text="bees.txt").wait_for()
            assert page.locator("#rows tr").count() == 1
            assert not page.locator("#drop").is_visible()  # it only reads
            assert page.evaluate("localStorage.getItem('key')") is None
            context.close()


def test_the_mark_covers_the_quote_far_down_a_text(page: Any) -> None:
    answer = ask(page, "When was the Norman castle finished?")
    assert "1078" in answer.inner_text()
    answer.locator(".cite").first.click()
    mark = page.locator("#source-body mark")
    mark.wait_for()
    assert mark.inner_text() == answer.locator("q").first.text_content()
    assert in_view(page, "#source-body mark")


def test_a_hostile_document_does_nothing(page: Any) -> None:
    answer = ask(page, "What do bees make from nectar?")
    page.wait_for_timeout(300)
    assert "<script>" in answer.inner_text()
    assert page.evaluate("window.hacked") is None
    assert answer.locator("script, img, b").count() == 0
    assert answer.locator("a:not([href^='#/source/'])").count() == 0
    answer.locator(".cite, .quotes a").first.click()
    page.locator("#source-body pre").wait_for()
    assert "<script>" in page.locator("#source-body").inner_text()
    assert page.locator("#source-body").locator("script, img, a").count() == 0
    assert page.evaluate("window.hacked") is None


def test_a_refusal_looks_like_one_and_shows_what_is_near(page: Any) -> None:
    answer = ask(page, "How tall is the Eiffel tower?")
    assert "refused" in answer.get_attribute("class")
    assert answer.locator(".quotes li").count() == 3
    assert answer.locator(".cite").count() == 0


ANSWER = {
    "question": "Which kinds of leave are there?",
    "standalone_question": "Which kinds of leave are there?",
    "answer": "There are two kinds:\n- annual leave\n- sick leave [1]\n\nfor n in <b>kinds</b>:\n    print(n)",
    "refused": False,
    "confidence": 0.9,
    "answered_by": "quotation",
    "unsupported": [],
    "timings": {"total": 0.1},
    "nearest": [],
    "citations": [
        {
            "source": "lamps.txt",
            "document_id": "lamps",
            "page": None,
            "start": 0,
            "end": 9,
            "quote": "a\nb",
            "score": 0.9,
        }
    ],
}


def test_an_answer_of_several_lines_keeps_them(page: Any) -> None:
    body = "".join(
        f"event: {name}\ndata: {json.dumps(data)}\n\n"
        for name, data in (("piece", {"text": ANSWER["answer"]}), ("answer", ANSWER))
    )
    page.route("**/api/ask", lambda route: route.fulfill(body=body, content_type="text/event-stream"))
    answer = ask(page, "Which kinds of leave are there?")
    assert answer.locator("p").first.inner_text() == ANSWER["answer"]
    lines = page.evaluate(
        """() => {
            const range = document.createRange();
            range.selectNodeContents(document.querySelector(".answer p"));
            return new Set([...range.getClientRects()].map((line) => Math.round(line.bottom))).size;
        }"""
    )
    assert lines >= 5
    assert answer.locator("b").count() == 0
    assert answer.locator(".cite").inner_text() == "[1]"
    assert answer.locator("q").inner_text().strip('“”"') == "a\nb"


def test_other_places_of_a_passage_are_links(page: Any) -> None:
    page.click("nav >> text=Search")
    page.fill("#words", "emergency exit")
    page.keyboard.press("Enter")
    also = page.locator(".hit", has_text="emergency exit").first.locator(".elsewhere")
    also.wait_for()
    assert also.inner_text().startswith("Also in ")
    assert also.locator("a").count() == 2
    assert also.locator("b").count() == 0
    also.locator("a").nth(1).click()
    page.locator("#source-body mark").wait_for()
    assert "emergency exit" in page.locator("#source-body mark").inner_text()
    assert "exit" in page.locator("#source-title").inner_text()


def test_search_with_a_filter_and_walking_through_the_hits(page: Any) -> None:
    page.click("nav >> text=Search")
    page.fill("#words", "lamp room")
    page.fill("#source-is", "lamps.txt")
    page.keyboard.press("Enter")
    page.locator(".hit").first.wait_for()
    assert all("lamps.txt" in text for text in page.locator(".hit .place").all_inner_texts())
    page.locator(".hit a").first.click()
    page.locator("#source-body mark").wait_for()
    first = page.locator("#source-title").inner_text()
    assert page.locator("#previous").is_disabled()
    page.keyboard.press("ArrowRight")
    page.locator("#source-title").filter(has_not_text=first).wait_for()
    assert page.locator("#previous").is_enabled()


def test_an_address_opens_the_words(page: Any, url: str) -> None:
    page.goto(f"{url}/#/source/lamps/11-17")
    page.locator("#source-body mark").wait_for()
    assert page.locator("#source-body mark").inner_text() == "Lamp 0"


def test_chinese_dark_and_the_width_of_a_phone(page: Any) -> None:
    page.click("#language")
    assert page.locator("nav").inner_text().split() == ["提问", "搜索", "文档", "关于"]
    assert page.evaluate("document.documentElement.lang") == "zh-CN"
    light = page.evaluate("getComputedStyle(document.body).backgroundColor")
    page.click("#theme")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") != light
    page.set_viewport_size({"width": 360, "height": 700})
    for tab in ("提问", "搜索", "文档", "关于"):
        page.click(f"nav >> text={tab}")
        page.wait_for_load_state("networkidle")
        assert page.evaluate("document.documentElement.scrollWidth") <= 360, tab


def test_every_control_has_a_name_and_is_reached_by_keyboard(page: Any) -> None:
    unnamed = page.evaluate(
        """() => [...document.querySelectorAll("button, input, select, textarea, a")].filter((each) =>
            !(each.getAttribute("aria-label") || each.textContent.trim() ||
              [...(each.labels ?? [])].some((label) => label.textContent.trim()))).map((each) => each.outerHTML)"""
    )
    assert unnamed == ['<button type="button" id="as-text" hidden=""></button>']  # named when it is shown
    page.evaluate("document.activeElement.blur()")
    reached = set()
    for _ in range(14):
        page.keyboard.press("Tab")
        reached.add(page.evaluate("document.activeElement.id || document.activeElement.textContent.trim()"))
    assert {"Ask", "Search", "Documents", "About", "language", "theme", "question", "mode", "forget"} <= reached

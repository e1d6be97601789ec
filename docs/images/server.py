"""Takes ``server.png``: the page with an answer and the words it rests on, on the drawn page of a PDF.

    python docs/images/server.py

Needs chromium and ``pip install "langbert[server]" playwright``.
"""

from __future__ import annotations

import shutil
import socket
import threading
from pathlib import Path

import uvicorn
from playwright.sync_api import sync_playwright

from langbert import Embedder, Store, sync
from langbert_server import create_app

HERE = Path(__file__).parent
PEPS = HERE.parent.parent / "examples" / "documents"
QUESTION = "What operator do assignment expressions use?"


def main() -> None:
    store = Store.open(embedder=Embedder("minilm"))
    sync([PEPS / name for name in ("pep-0008.rst", "pep-0020.rst", "pep-0405.rst", "pep-0572.pdf")], store)
    with socket.socket() as listening, sync_playwright() as playwright:
        listening.bind(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(create_app(store), log_level="error"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1280, "height": 700}, locale="en-US")
        page.goto(f"http://127.0.0.1:{listening.getsockname()[1]}")
        page.fill("#question", QUESTION)
        page.keyboard.press("Enter")
        page.locator(".answer .cite").click()
        page.locator(".sheet .box").first.wait_for()
        page.wait_for_timeout(500)
        page.screenshot(path=HERE / "server.png")
        browser.close()
        server.should_exit = True
        thread.join()


if __name__ == "__main__":
    main()

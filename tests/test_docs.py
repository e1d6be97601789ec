"""Every Python block of the documentation runs, in order, from the project's root, and prints what stands below it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(
    r"^```python(?P<flags>[^\n]*)\n(?P<code>.*?)^```$(\n\n```\n(?P<prints>.*?)^```$)?", re.MULTILINE | re.DOTALL
)
DECIMAL = re.compile(r"\d+\.\d+")


def blocks(page: Path) -> list[tuple[int, str, str | None]]:
    """``(line, code, what it prints, if the next block shows that)`` of every block not marked ``python no-run``."""
    text = page.read_text(encoding="utf-8")
    return [
        (text.count("\n", 0, match.start("code")), match["code"], match["prints"])
        for match in BLOCK.finditer(text)
        if "no-run" not in match["flags"]
    ]


def programs() -> list[Path]:
    """The pages with code, and of those with the same code, as a translation has, one."""
    by_code = {tuple((code, prints) for _, code, prints in blocks(page)): page for page in PAGES}
    return [page for code, page in by_code.items() if code]


@pytest.mark.models
@pytest.mark.parametrize("page", programs(), ids=lambda page: str(page.relative_to(ROOT)))
def test_the_code_of_a_page_runs_and_prints_what_it_says(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    monkeypatch.chdir(tmp_path)
    namespace: dict[str, object] = {"__name__": "__docs__"}
    for line, code, expected in blocks(page):
        capsys.readouterr()
        exec(compile("\n" * line + code, str(page), "exec"), namespace)
        if expected is not None:
            printed = capsys.readouterr().out
            assert DECIMAL.sub("#", printed) == DECIMAL.sub("#", expected), f"{page.name}, line {line}"
            # scores differ in the last place between processors
            shown, meant = ([float(number) for number in DECIMAL.findall(text)] for text in (printed, expected))
            assert shown == pytest.approx(meant, abs=0.02), f"{page.name}, line {line}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_to_files_of_the_project_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\((?!https?:|#|mailto:)([^)#\s]+)", page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), f"{page.name}: broken link {target}"

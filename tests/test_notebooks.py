"""Every notebook in examples/ runs from top to bottom and shows, now and as stored, what its text promises."""

from __future__ import annotations

import re
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from nbformat import NotebookNode

EXAMPLES = Path(__file__).parent.parent / "examples"
NOTEBOOKS = sorted(EXAMPLES.glob("*.ipynb"))
PROMISES = {
    "agent": ["calls search_peps", "2 documents", "pep-0008.rst › Maximum Line Length", "does not call tools"],
    "chain": ["[1] pep-0257.rst, characters", "True", "79 characters", "and then citations", "refused: True"],
    "qa_over_pdf": ['"the walrus operator"', "['page 1']", "This is not in these documents", ">>>"],
    "semantic_search": ["(3, 384)", "6 documents", "lexical", "Asynchronous Context Managers", "pep-0498.html ›"],
}


def names(path: Path) -> str:
    return path.stem


def shown(notebook: NotebookNode) -> str:
    """All that the cells print or return."""
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    return "\n".join(output.text if "text" in output else output.data["text/plain"] for output in outputs)


def test_every_notebook_has_its_promises() -> None:
    assert sorted(PROMISES) == [path.stem for path in NOTEBOOKS]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=names)
def test_is_stored_as_it_ran(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1)), "run all cells, in order, once"
    text = shown(notebook)
    assert [promise for promise in PROMISES[path.stem] if promise not in text] == []
    assert not re.search(r"/(home|root|tmp|Users)/|[A-Z]:\\", path.read_text(encoding="utf-8")), "a path of one machine"


@pytest.mark.slow
@pytest.mark.models
@pytest.mark.parametrize("path", NOTEBOOKS, ids=names)
def test_runs(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # the kernel inherits it; tests run side by side
    monkeypatch.setenv("PYTHONWARNINGS", "ignore")  # Jupyter's own
    (tmp_path / "documents").symlink_to(EXAMPLES / "documents")
    notebook = nbformat.read(path, as_version=4)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = []
    NotebookClient(notebook, timeout=200, resources={"metadata": {"path": str(tmp_path)}}).execute()
    text = shown(notebook)
    assert [promise for promise in PROMISES[path.stem] if promise not in text] == []
    assert not any(output.get("name") == "stderr" for cell in notebook.cells for output in cell.get("outputs", []))

"""The shape of the project: who may import whom, what the public names are, how light an import is."""

from __future__ import annotations

import ast
import importlib
import re
import subprocess
import sys
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import langbert

ROOT = Path(langbert.__file__).parent

# Lowest first. A module may import from its own layer's package and from lower layers only.
LAYERS = [
    {"boxes", "errors", "files", "log_odds", "pickled", "records"},
    {"text"},
    {"models"},
    {"documents"},
    {"chunking"},
    {"embedding"},
    {"store"},
    {"indexing"},
    {"reranking"},
    {"retrieval"},
    {"reading", "checking"},
    {"generation"},
    {"answering"},
    {"labels"},
    {"training", "evaluation", "bench", "testing"},
    {"cli", "__main__"},
]
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}


def imports(file: Path) -> set[str]:
    """The langbert rooms a file imports when it is loaded or run; imports for type checking only do not count."""
    package = ["langbert", *file.relative_to(ROOT).parent.parts]
    found: set[str] = set()

    def visit(node: ast.AST) -> None:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING":
                continue
            if isinstance(child, ast.Import):
                found.update(alias.name for alias in child.names)
            elif isinstance(child, ast.ImportFrom):
                base = package[: len(package) - child.level + 1] if child.level else []
                stem = ".".join([*base, *([child.module] if child.module else [])])
                found.update(f"{stem}.{alias.name}" for alias in child.names)
            visit(child)

    visit(ast.parse(file.read_text(encoding="utf-8")))
    return {name.split(".")[1] for name in found if name.startswith("langbert.")}


def modules() -> list[Path]:
    return [file for file in sorted(ROOT.rglob("*.py")) if file != ROOT / "__init__.py"]


def room(file: Path) -> str:
    return file.relative_to(ROOT).parts[0].removesuffix(".py")


@pytest.mark.parametrize("file", modules(), ids=lambda file: str(file.relative_to(ROOT)))
def test_imports_point_one_way(file: Path) -> None:
    here = LEVEL[room(file)]
    later = {name for name in imports(file) if LEVEL.get(name, -1) > here}
    assert not later, f"{file.name} ({room(file)}) imports later stages: {later}"
    unknown = {name for name in imports(file) if name not in LEVEL and not hasattr(langbert, name)}
    assert not unknown


def test_the_core_never_imports_an_integration() -> None:
    for file in modules():
        assert "langchain" not in file.read_text(encoding="utf-8").replace("langchain_faiss", ""), file


INTEGRATIONS = ROOT.parent / "integrations"
PUBLIC = (
    *("langbert", "langbert.answering", "langbert.documents", "langbert.embedding", "langbert.errors"),
    *("langbert.files", "langbert.indexing", "langbert.log_odds", "langbert.pickled", "langbert.records"),
    *("langbert.store", "langbert.store.outside"),
)


@pytest.mark.parametrize(
    "file", sorted(INTEGRATIONS.rglob("*.py")), ids=lambda file: str(file.relative_to(INTEGRATIONS))
)
def test_integrations_use_public_names_only(file: Path) -> None:
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            assert not [alias.name for alias in node.names if alias.name.startswith("langbert.")], file
        if isinstance(node, ast.ImportFrom) and not node.level and str(node.module).split(".")[0] == "langbert":
            assert node.module in PUBLIC, f"{file.name} imports {node.module}"
            public = importlib.import_module(node.module).__all__
            assert {alias.name for alias in node.names} <= set(public), f"{file.name}: {node.module}"


def imported_when_loaded(file: Path, root: Path) -> set[Path]:
    """The files under ``root`` that ``file`` imports as it is loaded, not in functions or for type checking."""
    package = [root.name, *file.relative_to(root).parent.parts]
    found: set[Path] = set()

    def at(name: str) -> set[Path]:
        path = root.joinpath(*name.split(".")[1:])
        return {target for target in (path.with_suffix(".py"), path / "__init__.py") if target.is_file()}

    def visit(node: ast.AST) -> None:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
                continue
            if isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING":
                continue
            if isinstance(child, ast.ImportFrom):
                base = package[: len(package) - child.level + 1] if child.level else []
                stem = ".".join([*base, *([child.module] if child.module else [])])
                if stem.split(".")[0] == root.name:
                    for alias in child.names:
                        found.update(at(f"{stem}.{alias.name}") or at(stem))
            visit(child)

    visit(ast.parse(file.read_text(encoding="utf-8")))
    return found - {file}


MODEL_ROOMS = [
    {"cores", "hardware"},
    {"layers"},  # torch, and what the processor can do
    {"files"},
    {"architectures", "llama_cpp_models", "transformers_models"},
    {"bert", "gpt"},
    {"encoder", "decoder", "runner"},
]
MODEL_LEVEL = {name: level for level, names in enumerate(MODEL_ROOMS) for name in names}


def test_within_models_imports_point_one_way_too() -> None:
    models = ROOT / "models"

    def place(file: Path) -> int:
        return MODEL_LEVEL[file.relative_to(models).parts[0].removesuffix(".py")]

    for file in set(models.rglob("*.py")) - {models / "__init__.py"}:
        inside = {other for other in imported_when_loaded(file, ROOT) if models in other.parents}
        assert all(place(other) <= place(file) for other in inside - {models / "__init__.py"}), file
    for file in (models / "layers").glob("*.py"):
        assert all(models in other.parents for other in imported_when_loaded(file, ROOT)), file


@pytest.mark.parametrize(
    "root", [ROOT, *(folder for folder in INTEGRATIONS.iterdir() if (folder / "__init__.py").is_file())]
)
def test_no_file_imports_itself_round_a_corner(root: Path) -> None:
    graph = {file: imported_when_loaded(file, root) for file in root.rglob("*.py")}
    try:
        tuple(TopologicalSorter(graph).static_order())
    except CycleError as error:
        pytest.fail(" → ".join(str(file.relative_to(root)) for file in error.args[1]))


def test_no_file_is_longer_than_one_can_read_in_a_sitting() -> None:
    files = [*ROOT.rglob("*.py"), *INTEGRATIONS.rglob("*.py")]
    assert not [file for file in files if len(file.read_text(encoding="utf-8").splitlines()) > 450]


def test_what_is_private_to_the_store_is_used_in_its_room_alone() -> None:
    private = re.compile(r"\bstore\._[a-z]")
    elsewhere = [*(file for file in modules() if room(file) != "store"), *INTEGRATIONS.rglob("*.py")]
    assert not [file for file in elsewhere if private.search(file.read_text(encoding="utf-8"))]


def test_the_public_names_are_pinned() -> None:
    assert set(langbert.__all__) == {
        *("Answer", "Candidate", "Chunk", "Chunker", "Citation", "Document", "Embedder", "Generator", "LangbertError"),
        *(
            "AnswerMode",
            "Checker",
            "Classifier",
            "EmbeddingCache",
            "Entailment",
            "Extraction",
            "Extractor",
            "FewShotClassifier",
            "ImageEmbedder",
            "Message",
            "RemoteGenerator",
            "Tagger",
            "Triple",
            "sync",
        ),
        *(
            "Pooling",
            "Rag",
            "Reader",
            "Reranker",
            "Retriever",
            "Span",
            "Store",
            "StoreLike",
            "open_store",
            "read_documents",
            "__version__",
        ),
    }
    for name in langbert.__all__:
        assert getattr(langbert, name) is not None


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        importlib.import_module("langbert").nothing  # noqa: B018


def heavy_modules_after(statement: str) -> set[str]:
    """Which heavy packages a fresh interpreter has loaded after ``statement``."""
    heavy = {"torch", "faiss", "transformers", "numpy", "tantivy", "langchain_core", "docutils", "gguf", "openai"}
    code = f"import sys; {statement}; print(*({heavy!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_importing_langbert_loads_nothing_heavy() -> None:
    assert heavy_modules_after("import langbert") == set()


def test_a_question_reads_no_document() -> None:
    """What only reading files needs is not imported by who opens a store and asks."""
    asking = "import langbert.store.store, langbert.answering.rag, langbert.embedding.embedder, langbert.reranking"
    code = f"import sys, langbert.cli.ask; {asking}; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert [name for name in loaded if name.startswith("langbert.documents.")] == ["langbert.documents.picture"]
    assert not {"langbert.answering.claims", "langbert.answering.follow_up"} & set(loaded)


def test_documents_and_the_store_do_without_torch() -> None:
    assert "torch" not in heavy_modules_after("import langbert.documents, langbert.chunking, langbert.store")


def test_the_command_line_starts_light() -> None:
    assert heavy_modules_after("import langbert.cli") <= {"numpy"}


def test_the_server_answers_before_it_loads_torch() -> None:
    assert heavy_modules_after("import langbert_server.app") <= {"numpy", "faiss", "tantivy"}


def test_every_file_that_contributors_are_told_of_is_there() -> None:
    told = re.findall(r"`([a-z_/]+(?:\.py|/))`", (ROOT.parent / "CONTRIBUTING.md").read_text(encoding="utf-8"))
    assert len(told) > 40
    assert not [name for name in told if not any((root / name).exists() for root in (ROOT, ROOT.parent, INTEGRATIONS))]

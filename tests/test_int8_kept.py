"""A network in 8 bits that was made once is kept, and read only where it is whole and the one that is wanted."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from langbert.models.bert import calibration
from langbert.models.bert.calibration import Calibration, calibrated
from langbert.models.bert.inference import PreparedBert
from langbert.models.bert.loading import load_bert, save_bert
from langbert.models.bert.network import Bert, BertConfig
from langbert.models.files.cache import trim
from langbert.models.files.tokenizer import TextTokenizer
from langbert.models.files.weights import save_tensors
from langbert.models.layers.int8_projection import weight_limits

try:
    weight_limits()
except ValueError:
    pytest.skip("no 8-bit products on this processor", allow_module_level=True)

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "of", "a", "in", "old", "light", "灯", "塔"]
SEQUENCES = [[2, 5, 9, 10, 3], [2, *range(5, 13), 3]]


def network(seed: int) -> Bert:
    torch.manual_seed(seed)
    config = BertConfig(vocab_size=13, hidden_size=64, n_layers=3, n_heads=4, intermediate_size=256, max_positions=40)
    return Bert(config, pooler=False).eval()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small checkpoint, and a cache folder of its own."""
    monkeypatch.setenv("LANGBERT_CACHE", str(tmp_path / "cache"))
    return made(tmp_path / "model", 0)


def made(folder: Path, seed: int) -> Path:
    folder.mkdir()
    (folder / "vocab.txt").write_text("\n".join(WORDS), encoding="utf-8")
    save_bert(network(seed), folder)
    return folder


@pytest.fixture
def find(folder: Path) -> Callable[..., tuple[Calibration, int]]:
    """What is found, and how often the network had to be loaded for it."""

    def found(place: Path = folder) -> tuple[Calibration, int]:
        loaded: list[Path] = []
        tokenizer = TextTokenizer.from_folder(place)
        return calibrated(lambda: loaded.append(place) or load_bert(place), lambda: tokenizer, [place]), len(loaded)

    return found


def kept(folder: Path) -> list[Path]:
    return list((folder.parent / "cache" / "int8").glob("*.safetensors"))


def states(folder: Path, known: Calibration) -> torch.Tensor:
    return PreparedBert(load_bert(folder), dtype=torch.int8, int8=known.layers)(SEQUENCES)


def test_what_was_made_once_is_the_same_to_the_bit(folder, find):
    first, again = find(), find()
    assert (first[1], again[1]) == (1, 0)
    assert torch.equal(first[0].cosines, again[0].cosines)
    assert torch.equal(states(folder, first[0]), states(folder, again[0]))
    (folder / "config.json").write_text((folder / "config.json").read_text() + "\n")
    assert find()[1] == 1


def test_a_damaged_file_is_made_anew(folder, find):
    expected = states(folder, find()[0])
    (file,) = kept(folder)
    whole = file.read_bytes()
    start = 8 + int.from_bytes(whole[:8], "little")
    spots = np.linspace(start, len(whole) - 1, 40, dtype=int).tolist() + list(range(0, start, start // 40))
    for spot in spots:
        file.write_bytes(whole[:spot] + bytes([whole[spot] ^ 1]) + whole[spot + 1 :])
        assert calibration._read(file, file.stem) is None, spot
    for size in (0, 1, 100, start, len(whole) - 1):
        file.write_bytes(whole[:size])
        assert calibration._read(file, file.stem) is None, size
    known, loaded = find()
    assert loaded == 1
    assert torch.equal(states(folder, known), expected)
    assert file.read_bytes() == whole
    assert find()[1] == 0


def test_the_file_of_another_network_is_not_taken(folder, find):
    expected = states(folder, find()[0])
    (own,) = kept(folder)
    find(made(folder.parent / "other", 1))
    (other,) = set(kept(folder)) - {own}
    own.write_bytes(other.read_bytes())
    known, loaded = find()
    assert loaded == 1
    assert torch.equal(states(folder, known), expected)
    own.unlink()
    save_tensors({"cosines": torch.ones(3)}, own)  # of another version, say
    assert find()[1] == 1


def test_without_a_place_to_keep_it_it_is_made_once_a_process(folder, find, monkeypatch):
    expected = find()
    nowhere = folder.parent / "file"
    nowhere.write_text("in the way of the folder")
    monkeypatch.setenv("LANGBERT_CACHE", str(nowhere / "cache"))
    (folder / "config.json").touch()
    first, again = find(), find()
    assert (first[1], again[1]) == (1, 0)
    assert all(torch.equal(states(folder, expected[0]), states(folder, known)) for known, _ in (first, again))


@pytest.mark.skipif(sys.platform == "win32", reason="no such limit")
def test_a_full_disk_is_no_place(folder):
    program = """
import resource, signal, sys, torch
from pathlib import Path
from langbert.models.encoder import load_encoder
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
print(load_encoder(Path(sys.argv[1]), dtype=torch.int8, device=torch.device("cpu"))([[2, 5, 3]]).shape)
"""
    run = subprocess.run([sys.executable, "-c", program, str(folder)], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "torch.Size([3, 64])"
    assert not list((folder.parent / "cache" / "int8").iterdir())


def test_two_processes_make_it_at_once(folder):
    program = """
import sys, torch
from pathlib import Path
from langbert.models.encoder import load_encoder
sys.stdin.readline()
for _ in range(2):
    encoder = load_encoder(Path(sys.argv[1]), dtype=torch.int8, device=torch.device("cpu"))
    print(encoder([[2, 5, 9, 10, 3]]).numpy().tobytes().hex())
"""
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", program, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for _ in range(2)
    ]
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    said = [process.communicate(timeout=120)[0].split() for process in processes]
    assert all(len(lines) == 2 for lines in said)
    assert len({line for lines in said for line in lines}) == 1
    assert len(list((folder.parent / "cache" / "int8").iterdir())) == 1


def test_what_was_not_used_for_longest_makes_room(tmp_path):
    for i in range(4):
        (tmp_path / f"{i}").write_bytes(bytes(100))
        os.utime(tmp_path / f"{i}", (i, i))
    os.utime(tmp_path / "0", (9, 9))
    trim(tmp_path, 250)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["0", "3"]
    trim(tmp_path, 50)
    assert [file.name for file in tmp_path.iterdir()] == ["0"]
    trim(tmp_path / "nowhere", 50)

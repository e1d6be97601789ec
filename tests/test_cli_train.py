"""``langbert train`` as users type it: from a small SQuAD file, stopped, resumed, refused."""

from __future__ import annotations

import inspect
import json
import signal
import subprocess
import sys
import time
from dataclasses import fields
from pathlib import Path

import pytest

from langbert import Tagger
from langbert.cli.app import invoke
from langbert.cli.train import command_for
from langbert.models.files.weights import read_tensors
from langbert.training import TASKS, TrainSettings, task_class

FACTS = {
    "Bees": [("Bees make honey from nectar.", "honey"), ("A hive holds about 40,000 bees.", "40,000")],
    "Normans": [("The Normans lived in Normandy.", "Normandy"), ("William was crowned king in 1066.", "1066")],
    "Rivers": [("The Rhine ends in the North Sea.", "North Sea"), ("The Elbe passes Hamburg.", "Hamburg")],
}


@pytest.fixture
def squad(tmp_path: Path) -> Path:
    """Three articles of two sentences."""

    def paragraph(name: str, text: str, answer: str) -> dict[str, object]:
        answers = [{"text": answer, "answer_start": text.index(answer)}]
        return {"context": text, "qas": [{"id": name, "question": f"What of {name}?", "answers": answers}]}

    data = [
        {"title": title, "paragraphs": [paragraph(f"{title}{i}", *fact) for i, fact in enumerate(facts)]}
        for title, facts in FACTS.items()
    ]
    file = tmp_path / "squad.json"
    file.write_text(json.dumps({"data": data}), encoding="utf-8")
    return file


@pytest.mark.parametrize("objective", TASKS)
def test_every_objective_has_its_command_and_says_what_it_takes(
    objective: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert invoke(["train", objective, "--help"]) == 0
    shown = capsys.readouterr().out
    for option in ("--data", "--output", "--epochs", "--resume", "--json"):
        assert option in shown


@pytest.mark.parametrize("name", TASKS)
def test_a_command_takes_what_its_class_takes_with_the_same_defaults_and_says_what_each_is(name: str) -> None:
    options = {option.name: option for option in command_for(name).params}
    for key, parameter in inspect.signature(task_class(name)).parameters.items():
        if parameter.default is not parameter.empty and key != "seed":
            assert options[key].default == parameter.default, key
    assert {field.name for field in fields(TrainSettings)} <= options.keys()
    assert all(options[field.name].default is None for field in fields(TrainSettings))
    assert [key for key, option in options.items() if option.required] == ["data", "folder"]
    assert [key for key, option in options.items() if not option.help] == []


def test_bounds_of_a_signature_hold_on_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["train", "reader", "--data", str(tmp_path), "--output", str(tmp_path / "run")]
    assert invoke([*arguments, "--max-length", "16"]) == 2
    assert "greater than or equal to 32" in capsys.readouterr().err
    assert invoke([*arguments[:3], str(tmp_path / "nothing"), *arguments[4:]]) == 2
    assert "there is nothing at" in capsys.readouterr().err


@pytest.mark.models
def test_a_reranker_is_trained_in_one_command(squad: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "run"
    arguments = ["train", "reranker", "--data", str(squad), "--output", str(output)]
    assert invoke([*arguments, "--epochs", "2", "--group", "3", "--holdout", "0.34", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["steps"] == 2
    assert set(shown["metrics"]) == {"rr", "top1"}
    assert (output / "negatives.jsonl").read_text().count("\n") == 6
    assert Path(shown["model"], "adapter_model.safetensors").is_file()
    arguments[-1] = str(tmp_path / "further")  # adapters are no embedder, so their base finds the negatives
    assert invoke([*arguments, "--base", shown["model"], "--max-steps", "1", "--holdout", "0.34", "--json"]) == 0


def test_a_recurrent_tagger_is_trained_from_nothing_in_one_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = tmp_path / "names.conll"
    data.write_text("Rhine B-RIVER\nflows O\n\n北 B-CITY\n京 I-CITY\n\n" * 8, encoding="utf-8")
    arguments = ["train", "tagger", "--data", str(data), "--architecture", "gru", "--base", "scratch", "--json"]
    assert invoke([*arguments, "--output", str(tmp_path / "run"), "--hidden-size", "16", "--epochs", "1"]) == 0
    assert json.loads(capsys.readouterr().out)["steps"] == 1
    assert Tagger(tmp_path / "run" / "model").labels == ("O", "B-CITY", "B-RIVER", "I-CITY", "I-RIVER")
    assert invoke([*arguments, "--output", str(tmp_path / "no"), "--hidden-size", "15"]) == 2
    assert "hidden_size is 15, expected an even one" in capsys.readouterr().out


@pytest.mark.models
def test_wrong_options_and_data_are_said_in_a_sentence(
    squad: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["train", "reader", "--data", str(squad), "--output", str(tmp_path / "run")]
    assert invoke([*arguments, "--learning-rate", "-1"]) == 2
    assert "learning_rate must be more than 0, got -1" in capsys.readouterr().err
    squad.write_text("{}", encoding="utf-8")
    assert invoke(arguments) == 1
    assert "squad.json" in capsys.readouterr().err


@pytest.mark.models
@pytest.mark.slow
@pytest.mark.parametrize("processes", [1, 2])
def test_a_run_killed_with_9_goes_on_to_the_same_model(squad: Path, tmp_path: Path, processes: int) -> None:
    options = ["--max-steps", "60", "--epochs", "60", "--batch-size", "1", "--save-every", "5", "--holdout", "0"]

    def command(output: Path, *more: str) -> list[str]:
        launch = ["-m", "langbert"]
        if processes > 1:
            launch = ["-m", "accelerate.commands.launch", "--cpu", "--num_processes", str(processes)]
            launch += ["--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no", "-m", "langbert"]
        return [sys.executable, *launch, "train", "reader", "--data", str(squad), "-o", str(output), *options, *more]

    whole, killed = tmp_path / "whole", tmp_path / "killed"
    subprocess.run(command(whole), check=True, capture_output=True, timeout=300)
    run = subprocess.Popen(
        command(killed), start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 300
    while not list(killed.glob("checkpoints/step-*/run.json")):
        assert run.poll() is None, "it ended before the first checkpoint"
        assert time.monotonic() < deadline
        time.sleep(0.01)
    subprocess.run(["pkill", "-9", "-s", str(run.pid)], check=True)
    assert run.wait(timeout=60) == -signal.SIGKILL
    assert not (killed / "model").exists()
    subprocess.run(command(killed, "--resume"), check=True, capture_output=True, timeout=300)
    mine, theirs = (read_tensors(folder / "model" / "adapter_model.safetensors") for folder in (whole, killed))
    assert all(mine[name].equal(theirs[name]) for name in mine)

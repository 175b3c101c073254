"""Two processes by torchrun (gloo, CPU) train one net."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml

from workbench.__main__ import main
from workbench.config import RunConfig, to_dict
from workbench.runs import runs
from workbench.train import assemble

TINY_VIT = {"depth": 1, "embed_dim": 24, "num_heads": 3}
CONFIG = RunConfig(
    method="vanilla",
    data="digits",
    model="vit_tiny_patch16_224",
    model_args=TINY_VIT,
    epochs=1,
    size=8,
    batch_size=256,
    lr=0.05,
    augment="none",
    device="cpu",
)


SMALLEST = ["train", "--data", "digits", "--model", "resnet8", "--size", "8", "--device", "cpu", "--no-progress"]


def in_two_processes(config: RunConfig, out: Path) -> dict:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    script = [str(Path(__file__).with_name("in_two_processes.py")), yaml.safe_dump(to_dict(config)), str(out)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*command, *script], capture_output=True, text=True, timeout=300, env=environment, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return torch.load(out, weights_only=True)


@pytest.mark.slow
def test_two_processes_take_the_steps_of_one(tmp_path: Path) -> None:
    """A net without batch statistics: half a batch each, gradients averaged, must equal the whole batch in one.

    1,438 images in batches of 256 leave a last batch of 158, which two processes share evenly.
    """
    config = replace(CONFIG, epochs=1)
    two = in_two_processes(config, tmp_path / "two.pt")
    training = assemble(config)
    training.objective.train()
    for index, (x, y) in enumerate(training.train.epoch(0)):
        training.step(x, y, 0, index)
    for name, value in training.net.state_dict().items():
        torch.testing.assert_close(two["weights"][name], value, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["automix"])
def test_learned_methods_stay_in_step(method: str, tmp_path: Path) -> None:
    """The script itself holds the weights of both processes, the generator's too, against each other."""
    in_two_processes(replace(CONFIG, method=method, model="resnet8", model_args={}), tmp_path / "two.pt")


@pytest.mark.slow
def test_two_processes_from_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [*SMALLEST, "--epochs", "2", "--processes", "2"]
    main([*words, "--root", str(tmp_path)])
    (handle,) = runs(tmp_path)
    assert handle.state == "done" and len(handle.history) == 2
    assert "accuracy" in capsys.readouterr().out


@pytest.mark.slow
def test_torchrun_of_a_new_run(tmp_path: Path) -> None:
    """As the README has it: every process is handed the same command, and only one makes the folder and prints."""
    start = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", "-m"]
    words = ["workbench", *SMALLEST, "--epochs", "1", "--root"]
    done = subprocess.run([*start, *words, str(tmp_path)], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.count("accuracy") == 1
    assert runs(tmp_path)[0].state == "done"

"""Weights of earlier epochs: kept as asked, the same after an interruption, and read back with the finished net."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from workbench.config import RunConfig, UsageError
from workbench.runs import Run, checkpoint, execute, resume, run
from workbench.train import assemble

SMALL = RunConfig(
    method="cutmix", data="digits", model="resnet8", epochs=5, size=8, batch_size=512, lr=0.1, device="cpu",
    keep_weights=2, ema_decay=0.5,
)  # fmt: skip


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return run(SMALL, tmp_path_factory.mktemp("whole"), progress=False)


def files(handle: Run) -> list[str]:
    return sorted(path.name for path in (handle.path / "trajectory").iterdir())


def test_every_second_epoch_is_kept_and_the_finished_net_comes_last(whole: Run) -> None:
    assert files(whole) == ["epoch-0000.safetensors", "epoch-0002.safetensors", "epoch-0004.safetensors"]
    epochs, states = whole.trajectory()
    assert epochs == [0, 2, 4, 5]
    first, last = assemble(SMALL).final_net.state_dict(), whole.net().state_dict()
    for found, expected in ((states[0], first), (states[-1], last)):
        assert found.keys() == expected.keys()
        assert all(torch.equal(found[key], value) for key, value in expected.items())
    assert any(not torch.equal(states[1][key], states[2][key]) for key in last)


def test_an_interrupted_run_keeps_the_same(whole: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It ends just before the checkpoint of epoch 2, so that the epoch is trained, and kept, once more."""
    save = checkpoint.save

    def fail_at_two(path: Path, epoch: int, state: dict) -> None:
        if epoch == 2:
            raise KeyboardInterrupt
        save(path, epoch, state)

    monkeypatch.setattr(execute.checkpoint, "save", fail_at_two)
    with pytest.raises(KeyboardInterrupt):
        run(SMALL, tmp_path, progress=False)
    monkeypatch.undo()
    cut = Run(tmp_path / SMALL.run_id)
    assert cut.trajectory()[0] == [0, 2], "what is there of a run that is not finished"
    resumed = resume(cut.path, progress=False)
    assert files(resumed) == files(whole)
    for ours, theirs in zip(resumed.trajectory()[1], whole.trajectory()[1], strict=True):
        assert all(torch.equal(ours[key], theirs[key]) for key in theirs)


def test_a_run_that_kept_none_says_how_to(tmp_path: Path) -> None:
    handle = run(replace(SMALL, keep_weights=0, epochs=1), tmp_path, progress=False)
    assert not (handle.path / "trajectory").exists()
    with pytest.raises(UsageError, match=r"kept no weights but the last; train it with keep_weights=1, say"):
        handle.trajectory()


def test_a_damaged_file_is_told(whole: Run, tmp_path: Path) -> None:
    copy = Run(shutil.copytree(whole.path, tmp_path / "copy"))
    (copy.path / "trajectory" / "epoch-0002.safetensors").write_bytes(b"not tensors")
    with pytest.raises(UsageError, match=r"epoch-0002\.safetensors is damaged"):
        copy.trajectory()

"""SAMix-P: the generator of a stored run makes the masks for another net, and learns nothing more."""

from __future__ import annotations

import copy
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.methods.settings import awake, noise_batch, residual_net
from workbench.config import RunConfig, UsageError, dump
from workbench.draw import Draw
from workbench.methods import SAMix
from workbench.models import Net
from workbench.runs.weights import save_method, save_net


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """What a finished run leaves that a new one reads."""
    both = awake(SAMix, lam_k=0.5, tap="stage3")
    both.net.eval(), both.method.eval()
    path = tmp_path / "source"
    path.mkdir()
    params = {"lam_k": 0.5, "tap": "stage3"}
    (path / "config.yaml").write_text(dump(RunConfig(method="samix", model="resnet8", params=params)))
    save_net(path / "weights.safetensors", both.net, {})
    save_method(path / "method.safetensors", both.method)
    return path


def frozen(folder: Path, net: Net) -> SAMix:
    method = SAMix(pretrained=str(folder))
    method.attach(net)
    return method


def other_net(classes: int = 5) -> Net:
    torch.manual_seed(1)
    return Net("resnet20", classes, mean=[0.1], std=[0.5])


def test_frozen_masks_are_those_of_the_stored_run(folder: Path) -> None:
    """For a net of another depth, with other classes and statistics; the stored run's tap and k are used."""
    net = other_net()
    method = frozen(folder, net)
    x, y = noise_batch(8)
    mixed = method.mix(x, y % 5, net, Draw(1))
    source = awake(SAMix, lam_k=0.5, tap="stage3")
    source.method.eval()
    expected = source.method.mix(x, y, source.net, Draw(1))
    torch.testing.assert_close(mixed.mask, expected.mask, atol=1e-5, rtol=0)
    torch.testing.assert_close(mixed.x, expected.x, atol=1e-5, rtol=0)
    assert mixed.mask.flatten(1).std(1).min() > 0.01


def test_frozen_learns_nothing_and_follows_nothing(folder: Path) -> None:
    net = other_net()
    method = frozen(folder, net).train()
    x, y = noise_batch(8)
    before = copy.deepcopy(method.state_dict())
    losses = method.losses(method.mix(x, y % 5, net, Draw(1)), y % 5, net)
    for loss in losses:
        loss().backward()
    method.after_step(net, 0.5)
    assert len(losses) == 2
    assert not any(p.requires_grad or p.grad is not None for p in method.parameters())
    assert not any(module.training for module in method.teacher.modules())
    assert all(torch.equal(a, b) for a, b in zip(before.values(), method.state_dict().values(), strict=True))
    assert all(p.grad is not None for p in net.parameters())


def test_frozen_is_stored_whole_and_read_when_its_source_is_gone(folder: Path, tmp_path: Path) -> None:
    net = other_net()
    method = frozen(folder, net).eval()
    save_method(tmp_path / "new.safetensors", method)
    x, y = noise_batch(8)
    expected = method.mix(x, y % 5, net, Draw(1))
    shutil.rmtree(folder)
    again = SAMix(pretrained=str(folder)).eval()
    again.load_state_dict(load_file(tmp_path / "new.safetensors"))
    torch.testing.assert_close(again.mix(x, y % 5, net, Draw(1)).x, expected.x)
    with pytest.raises(UsageError, match=r"pretrained must be the folder of a finished run of samix; at .* no folder"):
        again.attach(net)


def test_a_frozen_run_serves_as_a_source_too(folder: Path, tmp_path: Path) -> None:
    net = other_net()
    method = frozen(folder, net)
    path = tmp_path / "second"
    path.mkdir()
    params = {"pretrained": str(folder)}
    (path / "config.yaml").write_text(dump(RunConfig(method="samix", model="resnet20", params=params)))
    save_net(path / "weights.safetensors", net, {})
    save_method(path / "method.safetensors", method)
    x, y = noise_batch(4)
    torch.testing.assert_close(frozen(path, net).mix(x, y, net, Draw()).x, method.mix(x, y, net, Draw()).x)


def test_pretrained_that_does_not_fit(folder: Path, tmp_path: Path) -> None:
    def told(path: Path, net: Net) -> str:
        with pytest.raises(UsageError) as raised:
            frozen(path, net)
        assert "\n" not in str(raised.value)
        return str(raised.value)

    net = other_net()
    assert "reads 3 channels, this one 1" in told(folder, residual_net(1, 32, 32))
    assert "no folder" in told(tmp_path / "nothing", net)
    assert "no config.yaml" in told(tmp_path, net)
    config = (folder / "config.yaml").read_text()
    (folder / "config.yaml").write_text(dump(RunConfig(method="automix", model="resnet8")))
    assert "is of automix" in told(folder, net)
    (folder / "config.yaml").write_text(config)
    tensors = load_file(folder / "method.safetensors")
    save_file({k: v for k, v in tensors.items() if not k.startswith("generator")}, folder / "method.safetensors")
    assert "another generator" in told(folder, net)
    (folder / "method.safetensors").write_bytes(b"nothing")
    assert "can't be read" in told(folder, net)
    (folder / "method.safetensors").unlink()
    assert "not finished (`workbench resume" in told(folder, net)

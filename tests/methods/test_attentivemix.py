"""AttentiveMix+: the k best cells of a frozen teacher, k from Beta(alpha, beta)."""

from __future__ import annotations

import copy
import dataclasses
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from scipy import stats

from tests.methods.settings import noise_batch, residual_net
from workbench.config import UsageError
from workbench.draw import Draw
from workbench.methods import AttentiveMix, build
from workbench.methods.attentivemix import cells_of, load_teacher, to_grid, top_cells
from workbench.models import Net
from workbench.models.stored import net_bytes


@pytest.fixture
def net() -> Net:
    """In training mode, with batch norms whose stored statistics are not those of the batch."""
    torch.manual_seed(0)
    net = residual_net(3, 32, 32)
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.3)
            module.running_var.uniform_(0.5, 2)
    return net.train()


@pytest.fixture
def run_folder(net: Net, tmp_path: Path) -> str:
    (tmp_path / "weights.safetensors").write_bytes(net_bytes(net, {}))
    return str(tmp_path)


# ------------------------------------------------------------------------------------------------------- the cells


def test_top_cells_against_a_loop() -> None:
    rng = np.random.default_rng(0)
    scores = rng.normal(size=(6, 3, 5)).round(1)  # rounded, so that some are equal
    k = [1, 2, 7, 14, 15, 4]
    mask = top_cells(torch.tensor(scores), torch.tensor(k))
    assert mask.shape == (6, 1, 3, 5) and mask.dtype == torch.float32
    for row in range(6):
        order = sorted(range(15), key=lambda cell: (-scores[row].flat[cell], cell))
        expected = np.zeros(15)
        expected[order[: k[row]]] = 1
        assert mask[row, 0].flatten().tolist() == expected.tolist()


def test_cells_are_alike_where_the_side_allows_it() -> None:
    assert [cells_of(side, 7) for side in (224, 32, 64, 28, 40, 24)] == [7, 8, 8, 7, 8, 6]
    assert [cells_of(side, 7) for side in (17, 23, 5)] == [7, 7, 5]
    assert cells_of(32, 1) == 1 and cells_of(32, 64) == 32


def test_a_map_of_the_grids_size_is_taken_as_it_is() -> None:
    scores = torch.randn(2, 7, 7)
    assert torch.equal(to_grid(scores, 7, 7), scores)
    blocks = torch.arange(4.0).view(1, 2, 2).repeat_interleave(8, 1).repeat_interleave(8, 2)
    torch.testing.assert_close(to_grid(blocks, 4, 4)[0, ::3, ::3], torch.tensor([[0.0, 1], [2, 3]]))


def test_the_row_keeps_the_cells_that_the_mean_over_channels_ranks_first(net: Net) -> None:
    x, y = noise_batch(6)
    maps: list[torch.Tensor] = []
    reference = copy.deepcopy(net).eval()
    handle = reference._module(reference.depths[-1]).register_forward_hook(lambda _m, _i, out: maps.append(out))
    reference(x)
    handle.remove()
    mixed = build("attentivemix").mix(x, y, net, Draw(2))
    features = maps[0].detach().double().numpy()
    assert features.shape[2:] == (8, 8) == tuple(mixed.mask.shape[2:])
    differs = 0
    for row in range(6):
        kept = mixed.mask[row, 0].numpy().astype(bool)
        scores = features[row].mean(0)
        assert scores[kept].min() > scores[~kept].max()
        last = features[row, -1]
        differs += bool(last[kept].min() < last[~kept].max())
        for i in range(8):
            for j in range(8):
                cell = slice(4 * i, 4 * i + 4), slice(4 * j, 4 * j + 4)
                shown = x[row] if kept[i, j] else x[mixed.source[row, 1]]
                assert torch.equal(mixed.x[row][:, cell[0], cell[1]], shown[:, cell[0], cell[1]])
    assert differs == 6  # one channel alone would rank otherwise


# --------------------------------------------------------------------------------------------------------- the draw


def test_lambda_is_the_floor_of_beta_of_two_parameters(net: Net) -> None:
    x, y = noise_batch(900)
    weight = build("attentivemix", grid=32).mix(x, y, net, Draw(5)).weight[:, 0].double().numpy()
    assert stats.kstest(weight, stats.beta(2, 8).cdf).pvalue > 1e-3
    assert stats.kstest(weight, stats.beta(2, 2).cdf).pvalue < 1e-20
    other = build("attentivemix", grid=32, alpha=5, beta=3).mix(x, y, net, Draw(6)).weight[:, 0].double().numpy()
    assert stats.kstest(other, stats.beta(5, 3).cdf).pvalue > 1e-3


@pytest.mark.parametrize(("lam", "cells"), [(1.0, 64), (0.5, 32), (0.25, 16), (6 / 64, 6), (0.26, 16), (0.0, 1)])
def test_k_cells_give_a_weight_of_k_by_n(net: Net, lam: float, cells: int) -> None:
    x, y = noise_batch(4)
    mixed = build("attentivemix").mix(x, y, net, Draw(1, lam=lam))
    assert mixed.weight[:, 0].tolist() == [cells / 64] * 4
    if lam == 1:
        assert torch.equal(mixed.x, x)


def test_every_count_of_the_papers_grid_survives_the_rounding(net: Net) -> None:
    x, y = noise_batch(1, 3, 14, 14)
    method = build("attentivemix")
    kept = [int(method.mix(x, y, net, Draw(lam=k / 49)).mask.sum()) for k in range(1, 50)]
    assert kept == list(range(1, 50))


def test_weights_are_those_of_cells_of_two_sizes(net: Net) -> None:
    x, y = noise_batch(5, 3, 17, 23)
    mixed = build("attentivemix").mix(x, y, net, Draw(1, partner=[1, 2, 3, 4, 0]))
    torch.testing.assert_close(mixed.weight[:, 0], mixed.shares()[:, 0].mean((1, 2)))
    kept = (mixed.x == x).all(1).float().mean((1, 2))
    torch.testing.assert_close(kept, mixed.weight[:, 0])


# ------------------------------------------------------------------------------------------------------ the teacher


def test_a_teacher_is_frozen_whatever_happens_to_the_method(net: Net, run_folder: str) -> None:
    x, y = noise_batch(6)
    method = build("attentivemix", teacher=run_folder)
    method.attach(residual_net(3, 32, 32))
    method.train().requires_grad_(True)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    mixed = method.mix(x * 0.2, y, None, Draw(1))
    (teacher,) = method._loaded
    assert not any(module.training for module in teacher.modules())
    assert not any(p.requires_grad for p in teacher.parameters())
    assert all(torch.equal(value, before[name]) for name, value in teacher.state_dict().items())
    assert not list(method.parameters()) and not method.state_dict()
    assert not mixed.mask.requires_grad


@pytest.mark.parametrize("own", [True, False])
def test_the_cells_of_an_image_depend_on_it_alone(net: Net, run_folder: str, own: bool) -> None:
    """Batch norms in training mode would mix the scores of the whole batch."""
    x, y = noise_batch(6)
    x = x * torch.linspace(0.1, 1, 6)[:, None, None, None]
    method = AttentiveMix() if own else AttentiveMix(teacher=run_folder)
    whole = method.mix(x, y, net, Draw(lam=0.4, partner=range(6)))
    for row in range(6):
        alone = method.mix(x[row : row + 1], y[:1], net, Draw(lam=0.4))
        assert torch.equal(alone.mask[0], whole.mask[row])


def test_a_runs_teacher_gives_what_its_net_gives(net: Net, run_folder: str) -> None:
    x, y = noise_batch(4)
    untrained = residual_net(3, 32, 32)
    by_run = build("attentivemix", teacher=run_folder).mix(x, y, untrained, Draw(3))
    assert torch.equal(by_run.mask, AttentiveMix().mix(x, y, net, Draw(3)).mask)
    assert not torch.equal(by_run.mask, AttentiveMix().mix(x, y, untrained, Draw(3)).mask)


def test_a_runs_teacher_sees_images_at_its_own_size(net: Net, run_folder: str) -> None:
    sizes: list[tuple[int, ...]] = []
    method = build("attentivemix", teacher=run_folder)
    method.attach(net)
    method._loaded[0].register_forward_pre_hook(lambda _m, inputs: sizes.append(tuple(inputs[0].shape[2:])))
    x, y = noise_batch(2, 3, 48, 64)
    mixed = method.mix(x.bfloat16(), y, None, Draw(1))
    assert sizes == [(32, 32)] and mixed.x.shape == x.shape and mixed.x.dtype == torch.bfloat16


def test_with_a_teacher_it_works_alone(run_folder: str) -> None:
    x, y = noise_batch(5)
    method = build("attentivemix", teacher=run_folder, num_classes=8)
    before = torch.random.get_rng_state()
    images, targets = method(x, y, Draw(1))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert images.shape == x.shape
    torch.testing.assert_close(targets.sum(1), torch.ones(5))
    for same in (copy.deepcopy(method), pickle.loads(pickle.dumps(method))):
        assert torch.equal(same(x, y, Draw(1))[0], images)


def test_a_pretrained_teacher_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[bool] = []
    create = timm.create_model

    def without_download(name: str, pretrained: bool = False, **arguments: Any) -> Any:
        asked.append(pretrained)
        return create(name, False, **arguments)

    monkeypatch.setattr(timm, "create_model", without_download)
    teacher = load_teacher("resnet18", 3, 32)
    assert asked == [True] and (teacher.name, teacher.size) == ("resnet18", 32)
    torch.testing.assert_close(teacher.mean.flatten(), torch.tensor([0.485, 0.456, 0.406]))
    grey = build("attentivemix", teacher="resnet18", teacher_size=64)
    grey.attach(residual_net(1, 32, 32))
    (teacher,) = grey._loaded
    assert (teacher.channels, teacher.size) == (1, 64)
    assert float(teacher.mean) == pytest.approx(0.449, abs=1e-3)


def test_a_teacher_that_is_not_there_is_told(tmp_path: Path, run_folder: str, net: Net) -> None:
    x, y = noise_batch(2)
    for wrong, message in (
        ("resnet81", r"teacher must be the folder of a finished run or .*got 'resnet81'; did you mean"),
        (str(tmp_path / "none"), "teacher must be the folder of a finished run"),
        ("resnet8", "teacher must be the folder"),
    ):
        with pytest.raises(UsageError, match=message) as caught:
            build("attentivemix", teacher=wrong).attach(net)
        assert "\n" not in str(caught.value)
    method = build("attentivemix", teacher=run_folder)  # a run is read again after its teacher has gone
    (tmp_path / "weights.safetensors").unlink()
    with pytest.raises(UsageError, match="not finished"):
        method.mix(x, y, net, Draw())


def test_a_teacher_of_other_channels_is_told(run_folder: str) -> None:
    with pytest.raises(UsageError, match=r"teacher of images with 1 channels, .* has one of 3"):
        build("attentivemix", teacher=run_folder).attach(residual_net(1, 32, 32))


def test_no_net_and_no_teacher_is_told() -> None:
    x, y = noise_batch(2)
    with pytest.raises(UsageError, match="give mix the net that scores the images, or a teacher"):
        build("attentivemix").mix(x, y, None, Draw())


def test_documented_defaults() -> None:
    values = {f.name: f.default for f in dataclasses.fields(AttentiveMix)}
    assert (values["alpha"], values["beta"], values["grid"], values["teacher"]) == (2.0, 8.0, 7, None)

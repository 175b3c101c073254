"""The training's path against a principal component analysis of its own, and the loss on its plane."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from tests.analysis.tiny import tiny
from workbench.analysis.inputs import Examples
from workbench.analysis.slices import loss_and_accuracy
from workbench.analysis.trajectory import principal, trajectory
from workbench.config import UsageError
from workbench.models import Net


def trained(steps: int = 6) -> tuple[Net, dict[int, dict[str, Tensor]], Examples]:
    """A net, its states along some steps of plain gradient descent, and the data."""
    net = tiny(0)
    data = Examples(torch.rand(9, 1, 8, 8, generator=torch.Generator().manual_seed(0)), torch.arange(9) % 3)
    states = [{k: v.clone() for k, v in net.state_dict().items()}]
    for _ in range(steps):
        loss = F.cross_entropy(net(data.images), data.labels)
        slopes = torch.autograd.grad(loss, list(net.parameters()))
        with torch.no_grad():
            for p, slope in zip(net.parameters(), slopes, strict=True):
                p.sub_(0.5 * slope)
        states.append({k: v.clone() for k, v in net.state_dict().items()})
    return net, dict(enumerate(states)), data


def test_principal_directions_are_the_singular_vectors() -> None:
    rows = torch.from_numpy(np.random.default_rng(0).normal(size=(5, 40)))
    apart = (rows - rows[-1]).numpy()
    path, shares, directions = principal(torch.from_numpy(apart).split(7, 1))
    values, right = np.linalg.svd(apart)[1:]
    np.testing.assert_allclose(np.abs(directions.numpy() @ right[:2].T), np.eye(2), atol=1e-10)
    np.testing.assert_allclose(shares, values[:2] ** 2 / (values**2).sum())
    np.testing.assert_allclose(path, apart @ directions.numpy().T)
    assert (path[0] >= 0).all()
    np.testing.assert_array_equal(path[-1], 0)


def test_a_straight_path_has_one_direction() -> None:
    line = torch.linspace(0, 1, 4, dtype=torch.float64)[:, None] * torch.ones(9, dtype=torch.float64)
    path, shares, directions = principal([line - line[-1]])
    np.testing.assert_allclose(path, [[3, 0], [2, 0], [1, 0], [0, 0]], atol=1e-9)
    np.testing.assert_allclose(shares, [1, 0], atol=1e-12)
    assert directions.isfinite().all()


def test_training_that_stood_still_is_a_point() -> None:
    path, shares, _ = principal([torch.zeros(4, 9, dtype=torch.float64)])
    np.testing.assert_array_equal(path, 0)
    np.testing.assert_array_equal(shares, 0)


def test_weights_in_chunks_and_in_float32_give_the_plain_computation(monkeypatch: pytest.MonkeyPatch) -> None:
    """Steps a millionth as long as the weights: their squares summed in float32 would be noise."""
    rng = np.random.default_rng(0)
    start = {name: rng.normal(size=shape) for name, shape in {"a": (30, 20), "b": (20,), "c": (3, 4, 5)}.items()}
    states = {
        epoch: {n: torch.from_numpy(v + 1e-6 * epoch * rng.normal(size=v.shape)).float() for n, v in start.items()}
        for epoch in (1, 3, 4, 9)
    }
    flat = np.stack([np.concatenate([t.double().numpy().ravel() for t in s.values()]) for s in states.values()])
    left, values, _ = np.linalg.svd(flat - flat[-1], full_matrices=False)
    monkeypatch.setattr("workbench.analysis.trajectory.AT_ONCE", 64)  # 16 weights at a time
    found = trajectory(states, None, None)
    np.testing.assert_allclose(np.abs(found.path), np.abs(left[:, :2] * values[:2]), rtol=1e-9, atol=1e-18)
    np.testing.assert_allclose(found.shares, values[:2] ** 2 / (values**2).sum(), rtol=1e-9)


def test_only_what_is_learned_counts() -> None:
    """Statistics of batch norm are larger than weights, and are no weights."""
    _, states, _ = trained()
    wanted = trajectory(states, None, None)
    for i, state in states.items():
        state["backbone.norm.running_var"] = state["backbone.norm.running_var"] + 100 * i
    np.testing.assert_array_equal(trajectory(states, None, None).path, wanted.path)
    assert wanted.loss.size == 0
    assert wanted.plot().has_data()


def test_the_loss_on_the_plane_is_that_of_nets_moved_by_hand() -> None:
    net, states, data = trained(2)  # two differences to the last state span the plane: every state lies on it
    before = {k: v.clone() for k, v in net.state_dict().items()}
    found = trajectory(states, net, data, points=5)
    names = [name for name, _ in net.named_parameters()]
    flat = torch.stack([torch.cat([s[n].reshape(-1) for n in names]) for s in states.values()])
    directions = principal([flat - flat[-1]])[2]
    there = tiny(0)
    for i, j in ((0, 0), (1, 3), (4, 4)):
        weights = flat[-1] + found.a[i] * directions[0] + found.b[j] * directions[1]
        torch.nn.utils.vector_to_parameters(weights, there.parameters())
        assert found.loss[i, j] == pytest.approx(loss_and_accuracy(there, data)[0], rel=1e-12)
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())
    assert found.a[0] < 0 < found.a[-1]
    assert found.a[0] < found.path[:, 0].min() < found.path[:, 0].max() < found.a[-1]


def test_table_and_plot() -> None:
    net, states, data = trained()
    found = trajectory(states, net, data, points=3, name="run")
    frame = found.to_frame()
    assert frame.groupby("quantity").size().to_dict() == {"loss": 9, "path": 7}
    np.testing.assert_array_equal(frame.query("quantity == 'loss'").loss, found.loss.ravel())
    assert (frame.name == "run").all()
    assert frame.query("quantity == 'path'").epoch.tolist() == list(range(7))
    ax = found.plot()
    np.testing.assert_array_equal(np.asarray(ax.lines[0].get_xydata()), found.path)
    assert ax.get_aspect() == 1


def test_errors_say_what_was_expected() -> None:
    net, states, data = trained(3)
    with pytest.raises(UsageError, match="at least three epochs, got 2"):
        trajectory({epoch: states[epoch] for epoch in (0, 1)}, None, None)
    with pytest.raises(UsageError, match="epoch 7 has other weights"):
        trajectory({7: {"weight": torch.ones(3)}} | states, None, None)
    with pytest.raises(UsageError, match="must hold the last state"):
        trajectory({epoch: states[epoch] for epoch in (0, 1, 2)}, net, data)
    with pytest.raises(UsageError, match="points must be a whole number from 3 to 1001, got 2"):
        trajectory(states, net, data, points=2)

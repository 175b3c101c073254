"""FGSM and PGD against captum, a linear net whose worst case is known, and the ball that they must not leave."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from captum.robust import FGSM, PGD
from torch import Tensor, nn

from workbench.analysis.robustness import adversarial as module
from workbench.analysis.robustness.adversarial import adversarial
from workbench.analysis.robustness.attacks import fgsm, gradient, pgd
from workbench.config import UsageError
from workbench.models import Net

EPS = 8 / 255


def a_net(seed: int = 0) -> Net:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Net("resnet8", 4, mean=[0.4] * 3, std=[0.25] * 3, size=16).eval()


def batch(n: int = 16) -> tuple[Tensor, Tensor]:
    rng = torch.Generator().manual_seed(1)
    return torch.rand(n, 3, 16, 16, dtype=torch.float64, generator=rng), torch.randint(4, (n,), generator=rng)


def somewhere(x: Tensor, eps: float) -> Tensor:
    """Images up to `eps` away from x."""
    return x + eps * (2 * torch.rand(x.shape, dtype=x.dtype, generator=torch.Generator().manual_seed(0)) - 1)


def smooth() -> nn.Module:
    """A net whose gradients are nowhere 0, so that their signs don't hang on rounding."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(nn.Flatten(), nn.Linear(768, 20), nn.Tanh(), nn.Linear(20, 4)).double()


def linear() -> nn.Sequential:
    net = nn.Sequential(nn.Flatten(), nn.Linear(3 * 16 * 16, 2, bias=False)).double()
    rng = torch.Generator().manual_seed(2)
    net[1].weight.data = 0.2 * torch.randn(2, 768, dtype=torch.float64, generator=rng)
    return net


def test_fgsm_is_that_of_captum() -> None:
    net, (x, y) = smooth(), batch()
    loss = nn.CrossEntropyLoss(reduction="none")
    theirs = FGSM(net, loss, lower_bound=0, upper_bound=1).perturb(x.clone().requires_grad_(), EPS, y)
    torch.testing.assert_close(fgsm(net, x, y, EPS), theirs.detach(), atol=1e-12, rtol=0)


@pytest.mark.parametrize("steps", [1, 5])
def test_pgd_is_that_of_captum(steps: int) -> None:
    net, (x, y) = smooth(), batch()
    loss = nn.CrossEntropyLoss(reduction="none")
    theirs = PGD(net, loss, lower_bound=0, upper_bound=1).perturb(x, EPS, EPS / 3, steps, y)
    found = pgd(net, x, y, EPS, steps=steps, step_size=EPS / 3)
    torch.testing.assert_close(found, theirs.detach(), atol=1e-12, rtol=0)


def test_the_worst_case_of_a_linear_net_is_reached() -> None:
    """The margin of two classes falls by eps times the sum of absolute weight differences, where nothing is clipped."""
    net, (x, y) = linear(), batch()
    x, y = 0.4 + 0.2 * x, y % 2
    weight = net.get_parameter("1.weight")
    difference = weight[0] - weight[1]

    def margin(images: Tensor) -> Tensor:
        logits = net(images)
        return torch.where(y == 0, logits[:, 0] - logits[:, 1], logits[:, 1] - logits[:, 0])

    worst = margin(x) - EPS * difference.abs().sum()
    torch.testing.assert_close(margin(fgsm(net, x, y, EPS)), worst)
    for start in (None, somewhere(x, EPS)):
        torch.testing.assert_close(margin(pgd(net, x, y, EPS, start=start)), worst)


@pytest.mark.parametrize("eps", [0.0, 1 / 255, EPS, 0.5])
@pytest.mark.parametrize("step_size", [None, 0.3])
def test_pgd_stays_around_the_original_image(eps: float, step_size: float | None) -> None:
    """The neighbour's code brings each step back around the one before, and drifts to a grey picture."""
    net, (x, y) = smooth(), batch()
    before = x.clone()
    for steps in (1, 10):
        found = pgd(net, x, y, eps, steps=steps, step_size=step_size, start=somewhere(x, 2 * eps))
        assert float((found - x).abs().max()) <= eps + 1e-12
        assert 0 <= float(found.min()) <= float(found.max()) <= 1
    assert torch.equal(x, before)


def test_the_start_is_random_inside_the_ball_and_follows_the_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    net, (x, y) = a_net(), batch()
    x, starts = x.float(), []

    def watched(*args: Any, start: Tensor, **options: Any) -> Tensor:
        starts.append(start)
        return pgd(*args, start=start, **options)

    monkeypatch.setattr(module, "pgd", watched)
    for seed in (0, 0, 1):
        adversarial(net, (x, y), eps=(EPS,), steps=1, images=None, seed=seed)
    assert torch.equal(starts[0], starts[1]) and not torch.equal(starts[0], starts[2])
    away = (starts[0] - x).abs()
    assert 0.4 * EPS < float(away.mean()) < 0.55 * EPS and float(away.max()) <= EPS + 1e-6


def test_more_steps_do_more_harm() -> None:
    net, (x, y) = a_net().double(), batch(32)
    loss = nn.CrossEntropyLoss()
    with net.probing():
        one, many = (float(loss(net(pgd(net, x, y, EPS, steps=steps)), y)) for steps in (1, 10))
        assert float(loss(net(x), y)) < one < many


def test_an_image_does_not_change_its_neighbours_gradient() -> None:
    net, (x, y) = a_net().double(), batch()
    alone = torch.cat([gradient(net, x[i : i + 1], y[i : i + 1]) for i in range(4)])
    torch.testing.assert_close(gradient(net, x, y)[:4], alone)


def confident() -> tuple[Net, Any]:
    """A net, and data that it knows: its own answers."""
    net = a_net()
    x = torch.rand(40, 3, 16, 16, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        return net, (x, net(x).argmax(1))


def test_nothing_is_lost_without_a_budget_and_more_with_a_larger_one() -> None:
    net, data = confident()
    found = adversarial(net, data, eps=(0, 0.004, 0.1), images=None)
    assert found.clean == 1
    np.testing.assert_array_equal(found.accuracy[:, 0], [1, 1])
    assert (np.diff(found.accuracy) <= 0).all()
    assert found.accuracy[1, 2] < 0.5
    frame = found.to_frame()
    assert list(frame.attack.unique()) == ["FGSM", "PGD-10"]
    np.testing.assert_allclose(frame.eps_255, 255 * frame.eps)


def test_the_result_is_what_the_attacks_give() -> None:
    net, (x, y) = confident()
    found = adversarial(net, (x, y), eps=(0.02,), steps=3, random_start=False)
    with net.probing(), torch.no_grad():
        for row, images in enumerate((fgsm(net, x, y, 0.02), pgd(net, x, y, 0.02, steps=3))):
            assert found.accuracy[row, 0] == pytest.approx(float((net(images).argmax(1) == y).float().mean()))


def test_works_where_gradients_are_off() -> None:
    net, data = confident()
    with torch.no_grad():
        off = adversarial(net, data, eps=(0.02,), steps=2)
    np.testing.assert_array_equal(off.accuracy, adversarial(net, data, eps=(0.02,), steps=2).accuracy)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"eps": ()}, "eps must be a list of numbers from 0 to 1"),
        ({"eps": (8,)}, "eps must be a list of numbers from 0 to 1"),
        ({"eps": 0.1}, "eps must be a list"),
        ({"eps": (float("nan"),)}, "eps must be a list"),
        ({"steps": 0}, "steps must be a whole number from 1"),
        ({"step_size": -1.0}, "step_size must be"),
        ({"images": 0}, "number of images"),
    ],
)
def test_mistakes_are_told(options: dict[str, Any], message: str) -> None:
    net, data = confident()
    with pytest.raises(UsageError, match=message):
        adversarial(net, data, **options)


@pytest.mark.parametrize(
    ("attack", "change", "options", "message"),
    [
        (fgsm, 255, {"eps": EPS}, "must be from 0 to 1, got"),
        (pgd, 255, {"eps": EPS}, "must be from 0 to 1, got"),
        (fgsm, 1, {"eps": -1.0}, "eps must be a list of numbers from 0 to 1"),
        (pgd, 1, {"eps": -1.0}, "eps must be a list of numbers from 0 to 1"),
        (pgd, 1, {"eps": EPS, "steps": 0}, "steps must be a whole number from 1"),
        (pgd, 1, {"eps": EPS, "step_size": -0.1}, "step_size must be"),
    ],
)
def test_values_outside_the_unit_interval_are_refused(
    attack: Any, change: float, options: dict[str, Any], message: str
) -> None:
    x, y = batch(2)
    with pytest.raises(UsageError, match=message):
        attack(smooth(), change * x, y, **options)

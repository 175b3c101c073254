"""SAMix: the mixing attention's formula, the balanced objective, the mask's mean and variance."""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.stats import beta, kstest
from torch import Tensor

from tests.methods.settings import CLASSES, Ready, awake, noise_batch, residual_net, token_net
from workbench.config import UsageError
from workbench.draw import Draw
from workbench.methods import Mixed, SAMix, soft_cross_entropy
from workbench.methods.parts.mixblock import MixingAttention, modulated, smooth
from workbench.methods.samix import adjusted, balanced_cross_entropy, mask_loss
from workbench.models import Net
from workbench.train.memory import peak_of


def ready(**params: object) -> Ready:
    return awake(SAMix, **params)


# -------------------------------------------------------------------------------------------------------- generator


def test_logits_are_the_formula_with_modulated_features() -> None:
    """Written out in float64 with loops over rows, the two images' features concatenated."""
    torch.manual_seed(0)
    generator, d = MixingAttention(6, k=0.25), 3
    for parameter in generator.parameters():
        torch.nn.init.normal_(parameter, std=0.7)
    features, partner = torch.randn(4, 6, 3, 5), [2, 3, 1, 0]
    lam = [0.1, 0.4, 0.7, 0.95]
    parts = generator.project.weight.detach().double().numpy()[:, :, 0, 0].reshape(5, d, 6)
    q, k = np.c_[parts[0], parts[1]], np.c_[parts[2], parts[3]]
    bias, score = (t.detach().double().numpy() for t in (generator.bias, generator.score))
    got = generator(features, torch.tensor(partner), torch.tensor(lam)).detach().numpy()
    for row in range(4):
        own, other = (features[i].double().numpy().reshape(6, 15) for i in (row, partner[row]))
        shift = (4 / 3 * lam[row] ** 3 - 2 * lam[row] ** 2 + 1.25 * lam[row]) / (0.25 + 1 / 3)
        u = np.r_[own * (1 + shift), other * (1 + (1 - shift))]
        scores = np.exp((q @ u + bias).T @ (k @ u) / math.sqrt(d))
        h = generator.norm(torch.from_numpy(parts[4] @ other).float()[None])[0].detach().double().numpy() * (2 - shift)
        value = score @ np.where(h > 0, h, np.expm1(h))
        expected = -(scores / scores.sum(1, keepdims=True) @ value[0]).reshape(3, 5)
        np.testing.assert_allclose(got[row, 0], expected, atol=1e-4)
        assert np.ptp(expected) > 0.01


def test_modulation_keeps_the_ends_and_the_middle_and_is_flat_there() -> None:
    ends = torch.tensor([0.0, 0.5, 1.0])
    for k in (0.0, 0.25, 1.0, 100.0):
        torch.testing.assert_close(modulated(ends, k), ends)
        assert (modulated(torch.linspace(0, 1, 101), k).diff() >= -1e-6).all()
    near = torch.tensor([0.45, 0.55])
    slopes = [float(modulated(near, k).diff() / 0.1) for k in (0.0, 0.25, 1.0, 100.0)]
    assert slopes == sorted(slopes) and slopes[0] < 0.02 and slopes[-1] == pytest.approx(1, abs=0.01)


def test_lambda_reaches_the_values_and_not_only_the_attention() -> None:
    """A norm behind the modulation would divide it out: without attention nothing of lambda would be left."""
    torch.manual_seed(0)
    generator = MixingAttention(8)
    torch.nn.init.normal_(generator.project.weight)
    torch.nn.init.normal_(generator.score)
    with torch.no_grad():
        generator.project.weight[: 4 * generator.width] = 0
    features, partner = torch.randn(2, 8, 4, 4), torch.tensor([1, 0])
    low, high = (generator(features, partner, torch.full((2,), lam)) for lam in (0.1, 0.9))
    assert (low - high).abs().min() > 0.01


def test_a_mask_depends_on_its_own_pair_alone() -> None:
    """A batch norm in the generator would mix in the rest of the batch, and remember it."""
    torch.manual_seed(0)
    generator = MixingAttention(8).train()
    for parameter in generator.parameters():
        torch.nn.init.normal_(parameter)
    features, lam = torch.randn(6, 8, 4, 4), torch.rand(6)
    before = copy.deepcopy(generator.state_dict())
    whole = generator(features, torch.tensor([1, 0, 3, 4, 5, 2]), lam)
    pair = generator(features[:2], torch.tensor([1, 0]), lam[:2])
    torch.testing.assert_close(whole[:2], pair, atol=1e-4, rtol=1e-4)
    assert all(torch.equal(a, b) for a, b in zip(before.values(), generator.state_dict().values(), strict=True))


def test_masks_are_enlarged_before_the_sigmoid() -> None:
    both = ready(lam_margin=0.0)
    x, y = noise_batch(8)
    mixed = both.method.mix(x, y, both.net, Draw(1))
    features = both.method.teacher.features(x, "stage2")
    logits = both.method.generator(features, mixed.source[:, 1], mixed.weight[:, 0])
    expected = F.interpolate(logits, (32, 32), mode="bilinear", align_corners=False).sigmoid()
    torch.testing.assert_close(mixed.mask, expected)
    wrong = F.interpolate(logits.sigmoid(), (32, 32), mode="bilinear", align_corners=False)
    assert (wrong - expected).abs().max() > 0.01
    assert smooth(torch.ones(1, 1, 3, 2), (7, 5)).shape == (1, 1, 7, 5)


def test_generator_computes_in_float32_under_autocast() -> None:
    both = ready()
    features, partner, lam = torch.randn(4, 32, 6, 6), torch.tensor([1, 2, 3, 0]), torch.rand(4)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits = both.method.generator(features, partner, lam)
    assert logits.dtype == torch.float32 and torch.equal(logits, both.method.generator(features, partner, lam))


# -------------------------------------------------------------------------------------------------------- objective


def pair_batch(rows: int = 16) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Logits, own and partner's classes (the first two pairs are of one class), lambda."""
    generator = torch.Generator().manual_seed(3)
    logits = 4 * torch.randn(rows, CLASSES, generator=generator)
    own, shift = (torch.randint(low, CLASSES, (rows,), generator=generator) for low in (0, 1))
    shift[:2] = 0
    return logits, own, (own + shift) % CLASSES, torch.rand(rows, generator=generator)


def test_local_and_global_term_are_what_they_are_called() -> None:
    """local is the cross-entropy within the two classes, global that of the two classes together: in float64."""
    logits, a, b, lam = pair_batch()
    p = logits.double().softmax(1).numpy()
    local, whole = (balanced_cross_entropy(logits, a, b, lam, eta).numpy() for eta in (0.0, 1.0))
    for i in range(2, 16):
        pa, pb, share = p[i, a[i]], p[i, b[i]], float(lam[i])
        expected = -share * math.log(pa / (pa + pb)) - (1 - share) * math.log(pb / (pa + pb))
        assert local[i] == pytest.approx(expected, rel=1e-4)
        assert whole[i] - local[i] == pytest.approx(-math.log(pa + pb), abs=1e-4)


def test_with_eta_1_it_is_mixups_cross_entropy() -> None:
    logits, a, b, lam = pair_batch()
    y, rows = torch.cat([a, b]), torch.arange(16)
    clean = Mixed(torch.zeros(16, 1, 1, 1), torch.stack([rows, rows + 16], 1), torch.stack([lam, 1 - lam], 1))
    torch.testing.assert_close(balanced_cross_entropy(logits, a, b, lam, 1.0), soft_cross_entropy(logits, y, clean))


def test_a_pair_of_one_class_is_safe() -> None:
    logits, a, b, lam = pair_batch()
    logits = (20 * logits).requires_grad_()
    loss = balanced_cross_entropy(logits, a, b, lam, 0.5)
    torch.testing.assert_close(loss[:2], 0.5 * F.cross_entropy(logits, a, reduction="none")[:2])
    loss.sum().backward()
    assert logits.grad.isfinite().all()
    assert balanced_cross_entropy(logits.bfloat16(), a, b, lam, 0.5).isfinite().all()


def test_eta_changes_what_the_generator_learns() -> None:
    """In the released code it multiplies zeros: gradients for eta 1 and 0.5 are the same there."""
    x, y = noise_batch(8)
    slopes = {}
    for eta in (0.0, 0.5, 1.0):
        both = ready(eta=eta, mask_loss_weight=0.0)
        both.method.mix(x, y, both.net, Draw(1)).aux[0]().backward()
        slopes[eta] = torch.cat([p.grad.flatten() for p in both.method.generator.parameters()])
    assert (slopes[1.0] - slopes[0.5]).norm() > 0.05 * slopes[1.0].norm()
    torch.testing.assert_close(slopes[0.5], (slopes[0.0] + slopes[1.0]) / 2, atol=1e-5, rtol=1e-3)


def test_mask_loss_of_known_masks() -> None:
    half = torch.zeros(3, 1, 4, 4)
    half[0, :, :2] = 1
    half[1:] = 0.5
    got = mask_loss(half, torch.tensor([0.5, 0.5, 0.9]), 0.1)
    torch.testing.assert_close(got, torch.tensor([-2 * 0.25, 0.0, 0.3]))


def test_generators_loss_has_draws_of_its_own() -> None:
    """A mix by hand, from the second partner and lambda of the draw, scored by the teacher row by row."""
    both = ready(mask_loss_weight=0.5, eta=0.3, label_smoothing=0.1)
    x, y = noise_batch(8)
    mixed = both.method.mix(x, y, both.net, Draw(1))
    draw = Draw(1)
    draw.partner(8), draw.lam(2.0, 8)
    partner, lam = torch.from_numpy(draw.partner(8)), torch.from_numpy(draw.lam(2.0, 8))
    teacher = copy.deepcopy(both.method.teacher)
    mask = smooth(both.method.generator(teacher.features(x, "stage2"), partner, lam), (32, 32)).sigmoid()
    logits = teacher(mask * x + (1 - mask) * x[partner])
    balanced = balanced_cross_entropy(logits, y, y[partner], lam, 0.3)
    smoothed = 0.9 * balanced - 0.1 * logits.log_softmax(1).mean(1)
    excess = ((mask.mean((1, 2, 3)) - lam).abs() - 0.1).clamp(min=0)
    variance = mask.double().flatten(1).var(1, correction=0).float()
    expected = (smoothed + 0.5 * (excess - 2 * variance)).mean()
    torch.testing.assert_close(mixed.aux[0](), expected, atol=1e-5, rtol=1e-5)


def test_each_loss_reaches_its_own_part_only() -> None:
    both = ready()
    x, y = noise_batch(8)
    generators, clean, main = both.method.losses(both.method.mix(x, y, both.net, Draw(1)), y, both.net)
    generators().backward()
    assert all(p.grad is None for p in [*both.net.parameters(), *both.method.teacher.parameters()])
    assert all(p.grad.any() for p in both.method.generator.parameters())
    both.method.zero_grad()
    (clean() + main()).backward()
    assert all(p.grad is None for p in both.method.parameters())


# ------------------------------------------------------------------------------------------------------ the draws


def test_lambda_is_beta_2_2() -> None:
    both = ready()
    x, y = noise_batch(8)
    drawn = torch.cat([both.method.mix(x, y, both.net, Draw(5, 0, i)).weight[:, 0] for i in range(60)])
    assert kstest(drawn.numpy(), beta(2, 2).cdf).pvalue > 0.01
    assert kstest(drawn.numpy(), beta(1, 1).cdf).pvalue < 1e-4


def test_adjusted_masks_have_the_mean_of_their_own_lambda() -> None:
    """The benchmark's code takes lambda from the generator's mix, which has draws of its own."""
    both = ready(mask_adjust=1.0)
    x, y = noise_batch(16)
    mixed = both.method.mix(x, y, both.net, Draw(1))
    torch.testing.assert_close(mixed.shares()[:, 0].mean((1, 2)), mixed.weight[:, 0], atol=1e-5, rtol=0)
    assert mixed.mask.min() >= 0 and mixed.mask.max() <= 1
    plain = ready().method.mix(x, y, both.net, Draw(1))
    assert (plain.shares()[:, 0].mean((1, 2)) - plain.weight[:, 0]).abs().max() > 0.05


def test_adjusting_the_ends() -> None:
    mask = torch.stack([torch.zeros(1, 2, 2), torch.ones(1, 2, 2), torch.full((1, 2, 2), 0.5)]).repeat(3, 1, 1, 1)
    lam = torch.tensor([0.0, 0.3, 1.0]).repeat_interleave(3).view(9, 1, 1, 1)
    got = adjusted(mask, lam)
    assert got.isfinite().all()
    torch.testing.assert_close(got, lam.expand_as(got))


def test_so_many_masks_are_adjusted_as_asked() -> None:
    both = ready(mask_adjust=0.25)
    x, y = noise_batch(32)
    off = []
    for i in range(8):
        mixed = both.method.mix(x, y, both.net, Draw(2, 0, i))
        off.append((mixed.mask.mean((1, 2, 3)) - mixed.weight[:, 0]).abs() > 1e-4)
    assert 0.6 < torch.cat(off).float().mean() < 0.85


def test_rows_near_the_ends_are_plain_mixup() -> None:
    both = ready(alpha=0.3)
    x, y = noise_batch(32)
    mixed = both.method.mix(x, y, both.net, Draw(1))
    lam = mixed.weight[:, 0]
    near = torch.minimum(lam, 1 - lam) <= 0.08
    assert 4 < near.sum() < 28
    flat = mixed.mask.flatten(1)
    assert torch.equal(flat[near], lam[near, None].expand(-1, flat.shape[1]))
    assert (flat[~near].std(1) > 0.01).all()


def test_peak_memory_stays_near_that_of_one_pass() -> None:
    def peak(method: SAMix | None) -> int:
        torch.manual_seed(0)
        net = Net("resnet20", CLASSES)
        x, y = noise_batch(16)
        if method is not None:
            method.attach(net)

        def step() -> None:
            losses = [lambda: F.cross_entropy(net(x), y)]
            for build_loss in losses if method is None else method.losses(method.mix(x, y, net, Draw()), y, net):
                build_loss().backward()

        step()
        for parameter in [*net.parameters(), *(method.parameters() if method else [])]:
            parameter.grad = None
        return peak_of(step, torch.device("cpu"))

    assert peak(SAMix()) <= 1.3 * peak(None)


# --------------------------------------------------------------------------------------------------------- and more


def test_tokens_of_a_vision_transformer() -> None:
    torch.manual_seed(0)
    net, method = token_net(3, 32, 32), SAMix()
    method.attach(net)
    x, y = noise_batch(4)
    assert all(loss().isfinite() for loss in method.losses(method.mix(x, y, net, Draw(1)), y, net))


def test_used_before_it_was_attached() -> None:
    x, y = noise_batch(4)
    with pytest.raises(UsageError, match=r"SAMix learns with a net; call attach\(net\) once"):
        SAMix().mix(x, y, residual_net(3, 32, 32), Draw())
    both = ready()
    with pytest.raises(UsageError, match="give it to mix too"):
        both.method.mix(x, y, None, Draw())

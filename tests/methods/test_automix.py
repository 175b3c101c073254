"""AutoMix: the generator's formula, whose gradient goes where, and the teacher's slow pace."""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from tests.methods.settings import CLASSES, Ready, awake, noise_batch, residual_net, token_net
from workbench.config import UsageError
from workbench.draw import Draw
from workbench.methods import AutoMix, build, soft_cross_entropy
from workbench.methods.masks import enlarged
from workbench.methods.parts.mixblock import MixBlock, at_most, mix_pair
from workbench.methods.parts.teacher import momentum_at
from workbench.models import Net
from workbench.train.memory import peak_of


def ready(**params: object) -> Ready:
    return awake(AutoMix, **params)


def block(lam_embed: bool, channels: int = 6) -> tuple[MixBlock, Tensor, Tensor, Tensor]:
    """A generator with large weights, features (4, C, 3, 5), partners and lambdas."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        generator = MixBlock(channels, lam_embed)
        for parameter in generator.parameters():
            torch.nn.init.normal_(parameter, std=0.7)
        features = torch.randn(4, channels, 3, 5)
    return generator, features, torch.tensor([2, 3, 1, 0]), torch.tensor([0.1, 0.4, 0.7, 0.95])


# -------------------------------------------------------------------------------------------------------- generator


@pytest.mark.parametrize("lam_embed", [True, False])
def test_mask_is_the_formula_with_lambda_as_a_channel(lam_embed: bool) -> None:
    """Written out in float64 with loops over rows, lambda concatenated to the features."""
    generator, features, partner, lam = block(lam_embed)
    w, u = (m.weight.detach().double().numpy()[:, :, 0, 0] for m in (generator.project, generator.value))
    if lam_embed:
        w = np.c_[w, generator.project_lam.detach().double().numpy()]
        u = np.c_[u, generator.value_lam.detach().double().numpy()]
    b, c = (m.bias.detach().double().numpy() for m in (generator.project, generator.value))
    for row in range(4):
        own, other = (features[i].double().numpy().reshape(6, 15) for i in (row, int(partner[row])))
        if lam_embed:
            own = np.r_[own, np.full((1, 15), float(lam[row]))]
            other = np.r_[other, np.full((1, 15), 1 - float(lam[row]))]
        query, key = w @ own + b[:, None], w @ other + b[:, None]
        scores = np.exp(query.T @ key / math.sqrt(3))
        shown = scores / scores.sum(1, keepdims=True) @ (u @ other + c[:, None])[0]
        expected = (1 - 1 / (1 + np.exp(-shown))).reshape(3, 5)
        got = generator(features, partner, lam)[row, 0].detach().numpy()
        np.testing.assert_allclose(got, expected, atol=1e-5)
        assert np.ptp(expected) > 0.01


def test_constant_values_give_a_constant_mask() -> None:
    generator, features, partner, lam = block(True)
    torch.nn.init.zeros_(generator.value.weight)
    mask = generator(features, partner, lam)
    torch.testing.assert_close(mask, mask[:, :, :1, :1].expand_as(mask))


def test_mask_starts_near_one_half() -> None:
    torch.manual_seed(0)
    mask = MixBlock(16)(torch.rand(4, 16, 8, 8), torch.tensor([1, 2, 3, 0]), torch.rand(4))
    assert mask.shape == (4, 1, 8, 8) and (mask - 0.5).abs().max() < 0.05


def test_generator_computes_in_float32_under_autocast() -> None:
    generator, features, partner, lam = block(True)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mask = generator(features, partner, lam)
    assert mask.dtype == torch.float32 and torch.equal(mask, generator(features, partner, lam))
    assert generator(features.bfloat16(), partner, lam).dtype == torch.float32


def test_a_generator_that_is_told_lambda_learns_to_follow_it() -> None:
    torch.manual_seed(0)
    generator = MixBlock(8)
    optimizer = torch.optim.Adam(generator.parameters(), 0.05)
    features, partner = torch.randn(16, 8, 4, 4), torch.arange(16).roll(1)
    rng = torch.Generator().manual_seed(1)
    for _ in range(150):
        lam = torch.rand(16, generator=rng)
        error = (generator(features, partner, lam).mean((1, 2, 3)) - lam).abs().mean()
        optimizer.zero_grad()
        error.backward()
        optimizer.step()
    assert error < 0.1


def test_mixing_at_low_resolution_is_mixing_at_full() -> None:
    x = torch.rand(4, 3, 12, 20)
    mask, partner = torch.rand(4, 1, 3, 5), torch.tensor([2, 3, 1, 0])
    coarse = x.view(4, 3, 3, 4, 5, 4)
    share = mask[:, :, :, None, :, None]
    expected = (share * coarse + (1 - share) * coarse[partner]).view_as(x)
    torch.testing.assert_close(mix_pair(x, partner, enlarged(mask, x.shape[2:])), expected)


def test_sizes_need_not_divide() -> None:
    mask = torch.arange(6.0).view(1, 1, 2, 3)
    full = enlarged(mask, (5, 7))[0, 0]
    assert full.shape == (5, 7) and full[0, 0] == 0 and full[4, 6] == 5
    assert (full.diff(dim=0) >= 0).all() and (full.diff(dim=1) >= 0).all()


def test_mixed_with_itself_an_image_is_unchanged() -> None:
    x = torch.rand(4, 3, 8, 8)
    assert torch.equal(mix_pair(x, torch.arange(4), torch.rand(4, 1, 8, 8)), x)


# -------------------------------------------------------------------------------------------------------- the mix


def test_rows_near_the_ends_are_plain_mixup() -> None:
    both = ready(alpha=0.3)
    x, y = noise_batch(32)
    mixed = both.method.mix(x, y, both.net, Draw(1))
    lam = mixed.weight[:, 0]
    near = torch.minimum(lam, 1 - lam) <= 0.08
    assert 4 < near.sum() < 28
    flat = mixed.mask.flatten(1)
    assert torch.equal(flat[near], lam[near, None].expand(-1, flat.shape[1]))
    wide = lam[:, None, None, None]
    plain = wide * x + (1 - wide) * x[mixed.source[:, 1]]
    torch.testing.assert_close(mixed.x[near], plain[near], atol=1e-6, rtol=0)
    assert (flat[~near].std(1) > 0.01).all()


def test_mask_is_the_generators_from_the_teachers_features() -> None:
    both = ready(lam_margin=0.0)
    x, y = noise_batch(8)
    mixed = both.method.mix(x, y, both.net, Draw(1))
    features = both.method.teacher.features(x, "stage2")
    mask = both.method.generator(features, mixed.source[:, 1], mixed.weight[:, 0])
    torch.testing.assert_close(mixed.mask, F.interpolate(mask, (32, 32), mode="nearest"))
    other = both.method.generator(both.net.features(x, "stage2"), mixed.source[:, 1], mixed.weight[:, 0])
    assert not torch.allclose(mask, other, atol=1e-3)


def test_labels_have_the_drawn_lambda_whatever_the_mask() -> None:
    both = ready()
    x, y = noise_batch(8)
    mixed = both.method.mix(x, y, both.net, Draw(1, lam=0.3))
    torch.testing.assert_close(mixed.weight, torch.tensor([[0.3, 0.7]]).expand(8, 2))
    assert (mixed.shares()[:, 0].mean((1, 2)) - 0.3).abs().max() > 0.05


def test_a_tap_of_ones_own() -> None:
    both = ready(tap="stage3")
    x, y = noise_batch(4)
    mask = both.method.mix(x, y, both.net, Draw(1, lam=0.5)).mask
    assert both.method.generator.project.in_channels == both.net.width("stage3")
    assert torch.equal(mask, F.interpolate(mask[:, :, ::4, ::4], (32, 32), mode="nearest"))
    with pytest.raises(UsageError, match="stage9"):
        AutoMix(tap="stage9").attach(both.net)


def test_large_features_are_averaged_down() -> None:
    """At 64 pixels the tap has 32 x 32 places: attention over all of them would take 16 times the memory."""
    both = ready(lam_margin=0.0)
    x, y = noise_batch(4, 3, 64, 48)
    mask = both.method.mix(x, y, both.net, Draw(1, lam=0.5)).mask
    assert torch.equal(mask, F.interpolate(mask[:, :, ::4, ::3], (64, 48), mode="nearest"))
    features = torch.arange(24.0).view(1, 1, 4, 6)
    assert at_most(features, 2)[0, 0].tolist() == [[4.0, 7.0], [16.0, 19.0]]
    assert torch.equal(at_most(features, 6), features)


def test_nothing_random_in_the_teacher() -> None:
    """Dropout and stochastic depth would make a mix depend on more than its draw."""
    torch.manual_seed(0)
    net = Net(
        "vit_tiny_patch16_224", CLASSES, depth=4, embed_dim=16, num_heads=2, drop_path_rate=0.5, proj_drop_rate=0.5
    )
    method = build("automix")
    method.attach(net)
    for parameter in method.generator.parameters():
        torch.nn.init.normal_(parameter, std=1.0)
    x, y = noise_batch(4)
    assert torch.equal(method.mix(x, y, net, Draw(1)).x, method.mix(x, y, net, Draw(1)).x)


def test_teachers_batch_norms_follow_the_mode() -> None:
    both = ready()
    norms = [m for m in both.method.teacher.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    assert norms and all(m.training for m in norms)
    both.method.eval()
    assert not any(m.training for m in both.method.modules())
    both.method.train()
    assert all(m.training for m in norms)


# ------------------------------------------------------------------------------------------------------- the losses


def gradients(module: torch.nn.Module) -> list[Tensor | None]:
    return [p.grad for p in module.parameters()]


def test_each_loss_reaches_its_own_part_only() -> None:
    both = ready()
    net, teacher, generator = both.net, both.method.teacher, both.method.generator
    x, y = noise_batch(8)
    mixed = both.method.mix(x, y, net, Draw(1))
    assert not mixed.x.requires_grad and not mixed.mask.requires_grad
    generators, clean, main = both.method.losses(mixed, y, net)
    generators().backward()
    assert all(g is None for g in gradients(net) + gradients(teacher))
    assert all(g is not None and g.any() for g in gradients(generator))
    both.method.zero_grad()
    (clean() + main()).backward()
    assert all(g is None for g in gradients(generator) + gradients(teacher))
    assert all(g is not None for g in gradients(net))


def test_generators_loss_has_draws_of_its_own() -> None:
    """A mix by hand, from the second partner and lambda of the draw, scored by the teacher row by row."""
    both = ready(mask_loss_weight=0.5, mask_loss_margin=0.05)
    x, y = noise_batch(8)
    mixed = both.method.mix(x, y, both.net, Draw(1))
    draw = Draw(1)
    assert draw.partner(8).tolist() == mixed.source[:, 1].tolist()
    assert draw.lam(2.0, 8).tolist() == mixed.weight[:, 0].tolist()
    partner, lam = torch.from_numpy(draw.partner(8)), torch.from_numpy(draw.lam(2.0, 8))
    teacher = copy.deepcopy(both.method.teacher)
    mask = both.method.generator(teacher.features(x, "stage2"), partner, lam)
    full = F.interpolate(mask, (32, 32), mode="nearest")
    log_p = teacher(full * x + (1 - full) * x[partner]).log_softmax(1)
    rows = torch.arange(8)
    cross_entropy = -(lam * log_p[rows, y] + (1 - lam) * log_p[rows, y[partner]])
    excess = ((mask.mean((1, 2, 3)) - lam).abs() - 0.05).clamp(min=0)
    assert excess.gt(0).any() and partner.tolist() != mixed.source[:, 1].tolist()
    torch.testing.assert_close(mixed.aux[0](), (cross_entropy + 0.5 * excess).mean(), atol=1e-5, rtol=1e-5)


def test_students_losses() -> None:
    both = ready(label_smoothing=0.1)
    x, y = noise_batch(8)
    mixed = both.method.mix(x, y, both.net, Draw(1))
    _, clean, main = both.method.losses(mixed, y, both.net)
    torch.testing.assert_close(clean(), F.cross_entropy(both.net(x), y, label_smoothing=0.1))
    torch.testing.assert_close(main(), soft_cross_entropy(both.net(mixed.x), y, mixed, 0.1).mean())


def test_one_after_the_other_gives_the_gradient_of_the_sum() -> None:
    summed, apart = ready(), ready()
    x, y = noise_batch(8)
    for both, together in ((summed, True), (apart, False)):
        losses = both.method.losses(both.method.mix(x, y, both.net, Draw(1)), y, both.net)
        if together:
            sum(loss() for loss in losses).backward()
        else:
            for loss in losses:
                loss().backward()
    for one, other in zip(
        gradients(summed.net) + gradients(summed.method), gradients(apart.net) + gradients(apart.method), strict=True
    ):
        assert (one is None and other is None) or torch.allclose(one, other, atol=1e-6)


def test_peak_memory_stays_near_that_of_one_pass() -> None:
    def peak(key: str) -> int:
        torch.manual_seed(0)
        net, method = Net("resnet20", CLASSES), build(key)
        method.attach(net)
        x, y = noise_batch(16)

        def step() -> None:
            for build_loss in method.losses(method.mix(x, y, net, Draw()), y, net):
                build_loss().backward()

        step()
        for parameter in [*net.parameters(), *method.parameters()]:
            parameter.grad = None
        return peak_of(step, torch.device("cpu"))

    assert peak("automix") <= 1.25 * peak("vanilla")


# ------------------------------------------------------------------------------------------------------- the teacher


@pytest.mark.parametrize("momentum", [0.0, 0.9, 1.0])
def test_teacher_moves_by_its_momentum(momentum: float) -> None:
    both = ready(momentum=momentum, end_momentum=momentum)
    before = [p.clone() for p in both.method.teacher.parameters()]
    buffers = [b.clone() for b in both.method.teacher.buffers()]
    for buffer in both.net.buffers():
        buffer.add_(1)
    both.method.after_step(both.net, 0.7)
    for old, new, net in zip(before, both.method.teacher.parameters(), both.net.parameters(), strict=True):
        torch.testing.assert_close(new, momentum * old + (1 - momentum) * net)
    assert all(torch.equal(a, b) for a, b in zip(buffers, both.method.teacher.buffers(), strict=True))


def test_momentum_is_constant_first_and_then_a_cosine() -> None:
    assert momentum_at(0.0, 0.99, 1.0) == momentum_at(0.099, 0.99, 1.0) == 0.99
    assert momentum_at(0.5, 0.99, 1.0) == pytest.approx(0.995)
    assert momentum_at(1.0, 0.99, 1.0) == 1.0
    rising = [momentum_at(k / 50, 0.99, 0.9999) for k in range(51)]
    assert rising == sorted(rising)


def test_teacher_is_frozen_and_apart() -> None:
    both = ready()
    learning = [name for name, p in both.method.named_parameters() if p.requires_grad]
    assert learning and all(name.startswith("generator.") for name in learning)
    storages = {p.data_ptr() for p in both.net.parameters()}
    assert not storages & {p.data_ptr() for p in both.method.teacher.parameters()}


def test_teacher_and_generator_sit_where_the_net_does() -> None:
    net = residual_net(3, 32, 32)
    method = AutoMix()
    method.attach(net)
    assert {t.device for t in method.parameters()} == {net.mean.device}
    assert method.teacher is not net and isinstance(method.teacher, Net)


def test_tokens_of_a_vision_transformer() -> None:
    torch.manual_seed(0)
    net, method = token_net(3, 32, 32), AutoMix()
    method.attach(net)
    x, y = noise_batch(4)
    mixed = method.mix(x, y, net, Draw(1, lam=0.4))
    assert mixed.mask.shape == (4, 1, 32, 32)
    assert all(loss().isfinite() for loss in method.losses(mixed, y, net))


def test_used_before_it_was_attached() -> None:
    net = residual_net(3, 32, 32)
    x, y = noise_batch(4)
    for act in (lambda: AutoMix().mix(x, y, net, Draw()), lambda: AutoMix().after_step(net, 0.1)):
        with pytest.raises(UsageError, match=r"call attach\(net\) once"):
            act()

"""AdAutoMix: masks of several images, the adversary's turns, the margin's sign, one pass for all clean logits."""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.integrate import quad
from scipy.stats import kstest
from torch import Tensor

from tests.methods.settings import CLASSES, Ready, awake, noise_batch, residual_net, token_net
from workbench.config import UsageError
from workbench.draw import Draw
from workbench.methods import AdAutoMix, soft_cross_entropy
from workbench.methods.adautomix import cosine_to_sources, draw_sources, draw_weights
from workbench.methods.parts.mixblock import SourceAttention, mix_sources
from workbench.models import Net
from workbench.train.memory import peak_of


def ready(**params: object) -> Ready:
    return awake(AdAutoMix, **params)


def block(sources: int, lam_embed: bool = True) -> tuple[SourceAttention, Tensor, Tensor, Tensor]:
    """A generator with large weights, features (5, 6, 3, 4), sources and weights (5, N)."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        generator = SourceAttention(6, lam_embed)
        for parameter in generator.parameters():
            torch.nn.init.normal_(parameter, std=0.7)
        features = torch.randn(5, 6, 3, 4)
    source = torch.from_numpy(draw_sources(Draw(1), 5, sources))
    weight = torch.from_numpy(draw_weights(Draw(2), 1.0, 5, sources, "sample"))
    return generator, features, source, weight


# -------------------------------------------------------------------------------------------------------- generator


@pytest.mark.parametrize("lam_embed", [True, False])
@pytest.mark.parametrize("sources", [2, 3, 4])
def test_logits_are_the_formula_with_the_weight_as_a_channel(sources: int, lam_embed: bool) -> None:
    """Written out in float64 with loops over rows, images and the others; the key has its weight's channel too, which
    the softmax takes no notice of."""
    generator, features, source, weight = block(sources, lam_embed)
    got, d = generator(features, source, weight).detach().numpy(), 3
    w = generator.project.weight.detach().double().numpy()[:, :, 0, 0]
    bias, shift = (t.detach().double().numpy() for t in (generator.query_bias, generator.value_bias))
    lam_q, lam_v = np.zeros((d, 1)), np.zeros((1, 1))
    if lam_embed:
        lam_q, lam_v = (t.detach().double().numpy() for t in (generator.query_lam, generator.value_lam))
    for row in range(5):
        maps = [features[int(i)].double().numpy().reshape(6, 12) for i in source[row]]
        for n in range(sources):
            share = float(weight[row, n])
            query, value = w[:d] @ maps[n] + bias + share * lam_q, w[2 * d :] @ maps[n] + shift + share * lam_v
            scores = sum(
                query.T @ (w[d : 2 * d] @ maps[m] + 0.3 + 0.8 * float(weight[row, m])) for m in range(sources) if m != n
            )
            p = np.exp(scores / math.sqrt(d))
            expected = (p / p.sum(1, keepdims=True) @ value[0]).reshape(3, 4)
            np.testing.assert_allclose(got[row, n], expected, atol=1e-4)


@pytest.mark.parametrize("sources", [2, 3])
def test_images_in_another_order_have_their_masks_in_that_order(sources: int) -> None:
    generator, features, source, weight = block(sources)
    order = torch.arange(sources).roll(1)
    expected = generator(features, source, weight)[:, order]
    torch.testing.assert_close(generator(features, source[:, order], weight[:, order]), expected, atol=1e-4, rtol=1e-4)


def test_generator_computes_in_float32_under_autocast() -> None:
    generator, features, source, weight = block(3)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits = generator(features, source, weight)
    assert logits.dtype == torch.float32 and torch.equal(logits, generator(features, source, weight))


# ------------------------------------------------------------------------------------------------------ the draws


def test_sources_are_independent_permutations() -> None:
    together = np.zeros((4, 4))
    for i in range(600):
        source = draw_sources(Draw(3, 0, i), 4, 3)
        assert source[:, 0].tolist() == [0, 1, 2, 3]
        assert sorted(source[:, 1]) == sorted(source[:, 2]) == [0, 1, 2, 3]
        together[source[0, 1], source[0, 2]] += 1
    assert ((together - 600 / 16) ** 2 / (600 / 16)).sum() < 30.6  # 1 % of chi-squared with 15 degrees of freedom
    pinned = draw_sources(Draw(partner=[1, 2, 3, 0]), 4, 3)
    assert pinned.tolist() == [[0, 1, 2], [1, 2, 3], [2, 3, 0], [3, 0, 1]]


def share_of_three(x: float) -> float:
    """P(u1 / (u1 + u2 + u3) <= x) for uniform numbers: P(u1 <= r s) with r = x / (1 - x), s = u2 + u3."""
    r = x / (1 - x)
    return quad(lambda s: min(1.0, r * s) * (s if s < 1 else 2 - s), 0, 2, points=[min(1 / r, 2.0), 1] if r else [1])[0]


def test_three_weights_are_uniform_numbers_over_their_sum() -> None:
    weight = np.concatenate([draw_weights(Draw(5, 0, i), 1.0, 64, 3, "sample") for i in range(10)])
    np.testing.assert_allclose(weight.sum(1), 1, atol=1e-6)
    for column in weight.T:
        assert kstest(column, np.vectorize(share_of_three)).pvalue > 0.01
    assert kstest(weight[:, 0], lambda x: 1 - (1 - x) ** 2).pvalue < 1e-4  # what a Dirichlet distribution would give


def test_lambda_of_two_is_uniform() -> None:
    weight = np.concatenate([draw_weights(Draw(5, 0, i), 1.0, 64, 2, "sample") for i in range(10)])
    assert kstest(weight[:, 0], "uniform").pvalue > 0.01
    np.testing.assert_allclose(weight.sum(1), 1, atol=1e-6)


def test_weights_a_batch_and_pinned() -> None:
    batch = draw_weights(Draw(1), 1.0, 6, 3, "batch")
    assert batch.shape == (6, 3) and len(np.unique(batch, axis=0)) == 1
    pinned = draw_weights(Draw(1, lam=0.5), 1.0, 6, 3, "sample")
    np.testing.assert_allclose(pinned[:, 0], 0.5)
    np.testing.assert_allclose(pinned.sum(1), 1, atol=1e-6)
    assert len(np.unique(pinned[:, 1])) == 6 and pinned.dtype == np.float32


@pytest.mark.parametrize("sources", [2, 3])
def test_student_and_generator_share_the_weights_of_three_images_only(sources: int) -> None:
    both = ready(sources=sources)
    source, weight, own_source, own_weight = both.method._drawn(Draw(1), 8)
    assert source[:, 1].tolist() != own_source[:, 1].tolist()
    assert np.array_equal(weight, own_weight) == (sources == 3)


# -------------------------------------------------------------------------------------------------------- the mix


@pytest.mark.parametrize("sources", [2, 3, 4])
def test_the_mix_is_the_softmax_of_enlarged_logits(sources: int) -> None:
    both = ready(sources=sources, lam_margin=0.0)
    x, y = noise_batch(8)
    mixed = both.method.mix(x, y, both.net, Draw(1))
    features = copy.deepcopy(both.method.teacher).features(x, "stage2")
    logits = both.method.generator(features, mixed.source, mixed.weight)
    shares = F.interpolate(logits, (32, 32), mode="bilinear", align_corners=False).softmax(1)
    torch.testing.assert_close(mixed.shares(), shares, atol=1e-5, rtol=1e-4)
    expected = sum(shares[:, n : n + 1] * x[mixed.source[:, n]] for n in range(sources))
    torch.testing.assert_close(mixed.x, expected, atol=1e-5, rtol=0)
    torch.testing.assert_close(mixed.shares().sum(1), torch.ones(8, 32, 32))


def test_the_students_masks_are_learned_ones_in_97_of_100_rows() -> None:
    """With the sign of OpenMixup's test turned, 99.98 % of the mixes were plain weighted means."""
    both = ready()
    x, y = noise_batch(16)
    masks = [both.method.mix(x, y, both.net, Draw(4, 0, i)).mask[:, 0] for i in range(30)]
    flat = [mask.flatten(1).std(1) < 1e-6 for mask in masks]
    plain = torch.cat(flat).float().mean()
    expected = share_of_three(0.03) + 1 - share_of_three(0.97)
    assert expected == pytest.approx(0.031, abs=0.001)
    assert abs(plain - expected) < 3 * math.sqrt(expected / 480)


def test_rows_near_the_ends_have_their_plain_weights() -> None:
    both = ready(lam_margin=0.2)
    x, y = noise_batch(16)
    mixed = both.method.mix(x, y, both.net, Draw(1))
    own = mixed.weight[:, 0]
    near = torch.minimum(own, 1 - own) <= 0.2
    assert 2 < near.sum() < 14
    shares = mixed.shares()
    torch.testing.assert_close(shares[near], mixed.weight[near, :, None, None].expand(-1, -1, 32, 32))
    assert (shares[~near].flatten(2).std(2).amax(1) > 0.01).all()


def test_labels_have_the_drawn_weights() -> None:
    both = ready()
    x, y = noise_batch(8)
    mixed = both.method.mix(x, y, both.net, Draw(1))
    assert np.array_equal(mixed.weight.numpy(), both.method._drawn(Draw(1), 8)[1])
    assert (mixed.shares().mean((2, 3)) - mixed.weight).abs().max() > 0.05


def test_mixing_keeps_types_and_memory_order() -> None:
    x = torch.rand(4, 3, 8, 6).bfloat16().contiguous(memory_format=torch.channels_last)
    source, shares = torch.tensor([[0, 1, 2], [1, 2, 3], [2, 3, 0], [3, 0, 1]]), torch.rand(4, 3, 8, 6).softmax(1)
    before = x.clone()
    mixed = mix_sources(x, source, shares)
    assert mixed.dtype == torch.bfloat16 and mixed.is_contiguous(memory_format=torch.channels_last)
    expected = (x.float()[source] * shares[:, :, None]).sum(1)
    torch.testing.assert_close(mixed.float(), expected, atol=0.01, rtol=0)
    assert torch.equal(x, before)


# ------------------------------------------------------------------------------------------------------ the losses


def generators_parts(both: Ready, x: Tensor, y: Tensor, draw: Draw) -> tuple[Tensor, Tensor]:
    """Cross-entropy and cosine of the generator's mix, by hand: a forward pass of the teacher for every permutation."""
    method = both.method
    _, _, source, weight = (torch.from_numpy(a) for a in method._drawn(draw, len(x)))
    teacher = copy.deepcopy(method.teacher)
    logits = method.generator(teacher.features(x, "stage2"), source, weight)
    shares = F.interpolate(logits, x.shape[2:], mode="bilinear", align_corners=False).softmax(1)
    z = teacher((x[source] * shares[:, :, None]).sum(1))
    rows = torch.arange(len(x))
    nll = sum(-weight[:, n] * z.log_softmax(1)[rows, y[source[:, n]]] for n in range(source.shape[1]))
    cosine = sum(weight[:, n] * F.cosine_similarity(z, teacher(x[source[:, n]]), dim=1) for n in range(source.shape[1]))
    return nll.mean(), cosine.mean()


@pytest.mark.parametrize("sources", [2, 3])
def test_adversarial_and_cooperative_steps_take_turns(sources: int) -> None:
    both = ready(sources=sources, momentum=1.0, end_momentum=1.0)
    x, y = noise_batch(8)
    for number in range(4):
        cross_entropy, cosine = generators_parts(both, x, y, Draw(number))
        expected = 0.7 * cosine - 0.3 * cross_entropy if number % 2 == 0 else cross_entropy
        for _ in range(2):  # to mix again does not count as a step
            got = both.method.mix(x, y, both.net, Draw(number)).aux[0]()
            torch.testing.assert_close(got, expected, atol=1e-4, rtol=1e-4)
        both.method.after_step(both.net, 0.5)


def test_whose_turn_it_is_comes_back_with_the_state() -> None:
    first, second = ready(), ready()
    first.method.after_step(first.net, 0.1)
    assert (first.method.steps, second.method.steps) == (1, 0)
    second.method.load_state_dict(first.method.state_dict())
    assert second.method.steps == 1 and copy.deepcopy(second.method).steps == 1


def test_with_beta_0_only_the_cosine_counts() -> None:
    x, y = noise_batch(8)
    losses = []
    for labels in (y, (y + 3) % CLASSES):
        both = ready(beta=0.0)
        losses.append(both.method.mix(x, labels, both.net, Draw(1)).aux[0]())
    assert torch.equal(losses[0], losses[1])


def test_the_cosines_sign_can_be_turned() -> None:
    x, y = noise_batch(8)
    apart, near = (ready(beta=0.0, cosine_sign=sign) for sign in (1, -1))
    losses = [both.method.mix(x, y, both.net, Draw(1)).aux[0]() for both in (apart, near)]
    torch.testing.assert_close(losses[0], -losses[1])
    torch.testing.assert_close(losses[0], generators_parts(apart, x, y, Draw(1))[1], atol=1e-4, rtol=1e-4)


def test_cosine_by_index_is_that_of_passes_of_their_own() -> None:
    both = ready()
    x, y = noise_batch(8)
    mixed = both.method.mix(x, y, both.net, Draw(1))
    logits, clean = both.net(mixed.x), both.net(x)
    expected = sum(
        mixed.weight[:, n] * F.cosine_similarity(logits, both.net(x[mixed.source[:, n]]), dim=1) for n in range(3)
    )
    torch.testing.assert_close(cosine_to_sources(logits, clean, mixed), expected, atol=1e-5, rtol=1e-4)


def test_features_and_logits_come_from_one_pass() -> None:
    both = ready()
    x, y = noise_batch(8)
    passes = []
    both.method.teacher.register_forward_hook(lambda *_: passes.append(1))
    both.method.mix(x, y, both.net, Draw(1))
    assert len(passes) == 1
    features, logits = both.method.features_and_logits(x)
    assert torch.equal(features, both.method.features(x)) and torch.equal(logits, both.method.teacher(x))


@pytest.mark.parametrize("sources", [2, 3])
def test_students_losses(sources: int) -> None:
    both = ready(sources=sources, label_smoothing=0.1)
    x, y = noise_batch(8)
    mixed = both.method.mix(x, y, both.net, Draw(1))
    _, clean, *linear, main = both.method.losses(mixed, y, both.net)
    share = 1 if sources == 2 else 0.5
    torch.testing.assert_close(clean(), share * F.cross_entropy(both.net(x), y, label_smoothing=0.1))
    torch.testing.assert_close(main(), soft_cross_entropy(both.net(mixed.x), y, mixed, 0.1).mean())
    assert len(linear) == sources - 2
    if linear:
        plain = (x[mixed.source] * mixed.weight[:, :, None, None, None]).sum(1)
        torch.testing.assert_close(linear[0](), 0.5 * soft_cross_entropy(both.net(plain), y, mixed, 0.1).mean())


def test_each_loss_reaches_its_own_part_only() -> None:
    both = ready()
    x, y = noise_batch(8)
    generators, *students = both.method.losses(both.method.mix(x, y, both.net, Draw(1)), y, both.net)
    generators().backward()
    assert all(p.grad is None for p in [*both.net.parameters(), *both.method.teacher.parameters()])
    assert all(p.grad.any() for p in both.method.generator.parameters())
    both.method.zero_grad()
    sum(loss() for loss in students).backward()
    assert all(p.grad is None for p in both.method.parameters())
    assert all(p.grad is not None for p in both.net.parameters())


def test_peak_memory_stays_near_that_of_one_pass() -> None:
    def peak(method: AdAutoMix | None) -> int:
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

    assert peak(AdAutoMix()) <= 1.3 * peak(None)


# --------------------------------------------------------------------------------------------------------- and more


def test_tokens_of_a_vision_transformer() -> None:
    torch.manual_seed(0)
    net, method = token_net(3, 32, 32), AdAutoMix()
    method.attach(net)
    x, y = noise_batch(4)
    assert all(loss().isfinite() for loss in method.losses(method.mix(x, y, net, Draw(1)), y, net))


def test_wrong_parameters() -> None:
    for wrong in ({"sources": 1}, {"sources": 5}, {"sources": 2.0}, {"cosine_sign": 0}, {"beta": 1.1}):
        with pytest.raises(UsageError, match=f"AdAutoMix: {next(iter(wrong))} must be"):
            AdAutoMix(**wrong)
    x, y = noise_batch(4)
    with pytest.raises(UsageError, match=r"AdAutoMix learns with a net; call attach\(net\) once"):
        AdAutoMix().mix(x, y, residual_net(3, 32, 32), Draw())

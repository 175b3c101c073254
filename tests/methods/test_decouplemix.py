"""DecoupleMix: a regulariser over any method's mixes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.methods.settings import SETTINGS, noise_batch
from workbench.config import UsageError
from workbench.draw import Draw
from workbench.methods import Mixed, build, soft_cross_entropy
from workbench.methods.decouplemix import decoupled

CLASSES = 6


def scores() -> tuple[Tensor, Tensor, Tensor]:
    """Logits (4, 6) and two classes a row; the last row has one class twice."""
    logits = 3 * torch.randn(4, CLASSES, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return logits, torch.tensor([0, 5, 2, 3]), torch.tensor([1, 2, 5, 3])


def pairs_of(first: Tensor, second: Tensor, lam: float | Tensor = 0.3) -> tuple[Tensor, Mixed]:
    """Labels and a mix whose row i has the classes first[i] and second[i]."""
    n = len(first)
    source = torch.stack([torch.arange(n), torch.arange(n, 2 * n)], 1)
    weight = torch.empty(n, 2)
    weight[:, 0] = lam
    weight[:, 1] = 1 - weight[:, 0]
    return torch.cat([first, second]), Mixed(torch.zeros(n, 1, 2, 2), source, weight)


def test_against_a_softmax_without_the_rival() -> None:
    logits, first, second = scores()
    expected = []
    for z, a, b in zip(logits.numpy(), first.tolist(), second.tolist(), strict=True):
        terms = 0.0
        for wanted, rival in ((a, b), (b, a)):
            others = np.delete(z, rival)
            terms += 0.0 if a == b else np.log(np.exp(others).sum()) - z[wanted]
        expected.append(terms)
    np.testing.assert_allclose(decoupled(logits, first, second).numpy(), expected, rtol=1e-5)
    assert expected[3] == 0 and min(expected[:3]) > 0


def test_symmetric() -> None:
    logits, first, second = scores()
    torch.testing.assert_close(decoupled(logits, first, second), decoupled(logits, second, first))


def test_each_term_is_independent_of_the_rivals_score() -> None:
    """R's gradient for class a is that of its own term alone: raising b's score changes only the term of b."""
    logits, first, second = scores()
    logits = logits[:3].float().requires_grad_()
    first, second = first[:3], second[:3]
    (grad,) = torch.autograd.grad(decoupled(logits, first, second).sum(), logits)
    for row, (a, b) in enumerate(zip(first.tolist(), second.tolist(), strict=True)):
        z = logits[row].detach().double()
        for wanted, rival in ((a, b), (b, a)):
            kept = [c for c in range(CLASSES) if c != rival]
            own_term = torch.softmax(z[kept], 0)[kept.index(wanted)] - 1
            assert float(grad[row, wanted]) == pytest.approx(float(own_term), abs=1e-5)


def test_one_class_twice_is_harmless() -> None:
    same = torch.tensor([3, 3])
    logits = torch.tensor([[0.0] * CLASSES, [-500.0, 300.0, 0.0, -300.0, 1.0, 2.0]], dtype=torch.bfloat16)
    logits.requires_grad_()
    value = decoupled(logits, same, same)
    value.sum().backward()
    assert not value.any() and not logits.grad.any()


def test_float32_whatever_the_logits() -> None:
    logits = torch.tensor([[300.0, -300.0, 0.0, 1.0, 2.0, 3.0]], dtype=torch.bfloat16, requires_grad=True)
    value = decoupled(logits, torch.tensor([0]), torch.tensor([1]))
    value.sum().backward()
    assert value.isfinite().all() and logits.grad.isfinite().all()
    rough, first, second = scores()
    rough = rough.bfloat16()
    assert torch.equal(decoupled(rough, first, second), decoupled(rough.float(), first, second))


def test_two_classes_leave_nothing_to_decide() -> None:
    logits = torch.tensor([[2.0, -1.0]])
    assert decoupled(logits, torch.tensor([0]), torch.tensor([1])).item() == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("eta", [0.0, 0.1, 2.0])
def test_loss_adds_eta_r_without_lambda(eta: float) -> None:
    logits, first, second = scores()
    for lam in (0.3, 0.9):
        y, mixed = pairs_of(first, second, lam)
        expected = soft_cross_entropy(logits, y, mixed).double() + eta * decoupled(logits, first, second)
        torch.testing.assert_close(build("decouplemix", eta=eta).loss(logits, y, mixed).double(), expected.mean())


def test_rows_that_show_one_source_only_have_no_regulariser() -> None:
    logits, first, second = scores()
    y, mixed = pairs_of(first, second, torch.tensor([1.0, 0.0, 0.5, 0.5]))
    regulariser = decoupled(logits, first, second) * torch.tensor([0, 0, 1, 1])
    expected = soft_cross_entropy(logits, y, mixed).double() + 0.1 * regulariser
    torch.testing.assert_close(build("decouplemix").loss(logits, y, mixed).double(), expected.mean())


def test_three_sources_are_refused() -> None:
    x, y = noise_batch(4)
    with pytest.raises(UsageError, match="needs a base that mixes pairs, got Vanilla with 1 sources"):
        build("decouplemix", base="vanilla").mix(x, y, None, Draw())


@pytest.mark.parametrize("base", ["smmix", "decouplemix"])
def test_a_base_with_a_loss_of_its_own_is_refused(base: str) -> None:
    for owner in ("decouplemix", "transmix"):
        with pytest.raises(UsageError, match="would leave out the loss of"):
            build(owner, base=base)


@pytest.mark.parametrize("base", ["comixup", "adautomix"])
def test_more_sources_than_two_are_refused(base: str) -> None:
    x, y = noise_batch(6)
    net = SETTINGS[base].make_net(3, 32, 32)
    method = build("decouplemix", base=base)
    method.attach(net)
    with pytest.raises(UsageError, match="needs a base that mixes pairs"):
        method.mix(x, y, net, Draw())


NOT_PAIRS = ("vanilla", "decouplemix", "smmix", "comixup", "adautomix")


@pytest.mark.parametrize("base", [key for key in SETTINGS if key not in NOT_PAIRS])
def test_any_method_of_pairs_can_be_the_base(base: str) -> None:
    """What is mixed, and the losses of a base that itself learns, are the base's own."""
    x, y = noise_batch(6)
    plain = SETTINGS[base].attached(base)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = SETTINGS[base].make_net(3, 32, 32)
        method = build("decouplemix", base=base)
        method.attach(net)
    mixed, expected = method.mix(x, y, net, Draw(1)), plain.method.mix(x, y, plain.net, Draw(1))
    assert torch.equal(mixed.x, expected.x) and torch.equal(mixed.weight, expected.weight)
    assert len(mixed.aux) == len(expected.aux)
    losses = [build_loss() for build_loss in method.losses(mixed, y, net)]
    for loss, other in zip(losses[:-1], plain.method.losses(expected, y, plain.net), strict=False):
        torch.testing.assert_close(loss, other())
    sum(losses).backward()
    assert all(p.grad is not None for p in [*net.parameters(), *method.parameters()] if p.requires_grad)
    method.after_step(net, 0.5)
    assert method.needs_net == plain.method.needs_net
    picture, note = method.picture(x, y, net, Draw(2, lam=0.5))
    other, same_note = plain.method.picture(x, y, plain.net, Draw(2, lam=0.5))
    assert note == same_note and picture.x.shape == other.x.shape

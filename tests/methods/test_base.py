"""The record of a mix, the loss over it, and what `build` and the stand-alone call make of mistakes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from workbench.config import UsageError
from workbench.draw import Draw
from workbench.methods import CutMix, Mixed, Mixup, build, describe, soft_cross_entropy

CLASSES = 6


def three_sources() -> tuple[Tensor, Tensor, Mixed]:
    """Logits, labels, and a mix of five rows with three sources each."""
    rng = torch.Generator().manual_seed(0)
    logits = torch.randn(5, CLASSES, generator=rng, dtype=torch.float64)
    y = torch.tensor([0, 5, 2, 2, 4])
    weight = torch.rand(5, 3, generator=rng).softmax(1)
    source = torch.tensor([[0, 1, 2], [1, 2, 2], [2, 3, 0], [3, 4, 1], [4, 4, 4]])
    return logits, y, Mixed(torch.zeros(5, 1, 2, 2), source, weight)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_loss_is_the_cross_entropy_with_the_dense_target(smoothing: float) -> None:
    logits, y, mixed = three_sources()
    target = np.zeros((5, CLASSES))
    for row in range(5):
        for source, weight in zip(mixed.source[row], mixed.weight[row], strict=True):
            target[row, y[source]] += float(weight)
    target = (1 - smoothing) * target + smoothing / CLASSES
    z = logits.numpy()
    log_p = z - np.log(np.exp(z).sum(1, keepdims=True))
    loss = soft_cross_entropy(logits, y, mixed, smoothing)
    np.testing.assert_allclose(loss.numpy(), -(target * log_p).sum(1), rtol=1e-6)
    np.testing.assert_allclose(
        mixed.soft_labels(y, CLASSES).numpy() * (1 - smoothing) + smoothing / CLASSES, target, atol=1e-7
    )


def test_weights_are_applied_before_the_mean() -> None:
    """The mean of lambda times the mean of the loss, as some code has it, is another number."""
    logits, y, _ = three_sources()
    lam = torch.tensor([0.9, 0.2, 0.7, 0.1, 0.5])
    source = torch.stack([torch.arange(5), torch.tensor([1, 2, 3, 4, 0])], 1)
    mixed = Mixed(torch.zeros(5, 1, 2, 2), source, torch.stack([lam, 1 - lam], 1))
    own, other = (torch.nn.functional.cross_entropy(logits, y[source[:, k]], reduction="none") for k in (0, 1))
    loss = Mixup().loss(logits, y, mixed)
    torch.testing.assert_close(loss.double(), (lam * own + (1 - lam) * other).mean(), atol=1e-6, rtol=0)
    collapsed = lam.mean() * own.mean() + (1 - lam).mean() * other.mean()
    assert abs(loss - collapsed) > 0.05


def test_loss_is_finite_in_bfloat16() -> None:
    _, y, mixed = three_sources()
    logits = torch.tensor([[300.0] + [-300.0] * (CLASSES - 1)] * 5, dtype=torch.bfloat16, requires_grad=True)
    loss = soft_cross_entropy(logits, y, mixed).mean()
    loss.backward()
    assert loss.dtype == torch.float32 and loss.isfinite() and logits.grad.isfinite().all()


def test_shares_add_up() -> None:
    _, _, mixed = three_sources()
    mask = torch.rand(5, 2, 2, 2, generator=torch.Generator().manual_seed(1)) / 2
    shares = Mixed(mixed.x, mixed.source, mixed.weight, mask).shares()
    assert shares.shape == (5, 3, 2, 2)
    torch.testing.assert_close(shares.sum(1), torch.ones(5, 2, 2))
    torch.testing.assert_close(shares[:, :2], mask)
    with pytest.raises(UsageError, match="no pixel mask"):
        mixed.shares()


def test_soft_labels_of_soft_labels() -> None:
    _, y, mixed = three_sources()
    dense = torch.nn.functional.one_hot(y, CLASSES).double()
    torch.testing.assert_close(mixed.soft_labels(dense, CLASSES), mixed.soft_labels(y, CLASSES))


# --------------------------------------------------------------------------------------------------------- mistakes

IMAGES, LABELS = torch.rand(4, 3, 8, 8, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 1, 2, 3])

WRONG_BATCHES = [
    ((IMAGES * 255).to(torch.uint8), LABELS, "floating point .* divide uint8 images by 255"),
    (IMAGES[0], LABELS, r"\(B, C, H, W\), got \(3, 8, 8\)"),
    (IMAGES, LABELS[:3], "4 images but 3 labels"),
    (IMAGES, LABELS.float(), "class ids"),
    (IMAGES, LABELS[:, None], "class ids"),
    (IMAGES, LABELS - 1, "negative"),
    (IMAGES, LABELS + 1, "below num_classes=4, got 4"),
    (IMAGES, torch.full((4, 5), 0.2), "num_classes=4 columns, got 5"),
    (IMAGES[:0], LABELS[:0], "at least one image"),
]


@pytest.mark.parametrize(("images", "labels", "told"), WRONG_BATCHES, ids=[told[:12] for *_, told in WRONG_BATCHES])
def test_wrong_batches_are_told(images: Tensor, labels: Tensor, told: str) -> None:
    with pytest.raises(UsageError, match=told) as caught:
        CutMix(num_classes=4)(images, labels)
    assert "\n" not in str(caught.value)


def test_number_of_classes_is_guessed_with_a_warning() -> None:
    with pytest.warns(UserWarning, match="took 4 classes") as warned:
        _, targets = Mixup()(IMAGES, LABELS, Draw())
    assert warned[0].filename == __file__  # where the caller can mend it
    assert targets.shape == (4, 4)


def test_unknown_method_is_told() -> None:
    with pytest.raises(UsageError, match="unknown method 'cutmx'; did you mean 'cutmix'"):
        build("cutmx")


def test_a_method_within_a_method() -> None:
    for base in ("mixup", {"method": "mixup"}, Mixup()):
        assert isinstance(build("decouplemix", base=base).base, Mixup)
    assert build("decouplemix", {"base": {"method": "cutmix", "alpha": 0.25}}).base.alpha == 0.25
    for base, told in (
        ("mixp", "unknown method 'mixp'"),
        ({"alpha": 1.0}, "needs the key 'method', got 'alpha'"),
        ({"method": "mixup", "alpha": 9.0}, "alpha must be a number from 0.05 to 5"),
        (3, "base must be a method, got 3"),
    ):
        with pytest.raises(UsageError, match=told):
            build("decouplemix", base=base)


def test_described_defaults_build_the_method() -> None:
    for key in ("cutmix", "transmix", "automix"):
        parameters = {p.name: p.default for p in describe(key)}
        assert "num_classes" not in parameters
        assert repr(build(key, parameters)) == repr(build(key))


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (torch.ones(4, 1, 9, 8), r"\(4, 1, 8, 8\), or have a coarser H and W; got \(4, 1, 9, 8\)"),
        (torch.ones(4, 2, 8, 8), r"got \(4, 2, 8, 8\)"),
        (torch.ones(3, 1, 8, 8), r"got \(3, 1, 8, 8\)"),
        (torch.ones(8, 8), r"got \(8, 8\)"),
        (torch.ones(4, 1, 0, 8), r"got \(4, 1, 0, 8\)"),
    ],
)
def test_a_mask_of_another_size_is_refused(mask: torch.Tensor, message: str) -> None:
    source, weight = torch.zeros(4, 2, dtype=torch.int64), torch.full((4, 2), 0.5)
    with pytest.raises(UsageError, match=message):
        Mixed(torch.rand(4, 3, 8, 8), source, weight, mask)
    with pytest.raises(UsageError, match="one source and one weight for every row"):
        Mixed(torch.rand(4, 3, 8, 8), source, weight[:, :1])


def test_a_coarse_mask_is_meant_enlarged() -> None:
    source, weight = torch.zeros(1, 2, dtype=torch.int64), torch.full((1, 2), 0.5)
    mixed = Mixed(torch.rand(1, 3, 4, 6), source, weight, torch.tensor([[[[0.0, 1.0]]]]))
    assert mixed.shares()[0, 0].tolist() == [[0, 0, 0, 1, 1, 1]] * 4
    assert mixed.shares()[0, 1].tolist() == [[1, 1, 1, 0, 0, 0]] * 4

"""The call on its own, `Method()(images, labels)`: what it gives, or why a method has none."""

from __future__ import annotations

import warnings

import pytest
import torch

from tests.methods.settings import CLASSES, SETTINGS, case, noise_batch
from workbench.config import UsageError
from workbench.draw import Draw
from workbench.methods import METHODS, build

ALONE = [key for key, settings in SETTINGS.items() if settings.alone]


@pytest.mark.parametrize("key", METHODS)
def test_call_on_its_own(key: str) -> None:
    method = build(key, num_classes=CLASSES)
    x, y = noise_batch(7)
    if not case(key).alone:
        with pytest.raises(UsageError, match="call mix, predict and loss"):
            method(x, y)
        return
    images, targets = method(x, y)
    assert images.shape == x.shape and targets.shape == (7, CLASSES)
    assert targets.min() >= 0
    torch.testing.assert_close(targets.sum(1), torch.ones(7))
    assert targets.min(1).values.max() <= method.label_smoothing / CLASSES + 1e-6


@pytest.mark.parametrize("key", ALONE)
def test_call_on_its_own_follows_torchs_seed(key: str) -> None:
    method = build(key, num_classes=CLASSES)
    x, y = noise_batch(8)
    torch.manual_seed(1)
    first = method(x, y)
    torch.manual_seed(1)
    assert all(torch.equal(a, b) for a, b in zip(first, method(x, y), strict=True))
    if case(key).random:
        assert not torch.equal(first[0], method(x, y)[0])


@pytest.mark.parametrize("key", ALONE)
def test_call_on_its_own_takes_soft_labels(key: str) -> None:
    x, y = noise_batch(8)
    soft = torch.nn.functional.one_hot(y, CLASSES).float()
    for hard, same in ((y, soft), (y.int(), soft), (y.to(torch.uint8), soft)):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            expected = build(key, num_classes=CLASSES)(x, hard, Draw(3))
            got = build(key)(x, same, Draw(3))
        assert torch.equal(expected[0], got[0])
        torch.testing.assert_close(expected[1], got[1])

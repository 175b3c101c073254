"""What analyses of a net are given: the same images for the same seed, checked at the border."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from workbench.analysis.inputs import Examples, check_fit, examples, same_numbers
from workbench.config import UsageError
from workbench.data import load
from workbench.models import Net


def some(n: int = 10, channels: int = 3) -> Examples:
    images = torch.arange(n, dtype=torch.uint8)[:, None, None, None].expand(n, channels, 8, 8).contiguous()
    return Examples(images, torch.arange(n) % 4)


def test_a_seed_chooses_the_same_images_in_their_own_order() -> None:
    first, again, other = examples(some(50), 10), examples(some(50), 10), examples(some(50), 10, seed=1)
    assert torch.equal(first.images, again.images) and not torch.equal(first.images, other.images)
    rows = first.images[:, 0, 0, 0]
    assert len(rows.unique()) == 10 and torch.equal(rows, rows.sort().values)
    assert torch.equal(first.labels, rows.long() % 4)
    assert len(examples(some(5), 100)) == 5 and len(examples(some(5))) == 5


def test_a_data_set_brings_its_masks_and_classes() -> None:
    shapes = load("shapes", "test", size=16)
    found = examples(shapes, 7)
    assert found.masks is not None and found.masks.shape == (7, 16, 16) and found.images.shape == (7, 3, 16, 16)


def test_plain_arrays() -> None:
    found = examples((torch.rand(3, 1, 4, 4), np.array([0, 1, 0])))  # type: ignore[arg-type]
    images, labels = found.batch(1, 5)
    assert images.shape == (2, 1, 4, 4) and labels.tolist() == [1, 0]
    eights = [x for x, _ in some(5).batches(2)]
    assert [len(x) for x in eights] == [2, 2, 1] and float(eights[2].max()) == pytest.approx(4 / 255)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ((torch.rand(3, 4, 4), torch.zeros(3).long()), "images must be"),
        ((torch.rand(3, 1, 4, 4) - 1, torch.zeros(3).long()), "from 0 to 1, got -"),
        ((torch.rand(3, 1, 4, 4), torch.zeros(2).long()), "need as many class ids"),
        ((torch.rand(3, 1, 4, 4), torch.zeros(3)), "need as many class ids"),
        ((torch.zeros(0, 1, 4, 4), torch.zeros(0).long()), "at least one image"),
        ("digits", r"load\('digits', 'test'\) or alike, or \(images, class ids\), got 'digits'"),
        (([[1, 2], [1]], [0, 1]), r"images must be an array or a tensor, got \[\[1, 2\], \[1\]\]"),
        ((torch.zeros(1, 1, 4, 4), ["cat"]), "class ids must be an array or a tensor"),
    ],
)
def test_odd_data_is_refused(data: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        examples(data, 2)


def test_what_does_not_fit_the_net_is_refused() -> None:
    net = Net("resnet8", 4, size=8)
    check_fit(net, some())
    for data, message in ((some(channels=1), "3 channels"), (Examples(some(8).images, torch.arange(8)), "has class 7")):
        with pytest.raises(UsageError, match=message):
            check_fit(net, data)
    with pytest.raises(UsageError, match="class ids from 0, got -1"):
        check_fit(net, Examples(some(2).images, torch.tensor([0, -1])))
    vit = Net("vit_tiny_patch16_224", 4, size=32, depth=1, embed_dim=16, num_heads=1)
    with pytest.raises(UsageError, match="can't take images of 8 x 8: it was made for 32 pixels"):
        check_fit(vit, some())
    with pytest.raises(UsageError, match=r"take a workbench Net, got Linear; wrap a module of your own: Net\(module,"):
        check_fit(nn.Linear(3, 3), some())
    with torch.no_grad():
        next(net.parameters()).fill_(torch.nan)
    with pytest.raises(UsageError, match="nan or infinite"):
        check_fit(net, some())


def test_random_numbers_are_left_alone() -> None:
    state = torch.random.get_rng_state()
    with same_numbers(3):
        first = torch.rand(2)
    with same_numbers(3):
        assert torch.equal(first, torch.rand(2))
    assert torch.equal(state, torch.random.get_rng_state())

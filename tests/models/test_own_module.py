"""A module of one's own as a net: it is tried out, left as it was, and can be looked at as any other."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from tests.analysis.settings import CLASSES, small_data
from workbench.analysis.cam import cam
from workbench.analysis.embedding import embedding
from workbench.analysis.hessian import hessian
from workbench.analysis.landscape import landscape
from workbench.analysis.robustness import robustness
from workbench.config import UsageError
from workbench.models import Net


def own() -> nn.Sequential:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        head = nn.Linear(6, CLASSES)
        return nn.Sequential(
            nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.Tanh(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), head
        )


def test_it_is_normalised_and_shared() -> None:
    module = own().eval()
    net = Net(module, CLASSES, mean=[0.25], std=[0.5], size=16)
    x = torch.rand(2, 3, 16, 16)
    assert net.name == "Sequential" and net.backbone is module and not module.training
    torch.testing.assert_close(net(x), module((x - 0.25) / 0.5))
    features = module[:5]((x - 0.25) / 0.5)
    torch.testing.assert_close(net.embed(x), features)


def test_its_mode_and_statistics_stay() -> None:
    module = own()
    module[1].eval()
    before = module[1].running_mean.clone()
    Net(module, CLASSES, size=16)
    assert module.training and not module[1].training and torch.equal(module[1].running_mean, before)


def test_analyses_take_it() -> None:
    net, data = Net(own(), CLASSES, size=16), small_data()
    found = hessian(net, data, images=12, top=1, trace_probes=1, density_probes=1, steps=3)
    assert np.isfinite(found.eigenvalues).all()
    assert np.isfinite(landscape(net, data, points=3).loss).all()
    assert embedding(net, data).runs == cam(net, data, kind="gradient", images=2).runs == ("Sequential",)
    assert 0 <= robustness(net, data, kinds=["fog"], severities=(1,)).accuracy.item() <= 1


@pytest.mark.parametrize(
    ("module", "options", "message"),
    [
        (nn.Linear(3, 3), {}, r"Linear can't take 3 x 16 x 16 images"),
        (own(), {"num_classes": 7}, r"Sequential must give \(1, 7\) logits for an image, got \(1, 4\)"),
        (own(), {"pretrained": True}, "built already: it takes no further arguments"),
    ],
)
def test_what_does_not_fit_is_told(module: nn.Module, options: dict, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Net(module, **{"num_classes": CLASSES, "size": 16, **options})


def test_what_it_lacks_is_told() -> None:
    net = Net(own(), CLASSES, size=16)
    with pytest.raises(UsageError, match="does not name its depths"):
        _ = net.middle
    with pytest.raises(UsageError, match="ends in no patch tokens"):
        net.logits_and_tokens(torch.rand(1, 3, 16, 16))
    plain = Net(nn.Sequential(nn.Conv2d(3, CLASSES, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten()), CLASSES, size=16)
    with pytest.raises(UsageError, match="has no linear layer, so no features"):
        plain.embed(torch.rand(1, 3, 16, 16))

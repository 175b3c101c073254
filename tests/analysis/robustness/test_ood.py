"""Out-of-distribution detection against scikit-learn, and by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from scipy.special import logsumexp, softmax
from sklearn.metrics import roc_auc_score, roc_curve

from workbench.analysis.robustness.ood import auroc, fpr_at, ood, roc
from workbench.config import UsageError
from workbench.data import load
from workbench.models import Net


def scores(seed: int, ties: bool) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    known, unknown = rng.normal(1, 1, 203), rng.normal(0, 1.3, 151)
    return (known.round(1), unknown.round(1)) if ties else (known, unknown)


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_agrees_with_scikit_learn(seed: int, ties: bool) -> None:
    known, unknown = scores(seed, ties)
    truth, values = np.repeat([1, 0], [len(known), len(unknown)]), np.concatenate([known, unknown])
    assert auroc(known, unknown) == pytest.approx(roc_auc_score(truth, values), rel=1e-12)
    false, true, _ = roc_curve(truth, values, drop_intermediate=False)
    assert fpr_at(known, unknown, 0.95) == pytest.approx(false[true >= 0.95].min())
    ours = roc(known, unknown)
    np.testing.assert_allclose(ours[0], false)
    np.testing.assert_allclose(ours[1], true)


def test_by_hand() -> None:
    known, unknown = np.arange(20.0), np.array([-1.0, 0.5, 1.0, 30.0])
    assert auroc(known, unknown) == pytest.approx((20 + 19 + 18.5 + 0) / 80)
    assert fpr_at(known, unknown, 0.95) == 0.5  # 19 of 20 reach the threshold 1, as do 1.0 and 30.0
    assert auroc(known, known) == 0.5
    assert auroc(known + 100, known) == 1
    assert fpr_at(known + 100, known, 0.95) == 0
    assert auroc(np.ones(1), np.ones(3)) == 0.5


def a_net(channels: int = 3) -> Net:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Net("resnet8", 10, channels=channels, size=16).eval()


def test_scores_are_those_of_the_logits() -> None:
    net, data = a_net(), load("shapes", "test", size=16).subset(range(40))
    found = ood(net, data, images=None, other="photos")
    assert found.known.shape == (2, 40)
    with torch.no_grad():
        logits = net(data.images.float() / 255).double().numpy()
    np.testing.assert_allclose(found.known[0], softmax(logits, axis=1).max(1), rtol=1e-5)
    np.testing.assert_allclose(found.known[1], logsumexp(logits, axis=1), rtol=1e-5)
    frame = found.to_frame()
    assert list(frame.score) == ["msp", "energy"]
    assert frame.auroc[0] == pytest.approx(auroc(found.known[0], found.unknown[0]))
    assert frame.fpr95[1] == pytest.approx(fpr_at(found.known[1], found.unknown[1], 0.95))


def test_the_other_set_is_found_and_fitted() -> None:
    assert ood(a_net(), load("photos", "test", size=16), images=20).other == "shapes"
    assert ood(a_net(), load("shapes", "test", size=16), images=20).other == "photos"
    assert ood(a_net(), load("photos", "test", size=16), images=20, other="digits").unknown.shape == (2, 20)
    assert ood(a_net(1), load("digits", "test", size=16), images=20, other="shapes").unknown.shape == (2, 20)


def test_classes_of_the_other_set_do_not_matter() -> None:
    with torch.random.fork_rng(devices=[]):
        net = Net("resnet8", 2, size=16).eval()
    data: Any = (torch.rand(20, 3, 16, 16), torch.zeros(20, dtype=torch.int64))
    assert ood(net, data, images=20, other="photos").unknown.shape == (2, 20)


def test_mistakes_are_told() -> None:
    photos = load("photos", "test", size=16)
    with pytest.raises(UsageError, match="at least 20 images of each data set, got 1; take more"):
        ood(a_net(), photos, images=1)
    with pytest.raises(UsageError, match="photos is what the net is tested on"):
        ood(a_net(), photos, other="photos")
    with pytest.raises(UsageError, match="unknown data set 'foto'"):
        ood(a_net(), photos, other="foto")
    with pytest.raises(UsageError, match="16 x 20"):
        ood(a_net(), (torch.rand(2, 3, 16, 20), torch.zeros(2, dtype=torch.int64)))

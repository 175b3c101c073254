"""Geometry of features against formulas in float64, scikit-learn and PyTorch; the shared map; the result."""

from __future__ import annotations

import dataclasses
import importlib.util
import re
import sys
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.spatial.distance import pdist
from scipy.stats import entropy, ortho_group

from tests.analysis.settings import nets_and_data
from workbench.analysis import embedding as module
from workbench.analysis import geometry
from workbench.analysis.embedding import FEATURES, embedding, lay_out
from workbench.analysis.inputs import Examples
from workbench.analysis.pace import progress
from workbench.config import UsageError
from workbench.models import Net


def cloud(n: int = 20, d: int = 6, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, d)) * np.arange(1, d + 1) + 3


# ---------------------------------------------------------------------------------------------------------------- CKA


def hsic_by_sums(x: np.ndarray, y: np.ndarray) -> float:
    """The unbiased HSIC as mean over all quadruples of different samples of its kernel h (Gretton et al. 2005)."""
    k, m = x @ x.T, y @ y.T
    n, total, count = len(k), 0.0, 0
    for i in range(n):
        for j in range(n):
            for q in range(n):
                for r in range(n):
                    if len({i, j, q, r}) == 4:
                        total += k[i, j] * (m[i, j] + m[q, r] - 2 * m[i, q])
                        count += 1
    return total / count


def test_hsic_is_the_mean_over_quadruples() -> None:
    x, y = cloud(7, 3), cloud(7, 4, 1)
    assert geometry.hsic(geometry.gram(x), geometry.gram(y)) == pytest.approx(hsic_by_sums(x, y), rel=1e-9)


def test_cka_by_its_formula() -> None:
    x, y = cloud(8, 3), cloud(8, 4, 1) + cloud(8, 4)
    expected = hsic_by_sums(x, y) / np.sqrt(hsic_by_sums(x, x) * hsic_by_sums(y, y))
    found = geometry.cka([geometry.gram(x), geometry.gram(y)])
    np.testing.assert_allclose(found, [[1, expected], [expected, 1]], rtol=1e-9)


def test_cka_approaches_the_plain_form_with_many_samples() -> None:
    """Kornblith et al.: |Y'X|^2 / (|X'X| |Y'Y|) of centred features."""
    x = cloud(1500, 4)
    y = x @ np.random.default_rng(2).normal(size=(4, 5)) + cloud(1500, 5, 3)
    a, b = x - x.mean(0), y - y.mean(0)
    plain = np.linalg.norm(b.T @ a) ** 2 / (np.linalg.norm(a.T @ a) * np.linalg.norm(b.T @ b))
    assert 0.1 < plain < 0.95
    assert geometry.cka([geometry.gram(x), geometry.gram(y)])[0, 1] == pytest.approx(plain, abs=0.01)


def test_cka_ignores_rotation_shift_and_scale_alone() -> None:
    x = cloud()
    turned = 5 * x @ ortho_group.rvs(6, random_state=0) - 2
    stretched = x * np.array([30, 1, 1, 1, 1, 1])
    found = geometry.cka([geometry.gram(c) for c in (x, turned, stretched)])
    assert found[0, 1] == pytest.approx(1)
    assert found[0, 2] < 0.9


def test_cka_of_unrelated_features_is_zero_however_many() -> None:
    """The plain form says 0.98 here."""
    x, y = np.random.default_rng(0).normal(size=(2, 40, 2000))
    a, b = x - x.mean(0), y - y.mean(0)
    plain = np.sum((a @ a.T) * (b @ b.T)) / (np.linalg.norm(a @ a.T) * np.linalg.norm(b @ b.T))
    assert plain > 0.9
    assert abs(geometry.cka([geometry.gram(x), geometry.gram(y)])[0, 1]) < 0.1


def test_cka_that_is_not_defined() -> None:
    assert np.isnan(geometry.cka([geometry.gram(cloud(3))])).all()
    found = geometry.cka([geometry.gram(cloud()), geometry.gram(np.ones((20, 2)))])
    assert found[0, 0] == pytest.approx(1)
    assert np.isnan(found[1]).all()
    assert np.isnan(found[0, 1])


# ----------------------------------------------------------------------------------- alignment, uniformity, rank, frame


def test_alignment_and_uniformity_are_the_papers() -> None:
    """The few lines of PyTorch that Wang and Isola print, over all pairs of a class and over all pairs."""
    x, labels = cloud(12), np.arange(12) % 3
    z = F.normalize(torch.from_numpy(x), dim=1)
    pairs = [(i, j) for i in range(12) for j in range(12) if i != j and labels[i] == labels[j]]
    first, second = (z[[pair[k] for pair in pairs]] for k in (0, 1))
    expected = (first - second).norm(p=2, dim=1).pow(2).mean()
    assert geometry.alignment(x, labels) == pytest.approx(float(expected))
    spread = torch.pdist(z, p=2).pow(2).mul(-2).exp().mean().log()
    assert geometry.uniformity(x) == pytest.approx(float(spread))


def test_ends_of_alignment_and_uniformity() -> None:
    same = np.ones((4, 3))
    assert geometry.alignment(same, np.zeros(4)) == pytest.approx(0, abs=1e-12)
    assert geometry.uniformity(same) == pytest.approx(0, abs=1e-12)
    opposite = np.array([[1.0, 0], [-1, 0]])
    assert geometry.alignment(opposite, np.zeros(2)) == pytest.approx(4)
    assert geometry.uniformity(opposite) == pytest.approx(-8)
    assert np.isnan(geometry.alignment(cloud(3), np.arange(3)))
    assert np.isnan(geometry.uniformity(cloud(1)))
    assert geometry.alignment(np.zeros((2, 3)), np.zeros(2)) == 0


def test_effective_rank() -> None:
    x = cloud()
    values = np.linalg.svd(x - x.mean(0), compute_uv=False)
    assert geometry.effective_rank(x) == pytest.approx(np.exp(entropy(values)))
    corners = np.concatenate([np.eye(4), -np.eye(4)])
    assert geometry.effective_rank(7 * corners + 100) == pytest.approx(4)  # the common shift is no direction
    assert geometry.effective_rank(np.outer(np.arange(5), [1.0, 2, 3])) == pytest.approx(1)
    assert np.isnan(geometry.effective_rank(np.full((5, 3), 0.1)))
    assert np.isnan(geometry.effective_rank(cloud(1)))


def test_shared_frame_keeps_distances_and_brings_turned_clouds_together() -> None:
    x = cloud(30)
    turned = 4 * np.pad(x, ((0, 0), (0, 3))) @ ortho_group.rvs(9, random_state=1) + 8
    a, b, c = geometry.shared_frame([x, turned, cloud(30, 3, 5)])
    assert a.shape == b.shape == c.shape == (30, 50)
    np.testing.assert_allclose(a, b, atol=1e-9)
    scale = np.sqrt(np.square(x - x.mean(0)).sum(1).mean())
    np.testing.assert_allclose(pdist(a), pdist(x) / scale)
    for found in (a, c):
        assert np.square(found).sum(1).mean() == pytest.approx(1)
        np.testing.assert_allclose(found.mean(0), 0, atol=1e-12)
    assert not geometry.shared_frame([np.ones((4, 2))])[0].any()


def test_shared_frame_refuses_nan() -> None:
    with pytest.raises(UsageError, match="finite features"):
        geometry.shared_frame([np.full((3, 2), np.nan)])


# ------------------------------------------------------------------------------------------------------------- the map


def test_groups_stay_together_on_the_map() -> None:
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(3), 20)
    points = 20 * np.eye(3)[groups] + rng.normal(size=(60, 3))
    position, perplexity, divergence = lay_out(points, 30, 0)
    assert perplexity == pytest.approx(59 / 3)
    assert divergence > 0
    distance = np.linalg.norm(position[:, None] - position[None], axis=-1) + 1e9 * np.eye(60)
    assert (groups[distance.argmin(1)] == groups).all()
    again, _, _ = lay_out(points, 30, 0)
    assert np.array_equal(position, again)


def test_groups_stay_together_on_the_map_by_umap() -> None:
    """Where the extra is installed."""
    pytest.importorskip("umap")
    groups = np.repeat(np.arange(3), 20)
    points = 20 * np.eye(3)[groups] + np.random.default_rng(0).normal(size=(60, 3))
    position, neighbours, divergence = lay_out(points, 10, 0, "umap")
    assert (neighbours, np.isnan(divergence)) == (10, True)
    distance = np.linalg.norm(position[:, None] - position[None], axis=-1) + 1e9 * np.eye(60)
    assert (groups[distance.argmin(1)] == groups).all()
    assert np.array_equal(position, lay_out(points, 10, 0, "umap")[0])
    assert lay_out(cloud(4), 30, 0, "umap")[0].shape == (4, 2)


def test_without_umap_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "umap" else find(name))
    with pytest.raises(UsageError, match=r"needs umap-learn, which is not here: pip install 'workbench\[umap\]'"):
        embedding(nets(), data(), method="umap")


@pytest.mark.parametrize("number", [4, 5])
def test_few_points(number: int) -> None:
    position, _, divergence = lay_out(cloud(number), 30, 0)
    assert position.shape == (number, 2)
    assert np.isfinite(position).all()
    assert np.isfinite(divergence)


# -------------------------------------------------------------------------------------------------------- the analysis


def nets() -> list[tuple[str, Net]]:
    vit = {"depth": 2, "embed_dim": 24, "num_heads": 3}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        residual = Net("resnet8", 4, size=16).eval()
        return [("r-vanilla", residual), ("r-mixup", Net("vit_tiny_patch16_224", 4, size=16, **vit).eval())]


def data(number: int = 24) -> Examples:
    images = torch.randint(0, 256, (number, 3, 16, 16), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    return Examples(images, torch.arange(number) % 4, None, ("ant", "bee", "cow", "dog"))


def features() -> list[np.ndarray]:
    x, _ = data().batch(0, 24)
    with torch.no_grad():
        return [net.embed(x).numpy() for _, net in nets()]


def test_numbers_are_those_of_the_features() -> None:
    found = embedding(nets(), data())
    a, b = features()
    y = data().labels.numpy()
    np.testing.assert_allclose(found.alignment, [geometry.alignment(f, y) for f in (a, b)], rtol=1e-4)
    np.testing.assert_allclose(found.uniformity, [geometry.uniformity(f) for f in (a, b)], rtol=1e-4)
    np.testing.assert_allclose(found.effective_rank, [geometry.effective_rank(f) for f in (a, b)], rtol=1e-4)
    np.testing.assert_allclose(found.cka, geometry.cka([geometry.gram(a), geometry.gram(b)]), atol=1e-5)
    assert found.place_layers == (FEATURES, FEATURES)


def test_layers() -> None:
    found = embedding(nets(), data(), layers=True)
    assert found.place_layers == ("stage1", "stage2", "stage3", FEATURES, "block1", "block2", FEATURES)
    assert found.place_runs == ("r-vanilla",) * 4 + ("r-mixup",) * 3
    x, _ = data().batch(0, 24)
    grams = []
    for _, net in nets():
        with torch.no_grad():
            for depth in net.depths[1:]:
                grams.append(geometry.gram(F.adaptive_avg_pool2d(net.features(x, depth), 4).flatten(1).numpy()))
            grams.append(geometry.gram(net.embed(x).numpy()))
    np.testing.assert_allclose(found.cka, geometry.cka(grams), atol=1e-4)
    np.testing.assert_allclose(found.cka, found.cka.T)
    frame = found.cka_frame()
    assert len(frame) == 49
    row = frame[(frame.layer == "stage2") & (frame.other_layer == "block2")].iloc[0]
    assert row["cka"] == found.cka[1, 5]


def test_the_same_net_twice_has_one_place_for_each_image() -> None:
    """One shared map: two maps made apart would lie anywhere."""
    (_, net), _ = nets()
    found = embedding([("a", net), ("b", net)], data())
    apart = np.linalg.norm(found.position[0] - found.position[1], axis=1)
    assert np.median(apart) < 0.2 * np.median(pdist(found.position[0]))
    assert found.cka[0, 1] == pytest.approx(1)


def test_frame_and_summary() -> None:
    found = embedding(nets(), data())
    frame, summary = found.to_frame(), found.summary()
    assert len(frame) == 48
    np.testing.assert_array_equal(frame.loc[frame.name == "r-mixup", ["x", "y"]], found.position[1])
    assert frame["label"].tolist()[:4] == ["ant", "bee", "cow", "dog"]
    assert summary["cka_with_first"].tolist() == [pytest.approx(1), found.cka[0, 1]]


def test_plots() -> None:
    found = embedding(nets(), data(), layers=True)
    ax = found.plot()
    assert [t.get_text() for t in ax.texts] == ["Vanilla", "Mixup"]
    legend = ax.get_legend()
    assert legend is not None
    assert [t.get_text() for t in legend.get_texts()] == ["ant", "bee", "cow", "dog"]
    matrix = dataclasses.replace(found, view="cka").plot()
    assert matrix.images[0].get_array().shape == (7, 7)


@pytest.mark.parametrize("number", [1, 2, 3])
def test_too_few_images_are_refused(number: int) -> None:
    with pytest.raises(UsageError, match=f"at least 4 images to compare features, got {number}"):
        embedding(nets(), data(), images=number)


def test_few_images() -> None:
    found = embedding(nets(), data(4), layers=True)
    assert np.isfinite(found.position).all()
    assert np.isfinite(found.cka).all() and np.isfinite(found.effective_rank).all()
    for view in ("map", "cka"):
        assert dataclasses.replace(found, view=view).plot().has_data()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"view": "maps"}, "did you mean 'map'"),
        ({"method": "t-sne"}, "did you mean 'tsne'"),
        ({"perplexity": 0.5}, "perplexity must be a number from 1"),
        ({"perplexity": float("nan")}, "perplexity must be a number from 1"),
    ],
)
def test_mistakes_are_told(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        embedding(nets(), data(), **options)


def test_the_estimate_comes_first_and_covers_features_and_map(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One bar: it is told how long all will take before anything is read, and is full when the t-SNE is done."""
    bars, lay_out = [], module.lay_out

    def watched(total: int, what: str, seconds: float, unit: str) -> Any:
        bars.append(progress(total, what, seconds, unit))
        return bars[-1]

    def laid(*args: Any) -> Any:
        assert len(bars) == 1 and bars[0].n == bars[0].total // 2, "features first"
        return lay_out(*args)

    monkeypatch.setattr(module, "progress", watched)
    monkeypatch.setattr(module, "lay_out", laid)
    monkeypatch.setattr(module, "SECONDS_PER_POINT", {"tsne": 3.0})
    nets, data = nets_and_data()
    capsys.readouterr()
    embedding(nets, data)
    told = re.match(r"embedding: about (\d+) s\n", capsys.readouterr().err)
    assert told, "before the bar"
    assert int(told[1]) >= 72, "three seconds for each of two nets' twelve points, and the features"
    assert bars[0].n == bars[0].total == 2 * len(nets) * len(data)


def test_the_first_umap_of_a_process_is_announced(monkeypatch: pytest.MonkeyPatch) -> None:
    from workbench.analysis.embedding import UMAP_BEGINS, _seconds

    monkeypatch.setitem(sys.modules, "umap", sys)
    again = _seconds(nets(), data(), "umap")
    monkeypatch.delitem(sys.modules, "umap")
    assert _seconds(nets(), data(), "umap") > UMAP_BEGINS > again and _seconds(nets(), data(), "tsne") < UMAP_BEGINS

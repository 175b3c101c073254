"""Calibration against hand examples, scikit-learn, torchmetrics and SciPy, in float64."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax
from sklearn.calibration import calibration_curve
from sklearn.metrics import brier_score_loss, log_loss
from torchmetrics.functional.classification import multiclass_calibration_error

from workbench.analysis import calibration as module
from workbench.analysis import probabilities
from workbench.analysis.calibration import bin_table, calibration, equal_mass_ece, logits_of, pool
from workbench.config import UsageError


def made(n: int = 400, classes: int = 5, sharpness: float = 1.7, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Logits whose labels were drawn from softmax(logits / sharpness)."""
    rng = np.random.default_rng(seed)
    z = rng.normal(0, 2, (n, classes))
    labels = (z + rng.gumbel(size=z.shape)).argmax(1)
    return sharpness * z, labels


def confident(confidence: list[float], classes: int = 8) -> np.ndarray:
    """(N, K) logits whose largest probability is the given one, always for class 0."""
    p = np.array([[c] + [(1 - c) / (classes - 1)] * (classes - 1) for c in confidence])
    return np.log(p)


def test_by_hand() -> None:
    """Four samples in four bins: 0.55 right, 0.65 wrong, 0.9 right, 0.95 wrong; one bin stays empty."""
    found = calibration(confident([0.55, 0.65, 0.9, 0.95], 2), [0, 1, 0, 1], bins=4, name="hand")
    np.testing.assert_array_equal(found.edges, [0, 0.25, 0.5, 0.75, 1])
    np.testing.assert_array_equal(found.count, [0, 0, 2, 2])
    np.testing.assert_allclose(found.bin_confidence, [np.nan, np.nan, 0.6, 0.925])
    np.testing.assert_allclose(found.bin_accuracy, [np.nan, np.nan, 0.5, 0.5])
    assert found.ece == pytest.approx(0.5 * 0.1 + 0.5 * 0.425)
    assert found.mce == pytest.approx(0.425)
    assert found.signed_gap == pytest.approx(0.2625)
    assert found.accuracy == pytest.approx(0.5)
    assert found.confidence == pytest.approx(0.7625)
    assert found.nll == pytest.approx(-np.mean(np.log([0.55, 0.35, 0.9, 0.05])))
    assert found.brier == pytest.approx(2 * np.mean(np.square([0.45, 0.65, 0.1, 0.95])))
    assert found.name == "hand"


def test_under_confidence_is_negative() -> None:
    found = calibration(confident([0.5, 0.6, 0.7]), [0, 0, 0])
    assert found.signed_gap == pytest.approx(0.6 - 1)
    assert found.ece == pytest.approx(0.4)


def test_bins_sorted_apart_would_be_seen() -> None:
    """The error of the benchmark's code: sorting the bins' accuracies and confidences apart turns 0.297 into 0.101."""
    confidences, counts, hits = [0.25, 0.35, 0.45, 0.55, 0.65], [20, 40, 50, 40, 40], [14, 1, 32, 5, 18]
    logits = np.concatenate([confident([c] * n) for c, n in zip(confidences, counts, strict=True)])
    labels = np.concatenate([[0] * h + [1] * (n - h) for h, n in zip(hits, counts, strict=True)])
    accuracies, n = np.divide(hits, counts), np.array(counts)
    wrong = np.sum(n * np.abs(np.sort(accuracies) - np.sort(confidences))) / n.sum()
    assert wrong == pytest.approx(0.101, abs=5e-4)
    assert calibration(logits, labels, bins=10).ece == pytest.approx(0.297, abs=5e-4)


def test_edges_belong_to_the_bin_below() -> None:
    edges = np.array([0, 0.25, 0.5, 0.75, 1])
    confidence = np.array([0, 0.25, 0.2500001, 0.5, 0.75, 1.0])
    count, mean, accuracy = bin_table(confidence, np.array([1, 0, 1, 1, 0, 1], bool), edges)
    np.testing.assert_array_equal(count, [2, 2, 1, 1])
    np.testing.assert_allclose(mean, [0.125, 0.37500005, 0.75, 1])
    np.testing.assert_allclose(accuracy, [0.5, 1, 0, 1])


def test_a_probability_of_one_lies_in_the_last_bin() -> None:
    """Two samples, one bin: 0.45 by hand; an extra bin for 1.0 would give 0.55."""
    logits = np.array([[500.0, -500.0], [np.log(0.9), np.log(0.1)]])
    found = calibration(logits, [1, 0], bins=1)
    np.testing.assert_array_equal(found.count, [2])
    assert found.ece == pytest.approx(0.45)
    assert calibration(logits, [1, 0], bins=15).count[-1] == 1


@pytest.mark.parametrize("bins", [1, 7, 10, 15])
def test_agrees_with_scikit_learn(bins: int) -> None:
    z, y = made(classes=2)
    p = softmax(z, axis=1)
    found = calibration(z, y, bins=bins)
    full = found.count > 0
    shares, confidences = calibration_curve(p.argmax(1) == y, p.max(1), n_bins=bins)
    np.testing.assert_allclose(found.bin_accuracy[full], shares, rtol=1e-12)
    np.testing.assert_allclose(found.bin_confidence[full], confidences, rtol=1e-12)


@pytest.mark.parametrize("classes", [2, 5, 100])
def test_scores_agree_with_scikit_learn(classes: int) -> None:
    z, y = made(classes=classes)
    p = softmax(z, axis=1)
    found = calibration(z, y)
    assert found.nll == pytest.approx(log_loss(y, p, labels=range(classes)), rel=1e-12)
    expected = brier_score_loss(y, p, labels=range(classes), scale_by_half=False)
    assert found.brier == pytest.approx(expected, rel=1e-10)
    assert found.accuracy == pytest.approx((p.argmax(1) == y).mean())


@pytest.mark.parametrize("classes", [2, 10, 100])
def test_agrees_with_torchmetrics(classes: int) -> None:
    z, y = made(2000, classes)
    found = calibration(z, y, bins=15)
    assert found.bin_confidence[-1] < 1  # torchmetrics puts 1.0 elsewhere
    p = torch.from_numpy(softmax(z, axis=1))
    for norm, value in (("l1", found.ece), ("max", found.mce)):
        theirs = multiclass_calibration_error(p, torch.from_numpy(y), classes, n_bins=15, norm=norm)
        assert value == pytest.approx(float(theirs), abs=1e-6)


@pytest.mark.parametrize("sharpness", [0.4, 1.0, 2.5])
def test_recovers_a_known_temperature(sharpness: float) -> None:
    z, y = made(20_000, 10, sharpness)
    found = calibration(z, y)
    assert found.temperature == pytest.approx(sharpness, rel=0.03)
    assert found.ece_after < 0.02
    assert found.nll_after <= found.nll_before + 1e-9
    if sharpness != 1:
        assert found.ece_before > 3 * found.ece_after


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_temperature_minimises_the_loss_of_its_half(dtype: type, monkeypatch: pytest.MonkeyPatch) -> None:
    z, y = made(3000, 7)
    fitted, held_out = module._halves(len(y))
    assert not set(fitted) & set(held_out)
    assert len(fitted) + len(held_out) == len(y)

    def loss(log_t: float, rows: np.ndarray) -> float:
        return -log_softmax(z[rows] / np.exp(log_t), axis=1)[np.arange(len(rows)), y[rows]].mean()

    best = minimize_scalar(loss, args=(fitted,), bounds=(-3, 3), method="bounded", options={"xatol": 1e-9})
    found = calibration(z.astype(dtype), y)
    assert found.temperature == pytest.approx(np.exp(best.x), rel=1e-5)
    assert found.nll_before == pytest.approx(loss(0, held_out), rel=1e-5)
    assert found.nll_after == pytest.approx(loss(best.x, held_out), rel=1e-5)


def test_temperature_is_fitted_on_enough_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ENOUGH", 100)
    fitted, held_out = module._halves(1000)
    assert (len(fitted), len(held_out)) == (100, 500)
    assert not set(fitted) & set(held_out)


def test_no_temperature_where_there_is_none() -> None:
    right = calibration(confident([0.6] * 20), [0] * 20)
    assert np.isnan(right.temperature)
    assert "every prediction" in right.unfitted
    useless = calibration(confident([0.6] * 20), [1] * 20)
    assert np.isnan(useless.temperature)
    assert "nothing about the labels" in useless.unfitted


@pytest.mark.parametrize(("logits", "labels"), [([[2.0, 1.0]], [0]), (np.ones((5, 1)) * 3, [0] * 5)])
def test_one_sample_and_one_class_work(logits, labels) -> None:
    found = calibration(logits, labels)
    assert found.accuracy == 1
    assert found.ece == pytest.approx(1 - found.confidence)
    assert np.isnan(found.temperature)
    assert found.unfitted
    assert len(found.to_frame()) == 15


@pytest.mark.parametrize("chunk", [1, 64, 1 << 18])
def test_chunks_and_threads_change_nothing(chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    z, y = made(1000, 9)
    whole = calibration(z, y)
    monkeypatch.setattr(probabilities, "CHUNK", chunk)
    parts = calibration(z, y)
    np.testing.assert_array_equal(parts.count, whole.count)
    np.testing.assert_array_equal(parts.bin_confidence, whole.bin_confidence)
    assert (parts.brier, parts.nll, parts.temperature) == (whole.brier, whole.nll, whole.temperature)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_takes_tensors_and_leaves_them_alone(dtype: torch.dtype) -> None:
    z, y = (torch.from_numpy(a) for a in made())
    z = z.to(dtype).requires_grad_()
    before = z.detach().clone()
    found = calibration(z, y)
    assert torch.equal(z.detach(), before)
    exact = calibration(before.double().numpy(), y.numpy())
    assert found.ece == pytest.approx(exact.ece, abs=1e-6)
    assert found.temperature == pytest.approx(exact.temperature, rel=1e-5)


def test_probabilities_go_through_logits_of() -> None:
    z, y = made()
    p = softmax(z, axis=1)
    assert calibration(logits_of(p), y).ece == pytest.approx(calibration(z, y).ece, abs=1e-12)
    np.testing.assert_allclose(softmax(logits_of([[1.0, 0.0]]), axis=1), [[1, 0]], atol=1e-300)
    with pytest.raises(UsageError, match="looks like probabilities"):
        calibration(p, y)
    with pytest.raises(UsageError, match="rows summing to 1"):
        logits_of(z)


def test_pooling_is_calibration_of_all_samples() -> None:
    z, y = made(900)
    parts = [calibration(z[i::3], y[i::3], bins=8) for i in range(3)]
    pooled, whole = pool(parts, "pooled"), calibration(z, y, bins=8)
    np.testing.assert_array_equal(pooled.count, whole.count)
    np.testing.assert_allclose(pooled.bin_confidence, whole.bin_confidence)
    np.testing.assert_allclose(pooled.bin_accuracy, whole.bin_accuracy)
    assert pooled.brier == pytest.approx(whole.brier)
    with pytest.raises(UsageError, match="same bins"):
        pool([parts[0], whole, calibration(z, y, bins=9)])


Z, Y = made(10, 3)


@pytest.mark.parametrize(
    ("logits", "labels", "options", "message"),
    [
        (np.where(np.arange(30).reshape(10, 3) == 4, np.nan, Z), Y, {}, "in 1 rows, the first is row 1"),
        (np.where(np.arange(30).reshape(10, 3) == 8, np.inf, Z), Y, {}, "the first is row 2"),
        (np.where(np.arange(30).reshape(10, 3) == 8, -np.inf, Z), Y, {}, "the first is row 2"),
        (np.zeros((0, 3)), np.zeros(0, int), {}, "N, K > 0"),
        (Z[:, 0], Y, {}, r"got \(10,\)"),
        (Z, Y[:-1], {}, r"got \(10, 3\) and \(9,\)"),
        (Z, np.eye(3)[Y], {}, r"and \(10, 3\)"),
        (Z, Y + 1, {}, "labels must lie from 0 to 2, got 1 to 3"),
        (Z, Y - 1, {}, "got -1 to"),
        (Z, Y.astype(float), {}, "whole-number labels, got float64 and float64"),
        (Z.astype(complex), Y, {}, "real logits"),
        (Z, Y, {"bins": 0}, "bins must be a whole number from 1 to 10000, got 0"),
        (Z, Y, {"bins": 10**9}, "bins must be a whole number from 1 to 10000, got 1000000000"),
        ([[1, 2], [1]], [0, 1], {}, r"rows that are equally long, got \[\[1, 2\], \[1\]\]"),
        (Z, Y, {"bins": 2.5}, "got 2.5"),
    ],
)
def test_errors_say_what_was_expected(logits, labels, options, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        calibration(logits, labels, **options)


def test_summary_and_frame_tell_the_same() -> None:
    found = calibration(*made(), name="run")
    frame, summary = found.to_frame(), found.summary().iloc[0]
    share = frame["count"] / frame["count"].sum()
    assert summary.ece == pytest.approx((share * frame.gap.abs()).sum())
    assert summary.mce == pytest.approx(frame.gap.abs().max())
    assert summary.samples == frame["count"].sum()
    np.testing.assert_allclose(frame.gap, frame.confidence - frame.accuracy)


def test_the_diagram_shows_the_table() -> None:
    found = calibration(*made(), bins=10, name="my run")
    ax = found.plot()
    full = found.count > 0
    tops = {round(bar.get_x() + 1e-9, 6): bar.get_y() + bar.get_height() for bar in ax.patches[full.sum() :]}
    higher = np.maximum(found.bin_accuracy, found.bin_confidence)[full]
    np.testing.assert_allclose(sorted(tops), found.edges[:-1][full], atol=1e-6)
    np.testing.assert_allclose([tops[x] for x in sorted(tops)], higher)
    name, numbers = ax.get_title().split("\n")
    assert name == "my run" and numbers.startswith(f"ECE {100 * found.ece:.1f} %, gap ")
    (strip,) = ax.child_axes
    np.testing.assert_allclose([bar.get_height() for bar in strip.patches], found.share)


# ------------------------------------------------------------------------------------------- other kinds of bins


def test_classwise_error_against_a_loop_over_classes_and_bins() -> None:
    rng = np.random.default_rng(3)
    logits, labels = rng.normal(0, 2, (300, 5)), rng.integers(0, 5, 300)
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    errors = []
    for k in range(5):
        total = 0.0
        for low, high in zip(np.linspace(0, 1, 11)[:-1], np.linspace(0, 1, 11)[1:], strict=True):
            inside = (p[:, k] > low) & (p[:, k] <= high)
            if inside.any():
                total += inside.mean() * abs(p[inside, k].mean() - (labels[inside] == k).mean())
        errors.append(total)
    assert calibration(logits, labels, bins=10).classwise_ece == pytest.approx(np.mean(errors), abs=1e-9)


def test_equal_mass_bins_against_a_plain_split() -> None:
    rng = np.random.default_rng(4)
    confidence, right = rng.random(100), rng.random(100) < 0.5
    parts = np.array_split(np.argsort(confidence), 10)
    expected = sum(len(i) / 100 * abs(confidence[i].mean() - right[i].mean()) for i in parts)
    assert equal_mass_ece(confidence, right, 10) == pytest.approx(expected)


def test_equal_confidences_share_a_bin() -> None:
    confidence = np.repeat(0.8, 50)
    right = np.arange(50) % 5 > 0  # 80 % right: perfectly calibrated, however the equal ones might be split
    assert equal_mass_ece(confidence, np.sort(right), 5) == pytest.approx(0, abs=1e-12)
    assert equal_mass_ece(confidence[:2], right[:2], 15) == pytest.approx(0.3)


def test_the_class_wise_error_of_very_many_probabilities_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_PROBABILITIES", 10)
    assert np.isnan(calibration(5 * np.eye(4), np.arange(4)).classwise_ece)


@pytest.mark.parametrize(
    ("labels", "leaning"),
    [([0, 0, 0, 0], "under-confident"), ([1, 1, 1, 0], "over-confident"), ([0, 0, 1, 1], "neither")],
)
def test_the_leaning_is_named(labels: list[int], leaning: str) -> None:
    found = calibration(confident([0.5] * 4), labels)
    assert found.summary()["leaning"].tolist() == [leaning]
    ax = found.plot()
    assert (leaning in ax.get_title()) == (leaning != "neither")
    legend = ax.child_axes[0].get_legend()
    assert [t.get_text() for t in legend.get_texts()] == ["accuracy", "over-confident", "under-confident"]

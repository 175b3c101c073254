"""Every figure shows what the runs hold, in numbers, and says what it shows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from tests import fake_results
from tests.fake_results import plane, store
from tests.fake_runs import PICTURES, TOUR, FakeRun, write_run, write_runs
from workbench import style
from workbench.analysis import analyse, cache, stored
from workbench.config import RunConfig, UsageError
from workbench.figures import card, lint, render


def texts(figure: Figure) -> str:
    return "\n".join(t.get_text() for t in lint._texts(figure))


def test_samples_show_sources_mixes_weights_and_masks(runs: list[FakeRun], drawn: Callable[..., Figure]) -> None:
    figure = drawn("samples")
    stored = {run.config.method: run.samples() for run in runs}
    rows: list[list[np.ndarray]] = []
    for ax in figure.axes:
        rows.append(np.asarray(ax.images[0].get_array()))
    sources = np.moveaxis(stored["mixup"]["sources"], 1, -1)
    np.testing.assert_array_equal(rows[:PICTURES], sources)
    np.testing.assert_array_equal(rows[PICTURES : 2 * PICTURES], np.roll(sources, -1, 0))
    np.testing.assert_array_equal(rows[2 * PICTURES : 3 * PICTURES], np.moveaxis(stored["mixup"]["mixed"], 1, -1))
    cutmix = rows[3 * PICTURES : 5 * PICTURES]  # mixes and masks in turn
    np.testing.assert_array_equal(cutmix[::2], np.moveaxis(stored["cutmix"]["mixed"], 1, -1))
    np.testing.assert_array_equal(cutmix[1::2], stored["cutmix"]["mask"][:, 0])
    own = round(100 * float(stored["cutmix"]["weight"][0, 0]))
    assert f"{own}:{100 - own}" in texts(figure)
    assert "Vanilla" not in texts(figure)
    assert "ManifoldMix*" in texts(figure)
    assert "* Mixed in features; shown at depth 0." in texts(figure)
    assert len(rows) == (2 + 4 + 2) * PICTURES


def test_samples_of_grey_pictures_and_few_columns(tmp_path: Path) -> None:
    run = write_run(tmp_path, RunConfig(method="cutmix"))
    arrays = {k: v[:, :1] if k in ("sources", "mixed") else v for k, v in (run.samples() or {}).items()}
    np.savez_compressed(run.path / "samples.npz", **arrays)
    figure = render([run], "samples", pictures=2)
    assert len(figure.axes) == 2 * (2 + 2)
    assert np.asarray(figure.axes[0].images[0].get_array()).ndim == 2


def test_even_masks_are_not_shown(tmp_path: Path) -> None:
    """Mixup's mask is lambda everywhere: the numbers say that already."""
    run = write_run(tmp_path, RunConfig(method="mixup"))
    arrays: dict = {**(run.samples() or {}), "mask": np.full((PICTURES, 1, 32, 32), 0.5, np.float32)}
    np.savez_compressed(run.path / "samples.npz", **arrays)
    assert len(render([run], "samples").axes) == 3 * PICTURES


def test_curves_show_mean_and_range(runs: list[FakeRun], drawn: Callable[..., Figure]) -> None:
    figure = drawn("curves")
    accuracy, loss = figure.axes
    by_seed = [run.history for run in runs if run.config.method == "cutmix"]
    for ax, column, scale in ((accuracy, "test_accuracy", 100), (loss, "train_loss", 1)):
        both = scale * np.array([h[column] for h in by_seed])
        line = ax.lines[2]
        np.testing.assert_allclose(line.get_ydata(), both.mean(0))
        np.testing.assert_array_equal(line.get_xdata(), by_seed[0]["epoch"])
        assert line.get_color() == style.PALETTE["cutmix"]
        band = ax.collections[2].get_paths()[0].vertices[:, 1]
        assert band.min() == pytest.approx(both.min())
        assert band.max() == pytest.approx(both.max())
    assert "mean over 2 seeds, band: smallest to largest" in texts(figure)
    assert [t.get_text() for t in figure.legends[0].get_texts()] == [style.LABELS[m] for m in TOUR]


def test_curves_of_many_seeds_show_the_deviation(tmp_path: Path) -> None:
    runs = write_runs(tmp_path, ("mixup",), range(5))
    figure = render(runs, "curves")
    values = 100 * np.array([run.history["test_accuracy"] for run in runs])
    band = figure.axes[0].collections[0].get_paths()[0].vertices[:, 1]
    assert band.max() == pytest.approx((values.mean(0) + values.std(0, ddof=1)).max())
    assert "standard deviation" in texts(figure)


def test_curves_stop_where_a_seed_stops(tmp_path: Path) -> None:
    runs = write_runs(tmp_path, ("mixup",), (0, 1))
    path = runs[1].path / "history.jsonl"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:7]))
    assert list(render(runs, "curves").axes[0].lines[0].get_xdata()) == list(range(1, 8))


def test_reliability_shows_every_method(runs: list[FakeRun], drawn: Callable[..., Figure]) -> None:
    figure = drawn("reliability")
    assert [ax.get_title() for ax in figure.axes if ax.get_title()] == [style.LABELS[m] for m in TOUR]
    results = analyse([run for run in runs if run.config.method == "mixup"], "calibration")
    eces = 100 * np.array([r.ece for r in results])
    assert f"ECE {eces.mean():.1f} \N{PLUS-MINUS SIGN} {eces.std(ddof=1):.1f} %" in texts(figure)
    gaps = -100 * np.array([r.signed_gap for r in results])
    assert f"gap \N{MINUS SIGN}{gaps.mean():.1f} \N{PLUS-MINUS SIGN} {gaps.std(ddof=1):.1f} %" in texts(figure)
    strips = [ax.child_axes[0] for ax in figure.axes if ax.child_axes]
    assert len({strip.get_ylim() for strip in strips}) == 1  # one scale, on which every bar has room
    assert max(bar.get_height() for strip in strips for bar in strip.patches) <= strips[0].get_ylim()[1]
    assert {"accuracy (%)", "confidence (%)", "images\n(%)"} <= {t.get_text() for t in lint._texts(figure)}


def test_tradeoff_shows_cost_and_spread(runs: list[FakeRun], drawn: Callable[..., Figure]) -> None:
    found = analyse(runs, "compare")
    figure = drawn("tradeoff")
    for ax, cost, spread in zip(
        figure.axes, (found.seconds, found.memory), (found.seconds_sd, found.memory_sd), strict=True
    ):
        for i, bars in enumerate(ax.containers):
            point, _, (across, up) = bars.lines
            assert point.get_xdata()[0] == pytest.approx(cost[i])
            assert point.get_ydata()[0] == pytest.approx(100 * found.accuracy[i])
            assert np.ptp(across.get_segments()[0][:, 0]) == pytest.approx(2 * spread[i], abs=1e-9)
            assert np.ptp(up.get_segments()[0][:, 1]) == pytest.approx(200 * found.accuracy_sd[i])
        assert {t.get_text() for t in ax.texts} == {style.LABELS[m] for m in TOUR}
    assert "2 seeds" in texts(figure)


def test_tradeoff_without_memory_has_one_panel(tmp_path: Path) -> None:
    runs = [write_run(tmp_path, RunConfig(method=m), memory_bytes=None) for m in ("vanilla", "mixup")]
    (ax,) = render(runs, "tradeoff").axes
    assert "step time" in ax.get_xlabel()


def test_a_thousandth_more_memory_does_not_look_like_a_price(tmp_path: Path) -> None:
    costs = {"vanilla": 1000, "mixup": 1001, "cutmix": 1005}
    runs = [write_run(tmp_path, RunConfig(method=m), memory_bytes=most) for m, most in costs.items()]
    low, high = render(runs, "tradeoff").axes[1].get_xlim()
    assert high - low >= 0.1 and low < 1 and high > 1.005


def test_crowded_points_get_a_legend(tmp_path: Path) -> None:
    runs = [
        write_run(tmp_path, RunConfig(method=m), accuracy=0.7, seconds_per_step=0.1, memory_bytes=100)
        for m in style.LABELS
    ]
    figure = render(runs, "tradeoff")
    assert [t.get_text() for t in figure.legends[0].get_texts()] == list(style.LABELS.values())
    assert not figure.axes[0].texts
    assert lint.faults(figure) == []


def test_landscape_shows_curves_and_lines(runs: list[FakeRun], drawn: Callable[..., Figure]) -> None:
    (found,) = stored(runs, "landscape")
    accuracy, loss = drawn("landscape").axes
    for i, method in enumerate(TOUR):
        rows = [k for k, run in enumerate(runs) if run.config.method == method]
        np.testing.assert_allclose(loss.lines[i].get_ydata(), found.loss[rows, :, 0].mean(0))
        np.testing.assert_array_equal(loss.lines[i].get_xdata(), found.a)
        history = [100 * runs[k].history["test_accuracy"] for k in rows]
        np.testing.assert_allclose(accuracy.lines[i].get_ydata(), np.mean(history, 0))


def test_landscape_shows_planes_at_the_same_levels(tmp_path: Path) -> None:
    runs = write_runs(tmp_path, ("vanilla", "mixup", "cutmix"), (0,))
    for run in runs[:2]:
        store([run], "landscape", plane(run), way="plane")
    figure = render(runs, "landscape")
    panels = [ax for ax in figure.axes if ax.get_title()]
    assert [ax.get_title() for ax in panels] == ["Vanilla", "Mixup"]
    levels = [ax.collections[0].levels for ax in panels]
    np.testing.assert_array_equal(levels[0], levels[1])
    assert lint.faults(figure) == []


def test_hessian_shows_densities_and_numbers(runs: list[FakeRun], drawn: Callable[..., Figure]) -> None:
    results = stored(runs[:2], "hessian")
    figure = drawn("hessian")
    strip = figure.axes[0]
    for line, result in zip(strip.lines, results, strict=False):
        x, y = (np.asarray(v) for v in line.get_data())
        np.testing.assert_allclose(y, np.maximum(result.density(x), y.min()))
    tops = [r.eigenvalues[0] for r in results]
    np.testing.assert_array_equal(strip.lines[2].get_xdata(), tops)
    assert len({ax.get_xlim() for ax in figure.axes}) == 1
    assert f"{np.mean(tops):.0f}" in strip.texts[0].get_text()


def test_corruptions_show_means_ranges_and_clean(runs: list[FakeRun], drawn: Callable[..., Figure]) -> None:
    results = stored([run for run in runs if run.config.method == "cutmix"], "robustness")
    figure = drawn("corruptions", "cvpr", 2)
    by_title = {ax.get_title(): ax for ax in figure.axes}
    assert list(by_title) == ["all", "noise", "blur", "weather", "digital"]
    means = 100 * np.array([r.accuracy[:3].mean() for r in results])  # the first three kinds are noise
    ax = by_title["noise"]
    assert ax.patches[2].get_width() == pytest.approx(means.mean())
    np.testing.assert_allclose(ax.lines[4].get_xdata(), (means.min(), means.max()))
    np.testing.assert_allclose(ax.lines[5].get_xdata(), 100 * np.mean([r.clean for r in results]))
    kinds = [ax.get_title() for ax in render(runs, "corruptions", by="kind").axes if ax.get_title()]
    assert len(kinds) == 15
    assert kinds[0] == "gaussian noise"


def test_fidelity_counts_sources_and_tells_bias(runs: list[FakeRun], drawn: Callable[..., Figure]) -> None:
    figure = drawn("fidelity")
    titles = [ax.get_title() for ax in figure.axes if ax.get_title()]
    assert titles == [style.LABELS[m] for m in TOUR[1:]]  # vanilla mixes nothing
    results = stored([run for run in runs if run.config.method == "mixup"], "fidelity")
    bias = 100 * np.mean([r.bias for r in results])
    assert f"bias {bias:z.1f}".replace("-", "\N{MINUS SIGN}") in texts(figure)
    assert f"lost {100 * np.mean([r.lost for r in results]):.1f}" in texts(figure)


def test_fidelity_over_several_alphas_is_not_pooled(tmp_path: Path) -> None:
    (run,) = write_runs(tmp_path, ("mixup",), (0,))
    found = fake_results.fidelity(run)
    store([run], "fidelity", replace(found, alpha=np.repeat([0.2, 1.0], len(found.alpha) // 2)))
    with pytest.raises(UsageError, match=r"through several alphas.*without alphas"):
        render([run], "fidelity")


def test_cam_shows_one_column_a_method(runs: list[FakeRun]) -> None:
    from workbench.analysis.cam_grid import overlay

    figure = render(runs, "cam", images=2)
    (ax,) = figure.axes
    assert [t.get_text() for t in ax.texts if t.get_text() in style.LABELS.values()] == [style.LABELS[m] for m in TOUR]
    assert len(ax.images) == 2 * (1 + len(TOUR))
    (found,) = stored(runs, "cam")
    place = found.runs.index(next(run.name for run in runs if run.config.method == "mixup"))
    expected = overlay(np.moveaxis(found.images[0], 0, -1) / 255, found.maps[place, 0])
    np.testing.assert_allclose(np.asarray(ax.images[2].get_array()), expected)


def test_card_says_what_is_known_and_what_is_not(
    runs: list[FakeRun], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = texts(render(runs, "card", "cvpr", 2, method="CutMix"))
    accuracy = [100 * run.result["accuracy"] for run in runs if run.config.method == "cutmix"]
    for piece in ("Yun, Han, Oh, Chun, Choe, Yoo", "arXiv:1905.04899", f"{np.mean(accuracy):.1f}", "95 % interval",
                  "under 15 corruptions", "object lost", "largest eigenvalue", "FLOPs 1.33"):  # fmt: skip
        assert piece in found
    assert card.lacking(runs) == []
    (run,) = write_runs(tmp_path / "moved", ("cutmix",), (0,))
    store([run], "cost", fake_results.cost(run))
    monkeypatch.setattr(cache, "_machine", lambda: ["another machine"])
    assert "FLOPs 1.33" in texts(render([run], "card"))
    bare = write_runs(tmp_path, ("cutmix",), (0,))
    assert card.lacking(bare) == ["fidelity", "robustness", "cost", "hessian"]
    assert "object lost" not in texts(render(bare, "card"))
    with pytest.raises(UsageError, match="a card is of one method, got 'Vanilla', 'Mixup'"):
        render(runs, "card")
    with pytest.raises(UsageError, match="did you mean 'cutmix'"):
        render(runs, "card", method="cutmx")


def test_a_card_of_few_epochs_and_two_distant_seeds(tmp_path: Path) -> None:
    """The interval stays within what an accuracy can be; the protocol claims no ten epochs; the minus is a true one."""
    for method, accuracies in {"vanilla": (0.9, 0.9), "cutmix": (0.5, 0.9)}.items():
        for seed, accuracy in enumerate(accuracies):
            config = RunConfig(method=method, data="photos", size=32, model="resnet8", epochs=3, seed=seed)
            write_run(tmp_path, config, accuracy=accuracy)
    found = texts(render([FakeRun(path) for path in sorted(tmp_path.iterdir())], "card", "cvpr", 2, method="cutmix"))
    found = found.replace("\n", " ")
    assert "95 % interval 0.0 to 100.0; \N{MINUS SIGN}20.0 points to vanilla" in found
    assert "(median of all 3 epochs; 600 test images)" in found


@pytest.mark.parametrize("columns", [1, 2])
def test_a_card_without_samples_has_no_empty_block(few: list[FakeRun], columns: int) -> None:
    figure = render(few, "card", columns=columns, method="vanilla")
    rules = sorted(line.get_ydata()[0] * figure.get_figheight() for line in figure.artists if isinstance(line, Line2D))
    assert len(rules) == 3  # below the head, the formula and the numbers
    assert np.diff(rules).min() > 0.15


def test_ranks_of_two_methods_say_of_what(few: list[FakeRun], runs: list[FakeRun]) -> None:
    pair = [run for run in runs if run.config.method in ("vanilla", "manifoldmix")]
    for chosen, words in ((few, "1 seed: too few"), (pair, "2 seeds")):
        figure = render(chosen, "critical", "cvpr", 1)
        assert lint.faults(figure) == []
        assert f"mean ranks by accuracy of the final weights {words}" in texts(figure).replace("\n", " ")


def test_a_card_says_what_was_measured_on_what(drawn: Callable[..., Figure]) -> None:
    words = " ".join(texts(drawn("card")).split())
    assert "(median of the last ten epochs; 600 test images)" in words
    assert "under-confident" in words and "(final weights; 600 test images)" in words
    assert "(final weights; 200 test images)" in words and "workbench analyse" not in words
    assert not [
        t.get_text() for t in lint._texts(drawn("card")) if t.get_text().startswith(("%", "\N{PLUS-MINUS SIGN}"))
    ]


def test_corruptions_give_the_number_of_images(drawn: Callable[..., Figure]) -> None:
    assert "accuracy (%) on 200 test images, mean over severities 1, 3, 5" in texts(drawn("corruptions"))

"""The ranking: tests against SciPy's own, intervals against closed forms, and no winner where there is none."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from workbench.analysis.critical import cliques
from workbench.analysis.ranking import Outcome, bootstrap, holm, improvement, paired_p, ranking, ranks, seeds_needed
from workbench.config import RunConfig, UsageError


def outcomes(
    means: dict[str, float], seeds: int = 5, images: int = 400, spread: float = 0.0, seed: int = 0
) -> list[Outcome]:
    """Runs that get a share of the images right; which ones is luck."""
    rng = np.random.default_rng(seed)
    found = []
    for method, mean in means.items():
        for s in range(seeds):
            p = np.clip(mean + spread * rng.normal(), 0, 1)
            found.append(Outcome(RunConfig(method=method, seed=s), rng.random(images) < p))
    return found


def accuracies(methods: int = 4, seeds: int = 6) -> np.ndarray:
    return np.random.default_rng(1).normal(0.8, 0.02, (methods, seeds)) + 0.01 * np.arange(methods)[:, None]


def test_paired_p_is_scipys() -> None:
    a = accuracies()
    for i in range(4):
        for j in range(4):
            expected = 1.0 if i == j else stats.ttest_rel(a[i], a[j]).pvalue
            assert paired_p(a, 10**9)[i, j] == pytest.approx(expected, rel=1e-6)
    constant = np.array([[0.5, 0.5], [0.6, 0.6]])
    assert paired_p(constant, 100).diagonal().tolist() == [1, 1]
    assert 0 < paired_p(constant, 100)[0, 1] < 0.05 < paired_p(constant, 8)[0, 1]  # whole images can agree by chance
    assert np.isnan(paired_p(a[:, :1], 100)).all()


def test_holm_by_hand() -> None:
    p = np.ones((3, 3))
    for (i, j), value in {(0, 1): 0.01, (0, 2): 0.04, (1, 2): 0.03}.items():
        p[i, j] = p[j, i] = value
    adjusted = holm(p)
    assert adjusted[0, 1] == pytest.approx(0.03) and adjusted[1, 2] == pytest.approx(0.06)
    assert adjusted[0, 2] == pytest.approx(0.06)  # 1 x 0.04, raised to the one before it
    assert np.allclose(adjusted, adjusted.T)


def test_friedman_and_nemenyi() -> None:
    a = accuracies(4, 10)
    mean, p, critical = ranks(a)
    assert p == pytest.approx(stats.friedmanchisquare(*a).pvalue)
    assert mean.tolist() == stats.rankdata(-a, axis=0).mean(1).tolist() and mean.mean() == pytest.approx(2.5)
    assert critical == pytest.approx(2.569 * np.sqrt(4 * 5 / (6 * 10)), rel=1e-3)  # Demsar's table 5, four classifiers
    assert ranks(np.full((3, 4), 0.5))[1] == 1.0
    assert np.isnan(ranks(a[:, :1])[1:]).all()


def test_bootstrap_spread_over_images_is_the_binomial_one() -> None:
    right = np.random.default_rng(0).random((1, 1, 2000)) < 0.8
    means = bootstrap(right, 4000)[:, 0]
    p = right.mean()
    assert means.mean() == pytest.approx(p, abs=0.001)
    assert means.std() == pytest.approx(np.sqrt(p * (1 - p) / 2000), rel=0.05)


def test_bootstrap_spread_over_seeds_comes_on_top() -> None:
    right = np.zeros((1, 4, 500), bool)
    right[0, :2] = True  # two seeds get everything right, two nothing: no luck of images, only of seeds
    assert bootstrap(right, 4000)[:, 0].std() == pytest.approx(0.25, rel=0.05)


def test_what_an_image_does_to_all_cancels_out() -> None:
    hard = np.random.default_rng(0).random(1000) < 0.6
    right = np.stack([np.tile(hard, (3, 1)), np.tile(hard, (3, 1))])
    right[0, :, 0] = True
    means = bootstrap(right, 1000)
    assert means[:, 0].std() > 0.01 and (means[:, 0] - means[:, 1]).std() < 0.002


def test_improvement_over_pairs_of_seeds() -> None:
    found = improvement(np.array([[0.9, 0.7], [0.8, 0.7]]))
    assert found[0, 1] == pytest.approx((1 + 1 + 0 + 0.5) / 4) and found[1, 0] == pytest.approx(1 - found[0, 1])
    assert found[0, 0] == 0.5


def test_seeds_needed_is_the_first_number_that_suffices() -> None:
    a = np.array([[0.80, 0.82, 0.81], [0.79, 0.80, 0.81]])
    found = int(seeds_needed(a)[0, 1])
    paired = a[0] - a[1]
    reach = lambda n: stats.t.ppf(0.975, n - 1) * paired.std(ddof=1) / np.sqrt(n)  # noqa: E731
    assert reach(found) < paired.mean() <= reach(found - 1)
    assert np.isnan(seeds_needed(a[:, :1])).all() and np.isnan(seeds_needed(a)[0, 0])


def test_a_clear_winner_and_none() -> None:
    clear = ranking(outcomes({"vanilla": 0.6, "cutmix": 0.9, "mixup": 0.62}), draws=500)
    assert clear.label[0] == "CutMix" and clear.winner == "CutMix"
    assert clear.separated[0, 1:].all() and not clear.separated[1, 2]
    assert (clear.accuracy_low <= clear.accuracy).all() and (clear.accuracy <= clear.accuracy_high).all()
    close = ranking(outcomes({"vanilla": 0.8, "cutmix": 0.81}, spread=0.03), draws=500)
    assert close.winner is None and close.summary()["more_seeds"].iloc[1] > 0
    alone = ranking(outcomes({"vanilla": 0.8}), draws=100)
    assert alone.winner is None and len(alone.to_frame()) == 1


def test_false_winners_are_rare() -> None:
    """Eight methods that are all alike, twenty times: a winner must be the exception."""
    names = ("vanilla", "mixup", "cutmix", "deit", "fmix", "gridmix", "resizemix", "smoothmix")
    alike = dict.fromkeys(names, 0.8)
    winners = [ranking(outcomes(alike, 3, 200, 0.01, seed=i), draws=200).winner for i in range(20)]
    assert sum(winner is not None for winner in winners) <= 1


def test_only_common_seeds_count_and_settings_are_counted() -> None:
    rng = np.random.default_rng(0)
    runs = [Outcome(RunConfig(method="vanilla", seed=s), rng.random(50) < 0.7) for s in (0, 1, 2)]
    runs += [Outcome(RunConfig(method="cutmix", seed=s), rng.random(50) < 0.7) for s in (1, 2)]
    runs += [Outcome(RunConfig(method="cutmix", seed=s, params={"alpha": 0.2}), rng.random(50) < 0.7) for s in (1, 2)]
    found = ranking(runs, draws=50)
    assert found.seeds.tolist() == [1, 2]
    assert dict(zip(found.method, found.tried.tolist(), strict=True)) == {"vanilla": 1, "cutmix": 2}
    with pytest.raises(UsageError, match="a seed that every method has"):
        ranking([runs[0], runs[4]])
    for draws in (0, 10**8):
        with pytest.raises(UsageError, match=f"draws must be a whole number from 1 to 100000, got {draws}"):
            ranking(runs, draws=draws)
    with pytest.raises(UsageError, match="seed must be a whole number from 0, got -1"):
        ranking(runs, seed=-1)
    with pytest.raises(UsageError, match="tested on the same images"):
        ranking([runs[1], Outcome(RunConfig(method="mixup", seed=1), np.ones(7, bool))])


def test_cliques_are_the_largest_sets_of_neighbours() -> None:
    assert cliques([1.0, 1.5, 2.4, 4.0], 1.0) == [(0, 1), (1, 2)]
    assert cliques([1.0, 1.5, 1.9], 1.0) == [(0, 2)]
    assert cliques([1.0, 3.0], 1.0) == [] and cliques([1.0, 1.0], float("nan")) == []

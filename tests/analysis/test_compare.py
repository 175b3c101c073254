"""The comparison against a worked example and SciPy."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from tests.fake_runs import write_runs
from workbench.analysis import analyse
from workbench.analysis.compare import Comparison, Score, compare, count_of_seeds, mean_interval, separated
from workbench.analysis.groups import group, one_setting
from workbench.config import RunConfig, UsageError, dump


def score(method: str, seed: int, accuracy: float, **more) -> Score:
    numbers = {"ece": 0.1, "seconds_per_step": 0.1, "memory_bytes": 100.0, "test_images": 400, "hardware": ""}
    config = RunConfig(method=method, seed=seed, **{k: v for k, v in more.items() if k not in numbers})
    return Score(config, accuracy, **{k: more.get(k, v) for k, v in numbers.items()})


def row(found: Comparison, name: str) -> dict:
    frame = found.to_frame().set_index("name")
    return frame.loc[name].to_dict()


EXAMPLE = [
    score("cutmix", 0, 0.80, ece=0.04, seconds_per_step=0.12, memory_bytes=150.0),
    score("cutmix", 1, 0.84, ece=0.06, seconds_per_step=0.16, memory_bytes=150.0),
    score("vanilla", 1, 0.76, ece=0.12, seconds_per_step=0.11, memory_bytes=100.0),
    score("vanilla", 0, 0.74, ece=0.10, seconds_per_step=0.09, memory_bytes=100.0),
]


def test_worked_example() -> None:
    found = compare(EXAMPLE)
    assert found.label == ("Vanilla", "CutMix")
    cutmix, vanilla = row(found, "CutMix"), row(found, "Vanilla")
    assert cutmix["seeds"] == 2
    assert cutmix["accuracy"] == pytest.approx(0.82)
    assert cutmix["accuracy_sd"] == pytest.approx(0.04 / np.sqrt(2))
    # t(0.975, 1) = 12.706; standard error 0.02
    assert cutmix["accuracy_low"] == pytest.approx(0.82 - 12.7062 * 0.02, abs=1e-6)
    assert cutmix["accuracy_high"] == pytest.approx(0.82 + 12.7062 * 0.02, abs=1e-6)
    assert cutmix["sampling_error"] == pytest.approx(np.sqrt(0.82 * 0.18 / 400))
    assert cutmix["ece"] == pytest.approx(0.05)
    assert cutmix["ece_sd"] == pytest.approx(0.02 / np.sqrt(2))
    assert cutmix["seconds"] == pytest.approx(1.4)
    assert cutmix["seconds_sd"] == pytest.approx(0.4 / np.sqrt(2))
    assert cutmix["memory"] == pytest.approx(1.5)
    assert cutmix["memory_sd"] == 0
    assert cutmix["pairs"] == 2
    assert cutmix["difference"] == pytest.approx(0.07)  # 0.06 and 0.08
    assert cutmix["difference_low"] == pytest.approx(0.07 - 12.7062 * 0.01, abs=1e-6)
    assert vanilla["seconds"] == pytest.approx(1)
    assert vanilla["seconds_sd"] == pytest.approx(0.2 / np.sqrt(2))
    assert np.isnan(vanilla["difference"])
    assert found.note == ""
    np.testing.assert_array_equal(found.run_row, [0, 0, 1, 1])
    np.testing.assert_array_equal(found.run_seed, [0, 1, 0, 1])
    np.testing.assert_array_equal(found.run_accuracy, [0.74, 0.76, 0.80, 0.84])


def test_paired_interval_against_scipy() -> None:
    rng = np.random.default_rng(0)
    base, gain = rng.normal(0.7, 0.05, 6), rng.normal(0.02, 0.005, 6)
    scores = [score("vanilla", s, base[s]) for s in range(6)] + [score("mixup", s, base[s] + gain[s]) for s in range(6)]
    mixup = row(compare(scores), "Mixup")
    expected = stats.ttest_rel(base + gain, base).confidence_interval(0.95)
    assert mixup["difference"] == pytest.approx(gain.mean())
    assert mixup["difference_low"] == pytest.approx(expected.low)
    assert mixup["difference_high"] == pytest.approx(expected.high)
    # pairing by seed is what makes it narrow: what a seed does to both cancels out
    assert mixup["difference_high"] - mixup["difference_low"] < 0.4 * (mixup["accuracy_high"] - mixup["accuracy_low"])


def test_only_matching_seeds_are_paired() -> None:
    scores = [score("vanilla", s, 0.70 + 0.01 * s) for s in (0, 1, 2)]
    scores += [score("mixup", s, 0.75) for s in (2, 3)] + [score("cutmix", 9, 0.9)]
    found = compare(scores)
    mixup, cutmix = row(found, "Mixup"), row(found, "CutMix")
    assert (mixup["pairs"], cutmix["pairs"]) == (1, 0)
    assert mixup["difference"] == pytest.approx(0.03)
    assert np.isnan(mixup["difference_low"])
    assert np.isnan(cutmix["difference"])
    assert cutmix["seconds"] == pytest.approx(1)


def test_interval_of_one_and_of_none() -> None:
    assert mean_interval(np.array([0.5]))[0] == 0.5
    assert np.isnan(mean_interval(np.array([0.5]))[1:]).all()
    assert np.isnan(mean_interval(np.array([]))).all()
    values = np.array([1.0, 2.0, 4.0, 4.5])
    mean, sd, low, high = mean_interval(values, 0.9)
    assert (low, high) == pytest.approx(stats.t.interval(0.9, 3, mean, stats.sem(values)))
    assert sd == pytest.approx(values.std(ddof=1))


def test_without_vanilla_there_is_no_cost() -> None:
    found = compare(EXAMPLE[:2])
    assert np.isnan(found.seconds).all()
    assert np.isnan(found.memory).all()
    assert np.isnan(found.difference).all()
    assert "no vanilla run" in found.note
    assert found.accuracy[0] == pytest.approx(0.82)


def test_cost_is_compared_under_one_condition_only() -> None:
    """A vanilla with another batch size says nothing about the time of a step; its accuracy still stands."""
    found = compare([score("vanilla", 0, 0.7, batch_size=64), score("mixup", 0, 0.75, batch_size=128)])
    mixup = row(found, "Mixup")
    assert np.isnan(mixup["seconds"])
    assert mixup["difference"] == pytest.approx(0.05)
    assert "batch size" in found.note


def test_vanilla_that_is_nearest_in_settings_is_the_base() -> None:
    scores = [score("vanilla", 0, 0.7, lr=0.1), score("vanilla", 0, 0.8, lr=0.2), score("mixup", 0, 0.85, lr=0.2)]
    assert row(compare(scores), "Mixup")["difference"] == pytest.approx(0.05)


def test_unmeasured_memory_is_not_a_number() -> None:
    found = compare([score("vanilla", 0, 0.7, memory_bytes=np.nan), score("mixup", 0, 0.7, memory_bytes=np.nan)])
    assert np.isnan(found.memory).all()
    assert found.note == ""


# ------------------------------------------------------------------------------------------------------------ groups


def test_runs_of_other_settings_stand_apart() -> None:
    others = ({"data": "digits"}, {"size": 64}, {"model": "resnet56"}, {"epochs": 3}, {"score": "last"})
    found = compare([score("mixup", 0, 0.7), *(score("mixup", 0, 0.7, **other) for other in others)])
    assert len(found.label) == 6
    assert set(found.label) == {"Mixup"}
    assert len(set(zip(found.setting, found.protocol, strict=True))) == 6
    with pytest.raises(UsageError, match="one setting"):
        found.plot()
    with pytest.raises(UsageError, match="figure x shows one setting, got 2: photos, resnet20, 20 epochs"):
        one_setting(group([score("mixup", 0, 0.7), score("mixup", 0, 0.7, epochs=3)]), "figure x")


def test_a_method_run_in_several_ways_says_how_they_differ() -> None:
    scores = [score("cutmix", 0, 0.7), score("cutmix", 1, 0.7), score("cutmix", 0, 0.6, params={"alpha": 0.2})]
    scores += [score("mixup", 0, 0.7, lr=0.1), score("mixup", 0, 0.7, lr=0.2), score("vanilla", 0, 0.7)]
    found = compare(scores)
    assert found.label == ("Vanilla", "Mixup (lr=0.1)", "Mixup (lr=0.2)", "CutMix", "CutMix (alpha=0.2)")
    np.testing.assert_array_equal(found.seeds, [1, 1, 1, 2, 1])


def test_one_seed_twice_is_refused() -> None:
    with pytest.raises(
        UsageError, match=r"expected one run a seed, got CutMix \(photos.*with seed 3 twice.*choose the runs of one$"
    ):
        compare([score("cutmix", 3, 0.7), score("cutmix", 3, 0.9)])


@pytest.mark.parametrize(
    ("epochs", "settings", "words"),
    [
        (20, {}, "median of the last ten epochs"),
        (10, {}, "median of the last ten epochs"),
        (9, {}, "median of all 9 epochs"),
        (1, {}, "last epoch"),
        (3, {"score": "best"}, "best epoch, chosen on the test set"),
    ],
)
def test_the_protocol_claims_no_epochs_that_there_were_not(epochs: int, settings: Any, words: str) -> None:
    assert group([score("mixup", 0, 0.7, epochs=epochs, **settings)])[0].protocol == words


def test_settings_name_no_folders_unless_they_must() -> None:
    here = [score("mixup", 0, 0.7, data="folder:/home/me/birds")]
    assert group(here)[0].setting == "birds, resnet20, 20 epochs"
    both = group([*here, score("mixup", 0, 0.7, data="folder:/home/you/birds", model_args={"drop_rate": 0.1})])
    assert [g.setting for g in both] == [
        "folder:/home/me/birds, resnet20, 20 epochs",
        "folder:/home/you/birds, resnet20 drop_rate=0.1, 20 epochs",
    ]


def test_separated_needs_a_clear_interval() -> None:
    low, high = np.array([0.1, 0.5, 0.2]), np.array([0.3, 0.7, 0.4])
    assert separated(low, high) == 1
    assert separated(low, high, lowest=True) is None
    assert separated(np.array([0.1, 0.5]), np.array([0.3, 0.7]), lowest=True) == 0
    assert separated(np.array([0.1, 0.29]), np.array([0.3, 0.7])) is None
    assert separated(np.array([0.1, np.nan]), np.array([0.3, np.nan])) is None  # one seed: unknown
    assert separated(np.array([0.1]), np.array([0.3])) is None
    assert separated(np.array([0.0, 0.2]), np.array([0.9, 0.3])) is None  # the wide one decides


def test_seeds_in_words() -> None:
    assert [count_of_seeds(np.array(s)) for s in ([1, 1], [2, 2], [1, 3])] == ["1 seed", "2 seeds", "1 to 3 seeds"]


def test_the_plot_shows_the_table() -> None:
    found = compare(EXAMPLE)
    ax = found.plot()
    assert [t.get_text() for t in ax.get_yticklabels()] == ["Vanilla", "CutMix"]
    interval, seeds, mean = ax.lines[3:]
    np.testing.assert_allclose(interval.get_xdata(), [100 * found.accuracy_low[1], 100 * found.accuracy_high[1]])
    np.testing.assert_allclose(seeds.get_xdata(), [80, 84])
    np.testing.assert_allclose(mean.get_xdata(), 82)
    np.testing.assert_array_equal(mean.get_ydata(), 1)


# -------------------------------------------------------------------------------------------- hardware, and the ledger


def test_costs_of_other_hardware_are_not_divided() -> None:
    scores = [
        score("vanilla", 0, 0.7, seconds_per_step=0.1, hardware="H200"),
        score("vanilla", 1, 0.7, seconds_per_step=0.4, hardware="A100"),
        score("mixup", 0, 0.7, seconds_per_step=0.2, hardware="H200"),
        score("mixup", 1, 0.7, seconds_per_step=0.6, hardware="A100"),
        score("cutmix", 0, 0.7, seconds_per_step=0.2, hardware="H200"),
        score("cutmix", 1, 0.7, seconds_per_step=9.0, hardware="CPU"),
        score("fmix", 0, 0.7, hardware="CPU"),
    ]
    found = compare(scores)
    assert row(found, "Mixup")["seconds"] == pytest.approx((2 + 1.5) / 2), "each seed by vanilla on its own machine"
    assert row(found, "CutMix")["seconds"] == pytest.approx(2), "the seed that vanilla has no machine for is left out"
    assert row(found, "Vanilla")["seconds"] == pytest.approx(1)
    fmix = row(found, "FMix")
    assert np.isnan(fmix["seconds"]) and np.isnan(fmix["memory"])
    assert found.note == "no cost for photos, resnet20, 20 epochs: FMix was measured on CPU, vanilla on A100 and H200"
    assert fmix["difference"] == pytest.approx(0)


def test_settings_that_were_tried_but_not_shown_are_told() -> None:
    """Seeds and passing settings make no setting of their own, other data and models are other questions."""
    beside = [RunConfig(method="mixup", params={"alpha": a}, seed=s) for a in (0.2, 0.5) for s in (0, 1)]
    beside += [RunConfig(method="mixup", keep_weights=5), RunConfig(method="mixup", lr=0.3)]
    beside += [RunConfig(method="mixup", data="digits"), RunConfig(method="mixup", model="resnet8")]
    scores = [score("vanilla", 0, 0.7), score("mixup", 0, 0.7), score("mixup", 0, 0.7, params={"alpha": 0.2})]
    found = compare([replace(s, beside=tuple(beside)) for s in scores])
    assert dict(zip(found.label, found.tried.tolist(), strict=True)) == {
        "Vanilla": 1, "Mixup": 4, "Mixup (alpha=0.2)": 4,
    }  # fmt: skip
    assert found.remarks() == [
        "Mixup: 4 settings tried, 2 shown.",
        "Which of these differences are more than luck: `workbench analyse ranking`.",
    ]
    assert compare(scores[:1]).remarks() == []
    unlike = compare([score("mixup", 0, 0.7), score("mixup", 0, 0.7, epochs=5)])
    assert unlike.shown.tolist() == unlike.tried.tolist() == [2, 2]


def test_folders_tell_hardware_and_what_was_tried(tmp_path: Path) -> None:
    runs = write_runs(tmp_path, ("vanilla", "mixup"), (0,))
    about = {"cpu": "Fast 9", "threads": 4, "gpu": ["H200"], "processes": 1}
    (runs[0].path / "environment.json").write_text(json.dumps(about))
    (runs[1].path / "environment.json").write_text(json.dumps(about | {"threads": 8}))
    waiting = tmp_path / "sweep" / "waiting"
    waiting.mkdir(parents=True)
    (waiting / "config.yaml").write_text(dump(replace(runs[1].config, params={"alpha": 0.3})))
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "config.yaml").write_text("theirs: 1\n")
    found = analyse(runs, "compare")
    assert "Mixup was measured on Fast 9, 8 threads, vanilla on Fast 9, 4 threads" in found.note
    assert dict(zip(found.method, found.tried.tolist(), strict=True)) == {"vanilla": 1, "mixup": 2}
    assert analyse(runs, "ranking").summary().set_index("name").settings_tried["Mixup"] == 2
    (runs[0].path / "environment.json").write_text("{")
    assert "vanilla on hardware that is not known" in analyse(runs, "compare").note

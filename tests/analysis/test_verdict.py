"""The verdict on a ranking claims what the ranking shows, and no more."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from workbench.analysis.ranking import Outcome, Ranking, ranking
from workbench.analysis.verdict import verdict
from workbench.config import RunConfig


def made(labels: str, separated: list[bool], needed: list[float], seeds: int = 3) -> Ranking:
    """A ranking of methods A, B, ... in this order; `separated` and `needed` tell of the first against the others."""
    count = len(labels)
    square = np.zeros((count, count))
    low, wanted = square - 1, square + np.nan
    low[0, 1:] = np.where(separated, 1, -1)
    wanted[0, 1:] = needed
    some = np.linspace(0.9, 0.8, count)
    return Ranking(
        label=tuple(labels), method=tuple(labels), setting="", seeds=np.arange(seeds), images=1000,
        tried=np.ones(count), accuracy=some, accuracy_low=some, accuracy_high=some, mean_rank=some, friedman=0.1,
        critical_difference=1.0, difference=square, difference_low=low, difference_high=square + 1,
        holm=np.where(low > 0, 0.01, 0.5), improvement=square, seeds_needed=wanted,
    )  # fmt: skip


def costs(**seconds: float) -> Any:
    return SimpleNamespace(label=tuple(seconds), seconds=np.array(list(seconds.values())))


NONE = costs()


def test_a_winner_is_named_where_all_others_are_separated() -> None:
    text = verdict(made("ABC", [True, True], [2, 2]), NONE)
    assert text.startswith("A is ahead of every other method by more than seeds and test images explain")
    assert text.endswith("(3 seeds and 1,000 test images).")


def test_a_single_method() -> None:
    assert verdict(made("A", [], []), NONE) == "A is the only method here; train another one to compare it with."


@pytest.mark.parametrize("separated", [[False, True], [True, False], [False, False]])
def test_no_winner_is_named_where_one_is_not_separated(separated: list[bool]) -> None:
    text = verdict(made("ABC", separated, [5, 7]), NONE)
    assert "ahead" not in text and text.startswith("A has the highest mean accuracy, but ")
    rivals = [label for label, clear in zip("BC", separated, strict=True) if not clear]
    assert f"but {' and '.join(rivals)} can't be told apart from it with 3 seeds" in text
    for label, clear in zip("BC", separated, strict=True):
        assert (f" {label} " in text) == (not clear)


def test_the_cheapest_is_recommended_among_those_that_are_not_told_apart() -> None:
    ranked = made("ABC", [False, True], [5, 2])
    assert "take the cheapest of them: B (1.05 of a plain step" in verdict(ranked, costs(A=1.8, B=1.05, C=0.2))
    assert "cheapest of them: A (1.01" in verdict(ranked, costs(A=1.01, B=1.05, C=0.2))
    assert "cheapest" not in verdict(ranked, costs(A=np.nan, B=1.05))
    assert "cheapest" not in verdict(ranked, costs(B=1.05))


def test_more_seeds_are_told_where_they_would_do() -> None:
    text = verdict(made("ABC", [False, False], [5, 10]), NONE)
    assert "A would be told from B with 2 more and C with 7 more (seeds; about an even chance)." in text
    assert "too few" not in text and "can't be said" not in text


def test_what_seeds_would_not_do_is_told() -> None:
    images = verdict(made("ABC", [False, False], [5, 3]), NONE)
    assert "from B with 2 more" in images and "For C it is the test images that are too few, not the seeds." in images
    unknown = verdict(made("ABC", [False, False], [5, np.nan]), NONE)
    assert "How many more seeds it would take for C can't be said." in unknown
    nothing = verdict(made("ABC", [False, False], [np.nan, np.nan]), NONE)
    assert "too small, or the seeds too few, to say how many more" in nothing and "can't be said" not in nothing


def test_one_seed_is_singular_and_never_a_winner() -> None:
    rng = np.random.default_rng(0)
    outcomes = [Outcome(RunConfig(method=m), rng.random(500) < p) for m, p in (("vanilla", 0.2), ("cutmix", 0.95))]
    text = verdict(ranking(outcomes, draws=200), NONE)
    assert "with 1 seed and 500 test images" in text and "ahead" not in text


@pytest.mark.parametrize("gap", [0.0, 0.01, 0.05, 0.3])
def test_it_agrees_with_real_rankings(gap: float) -> None:
    rng = np.random.default_rng(int(100 * gap))
    outcomes = [
        Outcome(RunConfig(method=method, seed=seed), rng.random(400) < 0.6 + share * gap)
        for method, share in (("vanilla", 0), ("mixup", 0.5), ("cutmix", 1))
        for seed in range(4)
    ]
    ranked = ranking(outcomes, draws=300)
    assert (f"{ranked.label[0]} is ahead" in verdict(ranked, NONE)) == (ranked.winner is not None)
    assert gap < 0.3 or ranked.winner == "CutMix"

"""What follows from a ranking, in sentences: who is ahead, who can't be told apart, what is cheapest."""

from __future__ import annotations

import numpy as np

from workbench.analysis.compare import Comparison
from workbench.analysis.ranking import Ranking


def verdict(ranking: Ranking, comparison: Comparison) -> str:
    """A recommendation that claims no more than the ranking shows.

    comparison: of the same runs; its step times tell the cheapest of the methods that can't be told apart.
    """
    best, separated = ranking.label[0], ranking.separated[0]
    rivals = [label for label, clear in zip(ranking.label[1:], separated[1:], strict=True) if not clear]
    if not rivals:
        if len(ranking.label) == 1:
            return f"{best} is the only method here; train another one to compare it with."
        return f"{best} is ahead of every other method by more than seeds and test images explain ({_seeds(ranking)})."
    candidates = [best, *rivals]
    others = f"{_listed(rivals)} can't be told apart from it with {_seeds(ranking)}"
    lines = [
        f"{best} has the highest mean accuracy, but {others}.",
        _cheapest(candidates, comparison),
        _more_seeds(ranking, rivals),
    ]
    return " ".join(line for line in lines if line)


def _cheapest(candidates: list[str], comparison: Comparison) -> str:
    costs = dict(zip(comparison.label, comparison.seconds, strict=True))
    known = {label: costs[label] for label in candidates if not np.isnan(costs.get(label, np.nan))}
    if len(known) < len(candidates):
        return ""
    label = min(known, key=lambda one: known[one])
    cost = f"{known[label]:.2f} of a plain step, as timed in these trainings"
    return f"Until they can, take the cheapest of them: {label} ({cost})."


def _more_seeds(ranking: Ranking, rivals: list[str]) -> str:
    needed = {label: ranking.seeds_needed[0, ranking.label.index(label)] - len(ranking.seeds) for label in rivals}
    more = [f"{label} with {int(n)} more" for label, n in needed.items() if np.isfinite(n) and n > 0]
    enough = [label for label, n in needed.items() if n <= 0]
    unknown = [label for label, n in needed.items() if not np.isfinite(n)]
    if len(unknown) == len(rivals):
        return "The differences are too small, or the seeds too few, to say how many more would separate them."
    lines = []
    if more:
        told = f"{ranking.label[0]} would be told from {_listed(more)} (seeds; about an even chance)"
        lines.append(f"If differences and spread stay as they are, {told}.")
    if enough:
        lines.append(f"For {_listed(enough)} it is the test images that are too few, not the seeds.")
    if unknown:
        lines.append(f"How many more seeds it would take for {_listed(unknown)} can't be said.")
    return " ".join(lines)


def _seeds(ranking: Ranking) -> str:
    count = len(ranking.seeds)
    return f"{count} seed{'s' if count != 1 else ''} and {ranking.images:,} test images"


def _listed(words: list[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"

"""The table of analyses."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import ModuleType

from workbench.analysis.base import Result


@dataclass(frozen=True)
class Analysis:
    """A row of the table."""

    place: str
    """Module below this one that holds the function (named as the module) and the class of its results, ..."""
    kind: str
    """... and the name of that class. Both are imported when they are asked for: most need torch, figures do not."""
    summary: str
    needs: str
    """An entry of NEEDS, for one result a run; "nets" for one result over the nets of several runs of one data set; or
    one of ACROSS for an analysis over what several runs came to, which is not cached."""
    version: int = 1
    """Raised when the same input gives other numbers than before, so that older caches are not read."""
    of_run: tuple[str, ...] = ()
    """Options that are settings of a run too: a run's own hold where nothing else is asked for."""
    of_machine: bool = False
    """Whether the numbers are the machine's too, so that they are not read on another one."""
    of_masks: bool = False
    """Whether it looks at the masks of the images, so that it is made again when they have changed."""

    @property
    def joint(self) -> bool:
        """Whether it gives one result over the nets of several runs."""
        return self.needs == "nets"

    @property
    def compute(self) -> Callable[..., Result]:
        """The public function."""
        found: Callable[..., Result] = getattr(self._module, self.place.rpartition(".")[2])
        return found

    @property
    def result(self) -> type[Result]:
        """What it returns."""
        found: type[Result] = getattr(self._module, self.kind)
        return found

    @property
    def _module(self) -> ModuleType:
        return importlib.import_module(f"workbench.analysis.{self.place}")


ANALYSES: Mapping[str, Analysis] = {
    "calibration": Analysis(
        "calibration",
        "Calibration",
        "do the probabilities mean what they say: ECE, MCE, signed gap, Brier, NLL, temperature",
        needs="predictions",
        version=2,
    ),
    "compare": Analysis(
        "compare",
        "Comparison",
        "accuracy, calibration and cost by method, with spread over seeds and differences to vanilla",
        needs="scores",
    ),
    "ranking": Analysis(
        "ranking",
        "Ranking",
        "which method is better, beyond the luck of seeds and test images: intervals, tests, critical differences",
        needs="outcomes",
    ),
    "hessian": Analysis(
        "hessian",
        "Hessian",
        "how sharp is the minimum: top eigenvalues, trace and spectral density of the loss's Hessian",
        needs="net",
    ),
    "landscape": Analysis(
        "landscape",
        "Landscape",
        "the loss around nets along one random direction or a plane, and on the line between two of them",
        needs="nets",
        version=2,
    ),
    "trajectory": Analysis(
        "trajectory",
        "Trajectory",
        "the way of training through the weights, on the plane that shows most of it (runs with keep_weights)",
        needs="trajectory",
    ),
    "cam": Analysis(
        "cam",
        "Cam",
        "where nets look: maps of their logits side by side, against the object's mask, insertion and deletion",
        needs="nets",
        of_masks=True,
    ),
    "embedding": Analysis(
        "embedding",
        "Embedding",
        "what the features look like: one map for several nets, CKA, alignment, uniformity, effective rank",
        needs="nets",
        version=2,
    ),
    "robustness": Analysis(
        "robustness",
        "Robustness",
        "accuracy under the fifteen common corruptions, made here (C-style) or from the published files",
        needs="net",
    ),
    "adversarial": Analysis(
        "robustness.adversarial",
        "Adversarial",
        "accuracy under attack: FGSM and PGD, in pixel units",
        needs="net",
        version=2,
    ),
    "occlusion": Analysis(
        "robustness.occlusion",
        "Occlusion",
        "accuracy with patches hidden, and with patches shuffled",
        needs="net",
    ),
    "fourier": Analysis(
        "robustness.fourier",
        "Fourier",
        "error under noise of each frequency",
        needs="net",
    ),
    "ood": Analysis(
        "robustness.ood",
        "Ood",
        "does the net notice images of another data set: maximum probability and energy, AUROC, FPR95",
        needs="net",
    ),
    "fidelity": Analysis(
        "fidelity",
        "Fidelity",
        "does the label tell what can be seen: its weights against the visible share of each source's object",
        needs="method",
        version=2,
        of_masks=True,
    ),
    "cost": Analysis(
        "cost",
        "Cost",
        "parameters, FLOPs, time and memory of one training step, beside plain training of the same net",
        needs="method",
        of_run=("precision",),
        of_machine=True,
    ),
}

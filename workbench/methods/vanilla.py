"""No mixing: the baseline that every number is compared with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor

from workbench.draw import Draw
from workbench.methods.base import Method, Mixed, Paper

if TYPE_CHECKING:
    from workbench.models import Net


@dataclass(eq=False)
class Vanilla(Method):
    """Plain training: every row has one source, itself."""

    paper = Paper("Principles of Risk Minimization for Learning Theory", "Vapnik", "NeurIPS 1991")
    family: ClassVar[str] = "baseline"

    def mix(self, x: Tensor, y: Tensor, net: Net | None, draw: Draw) -> Mixed:
        rows = torch.arange(len(x), device=x.device)[:, None]
        mask = torch.ones(len(x), 0, 1, 1, device=x.device)
        return Mixed(x, rows, torch.ones(len(x), 1, device=x.device), mask)

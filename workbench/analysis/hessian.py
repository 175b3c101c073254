"""How sharp is the minimum that a net came to? Eigenvalues, trace and spectral density of the loss's Hessian.

Conventions: the Hessian is that of the MEAN cross-entropy over a fixed subset of the images, in nats, in evaluation
mode (batch norm with its running statistics), by all n weights of the net as they are, without weight decay. The top
eigenvalues are those of the largest MAGNITUDE, with their sign. The trace is Hutchinson's estimate, with its standard
error. The density is Gauss's quadrature by Lanczos's method, drawn as Gaussians of the stated width, area 1.

Sources: PyHessian, Yao et al., arXiv:1912.07145 (eigenvalues, trace); Ghorbani et al., arXiv:1901.10159 (density).
Eigenvalues change when weights are scaled, even where the function of the net stays the same (Dinh et al.,
arXiv:1703.04933): compare nets of one architecture, trained with one weight decay.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import torch

from workbench import style
from workbench.analysis.base import Result
from workbench.analysis.curvature import Curvature, PyHessian, differentiable
from workbench.analysis.inputs import Data, check_fit, device_of, examples
from workbench.analysis.lanczos import quadrature, smoothed
from workbench.analysis.pace import Bar, progress, projected
from workbench.analysis.run_names import run_name
from workbench.config import UsageError, shown, whole
from workbench.draw import Draw, send
from workbench.models import Net

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

USUAL = 15
"""Products that one eigenvalue usually takes, for the estimate of time."""
MOST = 100
"""Top eigenvalues that may be asked for: each takes products, and a vector as large as the net, of its own."""
PARTS = ("top", "trace_probes", "density_probes")
"""Numbers of which each asks for a part of the result."""
POINTS = 2000
"""Points of the curve of the density."""


# K eigenvalues, T trace probes, V density probes, S Lanczos steps
@dataclass(frozen=True)
class Hessian(Result):
    """What was measured of the Hessian's spectrum."""

    name: str
    eigenvalues: np.ndarray
    """(K,) of the largest magnitude, in falling magnitude, with their sign."""
    residuals: np.ndarray
    """(K,) |Hv - eigenvalue v|: a true eigenvalue is at most so far away. As large as the eigenvalue where power
    iteration can't tell two of opposite signs apart, as in a net that has not been trained; the density can."""
    trace_samples: np.ndarray
    """(T,) independent unbiased estimates of the trace."""
    nodes: np.ndarray
    """(V, S) eigenvalues that stand for the spectrum, of each probe ..."""
    weights: np.ndarray
    """(V, S) ... and the share of the spectrum that each stands for; sums to 1 over S."""
    width: float
    """Standard deviation of the Gaussians that smooth the density, in units of the eigenvalues; nan without one."""
    parameters: int
    """n, the side of the Hessian."""
    images: int
    """The loss is their mean."""
    products: int
    """Hessian-vector products that the eigenvalues took."""

    @property
    def trace(self) -> float:
        return float(self.trace_samples.mean()) if len(self.trace_samples) else np.nan

    @property
    def trace_error(self) -> float:
        """Standard error of the trace over its probes; nan for fewer than two."""
        number = len(self.trace_samples)
        return float(self.trace_samples.std(ddof=1) / number**0.5) if number > 1 else np.nan

    @property
    def lowest(self) -> float:
        """The lowest node: the most negative eigenvalue, or a little above it; nan without a density."""
        return float(self.nodes.min()) if self.nodes.size else np.nan

    def density(self, grid: np.ndarray) -> np.ndarray:
        """(G,) smoothed density at eigenvalues (G,); its integral is 1."""
        return smoothed(np.asarray(grid, np.float64), self.nodes, self.weights, self.width)

    def to_frame(self) -> pd.DataFrame:
        """name, quantity, probe, index, value, and weight (of a node) or error (of an eigenvalue)."""
        import pandas as pd

        top = [("eigenvalue", 0, i, v, np.nan, self.residuals[i]) for i, v in enumerate(self.eigenvalues)]
        trace = [("trace", i, 0, value, np.nan, np.nan) for i, value in enumerate(self.trace_samples)]
        nodes = [
            ("node", probe, i, value, self.weights[probe, i], np.nan)
            for (probe, i), value in np.ndenumerate(self.nodes)
        ]
        frame = pd.DataFrame([*top, *trace, *nodes], columns=["quantity", "probe", "index", "value", "weight", "error"])
        frame.insert(0, "name", self.name)
        return frame

    def summary(self) -> pd.DataFrame:
        """One row: the largest eigenvalue, the trace, their errors, and what they are of."""
        import pandas as pd

        largest = self.eigenvalues[0] if len(self.eigenvalues) else np.nan
        row = {
            "name": self.name,
            "top_eigenvalue": largest,
            "residual": self.residuals[0] if len(self.residuals) else np.nan,
            "trace": self.trace,
            "trace_error": self.trace_error,
            "lowest_eigenvalue": self.lowest,
            "parameters": self.parameters,
            "images": self.images,
        }
        return pd.DataFrame([row])

    @property
    def height(self) -> float:
        return 0.62 if len(self.nodes) else 0.35

    def draw(self, ax: Axes) -> None:
        """The density on a logarithmic axis down to a tenth of what a single eigenvalue makes, and the top eigenvalues
        as marks below it, as far as they were asked for; the probes of the trace where neither was."""
        color = style.PALETTE["mixup"]
        if len(self.nodes):
            grid = self._grid()
            values = self.density(grid)
            alone = 1 / (self.parameters * self.width * np.sqrt(2 * np.pi))
            ax.fill_between(grid, np.maximum(values, alone / 10), alone / 10, color=color, alpha=0.15, linewidth=0)
            ax.plot(grid, np.maximum(values, alone / 10), color=color)
            ax.set(yscale="log", ylim=(alone / 10, 3 * values.max()), xlim=(grid[0], grid[-1]))
            ax.set_ylabel("density")
        else:
            ax.set_yticks([])
            ax.spines["left"].set_visible(False)
        alone = not (len(self.nodes) or len(self.eigenvalues))
        shown, marker = (self.trace_samples, "o") if alone else (self.eigenvalues, "v")
        if len(shown):  # unclipped marks of nothing would pull the layout to the corner of the figure
            ax.plot(
                shown, np.full(len(shown), 0.04), color=style.PALETTE["automix"], linestyle="", marker=marker,
                markersize=4, transform=ax.get_xaxis_transform(), clip_on=False,
            )  # fmt: skip
        ax.set(xlabel="trace, by each probe" if alone else "eigenvalue", title=run_name(self.name))
        ax.text(0.98, 0.96, self._quoted(), transform=ax.transAxes, ha="right", va="top", linespacing=1.4)

    def _grid(self) -> np.ndarray:
        seen = np.concatenate([self.nodes.ravel(), self.eigenvalues])
        room = max(4 * self.width, 0.03 * float(np.ptp(seen)))
        fine = self.nodes.ravel()[:, None] + self.width * np.linspace(-4, 4, 33)
        return np.unique(np.concatenate([np.linspace(seen.min() - room, seen.max() + room, POINTS), fine.ravel()]))

    def _quoted(self) -> str:
        top = [f"largest {_short(v)} ± {_short(e)}" for v, e in zip(self.eigenvalues, self.residuals, strict=True)]
        lines = top[:1]
        if len(self.trace_samples):
            error = f" ± {_short(self.trace_error)}" if np.isfinite(self.trace_error) else ""
            lines.append(f"trace {_short(self.trace)}{error}")
        return "\n".join([*lines, f"{self.images} images"])


def hessian(
    net: Net,
    data: Data,
    *,
    images: int = 128,
    seed: int = 0,
    top: int = 2,
    trace_probes: int = 12,
    density_probes: int = 2,
    steps: int = 20,
    smoothing: float = 0.01,
    name: str = "",
) -> Hessian:
    """Curvature of the mean loss over `images` test images (the same for a seed) at the net's weights.

    top: eigenvalues of the largest magnitude, at most 100. trace_probes: random vectors for the trace. density_probes,
    steps: random vectors and Lanczos steps (a product each) for the density, which keeps steps * n numbers. 0 leaves a
    part out, but not all. smoothing: width of the density's Gaussians, as a share of the range of its nodes.

    A product costs about three times a training step on the images; top eigenvalues take some 15 each. Two calls
    agree. UsageError for options out of range and data that do not fit the net.
    """
    data = examples(data, images, seed)
    check_fit(net, data)
    numbers = {"top": top, "trace_probes": trace_probes, "density_probes": density_probes, "steps": steps}
    top, trace_probes, density_probes, steps = _checked(net, numbers)
    if not 0 < smoothing <= 1:
        raise UsageError(f"smoothing must be above 0 and at most 1, got {shown(smoothing)}")
    with differentiable(net):
        curvature = Curvature(net, data)
        known = trace_probes + density_probes * min(steps, len(curvature))
        total = USUAL * top + known
        with progress(total, "hessian", projected(curvature.seconds, total), unit="product") as bar:
            library = PyHessian(curvature, seed, partial(_one_more, bar, known))
            eigenvalues, residuals = library.eigenvalues(top)
            bar.total, library.tick = bar.n + known, bar.update
            samples = library.trace_samples(trace_probes)
            nodes, weights = _density(curvature, seed, density_probes, steps, bar)
    return Hessian(
        name=name,
        eigenvalues=eigenvalues,
        residuals=residuals,
        trace_samples=samples,
        nodes=nodes,
        weights=weights,
        width=_width(nodes, smoothing),
        parameters=len(curvature),
        images=len(data),
        products=len(library.quotients),
    )


def _one_more(bar: Bar, known: int) -> None:
    """A product of an eigenvalue, which may take more of them than usual: those that are `known` come after it."""
    bar.total = max(bar.total, bar.n + 1 + known)
    bar.update()


def _checked(net: Net, numbers: Mapping[str, int]) -> list[int]:
    """The numbers, held to what they may be."""
    found = [whole(what, number, int(what == "steps")) for what, number in numbers.items()]
    if not any(numbers[what] for what in PARTS):
        raise UsageError(f"hessian needs at least one of {', '.join(PARTS)} above 0, got 0 for all; nothing was asked")
    if numbers["top"] > MOST:
        raise UsageError(f"top must be at most {MOST}, got {shown(numbers['top'])}; the density shows the rest")
    size = sum(p.numel() for p in net.parameters())
    if numbers["top"] > size:
        raise UsageError(f"{net.name} has {size} weights and as many eigenvalues, got top={numbers['top']}")
    return found


def _density(curvature: Curvature, seed: int, probes: int, steps: int, bar: Bar) -> tuple[np.ndarray, np.ndarray]:
    """Nodes and weights (probes, steps) of random vectors of plus and minus one."""
    rng = Draw(seed, stream="hessian").rng
    weight = curvature.weights[0]

    def times(vector: torch.Tensor) -> torch.Tensor:
        bar.update()
        return curvature.flat(vector)

    found = np.zeros((2, probes, min(steps, len(curvature))))
    for probe in range(probes):
        signs = 2 * rng.integers(2, size=len(curvature), dtype=np.int8) - 1
        start = send(device_of(curvature.net), signs)[0].to(weight.dtype)
        found[:, probe] = quadrature(times, start, found.shape[2])
    return found[0], found[1]


def _width(nodes: np.ndarray, smoothing: float) -> float:
    """In units of the eigenvalues; where all nodes are one, of that one's size, and 1e-12 where that is zero."""
    if not nodes.size:
        return np.nan
    return smoothing * max(float(np.ptp(nodes)), 1e-3 * float(np.abs(nodes).max()), 1e-10)


def _short(value: float) -> str:
    """Three digits, with a true minus."""
    return f"{value:.3g}".replace("-", "\N{MINUS SIGN}")

"""How fast it is, as ratios taken in one run: absolute times of a shared machine say little."""

from __future__ import annotations

from workbench.bench.analyses import bench_analyses
from workbench.bench.mixing import bench_methods
from workbench.bench.steps import bench_steps
from workbench.bench.train import bench_train

__all__ = ["bench_analyses", "bench_methods", "bench_steps", "bench_train"]

"""What every test starts from: no display, no network, one thread, no figure left over, seeded random numbers."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

# Before anything imports torch, matplotlib or a hub client; child processes inherit it.
os.environ["MPLBACKEND"] = "Agg"
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.setdefault(
    "OMP_NUM_THREADS", "1"
)  # tiny nets gain nothing from more, and tests start processes of their own

import matplotlib.pyplot as plt
import pytest
import torch

from workbench.draw import Draw


@pytest.fixture(autouse=True)
def close_figures() -> Iterator[None]:
    yield
    plt.close("all")


@pytest.fixture(autouse=True)
def settings_of_the_process() -> Iterator[None]:
    """What decides the digits of everything that follows must be found as it was left: with other threads alone, a
    training and its resumption in a process of its own end with different weights."""
    before = _settings()
    yield
    after = _settings()
    torch.set_num_threads(before["threads"])  # or every later test would fail too
    assert after == before


def _settings() -> dict[str, object]:
    return {
        "threads": torch.get_num_threads(),
        "dtype": torch.get_default_dtype(),
        "gradients": torch.is_grad_enabled(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "matmul": torch.get_float32_matmul_precision(),
        "oneDNN": torch.backends.mkldnn.enabled,
        "environment": {key: os.environ.get(key) for key in ("OMP_NUM_THREADS", "CUDA_VISIBLE_DEVICES")},
    }


@pytest.fixture
def draw() -> Callable[..., Draw]:
    """`draw()` is the same stream of random numbers every time; `draw(3)` another; `draw(lam=0.3)` pins lambda."""

    def make(seed: int = 0, **settings: object) -> Draw:
        return Draw(seed, **settings)

    return make


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests marked `gpu` are skipped where there is no CUDA device."""
    if not torch.cuda.is_available():
        for item in items:
            if "gpu" in item.keywords:
                item.add_marker(pytest.mark.skip(reason="no CUDA device"))


@pytest.fixture
def own_methods() -> Iterator[None]:
    """Methods that a test registers are gone after it."""
    from workbench.methods import METHODS

    before = dict(METHODS)
    yield
    METHODS.clear()
    METHODS.update(before)

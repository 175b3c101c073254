"""Random numbers as a pure function of (seed, epoch, step, rank, stream), and their way to the device."""

from __future__ import annotations

import itertools
import subprocess
import sys
import warnings
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats

from workbench.config import UsageError
from workbench.draw import Draw, pack, send, unpack

CPU = torch.device("cpu")


def numbers(draw: Draw, n: int = 1000) -> np.ndarray:
    return draw.rng.random(n)


# ------------------------------------------------------------------------------------------------ a pure function


def test_the_same_in_a_fresh_process_whatever_the_global_seeds() -> None:
    here = Draw(7, epoch=3, step=11, rank=2, stream="mix")
    line = [*here.partner(5).tolist(), *here.lam(0.5, 3).tolist(), *here.integers(99, 3).tolist()]
    code = (
        "import random, numpy as np, torch; random.seed(1); np.random.seed(1); torch.manual_seed(1);"
        "from workbench.draw import Draw; d = Draw(7, epoch=3, step=11, rank=2, stream='mix');"
        "print([*d.partner(5).tolist(), *d.lam(0.5, 3).tolist(), *d.integers(99, 3).tolist()])"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert told.strip() == str(line)


def test_the_numbers_of_old_runs_stay() -> None:
    """Written down, so that a change of the generator is noticed: stored runs could not be drawn again."""
    draw = Draw(1, epoch=2, step=3)
    assert draw.partner(6).tolist() == [5, 2, 3, 1, 0, 4]
    assert draw.lam(1.0, 3).tolist() == pytest.approx([0.6490525, 0.9949477, 0.8104616], abs=1e-6)
    assert draw.integers(1000, 3).tolist() == [396, 903, 319]


def test_nothing_global_is_read_or_moved() -> None:
    np.random.seed(0)
    torch.manual_seed(0)
    before = np.random.get_state()[1].copy(), torch.get_rng_state()
    draw = Draw(1)
    draw.partner(8), draw.lam(1.0, 8), draw.uniform(0, 1, 8), draw.integers(5, 8), draw.happens(0.5, 8)
    assert np.array_equal(np.random.get_state()[1], before[0])
    assert torch.equal(torch.get_rng_state(), before[1])


def test_every_argument_gives_numbers_of_its_own() -> None:
    """Neighbours differ, arguments do not stand in for each other, and no stretch of one shows up in another."""
    settings: list[dict[str, Any]] = [
        {},
        {"seed": 1},
        {"epoch": 1},
        {"step": 1},
        {"rank": 1},
        {"stream": "order"},
        {"stream": "crop"},
        {"seed": 2**63},
        {"seed": 2**64 - 1},
        {"epoch": 2**40},
        {"rank": 2**32 - 1},
    ]
    drawn = [numbers(Draw(**kw)) for kw in settings]
    for (i, a), (j, b) in itertools.combinations(enumerate(drawn), 2):
        assert not np.isin(a, b).any(), (settings[i], settings[j])
        assert abs(np.corrcoef(a, b)[0, 1]) < 0.12, (settings[i], settings[j])


def test_a_long_step_does_not_run_into_the_next() -> None:
    assert not np.isin(numbers(Draw(step=1)), numbers(Draw(step=0), 200_000)).any()


def test_numpy_whole_numbers_are_whole_numbers() -> None:
    assert np.array_equal(numbers(Draw(np.int64(3), np.uint32(2))), numbers(Draw(3, 2)))


# ------------------------------------------------------------------------------------------------ distributions


@pytest.mark.parametrize("alpha", [0.05, 0.2, 1.0, 2.0, 5.0])
def test_lam_is_beta(alpha: float) -> None:
    lam = Draw(3).lam(alpha, 5000)
    assert lam.dtype == np.float32
    assert lam.min() >= 0
    assert lam.max() <= 1
    low = lam[lam < 0.5].astype(np.float64)  # float32 is coarse near 1, where small alphas pile up
    assert stats.kstest(low, lambda x: 2 * stats.beta(alpha, alpha).cdf(x)).pvalue > 0.01
    assert stats.binomtest(len(low), 5000).pvalue > 0.01


def test_lam_with_a_probability_is_one_elsewhere() -> None:
    lam = Draw(3).lam(1.0, 5000, prob=0.3)
    assert abs((lam == 1).mean() - 0.7) < 0.03
    assert stats.kstest(lam[lam < 1], "uniform").pvalue > 0.01
    assert (Draw(3).lam(1.0, 50, prob=0.0) == 1).all()


def test_uniform_integers_happens_and_pixels() -> None:
    draw = Draw(4)
    assert stats.kstest(draw.uniform(-2, 3, 5000), stats.uniform(-2, 5).cdf).pvalue > 0.01
    assert stats.chisquare(np.bincount(draw.integers(7, 7000), minlength=7)).pvalue > 0.01
    assert abs(draw.happens(0.25, 8000).mean() - 0.25) < 0.02
    places = draw.pixels(3, 5, 15_000)
    assert places.shape == (15_000, 2)
    assert stats.chisquare(np.bincount(places[:, 0] * 5 + places[:, 1], minlength=15)).pvalue > 0.01


def test_partner_is_a_uniform_permutation() -> None:
    seen = [tuple(Draw(5, step=i).partner(3)) for i in range(1200)]
    counts = [seen.count(p) for p in itertools.permutations(range(3))]
    assert sum(counts) == 1200
    assert stats.chisquare(counts).pvalue > 0.01


def test_one_draw_for_the_whole_batch() -> None:
    for one in (
        Draw(6).lam(1.0, 9, "batch"),
        Draw(6).uniform(0, 1, 9, "batch"),
        Draw(6).integers(1000, 9, "batch"),
        Draw(6).happens(0.5, 9, "batch"),
    ):
        assert one.shape == (9,)
        assert len(set(one.tolist())) == 1
    assert len({tuple(p) for p in Draw(6).pixels(99, 99, 9, "batch").tolist()}) == 1
    assert len({Draw(6, step=i).lam(1.0, 9, "batch")[0] for i in range(20)}) == 20


@pytest.mark.parametrize("mode", ["sample", "batch"])
@pytest.mark.parametrize("n", [0, 1])
def test_an_empty_batch_and_a_batch_of_one(n: int, mode: Any) -> None:
    draw = Draw(0)
    drawn = (draw.partner(n), draw.lam(1.0, n, mode), draw.integers(3, n, mode), draw.happens(0.5, n, mode))
    assert all(a.shape == (n,) for a in drawn)


# ------------------------------------------------------------------------------------------------ pinned, refused


def test_pinned_values() -> None:
    draw = Draw(lam=0.25, partner=[2, 0, 1])
    assert draw.lam(1.0, 3).tolist() == [0.25] * 3
    assert draw.lam(5.0, 3, "batch", 0.1).tolist() == [0.25] * 3
    assert draw.partner(3).tolist() == [2, 0, 1]
    assert draw.partner(3).dtype == np.int64
    draw.partner(3)[:] = 0
    assert draw.partner(3).tolist() == [2, 0, 1]
    assert Draw(lam=0).lam(1.0, 2).tolist() == [0, 0]


@pytest.mark.parametrize("partner", [[1, 0], [1, 2, 3], [-1, 0, 1], [[0, 1, 2]], []])
def test_a_partner_that_does_not_fit_the_batch(partner: Any) -> None:
    with pytest.raises(UsageError, match="3 row numbers from 0 to 2"):
        Draw(partner=partner).partner(3)


@pytest.mark.parametrize(
    "wrong",
    [
        {"seed": -1},
        {"seed": 2**64},
        {"seed": 1.5},
        {"seed": None},
        {"epoch": -1},
        {"step": "3"},
        {"rank": 2**32},
        {"lam": 1.01},
        {"lam": -0.1},
        {"lam": float("nan")},
    ],
)
def test_what_is_out_of_range_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=next(iter(wrong))):
        Draw(**wrong)


# ------------------------------------------------------------------------------------------------- to the device


def mixed_bag() -> list[np.ndarray]:
    """One of each kind that could break the packing; odd numbers of bytes come before wide items."""
    frozen = np.arange(3.0)
    frozen.flags.writeable = False
    return [
        np.array([True, False, True]),
        np.linspace(0, 1, 5),
        np.arange(3, dtype=np.int8),
        np.arange(6, dtype=np.int64).reshape(2, 3).T,
        np.zeros((0, 4), np.float32),
        np.float32(2.5) * np.ones(()),
        np.arange(20, dtype=np.float32)[::3],
        frozen,
        np.arange(7, dtype=np.uint8),
        np.array([1 + 2j, 3 - 1j]),
        np.broadcast_to(np.float32(3), (2, 2)),
        np.array([1.5, -2.0], np.float16),
        np.zeros((2, 0), bool),
    ]


@pytest.mark.parametrize("way", ["send", "packed"])
def test_arrays_arrive_as_they_were(way: str) -> None:
    arrays = mixed_bag()
    kept = [a.copy() for a in arrays]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tensors = send(CPU, *arrays) if way == "send" else unpack(pack(arrays), arrays)
    assert len(tensors) == len(arrays)
    for a, before, t in zip(arrays, kept, tensors, strict=True):
        assert tuple(t.shape) == a.shape
        assert t.numpy().dtype == a.dtype
        assert np.array_equal(t.numpy(), before)
        t.fill_(1)  # must reach neither the caller's array nor a neighbour
        assert np.array_equal(a, before)
    for t in tensors:
        assert (t == 1).all()


def test_all_arrays_travel_in_one_piece() -> None:
    arrays = mixed_bag()
    moved = send(torch.device("meta"), *arrays)
    assert [tuple(t.shape) for t in moved] == [a.shape for a in arrays]
    assert all(t.device.type == "meta" for t in moved)
    pieces = {t.untyped_storage()._cdata for t in unpack(pack(arrays), arrays)}
    assert len(pieces) == 1


def test_nothing_to_send() -> None:
    assert send(CPU) == ()
    assert send(torch.device("meta")) == ()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_arrays_arrive_on_a_gpu() -> None:
    arrays = mixed_bag()
    for a, t in zip(arrays, send(torch.device("cuda"), *arrays), strict=True):
        assert t.is_cuda
        assert np.array_equal(t.cpu().numpy(), a)

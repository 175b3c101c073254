"""How many images at a time: as memory has room for, fewer when it runs out, and the same results whatever it has."""

from __future__ import annotations

import dataclasses
import weakref
from collections import Counter
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.analysis.settings import OPTIONS, SETTINGS, net_and_data
from workbench.analysis import ANALYSES, chunks, slices
from workbench.analysis.chunks import Chunk, block_of, bytes_of_image, chunk_of, free_memory
from workbench.analysis.inputs import Examples
from workbench.config import RunFailed
from workbench.models import Net

APART = ("ood", "embedding")
"""Looked at below by what they read of a net: one fetches another data set, the t-SNE of the other magnifies digits."""
GIVEN_NETS = [name for name, entry in ANALYSES.items() if entry.needs in ("net", "nets") and name not in APART]
DRAWN = ("robustness", "occlusion", "fourier")
"""Those that change images by random numbers, but follow no gradient."""


def test_a_chunk_follows_the_free_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    net, data = net_and_data()
    cost = bytes_of_image(net, data)
    assert cost >= 16 * 16 * 16 * 4, "the first map alone has 16 channels"
    for room, size in ((1e15, 12), (3.5 * cost, 3), (0.1 * cost, 1)):
        monkeypatch.setattr(chunks, "free_memory", lambda device, room=room: room / chunks.SHARE)
        assert chunk_of(net, data).size == size
    monkeypatch.setattr(chunks, "free_memory", lambda device: 1e15)
    assert chunk_of(net, data, most=5).size == 5


def test_what_will_be_done_with_a_chunk_counts() -> None:
    net, data = net_and_data()

    def learning(net: Net, images: Tensor, labels: Tensor) -> object:
        with torch.enable_grad():
            return torch.autograd.grad(net(images.requires_grad_()).sum(), images)

    assert bytes_of_image(net, data, learning) > 2 * bytes_of_image(net, data)


def test_a_block_follows_the_size_of_the_images_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunks, "free_memory", lambda device: 1.0)
    sizes = [
        block_of(Examples(torch.zeros(9, 3, s, s, dtype=torch.uint8), torch.zeros(9))) for s in (32, 64, 224, 2048)
    ]
    assert sizes == [256, 256, 20, 1]


def test_memory_that_ran_out_halves_the_chunk_and_the_work_goes_on() -> None:
    asked, made = [], []

    class Big:
        pass

    def work(start: int, number: int) -> list[int]:
        asked.append((start, number))
        assert all(ref() is None for ref in made), "what the failed attempt held must be gone"
        held = Big()
        made.append(weakref.ref(held))
        if number > 3:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return list(range(start, start + number))

    chunk = Chunk(12)
    assert [row for part in chunk.over(10, work) for row in part] == list(range(10))
    assert asked == [(0, 10), (0, 5), (0, 2), (2, 2), (4, 2), (6, 2), (8, 2)]
    assert chunk.size == 2


def test_no_room_for_a_single_image_is_told_and_other_errors_pass() -> None:
    def full(_start: int, _number: int) -> None:
        raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes")

    def wrong(_start: int, _number: int) -> None:
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    with pytest.raises(RunFailed, match=r"^there is not enough memory for a single image; free some of it, .*net$"):
        Chunk(4).over(8, full)
    with pytest.raises(RuntimeError, match="shapes"):
        Chunk(4).over(8, wrong)


def test_the_free_memory_of_the_machine_is_known() -> None:
    assert 2**20 < free_memory(torch.device("cpu")) < 2**50


# ---------------------------------------------------------------------------- results don't depend on the memory


def close(a: Any, b: Any) -> None:
    for field in dataclasses.fields(a):
        x, y = getattr(a, field.name), getattr(b, field.name)
        if isinstance(x, float) or (isinstance(x, np.ndarray) and x.dtype.kind == "f"):
            np.testing.assert_allclose(x, y, rtol=2e-4, atol=2e-5, err_msg=field.name)
        else:
            np.testing.assert_array_equal(x, y, err_msg=field.name)


class Watched:
    """Counts the images that nets are given, byte by byte, and can run out of memory at a number of them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, most: float = np.inf) -> None:
        self.images: Counter[bytes] = Counter()
        self.largest = 0
        forward = Net.forward

        def watching(net: Net, x: Tensor) -> Tensor:
            if len(x) > most:
                raise torch.OutOfMemoryError("CUDA out of memory")
            self.largest = max(self.largest, len(x))
            self.images.update(image.detach().numpy().tobytes() for image in x)
            return forward(net, x)

        monkeypatch.setattr(Net, "forward", watching)


def computed(name: str) -> Any:
    return ANALYSES[name].compute(*SETTINGS[name](), **OPTIONS[name])


@pytest.mark.parametrize("name", GIVEN_NETS)
@pytest.mark.parametrize("short_of", ["free memory", "memory all at once"])
def test_results_are_the_same_with_little_memory(name: str, short_of: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        seen = Watched(patch)
        plenty = computed(name)
    if short_of == "free memory":
        monkeypatch.setattr(chunks, "free_memory", lambda device: 1.0)
        again = Watched(monkeypatch)
    else:
        again = Watched(monkeypatch, most=5)
    little = computed(name)
    assert again.largest < seen.largest
    close(little, plenty)
    if name in DRAWN and short_of == "free memory":
        assert again.images == seen.images, "the very same pictures"


def test_features_and_scores_are_the_same_with_little_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    from workbench.analysis.embedding import _read
    from workbench.analysis.pace import progress
    from workbench.analysis.robustness.ood import _scores

    net, data = net_and_data()
    plenty = _read([("net", net)], data, True, progress(1, "features"))[0], _scores(net, data)
    monkeypatch.setattr(chunks, "free_memory", lambda device: 1.0)
    little = _read([("net", net)], data, True, progress(1, "features"))[0], _scores(net, data)
    assert plenty[0].keys() == little[0].keys()
    for place, values in plenty[0].items():
        np.testing.assert_allclose(little[0][place], values, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(little[1], plenty[1], rtol=1e-5)


def test_recomputed_statistics_do_not_depend_on_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Means of batches' variances depend on the batches, so these must not follow the memory."""

    def statistics() -> list[Tensor]:
        net, data = net_and_data()
        with net.probing(), torch.no_grad():
            slices.recompute_statistics(net, data)
            return [b.clone() for b in net.buffers()]

    plenty = statistics()
    monkeypatch.setattr(chunks, "free_memory", lambda device: 1.0)
    assert all(torch.equal(a, b) for a, b in zip(statistics(), plenty, strict=True))

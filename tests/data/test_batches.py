"""Batches: the right rows, the right crops, and nothing but (seed, epoch, step) decides them."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from workbench.config import UsageError
from workbench.data import load
from workbench.data.batches import Batches, crop, to_float
from workbench.data.decode import Files, random_box, resized_crop
from workbench.data.imageset import ImageSet


def plain_set(pixels: torch.Tensor | Files, labels: torch.Tensor, augment: str = "crop-flip") -> ImageSet:
    classes, half = tuple("abcde"), (0.5,) * 3
    return ImageSet(pixels=pixels, labels=labels, classes=classes, mean=half, std=half, augment=augment)


def rows_as_images(n: int, size: int = 8, augment: str = "crop-flip") -> ImageSet:
    """Image = its row number plus one, everywhere; label = row number modulo 5."""
    pixels = (torch.arange(n) + 1).to(torch.uint8).view(n, 1, 1, 1).expand(n, 3, size, size).contiguous()
    labels = torch.arange(n) % 5
    return plain_set(pixels, labels, augment)


def rows_of(batch: tuple[torch.Tensor, torch.Tensor]) -> list[int]:
    """Which rows of `rows_as_images` are in a batch: black comes in from outside, the rest is the number."""
    return (batch[0].amax((1, 2, 3)) * 255 - 1).round().int().tolist()


def in_places(size: int, n: int = 400, augment: str = "crop-flip") -> ImageSet:
    """One image many times: every pixel tells its own place, row in channel 0 and column in channel 1, plus one."""
    y, x = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
    image = torch.stack([y + 1, x + 1, torch.full_like(x, 200)]).to(torch.uint8)
    return plain_set(image.expand(n, -1, -1, -1).contiguous(), torch.zeros(n, dtype=torch.int64), augment)


# ------------------------------------------------------------------------------------------------------------ crops


def plain_crop(images: np.ndarray, top: list[int], left: list[int], padding: int, flip: list[bool]) -> np.ndarray:
    """One image after the other: pad, slice, flip."""
    _, _, h, w = images.shape
    out = []
    for image, y, x, mirrored in zip(images, top, left, flip, strict=True):
        padded = np.pad(image, ((0, 0), (padding, padding), (padding, padding)))
        piece = padded[:, y : y + h, x : x + w]
        out.append(piece[:, :, ::-1] if mirrored else piece)
    return np.stack(out)


@pytest.mark.parametrize(("channels", "h", "w", "padding"), [(3, 5, 7, 2), (1, 6, 4, 1), (3, 4, 4, 0)])
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float64])
def test_crop_agrees_with_pad_slice_flip_at_every_place(
    channels: int, h: int, w: int, padding: int, dtype: torch.dtype
) -> None:
    places = list(product(range(2 * padding + 1), range(2 * padding + 1), (False, True)))
    images = np.random.default_rng(0).integers(1, 256, (len(places), channels, h, w))
    top, left, flip = (list(part) for part in zip(*places, strict=True))
    found = crop(torch.from_numpy(images).to(dtype), *map(torch.tensor, (top, left)), padding, torch.tensor(flip))
    np.testing.assert_array_equal(found, plain_crop(images, top, left, padding, flip))
    unflipped = crop(torch.from_numpy(images).to(dtype), *map(torch.tensor, (top, left)), padding)
    np.testing.assert_array_equal(unflipped, plain_crop(images, top, left, padding, [False] * len(places)))
    assert found.dtype == dtype and found.is_contiguous()


@pytest.mark.parametrize(("size", "padding"), [(32, 4), (28, 3), (16, 2)])
def test_training_crops_move_by_up_to_an_eighth_in_every_direction(size: int, padding: int) -> None:
    batches = Batches(in_places(size), 100, train=True, seed=1)
    seen, mirrored = set(), 0
    for x, _ in batches.epoch(0):
        for image in (x * 255).round().int():
            middle = image[:, size // 2, size // 2 - 1 : size // 2 + 1]
            step = int(middle[1, 1] - middle[1, 0])  # columns count up, or down in a mirror image
            column = int(middle[1, 0]) - 1 if step == 1 else size - int(middle[1, 0])
            seen.add((int(middle[0, 0]) - 1 - size // 2, column - (size // 2 - 1)))
            mirrored += step == -1
            inside = image[2] == 200
            assert ((image == 0).all(0) == ~inside).all(), "what comes in from outside must be black"
    shifts = range(-padding, padding + 1)
    assert seen <= set(product(shifts, shifts)) and {s for pair in seen for s in pair} == set(shifts)
    assert 150 < mirrored < 250  # of 400


@pytest.mark.parametrize(
    ("suits", "asked", "moves", "mirrors"),
    [
        ("crop-flip", "auto", True, True),
        ("crop", "auto", True, False),
        ("none", "auto", False, False),
        ("crop", "crop-flip", True, True),
        ("crop-flip", "none", False, False),
    ],
)
def test_augmentation_is_what_was_asked_or_what_suits(suits: str, asked: str, moves: bool, mirrors: bool) -> None:
    dataset = in_places(16, 60, suits)
    x, _ = Batches(dataset, 60, train=True, augment=asked).batch(0, 0)
    steps = (x[:, 1, 8, 8] - x[:, 1, 8, 7]) * 255
    assert bool((steps < 0).any()) == mirrors
    assert bool((x == 0).any()) == moves
    plain, _ = Batches(dataset, 60, train=False, augment=asked).batch(0, 0)
    assert torch.equal(plain, to_float(dataset.images))


# ------------------------------------------------------------------------------------------------- rows and batches


def test_a_single_last_image_waits_for_another_epoch() -> None:
    batches = Batches(rows_as_images(23), 22, train=True, seed=3)
    left_out = {*range(23)} - {row for batch in batches.epoch(0) for row in rows_of(batch)}
    assert len(batches) == 1 and len(left_out) == 1
    assert left_out != {*range(23)} - {row for batch in batches.epoch(1) for row in rows_of(batch)}
    assert len(Batches(rows_as_images(3), 1, train=True)) == 3


@pytest.mark.parametrize(
    ("n", "size", "sizes"), [(23, 8, [8, 8, 7]), (23, 21, [21, 2]), (23, 23, [23]), (5, 9, [5]), (1, 9, [1])]
)
def test_an_epoch_is_every_image_once_with_its_label(n: int, size: int, sizes: list[int]) -> None:
    batches = Batches(rows_as_images(n), size, train=True, seed=3)
    found = list(batches.epoch(2))
    assert [len(y) for _, y in found] == sizes and len(batches) == len(sizes)
    rows = [row for batch in found for row in rows_of(batch)]
    assert sorted(rows) == list(range(n))
    assert torch.equal(torch.cat([y for _, y in found]), torch.tensor(rows) % 5)


def test_testing_is_in_order_and_untouched() -> None:
    dataset = rows_as_images(23)
    batches = Batches(dataset, 8, train=False, seed=3)
    x, y = (torch.cat(part) for part in zip(*batches.epoch(0), strict=True))
    assert torch.equal(x, dataset.images.double().div(255).float()) and torch.equal(y, dataset.labels)
    assert x.dtype == torch.float32 and y.dtype == torch.int64


def test_order_and_crops_are_those_of_seed_epoch_and_step() -> None:
    dataset = in_places(16, 40)
    batches = Batches(dataset, 16, train=True, seed=7)
    first = [x for x, _ in batches.epoch(1)]
    again = [x for x, _ in Batches(dataset, 16, train=True, seed=7).epoch(1)]
    for step, (a, b) in enumerate(zip(first, again, strict=True)):
        assert torch.equal(a, b) and torch.equal(a, batches.batch(1, step)[0])
    assert not torch.equal(first[0], first[1])
    assert not torch.equal(first[0], batches.batch(0, 0)[0])
    assert not torch.equal(first[0], Batches(dataset, 16, train=True, seed=8).batch(1, 0)[0])
    rows = Batches(rows_as_images(40), 16, train=True, seed=7)
    orders = [[row for batch in rows.epoch(epoch) for row in rows_of(batch)] for epoch in (0, 1)]
    assert orders[0] != orders[1] != list(range(40))


def test_nothing_global_is_drawn_and_nothing_of_the_set_is_changed() -> None:
    dataset = in_places(16, 40)
    kept, state = dataset.images.clone(), (torch.get_rng_state(), np.random.get_state()[1].copy())
    for x, y in Batches(dataset, 16, train=True).epoch(0):
        x.zero_(), y.zero_()
    for x, _ in Batches(dataset, 16, train=False).epoch(0):
        x.zero_()
    assert torch.equal(dataset.images, kept)
    assert torch.equal(torch.get_rng_state(), state[0])
    np.testing.assert_array_equal(np.random.get_state()[1], state[1])


def test_pick_takes_rows_as_they_are() -> None:
    dataset = rows_as_images(9)
    x, y = Batches(dataset, 4, train=True).pick([7, 0])
    assert torch.equal(x, to_float(dataset.images[[7, 0]])) and y.tolist() == [2, 0]


@pytest.mark.parametrize("world", [1, 2, 4])
def test_processes_share_a_training_batch(world: int) -> None:
    dataset = rows_as_images(43)
    alone = Batches(dataset, 8, train=True, seed=5)
    parts = [Batches(dataset, 8, train=True, seed=5, rank=rank, world=world) for rank in range(world)]
    cut = {1: 3, 2: 0, 4: 0}[world]  # of the last three images: not one a process alone
    steps = 5 + (cut > 0)
    assert [len(part) for part in parts] == [steps] * world
    for step in range(steps):
        whole = alone.rows(0, step)
        together = np.concatenate([part.rows(0, step) for part in parts])
        np.testing.assert_array_equal(together, whole[: 8 if step < 5 else cut])
        assert len({len(part.rows(0, step)) for part in parts}) == 1
    shown = [row for part in parts for batch in part.epoch(0) for row in rows_of(batch)]
    assert len(shown) == len(set(shown)) == 40 + cut


def test_processes_crop_their_own_way() -> None:
    parts = [Batches(in_places(16, 40), 40, train=True, rank=rank, world=2).batch(0, 0)[0] for rank in (0, 1)]
    assert not torch.equal(*parts)


def test_processes_leave_no_test_image_out() -> None:
    dataset = rows_as_images(19)
    parts = [Batches(dataset, 8, train=False, rank=rank, world=4) for rank in range(4)]
    assert [len(part) for part in parts] == [3] * 4
    shown = [[rows_of(batch) for batch in part.epoch(0)] for part in parts]
    assert [rows[0] for rows in shown] == [[0, 1], [2, 3], [4, 5], [6, 7]]
    assert [rows[2] for rows in shown] == [[16], [17], [18], []]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"batch_size": 0}, "batch_size must be 1 or more, got 0"),
        ({"batch_size": 8, "rank": 2, "world": 2}, r"rank must be from 0 to 1 with 2 process\(es\), got 2"),
        ({"batch_size": 10, "world": 4}, "batch_size 10 can't be shared equally by 4 processes; take 8 or 12"),
        ({"batch_size": 3, "world": 4}, "take 4$"),
        ({"batch_size": 8, "augment": "flip"}, "unknown augmentation 'flip'"),
    ],
)
def test_mistakes(settings: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Batches(rows_as_images(8), train=True, **settings)


ANOTHER_PROCESS = """
import hashlib
from workbench.data import load
from workbench.data.batches import Batches
digest = hashlib.sha256()
for x, y in Batches(load("photos", "train"), 128, train=True, seed=11).epoch(4):
    digest.update(x.numpy().tobytes() + y.numpy().tobytes())
print(digest.hexdigest())
"""


def test_another_process_gives_the_same_batches() -> None:
    digest = hashlib.sha256()
    for x, y in Batches(load("photos", "train"), 128, train=True, seed=11).epoch(4):
        digest.update(x.numpy().tobytes() + y.numpy().tobytes())
    done = subprocess.run([sys.executable, "-c", ANOTHER_PROCESS], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == digest.hexdigest()


@pytest.mark.gpu
def test_nothing_waits_for_the_device() -> None:
    on_host, dataset = Batches(in_places(32, 60), 25, train=True, seed=2), in_places(32, 60)
    batches = Batches(dataset, 25, train=True, seed=2, device="cuda")
    expected = list(on_host.epoch(0))
    torch.cuda.set_sync_debug_mode("error")
    try:
        found = list(batches.epoch(0))
    finally:
        torch.cuda.set_sync_debug_mode("default")
    for (x, y), (x_host, y_host) in zip(found, expected, strict=True):
        torch.testing.assert_close(x.cpu(), x_host, rtol=0, atol=1e-7)  # a GPU divides by 255 in its own way
        assert torch.equal(y.cpu(), y_host)


# ---------------------------------------------------------------------------------------------------------- on disk


@pytest.fixture
def on_disk(tmp_path: Path) -> ImageSet:
    """17 pictures whose colours tell the place of every pixel and the row of the picture."""
    paths = []
    for row in range(17):
        y, x = np.mgrid[:48, :64]
        picture = np.stack([y * 5, x * 3, np.full_like(x, row * 15)], 2).astype(np.uint8)
        paths.append(str(tmp_path / f"{row:02}.png"))
        Image.fromarray(picture).save(paths[-1])
    return plain_set(Files(tuple(paths), 24), torch.arange(17) % 5)


def test_a_set_on_disk_has_the_same_face(on_disk: ImageSet) -> None:
    assert (on_disk.size, on_disk.channels, on_disk.resident, len(on_disk)) == ((24, 24), 3, False, 17)
    with pytest.raises(UsageError, match=r"take some rows with pictures\(rows\)"):
        _ = on_disk.images
    part = on_disk.subset([4, 2])
    assert part.labels.tolist() == [4, 2]
    assert part.pictures([0, 1])[:, 2, 0, 0].tolist() == [60, 30]


def test_batches_from_disk_by_row(on_disk: ImageSet) -> None:
    test = Batches(on_disk, 6, train=False)
    x, y = (torch.cat(part) for part in zip(*test.epoch(0), strict=True))
    assert torch.equal(x, to_float(on_disk.pictures(range(17)))) and torch.equal(y, on_disk.labels)
    train = Batches(on_disk, 6, train=True, seed=4)
    found = list(train.epoch(3))
    assert [len(y) for _, y in found] == [6, 6, 5] and len(train) == 3
    rows = torch.cat([(x[:, 2, 0, 0] * 17).round().long() for x, _ in found])
    assert sorted(rows.tolist()) == list(range(17))
    assert torch.equal(torch.cat([y for _, y in found]), rows % 5)
    np.testing.assert_array_equal(rows, np.concatenate([train.rows(3, step) for step in range(3)]))


def test_processes_leave_no_test_image_on_disk_out(on_disk: ImageSet) -> None:
    parts = [Batches(on_disk, 8, train=False, rank=rank, world=3) for rank in range(3)]
    last = [list(part.epoch(0))[2] for part in parts]
    assert [y.tolist() for _, y in last] == [[16 % 5], [], []]
    assert last[2][0].shape == (0, 3, 24, 24)


def test_a_random_view_depends_on_seed_epoch_and_image_alone(on_disk: ImageSet) -> None:
    """Another batch size puts an image into another step; its crop stays."""
    views = []
    for batch_size in (6, 17):
        train = Batches(on_disk, batch_size, train=True, seed=4)
        views.append({int((image[2, 0, 0] * 17).round()): image for x, _ in train.epoch(1) for image in x})
    assert all(torch.equal(views[0][row], views[1][row]) for row in range(17))
    later = {int((image[2, 0, 0] * 17).round()): image for x, _ in train.epoch(2) for image in x}
    assert not any(torch.equal(views[0][row], later[row]) for row in range(17))


def test_views_from_disk_are_mirrored_by_half_a_chance_if_at_all(on_disk: ImageSet) -> None:
    for augment, low, high in (("crop-flip", 15, 36), ("crop", 0, 0), ("none", 0, 0)):
        train = Batches(on_disk, 17, train=True, augment=augment)
        mirrored = sum(int((x[:, 1, 0, 0] > x[:, 1, 0, -1]).sum()) for e in range(3) for x, _ in train.epoch(e))
        assert low <= mirrored <= high  # of 51


def test_loader_processes_change_nothing(on_disk: ImageSet) -> None:
    """Two workers, kept over epochs, one of them abandoned half-way; then a file that is damaged meanwhile."""
    alone, shared = (Batches(on_disk, 6, train=True, seed=4, workers=workers) for workers in (0, 2))
    state = torch.get_rng_state()
    next(iter(shared.epoch(0)))
    for epoch in (1, 0):
        for (x, y), (x_alone, y_alone) in zip(shared.epoch(epoch), alone.epoch(epoch), strict=True):
            assert torch.equal(x, x_alone) and torch.equal(y, y_alone)
    assert torch.equal(shared.batch(0, 1)[0], alone.batch(0, 1)[0])
    assert torch.equal(torch.get_rng_state(), state)
    assert isinstance(on_disk.pixels, Files)
    damaged = Path(on_disk.pixels.paths[5])
    damaged.write_bytes(damaged.read_bytes()[:60])
    for batches in (alone, shared):
        with pytest.raises(UsageError, match=r"05\.png is damaged or no image") as caught:
            list(batches.epoch(1))
        assert "\n" not in str(caught.value)


def test_a_random_part_is_what_torchvision_makes_of_the_same_box() -> None:
    from torchvision.transforms.v2 import functional as TF

    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8))
    for left, top, width, height in ((3, 5, 30, 20), (0, 0, 50, 40), (49, 39, 1, 1)):
        expected = TF.resized_crop(picture, top, left, height, width, [24, 24])
        np.testing.assert_array_equal(resized_crop(picture, left, top, width, height, 24), expected)


def test_random_boxes_lie_within_the_picture_and_the_bounds() -> None:
    rng = np.random.default_rng(0)
    boxes = np.array([random_box(rng, 240, 200) for _ in range(2000)])
    left, top, width, height = boxes.T
    assert (boxes >= 0).all() and (left + width <= 240).all() and (top + height <= 200).all()
    area, aspect = width * height / 48000, width / height
    assert 0.079 < area.min() < 0.1 and 0.95 < area.max() <= 1
    assert 0.73 < aspect.min() < 0.77 and 1.3 < aspect.max() < 1.36
    assert left.max() > 150 and top.max() > 120 and left.min() == top.min() == 0


@pytest.mark.parametrize(("size", "expected"), [((1000, 10), (493, 0, 13, 10)), ((10, 1000), (0, 493, 10, 13))])
def test_a_strip_gives_its_middle(size: tuple[int, int], expected: tuple[int, ...]) -> None:
    """Where no box of at least 8 % of the area fits; 1000 x 10 pixels would need one of 28 x 28."""
    assert random_box(np.random.default_rng(0), *size) == expected

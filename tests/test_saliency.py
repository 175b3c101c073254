"""Fine-grained saliency against OpenCV where it is installed, and against a slow loop where it is not."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from skimage import data

from workbench.models import Net
from workbench.saliency import LOSS_SCALE, RADII, fine_grained, gradient, on_grid, peak


def photos(side_y: int, side_x: int) -> np.ndarray:
    """(8, side_y, side_x, 3) uint8 crops of real photographs."""
    pictures = [getattr(data, name)() for name in ("astronaut", "chelsea", "coffee", "rocket")]
    corners = [(20, 30), (120, 150)]
    return np.stack([p[top : top + side_y, left : left + side_x] for p in pictures for top, left in corners])


def as_images(pictures: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 255


def by_loop(grey: np.ndarray) -> np.ndarray:
    """The definition, pixel by pixel, for whole grey values (H, W)."""
    padded = np.pad(grey, 2, mode="reflect").astype(np.int64)
    kernel = np.outer([1, 2, 1], [1, 2, 1])
    for _ in range(2):
        blurred = np.zeros_like(padded)
        for y in range(1, padded.shape[0] - 1):
            for x in range(1, padded.shape[1] - 1):
                blurred[y, x] = ((padded[y - 1 : y + 2, x - 1 : x + 2] * kernel).sum() + 8) // 16
        padded = np.pad(blurred[2:-2, 2:-2], 2, mode="reflect")
    grey = padded[2:-2, 2:-2]
    on, off = np.zeros(grey.shape), np.zeros(grey.shape)
    for radius in RADII:
        for y, x in np.ndindex(*grey.shape):
            square = grey[max(y - radius + 1, 0) : y + radius + 1, max(x - radius + 1, 0) : x + radius + 1]
            contrast = grey[y, x] - (square.sum() - grey[y, x]) / (square.size - 1)
            on[y, x] += np.floor(max(contrast, 0))
            off[y, x] += np.floor(max(-contrast, 0))
    return on / max(on.max(), 1) + off / max(off.max(), 1)


@pytest.mark.parametrize("shape", [(20, 31), (31, 20), (13, 13)])
def test_against_the_definition(shape: tuple[int, int]) -> None:
    grey = np.random.default_rng(0).integers(0, 256, (2, *shape))
    images = torch.from_numpy(grey)[:, None].float() / 255
    expected = np.stack([by_loop(g) for g in grey])
    np.testing.assert_allclose(fine_grained(images).numpy(), expected, atol=1e-6)


@pytest.mark.parametrize("shape", [(32, 32), (64, 90), (180, 224)])
def test_against_opencv(shape: tuple[int, int]) -> None:
    cv2 = pytest.importorskip("cv2")
    if not hasattr(cv2, "saliency"):
        pytest.skip("this OpenCV has no saliency module")
    pictures = photos(*shape)
    method = cv2.saliency.StaticSaliencyFineGrained_create()
    reference = np.stack([method.computeSaliency(np.ascontiguousarray(p[..., ::-1]))[1] for p in pictures])
    images = as_images(pictures)
    own = fine_grained(images)
    for one, other, (row, column) in zip(own.numpy(), reference, peak(images).tolist(), strict=True):
        assert np.corrcoef(one.ravel(), other.ravel())[0, 1] > 0.9999
        assert one.argmax() == other.argmax()
        assert other[row, column] == other.max()


def test_grey_is_of_red_green_and_blue() -> None:
    """Green counts most: reading the channels in the wrong order would move the peak to the blue square."""
    images = torch.full((1, 3, 40, 40), 0.3)
    images[0, 2, 5:12, 5:12] = 1  # blue
    images[0, 0, 25:32, 25:32] = 0.9  # red
    row, column = peak(images)[0].tolist()
    assert 25 <= row < 32 and 25 <= column < 32


def test_bright_square_is_the_peak() -> None:
    """Beside it, off-centre contrast is scaled to 1 as well, and comes first; but it is far weaker."""
    corners = [(3, 40), (30, 10), (20, 30)]
    for channels in (1, 3, 4):
        images = torch.full((3, channels, 48, 64), 0.4)
        for i, (top, left) in enumerate(corners):
            images[i, :, top : top + 8, left : left + 8] = 0.9
        saliency = fine_grained(images)
        assert saliency[0].argmax() // 64 < corners[0][0]
        assert saliency[0].max() == saliency[0, 3:11, 40:48].max() == 1
        for (row, column), (top, left) in zip(peak(images).tolist(), corners, strict=True):
            assert top <= row < top + 8 and left <= column < left + 8


def test_constant_images_give_zeros_and_the_centre() -> None:
    images = torch.linspace(0, 1, 5)[:, None, None, None].expand(5, 3, 20, 31)
    saliency = fine_grained(images)
    assert torch.equal(saliency, torch.zeros(5, 20, 31))
    assert peak(images).tolist() == [[10, 15]] * 5


@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (7, 1), (2, 2), (3, 2), (300, 5)])
def test_any_size(shape: tuple[int, int]) -> None:
    images = torch.rand(2, 3, *shape, generator=torch.Generator().manual_seed(0))
    saliency = fine_grained(images)
    assert saliency.shape == (2, *shape) and saliency.isfinite().all()
    assert saliency.min() >= 0 and saliency.max() <= 2
    rows, columns = peak(images).unbind(1)
    assert (rows < shape[0]).all() and (columns < shape[1]).all()


def test_every_image_by_itself() -> None:
    images = as_images(photos(24, 33))
    together = fine_grained(images)
    for i in range(len(images)):
        assert torch.equal(together[i], fine_grained(images[i : i + 1])[0])
        assert torch.equal(peak(images)[i], peak(images[i : i + 1])[0])
    assert torch.equal(together, fine_grained(images.contiguous(memory_format=torch.channels_last)))


def test_peak_is_a_highest_value() -> None:
    images = as_images(photos(40, 64))
    saliency = fine_grained(images)
    for one, (row, column) in zip(saliency, peak(images).tolist(), strict=True):
        assert one[row, column] == one.max()


# ---------------------------------------------------------------------------------------------------- input gradient


def small_net() -> Net:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Net("resnet8", 4, mean=[0.4] * 3, std=[0.3] * 3)


def test_gradient_against_a_backward_pass_of_one_image_at_a_time() -> None:
    net, images, labels = small_net(), torch.rand(5, 3, 16, 24), torch.tensor([0, 3, 1, 2, 0])
    found = gradient(net, images, labels)
    twin = copy.deepcopy(net).eval()
    for row in range(5):
        image = images[row : row + 1].clone().requires_grad_()
        torch.nn.functional.cross_entropy(twin(image), labels[row : row + 1]).backward()
        assert image.grad is not None
        expected = image.grad[0].square().mean(0).sqrt()
        torch.testing.assert_close(found[row] / LOSS_SCALE, expected, rtol=1e-4, atol=1e-9)


@pytest.mark.parametrize("training", [True, False])
def test_gradient_leaves_net_and_images_as_found(training: bool) -> None:
    net, images = small_net().train(training), torch.rand(4, 3, 16, 16)
    net(images).sum().backward()
    state = {name: value.clone() for name, value in net.state_dict().items()}
    grads = [p.grad.clone() for p in net.parameters() if p.grad is not None]
    with torch.no_grad():  # as when a sample is stored
        assert gradient(net, images, torch.zeros(4, dtype=torch.int64)).max() > 0
    assert all(torch.equal(value, net.state_dict()[name]) for name, value in state.items())
    assert all(torch.equal(a, p.grad) for a, p in zip(grads, net.parameters(), strict=True) if p.grad is not None)
    assert not images.requires_grad and net.training is training


def test_grid_sums_to_one_and_is_even_where_there_is_nothing() -> None:
    maps = torch.zeros(4, 12, 8)
    maps[0, :6, :4] = 3
    maps[1, 0, 0] = torch.inf
    maps[3] = torch.rand(12, 8)
    cells = on_grid(maps, 2, 2)
    assert cells[0].tolist() == [[1, 0], [0, 0]]
    assert (cells[1:3] == 0.25).all()
    torch.testing.assert_close(cells[3], maps[3].view(2, 6, 2, 4).sum((1, 3)) / maps[3].sum())
    torch.testing.assert_close(on_grid(torch.rand(3, 17, 23), 4, 8).sum((1, 2)), torch.ones(3))

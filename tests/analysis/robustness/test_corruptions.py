"""The corruptions against SciPy, scikit-image, Pillow and libjpeg, and what all of them must keep."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import ndimage
from skimage import color
from torch import Tensor
from torchvision.io import decode_jpeg, encode_jpeg

from workbench.analysis.robustness import blur, digital, draws, jpeg, noise, weather
from workbench.analysis.robustness.corruptions import CORRUPTIONS, SEVERITIES, corrupt, parameters
from workbench.config import UsageError
from workbench.data import load

SIDES = (16, 32, 48, 96, 112)


def photos(side: int, n: int = 24) -> Tensor:
    images = load("photos", "test", size=side).images
    return images[:: max(1, len(images) // n)][:n].float() / 255


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture(params=CORRUPTIONS)
def kind(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.mark.parametrize("side", SIDES)
def test_each_severity_moves_further_from_the_clean_images(kind: str, side: int) -> None:
    x = photos(side, 24 if side < 100 else 8)
    distance = [float((corrupt(x, kind, s, rng()) - x).square().mean().sqrt()) for s in SEVERITIES]
    assert distance[0] > 0
    assert all(a < b for a, b in pairwise(distance)), distance


@pytest.mark.parametrize("shape", [(1, 1, 8, 8), (3, 3, 33, 29), (2, 4, 20, 40), (2, 3, 16, 9)])
def test_any_shape_gives_images_and_leaves_its_input(kind: str, shape: tuple[int, ...]) -> None:
    x = torch.rand(shape, generator=rng(1))
    before = x.clone()
    for severity in (1, 5):
        out = corrupt(x, kind, severity, rng())
        assert out.shape == x.shape
        assert out.dtype == x.dtype
        assert 0 <= float(out.min()) <= float(out.max()) <= 1
    assert torch.equal(x, before)


def test_draws_come_from_the_generator_alone_and_differ_between_images(kind: str) -> None:
    x = photos(32, 1).expand(2, -1, -1, -1)
    torch.manual_seed(3)
    before = torch.random.get_rng_state()
    first, again, other = corrupt(x, kind, 3, rng()), corrupt(x, kind, 3, rng()), corrupt(x, kind, 3, rng(1))
    assert torch.equal(first, again)
    assert torch.equal(torch.random.get_rng_state(), before)
    fixed = kind in ("defocus_blur", "zoom_blur", "brightness", "contrast", "pixelate", "jpeg_compression")
    assert torch.equal(first, other) == fixed
    assert torch.equal(first[0], first[1]) == fixed


def test_black_and_white_images_stay_finite(kind: str) -> None:
    for value in (0.0, 1.0):
        assert corrupt(torch.full((2, 3, 32, 32), value), kind, 5, rng()).isfinite().all()


def test_parameters_are_published_at_32_and_224_and_lie_between_elsewhere(kind: str) -> None:
    entry = CORRUPTIONS[kind]
    for severity in SEVERITIES:
        small, large = entry.small[severity - 1], entry.large[severity - 1]
        assert parameters(kind, severity, 32) == pytest.approx(small)
        assert parameters(kind, severity, 8) == pytest.approx(small)
        assert parameters(kind, severity, 224) == pytest.approx(large)
        for value, a, b in zip(parameters(kind, severity, 85), small, large, strict=True):
            assert min(a, b) - 1e-12 <= value <= max(a, b) + 1e-12
        doubled = [2 * v if i in entry.lengths else v for i, v in enumerate(large)]
        assert parameters(kind, severity, 448) == pytest.approx(doubled)


def test_all_fifteen_in_four_families() -> None:
    assert len(CORRUPTIONS) == 15
    assert {entry.family for entry in CORRUPTIONS.values()} == {"noise", "blur", "weather", "digital"}
    assert all(len(e.small) == len(e.large) == 5 for e in CORRUPTIONS.values())


def test_mistakes_are_told() -> None:
    x = photos(16, 2)
    with pytest.raises(UsageError, match="unknown corruption 'gausian_noise'; did you mean 'gaussian_noise'"):
        corrupt(x, "gausian_noise", 1, rng())
    for severity in (0, 6, 1.0, True):
        with pytest.raises(UsageError, match="whole number from 1 to 5"):
            corrupt(x, "fog", severity, rng())  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="floating point"):
        corrupt((x * 255).byte(), "fog", 1, rng())
    with pytest.raises(UsageError, match=r"must be from 0 to 1, got .* to 2\d\d"):
        corrupt(x * 255, "fog", 1, rng())


@pytest.mark.parametrize("kind", CORRUPTIONS)
@pytest.mark.parametrize("form", [(3, 6), (6, 3), (3, 3), (1, 1), (2, 9)])
def test_images_of_any_size(kind: str, form: tuple[int, int]) -> None:
    x = torch.rand(2, 3, *form, generator=rng())
    for severity in SEVERITIES:
        out = corrupt(x, kind, severity, rng())
        assert out.shape == x.shape and out.isfinite().all()


# ------------------------------------------------------------------------------------------------ one at a time


def test_noise_has_its_moments() -> None:
    grey = torch.full((8, 3, 64, 64), 0.5, dtype=torch.float64)
    gaussian = noise.gaussian_noise(grey, rng(), 0.1)
    assert float(gaussian.mean()) == pytest.approx(0.5, abs=2e-3)
    assert float(gaussian.std()) == pytest.approx(0.1, rel=0.01)
    counted = noise.shot_noise(grey, rng(), 50)
    assert float(counted.mean()) == pytest.approx(0.5, abs=2e-3)
    assert float(counted.var()) == pytest.approx(0.5 / 50, rel=0.02)
    torch.testing.assert_close(counted * 50, (counted * 50).round())
    struck = noise.impulse_noise(grey, rng(), 0.2)
    assert float((struck == 0).double().mean()) == pytest.approx(0.1, abs=0.005)
    assert float((struck == 1).double().mean()) == pytest.approx(0.1, abs=0.005)


@pytest.mark.parametrize("side", [5, 21])
def test_filters_are_convolutions(side: int) -> None:
    x = torch.rand(2, 3, 32, 30, dtype=torch.float64, generator=rng())
    kernels = torch.rand(2, side, side, dtype=torch.float64, generator=rng(1))
    for kernel in (kernels, kernels[:1].expand(2, -1, -1), kernels[0]):
        found = blur.filtered(x, kernel)
        for i in range(2):
            one = (kernel[i] if kernel.dim() == 3 else kernel).numpy()
            expected = [ndimage.convolve(plane, one, mode="mirror") for plane in x[i].numpy()]
            np.testing.assert_allclose(found[i].numpy(), np.stack(expected), atol=1e-12)


def test_kernels_sum_to_one_and_point_where_they_should() -> None:
    for kernel in (blur.gaussian(1.3), blur.disc(0.3, 0.4), blur.disc(6.5, 0.5), blur.disc(10, 0.5)):
        assert float(kernel.sum()) == pytest.approx(1)
        torch.testing.assert_close(kernel, kernel.flip(0, 1))
    angle = torch.tensor([0.0, np.pi / 2], dtype=torch.float64)
    right, down = blur.streak(angle, 8, 2)
    middle = len(right) // 2
    weight = torch.exp(-(torch.arange(middle + 1.0, dtype=torch.float64) ** 2) / 8)
    torch.testing.assert_close(right[middle, middle:], weight / weight.sum())
    torch.testing.assert_close(down[middle:, middle], weight / weight.sum())
    assert float(right.sum()) == pytest.approx(1)


def test_zoom_is_the_mean_of_enlargements() -> None:
    x = torch.rand(1, 1, 12, 10, dtype=torch.float64, generator=rng())
    images = [x[0, 0].numpy()]
    for factor in np.linspace(1, 1.2, 3):
        centre = np.array([5.5, 4.5])
        images.append(ndimage.affine_transform(images[0], [1 / factor] * 2, centre - centre / factor, order=1))
    found = blur.zoom_blur(x, rng(), 1.2, 0.1)[0, 0].numpy()
    np.testing.assert_allclose(found, np.mean(images, 0), atol=1e-12)


def test_glass_moves_whole_pixels_and_none_further_than_its_reach() -> None:
    place = torch.arange(400.0).view(1, 1, 20, 20)
    x = torch.cat([place, place + 1000], 1).expand(3, -1, -1, -1)
    out = blur.swapped(x, rng(), 2, 1)
    assert torch.equal(out.flatten(2).sort(2).values, x.flatten(2))  # a permutation
    torch.testing.assert_close(out[:, 1] - out[:, 0], torch.full((3, 20, 20), 1000.0))  # the same for all channels
    assert not torch.equal(out[0], out[1])
    once = blur.swapped(x, rng(), 2, 0.04)  # one swap in 25 places
    moved = (once[:, 0] != place[0]).float().mean()
    assert 0 < float(moved) < 0.09
    rows, columns = once[:, 0] // 20, once[:, 0] % 20
    near = torch.maximum((rows - torch.arange(20.0)[:, None]).abs(), (columns - torch.arange(20.0)).abs())
    assert float(near.max()) >= 1


@pytest.mark.parametrize("more", [0.05, 0.3])
def test_brightness_is_that_of_hsv(more: float) -> None:
    x = torch.rand(2, 3, 9, 9, dtype=torch.float64, generator=rng())
    x[0, :, 0, 0] = 0
    hsv = color.rgb2hsv(x.numpy(), channel_axis=1)
    hsv[:, 2] = np.clip(hsv[:, 2] + more, 0, 1)
    expected = color.hsv2rgb(hsv, channel_axis=1)
    np.testing.assert_allclose(weather.brightness(x, rng(), more).numpy(), expected, atol=1e-9)


def test_contrast_keeps_the_mean() -> None:
    x = photos(32, 4).double()
    out = digital.contrast(x, rng(), 0.3)
    torch.testing.assert_close(out.mean((2, 3)), x.mean((2, 3)))
    torch.testing.assert_close(out.std((2, 3)), 0.3 * x.std((2, 3)))


def test_fog_lies_over_the_image() -> None:
    cloud = weather.plasma(4, 32, 2, rng(), torch.zeros(()))
    assert torch.equal(cloud.amin((1, 2)), torch.zeros(4))
    assert torch.equal(cloud.amax((1, 2)), torch.ones(4))
    rough = weather.plasma(4, 32, 1.2, rng(), torch.zeros(()))
    assert float(rough.diff(dim=2).abs().mean()) > 2 * float(cloud.diff(dim=2).abs().mean())
    x = photos(32, 4)
    assert float((weather.fog(x, rng(), 1.5, 2).amax((1, 2, 3)) - x.amax((1, 2, 3))).max()) <= 1e-6


def test_no_bend_leaves_the_image() -> None:
    x = photos(32, 3)
    torch.testing.assert_close(digital.elastic_transform(x, rng(), 0, 0, 0.03), x, atol=1e-5, rtol=0)


def test_bends_by_as_much_as_it_says() -> None:
    field = digital._field(torch.zeros(40, 3, 64, 64, dtype=torch.float64), rng(), 3)
    assert float(field.square().mean().sqrt()) == pytest.approx(1, rel=0.12)  # the mirrored border adds a little


@pytest.mark.parametrize("side", [32, 64])
@pytest.mark.parametrize("share", [0.95, 0.75, 0.5, 0.25])
def test_pixelate_is_that_of_pillow(side: int, share: float) -> None:
    x = photos(side, 6)
    small, expected = int(side * share), []
    for image in (x * 255).byte().permute(0, 2, 3, 1).numpy():
        shrunk = Image.fromarray(image).resize((small, small), Image.Resampling.BOX)
        expected.append(np.array(shrunk.resize((side, side), Image.Resampling.BOX)))
    found = digital.pixelate(x, rng(), share).permute(0, 2, 3, 1) * 255
    assert np.abs(found.numpy() - np.stack(expected)).max() <= 1.01  # Pillow rounds to whole grey levels


@pytest.mark.parametrize("side", [32, 45])
@pytest.mark.parametrize("quality", [90, 50, 10])
def test_jpeg_loses_what_libjpeg_loses(side: int, quality: int) -> None:
    x = photos(side, 12)
    theirs = torch.stack([decode_jpeg(encode_jpeg((i * 255).byte(), quality)) for i in x]).float() / 255
    ours = jpeg.jpeg_compression(x, rng(), quality)
    loss = float((theirs - x).square().mean().sqrt())
    assert float((ours - theirs).square().mean().sqrt()) < 0.35 * loss
    assert float((ours - x).square().mean().sqrt()) == pytest.approx(loss, rel=0.03)


def test_grey_jpeg_is_that_of_libjpeg() -> None:
    """But for coefficients halfway between two steps, which its transform in whole numbers rounds the other way."""
    x = photos(32, 12)[:, :1]
    theirs = torch.stack([decode_jpeg(encode_jpeg((i * 255).byte(), 50)) for i in x]).float() / 255
    away = (jpeg.jpeg_compression(x, rng(), 50) - theirs).abs()
    assert float((away > 1.01 / 255).float().mean()) < 0.08
    assert float(away.mean()) < 0.05 * float((theirs - x).abs().mean())


def test_generators_follow_from_seed_stream_and_step() -> None:
    numbers = [draws.generator(*key).initial_seed() for key in ((0, "a"), (0, "a", 1), (1, "a"), (0, "b"), (0, "a", 0))]
    assert len(set(numbers)) == 4
    assert numbers[0] == numbers[4]

"""A plain function becomes a method: trained, described, audited; mistakes in it are told in a line."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pytest
import torch
from torch import Tensor

from workbench.analysis.audit import audit
from workbench.config import Range, RunConfig, UsageError
from workbench.draw import Draw
from workbench.methods import METHODS, build, describe
from workbench.methods.cards import card
from workbench.methods.own import register
from workbench.runs import run

pytestmark = pytest.mark.usefixtures("own_methods")


def stripes(x: Tensor, other: Tensor, lam: Tensor, *, width: Annotated[int, Range(1, 16)] = 4) -> Any:
    """Stripes of the partner between those of the image."""
    column = torch.arange(x.shape[3], device=x.device) % width
    mask = (column < (lam * width).round()).expand(len(x), 1, *x.shape[2:]).to(x.dtype)
    return mask * x + (1 - mask) * other, mask.mean((1, 2, 3)), mask


def test_it_mixes_with_the_weights_that_it_returns() -> None:
    register(stripes)
    x = torch.arange(6.0).view(6, 1, 1, 1).expand(6, 3, 8, 8) / 10
    mixed = build("stripes", width=8).mix(x, torch.arange(6), None, Draw(3))
    shown = mixed.x.mean((1, 2, 3))
    expected = (mixed.weight * x[mixed.source].mean((2, 3, 4))).sum(1)
    torch.testing.assert_close(shown, expected)
    assert mixed.mask is not None and not torch.equal(mixed.x, x)


def test_without_a_weight_lambda_is_the_label() -> None:
    @register
    def halves(x: Tensor, other: Tensor, lam: Tensor) -> Tensor:
        return lam * x + (1 - lam) * other

    draw = Draw(1)
    mixed = build("halves", alpha=0.4).mix(torch.rand(5, 1, 4, 4), torch.arange(5), None, draw)
    np.testing.assert_allclose(mixed.weight[:, 0], Draw(1).lam(0.4, 5))


def test_keywords_are_parameters_with_their_bounds() -> None:
    register(stripes)
    found = {p.name: p for p in describe("stripes")}
    assert found["width"].default == 4 and found["width"].bounds == Range(1, 16) and "alpha" in found
    with pytest.raises(UsageError, match="stripes: width must be a whole number from 1 to 16, got 20"):
        build("stripes", width=20)
    assert "Stripes of the partner" in card("stripes")


def test_draws_come_on_request() -> None:
    @register
    def noisy(x: Tensor, other: Tensor, lam: Tensor, *, draw: Draw) -> Tensor:
        return lam * x + (1 - lam) * other + float(draw.rng.random())

    first, again, other = (noisy_of(seed) for seed in (1, 1, 2))
    assert torch.equal(first, again) and not torch.equal(first, other)


def noisy_of(seed: int) -> Tensor:
    return build("noisy").mix(torch.zeros(3, 1, 2, 2), torch.arange(3), None, Draw(seed)).x


def test_it_trains_and_passes_the_audit(tmp_path: Path) -> None:
    register(stripes)
    handle = run(
        RunConfig(method="stripes", data="digits", model="resnet8", epochs=1, device="cpu"), tmp_path, progress=False
    )
    assert handle.state == "done" and handle.samples() is not None
    assert audit("stripes").passed


def test_the_audit_finds_what_is_wrong_with_one() -> None:
    @register
    def swapped(x: Tensor, other: Tensor, lam: Tensor) -> Any:
        mixed, weight, mask = stripes(x, other, lam)
        return mixed, 1 - weight, mask

    assert not audit("swapped").passed


def test_a_function_made_again_replaces_its_older_self() -> None:
    register(stripes)
    older = METHODS["stripes"]
    register(stripes)
    assert METHODS["stripes"] is not older


def _bad(returned: Any) -> Any:
    def bad(x: Tensor, other: Tensor, lam: Tensor) -> Any:
        return returned(x)

    return bad


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        (lambda x: None, "bad must return mixed, .* got NoneType"),
        (lambda x: x[:1], r"images like those it got, \(4, 1, 6, 6\) torch.float32; got \(1, 1, 6, 6\)"),
        (lambda x: x.double(), "got .* torch.float64"),
        (lambda x: (x, torch.ones(3)), "a weight for each of 4 images"),
        (lambda x: (x, torch.ones(4), torch.ones(4, 6, 6)), r"a mask \(B, 1, H, W\)"),
    ],
)
def test_what_it_returns_is_checked(returned: Any, message: str) -> None:
    register(_bad(returned))
    with pytest.raises(UsageError, match=message):
        build("bad").mix(torch.rand(4, 1, 6, 6), torch.arange(4), None, Draw(0))


def test_functions_that_can_not_be_methods() -> None:
    def few(x: Tensor) -> Tensor:
        return x

    def bare(x: Tensor, other: Tensor, lam: Tensor, *, width=3) -> Tensor:  # type: ignore[no-untyped-def]
        return x

    def cutmix(x: Tensor, other: Tensor, lam: Tensor) -> Tensor:
        return x

    for function, message in (
        (few, "few must take x, other, lam by position, got x"),
        (bare, "bare: keyword 'width' needs an annotation"),
        (cutmix, "cutmix is a method of the workbench already"),
    ):
        with pytest.raises(UsageError, match=message):
            register(function)


def test_what_has_no_name_or_no_types_is_told() -> None:
    def unknown(x: Tensor, other: Tensor, lam: Tensor, *, width: Missing = 3) -> Tensor:  # type: ignore[name-defined] # noqa: F821
        return x

    for function in (lambda x, other, lam: x, unknown):
        with pytest.raises(UsageError):
            register(function)


def test_a_method_without_readable_source_has_its_card(monkeypatch: pytest.MonkeyPatch) -> None:
    """A class that a function made has none from Python 3.12 on; one typed at a prompt nowhere."""
    register(stripes)

    def unreadable(_: type) -> str:
        raise OSError("could not find class definition")

    monkeypatch.setattr("inspect.getsource", unreadable)
    told = card("stripes")
    assert "width = 4 (1 to 16)" in told and "Stripes of the partner" in told

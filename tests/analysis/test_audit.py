"""The audit on our methods, on torchvision, timm and kornia, whose limits are known, and on mixes broken on purpose."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.methods.settings import residual_net
from workbench.analysis import base
from workbench.analysis.audit import Audit, audit
from workbench.analysis.invariants import CHECKS
from workbench.config import UsageError
from workbench.draw import Draw
from workbench.methods import METHODS, CutMix, Mixup, build
from workbench.models import Net

STATIC = [key for key in METHODS if not build(key).needs_net]
CLASSES = 8
Mix = Callable[[Tensor, Tensor], Any]


def soft(y: Tensor) -> Tensor:
    return y.float() if y.dim() == 2 else torch.nn.functional.one_hot(y, CLASSES).float()


def right(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """CutMix as anybody might write it, and right."""
    mixed, target, _ = pieces(x, y)
    return mixed, target


def pieces(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Mixed images, targets, and (B, 1, H, W) the share of the row itself."""
    (n, _, height, width), partner = x.shape, torch.randperm(len(x))
    start, side = torch.rand(n, 2) * torch.tensor([height - 2, width - 2]), torch.randint(2, 12, (n, 2))
    rows, columns = torch.arange(height) - start[:, :1].floor(), torch.arange(width) - start[:, 1:].floor()
    inside = ((rows >= 0) & (rows < side[:, :1]))[:, :, None] & ((columns >= 0) & (columns < side[:, 1:]))[:, None]
    mask = 1 - inside[:, None].float()
    lam = mask.mean((1, 2, 3))[:, None]
    mixed = torch.where(mask.bool(), x, x[partner])
    return mixed, lam * soft(y) + (1 - lam) * soft(y)[partner], mask


# -------------------------------------------------------------------------------------------------- what must pass


@pytest.mark.parametrize("key", STATIC)
def test_our_static_methods_pass(key: str) -> None:
    found = audit(key, size=16)
    assert found.passed, found.failures
    assert len(found.says) >= 20


def test_a_right_mix_passes_with_and_without_a_mask() -> None:
    assert audit(right).failures == {}
    found = audit(pieces)
    assert found.failures == {}
    assert outcome(found, "the mask matches") == "pass"
    assert outcome(audit(right), "the mask matches") == "n/a"


@pytest.mark.parametrize("key", ["puzzlemix", "attentivemix"])
def test_methods_that_look_into_a_net(key: str) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)  # of some untrained nets PuzzleMix finds every image equally salient, and mixes all alike
        net = residual_net(3, 32, 32)
    found = audit(key, net=net)
    assert found.passed, found.failures
    with pytest.raises(UsageError, match="looks into a net; give audit"):
        audit(key)


@pytest.mark.parametrize("form", ["flat", "nested", "kornia", "kornia (1, B, 3)"])
def test_labels_may_come_in_any_known_form(form: str) -> None:
    kornia = form.startswith("kornia")

    def mix(x: Tensor, y: Tensor) -> Any:
        partner, lam = torch.randperm(len(x)), torch.rand(len(x), dtype=torch.float64)
        mixed = torch.lerp(x[partner].double(), x.double(), lam[:, None, None, None]).to(x)
        assert y.dim() == 1 or not kornia, "labels must be class ids"
        triple = torch.stack([t.double() for t in (y, y[partner], 1 - lam)], 1) if kornia else y
        known = {
            "flat": (mixed, y, y[partner], lam),
            "nested": (mixed, (y, y[partner], lam)),
            "kornia": (mixed, triple),
            "kornia (1, B, 3)": [mixed, triple[None]],
        }
        return known[form]

    assert audit(mix, lam_of="partner" if kornia else None).failures == {}
    swapped = audit(mix, lam_of="own" if kornia else "partner")
    (reason,) = [r for says, r in swapped.failures.items() if says.startswith("label weights equal")]
    assert f"give lam_of={'partner' if kornia else 'own'!r}" in reason


# ------------------------------------------------------------------------------------------------------ other tools


def test_torchvision_has_one_lambda_a_batch() -> None:
    from torchvision.transforms import v2

    for mix in (v2.CutMix(num_classes=CLASSES), v2.MixUp(num_classes=CLASSES)):
        assert list(audit(mix).failures) == ["each row has its own lambda"]
        assert audit(mix, per_sample=False).passed


def test_timm_writes_into_its_input_and_refuses_odd_batches() -> None:
    from timm.data.mixup import Mixup as TimmMixup

    by_batch = audit(TimmMixup(0.0, 1.0, num_classes=CLASSES, mode="pair"))
    assert set(by_batch.failures) >= {"an odd batch", "a batch of one", "the input is not written to"}
    assert "Batch size should be even" in by_batch.failures["an odd batch"]
    assert outcome(by_batch, "label weights equal") == "pass"  # its smoothing of 0.1 is taken out


def test_kornia_passes_whatever_its_lambda_means() -> None:
    from kornia.augmentation import RandomCutMixV2, RandomMixUpV2

    keys = ["input", "class"]
    assert audit(RandomMixUpV2(p=1.0, data_keys=keys)).failures == {}
    assert audit(RandomCutMixV2(p=1.0, data_keys=keys, use_correct_lambda=True)).failures == {}
    with pytest.warns(DeprecationWarning, match="old"):
        old = RandomCutMixV2(p=1.0, data_keys=keys)
    assert audit(old).failures == {}


# -------------------------------------------------------------------------------------- each check finds its mistake


def outcome(found: Audit, start: str) -> str:
    (status,) = [s for says, s in zip(found.says, found.status, strict=True) if says.startswith(start)]
    return status


def transposed(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    mixed, target, mask = pieces(x, y)
    return mixed, target, mask.transpose(2, 3)


def swapped(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """The label gives the row what its partner has."""
    partner, lam = torch.randperm(len(x)), torch.rand(len(x), 1)
    mixed = lam[..., None, None] * x + (1 - lam[..., None, None]) * x[partner]
    return mixed, (1 - lam) * soft(y) + lam * soft(y)[partner]


def other_permutation(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    lam = 0.5 * torch.rand(len(x), 1)
    mixed = lam[..., None, None] * x + (1 - lam[..., None, None]) * x[torch.randperm(len(x))]
    return mixed, lam * soft(y) + (1 - lam) * soft(y)[torch.randperm(len(x))]


def mean_lambda(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    partner, lam = torch.randperm(len(x)), torch.rand(len(x), 1)
    mixed = lam[..., None, None] * x + (1 - lam[..., None, None]) * x[partner]
    return mixed, lam.mean() * soft(y) + (1 - lam.mean()) * soft(y)[partner]


def in_place(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    mixed, target = right(x, y)
    return x.copy_(mixed), target


def not_a_number(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """A saliency that is divided by its sum."""
    mixed, target = right(x, y)
    return mixed * (x / x.sum((1, 2, 3), keepdim=True)).sum((1, 2, 3), keepdim=True), target


def changed(images: Callable[[Tensor], Tensor] = lambda x: x, labels: Callable[[Tensor], Tensor] = lambda t: t) -> Mix:
    def mix(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        mixed, target = right(x, y)
        return images(mixed), labels(target)

    return mix


def square_only(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Labels by an area in which height stands for width."""
    mixed, _ = right(x, y)
    return mixed, soft(y) if x.shape[2] != x.shape[3] else right(x, y)[1]


def refuses(condition: Callable[[Tensor], bool]) -> Mix:
    def mix(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        assert not condition(x), "not of this kind"
        return right(x, y)

    return mix


def half_labels(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Class ids and weight in the images' type, as kornia once had it: 999 becomes 1000."""
    partner, lam = torch.randperm(len(x)), torch.rand(len(x))
    mixed = torch.lerp(x[partner].float(), x.float(), lam[:, None, None, None]).to(x.dtype)
    return mixed, torch.stack([y.to(x.dtype), y[partner].to(x.dtype), (1 - lam).to(x.dtype)], 1)


def flat_image_of_one(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    mixed, target = right(x, y)
    return (0.5 * mixed, target) if len(x) == 1 else (mixed, target)


def unseeded() -> Mix:
    rng = np.random.default_rng()

    def mix(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        torch.manual_seed(int(rng.integers(2**31)))
        return right(x, y)

    return mix


def always_alike(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    torch.manual_seed(0)
    return right(x, y)


def one_lambda(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    partner, lam = torch.randperm(len(x)), torch.rand(())
    return lam * x + (1 - lam) * x[partner], lam * soft(y) + (1 - lam) * soft(y)[partner]


def leaking(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    mixed, target = right(x, y)
    return mixed, target * (1 + 0 * x.mean().to(target))


def ids_apart(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    return right(x, y) if y.dim() == 1 else right(x, y.flip(0))


BROKEN: list[tuple[Mix, str]] = [
    (changed(lambda x: x[:, :, ::2]), "images keep"),
    (changed(lambda x: x.double()), "images keep"),
    (changed(labels=lambda t: 0.9 * t), "labels sum to 1"),
    (changed(labels=lambda t: 1.5 * t - 0.5 / CLASSES), "label weights lie"),
    (changed(labels=lambda t: 0.9 * t + 0.1 / CLASSES), "label weights lie"),
    (other_permutation, "labels name"),
    (swapped, "label weights equal"),
    (mean_lambda, "label weights equal"),
    (changed(lambda x: 0.5 * x), "pixel shares"),
    (transposed, "the mask matches"),
    (square_only, "images that are not square"),
    (refuses(lambda x: len(x) % 2 == 1 and len(x) > 1), "an odd batch"),
    (refuses(lambda x: len(x) == 1), "a batch of one"),
    (flat_image_of_one, "a batch of one"),
    (refuses(lambda x: x.shape[1] == 1), "images of one channel"),
    (refuses(lambda x: x.shape[1] == 5), "images of five channels"),
    (refuses(lambda x: x.dtype == torch.bfloat16), "bfloat16"),
    (half_labels, "bfloat16"),
    (changed(lambda x: x.float()), "float16"),
    (changed(lambda x: x.float()), "float64"),
    (in_place, "the input is not"),
    (changed(lambda x: 1.2 * x - 0.1), "pixels stay"),
    (changed(lambda x: x.flip(2).square()), "equal images"),
    (not_a_number, "black and white"),
    (leaking, "no gradient"),
    (ids_apart, "class ids"),
    (unseeded(), "the same seed"),
    (always_alike, "another seed"),
    (one_lambda, "each row"),
]


@pytest.mark.parametrize(("mix", "says"), BROKEN, ids=[f"{says} {i}" for i, (_, says) in enumerate(BROKEN)])
def test_every_mistake_is_found(mix: Mix, says: str) -> None:
    found = audit(mix, size=16, lam_of="partner" if mix is half_labels else None)
    assert outcome(found, says) == "fail", found.to_frame().to_string()


def test_every_check_was_broken_once() -> None:
    broken = {says for says in CHECKS if any(says.startswith(start) for _, start in BROKEN)}
    assert set(CHECKS) - broken == {"the probability of mixing is kept"}


def test_a_probability_that_is_applied_twice() -> None:
    def mix(times: int) -> Mix:
        def one(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
            mixed, target = x.clone(), soft(y)
            kept = torch.rand(len(x), times).gt(0.5).any(1)
            other, label = x.roll(1, 0), soft(y).roll(1, 0)
            mixed[~kept] = 0.5 * mixed[~kept] + 0.5 * other[~kept]
            target[~kept] = 0.5 * target[~kept] + 0.5 * label[~kept]
            return mixed, target

        return one

    says = "the probability"
    assert outcome(audit(mix(1), prob=0.5, size=8), says) == "pass"
    assert outcome(audit(mix(2), prob=0.5, size=8), says) == "fail"
    assert outcome(audit(CutMix(prob=0.5), size=16), says) == "pass"
    assert outcome(audit(mix(2), size=8), says) == "n/a"


# ---------------------------------------------------------------------------------------------------- around them


def test_the_picture_shows_the_first_failure() -> None:
    found = audit(transposed, name="mine")
    assert found.pictured == "the mask matches the pixels" and found.pictures.shape == (4, 32, 32, 8)
    image, partner, mixed, expected = found.pictures
    assert (image.sum(2) == 1).all() and image.argmax(2).max() != partner.argmax(2).max()
    own = image.argmax(2).max()
    np.testing.assert_allclose(mixed[..., own].T, expected[..., own])
    ax = found.plot()
    assert len(ax.child_axes) == 4 and ax.get_title().startswith("mine: ")


def test_label_failures_show_the_label_as_area() -> None:
    found = audit(swapped)
    image, _, mixed, expected = found.pictures
    own = int(image.mean((0, 1)).argmax())
    np.testing.assert_allclose(mixed[..., own].mean() + expected[..., own].mean(), 1, atol=0.05)


def test_errors_of_the_function_are_failures() -> None:
    def broken(x: Tensor, y: Tensor) -> Any:
        raise RuntimeError("out of\norder")

    found = audit(broken)
    assert set(found.status) == {"fail", "n/a"}
    assert found.failures["labels sum to 1"] == "raised RuntimeError: out of order"
    assert found.plot().has_data()
    for wrong in (lambda x, y: x, lambda x, y: None, lambda x, y: (x, torch.ones(len(x), 5))):
        assert "returned" in audit(wrong).failures["labels sum to 1"]


def test_numbers_of_others_are_left_alone() -> None:
    torch.manual_seed(7), np.random.seed(7), random.seed(7)
    expected = torch.rand(3), np.random.rand(3), random.random()
    torch.manual_seed(7), np.random.seed(7), random.seed(7)
    audit(right)
    audit("cutmix")
    assert torch.equal(torch.rand(3), expected[0])
    assert np.random.rand(3).tolist() == expected[1].tolist()
    assert random.random() == expected[2]


def test_stored_and_repeated(tmp_path: Any) -> None:
    for mix in (swapped, right):
        found = audit(mix)
        base.save(found, tmp_path / "analysis" / "audit.npz")
        loaded = base.load(Audit, tmp_path / "analysis" / "audit.npz")
        assert loaded.to_frame().equals(found.to_frame()) and np.array_equal(loaded.pictures, found.pictures)
        assert audit(mix).to_frame().equals(found.to_frame())


def test_the_picture_tells_a_long_reason_to_its_end() -> None:
    found = audit(swapped)
    reason, lines = found.failures["label weights equal the shares of the pixels"], found.plot().texts
    told = [line.get_text() for line in lines if line.get_text()]
    assert reason in " ".join(told) and max(map(len, told)) <= 74 < len(reason)


@pytest.mark.parametrize("mode", ["batch", "pair", "elem"])
def test_timm_takes_class_ids_only_in_every_mode(mode: str) -> None:
    from timm.data.mixup import Mixup as TimmMixup

    assert outcome(audit(TimmMixup(1.0, 0.0, num_classes=CLASSES, mode=mode)), "class ids and soft") == "n/a"


def test_a_method_is_replayed_by_its_draw() -> None:
    method, (x, y) = Mixup(num_classes=8), (torch.rand(8, 8, 8, 8), torch.arange(8))
    assert torch.equal(method.mix(x, y, None, Draw(3)).x, method.mix(x, y, None, Draw(3)).x)
    assert audit(method).name == "Mixup" and audit("resizemix").name == "ResizeMix"
    assert outcome(audit(Mixup(mode="batch")), "each row") == "n/a"


@pytest.mark.parametrize(
    ("mix", "options", "message"),
    [
        (3, {}, "takes a function"),
        ("cutmx", {}, "did you mean 'cutmix'"),
        (right, {"classes": 1}, "classes must be a whole number from 2"),
        (right, {"lam_of": "theirs"}, "lam_of must be 'own' or 'partner'"),
        (right, {"prob": 2}, "prob must be from 0 to 1"),
    ],
)
def test_mistakes_of_the_caller_are_told(mix: Any, options: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        audit(mix, **options)


def test_a_method_that_learns_is_audited_on_a_copy() -> None:
    """By its key it is attached for the audit; one that was attached before is left as it was, buffers included."""
    net = Net("resnet8", 8, channels=8, size=32)
    by_name = audit("automix", net=net)
    assert "learns with a net" not in " ".join(by_name.reason)
    method = build("automix")
    method.attach(net)
    before = {name: value.clone() for name, value in method.train().state_dict().items()}
    audit(method, net=net)
    assert all(torch.equal(value, method.state_dict()[name]) for name, value in before.items())

"""What every method of METHODS must do, whatever it mixes. What a method does itself is tested in its own file."""

from __future__ import annotations

import copy
import pickle
from typing import Any, get_args

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from tests.methods.settings import CLASSES, SETTINGS, Ready, case, noise_batch, telling_batch, token_net
from workbench.config import UsageError
from workbench.draw import Draw
from workbench.methods import METHODS, Method, Mixed, Parameter, build, describe
from workbench.models import Net
from workbench.style import PALETTE

KEYS = list(METHODS)
DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)]
SHAPES = [
    (8, 3, 32, 32),
    (7, 3, 32, 32),
    (1, 3, 32, 32),
    (4, 3, 24, 40),
    (3, 3, 17, 23),
    (4, 1, 32, 32),
    (4, 4, 32, 32),
]


def step(ready: Ready, x: Tensor, y: Tensor, draw: Draw) -> tuple[Mixed, list[Tensor]]:
    """A training step without the optimiser: mix, then each loss with its backward pass."""
    mixed = ready.method.mix(x, y, ready.net, draw)
    losses = []
    for build_loss in ready.method.losses(mixed, y, ready.net):
        losses.append(build_loss())
        losses[-1].backward()
    return mixed, losses


def assert_same_mix(first: Mixed, second: Mixed) -> None:
    for name in ("x", "source", "weight", "mask"):
        one, other = getattr(first, name), getattr(second, name)
        assert (one is None and other is None) or torch.equal(one, other), name


def fingerprint(net: Net) -> dict[str, Any]:
    """Everything of a net that a mix could disturb."""
    hooks = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    return {
        "state": {name: value.cpu().numpy().tobytes() for name, value in net.state_dict().items()},
        "training": [module.training for module in net.modules()],
        "grad": [None if p.grad is None else p.grad.clone() for p in net.parameters()],
        "requires_grad": [p.requires_grad for p in net.parameters()],
        "hooks": [[len(getattr(module, kind)) for kind in hooks] for module in net.modules()],
    }


# ------------------------------------------------------------------------------------------------ the table itself


def test_every_method_has_a_case_and_every_case_a_method() -> None:
    assert set(SETTINGS) == set(METHODS)


@pytest.mark.parametrize("key", KEYS)
def test_card_and_colour(key: str) -> None:
    paper = METHODS[key].paper
    assert paper.title and paper.authors and paper.venue
    assert key in PALETTE, f"add a colour for {key!r} to style.PALETTE"


# ----------------------------------------------------------------------------------------------------- the weights


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("key", KEYS)
def test_weights_agree_with_the_pixels(key: str, device: str) -> None:
    settings = case(key)
    ready = settings.attached(key, channels=8).to(device)
    x, y = (t.to(device) for t in telling_batch(8))
    for number in range(3):
        mixed = ready.method.mix(x, y, ready.net, Draw(3, 1, number))
        if settings.label == "features":
            mixed, note = ready.method.picture(x, y, ready.net, Draw(3, 1, number))
            assert note
        seen = mixed.x.mean((2, 3)).cpu()  # (rows, 8): the share of every row of the batch
        torch.testing.assert_close(mixed.soft_labels(y, 8).sum(1).cpu(), torch.ones(len(seen)))
        if mixed.mask is not None:
            shares = torch.zeros(len(seen), 8).scatter_add_(1, mixed.source.cpu(), mixed.shares().mean((2, 3)).cpu())
            torch.testing.assert_close(shares, seen, atol=1e-5, rtol=0)
        if settings.label == "lambda":
            assert_lambda_as_drawn(ready.method, mixed, Draw(3, 1, number))
        else:
            torch.testing.assert_close(mixed.soft_labels(y, 8).cpu(), seen, atol=1e-5, rtol=0)


def assert_lambda_as_drawn(method: Method, mixed: Mixed, draw: Draw) -> None:
    """The weight is the draw's lambda and the source its partner, to the bit."""
    partner = draw.partner(len(mixed.source))
    lam = draw.lam(method.alpha, len(mixed.source), method.mode)
    assert mixed.source[:, 1].tolist() == partner.tolist()
    if mixed.source.shape[1] == 2:  # the weights of more images are drawn together, and tested with the method
        assert mixed.weight[:, 0].tolist() == lam.tolist()


@pytest.mark.parametrize("key", KEYS)
def test_types_and_the_row_itself_comes_first(key: str) -> None:
    ready = case(key).attached(key)
    x, y = noise_batch(8)
    mixed = ready.method.mix(x, y, ready.net, Draw())
    assert mixed.x.shape[1:] == x.shape[1:] and mixed.x.dtype == x.dtype
    assert mixed.source.dtype == torch.int64 and mixed.weight.dtype == torch.float32
    assert mixed.source.shape == mixed.weight.shape and len(mixed.x) == len(mixed.source)
    assert mixed.source[:, 0].tolist() == [row % len(x) for row in range(len(mixed.x))]
    assert not mixed.weight.requires_grad and (mixed.mask is None or not mixed.mask.requires_grad)


@pytest.mark.parametrize("key", [key for key in KEYS if "mode" in {p.name for p in describe(key)}])
def test_one_draw_a_row_or_one_a_batch(key: str) -> None:
    x, y = telling_batch(8)
    distinct = {}
    for mode in ("sample", "batch"):
        ready = case(key).attached(key, channels=8, mode=mode)
        weights = [ready.method.mix(x, y, ready.net, Draw(0, 0, i)).weight[:, 0] for i in range(4)]
        distinct[mode] = [len(w.unique()) for w in weights]
    assert case(key).by_content or distinct["batch"] == [1] * 4
    assert max(distinct["sample"]) > 2


# ----------------------------------------------------------------------------------------------------------- replay


@pytest.mark.parametrize("key", KEYS)
def test_a_draw_gives_the_same_mix_again(key: str) -> None:
    settings = case(key)
    x, y = noise_batch(8)
    ready, fresh = settings.attached(key), settings.attached(key)
    first = ready.method.mix(x, y, ready.net, Draw(5, 2, 9))
    torch.manual_seed(99)  # nothing but the draw may decide
    assert_same_mix(first, ready.method.mix(x, y, ready.net, Draw(5, 2, 9)))
    assert_same_mix(first, fresh.method.mix(x, y, fresh.net, Draw(5, 2, 9)))
    if settings.random:
        for other in (Draw(5, 2, 10), Draw(5, 3, 9), Draw(6, 2, 9), Draw(5, 2, 9, rank=1)):
            assert not torch.equal(first.weight, ready.method.mix(x, y, ready.net, other).weight)


@pytest.mark.parametrize("key", KEYS)
def test_state_survives_saving_and_copying(key: str) -> None:
    """What was learned so far comes back from a state dict, a deep copy and a pickle."""
    settings = case(key)
    x, y = noise_batch(8)
    ready, other = settings.attached(key), settings.attached(key)
    learn_a_little(ready, x, y)
    other.net.load_state_dict(ready.net.state_dict())
    other.method.load_state_dict(ready.method.state_dict())
    expected = ready.method.mix(x, y, ready.net, Draw(4))
    for method in (other.method, copy.deepcopy(ready.method), pickle.loads(pickle.dumps(ready.method))):
        assert_same_mix(expected, method.mix(x, y, other.net, Draw(4)))


def learn_a_little(ready: Ready, x: Tensor, y: Tensor) -> None:
    parameters = [p for p in [*ready.net.parameters(), *ready.method.parameters()] if p.requires_grad]
    optimizer = torch.optim.SGD(parameters, 0.1)
    for number in range(2):
        step(ready, x, y, Draw(7, 0, number))
        optimizer.step()
        optimizer.zero_grad()
        ready.method.after_step(ready.net, (number + 1) / 2)


# ------------------------------------------------------------------------------------------------- nothing disturbed


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("key", KEYS)
def test_batch_and_net_are_left_as_found(key: str, training: bool) -> None:
    ready = case(key).attached(key)
    x, y = noise_batch(8)
    x_before, y_before = x.clone(), y.clone()
    step(ready, x, y, Draw())  # leaves gradients, which a mix must not touch
    ready.net.train(training)
    next(ready.net.parameters()).requires_grad_(False)
    before = fingerprint(ready.net)
    ready.method.mix(x, y, ready.net, Draw(1))
    ready.method.picture(x, y, ready.net, Draw(2))
    after = fingerprint(ready.net)
    for one, other in zip(before.pop("grad"), after.pop("grad"), strict=True):
        assert (one is None and other is None) or torch.equal(one, other)
    assert before == after
    assert torch.equal(x, x_before) and torch.equal(y, y_before)


@pytest.mark.parametrize("key", KEYS)
def test_a_step_leaves_no_hook_behind_and_reaches_every_parameter(key: str) -> None:
    ready = case(key).attached(key)
    before = fingerprint(ready.net)["hooks"]
    x, y = noise_batch(8)
    mixed, losses = step(ready, x, y, Draw())
    assert fingerprint(ready.net)["hooks"] == before
    assert all(loss.shape == () and loss.isfinite() for loss in losses)
    parameters = [p for p in [*ready.net.parameters(), *ready.method.parameters()] if p.requires_grad]
    assert all(p.grad is not None and p.grad.isfinite().all() for p in parameters)
    assert len(losses) == len(mixed.aux) + 1


class NoWaiting(TorchDispatchMode):
    """Refuses what makes the host wait for a GPU: to read a value, or to size a result by values."""

    WAITS = ("_local_scalar_dense", "nonzero", "masked_select", "equal", "is_nonzero", "_unique2", "bincount")

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        by_truth = name == "index" and any(t is not None and t.dtype in (torch.bool, torch.uint8) for t in args[1])
        assert name not in self.WAITS and not by_truth, f"{func} waits for the device"
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("key", KEYS)
def test_nothing_waits_for_the_device(key: str) -> None:
    ready = case(key).attached(key)
    x, y = noise_batch(8)
    with NoWaiting():
        step(ready, x, y, Draw())
        ready.method.after_step(ready.net, 0.5)


def test_waiting_would_be_noticed() -> None:
    x = torch.ones(3)
    for wait in (lambda: x.sum().item(), lambda: x[x > 0], lambda: bool(x.any()), lambda: x.nonzero()):
        with pytest.raises(AssertionError, match="waits"), NoWaiting():
            wait()


@pytest.mark.gpu
@pytest.mark.parametrize("key", KEYS)
def test_nothing_waits_for_a_gpu(key: str) -> None:
    ready = case(key).attached(key).to("cuda")
    x, y = (t.to("cuda") for t in noise_batch(8))
    for _ in range(2):  # libraries start up, solvers are recorded
        step(ready, x, y, Draw())
    torch.cuda.set_sync_debug_mode("error")
    try:
        step(ready, x, y, Draw(1))
        ready.method.after_step(ready.net, 0.5)
    finally:
        torch.cuda.set_sync_debug_mode("default")


# ------------------------------------------------------------------------------------------------- shapes and types


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("shape", SHAPES, ids=lambda s: "x".join(map(str, s)))
@pytest.mark.parametrize("key", KEYS)
def test_any_batch(key: str, shape: tuple[int, int, int, int], device: str) -> None:
    rows, channels, height, width = shape
    ready = case(key).attached(key, channels, height, width).to(device)
    x, y = (t.to(device) for t in noise_batch(rows, channels, height, width))
    if height != width and case(key).make_net is token_net:  # such a net takes square images only
        mixed, losses = ready.method.mix(x, y, ready.net, Draw(2)), []
    else:
        mixed, losses = step(ready, x, y, Draw(2))
    assert mixed.x.shape[1:] == x.shape[1:]
    assert mixed.x.min() >= 0 and mixed.x.max() <= 1
    torch.testing.assert_close(mixed.weight.sum(1), torch.ones_like(mixed.weight[:, 0]))
    assert all(loss.isfinite() for loss in losses)
    if rows == 1 and mixed.mask is not None and not case(key).moves:
        torch.testing.assert_close(mixed.x, x, atol=1e-6, rtol=0)  # mixed with itself


@pytest.mark.parametrize("key", KEYS)
def test_bfloat16_images(key: str) -> None:
    settings = case(key)
    ready = settings.attached(key, channels=8)
    x, y = telling_batch(8)
    mixed = ready.method.mix(x.bfloat16(), y, ready.net, Draw())
    assert mixed.x.dtype == torch.bfloat16 and mixed.weight.dtype == torch.float32
    exact = settings.attached(key, channels=8).method.mix(x, y, ready.net, Draw())
    torch.testing.assert_close(mixed.weight, exact.weight)
    torch.testing.assert_close(mixed.x.float(), exact.x, atol=0.01, rtol=0)
    assert all(build_loss().isfinite() for build_loss in ready.method.losses(mixed, y, ready.net))


@pytest.mark.parametrize("key", KEYS)
def test_autocast_and_channels_last(key: str) -> None:
    ready = case(key).attached(key)
    ready.net.to(memory_format=torch.channels_last)
    x, y = noise_batch(8)
    x = x.contiguous(memory_format=torch.channels_last)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed, losses = step(ready, x, y, Draw())
    assert mixed.x.is_contiguous(memory_format=torch.channels_last)
    assert mixed.weight.dtype == torch.float32
    assert all(loss.dtype == torch.float32 and loss.isfinite() for loss in losses)


# ----------------------------------------------------------------------------------------------------- parameters

NUMBERS = [(key, p) for key in KEYS for p in describe(key) if p.bounds is not None]


@pytest.mark.parametrize(("key", "parameter"), NUMBERS, ids=lambda v: v if isinstance(v, str) else v.name)
def test_bounds_are_kept(key: str, parameter: Parameter) -> None:
    bounds = parameter.bounds
    assert bounds is not None
    beyond = 1 if parameter.kind is int else 1e-6
    for value in (bounds.low, bounds.high, parameter.default):
        build(key, {parameter.name: parameter.kind(value)})
    for value in (bounds.low - beyond, bounds.high + beyond, float("nan"), "much", True):
        with pytest.raises(UsageError, match=rf"{METHODS[key].__name__}: {parameter.name} must be .*got"):
            build(key, {parameter.name: value})


@pytest.mark.parametrize("key", KEYS)
def test_wrong_parameters_are_told(key: str) -> None:
    with pytest.raises(UsageError, match=f"{key} has no parameter 'label_smothing'; did you mean 'label_smoothing'"):
        build(key, {"label_smothing": 0.1})
    for parameter in describe(key):
        wrong: Any = 3 if parameter.kind in (bool, str) or get_args(parameter.kind) else None
        if parameter.kind is Method:
            wrong = 3
        if wrong is not None:
            with pytest.raises(UsageError, match=f"{parameter.name} must be"):
                build(key, {parameter.name: wrong})


# ---------------------------------------------------------------------------------------------- odd batches told


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda x, y: (x.numpy(), y), "images must be a tensor, got ndarray"),
        (lambda x, y: (x[0], y), "images must be floating point"),
        (lambda x, y: ((x * 255).byte(), y), "images must be floating point"),
        (lambda x, y: (x, y[:5]), "8 images but 5 labels"),
        (lambda x, y: (x, y.float()), "labels must be class ids"),
        (lambda x, y: (x[:0], y[:0]), "at least one image"),
    ],
)
@pytest.mark.parametrize("key", KEYS)
def test_an_odd_batch_is_told_in_one_line(key: str, spoil: Any, message: str) -> None:
    ready = case(key).attached(key)
    with pytest.raises(UsageError, match=message):
        ready.method.mix(*spoil(*noise_batch(8)), ready.net, Draw())


@pytest.mark.parametrize("key", KEYS)
def test_small_class_ids_and_soft_labels_mean_the_same(key: str) -> None:
    x, y = noise_batch(6)
    expected = [loss.item() for loss in step(case(key).attached(key), x, y, Draw(1))[1]]
    small = [loss.item() for loss in step(case(key).attached(key), x, y.int(), Draw(1))[1]]
    assert small == expected
    soft = torch.nn.functional.one_hot(y, CLASSES).float()
    try:
        losses = step(case(key).attached(key), x, soft, Draw(1))[1]
    except UsageError as error:
        assert "needs labels as class ids" in str(error)
    else:
        assert [loss.item() for loss in losses] == pytest.approx(expected, rel=1e-5)

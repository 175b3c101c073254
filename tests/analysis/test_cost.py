"""Cost against closed forms and PyTorch's own counter."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from tests.methods.settings import CLASSES, SETTINGS, residual_net, token_net
from workbench.analysis.cost import Cost, _flops, cost
from workbench.analysis.inputs import Examples
from workbench.config import RunFailed, UsageError
from workbench.draw import Draw
from workbench.methods import METHODS, Mixup, build


def some_data(rows: int = 4) -> Examples:
    generator = torch.Generator().manual_seed(0)
    return Examples(torch.rand(rows, 3, 32, 32, generator=generator), torch.arange(rows) % CLASSES)


def test_matrix_products_by_hand() -> None:
    """(B, n) @ (n, m): 2 B n m forward; backward the weight's gradient, and the input's where it is wanted."""
    layer, x = nn.Linear(5, 7), torch.rand(3, 5)
    assert _flops(lambda: layer(x)) == 2 * 3 * 5 * 7
    assert _flops(lambda: layer(x).sum().backward()) == 2 * 2 * 3 * 5 * 7
    assert _flops(lambda: layer(x.requires_grad_()).sum().backward()) == 3 * 2 * 3 * 5 * 7


def test_convolutions_by_hand() -> None:
    layer = nn.Conv2d(3, 8, 3, padding=1)
    assert _flops(lambda: layer(torch.rand(2, 3, 16, 16))) == 2 * (2 * 8 * 16 * 16) * (3 * 3 * 3)


def test_attention_is_counted_in_a_vision_transformer() -> None:
    """Per block of width d with N tokens: qkv 6 N d^2, products 4 N^2 d, projection 2 N d^2, MLP 16 N d^2."""
    net, rows = token_net(3, 32, 32), 4
    d, depth = net.backbone.embed_dim, len(net.backbone.blocks)
    side = net.backbone.patch_embed.patch_size[0]
    patches = (32 // side) ** 2
    n = patches + 1
    block = 6 * n * d**2 + 4 * n**2 * d + 2 * n * d**2 + 16 * n * d**2
    expected = rows * (2 * patches * d * 3 * side**2 + depth * block + 2 * d * CLASSES)
    found = cost(Mixup(), net, some_data(rows), batch_size=rows, steps=0)
    assert found.forward_flops == expected
    with FlopCounterMode(display=False) as counter:
        net(some_data(rows).images)
    assert counter.get_total_flops() <= expected  # without the products, where the kernel is fused and not known


@pytest.mark.parametrize("make_net", [residual_net, token_net])
def test_agrees_with_pytorchs_own_mode(make_net: Any) -> None:
    net, x = make_net(3, 32, 32), torch.rand(4, 3, 32, 32)

    def step() -> None:
        net(x).sum().backward()

    from torch.nn.attention import SDPBackend, sdpa_kernel

    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        step()
    assert _flops(step) == counter.get_total_flops() > 0


@pytest.mark.parametrize("key", METHODS)
def test_every_method(key: str) -> None:
    ready = SETTINGS[key].attached(key)
    found = cost(ready.method, ready.net, some_data(8), batch_size=8, steps=0)
    more = found.multiples()
    assert found.method == key
    assert found.net_parameters == sum(p.numel() for p in ready.net.parameters())
    assert found.flops >= found.plain_flops > 2 * found.forward_flops
    assert more["memory"] > 0.95
    if key in ("vanilla", "mixup", "cutmix", "resizemix"):
        assert more["FLOPs"] == 1 and more["parameters"] == 1
    if key in ("puzzlemix", "comixup"):  # one more forward pass, and the half of a backward pass that goes to the image
        assert found.flops - found.plain_flops == pytest.approx(2 * found.forward_flops, rel=0.05)
    if key == "attentivemix":
        assert found.flops - found.plain_flops == pytest.approx(found.forward_flops, rel=0.01)
    assert (found.method_parameters > 0) == (key in ("automix", "samix", "adautomix", "smmix"))


def test_bare_numbers_of_vanilla() -> None:
    net = residual_net(3, 32, 32)
    found = cost(build("vanilla"), net, some_data(8), batch_size=8, steps=2)
    assert found.flops == found.plain_flops and found.memory_bytes == found.plain_memory_bytes
    weights = sum(t.nbytes for t in (*net.parameters(), *net.buffers()))
    assert found.memory_bytes > 2 * weights + some_data(8).images.nbytes  # gradients are as large as the weights
    assert found.seconds > 0 and found.plain_seconds > 0


def test_memory_and_flops_grow_with_the_batch() -> None:
    net = residual_net(3, 32, 32)
    small, large = (cost(Mixup(), net, some_data(4), batch_size=n, steps=0) for n in (4, 16))
    assert large.flops == pytest.approx(4 * small.flops, rel=1e-6)  # four images are repeated
    assert large.memory_bytes > 2.5 * small.memory_bytes
    assert math.isnan(small.seconds)


def test_net_method_and_numbers_are_left_as_found() -> None:
    ready, data = SETTINGS["automix"].attached("automix"), some_data(8)
    ready.net.train()(data.images).sum().backward()
    before = [t.clone() for m in (ready.net, ready.method) for t in m.state_dict().values()]
    gradients = [p.grad.clone() for p in ready.net.parameters() if p.grad is not None]
    torch.manual_seed(3)
    expected, _ = torch.rand(3), torch.manual_seed(3)
    cost(ready.method, ready.net, data, batch_size=8, steps=1)
    assert torch.equal(torch.rand(3), expected)
    after = [t for m in (ready.net, ready.method) for t in m.state_dict().values()]
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))
    assert all(torch.equal(a, p.grad) for a, p in zip(gradients, ready.net.parameters(), strict=True))  # type: ignore[arg-type]
    assert ready.net.training


def made(**changes: Any) -> Cost:
    numbers = {"flops": 300, "plain_flops": 100, "seconds": 0.3, "plain_seconds": 0.2, "memory_bytes": 2**21}
    sizes = {"net_parameters": 1000, "method_parameters": 500, "forward_flops": 33, "plain_memory_bytes": 2**20}
    given = {
        "name": "",
        "method": "automix",
        "backbone": "resnet8",
        "device": "cpu",
        "precision": "fp32",
        "batch_size": 4,
        "image_size": 32,
    }
    return Cost(**(given | numbers | sizes | changes))  # type: ignore[arg-type]


def test_multiples_and_their_bars() -> None:
    found = made()
    assert found.multiples() == pytest.approx({"FLOPs": 3, "time": 1.5, "memory": 2, "parameters": 1.5})
    ax = found.plot()
    assert [bar.get_bbox().width for bar in ax.patches] == pytest.approx([3, 1.5, 2, 1.5])  # type: ignore[attr-defined]
    assert [t.get_text() for t in ax.get_yticklabels()] == ["FLOPs", "time", "memory", "parameters"]
    untimed = made(seconds=np.nan)
    assert [t.get_text() for t in untimed.plot().get_yticklabels()] == ["FLOPs", "memory", "parameters"]
    line = found.to_frame().iloc[0]
    assert line.time_multiple == pytest.approx(1.5) and line.backbone == "resnet8"


def test_the_step_is_the_methods_own() -> None:
    """A mix is part of the step: one that multiplies matrices costs as much more."""

    class Multiplying(Mixup):
        def mix(self, x: Any, y: Any, net: Any, draw: Draw) -> Any:
            torch.ones(10, 20) @ torch.ones(20, 30)
            return super().mix(x, y, net, draw)

    found = cost(Multiplying(), residual_net(3, 32, 32), some_data(), batch_size=4, steps=0)
    assert found.flops - found.plain_flops == 2 * 10 * 20 * 30
    assert found.method == "Multiplying"


def test_autocast_is_measured_if_asked_for() -> None:
    """Its activations are half as large; what is counted stays the same."""
    net, data = residual_net(3, 32, 32), some_data()
    full, half = (cost(Mixup(), net, data, batch_size=32, steps=0, precision=p) for p in ("fp32", "bf16"))
    assert half.plain_memory_bytes < 0.85 * full.plain_memory_bytes
    assert (half.flops, half.net_parameters) == (full.flops, full.net_parameters)
    assert (full.to_frame().precision[0], half.to_frame().precision[0]) == ("fp32", "bf16")


def test_a_batch_that_does_not_fit_is_told() -> None:
    with pytest.raises(RunFailed, match=r"^there is not enough memory for a step of 1000000000000000 images; take"):
        cost(Mixup(), residual_net(3, 32, 32), some_data(), batch_size=10**15, steps=0)


@pytest.mark.parametrize(("options", "message"), [({"batch_size": 0}, "from 1, got 0"), ({"steps": -1}, "from 0")])
def test_mistakes_are_told(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        cost(Mixup(), residual_net(3, 32, 32), some_data(), **options)

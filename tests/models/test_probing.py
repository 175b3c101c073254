"""`Net.probing()`: a look that leaves mode, buffers, flags, gradients and weights as it found them."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from workbench.models import Net


def make(name: str, **arguments: Any) -> Net:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Net(name, 5, **arguments)


def images(n: int = 2) -> Tensor:
    return torch.rand(n, 3, 32, 32, generator=torch.Generator().manual_seed(1))


def hooks(net: nn.Module) -> int:
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) + len(m._backward_hooks) for m in net.modules())


def traces(net: Net) -> dict[str, Any]:
    """Everything that probing must leave alone, as bytes and flags, and which objects hold it."""
    return {
        "modes": {name: m.training for name, m in net.named_modules()},
        "weights": {k: p.detach().numpy().tobytes() for k, p in net.named_parameters()},
        "buffers": {k: b.numpy().tobytes() for k, b in net.named_buffers()},
        "requires_grad": {k: p.requires_grad for k, p in net.named_parameters()},
        "gradients": {k: None if p.grad is None else p.grad.numpy().tobytes() for k, p in net.named_parameters()},
        "objects": [id(t) for t in (*net.parameters(), *net.buffers(), *(p.grad for p in net.parameters()))],
        "hooks": hooks(net),
    }


def half_trained(name: str, **arguments: Any) -> Net:
    """A net in a mixed state: gradients on some weights, one weight frozen, one module in evaluation mode."""
    net = make(name, **arguments).train()
    net(images()).sum().backward()
    weights = list(net.parameters())
    weights[0].requires_grad_(False)
    weights[1].grad = None
    list(net.modules())[5].eval()
    return net


def disturb(net: Net) -> None:
    """A body that does what it should not: trains the norms, frees the weights and adds to their gradients."""
    net.train().requires_grad_(True)
    net(images()).sum().backward()
    for buffer in net.buffers():
        buffer.zero_()


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("resnet20", {}),
        ("convnext_atto", {}),
        ("deit_tiny_patch16_224", {"depth": 2}),
        ("swin_tiny_patch4_window7_224", {"depths": (1, 1, 1, 1)}),
    ],
)
def test_probing_leaves_no_trace(name: str, arguments: dict[str, Any]) -> None:
    net = half_trained(name, **arguments)
    before = traces(net)
    with net.probing():
        assert not any(m.training for m in net.modules())
        assert not any(p.requires_grad for p in net.parameters())
        net(images())
    assert traces(net) == before
    with net.probing():
        disturb(net)
    assert traces(net) == before
    with pytest.raises(KeyError), net.probing():
        disturb(net)
        raise KeyError
    assert traces(net) == before


def test_nested_probing_comes_back_level_by_level() -> None:
    net = half_trained("resnet20")
    before = traces(net)
    with net.probing():
        inside = traces(net)
        with pytest.raises(KeyError), net.probing():
            disturb(net)
            raise KeyError
        assert traces(net) == inside
    assert traces(net) == before


def test_probing_gives_the_gradient_of_the_input_and_none_of_the_weights() -> None:
    net = make("resnet20").eval()
    x = images().requires_grad_()
    (plain,) = torch.autograd.grad(net(x)[:, 0].sum(), x)
    net.train()
    with net.probing():
        net(x)[:, 0].sum().backward()
        assert all(p.grad is None for p in net.parameters())
    torch.testing.assert_close(x.grad, plain)


@pytest.mark.parametrize("training", [True, False])
def test_a_graph_from_before_probing_can_be_followed_back_afterwards(training: bool) -> None:
    """A method that looks into the net between the forward and the backward pass of the training step."""
    net, twin = (make("resnet20").train(training) for _ in range(2))
    loss = net(images()).square().sum()
    with net.probing(), torch.no_grad():
        net(images(n=3))
    loss.backward()
    twin(images()).square().sum().backward()
    for p, q in zip(net.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(p.grad, q.grad)


def test_probing_inside_inference_mode() -> None:
    net = make("resnet20").train()
    with torch.inference_mode(), net.probing():
        net(images())
    net(images()).sum().backward()  # a buffer of inference mode could not be updated here
    assert int(net.backbone.stem[1].num_batches_tracked) == 1

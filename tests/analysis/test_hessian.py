"""Curvature against the dense Hessian of a small net in float64, and Lanczos quadrature against whole spectra."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from workbench.analysis import curvature as module
from workbench.analysis.curvature import Curvature, PyHessian, differentiable
from workbench.analysis.hessian import Hessian, hessian
from workbench.analysis.inputs import Examples
from workbench.analysis.lanczos import quadrature, smoothed
from workbench.config import UsageError
from workbench.models import Net

CLASSES, IMAGES = 3, 7


class Tiny(nn.Module):
    """A convolution, a batch norm and a linear layer; and a weight that the loss does not see."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.head = nn.Conv2d(1, 3, 3, stride=2), nn.BatchNorm2d(3), nn.Linear(3, CLASSES)
        self.unused = nn.Parameter(torch.ones(2))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.tanh(self.norm(self.conv(x))).mean((2, 3)))


@pytest.fixture
def net() -> Net:
    """In float64, with weights and statistics that are not those of a fresh net."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        net = Net("resnet8", CLASSES, channels=1, size=8)
        net.backbone = Tiny()
        net.double()
        with torch.no_grad():
            for p in net.parameters():
                p.add_(0.5 * torch.randn_like(p))
            net.backbone.norm.running_var.uniform_(0.05, 0.2)
    return net.eval()


@pytest.fixture
def data() -> Examples:
    generator = torch.Generator().manual_seed(0)
    return Examples(torch.rand(IMAGES, 1, 8, 8, generator=generator), torch.arange(IMAGES) % CLASSES)


def dense(net: Net, data: Examples) -> np.ndarray:
    """(n, n) Hessian of the mean loss in evaluation mode, by torch.func."""
    shapes = {name: p.detach() for name, p in net.named_parameters()}

    def loss(flat: Tensor) -> Tensor:
        parts = flat.split([p.numel() for p in shapes.values()])
        weights = {name: part.view_as(p) for (name, p), part in zip(shapes.items(), parts, strict=True)}
        return F.cross_entropy(torch.func.functional_call(net, weights, data.images), data.labels)

    flat = torch.cat([p.reshape(-1) for p in shapes.values()])
    return torch.func.hessian(loss)(flat).numpy()


@pytest.mark.parametrize("chunk", [1, 3, 128])
def test_products_are_those_of_the_dense_matrix(
    net: Net, data: Examples, chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the chunks: 7 images in threes leave a chunk of one, which must count for one."""
    monkeypatch.setattr(module, "CHUNK", chunk)
    exact = dense(net, data)
    with differentiable(net):
        curvature = Curvature(net, data)
        found = torch.stack([curvature.flat(row) for row in torch.eye(len(curvature), dtype=torch.float64)])
    np.testing.assert_allclose(found.numpy(), exact, atol=1e-12)


def test_top_eigenvalues_and_their_residuals(net: Net, data: Examples) -> None:
    spectrum = np.linalg.eigvalsh(dense(net, data))
    wanted = spectrum[np.argsort(-np.abs(spectrum))][:3]
    found = hessian(net, data, top=3, trace_probes=0, density_probes=0)
    np.testing.assert_allclose(found.eigenvalues, wanted, rtol=0.02)
    distance = np.abs(found.eigenvalues[:, None] - spectrum).min(1)
    assert (distance <= found.residuals + 1e-9).all()
    assert found.products >= 6
    assert np.isnan(found.trace)


def test_the_trace_lies_within_its_error(net: Net, data: Examples) -> None:
    exact = np.trace(dense(net, data))
    found = hessian(net, data, top=0, trace_probes=200, density_probes=0)
    assert len(found.trace_samples) == 200
    assert abs(found.trace - exact) < 4 * found.trace_error
    assert found.trace_error == pytest.approx(np.std(found.trace_samples, ddof=1) / np.sqrt(200))
    assert np.isnan(hessian(net, data, top=0, trace_probes=1, density_probes=0).trace_error)


def test_the_density_has_the_moments_of_the_spectrum(net: Net, data: Examples) -> None:
    exact = dense(net, data)
    n = len(exact)
    found = hessian(net, data, top=0, trace_probes=0, density_probes=300, steps=3)
    for power in (1, 2):
        moments = (found.weights * found.nodes**power).sum(1)
        error = moments.std(ddof=1) / np.sqrt(len(moments))
        assert abs(moments.mean() - np.trace(np.linalg.matrix_power(exact, power)) / n) < 4 * error
    assert found.parameters == n


def test_the_density_of_all_steps_is_the_spectrum(net: Net, data: Examples) -> None:
    spectrum = np.linalg.eigvalsh(dense(net, data))
    found = hessian(net, data, top=0, trace_probes=0, density_probes=1, steps=1000)
    seen = found.nodes[found.weights > 1e-6]
    assert np.abs(seen[:, None] - spectrum).min(1).max() < 1e-8
    grid = np.linspace(found.nodes.min() - 8 * found.width, found.nodes.max() + 8 * found.width, 20001)
    assert np.trapezoid(found.density(grid), grid) == pytest.approx(1, abs=1e-6)
    share = found.width / np.ptp(found.nodes)
    assert share == pytest.approx(0.01)


class Given:
    """Stands for a net's curvature: a multiple of a fixed diagonal matrix."""

    def __init__(self, diagonal: Sequence[float]) -> None:
        self.net = Net("resnet8", 2, channels=1, size=8)
        self.net.backbone = nn.Linear(len(diagonal), 1, bias=False)
        self.diagonal = torch.tensor(diagonal)

    def times(self, vector: Sequence[Tensor]) -> list[Tensor]:
        return [self.diagonal * part for part in vector]


def library(diagonal: Sequence[float]) -> PyHessian:
    return PyHessian(cast(Any, Given(diagonal)), 0, lambda: None)


@pytest.mark.parametrize("diagonal", [[-1.0, -2.0, -3.0], [1.0, 2.0, 3.0], [-5.0, 5.0, 0.0]])
def test_the_trace_takes_all_its_probes(diagonal: list[float]) -> None:
    """PyHessian's test ends where two running means agree, and at once where the trace is negative."""
    np.testing.assert_allclose(library(diagonal).trace_samples(9), [sum(diagonal)] * 9)


@pytest.mark.parametrize("scale", [1e-12, 1e-7, 1.0, 1e6])
def test_tiny_curvature_is_not_taken_for_a_result(scale: float) -> None:
    """PyHessian adds 1e-6 where it divides and compares."""
    found, _ = library([scale * v for v in (-1.0, 0.4, 0.1, 0.0)]).eigenvalues(2)
    np.testing.assert_allclose(found, [-scale, 0.4 * scale], rtol=0.01)


def test_two_eigenvalues_of_opposite_signs_show_in_the_residual() -> None:
    """Power iteration then stands still between them, and takes that for an eigenvalue."""
    diagonal = [-5.0, 5.0, 0.0]
    found, residuals = library(diagonal).eigenvalues(1)
    assert np.abs(np.subtract(diagonal, found)).min() <= residuals[0] + 1e-5
    assert residuals[0] > 0.1


def test_a_flat_loss_has_no_curvature(data: Examples, net: Net) -> None:
    with torch.no_grad():
        net.backbone.head.weight.zero_()
        net.backbone.head.bias.copy_(torch.tensor([1e4, 0.0, 0.0]))
    first = Examples(data.images, torch.zeros_like(data.labels))
    found = hessian(net, first, top=1, trace_probes=2, density_probes=1, steps=3)
    assert found.eigenvalues[0] == found.trace == 0
    np.testing.assert_array_equal(found.nodes, 0)
    assert found.plot().has_data()


# ------------------------------------------------------------------------------------------------------------ Lanczos


def matrix(spectrum: np.ndarray, dtype: torch.dtype = torch.float64) -> Tensor:
    n = len(spectrum)
    basis = np.linalg.qr(np.random.default_rng(0).normal(size=(n, n)))[0]
    return torch.from_numpy(basis @ np.diag(spectrum) @ basis.T).to(dtype)


def test_quadrature_is_exact_for_polynomials() -> None:
    """S nodes for moments up to 2 S - 1, and not for the next."""
    a, start, steps = matrix(np.linspace(-1, 3, 30)), torch.ones(30, dtype=torch.float64), 4
    nodes, weights = quadrature(lambda v: a @ v, start, steps)
    u = start / start.norm()
    for power in range(2 * steps + 1):
        exact = float(u @ torch.linalg.matrix_power(a, power) @ u)
        found = (weights * nodes**power).sum()
        assert (abs(found - exact) < 1e-9 * 3**power) == (power < 2 * steps)


def test_no_eigenvalue_comes_twice() -> None:
    """Without full reorthogonalisation an outlier that has been found comes again, as ghosts."""
    spectrum = np.r_[np.linspace(0, 1, 199), 100.0]
    a = matrix(spectrum, torch.float32)
    nodes, weights = quadrature(lambda v: a @ v, torch.ones(200), 60)
    assert (np.abs(nodes - 100) < 1).sum() == 1
    assert weights.sum() == pytest.approx(1, abs=1e-6)
    assert nodes.min() > -1e-3


@pytest.mark.parametrize(("value", "steps"), [(0.0, 5), (2.0, 5), (2.0, 1), (-1.0, 50)])
def test_quadrature_ends_where_there_is_nothing_left(value: float, steps: int) -> None:
    nodes, weights = quadrature(lambda v: value * v, torch.ones(20), steps)
    assert nodes.shape == weights.shape == (steps,)
    np.testing.assert_allclose(nodes, value, atol=1e-6)
    np.testing.assert_allclose(weights[weights > 0], [1])


def test_smoothing_by_hand() -> None:
    found = smoothed(np.array([0.0, 1.0]), np.array([[0.0], [1.0]]), np.array([[1.0], [1.0]]), 0.5)
    peak = 1 / (0.5 * np.sqrt(2 * np.pi))
    np.testing.assert_allclose(found, [peak * (1 + np.exp(-2)) / 2] * 2)


# -------------------------------------------------------------------------------------------------------- as found


def test_the_mode_of_the_net_does_not_matter_and_is_kept(net: Net, data: Examples) -> None:
    options: dict[str, Any] = {"top": 1, "trace_probes": 3, "density_probes": 1, "steps": 3}
    evaluated = hessian(net, data, **options)
    net.train()
    net.backbone.head.weight.requires_grad_(False)
    net.backbone.conv.weight.grad = torch.full_like(net.backbone.conv.weight, 7)
    trained = hessian(net, data, **options)
    np.testing.assert_array_equal(trained.eigenvalues, evaluated.eigenvalues)
    np.testing.assert_array_equal(trained.trace_samples, evaluated.trace_samples)
    np.testing.assert_array_equal(trained.nodes, evaluated.nodes)
    assert net.training
    assert not net.backbone.head.weight.requires_grad
    assert (net.backbone.conv.weight.grad == 7).all()
    assert net.backbone.head.weight.grad is None
    assert net.backbone.norm.num_batches_tracked == 0


@pytest.mark.parametrize("chunk", [2, 128])
def test_nothing_of_the_graph_is_left(net: Net, data: Examples, chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """PyHessian's own products tie gradients and weights into a ring; here all is free without the collector."""
    monkeypatch.setattr(module, "CHUNK", chunk)

    class Saved:
        def __init__(self, tensor: Tensor) -> None:
            self.tensor = tensor

    alive: list[weakref.ref[Saved]] = []

    def pack(tensor: Tensor) -> Saved:
        saved = Saved(tensor.detach())
        alive.append(weakref.ref(saved))
        return saved

    gc.collect()
    gc.disable()
    try:
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda saved: saved.tensor):
            hessian(net, data, top=1, trace_probes=2, density_probes=1, steps=2)
        assert len(alive) > 20
        assert not [ref for ref in alive if ref() is not None]
    finally:
        gc.enable()


def test_attention_has_second_derivatives() -> None:
    """Of a ViT, whose fused attention has none, against differences of gradients."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        small = {"patch_size": 4, "embed_dim": 12, "depth": 1, "num_heads": 2}
        net = Net("vit_tiny_patch16_224", CLASSES, channels=1, size=8, **small).double()
        data = Examples(torch.rand(3, 1, 8, 8), torch.arange(3))
    with differentiable(net):
        curvature = Curvature(net, data)
        v = torch.randn(len(curvature), dtype=torch.float64, generator=torch.Generator().manual_seed(0))
        found, gradients = curvature.flat(v), []
        for step in (1e-5, -1e-5):
            parts = v.split([p.numel() for p in curvature.weights])
            with torch.no_grad():
                for p, part in zip(curvature.weights, parts, strict=True):
                    p.add_(step * part.view_as(p))
            loss = F.cross_entropy(net(data.images), data.labels)
            slope = torch.autograd.grad(loss, curvature.weights)
            gradients.append(torch.cat([g.reshape(-1) for g in slope]))
            with torch.no_grad():
                for p, part in zip(curvature.weights, parts, strict=True):
                    p.sub_(step * part.view_as(p))
    np.testing.assert_allclose(found, (gradients[0] - gradients[1]) / 2e-5, rtol=1e-4, atol=1e-4)


def test_seeds_decide(net: Net, data: Examples) -> None:
    options: dict[str, Any] = {"images": 4, "top": 0, "trace_probes": 2, "density_probes": 1, "steps": 2}
    one, other = hessian(net, data, seed=0, **options), hessian(net, data, seed=1, **options)
    assert one.images == 4
    assert not np.array_equal(one.trace_samples, other.trace_samples)
    assert not np.array_equal(one.nodes, other.nodes)


def test_one_image_is_enough(net: Net, data: Examples) -> None:
    found = hessian(net, data, images=1, top=1, trace_probes=1, density_probes=1, steps=2)
    assert found.images == 1
    assert np.isfinite(found.eigenvalues).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"top": -1}, "top must be a whole number from 0, got -1"),
        ({"top": 100}, "weights and as many eigenvalues, got top=100"),
        ({"top": 101}, "top must be at most 100, got 101"),
        ({"steps": 0}, "steps must be a whole number from 1, got 0"),
        ({"trace_probes": 2.5}, "trace_probes must be a whole number from 0, got 2.5"),
        ({"smoothing": 0}, "smoothing must be above 0 and at most 1, got 0"),
    ],
)
def test_errors_say_what_was_expected(net: Net, data: Examples, options: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        hessian(net, data, **options)


def test_nothing_asked_is_refused(net: Net, data: Examples) -> None:
    with pytest.raises(UsageError, match="at least one of top, trace_probes, density_probes above 0"):
        hessian(net, data, top=0, trace_probes=0, density_probes=0)


@pytest.mark.parametrize(
    ("asked", "across", "up", "marks"),
    [
        ("trace_probes", "trace, by each probe", "", 3),
        ("top", "eigenvalue", "", 3),
        ("density_probes", "eigenvalue", "density", None),
    ],
)
def test_only_what_was_asked_is_drawn(
    net: Net, data: Examples, asked: str, across: str, up: str, marks: int | None
) -> None:
    parts = {"top": 0, "trace_probes": 0, "density_probes": 0, "steps": 3} | {asked: 3}
    ax = hessian(net, data, **parts).plot()
    assert (ax.get_xlabel(), ax.get_ylabel()) == (across, up)
    assert [len(line.get_xdata()) for line in ax.lines if not line.get_clip_on()] == ([marks] if marks else [])
    assert bool(len(ax.get_yticks())) == bool(up)
    assert ax.get_position().width > 0.6 and ax.get_position().height > 0.25, "the axes have their room"


def test_a_broken_net_is_refused(net: Net, data: Examples) -> None:
    with torch.no_grad():
        net.backbone.head.bias.fill_(torch.nan)
    with pytest.raises(UsageError, match="its weights are broken"):
        hessian(net, data)


def made() -> Hessian:
    return Hessian(
        name="run", eigenvalues=np.array([9.0, -2.0]), residuals=np.array([0.1, 0.2]),
        trace_samples=np.array([3.0, 5.0]), nodes=np.array([[-1.0, 0.0, 9.0]]), weights=np.array([[0.25, 0.7, 0.05]]),
        width=0.1, parameters=20, images=4, products=12,
    )  # fmt: skip


def test_table_summary_and_plot_tell_the_same() -> None:
    found = made()
    frame, summary = found.to_frame(), found.summary().iloc[0]
    assert frame.groupby("quantity").size().to_dict() == {"eigenvalue": 2, "node": 3, "trace": 2}
    assert frame.query("quantity == 'trace'").value.mean() == summary.trace == 4
    assert summary.trace_error == pytest.approx(1)
    assert summary.top_eigenvalue == 9
    assert summary.lowest_eigenvalue == -1
    ax = found.plot()
    curve, marks = ax.lines
    grid = np.asarray(curve.get_xdata())
    shown = found.density(grid)
    floor = ax.get_ylim()[0]
    np.testing.assert_allclose(curve.get_ydata(), np.maximum(shown, floor))
    np.testing.assert_array_equal(marks.get_xdata(), [9, -2])
    assert "largest 9 ± 0.1" in ax.texts[0].get_text()
    assert "trace 4 ± 1" in ax.texts[0].get_text()


def test_the_bar_ends_at_its_total_however_many_products_the_eigenvalues_take(
    net: Net, data: Examples, monkeypatch: pytest.MonkeyPatch
) -> None:
    from workbench.analysis import hessian as module
    from workbench.analysis.pace import Bar

    class Seen(Bar):
        def update(self, n: float | None = 1) -> bool | None:
            shown = super().update(n)
            steps.append((self.n, self.total))
            return shown

    steps: list[tuple[float, float]] = []
    monkeypatch.setattr("workbench.analysis.pace.Bar", Seen)
    monkeypatch.setattr(module, "USUAL", 2)
    found = hessian(net, data, top=1, trace_probes=2, density_probes=1, steps=3)
    assert found.products > 2 and len(steps) == found.products + 5
    assert all(done <= total for done, total in steps) and steps[-1][0] == steps[-1][1]
    assert all(total - done >= 5 for done, total in steps[: found.products]), "those that come for certain are kept"

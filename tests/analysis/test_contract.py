"""What every analysis in the table must keep; and `analyse`, which fetches, caches and refuses.

A new analysis needs one row in SETTINGS: how to compute a small result.
"""

from __future__ import annotations

import copy
import dataclasses
import inspect
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib import pyplot as plt

from tests.fake_runs import FakeRun, write_run, write_runs
from workbench import analysis
from workbench.analysis import ACROSS, ANALYSES, Analysis, analyse, base, cache, calibration
from workbench.analysis.base import Result
from workbench.analysis.compare import Score
from workbench.analysis.inputs import Examples
from workbench.analysis.needs import NEEDS
from workbench.analysis.ranking import Outcome
from workbench.config import RunConfig, UsageError, dump
from workbench.data import load
from workbench.methods import build
from workbench.models import Net
from workbench.runs import Run
from workbench.runs import run as run_now


def logits_and_labels() -> tuple[Any, ...]:
    rng = np.random.default_rng(0)
    return rng.normal(0, 2, (40, 4)), rng.integers(0, 4, 40)


def scores() -> tuple[Any, ...]:
    def one(method: str, seed: int, accuracy: float) -> Score:
        return Score(RunConfig(method=method, seed=seed), accuracy, 0.1, 0.2, 1e6, 100)

    return ([one("vanilla", 0, 0.7), one("vanilla", 1, 0.72), one("mixup", 0, 0.75), one("mixup", 1, 0.74)],)


def outcomes() -> tuple[Any, ...]:
    rng = np.random.default_rng(0)
    keys = ("vanilla", "mixup", "cutmix")
    return ([Outcome(RunConfig(method=key, seed=s), rng.random(60) < 0.7) for key in keys for s in range(3)],)


CLASSES = 4


def small_net(seed: int = 0) -> Net:
    """A residual net that knows four classes of 16-pixel images."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Net("resnet8", CLASSES, mean=[0.4] * 3, std=[0.3] * 3, size=16).eval()


def small_data() -> Examples:
    """Twelve images with objects and their masks."""
    shapes = load("shapes", "test", size=16)
    rows = torch.arange(len(shapes))[shapes.labels < CLASSES][:12]
    assert shapes.masks is not None
    return Examples(shapes.pictures(rows), shapes.labels[rows], shapes.masks[rows], shapes.classes[:CLASSES])


def net_and_data() -> tuple[Any, ...]:
    return small_net(), small_data()


def nets_and_data() -> tuple[Any, ...]:
    return [("one", small_net(0)), ("two", small_net(1))], small_data()


def method_net_and_data() -> tuple[Any, ...]:
    return build("cutmix"), small_net(), small_data()


def states_net_and_data() -> tuple[Any, ...]:
    """Three epochs of a net that shrank."""
    net = small_net()
    states = {e: {k: v * f if v.is_floating_point() else v for k, v in net.state_dict().items()} for e, f in FACTORS}
    return states, net, small_data()


FACTORS = ((0, 1.3), (2, 1.1), (4, 1.0))
SETTINGS: Mapping[str, Callable[[], tuple[Any, ...]]] = {
    "calibration": logits_and_labels,
    "compare": scores,
    "ranking": outcomes,
    "hessian": net_and_data,
    "landscape": nets_and_data,
    "trajectory": states_net_and_data,
    "cam": nets_and_data,
    "embedding": nets_and_data,
    "robustness": net_and_data,
    "adversarial": net_and_data,
    "occlusion": net_and_data,
    "fourier": net_and_data,
    "ood": net_and_data,
    "fidelity": method_net_and_data,
    "cost": method_net_and_data,
}
OPTIONS: Mapping[str, Mapping[str, Any]] = {
    "hessian": {"images": 12, "top": 1, "trace_probes": 2, "density_probes": 1, "steps": 4},
    "landscape": {"images": 12, "points": 5},
    "trajectory": {"images": 12, "points": 3},
    "cam": {"images": 3},
    "embedding": {"images": 12, "layers": True},
    "robustness": {"severities": (1, 5)},
    "adversarial": {"eps": (0.02,), "steps": 2},
    "occlusion": {"images": 12},
    "fourier": {"points": 3},
    "ood": {"images": 12},
    "fidelity": {"draws": 1},
    "cost": {"batch_size": 8, "steps": 0},
}
"""Options that make an analysis of a net short."""


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> list[Run]:
    """Two real runs of one data set that knows where its objects are."""
    config = RunConfig(
        data="shapes", size=16, model="resnet8", epochs=2, batch_size=256, device="cpu", score="last", keep_weights=1
    )
    root = tmp_path_factory.mktemp("runs")
    return [run_now(dataclasses.replace(config, method=key), root, progress=False) for key in ("cutmix", "mixup")]


def contents(value: Any) -> Any:
    """What of an input could have been changed, in a form that can be compared."""
    if isinstance(value, torch.nn.Module):
        flags = [(m.training, len(m._forward_hooks), len(m._forward_pre_hooks)) for m in value.modules()]
        wanted = [(p.requires_grad, None if p.grad is None else p.grad.tolist()) for p in value.parameters()]
        return flags, wanted, {k: v.numpy().tobytes() for k, v in value.state_dict().items() if torch.is_tensor(v)}
    if isinstance(value, torch.Tensor):
        return value.numpy().tobytes()
    if isinstance(value, Examples):
        return [contents(part) for part in (value.images, value.labels, value.masks)]
    if isinstance(value, list | tuple | dict):
        return [contents(part) for part in (value.items() if isinstance(value, dict) else value)]
    return value.tobytes() if isinstance(value, np.ndarray) else value


@pytest.fixture(params=ANALYSES)
def name(request: pytest.FixtureRequest) -> str:
    assert request.param in SETTINGS, f"add {request.param} to SETTINGS: a function that makes small inputs for it"
    return request.param


@pytest.fixture
def entry(name: str) -> Analysis:
    return ANALYSES[name]


@pytest.fixture
def result(name: str, entry: Analysis) -> Result:
    return entry.compute(*SETTINGS[name](), **OPTIONS.get(name, {}))


def same(a: Any, b: Any) -> bool:
    """Equal in every field, nan being equal to nan."""
    pairs = zip(dataclasses.astuple(a), dataclasses.astuple(b), strict=True)
    return all(np.array_equal(x, y, equal_nan=np.asarray(x).dtype.kind == "f") for x, y in pairs)


def test_entry_is_whole(name: str, entry: Analysis) -> None:
    assert entry.summary
    assert entry.needs in (*ACROSS, *NEEDS, "nets")
    assert entry.compute.__name__ == name
    assert issubclass(entry.result, Result)
    signature = inspect.signature(entry.compute)
    optional = [p for p in signature.parameters.values() if p.default is not p.empty]
    assert all(p.kind is p.KEYWORD_ONLY for p in optional), "options are keyword-only"


def test_result_is_frozen_and_tells_what_it_holds(entry: Analysis, result: Result) -> None:
    assert type(result) is entry.result
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(result, dataclasses.fields(result)[0].name, None)


def test_frame_is_tidy(result: Result) -> None:
    frame = result.to_frame()
    assert "name" in frame
    assert len(frame) > 0
    assert frame.index.is_unique
    assert frame.columns.is_unique
    assert len(pd.concat([frame, frame])) == 2 * len(frame)
    assert "name" in result.summary()


def test_plot_draws_into_the_axes_it_gets(result: Result) -> None:
    before = dict(matplotlib.rcParams)
    figure, (left, right) = plt.subplots(1, 2)
    assert result.plot(left) is left
    assert left.has_data()
    assert not right.has_data()
    assert plt.get_fignums() == [figure.number]
    assert dict(matplotlib.rcParams) == before


def test_plot_makes_axes_where_it_gets_none(result: Result) -> None:
    before, fields = dict(matplotlib.rcParams), copy.deepcopy(result)
    ax = result.plot()
    assert ax.has_data()
    assert len(plt.get_fignums()) == 1
    assert dict(matplotlib.rcParams) == before
    assert same(result, fields)


def test_round_trip_through_the_archive(result: Result, tmp_path: Path) -> None:
    base.save(result, tmp_path / "analysis" / "stored.npz")
    loaded = base.load(type(result), tmp_path / "analysis" / "stored.npz")
    assert same(result, loaded)
    assert [type(v) for v in vars(loaded).values()] == [type(v) for v in vars(result).values()]
    assert [p.name for p in (tmp_path / "analysis").iterdir()] == ["stored.npz"]


def test_input_is_left_alone_and_two_calls_agree(name: str, entry: Analysis, result: Result) -> None:
    inputs = SETTINGS[name]()
    before = contents(inputs)
    numbers = torch.random.get_rng_state(), np.random.get_state()[1].tolist()  # type: ignore[index]
    again = entry.compute(*inputs, **OPTIONS.get(name, {}))
    assert contents(inputs) == before
    assert torch.equal(torch.random.get_rng_state(), numbers[0])
    assert np.random.get_state()[1].tolist() == numbers[1]  # type: ignore[index]
    assert same(again, result)


def test_on_stored_runs(name: str, entry: Analysis, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    light = entry.needs in ("predictions", *ACROSS)
    runs = write_runs(tmp_path, ("vanilla", "mixup"), (0,)) if light else request.getfixturevalue("trained")
    options = OPTIONS.get(name, {})
    found = analyse(runs, name, **options)
    results = found if isinstance(found, list) else [found]
    assert all(isinstance(r, entry.result) for r in results)
    if entry.needs == "nets":
        assert same(analyse(runs, name, **options), found)
    elif entry.needs not in ACROSS:
        assert same(analyse(runs[0], name, **options), results[0])


def test_mistakes_about_data_are_told(name: str, entry: Analysis) -> None:
    if entry.needs in ("predictions", *ACROSS):
        pytest.skip("takes no images")
    *given, data = SETTINGS[name]()
    empty = Examples(data.images[:0], data.labels[:0], data.masks[:0])
    with pytest.raises(UsageError, match="at least one"):
        entry.compute(*given, empty, **OPTIONS.get(name, {}))
    grey = Examples(data.images[:, :1], data.labels, data.masks)
    with pytest.raises(UsageError, match="channels"):
        entry.compute(*given, grey, **OPTIONS.get(name, {}))


# --------------------------------------------------------------------------------------------------------- the cache


def test_work_that_was_broken_off_goes_on(trained: list[Run], monkeypatch: pytest.MonkeyPatch) -> None:
    from workbench.analysis import landscape

    measure, calls = landscape.loss_and_accuracy, []

    def tired(*args: Any) -> Any:
        calls.append(1)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return measure(*args)

    options = {"points": 5, "images": 8, "seed": 7}
    monkeypatch.setattr(landscape, "loss_and_accuracy", tired)
    with pytest.raises(KeyboardInterrupt):
        analyse(trained[:1], "landscape", **options)
    folder = trained[0].path / "analysis"
    assert len(list(folder.glob("landscape-*.part.npz"))) == 1
    found = analyse(trained[:1], "landscape", **options)
    assert len(calls) == 3 + 1 + 2, "three points were kept"
    assert np.isfinite(found.loss).all() and not list(folder.glob("*.part.npz"))


@pytest.fixture
def run(tmp_path: Path) -> FakeRun:
    return write_run(tmp_path, RunConfig(method="mixup"))


def stored(run: FakeRun) -> list[str]:
    return sorted(p.name for p in (run.path / "analysis").glob("*"))


def refuse(monkeypatch: pytest.MonkeyPatch) -> None:
    """From here on, computing is an error: only the cache may answer."""

    def never(*args: Any, bins: int = 15, name: str = "") -> None:
        raise AssertionError("computed again")

    never.__signature__ = inspect.signature(calibration.calibration)  # type: ignore[attr-defined]
    monkeypatch.setattr(calibration, "calibration", never)


def test_second_call_reads_the_cache(run: FakeRun, monkeypatch: pytest.MonkeyPatch) -> None:
    first = analyse(run, "calibration")
    assert first.name == run.name
    refuse(monkeypatch)
    assert same(analyse(run, "calibration"), first)
    assert same(analyse(run, "calibration", bins=15), first)  # the default, said aloud
    with pytest.raises(AssertionError, match="computed again"):
        analyse(run, "calibration", bins=10)


def test_new_predictions_or_version_make_a_new_entry(run: FakeRun, monkeypatch: pytest.MonkeyPatch) -> None:
    analyse(run, "calibration")
    logits, labels = run.predictions()
    np.savez_compressed(run.path / "predictions.npz", logits=2 * logits, labels=labels)
    second = analyse(run, "calibration")
    assert len(stored(run)) == 2
    assert same(second, ANALYSES["calibration"].compute(2 * logits, labels, name=run.name))
    newer = dataclasses.replace(ANALYSES["calibration"], version=3)
    monkeypatch.setattr(analysis, "ANALYSES", {"calibration": newer})
    analyse(run, "calibration")
    assert len(stored(run)) == 3


def test_a_moved_run_has_its_new_name(run: FakeRun) -> None:
    analyse(run, "calibration")
    moved = FakeRun(run.path.rename(run.path.with_name("moved")))
    assert analyse(moved, "calibration").name == "moved"
    assert len(stored(moved)) == 1


@pytest.mark.parametrize("damage", [b"", b"PK\x03\x04 not an archive", None])
def test_a_damaged_entry_is_made_again(run: FakeRun, damage: bytes | None) -> None:
    first = analyse(run, "calibration")
    path = run.path / "analysis" / stored(run)[0]
    path.write_bytes(path.read_bytes()[:200] if damage is None else damage)
    with pytest.warns(UserWarning, match="damaged and is made again"):
        assert same(analyse(run, "calibration"), first)
    assert same(analyse(run, "calibration"), first)  # without a warning


def test_an_entry_with_code_in_it_is_not_run(run: FakeRun) -> None:
    first = analyse(run, "calibration")
    path = run.path / "analysis" / stored(run)[0]
    np.savez(path, **{f.name: np.array([object()], object) for f in dataclasses.fields(first)})
    with pytest.warns(UserWarning, match="damaged"):
        assert same(analyse(run, "calibration"), first)


def test_a_folder_that_cannot_be_written_still_gives_the_result(run: FakeRun) -> None:
    (run.path / "analysis").write_text("a file where the folder should be")
    with pytest.warns(UserWarning, match="not kept for the next time"):
        found = analyse(run, "calibration")
    assert same(found, ANALYSES["calibration"].compute(*run.predictions(), name=run.name))


def test_several_runs_give_a_list(tmp_path: Path) -> None:
    runs = write_runs(tmp_path, ("mixup",), (0, 1))
    assert [r.name for r in analyse(runs, "calibration")] == [r.name for r in runs]


def test_options_are_held_to_their_types(trained: list[Run], run: FakeRun) -> None:
    for name, options, message in (
        ("hessian", {"smoothing": "x"}, "hessian: smoothing must be float, got 'x'"),
        ("hessian", {"top": True}, "hessian: top must be int, got True"),
        ("robustness", {"severities": 1.5}, "severities must be Sequence"),
        ("robustness", {"official": 5}, "official must be str"),
        ("embedding", {"layers": "maybe"}, "layers must be bool"),
        ("fidelity", {"alphas": "much"}, "alphas must be"),
    ):
        with pytest.raises(UsageError, match=message):
            analyse(trained[:1], name, **options)
    with pytest.raises(UsageError, match="draws must be int"):
        analyse([run], "ranking", draws=2.5)
    short = {"images": 8, "kinds": "contrast", "severities": 1}  # one alone stands for a list of one
    assert len(analyse(trained[0], "robustness", **short).to_frame()) >= 1


def test_times_of_another_machine_are_not_read(trained: list[Run], monkeypatch: pytest.MonkeyPatch) -> None:
    analyse(trained[0], "cost", **OPTIONS["cost"])
    count = len(list((trained[0].path / "analysis").glob("cost-*")))
    monkeypatch.setattr(cache, "_machine", lambda: ["another"])
    analyse(trained[0], "cost", **OPTIONS["cost"])
    assert len(list((trained[0].path / "analysis").glob("cost-*"))) == count + 1


def test_a_run_is_costed_in_its_own_precision(trained: list[Run], tmp_path: Path) -> None:
    shutil.copytree(trained[0].path, tmp_path / "half")
    (tmp_path / "half" / "config.yaml").write_text(dump(dataclasses.replace(trained[0].config, precision="bf16")))
    half = Run(tmp_path / "half")
    found = analyse([trained[0], half], "cost", **OPTIONS["cost"])
    assert [one.precision for one in found] == ["fp32", "bf16"]
    assert analyse(half, "cost", **OPTIONS["cost"], precision="fp32").precision == "fp32"


def test_mistakes_are_told(run: FakeRun) -> None:
    with pytest.raises(UsageError, match="unknown analysis 'calibratoin'; did you mean 'calibration'"):
        analyse(run, "calibratoin")
    with pytest.raises(UsageError, match="calibration has no option 'bin'; did you mean 'bins'"):
        analyse(run, "calibration", bin=3)
    with pytest.raises(UsageError, match="compare has no option 'bins'"):
        analyse(run, "compare", bins=3)
    with pytest.raises(UsageError, match="at least one finished run"):
        analyse([], "compare")
    (run.path / "predictions.npz").unlink()
    with pytest.raises(UsageError, match=r"has no predictions\.npz, which calibration needs"):
        analyse(run, "calibration")
    (run.path / "result.json").unlink()
    with pytest.raises(UsageError, match="has no result yet"):
        analyse(run, "compare")


def test_a_real_run_is_read_alike(run: FakeRun) -> None:
    real = Run(run.path)
    for name in [name for name, entry in ANALYSES.items() if entry.needs in ("predictions", *ACROSS)]:
        assert same(analyse(real, name), analyse(run, name))

"""The gallery: all methods on the same four photographs, with short trainings for those that look into a net."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from workbench.config import RunConfig, UsageError, choose
from workbench.data.embedded import whole_photos
from workbench.methods import METHODS, Method, build
from workbench.models import Net
from workbench.runs import Run
from workbench.runs import runs as find
from workbench.runs.folder import make_folder
from workbench.runs.samples import mixed_arrays
from workbench.sweep import sweep

PHOTOGRAPHS = ("astronaut", "cat", "coffee", "flower")
SIZE, LARGE = 64, 192
"""Pixels of the photographs for methods that look into a net, and for the others. The ResNet is trained on crops of
half that side, which is four times faster; it takes any."""
QUICK = {"momentum": 0.9, "end_momentum": 0.99}
"""A teacher that follows its net within a few steps: with the papers' momentum it would learn nothing in so few."""
PARAMS: dict[str, dict[str, Any]] = {
    "puzzlemix": {"grids": [8]},
    "transmix": {"base": "cutmix"},
    "smmix": {"switch_prob": 1.0},
}
"""By default the last two mix some photographs by Mixup, which is shown already, and the first draws its grid."""
PLAIN = RunConfig(
    method="vanilla",
    data="photos",
    size=SIZE // 2,
    model="resnet8",
    epochs=5,
    batch_size=100,
    lr=0.1,
    channels_last=True,
    score="last",
)
WITH_ATTENTION = replace(
    PLAIN,
    size=SIZE,
    model="vit_tiny_patch16_224",
    model_args={"patch_size": 8, "depth": 4, "embed_dim": 96, "num_heads": 3},
    optimizer="adamw",
    lr=1e-3,
    weight_decay=0.05,
)
"""A vision transformer small enough to learn something in a minute."""


def mixes(
    out: str | Path = "out/gallery",
    lam: float = 0.5,
    only: Sequence[str] = (),
    runs: Sequence[Path] = (),
    epochs: int = PLAIN.epochs,
    jobs: int = 2,
) -> dict[str, dict[str, np.ndarray]]:
    """What every method (or those of `only`) makes of four photographs, by key: see `mixed_arrays`.

    Methods that look into a net get one that is trained here, once, for `epochs` epochs on crops of photographs; the
    learned ones are trained themselves. Finished runs of the user's own, given as `runs`, take their place. So short
    a training leaves the masks of learned methods nearly even: give runs to see what they can become.
    """
    if not 0 <= lam <= 1:
        raise UsageError(f"lam is the weight of photograph A and must be from 0 to 1, got {lam}")
    for key in only:
        choose(METHODS, key, "method")
    keys = [key for key in METHODS if key in only or (not only and METHODS[key].family != "loss")]
    given = _given(runs)
    make_folder(Path(out))
    trained = _trained([key for key in keys if key not in given], Path(out) / "runs", epochs, jobs)
    shown = {key: _shown(*_ready(key, given, trained), lam) for key in keys}
    for key, run in trained.items():
        if run.config.method == key != "vanilla":
            shown[key]["note"] = np.array(f"{shown[key]['note']}; after {epochs} epochs only, so masks are nearly even")
    return shown


def _given(paths: Sequence[Path]) -> dict[str, Run]:
    """The finished runs in the folders, by method; of several of one method the first."""
    found: dict[str, Run] = {}
    for path in paths:
        finished = [run for run in find(path) if run.state == "done"]
        if not finished:
            raise UsageError(f"no finished run in {path}; `workbench runs` lists what there is")
        for run in finished:
            found.setdefault(run.config.method, run)
    return found


def _shown(method: Method, net: Net | None, lam: float) -> dict[str, np.ndarray]:
    fixed = net is not None and (net.size > SIZE or hasattr(net.backbone, "patch_embed"))
    x, y = photographs(LARGE if net is None else net.size if fixed else SIZE)
    if net is not None:
        with torch.no_grad():
            y = net(x).argmax(1)  # a net of another data set knows no class of these photographs
    return mixed_arrays(method, net, x, y, lam)


def photographs(size: int) -> tuple[Tensor, Tensor]:
    """(4, 3, size, size) float32 in [0, 1], and a class id for each."""
    pictures, names = whole_photos(size)
    rows = [names.index(name) for name in PHOTOGRAPHS]
    return pictures[rows].float() / 255, torch.tensor(rows)


def _config(key: str) -> RunConfig | None:
    """What has to be trained before a method can be shown; None where it needs no net."""
    cls = METHODS[key]
    if not cls.needs_net or cls.family == "feature":
        return None
    if cls.family == "attention":
        return WITH_ATTENTION
    return replace(PLAIN, method=key, params=QUICK) if cls.family == "learned" else PLAIN


def _trained(keys: Sequence[str], root: Path, epochs: int, jobs: int) -> dict[str, Run]:
    """A finished run for every method that needs one; methods that learn nothing themselves share theirs."""
    wanted = {key: replace(config, epochs=epochs) for key in keys if (config := _config(key)) is not None}
    different = list({config.run_id: config for config in wanted.values()}.values())
    if not different:
        return {}
    slowest_first = sorted(different, key=lambda config: METHODS[config.method].family != "learned")
    print(f"{len(different)} short trainings for the methods that look into a net; finished ones are used again")
    finished = dict(zip([c.run_id for c in slowest_first], sweep(slowest_first, root, jobs), strict=True))
    return {key: finished[config.run_id] for key, config in wanted.items()}


def _ready(key: str, given: dict[str, Run], trained: dict[str, Run]) -> tuple[Method, Net | None]:
    """A method and the net that it looks into."""
    run = given.get(key) or trained.get(key)
    if run is None:
        return build(key, PARAMS.get(key)), None
    net = run.net()
    if run.config.method == key:
        return run.method(), net
    method = build(key, PARAMS.get(key))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        method.attach(net)
    return method, net

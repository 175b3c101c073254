"""The command that measures speed."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from tyro.conf import Positional


def bench(
    what: Positional[Literal["methods", "steps", "analyses", "train"]],
    model: str = "resnet18",
    batch_size: int | None = None,
    rounds: int = 5,
    out: Path = Path("out/bench"),
    size: int | None = None,
    only: tuple[str, ...] = (),
) -> None:
    """Measure the cost of mixing, of whole steps, or of the loop, as ratios within one run.

    Args:
        what: methods: each mix in multiples of a copy of the batch, public implementations beside it (two minutes).
            steps: each method's training step and peak memory in multiples of plain training (minutes).
            analyses: over the plain work that they can't do without, or a library that does the same.
            train: the training loop over a bare PyTorch loop.
        model: The net that is trained, for steps and train.
        batch_size: Images of a batch; 128, or for methods 64 at 224 pixels, when left out.
        rounds: Interleaved repetitions; medians and ranges are reported.
        out: Folder for CSV and figure.
        size: Side of the images; for methods 32 and 224, for steps 32 when left out.
        only: Keys of methods; all when left out.
    """
    from workbench import bench as suite

    if what == "train":
        print(suite.bench_train(model, batch_size or 128, rounds, out))
    elif what == "analyses":
        print(suite.bench_analyses(rounds, out))
    elif what == "steps":
        print(suite.bench_steps(model, batch_size or 128, rounds, out, size=size or 32, only=only))
    else:
        print(suite.bench_methods((size,) if size else (32, 224), batch_size, rounds, out, only=only))

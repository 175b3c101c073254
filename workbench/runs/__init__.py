"""The run folder: everything about a training that anybody may want to know later, and nothing that executes.

config.yaml           the settings, fully resolved
history.jsonl         one record an epoch
result.json           the numbers, with the protocol; its presence says that the run is done
predictions.npz       logits and labels of the test images
samples.npz           what the method makes of a few pictures at lambda 0.5
weights.safetensors   the net; method.safetensors what the method learned, if it did
trajectory/           the net before training and every `keep_weights` epochs, if that was asked for
checkpoints/          the last two, for `workbench resume`
environment.json      versions, machine, commit
status.json, log.txt  signs of life
"""

from __future__ import annotations

from workbench.runs.execute import ROOT, is_main, launch, prepare, resume, run, score
from workbench.runs.handle import Run, finished, labelled, runs
from workbench.runs.replay import Replay, replay

__all__ = [
    "ROOT",
    "Replay",
    "Run",
    "finished",
    "is_main",
    "labelled",
    "launch",
    "prepare",
    "replay",
    "resume",
    "run",
    "runs",
    "score",
]

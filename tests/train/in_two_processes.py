"""Started by torchrun from test_ddp.py: trains, then holds the weights of both processes against each other."""

from __future__ import annotations

import sys

import torch
import torch.distributed as dist
import yaml

from workbench.config import RunConfig
from workbench.train import assemble, fit

config = RunConfig(**yaml.safe_load(sys.argv[1]))
training = assemble(config)
records = list(fit(training))
state = {**training.net.state_dict(), **{f"method.{k}": v for k, v in training.method.named_parameters()}}
learned = torch.cat([v.double().flatten() for k, v in state.items() if "running" not in k and "teacher" not in k])
both = [torch.empty_like(learned) for _ in range(dist.get_world_size())]
dist.all_gather(both, learned)
assert torch.equal(both[0], both[1]), (both[0] - both[1]).abs().max()
if dist.get_rank() == 0:
    torch.save({"weights": training.net.state_dict(), "loss": records[-1]["train_loss"]}, sys.argv[2])
dist.destroy_process_group()

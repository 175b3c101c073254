"""The loop: deterministic, sequential losses equal joint ones, schedule and records right."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from workbench.config import RunConfig, UsageError
from workbench.draw import Draw
from workbench.methods import Mixed
from workbench.models import Net
from workbench.train import Training, assemble, check_processes, fit
from workbench.train.memory import peak_of

CONFIG = RunConfig(
    method="mixup", data="digits", model="resnet8", epochs=2, size=8, batch_size=512, lr=0.2, device="cpu"
)


def state_of(config: RunConfig) -> tuple[list[dict], dict[str, torch.Tensor]]:
    training = assemble(config)
    records = list(fit(training))
    return records, training.net.state_dict()


def test_the_same_seed_gives_the_same_weights() -> None:
    (records, weights), (again, others) = state_of(CONFIG), state_of(CONFIG)
    assert all(torch.equal(weights[k], others[k]) for k in weights)
    assert [r["train_loss"] for r in records] == [r["train_loss"] for r in again]
    _, different = state_of(replace(CONFIG, seed=1))
    assert any(not torch.equal(weights[k], different[k]) for k in weights)


def test_a_vanilla_epoch_is_the_bare_loop() -> None:
    """Same batches, SGD written out by hand: the same weights."""
    config = replace(CONFIG, method="vanilla", epochs=1, weight_decay=0.0, schedule="constant", augment="none")
    training = assemble(config)
    net = copy.deepcopy(training.net).train()
    momentum = {p: torch.zeros_like(p) for p in net.parameters()}
    for x, y in training.train.epoch(0):
        net.zero_grad()
        F.cross_entropy(net(x), y).backward()
        with torch.no_grad():
            for p, m in momentum.items():  # Nesterov
                m.mul_(0.9).add_(p.grad)
                p.sub_(0.2 * (p.grad + 0.9 * m))
    list(fit(training))
    for ours, bare in zip(training.net.parameters(), net.parameters(), strict=True):
        torch.testing.assert_close(ours, bare, rtol=0, atol=1e-3)  # rounding; without Nesterov: 0.02


def test_the_learning_rate_follows_warm_up_and_cosine() -> None:
    training = assemble(replace(CONFIG, epochs=10, warmup_epochs=2, min_lr=0.01))
    steps = len(training.train)
    rates = []
    for done in range(10 * steps + 1):
        training.schedule.step_update(done)
        rates.append(training.optimizer.param_groups[0]["lr"])
    assert rates[0] == pytest.approx(0.002) and max(rates) == pytest.approx(0.2)
    assert rates[2 * steps] == pytest.approx(0.2)
    assert rates[6 * steps] == pytest.approx((0.2 + 0.01) / 2, rel=0.01)
    assert rates[-1] == pytest.approx(0.01, abs=1e-6)


def test_records_hold_what_the_run_folder_promises() -> None:
    records, _ = state_of(CONFIG)
    assert [r["epoch"] for r in records] == [1, 2]
    assert all(r["images"] == 1438 for r in records)
    assert all(0 <= r["test_accuracy"] <= 1 and r["seconds"] > 0 for r in records)
    assert records[0]["memory_bytes"] > 0 and "memory_bytes" not in records[1]


@pytest.mark.parametrize("batch_size", [1, 7])
def test_small_and_odd_batches(batch_size: int) -> None:
    training = assemble(replace(CONFIG, method="cutmix", batch_size=batch_size))
    training.objective.train()
    x, y = next(iter(training.train.epoch(0)))
    assert torch.isfinite(training.step(x, y, 0, 0))


def test_peak_memory_of_known_allocations() -> None:
    def fn() -> None:
        a = torch.empty(2**20, dtype=torch.uint8)
        del a
        b, c = torch.empty(2**21, dtype=torch.uint8), torch.empty(2**20, dtype=torch.uint8)
        del b, c

    assert peak_of(fn, torch.device("cpu")) == pytest.approx(3 * 2**20, rel=0.01)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"method": "cutmx"}, "did you mean 'cutmix'"),
        ({"params": {"alhpa": 1}}, "did you mean 'alpha'"),
        ({"params": {"alpha": -1}}, "alpha must be a number from 0.05 to 5, got -1"),
        ({"model": "resnet21"}, "did you mean"),
        ({"data": "digit"}, "did you mean 'digits'"),
        ({"optimizer": "sgdd"}, "unknown optimizer"),
        ({"method": "transmix"}, "vit_tiny_patch16_224"),
        ({"method": "manifoldmix", "compile": True}, "compile can't be combined"),
        ({"device": "cuda"}, "no GPU"),
    ],
)
def test_mistakes_show_before_the_first_step(change: dict, message: str) -> None:
    if change.get("device") == "cuda" and torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(UsageError, match=message):
        assemble(replace(CONFIG, **change))


@pytest.mark.parametrize(("device", "gpus", "fits"), [("auto", 1, 1), ("cuda", 2, 2), ("auto", 0, 9), ("cpu", 1, 9)])
def test_no_more_processes_than_gpus(device: str, gpus: int, fits: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two processes on one GPU end in an error of NCCL's that tells nobody what to do."""
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    config = replace(CONFIG, device=device)
    check_processes(config, fits)
    if fits == gpus:
        with pytest.raises(UsageError, match=rf"{gpus + 1} processes need a GPU each and here .* {gpus} GPU"):
            check_processes(config, gpus + 1)


def test_every_step_can_be_drawn_again() -> None:
    training = assemble(CONFIG)
    x, y = next(iter(training.train.epoch(1)))
    again, _ = next(iter(assemble(CONFIG).train.epoch(1)))
    assert torch.equal(x, again)
    mixes = [training.method.mix(x, y, training.net, Draw(0, 1, 0)).x for _ in range(2)]
    assert torch.equal(*mixes)


@pytest.mark.parametrize("clip", [None, 0.5])
def test_scaled_gradients_are_brought_to_their_size_before_they_are_clipped_and_taken(clip: float | None) -> None:
    """Under fp16 losses are multiplied; with a power of two that must not change a digit of a training in fp32."""
    config = replace(CONFIG, epochs=1, clip_grad=clip)
    scaled, plain = assemble(config), assemble(config)
    scaled.accelerator.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10)
    list(fit(scaled))
    plain.accelerator.scaler = None
    list(fit(plain))
    for ours, other in zip(scaled.net.parameters(), plain.net.parameters(), strict=True):
        assert torch.equal(ours, other)


# ----------------------------------------------------------------------------------------------- the same digits again


def undetermined(training: Training, monkeypatch: pytest.MonkeyPatch, message: str) -> list[bool]:
    """Every loss of this training then asks for what is refused while only deterministic kernels are allowed."""
    allowed: list[bool] = []
    losses = training.method.losses

    def refusing(mixed: Mixed, y: torch.Tensor, net: Net) -> Iterator[Callable[[], torch.Tensor]]:
        allowed.append(not torch.are_deterministic_algorithms_enabled() or warns_only())
        if not allowed[-1]:
            raise RuntimeError(message)
        yield from losses(mixed, y, net)

    monkeypatch.setattr(training.method, "losses", refusing)
    return allowed


warns_only = torch.is_deterministic_algorithms_warn_only_enabled


def test_what_has_no_deterministic_form_is_done_without_and_told_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    training, plain = assemble(CONFIG), assemble(CONFIG)
    training.strict = True  # as on a GPU
    allowed = undetermined(training, monkeypatch, "odd_cuda does not have a deterministic implementation, but you")
    list(fit(training))
    list(fit(plain))
    assert allowed[:3] == [False, True, True] and allowed.count(False) == 1
    told = capsys.readouterr().err
    assert told.count("will differ in its last digits: odd_cuda does not have a deterministic implementation\n") == 1
    for ours, other in zip(training.net.parameters(), plain.net.parameters(), strict=True):
        assert torch.equal(ours, other)


def test_any_other_error_of_a_step_is_not_taken_for_that(monkeypatch: pytest.MonkeyPatch) -> None:
    training = assemble(CONFIG)
    training.strict = True
    undetermined(training, monkeypatch, "out of cheese")
    with pytest.raises(RuntimeError, match="cheese"):
        list(fit(training))


@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_attention_on_a_gpu_gives_the_same_weights(precision: str, recwarn: pytest.WarningsRecorder) -> None:
    small = {"depth": 2, "embed_dim": 96, "num_heads": 3, "patch_size": 2}
    config = replace(
        CONFIG, model="vit_tiny_patch16_224", model_args=small, size=32, precision=precision, device="auto"
    )
    (_, weights), (_, again) = state_of(config), state_of(config)
    assert all(torch.equal(weights[k], again[k]) for k in weights)
    assert not [str(w.message) for w in recwarn if "deterministic" in str(w.message)]

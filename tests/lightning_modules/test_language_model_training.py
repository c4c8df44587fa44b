"""LanguageModel trains as a plain PyTorch loop does: losses, learning rates, clipping."""

from __future__ import annotations

import copy
import math
from pathlib import Path

import lightning as L
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from datamodules.common.order import epoch_order
from lightning_modules import CrossEntropyHead, HarmonicHead, LanguageModel
from tests.helpers.language_model_runs import (
    BATCH,
    Losses,
    expected_warnings,
    make_data,
    make_model,
    make_trainer,
    windows,
)

pytestmark = expected_warnings


def nll(model, batch: Tensor) -> Tensor:
    """Mean negative log-likelihood of windows (B, T + 1), from the logits."""
    logits = model["head"](model["network"](batch[:, :-1]))
    return F.cross_entropy(logits.flatten(0, 1), batch[:, 1:].flatten())


def plain_loop(model: LanguageModel, folder: Path, steps: int) -> tuple[nn.Module, list[float]]:
    """nanoGPT's loop: AdamW with two groups, warm-up and cosine, clipping, on global batches."""
    plain = nn.ModuleDict({"network": model.network, "head": model.head})
    plain = copy.deepcopy(plain)
    plain["head"].weight = plain["network"].embedding.weight
    vectors = [p for p in plain.parameters() if p.dim() == 1]
    matrices = [p for p in plain.parameters() if p.dim() == 2]
    groups = [
        {"params": matrices, "weight_decay": 0.1},
        {"params": vectors, "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=1.0, betas=(0.9, 0.95), fused=False, foreach=False)
    all_windows = windows(folder, "train")
    per_epoch = len(all_windows) // BATCH
    losses = []
    for step in range(steps):
        if step < 3:
            rate = 1e-2 * (step + 1) / 3
        else:
            rate = 1e-3 + 9e-3 * (1 + math.cos(math.pi * (step - 3) / (steps - 3))) / 2
        for group in optimizer.param_groups:
            group["lr"] = rate
        epoch, place = divmod(step, per_epoch)
        chosen = epoch_order(0, epoch, len(all_windows))[place * BATCH : (place + 1) * BATCH]
        loss = nll(plain, all_windows[chosen])
        loss.backward()
        norm = math.sqrt(sum(float(p.grad.square().sum()) for p in plain.parameters()))
        for parameter in plain.parameters():
            parameter.grad *= min(1.0, 1.0 / norm)
        optimizer.step()
        optimizer.zero_grad()
        losses.append(float(loss.detach()))
    return plain, losses


@pytest.mark.parametrize(("head", "micro"), [(HarmonicHead, 4), (CrossEntropyHead, 1)])
def test_training_is_that_of_a_plain_pytorch_loop(token_folder, head, micro):
    folder = token_folder(train=22)  # five steps an epoch, and two windows left out
    model = make_model(head=head)
    plain, expected = plain_loop(model, folder, 7)
    losses = Losses()
    make_trainer(7, losses).fit(model, make_data(folder, micro))
    assert losses.per_step == pytest.approx(expected, abs=1e-6 if micro == 4 else 1e-5)
    assert losses.per_step[0] != pytest.approx(losses.per_step[-1], abs=1e-2)  # it moved
    for name, parameter in plain["network"].named_parameters():
        if name.endswith("qkv.bias"):
            continue  # a key's bias has no effect, and AdamW makes steps of its rounding errors
        torch.testing.assert_close(
            model.network.get_parameter(name), parameter, rtol=1e-4, atol=1e-5
        )


def test_learning_rate_of_every_step_follows_warm_up_and_cosine(token_folder):
    class Rates(L.Callback):
        def __init__(self) -> None:
            self.seen: list[float] = []

        def on_before_optimizer_step(self, trainer, pl_module, optimizer):
            self.seen.append(optimizer.param_groups[0]["lr"])

    rates = Rates()
    model = make_model(warmup_steps=2, decay_steps=6, final_learning_rate=2e-3)
    make_trainer(8, rates).fit(model, make_data(token_folder(), micro=2))
    cosine = [2e-3 + 8e-3 * (1 + math.cos(math.pi * i / 4)) / 2 for i in range(5)]
    assert rates.seen == pytest.approx([5e-3, 1e-2, *cosine, 2e-3])


@pytest.mark.parametrize(
    ("limits", "last"), [({"max_steps": 9}, 9), ({"max_steps": -1, "max_epochs": 2}, 10),
                         ({"max_steps": 9, "max_epochs": 1}, 5)]
)  # fmt: skip
def test_decay_ends_with_the_run_whether_steps_or_epochs_limit_it(token_folder, limits, last):
    model = make_model(warmup_steps=0)
    trainer = make_trainer(**limits)
    trainer.fit(model, make_data(token_folder(train=22)))
    assert trainer.global_step == last
    assert trainer.optimizers[0].param_groups[0]["lr"] == pytest.approx(1e-3)  # a tenth


def test_a_decay_without_an_end_is_refused(token_folder):
    with pytest.raises(ValueError, match=r"trainer\.max_steps or model\.decay_steps"):
        make_trainer(-1, max_epochs=-1).fit(make_model(), make_data(token_folder()))


class Norms(L.Callback):
    """The gradient's norm at every step, after clipping."""

    def __init__(self) -> None:
        self.seen: list[float] = []

    def on_before_zero_grad(self, trainer, pl_module, optimizer):
        gradients = [p.grad for p in pl_module.parameters() if p.grad is not None]
        if gradients:
            self.seen.append(float(torch.cat([g.flatten() for g in gradients]).norm()))


@pytest.mark.parametrize("limit", ["model", "trainer"])
def test_gradients_are_clipped_with_fused_adamw_in_half_precision(token_folder, limit):
    norms = Norms()
    options = {"gradient_clip_val": 0.01} if limit == "trainer" else {}
    trainer = make_trainer(3, norms, precision="bf16-mixed", **options)
    model = make_model(clip_norm=0.01 if limit == "model" else 1e6)
    trainer.fit(model, make_data(token_folder()))
    assert trainer.optimizers[0].defaults["fused"] is True
    assert len(norms.seen) >= 2 and norms.seen == pytest.approx([0.01] * len(norms.seen), rel=1e-3)
    assert float(trainer.callback_metrics["train/gradient_norm"]) > 0.1  # before clipping


def test_clipping_by_value_is_refused(token_folder):
    trainer = make_trainer(3, gradient_clip_val=0.5, gradient_clip_algorithm="value")
    with pytest.raises(ValueError, match="gradient_clip_algorithm"):
        trainer.fit(make_model(), make_data(token_folder()))


@pytest.mark.parametrize("compile", ["never", pytest.param("always", marks=pytest.mark.slow)])
@pytest.mark.filterwarnings("ignore")  # Inductor's
def test_a_head_that_replaces_the_models_is_the_one_that_trains(token_folder, compile):
    folder = token_folder(train=22)
    model = make_model(compile=compile, clip_norm=None)
    if compile == "always":
        make_trainer(1).fit(model, make_data(folder))  # compiled for the first head
        model.load_state_dict(make_model().state_dict())
    head = CrossEntropyHead(16, 257)
    head.tie(model.network.embedding.weight, num_padding=320 - 257)
    model.head = head
    (scores,) = make_trainer(limit_val_batches=1.0).validate(
        model, make_data(folder), verbose=False
    )
    batch = windows(folder, "val")
    logits = model.head(model.network(batch[:, :-1])).detach()
    expected = F.cross_entropy(logits.flatten(0, 1), batch[:, 1:].flatten())
    assert scores["val/loss"] == pytest.approx(float(expected), abs=1e-5)
    losses = Losses()
    first = nll(nn.ModuleDict({"network": model.network, "head": head}),
                windows(folder, "train")[epoch_order(0, 0, 22)[:BATCH]])  # fmt: skip
    make_trainer(1, losses).fit(model, make_data(folder))
    assert losses.per_step == pytest.approx([float(first.detach())], abs=1e-5)

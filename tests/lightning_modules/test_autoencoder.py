"""FeatureAutoencoder against a bare loop on one model, and its formulas against plain NumPy."""

from __future__ import annotations

import math

import lightning as L
import numpy as np
import pytest
import torch

from datamodules import SparseFeatures
from lightning_modules import FeatureAutoencoder, ToyAutoencoder
from tests.helpers.trainers import quiet_trainer


def trained(
    model: FeatureAutoencoder, data: L.LightningDataModule, epochs: int, ckpt_path=None, **options
) -> L.Trainer:
    trainer = quiet_trainer(max_epochs=epochs, **options)
    trainer.fit(model, datamodule=data, ckpt_path=ckpt_path, weights_only=True)
    return trainer


def sparse(**options) -> SparseFeatures:
    settings = {"num_features": 6, "batch_size": 32, "steps_per_epoch": 5, "val_steps": 2}
    return SparseFeatures(**{**settings, "sparsity": [0.5, 0.9], "importance": 0.8, **options})


@pytest.mark.parametrize("activation", ["none", "output", "hidden_and_output"])
def test_reconstruction_and_loss_are_the_papers(activation):
    torch.manual_seed(0)
    model = ToyAutoencoder(4, 2, activation).double()
    with torch.no_grad():
        model.bias.copy_(torch.randn(4))
    x, importance = torch.rand(5, 4).double(), torch.tensor([1.0, 0.5, 0.25, 0.125]).double()
    w, b = model.weight.detach().numpy(), model.bias.detach().numpy()
    total = 0.0
    for row in x.numpy():
        hidden = np.array([sum(row[i] * w[i, k] for i in range(4)) for k in range(2)])
        hidden = np.maximum(hidden, 0) if activation == "hidden_and_output" else hidden
        output = np.array([sum(hidden[k] * w[i, k] for k in range(2)) + b[i] for i in range(4)])
        output = output if activation == "none" else np.maximum(output, 0)
        total += sum(importance[i].item() * (row[i] - output[i]) ** 2 for i in range(4))
    assert float(model(x, importance).detach()) == pytest.approx(total / (5 * 4))


OPTIMIZERS = {
    "adam": lambda p: torch.optim.Adam(p, 0.02, weight_decay=0.1),
    "adamw": lambda p: torch.optim.AdamW(p, 0.02, weight_decay=0.1),
    "sgd": lambda p: torch.optim.SGD(p, 0.02, momentum=0.9, weight_decay=0.1),
}
SCHEDULES = {
    "constant": lambda progress: 1.0,
    "linear": lambda progress: 1 - progress,
    "cosine": lambda progress: 0.5 * (1 + math.cos(math.pi * progress)),
}


@pytest.mark.parametrize(
    ("optimizer", "schedule", "max_steps"),
    [("adam", "constant", -1), ("adamw", "linear", -1), ("sgd", "cosine", 12)],
)
def test_each_member_trains_as_a_bare_loop_on_its_own_draws(optimizer, schedule, max_steps):
    model = FeatureAutoencoder(
        6, num_values=2, hidden_dim=2, seeds=[3, 7], weight_decay=0.1, compile="never",
        optimizer=optimizer, schedule=schedule, learning_rate=0.02,
    )  # fmt: skip
    data = sparse()
    trainer = trained(model, data, epochs=3, max_steps=max_steps)
    steps = 15 if max_steps < 0 else max_steps  # 12: the last epoch of five is cut short
    assert trainer.global_step == steps
    draws = next(iter(data.train_dataloader()))["inputs"]
    member = 2  # seed 3 at sparsity 0.9
    torch.manual_seed(3)
    alone = ToyAutoencoder(6, 2)
    stepper = OPTIMIZERS[optimizer](list(alone.parameters()))
    importance = torch.tensor([0.8**i for i in range(6)])
    for step in range(steps):
        draws.first_step = step
        for group in stepper.param_groups:
            group["lr"] = 0.02 * SCHEDULES[schedule](step / steps)
        stepper.zero_grad()
        x = draws[0][member]
        (importance * (x - alone(x)).square()).mean().backward()
        stepper.step()
    assert torch.allclose(model.feature_weights()[member], alone.weight, atol=1e-5)
    assert torch.allclose(model.feature_biases()[member], alone.bias, atol=1e-5)


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_a_resumed_run_has_the_same_bits_and_the_optimizer_settings_of_its_config(
    optimizer, tmp_path
):
    def build(**options):
        settings = {"weight_decay": 0.1, "optimizer": optimizer, "learning_rate": 0.02, **options}
        return FeatureAutoencoder(6, num_values=2, hidden_dim=2, compile="never", **settings)

    half = trained(build(), sparse(), epochs=2)
    half.save_checkpoint(tmp_path / "half.ckpt")
    whole, same = build(), build()
    trained(whole, sparse(), epochs=4)
    trained(same, sparse(), 4, tmp_path / "half.ckpt")
    assert torch.equal(whole.feature_weights(), same.feature_weights())
    other = build(weight_decay=0.3, learning_rate=0.01, momentum=0.5)
    (group,) = trained(other, sparse(), 4, tmp_path / "half.ckpt").optimizers[0].param_groups
    assert group["weight_decay"] == 0.3 and group["lr"] == 0.01
    assert group.get("momentum", 0.5) == 0.5
    assert not torch.equal(whole.feature_weights(), other.feature_weights())


def test_validation_scores_the_held_out_draws():
    model = FeatureAutoencoder(6, num_values=2, hidden_dim=2, num_seeds=2, compile="never")
    data = sparse()
    trainer = trained(model, data, epochs=1)
    (batch,) = list(data.val_dataloader())
    x = torch.stack([batch["inputs"][i] for i in range(2)])  # (steps, M, B, N)
    error = (x - torch.stack([model(part) for part in x])).square()
    expected = (batch["importance"][:, None] * error).mean(dim=(0, 2, 3))
    assert torch.allclose(model.scores()["val/loss"], expected, rtol=1e-5)
    fraction = 1 - error.mean(dim=(0, 2, 3)) / x.square().mean(dim=(0, 2, 3))
    assert torch.allclose(model.scores()["val/explained_fraction"], fraction, atol=1e-5)
    assert trainer.global_step == 5


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"activation": "gelu"}, "activation"),
        ({"hidden_dim": 0}, "hidden_dim"),
        ({"initial_scale": 0.0}, "initial_scale"),
        ({"optimizer": "lion"}, "optimizer"),
        ({"schedule": "step"}, "schedule"),
        ({"compile": "sometimes"}, "compile"),
        ({"learning_rate": -1.0}, "learning_rate"),
        ({"momentum": 1.0}, "momentum"),
        ({"seeds": [1, 1]}, "seeds"),
    ],
)
def test_a_value_out_of_range_is_refused(options, name):
    with pytest.raises(ValueError, match=name):
        FeatureAutoencoder(4, **options)


def test_a_schedule_needs_a_last_step():
    model = FeatureAutoencoder(6, num_values=2, schedule="linear", compile="never")
    with pytest.raises(ValueError, match="schedule"):
        trained(model, sparse(), epochs=-1)

"""FeatureGeometry on weights with a known geometry, and what it logs and keeps of a sweep."""

from __future__ import annotations

import csv
import math
from types import SimpleNamespace

import lightning as L
import pytest
import torch
from lightning.pytorch.loggers import CSVLogger

from callbacks import FeatureGeometry
from callbacks.probes.feature_figures import MemberHistory, ring_figures
from callbacks.sweep import members_by_value
from datamodules import CircularFeatures, SparseFeatures
from lightning_modules import FeatureAutoencoder


def trainer_with(probe: FeatureGeometry, epochs: int, **options) -> L.Trainer:
    return L.Trainer(
        max_epochs=epochs, accelerator="cpu", devices=1, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, use_distributed_sampler=False,
        callbacks=[probe], log_every_n_steps=1, num_sanity_val_steps=0,
        **{"logger": False, **options},
    )  # fmt: skip


def measured(weights: torch.Tensor, data: L.LightningDataModule, **options) -> dict:
    """What the probe says of one member's weights (N, H)."""
    model = FeatureAutoencoder(len(weights), hidden_dim=weights.shape[1], compile="never")
    with torch.no_grad():
        model.ensemble.stacked.weight[0] = weights
        model.ensemble.stacked.bias[0] = -torch.arange(len(weights))
    probe = FeatureGeometry(**options)
    trainer_with(probe, 1).validate(model, datamodule=data, verbose=False)
    return {name.rpartition("/")[2]: float(value) for name, value in probe.results.items()}


def test_a_pentagon_beside_two_unrepresented_features():
    angles = 2 * math.pi * torch.arange(5) / 5
    weights = torch.cat([torch.stack([angles.cos(), angles.sin()], -1), torch.full((2, 2), 0.01)])
    data = SparseFeatures(7, batch_size=8, steps_per_epoch=1, val_steps=1)
    found = measured(weights, data)
    assert found["represented"] == found["num_superposed"] == 5
    assert found["dimensionality"] == pytest.approx(2 / 5, abs=1e-3)
    assert found["norm"] == pytest.approx(1.0) and found["norm_cv"] == pytest.approx(0, abs=1e-6)
    assert found["clusters"] == 6  # five corners, and the two small ones together
    assert found["bias_mean"] == -3 and found["bias_negative_fraction"] == pytest.approx(6 / 7)
    assert not any(name.startswith("ring") for name in found)


def test_orthogonal_features_are_not_superposed():
    data = SparseFeatures(3, batch_size=8, steps_per_epoch=1, val_steps=1)
    found = measured(torch.eye(3), data)
    assert (found["represented"], found["num_superposed"]) == (3, 0)
    assert found["basis_alignment"] == pytest.approx(1.0)
    assert found["basis_sparsity"] == pytest.approx(2 / 3)


def test_partners_of_pairs_are_compared_where_both_are_represented():
    # Orthogonal, antipodal, and one of which nothing is said, since a partner is too small.
    rows = [[1.0, 0.0], [0.0, 1.0], [0.6, 0.8], [-0.6, -0.8], [1.0, 0.0], [0.1, 0.0]]
    data = SparseFeatures(6, pairs="correlated", batch_size=8, steps_per_epoch=1, val_steps=1)
    found = measured(torch.tensor(rows), data)
    assert found["pair_cosine"] == pytest.approx(-0.5)
    assert found["pair_overlap"] == pytest.approx(0.5)
    alone = SparseFeatures(6, batch_size=8, steps_per_epoch=1, val_steps=1)
    assert not any(name.startswith("pair") for name in measured(torch.tensor(rows), alone))


def test_pairs_without_a_represented_feature_have_no_cosine():
    data = SparseFeatures(2, pairs="correlated", batch_size=8, steps_per_epoch=1, val_steps=1)
    assert math.isnan(measured(torch.full((2, 2), 0.01), data)["pair_cosine"])


def test_a_flat_ring_of_small_norms():
    angles = 2 * math.pi * torch.arange(30) / 30
    ring = 0.2 * torch.stack([angles.cos(), angles.sin(), torch.zeros(30)], -1)
    data = CircularFeatures(30, batch_size=8, steps_per_epoch=1, val_steps=1)
    found = measured(ring, data, threshold=None)
    assert found["represented"] == 30 and measured(ring, data)["represented"] == 0
    assert found["ring_neighbor_fraction"] == pytest.approx(1.0)
    assert found["ring_correlation"] == pytest.approx(1.0)
    assert found["ring_turn"] == pytest.approx(2 * math.pi, rel=1e-4)
    assert found["ring_curvature"] == pytest.approx(1.0, rel=1e-4)


def test_a_sweep_is_logged_value_by_value_and_its_history_kept(tmp_path):
    model = FeatureAutoencoder(4, num_values=2, hidden_dim=2, num_seeds=3, compile="never")
    data = SparseFeatures(4, [0.0, 0.9], batch_size=8, steps_per_epoch=3, val_steps=1)
    probe = FeatureGeometry(every_n_epochs=2)
    start = model.feature_weights().clone()
    logger = CSVLogger(tmp_path, name="", version="run")
    trainer_with(probe, 4, logger=logger).fit(model, datamodule=data)
    with (tmp_path / "run" / "metrics.csv").open() as file:
        header = next(csv.reader(file))
    for value in ("sparsity=0", "sparsity=0.9"):
        assert {f"val/features/norm/{value}", f"val/features/norm/{value}_q25"} <= set(header)
    assert "val/features/norm" not in header
    assert probe.steps == [0, 6, 12]
    with (tmp_path / "run" / "metrics.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["val/loss"]]
    median = {int(row["step"]) + 1: float(row["val/loss"]) for row in rows}
    losses = probe.state_dict()["losses"]  # each of the validation at its own step
    assert losses[0].isnan().all()
    for step, of_members in zip(probe.steps[1:], losses[1:], strict=True):
        assert of_members.double().quantile(0.5).item() == pytest.approx(median[step], rel=1e-5)
    history = probe.arrays["history"]
    assert history.shape == (6, 3, 4, 2)
    assert torch.equal(history[:, 0], start)
    assert torch.equal(history[:, -1], model.feature_weights())


def test_a_checkpoint_that_is_measured_again_keeps_the_history_of_its_training(lightning_command):
    config = [
        "--config",
        "configs/superposition/circular_features.yaml",
        "--data.scale",
        "[1.0, 0.02]",
    ]
    few = ["--data.steps_per_epoch", "2", "--data.batch_size", "8", "--trainer.accelerator", "cpu"]
    run = lightning_command("fit", *config, *few, "--trainer.max_epochs", "3")
    last = str(run / "checkpoints" / "last.ckpt")
    again = lightning_command("validate", *config, *few, "--ckpt_path", last)
    for name in ("rings", "weights_over_time"):
        assert (again / "figures" / f"{name}.png").exists()
    saved = torch.load(last, weights_only=False)["callbacks"]["FeatureGeometry"]["steps"]
    assert saved[0] == 0 and saved[-1] == 6


def test_members_are_grouped_by_all_settings_in_which_they_differ():
    settings = {"sparsity": [0.5, 0.5, 0.9, 0.9], "importance": [1.0, (0.5, 0.1), 1.0, 1.0]}
    assert members_by_value(settings) == {
        "sparsity=0.5,importance=1": [0],
        "sparsity=0.5,importance=0.5..0.1": [1],
        "sparsity=0.9,importance=1": [2, 3],
    }
    assert members_by_value({}) == {}


def test_the_first_features_are_those_of_the_scale_nearest_to_the_papers(monkeypatch):
    shown = {}
    monkeypatch.setattr(
        "glassbox.plots.first_features",
        lambda weights, title: shown.update(weights=weights, title=title),
    )
    weights = torch.randn(4, 6, 3, generator=torch.Generator().manual_seed(0)).numpy()
    # 1.0 and 0.6 are equally near to 0.8, if it were not for rounding.
    for scales, expected in (([0.3, 1.0, 0.6, 0.1], 1), ([0.3, 0.6, 0.9, 0.75], 3)):
        ring_figures(
            weights, weights[..., 0], [f"scale={scale}" for scale in scales], captions=None,
            scales=scales, histories=[], title="rings",
        )  # fmt: skip
        assert shown["weights"].tolist() == weights[expected].tolist()
        assert shown["title"] == f"rings, scale ℓ = {scales[expected]:g}"


def test_training_is_shown_of_the_last_scale_and_of_the_one_near_a_twentieth(monkeypatch):
    drawn = []
    monkeypatch.setattr(
        "glassbox.plots.weights_over_time",
        lambda weights, steps, *, losses, loss_steps, title: drawn.append(title),
    )
    weights = torch.randn(3, 6, 3, generator=torch.Generator().manual_seed(0)).numpy()
    for scales, extra in (([1.0, 0.05, 0.02], "0.05"), ([1.0, 0.3, 0.05], None)):
        drawn.clear()
        steps = torch.arange(2).numpy()
        histories = [
            MemberHistory(weights[:2], steps, steps, steps, f"scale={scale}") for scale in scales
        ]
        found = ring_figures(
            weights, weights[..., 0], [f"scale={scale}" for scale in scales], captions=None,
            scales=scales, histories=histories, title="rings",
        )  # fmt: skip
        names = {name for name in found if name.startswith("weights_over_time")}
        assert names == {"weights_over_time"} | ({f"weights_over_time_{extra}"} if extra else set())
        assert drawn == [f"scale={scales[-1]}"] + [f"scale={extra}"] * (extra is not None)


def test_figures_show_the_seed_with_the_least_loss_of_each_value_and_say_so():
    model = FeatureAutoencoder(4, num_values=2, hidden_dim=2, num_seeds=3, compile="never")
    data = SparseFeatures(4, [0.0, 0.9], batch_size=8, steps_per_epoch=3, val_steps=1)
    probe = FeatureGeometry()
    trainer = trainer_with(probe, 1)
    trainer.fit(model, datamodule=data)
    model._scores["val/loss"] = torch.tensor([3.0, 1.0, 2.0, math.nan, 5.0, 4.0])
    shown = probe._shown(trainer, model)
    assert shown == {"sparsity=0": 1, "sparsity=0.9": 5}
    figures = probe.figures(trainer, model)
    titles = {
        name: " ".join(" ".join(text.get_text() for text in figure.texts).split())
        for name, figure in figures.items()
    }
    for name in ("superposition", "gram_matrix"):
        assert "of 3 seeds the one with the least loss" in titles[name]
    # The dimensionality is that of every seed's features.
    assert (
        "all 3 seeds" in titles["dimensionality"] and "least loss" not in titles["dimensionality"]
    )


def test_the_training_of_a_ring_says_which_seed_it_is_and_calls_the_scale_by_its_symbol():
    model = FeatureAutoencoder(6, num_values=2, hidden_dim=3, num_seeds=2, compile="never")
    data = CircularFeatures(6, [1.0, 0.02], batch_size=8, steps_per_epoch=3, val_steps=1)
    probe = FeatureGeometry(threshold=None, every_n_epochs=1)
    trainer = trainer_with(probe, 1)
    trainer.fit(model, datamodule=data)
    figures = probe.figures(trainer, model)
    texts = " ".join(text.get_text() for text in figures["weights_over_time"].texts)
    title = "6 features on a circle in 3 dimensions, scale ℓ = 0.02, Adam"
    assert texts.startswith(f"{title} · of 2 seeds the one with the least loss")
    names = {text.get_text() for axes in figures["rings"].axes for text in axes.texts}
    assert {"scale ℓ = 1", "scale ℓ = 0.02"} <= names


@pytest.mark.parametrize(
    ("pairs", "said"),
    [
        ("correlated", "partners 0–1, 2–3, correlated: active together"),
        ("anti-correlated", "partners 0–1, 2–3, anti-correlated: never active together"),
        ("none", None),
    ],
)
def test_figures_of_pairs_say_which_features_are_partners_and_of_which_kind(pairs, said):
    model = FeatureAutoencoder(4, hidden_dim=2, compile="never")
    data = SparseFeatures(4, 0.9, pairs=pairs, batch_size=8, steps_per_epoch=1, val_steps=1)
    probe = FeatureGeometry()
    trainer = trainer_with(probe, 1)
    trainer.fit(model, datamodule=data)
    for name, figure in probe.figures(trainer, model).items():
        texts = " ".join(" ".join(text.get_text() for text in figure.texts).split())
        assert (f"{pairs} in pairs" in texts) == (said is not None)
        assert name != "gram_matrix" or (said or "4 features in 2 dimensions") in texts


def test_a_module_without_features_is_refused():
    probe = FeatureGeometry()
    with pytest.raises(ValueError, match="use a FeatureAutoencoder"):
        probe.setup(trainer_with(probe, 1), L.LightningModule(), "fit")


@pytest.mark.parametrize(
    "options", [{"threshold": 0.0}, {"cluster_distance": 1.0}, {"every_n_epochs": 0}]
)
def test_numbers_that_cannot_be_are_refused(options):
    with pytest.raises(ValueError, match=f"{next(iter(options))} is"):
        FeatureGeometry(**options)


def test_different_values_are_never_pooled_though_they_look_alike():
    settings = {"sparsity": [(0.5, 0.9, 0.5), (0.5, 0.1, 0.5), (0.5, 0.9, 0.5)]}
    assert members_by_value(settings) == {
        "sparsity=0.5..0.5": [0, 2],
        "sparsity=0.5..0.5 (2)": [1],
    }


def test_a_single_feature_is_refused_before_training():
    trainer = SimpleNamespace(datamodule=SimpleNamespace(), max_epochs=1)
    module = SimpleNamespace(feature_weights=lambda: torch.zeros(1, 1, 1))
    with pytest.raises(ValueError, match=r"needs at least 2 of them; raise data\.num_features"):
        FeatureGeometry().setup(trainer, module, "fit")

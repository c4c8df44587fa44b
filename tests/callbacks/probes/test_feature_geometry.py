"""FeatureGeometry on weights with a known geometry, and what it logs and stores of a sweep."""

from __future__ import annotations

import csv
import math

import lightning as L
import pytest
import torch
from lightning.pytorch.loggers import CSVLogger
from matplotlib.text import Text

from callbacks import FeatureGeometry
from callbacks.probes.feature_figures import MemberHistory, ring_figures
from callbacks.sweep import members_by_value
from datamodules import CircularFeatures, SparseFeatures
from lightning_modules import FeatureAutoencoder
from tests.helpers.loggers import Unseen
from tests.helpers.trainers import quiet_trainer

SMALL = {"batch_size": 8, "steps_per_epoch": 3, "val_steps": 1}


def measured(weights, data: L.LightningDataModule, **options) -> dict[str, float]:
    """The probe's values for one member's weights (N, H)."""
    weights = torch.as_tensor(weights)
    model = FeatureAutoencoder(len(weights), hidden_dim=weights.shape[1], compile="never")
    with torch.no_grad():
        model.ensemble.stacked.weight[0] = weights
        model.ensemble.stacked.bias[0] = -torch.arange(len(weights))
    probe = FeatureGeometry(**options)
    quiet_trainer(probe).validate(model, datamodule=data, verbose=False)
    return {name.rpartition("/")[2]: float(value) for name, value in probe.results.items()}


def circle(number: int) -> torch.Tensor:
    """Points (N, 2) on the unit circle at equal distances."""
    angles = 2 * math.pi * torch.arange(number) / number
    return torch.stack([angles.cos(), angles.sin()], -1)


# ---- values --------------------------------------------------------------------------------------


def test_a_pentagon_beside_two_unrepresented_features():
    weights = torch.cat([circle(5), torch.full((2, 2), 0.01)])
    values = measured(weights, SparseFeatures(7, **SMALL))
    assert values["represented"] == values["num_superposed"] == 5
    assert values["dimensionality"] == pytest.approx(2 / 5, abs=1e-3)
    assert values["norm"] == pytest.approx(1.0)
    assert values["norm_cv"] == pytest.approx(0, abs=1e-6)
    assert values["clusters"] == 6  # five corners, and the two small ones together
    assert values["bias_mean"] == -3
    assert values["bias_negative_fraction"] == pytest.approx(6 / 7)
    assert not any(name.startswith(("ring", "pair")) for name in values)


def test_orthogonal_features_are_not_superposed():
    values = measured(torch.eye(3), SparseFeatures(3, **SMALL))
    assert (values["represented"], values["num_superposed"]) == (3, 0)
    assert values["basis_alignment"] == pytest.approx(1.0)
    assert values["basis_sparsity"] == pytest.approx(2 / 3)


def test_partners_of_pairs_are_compared_where_both_are_represented():
    # Orthogonal, antipodal, and one pair that does not count, since a partner is too small.
    rows = [[1.0, 0.0], [0.0, 1.0], [0.6, 0.8], [-0.6, -0.8], [1.0, 0.0], [0.1, 0.0]]
    values = measured(rows, SparseFeatures(6, pairs="correlated", **SMALL))
    assert values["pair_cosine"] == pytest.approx(-0.5)
    assert values["pair_overlap"] == pytest.approx(0.5)
    values = measured(torch.full((2, 2), 0.01), SparseFeatures(2, pairs="correlated", **SMALL))
    assert math.isnan(values["pair_cosine"])


def test_a_flat_ring_of_small_norms():
    ring = 0.2 * torch.nn.functional.pad(circle(30), (0, 1))
    data = CircularFeatures(30, **SMALL)
    values = measured(ring, data, threshold=None)
    assert values["represented"] == 30 and measured(ring, data)["represented"] == 0
    assert values["ring_neighbor_fraction"] == pytest.approx(1.0)
    assert values["ring_correlation"] == pytest.approx(1.0)
    assert values["ring_turn"] == pytest.approx(2 * math.pi, rel=1e-4)
    assert values["ring_curvature"] == pytest.approx(1.0, rel=1e-4)


# ---- sweeps and history --------------------------------------------------------------------------


def test_a_sweep_is_logged_per_value_and_its_history_recorded(tmp_path):
    model = FeatureAutoencoder(4, num_values=2, hidden_dim=2, num_seeds=3, compile="never")
    data = SparseFeatures(4, [0.0, 0.9], **SMALL)
    probe = FeatureGeometry(every_n_epochs=2)
    start = model.feature_weights().clone()
    logger = CSVLogger(tmp_path, name="", version="run")
    quiet_trainer(probe, max_epochs=4, logger=logger).fit(model, datamodule=data)
    with (tmp_path / "run" / "metrics.csv").open() as file:
        reader = csv.DictReader(file)
        rows = [row for row in reader if row["val/loss"]]
    for value in ("sparsity=0", "sparsity=0.9"):
        names = {f"val/features/norm/{value}", f"val/features/norm/{value}_q25"}
        assert names <= set(reader.fieldnames)
    assert "val/features/norm" not in reader.fieldnames
    assert probe.steps == [0, 6, 12]
    median = {int(row["step"]) + 1: float(row["val/loss"]) for row in rows}
    losses = probe.state_dict()["losses"]  # each of the validation at its own step
    assert losses[0].isnan().all()
    for step, of_members in zip(probe.steps[1:], losses[1:], strict=True):
        assert of_members.double().quantile(0.5).item() == pytest.approx(median[step], rel=1e-5)
    history = probe.arrays["history"]
    assert history.shape == (6, 3, 4, 2)
    assert torch.equal(history[:, 0], start)
    assert torch.equal(history[:, -1], model.feature_weights())


def test_figures_between_measurements_are_measured_with_their_loss():
    model = FeatureAutoencoder(6, hidden_dim=3, compile="never")
    probe = FeatureGeometry(every_n_epochs=100, figures_every_n_epochs=2)
    steps = []
    probe.figures = lambda *_: steps.append(probe.steps[-1]) or {}
    data = CircularFeatures(6, **SMALL)
    quiet_trainer(probe, max_epochs=4, logger=Unseen()).fit(model, datamodule=data)
    assert steps == [6, 12]
    assert all(loss.isfinite().all() for loss in probe.state_dict()["losses"][1:])


def test_a_checkpoint_that_is_measured_again_keeps_the_history_of_its_training(tmp_path):
    def make():
        data = CircularFeatures(6, [1.0, 0.02], **SMALL)
        model = FeatureAutoencoder(6, num_values=2, hidden_dim=3, num_seeds=2, compile="never")
        return FeatureGeometry(threshold=None, every_n_epochs=1), model, data

    probe, model, data = make()
    trainer = quiet_trainer(probe, max_epochs=2)
    trainer.fit(model, datamodule=data)
    trainer.save_checkpoint(tmp_path / "last.ckpt")
    assert probe.steps == [0, 3, 6]
    (frames,) = probe.animations(trainer, model).values()
    assert len(frames) == 3  # before training, and after each epoch

    probe, model, data = make()
    trainer = quiet_trainer(probe)
    trainer.validate(model, datamodule=data, ckpt_path=tmp_path / "last.ckpt", verbose=False)
    assert probe.steps == [0, 3, 6]
    figures = probe.figures(trainer, model)
    assert set(figures) == {"rings", "norms_and_biases", "first_features", "weights_over_time"}
    texts = " ".join(text.get_text() for text in figures["rings"].findobj(Text))
    assert "scale ℓ = 0.02" in texts and "of 2 seeds" in texts


@pytest.mark.parametrize(
    ("settings", "groups"),
    [
        ({}, {}),
        (
            {"sparsity": [0.5, 0.5, 0.9, 0.9], "importance": [1.0, (0.5, 0.1), 1.0, 1.0]},
            {
                "sparsity=0.5,importance=1": [0],
                "sparsity=0.5,importance=0.5..0.1": [1],
                "sparsity=0.9,importance=1": [2, 3],
            },
        ),
        (  # different values with one label
            {"sparsity": [(0.5, 0.9, 0.5), (0.5, 0.1, 0.5), (0.5, 0.9, 0.5)]},
            {"sparsity=0.5..0.5": [0, 2], "sparsity=0.5..0.5 (2)": [1]},
        ),
    ],
)
def test_members_are_grouped_by_all_settings_in_which_they_differ(settings, groups):
    assert members_by_value(settings) == groups


# ---- figures -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("scales", "first", "over_time"),
    [
        # 1.0 and 0.6 are equally near to 0.8, up to rounding.
        ([0.3, 1.0, 0.6, 0.1], 1, {"": 0.1}),
        ([0.3, 0.6, 0.9, 0.75], 3, {"": 0.75}),
        ([1.0, 0.05, 0.02], 0, {"": 0.02, "_0.05": 0.05}),
        ([1.0, 0.3, 0.05], 0, {"": 0.05}),
    ],
)
def test_rings_show_the_scales_of_the_paper(monkeypatch, scales, first, over_time):
    shown = {}
    monkeypatch.setattr(
        "glassbox.plots.weights_over_time", lambda *_, title, **options: float(title)
    )
    for name in ("feature_vectors", "norms_and_biases"):
        monkeypatch.setattr(f"glassbox.plots.{name}", lambda *_, **options: None)
    monkeypatch.setattr(
        "glassbox.plots.first_features", lambda weights, title: shown.update(weights=weights)
    )
    weights = torch.randn(len(scales), 6, 3, generator=torch.Generator().manual_seed(0)).numpy()
    steps = torch.arange(2).numpy()
    figures = ring_figures(
        weights, weights[..., 0], [""] * len(scales), captions=None, scales=scales, title="rings",
        histories=[MemberHistory(weights[:2], steps, steps, steps, str(s)) for s in scales],
    )  # fmt: skip
    assert shown["weights"].tolist() == weights[first].tolist()
    found = {k: v for k, v in figures.items() if k.startswith("weights_over_time")}
    assert found == {f"weights_over_time{suffix}": scale for suffix, scale in over_time.items()}


def test_figures_show_the_seed_with_the_least_loss_of_each_value(monkeypatch):
    model = FeatureAutoencoder(4, num_values=2, hidden_dim=2, num_seeds=3, compile="never")
    data = SparseFeatures(4, [0.0, 0.9], **SMALL)
    probe = FeatureGeometry()
    trainer = quiet_trainer(probe)
    trainer.fit(model, datamodule=data)
    monkeypatch.setitem(
        model.scores(), "val/loss", torch.tensor([3.0, 1.0, 2.0, math.nan, 5.0, 4.0])
    )
    shown = {}
    for name in ("superposition_sheet", "gram_matrix", "dimensionality_plot"):
        monkeypatch.setattr(
            f"glassbox.plots.{name}",
            lambda weights, *_, _name=name, **options: shown.update({_name: weights}),
        )
    probe.figures(trainer, model)
    weights = model.feature_weights()
    for name in ("superposition_sheet", "gram_matrix"):
        assert shown[name].tolist() == weights[[1, 5]].tolist()
    assert shown["dimensionality_plot"].tolist() == weights.tolist()  # of every seed


@pytest.mark.parametrize("pairs", ["correlated", "anti-correlated", "none"])
def test_figures_name_the_kind_of_pairs(pairs):
    model = FeatureAutoencoder(4, hidden_dim=2, compile="never")
    probe = FeatureGeometry()
    trainer = quiet_trainer(probe)
    trainer.fit(model, datamodule=SparseFeatures(4, 0.9, pairs=pairs, **SMALL))
    for figure in probe.figures(trainer, model).values():
        texts = " ".join(" ".join(text.get_text() for text in figure.texts).split())
        assert (f"{pairs} in pairs" in texts) == (pairs != "none")


# ---- refusals ------------------------------------------------------------------------------------


def test_a_module_without_features_and_a_single_feature_are_refused_before_training():
    with pytest.raises(ValueError, match="FeatureGeometry"):
        FeatureGeometry().setup(quiet_trainer(), L.LightningModule(), "fit")
    for data, number in ((SparseFeatures(1, **SMALL), 1), (CircularFeatures(2, **SMALL), 2)):
        model = FeatureAutoencoder(number, hidden_dim=1, compile="never")
        with pytest.raises(ValueError, match=r"data\.num_features"):
            quiet_trainer(FeatureGeometry()).fit(model, datamodule=data)


@pytest.mark.parametrize(
    "options", [{"threshold": 0.0}, {"cluster_distance": 1.0}, {"every_n_epochs": 0}]
)
def test_options_out_of_range_are_refused(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        FeatureGeometry(**options)

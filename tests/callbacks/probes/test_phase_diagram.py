"""PhaseDiagram: which seed represents a cell, its values, and which runs it refuses."""

from __future__ import annotations

import csv
import json

import pytest
import torch

from callbacks import PhaseDiagram
from datamodules import CircularFeatures, SparseFeatures
from lightning_modules import FeatureAutoencoder
from tests.helpers.trainers import quiet_trainer

# Weights and biases of the three strategies at an activity of 0.02, and of one that is none.
FIRST, SECOND = ((1.0, 0.0), (0.0, 0.01)), ((0.0, 1.0), (0.01, 0.0))
PAIR, NOTHING = ((1.0, -1.0), (0.0, 0.0)), ((0.0, 0.0), (0.01, 0.01))


def measured(members, sparsity, importance, **options) -> PhaseDiagram:
    """The probe after measuring these (weights, biases) of each member."""
    data = SparseFeatures(2, sparsity, importance, batch_size=8, steps_per_epoch=1, val_steps=1)
    seeds = len(members) // len(data.values)
    model = FeatureAutoencoder(2, len(data.values), 1, num_seeds=seeds, compile="never")
    with torch.no_grad():
        for i, (weights, biases) in enumerate(members):
            model.ensemble.stacked.weight[i, :, 0] = torch.tensor(weights)
            model.ensemble.stacked.bias[i] = torch.tensor(biases)
    probe = PhaseDiagram(**options)
    quiet_trainer(probe).validate(model, datamodule=data, verbose=False)
    for name, value in {**probe.results, **probe.arrays}.items():
        assert value.shape == (len(members),), name
    return probe


def of_sweep(probe, key) -> float:
    """A value of the whole sweep, which every member reports."""
    (value,) = set(probe.results[f"val/phase/{key}"].tolist())
    return value


def test_the_seed_with_the_least_loss_represents_its_cell():
    # At an activity of 0.02 the pair is best at both importances: crossings are at 0.16 and 0.31.
    members = [NOTHING, PAIR, FIRST, NOTHING]  # two seeds of r = 0.1, then two of r = 0.2
    probe = measured(members, 0.98, [0.1, 0.2])
    assert probe.diagram.phase.tolist() == [[2], [0]]
    assert probe.arrays["phase"].tolist() == [-1, 2, 0, -1]
    assert of_sweep(probe, "agreement") == of_sweep(probe, "agreement_or_lower") == 0.5
    assert [of_sweep(probe, f"gap_{end}") for end in ("from", "to")] == [0.0, 1.0]
    # First alone: r (p/3 - p²/4); the pair: p² (1 + r)/6.
    by_hand = 0.2 * (0.02 / 3 - 0.02**2 / 4) / (0.02**2 * 1.2 / 6)
    ratio = probe.results["val/phase/loss_ratio"].tolist()
    assert ratio == pytest.approx([1.0, 1.0, by_hand, by_hand], rel=1e-3)


def test_rows_are_importances_and_columns_activities_in_whatever_order_they_are_swept():
    # Values come as (S, r): (0.2, 5), (0.2, 0.1), (0.98, 5), (0.98, 0.1).
    probe = measured([SECOND, FIRST, PAIR, PAIR], [0.2, 0.98], [5.0, 0.1])
    assert probe.diagram.activity.tolist() == pytest.approx([0.02, 0.8])
    assert probe.diagram.importance.tolist() == [0.1, 5.0]
    assert probe.diagram.phase.tolist() == [[2, 0], [2, 1]]
    assert probe.arrays["activity"].tolist() == pytest.approx([0.8, 0.8, 0.02, 0.02])
    assert probe.arrays["importance"].tolist() == [5.0, 0.1, 5.0, 0.1]
    assert of_sweep(probe, "agreement") == 1.0


def test_another_phase_with_a_lower_loss_than_the_closed_form_is_distinguished():
    # Just above the crossing at 4r/(2 + 5r) training moves the pair's weights and biases, which
    # lowers the loss (weights of such a run).
    moved = (-1.0446, 0.7225), (0.0155, 0.1230)
    probe = measured([moved], 0.640619, 0.278)
    assert of_sweep(probe, "agreement") == 0.0 and of_sweep(probe, "agreement_or_lower") == 1.0
    assert 0.99 < of_sweep(probe, "loss_ratio") < 1


def test_the_threshold_decides_which_features_are_represented():
    weak = ((1.0, -0.3), (0.0, 0.01))
    assert measured([weak], 0.98, 0.1).diagram.phase.tolist() == [[0]]
    assert measured([weak], 0.98, 0.1, threshold=0.2).diagram.phase.tolist() == [[2]]
    with pytest.raises(ValueError, match="threshold"):
        PhaseDiagram(threshold=-1.0)


def test_a_diverged_seed_does_not_represent_its_cell():
    nan = ((torch.nan, 1.0), (0.0, 0.0))
    assert measured([nan, PAIR], 0.98, 0.1).diagram.phase.tolist() == [[2]]
    probe = measured([nan], 0.98, 0.1)
    assert probe.diagram.phase.tolist() == [[-1]]
    assert of_sweep(probe, "agreement") == 0.0


@pytest.mark.parametrize(
    ("data", "options"),
    [
        (SparseFeatures(3), {"hidden_dim": 1}),
        (SparseFeatures(2), {"hidden_dim": 2}),
        (SparseFeatures(2), {"hidden_dim": 1, "activation": "none"}),
        (SparseFeatures(2, [[0.5, 0.9]]), {"hidden_dim": 1}),
        (SparseFeatures(2, 0.5, pairs="anti-correlated"), {"hidden_dim": 1}),
        (CircularFeatures(2), {"hidden_dim": 1}),
    ],
)
def test_runs_that_the_closed_form_does_not_describe_are_refused(data, options):
    model = FeatureAutoencoder(data.num_features, compile="never", **options)
    with pytest.raises(ValueError, match="PhaseDiagram"):
        quiet_trainer(PhaseDiagram()).validate(model, datamodule=data, verbose=False)


def test_a_run_logs_and_stores_the_agreement_and_draws_the_diagram(lightning_command):
    folder = lightning_command(
        "fit", "--config", "configs/superposition/superposition_phase_diagram.yaml",
        "--trainer.max_epochs", "1",
        "--model.compile", "never", "--model.num_seeds", "1", "--data.batch_size", "8",
        "--data.steps_per_epoch", "2", "--data.val_steps", "1",
    )  # fmt: skip
    metrics = json.loads((folder / "results.json").read_text())["metrics"]
    (agreement,) = set(metrics["val/phase/agreement"])
    assert 0 <= agreement <= metrics["val/phase/agreement_or_lower"][0] <= 1
    assert len(metrics["val/phase/loss_ratio"]) == 100
    with (folder / "metrics.csv").open() as file:
        assert "val/phase/agreement" in next(csv.reader(file))
    assert (folder / "figures" / "phase_diagram.png").stat().st_size > 10_000

"""WeightNorms against NumPy, and what harmonic loss does to the class centers."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from callbacks import WeightNorms
from datamodules import AlgorithmicData, LatticeCompletion
from lightning_modules import Classifier, CrossEntropyHead
from tests.helpers.trainers import quiet_trainer


def make(seeds=(0, 1), num_samples=80, **options):
    data = AlgorithmicData(LatticeCompletion(), num_samples=num_samples)
    module = Classifier(
        vocab_size=25, num_inputs=3, num_classes=25, seeds=list(seeds), compile="never", **options
    )
    return module, data


def by_hand(module, index, split) -> dict[str, float]:
    """The four numbers of one member, from NumPy arrays and without the stacked computation."""
    inputs = torch.cat([split.train_inputs, split.test_inputs])
    targets = torch.cat([split.train_targets, split.test_targets]).numpy()
    member = module.member(index).eval()
    with torch.no_grad():
        features = member.network(inputs).numpy()
    embedding = member.network.embedding_matrix().detach().numpy()
    centers = member.head.weight.detach().numpy()
    occurring = np.unique(targets)
    means = np.stack([features[targets == c].mean(0) for c in occurring])
    means, rows = means - means.mean(0), centers[occurring] - centers[occurring].mean(0)
    lengths = np.linalg.norm(means, axis=1) * np.linalg.norm(rows, axis=1)
    to_own = np.linalg.norm(features - centers[targets], axis=1).mean()
    pairs = [np.linalg.norm(a - b) for i, a in enumerate(centers) for b in centers[:i]]
    return {
        "embedding_norm": np.sqrt((embedding**2).sum()),
        "unembedding_norm": np.sqrt((centers**2).sum()),
        "center_alignment": ((means * rows).sum(1) / lengths).mean(),
        "center_distance": to_own / np.mean(pairs),
    }


def check(probe, module, splits) -> None:
    for index, split in enumerate(splits):
        expected = by_hand(module, index, split)
        assert set(probe.results) == {f"val/weights/{key}" for key in expected}
        for key, value in expected.items():
            assert probe.results[f"val/weights/{key}"][index].item() == pytest.approx(value, 1e-4)


@pytest.mark.parametrize("tie", [True, False], ids=["tied", "untied"])
def test_values_agree_with_numpy_for_every_seed_and_data_set(tie):
    module, data = make(seeds=(4, 9), head=CrossEntropyHead, tie_embedding=tie)
    probe = WeightNorms(2)
    trainer = quiet_trainer(probe, max_epochs=3)
    trainer.fit(module, datamodule=data)
    check(probe, module, data.splits)
    norms = (probe.results[f"val/weights/{key}_norm"] for key in ("embedding", "unembedding"))
    assert torch.equal(*norms) == tie
    assert "val/weights/center_distance_q75" in trainer.callback_metrics
    other = AlgorithmicData(LatticeCompletion(), num_samples=40)
    trainer.validate(module, datamodule=other, verbose=False)
    check(probe, module, other.splits)


def test_examples_that_fill_up_a_shorter_seed_do_not_count():
    module, data = make()
    data.seeds = [0, 1]
    data.setup()
    batch = dict(next(iter(data.val_dataloader())))

    def measure(shown):
        return WeightNorms().measure(SimpleNamespace(val_dataloaders=[shown]), module)

    filled = {
        "inputs": torch.nn.functional.pad(batch["inputs"], (0, 0, 0, 5)),
        "targets": torch.nn.functional.pad(batch["targets"], (0, 5), value=-100),
    }
    torch.testing.assert_close(measure(filled), measure(batch))


def test_features_move_onto_their_class_centers_under_harmonic_loss():
    module, data = make(num_samples=300)
    before, after = WeightNorms(), WeightNorms()
    quiet_trainer(before).validate(module, datamodule=data, verbose=False)
    quiet_trainer(after, max_epochs=12).fit(module, datamodule=data)
    change = {
        key: after.results[f"val/weights/{key}"] - before.results[f"val/weights/{key}"]
        for key in ("center_distance", "center_alignment")
    }
    assert (change["center_distance"] < -0.05).all()
    assert (change["center_alignment"] > 0.05).all()


def test_a_run_without_a_data_module_is_measured_on_its_validation_loader():
    module, data = make(seeds=(0,))
    data.seeds = [0]
    data.setup()
    probe = WeightNorms(1)
    quiet_trainer(probe).fit(module, data.train_dataloader(), data.val_dataloader())
    check(probe, module, data.splits)


def test_a_run_without_validation_is_still_measured():
    module, data = make()
    probe = WeightNorms(1)
    quiet_trainer(probe, limit_val_batches=0).fit(module, datamodule=data)
    assert probe.results["val/weights/center_distance"].isfinite().all()

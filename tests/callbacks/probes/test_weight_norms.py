"""WeightNorms against NumPy, and what harmonic loss does to the class centers."""

from __future__ import annotations

from types import SimpleNamespace

import lightning as L
import numpy as np
import pytest
import torch

from callbacks import WeightNorms
from datamodules import AlgorithmicData, LatticeCompletion
from lightning_modules import Classifier, CrossEntropyHead


def make(seeds=(0, 1), **options):
    data = AlgorithmicData(LatticeCompletion(), num_samples=options.pop("num_samples", 80))
    module = Classifier(
        vocab_size=25, num_inputs=3, num_classes=25, seeds=list(seeds), compile="never", **options
    )
    return module, data


def make_trainer(tmp_path, *callbacks, **options) -> L.Trainer:
    return L.Trainer(
        callbacks=list(callbacks),
        logger=False,
        accelerator="cpu",
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
        log_every_n_steps=1,
        default_root_dir=tmp_path,
        **options,
    )


def by_hand(embedding, centers, features, targets):
    """The four numbers of one seed, from NumPy arrays."""
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


def member_by_hand(module, index, split):
    """The same of one member as an ordinary module, without the stacked computation."""
    inputs = torch.cat([split.train_inputs, split.test_inputs])
    targets = torch.cat([split.train_targets, split.test_targets])
    member = module.member(index).eval()
    with torch.no_grad():
        features = member.network(inputs)
    arrays = (member.network.embedding_matrix(), member.head.weight, features)
    embedding, centers, features = (tensor.detach().numpy() for tensor in arrays)
    return by_hand(embedding, centers, features, targets.numpy())


@pytest.mark.parametrize("tie", [True, False], ids=["tied", "untied"])
def test_values_agree_with_numpy_for_every_seed(tmp_path, tie):
    module, data = make(seeds=(4, 9), head=CrossEntropyHead, tie_embedding=tie)
    probe = WeightNorms(2)
    trainer = make_trainer(tmp_path, probe, max_epochs=3)
    trainer.fit(module, datamodule=data)
    for index, split in enumerate(data.splits):
        expected = member_by_hand(module, index, split)
        assert set(probe.results) == {f"val/weights/{key}" for key in expected}
        for key, value in expected.items():
            assert probe.results[f"val/weights/{key}"][index].item() == pytest.approx(value, 1e-4)
    norms = (probe.results[f"val/weights/{key}_norm"] for key in ("embedding", "unembedding"))
    assert torch.equal(*norms) == tie
    assert "val/weights/center_distance_q75" in trainer.callback_metrics


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


def test_features_move_onto_their_class_centers_under_harmonic_loss(tmp_path):
    module, data = make(num_samples=400)
    before, after = WeightNorms(), WeightNorms()
    make_trainer(tmp_path, before).validate(module, datamodule=data, verbose=False)
    make_trainer(tmp_path, after, max_epochs=15).fit(module, datamodule=data)
    change = {
        key: after.results[f"val/weights/{key}"] - before.results[f"val/weights/{key}"]
        for key in ("center_distance", "center_alignment")
    }
    assert (change["center_distance"] < -0.05).all()
    assert (change["center_alignment"] > 0.05).all()


def test_a_run_without_a_data_module_is_measured_on_its_validation_loader(tmp_path):
    module, data = make(seeds=(0,))
    data.seeds = [0]
    data.setup()
    probe = WeightNorms(1)
    trainer = make_trainer(tmp_path, probe, max_epochs=1)
    trainer.fit(module, data.train_dataloader(), data.val_dataloader())
    for key, value in member_by_hand(module, 0, data.splits[0]).items():
        assert probe.results[f"val/weights/{key}"].tolist() == pytest.approx([value], 1e-4)


def test_a_run_without_validation_is_measured_all_the_same(tmp_path):
    module, data = make()
    probe = WeightNorms(1)
    make_trainer(tmp_path, probe, max_epochs=1, limit_val_batches=0).fit(module, datamodule=data)
    assert probe.results["val/weights/center_distance"].isfinite().all()


def test_a_validation_after_a_fit_is_measured_on_its_own_data(tmp_path):
    module, data = make()
    probe = WeightNorms(1)
    trainer = make_trainer(tmp_path, probe, max_epochs=1)
    trainer.fit(module, datamodule=data)
    other = AlgorithmicData(LatticeCompletion(), num_samples=40)
    trainer.validate(module, datamodule=other, verbose=False)
    for index, split in enumerate(other.splits):
        expected = member_by_hand(module, index, split)["center_distance"]
        found = probe.results["val/weights/center_distance"][index].item()
        assert found == pytest.approx(expected, 1e-4)

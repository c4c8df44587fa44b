"""Checkpoints and an export of the version before classes, options and parameters were renamed.

The files in tests/data/before_rename were written by that version, and expected.pt holds what its
models compute: their outputs, and a parameter after a resumed run.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import lightning as L
import pytest
import torch
from safetensors.torch import load_file

from datamodules import AlgorithmicData, ModularAddition, OpenWebText, SparseFeatures
from glassbox.cli.checkpoints import first_mismatch, read_checkpoint
from lightning_modules import (
    GPT2,
    Classifier,
    CrossEntropyHead,
    FeatureAutoencoder,
    HarmonicHead,
    LanguageModel,
    SoftNearestNeighborHead,
    TextClassifier,
    TextTransformer,
    ToyTransformer,
)
from lightning_modules.training import renamed
from tests.helpers.paths import ROOT
from tests.helpers.trainers import quiet_trainer

FOLDER = ROOT / "tests" / "data" / "before_rename"
MODULES = {
    "classifier": Classifier,
    "autoencoder": FeatureAutoencoder,
    "language_model": LanguageModel,
    "text_classifier": TextClassifier,
}
SPARSE: dict[str, Any] = {"batch_size": 16, "steps_per_epoch": 5, "val_steps": 1}


@pytest.fixture(scope="module")
def expected() -> dict[str, torch.Tensor]:
    return torch.load(FOLDER / "expected.pt", weights_only=True)


def text_batches() -> list[dict[str, torch.Tensor]]:
    return torch.load(FOLDER / "text_batches.pt", weights_only=True)


def outputs(name: str, model: Any) -> torch.Tensor:
    if name == "classifier":
        inputs = torch.cartesian_prod(torch.arange(7), torch.arange(7))
        return model.ensemble(inputs.expand(2, -1, -1))
    if name == "autoencoder":
        return model(torch.linspace(-1, 1, 2 * 4 * 6).view(2, 4, 6))
    if name == "language_model":
        return model(torch.arange(16).view(2, 8))[..., :20]
    first = text_batches()[0]
    return model(first["tokens"], first["mask"])


@pytest.mark.parametrize("name", MODULES)
def test_an_old_checkpoint_gives_the_same_outputs(name, expected):
    path = FOLDER / f"{name}.ckpt"
    model = MODULES[name].load_from_checkpoint(path, weights_only=True).eval()
    torch.testing.assert_close(outputs(name, model), expected[name])
    with open(path, "rb") as file:  # an open file, and an option that replaces a stored one
        again = MODULES[name].load_from_checkpoint(file, weights_only=True, learning_rate=0.5)
    assert again.hparams.learning_rate == 0.5


def new_model_and_data(name: str) -> tuple[L.LightningModule, Any, dict[str, Any], Any]:
    """A module built by the new names, its data, limits of the run, and one of its parameters."""
    if name == "classifier":
        network = partial(ToyTransformer, embedding_dim=8, num_layers=1, feedforward_dim=8)
        model: Any = Classifier(
            network, SoftNearestNeighborHead, 7, 2, 7, seeds=[3, 5], compile="never"
        )
        data: Any = AlgorithmicData(ModularAddition(7), num_samples=40)
        return model, data, {"max_epochs": 4}, lambda: model.ensemble.stacked.head.weight
    if name == "autoencoder":
        model = FeatureAutoencoder(
            6, 2, 2, "hidden_and_output", seeds=[3], optimizer="adamw", weight_decay=0.1,
            schedule="linear", compile="never",
        )  # fmt: skip
        data = SparseFeatures(6, sparsity=[0.5, 0.9], importance=0.8, **SPARSE)
        return model, data, {"max_epochs": 4}, model.feature_weights
    if name == "language_model":
        network = partial(GPT2, num_layers=1, num_heads=1, width=4, pad_vocab_to=1)
        model = LanguageModel(
            network, HarmonicHead, 257, 8, feature_scale_init="gpt2", warmup_steps=2,
            decay_steps=20, learning_rate=1e-2, compile="never",
        )  # fmt: skip
        data = OpenWebText(
            str(FOLDER / "tokens"), tokenizer="bytes", block_size=8, global_batch_size=4,
            micro_batch_size=2, seed=0,
        )  # fmt: skip
        limits = {"max_steps": 8, "limit_val_batches": 0, "check_val_every_n_epoch": None}
        return model, data, limits, lambda: model.network.final_norm.weight
    network = partial(
        TextTransformer, width=8, num_heads=2, feedforward_dim=8, mask_dim=4, dropout=0.0
    )
    model = TextClassifier(
        network, partial(CrossEntropyHead, bias=True), 30, 8, lambda_importance=0.1
    )
    loader = torch.utils.data.DataLoader(text_batches(), batch_size=None)  # type: ignore[arg-type]
    return model, loader, {"max_epochs": 3, "limit_val_batches": 0}, lambda: model.head.weight


@pytest.mark.filterwarnings("ignore:.*does not have many workers.*", "ignore:.*no `val_dataloader`")
@pytest.mark.parametrize("name", MODULES)
def test_an_old_checkpoint_resumes_to_the_same_parameters(name, expected):
    model, data, limits, parameter = new_model_and_data(name)
    trainer = quiet_trainer(**{"log_every_n_steps": 2, "max_epochs": None, **limits})
    torch.manual_seed(1)  # of the word masks
    trainer.fit(model, data, ckpt_path=str(FOLDER / f"{name}.ckpt"), weights_only=True)
    torch.testing.assert_close(parameter().detach(), expected[f"{name}_resumed"])


def test_the_command_line_compares_an_old_checkpoint_under_the_new_names():
    network = {"class_path": "lightning_modules.ToyTransformer", "init_args": {"num_layers": 1}}
    config: dict[str, Any] = {
        "network": network,
        "head": {"class_path": "lightning_modules.SoftNearestNeighborHead", "init_args": {}},
        "num_inputs": 2, "seeds": [3, 5],
    }  # fmt: skip
    content = read_checkpoint(str(FOLDER / "classifier.ckpt"))
    assert first_mismatch(content, config, training=True) is None
    assert "seeds" in str(first_mismatch(content, {**config, "seeds": [3, 6]}))
    content = read_checkpoint(str(FOLDER / "autoencoder.ckpt"))
    config = {"activation": "hidden_and_output", "seeds": [3]}
    assert first_mismatch(content, config, training=True) is None
    assert "activation" in str(first_mismatch(content, {**config, "activation": "output"}, True))
    content = read_checkpoint(str(FOLDER / "language_model.ckpt"))
    assert "feature_scale_init" in str(
        first_mismatch(content, {"feature_scale_init": "matched"}, training=True)
    )


@pytest.mark.filterwarnings("ignore")  # transformers'
def test_an_old_export_loads_here_and_in_transformers(expected):
    import lightning_modules.harmonic_gpt2  # noqa: F401 (the module that old exports mention)
    from lightning_modules.gpt2.hub_load import open_pretrained

    source = open_pretrained(str(FOLDER / "exported"))
    model = LanguageModel(**source.options(), init_from=str(source.folder)).eval()
    torch.testing.assert_close(outputs("language_model", model), expected["language_model"])
    from transformers import AutoModelForCausalLM

    theirs = AutoModelForCausalLM.from_pretrained(FOLDER / "exported")
    ids = torch.arange(16).view(2, 8)
    torch.testing.assert_close(theirs(ids).logits[..., :20], expected["language_model"])
    assert {"transformer.wte.weight"} <= load_file(FOLDER / "exported/model.safetensors").keys()


def test_only_unknown_parameters_are_renamed_and_only_to_known_ones(monkeypatch):
    monkeypatch.setattr(renamed, "PARAMETERS", [(r"(\d)\.expand\.", r"\1.fc_in."), ("^a$", "b")])
    state = {"net.0.expand.weight": 1, "head.0.expand.bias": 2, "a": 3, "b": 4}
    renamed.rename_parameters(state, ["net.0.fc_in.weight", "head.0.expand.bias", "a", "b"])
    assert state == {"net.0.fc_in.weight": 1, "head.0.expand.bias": 2, "a": 3, "b": 4}


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("lightning_modules.networks.linear.PixelMLP", "lightning_modules.VectorMLP"),
        ("lightning_modules.Pixels", "lightning_modules.Identity"),
        ("lightning_modules.heads.harmonic.HarmonicHead", "lightning_modules.HarmonicHead"),
        ("mine.Pixels", "mine.Pixels"),
    ],
)
def test_class_paths_of_this_package_are_those_of_its_top_level(old, new):
    assert renamed.rename_class_path(old) == new

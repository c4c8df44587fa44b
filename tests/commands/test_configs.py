"""Every shipped config: short, with a header of command and expectation, and it trains."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from datamodules.common.order import accumulation
from datamodules.documents.sources import FileDocuments
from datamodules.tokens.prepare import prepare
from datamodules.tokens.tokenizers import ByteTokenizer
from tests.helpers.idx_digits import write_digits
from tests.helpers.paths import CONFIGS, ROOT


def of(model: str, data: str | None = None) -> list[Path]:
    """The configs of a model, on some data."""
    configs = {path: yaml.safe_load(path.read_text()) for path in CONFIGS}
    return [
        path
        for path, config in configs.items()
        if config["model"]["class_path"] == model and data in (None, config["data"]["class_path"])
    ]


TEXT, REVIEWS, FEATURES = of("LanguageModel"), of("TextClassifier"), of("FeatureAutoencoder")
# What makes a config of a Classifier or an autoencoder small, and a metric that it logs.
SMALL = {
    "AlgorithmicData": ("--data.num_samples 60", "train/loss"),
    "MNIST": ("--data.data_dir {digits}", "test/accuracy"),
    "ToyPoints": ("", "val/plane/loss"),
    "features": ("--data.batch_size 512 --data.steps_per_epoch 2 --data.val_steps 1", "val/loss"),
}
# What makes any language model a tiny one, on one CPU; all else as in the config.
TINY = (
    "--data.tokenizer", "bytes", "--data.block_size", "16",
    "--data.global_batch_size", "4", "--data.micro_batch_size", "2",
    "--model.network.num_layers", "1", "--model.network.num_heads", "1",
    "--model.network.width", "16", "--model.compile", "never",
    "--trainer.max_steps", "2", "--trainer.val_check_interval", "1",
    "--trainer.log_every_n_steps", "1", "--trainer.precision", "32-true",
    "--trainer.accelerator", "cpu", "--trainer.devices", "1", "--trainer.num_nodes", "1",
    "--trainer.strategy", "auto",
)  # fmt: skip


@pytest.fixture(scope="module")
def tokens(tmp_path_factory) -> Path:
    """Token shards of a few documents, with the tokenizer of bytes."""
    folder = tmp_path_factory.mktemp("text")
    lines = [json.dumps({"text": f"document {i} of a small corpus"}) for i in range(40)]
    (folder / "text.jsonl").write_text("\n".join(lines))
    prepare(FileDocuments(str(folder / "*.jsonl")), folder / "tokens", ByteTokenizer(), 0.25)
    return folder / "tokens"


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_config_is_trained_by_a_test_of_this_file(path):
    config = yaml.safe_load(path.read_text())
    model, data = config["model"]["class_path"], config["data"]["class_path"]
    assert path in {*TEXT, *REVIEWS, *FEATURES} or (model == "Classifier" and data in SMALL), (
        f"no test trains {path.relative_to(ROOT)}: {model} on {data} is new; add it to SMALL"
    )


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_config_is_short_and_its_header_tells_command_and_seed(path):
    lines = path.read_text().splitlines()
    header = [line for line in lines if line.startswith("#")]
    assert len(lines) <= 50
    assert any(f"lightning fit --config {path.relative_to(ROOT)}" in line for line in header)
    assert any("expect" in line.lower() for line in header)
    assert isinstance(yaml.safe_load(path.read_text())["seed_everything"], int)


@pytest.fixture(scope="module")
def digits(tmp_path_factory) -> Path:
    """Digits in the layout of MNIST."""
    folder = tmp_path_factory.mktemp("digits")
    write_digits(folder)
    return folder


@pytest.mark.parametrize("path", [*of("Classifier"), *FEATURES], ids=lambda path: path.stem)
def test_config_of_several_seeds_trains_an_epoch(path, lightning_command, digits):
    data = yaml.safe_load(path.read_text())["data"]["class_path"]
    options, metric = SMALL[data if path not in FEATURES else "features"]
    options = options.format(digits=digits)
    folder = lightning_command(
        "fit", "--config", f"{path.relative_to(ROOT)}", "--trainer.max_epochs", "1",
        "--model.num_seeds", "2", "--model.compile", "never", *options.split(),
    )  # fmt: skip
    results = json.loads((folder / "results.json").read_text())
    assert results["name"] == path.stem
    own = "val/phase/agreement" if "phase" in path.stem else "val/features/feature_count"
    for name in (metric, *([own, "val/explained_fraction"] if path in FEATURES else [])):
        assert all(value is not None for value in results["metrics"][name]), name


@pytest.mark.parametrize("path", TEXT, ids=lambda path: path.stem)
def test_config_of_a_language_model_trains_and_validates(path, lightning_command, tokens):
    folder = lightning_command(
        "fit", "--config", f"{path.relative_to(ROOT)}", "--data.data_dir", str(tokens), *TINY
    )
    results = json.loads((folder / "results.json").read_text())
    assert results["name"] == path.stem
    for name in ("train/loss", "val/loss", "val/perplexity"):
        assert all(value is not None for value in results["metrics"][name])
    assert (folder / "checkpoints" / "last.ckpt").is_file()


@pytest.mark.parametrize("path", TEXT, ids=lambda path: path.stem)
def test_batches_and_validations_of_a_language_model_divide_its_run(path):
    config = yaml.safe_load(path.read_text())
    data, trainer = config["data"]["init_args"], config["trainer"]
    ranks = trainer.get("devices", 1) * trainer.get("num_nodes", 1)
    assert accumulation(data["global_batch_size"], data["micro_batch_size"], ranks) >= 1
    # results.json shows the last validation, which should be that of the model that is kept.
    assert trainer["check_val_every_n_epoch"] is None
    assert trainer["max_steps"] % trainer["val_check_interval"] == 0


@pytest.mark.parametrize("path", REVIEWS, ids=lambda path: path.stem)
def test_config_of_a_text_classifier_trains_and_measures_the_test_set(
    path, lightning_command, text_folder
):
    folder = lightning_command(
        "fit", "--config", f"{path.relative_to(ROOT)}", "--data.data_dir",
        str(text_folder / ("imdb" if "imdb" in path.stem else "sst")),
        "--trainer.max_epochs", "1", "--trainer.limit_val_batches", "1",
        "--trainer.precision", "32-true", "--model.network.width", "32",
        "--model.network.feedforward_dim", "64",
    )  # fmt: skip
    results = json.loads((folder / "results.json").read_text())
    assert results["name"] == path.stem
    for name in ("val/accuracy", "test/deletion/srs", "test/capacity/ffn1_all", "best/epoch"):
        assert all(value is not None for value in results["metrics"][name]), name
    assert (folder / "figures" / "deletion_curve.png").is_file()

"""Every shipped config: short, with a header that says what to expect, and it trains."""

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
OTHERS, IMAGES = of("Classifier", "AlgorithmicData"), of("Classifier", "MNIST")
POINTS = of("Classifier", "ToyPoints")
# What makes any language model a tiny one, on one CPU; all else is as the config says.
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


def test_there_are_configs():
    assert len(CONFIGS) >= 21


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_config_is_trained_by_a_test_of_this_file(path):
    config = yaml.safe_load(path.read_text())
    model, data = config["model"]["class_path"], config["data"]["class_path"]
    assert path in {*TEXT, *REVIEWS, *FEATURES, *IMAGES, *POINTS, *OTHERS}, (
        f"no test trains {path.relative_to(ROOT)}: {model} on {data} is new here; add a group "
        f"of({model!r}, {data!r}) beside POINTS, and a test that trains its configs for an epoch, "
        f"as test_config_of_toy_points_trains_and_draws_its_plane does, at a size of seconds"
    )


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_config_is_short_and_its_header_tells_command_and_seed(path):
    lines = path.read_text().splitlines()
    header = [line for line in lines if line.startswith("#")]
    assert len(lines) <= 50
    assert any(f"lightning fit --config {path.relative_to(ROOT)}" in line for line in header)
    assert any("expect" in line.lower() for line in header)
    assert isinstance(yaml.safe_load(path.read_text())["seed_everything"], int)


@pytest.mark.parametrize("path", OTHERS, ids=lambda path: path.stem)
def test_config_trains_an_epoch(path, lightning_command):
    folder = lightning_command(
        "fit", "--config", f"{path.relative_to(ROOT)}", "--trainer.max_epochs", "1",
        "--model.num_seeds", "2", "--model.compile", "never", "--data.num_samples", "60",
    )  # fmt: skip
    results = json.loads((folder / "results.json").read_text())
    assert results["name"] == path.stem
    assert all(value is not None for value in results["metrics"]["train/loss"])


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


@pytest.mark.parametrize("path", FEATURES, ids=lambda path: path.stem)
def test_config_of_drawn_features_trains_and_measures(path, lightning_command):
    folder = lightning_command(
        "fit", "--config", f"{path.relative_to(ROOT)}", "--trainer.max_epochs", "1",
        "--model.num_seeds", "2", "--model.compile", "never", "--data.batch_size", "512",
        "--data.steps_per_epoch", "2", "--data.val_steps", "1",
    )  # fmt: skip
    metrics = json.loads((folder / "results.json").read_text())["metrics"]
    own = "phase/agreement" if "phase" in path.stem else "features/feature_count"
    for name in ("val/loss", "val/explained_fraction", f"val/{own}"):
        assert all(value is not None for value in metrics[name]), name


@pytest.mark.parametrize("path", IMAGES, ids=lambda path: path.stem)
def test_config_of_images_trains_an_epoch(path, lightning_command, tmp_path):
    write_digits(tmp_path / "digits")
    folder = lightning_command(
        "fit", "--config", f"{path.relative_to(ROOT)}", "--trainer.max_epochs", "1",
        "--data.data_dir", str(tmp_path / "digits"), "--model.num_seeds", "2",
    )  # fmt: skip
    metrics = json.loads((folder / "results.json").read_text())["metrics"]
    assert all(value is not None for value in metrics["test/accuracy"])


@pytest.mark.parametrize("path", TEXT, ids=lambda path: path.stem)
def test_global_batch_of_a_config_divides_among_its_devices(path):
    config = yaml.safe_load(path.read_text())
    data, trainer = config["data"]["init_args"], config["trainer"]
    ranks = trainer.get("devices", 1) * trainer.get("num_nodes", 1)
    assert accumulation(data["global_batch_size"], data["micro_batch_size"], ranks) >= 1


@pytest.mark.parametrize("path", TEXT, ids=lambda path: path.stem)
def test_config_of_a_language_model_validates_at_its_last_step(path):
    # results.json shows the last validation, which should be that of the model that is kept.
    trainer = yaml.safe_load(path.read_text())["trainer"]
    assert trainer["check_val_every_n_epoch"] is None
    assert trainer["max_steps"] % trainer["val_check_interval"] == 0


@pytest.mark.parametrize("path", POINTS, ids=lambda path: path.stem)
def test_config_of_toy_points_trains_and_draws_its_plane(path, lightning_command):
    folder = lightning_command(
        "fit", "--config", f"{path.relative_to(ROOT)}", "--trainer.max_epochs", "1",
        "--model.num_seeds", "2",
    )  # fmt: skip
    results = json.loads((folder / "results.json").read_text())
    assert results["name"] == path.stem
    assert all(value is not None for value in results["metrics"]["val/plane/loss"])

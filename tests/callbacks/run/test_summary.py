"""RunSummary: the summary table, results.json and TensorBoard's hyper-parameter tab."""

from __future__ import annotations

import json
import math
from importlib import metadata
from pathlib import Path

import lightning as L
import numpy as np
import pytest
import torch
import yaml
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger

from callbacks import EmbeddingGeometry, Generalization, RunSummary
from callbacks.run.summary import as_list
from datamodules import AlgorithmicData, LatticeCompletion
from glassbox import versions
from lightning_modules import Classifier
from tests.helpers.trainers import quiet_trainer

# The folder exists already, as on the command line, which claims it beforehand.
pytestmark = pytest.mark.filterwarnings("ignore:Experiment logs directory .* exists")


class Toy(L.Callback):
    """Any callback with results is included; it need not be a probe."""

    def __init__(self) -> None:
        self.results = {
            "toy/value": torch.tensor([torch.nan, 2.0]),
            "toy/name": ["round", "flat"],
            "toy/hidden": torch.tensor([1.0, 1.0]),
        }
        self.summary_metrics = ["toy/value", "toy/name"]


CONFIG = {
    "model": {"class_path": "Classifier", "init_args": {"learning_rate": 0.5, "seeds": None}},
    "data": {"class_path": "AlgorithmicData", "init_args": {"num_samples": 60}},
    "trainer": {"max_epochs": 2},
}


def build(tmp_path, *callbacks, logger=None, seeds=(5, 8), module=None, data=None, **options):
    """A trainer, a classifier of two seeds and its data."""
    settings = {"vocab_size": 25, "num_inputs": 3, "num_classes": 25, "compile": "never"}
    logger = logger or CSVLogger(tmp_path, name="run", version=0)
    trainer = quiet_trainer(*callbacks, logger=logger, **{"max_epochs": 2, **options})
    data = AlgorithmicData(LatticeCompletion(), **{"num_samples": 60, **(data or {})})
    return trainer, Classifier(seeds=list(seeds), **settings, **(module or {})), data


def read(tmp_path: Path, name: str = "results.json"):
    """Parse JSON without the NaN and Infinity that Python accepts."""

    def refuse(constant: str):
        raise AssertionError(f"{constant} in {name}")

    text = (tmp_path / "run" / "version_0" / name).read_text()
    return json.loads(text, parse_constant=refuse)


def save_config(tmp_path: Path, config: dict) -> None:
    folder = tmp_path / "run" / "version_0"
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(yaml.safe_dump(config))


def table_of(capsys) -> dict[str, str]:
    """The printed rows by their first word."""
    lines = [line.split() for line in capsys.readouterr().out.splitlines() if line]
    return {first: " ".join(rest) for first, *rest in lines}


def test_results_hold_scores_probes_config_and_versions(tmp_path, capsys):
    save_config(tmp_path, CONFIG)
    trainer, module, data = build(tmp_path, Toy(), RunSummary())
    trainer.fit(module, datamodule=data)
    results = read(tmp_path)
    assert results["name"] == "run" and results["seeds"] == [5, 8]
    assert results["config"] == CONFIG
    assert results["versions"] == versions.package_versions()
    assert results["metrics"]["toy/value"] == [None, 2.0]
    assert results["metrics"]["toy/name"] == ["round", "flat"]
    assert results["metrics"]["toy/hidden"] == [1.0, 1.0]
    for name, value in module.scores().items():
        assert results["metrics"][name] == as_list(value)
    # 48 training examples in batches of 32 are two steps an epoch.
    steps = results["steps_per_second"] * results["wall_time_seconds"]
    assert steps == pytest.approx(2 * 2)
    assert not list(tmp_path.rglob("*.partial"))

    rows = table_of(capsys)
    assert {"train/accuracy", "test/accuracy"} <= set(rows)
    assert not {"toy/hidden", "data/leak_fraction"} & set(rows)
    assert rows["toy/value"] == "none none none 1"  # every quantile lies between 2 and none
    assert rows["toy/name"] == "flat (1), round (1)"


@pytest.mark.parametrize(
    ("seeds", "fraction", "exponents", "expected"),
    [
        (
            [5, 5, 8],
            [0.3, 0.8, 0.8],
            [2.0, 2.0, 4.0],
            # Without eps and sampling, which are the same for all members.
            {"train_fraction": [0.3, 0.8, 0.8], "exponent": [2.0, 2.0, 4.0]},
        ),
        ([5, 8], 0.8, [2.0, 2.0], None),
    ],
)
def test_settings_that_differ_between_members_are_in_the_results(
    tmp_path, seeds, fraction, exponents, expected
):
    settings = {"exponent": exponents, "eps": [1e-4] * len(seeds)}
    trainer, module, data = build(
        tmp_path, RunSummary(), max_epochs=1, seeds=seeds, module={"head_settings": settings},
        data={"train_fraction": fraction},
    )  # fmt: skip
    trainer.fit(module, datamodule=data)
    results = read(tmp_path)
    assert results["seeds"] == seeds and results.get("member_settings") == expected


def test_leaked_test_inputs_are_shown(tmp_path, capsys):
    # 1,280 of 7,225 inputs are trained on: about 160 of each 1,000 test inputs are among them.
    options = {"sampling": "with_replacement", "num_samples": 1600, "batch_size": 1600}
    trainer, module, data = build(tmp_path, RunSummary(), data=options)
    trainer.fit(module, datamodule=data)
    assert {"data/leak_fraction", "test/accuracy_clean"} <= set(table_of(capsys))
    expected = [split.leaked.float().mean().item() for split in data.splits]
    assert read(tmp_path)["metrics"]["data/leak_fraction"] == pytest.approx(expected)
    assert min(expected) > 0.05


def test_probes_later_in_the_list_are_in_the_results_of_a_run_limited_by_steps(tmp_path, capsys):
    callbacks = RunSummary(table=False), EmbeddingGeometry(100), Generalization()
    trainer, module, data = build(tmp_path, *callbacks, max_epochs=-1, max_steps=3)
    trainer.fit(module, datamodule=data)
    results = read(tmp_path)
    assert results["metrics"]["test/accuracy"] == module.scores()["test/accuracy"].tolist()
    expected = {"generalization/test_epoch", "val/embedding/explained_variance_2"}
    assert expected <= set(results["metrics"])
    assert results["config"] == {} and "test/accuracy" not in table_of(capsys)


@pytest.mark.parametrize("subcommand", ["validate", "test"])
def test_validate_and_test_write_results_without_a_speed(tmp_path, subcommand):
    trainer, module, data = build(tmp_path, RunSummary())
    getattr(trainer, subcommand)(module, datamodule=data, verbose=False)
    results = read(tmp_path)
    assert results["wall_time_seconds"] is None and results["steps_per_second"] is None
    assert results["metrics"]["test/accuracy"] == module.scores()["test/accuracy"].tolist()


def test_validating_after_a_fit_keeps_the_results_of_the_fit(tmp_path):
    trainer, module, data = build(tmp_path, RunSummary())
    trainer.fit(module, datamodule=data)
    fitted = read(tmp_path)
    trainer.validate(module, datamodule=data, verbose=False)
    assert read(tmp_path) == fitted and fitted["steps_per_second"] > 0
    validated = read(tmp_path, "results_validate.json")
    assert validated["metrics"] == fitted["metrics"] and validated["steps_per_second"] is None


def test_hyperparameter_tab_holds_settings_and_final_medians(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

    save_config(tmp_path, CONFIG)
    logger = TensorBoardLogger(tmp_path, name="run", version=0, default_hp_metric=False)
    trainer, module, data = build(tmp_path, Toy(), RunSummary(), logger=logger)
    trainer.fit(module, datamodule=data)
    scalars = {}
    for path in (tmp_path / "run" / "version_0").glob("events*"):
        events = EventAccumulator(str(path)).Reload()
        scalars.update({tag: events.Scalars(tag)[-1].value for tag in events.Tags()["scalars"]})
        start = events.summary_metadata.get("_hparams_/session_start_info")
        if start is not None:
            content = HParamsPluginData.FromString(start.plugin_data.content)
            settings = dict(content.session_start_info.hparams)
    assert settings["model"].string_value == "Classifier"
    assert settings["model.learning_rate"].number_value == 0.5
    assert settings["data.num_samples"].number_value == 60
    assert set(settings) == {"model", "model.learning_rate", "data", "data.num_samples"}
    scores = module.scores()["test/accuracy"].tolist()
    assert scalars["final/test/accuracy"] == pytest.approx(np.median(scores))
    assert scalars["final/toy/value"] == math.inf  # between 2 and never
    assert "final/toy/name" not in scalars


def test_infinite_settings_and_modules_without_scores_are_no_error(tmp_path):
    save_config(tmp_path, {"model": {"init_args": {"limit": math.inf}}})
    trainer, module, data = build(tmp_path, RunSummary(), max_epochs=1)
    trainer.fit(module, datamodule=data)
    assert len(read(tmp_path)["metrics"]["test/accuracy"]) == 2
    RunSummary().on_test_end(quiet_trainer(), L.LightningModule())


def test_versions_are_those_of_installed_packages(monkeypatch):
    assert set(versions.package_versions()) >= {"torch", "lightning", "numpy"}
    monkeypatch.setattr(versions, "_PACKAGES", ("numpy", "no-such-package-anywhere"))
    assert versions.package_versions() == {"numpy": metadata.version("numpy")}

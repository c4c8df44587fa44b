"""RunSummary: the closing table, results.json and TensorBoard's hyper-parameter tab."""

from __future__ import annotations

import json
import math
from importlib import metadata

import lightning as L
import numpy as np
import pytest
import torch
import yaml
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger

from callbacks import EmbeddingGeometry, Generalization, RunSummary
from glassbox import versions as versions_module
from callbacks.run.summary import as_list, flatten, write_json
from datamodules import AlgorithmicData, LatticeCompletion
from glassbox.metrics.quantiles import censored_quantile, quartiles
from glassbox.versions import package_versions
from lightning_modules import Classifier


def strictly(text: str):
    """Parse JSON without the NaN and Infinity that Python lets through."""

    def refuse(name: str):
        raise AssertionError(f"{name} is no JSON")

    return json.loads(text, parse_constant=refuse)


# ---- quartiles -------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 20])
def test_quantiles_of_numbers_are_those_of_numpy(count):
    values = torch.randn(count, generator=torch.Generator().manual_seed(count)).tolist()
    logged = quartiles("x", torch.tensor(values))
    for name, q in (("x_q25", 0.25), ("x", 0.5), ("x_q75", 0.75)):
        expected = np.percentile(values, 100 * q)
        assert censored_quantile(values, q) == pytest.approx(expected)
        if count > 1 or name == "x":
            assert logged[name] == pytest.approx(expected, rel=1e-5)
    assert set(logged) == ({"x"} if count == 1 else {"x", "x_q25", "x_q75"})


@pytest.mark.parametrize(
    ("values", "q", "expected"),
    [
        ([3.0, None, 1.0], 0.5, 3.0),  # never is later than 3
        ([3.0, None, 1.0], 0.25, 2.0),
        ([3.0, None, 1.0], 0.75, math.inf),  # between 3 and never
        ([None, 5.0], 0.5, math.inf),
        ([5.0, 5.0, None, None, None], 0.25, 5.0),
        ([5.0, 5.0, None, None, None], 0.5, math.inf),
        ([None, None], 0.25, math.inf),
        ([None], 0.5, math.inf),
        ([0.0], 0.75, 0.0),
    ],
)
def test_never_is_later_than_any_number(values, q, expected):
    assert censored_quantile(values, q) == expected


def test_a_quantile_of_nothing_is_refused():
    with pytest.raises(ValueError, match="at least one value"):
        censored_quantile([], 0.5)


def test_logged_quartiles_leave_nan_out():
    assert quartiles("x", torch.tensor([torch.nan, 4.0, 2.0]))["x"] == 3.0
    assert quartiles("x", torch.tensor([torch.nan, torch.nan])) == {}


# ---- plain values ----------------------------------------------------------------------------


def test_a_value_that_is_no_number_becomes_none():
    given = torch.tensor([1.5, torch.nan, torch.inf, -torch.inf])
    assert as_list(given) == [1.5, None, None, None]
    assert as_list(torch.tensor([[1], [2]])) == [1, 2]
    assert as_list(["a", "b"]) == ["a", "b"]


def test_flatten_names_settings_as_the_command_line_does():
    tree = {
        "class_path": "Classifier",
        "init_args": {
            "head": {"class_path": "HarmonicHead", "init_args": {"exponent": 2, "eps": None}},
            "seeds": [1, 2],
        },
    }
    assert flatten(tree, "model") == {
        "model": "Classifier",
        "model.head": "HarmonicHead",
        "model.head.exponent": 2,
        "model.head.eps": None,
        "model.seeds": [1, 2],
    }
    assert flatten({}, "model") == {}


def test_versions_are_those_installed_and_leave_out_what_is_not(monkeypatch):
    assert set(package_versions()) >= {"torch", "lightning", "numpy"}
    monkeypatch.setattr(versions_module, "_PACKAGES", ("numpy", "no-such-package-anywhere"))
    assert package_versions() == {"numpy": metadata.version("numpy")}


def test_write_json_replaces_the_file_as_a_whole(tmp_path):
    path = tmp_path / "results.json"
    write_json(path, {"a": list(range(1000))})
    write_json(path, {"b": None})
    assert strictly(path.read_text()) == {"b": None}
    assert list(tmp_path.iterdir()) == [path]


def test_write_json_refuses_nan_and_keeps_the_old_file(tmp_path):
    path = tmp_path / "results.json"
    write_json(path, {"a": 1})
    with pytest.raises(ValueError, match="JSON"):
        write_json(path, {"a": math.nan})
    assert strictly(path.read_text()) == {"a": 1}
    assert list(tmp_path.iterdir()) == [path]


# ---- a whole run -----------------------------------------------------------------------------


class Toy(L.Callback):
    """Any callback with results appears; it need not be a probe."""

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


def build(tmp_path, *callbacks, logger=None, **options):
    data = AlgorithmicData(LatticeCompletion(), num_samples=60)
    module = Classifier(vocab_size=25, num_inputs=3, num_classes=25, seeds=[5, 8], compile="never")
    trainer = L.Trainer(
        callbacks=list(callbacks),
        logger=logger or CSVLogger(tmp_path, name="run", version=0),
        accelerator="cpu",
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
        log_every_n_steps=1,
        **{"max_epochs": 2, **options},
    )
    return trainer, module, data


def read(tmp_path):
    return strictly((tmp_path / "run" / "version_0" / "results.json").read_text())


def with_config(tmp_path, config=CONFIG):
    folder = tmp_path / "run" / "version_0"
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(yaml.safe_dump(config))


# The folder exists already, as on the command line, where it is claimed beforehand.
CLAIMED = pytest.mark.filterwarnings("ignore:Experiment logs directory .* exists and is not empty")


@CLAIMED
def test_results_hold_scores_probes_config_and_versions(tmp_path, capsys):
    with_config(tmp_path)
    trainer, module, data = build(tmp_path, Toy(), RunSummary())
    trainer.fit(module, datamodule=data)
    results = read(tmp_path)
    assert results["name"] == "run" and results["seeds"] == [5, 8]
    assert results["config"] == CONFIG
    assert results["versions"] == package_versions()
    assert results["metrics"]["toy/value"] == [None, 2.0]
    assert results["metrics"]["toy/name"] == ["round", "flat"]
    assert results["metrics"]["toy/hidden"] == [1.0, 1.0]
    for name, value in module.scores().items():
        assert results["metrics"][name] == as_list(value)
    # 48 training examples in batches of 32 are two steps an epoch.
    steps = results["steps_per_second"] * results["wall_time_seconds"]
    assert steps == pytest.approx(2 * 2)
    assert not list(tmp_path.rglob("*.partial"))

    lines = [line.split() for line in capsys.readouterr().out.splitlines() if line]
    said = {first: " ".join(rest) for first, *rest in lines}
    assert set(said) >= {"train/accuracy", "test/accuracy", "toy/value", "toy/name"}
    assert "toy/hidden" not in said
    assert said["toy/value"] == "none none none 1"  # every quantile lies between 2 and none
    assert said["toy/name"] == "flat (1), round (1)"
    assert "data/leak_fraction" not in said  # there are none under 'distinct'


@pytest.mark.parametrize(
    ("seeds", "fraction", "exponents", "expected"),
    [
        (
            [5, 5, 8],
            [0.3, 0.8, 0.8],
            [2.0, 2.0, 4.0],
            # Neither eps nor the sampling, which all have in common.
            {"train_fraction": [0.3, 0.8, 0.8], "exponent": [2.0, 2.0, 4.0]},
        ),
        ([5, 8], 0.8, [2.0, 2.0], None),
    ],
)
def test_settings_in_which_members_differ_stand_beside_their_seeds(
    tmp_path, seeds, fraction, exponents, expected
):
    trainer, _, _ = build(tmp_path, RunSummary(), max_epochs=1)
    module = Classifier(
        vocab_size=25, num_inputs=3, num_classes=25, seeds=seeds, compile="never",
        head_settings={"exponent": exponents, "eps": [1e-4] * len(seeds)},
    )  # fmt: skip
    data = AlgorithmicData(LatticeCompletion(), num_samples=60, train_fraction=fraction)
    trainer.fit(module, datamodule=data)
    results = read(tmp_path)
    assert results["seeds"] == seeds and results.get("member_settings") == expected


def test_leaking_test_inputs_are_shown(tmp_path, capsys):
    trainer, module, _ = build(tmp_path, RunSummary())
    # 1,280 of 7,225 inputs are trained on: about 160 of each 1,000 test inputs are among them.
    data = AlgorithmicData(LatticeCompletion(), "with_replacement", 1600, batch_size=1600)
    trainer.fit(module, datamodule=data)
    said = {line.split()[0] for line in capsys.readouterr().out.splitlines() if line}
    assert {"data/leak_fraction", "test/accuracy_clean"} <= said
    expected = [split.leaked.float().mean().item() for split in data.splits]
    assert read(tmp_path)["metrics"]["data/leak_fraction"] == pytest.approx(expected)
    assert min(expected) > 0.05


def test_table_can_be_turned_off(tmp_path, capsys):
    trainer, module, data = build(tmp_path, RunSummary(table=False))
    trainer.fit(module, datamodule=data)
    assert "test/accuracy" not in capsys.readouterr().out
    assert read(tmp_path)["config"] == {}  # none was saved


def test_a_run_that_ends_early_is_summed_up(tmp_path):
    trainer, module, data = build(tmp_path, RunSummary(), max_epochs=-1, max_steps=3)
    trainer.fit(module, datamodule=data)
    assert read(tmp_path)["metrics"]["test/accuracy"] == module.scores()["test/accuracy"].tolist()


@pytest.mark.parametrize("subcommand", ["validate", "test"])
def test_validate_and_test_are_summed_up_without_a_speed(tmp_path, subcommand):
    trainer, module, data = build(tmp_path, RunSummary())
    getattr(trainer, subcommand)(module, datamodule=data, verbose=False)
    results = read(tmp_path)
    assert results["wall_time_seconds"] is None and results["steps_per_second"] is None
    assert results["metrics"]["test/accuracy"] == module.scores()["test/accuracy"].tolist()


@CLAIMED
def test_validating_after_a_fit_leaves_the_results_of_the_fit(tmp_path):
    trainer, module, data = build(tmp_path, RunSummary())
    trainer.fit(module, datamodule=data)
    fitted = read(tmp_path)
    trainer.validate(module, datamodule=data, verbose=False)
    assert read(tmp_path) == fitted and fitted["steps_per_second"] > 0
    validated = strictly((tmp_path / "run" / "version_0" / "results_validate.json").read_text())
    assert validated["metrics"] == fitted["metrics"] and validated["steps_per_second"] is None


@CLAIMED
def test_hyperparameter_tab_holds_settings_and_final_medians(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

    with_config(tmp_path)
    logger = TensorBoardLogger(tmp_path, name="run", version=0, default_hp_metric=False)
    trainer, module, data = build(tmp_path, Toy(), RunSummary(), logger=logger)
    trainer.fit(module, datamodule=data)
    found = {}
    for path in (tmp_path / "run" / "version_0").glob("events*"):
        events = EventAccumulator(str(path)).Reload()
        found.update({tag: events.Scalars(tag)[-1].value for tag in events.Tags()["scalars"]})
        start = events.summary_metadata.get("_hparams_/session_start_info")
        if start is not None:
            content = HParamsPluginData.FromString(start.plugin_data.content)
            settings = dict(content.session_start_info.hparams)
    assert settings["model"].string_value == "Classifier"
    assert settings["model.learning_rate"].number_value == 0.5
    assert settings["data.num_samples"].number_value == 60
    assert set(settings) == {"model", "model.learning_rate", "data", "data.num_samples"}
    scores = module.scores()["test/accuracy"].tolist()
    assert found["final/test/accuracy"] == pytest.approx(np.median(scores))
    assert found["final/toy/value"] == math.inf  # between 2 and never
    assert "final/toy/name" not in found


def test_a_module_without_scores_is_left_alone(tmp_path):
    RunSummary()._close(type("Trainer", (), {"is_global_zero": True}), object())
    assert list(tmp_path.iterdir()) == []


def test_probes_named_after_the_summary_are_in_the_results(tmp_path):
    probes = EmbeddingGeometry(100), Generalization()
    trainer, module, data = build(tmp_path, RunSummary(), *probes, max_epochs=-1, max_steps=4)
    trainer.fit(module, datamodule=data)
    assert {"generalization/test_epoch", "val/embedding/explained_variance_2"} <= set(
        read(tmp_path)["metrics"]
    )


@CLAIMED
def test_an_infinite_setting_does_not_cost_the_results(tmp_path):
    with_config(tmp_path, {"model": {"init_args": {"limit": math.inf}}})
    trainer, module, data = build(tmp_path, RunSummary())
    trainer.fit(module, datamodule=data)
    assert len(read(tmp_path)["metrics"]["test/accuracy"]) == 2

"""What holds for every message about a user's mistake, and for every name of an earlier version."""

from __future__ import annotations

import shlex
from pathlib import Path

import numpy as np
import pytest
import yaml

from glassbox.cli.main import main
from glassbox.cli.renamed import OPTIONS
from lightning_modules.training.renamed import CLASSES
from tests.helpers.paths import config_path

TINY = (
    "--data.tokenizer bytes --data.block_size 16 --data.global_batch_size 4 "
    "--data.micro_batch_size 2 --model.network.num_layers 1 --model.network.num_heads 1 "
    "--model.network.width 16 --trainer.accelerator cpu --trainer.devices 1"
)
# A config's name, what is typed after it, and what the message must name.
MISTAKES = [
    # keys and options
    ("quickstart", "fit --model.learning_rat 1", "'learning_rate'"),
    ("quickstart", "fit --model.head.exponentt 2", "'exponent'"),
    ("quickstart", "fit --trainer.max_epoch 3", "'trainer.max_epochs'"),
    ("quickstart", "fit --trainr.max_epochs 3", "'trainer.max_epochs'"),
    ("gpt2_cpu", "fit --model.network.num_layer 1", "'num_layers'"),
    ("quickstart", "fit stray", "'stray'"),
    ("quickstart", "fit --ckpt_path", "ckpt_path"),
    # classes
    ("quickstart", "fit --model.head HarmonicHed", "'HarmonicHead'"),
    ("quickstart", "fit --model.head MLP", "CrossEntropyHead"),
    ("quickstart", "fit --model Clasifier", "'Classifier'"),
    ("quickstart", "fit --data Algorithmic", "'AlgorithmicData'"),
    ("quickstart", "fit --trainer.callbacks+=WeightNorm", "'WeightNorms'"),
    ("quickstart", "fit --trainer.logger WandbLoger", "'WandbLogger'"),
    ("quickstart", "fit --model.network tests.nowhere.Net", "tests.nowhere.Net"),
    ("safr_sst2", "check --model.network MLP", "TextTransformer"),
    # values
    ("quickstart", "fit --data.batch_size zero", "data.batch_size"),
    ("quickstart", "fit --model.betas '[0.9, 1.5]'", "betas"),
    ("quickstart", "fit --model.weight_decay .nan", "weight_decay"),
    ("quickstart", "fit --model.seeds '[1, 1]'", "seeds"),
    ("quickstart", "fit --model.num_seeds 0", "num_seeds"),
    ("quickstart", "fit --model.head.exponent -1", "exponent"),
    ("quickstart", "fit --data.train_fraction 1.5", "train_fraction"),
    ("quickstart", "fit --seed_everything true", "seed_everything"),
    ("quickstart", "fit --trainer.callbacks '[{init_args: {a: 1}}]'", "trainer.callbacks"),
    ("quickstart", "fit --ckpt_path nowhere.ckpt", "nowhere.ckpt"),
    ("gpt2_cpu", "fit --model.feature_scale_init cold", "model.feature_scale_init"),
    ("gpt2_cpu", "fit --data.block_size 100000", "data.block_size"),
    ("gpt2_cpu", "fit --data.micro_batch_size 3", "global_batch_size"),
    ("gpt2_cpu", "fit --data.data_dir nowhere", "lightning prepare"),
    ("gpt2_cpu", "fit --trainer.gradient_clip_algorithm value", "gradient_clip_algorithm"),
    ("gpt2_cpu", "check --trainer.callbacks+ TextSamples", "TextSamples"),
    ("gpt2_cpu", "check --trainer.strategy fsdp", "trainer.strategy"),
    ("gpt2_cpu", "check --trainer.num_nodes 3", "micro"),
    ("safr_sst2", "check --model.network.pooling all", "data.pad_to"),
    ("safr_sst2", "check --data.variant glu", "'glue'"),
    ("safr_sst2", "check --trainer.callbacks.percent 100", "NeuronAllocation: percent"),
    ("quickstart", "check --model.head FocalHead --model.head.gamma -1", "gamma"),
    (
        "quickstart",
        "check --model.head FocalHead --model.seeds '[0, 0]' "
        "--model.head_settings '{exponent: [1, 2]}'",
        "'exponent'",
    ),
    # subcommands, configs and functions
    (None, "fit", "--config"),
    (None, "fti", "'fit'"),
    (None, "--config a.yaml fit", "lightning fit --config"),
    (None, "fit --config nowhere.yaml", "nowhere.yaml"),
    (None, "fit --config .", "config"),
    ("quickstart", "prepare", "AlgorithmicData"),
    (None, "sample", "--checkpoint"),
    (None, "sample nowhere.ckpt", "nowhere.ckpt"),
    (None, "sample nowhere.ckpt --top_k x", "top_k"),
    (None, "compare nowhere.ckpt --names '[a, b]'", "names"),
    (None, "export nowhere.ckpt --output out", "nowhere.ckpt"),
    (None, "reproduce", "--list"),
    (None, "reproduce --jobs 0 harmonic_loss/figure_2", "jobs"),
]


@pytest.fixture(scope="module")
def tokens(tmp_path_factory) -> Path:
    """Random bytes as nanoGPT's files."""
    folder = tmp_path_factory.mktemp("tokens")
    for split in ("train", "val"):
        np.random.default_rng(0).integers(0, 256, 400).astype("<u2").tofile(folder / f"{split}.bin")
    return folder


@pytest.fixture
def answer(tmp_path, monkeypatch, capsys, tokens, text_folder):
    """The one line that answers a command, which exits with 2 and leaves nothing behind."""

    def call(config: str | Path | None, typed: str) -> str:
        command, *words = shlex.split(typed)
        path = config_path(config) if isinstance(config, str) else config
        if path is not None:
            options = ["--trainer.default_root_dir", str(tmp_path)]
            if path.stem == "gpt2_cpu":
                options += ["--data.data_dir", str(tokens), *TINY.split()]
            elif path.stem == "safr_sst2":
                options += ["--data.data_dir", str(text_folder / "sst")]
            words = ["--config", str(path), *options, *words]
        before = set(tmp_path.rglob("*"))
        monkeypatch.chdir(tmp_path)
        with pytest.raises(SystemExit) as stop:
            main([command, *words])
        assert stop.value.code == 2
        printed = capsys.readouterr().err
        assert "Traceback" not in printed
        (line,) = [line for line in printed.splitlines() if "Seed set" not in line]
        assert line.startswith("error: ") and set(tmp_path.rglob("*")) == before
        return line

    return call


@pytest.mark.parametrize(("config", "typed", "named"), MISTAKES)
def test_a_mistake_is_answered_by_one_line_that_names_the_option(answer, config, typed, named):
    assert named in answer(config, typed)


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        ("num_seeds:", "num_seed:", "'num_seeds'"),
        ("max_epochs:", "max_epoch:", "'trainer.max_epochs'"),
        ("HarmonicHead", "HarmonicHat", "'HarmonicHead'"),
        ("EmbeddingGeometry", "Geometry", "EmbeddingGeometry"),
        ("seed_everything: 0", "seed_everything: [", "run.yaml"),
    ],
)
def test_a_mistake_in_a_config_is_answered_in_the_same_way(answer, tmp_path, old, new, named):
    text = config_path("quickstart").read_text()
    assert old in text
    (tmp_path / "run.yaml").write_text(text.replace(old, new))
    assert named in answer(tmp_path / "run.yaml", "fit")


RENAMED_OPTIONS = [
    ("quickstart", "fit --model.num_tokens 3", "model.num_inputs"),
    ("quickstart", "fit --model.network.num_tokens 3", "model.network.num_inputs"),
    ("gpt2_cpu", "fit --model.num_tokens 3", "model.context_length"),
    ("gpt2_cpu", "fit --model.start gpt2", "model.feature_scale_init"),
    ("gpt2_cpu", "fit --data.val_blocks 3", "data.val_windows"),
    ("superposition", "fit --model.kind relu", "model.activation"),
    ("safr_sst2", "fit --data.bucketing true", "data.bucket_batches"),
    ("mnist_harmonic", "fit --data.num_scored 3", "data.num_train_eval"),
    ("quickstart", "fit --trainer.callbacks+ FeatureGeometry --trainer.callbacks.linkage 1",
     "cluster_distance"),
    ("quickstart", "fit --trainer.callbacks+ DecisionMap --trainer.callbacks.keep_steps 1",
     "record_steps"),
    ("quickstart", "fit --trainer.callbacks+ TextSamples --trainer.callbacks.num_tokens 1",
     "num_generated"),
    ("quickstart", "fit --trainer.callbacks+ WordDeletion --trainer.callbacks.draws 1",
     "num_random_draws"),
    ("quickstart", "fit --trainer.callbacks+ WordDeletion --trainer.callbacks.percents 1",
     "deletion_percents"),
    ("quickstart", "fit --trainer.callbacks+ WordDeletion --trainer.callbacks.sweep_texts 1",
     "max_sweep_texts"),
    ("quickstart", "fit --trainer.callbacks+ ModelSelection --trainer.callbacks.weights best",
     "restore_best"),
    (None, "sample a.ckpt --num_tokens 3", "--num_generated"),
]  # fmt: skip


@pytest.mark.parametrize(("config", "typed", "new"), RENAMED_OPTIONS)
def test_an_old_option_is_answered_by_its_new_name(answer, config, typed, new):
    line = answer(config, typed)
    assert "was renamed to" in line and new in line


def test_every_old_option_is_tested():
    tested = {word.rpartition(".")[2].strip("-") for _, words, _ in RENAMED_OPTIONS
              for word in words.split() if word.startswith("--")}  # fmt: skip
    assert OPTIONS.keys() <= tested


def test_an_old_option_in_a_config_is_answered_by_its_new_name(answer, tmp_path):
    config = yaml.safe_load(config_path("quickstart").read_text())
    callback = {"class_path": "DecisionMap", "init_args": {"keep_steps": 3}}
    config["trainer"]["callbacks"].append(callback)
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(config))
    assert "keep_steps was renamed to" in answer(tmp_path / "run.yaml", "fit")


@pytest.mark.parametrize(("old", "new"), CLASSES.items())
def test_an_old_class_is_answered_by_its_new_name(answer, tmp_path, old, new):
    key = "head" if old.endswith("Head") else "network"
    typed = f"fit --model.{key} lightning_modules.{old}"
    assert f"renamed to {new}" in answer("quickstart", typed)
    config = yaml.safe_load(config_path("quickstart").read_text())
    config["model"]["init_args"][key] = {"class_path": old}
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(config))
    assert f"renamed to {new}" in answer(tmp_path / "run.yaml", "fit")

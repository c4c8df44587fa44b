"""EmbeddingGeometry: the right rows, the right score for the task, and what the figures say."""

from __future__ import annotations

import itertools
from types import SimpleNamespace

import lightning as L
import numpy as np
import pytest
import torch
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger

from callbacks import EmbeddingGeometry
from datamodules import (
    AlgorithmicData,
    EquivalenceClasses,
    Genealogy,
    GreaterThan,
    LatticeCompletion,
    ModularAddition,
    PermutationComposition,
)
from glassbox import metrics
from lightning_modules import Classifier
from tests.helpers.loggers import Unseen

GENERATIONS = torch.tensor([int(np.log2(node)) for node in range(1, 128)])


def coset_names(points):
    return [metrics.coset_partitions()[i].name for i in metrics.best_coset(points)[1].tolist()]


# Task, rows that carry the structure, and the score of these rows by name.
CASES = {
    "circle": (
        ModularAddition(),
        31,
        {
            "circularity": metrics.circularity,
            "circular_order": lambda points: metrics.circular_order(points)[0],
        },
    ),
    "lattice": (
        LatticeCompletion(),
        25,
        {"lattice_deviation": lambda points: metrics.lattice_deviation(points, 5)},
    ),
    "classes": (
        EquivalenceClasses(),
        40,
        {"class_compactness": lambda p: metrics.class_compactness(p, torch.arange(40) % 5)},
    ),
    "tree": (
        Genealogy(),
        127,
        {
            "generation_one_dimensionality": lambda points: metrics.generation_one_dimensionality(
                points, GENERATIONS
            )
        },
    ),
    "cosets": (
        PermutationComposition(),
        24,
        {"coset_silhouette": lambda p: metrics.best_coset(p)[0], "best_coset": coset_names},
    ),
    "line": (GreaterThan(), 30, {}),
}


def make_trainer(tmp_path, *callbacks, **options) -> L.Trainer:
    return L.Trainer(
        callbacks=list(callbacks),
        logger=options.pop("logger", None) or Unseen(),
        accelerator="cpu",
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
        log_every_n_steps=1,
        default_root_dir=tmp_path,
        **options,
    )


def train(tmp_path, task, probe, seeds=(3, 7), epochs=1, logger=None):
    data = AlgorithmicData(task, num_samples=60)
    module = Classifier(
        vocab_size=data.vocab_size,
        num_inputs=data.num_inputs,
        num_classes=data.num_classes,
        seeds=list(seeds),
        compile="never",
    )
    trainer = make_trainer(tmp_path, probe, max_epochs=epochs, logger=logger)
    trainer.fit(module, datamodule=data)
    return trainer, module


def measure(task, embedding):
    """The probe's values for an embedding (S, V, E), without training."""
    trainer = SimpleNamespace(datamodule=SimpleNamespace(task=task), current_epoch=0)
    module = SimpleNamespace(embedding_matrix=lambda: embedding)
    return EmbeddingGeometry().measure(trainer, module)


def noise(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("structure", CASES)
def test_results_are_those_of_the_rows_that_carry_the_structure(tmp_path, structure, monkeypatch):
    monkeypatch.setattr(EmbeddingGeometry, "figures", lambda *_: {})
    task, rows, scores = CASES[structure]
    probe = EmbeddingGeometry(every_n_epochs=1)
    trainer, module = train(tmp_path, task, probe)
    points = module.embedding_matrix()[:, :rows]
    assert points.shape == (2, rows, 16)
    expected = {f"val/embedding/{name}": score(points) for name, score in scores.items()}

    components = [f"val/embedding/explained_variance_{k}" for k in range(1, 17)]
    of_all = [name.replace("variance_", "variance_all_") for name in components]
    assert set(probe.results) == {*components, *of_all, *expected}
    everything = module.embedding_matrix()
    for seed, cloud in enumerate(everything.numpy()):
        squares = np.linalg.svd(cloud - cloud.mean(0), compute_uv=False) ** 2
        shares = [probe.results[name][seed].item() for name in of_all]
        np.testing.assert_allclose(shares, np.cumsum(squares) / squares.sum(), rtol=1e-4)
    assert torch.equal(probe.arrays["embedding"], everything)
    for seed, cloud in enumerate(points.numpy()):
        squares = np.linalg.svd(cloud - cloud.mean(0), compute_uv=False) ** 2
        shares = [probe.results[name][seed].item() for name in components]
        np.testing.assert_allclose(shares, np.cumsum(squares) / squares.sum(), rtol=1e-4)
    for name, value in expected.items():
        if isinstance(value, list):
            assert probe.results[name] == value
        else:
            torch.testing.assert_close(probe.results[name], value)
    # The two seeds are told apart, and the closing table names what there is.
    assert len(set(probe.results["val/embedding/explained_variance_2"].tolist())) == 2
    assert probe.summary_metrics == ["val/embedding/explained_variance_2", *expected]

    logged = {name for name in trainer.callback_metrics if name.startswith("val/embedding/")}
    numbers = [name for name in probe.summary_metrics if not name.endswith("best_coset")]
    assert logged == {f"{name}{end}" for name in numbers for end in ("", "_q25", "_q75")}


def test_answer_tokens_do_not_count_as_elements():
    embedding = noise(1, 42, 16)
    moved = embedding.clone()
    moved[:, 40:] += 100.0
    before, after = measure(EquivalenceClasses(), embedding), measure(EquivalenceClasses(), moved)
    assert before.pop("explained_variance_all_2") != after.pop("explained_variance_all_2")
    for name in before:
        if "_all_" not in name:
            torch.testing.assert_close(before[name], after[name])
    moved[:, 39] += 100.0
    assert measure(EquivalenceClasses(), moved)["class_compactness"] != before["class_compactness"]


def test_the_authors_genealogy_leaves_its_unused_first_token_out():
    task = Genealogy(protocol="code")
    embedding = noise(1, 130, 16)
    points = embedding[:, 1:127]
    expected = metrics.generation_one_dimensionality(points, GENERATIONS[:126])
    torch.testing.assert_close(measure(task, embedding)["generation_one_dimensionality"], expected)


def test_best_coset_is_named_by_its_subgroup_and_side():
    # Clusters by where 3 goes are the left cosets gH of the permutations that fix 3; clusters by
    # what goes to 0 are the right cosets Hg of those that fix 0.
    corners = torch.tensor([[0.0, 0.0], [0.0, 1.0], [2.0, 0.0], [2.0, 1.0]])
    permutations = list(itertools.permutations(range(4)))
    by_image = corners[[x[3] for x in permutations]]
    by_origin = corners[[x.index(0) for x in permutations]]
    values = measure(PermutationComposition(), torch.stack([by_image, by_origin]))
    assert values["best_coset"] == ["S3 (fixes 3), left", "S3 (fixes 0), right"]
    torch.testing.assert_close(values["coset_silhouette"], torch.ones(2))


def test_other_symmetric_groups_have_no_coset_score():
    values = measure(PermutationComposition(degree=3), noise(2, 6, 16))
    assert set(values) == {
        f"explained_variance_{part}{k}" for part in ("", "all_") for k in range(1, 17)
    }


def test_a_diverged_seed_leaves_the_other_seeds_values_alone():
    embedding = noise(2, 25, 16)
    alone = measure(LatticeCompletion(), embedding[1:])
    embedding[0] = torch.nan
    for name, value in measure(LatticeCompletion(), embedding).items():
        assert value[0].isnan(), name
        torch.testing.assert_close(value[1:], alone[name])


def test_two_figures_are_left_in_the_run_folder(tmp_path):
    logger = CSVLogger(tmp_path, name="run", version=0)
    train(tmp_path, LatticeCompletion(), EmbeddingGeometry(), logger=logger)
    names = {path.name for path in (tmp_path / "run" / "version_0" / "figures").iterdir()}
    assert names == {"embedding.png", "explained_variance.png"}


def test_figures_name_task_head_network_seeds_and_best_coset(tmp_path, monkeypatch):
    from matplotlib.text import Text

    drawn, draw = {}, EmbeddingGeometry.figures
    monkeypatch.setattr(
        EmbeddingGeometry, "figures", lambda *given: drawn.update(draw(*given)) or {}
    )
    probe = EmbeddingGeometry()
    train(tmp_path, PermutationComposition(), probe, seeds=(3, 52))
    assert set(drawn) == {"embedding", "explained_variance"}
    said = {
        name: " ".join(" ".join(text.get_text() for text in figure.findobj(Text)).split())
        for name, figure in drawn.items()
    }
    for text in said.values():
        assert "permutation · harmonic MLP · epoch 1" in text
    cosets = probe.results["val/embedding/best_coset"]
    for part in ("seed 3", "seed 52", *(name.partition(",")[0] for name in cosets)):
        assert part in said["embedding"]


def test_headings_say_how_many_epochs_were_trained(tmp_path, monkeypatch):
    headings, draw = [], EmbeddingGeometry.figures

    def record(*given):
        title = draw(*given)["explained_variance"].axes[0].get_title(loc="left")
        headings.append(" ".join(title.split()))
        return {}

    monkeypatch.setattr(EmbeddingGeometry, "figures", record)
    probe = EmbeddingGeometry(1, figures_every_n_epochs=2)
    trainer, module = train(tmp_path, LatticeCompletion(), probe, epochs=5)
    trainer.validate(module, datamodule=trainer.datamodule, verbose=False)
    model = "lattice · harmonic MLP"
    assert headings == [f"{model} · epoch {k}" for k in (2, 4, 5)] + [model]


def test_colors_are_the_blocks_of_each_seeds_best_coset():
    from callbacks.probes.embedding_geometry import coset_colors

    images = [x[3] for x in itertools.permutations(range(4))]
    corners = torch.tensor([[0.0, 0.0], [0.0, 1.0], [2.0, 0.0], [2.0, 1.0]])
    colors = coset_colors(corners[images][None])
    pairs = {(image, color) for image, color in zip(images, colors[0].tolist(), strict=True)}
    assert len(pairs) == 4  # one color for each image, and none twice


def test_figures_and_scalars_share_one_axis_in_tensorboard(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    logger = TensorBoardLogger(tmp_path, name="run", version=0)
    train(tmp_path, LatticeCompletion(), EmbeddingGeometry(1), epochs=6, logger=logger)
    events = EventAccumulator(logger.log_dir).Reload()
    figure = events.Images("figures/embedding")[-1].step
    assert abs(figure - events.Scalars("test/accuracy")[-1].step) <= 1


def test_a_diverged_seed_has_no_best_coset():
    embedding = noise(2, 24, 16)
    embedding[0] = torch.nan
    known = {partition.name for partition in metrics.coset_partitions()}
    assert measure(PermutationComposition(), embedding)["best_coset"][0] not in known


@pytest.mark.parametrize("task", [Genealogy(depth=3), ModularAddition(2)], ids=["tree", "circle"])
def test_a_task_too_small_for_its_score_is_still_measured(task):
    values = measure(task, noise(2, task.vocab_size, 16))
    assert "explained_variance_2" in values

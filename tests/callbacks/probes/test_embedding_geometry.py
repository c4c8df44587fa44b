"""EmbeddingGeometry: the right rows, the right score for the task, and its figures."""

from __future__ import annotations

import itertools
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from lightning.pytorch.loggers import CSVLogger
from matplotlib.text import Text

from callbacks import EmbeddingGeometry
from callbacks.probes.embedding_geometry import coset_colors
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
from tests.helpers.trainers import quiet_trainer

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


def train(task, probe, epochs=1, **options):
    data = AlgorithmicData(task, num_samples=60)
    module = Classifier(
        vocab_size=data.vocab_size, num_inputs=data.num_inputs, num_classes=data.num_classes,
        seeds=[3, 52], compile="never",
    )  # fmt: skip
    trainer = quiet_trainer(probe, max_epochs=epochs, **options)
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
def test_results_are_those_of_the_rows_that_carry_the_structure(structure):
    task, rows, scores = CASES[structure]
    probe = EmbeddingGeometry(every_n_epochs=1)
    trainer, module = train(task, probe)
    everything = module.embedding_matrix()
    points = everything[:, :rows]
    assert torch.equal(probe.arrays["embedding"], everything)
    expected = {f"val/embedding/{name}": score(points) for name, score in scores.items()}
    names = set(expected)
    for part, clouds in (("variance", points), ("variance_all", everything)):
        components = [f"val/embedding/explained_{part}_{k}" for k in range(1, 17)]
        names |= set(components)
        for seed, cloud in enumerate(clouds.numpy()):
            squares = np.linalg.svd(cloud - cloud.mean(0), compute_uv=False) ** 2
            fractions = [probe.results[name][seed].item() for name in components]
            np.testing.assert_allclose(fractions, np.cumsum(squares) / squares.sum(), rtol=1e-4)
    assert set(probe.results) == names
    for name, value in expected.items():
        if isinstance(value, list):
            assert probe.results[name] == value
        else:
            torch.testing.assert_close(probe.results[name], value)
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


def test_the_authors_genealogy_excludes_its_unused_first_token():
    task, embedding = Genealogy(protocol="code"), noise(1, 130, 16)
    expected = metrics.generation_one_dimensionality(embedding[:, 1:127], GENERATIONS[:126])
    torch.testing.assert_close(measure(task, embedding)["generation_one_dimensionality"], expected)


def test_best_coset_is_named_and_colored_by_its_subgroup_and_side():
    # Clusters by where 3 goes are the left cosets gH of the permutations that fix 3; clusters by
    # what goes to 0 are the right cosets Hg of those that fix 0.
    corners = torch.tensor([[0.0, 0.0], [0.0, 1.0], [2.0, 0.0], [2.0, 1.0]])
    permutations = list(itertools.permutations(range(4)))
    images = [x[3] for x in permutations]
    by_origin = corners[[x.index(0) for x in permutations]]
    values = measure(PermutationComposition(), torch.stack([corners[images], by_origin]))
    assert values["best_coset"] == ["S3 (fixes 3), left", "S3 (fixes 0), right"]
    torch.testing.assert_close(values["coset_silhouette"], torch.ones(2))
    colors = coset_colors(corners[images][None])[0].tolist()
    assert len(set(zip(images, colors, strict=True))) == len(set(colors)) == 4


def test_a_diverged_seed_does_not_affect_the_others():
    embedding = noise(2, 25, 16)
    alone = measure(LatticeCompletion(), embedding[1:])
    embedding[0] = torch.nan
    for name, value in measure(LatticeCompletion(), embedding).items():
        assert value[0].isnan(), name
        torch.testing.assert_close(value[1:], alone[name])
    assert measure(PermutationComposition(), embedding[:, :24])["best_coset"][0] == "none"


@pytest.mark.parametrize(
    "task",
    [Genealogy(depth=3), ModularAddition(2), PermutationComposition(degree=3)],
    ids=["tree", "circle", "cosets of S3"],
)
def test_a_task_too_small_for_its_score_has_explained_variances_only(task):
    values = measure(task, noise(2, task.vocab_size, 16))
    assert all(name.startswith("explained_variance_") for name in values)
    assert "explained_variance_2" in values


def test_figures_are_saved_and_show_task_head_epoch_seeds_and_best_coset(tmp_path):
    drawn, probe = [], EmbeddingGeometry(1, figures_every_n_epochs=2)
    draw = probe.figures
    probe.figures = lambda *given: drawn.append(draw(*given)) or drawn[-1]
    logger = CSVLogger(tmp_path, name="", version="run")
    trainer, module = train(PermutationComposition(), probe, epochs=3, logger=logger)
    trainer.validate(module, datamodule=trainer.datamodule, verbose=False)
    names = {path.name for path in (tmp_path / "run" / "figures").iterdir()}
    assert names == {"embedding.png", "explained_variance.png"}

    def text_of(figure):
        return " ".join(" ".join(text.get_text() for text in figure.findobj(Text)).split())

    for figures, epoch in zip(drawn, (2, 3, None), strict=True):
        for figure in figures.values():
            text = text_of(figure)
            assert "permutation · harmonic MLP" in text
            assert (f"epoch {epoch}" in text) if epoch else ("epoch" not in text)
    cosets = probe.results["val/embedding/best_coset"]
    for part in ("seed 3", "seed 52", *(name.partition(",")[0] for name in cosets)):
        assert part in text_of(drawn[-1]["embedding"])

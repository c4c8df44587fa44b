"""The published numbers of the studies: consistent with one another, and as they were read off."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
import yaml

from callbacks.probes.embedding_geometry import structure_scores
from datamodules import tasks
from tests.helpers.paths import ROOT

FOLDER = ROOT / "configs" / "reproduce" / "harmonic_loss"
STUDIES = {path.stem: yaml.safe_load(path.read_text()) for path in sorted(FOLDER.glob("*.yaml"))}
REFERENCE = ROOT.parent / "shared" / "REFERENCE.md"

# The authors' names, as the tables that were read off their figures have them.
TASKS = {
    "lattice": "lattice",
    "circle": "modular addition",
    "equivalence": "equivalence",
    "family_tree": "genealogy",
    "permutation": "permutation",
}
MODELS = {
    "M": "cross-entropy MLP",
    "HM": "harmonic MLP",
    "T": "cross-entropy transformer",
    "HT": "harmonic transformer",
}
BOTH = [(task, model) for task in TASKS.values() for model in MODELS.values()]
FRACTIONS = ("0.1", "0.2", "0.3", "0.4", "0.6", "0.7", "0.8", "0.9")  # the paper leaves out 0.5
COMPONENTS = (1, 2, 3, 5)


def grid_of(study: str) -> dict[str, Any]:
    return STUDIES[STUDIES[study].get("runs_of", study)]["grid"]


def table(study: str, metric: str, statistic: str = "median") -> dict[str, Any]:
    """The one table of a study about a metric."""
    found = [
        entry
        for entry in STUDIES[study]["tables"]
        if entry["metric"] == metric and entry.get("statistic", "median") == statistic
    ]
    assert len(found) == 1
    return found[0]


def published(study: str, metric: str, statistic: str = "median") -> dict[str, Any]:
    return table(study, metric, statistic)["published"]


def value(entry: Any) -> Any:
    """The number of an entry that may have a spread."""
    return entry[0] if isinstance(entry, list) else entry


def explained(components: int, task: str, model: str) -> float:
    """Figure 3(a), which has all 42 rows of the embedding for equivalence classes."""
    rows = "all_" if task == "equivalence" else ""
    metric = f"val/embedding/explained_variance_{rows}{components}"
    return published("figure_3a", metric)[task][model]


def leaves(tree: Any) -> Iterator[Any]:
    if isinstance(tree, dict):
        for branch in tree.values():
            yield from leaves(branch)
    else:
        yield tree


TABLES = [
    pytest.param(entry, id=f"{name}: {entry['name']}")
    for name, study in STUDIES.items()
    for entry in study.get("tables", [])
]


# ---- consistent with one another -----------------------------------------------------------------


@pytest.mark.parametrize("entry", TABLES)
def test_every_number_is_in_range_and_inside_its_spread(entry):
    shares = entry.get("statistic", "median") == "median" and entry.get("unit") is None
    longest = {"count_above": 20, "count_reached": 20}.get(entry.get("statistic"), 10_000)
    for leaf in leaves(entry["published"]):
        if leaf is None or leaf == "never":
            assert leaf is None or entry["unit"] == "epochs"
            continue
        numbers = leaf if isinstance(leaf, list) else [leaf]
        assert len(numbers) in (1, 3)
        assert all(0 <= number <= (1 if shares else longest) for number in numbers)
        if len(numbers) == 3:
            assert numbers[1] <= numbers[0] <= numbers[2]


@pytest.mark.parametrize(("task", "model"), BOTH)
def test_cumulative_explained_variance_rises_and_lies_above_equal_shares(task, model):
    values = [explained(components, task, model) for components in COMPONENTS]
    assert values == sorted(values)
    # The first k of 16 components hold at least k/16, whatever the embedding.
    shares = [components / 16 for components in COMPONENTS]
    assert all(found > share for found, share in zip(values, shares, strict=True))


@pytest.mark.parametrize(("task", "model"), [pair for pair in BOTH if pair[0] != "equivalence"])
def test_figure_7_and_figure_3a_agree_on_the_first_two_components(task, model):
    titles = published("figure_7", "val/embedding/explained_variance_2")[task][model]
    assert titles[0] == pytest.approx(explained(2, task, model), abs=0.03)


@pytest.mark.parametrize(("task", "model"), BOTH)
def test_number_of_flat_embeddings_fits_their_least_and_greatest_explained_variance(task, model):
    _, low, high = published("figure_7", "val/embedding/explained_variance_2")[task][model]
    counted = table("figure_7", "val/embedding/explained_variance_2", "count_above")
    threshold, count = counted["threshold"], counted["published"][task][model]
    assert (count == 20) == (low >= threshold)
    assert (count == 0) == (high < threshold)


def test_figure_2_shows_the_multilayer_perceptrons_of_figure_7():
    metric = "val/embedding/explained_variance_2"
    few, all_models = published("figure_2", metric), published("figure_7", metric)
    assert set(few) == set(all_models)
    for task, models in few.items():
        assert models == {
            model: all_models[task][model] for model in ("cross-entropy MLP", "harmonic MLP")
        }


def test_data_efficiency_has_figure_7s_tasks_models_and_protocols():
    own, other = STUDIES["figure_3b"], STUDIES["figure_7"]
    assert {axis: own["grid"][axis] for axis in ("task", "model")} == other["grid"]
    for key in ("config", "seeds", "protocols"):
        assert own[key] == other[key]
    # The first setting is its own: it scores networks at the end alone.
    assert own["settings"][0]["set"] == {"trainer.check_val_every_n_epoch": 1000}
    assert own["settings"][1:] == other["settings"]


@pytest.mark.parametrize("task", TASKS.values())
def test_accuracies_of_figure_3b_are_whole_numbers_of_test_examples(task):
    examples = 576 if task == "permutation" else 1000
    for entries in published("figure_3b", "test/accuracy")[task].values():
        assert set(entries) == {*FRACTIONS, "0.5"}
        assert entries["0.5"] is None
        for fraction, accuracy in entries.items():
            if accuracy is not None:
                tests = examples - examples * int(fraction[2:]) // 10  # training size rounded down
                # Not all are rounded to the nearest: 3 of 461 stands as 0.006, 181 of 231 as 0.783.
                assert abs(round(accuracy * tests) / tests - accuracy) <= 0.0006


@pytest.mark.parametrize(("task", "model"), BOTH)
def test_nobody_is_above_90_percent_on_the_test_set_before_the_training_set(task, model):
    test = value(published("figure_3c", "generalization/test_epoch", "median_reached")[task][model])
    train = published("figure_3c", "generalization/train_epoch", "median_reached")[task][model]
    assert (train is None) == (test is None)
    if train is not None:
        assert train <= test


@pytest.mark.parametrize(("task", "model"), BOTH)
def test_the_median_of_those_that_get_there_is_missing_where_none_does(task, model):
    reached = published("figure_3c", "generalization/test_epoch", "count_reached")[task][model]
    test = published("figure_3c", "generalization/test_epoch", "median_reached")[task][model]
    assert (test is None) == (reached == 0)


def test_a_network_that_never_fits_its_training_set_is_not_said_to_grok_or_not_to():
    claims = [claim for study in STUDIES.values() for claim in study.get("claims", [])]
    about = [claim for claim in claims if claim["metric"] == "generalization/delay"]
    assert about
    assert all(claim.get("among") == "generalization/train_epoch" for claim in about)


def test_chance_is_the_same_silhouette_wherever_cosets_are_told_from_it():
    counted = table("appendix_b", "val/embedding/coset_silhouette", "count_above")["threshold"]
    claimed = STUDIES["appendix_b"]["claims"][0]
    assert claimed["metric"] == "val/embedding/coset_silhouette"
    drawn = [STUDIES[name]["figures"][0]["options"]["chance"] for name in ("figure_2", "figure_7")]
    assert [claimed["than"], *drawn] == [counted] * 3


def test_the_small_careful_training_set_has_as_many_distinct_inputs_as_the_authors():
    inputs, drawn = 31**2, 800  # addition mod 31; 0.8 of 1,000 examples
    distinct = inputs * (1 - (1 - 1 / inputs) ** drawn)
    small, whole = STUDIES["training_set_size"]["grid"]["train fraction"].items()
    assert small[1] == {"data.train_fraction": float(small[0])}
    assert float(small[0]) * inputs == pytest.approx(distinct, abs=1)
    # The others are figure_7's runs, to the setting.
    assert whole == ("0.8", {})
    own, other = STUDIES["training_set_size"], STUDIES["figure_7"]
    for key in ("config", "seeds", "protocols"):
        assert own[key] == other[key]
    for model, keys in own["grid"]["model"].items():
        assert keys == other["grid"]["model"][model]
    assert all(setting in other["settings"] for setting in own["settings"])


def test_the_case_study_is_consistent():
    accuracy = published("figure_4", "test/accuracy")
    epochs = published("figure_4", "generalization/test_epoch")
    assert set(accuracy) == set(grid_of("figure_4")["run"])
    for run, share in accuracy.items():
        assert round(share * 200) / 200 == pytest.approx(share)  # 200 test examples
        assert (epochs[run] == "never") == (share < 0.9)


# ---- about what is measured ----------------------------------------------------------------------


@functools.cache
def scores_of(task: str) -> set[str]:
    """Names of the structure scores that a task's embedding has."""
    classes: dict[str, Callable[[], tasks.Task]] = {
        "lattice": tasks.LatticeCompletion,
        "modular addition": tasks.ModularAddition,
        "equivalence": tasks.EquivalenceClasses,
        "genealogy": tasks.Genealogy,
        "permutation": tasks.PermutationComposition,
    }
    rule = classes[task]()
    generator = torch.Generator().manual_seed(0)
    return set(
        structure_scores(rule, torch.randn(1, len(rule.embedding_tokens), 4, generator=generator))
    )


def tasks_of(study: str, entry: dict[str, Any]) -> list[str]:
    """The tasks that a table or claim speaks of."""
    asked = [entry.get(key) for key in ("where", "greater", "less", "than")]
    named = [part["task"] for part in asked if isinstance(part, dict) and "task" in part]
    if named:
        return [task for part in named for task in ([part] if isinstance(part, str) else part)]
    return list(grid_of(study).get("task", ["modular addition"]))


@pytest.mark.parametrize(
    ("study", "entry"),
    [
        pytest.param(name, entry, id=f"{name}: {entry.get('name') or entry['says']}")
        for name, study in STUDIES.items()
        for entry in [*study.get("tables", []), *study.get("claims", [])]
    ],
)
def test_every_table_and_claim_is_about_something_that_its_tasks_measure(study, entry):
    metric = entry["metric"]
    everywhere = {
        "test/accuracy", "test/accuracy_clean", "generalization/test_epoch",
        "generalization/train_epoch", "generalization/delay", "data/leak_fraction",
    }  # fmt: skip
    several = (
        r"val/embedding/explained_variance_(all_)?([1-9]|1[0-6])"
        r"|val/plane/(loss|weight_norm)(_at_\d+)?|val/plane/(accuracy|norm_growth|center_distance)"
        r"|val/weight_images/\w+"
    )
    if metric in everywhere or re.fullmatch(several, metric):
        return
    for task in tasks_of(study, entry):
        assert metric in {f"val/embedding/{name}" for name in scores_of(task)}


@pytest.mark.parametrize(
    "claim",
    [
        pytest.param(claim, id=f"{name}: {claim['says']}")
        for name, study in STUDIES.items()
        for claim in study.get("claims", [])
    ],
)
def test_every_claim_says_where_it_is_made_and_how_it_is_judged(claim):
    assert re.search(r"§[34]|Appendix|caption|\(ours\)", claim["says"])
    assert ("greater" in claim) != ("less" in claim)
    assert isinstance(claim["than"], dict) != ("share" in claim)


# ---- as they were read off -----------------------------------------------------------------------


def reference_rows(section: str) -> dict[tuple[str, str], list[str]]:
    """Cells of the first table of a section, by (task, model)."""
    if not REFERENCE.is_file():
        pytest.skip("needs ../shared/REFERENCE.md")
    text = REFERENCE.read_text().split(f"### {section} ")[1].split("\n### ")[0]
    rows = [[cell.strip(" *") for cell in line.split("|")[1:-1]] for line in text.splitlines()]
    return {
        (TASKS[row[0]], MODELS[row[1]]): row[2:]
        for row in rows
        if len(row) > 2 and row[0] in TASKS and row[1] in MODELS
    }


def spread(cell: str) -> list[float]:
    """[median, low, high] of "12 [8,29]"."""
    return [float(number) for number in re.findall(r"[\d.]+", cell)]


def test_explained_variances_are_those_that_were_read_off():
    rows = reference_rows("A.2.1")
    assert set(rows) == set(BOTH)
    columns = dict(zip((1, 2, 3, 4, 5, 6, 8, 10), range(8), strict=True))
    for (task, model), cells in rows.items():
        for components in COMPONENTS:
            assert explained(components, task, model) == float(cells[columns[components]])
        titles = published("figure_7", "val/embedding/explained_variance_2")[task][model]
        assert titles == pytest.approx([percent / 100 for percent in spread(cells[8])])


def test_accuracies_of_figure_3b_are_those_that_were_read_off():
    rows = reference_rows("A.2.2")
    tree = published("figure_3b", "test/accuracy")
    for task, model in BOTH:
        ours = [tree[task][model][fraction] for fraction in FRACTIONS]
        cells = rows.get((task, model))
        assert ours == ([None] * 8 if cells is None else [float(cell) for cell in cells])


def test_epochs_and_counts_of_figure_3c_are_those_that_were_read_off():
    rows = reference_rows("A.2.3")
    assert set(rows) == set(BOTH)
    for (task, model), (reached, in_axes, train, test, *_) in rows.items():
        count = int(reached.removesuffix("/20"))
        found = published("figure_3c", "generalization/test_epoch", "count_reached")
        assert found[task][model] == count
        found = published("figure_3c", "generalization/test_epoch", "median_reached")
        assert found[task][model] == (spread(test) if count else None)
        found = published("figure_3c", "generalization/train_epoch", "median_reached")
        assert found[task][model] == (int(train) if int(in_axes) else None)


def test_numbers_of_figure_4_are_those_that_were_read_off():
    if not REFERENCE.is_file():
        pytest.skip("needs ../shared/REFERENCE.md")
    text = REFERENCE.read_text().split("### A.2.6 ")[1].split("\n### ")[0]
    names = {"M": "cross-entropy MLP", "HM": "harmonic MLP"}
    seen = set()
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.split("|")[1:-1]]
        match = re.fullmatch(r"(M|HM), wd ([\d.]+)", cells[0]) if cells else None
        if match is None:
            continue
        run = f"{names[match[1]]}, weight decay {match[2]}"
        train, test = (cell if cell == "never" else int(cell) for cell in cells[4].split(" / "))
        seen.add(run)
        assert published("figure_4", "test/accuracy")[run] == float(cells[2])
        assert published("figure_4", "generalization/train_epoch")[run] == train
        assert published("figure_4", "generalization/test_epoch")[run] == test
        share = float(cells[5].removesuffix("%")) / 100
        assert published("figure_4", "val/embedding/explained_variance_2")[run] == share
    assert seen == set(grid_of("figure_4")["run"])

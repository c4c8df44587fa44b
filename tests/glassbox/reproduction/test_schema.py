"""Mistakes in a study's YAML raise one line that names the file and the key, before any run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from glassbox.reproduction.study import load_studies

TABLE: dict[str, Any] = {
    "name": "a table",
    "metric": "test/accuracy",
    "verdict": {"absolute": [0.05, 0.2]},
    "published": {"lattice": 0.9, "addition": None},
}
CLAIM: dict[str, Any] = {
    "statement": "a claim",
    "metric": "test/accuracy",
    "greater": {"task": "lattice"},
    "than": {"task": "addition"},
}
FIGURE: dict[str, Any] = {"name": "fig", "function": "glassbox.reproduction.figures.toy_points"}
NULL: dict[str, Any] = {"function": "glassbox.metrics.cosets.null_best_coset"}
REMOVED = object()


def changed(entry: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in {**entry, **changes}.items() if value is not REMOVED}


def error_of(path: Path) -> str:
    with pytest.raises(ValueError) as caught:
        load_studies(path, Path("/nowhere"))
    message = str(caught.value)
    assert "\n" not in message and path.stem in message
    return message


@pytest.mark.parametrize(
    ("changes", "option"),
    [
        ({"sedes": 20}, "'seeds'"),
        ({"config": "gone.yaml"}, "config"),
        *(({"seeds": seeds}, "seeds") for seeds in (0, [0, 0], [-1], "20", 2.5, [], True)),
        *(({"grid": grid}, "grid") for grid in (["task"], 3)),
        ({"grid": {"task": {}}}, "'task'"),
        ({"grid": {"task": {"a": "data.task"}}}, "task: a"),
        ({"grid": {"protocol": {"a": {}}}}, "protocol"),
        ({"grid": {"seed": {"a": {"model.seeds": [1]}}}}, "model.seeds"),
        ({"grid": {"n": {1: {}, "1": {}}}}, "n: values"),
        ({"protocols": {"authors": {}}}, "protocols"),
        ({"settings": [{"when": {}}]}, "'set'"),
        ({"settings": [{"when": {"tsak": "a"}, "set": {}}]}, "'tsak'"),
        ({"settings": [{"when": {"task": "a"}, "set": {}}]}, "'task'"),
        ({"settings": [{"when": {}, "set": {"model.help": "MLP"}}]}, "model.help"),
        ({"quick": {"seed": 1}}, "'seeds'"),
        ({"quick": {"seeds": 0}}, "seeds"),
        ({"quick": {"set": {3: "MLP"}}}, "quick: 3"),
        ({"minutes": float("nan")}, "minutes"),
        ({"quick": {"keep": {"task": "a"}}}, "quick.keep"),
        ({"quick": {"keep": {"protocol": "careful"}}}, "quick.keep"),
        ({"only": {"task": ["latice"]}}, "only"),
    ],
)
def test_a_mistake_in_the_grid_is_named(small_study, changes, option):
    grid = {"tables": [], "claims": [], "settings": [], **changes}
    assert option in error_of(small_study(**grid))


@pytest.mark.parametrize(
    ("changes", "option"),
    [
        *(({key: REMOVED}, key) for key in ("verdict", "metric", "published")),
        ({"threshhold": 1}, "'threshold'"),
        ({"statistic": "mean"}, "statistic"),
        ({"statistic": "count_above"}, "threshold"),
        ({"statistic": "count_above", "threshold": float("inf")}, "threshold"),
        ({"threshold": 0.5}, "threshold"),
        ({"statistic": "count_named"}, "starts_with"),
        ({"reference_protocol": "ours"}, "reference_protocol"),
        ({"published_seeds": 0}, "published_seeds"),
        ({"where": {"model": "MLP"}}, "'model'"),
        ({"where": {"protocol": "careful"}}, "'protocol'"),
        *(
            ({"published": published}, "published")
            for published in (
                {"lattice": 1},
                0.9,
                {"lattice": "nver", "addition": 1},
                {"lattice": [1, 2], "addition": 1},
                {"lattice": [1, 2, 0], "addition": 1},
                {"lattice": 1, "addition": 1, "tree": 1},
            )
        ),
        *(
            ({"verdict": rule}, "verdict")
            for rule in (
                {},
                {"relative": [1, 2]},
                {"absolute": [0.2, 0.1]},
                {"absolute": [0, 1]},
                {"absolute": 0.1},
                {"ratio": [0.5, 3]},
                {"ratio": ["a", "b"]},
                {"absolute": [1, 2], "ratio": [2, 3]},
            )
        ),
    ],
)
def test_a_mistake_in_a_table_is_named(small_study, changes, option):
    message = error_of(small_study(tables=[changed(TABLE, changes)]))
    assert "table 'a table'" in message and option in message


@pytest.mark.parametrize(
    ("changes", "option"),
    [
        *(({key: REMOVED}, key) for key in ("metric", "than", "greater")),
        ({"less": {"task": "lattice"}}, "greater or less"),
        ({"foreach": "task"}, "'for_each'"),
        ({"for_each": "model"}, "for_each"),
        ({"for_each": ["task", "protocol"]}, "for_each"),
        ({"for_each": [{"a": 1}]}, "for_each"),
        ({"for_each": "task"}, "for_each"),
        ({"greater": {"task": "latice"}}, "greater"),
        ({"greater": {"model": "MLP"}}, "greater"),
        ({"than": {"tsak": "addition"}}, "than"),
        ({"where": {"task": "tree"}}, "where"),
        *(({key: {"protocol": "careful"}}, key) for key in ("greater", "than", "where")),
        ({"where": {"task": "addition"}}, "greater and where"),
        ({"greater": {}}, "addition"),
        *(({"than": than}, "than") for than in ("much", float("nan"), True)),
        ({"than": 0.5, "share": 1.5}, "share"),
        ({"share": 0.5}, "share"),
        ({"than": 0.5, "or_equal": True}, "or_equal"),
    ],
)
def test_a_mistake_in_a_claim_is_named(small_study, changes, option):
    message = error_of(small_study(claims=[changed(CLAIM, changes)]))
    assert "claim 'a claim'" in message and option in message


@pytest.mark.parametrize(
    ("changes", "option"),
    [
        ({"figures": [changed(FIGURE, {"function": REMOVED})]}, "'function'"),
        ({"figures": [changed(FIGURE, {"function": "gone.draw"})]}, "'gone.draw'"),
        ({"figures": [changed(FIGURE, {"function": "draw"})]}, "'draw'"),
        (
            {"figures": [changed(FIGURE, {"function": "glassbox.reproduction.identity.FORMAT"})]},
            "FORMAT",
        ),
        ({"figures": [changed(FIGURE, {"options": {"color": 1}})]}, "options"),
        ({"figures": [changed(FIGURE, {"name": "a/b"})]}, "name"),
        ({"figures": [changed(FIGURE, {"metrics": [{"a": 1}]})]}, "metrics"),
        ({"figures": [FIGURE, FIGURE]}, "name"),
        ({"figures": [FIGURE], "arrays": {"null": NULL}}, "'null'"),
        ({"arrays": {"null": changed(NULL, {"options": {"draw": 9}})}}, "arrays: null"),
        ({"arrays": {"null": {}}}, "arrays: null"),
        ({"tables": [TABLE, TABLE]}, "name"),
    ],
)
def test_a_mistake_in_figures_or_names_is_named(small_study, changes, option):
    assert option in error_of(small_study(**changes))


@pytest.mark.parametrize(
    ("changes", "new"),
    [
        ({"claims": [changed(CLAIM, {"statement": REMOVED, "says": "a claim"})]}, "'statement'"),
        ({"claims": [changed(CLAIM, {"among": "loss"})]}, "'given_metric'"),
        ({"tables": [changed(TABLE, {"judged": "careful"})]}, "'reference_protocol'"),
        ({"figures": [{"name": "fig", "draw": "mine.draw"}]}, "'function'"),
    ],
)
def test_a_renamed_key_is_answered_with_its_new_name(small_study, changes, new):
    assert new in error_of(small_study(**changes))


def test_the_entries_that_the_mistakes_were_made_in_are_valid(small_study):
    number = changed(CLAIM, {"than": 0.5, "share": 0.9, "for_each": "task"})
    counted = {"name": "b", "statistic": "count_above", "threshold": 0.5}
    path = small_study(
        tables=[
            TABLE,
            changed(TABLE, {**counted, "where": {"task": "lattice"}}),
            changed(TABLE, {"verdict": {"ratio": [1.5, 3]}, "name": "c"}),
        ],
        claims=[
            CLAIM,
            number,
            changed(number, {"for_each": ["task"], "where": {"task": "lattice"}}),
        ],
        figures=[FIGURE],
        arrays={},
    )
    (study,) = load_studies(path, Path("/nowhere"))
    assert (len(study.tables), len(study.claims), len(study.figures)) == (3, 3, 1)


def test_labels_that_yaml_reads_as_numbers_are_text(small_study):
    path = small_study(
        grid={"fraction": {0.1: {"data.train_fraction": 0.1}, 0.5: {}}},
        quick={"keep": {"fraction": [0.1]}},
        tables=[
            changed(TABLE, {"published": {0.1: 0.3, 0.5: "never"}, "where": {"fraction": 0.1}})
        ],
        claims=[changed(CLAIM, {"greater": {"fraction": 0.5}, "than": {"fraction": [0.1]}})],
    )
    (study,) = load_studies(path, Path("/nowhere"))
    assert study.tables[0].published == {"0.1": 0.3, "0.5": "never"}
    assert study.claims[0].than == {"fraction": ["0.1"]}
    assert [*study.axes["fraction"]] == ["0.1", "0.5"]

"""Mistakes in a study's YAML: one sentence each, before anything runs."""

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
    "says": "a claim",
    "metric": "test/accuracy",
    "greater": {"task": "lattice"},
    "than": {"task": "addition"},
}
FIGURE: dict[str, Any] = {"name": "fig", "draw": "glassbox.reproduction.figures.exponents"}
NULL: dict[str, Any] = {"function": "glassbox.metrics.cosets.null_best_coset"}


def without(entry: dict[str, Any], *keys: str, **changes: Any) -> dict[str, Any]:
    return {key: value for key, value in {**entry, **changes}.items() if key not in keys}


def refused(path: Path) -> str:
    with pytest.raises(ValueError) as caught:
        load_studies(path, Path("/nowhere"))
    sentence = str(caught.value)
    assert "\n" not in sentence and path.name in sentence
    return sentence


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"sedes": 20}, "there is no key 'sedes' here; did you mean 'seeds'?"),
        ({"config": "gone.yaml"}, "there is no base config"),
        ({"seeds": 0}, "seeds is 0; give their number, at least 1, or a list of them"),
        ({"seeds": [0, 0]}, "seeds is [0, 0]; give their number"),
        ({"seeds": [-1]}, "seeds is [-1]; give their number"),
        ({"seeds": "20"}, "seeds is '20'; it must be a number or a list"),
        ({"seeds": 2.5}, "seeds is 2.5; give their number"),
        ({"grid": ["task"]}, "grid is ['task']; it must be keys with values"),
        ({"grid": {"task": {}}}, "the axis 'task' has no value"),
        ({"grid": {"task": {"a": "data.task"}}}, "task: a is 'data.task'; it must be keys with"),
        ({"grid": {"protocol": {"a": {}}}}, "an axis may not be called protocol"),
        ({"grid": {"seed": {"a": {"model.seeds": [1]}}}}, "a study does not set model.seeds"),
        ({"grid": {"n": {1: {}, "1": {}}}}, "n: values read the same as text: 1, '1'"),
        ({"protocols": {"authors": {}}}, "protocols are authors; they must be authors and careful"),
        ({"settings": [{"when": {}}]}, "settings lacks the key 'set'"),
        ({"settings": [{"when": {"tsak": "a"}, "set": {}}]}, "settings: there is no axis 'tsak'"),
        ({"settings": [{"when": {"task": "a"}, "set": {}}]}, "the axis 'task' has no value 'a'"),
        ({"quick": {"seed": 1}}, "quick: there is no key 'seed' here; did you mean 'seeds'?"),
        ({"quick": {"seeds": 0}}, "quick: seeds is 0; give their number, at least 1"),
        ({"quick": {"set": {"model.help": "MLP"}}}, "quick: model.help is no setting"),
        ({"minutes": float("nan")}, "minutes is nan; give a number"),
        ({"quick": {"keep": {"task": "a"}}}, "quick.keep: the axis 'task' has no value 'a'"),
        ({"quick": {"keep": {"protocol": "careful"}}}, "quick.keep: there is no axis 'protocol'"),
        ({"only": {"task": ["latice"]}}, "only: the axis 'task' has no value 'latice'"),
    ],
)
def test_grids_that_cannot_be(small_study, changes, sentence):
    grid = {"tables": [], "claims": [], "settings": [], **changes}
    if "only" in changes:  # which names the study, not the file
        with pytest.raises(ValueError) as caught:
            load_studies(small_study(**grid), Path("/nowhere"))
        assert sentence in str(caught.value)
    else:
        assert sentence in refused(small_study(**grid))


@pytest.mark.parametrize(
    ("table", "sentence"),
    [
        (without(TABLE, "verdict"), "the table 'a table' lacks the key 'verdict'"),
        (without(TABLE, threshhold=1), "there is no key 'threshhold' here; did you mean 'thresh"),
        (without(TABLE, statistic="mean"), "statistic is 'mean'; choose median, count_above, "),
        (without(TABLE, statistic="count_above"), "threshold and statistic count_above belong "),
        (
            without(TABLE, statistic="count_above", threshold=float("inf")),
            "threshold is inf; give a number",
        ),
        (without(TABLE, threshold=0.5), "threshold and statistic count_above belong together"),
        (without(TABLE, published_seeds=0), "published_seeds is 0, not at least 1"),
        (without(TABLE, where={"model": "MLP"}), "there is no axis 'model'; axes are task"),
        (without(TABLE, where={"protocol": "careful"}), "there is no axis 'protocol'"),
        (without(TABLE, published={"lattice": 1}), "lacks the grid point addition under published"),
        (without(TABLE, published=0.9), "lacks the grid point lattice under published"),
        (without(TABLE, published={"lattice": "nver", "addition": 1}), "lattice is 'nver'; give a"),
        (without(TABLE, published={"lattice": [1, 2], "addition": 1}), "is [1, 2]; give a number"),
        (without(TABLE, published={"lattice": [1, 2, 0], "addition": 1}), "is [1, 2, 0]; give a "),
        (without(TABLE, published={"lattice": 1, "addition": 1, "tree": 1}), "no value 'tree'"),
        *(
            (without(TABLE, verdict=rule), "give absolute or ratio (above 1), two rising numbers")
            for rule in (
                {}, {"relative": [1, 2]}, {"absolute": [0.2, 0.1]}, {"absolute": [0, 1]},
                {"absolute": 0.1}, {"ratio": [0.5, 3]}, {"ratio": ["a", "b"]},
                {"absolute": [1, 2], "ratio": [2, 3]},
            )
        ),
    ],
)  # fmt: skip
def test_tables_that_cannot_be(small_study, table, sentence):
    found = refused(small_study(tables=[table]))
    assert "the table 'a table'" in found and sentence in found


@pytest.mark.parametrize(
    ("claim", "sentence"),
    [
        (without(CLAIM, "metric"), "lacks the key 'metric'"),
        (without(CLAIM, "than"), "lacks the key 'than'"),
        (without(CLAIM, "greater"), "give greater or less, one of them"),
        (without(CLAIM, less={"task": "lattice"}), "give greater or less, one of them"),
        (without(CLAIM, foreach="task"), "no key 'foreach' here; did you mean 'for_each'?"),
        (without(CLAIM, for_each="model"), "for_each names 'model'; axes are task"),
        (without(CLAIM, for_each=["task", "protocol"]), "for_each names 'protocol'"),
        (without(CLAIM, greater={"task": "latice"}), "greater: the axis 'task' has no value 'lat"),
        (without(CLAIM, greater={"model": "MLP"}), "greater: there is no axis 'model'"),
        (without(CLAIM, than={"tsak": "addition"}), "than: there is no axis 'tsak'"),
        (without(CLAIM, where={"task": "tree"}), "where: the axis 'task' has no value 'tree'"),
        *(
            (without(CLAIM, **{key: {"protocol": "careful"}}), f"{key} names a protocol; a claim")
            for key in ("greater", "than", "where")
        ),
        (without(CLAIM, where={"task": "addition"}), "greater and where have no grid point in "),
        (without(CLAIM, greater={}), "addition is in greater and in than"),
        (without(CLAIM, than="much"), "than is 'much'; it must be keys with values or a number"),
        (without(CLAIM, than=float("nan")), "than is nan; give labels of points, or a number"),
        (without(CLAIM, than=0.5, share=1.5), "share is 1.5; it is the share of seeds, above 0"),
        (without(CLAIM, share=0.5), "share is 0.5; it is the share of seeds"),
        (without(CLAIM, for_each=[{"a": 1}]), "for_each names {'a': 1}; axes are task"),
        (without(CLAIM, for_each="task"), "for_each names 'task', by which the two groups differ"),
        (without(CLAIM, than=0.5, or_equal=True), "or_equal compares two groups; than is 0.5"),
    ],
)
def test_claims_that_cannot_be(small_study, claim, sentence):
    found = refused(small_study(claims=[claim]))
    assert "the claim 'a claim'" in found and sentence in found


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"figures": [without(FIGURE, "draw")]}, "the figure 'fig' lacks the key 'draw'"),
        ({"figures": [without(FIGURE, draw="gone.draw")]}, "there is no function 'gone.draw'"),
        ({"figures": [without(FIGURE, draw="draw")]}, "there is no function 'draw'"),
        (
            {"figures": [without(FIGURE, draw="glassbox.reproduction.run_store.FORMAT")]},
            "is no function",
        ),
        ({"figures": [without(FIGURE, options={"color": 1})]}, "does not take these options: got"),
        ({"figures": [without(FIGURE, name="a/b")]}, "its name must be that of a file"),
        ({"figures": [FIGURE, FIGURE]}, "and of no other figure"),
        ({"figures": [FIGURE], "arrays": {"null": NULL}}, "unexpected keyword argument 'null'"),
        ({"arrays": {"null": without(NULL, options={"draw": 9})}}, "arrays: null: callbacks.metri"),
        ({"arrays": {"null": {}}}, "arrays: null lacks the key 'function'"),
        ({"figures": [without(FIGURE, metrics=[{"a": 1}])]}, "metrics has {'a': 1}; give names"),
    ],
)
def test_figures_that_cannot_be(small_study, changes, sentence):
    assert sentence in refused(small_study(**changes))


def test_two_tables_of_one_name_are_refused(small_study):
    assert "another table has this name" in refused(small_study(tables=[TABLE, TABLE]))


def test_what_the_mistakes_above_were_made_in_is_accepted(small_study):
    """Or they would be refused for something else."""
    number = without(CLAIM, than=0.5, share=0.9, for_each="task")
    counted = without(
        TABLE, name="counted", statistic="count_above", threshold=0.5, where={"task": "lattice"}
    )
    path = small_study(
        tables=[TABLE, counted, without(TABLE, verdict={"ratio": [1.5, 3]}, name="a third")],
        claims=[CLAIM, number, without(number, for_each=["task"], where={"task": "lattice"})],
        figures=[FIGURE],
        arrays={},
    )
    (study,) = load_studies(path, Path("/nowhere"))
    assert (len(study.tables), len(study.claims), len(study.figures)) == (3, 3, 1)


def test_labels_that_yaml_takes_for_numbers_are_text_everywhere(small_study):
    path = small_study(
        grid={"fraction": {0.1: {"data.train_fraction": 0.1}, 0.5: {}}},
        quick={"keep": {"fraction": [0.1]}},
        tables=[without(TABLE, published={0.1: 0.3, 0.5: "never"}, where={"fraction": 0.1})],
        claims=[without(CLAIM, greater={"fraction": 0.5}, than={"fraction": [0.1]})],
    )
    (study,) = load_studies(path, Path("/nowhere"))
    assert study.tables[0]["published"] == {"0.1": 0.3, "0.5": "never"}
    assert [*study.axes["fraction"]] == ["0.1", "0.5"]

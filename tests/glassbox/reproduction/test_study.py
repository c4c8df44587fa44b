"""Studies: what a YAML means, the grid that it spans, and its smaller versions."""

from __future__ import annotations

from pathlib import Path

import pytest

from glassbox.reproduction.study import Study, find_studies, load_studies, study_title

NOWHERE = Path("/nowhere")


@pytest.fixture
def study(small_study) -> Study:
    """Two tasks, two fractions, and a setting of one task under one protocol."""
    path = small_study(
        seeds=[3, 1, 4],
        grid={
            "task": {"lattice": None, "addition": {"data.task": "ModularAddition"}},
            "fraction": {0.1: {"data.train_fraction": 0.1}, "0.5": {"data.train_fraction": 0.5}},
        },
        settings=[
            {"when": {"task": "lattice", "protocol": "authors"}, "set": {"model.head": "A"}},
            {"when": {"fraction": [0.1]}, "set": {"data.train_fraction": 0.15}},
            {"when": {}, "set": {"trainer.max_epochs": 9}},
        ],
        quick={"seeds": 2, "set": {"trainer.max_epochs": 1}, "keep": {"fraction": 0.1}},
        tables=[],
        claims=[],
    )
    (loaded,) = load_studies(path, NOWHERE)
    return loaded


def test_the_grid_is_every_combination_with_the_protocol_last(study):
    assert [tuple(point.values()) for point in study.points()] == [
        ("lattice", "0.1", "authors"), ("lattice", "0.1", "careful"),
        ("lattice", "0.5", "authors"), ("lattice", "0.5", "careful"),
        ("addition", "0.1", "authors"), ("addition", "0.1", "careful"),
        ("addition", "0.5", "authors"), ("addition", "0.5", "careful"),
    ]  # fmt: skip
    assert [*study.points()[0]] == ["task", "fraction", "protocol"]
    assert study.seeds == [3, 1, 4]


def test_keys_of_values_then_protocol_then_settings_override_one_another(study):
    keys = [study.keys_of(point) for point in study.points()]
    leak, epochs = {"data.sampling": "with_replacement"}, {"trainer.max_epochs": 9}
    assert keys[0] == {"data.train_fraction": 0.15, **leak, "model.head": "A", **epochs}
    assert keys[1] == {"data.train_fraction": 0.15, **epochs}
    assert keys[3] == {"data.train_fraction": 0.5, **epochs}
    assert keys[6] == {
        "data.task": "ModularAddition", "data.train_fraction": 0.5, **leak, **epochs
    }  # fmt: skip
    assert [*keys[6]] == ["data.task", "data.train_fraction", "data.sampling", "trainer.max_epochs"]


def test_the_quick_version_has_fewer_seeds_and_values_and_its_keys_win(study):
    quick = study.quickened()
    assert (quick.seeds, quick.is_quick, study.is_quick) == ([3, 1], True, False)
    assert {point["fraction"] for point in quick.points()} == {"0.1"}
    assert len(quick.points()) == 4
    assert quick.keys_of(quick.points()[0])["trainer.max_epochs"] == 1


def test_a_restricted_study_keeps_these_values_and_protocol_is_an_axis(study):
    only = study.restricted({"fraction": ["0.5"], "protocol": "careful"})
    assert [tuple(point.values()) for point in only.points()] == [
        ("lattice", "0.5", "careful"), ("addition", "0.5", "careful"),
    ]  # fmt: skip
    assert len(study.points()) == 8
    # Values that the quick version keeps and the restriction has left out: all that is left.
    assert {point["fraction"] for point in only.quickened().points()} == {"0.5"}


@pytest.mark.parametrize(
    ("only", "axis"),
    [({"tsak": ["lattice"]}, "tsak"), ({"task": ["latice"]}, "task"), ({"task": []}, "task")],
)
def test_an_unknown_or_empty_restriction_raises(study, only, axis):
    with pytest.raises(ValueError, match=f"only.*'{axis}'"):
        study.restricted(only)


# ---- studies that build on others ----------------------------------------------------------------

BORROWS = {"config": None, "grid": None, "seeds": None, "protocols": None, "settings": None}


def test_runs_of_shares_another_study_s_runs_with_own_tables(small_study):
    whole = small_study("whole", minutes=7)
    part = small_study(
        "part", **BORROWS, quick=None, runs_of="whole", only={"task": "addition"}, claims=[]
    )
    (first,), (second,) = load_studies(whole, NOWHERE), load_studies(part, NOWHERE)
    shared = [point for point in first.points() if point["task"] == "addition"]
    assert second.points() == shared
    assert [second.keys_of(p) for p in shared] == [first.keys_of(p) for p in shared]
    assert (second.seeds, second.quick, second.minutes) == (first.seeds, first.quick, 7)
    assert (second.name, second.config, second.claims) == ("part", first.config, [])


def test_a_collection_is_its_studies_in_order(small_study, tmp_path):
    small_study("b", title="Second")
    small_study("a", title="First")
    collection = tmp_path / "both.yaml"
    collection.write_text("title: Both\nstudies: [b, a]\n")
    assert [study.title for study in load_studies(collection, NOWHERE)] == ["Second", "First"]
    assert study_title(collection) == "Both"


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("studies: [gone]", "gone.yaml"),
        ("studies: []", "studies"),
        ("studies: [a, a]", "studies"),
        ("studies: [both]", "both"),
        ("studies: [a]\ngrid: {b: {}}", "grid"),
        ("runs_of: gone", "gone.yaml"),
        ("runs_of: a\nseeds: 2", "seeds"),
        ("title: nothing else", "config"),
        ("", "both.yaml"),
        ("- a list", "both.yaml"),
        ("seeds: [1, 2", "YAML"),
    ],
)
def test_a_file_that_is_not_a_study_raises(small_study, tmp_path, text, named):
    small_study("a")
    path = tmp_path / "both.yaml"
    path.write_text(text)
    with pytest.raises(ValueError, match=named):
        load_studies(path, NOWHERE)


def test_studies_are_found_by_name_folder_and_file(tmp_path, monkeypatch):
    for name in ("paper/figure_1.yaml", "paper/figure_2.yaml", "other/deep/table.yaml"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    monkeypatch.chdir(tmp_path / "other")
    figures = [tmp_path / "paper" / f"figure_{number}.yaml" for number in (1, 2)]
    assert find_studies("paper/figure_2", tmp_path) == figures[1:]
    assert find_studies("paper", tmp_path) == find_studies("paper/", tmp_path) == figures
    assert find_studies("other", tmp_path) == [tmp_path / "other" / "deep" / "table.yaml"]
    assert find_studies("deep/table.yaml", tmp_path) == [Path("deep/table.yaml")]
    for unknown in ("paper/figure_3", "paper/figure_1.yml", "nothing", "empty.yaml"):
        (tmp_path / "nothing").mkdir(exist_ok=True)
        with pytest.raises(ValueError, match=f"'{unknown}'"):
            find_studies(unknown, tmp_path)
    with pytest.raises(ValueError, match="paper/figure_1"):
        find_studies("paper/figur_1", tmp_path)

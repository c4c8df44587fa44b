"""Points of a grid put into runs: which together, which apart, and the config of a run."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest

from glassbox.reproduction.grouping import MAX_MEMBERS, config_of_run, group
from glassbox.reproduction.identity import identity_hash, identity_of

CONFIG: dict[str, Any] = {
    "config": ["/somewhere/lattice.yaml"],
    "seed_everything": 0,
    "model": {
        "class_path": "lightning_modules.Classifier",
        "init_args": {
            "head": {
                "class_path": "lightning_modules.HarmonicHead",
                "init_args": {"exponent": 2.0, "eps": 1e-4},
            },
            "network": {"class_path": "MLP", "init_args": {"hidden_dim": 100}},
            "num_seeds": 20,
            "seeds": None,
            "head_settings": None,
            "weight_decay": 0.01,
            "compile": "auto",
        },
    },
    "data": {
        "class_path": "datamodules.AlgorithmicData",
        "init_args": {"task": "Lattice", "sampling": "distinct", "train_fraction": 0.8},
    },
    "trainer": {
        "max_epochs": 7000,
        "max_steps": -1,
        "check_val_every_n_epoch": 1,
        "gradient_clip_val": None,
        "log_every_n_steps": 500,
        "logger": None,
        "callbacks": [
            {
                "class_path": "callbacks.EmbeddingGeometry",
                "init_args": {"every_n_epochs": 100, "figures_every_n_epochs": 2000},
            },
            {"class_path": "callbacks.Generalization", "init_args": {"threshold": 0.9}},
        ],
    },
}
HEAD = "model.init_args.head.init_args"
MERGED = ["data.init_args.train_fraction", "data.init_args.sampling", f"{HEAD}.exponent"]
APART = {
    f"{HEAD}.eps": 1e-3,
    f"{HEAD.removesuffix('.init_args')}.class_path": "CrossEntropy",
    "model.init_args.network.init_args.hidden_dim": 50,
    "model.init_args.weight_decay": 0.1,
    "data.init_args.task": "Genealogy",
    "trainer.max_epochs": 10000,
    "trainer.check_val_every_n_epoch": 10,
    "trainer.gradient_clip_val": 1.0,
    "trainer.gradient_clip_algorithm": "value",
    "trainer.max_time": "00:00:10:00",
    "trainer.callbacks": [],
}
SAME = {
    "model.init_args.num_seeds": 4,
    "model.init_args.seeds": [7],
    "model.init_args.compile": "never",
    "trainer.log_every_n_steps": 1,
    "trainer.logger": False,
    "trainer.accumulate_grad_batches": 1,
    "seed_everything": 3,
}


def config(**changes: Any) -> dict[str, Any]:
    """CONFIG with these dotted keys changed."""
    made = copy.deepcopy(CONFIG)
    for key, value in changes.items():
        *path, last = key.split(".")
        place = made
        for name in path:
            place = place[name]
        place[last] = value
    return made


def at(made: dict[str, Any], key: str) -> Any:
    for name in key.split("."):
        made = made[name]
    return made


# ---- what a point is -----------------------------------------------------------------------------


@pytest.mark.parametrize("key", [*APART, *MERGED])
def test_what_decides_numbers_makes_another_point(key):
    values = {MERGED[0]: 0.1, MERGED[1]: "with_replacement", MERGED[2]: 4.0}
    changed = config(**{key: (APART | values)[key]})
    assert identity_hash(identity_of(changed)) != identity_hash(identity_of(CONFIG))


@pytest.mark.parametrize("key", SAME)
def test_what_changes_no_number_makes_the_same_point(key):
    assert identity_of(config(**{key: SAME[key]})) == identity_of(CONFIG)


def test_how_often_a_probe_measures_and_draws_makes_the_same_point():
    changed = copy.deepcopy(CONFIG)
    changed["trainer"]["callbacks"][0]["init_args"] |= {
        "every_n_epochs": 5, "figures_every_n_epochs": None
    }  # fmt: skip
    assert identity_of(changed) == identity_of(CONFIG)
    changed["trainer"]["callbacks"][1]["init_args"]["threshold"] = 0.95
    assert identity_of(changed) != identity_of(CONFIG)


# ---- which together ------------------------------------------------------------------------------


def test_points_that_differ_in_fraction_sampling_and_exponent_are_one_run():
    points = [
        config(**{MERGED[0]: fraction, MERGED[1]: sampling, MERGED[2]: exponent})
        for fraction in (0.9, 0.1)
        for sampling in ("distinct", "with_replacement")
        for exponent in (2.0, 8.0)
    ]
    (run,) = group((point, [0, 5]) for point in points)
    assert run.members == 16 and len(run.points) == 8
    made, members = config_of_run(run)
    seeds = made["model"]["init_args"]["seeds"]
    assert seeds == [seed for _, seed in members] == [0, 5] * 8
    # Every member has the settings of its own point, whatever their order.
    fractions, samplings = at(made, MERGED[0]), at(made, MERGED[1])
    exponents = made["model"]["init_args"]["head_settings"]["exponent"]
    for row, (point, seed) in enumerate(members):
        assert seed in point.seeds
        settings = [fractions[row], samplings[row], exponents[row]]
        assert settings == [at(point.identity, key) for key in MERGED]
    assert fractions == sorted(fractions)  # so that members with as many steps are neighbors


@pytest.mark.parametrize("key", APART)
def test_points_that_differ_in_anything_else_are_two_runs(key):
    runs = group([(CONFIG, [0]), (config(**{key: APART[key]}), [0])])
    assert [run.members for run in runs] == [1, 1]


def test_an_exponent_of_root_width_is_a_run_of_its_own():
    runs = group((config(**{MERGED[2]: value}), [0]) for value in (2.0, None, 4.0))
    assert sorted(len(run.points) for run in runs) == [1, 2]


def test_settings_that_all_members_share_stay_as_they_were():
    (run,) = group((config(**{MERGED[0]: 0.3, MERGED[2]: e}), [0]) for e in (1.0, 2.0))
    made, _ = config_of_run(run)
    assert at(made, MERGED[0]) == 0.3 and at(made, MERGED[1]) == "distinct"
    assert made["model"]["init_args"]["head_settings"] == {"exponent": [1.0, 2.0]}
    (single,) = group([(CONFIG, [3])])
    assert config_of_run(single)[0]["model"]["init_args"]["head_settings"] is None


def test_equal_points_are_trained_once_with_the_seeds_of_all():
    (run,) = group([(CONFIG, [0, 1]), (config(seed_everything=9), [1, 2]), (CONFIG, [0])])
    assert [point.seeds for point in run.points] == [(0, 1, 2)]


def test_a_run_has_at_most_max_members():
    points = [(config(**{MERGED[0]: 0.1 + 0.01 * i}), range(30)) for i in range(10)]
    runs = group(points)
    assert sum(run.members for run in runs) == 300
    assert max(run.members for run in runs) <= MAX_MEMBERS and len(runs) == 2
    many = group([(CONFIG, range(500))])
    assert [run.members for run in many] == [200, 200, 100]
    assert sorted(s for run in many for point in run.points for s in point.seeds) == [*range(500)]


def test_seeds_that_are_done_are_dropped():
    other = config(**{MERGED[0]: 0.1})
    (run,) = group([(CONFIG, [0, 1, 2]), (other, [0, 1, 2])])
    first, second = (identity_hash(identity_of(c)) for c in (CONFIG, other))
    assert [p.seeds for p in run.without({first: [1], second: []}).points] == [(0, 2), (0, 1, 2)]
    left = run.without({first: [0, 1, 2, 3], second: [2]})
    assert [p.identity for p in left.points] == [identity_of(other)]
    assert left.members == 2
    assert not run.without({first: range(9), second: range(9)}).points


def test_a_model_that_trains_one_seed_at_a_time_has_a_run_for_each():
    single = copy.deepcopy(CONFIG)
    for key in ("seeds", "num_seeds", "head_settings"):
        del single["model"]["init_args"][key]
    other = copy.deepcopy(single)
    other["data"]["init_args"]["train_fraction"] = 0.1
    runs = group([(single, [4, 7]), (other, [4])])
    assert [run.members for run in runs] == [1, 1, 1]
    made, members = config_of_run(runs[1])
    assert made["seed_everything"] == 7 and [seed for _, seed in members] == [7]
    assert "seeds" not in made["model"]["init_args"]


# ---- the config of a run -------------------------------------------------------------------------


def test_a_run_of_a_grid_logs_draws_and_saves_nothing_and_its_point_is_the_same():
    (run,) = group([(CONFIG, [0])])
    before = json.dumps(run.config)
    made, _ = config_of_run(run)
    trainer = made["trainer"]
    assert trainer["logger"] is trainer["enable_checkpointing"] is False
    options = trainer["callbacks"][0]["init_args"]
    assert options["every_n_epochs"] > 10**6 and options["figures_every_n_epochs"] is None
    assert trainer["callbacks"][1]["init_args"] == {"threshold": 0.9}
    assert "config" not in made
    assert identity_of(made) == identity_of(CONFIG)
    assert json.dumps(run.config) == before


OWN = {"class_path": "mine.Shrink", "init_args": {"every_n_epochs": 3}}


@pytest.mark.parametrize(
    "change",
    [
        {f"{HEAD.removesuffix('.init_args')}.class_path": "mine.Head"},
        {"trainer.max_steps": 80},
        {"trainer.max_time": "00:01:00:00"},
        {"trainer.callbacks": [OWN]},
        {"data.class_path": "mine.Data"},
    ],
)
def test_other_classes_are_trained_point_by_point(change):
    points = [(config(**change, **leaves), [0, 1]) for leaves in ({}, {f"{HEAD}.exponent": 4.0})]
    assert [run.members for run in group(points)] == [2, 2]


def test_the_stride_of_other_callbacks_is_part_of_the_identity():
    often = config(**{"trainer.callbacks": [OWN]})
    seldom = config(**{"trainer.callbacks": [{**OWN, "init_args": {"every_n_epochs": 9}}]})
    assert identity_of(often) != identity_of(seldom)
    (run,) = group([(often, [0])])
    assert config_of_run(run)[0]["trainer"]["callbacks"] == [OWN]


@pytest.mark.parametrize("change", [{"trainer.fast_dev_run": True}, {"ckpt_path": "last.ckpt"}])
def test_trial_and_resumed_runs_raise(change):
    with pytest.raises(ValueError, match=r"fast_dev_run|ckpt_path"):
        identity_of(config(**change))


@pytest.mark.parametrize(
    ("trainer", "work"),
    [
        ({"max_epochs": 7}, 14),
        ({"max_epochs": None, "max_steps": 400}, 8),
        ({"max_epochs": -1, "max_steps": 400}, 8),
        ({"max_epochs": 2, "max_steps": 400}, 4),
        ({"max_epochs": None, "max_steps": -1}, 2),
    ],
)
def test_work_counts_epochs_or_steps_whichever_end_the_run(trainer, work):
    changes = {f"trainer.{key}": value for key, value in trainer.items()}
    (run,) = group([(config(**changes), [0, 1])])
    assert run.work == work

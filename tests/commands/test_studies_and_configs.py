"""A study's careful protocol is the shipped config of the same task and model, to the setting."""

import pytest

from glassbox.cli.commands import reproduce
from glassbox.reproduction.identity import identity_of
from glassbox.reproduction.study import load_studies
from tests.helpers.paths import config_path

NETWORKS = {"MLP": "", "transformer": "_transformer"}
HEADS = {"harmonic": "", "cross-entropy": "_cross_entropy"}


@pytest.fixture(scope="module")
def study():
    (study,) = load_studies(
        reproduce.STUDIES / "harmonic_loss" / "figure_7.yaml", reproduce.STUDIES
    )
    return study


@pytest.mark.parametrize(
    "task", ["lattice", "modular addition", "equivalence", "genealogy", "permutation"]
)
@pytest.mark.parametrize("model", [f"{head} {network}" for head in HEADS for network in NETWORKS])
def test_careful_protocol_is_the_shipped_config(study, task, model):
    head, network = model.split()
    name = f"{task.replace(' ', '_')}{NETWORKS[network]}{HEADS[head]}"
    shipped = identity_of(reproduce._resolved(str(config_path(name)), ()))
    point = {"task": task, "model": model, "protocol": "careful"}
    ours = identity_of(reproduce._config_of(study, point))
    assert ours["model"] == shipped["model"]
    assert ours["data"] == shipped["data"]
    assert ours["trainer"] == shipped["trainer"]


def test_the_authors_protocol_of_safr_is_the_shipped_preset():
    (study,) = load_studies(reproduce.STUDIES / "safr" / "table_1_sst2.yaml", reproduce.STUDIES)
    shipped = identity_of(reproduce._resolved(str(config_path("safr_sst2_authors")), ()))
    ours = identity_of(reproduce._config_of(study, {"weights": "1, 0.1", "protocol": "authors"}))
    assert ours["model"] == shipped["model"]
    assert ours["data"] == shipped["data"]
    for trainer in (ours["trainer"], shipped["trainer"]):
        trainer.pop("precision", None)  # the study takes bfloat16 for both protocols
    assert ours["trainer"] == shipped["trainer"]

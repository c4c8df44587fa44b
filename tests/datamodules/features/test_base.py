"""SparseFeatures and CircularFeatures: batches, members, sweeps, errors."""

import pytest
import torch
from lightning.pytorch.trainer.states import TrainerFn

from datamodules import CircularFeatures, SparseFeatures
from tests.helpers.loaders import only, trainer


def ready(cls=SparseFeatures, **options):
    data = cls(**{"num_features": 6, "batch_size": 16, "steps_per_epoch": 4, **options})
    data.setup()
    return data


# ---- batches -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cls", "option"), [(SparseFeatures, "sparsity"), (CircularFeatures, "scale")]
)
def test_an_epoch_is_one_batch_of_many_steps_for_every_seed_and_value(cls, option):
    data = ready(cls, **{option: [0.2, 0.9]}, seeds=[3, 4, 5] * 2)
    batch = only(data.train_dataloader())
    assert len(batch["inputs"]) == data.steps_per_epoch == 4
    assert batch["inputs"][0].shape == (6, 16, 6)
    assert batch["importance"].shape == (6, 6)
    assert data.num_values == 2
    assert [value[option] for value in data.member_settings] == [0.2] * 3 + [0.9] * 3


@pytest.mark.parametrize(
    ("cls", "option"), [(SparseFeatures, "sparsity"), (CircularFeatures, "scale")]
)
def test_a_member_of_a_sweep_has_the_draws_of_a_separate_run(cls, option):
    sweep = ready(cls, **{option: [0.2, 0.9]}, seeds=[3, 4, 3, 4])
    for loader in ("train_dataloader", "val_dataloader"):
        together = only(getattr(sweep, loader)())["inputs"]
        for member, settings in enumerate(sweep.member_settings):
            alone = ready(cls, **settings, seeds=[sweep.member_seeds[member]])
            its_own = only(getattr(alone, loader)())["inputs"]
            for step in (0, 3):
                assert torch.equal(together[step][member], its_own[step][0])


def test_draws_have_the_sparsity_of_their_member_and_feature():
    sparsity = [0.0, 0.9, [0.0, 0.5, 0.9, 0.99, 0.5, 0.0]]
    data = ready(sparsity=sparsity, seeds=[1, 1, 1], batch_size=20_000)
    active = only(data.train_dataloader())["inputs"][0] > 0
    expected = torch.tensor([[0.0] * 6, [0.9] * 6, sparsity[2]])
    error = (1 - active.double().mean(dim=1)) - expected
    # Five standard errors; a number drawn as exactly 0 counts as inactive.
    bound = 5 * (expected * (1 - expected) / 20_000).sqrt() + 1e-4
    assert (error.abs() <= bound).all()


def test_epochs_continue_the_steps_and_are_read_when_iteration_starts():
    data = SparseFeatures(6, batch_size=16, steps_per_epoch=4)
    data.trainer = trainer([1, 2])
    data.setup("fit")
    loader = data.train_dataloader()
    data.trainer.current_epoch = 2
    second = only(loader)["inputs"]
    assert second.first_step == 8
    whole = ready(steps_per_epoch=12, seeds=[1, 2])
    steps = only(whole.train_dataloader())["inputs"]
    for i in range(4):
        assert torch.equal(second[i], steps[8 + i])


def test_held_out_draws_are_the_same_at_every_validation_and_differ_from_training():
    data = SparseFeatures(6, 0.0, batch_size=16, steps_per_epoch=3, val_steps=2)
    data.trainer = trainer([1])
    data.setup("fit")
    held_out = only(data.val_dataloader())["inputs"]
    data.trainer.current_epoch = 5
    again = only(data.test_dataloader())["inputs"]
    assert len(held_out) == 2
    assert all(torch.equal(held_out[i], again[i]) for i in range(2))
    data.trainer.current_epoch = 0
    trained_on = torch.stack(list(only(data.train_dataloader())["inputs"]))
    assert not torch.isin(torch.stack(list(held_out)), trained_on).any()


# ---- importance ----------------------------------------------------------------------------------


def test_importance_is_a_power_of_a_number_or_listed_and_is_the_inner_axis():
    data = ready(num_features=3, sparsity=[0.0, 0.9], importance=[0.5, [3, 0, 1]], seeds=[7] * 4)
    assert data.member_importance().tolist() == [[1.0, 0.5, 0.25], [3.0, 0.0, 1.0]] * 2
    assert [value["sparsity"] for value in data.member_settings] == [0.0, 0.0, 0.9, 0.9]
    assert data.member_settings[1] == {"sparsity": 0.0, "importance": (3, 0, 1)}
    assert ready(importance=1).member_importance().tolist() == [[1.0] * 6]


# ---- members -------------------------------------------------------------------------------------


def test_seeds_are_the_model_s_and_by_default_each_value_has_seed_0():
    data = SparseFeatures(6, [0.1, 0.2])
    data.trainer = trainer([4, 8, 4, 8])
    data.setup("fit")
    assert data.member_seeds == [4, 8, 4, 8] and data.seeds is None
    assert ready(sparsity=[0.1, 0.2]).member_seeds == [0, 0]


def test_seeds_that_the_values_do_not_divide_are_an_error():
    with pytest.raises(ValueError, match=r"3 seeds.*2 values of sparsity"):
        ready(sparsity=[0.1, 0.2], seeds=[1, 2, 3])


# ---- errors --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cls", "name", "value"),
    [
        (SparseFeatures, "num_features", 0),
        (SparseFeatures, "batch_size", 0),
        (SparseFeatures, "steps_per_epoch", 0),
        (SparseFeatures, "val_steps", -1),
        (SparseFeatures, "sparsity", 1.0),
        (SparseFeatures, "sparsity", [0.5, -0.1]),
        (SparseFeatures, "sparsity", float("nan")),
        (SparseFeatures, "sparsity", []),
        (SparseFeatures, "sparsity", None),
        (SparseFeatures, "sparsity", [0.5, "x"]),
        (SparseFeatures, "sparsity", [[0.5]]),
        (SparseFeatures, "importance", -1.0),
        (SparseFeatures, "importance", float("inf")),
        (SparseFeatures, "importance", 1e30),
        (SparseFeatures, "importance", [[1.0, 2.0]]),
        (SparseFeatures, "pairs", "correlate"),
        (CircularFeatures, "scale", 0.0),
        (CircularFeatures, "scale", [1.0, 2.1]),
        (CircularFeatures, "scale", []),
        (CircularFeatures, "scale", None),
    ],
)
def test_options_out_of_range_are_errors(cls, name, value):
    with pytest.raises(ValueError, match=f"^{name} "):
        cls(**{name: value})


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"pairs": "correlated", "num_features": 5}, "num_features"),
        ({"pairs": "correlated", "num_features": 2, "sparsity": [[0.5, 0.6]]}, "sparsity"),
        ({"pairs": "anti-correlated", "sparsity": 0.4}, "sparsity"),
    ],
)
def test_features_that_do_not_allow_pairs_are_errors(options, name):
    with pytest.raises(ValueError, match=f"^{name} is"):
        SparseFeatures(**options)
    valid = {"pairs": "anti-correlated", "sparsity": [0.5, [0.3, 0.7] * 3]}
    assert ready(**valid).num_values == 2


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("sparsity", 0.8),
        ("importance", 0.7),
        ("pairs", "correlated"),
        ("batch_size", 5),
        ("steps_per_epoch", 5),
        ("num_features", 4),
    ],
)
def test_resuming_with_other_draws_is_an_error(name, value):
    data = SparseFeatures(**{name: value})
    data.trainer = trainer()
    with pytest.raises(ValueError, match=f"{name}="):
        data.load_state_dict(SparseFeatures().state_dict())
    data.trainer.state.fn = TrainerFn.VALIDATING
    data.load_state_dict(SparseFeatures().state_dict())


def test_a_list_with_one_number_per_feature_is_a_sweep_with_a_warning():
    with pytest.warns(UserWarning, match="importance"):
        data = SparseFeatures(importance=[1.0] * 20)
    assert data.num_values == 20
    assert SparseFeatures(importance=[[1.0] * 20]).num_values == 1

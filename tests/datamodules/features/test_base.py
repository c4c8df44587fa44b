"""The data modules of drawn features: batches, members, sweeps, refusals."""

import re
from types import SimpleNamespace

import pytest
import torch
from lightning.pytorch.trainer.states import TrainerFn

from datamodules import CircularFeatures, SparseFeatures


def ready(cls=SparseFeatures, **options):
    data = cls(**{"num_features": 6, "batch_size": 16, "steps_per_epoch": 4, **options})
    data.setup()
    return data


def only(loader):
    items = list(loader)
    assert len(items) == len(loader) == 1
    return items[0]


def trainer(seeds, epoch=0):
    return SimpleNamespace(lightning_module=SimpleNamespace(seeds=seeds), current_epoch=epoch)


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
    assert data.member_labels == [
        {"seed": seed, **value} for value in data.values for seed in (3, 4, 5)
    ]
    assert [value[option] for value in data.member_settings] == [0.2] * 3 + [0.9] * 3


@pytest.mark.parametrize(
    ("cls", "option"), [(SparseFeatures, "sparsity"), (CircularFeatures, "scale")]
)
def test_a_member_of_a_sweep_has_the_draws_of_a_run_of_its_own(cls, option):
    sweep = ready(cls, **{option: [0.2, 0.9]}, seeds=[3, 4, 3, 4])
    for loader in ("train_dataloader", "val_dataloader"):
        together = only(getattr(sweep, loader)())["inputs"]
        for member, label in enumerate(sweep.member_labels):
            alone = ready(cls, **{option: label[option]}, seeds=[label["seed"]])
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


def test_epochs_go_on_where_the_last_ended_and_the_epoch_is_read_when_it_is_asked():
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


def test_held_out_draws_are_the_same_at_every_validation_and_not_those_of_training():
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


def test_importance_is_a_power_of_a_number_or_stated_for_each_feature_and_varies_innermost():
    data = ready(num_features=3, sparsity=[0.0, 0.9], importance=[0.5, [3, 0, 1]], seeds=[7] * 4)
    assert data.member_importance().tolist() == [[1.0, 0.5, 0.25], [3.0, 0.0, 1.0]] * 2
    assert [label["sparsity"] for label in data.member_labels] == [0.0, 0.0, 0.9, 0.9]
    assert data.member_labels[1] == {"seed": 7, "sparsity": 0.0, "importance": (3, 0, 1)}
    assert ready(importance=1).member_importance().tolist() == [[1.0] * 6]


# ---- members -------------------------------------------------------------------------------------


def test_seeds_are_the_model_s_and_without_any_each_value_has_seed_0():
    data = SparseFeatures(6, [0.1, 0.2])
    data.trainer = trainer([4, 8, 4, 8])
    data.setup("fit")
    assert [label["seed"] for label in data.member_labels] == [4, 8, 4, 8]
    assert data.seeds is None
    assert [label["seed"] for label in ready(sparsity=[0.1, 0.2]).member_labels] == [0, 0]


def test_members_that_cannot_be_shared_out_among_values_are_refused():
    with pytest.raises(ValueError) as caught:
        ready(sparsity=[0.1, 0.2], seeds=[1, 2, 3])
    assert str(caught.value).startswith("3 members cannot be shared out among 2 values of sparsity")


def test_a_loader_before_setup_is_refused():
    # At once: Lightning's command line asks for loaders when it prints a data module.
    for name in ("train_dataloader", "val_dataloader", "test_dataloader", "predict_dataloader"):
        with pytest.raises(RuntimeError, match="setup"):
            getattr(SparseFeatures(), name)()


@pytest.mark.parametrize("is_ready", [False, True])
def test_a_data_module_can_be_printed(is_ready):
    data = CircularFeatures(scale=[0.5, 1.0], seeds=[1, 2])
    if is_ready:
        data.setup()
    assert str(data) == "CircularFeatures(90 features, 2 values of scale)"


# ---- refusals ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cls", "options", "said"),
    [
        (SparseFeatures, {"num_features": 0}, "num_features is 0; it must be at least 1"),
        (SparseFeatures, {"batch_size": 0}, "batch_size is 0; it must be at least 1"),
        (SparseFeatures, {"steps_per_epoch": 0}, "steps_per_epoch is 0; it must be"),
        (SparseFeatures, {"val_steps": -1}, "val_steps is -1; it must be at least 1"),
        (SparseFeatures, {"sparsity": 1.0}, "sparsity is 1.0; it must be at least 0 and below 1"),
        (SparseFeatures, {"sparsity": [0.5, -0.1]}, "sparsity is [0.5, -0.1]; it must be at least"),
        (SparseFeatures, {"sparsity": float("nan")}, "sparsity is nan; it must be at least 0"),
        (SparseFeatures, {"sparsity": []}, "sparsity is an empty list; give a number"),
        (SparseFeatures, {"sparsity": [[0.5]]}, "sparsity has a value with 1 entries for 20"),
        (SparseFeatures, {"importance": -1.0}, "importance is -1.0; it must be finite and not"),
        (SparseFeatures, {"importance": float("inf")}, "importance is inf; it must be finite"),
        (SparseFeatures, {"importance": [[1.0, 2.0]]}, "importance has a value with 2 entries"),
        (SparseFeatures, {"pairs": "correlate"}, "pairs is 'correlate'; did you mean 'corr"),
        (
            SparseFeatures,
            {"pairs": "correlated", "num_features": 5},
            "num_features is 5 and pairs is 'correlated'; give an even number",
        ),
        (
            SparseFeatures,
            {"pairs": "correlated", "num_features": 2, "sparsity": [[0.5, 0.6]]},
            "sparsity is [[0.5, 0.6]] and pairs is 'correlated'; features 2k and 2k + 1",
        ),
        (
            SparseFeatures,
            {"pairs": "anti-correlated", "sparsity": 0.4},
            "sparsity is 0.4 and pairs is 'anti-correlated'; at most one feature",
        ),
        (CircularFeatures, {"scale": 0.0}, "scale is 0.0; it must be above 0 and at most 2"),
        (CircularFeatures, {"scale": [1.0, 2.1]}, "scale is [1.0, 2.1]; it must be above 0"),
        (CircularFeatures, {"scale": []}, "scale is []; it must be above 0"),
    ],
)  # fmt: skip
def test_a_bad_option_is_refused_in_one_sentence_that_names_it(cls, options, said):
    with pytest.raises(ValueError) as caught:
        cls(**options)
    assert str(caught.value).startswith(said) and "\n" not in str(caught.value)


def test_anti_correlated_pairs_may_be_active_half_of_the_time_each():
    data = ready(pairs="anti-correlated", sparsity=[0.5, [0.3, 0.7] * 3])
    assert data.num_values == 2


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"sparsity": 0.8}, "sparsity 0.9, and now it is 0.8"),
        ({"importance": 0.7}, "importance 1.0, and now it is 0.7"),
        ({"pairs": "correlated"}, "pairs none, and now it is correlated"),
        ({"batch_size": 5}, "batch_size 1024, and now it is 5"),
        ({"steps_per_epoch": 5}, "steps_per_epoch 100, and now it is 5"),
        ({"num_features": 4}, "num_features 20, and now it is 4"),
    ],
)
def test_a_checkpoint_of_other_draws_is_not_gone_on_with(options, said):
    data = SparseFeatures(**options)
    data.trainer = SimpleNamespace(state=SimpleNamespace(fn=TrainerFn.FITTING))
    with pytest.raises(ValueError) as caught:
        data.load_state_dict(SparseFeatures().state_dict())
    assert str(caught.value).startswith(f"the checkpoint was written by a run with {said}, so that")
    data.trainer.state.fn = TrainerFn.VALIDATING
    data.load_state_dict(SparseFeatures().state_dict())


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"importance": 1e30}, "importance is 1e+30; it must be finite"),
        ({"sparsity": None}, "sparsity is None; give a number, or a list"),
        ({"sparsity": [0.5, "x"]}, "give a number, or a list"),
    ],
)
def test_what_is_no_number_or_too_large_is_refused_in_a_sentence(options, sentence):
    with pytest.raises(ValueError, match=re.escape(sentence)):
        SparseFeatures(**options)


def test_a_list_as_long_as_the_features_is_a_sweep_and_says_so():
    with pytest.warns(UserWarning, match=r"20 values to sweep.*\[\[...\]\]"):
        data = SparseFeatures(importance=[1.0] * 20)
    assert data.num_values == 20
    assert SparseFeatures(importance=[[1.0] * 20]).num_values == 1


def test_a_scale_that_is_none_is_refused():
    with pytest.raises(ValueError, match="scale is None; it must be above 0"):
        CircularFeatures(scale=None)

"""AlgorithmicData: epochs, evaluation, seeds, checkpoints."""

import pytest
import torch
from lightning.pytorch.trainer.states import TrainerFn

from datamodules import AlgorithmicData, EquivalenceClasses, Genealogy, ModularAddition
from datamodules.algorithmic import evaluation_batch
from datamodules.tasks.splitting import TaskSplit, split_examples
from tests.helpers.loaders import only, trainer


def ready(*arguments, **options):
    data = AlgorithmicData(*arguments, **options)
    data.setup()
    return data


def small_split(num_train, num_test, offset):
    """A split of recognizable examples: input (i, i + 1) has answer i."""
    numbers = torch.arange(offset, offset + num_train + num_test)
    inputs = torch.stack([numbers, numbers + 1], dim=1)
    leaked = torch.arange(num_test) % 2 == 0
    train, test = slice(num_train), slice(num_train, None)
    mirrored = torch.ones(num_test, dtype=torch.bool)
    return TaskSplit(inputs[train], numbers[train], inputs[test], numbers[test], leaked, mirrored)


# ---- training ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("task", "steps", "last"),
    [(ModularAddition(), 24, 32), (Genealogy(), 10, 12), (EquivalenceClasses(), 25, 32)],
    ids=lambda value: getattr(value, "name", None),
)
def test_an_epoch_has_every_training_example_of_every_seed_once(task, steps, last):
    data = ready(task, seeds=[5, 0])
    batch = only(data.train_dataloader())
    assert batch["inputs"].shape == (steps, 2, 32, task.num_inputs)
    assert batch["targets"].shape == (steps, 2, 32)
    assert data.steps_per_epoch == steps
    for member, seed in enumerate([5, 0]):
        split = split_examples(task, seed)
        real = batch["targets"][:, member] != -100
        assert real[:-1].all() and real[-1].sum() == last
        seen = torch.column_stack(
            [batch["inputs"][:, member][real], batch["targets"][:, member][real]]
        )
        expected = torch.column_stack([split.train_inputs, split.train_targets])
        assert sorted(seen.tolist()) == sorted(expected.tolist())


def test_a_member_with_fewer_examples_has_padding():
    data = ready(seeds=[1, 2], batch_size=4)
    data.splits = [small_split(10, 2, 0), small_split(3, 2, 100)]
    batch = only(data.train_dataloader())
    assert batch["inputs"].shape == (3, 2, 4, 2)
    assert sorted(batch["targets"][:, 0].flatten().tolist()) == [-100, -100, *range(10)]
    assert sorted(batch["targets"][0, 1].tolist()) == [-100, 100, 101, 102]
    assert (batch["targets"][1:, 1] == -100).all()
    real = batch["targets"] != -100
    assert torch.equal(batch["inputs"][real][:, 0], batch["targets"][real])
    assert (batch["inputs"] >= 0).all()  # padding is a valid token, so that it can be embedded


def test_a_seed_has_the_same_data_alone_and_with_others():
    seeds = [9, 0, 52]
    together = ready(seeds=seeds, batch_size=50)
    batches, evaluation = only(together.train_dataloader()), only(together.val_dataloader())
    for member, seed in enumerate(seeds):
        alone = ready(seeds=[seed], batch_size=50)
        for key, value in only(alone.train_dataloader()).items():
            assert torch.equal(batches[key][:, member], value[:, 0])
        for key, value in only(alone.val_dataloader()).items():
            assert torch.equal(evaluation[key][member], value[0])


def test_the_epoch_is_read_when_iteration_starts():
    data = ready(seeds=[1])
    data.trainer = trainer([1], epoch=0)
    loader = data.train_dataloader()
    orders = []
    for epoch in (0, 7, 0):
        data.trainer.current_epoch = epoch
        orders.append(only(loader)["inputs"])
    assert not torch.equal(orders[0], orders[1])
    assert torch.equal(orders[0], orders[2])


# ---- evaluation ----------------------------------------------------------------------------------


def test_an_evaluation_batch_has_training_examples_first():
    batch = evaluation_batch([small_split(4, 3, 0), small_split(2, 2, 100)])
    no, yes = False, True
    assert batch["inputs"].shape == (2, 7, 2)
    assert batch["targets"].tolist() == [
        [0, 1, 2, 3, 4, 5, 6],
        [100, 101, 102, 103, -100, -100, -100],
    ]
    assert batch["is_test"].tolist() == [
        [no, no, no, no, yes, yes, yes],
        [no, no, yes, yes, no, no, no],
    ]
    assert batch["leaked"].tolist() == [
        [no, no, no, no, yes, no, yes],
        [no, no, yes, no, no, no, no],
    ]
    assert torch.equal(batch["mirrored"], batch["is_test"])
    assert batch["inputs"][0, :, 1].tolist() == [1, 2, 3, 4, 5, 6, 7]


@pytest.mark.parametrize("sampling", ["distinct", "with_replacement"])
def test_evaluation_loaders_have_all_examples(sampling):
    data = ready(sampling=sampling, seeds=[0, 1])
    batch = only(data.val_dataloader())
    for member, split in enumerate(data.splits):
        is_test = batch["is_test"][member]
        for name, part in (("inputs", 0), ("targets", 1)):
            assert torch.equal(batch[name][member][~is_test], split[part])
            assert torch.equal(batch[name][member][is_test], split[part + 2])
        assert torch.equal(batch["leaked"][member][is_test], split.leaked)
        assert not batch["leaked"][member][~is_test].any()
    for loader in (data.test_dataloader(), data.predict_dataloader()):
        other = only(loader)
        assert all(torch.equal(other[key], batch[key]) for key in batch)


# ---- seeds ---------------------------------------------------------------------------------------


def test_seeds_are_the_model_s_unless_given():
    data = AlgorithmicData()
    for seeds in ([4, 8], [5]):  # one data module may serve several models
        data.trainer = trainer(seeds)
        data.setup("fit")
        expected = [split_examples(data.task, seed).train_inputs for seed in seeds]
        assert all(map(torch.equal, (split.train_inputs for split in data.splits), expected))
    before = data.splits
    data.setup("test")
    assert data.splits is before


def test_sizes_are_those_of_the_task():
    data = AlgorithmicData(Genealogy())
    assert (data.vocab_size, data.num_inputs, data.num_classes) == (130, 2, 130)
    assert AlgorithmicData().vocab_size == 31


# ---- errors --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("batch_size", 0),
        ("num_samples", 1),
        ("train_fraction", 0),
        ("train_fraction", 1),
        ("train_fraction", -0.5),
        ("train_fraction", float("nan")),
        ("train_fraction", [0.5, 1.5]),
        ("sampling", "without_replacement"),
        ("sampling", ["distinct", "other"]),
    ],
)
def test_options_out_of_range_are_errors(name, value):
    with pytest.raises(ValueError, match=f"^{name} is"):
        AlgorithmicData(**{name: value})


@pytest.mark.parametrize("name", ["train_fraction", "sampling"])
def test_a_list_needs_one_entry_per_seed(name):
    value = {"train_fraction": [0.5, 0.6], "sampling": ["distinct"] * 2}[name]
    with pytest.raises(ValueError, match=rf"data\.{name}"):
        ready(**{name: value}, seeds=[1, 2, 3])


def resumed(state=None, fn=TrainerFn.FITTING, **options):
    """Data of two seeds that load a checkpoint's state."""
    data = ready(seeds=[3, 7], **options)
    data.trainer = trainer(fn=fn)
    data.load_state_dict(AlgorithmicData().state_dict() if state is None else state)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("train_fraction", [0.8, 0.7]),
        ("train_fraction", 0.5),
        ("sampling", "with_replacement"),
        ("num_samples", 999),
        ("batch_size", 64),
    ],
)
def test_resuming_with_other_examples_is_an_error(name, value):
    with pytest.raises(ValueError, match=name):
        resumed(**{name: value})
    resumed(fn=TrainerFn.VALIDATING, **{name: value})


def test_a_list_of_equal_values_is_that_value_and_missing_settings_are_not_compared():
    resumed(train_fraction=[0.8, 0.8], sampling=["distinct", "distinct"])
    resumed({"train_fraction": [0.8, 0.8]}, num_samples=500)

"""The data module of the algorithmic tasks: epochs, evaluation, seeds, refusals."""

from types import SimpleNamespace

import pytest
import torch
from lightning.pytorch.trainer.states import TrainerFn

from datamodules import AlgorithmicData, EquivalenceClasses, Genealogy, ModularAddition
from datamodules.algorithmic import EpochLoader, evaluation_batch
from datamodules.tasks.splitting import Split, split_examples


def ready(*arguments, **options):
    data = AlgorithmicData(*arguments, **options)
    data.setup()
    return data


def only(loader):
    items = list(loader)
    assert len(items) == len(loader) == 1
    return items[0]


def trainer(seeds, epoch=0):
    return SimpleNamespace(
        lightning_module=SimpleNamespace(seeds=seeds), current_epoch=epoch, world_size=1
    )


def small_split(num_train, num_test, offset):
    """A split of recognizable examples: input (i, i + 1) has answer i."""
    numbers = torch.arange(offset, offset + num_train + num_test)
    inputs = torch.stack([numbers, numbers + 1], dim=1)
    leaked = torch.arange(num_test) % 2 == 0
    return Split(
        inputs[:num_train], numbers[:num_train], inputs[num_train:], numbers[num_train:],
        leaked, torch.ones(num_test, dtype=torch.bool),
    )  # fmt: skip


# ---- training ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("task", "steps", "last"),
    [(ModularAddition(), 24, 32), (Genealogy(), 10, 12), (EquivalenceClasses(), 25, 32)],
    ids=lambda value: getattr(value, "name", None),
)
def test_an_epoch_shows_every_training_example_of_every_seed_once(task, steps, last):
    data = ready(task, seeds=[5, 0])
    batch = only(data.train_dataloader())
    assert batch["inputs"].shape == (steps, 2, 32, task.num_inputs)
    assert batch["targets"].shape == (steps, 2, 32)
    assert data.steps_per_epoch == steps
    for member, seed in enumerate([5, 0]):
        split = split_examples(task, seed)
        real = batch["targets"][:, member] != -100
        assert real[:-1].all() and real[-1].sum() == last
        shown = [
            (*row, answer)
            for row, answer in zip(
                batch["inputs"][:, member][real].tolist(),
                batch["targets"][:, member][real].tolist(),
                strict=True,
            )
        ]
        there_is = [
            (*row, answer)
            for row, answer in zip(
                split.train_inputs.tolist(), split.train_targets.tolist(), strict=True
            )
        ]
        assert sorted(shown) == sorted(there_is)


def test_a_member_with_fewer_examples_gets_filled_batches():
    loader = EpochLoader([small_split(10, 2, 0), small_split(3, 2, 100)], [1, 2], 4, lambda: 0)
    batch = only(loader)
    assert batch["inputs"].shape == (3, 2, 4, 2)
    assert sorted(batch["targets"][:, 0].flatten().tolist()) == [-100, -100, *range(10)]
    assert sorted(batch["targets"][0, 1].tolist()) == [-100, 100, 101, 102]
    assert (batch["targets"][1:, 1] == -100).all()
    real = batch["targets"] != -100
    assert torch.equal(batch["inputs"][real][:, 0], batch["targets"][real])
    # What stands in a filled place is a token all the same, so that it can be embedded.
    assert (batch["inputs"] >= 0).all()


def test_a_seed_in_a_list_has_the_data_it_has_alone():
    seeds = [9, 0, 52]
    together = ready(seeds=seeds, batch_size=50)
    batches, evaluation = only(together.train_dataloader()), only(together.val_dataloader())
    for member, seed in enumerate(seeds):
        alone = ready(seeds=[seed], batch_size=50)
        its_batches, its_evaluation = only(alone.train_dataloader()), only(alone.val_dataloader())
        for key in its_batches:
            assert torch.equal(batches[key][:, member], its_batches[key][:, 0])
        for key in its_evaluation:
            assert torch.equal(evaluation[key][member], its_evaluation[key][0])


def test_the_epoch_is_read_when_the_batch_is_asked_for():
    data = ready(seeds=[1])
    data.trainer = trainer([1], epoch=0)
    loader = data.train_dataloader()
    orders = []
    for epoch in (0, 7, 0):
        data.trainer.current_epoch = epoch
        orders.append(only(loader)["inputs"])
    assert not torch.equal(orders[0], orders[1])
    assert torch.equal(orders[0], orders[2])
    data.trainer.current_epoch = 7
    assert torch.equal(only(data.train_dataloader())["inputs"], orders[1])


# ---- evaluation ----------------------------------------------------------------------------------


def test_an_evaluation_batch_has_training_examples_first_and_marks_the_rest():
    splits = [small_split(4, 3, 0), small_split(2, 2, 100)]
    batch = evaluation_batch(splits)
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
def test_validation_test_and_predict_loaders_hold_everything_there_is(sampling):
    data = ready(sampling=sampling, seeds=[0, 1])
    batch = only(data.val_dataloader())
    for member, split in enumerate(data.splits):
        for part, is_test in (("train", False), ("test", True)):
            of_part = batch["is_test"][member] == is_test
            assert torch.equal(batch["inputs"][member][of_part], getattr(split, f"{part}_inputs"))
            assert torch.equal(batch["targets"][member][of_part], getattr(split, f"{part}_targets"))
        trained_on = {tuple(row) for row in split.train_inputs.tolist()}
        leaked = [
            bool(is_test) and tuple(row) in trained_on
            for row, is_test in zip(
                batch["inputs"][member].tolist(), batch["is_test"][member].tolist(), strict=True
            )
        ]
        assert batch["leaked"][member].tolist() == leaked
    for loader in (data.test_dataloader(), data.predict_dataloader()):
        other = only(loader)
        assert all(torch.equal(other[key], batch[key]) for key in batch)


# ---- seeds ---------------------------------------------------------------------------------------


def test_seeds_are_the_model_s_unless_given():
    data = AlgorithmicData()
    data.trainer = trainer([4, 8])
    data.setup("fit")
    assert data.seeds is None  # and so the next model's seeds are taken as well
    assert len(data.splits) == 2
    assert torch.equal(data.splits[1].train_inputs, split_examples(data.task, 8).train_inputs)
    data.trainer = trainer([5])
    data.setup("fit")
    assert len(data.splits) == 1
    assert torch.equal(data.splits[0].train_inputs, split_examples(data.task, 5).train_inputs)


def test_seeds_that_differ_from_the_model_s_are_refused():
    for seeds in ([4, 9], [8, 4], [4]):
        data = AlgorithmicData(seeds=seeds)
        data.trainer = trainer([4, 8])
        with pytest.raises(ValueError) as caught:
            data.setup("fit")
        assert str(seeds) in str(caught.value) and "[4, 8]" in str(caught.value)
        assert "\n" not in str(caught.value)
    data = AlgorithmicData(seeds=[4, 8])
    data.trainer = trainer([4, 8])
    data.setup("fit")


def test_setup_for_another_stage_changes_nothing():
    data = ready(seeds=[3, 4])
    before = data.splits
    data.setup("test")
    assert data.splits is before


def test_a_loader_before_setup_is_refused():
    with pytest.raises(RuntimeError, match="setup"):
        AlgorithmicData().train_dataloader()


def test_sizes_of_the_task_are_passed_on():
    data = AlgorithmicData(Genealogy())
    assert (data.vocab_size, data.num_inputs, data.num_classes) == (130, 2, 130)
    assert AlgorithmicData().vocab_size == 31


# ---- refusals ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("batch_size", 0),
        ("batch_size", -5),
        ("num_samples", 1),
        ("num_samples", -1),
        ("train_fraction", 0),
        ("train_fraction", 1),
        ("train_fraction", 1.5),
        ("train_fraction", -0.5),
        ("train_fraction", float("nan")),
        ("sampling", "without_replacement"),
    ],
)
def test_a_bad_argument_is_refused_in_one_sentence_that_names_it(name, value):
    with pytest.raises(ValueError) as caught:
        AlgorithmicData(**{name: value})
    message = str(caught.value)
    assert message.startswith(f"{name} is {value!r}")
    assert "\n" not in message and len(message) < 120


def going_on(state=None, fn=TrainerFn.FITTING, **options):
    """Data of two seeds that have been given a checkpoint's state by a trainer."""
    data = AlgorithmicData(seeds=[3, 7], **options)
    data.setup()
    data.trainer = SimpleNamespace(state=SimpleNamespace(fn=fn))
    data.load_state_dict(AlgorithmicData().state_dict() if state is None else state)
    return data


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"train_fraction": [0.8, 0.7]}, "train_fraction 0.8, and now it is [0.8, 0.7]"),
        ({"train_fraction": 0.5}, "train_fraction 0.8, and now it is 0.5"),
        ({"sampling": "with_replacement"}, "sampling distinct, and now it is with_replacement"),
        ({"num_samples": 999}, "num_samples 1000, and now it is 999"),
        ({"batch_size": 64}, "batch_size 32, and now it is 64"),
        ({"keep_pairs_together": True}, "keep_pairs_together False, and now it is True"),
    ],
)
def test_a_checkpoint_of_other_examples_is_not_gone_on_with(options, said):
    with pytest.raises(ValueError) as caught:
        going_on(**options)
    assert str(caught.value).startswith(f"the checkpoint was written by a run with {said}, so that")
    going_on(fn=TrainerFn.VALIDATING, **options)  # what it can do with them may be asked


def test_a_list_of_one_value_is_that_value_and_what_a_checkpoint_does_not_say_is_not_compared():
    going_on(train_fraction=[0.8, 0.8], sampling=["distinct", "distinct"])
    going_on({"train_fraction": [0.8, 0.8]}, num_samples=500)


def test_pairs_are_kept_together_only_where_there_are_some():
    data = AlgorithmicData(Genealogy(), keep_pairs_together=True)
    with pytest.raises(ValueError, match="keep_pairs_together"):
        data.setup()
    pairs = ready(keep_pairs_together=True, seeds=[0, 1])
    assert not only(pairs.val_dataloader())["mirrored"].any()
    assert only(ready(seeds=[0, 1]).val_dataloader())["mirrored"].any()

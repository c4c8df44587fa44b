"""ToyPoints: batches, training against a plain loop and published losses, errors."""

import lightning as L
import pytest
import torch

from datamodules import ToyPoints
from lightning_modules import Classifier, CrossEntropyHead, HarmonicHead, Identity
from tests.helpers.loaders import only
from tests.helpers.loaders import trainer as stand_in_trainer

PLACES = {
    "two": [[1, 1], [-1, -1]],
    "five": [[0, 1], [0, -1], [-1, 0], [1, 0], [0, 0]],
}


def ready(points="five", **options):
    data = ToyPoints(points, **options)
    data.setup()
    return data


# ---- batches -------------------------------------------------------------------------------------


@pytest.mark.parametrize("points", PLACES)
def test_every_step_has_all_points_for_every_seed(points):
    data = ready(points, steps_per_epoch=3, seeds=[4, 0])
    batch, count = only(data.train_dataloader()), len(PLACES[points])
    assert batch["inputs"].shape == (3, 2, count, 2)
    assert batch["targets"].shape == (3, 2, count)
    for step in range(3):
        for member in range(2):
            assert batch["inputs"][step, member].tolist() == PLACES[points]
            assert batch["targets"][step, member].tolist() == list(range(count))
    assert (data.num_classes, data.num_inputs, data.vocab_size) == (count, 2, 0)


def test_an_epoch_of_many_steps_takes_no_memory():
    inputs = only(ready(steps_per_epoch=1000, seeds=list(range(20))).train_dataloader())["inputs"]
    assert inputs.untyped_storage().nbytes() == 5 * 2 * 4


def test_all_points_are_evaluated_once_as_training_examples():
    data = ready("two", seeds=[1, 2, 3])
    for loader in (data.val_dataloader(), data.test_dataloader(), data.predict_dataloader()):
        batch = only(loader)
        assert batch["inputs"].tolist() == [PLACES["two"]] * 3
        assert batch["targets"].tolist() == [[0, 1]] * 3
        assert not any(batch[name].any() for name in ("is_test", "leaked", "mirrored"))


# ---- training ------------------------------------------------------------------------------------


def bare_loop(seed, points, steps, exponent=None, bias=False):
    """A linear layer in plain torch, initialized with the seed and trained with Adam."""
    x = torch.tensor(PLACES[points], dtype=torch.float64)
    y = torch.arange(len(x))
    torch.manual_seed(seed)
    layer = torch.nn.Linear(2, len(x), bias=bias).double()
    optimizer = torch.optim.Adam(layer.parameters(), lr=1e-2)
    for _ in range(steps):
        if exponent is None:
            log_p = layer(x).log_softmax(-1)
        else:
            squared = torch.cdist(x, layer.weight).square() + 1e-6
            log_p = (squared ** (-exponent / 2)).log().log_softmax(-1)
        loss = torch.nn.functional.nll_loss(log_p, y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return layer


def harmonic(*sizes):
    return HarmonicHead(*sizes, exponent=2, eps=1e-6)


def biased(*sizes):
    return CrossEntropyHead(*sizes, bias=True)


def trained(folder, points, head, seeds, epochs, steps_per_epoch):
    data = ToyPoints(points, steps_per_epoch)
    module = Classifier(
        Identity, head, 0, 2, data.num_classes, tie_embedding=False, seeds=seeds,
        learning_rate=1e-2, weight_decay=0.0, compile="never",
    )  # fmt: skip
    trainer = L.Trainer(
        max_epochs=epochs, logger=False, accelerator="cpu", enable_progress_bar=False,
        enable_model_summary=False, enable_checkpointing=False, default_root_dir=folder,
    )  # fmt: skip
    trainer.fit(module, datamodule=data)
    assert trainer.global_step == epochs * steps_per_epoch
    return module


@pytest.mark.parametrize(("head", "loop"), [(harmonic, {"exponent": 2}), (biased, {"bias": True})])
@pytest.mark.parametrize("points", PLACES)
def test_training_matches_a_bare_loop_with_adam(tmp_path, points, head, loop):
    module = trained(tmp_path, points, head, [0, 3], 3, 10)
    for index, seed in enumerate((0, 3)):
        layer, ours = bare_loop(seed, points, 30, **loop), module.member(index).head
        torch.testing.assert_close(ours.weight.double(), layer.weight, rtol=1e-4, atol=1e-5)
        if layer.bias is not None:
            torch.testing.assert_close(ours.bias.double(), layer.bias, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("points", "head", "published"),
    [
        ("two", CrossEntropyHead, 2.04e-2),
        ("two", biased, 2.08e-2),
        ("two", harmonic, 6.08e-3),
        ("five", CrossEntropyHead, 0.878),
        ("five", biased, 0.868),
        ("five", harmonic, 7.06e-3),
    ],
)
def test_seed_0_has_the_notebook_s_loss_at_the_hundredth_step(tmp_path, points, head, published):
    module = trained(tmp_path, points, head, [0], 3, 33)  # before the hundredth update
    assert module.scores()["train/loss"].item() == pytest.approx(published, rel=3e-3)


# ---- errors --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("option", "value"), [("points", "fife"), ("steps_per_epoch", 0)])
def test_options_out_of_range_are_errors(option, value):
    with pytest.raises(ValueError, match=f"^{option} is"):
        ToyPoints(**{option: value})


@pytest.mark.parametrize(("option", "value"), [("points", "two"), ("steps_per_epoch", 7)])
def test_resuming_with_other_points_or_steps_is_an_error(option, value):
    data = ToyPoints(**{option: value})
    data.trainer = stand_in_trainer()
    with pytest.raises(ValueError, match=f"{option}=.*{value}"):
        data.load_state_dict(ToyPoints().state_dict())
    data.load_state_dict(data.state_dict())

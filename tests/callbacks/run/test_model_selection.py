"""ModelSelection keeps the best weights and tests them; a resumed run continues from the last."""

from __future__ import annotations

import pytest
import torch

from callbacks import ModelSelection, WordCapacity, WordDeletion
from tests.helpers.planted_words import small_classifier, text_trainer

pytestmark = pytest.mark.xdist_group("model_selection")
EPOCHS = 3
FIRST_IS_BEST = {"monitor": "val/loss", "mode": "max"}  # since the loss falls


def probes(**options) -> list:
    return [
        WordDeletion(scores=["vmask"], num_random_draws=2, deletion_percents=[0, 30]),
        WordCapacity(),
        ModelSelection(**options),
    ]


def fit(trained, *callbacks, epochs=EPOCHS, ckpt_path=None):
    model = small_classifier(trained.data)
    trainer = text_trainer(*callbacks, max_epochs=epochs)
    trainer.fit(model, datamodule=trained.data, ckpt_path=ckpt_path, weights_only=True)
    return trainer, model


def weights(model) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    assert one.keys() == other.keys()
    return all(torch.equal(one[name], other[name]) for name in one)


def measured_on_test_set(callbacks) -> dict[str, float]:
    results = {n: v for callback in callbacks for n, v in callback.results.items()}
    return {name: float(value) for name, value in results.items() if name.startswith("test/")}


@pytest.fixture(scope="module")
def last(trained):
    """A model trained without selection."""
    return fit(trained)[1]


@pytest.fixture(scope="module")
def selected(trained, tmp_path_factory):
    """A run with selection, its callbacks, and checkpoints of its middle and end."""
    folder = tmp_path_factory.mktemp("selected")
    callbacks = probes(**FIRST_IS_BEST)
    trainer, model = fit(trained, *callbacks)
    trainer.save_checkpoint(folder / "end.ckpt", weights_only=False)
    return model, callbacks, folder / "end.ckpt"


def test_the_best_epoch_is_tested_with_the_weights_of_a_run_that_stops_there(trained, selected):
    model, callbacks, _ = selected
    selection = callbacks[-1]
    assert int(selection.results["best/epoch"]) == 1
    assert selection.summary_metrics == ["best/epoch", "best/score"]
    again = probes()[:2]
    trainer, stopped = fit(trained, *again, epochs=1)
    assert same(weights(model), weights(stopped))
    trainer.test(stopped, datamodule=trained.data, verbose=False)
    assert measured_on_test_set(callbacks[:2]) == measured_on_test_set(again) != {}
    for name in ("test/loss", "test/accuracy"):
        assert float(model.scores()[name]) == float(stopped.scores()[name])
    score = float(selection.results["best/score"])
    assert score == pytest.approx(float(stopped.scores()["val/loss"]))


def test_a_checkpoint_resumes_from_the_last_weights_and_is_tested_with_the_best(
    trained, selected, last
):
    best, callbacks, path = selected
    stored = torch.load(path, weights_only=True)
    assert same(stored["state_dict"], weights(last))
    assert not same(weights(best), weights(last))
    again = probes(**FIRST_IS_BEST)
    model = small_classifier(trained.data, seed=5)
    trainer = text_trainer(*again)
    trainer.test(model, datamodule=trained.data, ckpt_path=path, verbose=False, weights_only=True)
    assert same(weights(model), weights(best))
    assert measured_on_test_set(again[:2]) == measured_on_test_set(callbacks[:2])


def test_a_resumed_run_keeps_the_best_weights_and_ends_with_the_same_bits(
    trained, selected, tmp_path
):
    model, callbacks, path = selected
    trainer, _ = fit(trained, *probes(**FIRST_IS_BEST), epochs=2)
    trainer.save_checkpoint(tmp_path / "half.ckpt", weights_only=False)
    again = probes(**FIRST_IS_BEST)
    # Dropout masks continue after those of the first half, as ExactResume makes sure of in a run.
    state = torch.get_rng_state()
    small = small_classifier(trained.data)
    torch.set_rng_state(state)
    resumed = text_trainer(*again, max_epochs=EPOCHS)
    resumed.fit(small, datamodule=trained.data, ckpt_path=tmp_path / "half.ckpt", weights_only=True)
    assert same(weights(small), weights(model))
    assert measured_on_test_set(again[:2]) == measured_on_test_set(callbacks[:2])
    resumed.save_checkpoint(tmp_path / "end.ckpt", weights_only=False)
    one, other = (torch.load(p, weights_only=True) for p in (path, tmp_path / "end.ckpt"))
    assert same(one["state_dict"], other["state_dict"])


def test_selection_changes_nothing_in_training(trained, last):
    _, model = fit(trained, ModelSelection(test=False))
    for name in ("val/loss", "val/accuracy"):
        assert torch.equal(model.scores()[name], last.scores()[name])
    assert not any(name.startswith("test/") for name in model.scores())


def test_of_equal_scores_the_first_wins_and_nan_never_does():
    callback = ModelSelection("val/score")
    model = torch.nn.Linear(1, 1)
    chosen = []
    for step, score in enumerate([torch.nan, 0.5, 0.5, 0.4, torch.inf, 0.6]):
        trainer = text_trainer()
        trainer.state.fn = "fit"
        trainer.callback_metrics["val/score"] = torch.tensor(score)
        progress = trainer.fit_loop.epoch_loop.automatic_optimization.optim_progress
        progress.optimizer.step.total.completed = step
        with torch.no_grad():
            model.weight.fill_(step)
        callback.on_validation_end(trainer, model)
        chosen.append(callback.step if callback.score is not None else None)
    assert chosen == [None, 1, 1, 1, 1, 5]
    assert float(callback.best["weight"]) == 5.0


def test_unknown_monitors_and_modes_are_refused(trained):
    with pytest.raises(ValueError, match=r"monitor 'val/acuracy'.*val/accuracy"):
        fit(trained, ModelSelection("val/acuracy"), epochs=1)
    with pytest.raises(ValueError, match="mode"):
        ModelSelection(mode="largest")

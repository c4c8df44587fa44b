"""ModelSelection: the best weights are kept as they were and tested; a resume takes the last."""

from __future__ import annotations

import pytest
import torch

from callbacks import ModelSelection, WordCapacity, WordDeletion
from tests.helpers.planted_words import small_classifier, text_trainer

EPOCHS = 4


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


def found_on_test(callbacks) -> dict[str, float]:
    found = {n: v for callback in callbacks for n, v in callback.results.items()}
    return {name: float(value) for name, value in found.items() if name.startswith("test/")}


@pytest.fixture(scope="module")
def selected(trained, tmp_path_factory):
    """A run with the selection, its callbacks, and a checkpoint of its end."""
    path = tmp_path_factory.mktemp("selected") / "end.ckpt"
    callbacks = probes(monitor="val/loss", mode="max")  # early epochs are the worst: the first
    trainer, model = fit(trained, *callbacks)
    trainer.save_checkpoint(path, weights_only=False)
    return trainer, model, callbacks, path


def test_the_best_epoch_is_tested_with_the_weights_of_a_run_that_stops_there(trained, selected):
    _, model, callbacks, _ = selected
    epoch = int(callbacks[-1].results["best/epoch"])
    assert epoch == 1 and callbacks[-1].summary_metrics == ["best/epoch", "best/score"]
    again = probes()[:2]
    trainer, stopped = fit(trained, *again, epochs=epoch)
    assert same(weights(model), weights(stopped))
    trainer.test(stopped, datamodule=trained.data, verbose=False)
    assert found_on_test(callbacks[:2]) == found_on_test(again) != {}
    for name in ("test/loss", "test/accuracy"):
        assert float(model.scores()[name]) == float(stopped.scores()[name])
    logged = float(callbacks[-1].results["best/score"])
    assert logged == pytest.approx(float(stopped.scores()["val/loss"]))


def test_a_checkpoint_goes_on_from_the_last_weights_and_is_tested_with_the_best(
    trained, selected, capsys
):
    _, best, _, path = selected
    _, last = fit(trained)
    stored = torch.load(path, weights_only=True)
    assert same(stored["state_dict"], weights(last))
    assert not same(weights(best), weights(last))
    callbacks = probes(monitor="val/loss", mode="max")
    model = small_classifier(trained.data, seed=5)
    trainer = text_trainer(*callbacks)
    trainer.test(model, datamodule=trained.data, ckpt_path=path, verbose=False, weights_only=True)
    assert same(weights(model), weights(best))
    assert found_on_test(callbacks[:2]) == found_on_test(selected[2][:2])
    assert "with the weights of epoch 1, the best by val/loss" in capsys.readouterr().out


def test_a_resumed_run_ends_with_the_same_bits_and_knows_the_best(trained, selected, tmp_path):
    _, model, callbacks, path = selected
    trainer, _ = fit(trained, *probes(monitor="val/loss", mode="max"), epochs=2)
    trainer.save_checkpoint(tmp_path / "half.ckpt", weights_only=False)
    again = probes(monitor="val/loss", mode="max")
    # Dropout masks go on where the first half left them (ExactResume keeps them in a run).
    state = torch.get_rng_state()
    small = small_classifier(trained.data)
    torch.set_rng_state(state)
    resumed = text_trainer(*again, max_epochs=EPOCHS)
    resumed.fit(small, datamodule=trained.data, ckpt_path=tmp_path / "half.ckpt", weights_only=True)
    assert same(weights(small), weights(model))
    assert found_on_test(again[:2]) == found_on_test(callbacks[:2])
    resumed.save_checkpoint(tmp_path / "end.ckpt", weights_only=False)
    one, other = (torch.load(p, weights_only=True) for p in (path, tmp_path / "end.ckpt"))
    assert same(one["state_dict"], other["state_dict"])


def test_the_selection_changes_nothing_in_training(trained):
    _, with_it = fit(trained, ModelSelection(test=False))
    kept = with_it.scores()
    _, alone = fit(trained)
    for name in ("val/loss", "val/accuracy"):
        assert torch.equal(kept[name], alone.scores()[name])
    assert not any(name.startswith("test/") for name in kept)


def test_of_equal_scores_the_first_counts_and_nan_never_does():
    callback = ModelSelection("val/score")
    model = torch.nn.Linear(1, 1)
    chosen = []
    for step, score in enumerate([torch.nan, 0.5, 0.5, 0.4, torch.inf, 0.6]):
        trainer = text_trainer()
        trainer.state.fn = "fit"
        trainer.callback_metrics["val/score"] = torch.tensor(score)
        trainer.fit_loop.epoch_loop.automatic_optimization.optim_progress.optimizer.step.total.completed = step  # noqa: E501
        with torch.no_grad():
            model.weight.fill_(step)
        callback.on_validation_end(trainer, model)
        chosen.append(callback.step if callback.score is not None else None)
    assert chosen == [None, 1, 1, 1, 1, 5]
    assert float(callback.best["weight"]) == 5.0


def test_a_monitor_that_nothing_logs_gives_a_sentence(trained):
    with pytest.raises(
        ValueError,
        match=r"monitor is 'val/acuracy', which no validation has logged; those there "
        r"are: val/accuracy, val/loss",
    ):
        fit(trained, ModelSelection("val/acuracy"), epochs=1)
    with pytest.raises(ValueError, match="ModelSelection: mode is 'largest'; choose one of max"):
        ModelSelection(mode="largest")


def test_a_run_without_validation_keeps_its_weights(trained):
    callback = ModelSelection()
    model = small_classifier(trained.data)
    trainer = text_trainer(callback, limit_val_batches=0)
    trainer.fit(model, datamodule=trained.data)
    other = small_classifier(trained.data)
    text_trainer(limit_val_batches=0).fit(other, datamodule=trained.data)
    assert same(weights(model), weights(other)) and callback.results == {}

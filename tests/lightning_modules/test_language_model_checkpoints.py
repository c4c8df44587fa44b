"""Checkpoints of LanguageModel: at which steps, which are the best, and what they contain."""

from __future__ import annotations

from functools import partial

import lightning as L
import pytest
import torch

from callbacks import RunCheckpoint
from lightning_modules import CrossEntropyHead, HarmonicHead, LanguageModel
from tests.helpers.language_model_runs import (
    BLOCK,
    Losses,
    checkpoints,
    expected_warnings,
    make_data,
    make_model,
    make_trainer,
)

pytestmark = expected_warnings


def test_a_resumed_run_writes_no_checkpoint_between_micro_batches(token_folder, tmp_path):
    # The step that it resumed from is a multiple of `every`, so that a checkpoint seems due again;
    # a run resumed from that one would not end with the same bits.
    folder, written = token_folder(train=22), []
    make_trainer(6, checkpoints(tmp_path / "first", 6)).fit(make_model(), make_data(folder, 1))

    class Moments(L.Callback):
        def on_save_checkpoint(self, trainer, pl_module, checkpoint):
            loop = checkpoint["loops"]["fit_loop"]["epoch_loop.batch_progress"]
            written.append((checkpoint["global_step"], loop["current"]["ready"] % 4))

    make_trainer(14, checkpoints(tmp_path / "second", 6), Moments()).fit(
        make_model(seed=1), make_data(folder, 1), ckpt_path=tmp_path / "first" / "step_6.ckpt",
        weights_only=True,
    )  # fmt: skip
    assert set(written) == {(12, 0), (14, 0)}


@pytest.mark.parametrize("micro", [4, 2])
def test_the_best_checkpoints_are_chosen_by_their_own_validation(token_folder, tmp_path, micro):
    """Not by that of the previous validation, which is the last known when the step ends."""

    class Scores(L.Callback):
        def __init__(self) -> None:
            self.of_step: dict[int, float] = {}

        def on_validation_end(self, trainer, pl_module):
            self.of_step[trainer.global_step] = float(trainer.callback_metrics["val/loss"])

    scores = Scores()
    checkpoint = RunCheckpoint(every_n_steps=2, save_top_k=1, monitor="val/loss")
    checkpoint.dirpath = str(tmp_path / "checkpoints")
    trainer = make_trainer(8, scores, checkpoint, val_check_interval=2, limit_val_batches=1.0)
    trainer.fit(make_model(), make_data(token_folder(), micro))
    assert list(scores.of_step) == [2, 4, 6, 8]
    best = min(scores.of_step, key=scores.of_step.__getitem__)
    assert best > 2  # else the validation before would tell the same
    assert {path.name for path in (tmp_path / "checkpoints").iterdir()} == {
        "last.ckpt",
        "previous.ckpt",
        f"step_{best}.ckpt",
    }
    assert float(checkpoint.best_model_score) == pytest.approx(scores.of_step[best])


@pytest.mark.parametrize(
    ("head", "tie"), [(HarmonicHead, True), (partial(CrossEntropyHead, bias=True), False)]
)
def test_a_checkpoint_describes_its_model(token_folder, tmp_path, head, tie):
    model = make_model(head=head, tie_embedding=tie)
    trainer = make_trainer(2, checkpoints(tmp_path / "kept"))
    trainer.fit(model, make_data(token_folder()))
    paths = list((tmp_path / "kept").glob("*.ckpt"))
    names = {"step_1.ckpt", "step_2.ckpt", "last.ckpt", "previous.ckpt"}
    assert {path.name for path in paths} == names
    for path in paths:
        torch.load(path, weights_only=True)
    again = LanguageModel.load_from_checkpoint(paths[0].parent / "last.ckpt", weights_only=True)
    assert (again.head.weight is again.network.embedding.weight) == tie
    assert type(again.head) is type(model.head) and again.hparams == model.hparams
    ids = torch.randint(257, (2, BLOCK))
    assert torch.equal(again.eval()(ids), model.eval()(ids))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # Inductor's
def test_compiling_leaves_the_names_in_a_checkpoint_and_the_losses(token_folder, tmp_path):
    runs = []
    for mode in ("never", "always"):
        losses = Losses()
        trainer = make_trainer(4, losses, checkpoints(tmp_path / mode, 100))
        model = make_model(compile=mode)
        trainer.fit(model, make_data(token_folder(name=mode), micro=2))
        stored = torch.load(tmp_path / mode / "last.ckpt", weights_only=True)
        runs.append((list(stored["state_dict"]), losses.per_step))
    assert runs[0][0] == runs[1][0]
    assert runs[0][1] == pytest.approx(runs[1][1], abs=1e-5)

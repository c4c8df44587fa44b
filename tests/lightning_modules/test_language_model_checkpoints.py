"""Checkpoints of LanguageModel: when they are written and what they contain."""

from __future__ import annotations

from functools import partial

import lightning as L
import pytest
import torch

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


@pytest.mark.parametrize(
    ("head", "tie"), [(HarmonicHead, True), (partial(CrossEntropyHead, bias=True), False)]
)
def test_checkpoint_says_how_to_build_its_model(token_folder, tmp_path, head, tie):
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

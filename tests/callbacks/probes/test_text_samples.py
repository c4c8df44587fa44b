"""TextSamples: what it writes and when, and that it does not affect training."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import lightning as L
import numpy as np
import pytest
import torch
from lightning.pytorch.loggers import TensorBoardLogger

from callbacks import TextSamples
from datamodules import OpenWebText
from lightning_modules import GPT2, LanguageModel
from tests.helpers.trainers import quiet_trainer

BLOCK, END = 16, 256
PROMPTS = ["ab", ""]

pytestmark = pytest.mark.filterwarnings("ignore:.*does not have many workers.*")


class Losses(L.Callback):
    """The loss of every step, the state of the global generator after it, and the modes."""

    def __init__(self) -> None:
        self.losses: list[float] = []
        self.states: list[torch.Tensor] = []
        self.modes: set[bool] = set()

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        self.modes |= {part.training for part in pl_module.modules()}

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self.losses.append(float(outputs["loss"]))
        self.states.append(torch.get_rng_state())


def make_model() -> LanguageModel:
    torch.manual_seed(0)
    network = partial(GPT2, num_layers=1, num_heads=1, width=16, dropout=0.1)
    settings = {"learning_rate": 1e-2, "warmup_steps": 2, "decay_steps": 50}
    return LanguageModel(network, vocab_size=257, context_length=BLOCK, **settings)


def make_trainer(folder: Path, *callbacks: L.Callback, steps: int = 6, **options) -> L.Trainer:
    settings = {
        "logger": TensorBoardLogger(folder, "run", default_hp_metric=False),
        "max_steps": steps,
        "max_epochs": None,
        "val_check_interval": 2,
        "check_val_every_n_epoch": None,
        "num_sanity_val_steps": 1,
    }
    return quiet_trainer(*callbacks, **{**settings, **options})


def data_of(folder: Path) -> OpenWebText:
    return OpenWebText(
        str(folder), tokenizer="bytes", block_size=BLOCK, global_batch_size=4,
        micro_batch_size=2, seed=0,
    )  # fmt: skip


def samples(*prompts: str, **options) -> TextSamples:
    return TextSamples(list(prompts) or PROMPTS, **{"num_generated": 20, **options})


def fit(folder: Path, tokens: Path, *callbacks: L.Callback, **options):
    """Train; returns the trainer, the model and what was written, None where nothing was."""
    trainer, model = make_trainer(folder, *callbacks, **options), make_model()
    trainer.fit(model, data_of(tokens))
    file = Path(trainer.logger.log_dir) / "samples.txt"
    return trainer, model, file.read_bytes().decode() if file.exists() else None


def steps_in(text: str) -> list[str]:
    return [line.strip("= ") for line in text.splitlines() if line.startswith("=== ")]


# ---- training is not affected ----------------------------------------------------------------


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_losses_weights_modes_and_random_numbers_are_those_without_it(
    tmp_path, token_folder, precision, monkeypatch
):
    tokens, generate, contexts = token_folder(), LanguageModel.generate, []

    def watch(self, *args, **options):
        contexts.append((torch.is_autocast_enabled("cpu"), torch.is_grad_enabled()))
        return generate(self, *args, **options)

    monkeypatch.setattr(LanguageModel, "generate", watch)
    results = []
    for more in ([], [samples(num_samples=2)]):
        losses = Losses()
        _, model, text = fit(tmp_path, tokens, losses, *more, precision=precision)
        results.append((losses, model.state_dict()))
        assert (text is not None) == bool(more)
    (plain, plain_weights), (watched, weights) = results
    assert len(set(plain.losses)) == 12 and watched.losses == plain.losses
    assert all(torch.equal(a, b) for a, b in zip(plain.states, watched.states, strict=True))
    assert not torch.equal(plain.states[0], plain.states[-1])  # dropout draws from it
    assert watched.modes == {True}
    for name, value in plain_weights.items():
        assert torch.equal(weights[name], value), name
    assert contexts == [(precision == "bf16-mixed", False)] * 6


# ---- when and where --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("stride", "steps", "expected"),
    [
        (1, 6, ["step 2", "step 4", "step 6"]),  # the last is not written twice
        (2, 7, ["step 4", "step 7"]),  # training ends between two validations
        (9, 3, ["step 3"]),
    ],
)
def test_it_writes_at_its_stride_and_when_training_ends(
    tmp_path, token_folder, stride, steps, expected
):
    callback = samples(every_n_validations=stride, num_generated=2)
    _, _, text = fit(tmp_path, token_folder(40), callback, steps=steps)
    assert steps_in(text) == expected


def test_the_file_contains_what_the_model_generates(tmp_path, token_folder):
    _, model, text = fit(tmp_path, token_folder(), samples(num_samples=2, seed=3))
    last = text.rpartition("=== step 6 ===")[2]
    expected = []
    for prompt in PROMPTS:
        ids = list(prompt.encode()) or [END]
        rows = model.generate(
            torch.tensor([ids] * 2), 20, seed=3, temperature=0.8, top_k=200, stop_token=END
        )
        for row in rows.tolist():
            new = row[len(ids) :]
            new = new[: new.index(END)] if END in new else new
            body = bytes(ids + new if prompt else new).decode(errors="replace")
            expected.append(f"--- prompt {prompt!r}\n{body}")
    assert last == "\n\n" + "\n\n".join(expected) + "\n\n"
    assert len(set(expected)) == 4


def test_tensorboard_has_the_text_of_every_step_unchanged_by_markdown(tmp_path, token_folder):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    trainer, _, text = fit(tmp_path, token_folder(), samples("*a*"))
    events = EventAccumulator(trainer.logger.log_dir, size_guidance={"tensors": 0}).Reload()
    logged = events.Tensors("samples/0/text_summary")
    assert [event.step for event in logged] == [2, 4, 6]
    pages = [event.tensor_proto.string_val[0].decode() for event in logged]
    for page, part in zip(pages, text.split("=== step ")[1:], strict=True):
        body = part.partition("--- prompt '*a*'\n")[2].removesuffix("\n\n")
        shown = page.partition("\n\n")[2].split("\n")
        assert all(line.startswith("    ") for line in shown)
        assert [line.removeprefix("    ") for line in shown] == body.splitlines()


def test_without_a_logger_it_writes_nothing(tmp_path, token_folder, monkeypatch):
    monkeypatch.chdir(tmp_path)
    callback = samples()
    make_trainer(tmp_path, callback, logger=False, steps=2).fit(
        make_model(), data_of(token_folder())
    )
    assert callback._written_at == 2
    assert not list(tmp_path.rglob("samples.txt"))


def test_validation_alone_writes_once(tmp_path, token_folder):
    trainer = make_trainer(tmp_path, samples(every_n_validations=5))
    trainer.validate(make_model(), data_of(token_folder()), verbose=False)
    text = (Path(trainer.logger.log_dir) / "samples.txt").read_text()
    assert steps_in(text) == ["validation"]


def test_a_resumed_run_keeps_the_stride():
    first, second = samples(every_n_validations=3), samples(every_n_validations=3)
    written = []
    trainer = SimpleNamespace(sanity_checking=False, state=SimpleNamespace(fn="fit"), global_step=0)
    for callback in (first, second):
        callback._write = lambda *_, name=callback: written.append(name)
    for _ in range(4):
        first.on_validation_end(trainer, None)
    second.load_state_dict(first.state_dict())
    second.on_validation_end(trainer, None)
    assert written == [first]
    second.on_validation_end(trainer, None)
    assert written == [first, second]


def test_a_model_that_diverged_is_reported_and_training_still_stops(tmp_path, token_folder):
    class Spoil(L.Callback):
        def on_validation_start(self, trainer, pl_module):
            if trainer.global_step == 4:
                pl_module.network.final_norm.weight.data[0] = torch.nan

    with pytest.raises(ValueError, match="step 5"):
        fit(tmp_path, token_folder(), Spoil(), samples())
    (file,) = tmp_path.rglob("samples.txt")
    before, _, after = file.read_text().partition("step 4")
    assert "NaN" in after and "NaN" not in before


# ---- refusals --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [
        {"every_n_validations": 0},
        {"num_samples": 0},
        {"num_generated": 0},
        {"top_k": 0},
        {"temperature": -1.0},
        {"temperature": float("inf")},
        {"seed": -1},
        {"prompts": []},
        {"prompts": "The"},
    ],
)
def test_options_out_of_range_are_refused(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        TextSamples(**options)


class Bare(L.LightningDataModule):
    """Text without an end-of-text token."""

    def encode(self, texts):
        return [list(text.encode()) for text in texts]

    def decode(self, ids):
        return bytes(ids).decode()


def test_other_data_and_models_are_refused_at_the_start():
    for data, module in (
        (L.LightningDataModule(), make_model()),
        (Bare(), L.LightningModule()),
    ):
        with pytest.raises(ValueError, match=r"TextSamples.*trainer\.callbacks"):
            samples().setup(SimpleNamespace(datamodule=data), module, "fit")
    trainer = SimpleNamespace(datamodule=Bare())
    with pytest.raises(ValueError, match=r"prompts.*end_of_text"):
        samples("a", "").setup(trainer, make_model(), "fit")
    samples("a", "b").setup(trainer, make_model(), "fit")


# ---- ranks -----------------------------------------------------------------------------------


def on_rank(rank: int, folder: str, port: int) -> None:
    os.environ.update(
        RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE="2", LOCAL_WORLD_SIZE="2",
        GROUP_RANK="0", TORCHELASTIC_RUN_ID="test", MASTER_ADDR="127.0.0.1",
        MASTER_PORT=str(port), OMP_NUM_THREADS="1",
    )  # fmt: skip
    torch.set_num_threads(1)
    here = Path(folder)
    for name, more in (("plain", []), ("watched", [samples()])):
        losses = Losses()
        fit(here / name, here / "tokens", losses, *more, devices=2, strategy="ddp")
        (here / f"{name}_{rank}.txt").write_text(repr(losses.losses))


def test_only_rank_zero_generates():
    generated = []
    module = SimpleNamespace(generate=lambda *args, **options: generated.append(args))
    trainer = SimpleNamespace(
        is_global_zero=False, sanity_checking=False, state=SimpleNamespace(fn="fit"), global_step=1
    )
    callback = samples()
    callback._ids = [[1], [2]]
    callback.on_validation_end(trainer, module)
    callback.on_train_end(trainer, module)
    assert not generated


@pytest.mark.slow
@pytest.mark.ddp
def test_of_two_ranks_the_first_writes_and_both_train_as_without_it(tmp_path, spawn_ranks):
    (tmp_path / "tokens").mkdir()
    rng = np.random.default_rng(0)
    for split, windows in (("train", 28), ("val", 5)):
        ids = rng.integers(0, 256, windows * BLOCK + 1).astype("<u2")
        ids.tofile(tmp_path / "tokens" / f"{split}.bin")
    spawn_ranks(on_rank, 2, str(tmp_path))
    for rank in range(2):
        plain, watched = (tmp_path / f"{name}_{rank}.txt" for name in ("plain", "watched"))
        assert watched.read_text() == plain.read_text() and "," in plain.read_text()
    (file,) = tmp_path.rglob("samples.txt")
    assert steps_in(file.read_text()) == ["step 2", "step 4", "step 6"]

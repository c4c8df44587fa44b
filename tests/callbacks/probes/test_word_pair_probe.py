"""Parallelograms and Analogies: the right words of the right model, logged, drawn and refused."""

from __future__ import annotations

import json
from functools import partial
from types import SimpleNamespace

import lightning as L
import numpy as np
import pytest
import torch
from lightning.pytorch.loggers import CSVLogger
from matplotlib.text import Text

from callbacks import Analogies, Parallelograms
from datamodules import AlgorithmicData, LatticeCompletion, OpenWebText
from glassbox.metrics import analogy_ranks, draw_quadruples
from lightning_modules import GPT2, Classifier, LanguageModel
from tests.helpers.trainers import quiet_trainer

PAIRS = {
    "present_past": [("walk", "walked"), ("win", "won"), ("sing", "sang"), ("buy", "bought")],
    "plural": [("fox", "oxen"), ("cat", "mice"), ("tree", "beef")],
}
# The last letters of the words above.
LETTERS = {"present_past": [b"kd", b"nn", b"gg", b"yt"], "plural": [b"xn", b"te", b"ef"]}


@pytest.fixture
def words(tmp_path) -> str:
    folder = tmp_path / "words"
    folder.mkdir()
    for task, pairs in PAIRS.items():
        content = [{"input": a, "output": b} for a, b in pairs]
        (folder / f"{task}.json").write_text(json.dumps(content))
    return str(folder)


def fit(tokens, *probes, **options) -> tuple[L.Trainer, LanguageModel]:
    """Train two steps on bytes, with a validation after each."""
    torch.manual_seed(0)
    tiny = partial(GPT2, num_layers=1, num_heads=1, width=16)
    model = LanguageModel(tiny, vocab_size=257, context_length=16, warmup_steps=1)
    data = OpenWebText(
        str(tokens), tokenizer="bytes", block_size=16, global_batch_size=4, micro_batch_size=4,
        seed=0,
    )  # fmt: skip
    trainer = quiet_trainer(
        *probes, max_steps=2, max_epochs=None, val_check_interval=1, check_val_every_n_epoch=None,
        **options,
    )  # fmt: skip
    trainer.fit(model, data)
    return trainer, model


def loss_by_hand(points: np.ndarray, task: str, components: int) -> np.ndarray:
    """Losses of a model (V, E) on the words' last bytes, by a singular value decomposition."""
    centered = points - points.mean(0)
    flat = centered @ np.linalg.svd(centered, full_matrices=False)[2][:components].T
    sigma = np.sqrt((flat**2).sum(1).mean())
    losses = []
    for a, b in draw_quadruples(len(LETTERS[task]), 500, seed=3).tolist():
        (i, j), (m, n) = LETTERS[task][a], LETTERS[task][b]
        losses.append(np.linalg.norm(flat[i] + flat[n] - flat[j] - flat[m]) / sigma)
    return np.array(losses)


@pytest.mark.parametrize("components", [2, 5])
def test_parallelograms_are_those_of_the_last_tokens_in_the_trained_embedding(
    words, token_folder, components
):
    probe = Parallelograms(words=words, components=components, num_quadruples=500, seed=3)
    trainer, model = fit(token_folder(), probe)
    # The module pads its embedding to 320 rows; only the 257 that are tokens count.
    assert len(model.network.embedding.weight) > 257
    points = model.network.embedding.weight[:257].detach().double().numpy()
    results = {k.removeprefix("val/parallelograms/"): v.item() for k, v in probe.results.items()}
    medians = []
    for task in PAIRS:
        losses = loss_by_hand(points, task, components)
        assert results[f"{task}/median"] == pytest.approx(np.median(losses), rel=1e-4)
        assert results[f"{task}/below_1"] == pytest.approx((losses < 1).mean(), abs=1e-6)
        assert results[f"{task}/zeros"] == pytest.approx((losses < 1e-9).mean(), abs=1e-6)
        quantile = np.quantile(losses, 0.25)
        assert results[f"{task}/quantile_25"] == pytest.approx(quantile, rel=1e-4)
        medians.append(np.median(losses))
    assert results["median"] == pytest.approx(np.median(medians))
    squares = np.linalg.svd(points - points.mean(0), compute_uv=False) ** 2
    explained = squares[:components].sum() / squares.sum()
    assert results["explained_variance"] == pytest.approx(explained, rel=1e-4)
    assert set(probe.summary_metrics) <= set(probe.results)
    per_task = {f"{task}/{key}" for task in PAIRS for key in ("median", "below_1", "relative")}
    every = per_task | {"median", "below_1", "relative", "explained_variance"}
    logged = {name for name in trainer.callback_metrics if name.startswith("val/para")}
    assert logged == {f"val/parallelograms/{key}" for key in every}


def test_analogies_are_those_of_the_whole_embedding(words, token_folder):
    probe = Analogies(words=words, num_quadruples=200, seed=5, similarity="cosine")
    trainer, model = fit(token_folder(), probe)
    tokens = torch.tensor([list(pair) for pair in LETTERS["plural"]])
    ranks = analogy_ranks(model.embedding_matrix()[0], tokens, draw_quadruples(3, 200, 5), "cosine")
    known = ranks[~ranks.isnan()]
    median_rank = probe.results["val/analogies/plural/median_rank"]
    assert median_rank.item() == known.quantile(0.5).item()
    asked = probe.results["val/analogies/plural/asked"].item()
    assert asked == pytest.approx(len(known) / 200)
    keys = ("median_rank", "first", "top_10", "relative")
    every = {f"{task}/{key}" for task in PAIRS for key in keys} | set(keys)
    logged = {name for name in trainer.callback_metrics if name.startswith("val/analogies")}
    assert logged == {f"val/analogies/{key}" for key in every}


class Bytes(L.LightningDataModule):
    """Encodes words as bytes, and everything with a leading space as that space."""

    def encode(self, texts):
        return [list(text.encode())[: 1 if text[0] == " " else None] for text in texts]

    def decode(self, ids):
        return bytes(ids).decode()


def test_options_change_the_measure(words):
    embedding = torch.randn(1, 257, 8, generator=torch.Generator().manual_seed(0))
    module = SimpleNamespace(embedding_matrix=lambda: embedding)
    trainer = SimpleNamespace(datamodule=Bytes())

    def measure(**options) -> dict[str, float]:
        probe = Parallelograms(words=words, tasks=["plural"], **{"num_quadruples": 7, **options})
        probe.setup(trainer, module, "validate")
        return {key: value.item() for key, value in probe.measure(trainer, module).items()}

    plain = measure()
    squared = measure(squared=True)["plural/median"]
    assert squared == pytest.approx(plain["plural/median"] ** 2, rel=1e-3)
    assert measure(leading_space=True)["plural/zeros"] == 1 > plain["plural/zeros"]
    for options in [{"components": None}, {"components": 4}, {"seed": 1}, {"num_quadruples": 50}]:
        assert measure(**options) != plain, options


def test_figures_are_saved_and_show_head_components_step_task_and_words(
    words, token_folder, tmp_path
):
    logger, probe = CSVLogger(tmp_path, name="", version="run"), Parallelograms(words=words)
    drawn, draw = {}, probe.figures
    probe.figures = lambda *given: drawn.update(draw(*given)) or drawn
    fit(token_folder(), probe, logger=logger)
    names = {path.name for path in (tmp_path / "run" / "figures").iterdir()}
    assert names == {"parallelogram_losses.png", "parallelograms.png"}
    texts = {
        name: " ".join(" ".join(text.get_text() for text in figure.findobj(Text)).split())
        for name, figure in drawn.items()
    }
    for text in texts.values():
        for part in ("harmonic", "2 principal components", "step 2"):
            assert part in text
    # Only one quadruple of these words has four different last letters.
    assert "wal·k" in texts["parallelograms"] and "present past" in texts["parallelograms"]


@pytest.mark.parametrize("components", [None, 1])
def test_without_two_components_only_the_distribution_is_drawn(words, token_folder, components):
    probe = Parallelograms(words=words, components=components)
    trainer, model = fit(token_folder(), probe)
    assert list(probe.figures(trainer, model)) == ["parallelogram_losses"]


@pytest.mark.parametrize("probe", [Parallelograms, Analogies])
def test_a_data_module_without_words_is_refused_before_training(probe):
    data = AlgorithmicData(LatticeCompletion(), num_samples=60)
    module = Classifier(vocab_size=25, num_inputs=3, num_classes=25, compile="never")
    trainer = quiet_trainer(probe())
    with pytest.raises(ValueError, match=rf"{probe.__name__}.*trainer\.callbacks"):
        trainer.fit(module, data)
    assert trainer.global_step == 0


@pytest.mark.parametrize(
    ("probe", "options"),
    [
        (Parallelograms, {"num_quadruples": 0}),
        (Parallelograms, {"components": 0}),
        (Parallelograms, {"tasks": ["presentpast"]}),
        (Parallelograms, {"figure_task": "antonym"}),
        (Analogies, {"similarity": "dot"}),
    ],
)
def test_wrong_options_are_refused(probe, options):
    with pytest.raises(ValueError, match=next(iter(options))):
        probe(**options)


def test_more_components_than_dimensions_are_refused_before_training(words, token_folder):
    with pytest.raises(ValueError, match="components"):
        fit(token_folder(), Parallelograms(words=words, components=17))

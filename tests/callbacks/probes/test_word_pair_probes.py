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

from callbacks import Analogies, Parallelograms
from datamodules import AlgorithmicData, LatticeCompletion, OpenWebText
from glassbox.metrics import analogy_ranks, draw_quadruples
from lightning_modules import GPT2, Classifier, LanguageModel
from tests.helpers.loggers import Unseen

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


def make_model(vocab_size: int = 257) -> LanguageModel:
    torch.manual_seed(0)
    tiny = partial(GPT2, num_layers=1, num_heads=1, width=16)
    return LanguageModel(tiny, vocab_size=vocab_size, context_length=16, warmup_steps=1)


def make_trainer(*callbacks, **options) -> L.Trainer:
    return L.Trainer(
        **{
            "accelerator": "cpu",
            "devices": 1,
            "callbacks": list(callbacks),
            "logger": Unseen(),
            "log_every_n_steps": 1,
            "max_steps": 2,
            "val_check_interval": 1,
            "check_val_every_n_epoch": None,
            "enable_checkpointing": False,
            "enable_progress_bar": False,
            "enable_model_summary": False,
            "num_sanity_val_steps": 0,
            **options,
        }
    )


def make_data(folder) -> OpenWebText:
    return OpenWebText(
        str(folder),
        tokenizer="bytes",
        block_size=16,
        global_batch_size=4,
        micro_batch_size=4,
        seed=0,
    )


def loss_by_hand(points: np.ndarray, task: str, components: int) -> np.ndarray:
    """Losses of a model (V, E) on the words' last bytes, by a singular value decomposition."""
    centerd = points - points.mean(0)
    flat = centerd @ np.linalg.svd(centerd, full_matrices=False)[2][:components].T
    sigma = np.sqrt((flat**2).sum(1).mean())
    found = []
    for a, b in draw_quadruples(len(LETTERS[task]), 500, seed=3).tolist():
        (i, j), (m, n) = LETTERS[task][a], LETTERS[task][b]
        found.append(np.linalg.norm(flat[i] + flat[n] - flat[j] - flat[m]) / sigma)
    return np.array(found)


@pytest.mark.parametrize("components", [2, 5])
def test_values_are_those_of_the_last_tokens_in_the_trained_embedding(
    words, token_folder, components
):
    probe = Parallelograms(words=words, components=components, num_quadruples=500, seed=3)
    trainer, model = make_trainer(probe), make_model()
    trainer.fit(model, make_data(token_folder()))
    # The module pads its embedding to 320 rows; only the 257 that are tokens count.
    assert len(model.network.embedding.weight) > 257
    points = model.network.embedding.weight[:257].detach().double().numpy()
    medians = []
    for task in PAIRS:
        losses = loss_by_hand(points, task, components)
        found = {
            key.rpartition("/")[2]: value.item()
            for key, value in probe.results.items()
            if f"/{task}/" in key
        }
        assert found["median"] == pytest.approx(np.median(losses), rel=1e-4)
        assert found["below_1"] == pytest.approx((losses < 1).mean(), abs=1e-6)
        assert found["zeros"] == pytest.approx((losses < 1e-9).mean(), abs=1e-6)
        assert found["quantile_25"] == pytest.approx(np.quantile(losses, 0.25), rel=1e-4)
        medians.append(np.median(losses))
    assert probe.results["val/parallelograms/median"].item() == pytest.approx(np.median(medians))
    squares = np.linalg.svd(points - points.mean(0), compute_uv=False) ** 2
    share = probe.results["val/parallelograms/explained_variance"].item()
    assert share == pytest.approx(squares[:components].sum() / squares.sum(), rel=1e-4)
    assert set(probe.summary_metrics) <= set(probe.results)


def test_scalars_are_logged_at_every_validation_and_quantiles_are_not(words, token_folder):
    probe, analogies = Parallelograms(words=words), Analogies(words=words)
    trainer = make_trainer(probe, analogies)
    trainer.fit(make_model(), make_data(token_folder()))
    logged = {name for name in trainer.callback_metrics if name.startswith("val/para")}
    per_task = {f"{task}/{key}" for task in PAIRS for key in ("median", "below_1", "relative")}
    every = per_task | {"median", "below_1", "relative", "explained_variance"}
    assert logged == {f"val/parallelograms/{key}" for key in every}
    logged = {name for name in trainer.callback_metrics if name.startswith("val/analogies")}
    keys = ("median_rank", "first", "top_10", "relative")
    every = {f"{task}/{key}" for task in PAIRS for key in keys} | set(keys)
    assert logged == {f"val/analogies/{key}" for key in every}


def test_analogies_are_those_of_the_whole_embedding(words, token_folder):
    probe = Analogies(words=words, num_quadruples=200, seed=5, similarity="cosine")
    model = make_model()
    make_trainer(probe).fit(model, make_data(token_folder()))
    tokens = torch.tensor([list(pair) for pair in LETTERS["plural"]])
    ranks = analogy_ranks(model.embedding_matrix()[0], tokens, draw_quadruples(3, 200, 5), "cosine")
    known = ranks[~ranks.isnan()]
    found = probe.results["val/analogies/plural/median_rank"]
    assert found.item() == known.quantile(0.5).item()
    asked = probe.results["val/analogies/plural/asked"].item()
    assert asked == pytest.approx(len(known) / 200)


def test_options_change_the_measure(words):
    embedding = torch.randn(1, 257, 8, generator=torch.Generator().manual_seed(0))

    def measure(**options) -> dict[str, float]:
        asked: list[str] = []

        def encode(texts):
            asked.extend(texts)
            return [list(text.encode())[: 1 if text[0] == " " else None] for text in texts]

        probe = Parallelograms(words=words, tasks=["plural"], **{"num_quadruples": 7, **options})
        data = SimpleNamespace(encode=encode)
        module = SimpleNamespace(embedding_matrix=lambda: embedding)
        trainer = SimpleNamespace(datamodule=data)
        probe.setup(trainer, module, "validate")
        return {key: value.item() for key, value in probe.measure(trainer, module).items()}

    plain = measure()
    squared = measure(squared=True)["plural/median"]
    assert squared == pytest.approx(plain["plural/median"] ** 2, rel=1e-3)
    # This tokenizer makes all of them one space.
    assert measure(leading_space=True)["plural/zeros"] == 1 > plain["plural/zeros"]
    others = [{"components": None}, {"components": 4}, {"seed": 1}, {"num_quadruples": 50}]
    for options in others:
        assert measure(**options) != plain, options


def test_two_figures_are_left_in_the_run_folder(words, token_folder, tmp_path):
    logger = CSVLogger(tmp_path, name="run", version=0)
    probe = Parallelograms(words=words)
    make_trainer(probe, logger=logger).fit(make_model(), make_data(token_folder()))
    names = {path.name for path in (tmp_path / "run" / "version_0" / "figures").iterdir()}
    assert names == {"parallelogram_losses.png", "parallelograms.png"}


def test_figures_say_head_components_step_task_and_words(words, token_folder, monkeypatch):
    from matplotlib.text import Text

    drawn, draw = {}, Parallelograms.figures
    monkeypatch.setattr(Parallelograms, "figures", lambda *given: drawn.update(draw(*given)) or {})
    make_trainer(Parallelograms(words=words)).fit(make_model(), make_data(token_folder()))
    said = {
        name: " ".join(" ".join(text.get_text() for text in figure.findobj(Text)).split())
        for name, figure in drawn.items()
    }
    for text in said.values():
        assert "harmonic · 2 principal components" in text and "· step 2" in text
    # Of these words four different last letters are in one quadruple of pairs only.
    assert "wal·k" in said["parallelograms"] and "present past ·" in said["parallelograms"]


def test_without_two_components_only_the_distribution_is_drawn(words, token_folder, monkeypatch):
    drawn, draw = [], Parallelograms.figures
    monkeypatch.setattr(Parallelograms, "figures", lambda *given: drawn.append(draw(*given)) or {})
    for components in (None, 1):
        probe = Parallelograms(words=words, components=components)
        data = make_data(token_folder(name=str(components)))
        make_trainer(probe, max_steps=1).fit(make_model(), data)
    assert [list(figures) for figures in drawn] == [["parallelogram_losses"]] * 2


@pytest.mark.parametrize("probe", [Parallelograms, Analogies])
def test_a_data_module_without_words_gives_a_sentence_before_training(probe):
    data = AlgorithmicData(LatticeCompletion(), num_samples=60)
    module = Classifier(vocab_size=25, num_inputs=3, num_classes=25, compile="never")
    trainer = make_trainer(probe(), max_steps=-1, max_epochs=1)
    sentence = f"{probe.__name__} needs a data module that turns words into tokens"
    with pytest.raises(ValueError, match=sentence):
        trainer.fit(module, data)
    assert trainer.global_step == 0


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"num_quadruples": 0}, "num_quadruples is 0; it must be from 1 to 1,000,000"),
        ({"components": 0}, "components is 0; it must be from 1 to 1,000,000"),
        ({"tasks": ["presentpast"]}, "did you mean 'present_past'"),
        ({"figure_task": "antonym"}, "figure_task is 'antonym'; choose from country_capital"),
    ],
)
def test_wrong_options_are_refused_when_the_probe_is_built(options, sentence):
    with pytest.raises(ValueError, match=sentence):
        Parallelograms(**options)


def test_a_similarity_that_is_none_is_refused_when_the_probe_is_built():
    with pytest.raises(ValueError, match="similarity is 'dot'; choose euclidean or cosine"):
        Analogies(similarity="dot")  # type: ignore[arg-type]


def test_more_components_than_the_embedding_is_wide_are_refused_before_training(
    words, token_folder
):
    trainer = make_trainer(Parallelograms(words=words, components=17))
    with pytest.raises(ValueError, match="components is 17, and the embedding is 16 wide"):
        trainer.fit(make_model(), make_data(token_folder()))

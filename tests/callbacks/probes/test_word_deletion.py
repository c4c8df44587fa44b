"""WordDeletion against a loop that deletes words from the text itself, one sentence at a time."""

from __future__ import annotations

import math
import statistics
from functools import cache

import pytest
import torch

from callbacks import ModelSelection, WordDeletion
from callbacks.probes.word_scores import score_words
from glassbox.metrics import capacity
from tests.helpers.loggers import Unseen
from tests.helpers.planted_words import (
    planted_data,
    read_part,
    small_classifier,
    text_trainer,
    write_planted,
)

EXACT = {"abs": 1e-6}
SHORT = {"max_epochs": 3, "limit_train_batches": 5}
SCORES = ["vmask", "ffn1_before_relu", "vmask_probability", "gradient_x_input"]


@cache
def score_of_words(name: str, text: str, data, model, draw: int = 0) -> list[float]:
    batch = data.encode([text])
    with torch.no_grad():
        activations = model.representations(batch)
        if name in ("random", "gradient_x_input"):  # see test_word_scores.py
            return score_words(name, batch, activations, model, 0, draw)[0].tolist()
        if name == "vmask_probability":
            return activations[name][0].tolist()
        return capacity(activations[name].double())[0].tolist()


@cache
def prediction(text: str, data, model) -> int:
    with torch.no_grad():
        return int(model.classify(data.encode([text])).argmax())


def without(text: str, scores: list[float], percent: float, lowest: bool = False) -> str:
    """The text without its floor(percent / 100 · n) highest words: a plain loop over strings."""
    words = text.split()
    assert len(scores) == len(words)
    order = sorted(range(len(words)), key=lambda i: scores[i], reverse=not lowest)
    deleted = set(order[: math.floor(percent * len(words) / 100)])
    return " ".join(word for i, word in enumerate(words) if i not in deleted)


def loop_accuracy(trained, part="test", percent=0.0, name="ffn1", lowest=False, draw=0, rows=None):
    """Accuracy on the shortened texts, each encoded and classified by itself."""
    right = []
    for text, label in rows or read_part(trained.folder, part):
        scores = score_of_words(name, text, trained.data, trained.model, draw)
        shorter = without(text, scores, percent, lowest)
        right.append(prediction(shorter, trained.data, trained.model) == label)
    return statistics.fmean(right)


def measured_on_test(trained, probe, **options) -> dict[str, float]:
    text_trainer(probe, **options).test(trained.model, datamodule=trained.data, verbose=False)
    assert all(value.shape == (1,) for value in probe.results.values())
    return {name.removeprefix("test/deletion/"): float(v) for name, v in probe.results.items()}


def full_probe() -> WordDeletion:
    return WordDeletion(scores=SCORES, num_random_draws=3, deletion_percents=[0, 30, 55])


@pytest.fixture(scope="module")
def probe(trained) -> WordDeletion:
    probe = full_probe()
    measured_on_test(trained, probe)
    return probe


@pytest.fixture(scope="module")
def values(probe) -> dict[str, float]:
    return {name.removeprefix("test/deletion/"): float(v) for name, v in probe.results.items()}


# ---- the test set --------------------------------------------------------------------------------


def test_table_1_and_its_controls_agree_with_a_loop_over_texts(trained, values):
    whole, deleted = loop_accuracy(trained), loop_accuracy(trained, percent=30)
    draws = [loop_accuracy(trained, percent=30, name="random", draw=draw) for draw in range(3)]
    random, lowest = statistics.fmean(draws), loop_accuracy(trained, percent=30, lowest=True)
    assert 0 < deleted < whole and len(set(draws)) > 1
    expected = {
        "accuracy": whole,
        "accuracy_deleted": deleted,
        "srs": whole - deleted,
        "accuracy_random": random,
        "accuracy_random_std": statistics.stdev(draws),
        "srs_random": whole - random,
        "srs_above_random": random - deleted,
        "srs_lowest": whole - lowest,
        "swept_texts": 73,
    }
    for name in SCORES:
        expected[f"srs_{name}"] = whole - loop_accuracy(trained, percent=30, name=name)
    assert values == pytest.approx(expected, **EXACT)
    # The planted key words matter, by every score that should detect them.
    assert values["accuracy"] == 1.0
    assert values["srs_random"] < 0.15 and values["srs_lowest"] < 0.15
    assert values["srs_ffn1_before_relu"] > values["srs_random"] + 0.2
    assert values["srs_vmask_probability"] > values["srs_random"] + 0.2


def test_curves_agree_with_a_loop_over_texts(trained, probe, values):
    arrays = probe.arrays
    assert arrays["percents"].tolist() == [[0, 30, 55]]
    for name in ("highest", "lowest"):
        expected = [
            loop_accuracy(trained, percent=percent, lowest=name == "lowest")
            for percent in (0, 30, 55)
        ]
        assert arrays[f"accuracy_{name}"][0].tolist() == pytest.approx(expected, **EXACT)
    draws = arrays["accuracy_random"]
    assert draws.shape == (1, 3, 3) and draws[0, :, 0].tolist() == [pytest.approx(1.0)] * 3
    assert draws[0, :, 1].mean().item() == pytest.approx(values["accuracy_random"], **EXACT)


@pytest.mark.parametrize(
    "options",
    [{"pad_to": "max_length", "max_length": 40}, {"batch_size": 5, "bucket_batches": 0}],
    ids=["padding", "small batches"],
)
def test_padding_and_the_size_of_batches_change_nothing(trained, values, options):
    data = planted_data(trained.folder, **options)
    model = small_classifier(data)
    model.load_state_dict(trained.model.state_dict())
    again = measured_on_test(trained._replace(data=data, model=model), full_probe())
    assert again == pytest.approx(values, **EXACT)


def test_numbers_in_bf16_are_near_those_in_float32(trained, values):
    probe = WordDeletion(scores=["gradient_x_input"], num_random_draws=3, deletion_percents=[])
    half = measured_on_test(trained, probe, precision="bf16-mixed")
    for key in ("accuracy", "srs", "srs_random", "srs_gradient_x_input"):
        assert half[key] == pytest.approx(values[key], abs=0.06)


@pytest.mark.parametrize(("texts", "swept"), [(1, 16), (17, 32), (1000, 73)])
def test_a_sweep_over_some_texts_takes_the_first_batches_with_that_many(texts, swept, trained):
    probe = WordDeletion(
        scores=["vmask"], num_random_draws=2, deletion_percents=[0, 30], max_sweep_texts=texts
    )
    values = measured_on_test(trained, probe)
    words = trained.data.vocabulary.words
    rows = [
        (" ".join(words[t] for t in tokens.tolist() if t), int(label))
        for batch in trained.data.test_dataloader()
        for tokens, label in zip(batch["tokens"], batch["labels"], strict=True)
    ][:swept]
    assert values["swept_texts"] == swept
    whole = loop_accuracy(trained, rows=rows)
    lost = whole - loop_accuracy(trained, percent=30, name="vmask", rows=rows)
    assert values["srs_vmask"] == pytest.approx(lost, **EXACT)
    curve = [whole, loop_accuracy(trained, percent=30, rows=rows)]
    assert probe.arrays["accuracy_highest"][0].tolist() == pytest.approx(curve, **EXACT)
    lost = loop_accuracy(trained) - loop_accuracy(trained, percent=30)  # of all texts
    assert values["srs"] == pytest.approx(lost, **EXACT)


def test_without_a_mask_the_default_excludes_the_scores_that_need_one(trained):
    model = small_classifier(trained.data, vmask=False)
    probe = WordDeletion(num_random_draws=1, deletion_percents=[])
    text_trainer(probe).test(model, datamodule=trained.data, verbose=False)
    compared = {name.rpartition("srs_")[2] for name in probe.results if "/srs_" in name}
    assert {"ffn1", "received_attention", "gradient_x_input"} < compared
    assert not {"vmask", "vmask_probability"} & compared
    assert probe.results["test/deletion/accuracy_random_std"].isnan().all()  # of one draw
    assert probe.arrays == {}


def test_a_short_text_loses_floor_of_its_words(tmp_path, trained):
    rows = [("lovely", 1), ("awful w1", 0), ("w1 w2 warm", 1), ("w1 flat w2 w3", 0)]
    lines = ["sentence\tlabel", *(f"{text}\t{label}" for text, label in rows)]
    for part in ("train", "dev", "test"):
        (tmp_path / f"{part}.tsv").write_text("\n".join(lines))
    data = planted_data(tmp_path)
    here = trained._replace(data=data, model=small_classifier(data).eval(), folder=tmp_path)
    probe = WordDeletion(percent=99, scores=[], num_random_draws=2, deletion_percents=[0, 99])
    values = measured_on_test(here, probe)
    expected = loop_accuracy(here, percent=99)  # 0, 1, 2, 3 of 1, 2, 3, 4 words
    assert values["accuracy_deleted"] == pytest.approx(expected, **EXACT)


# ---- validation and fit --------------------------------------------------------------------------


def test_validation_measures_the_score_alone(trained):
    probe = WordDeletion(deletion_percents=[])
    text_trainer(probe).validate(trained.model, datamodule=trained.data, verbose=False)
    lost = loop_accuracy(trained, "dev") - loop_accuracy(trained, "dev", percent=30)
    assert set(probe.results) == {"val/deletion/srs", "val/deletion/accuracy_deleted"}
    assert float(probe.results["val/deletion/srs"]) == pytest.approx(lost, **EXACT)
    assert probe.summary_metrics == ["val/deletion/srs", "val/deletion/accuracy_deleted"]


def test_fit_measures_every_validation_and_the_test_set_at_its_end(trained):
    model = small_classifier(trained.data)
    probe = WordDeletion(
        scores=["vmask"], num_random_draws=2, deletion_percents=[0, 30], every_n_epochs=2
    )
    drawn, draw = [], probe.figures
    probe.figures = lambda *given: drawn.append(sorted(draw(*given))) or {}
    trainer = text_trainer(probe, ModelSelection(), logger=Unseen(), **SHORT)
    random_state = torch.get_rng_state()
    trainer.fit(model, datamodule=trained.data)
    keys = set(probe.results)
    assert {"val/deletion/srs", "test/deletion/srs", "test/deletion/srs_vmask"} <= keys
    assert drawn == [["deletion_curve"]]
    table_1 = ("accuracy", "accuracy_random", "accuracy_deleted", "srs")
    names = (*table_1, "srs_random", "srs_lowest", "srs_vmask")
    assert probe.summary_metrics == [f"test/deletion/{name}" for name in names]
    # The probe draws no random numbers and trains nothing.
    alone = small_classifier(trained.data)
    torch.set_rng_state(random_state)
    text_trainer(ModelSelection(test=False), **SHORT).fit(alone, datamodule=trained.data)
    for name, value in model.state_dict().items():
        assert torch.equal(value, alone.state_dict()[name]), name


# ---- refusals ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [
        {"percent": 0},
        {"percent": 100},
        {"deletion_percents": [10, 120]},
        {"num_random_draws": 0},
        {"max_sweep_texts": 0},
        {"seed": -1},
        {"every_n_epochs": 0},
    ],
)
def test_options_out_of_range_are_refused(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        WordDeletion(**options)


@pytest.mark.parametrize(
    "options",
    [{"score": "vmask_probability"}, {"scores": ["vmask_probability"]}, {"score": "ffn3"}],
)
def test_a_score_that_the_network_lacks_is_refused_before_training(options, trained):
    model = small_classifier(trained.data, vmask=False)
    with pytest.raises(ValueError, match=next(iter(options))):
        text_trainer(WordDeletion(**options)).fit(model, datamodule=trained.data)


@pytest.mark.slow
def test_safr_allocates_capacity_to_key_words_and_a_mask_alone_does_not(tmp_path):
    data = planted_data(write_planted(tmp_path / "planted"))
    srs: dict[str, float] = {}
    for name, options in {
        "safr": {"lambda_importance": 0.3, "lambda_interaction": 0.1},
        "mask": {},
        "baseline": {"vmask": False},
    }.items():
        of_seeds = []
        for seed in range(3):
            probe = WordDeletion(
                score="ffn1_before_relu", scores=[], num_random_draws=1, deletion_percents=[]
            )
            trainer = text_trainer(probe, max_epochs=8, limit_val_batches=0)
            model = small_classifier(data, seed=seed, **options)
            trainer.fit(model, datamodule=data)
            trainer.test(model, datamodule=data, verbose=False)
            of_seeds.append(float(probe.results["test/deletion/srs"]))
        srs[name] = statistics.median(of_seeds)
    # About 0.40, 0.06 and 0.19.
    assert srs["safr"] > max(srs["mask"], srs["baseline"]) + 0.1

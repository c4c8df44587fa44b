"""WordDeletion against a loop that deletes words from the text itself, one sentence at a time."""

from __future__ import annotations

import math
import statistics

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
SCORES = ["vmask", "ffn1_before_relu", "vmask_probability", "gradient_x_input"]


def score_of_words(name: str, text: str, trained, draw: int = 0) -> list[float]:
    batch = trained.data.encode([text])
    with torch.no_grad():
        activations = trained.model.representations(batch)
        if name in ("random", "gradient_x_input"):  # tests/callbacks/test_word_scores.py
            return score_words(name, batch, activations, trained.model, 0, draw)[0].tolist()
        if name == "vmask_probability":
            return activations[name][0].tolist()
        return capacity(activations[name].double())[0].tolist()


def without(text: str, scores: list[float], percent: float, lowest: bool = False) -> str:
    """The text without its floor(percent / 100 · n) highest words: a plain loop over strings."""
    words = text.split()
    assert len(scores) == len(words)
    order = sorted(range(len(words)), key=lambda i: scores[i], reverse=not lowest)
    gone = set(order[: math.floor(percent * len(words) / 100)])
    return " ".join(word for i, word in enumerate(words) if i not in gone)


def loop_accuracy(trained, part="test", percent=0.0, name="ffn1", lowest=False, draw=0, rows=None):
    """Accuracy on the shortened texts, each encoded and classified by itself."""
    right = []
    for text, label in rows or read_part(trained.folder, part):
        scores = score_of_words(name, text, trained, draw)
        shorter = without(text, scores, percent, lowest)
        with torch.no_grad():
            logits = trained.model.classify(trained.data.encode([shorter]))
        right.append(int(logits.argmax()) == label)
    return statistics.fmean(right)


def measured_on_test(trained, *probes, **options) -> dict[str, float]:
    trainer = text_trainer(*probes, **options)
    trainer.test(trained.model, datamodule=trained.data, verbose=False)
    results = {name: value for probe in probes for name, value in probe.results.items()}
    assert all(value.shape == (1,) for value in results.values())
    return {name.removeprefix("test/deletion/"): float(v) for name, v in results.items()}


@pytest.fixture(scope="module")
def probe() -> WordDeletion:
    return WordDeletion(scores=SCORES, num_random_draws=3, deletion_percents=[0, 30, 55])


@pytest.fixture(scope="module")
def found(trained, probe) -> dict[str, float]:
    return measured_on_test(trained, probe)


def test_table_1_is_that_of_a_loop_over_texts(trained, found):
    whole, deleted = loop_accuracy(trained), loop_accuracy(trained, percent=30)
    assert found["accuracy"] == pytest.approx(whole, **EXACT)
    assert found["accuracy_deleted"] == pytest.approx(deleted, **EXACT)
    assert found["srs"] == pytest.approx(whole - deleted, **EXACT)
    assert 0 < deleted < whole


def test_controls_are_those_of_a_loop_over_texts(trained, found):
    whole = loop_accuracy(trained)
    draws = [loop_accuracy(trained, percent=30, name="random", draw=draw) for draw in range(3)]
    lowest = loop_accuracy(trained, percent=30, lowest=True)
    assert found["accuracy_random"] == pytest.approx(statistics.fmean(draws), **EXACT)
    assert found["accuracy_random_std"] == pytest.approx(statistics.stdev(draws), **EXACT)
    assert found["srs_random"] == pytest.approx(whole - statistics.fmean(draws), **EXACT)
    assert found["srs_lowest"] == pytest.approx(whole - lowest, **EXACT)
    assert len(set(draws)) > 1


@pytest.mark.parametrize("name", SCORES)
def test_compared_scores_are_those_of_a_loop_over_texts(name, trained, found):
    lost = loop_accuracy(trained) - loop_accuracy(trained, percent=30, name=name)
    assert found[f"srs_{name}"] == pytest.approx(lost, **EXACT)


def test_curves_are_those_of_a_loop_over_texts(trained, probe, found):
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
    assert draws[0, :, 1].mean().item() == pytest.approx(found["accuracy_random"], **EXACT)


def test_planted_key_words_are_found_by_every_score_that_should(found):
    assert found["accuracy"] == 1.0
    assert found["srs_random"] < 0.15 and found["srs_lowest"] < 0.15
    assert found["srs_ffn1_before_relu"] > found["srs_random"] + 0.2
    assert found["srs_vmask_probability"] > found["srs_random"] + 0.2


def test_without_a_mask_the_scores_that_need_one_are_left_out_of_the_default(trained):
    model = small_classifier(trained.data, vmask=False)
    probe = WordDeletion(num_random_draws=1, deletion_percents=[])
    text_trainer(probe).test(model, datamodule=trained.data, verbose=False)
    compared = {name.rpartition("srs_")[2] for name in probe.results if "/srs_" in name}
    assert {"ffn1", "received_attention", "gradient_x_input"} < compared
    assert not {"vmask", "vmask_probability"} & compared
    assert probe.results["test/deletion/accuracy_random_std"].isnan().all()  # of one draw
    assert probe.arrays == {}


def test_validation_measures_the_score_alone_and_the_last_one_is_kept(trained):
    probe = WordDeletion(deletion_percents=[])
    text_trainer(probe).validate(trained.model, datamodule=trained.data, verbose=False)
    lost = loop_accuracy(trained, "dev") - loop_accuracy(trained, "dev", percent=30)
    assert set(probe.results) == {"val/deletion/srs", "val/deletion/accuracy_deleted"}
    assert float(probe.results["val/deletion/srs"]) == pytest.approx(lost, **EXACT)
    assert probe.summary_metrics == ["val/deletion/srs", "val/deletion/accuracy_deleted"]


def test_a_short_text_loses_nothing_and_none_is_emptied_by_rounding(tmp_path, trained):
    rows = [("lovely", 1), ("awful w1", 0), ("w1 w2 warm", 1), ("w1 flat w2 w3", 0)]
    (tmp_path / "t").mkdir()
    for part in ("train", "dev", "test"):
        lines = ["sentence\tlabel", *(f"{text}\t{label}" for text, label in rows)]
        (tmp_path / "t" / f"{part}.tsv").write_text("\n".join(lines))
    data = planted_data(tmp_path / "t")
    here = trained._replace(data=data, model=small_classifier(data).eval(), folder=tmp_path / "t")
    found = measured_on_test(
        here, WordDeletion(percent=99, scores=[], num_random_draws=2, deletion_percents=[0, 99])
    )
    expected = loop_accuracy(here, percent=99)  # of 1, 2, 3, 4 words 0, 1, 2, 3 go
    assert found["accuracy_deleted"] == pytest.approx(expected, **EXACT)


@pytest.mark.parametrize("texts", [1, 17, 1000])
def test_a_sweep_over_some_texts_takes_the_first_batches_that_hold_them(texts, trained):
    probe = WordDeletion(
        scores=["vmask"], num_random_draws=2, deletion_percents=[0, 30], max_sweep_texts=texts
    )
    found = measured_on_test(trained, probe)
    rows, batches = [], list(trained.data.test_dataloader())
    for batch in batches:
        if len(rows) >= texts:
            break
        words = trained.data.vocabulary.words
        for tokens, label in zip(batch["tokens"], batch["labels"], strict=True):
            text = " ".join(words[t] for t in tokens.tolist() if t)
            rows.append((text, int(label)))
    assert found["swept_texts"] == len(rows) == {1: 16, 17: 32}.get(texts, 73)
    lost = loop_accuracy(trained, rows=rows) - loop_accuracy(
        trained, percent=30, name="vmask", rows=rows
    )
    assert found["srs_vmask"] == pytest.approx(lost, **EXACT)
    curve = probe.arrays["accuracy_highest"][0].tolist()
    assert curve[0] == pytest.approx(loop_accuracy(trained, rows=rows), **EXACT)
    assert curve[1] == pytest.approx(loop_accuracy(trained, percent=30, rows=rows), **EXACT)
    assert found["srs"] == pytest.approx(  # of all texts, whatever is swept
        loop_accuracy(trained) - loop_accuracy(trained, percent=30), **EXACT
    )


def test_padding_and_the_size_of_batches_change_nothing(trained, found):
    for options in (
        {"pad_to": "max_length", "max_length": 40},
        {"batch_size": 5, "bucket_batches": 0},
    ):
        data = planted_data(trained.folder, **options)
        probe = WordDeletion(scores=SCORES, num_random_draws=3, deletion_percents=[0, 30, 55])
        model = small_classifier(data)
        model.load_state_dict(trained.model.state_dict())
        again = measured_on_test(trained._replace(data=data, model=model), probe)
        assert again == pytest.approx(found, abs=1e-6)


def test_in_bf16_the_numbers_are_near_those_in_float32(trained, found):
    probe = WordDeletion(scores=["gradient_x_input"], num_random_draws=3, deletion_percents=[])
    half = measured_on_test(trained, probe, precision="bf16-mixed")
    for key in ("accuracy", "srs", "srs_random", "srs_gradient_x_input"):
        assert half[key] == pytest.approx(found[key], abs=0.06)


def test_fit_measures_every_validation_and_the_test_set_at_its_end(trained):
    model = small_classifier(trained.data)
    probe = WordDeletion(
        scores=["vmask"], num_random_draws=2, deletion_percents=[0, 30], every_n_epochs=2
    )
    selection = ModelSelection()
    drawn = []
    trainer = text_trainer(probe, selection, max_epochs=3, logger=Unseen(), log_every_n_steps=8)
    probe.figures = lambda *_: drawn.append(sorted(WordDeletion.figures(probe, *_))) or {}
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
    text_trainer(ModelSelection(test=False), max_epochs=3).fit(alone, datamodule=trained.data)
    for name, value in model.state_dict().items():
        assert torch.equal(value, alone.state_dict()[name]), name


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"percent": 0}, "WordDeletion: percent is 0; it must be above 0"),
        ({"percent": 100}, "percent is 100; it must be above 0 .no word. and below 100"),
        (
            {"deletion_percents": [10, 120]},
            "one of deletion_percents is 120; it must be at least 0",
        ),
        ({"num_random_draws": 0}, "num_random_draws is 0; it must be from 1"),
        ({"max_sweep_texts": 0}, "max_sweep_texts is 0; it must be from 1"),
        ({"seed": -1}, "seed is -1; it must be at least 0"),
        ({"every_n_epochs": 0}, "every_n_epochs is 0; it must be at least 1"),
    ],
)
def test_numbers_out_of_range_are_refused(options, sentence):
    with pytest.raises(ValueError, match=sentence):
        WordDeletion(**options)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"score": "vmask_probability"}, "score is 'vmask_probability', and the network has no"),
        (
            {"scores": ["vmask_probability"]},
            "one of scores is 'vmask_probability', and",
        ),
        ({"score": "ffn3"}, "WordDeletion: score is 'ffn3'; choose one of embedding"),
    ],
)
def test_a_score_that_is_not_there_is_refused_before_training(options, sentence, trained):
    model = small_classifier(trained.data, vmask=False)
    with pytest.raises(ValueError, match=sentence):
        text_trainer(WordDeletion(**options)).fit(model, datamodule=trained.data)


@pytest.mark.slow
def test_safr_gives_its_capacity_to_key_words_and_a_mask_alone_or_nothing_does_not(tmp_path):
    data = planted_data(write_planted(tmp_path / "planted"))
    srs: dict[str, float] = {}
    for name, options in {
        "safr": {"lambda_importance": 0.3, "lambda_interaction": 0.1},
        "mask": {},
        "baseline": {"vmask": False},
    }.items():
        found = []
        for seed in range(3):
            probe = WordDeletion(
                score="ffn1_before_relu", scores=[], num_random_draws=1, deletion_percents=[]
            )
            trainer = text_trainer(probe, max_epochs=8, limit_val_batches=0)
            model = small_classifier(data, seed=seed, **options)
            trainer.fit(model, datamodule=data)
            trainer.test(model, datamodule=data, verbose=False)
            found.append(float(probe.results["test/deletion/srs"]))
        srs[name] = statistics.median(found)
    # 0.40, 0.06 and 0.19 when this was written.
    assert srs["safr"] > max(srs["mask"], srs["baseline"]) + 0.1

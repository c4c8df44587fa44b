"""Members of one run that differ in more than their seed train as they would alone."""

from functools import partial

import lightning as L
import pytest
import torch

from datamodules import AlgorithmicData, ModularAddition
from lightning_modules import MLP, Classifier, CrossEntropyHead, HarmonicHead, ToyTransformer

SEEDS = [3, 3, 7, 7, 3]
FRACTIONS = [0.2, 0.8, 0.8, 0.2, 0.5]
SAMPLINGS = ["distinct", "distinct", "with_replacement", "distinct", "with_replacement"]
EXPONENTS = [2.0, 1.0, 2.0, 2.0, 4.0]


def fit(model, data, epochs=4, resumed=None):
    trainer = L.Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(model, datamodule=data, **(resumed or {}))
    return trainer


def together(network=MLP, **options):
    head = partial(HarmonicHead, eps=1e-4)
    return Classifier(network, head, seeds=SEEDS, head_settings={"exponent": EXPONENTS}, **options)


def data_of(sampling, fraction):
    return AlgorithmicData(ModularAddition(), sampling, 300, fraction)


def alone(index, network=MLP):
    head = partial(HarmonicHead, exponent=EXPONENTS[index], eps=1e-4)
    model = Classifier(network, head, seeds=[SEEDS[index]])
    fit(model, data_of(SAMPLINGS[index], FRACTIONS[index]))
    return model


@pytest.mark.parametrize("network", [MLP, partial(ToyTransformer, dropout=0.1)])
def test_members_that_differ_in_fraction_sampling_and_exponent_train_as_alone(network):
    model = together(network)
    fit(model, data_of(SAMPLINGS, FRACTIONS))
    scores = model.scores()
    for index in range(len(SEEDS)):
        single = alone(index, network)
        expected = dict(single.member(0).named_parameters())
        for name, parameter in model.member(index).named_parameters():
            ours, theirs = parameter, expected[name]
            if name.endswith("qkv.bias"):
                # A key's bias has no effect on attention: its gradient is rounding noise, which
                # Adam scales up to whole steps.
                ours, theirs = (
                    torch.cat([bias[:16], bias[32:]]) for bias in (parameter, expected[name])
                )
            torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-4)
        for name, value in single.scores().items():
            torch.testing.assert_close(
                scores[name][index], value[0], atol=1e-5, rtol=1e-4, equal_nan=True
            )


def test_member_with_fewer_examples_takes_fewer_optimizer_steps():
    model = together()
    trainer = fit(model, data_of("distinct", FRACTIONS), epochs=2)
    optimizer = trainer.optimizers[0]
    steps = [float(optimizer.state[p]["step"]) for p in optimizer.param_groups[0]["params"]]
    # 60, 240, 60 and 150 examples in batches of 32, two epochs, five tensors a network; seeds 3 and
    # 7 with 0.8 stand side by side.
    assert steps == [4.0] * 5 + [16.0] * 5 + [4.0] * 5 + [10.0] * 5


def test_run_with_step_groups_resumes_to_the_same_bits(tmp_path):
    def run(epochs, **resumed):
        model = together()
        return model, fit(model, data_of(SAMPLINGS, FRACTIONS), epochs, resumed=resumed)

    whole, _ = run(4)
    _, trainer = run(2)
    trainer.save_checkpoint(tmp_path / "half.ckpt")
    resumed, _ = run(4, ckpt_path=tmp_path / "half.ckpt", weights_only=True)
    for ours, theirs in zip(resumed.parameters(), whole.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_large_ensemble_is_the_same_as_its_members_in_chunks(monkeypatch):
    results = []
    for at_a_time in (2, 100):
        monkeypatch.setattr("lightning_modules.ensemble.ensemble._AT_A_TIME", at_a_time)
        model = Classifier(MLP, HarmonicHead, seeds=[1, 2, 3, 4, 5])
        fit(model, data_of("distinct", 0.8), epochs=3)
        results.append(torch.cat([p.flatten() for p in model.parameters()]))
    torch.testing.assert_close(results[0], results[1], atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"seeds": [1, 1]}, ["seeds are [1, 1]", "only once"]),
        (
            {"seeds": [1, 2], "head_settings": {"exponent": [1.0]}},
            ["head_settings.exponent has 1 values for 2 members"],
        ),
        (
            {"seeds": [1, 1], "head_settings": {"slope": [1.0, 2.0]}},
            ["HarmonicHead has no setting 'slope'", "eps, exponent"],
        ),
    ],
)
def test_members_that_cannot_be_are_refused(change, words):
    with pytest.raises(ValueError) as refused:
        fit(Classifier(**change), data_of("distinct", 0.8), epochs=1)
    assert all(word in str(refused.value) for word in words)


def test_setting_that_is_no_number_cannot_differ():
    with pytest.raises(ValueError, match="no setting 'bias' that could differ"):
        Classifier(MLP, CrossEntropyHead, seeds=[1, 2], head_settings={"bias": [0, 1]})


def test_head_that_derives_something_from_a_setting_must_say_that_members_may_differ():
    class Derived(HarmonicHead):
        def __init__(self, in_features, num_classes, exponent=2.0):
            super().__init__(in_features, num_classes, exponent)
            self.half = -0.5 * exponent

    with pytest.raises(ValueError, match="Derived has no setting 'exponent'"):
        Classifier(MLP, Derived, seeds=[1, 2], head_settings={"exponent": [1, 2]})


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"train_fraction": [0.5]}, "data.train_fraction has 1 entries for 2 seeds"),
        ({"sampling": ["distinct"] * 3}, "data.sampling has 3 entries for 2 seeds"),
    ],
)
def test_lists_of_the_data_need_one_entry_a_seed(options, words):
    data = AlgorithmicData(ModularAddition(), seeds=[0, 1], **options)
    with pytest.raises(ValueError, match=words):
        data.setup()


@pytest.mark.parametrize(
    "options", [{"train_fraction": [0.5, 1.0]}, {"sampling": ["distinct", "by_hand"]}]
)
def test_every_entry_of_the_datas_lists_must_be_allowed(options):
    with pytest.raises(ValueError, match=r"train_fraction is|sampling is"):
        AlgorithmicData(ModularAddition(), **options)
